//! The account of one pane whose rows are known: printed = captured once + gapped, row by row.
//!
//! Two ways of counting must agree. By content: each row of the script carries its mark, and the mark stands in the log
//! once. By number: the rows that lines and gaps name cover the rows that were printed, each once. A row whose mark is
//! missing although no gap names it is lost silently; a mark that is there twice, or there and in a gap, is doubled.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::log::{Entry, Transcript};
use super::text::{Key, Script};

/// Rows, and what became of them. Sums of several panes are made with [`Account::add`].
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Account {
    /// Screen rows that the panes' programs printed.
    pub(crate) printed: u64,
    /// In the log.
    pub(crate) captured: u64,
    /// Named by a gap.
    pub(crate) gapped: u64,
    /// In the log more than once, or in the log and in a gap.
    pub(crate) doubled: u64,
    /// Neither in the log nor in a gap.
    pub(crate) lost: u64,
    /// Rows of gaps that name what was never printed.
    pub(crate) invented: u64,
    /// Gaps that do not say how many rows.
    pub(crate) uncounted_gaps: u64,
    /// Lines that do not say what was printed.
    pub(crate) altered: u64,
    /// Rows of gaps by cause.
    pub(crate) causes: BTreeMap<String, u64>,
    /// Lines that a person would have read, blank ones left out.
    pub(crate) read_lines: u64,
    /// Lines in the log, blank ones left out.
    pub(crate) stored_lines: u64,
    /// Revisions that were sent before those that the log shows.
    pub(crate) replaced_lines: u64,
    /// The first few faults, in words.
    pub(crate) faults: Vec<String>,
}

const MOST_FAULTS: usize = 5;

impl Account {
    pub(crate) fn captured_percent(&self) -> f64 {
        100.0 * self.captured as f64 / self.printed.max(1) as f64
    }

    pub(crate) fn stored_per_read(&self) -> f64 {
        self.stored_lines as f64 / self.read_lines.max(1) as f64
    }

    /// Every row is there once or in a gap, and every gap says its rows.
    pub(crate) fn is_exact(&self) -> bool {
        self.captured + self.gapped == self.printed
            && [self.doubled, self.lost, self.invented, self.uncounted_gaps, self.altered] == [0; 5]
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.printed += other.printed;
        self.captured += other.captured;
        self.gapped += other.gapped;
        self.doubled += other.doubled;
        self.lost += other.lost;
        self.invented += other.invented;
        self.uncounted_gaps += other.uncounted_gaps;
        self.altered += other.altered;
        for (cause, rows) in other.causes {
            *self.causes.entry(cause).or_default() += rows;
        }
        self.read_lines += other.read_lines;
        self.stored_lines += other.stored_lines;
        self.replaced_lines += other.replaced_lines;
        for fault in other.faults {
            self.fault(|| fault);
        }
    }

    fn fault(&mut self, words: impl FnOnce() -> String) {
        if self.faults.len() < MOST_FAULTS {
            self.faults.push(words());
        }
    }

    /// Judges the log of a pane that printed `lines` lines of its script.
    pub(crate) fn of(pane_id: u64, script: Script, lines: u32, transcript: &Transcript) -> Self {
        let expected = script.rows(lines);
        let mut account = Self {
            printed: expected.len() as u64,
            read_lines: u64::from(lines) + 1,
            stored_lines: transcript.texts().count() as u64,
            replaced_lines: transcript.replaced(),
            ..Self::default()
        };
        let seen = account.look(script, transcript);
        let cover = account.cover(expected.len(), transcript);
        for (row, (expected, cover)) in expected.iter().zip(&cover).enumerate() {
            let times = match expected {
                Some(key) => seen.get(key).copied().unwrap_or(0),
                None => u64::from(cover.lines > 0),
            };
            account.judge_row(times, cover);
            if times > 1 || (times > 0) == cover.gap {
                account.fault(|| {
                    let Cover { lines, gap } = cover;
                    format!("pane {pane_id} row {row} {expected:?}: {times}x in the log, {lines}x by number, gap {gap}")
                });
            }
        }
        account
    }

    fn judge_row(&mut self, times: u64, cover: &Cover) {
        match (times, cover.gap) {
            (0, true) => self.gapped += 1,
            (0, false) => self.lost += 1,
            _ => self.captured += 1,
        }
        let again = times.max(u64::from(cover.lines)).saturating_sub(1);
        self.doubled += again + u64::from(times > 0 && cover.gap);
    }

    /// How often each key is in the log.
    fn look(&mut self, script: Script, transcript: &Transcript) -> HashMap<Key, u64> {
        let mut seen = HashMap::new();
        for text in transcript.texts() {
            let keys = script.keys(text);
            if script.is_unaltered(text, &keys) == Some(false) {
                self.altered += 1;
                self.fault(|| format!("altered: {text:?}"));
            }
            for key in keys {
                *seen.entry(key).or_default() += 1;
            }
        }
        seen
    }

    /// What the numbers of lines and gaps cover of so many rows.
    fn cover(&mut self, rows: usize, transcript: &Transcript) -> Vec<Cover> {
        let mut cover = vec![Cover::default(); rows];
        for entry in &transcript.entries {
            let (first, count, cause) = match entry {
                Entry::Line { row, rows, .. } => (*row, u64::from(*rows), None),
                Entry::Gap { first_row: Some(first), rows: Some(rows), cause } => {
                    (*first, *rows, Some(cause))
                }
                Entry::Gap { .. } => {
                    self.uncounted_gaps += 1;
                    self.fault(|| format!("{entry:?}"));
                    continue;
                }
            };
            let start = usize::try_from(first).unwrap_or(0).min(rows);
            let end = start.saturating_add(usize::try_from(count).unwrap_or(rows)).min(rows);
            for row in &mut cover[start..end] {
                row.lines += u32::from(cause.is_none());
                row.gap |= cause.is_some();
            }
            if let Some(cause) = cause {
                *self.causes.entry(cause.clone()).or_default() += count;
                self.invented += count - (end - start) as u64;
            }
        }
        cover
    }
}

/// What covers one row.
#[derive(Debug, Clone, Copy, Default)]
struct Cover {
    lines: u32,
    gap: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(row: i64, text: &str) -> Entry {
        Entry::Line { row, rev: 0, rows: 1, text: text.into() }
    }

    fn gap(first: i64, rows: u64) -> Entry {
        Entry::Gap { first_row: Some(first), rows: Some(rows), cause: "flood".into() }
    }

    /// Rows 0 to 3 hold 1, 2, 3 and the end.
    fn judged(entries: Vec<Entry>) -> Account {
        Account::of(0, Script::Seq, 3, &Transcript { entries })
    }

    fn end(row: i64) -> Entry {
        line(row, super::super::text::END)
    }

    #[test]
    fn each_row_once_or_in_a_gap_is_exact() {
        let account = judged(vec![line(0, "1"), gap(1, 2), end(3)]);
        assert!(account.is_exact(), "{account:?}");
        assert_eq!((account.printed, account.captured, account.gapped), (4, 2, 2));
    }

    #[test]
    fn a_row_that_is_nowhere_is_lost_silently() {
        let account = judged(vec![line(0, "1"), line(2, "3"), end(3)]);
        assert_eq!((account.lost, account.is_exact()), (1, false));
        // Another text on its row does not stand for it.
        let account = judged(vec![line(0, "1"), line(1, "?"), line(2, "3"), end(3)]);
        assert_eq!((account.lost, account.is_exact()), (1, false));
    }

    #[test]
    fn a_row_that_is_there_twice_is_doubled() {
        let twice = judged(vec![line(0, "1"), line(1, "2"), line(7, "2"), line(2, "3"), end(3)]);
        assert_eq!((twice.doubled, twice.is_exact()), (1, false));
        let both = judged(vec![line(0, "1"), line(1, "2"), gap(1, 1), line(2, "3"), end(3)]);
        assert_eq!((both.doubled, both.is_exact()), (1, false));
        let stray = judged(vec![line(0, "1"), line(1, "2"), line(1, "x"), line(2, "3"), end(3)]);
        assert_eq!((stray.doubled, stray.is_exact()), (1, false));
    }

    #[test]
    fn a_gap_must_say_its_rows_and_no_others() {
        let unsaid = Entry::Gap { first_row: None, rows: None, cause: "exit".into() };
        let account = judged(vec![line(0, "1"), line(1, "2"), line(2, "3"), end(3), unsaid]);
        assert_eq!((account.uncounted_gaps, account.is_exact()), (1, false));
        let account = judged(vec![line(0, "1"), line(1, "2"), line(2, "3"), end(3), gap(4, 9)]);
        assert_eq!((account.invented, account.is_exact()), (9, false));
    }
}
