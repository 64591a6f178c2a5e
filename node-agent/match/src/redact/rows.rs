//! Secrets in several rows at once: a frame, or a text of many lines.
//!
//! Here rows can be looked back at. Where a row shows that the one above ended in a part of a secret, that part goes, too;
//! a private key whose head has scrolled off goes upwards from its end; and the rows at the top of a screen that are
//! nothing but key material go although neither head nor end is seen.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use unicode_width::UnicodeWidthStr as _;

use super::walk::{Cut, Mark, RedactorState, Row};
use super::{Finding, KEY_KIND, Redactor, key, more, placeholder};

/// A row that ends this near to the right edge may have been cut there: borders and indents of agents' boxes.
const EDGE: usize = 8;
/// So many rows of key material at the top of a screen are a key.
const TOP_ROWS: usize = 6;

/// One replacement in one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edit {
    pub(super) range: Range<usize>,
    pub(super) text: String,
    pub(super) kind: Cow<'static, str>,
    pub(super) why: Cow<'static, str>,
}

impl Edit {
    /// The same for people; the row begins at byte `offset` of the text.
    pub(super) fn finding(self, offset: usize) -> Finding {
        Finding {
            kind: self.kind.into_owned(),
            start: offset + self.range.start,
            end: offset + self.range.end,
            replacement: self.text,
            why: self.why.into_owned(),
        }
    }
}

/// A row and whether the terminal's wrap cut it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line<'t> {
    pub(super) text: &'t str,
    pub(super) wrapped: bool,
}

impl Redactor {
    /// Takes the secrets out of screen rows, also where one runs over several rows. `cols` is the width of the screen in
    /// cells; 0 = not known.
    pub fn redact_rows<'t>(&self, rows: &[&'t str], cols: usize) -> Vec<Cow<'t, str>> {
        let lines: Vec<Line<'_>> = rows.iter().map(|text| Line { text, wrapped: false }).collect();
        let edits = self.row_edits(&lines, cols);
        let applied = |(at, row): (usize, &&'t str)| match edits.get(&at) {
            Some(edits) => Cow::Owned(apply(row, edits)),
            None => Cow::Borrowed(*row),
        };
        rows.iter().enumerate().map(applied).collect()
    }

    /// What to replace in a screen, by row.
    pub(super) fn row_edits(&self, lines: &[Line<'_>], cols: usize) -> BTreeMap<usize, Vec<Edit>> {
        let mut sheet = Sheet::default();
        let cols = if cols > 0 { cols } else { usize::MAX };
        self.fill(&mut sheet, lines, cols);
        sheet.mark_top(lines);
        sheet.edits()
    }

    /// What to replace in a text of several lines, by line.
    pub(super) fn line_edits(&self, lines: &[Line<'_>]) -> BTreeMap<usize, Vec<Edit>> {
        let mut sheet = Sheet::default();
        self.fill(&mut sheet, lines, usize::MAX);
        sheet.edits()
    }

    fn fill(&self, sheet: &mut Sheet, lines: &[Line<'_>], cols: usize) {
        let mut state = RedactorState::default();
        let mut joined = false;
        let mut above = 0..0;
        for (at, line) in lines.iter().enumerate() {
            let mut row = Row::new(line.text);
            if joined {
                row.body.start = 0;
                row.joined = true;
            }
            if line.wrapped {
                row.body.end = line.text.len();
                row.cut = Cut::Soft;
            } else if cols < usize::MAX && line.text[..row.body.end].width().saturating_add(EDGE) >= cols {
                row.cut = Cut::Edge;
            }
            joined = line.wrapped;
            let step = self.step(&mut state, &row);
            if let Some((back, mark)) = step.before {
                let range = above.end - back.min(above.end - above.start)..above.end;
                sheet.add(at - 1, Mark { range, ..mark }, above.end);
            }
            for mark in step.marks {
                sheet.add(at, mark, row.body.end);
            }
            if step.orphan {
                sheet.mark_upwards(lines, at);
            }
            above = row.body;
        }
    }
}

#[derive(Default)]
struct Sheet {
    marks: BTreeMap<usize, Vec<Mark>>,
    /// The mark that began the secret which the last row's end cut: row and index.
    origin: Option<(usize, usize)>,
}

impl Sheet {
    fn add(&mut self, row: usize, mark: Mark, end: usize) {
        if mark.length.is_none()
            && let Some((row, index)) = self.origin
            && let Some(length) =
                self.marks.get_mut(&row).and_then(|marks| marks.get_mut(index)?.length.as_mut())
        {
            *length += mark.range.len();
        }
        let marks = self.marks.entry(row).or_default();
        if mark.length.is_some() {
            self.origin = (mark.range.end == end).then_some((row, marks.len()));
        }
        marks.push(mark);
    }

    /// A key whose head has scrolled off, upwards from the row of its end.
    fn mark_upwards(&mut self, lines: &[Line<'_>], end: usize) {
        let first = end.saturating_sub(key::ROWS as usize);
        let mut found = Vec::new();
        for (at, line) in lines.iter().enumerate().take(end).skip(first).rev() {
            let body = super::walk::body(line.text);
            let Some(range) = key::upward(line.text, &body) else { break };
            if !range.is_empty() {
                found.push((at, range));
            }
        }
        // One word above an end is no key yet.
        let long = found.iter().any(|(_, range)| range.len() >= 24);
        for (at, range) in found.into_iter().filter(|_| long) {
            self.marks.entry(at).or_default().push(inside(range));
        }
    }

    /// Key material from the top of a screen on, of which neither head nor end is seen.
    fn mark_top(&mut self, lines: &[Line<'_>]) {
        let bodies = lines.iter().map(|line| super::walk::body(line.text));
        let rows: Vec<Range<usize>> = bodies
            .zip(lines)
            .map_while(|(body, line)| key::full_row(&line.text[body.clone()]).then_some(body))
            .collect();
        let below = lines.get(rows.len()..).unwrap_or_default();
        let public =
            below.iter().take(2).any(|line| line.text.contains("-----END") && !line.text.contains("PRIVATE"));
        if rows.len() < TOP_ROWS || public {
            return;
        }
        for (at, range) in rows.into_iter().enumerate() {
            self.marks.entry(at).or_default().push(inside(range));
        }
    }

    fn edits(self) -> BTreeMap<usize, Vec<Edit>> {
        self.marks
            .into_iter()
            .map(|(row, marks)| (row, edits_of(marks)))
            .filter(|(_, edits)| !edits.is_empty())
            .collect()
    }
}

fn inside(range: Range<usize>) -> Mark {
    Mark { why: "key material above the end of a private key".into(), ..Mark::more(range, KEY_KIND.into()) }
}

/// Marks of one row as replacements: in order, joined where they overlap; the earlier one names the kind.
pub(super) fn edits_of(mut marks: Vec<Mark>) -> Vec<Edit> {
    marks.retain(|mark| !mark.range.is_empty());
    marks.sort_by(|a, b| a.range.start.cmp(&b.range.start).then(b.range.end.cmp(&a.range.end)));
    let mut joined: Vec<Mark> = Vec::with_capacity(marks.len());
    for mark in marks {
        match joined.last_mut() {
            Some(last) if mark.range.start < last.range.end => {
                last.range.end = last.range.end.max(mark.range.end);
                last.length = last.length.max(mark.length.filter(|_| mark.range.start == last.range.start));
            }
            _ => joined.push(mark),
        }
    }
    let edit = |mark: Mark| {
        let text = mark.length.map_or_else(|| more(&mark.kind), |length| placeholder(&mark.kind, length));
        Edit { range: mark.range, text, kind: mark.kind, why: mark.why }
    };
    joined.into_iter().map(edit).collect()
}

/// A row with its replacements.
pub(super) fn apply(row: &str, edits: &[Edit]) -> String {
    let mut out = String::with_capacity(row.len());
    let mut at = 0;
    for edit in edits {
        out.push_str(&row[at..edit.range.start]);
        out.push_str(&edit.text);
        at = edit.range.end;
    }
    out.push_str(&row[at..]);
    out
}
