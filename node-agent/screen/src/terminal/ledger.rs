//! Which batch last changed which row.
//!
//! The grid keeps no such numbers, so after each batch the rows that could have changed are
//! compared with what they were: a fingerprint per row of the viewport. A row that scrolled out of
//! the viewport within the batch is compared where it now lies; rows above it cannot change.
//!
//! Switching between the screens marks more rows than changed, as the real server does: all of the
//! screen that appears, and on the way back the first rows of the history as well.

use std::collections::VecDeque;
use std::ops::Range;

/// Of a row's text, style and wrap.
pub(super) type Fingerprint = u64;

#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Stable index of the first retained row of the primary screen.
    first: i64,
    /// One number for each retained row.
    numbers: VecDeque<u64>,
    viewport: Viewport,
    alternate: Option<Alternate>,
}

#[derive(Debug, Default)]
pub(super) struct Viewport {
    /// Stable index of its first row.
    pub(super) top: i64,
    pub(super) prints: Vec<Fingerprint>,
}

impl Viewport {
    fn end(&self) -> i64 {
        self.top + len(self.prints.len())
    }
}

#[derive(Debug)]
struct Alternate {
    viewport: Viewport,
    numbers: Vec<u64>,
}

fn len(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Ledger {
    /// All rows are new: after a start, a change of size or a reset.
    pub(super) fn restart(&mut self, first: i64, viewport: Viewport, number: u64) {
        let count = usize::try_from(viewport.end() - first).unwrap_or(0);
        self.first = first;
        self.numbers = std::iter::repeat_n(number, count).collect();
        self.viewport = viewport;
        self.alternate = None;
    }

    /// Where the viewport of the primary screen began at the last call.
    pub(super) fn primary_top(&self) -> i64 {
        self.viewport.top
    }

    /// Rows of the last viewport that now lie above a viewport at `top`; `first` is retained.
    pub(super) fn scrolled_off(&self, first: i64, top: i64) -> Range<i64> {
        let start = self.viewport.top.max(first);
        start..self.viewport.end().min(top).max(start)
    }

    /// A batch on the primary screen. `above`: the fingerprints of [`Self::scrolled_off`].
    pub(super) fn primary(&mut self, first: i64, viewport: Viewport, above: &[Fingerprint], number: u64) {
        let old = std::mem::replace(&mut self.viewport, viewport);
        let keep = self.range(first, number);
        let came_back = self.alternate.take().is_some();
        let start = old.top.max(first);
        for (at, print) in (start..).zip(above) {
            self.compare(&old, at, *print, number);
        }
        let prints = std::mem::take(&mut self.viewport.prints);
        for (at, print) in (self.viewport.top..).zip(&prints) {
            if came_back {
                self.set(at, number);
            } else if keep.contains(&at) {
                self.compare(&old, at, *print, number);
            }
        }
        if came_back {
            for at in (first..).take(prints.len()) {
                self.set(at, number);
            }
        }
        self.viewport.prints = prints;
    }

    /// Makes room for exactly the retained rows; gives those that were there before.
    fn range(&mut self, first: i64, number: u64) -> Range<i64> {
        let old_end = self.first + len(self.numbers.len());
        let end = self.viewport.end();
        if first >= old_end || first < self.first {
            self.numbers.clear();
        } else {
            let gone = usize::try_from(first - self.first).unwrap_or(usize::MAX);
            self.numbers.drain(..gone.min(self.numbers.len()));
        }
        self.first = first;
        let count = usize::try_from(end - first).unwrap_or(0);
        self.numbers.resize(count, number);
        first..old_end.min(end)
    }

    fn compare(&mut self, old: &Viewport, at: i64, print: Fingerprint, number: u64) {
        let before = usize::try_from(at - old.top).ok().and_then(|n| old.prints.get(n));
        if before != Some(&print) {
            self.set(at, number);
        }
    }

    fn set(&mut self, at: i64, number: u64) {
        let slot = usize::try_from(at - self.first).ok().and_then(|n| self.numbers.get_mut(n));
        if let Some(slot) = slot {
            *slot = number;
        }
    }

    /// A batch on the alternate screen.
    pub(super) fn alternate(&mut self, viewport: Viewport, number: u64) {
        let numbers = match self.alternate.take() {
            Some(old) if old.viewport.prints.len() == viewport.prints.len() => {
                let moved = old.viewport.top != viewport.top;
                let same = |at: usize| old.viewport.prints[at] == viewport.prints[at];
                (0..viewport.prints.len())
                    .map(|at| if !moved && same(at) { old.numbers[at] } else { number })
                    .collect()
            }
            _ => vec![number; viewport.prints.len()],
        };
        self.alternate = Some(Alternate { viewport, numbers });
    }

    /// The number of a row of the screen that is shown.
    pub(super) fn number(&self, at: i64) -> u64 {
        let find = |first: i64| usize::try_from(at - first).ok();
        let number = match &self.alternate {
            Some(alternate) => find(alternate.viewport.top).and_then(|n| alternate.numbers.get(n)),
            None => find(self.first).and_then(|n| self.numbers.get(n)),
        };
        number.copied().unwrap_or(0)
    }

    /// Rows of the screen that is shown whose number is above `number`.
    pub(super) fn above(&self, number: u64) -> Vec<Range<i64>> {
        match &self.alternate {
            Some(alternate) => runs(alternate.viewport.top, alternate.numbers.iter(), number),
            None => runs(self.first, self.numbers.iter(), number),
        }
    }
}

fn runs<'a>(first: i64, numbers: impl Iterator<Item = &'a u64>, above: u64) -> Vec<Range<i64>> {
    let mut out: Vec<Range<i64>> = Vec::new();
    for (at, _) in (first..).zip(numbers).filter(|(_, n)| **n > above) {
        match out.last_mut() {
            Some(run) if run.end == at => run.end += 1,
            _ => out.push(at..at + 1),
        }
    }
    out
}
