//! `wa.logs/1` and `wa.search/1`: lines of transcripts, the gaps in them, and messages of conversations.

use std::ops::Range;

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use wa_proto::wire::{Invalid, from_us, v1};
use wa_proto::{PaneAddress, Timestamp};

use super::said::Said;
use super::{address, clock, need};
use crate::output::table::{Cell, Column, column};
use crate::output::{Look, Shape};

/// A line, the place where lines are missing, or a message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LogEntry {
    pub(crate) time: Timestamp,
    pub(crate) pane: PaneAddress,
    generation: String,
    layout: u64,
    pub(crate) what: What,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum What {
    Line {
        row: i64,
        rev: u32,
        text: String,
    },
    Gap {
        rows: Option<u64>,
        cause: String,
    },
    /// A message of the agent's session.
    Message(Box<Said>),
}

impl TryFrom<v1::LogItem> for LogEntry {
    type Error = Invalid;
    fn try_from(item: v1::LogItem) -> Result<Self, Invalid> {
        use v1::log_item::Item;
        let at = need("item.pane", item.pane)?;
        let what = match need("item.item", item.item)? {
            Item::Line(line) => What::Line { row: line.row, rev: line.rev, text: line.text },
            Item::Gap(gap) => What::Gap { rows: gap.rows, cause: gap.cause },
            Item::Message(said) => What::Message(Box::new(said.try_into()?)),
        };
        Ok(Self {
            time: from_us("item.time_us", item.time_us)?,
            pane: address(&item.host, &at)?,
            generation: at.generation,
            layout: item.layout,
            what,
        })
    }
}

#[derive(Serialize)]
struct GapShape<'a> {
    rows: Option<u64>,
    cause: &'a str,
}

impl LogEntry {
    /// Whether `later` is a rewrite of the same row.
    pub(crate) fn replaced_by(&self, later: &Self) -> bool {
        let place = |entry: &Self| (entry.pane.clone(), entry.generation.clone(), entry.layout);
        match (&self.what, &later.what) {
            (What::Line { row, rev, .. }, What::Line { row: same, rev: newer, .. }) => {
                row == same && rev <= newer && place(self) == place(later)
            }
            _ => false,
        }
    }

    pub(crate) fn is_message(&self) -> bool {
        matches!(self.what, What::Message(_))
    }

    fn fill<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry("time", &self.time)?;
        map.serialize_entry("pane", &self.pane.to_string())?;
        match &self.what {
            What::Line { row, rev, text } => {
                map.serialize_entry("generation", &self.generation)?;
                map.serialize_entry("layout", &self.layout)?;
                map.serialize_entry("row", row)?;
                map.serialize_entry("rev", rev)?;
                map.serialize_entry("text", text)
            }
            What::Gap { rows, cause } => map.serialize_entry("gap", &GapShape { rows: *rows, cause }),
            What::Message(said) => map.serialize_entry("message", said),
        }
    }

    /// A gap in words; empty for anything else.
    pub(super) fn gap_text(&self) -> String {
        let What::Gap { rows, cause } = &self.what else { return String::new() };
        match rows {
            Some(1) => format!("--- gap: 1 row ({cause}) ---"),
            Some(rows) => format!("--- gap: {rows} rows ({cause}) ---"),
            None => format!("--- gap: unknown number of rows ({cause}) ---"),
        }
    }
}

impl Serialize for LogEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.fill(&mut map)?;
        map.end()
    }
}

impl Shape for LogEntry {
    const SCHEMA: &'static str = "wa.logs/1";

    fn name(&self) -> String {
        self.pane.to_string()
    }

    fn columns(_: bool) -> &'static [Column] {
        &[]
    }

    fn row(&self, look: &Look) -> Vec<Cell> {
        let body = match &self.what {
            What::Line { text, .. } => Cell::line(text),
            What::Gap { .. } => Cell::styled(&self.gap_text(), AnsiColor::Yellow.on_default()),
            What::Message(said) => Cell::line(&said.text),
        };
        if look.wide() { vec![Cell::plain(&clock(self.time)), body] } else { vec![body] }
    }
}

/// A line or message that a search found.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Hit {
    pub(crate) entry: LogEntry,
    /// Bytes of the text.
    matches: Vec<Range<usize>>,
}

impl TryFrom<v1::SearchHit> for Hit {
    type Error = Invalid;
    fn try_from(hit: v1::SearchHit) -> Result<Self, Invalid> {
        let matches = hit.matches.iter().map(|span| span.start as usize..span.end as usize).collect();
        Ok(Self { entry: need("hit.item", hit.item)?.try_into()?, matches })
    }
}

impl Hit {
    pub(crate) fn text(&self) -> &str {
        match &self.entry.what {
            What::Line { text, .. } => text,
            What::Gap { .. } => "",
            What::Message(said) => &said.text,
        }
    }
}

impl Serialize for Hit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.entry.fill(&mut map)?;
        let matches: Vec<[usize; 2]> = self.matches.iter().map(|range| [range.start, range.end]).collect();
        map.serialize_entry("matches", &matches)?;
        map.end()
    }
}

impl Shape for Hit {
    const SCHEMA: &'static str = "wa.search/1";

    fn name(&self) -> String {
        self.entry.name()
    }

    fn columns(_: bool) -> &'static [Column] {
        const COLUMNS: &[Column] = &[column("PANE", 12), column("TIME", 20), column("TEXT", 4)];
        COLUMNS
    }

    fn row(&self, _: &Look) -> Vec<Cell> {
        let hit = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
        let text = match &self.entry.what {
            What::Message(said) => {
                let (row, matches) = said.excerpt(&self.matches);
                Cell::marked(&row, &matches, hit)
            }
            What::Line { .. } | What::Gap { .. } => Cell::marked(self.text(), &self.matches, hit),
        };
        vec![Cell::plain(&self.name()), Cell::plain(&clock(self.entry.time)), text]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Format, testing};

    fn item(item: v1::log_item::Item) -> v1::LogItem {
        v1::LogItem {
            host: "web-1".into(),
            pane: Some(v1::PaneRef { mux: "gui".into(), generation: "g-1-2".into(), pane_id: 3 }),
            layout: 2,
            time_us: 1_788_264_000_000_001,
            item: Some(item),
        }
    }

    fn line(row: i64, rev: u32, text: &str) -> v1::LogItem {
        item(v1::log_item::Item::Line(v1::Line { row, rev, text: text.into(), rows: 1, time_us: 0 }))
    }

    fn gap(rows: Option<u64>) -> v1::LogItem {
        item(v1::log_item::Item::Gap(v1::Gap { rows, cause: "trimmed".into(), ..Default::default() }))
    }

    fn printed(format: Format, items: Vec<v1::LogItem>) -> String {
        let (mut out, sink) = testing::out(format);
        let mut stream = out.stream(false);
        for item in items {
            stream.push(&LogEntry::try_from(item).unwrap()).unwrap();
        }
        stream.finish().unwrap();
        sink.text()
    }

    #[test]
    fn lines_and_gaps_are_as_on_the_page() {
        let expected = concat!(
            r#"{"time":"2026-09-01T12:00:00.000001Z","pane":"web-1/gui/3","generation":"g-1-2","layout":2,"row":-7,"rev":1,"text":"a b"}"#,
            "\n",
            r#"{"time":"2026-09-01T12:00:00.000001Z","pane":"web-1/gui/3","gap":{"rows":120,"cause":"trimmed"}}"#,
            "\n",
            r#"{"time":"2026-09-01T12:00:00.000001Z","pane":"web-1/gui/3","gap":{"rows":null,"cause":"trimmed"}}"#,
            "\n",
        );
        assert_eq!(printed(Format::Jsonl, vec![line(-7, 1, "a b"), gap(Some(120)), gap(None)]), expected);
    }

    #[test]
    fn people_see_text_and_gaps() {
        let text = printed(Format::Table, vec![line(1, 0, "one\u{1b}[2J"), gap(Some(120)), gap(None)]);
        assert_eq!(
            text,
            "one\\x1b[2J\n--- gap: 120 rows (trimmed) ---\n--- gap: unknown number of rows (trimmed) ---\n"
        );
        let wide = printed(Format::Wide, vec![line(1, 0, "one")]);
        assert_eq!(wide, "2026-09-01T12:00:00Z  one\n");
    }

    #[test]
    fn a_rewrite_replaces_only_its_own_row() {
        let entry = |wire| LogEntry::try_from(wire).unwrap();
        let first = entry(line(5, 0, "a"));
        assert!(first.replaced_by(&entry(line(5, 1, "b"))));
        assert!(!first.replaced_by(&entry(line(6, 1, "b"))));
        assert!(!first.replaced_by(&entry(gap(Some(1)))));
        let mut other = line(5, 1, "b");
        other.layout = 3;
        assert!(!first.replaced_by(&entry(other)));
    }

    #[test]
    fn hits_carry_their_places() {
        let hit =
            v1::SearchHit { item: Some(line(1, 0, "né pas")), matches: vec![v1::Span { start: 4, end: 7 }] };
        let (mut out, sink) = testing::out(Format::Jsonl);
        out.list(&[Hit::try_from(hit).unwrap()]).unwrap();
        assert_eq!(
            sink.text(),
            concat!(
                r#"{"time":"2026-09-01T12:00:00.000001Z","pane":"web-1/gui/3","generation":"g-1-2","layout":2,"row":1,"rev":0,"text":"né pas","matches":[[4,7]]}"#,
                "\n"
            )
        );
    }
}
