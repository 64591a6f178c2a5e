//! What a change of size does to the rows of the primary screen: the real terminal's rules.
//!
//! 1. Blank rows below the cursor go, so that switching sizes to and fro does not grow history.
//! 2. If the columns change, wrapped rows are joined to lines. A line that is longer than the new
//!    width loses its trailing blanks and is cut afresh; a wide character is never cut in two. The
//!    cursor stays at its cell; if that is the first of a row it goes to the row before.
//! 3. Blank rows are added below until the viewport is full. The viewport is the end of the rows.

use super::cells::Row;

/// The rows of a screen with the cursor, whose row counts from the first of them.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) rows: Vec<Row>,
    /// Column and row.
    pub(super) cursor: (usize, usize),
}

impl Rows {
    /// See the head of the module. `retain`: how many rows may stay as long as blank ones can go.
    pub(super) fn resize(mut self, from_cols: usize, cols: usize, rows: usize, retain: usize) -> Self {
        self.drop_blank(0);
        if cols != from_cols {
            self = self.rewrap(from_cols, cols);
            self.drop_blank(retain);
        }
        while self.rows.len() < rows {
            self.rows.push(Row::default());
        }
        self
    }

    /// Drops blank rows below the cursor while there are more than `retain`.
    fn drop_blank(&mut self, retain: usize) {
        let least = retain.max(self.cursor.1 + 1);
        while self.rows.len() > least && self.rows.last().is_some_and(Row::is_blank) {
            self.rows.pop();
        }
    }

    fn rewrap(self, from_cols: usize, cols: usize) -> Self {
        let (cursor_x, cursor_y) = self.cursor;
        let mut out = Self { rows: Vec::with_capacity(self.rows.len()), cursor: self.cursor };
        let mut line = Row::default();
        let mut cursor_at = None;
        for (at, row) in self.rows.into_iter().enumerate() {
            if at == cursor_y {
                cursor_at = Some(line.columns() + cursor_x);
            }
            for cell in row.cells() {
                line.push(cell);
            }
            if row.wrapped {
                continue;
            }
            if let Some(x) = cursor_at.take() {
                out.place_cursor(x, cursor_x, from_cols, cols);
            }
            cut(&std::mem::take(&mut line), cols, &mut out.rows);
        }
        // The last row is never wrapped in the grid; if it were, its line would end here.
        if line.columns() > 0 {
            cut(&line, cols, &mut out.rows);
        }
        out
    }

    /// The cursor's line begins at the row that comes next, and it stands in column `x` of it.
    fn place_cursor(&mut self, x: usize, cursor_x: usize, from_cols: usize, cols: usize) {
        let begin = self.rows.len();
        self.cursor = (x % cols, begin + x / cols);
        if self.cursor.0 == 0 && self.cursor.1 > 0 {
            self.cursor.0 = if cols < from_cols { cursor_x } else { cols };
            self.cursor.1 -= 1;
        }
    }
}

fn cut(line: &Row, cols: usize, out: &mut Vec<Row>) {
    let mut row = Row::default();
    if line.columns() <= cols {
        line.cells().for_each(|cell| row.push(cell));
        out.push(row);
        return;
    }
    let blanks = line.text().len() - line.text().trim_end_matches(' ').len();
    let mut used = line.text().len() - blanks;
    for cell in line.cells() {
        if used == 0 {
            break;
        }
        used -= cell.text.len();
        if row.columns() > 0 && row.columns() + usize::from(cell.width) > cols {
            row.wrapped = true;
            out.push(std::mem::take(&mut row));
        }
        row.push(cell);
    }
    out.push(row);
}
