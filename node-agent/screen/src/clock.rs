//! Time inside a pane: microseconds that have passed, never fewer than before.
//!
//! Callers hand in wall-clock time, which may be set back. Rows remember when they changed by this clock instead, so that
//! a step back only pauses what waits and a step forward only hurries it.

use wa_proto::Timestamp;

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Clock {
    passed: u64,
    last: Option<Timestamp>,
}

impl Clock {
    pub(crate) fn advance(&mut self, now: Timestamp) {
        if let Some(last) = self.last {
            let step = now.as_microsecond().saturating_sub(last.as_microsecond());
            self.passed = self.passed.saturating_add(u64::try_from(step).unwrap_or(0));
        }
        self.last = Some(now);
    }

    /// Microseconds since the first call.
    pub(crate) fn now(&self) -> u64 {
        self.passed
    }

    /// The wall-clock time of a moment of this clock, as far as the last call tells.
    pub(crate) fn wall(&self, moment: u64) -> Option<Timestamp> {
        let ahead = i64::try_from(moment.saturating_sub(self.passed)).ok()?;
        Timestamp::from_microsecond(self.last?.as_microsecond().checked_add(ahead)?).ok()
    }
}
