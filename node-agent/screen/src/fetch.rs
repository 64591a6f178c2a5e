//! Rows that have to be asked for: one question at a time.
//!
//! Constraints: the server answers questions on its main thread, so they are few and small; an answer may lack rows, may
//! come after the pane has changed again, or never. While one is under way nothing else is asked: what a flood makes wanting
//! meanwhile is in the next question, with the then valid limits.
//!
//! Operation: rows that a push touches while a question is under way are not taken from the answer: nobody knows which of
//! the two is newer, so they are asked for again if they are still wanted. After a change of screen or of width the whole
//! answer is thrown away. Rows that two answers in a row lack are given up. A failed question is repeated, ever more
//! slowly, [`ATTEMPTS`] times.

use std::ops::Range;

/// Rows in one question, at most.
pub(crate) const MAX_ROWS: i64 = 500;
/// Pieces that touched rows are kept in; with more of them everything between counts as touched.
const MAX_TOUCHED: usize = 256;
const FIRST_RETRY: u64 = 100_000;
const LAST_RETRY: u64 = 10_000_000;
/// Failures in a row after which the rows count as lost.
const ATTEMPTS: u32 = 10;

#[derive(Debug, Default)]
enum State {
    #[default]
    Idle,
    Asked(Question),
    /// Not before this moment.
    Resting(u64),
}

#[derive(Debug)]
struct Question {
    ranges: Vec<Range<i64>>,
    touched: Vec<Range<i64>>,
    /// Rows that are known are taken, too.
    reread: bool,
    void: bool,
}

/// What a failure or an answer means for the rows that were asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Ask again.
    None,
    /// Rows below this one that are still missing are lost.
    Below(i64),
}

#[derive(Debug, Default)]
pub(crate) struct Fetcher {
    state: State,
    failures: u32,
    /// The last answer lacked rows.
    lacked: bool,
}

/// An answer is due, and this says which of its rows to take.
pub(crate) struct Due(Question);

impl Due {
    /// Whether this row was asked for and not touched since; `known`: it was up to date anyway.
    pub(crate) fn takes(&self, row: i64, known: bool) -> bool {
        !self.0.void
            && (self.0.reread || !known)
            && within(&self.0.ranges, row)
            && !within(&self.0.touched, row)
    }

    pub(crate) fn is_void(&self) -> bool {
        self.0.void
    }

    pub(crate) fn is_reread(&self) -> bool {
        self.0.reread
    }

    pub(crate) fn ranges(&self) -> &[Range<i64>] {
        &self.0.ranges
    }

    pub(crate) fn touched(&self, row: i64) -> bool {
        within(&self.0.touched, row)
    }
}

fn within(ranges: &[Range<i64>], row: i64) -> bool {
    ranges.iter().any(|range| range.contains(&row))
}

impl Fetcher {
    /// Whether a question may be asked now.
    pub(crate) fn is_free(&self, now: u64) -> bool {
        match self.state {
            State::Idle => true,
            State::Asked(_) => false,
            State::Resting(until) => now >= until,
        }
    }

    /// When to try again.
    pub(crate) fn wake(&self) -> Option<u64> {
        match self.state {
            State::Resting(until) => Some(until),
            State::Idle | State::Asked(_) => None,
        }
    }

    /// The answer to come may still bring this row.
    pub(crate) fn awaits(&self, row: i64) -> bool {
        matches!(&self.state, State::Asked(question) if !question.void && within(&question.ranges, row))
    }

    /// The first row of this range that the answer to come may still bring, or its end.
    pub(crate) fn first_awaited(&self, range: Range<i64>) -> i64 {
        let State::Asked(Question { ranges, void: false, .. }) = &self.state else { return range.end };
        let awaited = ranges.iter().find(|asked| asked.end > range.start);
        awaited.map_or(range.end, |asked| asked.start.max(range.start).min(range.end))
    }

    pub(crate) fn ask(&mut self, ranges: Vec<Range<i64>>, reread: bool) {
        self.state = State::Asked(Question { ranges, touched: Vec::new(), reread, void: false });
    }

    /// A push changed these rows.
    pub(crate) fn touch(&mut self, range: Range<i64>) {
        let State::Asked(question) = &mut self.state else { return };
        if range.start >= range.end
            || !question.ranges.iter().any(|r| r.start < range.end && range.start < r.end)
        {
            return;
        }
        match question.touched.last_mut() {
            Some(last) if last.start <= range.start && range.start <= last.end => {
                last.end = last.end.max(range.end)
            }
            _ => question.touched.push(range),
        }
        if question.touched.len() > MAX_TOUCHED {
            question.void = true;
        }
    }

    /// Row numbers mean something else now: the answer to come is of no use.
    pub(crate) fn invalidate(&mut self) {
        self.lacked = false;
        if let State::Asked(question) = &mut self.state {
            question.void = true;
        }
    }

    /// No answer will come: the connection is gone.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// The answer came. `None`: nothing had been asked.
    pub(crate) fn answered(&mut self) -> Option<Due> {
        match std::mem::take(&mut self.state) {
            State::Asked(question) => {
                self.failures = 0;
                Some(Due(question))
            }
            other => {
                self.state = other;
                None
            }
        }
    }

    /// What it means that the first rows of an answer, up to `upto`, were missing from it (`None`: nothing was).
    pub(crate) fn lacks(&mut self, upto: Option<i64>) -> Loss {
        match upto {
            Some(upto) if self.lacked => {
                self.lacked = false;
                Loss::Below(upto)
            }
            upto => {
                self.lacked = upto.is_some();
                Loss::None
            }
        }
    }

    /// The question failed.
    pub(crate) fn failed(&mut self, now: u64) -> Loss {
        let State::Asked(question) = std::mem::take(&mut self.state) else { return Loss::None };
        if question.reread && !question.void {
            // It was a second look only.
            return Loss::None;
        }
        self.failures += 1;
        if self.failures >= ATTEMPTS && !question.void {
            self.failures = 0;
            return Loss::Below(question.ranges.first().map_or(i64::MIN, |range| range.end));
        }
        let pause = FIRST_RETRY.saturating_mul(1 << self.failures.saturating_sub(1).min(20)).min(LAST_RETRY);
        self.state = State::Resting(now.saturating_add(pause));
        Loss::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wide() -> Vec<Range<i64>> {
        vec![0..10, 20..30]
    }

    #[test]
    fn touched_rows_are_not_taken_from_the_answer() {
        let mut fetcher = Fetcher::default();
        fetcher.ask(wide(), false);
        fetcher.touch(5..6);
        fetcher.touch(12..14);
        let due = fetcher.answered().unwrap();
        assert!(due.takes(4, false) && due.takes(29, false));
        assert!(!due.takes(4, true), "known already");
        assert!(!due.takes(5, false), "touched");
        assert!(!due.takes(15, false), "not asked for");
        assert!(fetcher.answered().is_none());
    }

    #[test]
    fn rows_are_given_up_when_two_answers_lack_them() {
        let mut fetcher = Fetcher::default();
        assert_eq!(fetcher.lacks(Some(5)), Loss::None);
        assert_eq!(fetcher.lacks(Some(5)), Loss::Below(5));
        assert_eq!(fetcher.lacks(Some(7)), Loss::None);
        assert_eq!(fetcher.lacks(None), Loss::None);
        assert_eq!(fetcher.lacks(Some(7)), Loss::None);
    }

    #[test]
    fn failures_are_retried_more_and_more_slowly_then_given_up() {
        let mut fetcher = Fetcher::default();
        let (mut now, mut last) = (0, 0);
        for _ in 1..ATTEMPTS {
            assert!(fetcher.is_free(now));
            fetcher.ask(wide(), false);
            assert!(!fetcher.is_free(now));
            assert_eq!(fetcher.failed(now), Loss::None);
            let wake = fetcher.wake().unwrap();
            assert!(wake - now >= last && wake - now <= LAST_RETRY);
            last = wake - now;
            now = wake;
        }
        fetcher.ask(wide(), false);
        assert_eq!(fetcher.failed(now), Loss::Below(10));
        assert!(fetcher.is_free(now));
    }
}
