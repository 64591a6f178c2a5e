//! A saved screen as a frame.
//!
//! Constraints. The file is anybody's: it may be large, hold lines of any length, and bytes that are no text. A row of the
//! frame is a line of the file, so that what is found can be named by its line. Only colours and attributes are understood
//! (they tell a placeholder from a draft); all other escapes are left out, for a saved screen is not drawn again.
//!
//! Operation. Lines with SGR escapes go through the terminal model, some at a time, in a terminal that is wide enough. A
//! line that no terminal could show is taken without its colours. Where no size is given the screen is as wide as its
//! widest line, if that can be told: two lines at least must reach the edge, or one that is drawn from edge to edge.

use unicode_width::UnicodeWidthStr as _;
use wa_proto::{Frame, FrameRow};
use wa_screen::terminal::{Size, Terminal};

/// More is no screen.
pub(super) const MOST_BYTES: u64 = 8 << 20;
/// Of a longer text the last rows are looked at.
const MOST_ROWS: usize = 5000;
/// Cells of a line; what is beyond is left out. No terminal is wider.
const MOST_CELLS: usize = 2000;
/// Lines that go through the terminal model at once.
const SLAB: usize = 50;

/// A saved screen, read.
pub(super) struct Still {
    pub(super) frame: Frame,
    /// Lines of the file above the frame.
    pub(super) above: usize,
    /// What should be said of it.
    pub(super) notes: Vec<String>,
}

/// Makes a frame of the text.
pub(super) fn read(bytes: &[u8], size: Option<(u16, u16)>) -> Still {
    let mut notes = Vec::new();
    let text = String::from_utf8_lossy(bytes);
    if let Err(error) = std::str::from_utf8(bytes) {
        notes.push(format!("byte {} is not UTF-8; such bytes are read as U+FFFD", error.valid_up_to() + 1));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut lines: Vec<&str> = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).collect();
    while lines.last().is_some_and(|line| line.trim_end().is_empty()) {
        lines.pop();
    }
    let above = lines.len().saturating_sub(MOST_ROWS);
    if above > 0 {
        notes.push(format!("{} lines; only the last {MOST_ROWS} are looked at", lines.len()));
    }
    let lines: Vec<Line> = lines[above..].iter().map(|line| Line::of(line)).collect();
    if lines.iter().any(|line| line.cut) {
        notes.push(format!("lines are longer than {MOST_CELLS} columns; the rest of them is not looked at"));
    }
    if lines.iter().any(|line| line.moves) {
        notes.push("it moves the cursor: for what a program wrote to its terminal there is --raw".to_owned());
    }
    let rows = rows(&lines);
    let cols = size.map_or_else(|| width(&rows), |(cols, _)| u32::from(cols));
    Still { frame: Frame { cols, rows, ..Frame::default() }, above, notes }
}

/// A line of the file.
struct Line {
    /// Text and SGR escapes, nothing else.
    text: String,
    styled: bool,
    /// Escapes that no saved screen should have.
    moves: bool,
    cells: usize,
    cut: bool,
}

impl Line {
    fn of(line: &str) -> Self {
        let (mut text, mut styled, mut moves, mut cells) =
            (String::with_capacity(line.len()), false, false, 0);
        let mut cut = false;
        let mut rest = line;
        while !rest.is_empty() {
            if let Some(length) = sgr(rest) {
                text.push_str(&rest[..length]);
                styled = true;
                rest = &rest[length..];
                continue;
            }
            // Up to the next SGR escape; a search for each byte of a line of escapes would not end.
            let next = rest.match_indices("\u{1b}[").find(|(at, _)| *at > 0 && sgr(&rest[*at..]).is_some());
            let (plain, behind) = rest.split_at(next.map_or(rest.len(), |(at, _)| at));
            rest = behind;
            moves |= plain.match_indices("\u{1b}[").any(|(at, _)| is_move(&plain[at..]));
            for c in anstream::adapter::strip_str(plain).to_string().chars() {
                let width = unicode_width::UnicodeWidthChar::width(c).unwrap_or(0);
                if c == '\t' {
                    let stop = 8 - cells % 8;
                    text.extend(std::iter::repeat_n(' ', stop));
                    cells += stop;
                } else if cells + width > MOST_CELLS {
                    cut = true;
                    break;
                } else if !c.is_control() {
                    text.push(c);
                    cells += width;
                }
            }
        }
        Self { text, styled, moves, cells, cut }
    }
}

/// Length of the SGR escape that begins here.
fn sgr(text: &str) -> Option<usize> {
    const MOST: usize = 96;
    let body = text.strip_prefix("\u{1b}[")?.as_bytes();
    let end = body.iter().take(MOST).position(|b| !(b.is_ascii_digit() || matches!(b, b';' | b':')))?;
    (body[end] == b'm').then_some(2 + end + 1)
}

/// Whether a control sequence begins here that puts the cursor somewhere or wipes the screen.
fn is_move(text: &str) -> bool {
    let mut bytes = text.bytes().skip(2).take(32);
    let last = bytes.find(|b| !(b.is_ascii_digit() || *b == b';'));
    matches!(last, Some(b'A' | b'B' | b'H' | b'J' | b'd' | b'f'))
}

fn rows(lines: &[Line]) -> Vec<FrameRow> {
    let mut rows = Vec::with_capacity(lines.len());
    if lines.iter().all(|line| !line.styled) {
        rows.extend(lines.iter().map(|line| FrameRow::plain(line.text.trim_end())));
        return rows;
    }
    let widest = lines.iter().map(|line| line.cells).max().unwrap_or(0);
    let cols = u16::try_from(widest).unwrap_or(u16::MAX);
    // Attributes go on from line to line.
    let mut style = String::new();
    for slab in lines.chunks(SLAB) {
        let mut terminal = Terminal::new(Size { cols, rows: SLAB as u16 }, 0);
        let mut text = style.clone();
        for (at, line) in slab.iter().enumerate() {
            if at > 0 {
                text.push_str("\r\n");
            }
            text.push_str(&line.text);
            let mut at = 0;
            while let Some(found) = line.text[at..].find('\u{1b}') {
                at += found;
                let length = sgr(&line.text[at..]).unwrap_or(1);
                let code = &line.text[at..at + length];
                if matches!(code, "\u{1b}[m" | "\u{1b}[0m") {
                    style.clear();
                }
                style.push_str(code);
                at += length;
            }
            // Bounded, should nobody ever reset.
            let begin = style.len().saturating_sub(4096);
            style.drain(..style[begin..].find('\u{1b}').map_or(style.len(), |found| begin + found));
        }
        terminal.advance(text.as_bytes());
        rows.extend(terminal.frame().rows.into_iter().take(slab.len()));
    }
    rows
}

/// Columns that the text tells; 0 where it does not.
fn width(rows: &[FrameRow]) -> u32 {
    let cells = |row: &FrameRow| row.text.trim_end().width();
    let widest = rows.iter().map(cells).max().unwrap_or(0);
    let edges: Vec<&FrameRow> = rows.iter().filter(|row| cells(row) == widest).collect();
    let drawn = |row: &&FrameRow| {
        let text = row.text.trim();
        text.chars().filter(|c| matches!(c, '─' | '━' | '═' | '▀' | '▄')).count() * 2 > text.chars().count()
    };
    let known = edges.len() >= 2 || edges.iter().any(drawn);
    if known { u32::try_from(widest).unwrap_or(u32::MAX) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(still: &Still) -> Vec<&str> {
        still.frame.rows.iter().map(|row| row.text.as_str()).collect()
    }

    #[test]
    fn a_row_is_a_line_with_its_style() {
        let still = read("one\r\n\u{1b}[2mdim\u{1b}[0m x\n\n\u{1b}[1mbold\nstill bold\n\n".as_bytes(), None);
        assert_eq!(texts(&still), ["one", "dim x", "", "bold", "still bold"]);
        assert!(still.frame.rows[1].style_at(0).dim && !still.frame.rows[1].style_at(4).dim);
        assert!(still.frame.rows[4].style_at(0).bold);
        assert_eq!((still.notes.len(), still.above), (0, 0));
    }

    #[test]
    fn styles_go_on_where_a_slab_ends() {
        let text = format!("\u{1b}[0;1m{}", "x\n".repeat(3 * SLAB));
        let still = read(text.as_bytes(), None);
        assert_eq!(still.frame.rows.len(), 3 * SLAB);
        assert!(still.frame.rows.iter().all(|row| row.style_at(0).bold));
    }

    #[test]
    fn other_escapes_are_left_out_and_said() {
        let still = read("\u{1b}]0;title\u{7}a\u{1b}[2J\u{1b}[5;5Hb\u{0}\u{8}\tc".as_bytes(), None);
        assert_eq!(texts(&still), ["ab      c"]);
        assert!(still.notes[0].contains("--raw"), "{:?}", still.notes);
    }

    #[test]
    fn what_is_too_much_is_bounded() {
        let long = "x".repeat(1 << 20);
        let still = read(format!("{long}\n\u{1b}[1m漢{long}").as_bytes(), None);
        assert_eq!(
            (still.frame.rows[0].text.len(), still.frame.rows[1].text.width()),
            (MOST_CELLS, MOST_CELLS)
        );
        let still = read("a\n".repeat(MOST_ROWS + 7).as_bytes(), None);
        assert_eq!((still.frame.rows.len(), still.above), (MOST_ROWS, 7));
        let still = read(b"caf\xe9\n\x00\xff", None);
        assert_eq!(texts(&still), ["caf\u{fffd}", "\u{fffd}"]);
        assert!(still.notes[0].contains("byte 4"), "{:?}", still.notes);
        assert_eq!(read(b"", None).frame.rows.len(), 0);
    }

    #[test]
    fn the_width_is_told_by_what_reaches_the_edge() {
        assert_eq!(read(b"one long line\nshort", None).frame.cols, 0);
        assert_eq!(read(b"abcde\nfghij\nk", None).frame.cols, 5);
        assert_eq!(read("a\n──────────\n> b".as_bytes(), None).frame.cols, 10);
        assert_eq!(read(b"abcde\nfghij\nk", Some((80, 24))).frame.cols, 80);
    }
}
