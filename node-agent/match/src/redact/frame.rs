//! Secrets in a whole frame: rows as in `rows`, and the style runs moved along.

use std::borrow::Cow;

use wa_proto::{Frame, FrameRow, StyleRun};

use super::Redactor;
use super::rows::{Edit, Line, apply};

impl Redactor {
    /// Takes the secrets out of a frame. A row may become wider than the screen.
    pub fn redact_frame<'f>(&self, frame: &'f Frame) -> Cow<'f, Frame> {
        let line = |row: &'f FrameRow| Line { text: &row.text, wrapped: row.wrapped };
        let lines: Vec<Line<'_>> = frame.rows.iter().map(line).collect();
        let edits = self.row_edits(&lines, frame.cols as usize);
        if edits.is_empty() {
            return Cow::Borrowed(frame);
        }
        let edited = |(at, row): (usize, &FrameRow)| match edits.get(&at) {
            Some(edits) => edited(row, edits),
            None => row.clone(),
        };
        let rows = frame.rows.iter().enumerate().map(edited).collect();
        Cow::Owned(Frame { rows, ..frame.clone() })
    }
}

fn edited(row: &FrameRow, edits: &[Edit]) -> FrameRow {
    let text = apply(&row.text, edits);
    let runs = row
        .runs
        .iter()
        .map(|run| StyleRun {
            start: moved(edits, run.start, false),
            end: moved(edits, run.end, true),
            ..*run
        })
        .filter(|run| run.start < run.end)
        .collect();
    FrameRow { text, wrapped: row.wrapped, runs }
}

/// Where a byte of the old row lies in the new one; inside a replaced part: its beginning or its end.
fn moved(edits: &[Edit], byte: u32, end: bool) -> u32 {
    let byte = byte as usize;
    let (mut grown, mut shrunk) = (0, 0);
    for edit in edits {
        if byte >= edit.range.end {
            grown += edit.text.len();
            shrunk += edit.range.len();
        } else if byte > edit.range.start {
            let start = edit.range.start + grown - shrunk;
            return u32::try_from(if end { start + edit.text.len() } else { start }).unwrap_or(u32::MAX);
        }
    }
    u32::try_from(byte + grown - shrunk).unwrap_or(u32::MAX)
}
