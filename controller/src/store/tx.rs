//! Inside one commit: what a request or a step may do, and what is told to others once it is durable.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use tokio::time::Instant;
use wa_proto::wire::{from_us, to_us};
use wa_proto::{Action, ActionId, Host, Outcome, PaneRef, RunId, Timestamp};

use super::{Revoked, RuleSet, StoreError};
use crate::accounts::vault::Vault;
use crate::gate::Scope;
use crate::orchestrator::Errand;

/// One transaction on the writer's connection. The verbs on it are spread over the files of this module, by subject.
pub struct Tx<'c> {
    pub(super) conn: &'c Connection,
    /// When this commit began.
    pub now: Timestamp,
    began: Instant,
    pub(super) next_log_id: &'c Cell<i64>,
    /// What seals.
    pub(super) vault: &'c Vault,
    told: RefCell<Committed>,
    inbox: Cell<bool>,
    /// Why the whole transaction is lost: SQLite takes it back by itself when the disk is full, or a part of it could
    /// not be told from the rest any longer.
    broken: RefCell<Option<StoreError>>,
}

/// What one commit changed, for those who react to it. Nothing in here is a promise before the commit has returned.
#[derive(Debug, Default)]
pub struct Committed {
    /// The log has new rows.
    pub log: bool,
    /// There are new events.
    pub events: bool,
    /// Actions that entered the outbox.
    pub actions: Vec<Queued>,
    /// Actions that must not begin any more, and why.
    pub withdrawn: Vec<(ActionId, String)>,
    /// Actions whose outcome became known.
    pub settled: Vec<(Host, Outcome)>,
    /// Runs began, changed or ended, in this order: their panes, and whether a run is open there.
    pub runs: Vec<(Host, PaneRef, bool)>,
    /// The earliest wake-up time that was set.
    pub wake: Option<Timestamp>,
    /// Pauses that the controller made by itself: scope, who, reason.
    pub held: Vec<(Scope, String, String)>,
    /// What runs want done outside of commits, in this order; `None`: the run wants it no longer.
    pub(crate) errands: Vec<(RunId, Option<Errand>)>,
    /// There are new notices, or questions were closed.
    pub notices: bool,
    /// Actions are held whose panes nobody has looked at.
    pub approvals: bool,
    /// The pushed packs, if they are others now.
    pub rules: Option<Arc<RuleSet>>,
    /// All that is revoked, if it is more now.
    pub revoked: Option<Arc<Revoked>>,
}

/// An action in the outbox.
#[derive(Debug, Clone, PartialEq)]
pub struct Queued {
    pub host: Host,
    pub action: Action,
    /// `None`: a person's or an agent's own.
    pub run: Option<RunId>,
    /// Already offered to the node in an earlier life of this controller, which may have permitted it.
    pub inherited: bool,
    /// A person has allowed it, where the policy asks for that.
    pub approved: bool,
}

impl<'c> Tx<'c> {
    pub(super) fn new(
        conn: &'c Connection,
        now: Timestamp,
        next_log_id: &'c Cell<i64>,
        vault: &'c Vault,
    ) -> Self {
        Self {
            conn,
            // As it is stored: what is stepped again with stored times goes as it went.
            now: from_us("now", to_us(now)).unwrap_or(now),
            began: Instant::now(),
            next_log_id,
            vault,
            told: RefCell::default(),
            inbox: Cell::new(false),
            broken: RefCell::default(),
        }
    }

    /// Runs `work` so that its failure, or its panic, undoes only its own changes, not those of others in the same commit.
    pub(crate) fn apart<T>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if let Some(error) = &*self.broken.borrow() {
            return Err(error.clone());
        }
        self.conn.execute_batch("SAVEPOINT apart")?;
        let mut inner = Tx::new(self.conn, self.now, self.next_log_id, self.vault);
        inner.began = self.began;
        let result = catch_unwind(AssertUnwindSafe(|| work(&inner)))
            .unwrap_or_else(|_| Err(StoreError::Failed("a request panicked; the log says where".into())))
            .and_then(|value| inner.intact().map(|()| value));
        match result {
            Ok(value) => {
                self.all_or_nothing("RELEASE apart")?;
                self.told.borrow_mut().add(inner.told.into_inner());
                self.inbox.set(self.inbox.get() || inner.inbox.get());
                Ok(value)
            }
            Err(error) => {
                if self.conn.is_autocommit() || inner.intact().is_err() {
                    // Without a transaction around it, the next savepoint would commit by itself.
                    self.broken.replace(Some(error.clone()));
                } else {
                    self.all_or_nothing("ROLLBACK TO apart; RELEASE apart")?;
                }
                Err(error)
            }
        }
    }

    /// Ends a savepoint. If that fails, what belongs to whom is unknown, and nothing may be committed.
    fn all_or_nothing(&self, sql: &str) -> Result<(), StoreError> {
        self.conn.execute_batch(sql).map_err(|error| {
            let error = StoreError::from(error);
            self.broken.replace(Some(error.clone()));
            error
        })
    }

    /// Writes something that changes nothing, to see whether the disk takes it.
    pub(super) fn probe(&self) -> Result<(), StoreError> {
        let version: i64 = self.conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
        Ok(self.conn.pragma_update(None, "user_version", version)?)
    }

    /// Whether others have waited long enough for this commit: what can be left for the next one is.
    pub(crate) fn is_late(&self) -> bool {
        const LATE: Duration = Duration::from_millis(50);
        self.began.elapsed() >= LATE
    }

    /// Whether there is still a transaction to commit.
    pub(super) fn intact(&self) -> Result<(), StoreError> {
        self.broken.borrow().clone().map_or(Ok(()), Err)
    }

    /// Something entered the inbox: it is worked off before this commit ends.
    pub(super) fn mark_inbox(&self) {
        self.inbox.set(true);
    }

    pub(super) fn has_inbox(&self) -> bool {
        self.inbox.get()
    }

    /// Wants [`Self::wake_runs`] to be called by then.
    pub(crate) fn wake_at(&self, at: Timestamp) {
        self.tell(|told| told.wake = Some(told.wake.map_or(at, |wake| wake.min(at))));
    }

    /// The gate is to hold from this commit on.
    pub(crate) fn tell_held(&self, scope: Scope, who: &str, reason: &str) {
        self.tell(|told| told.held.push((scope, who.to_owned(), reason.to_owned())));
    }

    /// Once this is durable, the errand is run; with `None` the run's present one is stopped.
    pub(crate) fn send(&self, run: RunId, errand: Option<Errand>) {
        self.tell(|told| told.errands.push((run, errand)));
    }

    pub(super) fn tell(&self, change: impl FnOnce(&mut Committed)) {
        change(&mut self.told.borrow_mut());
    }

    pub(super) fn into_committed(self) -> Committed {
        self.told.into_inner()
    }
}

impl Committed {
    fn add(&mut self, other: Self) {
        self.log |= other.log;
        self.events |= other.events;
        self.notices |= other.notices;
        self.approvals |= other.approvals;
        self.held.extend(other.held);
        self.errands.extend(other.errands);
        self.actions.extend(other.actions);
        self.withdrawn.extend(other.withdrawn);
        self.settled.extend(other.settled);
        self.runs.extend(other.runs);
        self.rules = other.rules.or(self.rules.take());
        self.revoked = other.revoked.or(self.revoked.take());
        self.wake = match (self.wake, other.wake) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
}
