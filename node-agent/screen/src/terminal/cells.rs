//! Cells and rows, read from the grid.
//!
//! The grid puts every character that has a width into cells of its own; the wire has one cell per
//! grapheme. Cells that make one grapheme together (joined emoji, flags) are therefore joined here,
//! and nowhere else. What is wide is what readers of the wire take to be wide.

use unicode_segmentation::UnicodeSegmentation as _;
use wa_mux::codec::{Color, Style, Zone, cell_width};

/// Stands in the grid for U+FE0F, which would make the grid widen the character before it; the
/// real terminal does not. Both are three bytes of UTF-8 that differ in the last one only.
pub(super) const VS16: char = '\u{fe0f}';
pub(super) const VS16_IN_GRID: char = '\u{fe0d}';

fn colour(colour: vt100::Color) -> Color {
    match colour {
        vt100::Color::Default => Color::Default,
        vt100::Color::Idx(n) => Color::Palette(n),
        vt100::Color::Rgb(r, g, b) => Color::Rgb(r, g, b),
    }
}

fn style_of(cell: &vt100::Cell) -> Style {
    Style {
        bold: cell.bold(),
        dim: cell.dim(),
        italic: cell.italic(),
        underline: cell.underline(),
        reverse: cell.inverse(),
        fg: colour(cell.fgcolor()),
        bg: colour(cell.bgcolor()),
        ..Style::default()
    }
}

/// The SGR sequence that sets exactly this style.
pub(super) fn sgr(style: Style) -> String {
    let mut out = String::from("\x1b[0");
    for (on, code) in [
        (style.bold, ";1"),
        (style.dim, ";2"),
        (style.italic, ";3"),
        (style.underline, ";4"),
        (style.reverse, ";7"),
    ] {
        if on {
            out.push_str(code);
        }
    }
    for (base, colour) in [("38", style.fg), ("48", style.bg)] {
        let parameters = match colour {
            Color::Default => continue,
            Color::Palette(n) => format!(";{base};5;{n}"),
            Color::Rgb(r, g, b) => format!(";{base};2;{r};{g};{b}"),
        };
        out.push_str(&parameters);
    }
    out.push('m');
    out
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    end: u32,
    width: u8,
    style: Style,
    zone: Zone,
}

/// One cell of a [`Row`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell<'a> {
    /// One grapheme; a blank where nothing was written. Never empty.
    pub text: &'a str,
    /// How it is drawn.
    pub style: Style,
    /// What the shell said it is.
    pub zone: Zone,
    /// Columns: 1 or 2.
    pub width: u8,
}

/// A row, up to the last cell that was ever written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Row {
    /// Stable index: counts from the first row the terminal ever had.
    pub index: i64,
    /// The batch that last changed the row.
    pub seqno: u64,
    /// The next row goes on with the same line.
    pub wrapped: bool,
    text: String,
    marks: Vec<Mark>,
    columns: usize,
}

impl Row {
    /// The cells from left to right.
    pub fn cells(&self) -> impl Iterator<Item = Cell<'_>> {
        let mut start = 0;
        self.marks.iter().map(move |mark| {
            let end = mark.end as usize;
            let text = &self.text[start..end];
            start = end;
            Cell { text, style: mark.style, zone: mark.zone, width: mark.width }
        })
    }

    /// Columns taken.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The text of all cells, trailing blanks as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The row as it goes over the wire.
    pub fn to_wire(&self) -> wa_mux::codec::Row {
        let cells = self.cells().map(|cell| wa_mux::codec::Cell {
            text: cell.text,
            style: cell.style,
            zone: cell.zone,
        });
        wa_mux::codec::Row::from_cells(self.index, self.seqno, self.wrapped, cells)
    }

    /// Whether the row shows nothing but blanks.
    pub(super) fn is_blank(&self) -> bool {
        self.text.bytes().all(|b| b == b' ')
    }

    pub(super) fn push(&mut self, cell: Cell<'_>) {
        self.text.push_str(cell.text);
        // A row has at most some thousand cells of at most a few dozen bytes.
        let end = u32::try_from(self.text.len()).unwrap_or(u32::MAX);
        self.columns += usize::from(cell.width);
        self.marks.push(Mark { end, width: cell.width, style: cell.style, zone: cell.zone });
    }

    /// Removes the last cell.
    fn pop(&mut self) {
        if let Some(mark) = self.marks.pop() {
            self.columns -= usize::from(mark.width);
            self.text.truncate(self.end());
        }
    }

    fn end(&self) -> usize {
        self.marks.last().map_or(0, |mark| mark.end as usize)
    }

    /// Puts the cells from column `from` on into `zone`.
    pub(super) fn zone_from(&mut self, from: usize, zone: Zone) {
        let mut column = 0;
        for mark in &mut self.marks {
            if column >= from {
                mark.zone = zone;
            }
            column += usize::from(mark.width);
        }
    }

    /// Reads visible row `row` of the grid.
    pub(super) fn read(screen: &vt100::Screen, row: u16) -> Self {
        let mut out = Self { wrapped: screen.row_wrapped(row), ..Self::default() };
        let mut written = 0;
        for col in 0..screen.size().1.get() {
            let Some(cell) = screen.cell(row, col) else {
                break;
            };
            if cell.is_wide_continuation() {
                continue;
            }
            let style = style_of(cell);
            if !out.join(cell.contents()) {
                out.add(cell.contents(), style);
            }
            if cell.has_contents() || style != Style::default() {
                written = out.marks.len();
            }
        }
        while out.marks.len() > written {
            out.pop();
        }
        out
    }

    fn add(&mut self, contents: &str, style: Style) {
        let mut text = std::borrow::Cow::Borrowed(contents);
        if text.is_empty() {
            text = " ".into();
        } else if !text.is_ascii() {
            text = text.replace(VS16_IN_GRID, "\u{fe0f}").into();
        }
        self.push(Cell {
            text: &text,
            style,
            zone: Zone::default(),
            width: if cell_width(&text) == 2 { 2 } else { 1 },
        });
    }

    /// Adds to the last cell what makes one grapheme with it. False: it does not.
    fn join(&mut self, contents: &str) -> bool {
        let Some(last) = self.marks.last().copied().filter(|_| !contents.is_ascii()) else {
            return false;
        };
        let start = self.marks.len().checked_sub(2).map_or(0, |at| self.marks[at].end as usize);
        let before = &self.text[start..];
        if before.is_ascii() {
            return false;
        }
        let together = format!("{before}{contents}");
        if together.graphemes(true).nth(1).is_some() {
            return false;
        }
        self.pop();
        self.add(&together, last.style);
        true
    }
}
