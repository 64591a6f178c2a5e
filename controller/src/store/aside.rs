//! What a start cannot read is set aside.
//!
//! A row may be damaged, or of a newer program that ran here before. One such row must not keep all others from being looked
//! after, so each is ended by what the columns beside it say, before anything is loaded.
//!
//! Constraints: nothing is typed on the word of what cannot be read, and nothing that it may have typed is claimed. So
//! - a *run* ends as `unknown`; what it has in the outbox is not begun any more, its questions and approvals are void, its pane
//!   is free for the next. What stood in the row is kept beside it (`runs.unreadable`); it never becomes a run again, also not
//!   for a program that can read it: time has passed, and its pane has been another's;
//! - an *action* without outcome is settled as `unknown`: it may have been begun. It is neither offered nor permitted;
//! - an open *approval* lapses.
//!
//! People are told by a notice for each, and the audit has it. Only rows are judged here: a vault's key that is missing, and a
//! database that cannot be read at all, still end the start, for then nothing can be said of any row.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use uuid::Uuid;
use wa_proto::wire::{from_us, to_us};
use wa_proto::{ActionId, EventId, Generation, Host, MuxName, OutcomeKind, PaneRef, RunId, Timestamp};
use wa_workflow::{End, Input, Level, PlaceOf, Run, Status, Trigger, Vars};

use super::audit::{Entry, on_pane};
use super::notices::NewNotice;
use super::{StoreError, Tx, approvals, outbox, runs};
use crate::accounts::vault::{Vault, VaultError};

/// A row that cannot be read, by its key, and why.
pub(super) struct Unreadable<K> {
    pub(super) key: K,
    pub(super) why: String,
}

/// Sets aside what cannot be read of what is open; how many rows. Writes nothing where all is well.
pub(super) fn set_aside(conn: &Connection, vault: &Vault, now: Timestamp) -> Result<usize, StoreError> {
    let runs = runs::unreadable(conn)?;
    let actions = outbox::unreadable(conn, vault)?;
    let approvals = approvals::unreadable(conn, vault)?;
    let found = runs.len() + actions.len() + approvals.len();
    if found == 0 {
        return Ok(0);
    }
    let whole = conn.unchecked_transaction()?;
    let ids = Cell::new(super::log::head(&whole)? + 1);
    let tx = Tx::new(&whole, now, &ids, vault);
    // Actions first: of a run that is ended, what can be read is withdrawn.
    actions.iter().try_for_each(|action| tx.set_action_aside(action))?;
    approvals.iter().try_for_each(|approval| tx.set_approval_aside(approval))?;
    runs.iter().try_for_each(|run| tx.set_run_aside(run))?;
    whole.commit()?;
    Ok(found)
}

/// Whether an error is the row's own. Without its key nothing sealed opens, and that is no row's fault.
pub(super) fn of_row(error: StoreError) -> Result<String, StoreError> {
    match error {
        StoreError::Vault(
            VaultError::UnknownKey { .. } | VaultError::WrongKey { .. } | VaultError::Key(_),
        ) => Err(error),
        error if error.is_passing() => Err(error),
        // Its advice is for a whole database.
        StoreError::Damaged(what) => Ok(what.to_string()),
        error => Ok(error.to_string()),
    }
}

/// What stands beside the body of a run.
#[derive(Clone)]
pub(super) struct Columns {
    host: Host,
    pane: PaneRef,
    workflow: String,
    started: Timestamp,
}

impl Columns {
    /// To be selected, in this order.
    pub(super) const NAMES: &str = "CAST(host AS TEXT), CAST(mux AS TEXT), CAST(pane_id AS INTEGER), \
                                    CAST(generation AS TEXT), CAST(workflow AS TEXT), CAST(started_us AS INTEGER)";

    /// From the columns that begin at `at`; `None`: they cannot be read either.
    pub(super) fn read(row: &Row<'_>, at: usize) -> Option<Self> {
        let text = |n: usize| row.get::<_, String>(at + n).ok();
        let pane = PaneRef {
            mux: MuxName::new(text(1)?).ok()?,
            generation: Generation::new(text(3)?).ok()?,
            pane_id: row.get::<_, i64>(at + 2).ok()?.try_into().ok()?,
        };
        let started = from_us("runs.started_us", row.get(at + 5).ok()?).ok()?;
        Some(Self { host: Host::new(text(0)?).ok()?, pane, workflow: text(4)?, started })
    }

    /// What is shown of a run that cannot be read.
    pub(super) fn stand_in(self, id: RunId, reason: &str, at: Timestamp) -> Run {
        let Self { host, pane, workflow, started } = self;
        let trigger = Trigger {
            event: EventId(Uuid::nil()),
            host,
            pane,
            agent: None,
            agent_pid: 0,
            trace_parent: String::new(),
            fields: BTreeMap::new(),
            place: PlaceOf::default(),
        };
        Run {
            id,
            workflow,
            // Of no definition: it is neither stepped again nor begun again.
            version: 0,
            definition_hash: String::new(),
            trigger,
            started,
            step: 0,
            step_deadline: at,
            attempts: 0,
            tries: 0,
            actions_done: 0,
            status: Status::Ended { end: End::Unknown, reason: reason.to_owned(), at },
            vars: Vars::new(),
            reset: None,
            free: None,
            failed_at: None,
            doubted: true,
            signed_in: false,
            pane_state: None,
            told: None,
            heard: BTreeSet::new(),
        }
    }
}

/// What stands beside the body of an action.
struct OfAction {
    /// `None`: that cannot be read either.
    action: Option<ActionId>,
    host: String,
    who: String,
    run: Option<RunId>,
}

/// Text of a row that is damaged, as far as it is text.
fn text_at(row: &Row<'_>, at: usize) -> rusqlite::Result<String> {
    Ok(String::from_utf8_lossy(&row.get::<_, Vec<u8>>(at)?).into_owned())
}

impl Tx<'_> {
    fn set_action_aside(&self, found: &Unreadable<i64>) -> Result<(), StoreError> {
        let reason = format!("its row in the outbox cannot be read: {}", found.why);
        let of = self.action_at("outbox", found.key)?;
        self.conn
            .prepare_cached(
                "UPDATE outbox SET settled_us = ?2, outcome = ?3, reason = ?4, body = x'' WHERE n = ?1",
            )?
            .execute(params![found.key, to_us(self.now), OutcomeKind::Unknown.as_str(), reason])?;
        let named = of.action.map_or_else(|| format!("action {}", found.key), |id| format!("action {id}"));
        let text = format!("{reason}. It may have been begun");
        let unknown = |action| Input::Outcome { action, kind: OutcomeKind::Unknown, reason };
        self.tell_of_action(&of, unknown, &named, &text)
    }

    fn set_approval_aside(&self, found: &Unreadable<i64>) -> Result<(), StoreError> {
        let reason = format!("its row cannot be read: {}", found.why);
        let of = self.action_at("approvals", found.key)?;
        self.conn
            .prepare_cached(
                "UPDATE approvals SET state = 'expired', reason = ?2, answered_us = ?3, body = x'' WHERE n = ?1",
            )?
            .execute(params![found.key, reason, to_us(self.now)])?;
        let named = super::approval_name(found.key.cast_unsigned());
        let text = format!("{reason}. It has lapsed");
        self.tell_of_action(&of, |action| Input::Denied { action, reason }, &named, &text)
    }

    /// What stands beside the body of an action, in the outbox or among the approvals.
    fn action_at(&self, table: &'static str, n: i64) -> Result<OfAction, StoreError> {
        let sql = format!(
            "SELECT CAST(action_id AS BLOB), CAST(host AS BLOB), CAST(who AS BLOB), CAST(run_id AS BLOB)
             FROM {table} WHERE n = ?1"
        );
        let read = |row: &Row<'_>| {
            let run: Option<Vec<u8>> = row.get(3)?;
            Ok(OfAction {
                action: ActionId::from_slice(&row.get::<_, Vec<u8>>(0)?),
                host: text_at(row, 1)?,
                who: text_at(row, 2)?,
                run: run.as_deref().and_then(RunId::from_slice),
            })
        };
        Ok(self.conn.prepare_cached(&sql)?.query_row([n], read)?)
    }

    /// Tells its run what became of it, and people.
    fn tell_of_action(
        &self,
        of: &OfAction,
        input: impl FnOnce(ActionId) -> Input,
        named: &str,
        text: &str,
    ) -> Result<(), StoreError> {
        let place = of.run.map(|run| self.columns_of_run(run)).transpose()?.flatten();
        if let (Some(run), Some(action), Some(place)) = (of.run, of.action, &place) {
            self.inbox_input(&place.host, &place.pane, run, &input(action), "")?;
        }
        self.tell_of_aside(&of.host, place.as_ref(), of.run, &of.who, named, text)
    }

    fn set_run_aside(&self, found: &Unreadable<Vec<u8>>) -> Result<(), StoreError> {
        let reason = format!("its row cannot be read: {}", found.why);
        let (host, workflow) = self
            .conn
            .prepare_cached(
                "SELECT CAST(host AS BLOB), CAST(workflow AS BLOB) FROM runs WHERE CAST(run_id AS BLOB) = ?1",
            )?
            .query_row([&found.key], |row| Ok((text_at(row, 0)?, text_at(row, 1)?)))?;
        let id = RunId::from_slice(&found.key);
        let of = id.map(|id| self.columns_of_run(id)).transpose()?.flatten();
        let stand_in = of.clone().zip(id).map(|(of, id)| of.stand_in(id, &reason, self.now));
        let stand_in =
            stand_in.map(|run| serde_json::to_string(&run)).transpose().map_err(StoreError::invalid)?;
        self.conn
            .prepare_cached(
                "UPDATE runs SET state = 'unknown', reason = ?2, ended_us = ?3, wake_us = NULL,
                 unreadable = CAST(body AS TEXT), body = ?4 WHERE CAST(run_id AS BLOB) = ?1",
            )?
            .execute(params![found.key, reason, to_us(self.now), stand_in.unwrap_or_default()])?;
        if let Some(id) = id {
            self.withdraw_actions_of_run(id, "its run cannot be read")?;
            self.close_questions(id)?;
        }
        if let Some(of) = &of {
            self.inbox_release(&of.host, &of.pane)?;
        }
        let named = id.map_or_else(|| "a run".to_owned(), |id| format!("run {id}"));
        let text = format!("{reason}. It ended as unknown: look at the pane");
        self.tell_of_aside(&host, of.as_ref(), id, &format!("workflow:{workflow}"), &named, &text)
    }

    /// Where a run is; `None`: there is none, or that cannot be read either.
    fn columns_of_run(&self, run: RunId) -> Result<Option<Columns>, StoreError> {
        let found = self
            .conn
            .prepare_cached(&format!("SELECT {} FROM runs WHERE run_id = ?1", Columns::NAMES))?
            .query_row([run.as_bytes()], |row| Ok(Columns::read(row, 0)))
            .optional()?;
        Ok(found.flatten())
    }

    /// Tells the audit, people, and the program's own log.
    fn tell_of_aside(
        &self,
        host: &str,
        place: Option<&Columns>,
        run: Option<RunId>,
        who: &str,
        named: &str,
        text: &str,
    ) -> Result<(), StoreError> {
        tracing::error!(host, who, "{named} was set aside: {text}");
        let target = place.map_or_else(|| host.to_owned(), |of| on_pane(&of.host, &of.pane));
        let detail = format!("{named} of {who}: {text}");
        self.audit(&Entry {
            who: "controller",
            what: "start",
            target: &target,
            decision: "set_aside",
            detail: &detail,
        })?;
        // A notice stands on a pane.
        let Some(Columns { host, pane, .. }) = place else { return Ok(()) };
        let text = format!("{named} of {who} was set aside when the controller started: {text}");
        self.notice(&NewNotice {
            host,
            pane,
            run,
            workflow: who.strip_prefix("workflow:").unwrap_or_default(),
            level: Level::Error,
            text: &text,
            choices: "",
            until: None,
        })
    }
}
