//! How long what is over is kept, and the task that removes it after that (`store/retention.rs` says what and why).
//!
//! A clock may be wrong just after a machine was started, and far ahead of it everything looks old: nothing is removed in the
//! first minutes.

use std::time::Duration;

use jiff::SignedDuration;
use serde::Deserialize;
use tokio::time::{Instant, timeout};
use wa_link::clock;
use wa_link::shutdown::Shutdown;
use wa_workflow::Definition;

use crate::store::{Store, StoreError, Swept};

/// Before the first look.
const FIRST: Duration = Duration::from_mins(10);
/// Between looks.
const EVERY: Duration = Duration::from_hours(1);
/// The writer is left alone for so many times as long as a commit of this took.
const SHARE: u32 = 4;
/// And at least so long.
const REST: Duration = Duration::from_millis(20);

/// The table `[retention]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Runs that ended, with their inputs, settled actions, answered approvals and what people were told are kept for so many
    /// days.
    pub finished_days: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self { finished_days: 90 }
    }
}

/// Why a time of retention cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRetention {
    #[error("retention.finished_days: {0} days; give 1 to {MOST}")]
    Days(u32),
    #[error(
        "retention.finished_days: runs are forgotten after {days} days, and max_runs of the workflow {workflow} counts those \
         of {per:#}: keep them longer"
    )]
    TooShort { days: u32, workflow: String, per: SignedDuration },
}

const MOST: u32 = 36_500;

impl Retention {
    /// Of what ended.
    fn finished(&self) -> SignedDuration {
        SignedDuration::from_hours(24 * i64::from(self.finished_days))
    }

    /// # Errors
    /// [`InvalidRetention`], with these workflows.
    pub fn check(&self, workflows: &[Definition]) -> Result<(), InvalidRetention> {
        let days = self.finished_days;
        if !(1..=MOST).contains(&days) {
            return Err(InvalidRetention::Days(days));
        }
        for definition in workflows {
            if let Some(rate) = definition.max_runs.filter(|rate| rate.per > self.finished()) {
                let workflow = definition.name.clone();
                return Err(InvalidRetention::TooShort { days, workflow, per: rate.per });
            }
        }
        Ok(())
    }
}

/// Removes what is old enough, until the shutdown.
pub(crate) async fn run(store: &Store, retention: &Retention, shutdown: &Shutdown) {
    let mut pause = FIRST;
    while timeout(pause, shutdown.triggered()).await.is_err() {
        pause = EVERY;
        match sweep(store, retention, shutdown).await {
            Ok(swept) if swept.total() > 0 => {
                tracing::info!(?swept, days = retention.finished_days, "what was over long ago was removed");
            }
            Ok(_) => {}
            Err(StoreError::Closed) => return,
            Err(error) => tracing::warn!(%error, "what is over was not removed; trying again in an hour"),
        }
    }
}

/// One commit after the other, with rests, until nothing old is left.
async fn sweep(store: &Store, retention: &Retention, shutdown: &Shutdown) -> Result<Swept, StoreError> {
    let mut swept = Swept::default();
    let Ok(cut) = clock::now().checked_sub(retention.finished()) else { return Ok(swept) };
    loop {
        let began = Instant::now();
        let some = store.sweep(cut).await?;
        swept.add(some);
        let rest = (began.elapsed() * SHARE).max(REST);
        if some.is_last() || timeout(rest, shutdown.triggered()).await.is_ok() {
            return Ok(swept);
        }
    }
}
