//! Wakes runs when their time has come.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use wa_link::clock;
use wa_link::shutdown::Shutdown;
use wa_proto::Timestamp;

use super::clock::Moment;
use crate::store::{Store, StoreError};

/// The wall clock may jump, so no sleep is longer.
const LONGEST: Duration = Duration::from_secs(30);
/// Between attempts while the store fails.
const RETRY: Duration = Duration::from_secs(2);

/// The earliest wake-up time that was set since somebody looked.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    at: Mutex<Option<Timestamp>>,
    set: Notify,
}

impl Alarm {
    pub(crate) fn set(&self, at: Timestamp) {
        let mut earliest = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        *earliest = Some(earliest.map_or(at, |earliest| earliest.min(at)));
        drop(earliest);
        self.set.notify_one();
    }

    fn take(&self) -> Option<Timestamp> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Runs until the shutdown. Begins with what came due, or was left in the inbox, before the start.
pub(crate) async fn run_timers(store: &Store, alarm: &Alarm, shutdown: &Shutdown) {
    let mut next = Some(clock::now());
    let mut since = Moment::at(clock::now());
    loop {
        let now = clock::now();
        let present = Moment::at(now);
        if since.set_by(&present).is_some() {
            // What it sleeps for is a time of the old clock; the commit that asks anew sees to the others.
            (since, next) = (present, Some(now));
        }
        if next.is_some_and(|next| next <= now) {
            next = match store.write(|tx| tx.wake_runs()).await {
                Ok(next) => next,
                Err(StoreError::Closed) => return,
                Err(error) => {
                    tracing::warn!(%error, "runs could not be woken; trying again");
                    now.checked_add(RETRY).ok()
                }
            };
        }
        let pause = next.map_or(LONGEST, |next| until(next, clock::now()).min(LONGEST));
        tokio::select! {
            biased;
            () = shutdown.triggered() => return,
            () = tokio::time::sleep(pause) => {}
            () = alarm.set.notified() => {
                next = match (next, alarm.take()) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
            }
        }
    }
}

fn until(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO)
}
