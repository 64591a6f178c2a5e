//! What a push of the server means: which screen it shows, whether row numbers still hold, which rows it brings.
//!
//! | what the push shows | what follows |
//! |---|---|
//! | another width | new layout; the place is looked for by content ([`crate::resync`]) |
//! | the alternate screen begins or ends | new layout; the primary screen rests as it was and goes on |
//! | fewer rows retained | the scrollback was cleared: what was unread is lost; a reprint may follow |
//! | what was read on the screen is gone | a page was wiped ([`crate::page`]): new layout; a reprint may follow |
//! | only another height | row numbers hold |
//!
//! Clearing the screen and a full reset keep row numbers: in the new layout the rows of the viewport come again.

use wa_mux::codec::RenderChanges;

use crate::alternate::Alternate;
use crate::grid::{Dims, Grid};
use crate::page::Wiped;
use crate::position::Saved;
use crate::primary::Primary;
use crate::resync::Resync;
use crate::screen::{PaneScreen, QUIET, Reading, Stage};

impl PaneScreen {
    pub(crate) fn changes(&mut self, changes: RenderChanges) {
        let dims = Dims::of(&changes.dims);
        self.begin(dims);
        let wiped = self.is_wiped(&changes, dims);
        let wiped = self.judge_screen(&changes, dims, wiped);
        if self.alternate.is_none() {
            self.judge_dims(&changes, dims, wiped);
        }
        self.take_rows(changes, dims);
        if self.before_switch.is_some() {
            self.confirm_switch();
        }
    }

    /// The first push of this screen's life, and the first after a gap in it.
    fn begin(&mut self, dims: Dims) {
        match std::mem::replace(&mut self.stage, Stage::Following) {
            Stage::New => self.primary = Primary::new(Grid::new(dims), dims.oldest.min(0)),
            Stage::Resumed(position) => {
                self.reading = Reading::Resumed;
                self.restore(&position.line_hashes, position.next_row, Saved::decode(&position.opaque));
            }
            Stage::Following => {}
            Stage::Gone => self.stage = Stage::Gone,
        }
        if self.reading == Reading::Detached {
            self.reading = Reading::Reattached;
            self.primary.doubt_entries();
        }
    }

    fn restore(&mut self, line_hashes: &[u64], next_row: i64, saved: Option<Saved>) {
        let start = line_hashes.len().saturating_sub(crate::position::LINE_HASHES);
        let line_hashes = &line_hashes[start..];
        let tail = |hashes: &[u64]| hashes.iter().map(|hash| (i64::MIN, *hash)).collect();
        self.tail = tail(line_hashes);
        let next_row = next_row.clamp(-(1 << 60), 1 << 60);
        let Some(saved) = saved else {
            // Width 0 differs from every other: the place is found by content.
            self.primary = Primary::new(Grid::default(), next_row);
            self.trusted = Some(next_row);
            return;
        };
        self.primary = Primary::new(Grid::new(saved.dims), next_row);
        self.primary.entries.extend(saved.entries);
        self.mouse_grabbed = saved.mouse_grabbed;
        self.agent = saved.agent;
        if let Some(resting) = saved.alternate {
            self.primary.next = resting.next;
            self.tail = tail(&resting.tail);
            self.alternate = Some(Alternate::restore(saved.dims, &resting.alternate, line_hashes));
        }
        self.primary.doubt_entries();
        if self.agent.is_some() {
            self.tail.iter().for_each(|(_, hash)| self.repaints.remember(*hash));
        }
        if let Some(open) = saved.repaint {
            self.repaints.reopen(open);
        }
    }

    /// On the primary screen: whether row numbers hold, and whether a reprint may follow.
    fn judge_dims(&mut self, changes: &RenderChanges, dims: Dims, wiped: Wiped) {
        let before = self.primary.grid.dims();
        let mut redraw = wiped != Wiped::No;
        if dims.cols != before.cols {
            self.change_width(dims);
            redraw = true;
        } else if dims.retained < before.retained && dims.rows == before.rows {
            redraw = true;
        }
        match wiped {
            Wiped::Yes(top) => {
                self.flush_page(changes, false, false);
                self.turn_page(top);
            }
            Wiped::Perhaps(rows) => {
                self.flush_page(changes, false, true);
                self.doubtful = Some(rows);
            }
            Wiped::No => {}
        }
        if redraw && self.agent.is_some() {
            self.repaints.arm(self.clock.now());
        }
    }

    fn change_width(&mut self, dims: Dims) {
        self.close_repaint();
        self.layout += 1;
        self.fetcher.invalidate();
        self.live.forget();
        self.doubtful = None;
        let mut oldest = self.primary.grid.dims().oldest;
        let (pending, pending_lines) = match self.primary.resync.take() {
            Some(resync) => {
                oldest = oldest.min(resync.oldest);
                (resync.pending, resync.pending_lines)
            }
            None => self.primary.pending(),
        };
        let trusted = self.trusted.take();
        let resync = Resync { pending, pending_lines, oldest, low: dims.top, trusted };
        self.primary.rewrap(Grid::new(dims), dims.oldest, Some(resync));
    }

    fn take_rows(&mut self, changes: RenderChanges, dims: Dims) {
        for range in &changes.dirty {
            self.fetcher.touch(range.clone());
        }
        let moved = match &mut self.alternate {
            Some(alternate) => alternate.grid.place(dims, &changes.cursor),
            None => {
                // From the cursor on rows were about to be written. Of those that left the server since, we know only how
                // they looked before.
                let written = self.primary.grid.cursor_row();
                self.primary.grid.forget(written..dims.oldest);
                let moved = self.primary.grid.place(dims, &changes.cursor);
                for range in changes.dirty {
                    self.primary.mark_stale(range);
                }
                moved
            }
        };
        self.frame_changed |= moved;
        let lowest = if self.alternate.is_some() { dims.top } else { self.primary.next.min(dims.top) };
        for row in changes.rows {
            if row.index >= lowest {
                self.fetcher.touch(row.index..row.index.saturating_add(1));
                self.store(row);
            }
        }
        if self.options.codec_42 && self.frame_changed {
            self.reread_at = Some(self.clock.now() + QUIET);
        }
    }
}
