//! Rows as cells: which character stands in which column, in which style.

use std::ops::Range;

use unicode_width::UnicodeWidthChar as _;
use wa_proto::{Frame, FrameRow, Style};

/// One character of a row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cell {
    pub(crate) col: u32,
    pub(crate) ch: char,
    pub(crate) style: Style,
}

impl Cell {
    pub(crate) fn is_blank(&self) -> bool {
        self.ch.is_whitespace()
    }
}

/// The characters of a row from a column on.
pub(crate) fn cells_from(row: &FrameRow, from: u32) -> impl Iterator<Item = Cell> + '_ {
    let mut col = 0;
    let mut run = 0;
    row.text.char_indices().filter_map(move |(byte, ch)| {
        while row.runs.get(run).is_some_and(|r| r.end as usize <= byte) {
            run += 1;
        }
        let style =
            row.runs.get(run).filter(|r| r.start as usize <= byte).map_or_else(Style::default, |r| r.style);
        let at = col;
        col += u32::try_from(ch.width().unwrap_or(0)).unwrap_or(0);
        (at >= from).then_some(Cell { col: at, ch, style })
    })
}

/// The character in a column.
pub(crate) fn cell_at(row: &FrameRow, col: u32) -> Option<Cell> {
    cells_from(row, col).next().filter(|cell| cell.col == col)
}

/// Whether the frame knows styles at all; a saved text file does not, and no cursor either.
pub(crate) fn is_styled(frame: &Frame) -> bool {
    frame.cursor.visible || frame.rows.iter().any(|row| !row.runs.is_empty())
}

pub(crate) fn is_blank(row: &FrameRow) -> bool {
    row.text.trim().is_empty()
}

/// The last row with something on it.
pub(crate) fn last_row(frame: &Frame) -> Option<usize> {
    frame.rows.iter().rposition(|row| !is_blank(row))
}

/// Columns before the first character that is not blank.
pub(crate) fn indent(text: &str) -> usize {
    text.chars().take_while(|c| c.is_whitespace()).count()
}

/// A horizontal rule across the pane: nearly all of it line-drawing dashes.
pub(crate) fn is_rule(text: &str) -> bool {
    let text = text.trim();
    if !text.starts_with('─') {
        return false;
    }
    let (mut dashes, mut all) = (0, 0);
    for c in text.chars() {
        all += 1;
        dashes += usize::from(c == '─');
    }
    all >= 10 && dashes * 10 >= all * 7
}

/// The insertion point: the visible cursor where it stands in these rows, else a reversed cell in them.
pub(crate) fn insertion(frame: &Frame, rows: Range<usize>, from: u32) -> Option<(usize, u32)> {
    let reversed = rows.clone().find_map(|row| {
        let cell = cells_from(frame.rows.get(row)?, from).find(|cell| cell.style.reverse)?;
        Some((row, cell.col))
    });
    let cursor = usize::try_from(frame.cursor.row)
        .ok()
        .filter(|row| frame.cursor.visible && rows.contains(row) && frame.cursor.col >= from)
        .map(|row| (row, frame.cursor.col));
    reversed.or(cursor)
}

/// Groups of rows that are not blank, within a range.
pub(crate) fn groups(frame: &Frame, rows: Range<usize>) -> Vec<Range<usize>> {
    let mut out: Vec<Range<usize>> = Vec::new();
    for row in rows {
        if frame.rows.get(row).is_none_or(is_blank) {
            continue;
        }
        match out.last_mut() {
            Some(group) if group.end == row => group.end = row + 1,
            _ => out.push(row..row + 1),
        }
    }
    out
}
