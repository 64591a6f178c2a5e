//! Which screen a push shows: the primary or the alternate one.
//!
//! Constraints: nothing announces a switch, and row numbers of the two collide. Both ways the server brings every row of
//! the screen that appears.
//!
//! Inference: an alternate screen is flat (nothing above the viewport), and where the primary one has a history its top
//! lies lower than before by more than a taller window explains. A cleared scrollback is flat too, but its top does not
//! sink. On the way back the top is another one again.
//!
//! Guesses: where the primary screen never scrolled, the two have the same shape. There a push that brings every row and
//! leaves no text as it was is a switch, or a clear. It was a switch if text stands at the bottom of the screen before
//! any of it is logged: what is printed after a clear stands at the top. A push that brings the old text back
//! is the way back. Should a screen that was taken for an alternate one scroll, it is the primary one after all, and what
//! was logged of it is known to be.
//!
//! | server | rows of the alternate screen |
//! |---|---|
//! | codec 43 and later | 0 up to its height |
//! | codec 42 | count on when it scrolls, also from one visit to the next |

use std::collections::{BTreeMap, BTreeSet};

use wa_mux::codec::RenderChanges;

use crate::alternate::Alternate;
use crate::grid::Dims;
use crate::page::Wiped;
use crate::position::LINE_HASHES;
use crate::screen::{PaneScreen, Reading, Resting};

/// Whether the push that changes `before` to `now` enters the alternate screen.
pub(crate) fn enters(before: Dims, now: Dims, grabbed_mouse: bool, screen_replaced: bool) -> bool {
    if !now.is_flat() {
        return false;
    }
    if before.cols != now.cols {
        // Narrower rows cannot become fewer.
        return now.cols < before.cols
            && before.retained > before.rows
            && now.retained < before.retained
            && now.top < before.top;
    }
    let sank = before.top - now.top;
    let taller = (now.rows - before.rows).max(0);
    sank > taller || (before.is_flat() && before.top == now.top && grabbed_mouse && screen_replaced)
}

/// Whether the push that brings `now` shows the primary screen again, which was last seen as `primary`. `counts`: rows of
/// the alternate screen count on when it scrolls.
pub(crate) fn leaves(primary: Dims, shown: Dims, now: Dims, counts: bool) -> bool {
    if !now.is_flat() {
        return true;
    }
    // A primary screen without history, or one that was cleared on the way back: its top is where it was, or beyond. A
    // counter creeps upwards.
    now.top != shown.top
        && (!counts
            || now.top < shown.top
            || now.top == primary.top
            || (now.top > primary.top && now.top - shown.top > shown.rows))
}

/// A viewport with less text than this is never "replaced", in rows.
const FEW_ROWS: usize = 3;
/// Rows at the bottom of a screen.
const BOTTOM: i64 = 2;

impl PaneScreen {
    /// Enters or leaves the alternate screen, if this push shows the other one. Returns what becomes of the page on
    /// the primary one: a switch that cannot be told from a clear counts as one.
    pub(crate) fn judge_screen(&mut self, changes: &RenderChanges, dims: Dims, wiped: Wiped) -> Wiped {
        let replaced = self.is_replaced(changes, dims, FEW_ROWS);
        let grabs = changes.mouse_grabbed && !self.mouse_grabbed;
        let releases = !changes.mouse_grabbed && self.mouse_grabbed;
        self.mouse_grabbed = changes.mouse_grabbed;
        let primary = self.primary.grid.dims();
        let Some(alternate) = &self.alternate else {
            if enters(primary, dims, grabs, replaced) {
                self.flush_covered(self.primary.grid.cursor_row().saturating_add(1));
                self.enter_alternate(dims);
            } else if self.comes_back(changes, dims) {
                self.turn_back();
                return Wiped::No;
            } else if self.looks_like_a_switch(changes, dims) {
                self.flush_page(changes, true, false);
                let (primary, tail) = (self.primary.clone(), self.tail.clone());
                self.before_switch = Some(Box::new(Resting { primary, tail, unread: true }));
                return Wiped::Yes(dims.top);
            } else if primary != dims || self.reading != Reading::Following {
                self.before_switch = None;
            }
            return wiped;
        };
        let guessed = alternate.guessed;
        if leaves(primary, alternate.grid.dims(), dims, self.options.codec_42) {
            if guessed && !brings(changes, dims.oldest) {
                self.was_the_primary();
            } else {
                self.leave_alternate();
            }
        } else if guessed && (releases || self.seems_to_leave(changes, dims)) {
            self.leave_alternate();
        }
        Wiped::No
    }

    /// After a push that may have been a switch: it was, if the program paints the whole screen.
    pub(crate) fn confirm_switch(&mut self) {
        let grid = &self.primary.grid;
        let bottom = grid.dims().end() - BOTTOM;
        let painted = grid.viewport().rev().take_while(|(row, _)| *row >= bottom);
        if !painted.into_iter().any(|(_, slot)| !slot.row.text.trim_end().is_empty()) {
            return;
        }
        let Some(before) = self.before_switch.take_if(|before| before.unread) else { return };
        let Resting { primary, tail, .. } = *before;
        self.tail = tail;
        let shown = std::mem::replace(&mut self.primary, primary).grid;
        // These were complete, however young. The cursor's row was judged when it went.
        self.live.forget();
        self.flush_covered(self.primary.grid.cursor_row());
        self.enter_alternate(shown.dims());
        if let Some(alternate) = &mut self.alternate {
            alternate.show(shown);
        }
    }

    fn looks_like_a_switch(&self, changes: &RenderChanges, dims: Dims) -> bool {
        let before = self.primary.grid.dims();
        self.reading == Reading::Following
            && self.primary.resync.is_none()
            && before == dims
            && dims.is_flat()
            && brings_all(changes, dims)
            && self.is_replaced(changes, dims, 1)
    }

    /// Whether this push brings back the page that an earlier one replaced: that was a visit to the alternate screen.
    fn comes_back(&self, changes: &RenderChanges, dims: Dims) -> bool {
        let Some(before) = &self.before_switch else { return false };
        let grid = &before.primary.grid;
        let now: BTreeMap<i64, &str> =
            changes.rows.iter().map(|row| (row.index, row.text.trim_end_matches(' '))).collect();
        let mut returned = 0;
        for (row, slot) in grid.known(dims.top..grid.cursor_row().saturating_add(1)) {
            let was = slot.row.text.trim_end_matches(' ');
            let shown = self.shown().fresh(row).map_or("", |slot| slot.row.text.trim_end_matches(' '));
            let text = now.get(&row).copied().unwrap_or(shown);
            if text != was && !(row == grid.cursor_row() && text.starts_with(was)) {
                return false;
            }
            returned += usize::from(!was.is_empty() && text != shown);
        }
        grid.dims() == dims && returned > 0
    }

    /// The primary screen goes on as it was.
    fn turn_back(&mut self) {
        let Some(before) = self.before_switch.take() else { return };
        let Resting { mut primary, tail, .. } = *before;
        // The push tells only what differs from the picture that goes.
        let shown = std::mem::take(&mut self.primary.grid);
        primary.change_layout();
        primary.show(&shown, self.clock.now());
        self.layout += 1;
        self.live.forget();
        (self.primary, self.tail) = (primary, tail);
    }

    /// Whether this push shows the primary screen as it was left, at least down to its cursor.
    fn seems_to_leave(&self, changes: &RenderChanges, dims: Dims) -> bool {
        let (primary, shown) = (&self.primary.grid, self.shown());
        if primary.dims() != dims || !brings_all(changes, dims) {
            return false;
        }
        let now: BTreeMap<i64, &str> =
            changes.rows.iter().map(|row| (row.index, row.text.trim_end_matches(' '))).collect();
        let (mut same, mut other) = (0, 0);
        for (row, text) in now.range(dims.top..=primary.cursor_row()) {
            let Some(was) = self.primary.reads(*row) else { continue };
            // In the cursor's row a command may have been typed since.
            let as_it_was = was.is(text) || (*row == primary.cursor_row() && was.begins(text));
            if !as_it_was {
                return false;
            }
            same += usize::from(!text.is_empty());
            let shown = shown.fresh(*row).map_or("", |slot| slot.row.text.trim_end_matches(' '));
            other += usize::from(shown != *text);
        }
        same > 0 && other > 0
    }

    /// Whether nearly all text that stays in the viewport, at least so many rows of it, reads differently after this
    /// push.
    fn is_replaced(&self, changes: &RenderChanges, dims: Dims, least: usize) -> bool {
        let stays = |row: i64| row >= dims.top && row < dims.end();
        let shown = self.shown();
        let text = |row: i64| shown.fresh(row).map_or("", |slot| slot.row.text.trim_end_matches(' '));
        let before = shown.viewport().filter(|(row, _)| stays(*row) && !text(*row).is_empty()).count();
        // The cursor's row comes twice.
        let rewritten: BTreeSet<i64> = changes
            .rows
            .iter()
            .filter(|row| stays(row.index) && !text(row.index).is_empty())
            // A line that went on is none.
            .filter(|row| !row.text.starts_with(text(row.index)))
            .map(|row| row.index)
            .collect();
        before >= least && rewritten.len() * 5 >= before * 4
    }

    /// The screen that was taken for an alternate one scrolls: it is the primary one, and its row numbers count.
    fn was_the_primary(&mut self) {
        let Some(alternate) = self.alternate.take() else { return };
        self.layout += 1;
        self.tail = alternate.last_logged(LINE_HASHES).into_iter().map(|hash| (i64::MIN, hash)).collect();
        self.primary.take_over(alternate);
        self.frame_changed = true;
    }

    fn enter_alternate(&mut self, dims: Dims) {
        self.close_repaint();
        self.layout += 1;
        self.fetcher.invalidate();
        self.live.forget();
        self.doubtful = None;
        let guessed = self.primary.grid.dims().is_flat() && self.primary.grid.dims().top == dims.top;
        self.alternate = Some(Alternate::new(dims, guessed, std::mem::take(&mut self.document)));
        self.frame_changed = true;
    }

    pub(crate) fn leave_alternate(&mut self) {
        let now = self.clock.now();
        if let Some(mut alternate) = self.alternate.take() {
            let last = alternate.last(now);
            self.put_alternate(last);
            self.document = alternate.into_document();
        }
        self.layout += 1;
        self.fetcher.invalidate();
        self.live.forget();
        self.primary.change_layout();
        self.frame_changed = true;
    }
}

/// Whether a push says something of this row.
fn brings(changes: &RenderChanges, row: i64) -> bool {
    changes.dirty.iter().any(|range| range.contains(&row))
        || changes.rows.iter().any(|found| found.index == row)
}

/// Whether a push brings every row of the viewport.
fn brings_all(changes: &RenderChanges, dims: Dims) -> bool {
    let rows: BTreeSet<i64> = changes.rows.iter().map(|row| row.index).collect();
    rows.range(dims.top..dims.end()).count() as i64 == dims.rows
}
