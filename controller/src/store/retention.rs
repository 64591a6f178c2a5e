//! What is over is kept for a time, then removed.
//!
//! Constraints: what is not over stays, however old it is: an open run with its inputs, a question that waits, an action without
//! an outcome, an approval that nobody has answered, and a run that a lease still names, for its end says whether the pane is on
//! that account. The audit trail stays, for its rows prove each other; it tells of all that is removed here, in words. One
//! commit removes few rows ([`AT_ONCE`]) and goes in the bulk lane, so that events wait for no more than they do for a
//! block of lines.
//!
//! What an old row protects from, and why it may go:
//! - *a settled action, an answered approval*. A node tells an outcome once (L2: its record enters once, with no time window); one
//!   that is told again, of another spool, finds no open row whether or not the settled one is there, and is audited as
//!   ignored. The id is never used again: a person's action has a new one, and the n-th action of a run follows from the
//!   run's id, which is new with each run. Fences do not go back, for SQLite never gives a number out twice here
//!   (AUTOINCREMENT). What does end is a caller's idempotency key: the same key begins a new action once the row is gone. So
//!   the time is counted in days, and callers repeat a request within minutes.
//! - *a run*. An event begins its runs once because its id is in `events`, not because of the run. How many runs began on a
//!   pane is asked for `max_runs`: the configuration refuses a time that is shorter. An input for a run that is gone, such
//!   as a late outcome, is worked off without effect.
//! - *a notice*. It is answered once, by its number, which is never given out again.
//!
//! Freed pages are used again; the file does not shrink.

use rusqlite::params;
use wa_proto::Timestamp;
use wa_proto::wire::to_us;

use super::queue::{BULK_BUDGET, Place};
use super::{Store, StoreError, Tx, int};

/// Rows that one commit removes.
const AT_ONCE: usize = 500;

/// How many rows were removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    pub runs: usize,
    pub run_inputs: usize,
    pub notices: usize,
    pub approvals: usize,
    pub actions: usize,
    /// Rows of the inbox that could not be worked off.
    pub inbox: usize,
}

impl Swept {
    pub fn total(&self) -> usize {
        self.runs + self.run_inputs + self.notices + self.approvals + self.actions + self.inbox
    }

    /// Nothing more was found than fits into one commit.
    pub fn is_last(&self) -> bool {
        self.total() < AT_ONCE
    }

    pub fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.run_inputs += other.run_inputs;
        self.notices += other.notices;
        self.approvals += other.approvals;
        self.actions += other.actions;
        self.inbox += other.inbox;
    }
}

impl Store {
    /// Removes, in one commit, some of what was over before `cut`; [`Swept::is_last`] says whether there is more.
    ///
    /// # Errors
    /// When the commit fails: then nothing was removed.
    pub async fn sweep(&self, cut: Timestamp) -> Result<Swept, StoreError> {
        let place = Place::bulk(None, BULK_BUDGET);
        self.writer.submit(place, move |tx| tx.sweep(cut, AT_ONCE)).await?.wait().await
    }
}

/// An answered approval whose action, if it was allowed, has ended.
const APPROVALS: &str = "DELETE FROM approvals WHERE n IN (
    SELECT n FROM approvals a WHERE answered_us < ?1 AND state <> 'open' AND NOT EXISTS (
        SELECT 1 FROM outbox o WHERE o.action_id = a.action_id AND (o.settled_us IS NULL OR o.settled_us >= ?1))
    ORDER BY answered_us LIMIT ?2)";
/// The approval of an action says by it how it ended.
const ACTIONS: &str = "DELETE FROM outbox WHERE n IN (
    SELECT n FROM outbox o WHERE settled_us < ?1 AND NOT EXISTS (
        SELECT 1 FROM approvals a WHERE a.action_id = o.action_id)
    ORDER BY settled_us LIMIT ?2)";
const NOTICES: &str = "DELETE FROM notices WHERE n IN (
    SELECT n FROM notices WHERE time_us < ?1 AND (choices = '' OR closed_us < ?1) ORDER BY time_us LIMIT ?2)";
const INBOX: &str = "DELETE FROM inbox WHERE n IN (
    SELECT n FROM inbox WHERE queued = 2 AND aside_us < ?1 ORDER BY aside_us LIMIT ?2)";
const RUNS: &str = "SELECT run_id FROM runs r WHERE ended_us < ?1 AND NOT EXISTS (
        SELECT 1 FROM account_leases l WHERE l.run_id = r.run_id)
    ORDER BY ended_us LIMIT ?2";
/// From the end: what is left of a run meanwhile is how it began.
const RUN_INPUTS: &str = "DELETE FROM run_inputs WHERE run_id = ?1 AND n IN (
    SELECT n FROM run_inputs WHERE run_id = ?1 ORDER BY n DESC LIMIT ?2)";

/// For a test that looks at their plans.
#[cfg(test)]
pub(super) const STATEMENTS: [&str; 6] = [APPROVALS, ACTIONS, NOTICES, INBOX, RUNS, RUN_INPUTS];

impl Tx<'_> {
    /// Removes at most `most` rows of what was over before `cut`.
    pub fn sweep(&self, cut: Timestamp, most: usize) -> Result<Swept, StoreError> {
        let mut swept = Swept::default();
        let left = |swept: &Swept| int(most.saturating_sub(swept.total()) as u64);
        let remove = |sql: &str, left: i64| -> Result<usize, StoreError> {
            Ok(self.conn.prepare_cached(sql)?.execute(params![to_us(cut), left])?)
        };
        swept.approvals = remove(APPROVALS, left(&swept)?)?;
        swept.actions = remove(ACTIONS, left(&swept)?)?;
        swept.notices = remove(NOTICES, left(&swept)?)?;
        swept.inbox = remove(INBOX, left(&swept)?)?;
        let over = self
            .conn
            .prepare_cached(RUNS)?
            .query_map(params![to_us(cut), left(&swept)?], |row| row.get(0))?
            .collect::<Result<Vec<Vec<u8>>, _>>()?;
        for run in over {
            let left = left(&swept)?;
            let inputs = self.conn.prepare_cached(RUN_INPUTS)?.execute(params![run, left])?;
            swept.run_inputs += inputs;
            if int(inputs as u64)? >= left {
                break;
            }
            swept.runs += self.conn.prepare_cached("DELETE FROM runs WHERE run_id = ?1")?.execute([run])?;
        }
        Ok(swept)
    }
}
