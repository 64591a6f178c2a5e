//! The one place where this crate reads the wall clock: the client list shows whole seconds.

use std::time::{SystemTime, UNIX_EPOCH};

/// Unix seconds.
#[expect(
    clippy::disallowed_methods,
    reason = "a server that stands by itself, below the crate that owns the clock"
)]
pub(crate) fn unix_seconds() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|d| i64::try_from(d.as_secs()).ok())
        .unwrap_or(0)
}
