//! Screen text as rules see it.
//!
//! Constraints. Versions and fonts differ in apostrophes, middle dots and blanks; width decides where a sentence is cut and
//! how. The same rule must match at 80, 120 and 200 columns, in a box and out of it. Indent and border are evidence (a
//! quotation is indented), so they are not lost but noted.
//!
//! Format. One buffer of normalised rows without border, indent and trailing blanks, and one buffer of the whole text
//! without any blanks, in which the literals of all rules are searched at once. A *block* is a row and the rows that go on
//! from it, joined: with nothing between where the row was full, else with a blank.

use std::ops::Range;

use unicode_width::UnicodeWidthStr as _;
use wa_proto::Frame;

/// A block does not go on for more rows than this.
const BLOCK_ROWS: usize = 12;

/// What versions write differently, written one way.
pub(crate) fn normal(c: char) -> char {
    match c {
        '’' | '‘' | '`' => '\'',
        '“' | '”' => '"',
        '•' | '∙' | '‧' | '⋅' => '·',
        '\u{a0}' | '\u{202f}' | '\u{2009}' => ' ',
        c if c.is_control() => ' ',
        c => c,
    }
}

pub(crate) fn normalise(text: &str) -> String {
    text.chars().map(normal).collect()
}

pub(crate) struct Row {
    /// Bytes of the row's text in the sheet.
    range: Range<usize>,
    /// Column of its first character.
    pub(crate) column: usize,
    /// It stands behind a border.
    pub(crate) boxed: bool,
    /// The terminal says that the next row goes on from it, and not behind a blank.
    wrapped: bool,
    /// Its text reaches the right edge.
    full: bool,
    /// It begins something new.
    opens: bool,
}

/// The rows of a frame, normalised.
pub(crate) struct Sheet {
    text: String,
    pub(crate) rows: Vec<Row>,
    /// Everything without blanks and borders.
    pub(crate) squeezed: String,
}

impl Sheet {
    pub(crate) fn new(frame: &Frame) -> Self {
        let size = frame.rows.iter().map(|row| row.text.len()).sum();
        let mut sheet = Self {
            text: String::with_capacity(size),
            rows: Vec::with_capacity(frame.rows.len()),
            squeezed: String::with_capacity(size),
        };
        for row in &frame.rows {
            let cells = if row.text.is_ascii() { row.text.len() } else { row.text.width() };
            let full = frame.cols > 0 && cells >= frame.cols as usize;
            sheet.push(&row.text, row.wrapped, full);
        }
        sheet
    }

    fn push(&mut self, raw: &str, wrapped: bool, full: bool) {
        let is_edge = |c: char| c.is_whitespace() || matches!(c, '│' | '┃');
        let trimmed = raw.trim_end_matches(is_edge);
        let mut column = 0;
        let mut boxed = false;
        let body = trimmed.trim_start_matches(|c: char| {
            let edge = is_edge(c) && !(boxed && c == '│');
            column += usize::from(edge);
            boxed |= edge && !c.is_whitespace();
            edge
        });
        let start = self.text.len();
        for c in body.chars() {
            let c = normal(c);
            self.text.push(c);
            if !c.is_whitespace() && !matches!(c, '│' | '─') {
                self.squeezed.push(c);
            }
        }
        let text = &self.text[start..];
        let opens = opens(text, column, boxed);
        let (wrapped, full) = if raw.ends_with(' ') { (false, false) } else { (wrapped, full) };
        self.rows.push(Row { range: start..self.text.len(), column, boxed, wrapped, full, opens });
    }

    pub(crate) fn text(&self, row: usize) -> &str {
        self.rows.get(row).map_or("", |row| &self.text[row.range.clone()])
    }

    pub(crate) fn is_blank(&self, row: usize) -> bool {
        self.text(row).trim().is_empty()
    }

    /// The block that begins in a row, and the byte at which each of its rows begins.
    pub(crate) fn block(&self, first: usize, end: usize, out: &mut String, starts: &mut Vec<usize>) {
        out.clear();
        starts.clear();
        for row in first..end.min(first + BLOCK_ROWS).min(self.rows.len()) {
            if row > first {
                let (this, above) = (&self.rows[row], &self.rows[row - 1]);
                if self.is_blank(row) || this.opens || this.boxed != self.rows[first].boxed {
                    break;
                }
                let cut = this.column == 0
                    && (above.wrapped || (above.full && is_cut(self.text(row - 1), self.text(row))));
                if !cut {
                    out.push(' ');
                }
            }
            starts.push(out.len());
            out.push_str(self.text(row));
        }
    }
}

/// Whether a full row without a mark was cut in the middle of a word: saved screens do not tell, and a word may end
/// exactly at the edge. Letters that meet were one word, and so were the parts of a session id.
fn is_cut(above: &str, below: &str) -> bool {
    let (last, first) = (above.chars().next_back(), below.chars().next());
    if last.is_some_and(char::is_alphabetic) && first.is_some_and(char::is_alphabetic) {
        return true;
    }
    let is_id = |c: char| c.is_ascii_hexdigit() || c == '-';
    let tail = above.len() - above.trim_end_matches(is_id).len();
    let head = below.len() - below.trim_start_matches(is_id).len();
    tail > 0 && head > 0 && tail + head >= 20
}

/// Glyphs with which agents begin a block, in column 0 or 1; results hang from an elbow in any column.
fn opens(text: &str, column: usize, boxed: bool) -> bool {
    let mut chars = text.chars();
    let (Some(first), second) = (chars.next(), chars.next()) else { return false };
    if matches!(first, '⎿' | '└' | '╭' | '╰' | '─' | '═') {
        return true;
    }
    let glyph = matches!(
        first,
        '·' | '◦'
            | '■'
            | '⚠'
            | '›'
            | '✗'
            | '✔'
            | '✓'
            | '⏺'
            | '●'
            | '❯'
            | '✦'
            | 'ℹ'
            | '✕'
            | '>'
            | '✻'
            | '✽'
            | '✢'
            | '✶'
            | '✳'
            | '*'
    );
    glyph && (column <= 2 || boxed) && second.is_none_or(char::is_whitespace)
}
