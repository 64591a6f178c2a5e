//! The one place that asks what time it is. Everything else gets the time as an argument.

use wa_proto::Timestamp;

use crate::world;

/// The wall clock.
#[expect(clippy::disallowed_methods, reason = "this is the edge at which time enters")]
pub fn now() -> Timestamp {
    world::current().map_or_else(Timestamp::now, |world| world.now())
}

/// The zone in which programs of this host print times.
pub fn zone() -> jiff::tz::TimeZone {
    jiff::tz::TimeZone::system()
}

/// A clock that only goes forward. It follows tokio's clock, so a test that pauses time pauses this too.
pub fn monotonic() -> tokio::time::Instant {
    tokio::time::Instant::now()
}
