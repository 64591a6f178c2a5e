//! The slow barrier: a rare look at a pane that proves that no push of it was missed.
//!
//! Constraints: it costs next to nothing, so panes take turns and each has its own once in five minutes ([`super::VERIFY_EVERY`]); whatever a
//! push says meanwhile is newer and wins. Operation: size, cursor and visible rows are asked for; if the pane has not
//! changed by the next barrier, they are shown to the screen as if they had been pushed. What differs becomes lines, or a
//! gap, by the rules for pushes.

use std::time::Duration;

use tokio::time::Instant;
use wa_mux::Client;
use wa_mux::client::{PaneDimensions, RequestError};
use wa_mux::codec::Row;

/// Between two looks of one server, at least.
const APART: Duration = Duration::from_secs(1);
/// Rows of a screen that are looked at.
const MAX_ROWS: u64 = 500;

/// Whose turn it is.
#[derive(Debug)]
pub(super) struct Turns {
    every: Duration,
    last: Option<u64>,
    at: Instant,
}

/// What a server holds of a pane.
pub(super) struct Held {
    pub(super) pane_id: u64,
    /// Pushes of the pane before it was asked for.
    pub(super) pushes: u64,
    pub(super) at: PaneDimensions,
    pub(super) rows: Vec<Row>,
}

impl Turns {
    pub(super) fn new(every: Duration) -> Self {
        Self { every, last: None, at: Instant::now() + every }
    }

    /// When the next look is due.
    pub(super) fn due(&self) -> Instant {
        self.at
    }

    /// The pane whose turn it is, if it is time; `panes` in order.
    pub(super) fn next(&mut self, now: Instant, panes: impl Iterator<Item = u64> + Clone) -> Option<u64> {
        if self.at > now {
            return None;
        }
        let count = u32::try_from(panes.clone().count()).unwrap_or(u32::MAX).max(1);
        self.at = now + (self.every / count).max(APART.min(self.every));
        let after = self.last.and_then(|last| panes.clone().find(|id| *id > last));
        self.last = after.or_else(|| panes.clone().next());
        self.last
    }
}

/// Asks for what a server holds of a pane; `None`: it cannot say.
pub(super) async fn ask(client: Client, pane_id: u64, pushes: u64) -> Result<Option<Held>, RequestError> {
    let look = async {
        let at = client.dimensions(pane_id).await?;
        let rows = i64::try_from(at.dims.viewport_rows.min(MAX_ROWS)).unwrap_or(0);
        let top = at.dims.physical_top;
        let viewport = top..top.saturating_add(rows);
        let rows =
            if viewport.is_empty() { Vec::new() } else { client.get_lines(pane_id, &[viewport]).await? };
        Ok(Held { pane_id, pushes, at, rows })
    };
    match look.await {
        Ok(held) => Ok(Some(held)),
        // The pane has gone, which will be told.
        Err(RequestError::Refused { .. } | RequestError::InvalidRange(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panes_take_turns() {
        let mut turns = Turns::new(Duration::from_secs(300));
        let mut now = Instant::now();
        assert_eq!(turns.next(now, [1, 4, 9].into_iter()), None);
        let mut seen = Vec::new();
        for _ in 0..5 {
            now = turns.due();
            seen.push(turns.next(now, [1, 4, 9].into_iter()).unwrap());
            assert_eq!(turns.due() - now, Duration::from_secs(100));
        }
        assert_eq!(seen, [1, 4, 9, 1, 4]);
        // Panes come and go, and many of them are not hurried through.
        now = turns.due();
        assert_eq!(turns.next(now, (5..5000).collect::<Vec<_>>().into_iter()), Some(5));
        assert_eq!(turns.due() - now, APART);
        now = turns.due();
        assert_eq!(turns.next(now, std::iter::empty::<u64>()), None);
    }
}
