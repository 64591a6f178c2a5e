//! `wa.scan/1`: what the rules found in one file.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use wa_match::Detected;
use wa_proto::{AgentKind, PaneState};

use crate::output::table::{Cell, Column, column};
use crate::output::{Look, Shape};
use crate::shape::{known, or_dash, state_style};

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Scanned {
    file: String,
    agent: Option<String>,
    state: &'static str,
    events: Vec<Found>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Found {
    event: &'static str,
    agent: Option<String>,
    /// Null for what no rule but the screen's structure tells.
    rule: Option<String>,
    fields: BTreeMap<String, Value>,
    /// From 1: line of the file or, in a stream, row of the screen; null for what stands on no row.
    line: Option<usize>,
    /// Bytes of the stream that had come; null for a saved screen.
    offset: Option<u64>,
}

impl Scanned {
    /// `above`: lines of the file above the screen.
    pub(crate) fn of(
        file: &str,
        agent: Option<&AgentKind>,
        state: PaneState,
        events: Vec<(Detected, Option<u64>)>,
        above: usize,
    ) -> Self {
        let found = |(event, offset): (Detected, Option<u64>)| Found {
            event: event.kind.as_str(),
            agent: event.agent.map(|agent| agent.as_str().to_owned()),
            rule: known(event.rule),
            fields: fields(event.fields, event.secrets),
            line: event.row.map(|row| above + row + 1),
            offset,
        };
        Self {
            file: file.to_owned(),
            agent: agent.map(|agent| agent.as_str().to_owned()),
            state: state.as_str(),
            events: events.into_iter().map(found).collect(),
        }
    }
}

/// The fields with their types: percentages, counts and codes of HTTP are numbers, tokens an object, and `reset_time` is
/// there whenever words say when the limit lifts.
fn fields(fields: BTreeMap<String, String>, secrets: BTreeMap<String, String>) -> BTreeMap<String, Value> {
    let mut all: BTreeMap<String, Value> = BTreeMap::new();
    let mut tokens = serde_json::Map::new();
    for (name, value) in fields.into_iter().chain(secrets) {
        if let Some(which) = name.strip_prefix("tokens_")
            && let Ok(count) = value.replace([',', '.', ' '], "").parse::<u64>()
        {
            tokens.insert(which.to_owned(), count.into());
            continue;
        }
        let number = name.starts_with("percent") || name == "status";
        let value = match value.parse::<u64>() {
            Ok(count) if number => count.into(),
            _ => value.into(),
        };
        all.insert(name, value);
    }
    if !tokens.is_empty() {
        all.insert("tokens".to_owned(), Value::Object(tokens));
    }
    if all.contains_key("reset_at") {
        all.entry("reset_time".to_owned()).or_insert(Value::Null);
    }
    all
}

impl Found {
    /// The event in words.
    fn words(&self, wide: bool) -> String {
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        let mut words: Vec<String> = Vec::new();
        words.extend(self.offset.map(|offset| format!("@{offset}")));
        words.extend(self.line.map(|line| format!("{line}:")));
        words.push(self.event.to_owned());
        words.extend(self.fields.iter().map(|(name, value)| format!("{name}={}", text(value))));
        words.extend(self.rule.as_deref().filter(|_| wide).map(|rule| format!("({rule})")));
        words.join(" ")
    }
}

impl Shape for Scanned {
    const SCHEMA: &'static str = "wa.scan/1";

    fn name(&self) -> String {
        self.file.clone()
    }

    fn columns(_: bool) -> &'static [Column] {
        const COLUMNS: &[Column] =
            &[column("FILE", 24), column("AGENT", 7), column("STATE", 13), column("EVENTS", 6)];
        COLUMNS
    }

    fn row(&self, look: &Look) -> Vec<Cell> {
        let events: Vec<String> = self.events.iter().map(|event| event.words(look.wide())).collect();
        vec![
            Cell::plain(&self.file),
            Cell::plain(or_dash(self.agent.as_deref())),
            Cell::styled(self.state, state_style(self.state)),
            Cell::plain(if events.is_empty() { "-".to_owned() } else { events.join("; ") }.as_str()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn fields_have_their_types() {
        let said = map(&[
            ("percent_left", "25"),
            ("status", "529"),
            ("tokens_total", "1,862"),
            ("tokens_input", "1232"),
            ("reset_at", "5pm"),
            ("window", "5h"),
        ]);
        let all = fields(said, map(&[("user_code", "1234")]));
        assert_eq!(
            serde_json::to_string(&all).unwrap(),
            concat!(
                r#"{"percent_left":25,"reset_at":"5pm","reset_time":null,"status":529,"#,
                r#""tokens":{"input":1232,"total":1862},"user_code":"1234","window":"5h"}"#
            )
        );
    }
}
