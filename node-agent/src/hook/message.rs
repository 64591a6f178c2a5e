//! What travels from a hook to the node: the few fields of the agent's JSON that matter, as text.
//!
//! The agents differ in what they send and add to it with every version, so fields are picked by name, and one of an
//! unforeseen type counts as absent. JSON that breaks off gives the fields before the break: a prompt of a megabyte
//! comes after the session's name.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

/// Bytes of a name or a path; what is longer, or has control characters, is none.
const MAX_FIELD: usize = 4096;
/// Bytes of prose; what is longer is cut.
const MAX_PROSE: usize = 1024;

/// Fields that are taken along; in our spelling, which has `_` where Codex's `notify` has `-`.
const WANTED: &[&str] = &[
    "agent_id",
    "client",
    "cwd",
    "error",
    "hook_event_name",
    "notification_type",
    "prompt_id",
    "reason",
    "session_id",
    "source",
    "thread_id",
    "tool_name",
    "transcript_path",
    "trigger",
    "turn_id",
    "type",
];
/// Fields that are read by people.
const PROSE: &[&str] = &["error_details", "last_assistant_message", "message"];

/// One call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Message {
    pub(super) agent: String,
    /// As the agent names it.
    pub(super) event: String,
    pub(super) said: BTreeMap<String, String>,
}

impl Message {
    /// What an agent's JSON says; `event` is what the command line says it is, for agents whose JSON does not. `None`
    /// when it names no session or no event: then it is about nothing.
    pub(super) fn of(agent: &str, event: Option<&str>, json: &[u8]) -> Option<Self> {
        let mut said = BTreeMap::new();
        let text = String::from_utf8_lossy(json);
        // An error is where the text broke off, or the whole of it is no JSON: then nothing was said.
        Picked(&mut said).deserialize(&mut serde_json::Deserializer::from_str(&text)).ok();
        if let Some(thread) = said.remove("thread_id") {
            said.entry("session_id".to_owned()).or_insert(thread);
        }
        let kind = said.remove("type");
        let named = said.remove("hook_event_name").or(kind);
        let event = named.or_else(|| event.map(str::to_owned))?;
        if event != "StopFailure" {
            // Anywhere else this is the answer itself, and no business of ours.
            said.remove("last_assistant_message");
        }
        said.contains_key("session_id").then(|| Self { agent: agent.to_owned(), event, said })
    }

    /// With its length in front.
    pub(super) fn framed(&self) -> Option<Vec<u8>> {
        let body = serde_json::to_vec(self).ok().filter(|body| body.len() <= super::MAX_MESSAGE)?;
        let mut frame = u32::try_from(body.len()).ok()?.to_be_bytes().to_vec();
        frame.extend(body);
        Some(frame)
    }

    pub(super) fn get(&self, field: &str) -> Option<&str> {
        self.said.get(field).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// Picks the wanted fields of an object into a map.
struct Picked<'a>(&'a mut BTreeMap<String, String>);

impl<'de> DeserializeSeed<'de> for Picked<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Picked<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            let name = name.replace('-', "_");
            let prose = PROSE.contains(&name.as_str());
            if !prose && !WANTED.contains(&name.as_str()) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            if let Some(value) = map.next_value::<Word>()?.0
                && let Some(value) = bounded(value, prose)
            {
                self.0.insert(name, value);
            }
        }
        Ok(())
    }
}

fn bounded(mut value: String, prose: bool) -> Option<String> {
    if prose {
        value.truncate(value.floor_char_boundary(MAX_PROSE));
        return Some(value);
    }
    (value.len() <= MAX_FIELD && !value.contains(char::is_control)).then_some(value)
}

/// A text, or anything else as nothing.
struct Word(Option<String>);

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordVisitor).map(Word)
    }
}

struct WordVisitor;

impl<'de> Visitor<'de> for WordVisitor {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }
    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(text.to_owned()))
    }
    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: &str = "b5f6c1c2-1111-2222-3333-444455556666";

    #[test]
    fn a_notify_of_codex_is_read_in_its_own_spelling() {
        let json = format!(
            r#"{{"type":"agent-turn-complete","thread-id":"{ID}","turn-id":"12","cwd":"/w","input-messages":["secret"],"last-assistant-message":"secret"}}"#
        );
        let message = Message::of("codex", Some("notify"), json.as_bytes()).unwrap();
        assert_eq!(message.event, "agent-turn-complete");
        assert_eq!((message.get("session_id"), message.get("turn_id")), (Some(ID), Some("12")));
        assert!(!format!("{message:?}").contains("secret"), "{message:?}");
    }

    #[test]
    fn what_breaks_off_gives_what_came_before() {
        let json = format!(
            r#"{{"session_id":"{ID}","hook_event_name":"UserPromptSubmit","prompt":"{}"#,
            "x".repeat(90)
        );
        let message = Message::of("claude", None, json.as_bytes()).unwrap();
        assert_eq!((message.event.as_str(), message.get("session_id")), ("UserPromptSubmit", Some(ID)));
    }

    #[test]
    fn fields_of_another_type_or_size_are_absent() {
        let long = "y".repeat(MAX_FIELD + 1);
        let json = format!(
            r#"{{"session_id":"{ID}","cwd":["/a"],"trigger":{{"a":1}},"reason":7,"source":null,"transcript_path":"/{long}","message":"{long}"}}"#
        );
        let message = Message::of("claude", Some("Notification"), json.as_bytes()).unwrap();
        for name in ["cwd", "trigger", "reason", "source", "transcript_path"] {
            assert_eq!(message.get(name), None, "{name}");
        }
        assert_eq!(message.get("message").map(str::len), Some(MAX_PROSE), "prose is cut");
    }

    #[test]
    fn without_a_session_or_an_event_it_is_about_nothing() {
        for json in ["", "null", "[]", "{", "{}", r#"{"session_id":7}"#, r#"{"hook_event_name":"Stop"}"#] {
            assert_eq!(Message::of("claude", Some("Stop"), json.as_bytes()), None, "{json}");
        }
        let json = format!(r#"{{"session_id":"{ID}"}}"#);
        assert_eq!(Message::of("claude", None, json.as_bytes()), None);
    }

    proptest! {
        #[test]
        fn nothing_that_is_read_does_harm(json in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Some(message) = Message::of("claude", Some("Stop"), &json) {
                prop_assert!(message.framed().is_some());
            }
        }

        #[test]
        fn the_largest_message_fits(value in "[\"\\\\]{4096}|\u{1}{4096}") {
            let fields: Vec<String> = WANTED.iter().chain(PROSE)
                .map(|name| format!("{}:{}", serde_json::json!(name), serde_json::json!(value))).collect();
            let json = format!("{{{}}}", fields.join(","));
            let message = Message::of("codex", None, json.as_bytes());
            prop_assert!(message.is_none_or(|message| message.framed().is_some()));
        }
    }
}
