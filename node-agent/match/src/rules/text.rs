//! Screen text as rules see it.
//!
//! Constraints. Versions and fonts differ in apostrophes, middle dots and blanks; width decides where a sentence is cut and
//! how. The same rule must match at 80, 120 and 200 columns, in a box and out of it. Indent and border are evidence (a
//! quotation is indented), so they are not lost but noted.
//!
//! Format. One buffer of normalised rows without border, indent and trailing blanks, and one buffer of the whole text
//! without any blanks, in which the literals of all rules are searched at once. A *block* is a row and the rows that go on
//! from it, joined: with nothing between where the row was full, else with a blank.
//!
//! Operation. Every changed frame comes through here, so rows are taken as they mostly are: printable ASCII, copied whole.
//! Only what is not is looked at character by character.

use std::ops::Range;

use memchr::memmem;
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

/// Characters of borders, which count as little as blanks.
pub(crate) fn is_border(c: char) -> bool {
    matches!(c, '│' | '─')
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
    /// Its text reaches the right edge, where a word may have been cut.
    full: bool,
    /// It begins something new.
    opens: bool,
    blank: bool,
    /// First byte of its text; 0 of none.
    pub(super) first: u8,
}

impl Row {
    /// It begins something new.
    pub(super) fn opens(&self) -> bool {
        self.opens
    }
}

/// Text without blanks and borders.
pub(crate) struct Squeezed(Vec<u8>);

impl Squeezed {
    pub(crate) fn contains(&self, words: &str) -> bool {
        memmem::find(&self.0, words.as_bytes()).is_some()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What a byte means for [`Sheet::push_body`]: 1 is kept when squeezed, 0 is a blank, [`OTHER`] needs a closer look.
const CLASSES: [u8; 256] = {
    let mut classes = [OTHER; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        classes[byte] = 1;
        byte += 1;
    }
    classes[b' ' as usize] = 0;
    classes[b'`' as usize] = OTHER;
    classes
};
const OTHER: u8 = 2;

/// The rows of a frame, normalised.
pub(crate) struct Sheet {
    text: String,
    pub(crate) rows: Vec<Row>,
    /// Everything without blanks and borders.
    pub(crate) squeezed: Squeezed,
}

impl Sheet {
    pub(crate) fn new(frame: &Frame) -> Self {
        let size = frame.rows.iter().map(|row| row.text.len()).sum();
        let mut sheet = Self {
            text: String::with_capacity(size),
            rows: Vec::with_capacity(frame.rows.len()),
            squeezed: Squeezed(vec![0; size]),
        };
        let mut squeezed = 0;
        for row in &frame.rows {
            sheet.push(&row.text, row.wrapped, frame.cols as usize, &mut squeezed);
        }
        sheet.squeezed.0.truncate(squeezed);
        sheet
    }

    fn push(&mut self, raw: &str, wrapped: bool, cols: usize, squeezed: &mut usize) {
        let raw = without_scroll_bar(raw, cols);
        let (body, column, boxed) = body(raw);
        let start = self.text.len();
        self.push_body(body, squeezed);
        let text = &self.text[start..];
        let opens = opens(text, column, boxed);
        let blank = !text.starts_with(|c: char| c.is_ascii_graphic()) && text.trim_start().is_empty();
        let wrapped = wrapped && !raw.ends_with(' ');
        // Columns are counted only where they can matter: a box cuts inside of its border.
        let cut = !boxed && raw.len() >= cols && !raw.ends_with(' ') && text.ends_with(is_of_a_word);
        let full = cut && cols > 0 && is_full(raw, cols);
        let first = text.as_bytes().first().copied().unwrap_or_default();
        self.rows.push(Row {
            range: start..self.text.len(),
            column,
            boxed,
            wrapped,
            full,
            opens,
            blank,
            first,
        });
    }

    /// Appends a row's text, and its squeezed text from `squeezed` on: there is room for all of the frame's bytes, and
    /// nothing grows.
    fn push_body(&mut self, body: &str, squeezed: &mut usize) {
        let bytes = body.as_bytes();
        let room = &mut self.squeezed.0[*squeezed..];
        let (mut at, mut end, mut copied) = (0, 0, 0);
        loop {
            while let Some(byte) = bytes.get(at) {
                let class = CLASSES[usize::from(*byte)];
                if class == OTHER {
                    break;
                }
                room[end] = *byte;
                // Without a branch: blanks come too irregularly to be foreseen.
                end += usize::from(class);
                at += 1;
            }
            // Rules across the pane are long.
            while is_line(&bytes[at..]) {
                at += 3;
            }
            let Some(first) = body[at..].chars().next() else { break };
            let next = at + first.len_utf8();
            let c = normal(first);
            if c != first {
                self.text.push_str(&body[copied..at]);
                self.text.push(c);
                copied = next;
            }
            if !is_border(c) && !c.is_whitespace() {
                end += c.encode_utf8(&mut room[end..]).len();
            }
            at = next;
        }
        self.text.push_str(&body[copied..]);
        *squeezed += end;
    }

    pub(crate) fn text(&self, row: usize) -> &str {
        self.rows.get(row).map_or("", |row| &self.text[row.range.clone()])
    }

    pub(crate) fn is_blank(&self, row: usize) -> bool {
        self.rows.get(row).is_none_or(|row| row.blank)
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

/// Letters, and what a session id is made of.
fn is_of_a_word(c: char) -> bool {
    c.is_alphabetic() || is_of_an_id(c)
}

fn is_of_an_id(c: char) -> bool {
    c.is_ascii_hexdigit() || c == '-'
}

fn is_edge(c: char) -> bool {
    c == ' ' || matches!(c, '│' | '┃') || c.is_whitespace()
}

/// A row without blanks and borders around it, the column where it begins, and whether a border stands before it.
fn body(raw: &str) -> (&str, usize, bool) {
    let trimmed = trim_end(raw);
    let mut column = trimmed.bytes().take_while(|byte| *byte == b' ').count();
    let mut boxed = false;
    let body = trimmed[column..].trim_start_matches(|c: char| {
        let edge = is_edge(c) && !(boxed && c == '│');
        column += usize::from(edge);
        boxed |= edge && !c.is_whitespace();
        edge
    });
    (body, column, boxed)
}

fn trim_end(raw: &str) -> &str {
    let mut text = raw;
    loop {
        let end = without_blanks(text.as_bytes());
        text = &text[..end];
        match text.chars().next_back() {
            Some(last) if is_edge(last) => text = &text[..end - last.len_utf8()],
            _ => return text,
        }
    }
}

/// A row without the scroll bar that an agent draws in the last column of the pane.
fn without_scroll_bar(raw: &str, cols: usize) -> &str {
    let text = raw.trim_end_matches(' ');
    let rest = match text.as_bytes() {
        [.., 0xe2, 0x96, 0x80 | 0x84 | 0x88] => &text[..text.len() - 3],
        _ => return raw,
    };
    let apart = rest.is_empty() || rest.ends_with([' ', '│', '╮', '╯']);
    if apart && width(rest) + 1 == cols { rest } else { raw }
}

/// Where the blanks at the end begin. They may fill most of a row.
fn without_blanks(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some((head, tail)) = rest.split_last_chunk::<8>()
        && *tail == [b' '; 8]
    {
        rest = head;
    }
    rest.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1)
}

/// Whether a text takes so many columns.
fn is_full(text: &str, cols: usize) -> bool {
    // No character takes more columns than bytes.
    text.len() >= cols && (text.is_ascii() || width(text) >= cols)
}

fn width(text: &str) -> usize {
    let (mut columns, mut rest) = (0, text);
    while let Some(first) = rest.chars().next() {
        // What agents draw boxes and sentences with takes one column each, whatever stands beside it.
        if !matches!(first, '\0'..='\u{7f}' | '\u{2500}'..='\u{259f}' | '\u{2010}'..='\u{2027}' | '›') {
            return text.width();
        }
        columns += 1;
        rest = &rest[first.len_utf8()..];
        let line = rest.as_bytes().chunks_exact(3).take_while(|bytes| is_line(bytes)).count();
        columns += line;
        rest = &rest[3 * line..];
    }
    columns
}

/// Begins with a horizontal line or a border.
fn is_line(bytes: &[u8]) -> bool {
    matches!(bytes, [0xe2, 0x94, 0x80 | 0x82, ..])
}

/// Whether a full row without a mark was cut in the middle of a word: saved screens do not tell, and a word may end
/// exactly at the edge. Letters that meet were one word, and so were the parts of a session id.
///
/// Only rows whose last character [`is_of_a_word`] are asked.
fn is_cut(above: &str, below: &str) -> bool {
    let (last, first) = (above.chars().next_back(), below.chars().next());
    if last.is_some_and(char::is_alphabetic) && first.is_some_and(char::is_alphabetic) {
        return true;
    }
    let tail = above.len() - above.trim_end_matches(is_of_an_id).len();
    let head = below.len() - below.trim_start_matches(is_of_an_id).len();
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wa_proto::FrameRow;

    use super::*;

    /// A sheet as it is defined, character by character: texts, squeezed text, columns and boxes of the rows.
    fn by_definition(frame: &Frame) -> (Vec<String>, String, Vec<(usize, bool)>) {
        let (mut texts, mut squeezed, mut places) = (Vec::new(), String::new(), Vec::new());
        for row in &frame.rows {
            let edge = |c: char| c.is_whitespace() || matches!(c, '│' | '┃');
            let mut rest: Vec<char> = row.text.chars().collect();
            while rest.last().is_some_and(|c| edge(*c)) {
                rest.pop();
            }
            let (mut column, mut boxed) = (0, false);
            while rest.get(column).is_some_and(|c| edge(*c) && !(boxed && *c == '│')) {
                boxed |= !rest[column].is_whitespace();
                column += 1;
            }
            let text: String = rest[column..].iter().map(|c| normal(*c)).collect();
            squeezed.extend(text.chars().filter(|c| !c.is_whitespace() && !is_border(*c)));
            texts.push(text);
            places.push((column, boxed));
        }
        (texts, squeezed, places)
    }

    proptest! {
        #[test]
        fn a_sheet_is_what_its_definition_says(
            rows in proptest::collection::vec("[ a-z`│┃─’•\u{a0}\u{3000}\u{85}\u{7}é漢✻]{0,40}", 0..6)
        ) {
            let frame = Frame { cols: 80, rows: rows.iter().map(FrameRow::plain).collect(), ..Frame::default() };
            let sheet = Sheet::new(&frame);
            let (texts, squeezed, places) = by_definition(&frame);
            for (row, text) in texts.iter().enumerate() {
                prop_assert_eq!(sheet.text(row), text);
                prop_assert_eq!(sheet.is_blank(row), text.trim().is_empty());
            }
            let seen: Vec<(usize, bool)> = sheet.rows.iter().map(|row| (row.column, row.boxed)).collect();
            prop_assert_eq!(seen, places);
            prop_assert_eq!(sheet.squeezed.bytes(), squeezed.as_bytes());
        }

        #[test]
        fn a_row_is_as_wide_as_the_library_says(
            text in "[ a-z│─═█…•›é漢✻\u{fe0f}\u{fe0e}\u{200d}☎\u{301}👩]{0,40}", cols in 1..60_usize
        ) {
            prop_assert_eq!(is_full(&text, cols), text.width() >= cols);
        }
    }
}
