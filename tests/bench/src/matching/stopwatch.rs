//! Time of the processor that this thread takes: what else runs on the machine does not count, though it slows.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

pub(crate) struct Stopwatch(Duration);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        now().saturating_sub(self.0)
    }
}

fn now() -> Duration {
    // It counts from the thread's beginning, so it is not negative.
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}
