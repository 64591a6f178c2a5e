//! The terminal model as a pane of a server: bytes in, pushes and answers out, and what every row last read.

use std::collections::BTreeMap;
use std::ops::Range;

use wa_mux::codec::{RenderChanges, Row};
use wa_screen::terminal::{Facts, Size, Terminal, Told};

use super::node::Server;

pub(crate) struct Pane {
    pub(crate) terminal: Terminal,
    told: Option<Told>,
    /// Every row of the primary screen by index, as it last read: text and wrap mark.
    pub(crate) truth: BTreeMap<i64, (String, bool)>,
    /// How often a row came to read so.
    pub(crate) times: BTreeMap<(i64, String), usize>,
    noted: u64,
    /// One past the last row that ever left the viewport of the primary screen.
    pub(crate) printed: i64,
}

impl Pane {
    pub(crate) fn new(size: Size, scrollback: usize) -> Self {
        Self::of(Terminal::new(size, scrollback))
    }

    pub(crate) fn of(terminal: Terminal) -> Self {
        Self { terminal, told: None, truth: BTreeMap::new(), times: BTreeMap::new(), noted: 0, printed: 0 }
    }

    /// What the program writes. Rows that one call prints and drops are not noted.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.terminal.advance(bytes);
        self.note();
    }

    pub(crate) fn resize(&mut self, size: Size) {
        self.terminal.resize(size);
        self.note();
    }

    fn note(&mut self) {
        let dims = self.terminal.dimensions();
        if self.terminal.is_alternate() {
            return;
        }
        for range in self.terminal.changed_since(self.noted) {
            for row in self.terminal.rows(range) {
                let text = row.text().trim_end_matches(' ').to_owned();
                let before = self.truth.insert(row.index, (row.text().to_owned(), row.wrapped));
                if before.is_none_or(|(before, _)| before.trim_end_matches(' ') != text) {
                    *self.times.entry((row.index, text)).or_default() += 1;
                }
            }
        }
        self.noted = self.terminal.seqno();
        self.printed = self.printed.max(dims.physical_top);
    }

    /// The logical line that begins at this row: its text and the row behind it.
    pub(crate) fn line_at(&self, row: i64) -> (String, i64) {
        let (mut text, mut end) = (String::new(), row);
        while let Some((part, wrapped)) = self.truth.get(&end) {
            text.push_str(part);
            end += 1;
            if !wrapped {
                break;
            }
        }
        text.truncate(text.trim_end_matches(' ').len());
        (text, end.max(row + 1))
    }

    /// The logical lines between these rows as they last read, by their first row; blank ones left out.
    pub(crate) fn lines_between(&self, start: i64, end: i64) -> BTreeMap<i64, String> {
        let (mut out, mut at) = (BTreeMap::new(), start);
        let end = self.truth.last_key_value().map_or(0, |(last, _)| last + 1).min(end);
        while at < end {
            let (text, next) = self.line_at(at);
            if !text.trim().is_empty() && next <= end {
                out.insert(at, text);
            }
            at = next;
        }
        out
    }
}

impl Server for Pane {
    fn push(&mut self) -> Option<RenderChanges> {
        let (told, changes) = self.terminal.changes(1, Facts::default(), self.told.as_ref(), None)?;
        self.told = Some(told);
        Some(changes)
    }

    fn get_lines(&mut self, ranges: &[Range<i64>]) -> Vec<Row> {
        assert!(ranges.iter().all(|range| range.start < range.end), "an inverted range kills the server");
        self.terminal.lines(ranges)
    }

    fn reconnect(&mut self) {
        self.told = None;
    }
}
