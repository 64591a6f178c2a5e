//! Material of an agent that is no screen: lines that have settled, or the words of one record of its session file.
//!
//! Constraints. There is no composer, no dialog and no box to go by, so less can be told from a text that quotes a notice.
//! Of lines only those count that stand behind the last submitted prompt, as in the region `tail`; of a record only its
//! beginning, for all of it is one notice.
//!
//! Format. Rows as a screen would have them. A settled line is whole, so one that took several rows is cut into them again:
//! rules know a wrap when they see one. A record has no width.

use unicode_width::UnicodeWidthChar as _;
use wa_proto::{AgentKind, Frame, FrameRow};

use super::engine::{Scene, last_prompt};
use super::pack::Surface;
use super::text::Sheet;
use crate::composer::{Composer, ComposerView};

/// Bytes and rows of a record that are read: notices are short.
const RECORD_BYTES: usize = 4096;
const RECORD_ROWS: usize = 16;

pub(crate) struct Excerpt<'a> {
    surface: Surface,
    sheet: Sheet,
    view: ComposerView,
    agent: &'a AgentKind,
    version: &'a str,
    /// First row in which a match may begin.
    from: usize,
    prompt: Option<usize>,
}

impl<'a> Excerpt<'a> {
    /// Settled lines as rows; those before `from` only stand above the others.
    pub(crate) fn lines(rows: &Frame, from: usize, agent: &'a AgentKind, version: &'a str) -> Self {
        let (sheet, view) = (Sheet::new(rows), no_composer());
        let prompt = last_prompt(&sheet, agent, &view).map(|(row, _)| row);
        Self { surface: Surface::Line, sheet, view, agent, version, from, prompt }
    }

    pub(crate) fn record(text: &str, agent: &'a AgentKind, version: &'a str) -> Self {
        let text = &text[..text.floor_char_boundary(RECORD_BYTES)];
        let rows = text.lines().take(RECORD_ROWS).map(FrameRow::plain).collect();
        let sheet = Sheet::new(&Frame { rows, ..Frame::default() });
        let view = no_composer();
        Self { surface: Surface::Record, sheet, view, agent, version, from: 0, prompt: None }
    }

    pub(crate) fn scene(&self) -> Scene<'_> {
        Scene {
            surface: self.surface,
            sheet: &self.sheet,
            view: &self.view,
            agent: Some(self.agent),
            alive: true,
            left: None,
            version: self.version,
            prompt: self.prompt,
            from: self.from,
        }
    }

    /// The row of the last submitted prompt.
    pub(crate) fn prompt(&self) -> Option<usize> {
        self.prompt
    }

    pub(crate) fn text(&self, row: usize) -> &str {
        self.sheet.text(row)
    }
}

/// Nothing that settles belongs to a composer.
fn no_composer() -> ComposerView {
    ComposerView { content: Composer::Empty, ..ComposerView::missing() }
}

/// The rows that a line took on a screen of so many columns.
pub(crate) fn rows_of(text: &str, cols: u32) -> Vec<FrameRow> {
    let cols = cols as usize;
    let (mut rows, mut start, mut width) = (Vec::new(), 0, 0);
    for (at, c) in text.char_indices() {
        let wide = c.width().unwrap_or(0);
        if cols > 0 && width + wide > cols && at > start {
            rows.push(FrameRow { wrapped: true, ..FrameRow::plain(&text[start..at]) });
            (start, width) = (at, 0);
        }
        width += wide;
    }
    rows.push(FrameRow::plain(&text[start..]));
    rows
}
