//! The rows of a pane that are known, by stable index, and the frame that they make.
//!
//! Constraints: whatever the server sends, memory stays bounded: rows are kept only as long as somebody needs them (the
//! viewport, rows not logged yet), and never more than [`MAX_ROWS`] rows or [`MAX_BYTES`] of text; the lowest go first and
//! count as unread again. Every number from outside is clamped before it is reckoned with.
//!
//! Operation: rows are overwritten by index; the same row twice is harmless. A row that is said to have changed but did not
//! come along is *stale*: it stands in the frame until a better one comes, but nothing is logged from it.

use std::collections::BTreeMap;
use std::ops::Range;

use wa_mux::codec;
use wa_proto::{Color, Cursor, Frame, FrameRow, Style, StyleRun};

use crate::hash::Hasher;

/// Rows kept at most.
const MAX_ROWS: usize = 8192;
/// Bytes of text kept at most.
const MAX_BYTES: usize = 8 << 20;
/// Rows of a viewport that are looked at; no screen has more.
const MAX_VIEWPORT: i64 = 2048;
/// Row numbers beyond this are clamped, so that sums cannot overflow.
const MAX_INDEX: i64 = 1 << 60;

/// The size of a pane and where its rows lie, clamped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Dims {
    pub(crate) cols: u32,
    /// Rows of the viewport.
    pub(crate) rows: i64,
    /// Rows that the server holds, the viewport included.
    pub(crate) retained: i64,
    /// First row of the viewport.
    pub(crate) top: i64,
    /// First row that the server still holds.
    pub(crate) oldest: i64,
}

impl Dims {
    pub(crate) fn of(dims: &codec::Dimensions) -> Self {
        let small = |value: u64| i64::try_from(value).unwrap_or(MAX_INDEX).min(MAX_INDEX);
        let top = dims.physical_top.clamp(-MAX_INDEX, MAX_INDEX);
        Self {
            cols: u32::try_from(dims.cols).unwrap_or(u32::MAX),
            rows: small(dims.viewport_rows).min(MAX_VIEWPORT),
            retained: small(dims.scrollback_rows).min(if dims.scrollback_rows == dims.viewport_rows {
                MAX_VIEWPORT
            } else {
                MAX_INDEX
            }),
            top,
            oldest: dims.scrollback_top.clamp(-MAX_INDEX, top),
        }
    }

    /// One past the last row.
    pub(crate) fn end(&self) -> i64 {
        self.top + self.rows
    }

    /// Nothing above the viewport: an alternate screen, or a primary one that never scrolled or was cleared.
    pub(crate) fn is_flat(&self) -> bool {
        self.retained == self.rows && self.oldest == self.top
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub(crate) row: FrameRow,
    /// When its text last changed, by the pane's clock.
    pub(crate) changed: u64,
    pub(crate) stale: bool,
}

/// What storing a row did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Text, wrap and style are as they were.
    Same,
    /// Only the style differs.
    Style,
    /// It was not known.
    New,
    Text,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Grid {
    dims: Dims,
    /// Stable row, column, visible.
    cursor: (i64, u32, bool),
    rows: BTreeMap<i64, Slot>,
    bytes: usize,
}

impl Grid {
    pub(crate) fn new(dims: Dims) -> Self {
        Self { dims, cursor: (dims.top, 0, true), ..Self::default() }
    }

    pub(crate) fn dims(&self) -> Dims {
        self.dims
    }

    /// Takes over size and cursor; rows past the new end are forgotten. True when a person would see a difference.
    pub(crate) fn place(&mut self, dims: Dims, cursor: &codec::CursorPosition) -> bool {
        let at = (
            cursor.y.clamp(-MAX_INDEX, MAX_INDEX),
            u32::try_from(cursor.x).unwrap_or(u32::MAX),
            cursor.visibility == codec::CursorVisibility::Visible,
        );
        let differs = at != self.cursor
            || (dims.cols, dims.rows, dims.top) != (self.dims.cols, self.dims.rows, self.dims.top);
        if dims.end() < self.dims.end() {
            for slot in self.rows.split_off(&dims.end()).into_values() {
                self.bytes -= slot.row.text.len();
            }
        }
        self.dims = dims;
        self.cursor = at;
        differs
    }

    pub(crate) fn cursor_row(&self) -> i64 {
        self.cursor.0
    }

    pub(crate) fn cursor_visible(&self) -> bool {
        self.cursor.2
    }

    pub(crate) fn store(&mut self, index: i64, row: FrameRow, now: u64) -> Change {
        let Some(slot) = self.rows.get_mut(&index) else {
            self.bytes += row.text.len();
            self.rows.insert(index, Slot { row, changed: now, stale: false });
            self.shed();
            return Change::New;
        };
        slot.stale = false;
        if slot.row == row {
            return Change::Same;
        }
        let text = slot.row.text != row.text || slot.row.wrapped != row.wrapped;
        if text {
            slot.changed = now;
        }
        self.bytes = self.bytes - slot.row.text.len() + row.text.len();
        slot.row = row;
        if text { Change::Text } else { Change::Style }
    }

    /// Marks the known rows of a range as out of date and names them.
    pub(crate) fn mark_stale(&mut self, range: Range<i64>) -> Vec<i64> {
        if range.start >= range.end {
            return Vec::new();
        }
        self.rows
            .range_mut(range)
            .map(|(index, slot)| {
                slot.stale = true;
                *index
            })
            .collect()
    }

    /// A row that is known and up to date.
    pub(crate) fn fresh(&self, index: i64) -> Option<&Slot> {
        self.rows.get(&index).filter(|slot| !slot.stale)
    }

    /// The first row at or above this index that is known and up to date.
    pub(crate) fn next_fresh(&self, from: i64) -> Option<i64> {
        self.rows.range(from..).find(|(_, slot)| !slot.stale).map(|(index, _)| *index)
    }

    /// Appends the rows of a range that are missing or stale to `ranges`, in order, until `budget` rows are asked for.
    pub(crate) fn missing(&self, range: Range<i64>, budget: &mut i64, ranges: &mut Vec<Range<i64>>) {
        let mut at = range.start;
        while at < range.end && *budget > 0 {
            if self.fresh(at).is_some() {
                at += 1;
                continue;
            }
            let upto = self.next_fresh(at).unwrap_or(range.end).min(range.end).min(at + *budget);
            *budget -= upto - at;
            match ranges.last_mut() {
                Some(last) if last.end == at => last.end = upto,
                _ => ranges.push(at..upto),
            }
            at = upto;
        }
    }

    /// Forgets these rows: they are known as they were, and nobody can tell how they ended.
    pub(crate) fn forget(&mut self, range: Range<i64>) {
        while let Some(index) =
            self.rows.range(range.start..range.end.max(range.start)).next().map(|(at, _)| *at)
        {
            if let Some(slot) = self.rows.remove(&index) {
                self.bytes -= slot.row.text.len();
            }
        }
    }

    /// Forgets rows below this index.
    pub(crate) fn drop_below(&mut self, index: i64) {
        while let Some(first) = self.rows.first_entry().filter(|first| *first.key() < index) {
            self.bytes -= first.remove().row.text.len();
        }
    }

    fn shed(&mut self) {
        while (self.rows.len() > MAX_ROWS || self.bytes > MAX_BYTES) && self.rows.len() > 1 {
            let Some((_, slot)) = self.rows.pop_first() else { return };
            self.bytes -= slot.row.text.len();
        }
    }

    /// Rows of a range that are known and up to date.
    pub(crate) fn known(&self, range: Range<i64>) -> impl Iterator<Item = (i64, &Slot)> {
        let range = range.start..range.end.max(range.start);
        self.rows.range(range).filter(|(_, slot)| !slot.stale).map(|(index, slot)| (*index, slot))
    }

    /// Rows of the viewport that are known, top to bottom.
    pub(crate) fn viewport(&self) -> impl DoubleEndedIterator<Item = (i64, &Slot)> {
        self.rows.range(self.dims.top..self.dims.end()).map(|(index, slot)| (*index, slot))
    }

    pub(crate) fn frame(&self, alternate: bool) -> Frame {
        let rows = (self.dims.top..self.dims.end())
            .map(|index| self.rows.get(&index).map_or_else(FrameRow::default, |slot| slot.row.clone()))
            .collect();
        let (row, col, visible) = self.cursor;
        Frame {
            cols: self.dims.cols,
            rows,
            first_row: self.dims.top,
            cursor: Cursor { row: row - self.dims.top, col, visible },
            alternate,
        }
    }

    /// Of the text that the viewport shows.
    pub(crate) fn frame_hash(&self) -> u64 {
        let mut hasher = Hasher::new();
        for (index, slot) in self.viewport() {
            if !slot.row.text.is_empty() {
                hasher.add(&(index - self.dims.top).to_le_bytes());
                hasher.add(slot.row.text.as_bytes());
            }
        }
        hasher.finish()
    }
}

/// A row as frames have it. Trailing blanks in the default style go, except where the row wraps: there they are part of the
/// line.
pub(crate) fn frame_row(row: codec::Row) -> FrameRow {
    let codec::Row { mut text, runs, wrapped, .. } = row;
    let runs: Vec<StyleRun> = runs
        .iter()
        .filter(|run| run.start < run.end && text.is_char_boundary(run.end as usize))
        .map(|run| StyleRun { start: run.start, end: run.end, style: style(&run.style) })
        .filter(|run| run.style != Style::default())
        .collect();
    if !wrapped {
        let styled = runs.last().map_or(0, |run| run.end as usize);
        let keep = text.trim_end_matches(' ').len().max(styled);
        text.truncate(keep);
    }
    FrameRow { text, wrapped, runs }
}

fn style(style: &codec::Style) -> Style {
    let color = |color: codec::Color| match color {
        codec::Color::Default => Color::Default,
        codec::Color::Palette(index) => Color::Palette(index),
        codec::Color::Rgb(r, g, b) => Color::Rgb(r, g, b),
    };
    Style {
        bold: style.bold,
        dim: style.dim,
        italic: style.italic,
        underline: style.underline,
        reverse: style.reverse,
        invisible: style.invisible,
        strike: style.strike,
        fg: color(style.fg),
        bg: color(style.bg),
    }
}
