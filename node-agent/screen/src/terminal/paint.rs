//! Filling a new grid, after a change of size: the bytes that make it show what the old one showed.
//!
//! The grid can only be written to as a program writes to it, so rows, cursor, saved cursor, attributes and modes are
//! all put into one stream.

use wa_mux::codec::Style;

use super::Size;
use super::cells::{Cell, Row, VS16, VS16_IN_GRID, sgr};
use super::rewrap::Rows;

/// What a new grid needs beside the rows.
pub(super) struct Modes {
    pub(super) attributes: String,
    pub(super) input: String,
    pub(super) hidden: bool,
}

impl Modes {
    pub(super) fn of(screen: &vt100::Screen) -> Self {
        Self {
            attributes: screen.attributes_formatted(),
            input: screen.input_mode_formatted(),
            hidden: screen.hide_cursor(),
        }
    }
}

/// Writes the bytes that make an empty grid show given rows.
pub(super) struct Painter {
    pub(super) out: Vec<u8>,
    size: Size,
    style: Style,
}

impl Painter {
    pub(super) fn new(size: Size) -> Self {
        Self { out: Vec::new(), size, style: Style::default() }
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    fn cell(&mut self, cell: Cell<'_>) {
        // Marks are put on when rows are read, not kept in the grid.
        if cell.style != self.style {
            self.style = cell.style;
            self.bytes(sgr(cell.style).as_bytes());
        }
        let mut encoded = [0; 4];
        for c in cell.text.chars() {
            let c = if c == VS16 { VS16_IN_GRID } else { c };
            self.out.extend_from_slice(c.encode_utf8(&mut encoded).as_bytes());
        }
    }

    pub(super) fn primary(&mut self, held: &Rows) {
        let full = usize::from(self.size.cols);
        let mut rows = held.rows.iter().peekable();
        while let Some(row) = rows.next() {
            row.cells().for_each(|cell| self.cell(cell));
            // The grid wraps by itself behind a full row; a row with a column to spare, because a
            // wide character did not fit, it cannot mark as wrapped.
            if rows.peek().is_some() && !(row.wrapped && row.columns() >= full) {
                self.bytes(b"\r\n");
            }
        }
    }

    /// The cursor's place in the viewport: row and column, as the grid counts.
    pub(super) fn locate(&self, held: &Rows) -> (u16, u16) {
        let viewport = held.rows.len().saturating_sub(usize::from(self.size.rows));
        let row = held.cursor.1.saturating_sub(viewport);
        (u16::try_from(row).unwrap_or(0), u16::try_from(held.cursor.0).unwrap_or(u16::MAX))
    }

    pub(super) fn cursor(&mut self, (row, col): (u16, u16)) {
        let row = row.min(self.size.rows - 1) + 1;
        let col = col.min(self.size.cols - 1) + 1;
        self.bytes(format!("\x1b[{row};{col}H").as_bytes());
    }

    /// A cursor behind the last column gets there only by printing in it.
    pub(super) fn behind_last_column(&mut self, held: &Rows) {
        let last = usize::from(self.size.cols) - 1;
        if held.cursor.0 <= last {
            return;
        }
        let Some(row) = held.rows.get(held.cursor.1) else {
            return;
        };
        let mut column = 0;
        let at_last = row.cells().find(|cell| {
            column += usize::from(cell.width);
            column > last
        });
        match at_last {
            Some(cell) if cell.width == 1 => self.cell(cell),
            // A wide character there: the column before it is near enough.
            Some(_) => {}
            None => self.bytes(b"\x1b[0m "),
        }
    }

    /// Rows are cut at the right and at the bottom, never wrapped.
    pub(super) fn alternate(&mut self, rows: &[Row], cursor: (u16, u16)) {
        self.bytes(b"\x1b[?47h");
        let cols = usize::from(self.size.cols);
        for (at, row) in (0..self.size.rows).zip(rows) {
            self.cursor((at, 0));
            let mut columns = 0;
            row.cells()
                .take_while(|cell| {
                    columns += usize::from(cell.width);
                    columns <= cols
                })
                .for_each(|cell| self.cell(cell));
        }
        self.cursor(cursor);
    }
}
