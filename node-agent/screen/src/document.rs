//! What was logged of an alternate screen: one document that its pictures are windows into.
//!
//! Constraints: a program scrolls its own text up and down, keeps a heading in place, covers the text with something else
//! and shows it again. What it shows again is not new; but what follows the end of the document is, however much of it
//! stands there already: the second of two equal answers is an answer.
//!
//! Rows that are to be logged stand between rows whose place in the document is known (*anchors*), and so:
//! - behind the last row of the document: new;
//! - behind another anchor: what follows it in the document, if they are the same rows;
//! - before an anchor: the nearest rows before it that read the same; the topmost may come from far above (a heading);
//! - with no anchor: where three in a row stand in the document, or two that are all there is; these are anchors then.

use std::collections::VecDeque;

/// Rows that are remembered.
const REMEMBERED: usize = 2048;
/// How far above an anchor, or above its neighbour, a row may lie.
const MAX_SKIP: u64 = 8;
/// Rows in order that are no coincidence.
const ENOUGH: usize = 3;

#[derive(Debug, Default)]
pub(crate) struct Document {
    /// Hashes of rows that show something; the first has number `base`.
    rows: VecDeque<u64>,
    base: u64,
}

impl Document {
    pub(crate) fn new(rows: impl Iterator<Item = u64>) -> Self {
        let mut document = Self::default();
        for row in rows {
            document.push(row);
        }
        document
    }

    /// Adds a row; its number.
    pub(crate) fn push(&mut self, row: u64) -> u64 {
        if self.rows.len() == REMEMBERED {
            self.rows.pop_front();
            self.base += 1;
        }
        self.rows.push_back(row);
        self.end() - 1
    }

    /// The last rows, oldest first.
    pub(crate) fn last(&self, count: usize) -> Vec<u64> {
        self.rows.iter().skip(self.rows.len().saturating_sub(count)).copied().collect()
    }

    fn end(&self) -> u64 {
        self.base + self.rows.len() as u64
    }

    fn get(&self, number: u64) -> Option<u64> {
        self.rows.get(usize::try_from(number.checked_sub(self.base)?).ok()?).copied()
    }

    /// Where these rows stand in the document, `None` for those that are new. `before` and `after`: the numbers of the
    /// rows shown right above and below.
    pub(crate) fn find(&self, rows: &[u64], before: Option<u64>, after: Option<u64>) -> Vec<Option<u64>> {
        let mut found = vec![None; rows.len()];
        if before.is_none() && after.is_none() {
            self.find_runs(rows, &mut found);
        }
        let mut start = 0;
        while start < rows.len() {
            if found[start].is_some() {
                start += 1;
                continue;
            }
            let end = (start..rows.len()).find(|at| found[*at].is_some()).unwrap_or(rows.len());
            let above = start.checked_sub(1).map_or(before, |at| found[at]);
            let below = found.get(end).copied().unwrap_or(after);
            match (above, below) {
                (Some(above), Some(below)) if above < below => {
                    self.find_above(&rows[start..end], above + 1, below, &mut found[start..end]);
                }
                (_, Some(below)) => {
                    self.find_above(&rows[start..end], self.base, below, &mut found[start..end])
                }
                (Some(above), None) => self.find_behind(&rows[start..end], above, &mut found[start..end]),
                (None, None) => {}
            }
            start = end;
        }
        found
    }

    /// Rows that go on behind `above`.
    fn find_behind(&self, rows: &[u64], above: u64, found: &mut [Option<u64>]) {
        let mut at = above;
        let mut places = vec![None; rows.len()];
        for (row, place) in rows.iter().zip(&mut places) {
            let next = (at + 1..at + 2 + MAX_SKIP).find(|number| self.get(*number) == Some(*row));
            let Some(next) = next else { break };
            *place = Some(next);
            at = next;
        }
        let count = places.iter().flatten().count();
        let gapless = at == above + count as u64;
        if count >= ENOUGH || gapless {
            found.copy_from_slice(&places);
        }
    }

    /// Rows that lead up to `below`, not above `least`.
    fn find_above(&self, rows: &[u64], least: u64, below: u64, found: &mut [Option<u64>]) {
        let mut at = below;
        for (index, (row, place)) in rows.iter().zip(found).enumerate().rev() {
            let reach = if index == 0 { u64::MAX } else { MAX_SKIP + 1 };
            let lowest = at.saturating_sub(reach).max(least).max(self.base);
            *place = (lowest..at).rev().find(|number| self.get(*number) == Some(*row));
            at = place.unwrap_or(at);
        }
    }

    /// Rows that stand in the document in a row, wherever.
    fn find_runs(&self, rows: &[u64], found: &mut [Option<u64>]) {
        let enough = ENOUGH.min(rows.len()).max(2);
        let mut start = 0;
        while start < rows.len() {
            let run_at = |at: usize| {
                rows[start..].iter().zip(self.rows.range(at..)).take_while(|(a, b)| a == b).count()
            };
            let runs = (0..self.rows.len()).filter(|at| self.rows[*at] == rows[start]);
            // Of equal ones the latest.
            let Some((run, at)) = runs.map(|at| (run_at(at), at)).max().filter(|(run, _)| *run >= enough)
            else {
                start += 1;
                continue;
            };
            for offset in 0..run {
                found[start + offset] = Some(self.base + (at + offset) as u64);
            }
            start += run;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rows: impl IntoIterator<Item = u64>) -> Document {
        Document::new(rows.into_iter())
    }

    #[test]
    fn behind_the_end_everything_is_new() {
        let document = of([1, 2, 3, 4, 1, 2, 3]);
        assert_eq!(document.find(&[4, 1, 2, 3], Some(6), None), [None; 4]);
        assert_eq!(
            document.find(&[4, 1, 2, 3, 4], Some(2), None),
            [Some(3), Some(4), Some(5), Some(6), None]
        );
    }

    #[test]
    fn before_an_anchor_the_rows_above_it_are_known_and_a_heading_from_far_above() {
        let document = of(0..100);
        assert_eq!(document.find(&[3, 58, 59], None, Some(60)), [Some(3), Some(58), Some(59)]);
        assert_eq!(document.find(&[3, 777, 59], None, Some(60)), [Some(3), None, Some(59)]);
        assert_eq!(document.find(&[90], None, Some(60)), [None]);
    }

    #[test]
    fn between_anchors_only_what_stood_there_is_known() {
        let document = of(0..100);
        assert_eq!(document.find(&[11, 12], Some(10), Some(13)), [Some(11), Some(12)]);
        assert_eq!(document.find(&[5], Some(10), Some(13)), [None]);
    }

    #[test]
    fn without_an_anchor_three_in_a_row_are_one() {
        let document = of(0..100);
        assert_eq!(
            document.find(&[7, 40, 41, 42, 777], None, None),
            [Some(7), Some(40), Some(41), Some(42), None]
        );
        assert_eq!(document.find(&[40, 41], None, None), [Some(40), Some(41)]);
        assert_eq!(document.find(&[40, 777, 41], None, None), [None; 3]);
        assert_eq!(document.find(&[40], None, None), [None]);
    }

    #[test]
    fn rows_forgotten_keep_their_numbers() {
        let mut document = of(0..REMEMBERED as u64);
        assert_eq!(document.push(9999), REMEMBERED as u64);
        assert_eq!(document.find(&[0, 1, 2], None, None), [None; 3]);
        assert_eq!(document.find(&[1, 2, 3], None, None), [Some(1), Some(2), Some(3)]);
    }
}
