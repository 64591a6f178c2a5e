//! Secrets that somebody needs for a moment: the code and the address of a sign-in.
//!
//! Constraints. They are never spooled, stored, traced or logged: an event carries a handle, the value stays in this memory
//! for [`LIFETIME`] and is wiped then, and goes out only in answer to one who may ask, on the live stream. A node that is
//! restarted has forgotten them.
//!
//! Operation. `keep` gives the handle that takes the value's place; `reveal` tells all of one pane.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use wa_proto::PaneRef;
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
    handle: String,
    kind: String,
    value: Zeroizing<String>,
    until: Instant,
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
    pub fn keep(&self, pane: &PaneRef, kind: &str, value: String) -> String {
        let handle = format!("secret:{:016x}", fastrand::u64(..));
        let mut value = Zeroizing::new(value);
        let end = value.floor_char_boundary(MAX_BYTES);
        value.truncate(end);
        let kept = Kept {
            pane: pane.clone(),
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
        let of_pane = all.iter().filter(|kept| kept.pane == *pane);
        of_pane
            .map(|kept| Revealed {
                handle: kept.handle.clone(),
                kind: kept.kind.clone(),
                value: kept.value.clone(),
                left: kept.until.saturating_duration_since(now),
            })
            .collect()
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

    #[tokio::test(start_paused = true)]
    async fn a_secret_is_kept_for_its_pane_and_its_time() {
        let vault = Vault::default();
        let handle = vault.keep(&pane(1), "user_code", "AB12-CD34E".to_owned());
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
            vault.keep(&pane(1), "url", "x".repeat(MAX_BYTES * 2));
        }
        let all = vault.reveal(&pane(1));
        assert_eq!(all.len(), MAX);
        assert!(all.iter().all(|kept| kept.value.len() == MAX_BYTES));
    }
}
