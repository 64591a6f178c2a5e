//! The wall clock was set: what was reckoned from it goes with it.
//!
//! Constraints: what is stored are times of the wall clock, which people, a provider and a restart understand. A correction of
//! that clock must neither stretch a wait nor end one. So every commit begins with a look at the clock that only goes
//! forward: where the two have come apart, the clock was set, and before anything else is written every open run takes
//! [`Input::ClockSet`]. It is recorded like every input, so the fold stays exact (promise W1). Whether a commit came about
//! decides what the next one compares with.
//!
//! A clock that is set while no controller runs leaves nothing to compare with. What shows is a run that was stepped later
//! than now: then the time since is taken as none, so that it waits no longer than it was to wait then. That a clock was set
//! forward meanwhile cannot be told from time that has passed, and counts as that. A machine that sleeps is not such a case:
//! its clock comes apart from the other one, and what its runs have left is left when it wakes up.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::SignedDuration;
use tokio::time::Instant;
use wa_link::clock;
use wa_proto::Timestamp;
use wa_workflow::{Input, Run};

use super::Orchestrator;
use crate::store::{StoreError, Tx};

/// What clocks come apart by without having been set: two looks are not one.
const SET: SignedDuration = SignedDuration::from_secs(5);

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    wall: Timestamp,
    at: Instant,
}

impl Moment {
    pub(super) fn at(wall: Timestamp) -> Self {
        Self { wall, at: clock::monotonic() }
    }

    /// By how much the wall clock was set between this moment and a later one, if it was.
    pub(super) fn set_by(&self, later: &Self) -> Option<SignedDuration> {
        let passed = later.at.saturating_duration_since(self.at);
        let passed = SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX);
        let by = later.wall.duration_since(self.wall).saturating_sub(passed);
        (by.abs() >= SET).then_some(by)
    }
}

/// Since when the wall clock was not set.
#[derive(Debug, Default)]
pub(super) struct Reckoning(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// `None`: there was no commit yet.
    since: Option<Moment>,
    /// From then on, if the commit comes about.
    next: Option<Moment>,
}

/// What a commit finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    Set(SignedDuration),
    /// It is the first of this controller.
    First,
}

impl Reckoning {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self, now: Moment) -> Found {
        let mut kept = self.lock();
        let found = match &kept.since {
            None => Found::First,
            Some(since) => since.set_by(&now).map_or(Found::Nothing, Found::Set),
        };
        kept.next = (found != Found::Nothing).then_some(now);
        found
    }

    pub(super) fn committed(&self) {
        let mut kept = self.lock();
        if let Some(next) = kept.next.take() {
            kept.since = Some(next);
        }
    }
}

impl Orchestrator {
    /// At the beginning of a commit.
    pub(super) fn look_at_the_clock(&self, tx: &Tx<'_>) -> Result<(), StoreError> {
        let found = self.reckoning.look(Moment::at(tx.now));
        if found == Found::Nothing {
            return Ok(());
        }
        match tx.apart(|tx| self.follow_the_clock(tx, found)) {
            Err(error) if !error.is_passing() => {
                // It must not keep everything else from being written.
                tracing::error!(%error, "what waits for a time was not reckoned anew");
                Ok(())
            }
            done => done,
        }
    }

    fn follow_the_clock(&self, tx: &Tx<'_>, found: Found) -> Result<(), StoreError> {
        match found {
            Found::Nothing => {}
            Found::First => {
                tx.shorten_other_waits()?;
                for (run, reckoned) in tx.open_runs_reckoned()? {
                    let by = tx.now.duration_since(reckoned);
                    if by <= -SET {
                        self.reckon_anew(tx, run, by)?;
                    }
                }
            }
            Found::Set(by) => {
                tracing::warn!(%by, "the clock was set: what waits for a time is reckoned anew");
                tx.shift_other_waits(in_us(by))?;
                for (run, _) in tx.open_runs_reckoned()? {
                    self.reckon_anew(tx, run, by)?;
                }
            }
        }
        // Whoever sleeps until the next time sleeps by the old clock.
        tx.wake_at(tx.now);
        Ok(())
    }

    fn reckon_anew(&self, tx: &Tx<'_>, run: Run, by: SignedDuration) -> Result<(), StoreError> {
        let id = run.id;
        let done = tx.apart(|tx| {
            tx.shift_waits_of(id, in_us(by))?;
            self.drive(tx, run, Input::ClockSet { by })
        });
        match done {
            Err(error) if !error.is_passing() => {
                // One run that cannot be stepped must not hold up the others.
                tracing::error!(%error, run = %id, "a run was not told that the clock was set");
                Ok(())
            }
            done => done,
        }
    }
}

fn in_us(by: SignedDuration) -> i64 {
    i64::try_from(by.as_micros()).unwrap_or(0)
}
