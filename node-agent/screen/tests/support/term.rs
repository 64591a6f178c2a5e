//! A terminal model: rows by stable index, limited scrollback, soft wraps, re-wrap, an alternate screen; and the pushes
//! and answers that a mux server makes of it.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use super::node::Server;
use wa_mux::codec::{Cell, CursorPosition, Dimensions, RenderChanges, Row, cell_width};

#[derive(Debug, Clone, Default)]
pub(crate) struct TermRow {
    cells: Vec<String>,
    pub(crate) wrapped: bool,
    seq: u64,
}

impl TermRow {
    fn width(&self) -> usize {
        self.cells.iter().map(|cell| cell_width(cell) as usize).sum()
    }
    pub(crate) fn text(&self) -> String {
        self.cells.concat()
    }
    fn set(&mut self, x: usize, cell: &str, seq: u64) {
        // Cells by column; wide ones only ever stand at the end in these tests.
        while self.width() < x {
            self.cells.push(" ".to_owned());
        }
        let (mut at, mut column) = (0, 0);
        while column < x {
            column += cell_width(&self.cells[at]) as usize;
            at += 1;
        }
        if at < self.cells.len() {
            self.cells[at] = cell.to_owned();
        } else {
            self.cells.push(cell.to_owned());
        }
        self.seq = seq;
    }
}

#[derive(Debug, Clone)]
struct Screen {
    rows: VecDeque<TermRow>,
    /// Stable index of `rows[0]`.
    base: i64,
    /// Column, row of the viewport.
    cursor: (usize, usize),
}

#[derive(Debug, Clone)]
pub(crate) struct Term {
    pub(crate) cols: usize,
    pub(crate) height: usize,
    /// Rows kept above the viewport.
    pub(crate) limit: usize,
    main: Screen,
    alternate: Option<Screen>,
    seq: u64,
    /// Told to the present connection.
    told: u64,
    told_state: Option<(CursorPosition, Dimensions)>,
    pub(crate) mouse: bool,
    /// Every row of the primary screen by index, as it last read.
    pub(crate) truth: BTreeMap<i64, (String, bool)>,
}

impl Term {
    pub(crate) fn new(cols: usize, height: usize, limit: usize) -> Self {
        let blank = |seq| TermRow { seq, ..TermRow::default() };
        let rows = (0..height).map(|_| blank(1)).collect();
        Self {
            cols,
            height,
            limit,
            main: Screen { rows, base: 0, cursor: (0, 0) },
            alternate: None,
            seq: 2,
            told: 0,
            told_state: None,
            mouse: false,
            truth: BTreeMap::new(),
        }
    }

    fn screen(&mut self) -> &mut Screen {
        self.alternate.as_mut().unwrap_or(&mut self.main)
    }

    fn shown(&self) -> &Screen {
        self.alternate.as_ref().unwrap_or(&self.main)
    }

    fn top_of(&self, screen: &Screen) -> i64 {
        screen.base + (screen.rows.len() - self.height) as i64
    }

    pub(crate) fn top(&self) -> i64 {
        self.top_of(self.shown())
    }

    pub(crate) fn oldest(&self) -> i64 {
        self.shown().base
    }

    pub(crate) fn cursor_row(&self) -> i64 {
        self.top() + self.shown().cursor.1 as i64
    }

    pub(crate) fn is_alternate(&self) -> bool {
        self.alternate.is_some()
    }

    /// The row with this stable index on the screen that shows.
    pub(crate) fn row(&self, index: i64) -> Option<&TermRow> {
        usize::try_from(index - self.shown().base).ok().and_then(|at| self.shown().rows.get(at))
    }

    fn touch(&mut self, x: usize, y: usize, cell: &str) {
        let (seq, height) = (self.seq, self.height);
        let screen = self.screen();
        let at = screen.rows.len() - height + y;
        screen.rows[at].set(x, cell, seq);
    }

    fn mark_wrapped(&mut self, y: usize) {
        let (seq, height) = (self.seq, self.height);
        let screen = self.screen();
        let at = screen.rows.len() - height + y;
        screen.rows[at].wrapped = true;
        screen.rows[at].seq = seq;
    }

    fn line_feed(&mut self) {
        let (seq, height, limit) = (self.seq, self.height, self.limit);
        let alternate = self.alternate.is_some();
        let screen = self.screen();
        if screen.cursor.1 + 1 < height {
            screen.cursor.1 += 1;
        } else {
            screen.rows.push_back(TermRow { seq, ..TermRow::default() });
            if alternate {
                // No history and no numbers: the rows move.
                screen.rows.pop_front();
                screen.rows.iter_mut().for_each(|row| row.seq = seq);
            } else if screen.rows.len() > height + limit {
                self.note_row(self.main.base);
                self.main.rows.pop_front();
                self.main.base += 1;
            }
        }
        self.screen().cursor.0 = 0;
    }

    fn note_row(&mut self, index: i64) {
        if let Some(row) = usize::try_from(index - self.main.base).ok().and_then(|at| self.main.rows.get(at))
        {
            self.truth.insert(index, (row.text(), row.wrapped));
        }
    }

    /// Prints graphemes at the cursor, wrapping.
    pub(crate) fn put(&mut self, text: &[&str]) {
        for cell in text {
            let (x, y) = self.screen().cursor;
            if x >= self.cols {
                self.mark_wrapped(y);
                self.line_feed();
            }
            let (x, y) = self.screen().cursor;
            self.touch(x, y, cell);
            self.screen().cursor.0 = x + cell_width(cell) as usize;
        }
    }

    /// Prints a line and goes to the next.
    pub(crate) fn line(&mut self, text: &str) {
        let cells: Vec<String> = text.chars().map(|c| c.to_string()).collect();
        self.put(&cells.iter().map(String::as_str).collect::<Vec<_>>());
        self.line_feed();
    }

    pub(crate) fn newline(&mut self) {
        self.line_feed();
    }

    /// Overwrites a row of the viewport with this text, cursor left where it was.
    pub(crate) fn rewrite(&mut self, y: usize, text: &str) {
        let (seq, height, cols) = (self.seq, self.height, self.cols);
        let screen = self.screen();
        let at = screen.rows.len() - height + y;
        let cells = text.chars().take(cols).map(|c| c.to_string()).collect();
        screen.rows[at] = TermRow { cells, wrapped: false, seq };
    }

    pub(crate) fn go_to(&mut self, x: usize, y: usize) {
        self.screen().cursor = (x, y);
    }

    /// ED 2 and home.
    pub(crate) fn clear(&mut self) {
        for y in 0..self.height {
            self.rewrite(y, "");
        }
        self.go_to(0, 0);
    }

    /// ED 3.
    pub(crate) fn clear_scrollback(&mut self) {
        if self.alternate.is_some() {
            return;
        }
        while self.main.rows.len() > self.height {
            self.note_row(self.main.base);
            self.main.rows.pop_front();
            self.main.base += 1;
        }
    }

    pub(crate) fn enter_alternate(&mut self) {
        let seq = self.seq;
        let rows = (0..self.height).map(|_| TermRow { seq, ..TermRow::default() }).collect();
        self.alternate = Some(Screen { rows, base: 0, cursor: (0, 0) });
    }

    pub(crate) fn leave_alternate(&mut self) {
        if self.alternate.take().is_some() {
            let seq = self.seq;
            let count = self.main.rows.len();
            // The viewport comes anew, and the server also names the first rows that it holds.
            let (first, last) = (0..self.height.min(count), count - self.height..count);
            for at in first.chain(last) {
                self.main.rows[at].seq = seq;
            }
        }
    }

    /// Columns change: wrapped rows are joined and split anew.
    pub(crate) fn resize_cols(&mut self, cols: usize) {
        self.cols = cols;
        let seq = self.seq;
        let top = self.main.rows.len() - self.height;
        let cursor_at = top + self.main.cursor.1;
        let mut rows: VecDeque<TermRow> = VecDeque::new();
        let mut cursor_row = 0;
        let mut joined: Vec<String> = Vec::new();
        let last_used =
            self.main.rows.iter().rposition(|row| !row.cells.is_empty()).unwrap_or(0).max(cursor_at);
        for (at, row) in self.main.rows.iter().enumerate().take(last_used + 1) {
            joined.extend(row.cells.iter().cloned());
            if at == cursor_at {
                cursor_row = rows.len();
            }
            if row.wrapped {
                continue;
            }
            while joined.last().is_some_and(|cell| cell == " ") {
                joined.pop();
            }
            let mut current = TermRow { seq, ..TermRow::default() };
            for cell in joined.drain(..) {
                if current.width() >= cols {
                    current.wrapped = true;
                    rows.push_back(std::mem::replace(&mut current, TermRow { seq, ..TermRow::default() }));
                }
                current.cells.push(cell);
            }
            rows.push_back(current);
            if at == cursor_at {
                cursor_row = rows.len() - 1;
            }
        }
        while rows.len() < self.height {
            rows.push_back(TermRow { seq, ..TermRow::default() });
        }
        while rows.len() > self.height + self.limit {
            rows.pop_front();
            self.main.base += 1;
            cursor_row = cursor_row.saturating_sub(1);
        }
        let top = rows.len() - self.height;
        let x = rows[cursor_row].width();
        self.main.rows = rows;
        self.main.cursor = (x.min(cols), cursor_row.saturating_sub(top));
    }

    pub(crate) fn dims(&self) -> Dimensions {
        let screen = self.shown();
        Dimensions {
            cols: self.cols as u64,
            viewport_rows: self.height as u64,
            scrollback_rows: screen.rows.len() as u64,
            physical_top: self.top(),
            scrollback_top: screen.base,
            ..Dimensions::default()
        }
    }

    fn wire_row(&self, index: i64) -> Row {
        let row = &self.shown().rows[(index - self.shown().base) as usize];
        Row::from_cells(index, row.seq, row.wrapped, row.cells.iter().map(|cell| Cell::plain(cell)))
    }
}

impl Server for Term {
    /// What the server tells this connection now, if there is anything.
    fn push(&mut self) -> Option<RenderChanges> {
        for index in self.main.base..self.main.base + self.main.rows.len() as i64 {
            self.note_row(index);
        }
        let (dims, top) = (self.dims(), self.top());
        let cursor =
            CursorPosition { x: self.shown().cursor.0 as u64, y: self.cursor_row(), ..Default::default() };
        let (mut dirty, mut rows): (Vec<Range<i64>>, Vec<Row>) = (Vec::new(), Vec::new());
        for (at, row) in self.shown().rows.iter().enumerate() {
            let index = self.shown().base + at as i64;
            if row.seq <= self.told {
                continue;
            }
            if index >= top {
                rows.push(self.wire_row(index));
            } else {
                match dirty.last_mut() {
                    Some(last) if last.end == index => last.end += 1,
                    _ => dirty.push(index..index + 1),
                }
            }
        }
        let state = Some((cursor, dims));
        if rows.is_empty() && dirty.is_empty() && state == self.told_state {
            return None;
        }
        rows.push(self.wire_row(cursor.y));
        self.told = self.seq;
        self.told_state = state;
        self.seq += 1;
        Some(RenderChanges {
            pane_id: 1,
            mouse_grabbed: self.mouse,
            cursor,
            dims,
            dirty,
            title: String::new(),
            working_dir: None,
            rows,
            input_serial: None,
            seqno: self.told,
        })
    }

    /// GetLines, as generous as the real one.
    fn get_lines(&mut self, ranges: &[Range<i64>]) -> Vec<Row> {
        let screen = self.shown();
        let (first, end) = (screen.base, screen.base + screen.rows.len() as i64);
        let mut out = Vec::new();
        for range in ranges {
            assert!(range.start < range.end, "an inverted range kills the server");
            let answer = if range.start < first || range.start >= end {
                first..end.min(first + (range.end - range.start))
            } else if range.end > end {
                first.max(end - (range.end - range.start) - 1)..end
            } else {
                range.clone()
            };
            out.extend(answer.map(|index| self.wire_row(index)));
        }
        out
    }

    fn reconnect(&mut self) {
        self.told = 0;
        self.told_state = None;
    }
}

pub(crate) fn number(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|at| format!("line {at}")).collect()
}

pub(crate) fn print(term: &mut Term, from: usize, to: usize) {
    number(from, to).iter().for_each(|line| term.line(line));
}
