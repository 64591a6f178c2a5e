//! Secrets in screen rows, where a wrap may have cut them.
//!
//! Constraints. A terminal's soft wrap cuts anywhere at the right edge; an agent's own wrap cuts inside its box or
//! indent, at a hyphen or in the middle of a long word. Gluing rows that do not belong together would swallow the word
//! that happens to follow a token at the end of a row.
//!
//! Operation. From each row a window is glued: the row, then the rows that a secret could run on into, without borders
//! and indent, as long as each is one word. A secret found across a row's end counts as one when the row reaches the
//! right edge, ends where programs like to cut, or holds no whole secret by itself.

use std::borrow::Cow;
use std::ops::Range;

use unicode_width::UnicodeWidthStr as _;

use super::{
    KEY_KIND, KEY_LINES, KeyLine, Redactor, Span, key_line, key_material, merge, opens_key, placeholder,
};

/// A token does not run over more rows than this.
const WINDOW_ROWS: usize = 64;
/// A row that ends this near to the right edge may have been cut there: borders and indents of agents' boxes.
const EDGE: usize = 8;

/// One replacement in one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edit {
    pub(super) range: Range<usize>,
    pub(super) text: String,
}

impl Redactor {
    /// Takes the secrets out of screen rows, also where one runs over several rows. `cols` is the width of the screen in
    /// cells; 0 = not known.
    pub fn redact_rows<'t>(&self, rows: &[&'t str], cols: usize) -> Vec<Cow<'t, str>> {
        let edits = self.row_edits(rows, cols);
        if edits.is_empty() {
            return rows.iter().map(|row| Cow::Borrowed(*row)).collect();
        }
        rows.iter().zip(&edits).map(|(row, edits)| apply(row, edits)).collect()
    }

    /// What to replace, by row; empty when nothing is to be replaced anywhere.
    pub(super) fn row_edits(&self, rows: &[&str], cols: usize) -> Vec<Vec<Edit>> {
        let bodies: Vec<Range<usize>> = rows.iter().map(|row| body(row)).collect();
        let glued: String = rows.iter().zip(&bodies).map(|(row, body)| &row[body.clone()]).collect();
        if !self.literals.is_match(&glued) && !glued.contains("-----END ") {
            return Vec::new();
        }
        let widths: Vec<usize> =
            rows.iter().zip(&bodies).map(|(row, body)| row[..body.end].width()).collect();
        let cols = if cols == 0 { widths.iter().copied().max().unwrap_or(0) } else { cols };
        let sheet = Sheet { rows, bodies, widths, cols };
        let mut marks: Vec<Vec<Mark>> = vec![Vec::new(); rows.len()];
        for row in 0..rows.len() {
            self.mark_from(&sheet, row, &mut marks);
        }
        mark_keys(&sheet, &mut marks);
        if marks.iter().all(Vec::is_empty) {
            return Vec::new();
        }
        marks.into_iter().map(edits_of).collect()
    }

    /// Marks the secrets that begin in a row.
    fn mark_from(&self, sheet: &Sheet<'_>, row: usize, marks: &mut [Vec<Mark>]) {
        let alone = self.spans(sheet.rows[row]);
        for span in &alone {
            marks[row].push(Mark {
                range: span.range.clone(),
                kind: span.kind,
                length: Some(span.range.len()),
            });
        }
        for separator in ["", " "] {
            let Some(window) = sheet.window(row, separator) else { return };
            for span in self.spans(&window.text) {
                if span.range.start < window.ends[0] && span.range.end > window.starts[1] {
                    let tight = separator.is_empty();
                    sheet.mark_across(&window, &span, tight.then_some(alone.as_slice()), marks);
                }
            }
        }
    }
}

/// A piece of a secret in a row; `length` is known in the row where it begins.
#[derive(Debug, Clone)]
struct Mark {
    range: Range<usize>,
    kind: &'static str,
    length: Option<usize>,
}

struct Sheet<'r> {
    rows: &'r [&'r str],
    bodies: Vec<Range<usize>>,
    widths: Vec<usize>,
    cols: usize,
}

/// Bodies of consecutive rows, glued. `starts` and `ends` are where each row's body lies in `text`.
struct Window {
    first: usize,
    text: String,
    starts: Vec<usize>,
    ends: Vec<usize>,
}

impl Sheet<'_> {
    fn body(&self, row: usize) -> &str {
        &self.rows[row][self.bodies[row].clone()]
    }

    fn window(&self, first: usize, separator: &str) -> Option<Window> {
        let mut window =
            Window { first, text: self.body(first).to_owned(), starts: vec![0], ends: Vec::new() };
        window.ends.push(window.text.len());
        let last = self.rows.len().min(first + WINDOW_ROWS);
        for row in first + 1..last {
            let body = self.body(row);
            if !body.starts_with(is_token) || !self.body(row - 1).ends_with(is_token) {
                break;
            }
            if row == first + 1 {
                window.text.push_str(separator);
            }
            window.starts.push(window.text.len());
            window.text.push_str(body);
            window.ends.push(window.text.len());
            if body.contains(char::is_whitespace) {
                break;
            }
        }
        (window.starts.len() > 1).then_some(window)
    }

    /// Marks a span of a window row by row, as far as the rows' ends look like cuts. `alone`: what the first row holds by
    /// itself.
    fn mark_across(&self, window: &Window, span: &Span, alone: Option<&[Span]>, marks: &mut [Vec<Mark>]) {
        let mut pieces = Vec::new();
        for (index, (start, end)) in window.starts.iter().zip(&window.ends).enumerate() {
            let (from, to) = (span.range.start.max(*start), span.range.end.min(*end));
            if from >= to {
                continue;
            }
            let row = window.first + index;
            let offset = self.bodies[row].start;
            pieces.push((row, offset + from - start..offset + to - start));
            if span.range.end > *end && !self.is_cut(row, alone.filter(|_| index == 0)) {
                break;
            }
        }
        let length = pieces.iter().map(|(_, range)| range.len()).sum();
        for (index, (row, range)) in pieces.into_iter().enumerate() {
            marks[row].push(Mark { range, kind: span.kind, length: (index == 0).then_some(length) });
        }
    }

    fn is_cut(&self, row: usize, alone: Option<&[Span]>) -> bool {
        let body = self.body(row);
        let at_edge = self.widths[row] + EDGE >= self.cols;
        let whole =
            alone.is_some_and(|spans| spans.iter().any(|span| span.range.end == self.bodies[row].end));
        at_edge || !whole || body.ends_with(['-', '_', '.', '/', '+', '=', ':', '@'])
    }
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || matches!(c, '-' | '_' | '.' | '/' | '+' | '=' | ':' | '@' | '~' | '%' | '&' | '?')
}

/// The row without borders, indent and trailing blanks.
fn body(row: &str) -> Range<usize> {
    let border = |c: char| c.is_whitespace() || matches!(c, '│' | '┃' | '▌' | '▐' | '┆' | '║' | '|');
    let start = row.len() - row.trim_start_matches(border).len();
    let end = row.trim_end_matches(border).len();
    start.min(end)..end
}

/// Private keys: from their head to their end, and upwards from an end whose head has scrolled off.
fn mark_keys(sheet: &Sheet<'_>, marks: &mut [Vec<Mark>]) {
    let mut open: Option<u32> = None;
    let mut head = 0;
    for row in 0..sheet.rows.len() {
        let text = sheet.rows[row];
        let mut mark = |range: Range<usize>| marks[row].push(Mark { range, kind: KEY_KIND, length: None });
        if let Some(lines) = open {
            match key_line(text, lines) {
                KeyLine::Inside => mark(sheet.bodies[row].clone()),
                KeyLine::End(end) => mark(sheet.bodies[row].start..end),
                KeyLine::Outside => {}
            }
            open = matches!(key_line(text, lines), KeyLine::Inside).then_some(lines + 1);
        } else if opens_key(text) {
            (open, head) = (Some(0), row);
        } else if text.contains("-----END ") && text.contains("PRIVATE KEY") && !text.contains("-----BEGIN ")
        {
            mark_upwards(sheet, head, row, marks);
        }
    }
}

fn mark_upwards(sheet: &Sheet<'_>, from: usize, end: usize, marks: &mut [Vec<Mark>]) {
    let first = from.max(end.saturating_sub(KEY_LINES as usize));
    for row in (first..end).rev() {
        let body = sheet.body(row);
        let long_word = body.split_whitespace().any(|word| word.len() >= 40 && word.chars().all(is_token));
        if !long_word || matches!(key_material(body), KeyLine::Outside) {
            break;
        }
        marks[row].push(Mark { range: sheet.bodies[row].clone(), kind: KEY_KIND, length: None });
    }
}

fn edits_of(marks: Vec<Mark>) -> Vec<Edit> {
    let spans = marks.iter().map(|mark| Span { range: mark.range.clone(), kind: mark.kind }).collect();
    merge(spans)
        .into_iter()
        .filter(|span| !span.range.is_empty())
        .map(|span| {
            let inside =
                |mark: &&Mark| mark.range.start >= span.range.start && mark.range.end <= span.range.end;
            let begins = |mark: &&Mark| mark.range.start == span.range.start;
            let length = marks.iter().filter(inside).filter(begins).filter_map(|mark| mark.length).max();
            let mut text = String::new();
            match length {
                Some(length) => placeholder(&mut text, span.kind, length),
                None => text = format!("[redacted:{}:more]", span.kind),
            }
            Edit { range: span.range, text }
        })
        .collect()
}

fn apply<'t>(row: &'t str, edits: &[Edit]) -> Cow<'t, str> {
    if edits.is_empty() {
        return Cow::Borrowed(row);
    }
    let mut out = String::with_capacity(row.len());
    let mut at = 0;
    for edit in edits {
        out.push_str(&row[at..edit.range.start]);
        out.push_str(&edit.text);
        at = edit.range.end;
    }
    out.push_str(&row[at..]);
    Cow::Owned(out)
}
