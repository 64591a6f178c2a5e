//! What has waited too long for the controller goes, by whole files of bulk.
//!
//! Constraints: only bulk goes by age, and what goes is named with that as its cause; events and outcomes are few, and
//! go last: when the bytes are used up and no bulk is left. Nothing goes at first sight: what is found too old is let go
//! by the next pass, if it still waits. So a laptop that slept over a long weekend has the time between two passes to
//! deliver, and a clock that was wrong for a moment costs nothing. A file that is still written to is closed when an
//! eighth of the bound has gone by, so that new lines do not keep old ones.

use std::io;

use jiff::SignedDuration;
use wa_proto::{GapCause, Lane, Timestamp};

use super::index::{Segment, lane_at};
use super::store::{Store, lock};

/// Waiting bulk when nothing else is said.
pub(super) const DEFAULT_AGE: SignedDuration = SignedDuration::from_hours(72);
/// Shorter bounds are taken as this one: there has to be time to deliver.
pub(super) const LEAST_AGE: SignedDuration = SignedDuration::from_hours(1);
/// A file is written to for this part of the bound.
const PARTS: i32 = 8;

/// Microseconds of the oldest and of the newest record of the bulk lane in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    oldest: i64,
    newest: i64,
}

impl Times {
    pub(super) fn add(times: &mut Option<Self>, time_us: i64) {
        let Self { oldest, newest } = times.unwrap_or(Self { oldest: time_us, newest: time_us });
        *times = Some(Self { oldest: oldest.min(time_us), newest: newest.max(time_us) });
    }
}

impl Store {
    /// One pass: lets go what the pass before found too old, and finds what is.
    pub(super) fn expire(&mut self, now: Timestamp) -> io::Result<()> {
        let bound = self.options.max_age;
        self.close_old(earlier(now, bound / PARTS))?;
        let old = self.old(earlier(now, bound));
        let again: Vec<u64> = old.iter().copied().filter(|number| self.doomed.contains(number)).collect();
        self.doomed = old;
        for number in again {
            let records = self.thin(number, Lane::Bulk, GapCause::TooOld)?;
            self.let_go.aged = self.let_go.aged.saturating_add(records);
        }
        Ok(())
    }

    /// The newest file is closed when bulk waits in it that is older than `before`.
    fn close_old(&mut self, before: i64) -> io::Result<()> {
        let is_old = {
            let index = lock(&self.index);
            let acked = index.lanes[lane_at(Lane::Bulk)].acked;
            index.segments.back().and_then(|active| waiting(active, acked)).is_some_and(|t| t.oldest < before)
        };
        if is_old { self.rotate(&[]) } else { Ok(()) }
    }

    /// Closed files of which all bulk is older than `before`, and waits.
    fn old(&self, before: i64) -> Vec<u64> {
        let index = lock(&self.index);
        let acked = index.lanes[lane_at(Lane::Bulk)].acked;
        let closed = index.segments.len().saturating_sub(1);
        let files = index.segments.iter().take(closed);
        files
            .filter(|file| waiting(file, acked).is_some_and(|times| times.newest < before))
            .map(|file| file.number)
            .collect()
    }
}

/// The times of a file that holds bulk which waits.
fn waiting(file: &Segment, acked: u64) -> Option<Times> {
    let last = file.slots[lane_at(Lane::Bulk)].last()?;
    file.bulk_times.filter(|_| last.seq > acked)
}

fn earlier(now: Timestamp, by: SignedDuration) -> i64 {
    now.checked_sub(by).map_or(i64::MIN, Timestamp::as_microsecond)
}
