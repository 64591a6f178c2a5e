//! Approvals: actions that the policy holds until a person has looked.
//!
//! Constraints: an approval is for one action, once, for a time; whatever becomes of it (allowed, denied, lapsed, void) is
//! decided in one commit, together with the outbox row or the run's input that follows, and is written down. What it is
//! bound to, the text, the pane's generation and what the pane showed, is fixed when it is asked for.
//!
//! `open` ─► `allowed` (in the outbox; *used* once its outcome is here), `denied`, or `expired`: too late, or void.

use jiff::SignedDuration;
use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, params};
use wa_proto::wire::{from_us, to_us};
use wa_proto::{
    Action, ActionId, Generation, Host, MuxName, Outcome, OutcomeKind, PaneRef, RunId, Timestamp, Verb,
};
use wa_workflow::{Input, Level, Run};

use super::aside::{Unreadable, of_row};
use super::audit::{Entry, on_pane};
use super::notices::NewNotice;
use super::outbox::open_action;
use super::readable::readable;
use super::{Queued, Store, StoreError, Tx, int};
use crate::accounts::vault::Vault;

/// An action that somebody wants to be done.
#[derive(Debug, Clone)]
pub struct NewAction {
    pub host: Host,
    pub action: Action,
    /// `None`: a person's or an agent's own.
    pub run: Option<RunId>,
    pub idempotency_key: Option<String>,
    /// What audit and lists show of it: redacted.
    pub summary: String,
}

/// How an approval stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApprovalState {
    Open,
    /// Its action is in the outbox.
    Allowed,
    Denied,
    /// Too late, or no longer what was asked for.
    Expired,
    /// Its action has ended.
    Used,
}

impl ApprovalState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Used => "used",
        }
    }
}

/// One approval.
#[derive(Debug, Clone, PartialEq)]
pub struct Approval {
    pub n: u64,
    pub time: Timestamp,
    pub host: Host,
    pub pane: PaneRef,
    /// Whose action it is.
    pub who: String,
    pub run: Option<RunId>,
    pub verb: String,
    pub summary: String,
    /// Of the policy, which holds it.
    pub rule: String,
    pub until: Timestamp,
    pub state: ApprovalState,
    pub answered_by: String,
    /// Of its action, once it is known.
    pub outcome: String,
    pub reason: String,
    pub action_id: ActionId,
    /// As long as it is open.
    pub action: Option<Action>,
    pub shown: Option<Vec<u8>>,
}

/// Why an answer does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalRefusal {
    #[error("there is no {}; `wa approval list` has those that wait", name(*.0))]
    Unknown(u64),
    #[error("{} is {state} already{by}", name(*.n))]
    Closed { n: u64, state: &'static str, by: String },
    #[error("{}: {reason}; it is void, and its action does not happen", name(*.n))]
    Void { n: u64, reason: String },
    #[error("{} cannot be allowed yet: what its pane shows is being looked at; try again in a moment", name(*.0))]
    NotSeen(u64),
}

/// What people type.
pub fn name(n: u64) -> String {
    format!("approval-{n}")
}

const COLUMNS: &str = "a.n, a.created_us, a.host, a.mux, a.pane_id, a.generation, a.who, a.run_id, a.verb, a.summary, \
                       a.rule, a.until_us, a.state, a.answered_by, a.reason, a.action_id, a.body, a.shown, \
                       o.settled_us, o.outcome, o.reason";
const FROM: &str = "approvals a LEFT JOIN outbox o ON o.action_id = a.action_id";

fn damaged(problem: impl std::fmt::Display) -> StoreError {
    StoreError::Damaged(format!("approvals: {problem}").into())
}

fn read(row: &Row<'_>, vault: &Vault) -> Result<Approval, StoreError> {
    let time = |us: i64| from_us("approvals", us).map_err(damaged);
    let run: Option<Vec<u8>> = row.get(7)?;
    let run = run.map(|run| RunId::from_slice(&run).ok_or_else(|| damaged("run_id"))).transpose()?;
    let settled: Option<i64> = row.get(18)?;
    let state = match (row.get::<_, String>(12)?.as_str(), settled) {
        ("open", _) => ApprovalState::Open,
        ("allowed", None) => ApprovalState::Allowed,
        ("allowed", Some(_)) => ApprovalState::Used,
        ("denied", _) => ApprovalState::Denied,
        ("expired", _) => ApprovalState::Expired,
        (other, _) => return Err(damaged(format!("state {other:?}"))),
    };
    let (id, body): ([u8; 16], Vec<u8>) = (row.get(15)?, row.get(16)?);
    let own: String = row.get(14)?;
    Ok(Approval {
        n: row.get::<_, i64>(0)?.cast_unsigned(),
        time: time(row.get(1)?)?,
        host: Host::new(row.get::<_, String>(2)?).map_err(damaged)?,
        pane: PaneRef {
            mux: MuxName::new(row.get::<_, String>(3)?).map_err(damaged)?,
            generation: Generation::new(row.get::<_, String>(5)?).map_err(damaged)?,
            pane_id: row.get::<_, i64>(4)?.cast_unsigned(),
        },
        who: row.get(6)?,
        run,
        verb: row.get(8)?,
        summary: row.get(9)?,
        rule: row.get(10)?,
        until: time(row.get(11)?)?,
        state,
        answered_by: row.get::<_, Option<String>>(13)?.unwrap_or_default(),
        outcome: row.get::<_, Option<String>>(19)?.unwrap_or_default(),
        reason: if own.is_empty() { row.get::<_, Option<String>>(20)?.unwrap_or_default() } else { own },
        action_id: ActionId::from_slice(&id).ok_or_else(|| damaged("action_id"))?,
        action: (!body.is_empty()).then(|| open_action(vault, &id, &body)).transpose()?,
        shown: row.get(17)?,
    })
}

impl Approval {
    fn target(&self) -> String {
        on_pane(&self.host, &self.pane)
    }
}

impl Tx<'_> {
    /// How many actions of this caller wait for a person.
    pub fn approvals_waiting(&self, who: &str) -> Result<u64, StoreError> {
        let count: i64 = self
            .conn
            .prepare_cached("SELECT count(*) FROM approvals WHERE state = 'open' AND who = ?1")?
            .query_row([who], |row| row.get(0))?;
        Ok(count.cast_unsigned())
    }

    /// Holds an action until somebody answers, at the latest at `until`.
    pub fn hold(&self, new: &NewAction, rule: &str, until: Timestamp) -> Result<u64, StoreError> {
        let NewAction { host, action, run, idempotency_key, summary } = new;
        let verb = action.verb.name();
        // A pane that does not exist shows nothing.
        let shown: Option<&[u8]> = matches!(action.verb, Verb::Spawn { .. }).then_some(&[]);
        self.conn
            .prepare_cached(
                "INSERT INTO approvals (action_id, host, mux, pane_id, generation, who, run_id, idempotency_key, verb,
                 summary, rule, body, shown, created_us, until_us, state, reason)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, 'open', '')",
            )?
            .execute(params![
                action.id.as_bytes(),
                host.as_str(),
                action.pane.mux.as_str(),
                int(action.pane.pane_id)?,
                action.pane.generation.as_str(),
                action.who,
                run.map(|run| *run.as_bytes()),
                idempotency_key,
                verb,
                summary,
                rule,
                self.seal_action(action)?,
                shown,
                to_us(self.now),
                to_us(until)
            ])?;
        let n = self.conn.last_insert_rowid().cast_unsigned();
        self.audit(&Entry {
            who: &action.who,
            what: verb,
            target: &on_pane(host, &action.pane),
            decision: "held",
            detail: &format!("{} {} by {rule}: {summary}", action.id, name(n)),
        })?;
        if let Some(run) = run {
            let held = Input::Held { action: action.id, until };
            self.inbox_input(host, &action.pane, *run, &held, &action.trace_parent)?;
        }
        if shown.is_some() {
            self.tell_of_approval(&self.approval(n)?.ok_or_else(|| damaged("lost"))?)?;
        }
        self.tell(|told| told.approvals = true);
        self.wake_at(until);
        Ok(n)
    }

    /// An action that is neither queued nor held.
    pub fn turn_down(&self, new: &NewAction, reason: &str) -> Result<(), StoreError> {
        let NewAction { host, action, run, summary, .. } = new;
        self.audit(&Entry {
            who: &action.who,
            what: action.verb.name(),
            target: &on_pane(host, &action.pane),
            decision: "refused",
            detail: &format!("{} {reason}: {summary}", action.id),
        })?;
        let Some(run) = run else { return Ok(()) };
        let denied = Input::Denied { action: action.id, reason: reason.to_owned() };
        self.inbox_input(host, &action.pane, *run, &denied, &action.trace_parent)
    }

    fn approval(&self, n: u64) -> Result<Option<Approval>, StoreError> {
        one(self.conn, self.vault, n)
    }

    /// What the pane showed when it was asked; from now on people know of it.
    pub fn approval_shown(&self, n: u64, shown: &[u8]) -> Result<(), StoreError> {
        let seen = self
            .conn
            .prepare_cached(
                "UPDATE approvals SET shown = ?2 WHERE n = ?1 AND shown IS NULL AND state = 'open'",
            )?
            .execute(params![int(n)?, shown])?;
        match self.approval(n)?.filter(|_| seen > 0) {
            Some(approval) => self.tell_of_approval(&approval),
            None => Ok(()),
        }
    }

    fn tell_of_approval(&self, approval: &Approval) -> Result<(), StoreError> {
        let Approval { n, who, verb, summary, rule, until, host, pane, .. } = approval;
        let place = match verb.as_str() {
            "spawn" => format!("on {host}"),
            _ => format!("in {}", crate::gate::address(host, pane)),
        };
        let id = name(*n);
        let text = format!(
            "{who} wants to {verb} {place}: {summary}. {rule} of the policy asks you: `wa approve {id}` or `wa deny \
             {id}`, until {until:.0}"
        );
        self.notice(&NewNotice {
            host,
            pane,
            run: approval.run,
            workflow: who.strip_prefix("workflow:").unwrap_or_default(),
            level: Level::Warning,
            text: &text,
            choices: "",
            until: None,
        })
    }

    /// Lets the action go its ordinary way, if nothing has changed: `shown` is what the pane shows now.
    pub fn allow(
        &self,
        n: u64,
        who: &str,
        shown: &[u8],
        deadline: Timestamp,
    ) -> Result<Result<ActionId, ApprovalRefusal>, StoreError> {
        let (approval, mut action) = match self.answerable(n)? {
            Ok(found) => found,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let Some(then) = &approval.shown else { return Ok(Err(ApprovalRefusal::NotSeen(n))) };
        let (goes_on, latest) = match approval.run {
            Some(run) => match self.run(run)? {
                Some(run) => (run.open_action() == Some(approval.action_id), begins_by(&run)),
                None => (false, self.now),
            },
            None => (true, Timestamp::MAX),
        };
        let void = if then != shown {
            Some("the pane does not show what it showed when this was asked")
        } else if !goes_on {
            Some("its run no longer waits for it")
        } else {
            None
        };
        if let Some(reason) = void {
            self.void_approval(n, reason)?;
            return Ok(Err(ApprovalRefusal::Void { n, reason: reason.to_owned() }));
        }
        self.close(&approval, "allowed", who, "")?;
        action.deadline = deadline.min(latest);
        let key = self.key_of_approval(n)?;
        let Approval { host, run, summary, action_id, .. } = approval;
        let queued = Queued { host, action, run, inherited: false, approved: true };
        self.enqueue_as(queued, key.as_deref(), &summary)?;
        Ok(Ok(action_id))
    }

    /// The action does not happen.
    pub fn deny(&self, n: u64, who: &str) -> Result<Result<(), ApprovalRefusal>, StoreError> {
        let (approval, _) = match self.answerable(n)? {
            Ok(found) => found,
            Err(refusal) => return Ok(Err(refusal)),
        };
        self.end(&approval, "denied", who, OutcomeKind::Refused, &format!("{who} denied it"))?;
        Ok(Ok(()))
    }

    /// What was asked for is no more: it can no longer be allowed.
    pub fn void_approval(&self, n: u64, reason: &str) -> Result<(), StoreError> {
        match self.approval(n)?.filter(|approval| approval.state == ApprovalState::Open) {
            Some(approval) => self.end(&approval, "expired", "", OutcomeKind::Refused, reason),
            None => Ok(()),
        }
    }

    /// As [`Self::void_approval`], of a caller or a run.
    pub(super) fn void_approvals(&self, which: &str, of: &dyn ToSql, reason: &str) -> Result<(), StoreError> {
        let open = self
            .conn
            .prepare_cached(&format!("SELECT n FROM approvals WHERE state = 'open' AND {which}"))?
            .query_map([of], |row| row.get(0))?
            .collect::<Result<Vec<i64>, _>>()?;
        open.into_iter().try_for_each(|n| self.void_approval(n.cast_unsigned(), reason))
    }

    /// Ends what nobody has answered in time; when the next one runs out.
    pub(super) fn expire_approvals(&self) -> Result<Option<Timestamp>, StoreError> {
        let mut statement = self.conn.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM {FROM} WHERE a.state = 'open' AND a.until_us <= ?1 ORDER BY a.n"
        ))?;
        let late = readable("approvals", statement.query([to_us(self.now)])?, |row| read(row, self.vault))?;
        for approval in late {
            self.end(&approval, "expired", "", OutcomeKind::Expired, "nobody answered in time")?;
        }
        let next: Option<i64> = self
            .conn
            .prepare_cached(
                "SELECT min(until_us) FROM approvals WHERE state = 'open' AND typeof(until_us) = 'integer'",
            )?
            .query_row([], |row| row.get(0))?;
        // One that is no time must not keep the others open.
        Ok(next.and_then(|us| from_us("approvals.until_us", us).ok()))
    }

    /// An approval that can be answered now.
    fn answerable(&self, n: u64) -> Result<Result<(Approval, Action), ApprovalRefusal>, StoreError> {
        self.expire_approvals()?;
        let Some(mut approval) = self.approval(n)? else { return Ok(Err(ApprovalRefusal::Unknown(n))) };
        match approval.action.take() {
            Some(action) if approval.state == ApprovalState::Open => Ok(Ok((approval, action))),
            _ => {
                let by = match (&approval.answered_by, &approval.reason) {
                    (by, _) if !by.is_empty() => format!(", by {by}"),
                    (_, reason) if !reason.is_empty() => format!(": {reason}"),
                    _ => String::new(),
                };
                Ok(Err(ApprovalRefusal::Closed { n, state: approval.state.as_str(), by }))
            }
        }
    }

    fn key_of_approval(&self, n: u64) -> Result<Option<String>, StoreError> {
        Ok(self
            .conn
            .prepare_cached("SELECT idempotency_key FROM approvals WHERE n = ?1")?
            .query_row([int(n)?], |row| row.get(0))?)
    }

    /// Ends an open approval without its action: whoever waits for the outcome is told.
    fn end(
        &self,
        approval: &Approval,
        state: &str,
        who: &str,
        kind: OutcomeKind,
        reason: &str,
    ) -> Result<(), StoreError> {
        self.close(approval, state, who, reason)?;
        let action = approval.action_id;
        let reason = format!("{}: {reason}", name(approval.n));
        if let Some(run) = approval.run {
            let denied = Input::Denied { action, reason: reason.clone() };
            self.inbox_input(&approval.host, &approval.pane, run, &denied, "")?;
        }
        let pane = (approval.verb != "spawn").then(|| approval.pane.clone());
        let outcome = Outcome { action, kind, reason, pane, trace_parent: String::new(), spawned: None };
        self.tell(|told| told.settled.push((approval.host.clone(), outcome)));
        Ok(())
    }

    fn close(&self, approval: &Approval, state: &str, who: &str, reason: &str) -> Result<(), StoreError> {
        let by = Some(who).filter(|who| !who.is_empty());
        self.conn
            .prepare_cached(
                "UPDATE approvals SET state = ?2, reason = ?3, answered_by = ?4, answered_us = ?5, body = x''
                 WHERE n = ?1",
            )?
            .execute(params![int(approval.n)?, state, reason, by, to_us(self.now)])?;
        self.tell(|told| told.notices = true);
        self.audit(&Entry {
            who: by.unwrap_or("controller"),
            what: "approval",
            target: &approval.target(),
            decision: state,
            detail: &format!("{} {} {reason}", name(approval.n), approval.action_id),
        })
    }

    /// What a caller's key was used for, where that is held or was not allowed.
    pub(super) fn find_held(&self, who: &str, key: &str) -> Result<Option<Approval>, StoreError> {
        self.conn
            .prepare_cached(&format!(
                "SELECT {COLUMNS} FROM {FROM} WHERE a.who = ?1 AND a.idempotency_key = ?2"
            ))?
            .query_row([who, key], |row| Ok(read(row, self.vault)))
            .optional()?
            .transpose()
    }
}

impl Store {
    /// An approval by its number.
    pub async fn approval(&self, n: u64) -> Result<Option<Approval>, StoreError> {
        let vault = self.vault_handle();
        self.readers.read(move |conn| one(conn, &vault, n)).await
    }

    /// Approvals, the newest first; `open`: only those that wait for an answer. Of one host, or all.
    pub async fn approvals(
        &self,
        open: bool,
        host: Option<Host>,
        limit: usize,
    ) -> Result<Vec<Approval>, StoreError> {
        let vault = self.vault_handle();
        self.readers.read(move |conn| list(conn, &vault, open, host.as_ref(), limit)).await
    }

    /// Approvals whose panes nobody has looked at, the oldest first.
    pub async fn unseen_approvals(&self, limit: usize) -> Result<Vec<Approval>, StoreError> {
        let vault = self.vault_handle();
        self.readers.read(move |conn| unseen(conn, &vault, limit)).await
    }
}

/// Until when an action that was allowed may begin, so that its run still waits for the outcome.
fn begins_by(run: &Run) -> Timestamp {
    const MORE: SignedDuration = SignedDuration::from_secs(30);
    run.step_deadline.saturating_add(MORE).unwrap_or(Timestamp::MAX)
}

/// One approval.
fn one(conn: &Connection, vault: &Vault, n: u64) -> Result<Option<Approval>, StoreError> {
    // A number that is too large is nobody's.
    let Ok(n) = int(n) else { return Ok(None) };
    conn.prepare_cached(&format!("SELECT {COLUMNS} FROM {FROM} WHERE a.n = ?1"))?
        .query_row([n], |row| Ok(read(row, vault)))
        .optional()?
        .transpose()
}

/// The newest first; `open`: only those that wait. Of one host, or all.
fn list(
    conn: &Connection,
    vault: &Vault,
    open: bool,
    host: Option<&Host>,
    limit: usize,
) -> Result<Vec<Approval>, StoreError> {
    let only = if open { "AND a.state = 'open'" } else { "" };
    let mut statement = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM {FROM} WHERE (?1 IS NULL OR a.host = ?1) {only} ORDER BY a.n DESC LIMIT ?2"
    ))?;
    let rows = statement.query(params![host.map(Host::as_str), int(limit as u64)?])?;
    readable("approvals", rows, |row| read(row, vault))
}

/// Open ones that cannot be read, by their numbers.
pub(super) fn unreadable(conn: &Connection, vault: &Vault) -> Result<Vec<Unreadable<i64>>, StoreError> {
    let mut statement =
        conn.prepare(&format!("SELECT {COLUMNS} FROM {FROM} WHERE a.state = 'open' ORDER BY a.n"))?;
    let mut rows = statement.query([])?;
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        if let Err(error) = read(row, vault) {
            out.push(Unreadable { key: row.get(0)?, why: of_row(error)? });
        }
    }
    Ok(out)
}

/// Those whose pane has not been looked at.
fn unseen(conn: &Connection, vault: &Vault, limit: usize) -> Result<Vec<Approval>, StoreError> {
    let mut statement = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM {FROM} WHERE a.state = 'open' AND a.shown IS NULL ORDER BY a.n LIMIT ?1"
    ))?;
    readable("approvals", statement.query([int(limit as u64)?])?, |row| read(row, vault))
}
