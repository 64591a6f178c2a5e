//! A stand-in for the services that the models of real agents run on, for runs without a route out.
//!
//! It answers the Responses API as Codex asks it and the Code Assist API as Gemini CLI does, in the shapes of the providers'
//! public clients, and keeps count of what each account asked. Accounts are told apart by the bearer token: its payload
//! names the account as `email`; one that cannot be read is the account `""`. What an account may do is set from outside:
//! so much until an instant, or nothing.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// What was asked of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub account: String,
    /// The last thing that its user said.
    pub prompt: String,
    /// It was told that its limit is reached.
    pub limited: bool,
}

#[derive(Debug, Default)]
struct Ledger {
    asked: Vec<Asked>,
    /// Seconds since the epoch until which an account has reached its limit.
    limited: HashMap<String, u64>,
    /// Input tokens that the next answer to an account claims to have cost.
    tokens: HashMap<String, u64>,
}

/// Serves until it is dropped.
#[derive(Debug)]
pub struct ModelService {
    at: SocketAddr,
    ledger: Arc<Mutex<Ledger>>,
    _runtime: tokio::runtime::Runtime,
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a service of its own has a clock of its own")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl ModelService {
    /// On a free port of the loopback.
    pub fn start() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let ledger = Arc::<Mutex<Ledger>>::default();
        let router = Router::new().fallback(answer).with_state(Arc::clone(&ledger));
        let listener = runtime.block_on(tokio::net::TcpListener::bind(("127.0.0.1", 0)))?;
        let at = listener.local_addr()?;
        drop(runtime.spawn(async move { axum::serve(listener, router).await }));
        Ok(Self { at, ledger, _runtime: runtime })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.at)
    }

    /// The account has reached its limit for so long.
    pub fn limit(&self, account: &str, time: Duration) {
        lock(&self.ledger).limited.insert(account.to_owned(), now() + time.as_secs());
    }

    /// The next answer to the account claims to have cost so many input tokens.
    pub fn cost(&self, account: &str, tokens: u64) {
        lock(&self.ledger).tokens.insert(account.to_owned(), tokens);
    }

    /// The oldest first.
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.ledger).asked.clone()
    }
}

async fn answer(
    State(ledger): State<Arc<Mutex<Ledger>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let account = account(&headers);
    match (method.as_str(), uri.path()) {
        ("POST", path) if path.ends_with("/responses") => codex(&ledger, &account, &headers, &body),
        ("POST", path) if path.ends_with("/responses/compact") => compacted(),
        ("GET", path) if path.ends_with("/wham/accounts/check") => routing(&account),
        ("GET", path) if path.ends_with("/wham/usage") => usage(),
        ("POST", path) if path.ends_with(":loadCodeAssist") => load_code_assist(),
        ("POST", path) if path.ends_with(":retrieveUserQuota") => quota(),
        ("POST", path) if path.ends_with(":listExperiments") => {
            axum::Json(json!({"experimentIds": [], "flags": []})).into_response()
        }
        ("POST", path)
            if path.contains(":recordCodeAssistMetrics") || path.contains(":fetchAdminControls") =>
        {
            axum::Json(json!({})).into_response()
        }
        ("POST", path) if path.contains(":countTokens") => {
            axum::Json(json!({"totalTokens": 42})).into_response()
        }
        ("POST", path) if path.contains(":streamGenerateContent") => gemini(&ledger, &account, &body),
        ("POST", path) if path.contains(":generateContent") => gemini_aside(),
        _ => (StatusCode::NOT_FOUND, axum::Json(json!({"error": {"message": "not found", "code": 404}})))
            .into_response(),
    }
}

/// Whose token it is.
fn account(headers: &HeaderMap) -> String {
    let read = || {
        let token = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?;
        let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
        let claims: Value = serde_json::from_slice(&payload).ok()?;
        claims["email"].as_str().map(str::to_owned)
    };
    read().unwrap_or_default()
}

/// Notes a question; seconds until the account may ask again, if it may not now.
fn ask(ledger: &Mutex<Ledger>, account: &str, prompt: String) -> Option<u64> {
    let mut ledger = lock(ledger);
    let left = ledger.limited.get(account).map_or(0, |until| until.saturating_sub(now()));
    ledger.asked.push(Asked { account: account.to_owned(), prompt, limited: left > 0 });
    (left > 0).then_some(left)
}

fn events(headers: &[(&'static str, String)], events: &[(Option<&str>, Value)]) -> Response {
    let one = |(name, data): &(Option<&str>, Value)| match name {
        Some(name) => format!("event: {name}\ndata: {data}\n\n"),
        None => format!("data: {data}\n\n"),
    };
    let text: String = events.iter().map(one).collect();
    let mut response = text.into_response();
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/event-stream"));
    add(&mut response, headers);
    response
}

fn add(response: &mut Response, headers: &[(&'static str, String)]) {
    for (name, value) in headers {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(*name, value);
        }
    }
}

// ---- Codex

fn windows(used: u32, resets_in: u64) -> Vec<(&'static str, String)> {
    let week = 260_000;
    vec![
        ("x-codex-primary-used-percent", used.to_string()),
        ("x-codex-primary-window-minutes", "300".to_owned()),
        ("x-codex-primary-reset-at", (now() + resets_in).to_string()),
        ("x-codex-primary-reset-after-seconds", resets_in.to_string()),
        ("x-codex-secondary-used-percent", "5".to_owned()),
        ("x-codex-secondary-window-minutes", "10080".to_owned()),
        ("x-codex-secondary-reset-at", (now() + week).to_string()),
        ("x-codex-secondary-reset-after-seconds", week.to_string()),
    ]
}

/// The text of the last message of the user.
fn last_said(body: &Value) -> String {
    let said = body["input"].as_array().into_iter().flatten().rev().find(|item| item["role"] == "user");
    let parts = said.and_then(|item| item["content"].as_array());
    parts.into_iter().flatten().filter_map(|part| part["text"].as_str()).collect()
}

fn codex(ledger: &Mutex<Ledger>, account: &str, headers: &HeaderMap, body: &Value) -> Response {
    // Newer versions ask beside the turn for a title of the conversation.
    let beside = headers.get("x-codex-turn-metadata").and_then(|value| value.to_str().ok());
    if beside.is_some_and(|text| text.contains("thread_title")) {
        return said(&json!({"title": "a title"}).to_string(), 100);
    }
    if let Some(left) = ask(ledger, account, last_said(body)) {
        let error = json!({"error": {
            "type": "usage_limit_reached",
            "message": "The usage limit has been reached",
            "plan_type": "plus",
            "resets_at": now() + left,
            "resets_in_seconds": left,
        }});
        let mut response = (StatusCode::TOO_MANY_REQUESTS, axum::Json(error)).into_response();
        add(&mut response, &windows(100, left));
        return response;
    }
    let tokens = lock(ledger).tokens.remove(account).unwrap_or(1200);
    said(&format!("Done: {}.", account.split('@').next().unwrap_or_default()), tokens)
}

fn said(text: &str, tokens: u64) -> Response {
    let item =
        |content: Value| json!({"type": "message", "role": "assistant", "id": "msg_1", "content": content});
    let stream = [
        json!({"type": "response.created", "response": {"id": "resp_1"}}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": item(json!([]))}),
        json!({"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": text}),
        json!({"type": "response.output_item.done", "output_index": 0,
            "item": item(json!([{"type": "output_text", "text": text}]))}),
        json!({"type": "response.completed", "response": {"id": "resp_1", "usage": {
            "input_tokens": tokens, "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 90, "output_tokens_details": {"reasoning_tokens": 20},
            "total_tokens": tokens + 90}}}),
    ];
    let stream: Vec<_> = stream.iter().map(|data| (data["type"].as_str(), data.clone())).collect();
    events(&windows(12, 7200), &stream)
}

fn compacted() -> Response {
    let content = json!([{"type": "input_text", "text": "A summary of what was done."}]);
    axum::Json(json!({"output": [{"type": "message", "role": "user", "content": content}]})).into_response()
}

fn usage() -> Response {
    let window = |used: u32, seconds: u64, left: u64| json!({"used_percent": used, "limit_window_seconds": seconds, "reset_after_seconds": left, "reset_at": now() + left});
    axum::Json(json!({"plan_type": "plus", "rate_limit": {
        "allowed": true, "limit_reached": false,
        "primary_window": window(12, 18_000, 7200), "secondary_window": window(5, 604_800, 260_000)}}))
    .into_response()
}

/// Where newer versions of Codex are told to send a workspace's requests.
fn routing(account: &str) -> Response {
    axum::Json(json!({
        "accounts": [{
            "id": account, "name": "dev", "structure": "personal", "plan_type": "plus",
            "can_access_with_session": true, "sso_connection_name": null, "is_deactivated": false,
            "is_fedramp_compliant_workspace": false, "workspace_backend_origin": "https://chatgpt.com",
            "account_routing_override": "NO_CONSTRAINT", "profile_picture_url": null,
        }],
        "default_account_id": account,
        "account_ordering": [account],
    }))
    .into_response()
}

// ---- Gemini

fn load_code_assist() -> Response {
    let tier = json!({"id": "standard-tier", "name": "Gemini Code Assist",
        "userDefinedCloudaicompanionProject": false, "hasOnboardedPreviously": true});
    axum::Json(json!({"currentTier": tier, "allowedTiers": [tier], "cloudaicompanionProject": "a-project"}))
        .into_response()
}

fn quota() -> Response {
    let models = ["gemini-2.5-pro", "gemini-2.5-flash", "gemini-3-pro-preview", "gemini-3-flash-preview"];
    let bucket = |model: &&str| json!({"modelId": model, "remainingFraction": 0.42, "remainingAmount": "42", "tokenType": "REQUESTS"});
    axum::Json(json!({"buckets": models.iter().map(bucket).collect::<Vec<_>>()})).into_response()
}

fn gemini(ledger: &Mutex<Ledger>, account: &str, body: &Value) -> Response {
    let contents = [&body["request"]["contents"], &body["contents"]].into_iter().find_map(Value::as_array);
    let last = contents.into_iter().flatten().rev().find(|content| content["role"] == "user");
    let parts = last.and_then(|content| content["parts"].as_array());
    let prompt = parts.into_iter().flatten().filter_map(|part| part["text"].as_str()).collect();
    if let Some(left) = ask(ledger, account, prompt) {
        let details = json!([
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "QUOTA_EXHAUSTED",
                "domain": "cloudcode-pa.googleapis.com", "metadata": {"model": "gemini-2.5-pro"}},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": format!("{left}s")},
        ]);
        let error = json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED",
            "message": "Resource has been exhausted (e.g. check quota).", "details": details}});
        return (StatusCode::TOO_MANY_REQUESTS, axum::Json(error)).into_response();
    }
    let answer = json!({"response": {
        "candidates": [{"content": {"role": "model", "parts": [{"text": "Done, and tested.\n"}]}, "index": 0, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 1200, "candidatesTokenCount": 60, "totalTokenCount": 1260},
        "modelVersion": "gemini-2.5-pro", "responseId": "r1"}, "traceId": "t1"});
    events(&[], &[(None, answer)])
}

/// Questions beside the turn: which model, who speaks next.
fn gemini_aside() -> Response {
    let text = json!({"complexity_reasoning": "simple", "complexity_score": 10, "reasoning": "none",
        "next_speaker": "user", "model_choice": "flash"});
    axum::Json(json!({"response": {
        "candidates": [{"content": {"role": "model", "parts": [{"text": text.to_string()}]}, "index": 0, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 900, "candidatesTokenCount": 20, "totalTokenCount": 920}}, "traceId": "t"}))
    .into_response()
}
