//! Messages of agents' sessions, as they stand among lines: `"message"` of `wa.logs/1` and `wa.search/1`, and the text of
//! `wa logs --conversation`.

use std::ops::Range;

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use serde::ser::Serializer;
use wa_proto::wire::{Invalid, v1};

use super::log::What;
use super::{LogEntry, clock, need};
use crate::output::table::{Cell, Column};
use crate::output::text::{clip, width};
use crate::output::{Look, Shape};

/// A message of a conversation, with the session that it is of.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Said {
    agent: String,
    session_id: String,
    /// Bytes of the session file right before it that were not read.
    skipped_bytes: u64,
    index: u64,
    role: String,
    name: String,
    pub(super) text: String,
    cut_bytes: u64,
}

impl TryFrom<v1::SessionMessage> for Said {
    type Error = Invalid;
    fn try_from(said: v1::SessionMessage) -> Result<Self, Invalid> {
        let message = need("item.message", said.message)?;
        Ok(Self {
            agent: said.agent,
            session_id: said.session_id,
            skipped_bytes: said.skipped_bytes,
            index: message.index,
            role: message.role,
            name: message.name,
            text: message.text,
            cut_bytes: message.cut_bytes,
        })
    }
}

impl Serialize for Said {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Message<'a> {
            index: u64,
            role: &'a str,
            name: Option<&'a str>,
            text: &'a str,
            cut_bytes: u64,
            agent: &'a str,
            session_id: &'a str,
            skipped_bytes: u64,
        }
        let Self { agent, session_id, skipped_bytes, index, role, name, text, cut_bytes } = self;
        let name = Some(name.as_str()).filter(|name| !name.is_empty());
        Message {
            index: *index,
            role,
            name,
            text,
            cut_bytes: *cut_bytes,
            agent,
            session_id,
            skipped_bytes: *skipped_bytes,
        }
        .serialize(serializer)
    }
}

/// Rows of a tool's result that are shown.
const RESULT_ROWS: usize = 6;
/// Cells of a tool call, and of a row of a result, where no terminal says how wide it is.
const USUAL: usize = 160;
/// Cells of the names before the text.
const NAMES: usize = 9;

impl Said {
    /// Who speaks, as people read it.
    fn who(&self) -> &str {
        match self.role.as_str() {
            "assistant" => &self.agent,
            "reasoning" => "thinks",
            "tool_call" => "tool",
            "tool_result" => "result",
            "compaction" => "compacted",
            role => role,
        }
    }

    fn styles(&self) -> (Style, Style) {
        let bold = Style::new().bold();
        match self.role.as_str() {
            "user" => (AnsiColor::Cyan.on_default().bold(), bold),
            "assistant" => (AnsiColor::Green.on_default().bold(), Style::new()),
            "reasoning" => (Style::new().dimmed(), Style::new().dimmed()),
            "compaction" | "notice" => (AnsiColor::Yellow.on_default(), AnsiColor::Yellow.on_default()),
            _ => (Style::new().dimmed(), Style::new()),
        }
    }

    /// The rows of the text, shortened where it is what a tool was given or gave.
    fn rows(&self, cells: usize) -> (Vec<String>, Option<String>) {
        let cut = (self.cut_bytes > 0).then(|| format!("… {} bytes were cut", self.cut_bytes));
        let all = self.text.trim_end().lines();
        match self.role.as_str() {
            "tool_call" => {
                let words = self.text.split_whitespace().collect::<Vec<_>>().join(" ");
                (vec![shortened(format!("{} {words}", self.name).trim(), cells)], None)
            }
            "tool_result" => {
                let left = all.clone().count().saturating_sub(RESULT_ROWS);
                let rows: Vec<String> = all.take(RESULT_ROWS).map(|row| shortened(row, cells)).collect();
                let more = (left > 0).then(|| format!("… {left} more rows; all of it with -o jsonl"));
                (rows, more.or(cut))
            }
            _ => (all.map(str::to_owned).collect(), cut),
        }
    }

    /// The row of the text with the first match, and the matches in it.
    pub(super) fn excerpt(&self, matches: &[Range<usize>]) -> (String, Vec<Range<usize>>) {
        let mark = format!("{} › ", self.who());
        let first = matches.first().map_or(0, |range| range.start);
        let before = self.text.get(..first).unwrap_or_default();
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let rest = self.text.get(start..).unwrap_or_default();
        let row = rest.lines().next().unwrap_or_default();
        let shift = |range: &Range<usize>| {
            let (from, to) = (range.start.checked_sub(start)?, range.end.min(start + row.len()));
            Some(mark.len() + from..mark.len() + to.checked_sub(start).filter(|to| *to > from)?)
        };
        let shifted = matches.iter().filter_map(shift).collect();
        (mark + row, shifted)
    }
}

/// The text in so many cells, with an ellipsis where it goes on. Tabs count as one.
fn shortened(text: &str, cells: usize) -> String {
    if width(text) <= cells { text.to_owned() } else { format!("{}…", clip(text, cells.saturating_sub(1))) }
}

/// An entry of a conversation: as JSON the same, as text with its time and who speaks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Conversed(pub(crate) LogEntry);

impl Serialize for Conversed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl Shape for Conversed {
    const SCHEMA: &'static str = LogEntry::SCHEMA;

    fn name(&self) -> String {
        self.0.name()
    }

    fn columns(_: bool) -> &'static [Column] {
        &[]
    }

    fn row(&self, look: &Look) -> Vec<Cell> {
        let time = clock(self.0.time);
        let indent = width(&time) + 2 + NAMES + 3;
        let dim = Style::new().dimmed();
        let said = match &self.0.what {
            What::Message(said) => said,
            What::Line { text, .. } => {
                return vec![Cell::pieces(&[
                    (&format!("{time}  "), dim),
                    (&format!("{:>NAMES$} │ ", "screen"), dim),
                    (text, Style::new()),
                ])];
            }
            What::Gap { .. } => {
                return vec![Cell::pieces(&[(&format!("{time}  "), dim), (&self.0.gap_text(), gap())])];
            }
        };
        let cells = look.width.unwrap_or(USUAL).saturating_sub(indent).max(20);
        let (rows, note) = said.rows(cells);
        let (name, body) = said.styles();
        let text = rows.join(&format!("\n{:indent$}", ""));
        let note = note.map(|note| format!("\n{:indent$}{note}", "")).unwrap_or_default();
        let skipped = match said.skipped_bytes {
            0 => String::new(),
            bytes => format!("--- gap: {bytes} bytes of the session file were not read ---\n"),
        };
        vec![Cell::pieces(&[
            (&skipped, gap()),
            (&format!("{time}  "), dim),
            (&format!("{:>NAMES$} › ", said.who()), name),
            (&text, body),
            (&note, dim),
        ])]
    }
}

fn gap() -> Style {
    AnsiColor::Yellow.on_default()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::output::{Format, testing};

    pub(crate) fn message(role: &str, name: &str, text: &str) -> v1::SessionMessage {
        v1::SessionMessage {
            agent: "codex".into(),
            session_id: "01a2".into(),
            skipped_bytes: 0,
            message: Some(v1::Message {
                index: 7,
                role: role.into(),
                name: name.into(),
                text: text.into(),
                ..Default::default()
            }),
        }
    }

    fn item(said: v1::SessionMessage) -> v1::LogItem {
        v1::LogItem {
            host: "web-1".into(),
            pane: Some(v1::PaneRef { mux: "main".into(), generation: "g".into(), pane_id: 3 }),
            time_us: 1_788_264_000_000_000,
            item: Some(v1::log_item::Item::Message(said)),
            ..Default::default()
        }
    }

    fn printed(format: Format, items: Vec<v1::LogItem>) -> String {
        let (mut out, sink) = testing::out(format);
        let mut stream = out.stream(false);
        for item in items {
            stream.push(&Conversed(LogEntry::try_from(item).unwrap())).unwrap();
        }
        stream.finish().unwrap();
        sink.text()
    }

    #[test]
    fn a_message_is_as_on_the_page() {
        let mut said = message("tool_call", "exec_command", "{\"cmd\":\"ls\"}");
        said.skipped_bytes = 12;
        let expected = concat!(
            r#"{"time":"2026-09-01T12:00:00Z","pane":"web-1/3","message":{"index":7,"role":"tool_call","#,
            r#""name":"exec_command","text":"{\"cmd\":\"ls\"}","cut_bytes":0,"agent":"codex","session_id":"01a2","#,
            r#""skipped_bytes":12}}"#,
            "\n",
        );
        assert_eq!(printed(Format::Jsonl, vec![item(said)]), expected);
        let unnamed = printed(Format::Jsonl, vec![item(message("user", "", "hi"))]);
        assert!(unnamed.contains(r#""name":null"#), "{unnamed}");
    }

    #[test]
    fn people_read_a_conversation() {
        let result: String = (1..=9).map(|n| format!("row {n}\n")).collect();
        let mut cut = message("assistant", "", "One\u{1b}[2J.\n\n- two");
        cut.skipped_bytes = 9;
        cut.message.as_mut().unwrap().cut_bytes = 44;
        let line = v1::log_item::Item::Line(v1::Line { text: "$ ls\u{7}".into(), ..Default::default() });
        let lost =
            v1::log_item::Item::Gap(v1::Gap { rows: Some(3), cause: "flood".into(), ..Default::default() });
        let blank = item(message("user", "", ""));
        let text = printed(
            Format::Table,
            vec![
                v1::LogItem { item: Some(line), ..blank.clone() },
                v1::LogItem { item: Some(lost), ..blank },
                item(message("user", "", "fix it")),
                item(message("reasoning", "", "hm")),
                item(message("tool_call", "exec", &format!("{{\n \"cmd\": \"{}\"\n}}", "x".repeat(400)))),
                item(message("tool_result", "exec", &result)),
                item(cut),
            ],
        );
        let call = format!("2026-09-01T12:00:00Z       tool › exec {{ \"cmd\": \"{}…\n", "x".repeat(110));
        let expected = [
            "2026-09-01T12:00:00Z     screen │ $ ls\\x07\n",
            "2026-09-01T12:00:00Z  --- gap: 3 rows (flood) ---\n",
            "2026-09-01T12:00:00Z       user › fix it\n",
            "2026-09-01T12:00:00Z     thinks › hm\n",
            &call,
            "2026-09-01T12:00:00Z     result › row 1\n",
            "                                  row 2\n",
            "                                  row 3\n",
            "                                  row 4\n",
            "                                  row 5\n",
            "                                  row 6\n",
            "                                  … 3 more rows; all of it with -o jsonl\n",
            "--- gap: 9 bytes of the session file were not read ---\n",
            "2026-09-01T12:00:00Z      codex › One\\x1b[2J.\n",
            "                                  \n",
            "                                  - two\n",
            "                                  … 44 bytes were cut\n",
        ];
        assert_eq!(text, expected.concat());
    }

    #[test]
    fn a_hit_shows_the_row_that_matched() {
        let said = Said::try_from(message("assistant", "", "first\nthe né here, né\nlast né")).unwrap();
        let spans: Vec<Range<usize>> =
            said.text.match_indices("né").map(|(at, hit)| at..at + hit.len()).collect();
        let (row, matches) = said.excerpt(&spans);
        assert_eq!(row, "codex › the né here, né");
        let shown: Vec<&str> = matches.iter().map(|range| &row[range.clone()]).collect();
        assert_eq!(shown, ["né", "né"]);
        assert_eq!(said.excerpt(&[]).0, "codex › first");
        // Places that are none in this text.
        said.excerpt(&[900..1000, 7..8]);
        said.excerpt(&[1..900, 3..4]);
    }
}
