//! The calls of the program that wants to sign in: a code, then waiting for somebody to agree to it, then tokens.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{Book, Code, Standing, field, now};

const USER_CODE: &str = "/api/accounts/deviceauth/usercode";
const TOKEN: &str = "/api/accounts/deviceauth/token";
const EXCHANGE: &str = "/oauth/token";
const DAY: u64 = 24 * 60 * 60;

pub(super) fn is_call(path: &str) -> bool {
    [USER_CODE, TOKEN, EXCHANGE].contains(&path)
}

pub(super) fn answer(book: &mut Book, path: &str, body: &str) -> Response {
    match path {
        USER_CODE => {
            let (code, device) = new_code(book);
            Json(json!({"device_auth_id": device, "user_code": code, "interval": "1"})).into_response()
        }
        TOKEN => token(book, body),
        _ => exchange(book, body),
    }
}

/// The code that is printed, and the name of the login.
pub(super) fn new_code(book: &mut Book) -> (String, String) {
    let count = book.next();
    let letter = |n: usize| char::from(b'A' + u8::try_from(n % 26).unwrap_or_default());
    let letters: String = [count / 676, count / 26, count].into_iter().map(letter).collect();
    let (code, device) = (format!("WXYZ-{letters}{:02}", count * 37 % 100), format!("device-{count}"));
    book.codes.insert(code.clone(), Code { device: device.clone(), standing: Standing::Open });
    (code, device)
}

fn refuse(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({"error": {"code": message, "message": message}}))).into_response()
}

fn token(book: &Book, body: &str) -> Response {
    let asked: Value = serde_json::from_str(body).unwrap_or_default();
    let code = asked["user_code"].as_str().and_then(|code| book.codes.get(code));
    match code.filter(|code| asked["device_auth_id"] == code.device.as_str()).map(|code| &code.standing) {
        None | Some(Standing::Expired) => refuse(StatusCode::BAD_REQUEST, "expired"),
        Some(Standing::Open | Standing::Typed(_)) => refuse(StatusCode::FORBIDDEN, "pending"),
        Some(Standing::Confirmed(username)) => Json(json!({
            "authorization_code": format!("for:{username}"), "code_challenge": "challenge", "code_verifier": "verifier",
        }))
        .into_response(),
    }
}

/// Tokens that name the account, as `email`. Nobody has signed them.
fn exchange(book: &Book, body: &str) -> Response {
    let code = field(body, "authorization_code");
    let code = if code.is_empty() { field(body, "code") } else { code };
    let username = code.strip_prefix("for:").map(str::to_owned).or_else(|| {
        let old = field(body, "refresh_token");
        old.strip_prefix("refresh:").map(str::to_owned)
    });
    let Some(username) = username.filter(|username| book.person(username).is_some()) else {
        return refuse(StatusCode::BAD_REQUEST, "invalid_grant");
    };
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({
        "email": username,
        "iat": now().as_secs(),
        "exp": now().as_secs() + DAY,
        "https://api.openai.com/auth": {
            "chatgpt_plan_type": "plus", "chatgpt_user_id": username, "chatgpt_account_id": username, "user_id": username,
        },
    });
    let token = format!(
        "{}.{}.{}",
        encode(&json!({"alg": "none", "typ": "JWT"})),
        encode(&claims),
        encode(&json!("none"))
    );
    Json(json!({
        "id_token": token, "access_token": token, "refresh_token": format!("refresh:{username}"), "expires_in": DAY,
    }))
    .into_response()
}
