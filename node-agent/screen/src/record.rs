//! What becomes a record: lines, gaps, repaints, in the order of their rows.

use std::ops::Range;

use wa_proto::{Gap, GapCause, Line};

use crate::alternate::AltItem;
use crate::hash::BLANK;
use crate::judge::{Judge, Leaving, When};
use crate::position::LINE_HASHES;
use crate::primary::{Ready, ReadyLine};
use crate::repaint::{MIN_LINES, Verdict};
use crate::resync::{Candidate, FIRST_STEP, MAX_DEPTH, Place, align};
use crate::screen::{Output, PaneScreen, Reading, Stage};

/// Rewritten lines can uncover others; more rounds than this in one call are left for the next.
const MAX_ROUNDS: usize = 8;

/// Whether another look may find more.
enum Progress {
    Again,
    Done,
}

impl PaneScreen {
    /// Hands out what has settled.
    pub(crate) fn settle(&mut self) {
        self.wake = None;
        let now = self.clock.now();
        if self.alternate.is_some() {
            self.settle_alternate(now);
        } else if self.find_place(false) {
            self.settle_primary(None);
        }
        if let Some(open) = self.repaints.close_quiet(now) {
            self.put_repaint(open);
        }
        self.wake_at(self.repaints.wake());
        if self.reading != Reading::Detached {
            self.reading = Reading::Following;
        }
    }

    /// The pane is gone: everything on its screen outside the live area is handed out.
    pub(crate) fn log_last(&mut self, cause: GapCause) {
        if self.find_place(true) {
            self.settle_primary(Some(cause));
        }
        self.close_repaint();
    }

    /// Takes everything that was printed so far as logged, and hands out nothing of it.
    pub(crate) fn pass_over(&mut self) {
        if !matches!(self.stage, Stage::Following) {
            return;
        }
        let live = std::mem::take(&mut self.live);
        self.log_last(GapCause::Exit);
        self.live = live;
        self.primary.resync = None;
        let grid = &self.primary.grid;
        let below = grid.cursor_row().saturating_add(1).min(grid.dims().end());
        self.primary.next = self.primary.next.max(below);
        if let Some(alternate) = &mut self.alternate {
            alternate.pass_over(self.clock.now());
        }
        self.out.clear();
    }

    fn settle_alternate(&mut self, now: u64) {
        let Some(alternate) = &mut self.alternate else { return };
        let (items, wake) = alternate.settle(&self.live, now);
        self.put_alternate(items);
        self.wake_at(wake);
    }

    /// Logs what an alternate screen told.
    pub(crate) fn put_alternate(&mut self, items: Vec<AltItem>) {
        for item in items {
            match item {
                AltItem::Line { row, rows, text } => {
                    let line = Line { row, rev: 0, text, rows, time: None };
                    self.out.push(Output::Line { layout: self.layout, line });
                }
                AltItem::Gap => self.put_gap(None, None, GapCause::Flood),
            }
        }
    }

    fn settle_primary(&mut self, last: Option<GapCause>) {
        self.settle_when(if last.is_some() { When::Last } else { When::Now }, last);
    }

    /// The screen goes: what of it is to be logged.
    pub(crate) fn settle_leaving(&mut self, leaving: Leaving) {
        if self.primary.resync.is_none() {
            self.settle_when(When::Leaving(leaving), None);
        }
    }

    fn settle_when(&mut self, when: When, last: Option<GapCause>) {
        self.primary.drop_doubts();
        for _ in 0..MAX_ROUNDS {
            let gathered = self.primary.gather(&Judge {
                now: self.clock.now(),
                live: self.live,
                patience: self.turns.reluctance(self.clock.now()),
                when,
                fetcher: &self.fetcher,
            });
            self.wake_at(gathered.wake);
            if matches!(self.consume(gathered.items, when, last), Progress::Done) {
                break;
            }
        }
        self.primary.prune();
        if when == When::Now {
            let primary = &self.primary;
            self.doubtful.take_if(|rows| !primary.is_doubted(rows.clone()));
        }
    }

    fn consume(&mut self, items: Vec<Ready>, when: When, last: Option<GapCause>) -> Progress {
        let next = self.primary.next;
        self.arm_by_rewrites(&items, next);
        let mut progress = Progress::Done;
        let mut segment = Segment::default();
        for (at, item) in items.iter().enumerate() {
            let line = match item {
                Ready::Lost(rows) => {
                    self.put_lost(rows, last);
                    continue;
                }
                Ready::Line(line) => line,
            };
            let rewritten = line.rows.start < next;
            if !rewritten && line.rows.start < self.primary.next {
                // A rewritten line reached down into it.
                return Progress::Again;
            }
            if rewritten {
                progress = Progress::Again;
                if self.primary.reads_as_logged(line) {
                    self.primary.consume(line, false);
                    continue;
                }
                self.turn_if_doubtful(line.rows.start);
            }
            if !self.put_or_hold(line, segment.from(&items, at), when.is_final()) {
                return Progress::Done;
            }
        }
        self.repaints.all_judged();
        progress
    }

    /// Many rewritten lines at once are a redraw.
    fn arm_by_rewrites(&mut self, items: &[Ready], next: i64) {
        let rewritten =
            items.iter().take_while(|item| matches!(item, Ready::Line(line) if line.rows.start < next));
        let rewritten =
            rewritten.filter(|item| matches!(item, Ready::Line(line) if !self.primary.reads_as_logged(line)));
        if self.agent.is_some() && rewritten.count() >= MIN_LINES {
            self.repaints.arm(self.clock.now());
        }
    }

    /// Logs a line or counts it as printed again; false: it cannot be said yet. `ahead`: the hashes from it on.
    fn put_or_hold(&mut self, line: &ReadyLine, ahead: &[u64], last: bool) -> bool {
        let now = self.clock.now();
        let verdict =
            if self.repaints.is_idle(now) { Verdict::Log } else { self.repaints.judge(ahead, now, last) };
        match verdict {
            Verdict::Wait(moment) => {
                self.wake_at(Some(moment));
                return false;
            }
            Verdict::Log => {
                self.close_repaint();
                self.put_line(line);
            }
            Verdict::Begin(at) => {
                self.close_repaint();
                self.repaints.begin(line.rows.start, at, now);
                self.count_repainted(line, now);
            }
            Verdict::Extend => self.count_repainted(line, now),
        }
        true
    }

    fn put_line(&mut self, line: &ReadyLine) {
        if let Some(before) = &mut self.before_switch {
            before.unread = false;
        }
        let new = line.rows.start >= self.primary.next;
        for line in self.primary.consume(line, false) {
            self.out.push(Output::Line { layout: self.layout, line });
        }
        if self.agent.is_some() {
            self.repaints.remember(line.hash);
        }
        self.remember(line, new);
    }

    fn count_repainted(&mut self, line: &ReadyLine, now: u64) {
        if let Some(before) = &mut self.before_switch {
            before.unread = false;
        }
        let new = line.rows.start >= self.primary.next;
        self.repaints.reach(line.rows.end, now);
        self.primary.consume(line, true);
        self.remember(line, new);
    }

    /// Keeps the hashes of the lines above the place where logging goes on.
    fn remember(&mut self, line: &ReadyLine, new: bool) {
        if new {
            if self.tail.len() == LINE_HASHES {
                self.tail.pop_front();
            }
            self.tail.push_back((line.rows.start, line.hash));
        } else if let Some(kept) = self.tail.iter_mut().find(|(row, _)| *row == line.rows.start) {
            kept.1 = line.hash;
        }
    }

    fn put_lost(&mut self, rows: &Range<i64>, last: Option<GapCause>) {
        self.close_repaint();
        let trimmed = rows.end <= self.primary.grid.dims().oldest;
        let cause = match (last, self.reading) {
            (Some(cause), _) => cause,
            (None, Reading::Resumed) => GapCause::NodeDown,
            (None, Reading::Following) if trimmed => GapCause::Flood,
            (None, _) => GapCause::Trimmed,
        };
        self.put_gap(Some(rows.start), Some(rows.end.abs_diff(rows.start)), cause);
        self.primary.consume_lost(rows);
    }

    pub(crate) fn put_gap(&mut self, first_row: Option<i64>, rows: Option<u64>, cause: GapCause) {
        let (pane, layout) = (self.pane.clone(), self.layout);
        self.out.push(Output::Gap(Gap { pane, layout, first_row, rows, cause }));
    }

    /// After a column change: looks for the place to go on. False: rows are missing for that. `last`: none will come.
    fn find_place(&mut self, last: bool) -> bool {
        let readable = self.primary.readable_from();
        let dims = self.primary.grid.dims();
        while let Some(resync) = &mut self.primary.resync {
            if self.tail.iter().all(|(_, hash)| *hash == BLANK) {
                // Nothing to look for: all that can be read is new.
                self.place_unknown(readable, readable);
                continue;
            }
            resync.low = resync.low.max(readable);
            let low = resync.low;
            let mut missing = Vec::new();
            self.primary.grid.missing(low..dims.end(), &mut 1, &mut missing);
            if !missing.is_empty() && !last {
                return false;
            }
            let lines = self.primary.candidates(low);
            let Some(resync) = &mut self.primary.resync else { return true };
            let found = align(
                self.tail.iter().map(|(_, hash)| *hash),
                resync,
                &lines,
                low <= readable && readable > 0,
            );
            let deepest = low <= readable || dims.top - low >= MAX_DEPTH;
            match found {
                Some(place) if place.certain || low < dims.top || deepest || last => {
                    self.place_found(&lines, &place);
                }
                _ if last => return false,
                None if deepest => self.place_unknown(low, readable),
                _ if low == dims.top => resync.low = dims.top - FIRST_STEP,
                _ => resync.low = low - crate::fetch::MAX_ROWS,
            }
        }
        true
    }

    fn place_found(&mut self, lines: &[Candidate], place: &Place) {
        let (logged, open) = lines.split_at(place.logged);
        for (kept, line) in self.tail.iter_mut().rev().zip(logged.iter().rev()) {
            kept.0 = line.rows.start;
        }
        self.primary.resync = None;
        self.primary.adopt(logged);
        let after = logged.last().map(|line| line.rows.end);
        let next = open.first().map(|line| line.rows.start).or(after);
        self.primary.next = next.unwrap_or(self.primary.next);
    }

    fn place_unknown(&mut self, low: i64, readable: i64) {
        let Some(resync) = self.primary.resync.take() else { return };
        let end = self.primary.grid.dims().end();
        if let Some(row) = resync.trusted.filter(|row| (low..=end).contains(row)) {
            self.primary.next = row;
            return;
        }
        if readable > resync.oldest || low > readable {
            let cause = if self.reading == Reading::Resumed { GapCause::NodeDown } else { GapCause::Resize };
            self.put_gap(None, None, cause);
        }
        self.primary.next = low;
        self.tail.clear();
    }
}

/// Hashes of lines that stand together, with no gap between them.
#[derive(Default)]
struct Segment {
    range: Range<usize>,
    hashes: Vec<u64>,
}

impl Segment {
    /// The hashes from item `at` on.
    fn from(&mut self, items: &[Ready], at: usize) -> &[u64] {
        if !self.range.contains(&at) {
            let hash = |item: &Ready| match item {
                Ready::Line(line) => Some(line.hash),
                Ready::Lost(_) => None,
            };
            self.hashes = items[at..].iter().map_while(hash).collect();
            self.range = at..at + self.hashes.len();
        }
        &self.hashes[at - self.range.start..]
    }
}
