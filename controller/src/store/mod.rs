//! The store: the only way to the database.
//!
//! Constraints: what a verb here has answered is durable (SQLite, write-ahead log, `synchronous=FULL`); there is one
//! writer, and everything that belongs together is one commit; reading never waits for writing; every queue is bounded.
//! Callers see verbs and values, no SQL: another database can stand behind the same verbs.
//!
//! One file, `state.db`, holds everything: the log with its full-text index, events, and the state of nodes, runs,
//! actions and identities. Because it is one file, a block of records, its high-water mark and its inbox rows are one
//! transaction.
//!
//! ```text
//! verb ──► queue (two lanes) ──► writer thread: BEGIN · request · request · step(inbox) · COMMIT ──► answers
//! read ──► a pooled connection on a blocking thread
//! ```

mod accounts;
mod approvals;
mod aside;
#[cfg(test)]
mod aside_tests;
mod audit;
#[cfg(test)]
mod audit_tests;
mod connection;
#[cfg(test)]
mod damage_tests;
mod error;
mod events;
mod forget;
mod homes;
mod inbox;
mod ingest;
mod leases;
mod limits;
mod log;
mod messages;
mod nodes;
mod notices;
mod outbox;
mod people;
mod queue;
mod readable;
mod readers;
mod retention;
#[cfg(test)]
mod retention_tests;
mod revocations;
#[cfg(test)]
mod revocations_tests;
#[cfg(test)]
mod rotation_tests;
mod rules;
#[cfg(test)]
mod rules_tests;
mod runs;
mod runs_clock;
mod search;
mod slices;
#[cfg(test)]
mod slices_tests;
mod tx;
mod unknown;
mod words;
mod writer;

#[cfg(test)]
mod accounts_tests;
#[cfg(test)]
mod leases_tests;
#[cfg(test)]
mod messages_tests;
#[cfg(test)]
mod nodes_tests;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::Instant;
use wa_proto::{AccountAlias, Host, Pane, PaneAddress, RunId, Timestamp};
use wa_workflow::Run;

pub use accounts::{AccountChange, AccountRow, DEFAULT_POOL, PoolRow, Rotated, SealedField};
pub use approvals::{Approval, ApprovalRefusal, ApprovalState, NewAction, name as approval_name};
pub(crate) use audit::on_pane;
pub use audit::{AuditFilter, AuditRow, Chain, Entry, TrailEnd, TrailMark};
pub use error::StoreError;
pub use events::{EventRange, StoredEvent};
pub use forget::{Forgotten, forget_vault};
pub use homes::{HomeAnswer, HomeRow, MadeHome, SignInRefusal};
pub use inbox::{InboxItem, InboxRow};
pub use ingest::{Batch, Ingested, Mark};
pub use leases::{AccountState, LeaseAnswer, LeaseRequest, LeaseRow};
pub use log::{Cursor, LogEntry, LogItem, LogRange};
pub use messages::Said;
pub use nodes::{NodeChange, NodeRow};
pub use notices::{AnswerRefusal, Notice};
pub use outbox::{ActionRow, Earlier};
pub use people::{IssuedCertificate, NewToken, Pause, TokenRefusal};
pub use retention::Swept;
pub use revocations::{CertificateRow, RecoveryRefusal, Revocation, Revoked, RevokedHost};
pub use rules::{PushedPack, RuleChange, RuleSet};
pub use runs::{RecordedInput, RunSummary};
pub use search::{Hit, InvalidPattern, Pattern, Search};
pub use tx::{Committed, Queued, Tx};
pub use unknown::UnknownRecord;
pub use words::{InvalidQuery, Query};
pub(crate) use words::{squeeze, weight};
pub use writer::{Answer, Observer};

use crate::accounts::choice::{Choice, Wish};
use crate::accounts::keys::{self, KeyRow, Sources};
use crate::accounts::vault::{Vault, VaultError};
use crate::metrics::Metrics;
use queue::Place;
use readers::Readers;
use writer::Writer;

/// An unsigned number of ours as SQLite keeps it.
fn int(value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::invalid(format!("{value} is beyond all bounds")))
}

/// The database of one controller.
pub struct Store {
    writer: Writer,
    readers: Arc<Readers>,
    log_grew: watch::Sender<()>,
    events_grew: watch::Sender<()>,
    rules: watch::Sender<Arc<RuleSet>>,
    revoked: watch::Sender<Arc<Revoked>>,
    trouble: watch::Sender<Option<Failure>>,
    sources: Sources,
    vault: Arc<Vault>,
    /// What a rotation would put in force, where its owner gave another key. Held while one is under way.
    next_key: Arc<Mutex<Option<KeyRow>>>,
}

/// The last commit that failed.
#[derive(Debug, Clone)]
struct Failure {
    error: StoreError,
    at: Instant,
}

/// A disk that is all but full takes small commits and refuses large ones: it counts as well again when nothing has failed for
/// longer than any node waits before it tries again.
const STAYS: Duration = Duration::from_secs(35);

/// What a controller that starts finds.
#[derive(Debug)]
pub struct Kept {
    pub nodes: Vec<NodeRow>,
    pub actions: Vec<Queued>,
    pub runs: Vec<Run>,
    pub pauses: Vec<Pause>,
}

/// On a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, VaultError> + Send + 'static,
) -> Result<T, StoreError> {
    Ok(wa_link::worker::blocking(work).await.map_err(|_| StoreError::Closed)??)
}

/// Opens the vault, and names its key in the database where that names none yet.
fn open_vault(
    conn: &rusqlite::Connection,
    sources: &Sources,
    now: Timestamp,
) -> Result<(Arc<Vault>, Option<KeyRow>), StoreError> {
    let stored = accounts::key_row(conn)?;
    let opened = keys::open(sources, stored.as_ref())?;
    if stored.is_none() {
        let first = conn.unchecked_transaction()?;
        accounts::put_key_row(&first, &opened.in_force, now)?;
        outbox::seal_all(&first, &opened.vault, opened.in_force.id)?;
        first.commit()?;
    }
    Ok((Arc::new(opened.vault), opened.next))
}

/// Wakes followers, then tells the orchestrator.
struct Announce {
    observer: Arc<dyn Observer>,
    log_grew: watch::Sender<()>,
    events_grew: watch::Sender<()>,
    rules: watch::Sender<Arc<RuleSet>>,
    revoked: watch::Sender<Arc<Revoked>>,
    trouble: watch::Sender<Option<Failure>>,
}

impl Observer for Announce {
    fn begin(&self, tx: &Tx<'_>) -> Result<(), StoreError> {
        self.observer.begin(tx)
    }

    fn step(&self, tx: &Tx<'_>) -> Result<(), StoreError> {
        self.observer.step(tx)
    }

    fn failed(&self, error: &StoreError) {
        self.trouble.send_replace(Some(Failure { error: error.clone(), at: Instant::now() }));
        self.observer.failed(error);
    }

    fn committed(&self, what: Committed) {
        self.trouble.send_if_modified(|trouble| trouble.take_if(|last| last.at.elapsed() >= STAYS).is_some());
        if what.log {
            self.log_grew.send_replace(());
        }
        if what.events {
            self.events_grew.send_replace(());
        }
        if let Some(rules) = &what.rules {
            self.rules.send_replace(Arc::clone(rules));
        }
        if let Some(revoked) = &what.revoked {
            self.revoked.send_replace(Arc::clone(revoked));
        }
        self.observer.committed(what);
    }
}

impl Store {
    /// Opens the database at `path`, making it if it is missing, and starts the writer. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Open`] when the file cannot be used; it says why. [`StoreError::Vault`] when the vault's key is not
    /// there or is another: nothing has changed then.
    pub fn open(
        path: &Path,
        sources: Sources,
        observer: impl FnOnce(&Kept) -> Arc<dyn Observer>,
        metrics: Arc<Metrics>,
        now: Timestamp,
    ) -> Result<(Self, Kept), StoreError> {
        let conn = connection::create(path)?;
        let (vault, next_key) = open_vault(&conn, &sources, now)?;
        aside::set_aside(&conn, &vault, now)?;
        let kept = Kept {
            nodes: nodes::load(&conn)?,
            actions: outbox::open_actions(&conn, &vault)?,
            runs: runs::open_runs(&conn)?,
            pauses: people::pauses(&conn)?,
        };
        let (log_grew, events_grew) = (watch::Sender::new(()), watch::Sender::new(()));
        let rules = watch::Sender::new(Arc::new(rules::load(&conn)?));
        let revoked = watch::Sender::new(Arc::new(revocations::load(&conn, now)?));
        let trouble = watch::Sender::new(None);
        let announce = Announce {
            observer: observer(&kept),
            log_grew: log_grew.clone(),
            events_grew: events_grew.clone(),
            rules: rules.clone(),
            revoked: revoked.clone(),
            trouble: trouble.clone(),
        };
        let writer = Writer::start(path, conn, Arc::clone(&vault), Arc::new(announce), metrics)?;
        Ok((
            Self {
                writer,
                readers: Readers::new(path),
                log_grew,
                events_grew,
                rules,
                revoked,
                trouble,
                sources,
                vault,
                next_key: Arc::new(Mutex::new(next_key)),
            },
            kept,
        ))
    }

    /// Runs `work` in the next commit, apart from others in it, and answers once it is durable.
    ///
    /// # Errors
    /// What `work` returned, or why the commit failed: then nothing of it was kept.
    pub async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writer.submit(Place::urgent(None), work).await?.wait().await
    }

    /// As [`Self::write`], for a node: after what it sent before, and in its turn among other nodes.
    ///
    /// # Errors
    /// As there.
    pub async fn write_of<T: Send + 'static>(
        &self,
        host: Host,
        work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writer.submit(Place::urgent(Some(host)), work).await?.wait().await
    }

    /// Queues `work` for the next commit, which it does not wait for.
    ///
    /// # Errors
    /// When the store is closed: then the work is not done.
    pub async fn write_later(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        self.writer.submit(Place::urgent(None), work).await.map(drop)
    }

    /// Whether the writer still answers, and no commit has failed lately. Costs no fsync while all is well.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn check(&self) -> Result<(), StoreError> {
        let last = self.trouble.borrow().clone();
        match last {
            Some(last) if last.at.elapsed() < STAYS => Err(last.error),
            Some(_) => self.write(|tx| tx.probe()).await,
            None => self.write(|_| Ok(())).await,
        }
    }

    /// Why a commit failed lately; `None`: none has.
    pub fn trouble(&self) -> Option<StoreError> {
        self.trouble.borrow().as_ref().map(|last| last.error.clone())
    }

    /// Stores what nodes last said. It goes behind events, and what cannot be stored of one node hinders no other.
    ///
    /// # Errors
    /// The hosts whose change was not stored, and the first reason.
    pub async fn save_nodes(&self, nodes: Vec<NodeChange>) -> Result<(), (Vec<Host>, StoreError)> {
        /// About what a pane's report takes.
        const PANE: usize = 512;
        let mut answers = Vec::with_capacity(nodes.len());
        for node in nodes {
            let host = node.host.clone();
            let place = Place::bulk(Some(host.clone()), (node.panes.len() + 1) * PANE);
            answers.push((host, self.writer.submit(place, move |tx| tx.save_node(&node)).await));
        }
        let (mut missing, mut first) = (Vec::new(), None);
        for (host, answer) in answers {
            let stored = match answer {
                Ok(mut answer) => answer.wait().await,
                Err(error) => Err(error),
            };
            if let Err(error) = stored {
                missing.push(host);
                first.get_or_insert(error);
            }
        }
        first.map_or(Ok(()), |error| Err((missing, error)))
    }

    /// Puts a batch into the log; the answer comes when all of it is durable. Batches of one lane enter in the order of the
    /// calls, so several may be under way. A large one enters slice by slice, each with the mark at its last record.
    ///
    /// # Errors
    /// When a record holds more than any node puts into one, or the store is closed. The answer is [`StoreError::Missing`] when
    /// records before it are missing; then, and on any other error, nothing behind the mark was kept.
    pub async fn ingest(&self, batch: Batch) -> Result<Answer<Ingested>, StoreError> {
        self.writer.submit_block(batch).await
    }

    /// Changes whenever the log has new rows.
    pub fn log_grew(&self) -> watch::Receiver<()> {
        self.log_grew.subscribe()
    }

    /// Changes whenever there are new events.
    pub fn events_grew(&self) -> watch::Receiver<()> {
        self.events_grew.subscribe()
    }

    /// The pushed packs as they are wanted now, in the order of commits.
    pub fn rules(&self) -> watch::Receiver<Arc<RuleSet>> {
        self.rules.subscribe()
    }

    /// What opens nothing any more, in the order of commits: it has changed before a revocation is answered.
    pub fn revoked(&self) -> watch::Receiver<Arc<Revoked>> {
        self.revoked.subscribe()
    }

    /// People with a certificate, by name: the newest one of each name and role.
    pub async fn operators(&self) -> Result<Vec<CertificateRow>, StoreError> {
        self.readers.read(revocations::operators).await
    }

    /// Hosts that were revoked and have not joined again.
    pub async fn revoked_hosts(&self) -> Result<Vec<RevokedHost>, StoreError> {
        self.readers.read(revocations::revoked_hosts).await
    }

    pub async fn log_head(&self) -> Result<i64, StoreError> {
        self.readers.read(log::head).await
    }

    /// Whether anything of this pane was ever logged.
    pub async fn knows_pane(&self, pane: PaneAddress) -> Result<bool, StoreError> {
        self.readers.read(move |conn| log::knows(conn, &pane)).await
    }

    /// A page of a pane's log in the pane's order, after `after`.
    pub async fn log_page(
        &self,
        range: LogRange,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Vec<LogEntry>, StoreError> {
        self.readers.read(move |conn| log::page(conn, &range, after, limit)).await
    }

    /// The last `count` entries of a pane, in its order.
    pub async fn log_tail(&self, range: LogRange, count: usize) -> Result<Vec<LogEntry>, StoreError> {
        self.readers.read(move |conn| log::tail(conn, &range, count)).await
    }

    /// What arrived for a pane after `head`, in order of arrival.
    pub async fn log_arrivals(
        &self,
        pane: PaneAddress,
        head: i64,
        limit: usize,
    ) -> Result<Vec<LogEntry>, StoreError> {
        self.readers.read(move |conn| log::arrivals(conn, &pane, head, limit)).await
    }

    /// A page of what was said in a pane, by its agents' session files, in the order of time.
    pub async fn said_page(
        &self,
        range: LogRange,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Vec<LogEntry>, StoreError> {
        self.readers.read(move |conn| messages::page(conn, &range, after, limit)).await
    }

    /// The last `count` messages of a pane, in the order of time.
    pub async fn said_tail(&self, range: LogRange, count: usize) -> Result<Vec<LogEntry>, StoreError> {
        self.readers.read(move |conn| messages::tail(conn, &range, count)).await
    }

    /// Whether nothing was said in a pane before this message; with none, nothing at all.
    pub async fn nothing_said_before(
        &self,
        range: LogRange,
        first: Option<Cursor>,
    ) -> Result<bool, StoreError> {
        self.readers.read(move |conn| messages::nothing_before(conn, &range, first)).await
    }

    /// Lines, gaps and messages that arrived for a pane after `head`, in order of arrival.
    pub async fn arrivals_of_both(
        &self,
        pane: PaneAddress,
        head: i64,
        limit: usize,
    ) -> Result<Vec<LogEntry>, StoreError> {
        self.readers.read(move |conn| messages::arrivals_of_both(conn, &pane, head, limit)).await
    }

    /// Whether a session file ever said anything of this pane.
    pub async fn knows_conversation(&self, pane: PaneAddress) -> Result<bool, StoreError> {
        self.readers.read(move |conn| messages::knows(conn, &pane)).await
    }

    pub async fn search(&self, search: Search) -> Result<Vec<Hit>, StoreError> {
        self.readers.read_long(move |conn| search::search(conn, &search)).await
    }

    pub async fn events_head(&self) -> Result<i64, StoreError> {
        self.readers.read(events::head).await
    }

    /// The first `limit` events of the range, or the last if `newest`; always in order of arrival.
    pub async fn events(
        &self,
        range: EventRange,
        limit: usize,
        newest: bool,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        self.readers.read(move |conn| events::read(conn, &range, limit, newest)).await
    }

    /// The newest runs first; of one pane, of one host, or all.
    pub async fn runs(
        &self,
        pane: Option<PaneAddress>,
        host: Option<Host>,
        limit: usize,
    ) -> Result<Vec<RunSummary>, StoreError> {
        self.readers.read(move |conn| runs::list_runs(conn, pane.as_ref(), host.as_ref(), limit)).await
    }

    /// A run, with what it was stepped with.
    pub async fn run(&self, id: RunId) -> Result<Option<(RunSummary, Vec<RecordedInput>)>, StoreError> {
        self.readers.read(move |conn| runs::one(conn, id)).await
    }

    /// Notices, the newest first; `open`: only questions that wait for an answer.
    pub async fn notices(
        &self,
        open: bool,
        host: Option<Host>,
        limit: usize,
    ) -> Result<Vec<Notice>, StoreError> {
        self.readers.read(move |conn| notices::list(conn, open, host.as_ref(), limit)).await
    }

    /// The newest actions first.
    pub async fn actions(&self, limit: usize) -> Result<Vec<ActionRow>, StoreError> {
        self.readers.read(move |conn| outbox::list_actions(conn, limit)).await
    }

    /// What seals and opens.
    pub(crate) fn vault(&self) -> &Vault {
        &self.vault
    }

    fn vault_handle(&self) -> Arc<Vault> {
        Arc::clone(&self.vault)
    }

    /// Seals everything anew: with the key that the owner gave, where the one in force is the previous one now, else with
    /// a new one of the controller's own.
    ///
    /// # Errors
    /// When there is no other key, or something does not open: then nothing has changed.
    pub async fn rotate_vault(&self, who: String) -> Result<Rotated, StoreError> {
        let mut given = Arc::clone(&self.next_key).lock_owned().await;
        if let Some(next) = given.clone() {
            let rotated = self.write(move |tx| tx.rotate_vault(&next, &who)).await?;
            *given = None;
            return Ok(rotated);
        }
        let (sources, vault) = (self.sources.clone(), self.vault_handle());
        let next = blocking(move || sources.renew(&vault)).await?;
        let id = next.id;
        // Without an answer it may have come about all the same: then the next start finds the new key where it is.
        let rotated = self.write(move |tx| tx.rotate_vault(&next, &who)).await?;
        let sources = self.sources.clone();
        // It holds the lock, also when nobody waits any more: of two rotations the later one's key must have the name.
        let rename = move || {
            let renewed = sources.renewed(id);
            drop(given);
            renewed
        };
        blocking(rename).await?;
        Ok(rotated)
    }

    /// Accounts of a pool, or all, with all that is known of them.
    pub async fn accounts(&self, pool: Option<String>) -> Result<Vec<AccountState>, StoreError> {
        self.readers.read(move |conn| leases::states(conn, pool.as_deref())).await
    }

    /// All pools, or the one of this name.
    pub async fn pools(&self, name: Option<String>) -> Result<Vec<PoolRow>, StoreError> {
        self.readers.read(move |conn| accounts::pools(conn, name.as_deref())).await
    }

    /// Whose the account's homes must be; `None`: there is no such account.
    pub async fn account_owner(&self, alias: AccountAlias) -> Result<Option<Vec<u8>>, StoreError> {
        self.readers.read(move |conn| homes::owner(conn, &alias)).await
    }

    /// The open run that signs the account in on this host.
    pub async fn signing_in(&self, alias: AccountAlias, host: Host) -> Result<Option<RunId>, StoreError> {
        self.readers.read(move |conn| homes::signing_in(conn, &alias, &host)).await
    }

    /// Fields of an account, still sealed; `None`: there is no such account.
    pub async fn sealed_credentials(
        &self,
        alias: AccountAlias,
    ) -> Result<Option<Vec<SealedField>>, StoreError> {
        self.readers.read(move |conn| accounts::sealed(conn, &alias)).await
    }

    /// The account that a pane is on, and what would be chosen for it, from which pool. `None`: no known agent runs there.
    pub async fn account_choice(
        &self,
        host: Host,
        pane: Pane,
        wanted: Option<AccountAlias>,
        now: Timestamp,
    ) -> Result<Option<(PoolRow, Choice)>, StoreError> {
        let choice = move |conn: &rusqlite::Connection| {
            let Some(agent) = &pane.agent else { return Ok(None) };
            let from = leases::account_of(conn, &host, &pane)?.map(|account| account.alias);
            let model = pane.session.as_ref().map_or("", |session| session.model.as_str());
            let wish = Wish { agent, from: from.as_ref(), wanted: wanted.as_ref(), model };
            let wanted = leases::Wanted { host: &host, pane: Some(&pane.pane), run: None, wish };
            leases::choice(conn, &wanted, now).map(Some)
        };
        self.readers.read(choice).await
    }

    /// When the next run wants to be woken.
    pub async fn next_wake(&self) -> Result<Option<Timestamp>, StoreError> {
        self.readers.read(|conn| runs::next_wake(conn, wa_link::clock::now())).await
    }
}
