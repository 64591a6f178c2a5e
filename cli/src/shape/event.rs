//! `wa.events/1`: one event.

use std::collections::BTreeMap;

use serde::Serialize;
use wa_proto::Timestamp;
use wa_proto::wire::{Invalid, from_us, v1};

use super::{address, clock, known, need, or_dash, uuid};
use crate::output::table::{Cell, Column, column};
use crate::output::{Look, Shape};

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct EventLine {
    id: Option<String>,
    time: Timestamp,
    /// Null for what happens to a mux or a node; then `fields` has the host.
    pub(crate) pane: Option<String>,
    pub(crate) event: String,
    pub(crate) agent: Option<String>,
    rule: Option<String>,
    pub(crate) fields: BTreeMap<String, String>,
    witnesses: Vec<String>,
    pub(crate) line: Option<String>,
}

impl TryFrom<v1::EventItem> for EventLine {
    type Error = Invalid;
    fn try_from(item: v1::EventItem) -> Result<Self, Invalid> {
        let event = need("item.event", item.event)?;
        let pane = event.pane.map(|pane| address(&item.host, &pane)).transpose()?;
        let mut fields: BTreeMap<String, String> = event.fields.into_iter().collect();
        if pane.is_none() && !item.host.is_empty() {
            fields.entry("host".to_owned()).or_insert(item.host);
        }
        Ok(Self {
            id: uuid("event.id", &event.id)?,
            time: from_us("item.time_us", item.time_us)?,
            pane: pane.map(|pane| pane.to_string()),
            event: event.event,
            agent: known(event.agent),
            rule: known(event.rule),
            fields,
            witnesses: event.witnesses,
            line: known(event.line),
        })
    }
}

impl EventLine {
    /// `key=value` for tables.
    fn field_words(&self) -> String {
        let words: Vec<String> = self.fields.iter().map(|(key, value)| format!("{key}={value}")).collect();
        if words.is_empty() { "-".to_owned() } else { words.join(" ") }
    }
}

impl Shape for EventLine {
    const SCHEMA: &'static str = "wa.events/1";

    fn name(&self) -> String {
        self.id.clone().unwrap_or_default()
    }

    fn columns(wide: bool) -> &'static [Column] {
        const TABLE: &[Column] = &[
            column("TIME", 20),
            column("PANE", 12),
            column("EVENT", 18),
            column("AGENT", 6),
            column("LINE", 4),
        ];
        const WIDE: &[Column] = &[
            column("TIME", 20),
            column("PANE", 12),
            column("EVENT", 18),
            column("AGENT", 6),
            column("RULE", 24),
            column("WITNESSES", 14),
            column("FIELDS", 24),
            column("LINE", 4),
        ];
        if wide { WIDE } else { TABLE }
    }

    fn row(&self, look: &Look) -> Vec<Cell> {
        let mut row = vec![
            Cell::plain(&clock(self.time)),
            Cell::plain(or_dash(self.pane.as_deref().or(self.fields.get("host").map(String::as_str)))),
            Cell::plain(&self.event),
            Cell::plain(or_dash(self.agent.as_deref())),
        ];
        if look.wide() {
            row.push(Cell::plain(or_dash(self.rule.as_deref())));
            row.push(Cell::plain(&self.witnesses.join(",")));
            row.push(Cell::plain(&self.field_words()));
        }
        row.push(Cell::plain(self.line.as_deref().unwrap_or("").trim()));
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Format, testing};

    fn printed(item: v1::EventItem) -> String {
        let (mut out, sink) = testing::out(Format::Jsonl);
        out.list(&[EventLine::try_from(item).unwrap()]).unwrap();
        sink.text()
    }

    #[test]
    fn events_are_as_on_the_page() {
        let item = v1::EventItem {
            host: "web-1".into(),
            time_us: 1_788_264_000_000_000,
            event: Some(v1::Event {
                id: (0..16).collect(),
                pane: Some(v1::PaneRef { mux: "main".into(), generation: "g".into(), pane_id: 3 }),
                event: "context.compacted".into(),
                agent: "claude".into(),
                rule: "claude.compacted".into(),
                fields: [("trigger".to_owned(), "auto".to_owned())].into(),
                witnesses: vec!["screen".into(), "process".into()],
                line: "✻ Conversation compacted".into(),
                ..Default::default()
            }),
        };
        assert_eq!(
            printed(item),
            concat!(
                r#"{"id":"00010203-0405-0607-0809-0a0b0c0d0e0f","time":"2026-09-01T12:00:00Z","pane":"web-1/3","#,
                r#""event":"context.compacted","agent":"claude","rule":"claude.compacted","fields":{"trigger":"auto"},"#,
                r#""witnesses":["screen","process"],"line":"✻ Conversation compacted"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn what_happens_to_a_host_names_it() {
        let event = v1::Event { event: "node.lost".into(), ..Default::default() };
        let item = v1::EventItem { host: "web-1".into(), time_us: 1_788_264_000_000_000, event: Some(event) };
        let text = printed(item);
        assert!(text.contains(r#""pane":null,"event":"node.lost""#), "{text}");
        assert!(text.contains(r#""fields":{"host":"web-1"}"#), "{text}");
    }
}
