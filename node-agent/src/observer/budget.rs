//! How much text panes may store: a flood must not fill disks, nor take the place of what others print.
//!
//! Constraints: a pane has a budget, and the host has one for all its panes. Half of the host's budget is shared out evenly,
//! so that every pane always has some of it, however much others print; the other half goes to who comes first. Together
//! they never give more than the host's budget. Everything is counted in bytes of text, exactly: what is gained is never
//! rounded up.
//! Operation: token buckets that hold what one minute gives. A pane that has run dry stays dry until a good piece has
//! gathered again, so that a flood is stored in pieces and not in crumbs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

/// Bytes a minute that one pane may store when nothing else is said: a mebibyte a second, and a little.
pub(super) const PANE_BYTES: u64 = 64 << 20;
/// … and all panes of a host.
pub(super) const HOST_BYTES: u64 = 256 << 20;
/// Less than this would not hold the longest line.
pub(super) const MIN_BYTES: u64 = 1 << 20;
const MINUTE: u128 = 60_000_000_000;
/// A dry bucket gives again when this part of it has filled.
const PIECE: u64 = 16;

/// Bytes a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub pane: u64,
    pub host: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { pane: PANE_BYTES, host: HOST_BYTES }
    }
}

/// Fills evenly, up to what a minute gives.
#[derive(Debug)]
struct Bucket {
    level: u64,
    /// Up to when it has been filled.
    at: Instant,
}

impl Bucket {
    fn refill(&mut self, rate: u64, now: Instant) {
        let elapsed = now.saturating_duration_since(self.at).as_nanos();
        let gained = elapsed.saturating_mul(u128::from(rate)) / MINUTE;
        let level = u128::from(self.level) + gained;
        if rate == 0 || level >= u128::from(rate) {
            (self.level, self.at) = (rate, self.at.max(now));
        } else if gained > 0 {
            self.level = u64::try_from(level).unwrap_or(rate);
            let taken = (gained * MINUTE).div_ceil(u128::from(rate));
            self.at += std::time::Duration::from_nanos(u64::try_from(taken).unwrap_or(u64::MAX));
        }
    }
}

/// The host's budget. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct HostBudget(Arc<Host>);

#[derive(Debug)]
struct Host {
    limits: Limits,
    /// Panes that have a share.
    panes: AtomicU64,
    /// For who comes first; fills with half of the host's budget.
    common: Mutex<Bucket>,
}

impl HostBudget {
    /// Full.
    pub(super) fn new(limits: Limits, now: Instant) -> Self {
        let common = Mutex::new(Bucket { level: limits.host / 2, at: now });
        Self(Arc::new(Host { limits, panes: AtomicU64::new(0), common }))
    }

    /// A pane's part in it, full; given back when it is dropped.
    pub(super) fn join(&self, now: Instant) -> Budget {
        self.0.panes.fetch_add(1, Ordering::Relaxed);
        let host = Arc::clone(&self.0);
        let (pane, share) = (host.limits.pane, host.share());
        Budget {
            host,
            pane: Bucket { level: pane, at: now },
            share: Bucket { level: share, at: now },
            dry: None,
        }
    }
}

impl Host {
    fn share(&self) -> u64 {
        self.limits.host / 2 / self.panes.load(Ordering::Relaxed).max(1)
    }
}

/// Which budget has run dry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dry {
    Pane,
    Host,
}

/// What one pane may store.
#[derive(Debug)]
pub(super) struct Budget {
    host: Arc<Host>,
    pane: Bucket,
    share: Bucket,
    dry: Option<Dry>,
}

impl Budget {
    /// Takes so many bytes, or none.
    pub(super) fn take(&mut self, bytes: usize, now: Instant) -> bool {
        let bytes = bytes as u64;
        let host = Arc::clone(&self.host);
        let share = host.share();
        let mut common = host.common.lock().unwrap_or_else(PoisonError::into_inner);
        self.pane.refill(host.limits.pane, now);
        self.share.refill(share, now);
        common.refill(host.limits.host / 2, now);
        let of_host = self.share.level.saturating_add(common.level);
        let (pane_piece, host_piece) = match self.dry {
            Some(_) => (host.limits.pane / PIECE, (share / 2).min(host.limits.host / 2 / PIECE)),
            None => (0, 0),
        };
        self.dry = if self.pane.level < bytes.max(pane_piece) {
            Some(Dry::Pane)
        } else if of_host < bytes.max(host_piece) {
            Some(Dry::Host)
        } else {
            None
        };
        if self.dry.is_some() {
            return false;
        }
        self.pane.level -= bytes;
        let own = self.share.level.min(bytes);
        self.share.level -= own;
        common.level -= bytes - own;
        true
    }

    /// What has run dry, in words; `None` while there is something left.
    pub(super) fn problem(&self) -> Option<String> {
        let limits = self.host.limits;
        Some(match self.dry? {
            Dry::Pane => {
                format!("over its budget of {} a minute: lines are left out", mebibytes(limits.pane))
            }
            Dry::Host => format!(
                "over its share of the host's budget of {} a minute: lines are left out",
                mebibytes(limits.host)
            ),
        })
    }

    pub(super) fn is_dry(&self) -> bool {
        self.dry.is_some()
    }

    /// Whether it would give again by now; asked when nothing is printed any more.
    pub(super) fn recover(&mut self, now: Instant) -> bool {
        self.is_dry() && self.take(0, now)
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        self.host.panes.fetch_sub(1, Ordering::Relaxed);
    }
}

fn mebibytes(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) >> 20;
    match tenths % 10 {
        0 => format!("{} MiB", tenths / 10),
        rest => format!("{}.{rest} MiB", tenths / 10),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_flooding_pane_leaves_the_others_their_share() {
        let now = Instant::now();
        let host = HostBudget::new(Limits { pane: 100 << 20, host: 8 << 20 }, now);
        let mut flood = host.join(now);
        let mut quiet: Vec<Budget> = (0..3).map(|_| host.join(now)).collect();
        let taken = (0..1000).filter(|_| flood.take(64 << 10, now)).count() * (64 << 10);
        // Its share was a half of the host's when it came, alone; then the common half.
        assert!(taken <= 8 << 20, "{taken}");
        assert_eq!(
            flood.problem().as_deref(),
            Some("over its share of the host's budget of 8 MiB a minute: lines are left out")
        );
        for pane in &mut quiet {
            let taken = (0..2000).filter(|_| pane.take(1 << 10, now)).count();
            assert!(taken >= 1 << 10, "{taken} KiB of a share of at least 1 MiB");
        }
    }

    #[test]
    fn a_dry_pane_waits_for_a_good_piece() {
        let mut now = Instant::now();
        let host = HostBudget::new(Limits { pane: 6 << 20, host: 600 << 20 }, now);
        let mut pane = host.join(now);
        while pane.take(1000, now) {}
        assert_eq!(pane.problem().as_deref(), Some("over its budget of 6 MiB a minute: lines are left out"));
        now += Duration::from_secs(2);
        assert!(!pane.take(1, now) && !pane.recover(now));
        now += Duration::from_secs(2);
        assert!(pane.recover(now) && pane.problem().is_none());
        assert!(pane.take(300_000, now));
    }

    proptest! {
        /// In no span of time is more given than the buckets held at its beginning and gained in it; for each pane and for
        /// the host.
        #[test]
        fn never_more_than_the_budget(
            pane_limit in 1_u64..5000,
            host_limit in 2_u64..9000,
            panes in 1_usize..5,
            asks in proptest::collection::vec((0_usize..5, 0_usize..3000, 0_u64..20_000), 1..200),
        ) {
            let start = Instant::now();
            let mut now = start;
            let host = HostBudget::new(Limits { pane: pane_limit, host: host_limit }, now);
            let mut budgets: Vec<Budget> = (0..panes).map(|_| host.join(now)).collect();
            // Shares that were handed out while fewer panes were there.
            let first_shares: u64 = (1..=panes as u64).map(|there| host_limit / 2 / there).sum();
            let mut given = vec![0_u64; panes];
            for (who, bytes, wait) in asks {
                now += Duration::from_millis(wait);
                let who = who % panes;
                if budgets[who].take(bytes, now) {
                    given[who] += bytes as u64;
                }
                let minutes = now.duration_since(start).as_nanos();
                let may = |rate: u64| u64::try_from(u128::from(rate) * minutes / MINUTE).unwrap();
                prop_assert!(given.iter().all(|given| *given <= pane_limit + may(pane_limit)));
                let all: u64 = given.iter().sum();
                prop_assert!(all <= host_limit / 2 + first_shares + may(host_limit), "{all}");
            }
        }
    }
}
