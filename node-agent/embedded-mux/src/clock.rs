//! The one place where this crate reads the wall clock.

use jiff::Timestamp;

#[expect(
    clippy::disallowed_methods,
    reason = "programs that stand by themselves, below the crate that owns the clock"
)]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// Unix seconds: the client list shows whole ones.
pub(crate) fn unix_seconds() -> i64 {
    now().as_second()
}
