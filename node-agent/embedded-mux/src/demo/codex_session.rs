//! The session file of the scripted Codex: a rollout as 0.144 writes it, made with the first turn and kept open.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use uuid::Uuid;

use super::home::{self, CodexHome};

/// Bytes of a session that are replayed when it is resumed.
const MAX_REPLAY: u64 = 4 << 20;
/// Folders of days and sessions in them that are looked through for one.
const MAX_LOOKED_AT: usize = 10_000;

/// A part of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    Asked(String),
    Answered(String),
    Compacted,
}

/// How much of a window of use is gone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Usage {
    /// Of the five-hour window.
    pub(super) percent: f64,
    pub(super) resets: Timestamp,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: String,
    sessions: PathBuf,
    release: String,
    file: Option<File>,
    turn: String,
    /// Model turns, for the tokens.
    answers: u64,
}

impl Session {
    pub(super) fn new(home: &CodexHome, release: &str) -> Self {
        Self {
            id: Uuid::now_v7().to_string(),
            sessions: home.0.join("sessions"),
            release: release.to_owned(),
            file: None,
            turn: String::new(),
            answers: 0,
        }
    }

    /// A session of this home, and what was said in it. `None` for the id: the latest.
    pub(super) fn resume(
        home: &CodexHome,
        release: &str,
        id: Option<&str>,
    ) -> anyhow::Result<(Self, Vec<Said>)> {
        let mut session = Self::new(home, release);
        let path = find(&session.sessions, id)?;
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        session.id = name[name.len().saturating_sub(36)..].to_owned();
        let said: Vec<Said> = home::read(&path, MAX_REPLAY)?.lines().filter_map(said).collect();
        session.answers = said.iter().filter(|said| matches!(said, Said::Answered(_))).count() as u64;
        session.file = Some(OpenOptions::new().append(true).open(&path)?);
        Ok((session, said))
    }

    /// Whether there is something to resume.
    pub(super) fn has_begun(&self) -> bool {
        self.file.is_some()
    }

    /// Tokens in all: input that was not cached, cached input, output, reasoning.
    pub(super) fn tokens(&self) -> [u64; 4] {
        [176, 1024, 90, 20].map(|each| each * self.answers)
    }

    pub(super) fn begin(&mut self, prompt: &str, now: Timestamp) -> io::Result<()> {
        if self.file.is_none() {
            self.file = Some(self.create(now)?);
            let cwd = std::env::current_dir().unwrap_or_default();
            let meta = json!({
                "session_id": self.id, "id": self.id, "timestamp": now.to_string(), "cwd": cwd,
                "originator": "codex-tui", "cli_version": self.release, "source": "cli",
            });
            self.append("session_meta", &meta, now)?;
        }
        self.turn = Uuid::now_v7().to_string();
        let turn = &self.turn;
        let started = json!({ "type": "task_started", "turn_id": turn, "started_at": now.as_second(),
                              "model_context_window": 258_400 });
        self.append("event_msg", &started, now)?;
        self.append("response_item", &message("user", "input_text", prompt), now)?;
        let prompt = json!({ "type": "user_message", "message": prompt, "images": [] });
        self.append("event_msg", &prompt, now)
    }

    pub(super) fn answer(&mut self, text: &str, usage: Option<Usage>, now: Timestamp) -> io::Result<()> {
        self.answers += 1;
        let said = json!({ "type": "agent_message", "message": text });
        self.append("event_msg", &said, now)?;
        self.append("response_item", &message("assistant", "output_text", text), now)?;
        self.used(usage, now)?;
        self.complete(Some(text), now)
    }

    /// The turn ended at a limit.
    pub(super) fn limited(&mut self, resets: Timestamp, now: Timestamp) -> io::Result<()> {
        self.used(Some(Usage { percent: 100.0, resets }), now)?;
        self.complete(None, now)
    }

    pub(super) fn compacted(&mut self, now: Timestamp) -> io::Result<()> {
        let summary = "Another language model started to solve this problem.";
        self.append("compacted", &json!({ "message": summary }), now)
    }

    pub(super) fn interrupted(&mut self, now: Timestamp) -> io::Result<()> {
        let aborted = json!({ "type": "turn_aborted", "turn_id": self.turn, "reason": "interrupted" });
        self.append("event_msg", &aborted, now)
    }

    fn complete(&mut self, last: Option<&str>, now: Timestamp) -> io::Result<()> {
        let done = json!({ "type": "task_complete", "turn_id": self.turn, "last_agent_message": last });
        self.append("event_msg", &done, now)
    }

    fn used(&mut self, usage: Option<Usage>, now: Timestamp) -> io::Result<()> {
        let [input, cached, output, reasoning] = self.tokens();
        let tokens = json!({
            "input_tokens": input + cached, "cached_input_tokens": cached, "output_tokens": output,
            "reasoning_output_tokens": reasoning, "total_tokens": input + cached + output,
        });
        let window = |usage: Usage| json!({ "used_percent": usage.percent, "window_minutes": 300, "resets_at": usage.resets.as_second() });
        let limits = usage.map(|usage| {
            json!({ "limit_id": "codex", "primary": window(usage), "secondary": null, "credits": null,
                    "plan_type": null, "rate_limit_reached_type": null })
        });
        let count = json!({
            "type": "token_count",
            "info": { "total_token_usage": tokens, "last_token_usage": tokens, "model_context_window": 258_400 },
            "rate_limits": limits,
        });
        self.append("event_msg", &count, now)
    }

    fn create(&self, now: Timestamp) -> io::Result<File> {
        let local = now.to_zoned(TimeZone::system());
        let day = self.sessions.join(local.strftime("%Y/%m/%d").to_string());
        home::make_dir(&day)?;
        let name = format!("rollout-{}-{}.jsonl", local.strftime("%Y-%m-%dT%H-%M-%S"), self.id);
        OpenOptions::new().append(true).create_new(true).mode(0o600).open(day.join(name))
    }

    fn append(&mut self, kind: &str, payload: &Value, now: Timestamp) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let line = json!({ "timestamp": format!("{now:.3}"), "type": kind, "payload": payload });
        file.write_all(format!("{line}\n").as_bytes())
    }
}

fn message(role: &str, kind: &str, text: &str) -> Value {
    json!({ "type": "message", "role": role, "content": [{ "type": kind, "text": text }] })
}

fn said(line: &str) -> Option<Said> {
    let record: Value = serde_json::from_str(line).ok()?;
    let payload = &record["payload"];
    let text = || payload["message"].as_str().map(str::to_owned);
    match (record["type"].as_str()?, payload["type"].as_str()) {
        ("compacted", _) => Some(Said::Compacted),
        ("event_msg", Some("user_message")) => text().map(Said::Asked),
        ("event_msg", Some("agent_message")) => text().map(Said::Answered),
        _ => None,
    }
}

/// The file of a session; the one with the latest name where no id is given.
fn find(sessions: &Path, id: Option<&str>) -> anyhow::Result<PathBuf> {
    let (mut dirs, mut found, mut looked) = (vec![sessions.to_owned()], None::<PathBuf>, 0);
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            looked += 1;
            anyhow::ensure!(looked < MAX_LOOKED_AT, "too many files in {}", sessions.display());
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                dirs.push(path);
            } else if let Some(stem) = name.strip_suffix(".jsonl").filter(|stem| stem.starts_with("rollout-"))
                && id.is_none_or(|id| stem.ends_with(id))
                && found.as_ref().is_none_or(|before| before.file_name() < path.file_name())
            {
                found = Some(path);
            }
        }
    }
    found.ok_or_else(|| match id {
        Some(id) => anyhow::anyhow!("No saved session found with ID {id}"),
        None => anyhow::anyhow!("No saved session found"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_found_by_its_id_and_replayed() {
        let dir = tempfile::tempdir().unwrap();
        let home = CodexHome(dir.path().to_owned());
        let now = "2026-11-22T08:00:00Z".parse().unwrap();
        let mut first = Session::new(&home, "0.144.0");
        assert!(!first.has_begun());
        first.begin("one\nand two", now).unwrap();
        first.answer("Done.", None, now).unwrap();
        first.compacted(now).unwrap();
        first.begin("three", now).unwrap();
        first.limited(now, now).unwrap();
        let (second, said) = Session::resume(&home, "0.144.0", Some(&first.id)).unwrap();
        assert_eq!((&second.id, second.tokens()), (&first.id, first.tokens()));
        let asked = |text: &str| Said::Asked(text.to_owned());
        let answered = Said::Answered("Done.".to_owned());
        assert_eq!(said, [asked("one\nand two"), answered, Said::Compacted, asked("three")]);
        assert_eq!(Session::resume(&home, "0.144.0", None).unwrap().0.id, first.id);
        assert!(Session::resume(&home, "0.144.0", Some("nothing")).is_err());
    }
}
