//! A page that is wiped: `clear`, Ctrl-L, a full reset, an agent that draws everything anew.
//!
//! Constraints: row numbers hold, so what is printed next stands in rows that were logged; as their revisions it would
//! take the place of text that a person has read. Nothing announces an erase, and it may come in one push with what is
//! printed after it. But a spinner, a progress bar or a redrawn box must not become a page each time.
//!
//! Inference: a page is wiped when of the lines that were read (logged, or standing above cursor and live area for
//! [`MOMENT`]) and stood in the viewport at least four fifths are gone in one push: blank, or other text. A line that
//! goes on, or of which only digits and signs changed, is not gone. One line alone counts only if the screen is blank
//! then. Without an agent, text that moved is not wiped: programs scroll so. If the page became shorter all of it must
//! have moved. Where rows of the page scrolled off with the same push, they have to be asked for first; then the page is
//! wiped if one of them reads differently.
//!
//! Operation: what was read and not logged is logged, then a new layout begins, which leaves the old lines as they are.
//! Without an agent all rows of the viewport are new in it. An agent redraws: what reads as it did in its row is not
//! logged again, and a reprint may follow ([`crate::repaint`]). Rows that stood for less than [`MOMENT`] are let go:
//! nobody has read them. Pages that are alike and are wiped in quick succession must stand longer each time: a loop of
//! `clear` and `date` is not a transcript.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use wa_mux::codec::RenderChanges;
use wa_proto::GapCause;

use crate::alternate::MOMENT;
use crate::grid::Dims;
use crate::hash::{line_hash, text_hash};
use crate::judge::Leaving;
use crate::screen::{PaneScreen, Reading};

/// Pages that follow each other faster than this are a succession, in microseconds.
const SUCCESSION: u64 = 300_000_000;
/// From this one of a succession on a page settles more slowly.
const PATIENT_FROM: u32 = 4;
const MAX_RELUCTANCE: u32 = 4;

/// How often pages that are alike were wiped of late.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turns {
    count: u32,
    last: Option<u64>,
    /// Hashes of the letters of its lines.
    page: BTreeSet<u64>,
}

impl Turns {
    fn add(&mut self, page: BTreeSet<u64>, now: u64) {
        let alike = self.page.intersection(&page).count() * 2 >= self.page.len().max(page.len());
        self.count = if alike && self.is_succession(now) { self.count.saturating_add(1) } else { 1 };
        (self.last, self.page) = (Some(now), page);
    }

    fn is_succession(&self, now: u64) -> bool {
        self.last.is_some_and(|last| now < last.saturating_add(SUCCESSION))
    }

    /// By which power of two rows on the screen settle more slowly.
    pub(crate) fn reluctance(&self, now: u64) -> u32 {
        let count = if self.is_succession(now) { self.count } else { 0 };
        (count + 1).saturating_sub(PATIENT_FROM).min(MAX_RELUCTANCE)
    }
}

/// What a push does to the page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wiped {
    No,
    /// Rows of it scrolled off that changed before. How they read has to be asked for.
    Perhaps(Range<i64>),
    /// The new page begins at this row.
    Yes(i64),
}

/// What became of the lines that were read.
#[derive(Debug, Default)]
struct Fate {
    read: usize,
    gone: usize,
    /// Of those that are gone: they stand elsewhere on the screen.
    moved: usize,
    /// They changed and scrolled off.
    hidden: usize,
    /// The first row that is gone or hidden.
    first: Option<i64>,
}

/// What the screen reads after a push.
struct After<'a> {
    rows: BTreeMap<i64, &'a str>,
    texts: BTreeSet<u32>,
    top: i64,
    /// Rows above the viewport that changed: how they read now nobody has said yet.
    dirty: &'a [Range<i64>],
}

impl<'a> After<'a> {
    fn new(screen: &'a PaneScreen, changes: &'a RenderChanges, dims: Dims) -> Self {
        let text = |text: &'a str| text.trim_end_matches(' ');
        let known = screen.primary.grid.known(dims.top..dims.end());
        let mut all: BTreeMap<i64, (&str, bool)> =
            known.map(|(row, slot)| (row, (slot.row.text.as_str(), slot.row.wrapped))).collect();
        let brought = changes.rows.iter().filter(|row| row.index >= dims.top && row.index < dims.end());
        all.extend(brought.map(|row| (row.index, (row.text.as_str(), row.wrapped))));
        let texts = line_texts(&all);
        let rows = all.into_iter().map(|(row, (shown, _))| (row, text(shown))).collect();
        let dirty = if screen.reading == Reading::Following { changes.dirty.as_slice() } else { &[] };
        Self { rows, texts, top: dims.top, dirty }
    }

    fn row(&self, row: i64) -> &'a str {
        self.rows.get(&row).copied().unwrap_or_default()
    }

    /// Nothing is on the screen but perhaps this row.
    fn is_blank_but(&self, row: i64) -> bool {
        self.rows.iter().all(|(index, text)| *index == row || text.is_empty())
    }
}

/// Hashes of the logical lines that these rows are.
fn line_texts(rows: &BTreeMap<i64, (&str, bool)>) -> BTreeSet<u32> {
    let (mut texts, mut line) = (BTreeSet::new(), String::new());
    for (text, wrapped) in rows.values() {
        line.push_str(text);
        if !wrapped {
            texts.insert(text_hash(line.trim_end_matches(' ')));
            line.clear();
        }
    }
    texts
}

fn letters(text: &str) -> impl Iterator<Item = char> {
    text.chars().filter(|c| c.is_alphabetic())
}

fn letters_hash(text: &str) -> u64 {
    line_hash(&letters(text).collect::<String>())
}

/// Whether `now` may be what `before` became: it went on, or only digits and signs differ.
fn is_update(before: &str, now: &str) -> bool {
    now.starts_with(before) || (letters(before).next().is_some() && letters(before).eq(letters(now)))
}

impl Fate {
    fn note(&mut self, row: i64, before: Option<&str>, hash: u32, now: &str, after: &After<'_>) {
        if row < after.top && after.dirty.iter().any(|range| range.contains(&row)) {
            self.hidden += 1;
            self.first = self.first.or(Some(row));
            return;
        }
        self.read += 1;
        let stands = row < after.top || text_hash(now) == hash;
        if stands || before.is_some_and(|before| is_update(before, now)) {
            return;
        }
        self.first = self.first.or(Some(row));
        self.gone += 1;
        self.moved += usize::from(after.texts.contains(&hash));
    }
}

impl PaneScreen {
    /// Whether this push, which is not taken in yet, wipes the page.
    pub(crate) fn is_wiped(&self, changes: &RenderChanges, dims: Dims) -> Wiped {
        let before = self.primary.grid.dims();
        if self.alternate.is_some()
            || self.reading == Reading::First
            || self.primary.resync.is_some()
            || before.cols != dims.cols
        {
            return Wiped::No;
        }
        if !self.overwrites_text(changes) {
            return Wiped::No;
        }
        let after = After::new(self, changes, dims);
        let fate = self.fate(&after, dims);
        let Some(first) = fate.first else { return Wiped::No };
        if fate.hidden > 0 {
            let most = (fate.gone + fate.hidden) * 5 >= (fate.read + fate.hidden) * 4;
            return if most { Wiped::Perhaps(first..before.end()) } else { Wiped::No };
        }
        let lonely = fate.read == 1 && !after.is_blank_but(changes.cursor.y);
        let shorter = changes.cursor.y - dims.top < self.primary.grid.cursor_row() - before.top;
        let moved = fate.moved == fate.gone || (!shorter && fate.moved * 2 > fate.gone);
        let scrolled = self.agent.is_none() && moved;
        let wiped = fate.gone * 5 >= fate.read * 4 && !lonely && !scrolled;
        if wiped { Wiped::Yes(first.min(dims.top)) } else { Wiped::No }
    }

    /// Whether anything that stood there becomes something else. Most pushes only add, and are told here at little cost.
    fn overwrites_text(&self, changes: &RenderChanges) -> bool {
        let grid = &self.primary.grid;
        let read = grid.dims().top..grid.cursor_row().saturating_add(1).max(self.primary.next);
        let text = |row: i64| grid.fresh(row).map(|slot| slot.row.text.trim_end_matches(' '));
        let mut brought = changes.rows.iter().filter(|row| row.index < read.end);
        brought.any(|row| {
            let now = row.text.trim_end_matches(' ');
            text(row.index).is_none_or(|before| !before.is_empty() && before != now)
        }) || changes.dirty.iter().any(|range| {
            let mut rows = range.start.max(read.start)..range.end.min(read.end);
            rows.any(|row| text(row).is_none_or(|before| !before.is_empty()))
        })
    }

    fn fate(&self, after: &After<'_>, dims: Dims) -> Fate {
        let mut fate = Fate::default();
        let grid = &self.primary.grid;
        let blank = text_hash("");
        let top = grid.dims().top.min(dims.top);
        for (start, entry) in self.primary.entries.range(top..dims.end()) {
            if entry.rows == 0 || entry.hash == blank {
                continue;
            }
            let rows = *start..*start + i64::from(entry.rows);
            let before: Option<String> =
                rows.clone().map(|row| grid.fresh(row).map(|slot| slot.row.text.as_str())).collect();
            let now: String = rows.map(|row| after.row(row)).collect();
            fate.note(
                *start,
                before.as_deref().map(|text| text.trim_end_matches(' ')),
                entry.hash,
                &now,
                after,
            );
        }
        let now = self.clock.now();
        let stood = MOMENT << self.turns.reluctance(now);
        let end = self.live.top.unwrap_or(i64::MAX).min(grid.cursor_row().saturating_add(1)).min(dims.end());
        for (row, slot) in grid.known(self.primary.next.max(top)..end) {
            let text = slot.row.text.trim_end_matches(' ');
            if !text.is_empty() && slot.changed.saturating_add(stood) <= now {
                fate.note(row, Some(text), text_hash(text), after.row(row), after);
            }
        }
        fate
    }

    /// Logs what was read of the page that goes with this push.
    /// `covered`: it may be the alternate screen that appears, over complete lines. `open`: the cursor's line may go on.
    pub(crate) fn flush_page(&mut self, changes: &RenderChanges, covered: bool, open: bool) {
        let (now, grid) = (self.clock.now(), &self.primary.grid);
        let (top, cursor) = (grid.dims().top, grid.cursor_row());
        let moment = MOMENT << self.turns.reluctance(now);
        // What an agent paints there may be a picture of many.
        let above = if covered && self.agent.is_none() { 0 } else { moment };
        if self.primary.next < top {
            // The rows above are still to be read, and lines are logged in their order.
            let stood = |(_, slot): (i64, &crate::grid::Slot)| {
                !slot.row.text.trim_end().is_empty() && slot.changed.saturating_add(moment) <= now
            };
            if grid.known(top..cursor).any(stood) {
                self.put_gap(None, None, GapCause::Flood);
            }
            return;
        }
        // After Ctrl-L the line that is being typed stands on the new page.
        let typed = grid.fresh(cursor).map_or("", |slot| slot.row.text.trim_end_matches(' '));
        let follows = |row: &&wa_mux::codec::Row| row.index == changes.cursor.y;
        let goes_on = changes.rows.iter().find(follows).is_some_and(|row| row.text.starts_with(typed));
        let end = if goes_on || open { cursor } else { cursor.saturating_add(1) };
        let from = self.primary.next;
        self.settle_leaving(Leaving { above, at_cursor: moment, end, skip: true });
        self.primary.doubt_skipped(from);
    }

    /// Logs what stands on the primary screen before the alternate one covers it. What is not complete stays: it will be
    /// there again. `end`: from this row on nothing counts.
    pub(crate) fn flush_covered(&mut self, end: i64) {
        self.settle_leaving(Leaving { above: 0, at_cursor: MOMENT, end, skip: false });
    }

    /// A logged row reads differently. If it is one of a page of which one could not say whether it was wiped: it was.
    pub(crate) fn turn_if_doubtful(&mut self, row: i64) {
        if self.doubtful.take_if(|rows| rows.contains(&row)).is_some() {
            self.close_repaint();
            self.layout += 1;
            self.primary.change_layout();
        }
    }

    /// Begins a new page at row `top`.
    pub(crate) fn turn_page(&mut self, top: i64) {
        self.close_repaint();
        self.layout += 1;
        self.live.forget();
        self.doubtful = None;
        let grid = &self.primary.grid;
        let rows = grid.known(grid.dims().top..grid.cursor_row()).map(|(_, slot)| slot.row.text.as_str());
        let page = rows.filter(|text| !text.trim().is_empty()).map(letters_hash).collect();
        self.turns.add(page, self.clock.now());
        if self.agent.is_some() {
            self.primary.change_layout();
        } else {
            self.primary.begin_page(top);
            self.tail.retain(|(row, _)| *row < top);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_on_or_counts_is_the_same_line() {
        assert!(is_update("⠋ Installing 3 of 9", "⠙ Installing 4 of 9"));
        assert!(is_update("$ ls", "$ ls -l"));
        assert!(!is_update("before clear 1", "after clear 1"));
        assert!(!is_update("text", ""));
        assert!(!is_update("100", "200"));
    }

    #[test]
    fn quick_pages_must_stand_longer_until_there_is_a_pause() {
        let page = |lines: &[u64]| lines.iter().copied().collect();
        let mut turns = Turns::default();
        let shifts: Vec<u32> = (0..9)
            .map(|at| {
                turns.add(page(&[1, 2, 3, at + 4]), at * 1_000_000);
                turns.reluctance(at * 1_000_000)
            })
            .collect();
        assert_eq!(shifts, [0, 0, 0, 1, 2, 3, 4, 4, 4]);
        assert_eq!(turns.reluctance(8_000_000 + SUCCESSION), 0);
        for at in 0..9 {
            turns.add(page(&[at, at + 100]), at);
            assert_eq!(turns.reluctance(at), 0, "these are not alike");
        }
    }
}
