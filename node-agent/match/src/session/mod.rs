//! The agents' own session files, read as a witness: who said what, which tokens, limits and compactions.
//!
//! Constraints. The files are written by others, change with every version, and may hold anything: unknown records are
//! counted and skipped, a broken one hides no other, nothing is an error and nothing panics. Nothing is held that grows
//! with the file, except a bounded index of messages for the agent that rewrites its own. Whether a thing was said just
//! now or is history is not known here: the reader decides by the time that stands in a testimony.
//!
//! Format. Claude Code and Codex append records, one JSON object a line. Gemini CLI does so since about 0.6x, with
//! records that replace earlier ones or the whole; before that its file is one JSON object, rewritten each time.
//!
//! Operation. [`LineSplitter`] makes lines of bytes; [`SessionParser::line`] reads one and tells what it holds, in order:
//! messages, and what happened. What an error, a warning or a notice says in words is not understood here: it is told as the
//! agent draws it, for the rules to read ([`Notice`]). [`SessionParser::facts`] is what is known of the session by then.

mod claude;
mod codex;
mod codex_limits;
mod gemini;
mod json;
mod lines;
#[cfg(test)]
mod tests;
mod text;

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use wa_proto::{AgentKind, EventKind, Message, RateLimitWindow, Role, TokenUsage, Witness};

use crate::{Notice, Testimony};
use json::Json;

pub use lines::{Cut, LineSplitter};

/// Tool calls that are remembered by their ids, to name their results.
const MAX_CALLS: usize = 64;
/// Bytes of a notice that rules read.
const MAX_NOTICE: usize = 4096;
/// Windows of the provider that are remembered.
const MAX_WINDOWS: usize = 16;

/// What one record says.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    Message(Message),
    Testimony(Testimony),
    Notice(Notice),
}

/// What is known of a session, after all that was read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SessionFacts {
    /// Empty while unknown.
    pub session_id: String,
    /// Directory in which the session began; empty where the file does not say.
    pub cwd: String,
    /// Version of the agent; empty where the file does not say.
    pub version: String,
    pub model: String,
    pub usage: TokenUsage,
    pub rate_limits: Vec<RateLimitWindow>,
    pub compactions: u32,
    /// When the session began, by the agent's clock.
    pub began: Option<Timestamp>,
    /// Not a person's session in a terminal: a sub-agent's, or one run by a script.
    pub background: bool,
    /// Gemini CLI: the SHA-256 of the directory in which the session began, in hex.
    pub project_hash: String,
    /// Records of kinds that nothing is known about.
    pub unknown: u64,
    /// Lines that were not JSON.
    pub broken: u64,
}

/// What a reader that begins in the middle of a file has to be told: sums over what came before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counted {
    /// The index of the next message.
    pub next_index: u64,
    pub usage: TokenUsage,
    pub compactions: u32,
}

/// Reads the session file of one agent.
#[derive(Debug)]
pub struct SessionParser {
    format: Format,
    common: Common,
}

#[derive(Debug)]
enum Format {
    Claude(claude::State),
    Codex(codex::State),
    Gemini(gemini::State),
}

/// What all formats fill.
#[derive(Debug, Default)]
struct Common {
    facts: SessionFacts,
    next_index: u64,
    /// Names of the latest tool calls, by their ids.
    calls: VecDeque<(String, String)>,
    said: Vec<Said>,
    /// Time of the current record, and the reader's clock where it has none.
    time: Option<Timestamp>,
    now: Timestamp,
}

/// What a record of words is by its structure.
#[derive(Debug, Clone, Copy)]
enum Meaning {
    Kind(EventKind),
    /// An error, and nothing tells which.
    Failure,
    Remark,
}

/// A message before it has its place.
#[derive(Debug, Default)]
struct Draft<'t> {
    id: &'t str,
    name: &'t str,
    text: &'t str,
    /// Bytes that the text has lost already.
    lost: u64,
}

impl SessionParser {
    /// `None`: nothing is known about this agent's files.
    pub fn new(agent: &AgentKind) -> Option<Self> {
        let format = match agent.as_str() {
            "claude" => Format::Claude(claude::State::default()),
            "codex" => Format::Codex(codex::State::default()),
            "gemini" => Format::Gemini(gemini::State::default()),
            _ => return None,
        };
        Some(Self { format, common: Common::default() })
    }

    pub fn facts(&self) -> &SessionFacts {
        &self.common.facts
    }

    /// The sums so far, for [`Self::go_on_from`].
    pub fn counted(&self) -> Counted {
        let Common { facts, next_index, .. } = &self.common;
        Counted { next_index: *next_index, usage: facts.usage, compactions: facts.compactions }
    }

    /// Takes over the sums of an earlier reader, whatever was read here to get the rest back.
    pub fn go_on_from(&mut self, counted: Counted) {
        self.common.next_index = counted.next_index;
        self.common.facts.usage = counted.usage;
        self.common.facts.compactions = counted.compactions;
    }

    /// Gives the messages from here on indices above `index`.
    pub fn leave_room(&mut self, index: u64) {
        self.common.next_index = self.common.next_index.max(index);
    }

    /// One line. `now` stands for the time of records that have none.
    pub fn line(&mut self, line: &[u8], now: Timestamp, tell: impl FnMut(Said)) {
        match Json::parse(line) {
            Some(record) => self.record(&record, now),
            None => self.common.facts.broken += 1,
        }
        self.common.said.drain(..).for_each(tell);
    }

    /// A file that is one JSON object, from its beginning; messages that were told before and have not changed are not
    /// told again. False: it is not complete, or not JSON; what came before the fault has been read.
    pub fn whole(&mut self, file: &[u8], now: Timestamp, tell: impl FnMut(Said)) -> bool {
        let complete = match &mut self.format {
            Format::Gemini(state) => {
                self.common.now = now;
                gemini::whole(state, &mut self.common, file)
            }
            Format::Claude(_) | Format::Codex(_) => false,
        };
        self.common.said.drain(..).for_each(tell);
        complete
    }

    fn record(&mut self, record: &Json, now: Timestamp) {
        self.common.now = now;
        self.common.time = record.get("timestamp").text().parse().ok();
        match &mut self.format {
            Format::Claude(state) => claude::record(state, &mut self.common, record),
            Format::Codex(state) => codex::record(state, &mut self.common, record),
            Format::Gemini(state) => gemini::record(state, &mut self.common, record),
        }
    }
}

impl Common {
    /// A message at the next index. One without a text is not told.
    fn message(&mut self, role: Role, draft: Draft<'_>) -> Option<u64> {
        let index = self.next_index;
        self.message_at(index, role, draft).then(|| {
            self.next_index += 1;
            index
        })
    }

    fn message_at(&mut self, index: u64, role: Role, draft: Draft<'_>) -> bool {
        if draft.text.trim().is_empty() {
            return false;
        }
        let (text, cut) = text::cut(draft.text, text::MAX_TEXT);
        self.said.push(Said::Message(Message {
            index,
            id: text::cut(draft.id, 200).0,
            role,
            name: text::cut(draft.name, 200).0,
            text,
            cut_bytes: cut + draft.lost,
            time: self.time,
        }));
        true
    }

    fn testify<const N: usize>(
        &mut self,
        kind: EventKind,
        key: &str,
        fields: [(&str, String); N],
        line: &str,
    ) {
        self.said.push(Said::Testimony(Testimony {
            kind,
            witness: Witness::SessionFile,
            key: text::cut(key, 200).0,
            rule: String::new(),
            fields: self.fields(fields),
            line: text::first_line(line),
            at: self.time.unwrap_or(self.now),
        }));
    }

    /// Words that rules read. `sign` is what the agent draws before them.
    fn notice<const N: usize>(
        &mut self,
        meaning: Meaning,
        key: &str,
        fields: [(&str, String); N],
        (sign, words): (&str, &str),
    ) {
        let (kind, failed) = match meaning {
            Meaning::Kind(kind) => (Some(kind), true),
            Meaning::Failure => (None, true),
            Meaning::Remark => (None, false),
        };
        self.said.push(Said::Notice(Notice {
            key: text::cut(key, 200).0,
            text: text::cut(&format!("{sign}{}", words.trim()), MAX_NOTICE).0,
            kind,
            failed,
            fields: self.fields(fields),
            at: self.time.unwrap_or(self.now),
        }));
    }

    /// Those that have a value, and the session.
    fn fields<const N: usize>(&self, fields: [(&str, String); N]) -> BTreeMap<String, String> {
        let mut fields: BTreeMap<String, String> = fields
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name.to_owned(), text::cut(&value, 500).0))
            .collect();
        if !self.facts.session_id.is_empty() {
            fields.insert("session_id".to_owned(), self.facts.session_id.clone());
        }
        fields
    }

    fn compacted(&mut self, key: &str, trigger: &str, text: &str, line: &str) {
        self.facts.compactions = self.facts.compactions.saturating_add(1);
        let text = if text.trim().is_empty() { line } else { text };
        self.message(Role::Compaction, Draft { id: key, text, ..Draft::default() });
        self.testify(EventKind::ContextCompacted, key, [("trigger", trigger.to_owned())], line);
    }

    fn called(&mut self, id: &str, name: &str) {
        if self.calls.len() == MAX_CALLS {
            self.calls.pop_front();
        }
        self.calls.push_back((text::cut(id, 200).0, text::cut(name, 200).0));
    }

    /// The name of the tool that was called with this id, or "".
    fn tool_of(&self, id: &str) -> String {
        let known = self.calls.iter().rev().find(|(call, _)| call == id);
        known.map(|(_, name)| name.clone()).unwrap_or_default()
    }

    fn window(&mut self, window: RateLimitWindow) {
        let known = &mut self.facts.rate_limits;
        match known.iter().position(|known| known.window == window.window) {
            Some(place) => known[place] = window,
            None if known.len() < MAX_WINDOWS => known.push(window),
            None => {}
        }
    }

    /// Sets a fact that is only told sometimes.
    fn fact(slot: &mut String, value: &str) {
        if !value.is_empty() && slot != value {
            *slot = text::cut(value, 4096).0;
        }
    }
}
