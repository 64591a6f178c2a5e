//! `codex login --device-auth`, `login status` and `logout`, with the words of 0.144 and the protocol of the real one.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::home::CodexHome;
use super::http::{self, Answer};
use crate::clock;

const CLIENT_ID: &str = "scripted-codex";
/// What the printed code is good for.
const LIFE: Duration = Duration::from_secs(15 * 60);
/// Between two questions, where the server says nothing else; never more often than [`SOONEST`].
const INTERVAL: Duration = Duration::from_secs(5);
const SOONEST: Duration = Duration::from_millis(100);
const GREY: &str = "\x1b[90m";
const BLUE: &str = "\x1b[94m";
const PLAIN: &str = "\x1b[0m";

/// Signs in with a code, or says why not.
pub(super) fn device_login(home: &CodexHome, issuer: &str, release: &str) -> anyhow::Result<()> {
    let issuer = issuer.trim_end_matches('/');
    let tokens = sign_in(issuer, release)
        .map_err(|error| anyhow::anyhow!("Error logging in with device code: {error}"))?;
    home.sign_in(&tokens, clock::now())?;
    eprintln!("Successfully logged in");
    Ok(())
}

fn sign_in(issuer: &str, release: &str) -> anyhow::Result<Value> {
    let accounts = format!("{issuer}/api/accounts/deviceauth");
    let begun = ask_json(&format!("{accounts}/usercode"), &json!({ "client_id": CLIENT_ID }))?;
    anyhow::ensure!(begun.0 == 200, "device code request failed with status {}", begun.0);
    let text = |name: &str| begun.1[name].as_str().unwrap_or_default().to_owned();
    let (id, code) = (text("device_auth_id"), text("user_code"));
    print_code(issuer, release, &code);
    let interval = text("interval").parse().ok().and_then(|told| Duration::try_from_secs_f64(told).ok());
    let interval = interval.unwrap_or(INTERVAL).max(SOONEST);
    let end = Instant::now() + LIFE;
    let question = json!({ "device_auth_id": id, "user_code": code });
    let granted = loop {
        anyhow::ensure!(Instant::now() < end, "device auth timed out after 15 minutes");
        std::thread::sleep(interval);
        match ask_json(&format!("{accounts}/token"), &question)? {
            (200, granted) => break granted,
            (403 | 404, _) => {}
            (400, _) => anyhow::bail!("device auth failed with status 400 Bad Request"),
            (status, _) => anyhow::bail!("device auth failed with status {status}"),
        }
    };
    let of = |name: &str| granted[name].as_str().unwrap_or_default().to_owned();
    let form = format!(
        "grant_type=authorization_code&code={}&redirect_uri={issuer}/deviceauth/callback&client_id={CLIENT_ID}\
         &code_verifier={}",
        of("authorization_code"),
        of("code_verifier")
    );
    let Answer { status, body } =
        http::post(&format!("{issuer}/oauth/token"), "application/x-www-form-urlencoded", &form)?;
    anyhow::ensure!(status == 200, "token exchange failed with status {status}");
    Ok(serde_json::from_str(&body)?)
}

fn ask_json(url: &str, question: &Value) -> anyhow::Result<(u16, Value)> {
    let Answer { status, body } = http::post(url, "application/json", &question.to_string())?;
    Ok((status, serde_json::from_str(&body).unwrap_or(Value::Null)))
}

fn print_code(issuer: &str, release: &str, code: &str) {
    println!(
        "\nWelcome to Codex [v{GREY}{release}{PLAIN}]\n\
         {GREY}OpenAI's command-line coding agent{PLAIN}\n\n\
         Follow these steps to sign in with ChatGPT using device code authorization:\n\n\
         1. Open this link in your browser and sign in to your account\n   \
         {BLUE}{issuer}/codex/device{PLAIN}\n\n\
         2. Enter this one-time code {GREY}(expires in 15 minutes){PLAIN}\n   \
         {BLUE}{code}{PLAIN}\n\n\
         {GREY}Continue only if you started this login in Codex. If a website or another person gave you this code, \
         cancel.{PLAIN}\n"
    );
}

pub(super) fn status(home: &CodexHome) {
    let signed_in = home.account().is_some();
    eprintln!("{}", if signed_in { "Logged in using ChatGPT" } else { "Not logged in" });
}

pub(super) fn logout(home: &CodexHome) -> anyhow::Result<()> {
    let was_in = home.sign_out()?;
    eprintln!("{}", if was_in { "Successfully logged out" } else { "Not logged in" });
    Ok(())
}
