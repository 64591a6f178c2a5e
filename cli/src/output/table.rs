//! Tables: no borders, upper-case headers, two spaces between columns, the last column cut only on a terminal.

use std::io::{self, Write};
use std::ops::Range;

use anstyle::Style;

use super::text::{self, Keep};

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    pub(crate) title: &'static str,
    /// Cells that it takes at least; what a stream of rows has, where widths cannot be known.
    pub(crate) min: usize,
}

pub(crate) const fn column(title: &'static str, min: usize) -> Column {
    Column { title, min }
}

/// Printable text in pieces of one style each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell(Vec<(String, Style)>);

impl Cell {
    pub(crate) fn plain(text: &str) -> Self {
        Self::styled(text, Style::new())
    }

    pub(crate) fn styled(text: &str, style: Style) -> Self {
        Self(vec![(text::printable(text, Keep::Nothing), style)])
    }

    /// Text with some byte ranges in another style. Ranges that do not fit the text are left out.
    pub(crate) fn marked(text: &str, ranges: &[Range<usize>], style: Style) -> Self {
        let (mut pieces, mut at) = (Vec::new(), 0);
        for range in ranges {
            let (Some(before), Some(hit)) = (text.get(at..range.start), text.get(range.clone())) else {
                continue;
            };
            pieces.push((text::printable(before, Keep::Nothing), Style::new()));
            pieces.push((text::printable(hit, Keep::Nothing), style));
            at = range.end;
        }
        pieces.push((text::printable(&text[at..], Keep::Nothing), Style::new()));
        Self(pieces)
    }

    /// A text of its own in pieces, not in a column: tabs and newlines stay.
    pub(crate) fn pieces(pieces: &[(&str, Style)]) -> Self {
        Self(pieces.iter().map(|(text, style)| (text::printable(text, Keep::Layout), *style)).collect())
    }

    /// A line of its own, not in a column: tabs stay.
    pub(crate) fn line(text: &str) -> Self {
        Self(vec![(text::printable(text, Keep::Layout), Style::new())])
    }

    fn width(&self) -> usize {
        self.0.iter().map(|(text, _)| text::width(text)).sum()
    }

    /// At most so many cells, with an ellipsis where something is missing.
    fn clipped(&self, cells: usize) -> Self {
        if self.width() <= cells || cells == 0 {
            return self.clone();
        }
        let (mut left, mut pieces) = (cells - 1, Vec::new());
        for (text, style) in &self.0 {
            let part = text::clip(text, left);
            left -= text::width(part);
            pieces.push((part.to_owned(), *style));
            if part.len() < text.len() {
                break;
            }
        }
        pieces.push(("…".to_owned(), Style::new()));
        Self(pieces)
    }

    fn write(&self, to: &mut dyn Write, color: bool) -> io::Result<()> {
        for (text, style) in &self.0 {
            if color && *style != Style::new() {
                write!(to, "{}{text}{}", style.render(), style.render_reset())?;
            } else {
                to.write_all(text.as_bytes())?;
            }
        }
        Ok(())
    }
}

/// How wide, and in colour or not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paper {
    pub(crate) color: bool,
    /// Cells of the terminal; `None` = as long as it takes.
    pub(crate) width: Option<usize>,
}

/// Widths of the columns for these rows.
pub(crate) fn widths(columns: &[Column], rows: &[Vec<Cell>]) -> Vec<usize> {
    columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            let widest = rows.iter().filter_map(|row| row.get(at)).map(Cell::width).max().unwrap_or(0);
            widest.max(text::width(column.title))
        })
        .collect()
}

/// One row. Without widths the cells stand side by side.
pub(crate) fn write_row(to: &mut dyn Write, paper: Paper, widths: &[usize], row: &[Cell]) -> io::Result<()> {
    const LEAST: usize = 8;
    let (mut used, mut pad) = (0, 0);
    for (at, cell) in row.iter().enumerate() {
        if cell.width() == 0 && row[at..].iter().all(|cell| cell.width() == 0) {
            // No blanks at the end of a line.
            break;
        }
        write!(to, "{:pad$}", "")?;
        if at + 1 == row.len() {
            let room =
                paper.width.filter(|_| !widths.is_empty()).map(|all| all.saturating_sub(used).max(LEAST));
            let last = room.map_or_else(|| cell.clone(), |room| cell.clipped(room));
            last.write(to, paper.color)?;
        } else {
            cell.write(to, paper.color)?;
            pad = widths.get(at).copied().unwrap_or(0).saturating_sub(cell.width()) + 2;
            used += cell.width() + pad;
        }
    }
    to.write_all(b"\n")
}

/// The header, then each row.
pub(crate) fn write_header(to: &mut dyn Write, columns: &[Column], widths: &[usize]) -> io::Result<()> {
    let header: Vec<Cell> = columns.iter().map(|column| Cell::plain(column.title)).collect();
    write_row(to, Paper { color: false, width: None }, widths, &header)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column] = &[column("PANE", 0), column("TITLE", 0)];

    fn table(paper: Paper, rows: &[(&str, &str)]) -> String {
        let rows: Vec<Vec<Cell>> = rows.iter().map(|(a, b)| vec![Cell::plain(a), Cell::plain(b)]).collect();
        let widths = widths(COLUMNS, &rows);
        let mut out = Vec::new();
        write_header(&mut out, COLUMNS, &widths).unwrap();
        for row in &rows {
            write_row(&mut out, paper, &widths, row).unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_align_by_cells_not_by_bytes() {
        let rows = [("a/1", "x"), ("漢字/22", "y\u{1b}[31m")];
        assert_eq!(
            table(Paper { color: false, width: None }, &rows),
            "PANE     TITLE\na/1      x\n漢字/22  y\\x1b[31m\n"
        );
    }

    #[test]
    fn no_line_ends_in_blanks() {
        let rows = [("a/1", ""), ("b/22", "x")];
        assert_eq!(table(Paper { color: false, width: None }, &rows), "PANE  TITLE\na/1\nb/22  x\n");
    }

    #[test]
    fn only_a_terminal_cuts_and_only_the_last_column() {
        let rows = [("a/1", "a long title that does not fit")];
        let cut = table(Paper { color: false, width: Some(20) }, &rows);
        assert_eq!(cut.lines().nth(1).unwrap(), "a/1   a long title …");
        assert!(table(Paper { color: false, width: None }, &rows).contains("does not fit"));
    }

    #[test]
    fn marks_survive_hostile_ranges() {
        let bold = Style::new().bold();
        let cell = Cell::marked("né pas", &[2..3, 4..7, 5..6, 90..91], bold);
        let mut out = Vec::new();
        cell.write(&mut out, true).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "né \u{1b}[1mpas\u{1b}[0m");
    }
}
