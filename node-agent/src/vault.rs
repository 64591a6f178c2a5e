//! Secrets that somebody needs for a moment: the code and the address of a sign-in.
//!
//! Constraints. They are never spooled, stored, traced or logged: an event carries a handle, the value stays in this memory
//! for [`LIFETIME`] and is wiped then, and goes out only in answer to one who may ask, on the live stream. A node that is
//! restarted has forgotten them.
//!
//! Operation. `keep` gives the handle that takes the value's place; `reveal` tells all of one pane, `newest` what its last
//! event held, and where that was seen.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use wa_proto::wire::v1;
use wa_proto::{EventId, PaneRef, Timestamp};
use zeroize::Zeroizing;

/// How long a value is kept: as long as such codes are good for.
pub const LIFETIME: Duration = Duration::from_secs(15 * 60);
/// Values kept at most; the oldest goes first.
const MAX: usize = 256;
/// A longer one is no code and no address. Bytes.
const MAX_BYTES: usize = 4096;

/// The secrets of all panes of this node.
#[derive(Default)]
pub struct Vault(Mutex<Vec<Kept>>);

struct Kept {
    pane: PaneRef,
    seen: Seen,
    handle: String,
    kind: String,
    value: Zeroizing<String>,
    until: Instant,
}

/// Where and when a value was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub event: EventId,
    pub layout: u64,
    /// Stable index of the row where the event's text begins; `None`: it has none.
    pub row: Option<i64>,
    pub at: Timestamp,
}

/// What one event held.
#[derive(Debug)]
pub struct OfEvent {
    pub seen: Seen,
    pub secrets: Vec<Revealed>,
}

/// One secret, on its way to whoever may see it.
pub struct Revealed {
    pub handle: String,
    /// `user_code` or `url`.
    pub kind: String,
    pub value: Zeroizing<String>,
    /// How much longer it is kept.
    pub left: Duration,
}

impl Kept {
    fn revealed(&self, now: Instant) -> Revealed {
        Revealed {
            handle: self.handle.clone(),
            kind: self.kind.clone(),
            value: self.value.clone(),
            left: self.until.saturating_duration_since(now),
        }
    }
}

impl From<Revealed> for v1::Secret {
    fn from(revealed: Revealed) -> Self {
        Self {
            handle: revealed.handle,
            kind: revealed.kind,
            value: revealed.value.to_string(),
            left_seconds: u32::try_from(revealed.left.as_secs()).unwrap_or(u32::MAX),
        }
    }
}

impl fmt::Debug for Revealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revealed")
            .field("handle", &self.handle)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault")
    }
}

impl Vault {
    /// Keeps a value and gives its handle, `secret:` and 16 hexadecimal digits.
    pub fn keep(&self, pane: &PaneRef, seen: &Seen, kind: &str, value: String) -> String {
        let handle = format!("secret:{:016x}", fastrand::u64(..));
        let mut value = Zeroizing::new(value);
        let end = value.floor_char_boundary(MAX_BYTES);
        value.truncate(end);
        let kept = Kept {
            pane: pane.clone(),
            seen: seen.clone(),
            handle: handle.clone(),
            kind: kind.to_owned(),
            value,
            until: wa_link::clock::monotonic() + LIFETIME,
        };
        let mut all = self.lock();
        if all.len() >= MAX {
            all.remove(0);
        }
        all.push(kept);
        handle
    }

    /// What is kept of a pane, the newest last.
    pub fn reveal(&self, pane: &PaneRef) -> Vec<Revealed> {
        let now = wa_link::clock::monotonic();
        let all = self.lock();
        all.iter().filter(|kept| kept.pane == *pane).map(|kept| kept.revealed(now)).collect()
    }

    /// What the last event of a pane held that is kept.
    pub fn newest(&self, pane: &PaneRef) -> Option<OfEvent> {
        let now = wa_link::clock::monotonic();
        let all = self.lock();
        let of_pane = || all.iter().filter(|kept| kept.pane == *pane);
        let last = of_pane().next_back()?;
        let secrets = of_pane().filter(|kept| kept.seen.event == last.seen.event);
        let secrets = secrets.map(|kept| kept.revealed(now)).collect();
        Some(OfEvent { seen: last.seen.clone(), secrets })
    }

    /// Wipes what is over. Every access does; the node calls it now and then, so that nothing outlives its time.
    pub fn sweep(&self) {
        drop(self.lock());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Kept>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = wa_link::clock::monotonic();
        all.retain(|kept| kept.until > now);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wa_proto::{Generation, MuxName};

    fn pane(pane_id: u64) -> PaneRef {
        PaneRef { mux: MuxName::main(), generation: Generation::new("g-1-1").unwrap(), pane_id }
    }

    fn seen(row: i64) -> Seen {
        Seen { event: EventId::generate(), layout: 0, row: Some(row), at: Timestamp::UNIX_EPOCH }
    }

    #[test]
    fn the_newest_is_what_one_event_held() {
        let vault = Vault::default();
        let (old, new) = (seen(3), seen(9));
        for (seen, kind, value) in
            [(&old, "url", "a"), (&old, "user_code", "b"), (&new, "url", "c"), (&new, "user_code", "d")]
        {
            vault.keep(&pane(1), seen, kind, value.to_owned());
        }
        vault.keep(&pane(2), &old, "url", "e".to_owned());
        let newest = vault.newest(&pane(1)).unwrap();
        let values: Vec<&str> = newest.secrets.iter().map(|secret| secret.value.as_str()).collect();
        assert_eq!((newest.seen, values), (new, vec!["c", "d"]));
        assert!(vault.newest(&pane(3)).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_secret_is_kept_for_its_pane_and_its_time() {
        let vault = Vault::default();
        let handle = vault.keep(&pane(1), &seen(5), "user_code", "AB12-CD34E".to_owned());
        assert!(!handle.contains("AB12"));
        assert!(vault.reveal(&pane(2)).is_empty());
        let seen = vault.reveal(&pane(1));
        assert_eq!((seen.len(), seen[0].value.as_str(), &seen[0].handle), (1, "AB12-CD34E", &handle));
        assert!(!format!("{seen:?} {vault:?}").contains("AB12"));
        tokio::time::advance(LIFETIME - Duration::from_secs(1)).await;
        assert_eq!(vault.reveal(&pane(1)).len(), 1);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(vault.reveal(&pane(1)).is_empty());
    }

    #[test]
    fn a_flood_of_secrets_takes_no_more_than_its_place() {
        let vault = Vault::default();
        for _ in 0..MAX * 2 {
            vault.keep(&pane(1), &seen(5), "url", "x".repeat(MAX_BYTES * 2));
        }
        let all = vault.reveal(&pane(1));
        assert_eq!(all.len(), MAX);
        assert!(all.iter().all(|kept| kept.value.len() == MAX_BYTES));
    }
}
