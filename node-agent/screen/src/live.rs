//! The agent's live area, and what is left of it when it has gone.
//!
//! When an agent dies nothing tells its composer and footer from text any more, though they still stand there. So what was
//! seen as part of the live area and has not changed since (*remains*) does not become text as long as the screen stands
//! as the agent left it, nor if the pane ends so. Once something else is printed, remains become text after [`FAREWELL`]:
//! they stand above it then. What came with the push after which the live area was gone is text: an end screen.

/// For how long the place of a live area that has gone is remembered when other text is printed, in microseconds.
pub(crate) const FAREWELL: u64 = 2_000_000;

/// A live area that has gone.
#[derive(Debug, Clone, Copy)]
struct Gone {
    top: i64,
    /// When it was last seen.
    seen: u64,
    at: u64,
}

/// Rows are stable ones, moments those of the pane's clock.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Live {
    /// Its first row, if there is one.
    pub(crate) top: Option<i64>,
    /// When somebody last looked and saw it.
    seen: u64,
    gone: Option<Gone>,
}

impl Live {
    /// Somebody has looked.
    pub(crate) fn set(&mut self, top: Option<i64>, now: u64) {
        match (self.top, top) {
            (Some(top), None) => self.gone = Some(Gone { top, seen: self.seen, at: now }),
            (_, Some(_)) => (self.gone, self.seen) = (None, now),
            (None, None) => {}
        }
        self.top = top;
    }

    /// Rows mean something else now.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// When rows up to `end` become text, of which none changed after `changed`, if they are remains; `u64::MAX`: not as
    /// long as nothing happens. `latest`: when anything on the screen last changed.
    pub(crate) fn remains_until(&self, end: i64, changed: u64, latest: impl FnOnce() -> u64) -> Option<u64> {
        let gone = self.gone.filter(|gone| end > gone.top && changed <= gone.seen)?;
        Some(if latest() <= gone.seen { u64::MAX } else { gone.at.saturating_add(FAREWELL) })
    }
}
