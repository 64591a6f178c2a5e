//! Transcripts that an agent prints again.
//!
//! Full redraws (after a clear, a change of width, a new session picture) put lines on the screen that a person has read
//! already. Eight or more logical lines that equal, in order, lines logged of the same agent process are one record.
//!
//! Decisions:
//! - Only while something suggests a redraw ([`Repaints::arm`]) and only for a known agent process: a shell that runs the
//!   same command twice prints new lines. A redraw comes at once: after [`MAX_NEW`] lines that were not reprinted nothing
//!   is, for an agent may well give the same answer twice.
//! - Lines in between may be missing from the reprint (a spinner that was logged once); the order must hold.
//! - Blank lines count, but a run neither begins with one nor consists of them.
//! - Fewer than eight lines at the end of what has settled decide nothing yet: they wait, for two seconds at most.
//! - The record is held open until the run ends, so that a reprint that comes in pieces is still one.

use std::collections::VecDeque;

use crate::hash::BLANK;

/// Lines that make a repaint.
pub(crate) const MIN_LINES: usize = 8;
/// Logged lines remembered of an agent process.
const REMEMBERED: usize = 4096;
/// How far ahead a reprinted line may lie after the one before it.
const MAX_SKIP: usize = 64;
/// Places that a line is looked for at.
const MAX_CANDIDATES: usize = 64;
/// How long after its sign a redraw may come.
const ARMED_FOR: u64 = 30_000_000;
/// New lines that show something, after the sign, behind which no redraw comes any more.
const MAX_NEW: usize = 8;
/// How long undecided lines wait, and an open record waits for more.
const PATIENCE: u64 = 2_000_000;

/// Rows of one repaint, not recorded yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpenRepaint {
    pub(crate) first_row: i64,
    pub(crate) rows: u32,
}

#[derive(Debug)]
struct Run {
    open: OpenRepaint,
    /// Where in the memory its last line may stand.
    at: Vec<u64>,
    last: u64,
}

/// What to do with a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Log,
    /// It goes on with the open run.
    Extend,
    /// With it a run begins; it may stand at these places in the memory.
    Begin(Vec<u64>),
    /// Not decided before this moment, unless more lines come.
    Wait(u64),
}

#[derive(Debug, Default)]
pub(crate) struct Repaints {
    /// Hashes of logged lines; the first has number `base`.
    memory: VecDeque<u64>,
    base: u64,
    armed_until: u64,
    /// Lines logged since the sign, or since the last reprinted one.
    new_lines: usize,
    undecided_since: Option<u64>,
    run: Option<Run>,
}

impl Repaints {
    /// Lines of another process are not remembered.
    pub(crate) fn forget(&mut self) {
        self.memory = VecDeque::new();
        self.armed_until = 0;
        self.undecided_since = None;
    }

    pub(crate) fn remember(&mut self, line: u64) {
        self.new_lines += usize::from(line != BLANK);
        if self.memory.len() == REMEMBERED {
            self.memory.pop_front();
            self.base += 1;
        }
        self.memory.push_back(line);
    }

    pub(crate) fn is_armed(&self, now: u64) -> bool {
        now < self.armed_until && self.new_lines < MAX_NEW && !self.memory.is_empty()
    }

    /// Nothing to judge lines by.
    pub(crate) fn is_idle(&self, now: u64) -> bool {
        self.run.is_none() && !self.is_armed(now)
    }

    /// Something suggests that a redraw begins.
    pub(crate) fn arm(&mut self, now: u64) {
        self.armed_until = now.saturating_add(ARMED_FOR);
        self.new_lines = 0;
    }

    /// The record that is not written yet: part of the pane's position.
    pub(crate) fn open(&self) -> Option<OpenRepaint> {
        self.run.as_ref().map(|run| run.open)
    }

    /// Ends the run and hands out its record.
    pub(crate) fn close(&mut self) -> Option<OpenRepaint> {
        self.run.take().map(|run| run.open)
    }

    /// Takes an open record over from a saved position, to be closed next.
    pub(crate) fn reopen(&mut self, open: OpenRepaint) {
        self.run = Some(Run { open, at: Vec::new(), last: 0 });
    }

    /// The record of a run that has been quiet for long enough.
    pub(crate) fn close_quiet(&mut self, now: u64) -> Option<OpenRepaint> {
        self.run.take_if(|run| now >= run.last.saturating_add(PATIENCE)).map(|run| run.open)
    }

    pub(crate) fn wake(&self) -> Option<u64> {
        self.run.as_ref().map(|run| run.last.saturating_add(PATIENCE))
    }

    /// Opens a run, after [`Self::close`].
    pub(crate) fn begin(&mut self, first_row: i64, at: Vec<u64>, now: u64) {
        self.undecided_since = None;
        self.run = Some(Run { open: OpenRepaint { first_row, rows: 0 }, at, last: now });
    }

    /// The open run reaches up to row `end`. Rows inside it that read as they did count: they were printed again, too.
    pub(crate) fn reach(&mut self, end: i64, now: u64) {
        if let Some(run) = &mut self.run {
            let rows = u32::try_from(end.saturating_sub(run.open.first_row)).unwrap_or(0);
            run.open.rows = run.open.rows.max(rows);
            self.new_lines = 0;
            run.last = now;
        }
    }

    /// All lines were judged: the next ones that decide nothing may wait again.
    pub(crate) fn all_judged(&mut self) {
        self.undecided_since = None;
    }

    fn places(&self, line: u64) -> Vec<u64> {
        // The newest are the likeliest.
        let found = self.memory.iter().enumerate().rev().filter(|(_, hash)| **hash == line);
        found.map(|(at, _)| self.base + at as u64).take(MAX_CANDIDATES).collect()
    }

    /// Where the line may stand when the one before it stood at one of `at`: right behind, else a little further on.
    fn follow(&self, at: &[u64], line: u64) -> Vec<u64> {
        let get = |number: u64| {
            let index = usize::try_from(number.checked_sub(self.base)?).ok()?;
            self.memory.get(index).copied()
        };
        let next: Vec<u64> =
            at.iter().map(|place| place + 1).filter(|place| get(*place) == Some(line)).collect();
        if !next.is_empty() || line == BLANK {
            // A blank line that was not there before is no sign of anything.
            return if next.is_empty() { at.to_vec() } else { next };
        }
        let mut found = Vec::new();
        for place in at {
            let skipped = (place + 2..place + 2 + MAX_SKIP as u64).find(|place| get(*place) == Some(line));
            if let Some(skipped) = skipped.filter(|skipped| !found.contains(skipped)) {
                found.push(skipped);
            }
        }
        found
    }

    /// Judges the first of the lines that have settled, by the hashes of all of them up to the next gap. `last`: no more
    /// will come.
    pub(crate) fn judge(&mut self, lines: &[u64], now: u64, last: bool) -> Verdict {
        let Some(first) = lines.first() else { return Verdict::Log };
        if let Some(run) = &self.run {
            let at = self.follow(&run.at, *first);
            if !at.is_empty()
                && let Some(run) = &mut self.run
            {
                run.at = at;
                return Verdict::Extend;
            }
        }
        if !self.is_armed(now) || *first == BLANK {
            self.undecided_since = None;
            return Verdict::Log;
        }
        let places = self.places(*first);
        let (count, shown) = self.matches(&places, lines);
        if shown >= MIN_LINES / 2 && count >= MIN_LINES {
            return Verdict::Begin(places);
        }
        if count == 0 || count < lines.len() || last {
            self.undecided_since = None;
            return Verdict::Log;
        }
        let deadline = self.undecided_since.get_or_insert(now).saturating_add(PATIENCE);
        if now >= deadline { Verdict::Log } else { Verdict::Wait(deadline) }
    }

    /// How many lines from the first on are remembered in order, and how many of them show something.
    fn matches(&self, places: &[u64], lines: &[u64]) -> (usize, usize) {
        if places.is_empty() {
            return (0, 0);
        }
        let (mut count, mut shown) = (1, 1);
        let mut at = places.to_vec();
        for line in &lines[1..] {
            at = self.follow(&at, *line);
            if at.is_empty() {
                break;
            }
            count += 1;
            shown += usize::from(*line != BLANK);
        }
        (count, shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remembering(lines: impl IntoIterator<Item = u64>) -> Repaints {
        let mut repaints = Repaints::default();
        lines.into_iter().for_each(|line| repaints.remember(line));
        repaints.arm(0);
        repaints
    }

    fn begins(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::Begin(_))
    }

    #[test]
    fn eight_lines_in_order_are_a_repaint_and_seven_are_not() {
        let mut repaints = remembering(1..100);
        assert!(begins(&repaints.judge(&[10, 11, 12, 13, 14, 15, 16, 17, 500], 1, false)));
        assert_eq!(repaints.judge(&[10, 11, 12, 13, 14, 15, 16, 500], 1, false), Verdict::Log);
        assert_eq!(repaints.judge(&[17, 16, 15, 14, 13, 12, 11, 10, 9], 1, false), Verdict::Log);
    }

    #[test]
    fn the_reprint_may_lack_lines_and_have_more_blanks() {
        let mut repaints = remembering(1..100);
        assert!(begins(&repaints.judge(&[10, 12, BLANK, 13, 20, 21, 22, 30, 500], 1, false)));
        let mut blanks = remembering([1, BLANK, BLANK, BLANK, BLANK, BLANK, BLANK, BLANK, BLANK, BLANK]);
        assert_eq!(
            blanks.judge(&[1, BLANK, BLANK, BLANK, BLANK, BLANK, BLANK, BLANK, 7], 1, false),
            Verdict::Log
        );
    }

    #[test]
    fn without_a_sign_or_after_its_time_nothing_is_a_repaint() {
        let lines: Vec<u64> = (10..30).collect();
        let mut repaints = remembering(1..100);
        assert_eq!(repaints.judge(&lines, ARMED_FOR, false), Verdict::Log);
        repaints.arm(ARMED_FOR);
        assert!(begins(&repaints.judge(&lines, ARMED_FOR + 1, false)));
        repaints.forget();
        assert_eq!(repaints.judge(&lines, ARMED_FOR + 2, false), Verdict::Log);
    }

    #[test]
    fn a_few_lines_wait_for_more_but_not_for_ever() {
        let mut repaints = remembering(1..100);
        let Verdict::Wait(deadline) = repaints.judge(&[10, 11, 12], 5, false) else { panic!() };
        assert_eq!(repaints.judge(&[10, 11, 12], deadline - 1, false), Verdict::Wait(deadline));
        assert_eq!(repaints.judge(&[10, 11, 12], deadline, false), Verdict::Log);
        assert_eq!(repaints.judge(&[11, 12], deadline, false), Verdict::Log);
        repaints.all_judged();
        assert!(matches!(repaints.judge(&[10, 11, 12], deadline + 1, false), Verdict::Wait(_)));
        assert_eq!(repaints.judge(&[10, 11, 12], deadline + 2, true), Verdict::Log);
    }

    #[test]
    fn a_run_goes_on_until_it_breaks_and_is_one_record() {
        let mut repaints = remembering(1..100);
        let Verdict::Begin(at) = repaints.judge(&[1, 2, 3, 4, 5, 6, 7, 8, 9], 1, false) else { panic!() };
        repaints.begin(40, at, 1);
        repaints.reach(41, 1);
        for line in 2..=10 {
            assert_eq!(repaints.judge(&[line], 2, false), Verdict::Extend);
            repaints.reach(39 + line as i64 + 1, 2);
        }
        assert_eq!(repaints.judge(&[777], 3, false), Verdict::Log);
        assert_eq!(repaints.close_quiet(3), None);
        assert_eq!(repaints.close_quiet(2 + PATIENCE), Some(OpenRepaint { first_row: 40, rows: 10 }));
        assert_eq!(repaints.close(), None);
    }
}
