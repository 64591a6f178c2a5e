//! The alternate screen: whether it is on, and what of it is logged.
//!
//! Constraints: nothing announces it. It has no history, its row numbers mean nothing (and collide with early rows of the
//! primary screen); programs on it page, scroll regions, jump back, and redraw dashboards every second. What is stored is
//! what a person would have read, once.
//!
//! Inference: the pane is flat (nothing above the viewport) and its top lies lower than before by more than a taller window
//! explains. A cleared scrollback is flat too, but its top does not sink. Where the primary screen never scrolled the two
//! look the same; there a program that grabs the mouse in the very push that replaces the whole screen is taken at its
//! word. Else such a screen is logged as rewrites of the primary one.
//!
//! Logging: each picture is aligned with the one before by content (longest common subsequence of its rows). What agrees
//! keeps its age, however far it scrolled. New rows are logged when they have stood for a second above cursor and live area,
//! or when they scroll off the top; rows that were logged before in the same surroundings (a page turned back) are not. A
//! place that is overwritten again and again must stand longer each time: a clock is not a transcript. Rows get numbers of a
//! counter; none replaces another.

use std::collections::VecDeque;

use crate::grid::{Change, Dims, Grid};
use crate::hash::{BLANK, line_hash};

/// Hashes of logged rows that are remembered, to know a page turned back.
const REMEMBERED: usize = 2048;
/// Rows of a picture that are looked at.
const MAX_PICTURE: usize = 512;
/// How long a row must have stood, in microseconds.
pub(crate) const SETTLE: u64 = 1_000_000;
/// A rewritten place settles at most this much more slowly, as a power of two.
const MAX_RELUCTANCE: u32 = 6;

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

/// Whether the push that brings `now` shows the primary screen again, which was last seen as `primary`.
pub(crate) fn leaves(primary: Dims, shown: Dims, now: Dims) -> bool {
    if !now.is_flat() {
        return true;
    }
    // A primary screen without history: its top is where it was. The counter of an old server's alternate screen creeps.
    primary.is_flat()
        && now.top >= primary.top
        && (now.top == primary.top || now.top - shown.top > shown.rows)
        && now.top != shown.top
}

/// One row of the last picture.
#[derive(Debug, Clone)]
struct Place {
    text: String,
    wrapped: bool,
    hash: u64,
    changed: u64,
    logged: bool,
    /// How often it was overwritten after it had been logged.
    overwritten: u32,
}

/// A line to be logged.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AltLine {
    pub(crate) row: i64,
    pub(crate) rows: u32,
    pub(crate) text: String,
}

/// What a position keeps of an alternate screen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SavedAlternate {
    pub(crate) guessed: bool,
    pub(crate) counter: i64,
    /// Hashes of the rows that were logged, top to bottom; [`BLANK`] for the others.
    pub(crate) picture: Vec<u64>,
}

#[derive(Debug)]
pub(crate) struct Alternate {
    pub(crate) grid: Grid,
    /// Taken for one only because the mouse was grabbed.
    pub(crate) guessed: bool,
    counter: i64,
    picture: Vec<Place>,
    /// Hashes of logged rows that showed something, oldest first.
    logged: VecDeque<u64>,
    lines: Vec<AltLine>,
    /// Rows changed since the last look.
    dirty: bool,
}

impl Alternate {
    pub(crate) fn new(dims: Dims, guessed: bool) -> Self {
        Self {
            grid: Grid::new(dims),
            guessed,
            counter: 0,
            picture: Vec::new(),
            logged: VecDeque::new(),
            lines: Vec::new(),
            dirty: true,
        }
    }

    pub(crate) fn restore(dims: Dims, saved: &SavedAlternate, logged: &[u64]) -> Self {
        let place = |hash: &u64| Place {
            text: String::new(),
            wrapped: false,
            hash: *hash,
            changed: 0,
            logged: *hash != BLANK,
            overwritten: 0,
        };
        Self {
            counter: saved.counter,
            picture: saved.picture.iter().map(place).collect(),
            logged: logged.iter().copied().filter(|hash| *hash != BLANK).collect(),
            ..Self::new(Dims { top: 0, oldest: 0, retained: dims.rows, ..dims }, saved.guessed)
        }
    }

    pub(crate) fn save(&self) -> SavedAlternate {
        let hash = |place: &Place| if place.logged { place.hash } else { BLANK };
        SavedAlternate {
            guessed: self.guessed,
            counter: self.counter,
            picture: self.picture.iter().map(hash).collect(),
        }
    }

    /// The number of the next row.
    pub(crate) fn next_row(&self) -> i64 {
        self.counter
    }

    /// Hashes of the rows logged last, oldest first.
    pub(crate) fn last_logged(&self, count: usize) -> Vec<u64> {
        self.logged.iter().skip(self.logged.len().saturating_sub(count)).copied().collect()
    }

    /// A row of it was stored.
    pub(crate) fn note(&mut self, change: Change) {
        self.dirty |= matches!(change, Change::New | Change::Text);
    }

    /// Looks at the picture: the lines to log now, and when to look again.
    pub(crate) fn settle(&mut self, live_top: Option<i64>, now: u64) -> (Vec<AltLine>, Option<u64>) {
        if std::mem::take(&mut self.dirty) {
            self.align(now);
        }
        let top = self.grid.dims().top;
        let cursor = if self.grid.cursor_visible() { self.grid.cursor_row() } else { i64::MAX };
        let limit = cursor.min(live_top.unwrap_or(i64::MAX)).saturating_sub(top);
        let limit = usize::try_from(limit.max(0)).unwrap_or(usize::MAX).min(self.picture.len());
        let mut wake: Option<u64> = None;
        let mut ready = vec![false; self.picture.len()];
        for at in (0..limit).rev() {
            let place = &self.picture[at];
            if place.logged || place.hash == BLANK {
                continue;
            }
            let due = place.changed.saturating_add(settle_time(place.overwritten));
            if due > now {
                wake = Some(wake.map_or(due, |wake| wake.min(due)));
                continue;
            }
            let goes_on = place.wrapped && at + 1 < self.picture.len() && !self.picture[at + 1].logged;
            ready[at] = !goes_on || ready[at + 1];
        }
        self.log_blocks(&ready);
        (std::mem::take(&mut self.lines), wake)
    }

    /// Logs what is ready, block by block; blank rows inside a block belong to it.
    fn log_blocks(&mut self, ready: &[bool]) {
        let mut at = 0;
        while at < ready.len() {
            if !ready[at] {
                at += 1;
                continue;
            }
            let start = at;
            let mut end = at + 1;
            while at < ready.len()
                && (ready[at] || (self.picture[at].hash == BLANK && !self.picture[at].logged))
            {
                at += 1;
                if ready[at - 1] {
                    end = at;
                }
            }
            self.log_block(start, end);
            at = end;
        }
    }

    /// Logs the rows of a block that were not logged before in the same surroundings.
    fn log_block(&mut self, start: usize, end: usize) {
        let known = self.known(start, end);
        let block = self.picture[start..end].to_vec();
        for place in &mut self.picture[start..end] {
            place.logged = true;
        }
        let mut at = 0;
        while at < block.len() {
            if known[at] {
                at += 1;
                continue;
            }
            let mut upto = at + 1;
            while block[upto - 1].wrapped && upto < block.len() && !known[upto] {
                upto += 1;
            }
            self.push_line(&block[at..upto]);
            at = upto;
        }
    }

    fn push_line(&mut self, rows: &[Place]) {
        let mut text: String = rows.iter().map(|place| place.text.as_str()).collect();
        text.truncate(text.trim_end_matches(' ').len());
        for place in rows.iter().filter(|place| place.hash != BLANK) {
            if self.logged.len() == REMEMBERED {
                self.logged.pop_front();
            }
            self.logged.push_back(place.hash);
        }
        let count = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        self.lines.push(AltLine { row: self.counter, rows: count, text });
        self.counter += i64::from(count);
    }

    /// Which rows of a block stand in the memory in the same order: three and more in a row, or fewer with the right
    /// neighbour. Blank rows follow the row above them.
    fn known(&self, start: usize, end: usize) -> Vec<bool> {
        let mut known = vec![false; end - start];
        let shown: Vec<usize> = (start..end).filter(|at| self.picture[*at].hash != BLANK).collect();
        let neighbour = |place: &Place| (place.logged && place.hash != BLANK).then_some(place.hash);
        let before = self.picture[..start].iter().rev().find_map(neighbour);
        let after = self.picture[end..].iter().find_map(neighbour);
        let mut at = 0;
        while at < shown.len() {
            let before = if at == 0 { before } else { Some(self.picture[shown[at - 1]].hash) };
            let hashes: Vec<u64> = shown[at..].iter().map(|place| self.picture[*place].hash).collect();
            let run = self.longest_known(before, &hashes, after);
            for place in &shown[at..at + run] {
                known[place - start] = true;
            }
            at += run.max(1);
        }
        for at in 1..known.len() {
            known[at] |= known[at - 1] && self.picture[start + at].hash == BLANK;
        }
        known
    }

    fn longest_known(&self, before: Option<u64>, hashes: &[u64], after: Option<u64>) -> usize {
        let mut best = 0;
        for at in (0..self.logged.len()).filter(|at| self.logged[*at] == hashes[0]) {
            let run = hashes.iter().zip(self.logged.range(at..)).take_while(|(a, b)| a == b).count();
            let preceded = before.is_some() && at > 0 && self.logged.get(at - 1).copied() == before;
            let followed =
                after.is_some() && run == hashes.len() && self.logged.get(at + run).copied() == after;
            if run >= 3 || preceded || followed {
                best = best.max(run);
            }
        }
        best
    }

    /// Carries age and marks of the last picture over to the present rows; rows that scrolled off unlogged are logged.
    fn align(&mut self, now: u64) {
        let dims = self.grid.dims();
        let mut new: Vec<Place> = Vec::new();
        for index in dims.top..dims.end().min(dims.top + MAX_PICTURE as i64) {
            let row = self.grid.fresh(index).map(|slot| (slot.row.text.clone(), slot.row.wrapped));
            let (text, wrapped) = row.unwrap_or_default();
            let hash = line_hash(&text);
            new.push(Place { text, wrapped, hash, changed: now, logged: false, overwritten: 0 });
        }
        let mut old = std::mem::take(&mut self.picture);
        let pairs = common(&old, &new);
        let (mut from_old, mut from_new) = (0, 0);
        let mut gone = vec![false; old.len()];
        for (in_old, in_new) in pairs.into_iter().chain([(old.len(), new.len())]) {
            let (lost, fresh) = (in_old - from_old, in_new - from_new);
            let scrolled = if in_old < old.len() && in_old > in_new { lost.saturating_sub(fresh) } else { 0 };
            gone[from_old..from_old + scrolled].fill(true);
            for (place, over) in new[from_new..in_new].iter_mut().zip(&old[from_old + scrolled..in_old]) {
                if place.hash == BLANK && over.hash == BLANK {
                    place.changed = over.changed;
                }
                place.overwritten =
                    over.overwritten.saturating_add(u32::from(over.logged && over.hash != BLANK));
            }
            if let (Some(before), Some(after)) = (old.get(in_old), new.get_mut(in_new)) {
                (after.changed, after.logged, after.overwritten) =
                    (before.changed, before.logged, before.overwritten);
            }
            (from_old, from_new) = (in_old + 1, in_new + 1);
        }
        // Resumed pictures have no text: their rows are marked as logged or blank, so none of them is logged here.
        let ready: Vec<bool> = old
            .iter()
            .zip(&gone)
            .map(|(place, gone)| *gone && !place.logged && place.hash != BLANK && !place.text.is_empty())
            .collect();
        std::mem::swap(&mut self.picture, &mut old);
        self.log_blocks(&ready);
        self.picture = new;
    }
}

fn settle_time(overwritten: u32) -> u64 {
    SETTLE << overwritten.saturating_sub(1).min(MAX_RELUCTANCE)
}

/// Pairs of rows that show the same, in order: the longest common subsequence, blank rows left out.
fn common(old: &[Place], new: &[Place]) -> Vec<(usize, usize)> {
    let shown = |places: &[Place]| -> Vec<usize> {
        (0..places.len()).filter(|at| places[*at].hash != BLANK).collect()
    };
    let (a, b) = (shown(old), shown(new));
    let same = |i: usize, j: usize| old[a[i]].hash == new[b[j]].hash;
    let shortest = a.len().min(b.len());
    let head = (0..shortest).take_while(|at| same(*at, *at)).count();
    let tail = (0..shortest - head).take_while(|at| same(a.len() - 1 - at, b.len() - 1 - at)).count();
    let (rows, cols) = (a.len() - head - tail, b.len() - head - tail);
    let mut pairs: Vec<(usize, usize)> = (0..head).map(|at| (a[at], b[at])).collect();
    // lengths[i][j]: of the rest from i and j on.
    let mut lengths = vec![0_u16; (rows + 1) * (cols + 1)];
    for i in (0..rows).rev() {
        for j in (0..cols).rev() {
            lengths[i * (cols + 1) + j] = if same(head + i, head + j) {
                lengths[(i + 1) * (cols + 1) + j + 1] + 1
            } else {
                lengths[(i + 1) * (cols + 1) + j].max(lengths[i * (cols + 1) + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < rows && j < cols {
        if same(head + i, head + j) {
            pairs.push((a[head + i], b[head + j]));
            (i, j) = (i + 1, j + 1);
        } else if lengths[(i + 1) * (cols + 1) + j] >= lengths[i * (cols + 1) + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs.extend((0..tail).rev().map(|at| (a[a.len() - 1 - at], b[b.len() - 1 - at])));
    pairs
}
