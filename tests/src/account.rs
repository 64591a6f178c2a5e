//! What becomes of numbered lines (`line 1`, `line 2`, …): each is in the log once, or in a gap that counts it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::Stage;

/// What the log says of the numbered lines of one pane.
#[derive(Debug, Default)]
pub struct Account {
    /// Numbers that are there more than once.
    pub twice: Vec<u64>,
    /// How many numbers are not there.
    pub missing: u64,
    /// Rows in gaps that say their number.
    pub gap_rows: u64,
    pub gaps: Vec<Value>,
    /// Numbers that come after a greater one.
    pub disorder: u32,
}

impl Account {
    /// Of entries as `wa logs -o jsonl` prints them; the lines were numbered from 1 to `lines`.
    pub fn of(entries: &[Value], lines: u64) -> Self {
        let mut account = Self::default();
        let mut seen = BTreeMap::<u64, u32>::new();
        let mut last = 0;
        for entry in entries {
            if let Some(gap) = entry.get("gap") {
                account.gap_rows += gap["rows"].as_u64().unwrap_or(0);
                account.gaps.push(gap.clone());
            } else if let Some(number) = number_of(entry) {
                *seen.entry(number).or_default() += 1;
                account.disorder += u32::from(number < last);
                last = number;
            }
        }
        account.twice = seen.iter().filter(|(_, times)| **times > 1).map(|(number, _)| *number).collect();
        account.missing = lines - seen.range(1..=lines).count() as u64;
        account
    }

    /// Checks that nothing is doubled, out of order or missing without a gap.
    ///
    /// # Panics
    /// When something is.
    pub fn check(&self) {
        assert_eq!(self.twice, Vec::<u64>::new(), "no line twice");
        assert_eq!(self.disorder, 0, "in order");
        assert_eq!(self.missing, self.gap_rows, "what is missing is in a gap: {:?}", self.gaps);
    }
}

/// The number of a numbered line.
pub fn number_of(entry: &Value) -> Option<u64> {
    entry["text"].as_str()?.strip_prefix("line ")?.parse().ok()
}

/// Everything that is logged of a pane.
pub fn log_of(stage: &Stage, pane: &str) -> Vec<Value> {
    let answer = stage.wa(&["logs", pane, "-o", "jsonl"]);
    if answer.code == 0 { answer.json_lines() } else { Vec::new() }
}
