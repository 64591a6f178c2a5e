//! Which pane numbers of a server have been dealt with.
//!
//! Numbers only grow, but panes are not met in their order: the server's word of one may come after its word of the next.
//! A pane that ends before it was met is known by its number: above all that were met, or passed over so far. What is
//! older than the first pane that was met ended before this node looked.

use std::collections::BTreeSet;

/// Numbers that are remembered as passed over; the lowest are forgotten first.
const MAX_PASSED: usize = 1024;

/// Pane numbers of one generation.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// The highest that was met, or has ended unmet.
    highest: Option<u64>,
    /// Below it, and neither met nor ended.
    passed: BTreeSet<u64>,
}

impl Numbers {
    pub(super) fn meet(&mut self, id: u64) {
        self.reach(id);
        self.passed.remove(&id);
    }

    /// A pane that is not there has ended. True: it was never met, and this is the first word of its end.
    pub(super) fn end_unmet(&mut self, id: u64) -> bool {
        let above = self.highest.is_none_or(|highest| id > highest);
        self.reach(id);
        self.passed.remove(&id) || above
    }

    fn reach(&mut self, id: u64) {
        let Some(highest) = self.highest else {
            self.highest = Some(id);
            return;
        };
        let first = highest.saturating_add(1).max(id.saturating_sub(MAX_PASSED as u64));
        self.passed.extend(first..id);
        while self.passed.len() > MAX_PASSED {
            self.passed.pop_first();
        }
        self.highest = Some(highest.max(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_once_in_whatever_order_panes_are_met() {
        let mut numbers = Numbers::default();
        numbers.meet(3);
        numbers.meet(6);
        assert!(numbers.end_unmet(5), "passed over, and never met");
        assert!(!numbers.end_unmet(5), "once");
        assert!(!numbers.end_unmet(6) && !numbers.end_unmet(3), "these were met");
        assert!(!numbers.end_unmet(2), "older than the first look");
        numbers.meet(4);
        assert!(!numbers.end_unmet(4));
        assert!(numbers.end_unmet(9));
        assert!(numbers.end_unmet(7) && numbers.end_unmet(8));
    }

    #[test]
    fn a_wild_number_costs_little() {
        let mut numbers = Numbers::default();
        numbers.meet(0);
        numbers.meet(u64::MAX);
        assert!(numbers.passed.len() <= MAX_PASSED);
        assert!(numbers.end_unmet(u64::MAX - 1) && !numbers.end_unmet(1));
    }
}
