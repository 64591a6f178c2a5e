//! What a multiplexer's server tells of a terminal: pushes of what changed, answers to questions for rows.
//!
//! As the real server does it, oddities included: a push holds everything that changed since this reader was last told,
//! however much happened in between; rows of the viewport come whole, those above it only as ranges; the cursor's row
//! comes once more at the end. A question for rows that there are not is answered with others.

use std::ops::Range;

use wa_mux::codec::{self, CursorPosition, CursorVisibility, RenderChanges};

use super::{Cursor, Dimensions, Size, Terminal};

/// Pixels of one cell, as panes without a window have them: width, height.
pub const CELL_PIXELS: (u16, u16) = (8, 16);

/// What a server knows of a pane beside its terminal: used where the program said nothing itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// In place of a title.
    pub name: String,
    /// In place of a directory that the program named, as URL.
    pub working_dir: Option<String>,
}

/// What one reader was last told of a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    seqno: u64,
    cursor: Cursor,
    dims: Dimensions,
    mouse_grabbed: bool,
    title: String,
    working_dir: Option<String>,
}

impl Size {
    /// As the wire has it, with the pixels of [`CELL_PIXELS`].
    pub fn to_wire(self) -> codec::TerminalSize {
        let (wide, high) = CELL_PIXELS;
        codec::TerminalSize {
            rows: self.rows.into(),
            cols: self.cols.into(),
            pixel_width: self.cols.saturating_mul(wide).into(),
            pixel_height: self.rows.saturating_mul(high).into(),
            dpi: 0,
        }
    }
}

impl Cursor {
    /// As the wire has it.
    pub fn to_wire(&self) -> CursorPosition {
        CursorPosition {
            x: self.x.into(),
            y: self.y,
            shape: self.shape,
            visibility: if self.visible { CursorVisibility::Visible } else { CursorVisibility::Hidden },
        }
    }
}

impl Dimensions {
    /// As the wire has them.
    pub fn to_wire(&self) -> codec::Dimensions {
        let pixels = Size { cols: self.cols, rows: self.viewport_rows }.to_wire();
        codec::Dimensions {
            cols: self.cols.into(),
            viewport_rows: self.viewport_rows.into(),
            scrollback_rows: self.scrollback_rows as u64,
            physical_top: self.physical_top,
            scrollback_top: self.scrollback_top,
            dpi: 0,
            pixel_width: pixels.pixel_width,
            pixel_height: pixels.pixel_height,
            reverse_video: false,
        }
    }
}

impl Terminal {
    /// The push of pane `pane_id` to a reader who was last told `told` (`None`: nothing), and what it has been told
    /// then. `None`: nothing changed; with an `input_serial` there is a push in any case.
    pub fn changes(
        &mut self,
        pane_id: u64,
        facts: Facts,
        told: Option<&Told>,
        input_serial: Option<u64>,
    ) -> Option<(Told, RenderChanges)> {
        let now = Told {
            seqno: self.seqno(),
            cursor: self.cursor(),
            dims: self.dimensions(),
            mouse_grabbed: self.mouse_grabbed(),
            title: self.title().map_or(facts.name, str::to_owned),
            working_dir: self.working_dir().map(str::to_owned).or(facts.working_dir),
        };
        let changed = self.changed_since(told.map_or(0, |told| told.seqno));
        let same = told.is_some_and(|t| changed.is_empty() && Told { seqno: t.seqno, ..now.clone() } == *t);
        if same && input_serial.is_none() {
            return None;
        }
        let (dirty, rows) = self.changed_rows(&changed);
        let changes = RenderChanges {
            pane_id,
            mouse_grabbed: now.mouse_grabbed,
            cursor: now.cursor.to_wire(),
            dims: now.dims.to_wire(),
            dirty,
            title: now.title.clone(),
            working_dir: now.working_dir.clone(),
            rows,
            input_serial,
            seqno: now.seqno,
        };
        Some((now, changes))
    }

    /// Ranges above the viewport; rows inside it, and the cursor's row behind them once more.
    fn changed_rows(&mut self, changed: &[Range<i64>]) -> (Vec<Range<i64>>, Vec<codec::Row>) {
        let top = self.dimensions().physical_top;
        let dirty = changed
            .iter()
            .map(|range| range.start..range.end.min(top))
            .filter(|range| range.start < range.end)
            .collect();
        let cursor = self.cursor().y;
        let rows = changed
            .iter()
            .map(|range| range.start.max(top)..range.end)
            .chain(std::iter::once(cursor..cursor + 1))
            .flat_map(|range| self.rows(range))
            .map(|row| row.to_wire())
            .collect();
        (dirty, rows)
    }

    /// The answer to a question for rows: one range after the other, none of them inverted.
    pub fn lines(&mut self, ranges: &[Range<i64>]) -> Vec<codec::Row> {
        let dims = self.dimensions();
        ranges.iter().flat_map(|range| self.rows(answered(range, &dims))).map(|row| row.to_wire()).collect()
    }
}

/// The rows that a server answers with when it is asked for `range`: beyond what it has, others.
fn answered(range: &Range<i64>, dims: &Dimensions) -> Range<i64> {
    let retained = dims.retained();
    let Range { start, end } = *range;
    // A range that is not inverted may still be wider than an i64.
    let count = end.saturating_sub(start);
    if start < retained.start || start >= retained.end {
        retained.start..retained.start.saturating_add(count).min(retained.end)
    } else if end > retained.end {
        retained.end.saturating_sub(count.saturating_add(1)).max(retained.start)..retained.end
    } else if start == end && start == retained.start {
        retained.end - 1..retained.end
    } else {
        start..end
    }
}
