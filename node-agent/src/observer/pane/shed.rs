//! Lines that are left out because the pane is over its budget: counted, and told as gaps.
//!
//! Constraints: every row is in a line that is stored or in a gap, and in one of them only; a gap stands where its rows
//! stood. So revisions of lines that were left out are left out too, and what they swallow keeps its own text; only rows
//! that they are the first to take are counted. Revisions of stored lines are always stored: there are few, for each must
//! have stood for a second.
//! Operation: rows that are left out one after the other make one gap, which is closed by the next line that is stored,
//! by whatever else is recorded, and by each group that leaves.

use std::ops::Range;

use tokio::time::Instant;
use wa_proto::{Gap, GapCause, Line, PaneRef};

use crate::observer::budget::Budget;

/// Ranges remembered to know their revisions; lines that far above the screen are not rewritten any more.
const MAX_RANGES: usize = 32;

/// Rows left out, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Left {
    layout: u64,
    first: i64,
    rows: u64,
}

#[derive(Debug)]
pub(super) struct Shed {
    budget: Budget,
    layout: u64,
    /// One past the last row that is stored, left out or lost, in this layout.
    end: i64,
    ranges: Vec<Range<i64>>,
    /// Rows of a revision that was just left out: what it swallowed stays as it is.
    swallowing: Option<Range<i64>>,
    open: Option<Left>,
}

impl Shed {
    pub(super) fn new(budget: Budget) -> Self {
        Self { budget, layout: 0, end: i64::MIN, ranges: Vec::new(), swallowing: None, open: None }
    }

    /// Whether to store a line. `room`: there is room for it apart from the budget.
    pub(super) fn keeps(&mut self, layout: u64, line: &Line, room: bool, now: Instant) -> bool {
        if layout != self.layout {
            (self.layout, self.end) = (layout, i64::MIN);
            self.ranges.clear();
        }
        let rows = line.row..line.row.saturating_add(i64::from(line.rows));
        if line.rows == 0 {
            return self.swallowing.as_ref().is_none_or(|swallowing| !swallowing.contains(&line.row));
        }
        self.swallowing = None;
        if line.rev > 0 {
            let left_out = self.ranges.iter().any(|left| left.start < rows.end && rows.start < left.end);
            if left_out {
                self.leave_out(rows.start.max(self.end)..rows.end);
                self.swallowing = Some(rows);
                return false;
            }
            // Charged as far as there is something left.
            self.budget.take(line.text.len() + 1, now);
            self.end = self.end.max(rows.end);
            return true;
        }
        if room && self.budget.take(line.text.len() + 1, now) {
            self.end = self.end.max(rows.end);
            return true;
        }
        self.leave_out(rows);
        false
    }

    fn leave_out(&mut self, rows: Range<i64>) {
        if rows.start >= rows.end {
            return;
        }
        self.end = self.end.max(rows.end);
        let count = rows.end.abs_diff(rows.start);
        match &mut self.open {
            Some(open) if open.layout == self.layout => open.rows += count,
            _ => self.open = Some(Left { layout: self.layout, first: rows.start, rows: count }),
        }
        match self.ranges.last_mut() {
            Some(last) if last.end == rows.start => last.end = rows.end,
            _ => self.ranges.push(rows),
        }
        if self.ranges.len() > MAX_RANGES {
            self.ranges.remove(0);
        }
    }

    /// The gap of what was left out last, if it is not told yet.
    pub(super) fn close(&mut self, pane: &PaneRef) -> Option<Gap> {
        let Left { layout, first, rows } = self.open.take()?;
        Some(Gap {
            pane: pane.clone(),
            layout,
            first_row: Some(first),
            rows: Some(rows),
            cause: GapCause::Flood,
        })
    }

    /// Takes bytes of the budget for something else than lines.
    pub(super) fn take(&mut self, bytes: usize, now: Instant) -> bool {
        self.budget.take(bytes, now)
    }

    /// Rows are left out that no gap tells of yet.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    pub(super) fn is_dry(&self) -> bool {
        self.budget.is_dry()
    }

    /// True: lines are stored again.
    pub(super) fn recover(&mut self, now: Instant) -> bool {
        self.budget.recover(now)
    }

    pub(super) fn problem(&self) -> Option<String> {
        self.budget.problem()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use proptest::prelude::*;
    use wa_proto::{Generation, MuxName};

    use super::*;
    use crate::observer::budget::{HostBudget, Limits};

    fn pane() -> PaneRef {
        PaneRef { mux: MuxName::main(), generation: Generation::new("g-1-1").unwrap(), pane_id: 1 }
    }

    /// What a screen hands out: new lines, revisions of one of the last lines, also such that swallow those below.
    #[derive(Debug, Clone)]
    enum Step {
        New { rows: u32, bytes: usize },
        Rewrite { back: usize, joins: usize, bytes: usize },
        Close,
        Wait(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => (1_u32..4, 0_usize..400).prop_map(|(rows, bytes)| Step::New { rows, bytes }),
            2 => (0_usize..6, 0_usize..3, 0_usize..400)
                .prop_map(|(back, joins, bytes)| Step::Rewrite { back, joins, bytes }),
            1 => Just(Step::Close),
            1 => (0_u64..20_000).prop_map(Step::Wait),
        ];
        proptest::collection::vec(step, 1..300)
    }

    /// Lines as the screen knows them: by first row, rows and revision.
    #[derive(Default)]
    struct Screen {
        lines: BTreeMap<i64, (u32, u32)>,
        next: i64,
    }

    impl Screen {
        fn step(&mut self, step: &Step) -> Vec<Line> {
            let line =
                |row, rev, rows, bytes: usize| Line { row, rev, text: "x".repeat(bytes), rows, time: None };
            match *step {
                Step::New { rows, bytes } => {
                    let row = self.next;
                    self.lines.insert(row, (rows, 0));
                    self.next += i64::from(rows);
                    vec![line(row, 0, rows, bytes)]
                }
                Step::Rewrite { back, joins, bytes } => {
                    let live: Vec<i64> =
                        self.lines.iter().filter(|(_, (rows, _))| *rows > 0).map(|(row, _)| *row).collect();
                    if live.is_empty() {
                        return Vec::new();
                    }
                    let at = live.len() - 1 - back.min(live.len() - 1);
                    let swallowed: Vec<i64> = live[at + 1..].iter().take(joins).copied().collect();
                    let mut out = Vec::new();
                    let mut total = self.lines[&live[at]].0;
                    for row in &swallowed {
                        total += std::mem::take(&mut self.lines.get_mut(row).unwrap().0);
                    }
                    let (rows, rev) = self.lines.get_mut(&live[at]).unwrap();
                    (*rows, *rev) = (total, *rev + 1);
                    out.push(line(live[at], *rev, total, bytes));
                    for row in swallowed {
                        let (_, rev) = self.lines.get_mut(&row).unwrap();
                        *rev += 1;
                        out.push(line(row, *rev, 0, 0));
                    }
                    out
                }
                Step::Close | Step::Wait(_) => Vec::new(),
            }
        }
    }

    proptest! {
        /// Every row that was printed is in the highest revision of a stored line or in a gap, and in one of them only.
        #[test]
        fn stored_and_left_out_is_what_was_printed(steps in steps(), limit in 200_u64..3000) {
            let mut now = Instant::now();
            let host = HostBudget::new(Limits { pane: limit, host: limit * 4 }, now);
            let mut shed = Shed::new(host.join(now));
            let mut screen = Screen::default();
            let mut stored: BTreeMap<i64, (u32, u32)> = BTreeMap::new();
            let mut gaps: Vec<Gap> = Vec::new();
            for step in &steps {
                match step {
                    Step::Wait(ms) => now += Duration::from_millis(*ms),
                    Step::Close => gaps.extend(shed.close(&pane())),
                    Step::New { .. } | Step::Rewrite { .. } => {}
                }
                for line in screen.step(step) {
                    if shed.keeps(0, &line, true, now) {
                        gaps.extend(shed.close(&pane()));
                        stored.insert(line.row, (line.rows, line.rev));
                    }
                }
            }
            gaps.extend(shed.close(&pane()));
            let kept: u64 = stored.values().map(|(rows, _)| u64::from(*rows)).sum();
            let left: u64 = gaps.iter().map(|gap| gap.rows.unwrap()).sum();
            prop_assert_eq!(kept + left, u64::try_from(screen.next).unwrap(), "{:?} {:?}", stored, gaps);
        }
    }
}
