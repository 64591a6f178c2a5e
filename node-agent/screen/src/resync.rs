//! Finding the place after a column change.
//!
//! The server wraps the retained rows anew: row numbers shift, lines stay. So the end of what was logged is looked for by
//! content: the hashes of the last logged lines against the lines of the re-wrapped rows, from the bottom of the screen
//! upwards in steps, because it is nearly always close to the bottom.
//!
//! Decisions:
//! - A place counts when at least [`ENOUGH`] lines that show something agree there (all of them, where fewer were logged;
//!   two, where the server has trimmed those above) and clearly more agree than differ: a line may have been rewritten since, or have lost its wrap mark.
//! - Among equal places the one wins whose following lines agree with what had been on the screen but not logged; then the
//!   one with as many lines behind it as there were; then the lowest on the screen. Where only equal lines repeat, it
//!   cannot be known.
//! - Not found within [`MAX_DEPTH`] rows: what lies there is taken as new. That is a gap only if rows were trimmed meanwhile,
//!   for otherwise everything that was not logged is still there to be read.

use std::ops::Range;

use crate::hash::BLANK;

/// Rows looked at first, above the viewport.
pub(crate) const FIRST_STEP: i64 = 256;
/// Rows looked at, at most.
pub(crate) const MAX_DEPTH: i64 = 4096;
/// Lines not logged yet that help to decide.
pub(crate) const MAX_PENDING: usize = 64;
const ENOUGH: usize = 4;
const ENOUGH_AT_TOP: usize = 2;
const CERTAIN: usize = 6;
const MAX_DIFFERENT: usize = 3;

/// A search under way.
#[derive(Clone, Debug)]
pub(crate) struct Resync {
    /// What stood on the screen below the last logged line, and how many lines that were.
    pub(crate) pending: Vec<u64>,
    pub(crate) pending_lines: usize,
    /// The first row that the server held before.
    pub(crate) oldest: i64,
    /// The first row that is looked at.
    pub(crate) low: i64,
    /// The row number to fall back to, where numbers may still be right.
    pub(crate) trusted: Option<i64>,
}

/// A logical line of the re-wrapped rows.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) rows: Range<i64>,
    pub(crate) hash: u64,
    pub(crate) text: u32,
}

/// Where the logged text ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// How many of the lines are logged already.
    pub(crate) logged: usize,
    /// Everything agrees, before and behind: no need to read more rows.
    pub(crate) certain: bool,
}

/// Finds the end of the logged text in `lines`, the last of `tail` being its last line. `trimmed`: the server
/// held rows above these and does not any more.
pub(crate) fn align(
    tail: impl DoubleEndedIterator<Item = u64> + ExactSizeIterator + Clone,
    resync: &Resync,
    lines: &[Candidate],
    trimmed: bool,
) -> Option<Place> {
    let shown = tail.clone().filter(|hash| *hash != BLANK).count();
    if shown == 0 {
        return None;
    }
    let mut best: Option<((i64, usize, i64), Place)> = None;
    for place in 1..=lines.len() {
        // The head of the first line may have been trimmed.
        let found = &lines[usize::from(trimmed)..place];
        let (mut hits, misses) = agreement(tail.clone().rev().zip(found.iter().rev().map(|line| line.hash)));
        if trimmed
            && tail.clone().rev().nth(place - 1).is_some_and(|hash| hash == lines[0].hash && hash != BLANK)
        {
            hits += 1;
        }
        let to_the_top = trimmed && misses == 0 && found.len() < tail.len() && hits >= ENOUGH_AT_TOP;
        if (hits < ENOUGH.min(shown) && !to_the_top) || hits <= 2 * misses {
            continue;
        }
        let ahead = resync.pending.iter().zip(&lines[place..]);
        let ahead = ahead.filter(|(pending, line)| **pending == line.hash && **pending != BLANK).count();
        let remaining = (lines.len() - place).abs_diff(resync.pending_lines);
        let score = (hits as i64 - 2 * misses as i64, ahead, -(remaining as i64));
        if best.is_none_or(|(so_far, _)| score >= so_far) {
            let certain = misses == 0 && hits >= CERTAIN && remaining <= 1;
            best = Some((score, Place { logged: place, certain }));
        }
    }
    best.map(|(_, place)| place)
}

fn agreement(pairs: impl Iterator<Item = (u64, u64)>) -> (usize, usize) {
    let (mut hits, mut misses) = (0, 0);
    for (logged, found) in pairs {
        if logged == found {
            hits += usize::from(logged != BLANK);
        } else {
            misses += 1;
            if misses > MAX_DIFFERENT {
                break;
            }
        }
    }
    (hits, misses)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place_in(tail: &[u64], pending: &[u64], lines: &[u64], trimmed: bool) -> Option<usize> {
        let resync = Resync {
            pending: pending.to_vec(),
            pending_lines: pending.len(),
            oldest: 0,
            low: 0,
            trusted: None,
        };
        let lines: Vec<Candidate> =
            lines.iter().map(|hash| Candidate { rows: 0..1, hash: *hash, text: 0 }).collect();
        align(tail.iter().copied(), &resync, &lines, trimmed).map(|place| place.logged)
    }

    fn place(tail: &[u64], pending: &[u64], lines: &[u64]) -> Option<usize> {
        place_in(tail, pending, lines, false)
    }

    #[test]
    fn the_end_of_the_logged_text_is_found() {
        let lines: Vec<u64> = (1..50).collect();
        assert_eq!(place(&[10, 11, 12, 13, 14], &[], &lines), Some(14));
        assert_eq!(place(&[7, 8, 9, 10, 11, 12, 13, 14], &[], &lines[10..]), Some(4), "the top was trimmed");
        assert_eq!(place(&[10, 11, 12, 13, 99], &[15], &lines), Some(14), "the last line was rewritten");
        assert_eq!(place(&[1], &[], &lines), Some(1), "one line was all there was");
    }

    #[test]
    fn at_the_top_of_what_is_left_two_lines_are_enough() {
        let tail: Vec<u64> = (1..20).collect();
        assert_eq!(
            place_in(&tail, &[20], &[777, 18, 19, 20, 21], true),
            Some(3),
            "the first one lost its head"
        );
        assert_eq!(place_in(&tail, &[20], &[18, 19, 20, 21], true), Some(2));
        assert_eq!(place_in(&tail, &[20], &[777, 19, 20, 21], true), None);
        assert_eq!(place_in(&tail, &[20], &[777, 18, 19, 20, 21], false), None);
    }

    #[test]
    fn too_little_is_no_place() {
        assert_eq!(place(&[1, 2, 3, 4, 5], &[], &[9, 9, 5, 9]), None);
        assert_eq!(place(&[BLANK; 8], &[], &[BLANK; 8]), None);
        assert_eq!(place(&[], &[], &[1, 2, 3]), None);
    }

    #[test]
    fn repetitions_are_told_apart_by_what_was_not_logged_yet() {
        let lines = [1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4, 8];
        assert_eq!(place(&[1, 2, 3, 4], &[1, 2, 3, 4, 8], &lines), Some(8));
        assert_eq!(place(&[1, 2, 3, 4], &[8], &lines), Some(12));
        assert_eq!(place(&[5; 64], &[5, 5, 5], &[5; 100]), Some(97));
    }
}
