//! By what it is judged whether a line of the primary screen has settled: the moment, the live area, what is still awaited.

use crate::fetch::Fetcher;
use crate::live::Live;

/// At which moment lines are handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// The screen goes on.
    Now,
    /// What stands there goes with the next push.
    Leaving(Leaving),
    /// The pane is gone: nothing will change any more.
    Last,
}

impl When {
    /// Lines cannot wait for what comes next.
    pub(crate) fn is_final(self) -> bool {
        !matches!(self, Self::Now)
    }
}

/// What of a screen that goes was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leaving {
    /// How long a line above the cursor must have stood, in microseconds.
    pub(crate) above: u64,
    /// The same for the cursor's line.
    pub(crate) at_cursor: u64,
    /// From this row on nothing counts.
    pub(crate) end: i64,
    /// Lines that did not stand long enough will not come again: they hold back nothing.
    pub(crate) skip: bool,
}

/// By what settling is judged.
#[derive(Clone, Copy)]
pub(crate) struct Judge<'a> {
    pub(crate) now: u64,
    pub(crate) live: Live,
    /// By which power of two rows on the screen settle more slowly.
    pub(crate) patience: u32,
    pub(crate) when: When,
    /// Knows which rows an answer under way may still bring.
    pub(crate) fetcher: &'a Fetcher,
}

impl Judge<'_> {
    /// What is not settled will never be, and holds back nothing.
    pub(crate) fn skips(&self) -> bool {
        match self.when {
            When::Now => false,
            When::Leaving(leaving) => leaving.skip,
            When::Last => true,
        }
    }
}
