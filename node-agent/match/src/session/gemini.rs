//! Gemini CLI: `tmp/<project>/chats/session-<time>-<start of the id>.jsonl`, before 0.6x `.json`.
//!
//! Line by line: a head with `sessionId`, then messages with ids; a message that comes again with its id replaces the
//! first one (a tool call gets its result), and `{"$set": {"messages": […]}}` replaces the history that the model sees:
//! after a cancelled turn, a compression, a rewind. That list is the model's and not the conversation, so only messages
//! with unknown ids are taken from it. After a refused tool call the program writes the whole history once more, under
//! new ids and in its order: such copies are known by their words. A compression leaves no record but a new list that
//! does not go on from what was said; its first answer, a fixed sentence, is the mark.
//!
//! The old form is one object with the same messages in an array, written anew each time.

use std::collections::HashMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use wa_proto::{EventKind, Role, TokenUsage};

use super::json::{Budget, Json};
use super::{Common, Draft, Meaning, text};

/// Messages that can still be replaced, or known again.
const MAX_KNOWN: usize = 20_000;
/// What the model is made to say after a compression.
const AFTER_COMPRESSION: &str = "Got it. Thanks for the additional context!";

#[derive(Debug, Default)]
pub(super) struct State {
    /// What was told of each part of a message: its index and the hash of its text; `None` for one that is not told.
    known: HashMap<String, Option<(u64, u64)>>,
    /// Hashes of the words in the model's history, in order, to know copies.
    words: Vec<u64>,
    /// While the history is written once more: the place in `words` after the last copy.
    copying: Option<usize>,
    /// Tokens by message, as last counted.
    tokens: HashMap<String, TokenUsage>,
    /// The hash of the summary that the last compression left.
    compressed: Option<u64>,
    in_turn: bool,
}

pub(super) fn record(state: &mut State, common: &mut Common, record: &Json) {
    let set = record.get("$set");
    if !set.is_null() {
        Common::fact(&mut common.facts.session_id, set.get("sessionId").text());
        replaced(state, common, set.get("messages").list());
    } else if !record.get("sessionId").is_null() {
        head(common, record);
    } else if !record.get("type").is_null() {
        message(state, common, record);
    } else if record.get("$rewindTo").is_null() && record.get("$rewind").is_null() {
        common.facts.unknown += 1;
    } else {
        common.message(Role::Notice, Draft { text: "Rewound to an earlier message", ..Draft::default() });
    }
}

fn head(common: &mut Common, head: &Json) {
    let facts = &mut common.facts;
    Common::fact(&mut facts.session_id, head.get("sessionId").text());
    Common::fact(&mut facts.project_hash, head.get("projectHash").text());
    facts.began = facts.began.or_else(|| head.get("startTime").text().parse().ok());
    facts.background |= head.get("kind").text() == "subagent";
}

/// The model's history was replaced. While reading, this also is what a session begins with, and how it is resumed.
fn replaced(state: &mut State, common: &mut Common, messages: &[Json]) {
    if messages.is_empty() {
        return;
    }
    let compressed = messages.iter().take(4).any(|message| {
        message.get("type").text() == "gemini"
            && text::of_content(message.get("content")).0 == AFTER_COMPRESSION
    });
    if compressed {
        compression(state, common, messages);
        return;
    }
    state.copying = Some(0);
    for record in messages {
        common.time = record.get("timestamp").text().parse().ok().or(common.time);
        message(state, common, record);
    }
    state.copying = None;
}

/// The list stands for the same conversation, summed up. It is written again with every later replacement.
fn compression(state: &mut State, common: &mut Common, messages: &[Json]) {
    let mut summary = None;
    let mut words = Vec::new();
    for message in messages.iter().take(MAX_KNOWN) {
        let role = if message.get("type").text() == "user" { Role::User } else { Role::Assistant };
        let said = text::visible(&text::of_content(message.get("content")).0);
        if said.is_empty() || text::is_hidden(&said) {
            continue;
        }
        let hash = hash(role, &said);
        words.push(hash);
        // The list holds nothing that was not said before; its ids are new and will come again.
        let id = message.get("id").text();
        let key = format!("{id}/text");
        if !state.known.contains_key(&key) {
            state.remember(key, None);
        }
        if summary.is_none() && role == Role::User {
            summary = Some((hash, id, said, message.get("timestamp").text().parse().ok()));
        }
    }
    state.words = words;
    let Some((hash, id, said, time)) = summary else { return };
    if state.compressed.replace(hash) != Some(hash) {
        common.time = time.or(common.time);
        common.compacted(id, "", &said, "Chat history compressed");
    }
}

fn hash(role: Role, said: &str) -> u64 {
    crate::hash::hash(&[role.as_str(), said])
}

impl State {
    fn remember(&mut self, part: String, what: Option<(u64, u64)>) {
        if self.known.len() < MAX_KNOWN || self.known.contains_key(&part) {
            self.known.insert(part, what);
        }
    }

    /// Whether these words are a copy of what was said, at the place where the copies go on.
    fn is_copy(&mut self, hash: u64) -> bool {
        let Some(from) = self.copying else { return false };
        let found = self.words.iter().skip(from).position(|word| *word == hash);
        self.copying = found.map(|at| from + at + 1);
        found.is_some()
    }
}

fn message(state: &mut State, common: &mut Common, record: &Json) {
    let id = record.get("id").text();
    match record.get("type").text() {
        "user" => user(state, common, record, id),
        "gemini" => answer(state, common, record, id),
        kind @ ("info" | "error" | "warning") => {
            let (said, lost) = text::of_content(record.get("content"));
            let fresh = part(
                state,
                common,
                "text",
                Role::Notice,
                Draft { id, text: &said, lost, ..Draft::default() },
            );
            let (meaning, sign) = match kind {
                "error" => (Meaning::Failure, "✕ "),
                "warning" => (Meaning::Remark, "⚠ "),
                _ => (Meaning::Remark, "ℹ "),
            };
            if fresh {
                common.notice(meaning, id, [], (sign, &said));
            }
            if fresh && (kind == "error" || said == "Request cancelled.") {
                finish(state, common, id, if kind == "error" { "error" } else { "interrupted" });
            }
        }
        _ => common.facts.unknown += 1,
    }
}

fn user(state: &mut State, common: &mut Common, record: &Json, id: &str) {
    let content = record.get("content");
    if content.list().iter().any(|part| !part.get("functionResponse").is_null()) {
        return;
    }
    let (said, lost) = text::of_content(content);
    // The history is only written from its beginning, and that is the context of the session.
    if said.trim_start().starts_with("<session_context>") && state.copying.is_none() {
        state.copying = Some(0);
    }
    let said = text::visible(&said);
    if said.is_empty() || text::is_hidden(&said) {
        return;
    }
    if words(state, common, Role::User, Draft { id, text: &said, lost, ..Draft::default() }) {
        // No record says when a turn has come to its end, only when it was stopped.
        state.in_turn = true;
        common.testify(EventKind::TurnStarted, id, [], &said);
    }
}

fn answer(state: &mut State, common: &mut Common, record: &Json, id: &str) {
    Common::fact(&mut common.facts.model, record.get("model").text());
    tokens(state, common, record.get("tokens"), id);
    for (place, thought) in record.get("thoughts").list().iter().enumerate() {
        let (subject, about) = (thought.get("subject").text(), thought.get("description").text());
        let shown = format!("{subject}\n{about}");
        let draft = Draft { id, text: shown.trim(), ..Draft::default() };
        part(state, common, &format!("thought{place}"), Role::Reasoning, draft);
    }
    let (said, lost) = text::of_content(record.get("content"));
    let said = said.trim();
    if !said.is_empty() {
        words(state, common, Role::Assistant, Draft { id, text: said, lost, ..Draft::default() });
    }
    for call in record.get("toolCalls").list() {
        tool(state, common, call);
    }
}

fn tool(state: &mut State, common: &mut Common, call: &Json) {
    let (id, name) = (call.get("id").text(), call.get("name").text());
    let shown = text::of_call(name, call.get("args"));
    part(state, common, "call", Role::ToolCall, Draft { id, name, text: &shown, lost: 0 });
    let display = call.get("resultDisplay");
    let (mut result, mut lost) = match display {
        Json::Map(_) => (display.get("fileDiff").text().to_owned(), display.get("fileDiff").cut()),
        display => text::of_content(display),
    };
    if result.is_empty() {
        let answers = call.get("result").list().iter().map(|part| part.at(&["functionResponse", "response"]));
        for answer in answers {
            let told = [answer.get("output"), answer.get("error")].into_iter().find(|told| !told.is_null());
            if let Some(told) = told {
                result.push_str(told.text());
                lost += told.cut();
            }
        }
    }
    let status = call.get("status").text();
    if result.is_empty() && matches!(status, "cancelled" | "error") {
        result = status.to_owned();
    }
    part(state, common, "result", Role::ToolResult, Draft { id, name, text: &result, lost });
}

/// Words of the person or the model. True: they are new.
fn words(state: &mut State, common: &mut Common, role: Role, draft: Draft<'_>) -> bool {
    let hash = hash(role, draft.text);
    let key = format!("{}/text", draft.id);
    if draft.id.is_empty() || !state.known.contains_key(&key) {
        if state.is_copy(hash) {
            state.remember(key, None);
            return false;
        }
        if state.words.len() < MAX_KNOWN {
            state.words.push(hash);
        }
    }
    part(state, common, "text", role, draft)
}

/// One part of a message, unless it was told like this. A part that has changed keeps its index. True: it is new.
fn part(state: &mut State, common: &mut Common, part: &str, role: Role, draft: Draft<'_>) -> bool {
    let hash = hash(role, draft.text);
    let key = format!("{}/{part}", draft.id);
    match state.known.get(&key) {
        Some(_) if draft.id.is_empty() => common.message(role, draft).is_some(),
        Some(None) => false,
        Some(Some((_, told))) if *told == hash => false,
        Some(Some((index, _))) => {
            let index = *index;
            if common.message_at(index, role, draft) {
                state.remember(key, Some((index, hash)));
            }
            false
        }
        None => match common.message(role, draft) {
            Some(index) => {
                state.remember(key, Some((index, hash)));
                true
            }
            None => false,
        },
    }
}

fn tokens(state: &mut State, common: &mut Common, told: &Json, id: &str) {
    if told.is_null() {
        return;
    }
    let count = |name: &str| told.get(name).count();
    let usage = TokenUsage {
        input: count("input").saturating_sub(count("cached")).saturating_add(count("tool")),
        cached_input: count("cached"),
        output: count("output").saturating_add(count("thoughts")),
        ..TokenUsage::default()
    };
    let sum = &mut common.facts.usage;
    let before = state.tokens.get(id).copied().unwrap_or_default();
    sum.input = sum.input.saturating_add(usage.input).saturating_sub(before.input);
    sum.cached_input =
        sum.cached_input.saturating_add(usage.cached_input).saturating_sub(before.cached_input);
    sum.output = sum.output.saturating_add(usage.output).saturating_sub(before.output);
    sum.context = count("total");
    if state.tokens.len() < MAX_KNOWN {
        state.tokens.insert(text::cut(id, 200).0, usage);
    }
}

fn finish(state: &mut State, common: &mut Common, id: &str, reason: &str) {
    if std::mem::take(&mut state.in_turn) {
        common.testify(EventKind::TurnFinished, id, [("reason", reason.to_owned())], "");
    }
}

// ---- the whole file as one object

/// Reads message by message, so that a file that is being written gives what it holds already.
pub(super) fn whole(state: &mut State, common: &mut Common, file: &[u8]) -> bool {
    let text = String::from_utf8_lossy(file);
    let mut source = serde_json::Deserializer::from_str(&text);
    Whole { state, common }.deserialize(&mut source).is_ok() && source.end().is_ok()
}

struct Whole<'s> {
    state: &'s mut State,
    common: &'s mut Common,
}

impl<'de> DeserializeSeed<'de> for Whole<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Whole<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a session")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let mut about = Vec::new();
        while let Some(name) = entries.next_key::<String>()? {
            match name.as_str() {
                "messages" => entries.next_value_seed(Messages { state: self.state, common: self.common })?,
                "sessionId" | "projectHash" | "startTime" | "kind" => {
                    about.push((name, entries.next_value_seed(Budget::default().seed())?));
                    head(self.common, &Json::Map(about.clone()));
                }
                _ => {
                    entries.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

struct Messages<'s> {
    state: &'s mut State,
    common: &'s mut Common,
}

impl<'de> DeserializeSeed<'de> for Messages<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Messages<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(record) = items.next_element_seed(Budget::default().seed())? {
            self.common.time = record.get("timestamp").text().parse().ok();
            message(self.state, self.common, &record);
        }
        Ok(())
    }
}
