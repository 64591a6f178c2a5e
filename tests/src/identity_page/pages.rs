//! The pages, and what comes back from their forms.

use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse as _, Response};

use super::{Book, Standing, field, is_one_time_code};

pub(super) const DEVICE: &str = "/codex/device";
const LOG_IN: &str = "/log-in";
const PASSWORD: &str = "/log-in/password";
const SECOND: &str = "/mfa-challenge";
const CONSENT: &str = "/codex/consent";
const CONTINUE: &str = "Continue";
const DONE: &str = "/codex/device/done";

/// The button stays dead until the page's script has seen an input, as on pages that are drawn by one.
const SCRIPT: &str = "<script>for (const input of document.querySelectorAll('input')) input.addEventListener('input', () => \
    { document.querySelector('button').disabled = [...document.querySelectorAll('input')].some((i) => i.value === ''); });\
    </script>";

fn page(inner: &str) -> Response {
    let head = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Identity</title>";
    let sealed = [(
        header::CONTENT_SECURITY_POLICY,
        "default-src 'self'; style-src 'self'; script-src 'unsafe-inline'",
    )];
    (sealed, Html(format!("{head}<body><main>{inner}</main></body></html>"))).into_response()
}

fn form(title: &str, note: &str, inputs: &str) -> Response {
    labelled(title, note, inputs, CONTINUE)
}

fn labelled(title: &str, note: &str, inputs: &str, button: &str) -> Response {
    let button = format!("<button type=\"submit\" disabled>{button}</button>");
    page(&format!("<h1>{title}</h1><p>{note}</p><form method=\"post\">{inputs}{button}</form>{SCRIPT}"))
}

/// What else the page's script does.
fn habits(book: &Book) -> String {
    let on = |event: &str, act: &str| {
        format!("<script>addEventListener('{event}', (event) => {{ {act} }}, true);</script>")
    };
    let leaves = book.mood.leaves.iter().map(|to| on("focus", &format!("location.href = '{to}';")));
    let tells = book.mood.tells.then(|| on("input", "navigator.sendBeacon('/typed', event.target.value);"));
    leaves.chain(tells).collect()
}

fn go(to: &str) -> Response {
    (StatusCode::SEE_OTHER, [(header::LOCATION, to.to_owned())]).into_response()
}

/// Who has signed in, all the way.
fn signed_in(book: &Book, session: Option<&String>) -> Option<String> {
    let (username, whole) = book.sessions.get(session?)?;
    whole.then(|| username.clone())
}

/// Who has given a name at least.
fn named(book: &Book, session: Option<&String>) -> Option<String> {
    book.sessions.get(session?).map(|(username, _)| username.clone())
}

pub(super) fn show(book: &mut Book, path: &str, session: Option<String>) -> Response {
    let session = session.as_ref();
    match (path, signed_in(book, session), named(book, session)) {
        (DEVICE, Some(username), _) => device(book, &username, ""),
        (DEVICE, None, _) => match book.mood.redirect.clone() {
            Some(elsewhere) => go(&elsewhere),
            None => go(LOG_IN),
        },
        (LOG_IN, ..) => form(
            "Welcome back",
            &habits(book),
            "<input name=\"email\" type=\"text\" placeholder=\"Email address\">",
        ),
        (PASSWORD, _, Some(username)) => password(&username, ""),
        (SECOND, _, Some(_)) => second(""),
        (CONSENT, Some(_), _) => page(&format!(
            "<h1>Allow Codex to use your account?</h1><form method=\"post\" action=\"{CONSENT}\"><button>Allow</button></form>"
        )),
        (DONE, ..) => page("<h1>Signed in to Codex</h1><p>You may close this page.</p>"),
        _ => (StatusCode::NOT_FOUND, page("<h1>Not found</h1>")).into_response(),
    }
}

fn password(username: &str, note: &str) -> Response {
    form(
        "Enter your password",
        &format!("<b>{username}</b> {note}"),
        "<input name=\"password\" type=\"password\">",
    )
}

fn second(note: &str) -> Response {
    form(
        "Use your authenticator",
        note,
        "<input name=\"code\" autocomplete=\"one-time-code\" inputmode=\"numeric\">",
    )
}

fn device(book: &Book, username: &str, note: &str) -> Response {
    if book.mood.changed {
        return page("<h1>A new way to connect devices</h1><p>Scan the picture with your phone.</p>");
    }
    let inputs = match book.mood.boxes {
        true => "<input class=\"code\" name=\"part\" maxlength=\"1\">".repeat(9),
        false => "<input class=\"code\" name=\"user_code\">".to_owned(),
    };
    let button = book.mood.button.as_deref().unwrap_or(CONTINUE);
    labelled("Enter the code", &format!("Signed in as {username}. {note}"), &inputs, button)
}

pub(super) fn take(book: &mut Book, path: &str, session: Option<String>, body: &str) -> Response {
    match (path, signed_in(book, session.as_ref()), named(book, session.as_ref())) {
        (LOG_IN, ..) => {
            let name = format!("session-{}", book.next());
            book.sessions.insert(name.clone(), (field(body, "email"), false));
            // A session that outlives the browser.
            let cookie = format!("session={name}; Path=/; HttpOnly; Max-Age=86400");
            (StatusCode::SEE_OTHER, [(header::SET_COOKIE, cookie), (header::LOCATION, PASSWORD.to_owned())])
                .into_response()
        }
        (PASSWORD, _, Some(username)) => {
            let person = book.person(&username).filter(|person| person.password == field(body, "password"));
            match person.map(|person| person.one_time_secret.is_some()) {
                None => password(&username, "Incorrect email address or password"),
                Some(true) => go(SECOND),
                Some(false) => enter(book, session),
            }
        }
        (SECOND, _, Some(username)) => {
            let secret = book.person(&username).and_then(|person| person.one_time_secret.clone());
            match secret.is_some_and(|secret| is_one_time_code(&secret, &field(body, "code"))) {
                true => enter(book, session),
                false => second("That one-time code is wrong"),
            }
        }
        (DEVICE, Some(username), _) => type_code(book, &username, body),
        (CONSENT, Some(username), _) => {
            for code in book.codes.values_mut() {
                if code.standing == Standing::Typed(username.clone()) {
                    code.standing = Standing::Confirmed(username.clone());
                }
            }
            go(DONE)
        }
        _ => go(LOG_IN),
    }
}

fn enter(book: &mut Book, session: Option<String>) -> Response {
    if let Some((_, whole)) = session.and_then(|session| book.sessions.get_mut(&session)) {
        *whole = true;
    }
    go(DEVICE)
}

fn type_code(book: &mut Book, username: &str, body: &str) -> Response {
    let boxes: String = url::form_urlencoded::parse(body.as_bytes())
        .filter(|(key, _)| key == "part")
        .map(|(_, value)| value.into_owned())
        .collect();
    let bare = |text: &str| text.replace('-', "").to_uppercase();
    let typed = bare(&format!("{}{boxes}", field(body, "user_code")));
    let code = book.codes.iter_mut().find(|(code, _)| bare(code) == typed).map(|(_, code)| code);
    let note = match code {
        None => "We do not know this code.",
        Some(code) if code.standing == Standing::Open => {
            code.standing = Standing::Typed(username.to_owned());
            return go(CONSENT);
        }
        Some(_) => "This code has expired.",
    };
    device(book, username, note)
}
