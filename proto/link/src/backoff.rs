//! How long to wait before the next attempt.
//!
//! Constraints: a fleet that lost its controller must not come back in step, and a node tries at most once a second.
//! So each wait is drawn evenly between the shortest and a ceiling that doubles with every failure ("full jitter" above a
//! floor). The random numbers come from the caller: a simulation replays them.

use std::time::Duration;

/// The shortest wait: at most one attempt a second.
pub const SHORTEST: Duration = Duration::from_secs(1);
/// The ceiling stops doubling here: within so long after the end of an outage, however long it was, everybody has tried.
pub const LONGEST: Duration = Duration::from_secs(15);

/// Waits between attempts at one thing.
#[derive(Debug, Clone)]
pub struct Backoff {
    rng: fastrand::Rng,
    failures: u32,
}

impl Backoff {
    pub fn new(rng: fastrand::Rng) -> Self {
        Self { rng, failures: 0 }
    }

    /// Another attempt has failed: how long to wait before the next, [`SHORTEST`] to [`LONGEST`].
    pub fn failed(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let doubled = 2_u64.saturating_pow(self.failures).saturating_mul(millis(SHORTEST));
        Duration::from_millis(self.rng.u64(millis(SHORTEST)..=doubled.min(millis(LONGEST))))
    }

    /// An attempt went well: the next failure begins again with a short wait.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Attempts that have failed since the last [`Self::reset`].
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn waits_stay_within_their_bounds(seed: u64, failures in 1_u32..200) {
            let mut backoff = Backoff::new(fastrand::Rng::with_seed(seed));
            for n in 1..=failures {
                let wait = backoff.failed();
                prop_assert!(wait >= SHORTEST && wait <= LONGEST, "{wait:?} after {n} failures");
                if n <= 3 {
                    prop_assert!(wait <= SHORTEST * 2_u32.pow(n), "{wait:?} after {n} failures");
                }
            }
            backoff.reset();
            prop_assert!(backoff.failed() <= SHORTEST * 2);
        }

        #[test]
        fn the_same_seed_waits_the_same(seed: u64) {
            let draw = || {
                let mut backoff = Backoff::new(fastrand::Rng::with_seed(seed));
                (0..20).map(|_| backoff.failed()).collect::<Vec<_>>()
            };
            prop_assert_eq!(draw(), draw());
        }
    }

    #[test]
    fn a_thousand_nodes_do_not_come_back_in_step() {
        let mut seconds = [0_usize; 16];
        for seed in 0..1000 {
            let mut backoff = Backoff::new(fastrand::Rng::with_seed(seed));
            let mut wait = Duration::ZERO;
            for _ in 0..6 {
                wait = backoff.failed();
            }
            seconds[usize::try_from(wait.as_secs()).unwrap()] += 1;
        }
        assert!(*seconds.iter().max().unwrap() < 100, "{seconds:?}");
    }
}
