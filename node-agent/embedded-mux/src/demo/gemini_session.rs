//! The session file of the scripted Gemini CLI: a chat as 0.61 writes it, made with the first prompt.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::home;

/// Bytes of a session that are replayed when it is resumed.
const MAX_REPLAY: u64 = 4 << 20;

#[derive(Debug, Clone)]
pub(super) struct Chat {
    pub(super) id: String,
    chats: PathBuf,
    file: Option<PathBuf>,
}

/// A prompt, or what was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    Asked(String),
    Answered(String),
}

impl Chat {
    /// `home` has the folder `.gemini`.
    pub(super) fn new(home: &std::path::Path, project: &str) -> Self {
        let chats = home.join(".gemini/tmp").join(project).join("chats");
        Self { id: random_id(), chats, file: None }
    }

    /// Goes on with another session of the same home and project: by its id, or `latest`.
    pub(super) fn resume(&mut self, wanted: &str) -> anyhow::Result<Vec<Said>> {
        let mut names: Vec<PathBuf> = std::fs::read_dir(&self.chats)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        names.sort();
        for path in names.into_iter().rev() {
            let text = home::read(&path, MAX_REPLAY)?;
            let mut lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let id = lines.next().and_then(|first| first["sessionId"].as_str().map(str::to_owned));
            let Some(id) = id.filter(|id| wanted == "latest" || wanted == id) else { continue };
            (self.id, self.file) = (id, Some(path));
            return Ok(lines.filter_map(|line| said(&line)).collect());
        }
        anyhow::bail!("Error resuming session: Invalid session identifier \"{wanted}\".")
    }

    pub(super) fn asked(&mut self, text: &str, now: Timestamp) -> io::Result<()> {
        if self.file.is_none() {
            home::make_dir(&self.chats)?;
            let name = format!("session-{}-{}.jsonl", now.strftime("%Y-%m-%dT%H-%M"), &self.id[..8]);
            self.file = Some(self.chats.join(name));
            let begun = now.to_string();
            let head = json!({ "sessionId": self.id, "projectHash": "", "startTime": begun, "lastUpdated": begun,
                               "kind": "main" });
            self.append(&head)?;
        }
        let id = random_id();
        self.append(
            &json!({ "id": id, "timestamp": now.to_string(), "type": "user", "content": [{ "text": text }] }),
        )
    }

    pub(super) fn answered(&self, text: &str, now: Timestamp) -> io::Result<()> {
        let id = random_id();
        let tokens =
            json!({ "input": 1200, "output": 60, "cached": 800, "thoughts": 0, "tool": 0, "total": 1260 });
        self.append(&json!({ "id": id, "timestamp": now.to_string(), "type": "gemini", "content": text,
                             "tokens": tokens, "model": super::gemini::MODEL }))
    }

    fn append(&self, line: &Value) -> io::Result<()> {
        let Some(path) = &self.file else { return Ok(()) };
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        file.write_all(format!("{line}\n").as_bytes())
    }
}

/// The random end of an id stands first: file names begin with it.
fn random_id() -> String {
    let mut bytes = Uuid::now_v7().into_bytes();
    bytes.reverse();
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

fn said(line: &Value) -> Option<Said> {
    match line["type"].as_str()? {
        "user" => Some(Said::Asked(line["content"][0]["text"].as_str()?.to_owned())),
        "gemini" => Some(Said::Answered(line["content"].as_str()?.to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chat_is_found_by_its_id() {
        let home = tempfile::tempdir().unwrap();
        let now = "2026-11-22T08:00:00Z".parse().unwrap();
        let mut first = Chat::new(home.path(), "webapp");
        first.asked("one", now).unwrap();
        first.answered("Done.", now).unwrap();
        let said = [Said::Asked("one".into()), Said::Answered("Done.".into())];
        for wanted in [first.id.as_str(), "latest"] {
            let mut second = Chat::new(home.path(), "webapp");
            assert_eq!(second.resume(wanted).unwrap(), said);
            assert_eq!(second.id, first.id);
        }
        assert!(Chat::new(home.path(), "webapp").resume("nothing").is_err());
        assert!(Chat::new(home.path(), "elsewhere").resume("latest").is_err());
    }
}
