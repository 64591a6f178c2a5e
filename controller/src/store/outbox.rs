//! The outbox: actions that nodes have to do, and how they ended.
//!
//! A row is made in the commit that decides the action, is offered to the node until the node has told its outcome, and
//! is settled exactly once. The row's number is the action's fence: it only grows, over restarts too. The whole text of
//! an action stands here alone, sealed by the vault, and only until it is settled; the summary (redacted, with a hash)
//! stays.

use prost::Message as _;
use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, params};
use wa_proto::wire::{from_us, to_us, v1};
use wa_proto::{Action, ActionId, Host, Outcome, OutcomeKind, RunId, Timestamp};
use wa_workflow::Input;
use zeroize::Zeroizing;

use super::aside::{Unreadable, of_row};
use super::audit::{Entry, on_pane};
use super::readable::readable;
use super::{Approval, ApprovalState, Queued, StoreError, Tx};
use crate::accounts::vault::{KeyId, Place, Vault};
use crate::identity::ca::hex;

/// What an idempotency key was used for.
#[derive(Debug, Clone, PartialEq)]
pub struct Earlier {
    pub action: ActionId,
    pub outcome: Option<Outcome>,
    /// The approval that it waits for, and until when.
    pub held: Option<(u64, Timestamp)>,
}

fn damaged(problem: impl std::fmt::Display) -> StoreError {
    StoreError::Damaged(problem.to_string().into())
}

impl Tx<'_> {
    /// Puts an action into the outbox and gives it its fence. `summary` is what audit and lists show of it.
    pub fn enqueue(
        &self,
        host: &Host,
        action: Action,
        run: Option<RunId>,
        idempotency_key: Option<&str>,
        summary: &str,
    ) -> Result<Queued, StoreError> {
        let queued = Queued { host: host.clone(), action, run, inherited: false, approved: false };
        self.enqueue_as(queued, idempotency_key, summary)
    }

    /// As [`Self::enqueue`]. Whether a person has allowed it stands in the approvals.
    pub(super) fn enqueue_as(
        &self,
        mut queued: Queued,
        idempotency_key: Option<&str>,
        summary: &str,
    ) -> Result<Queued, StoreError> {
        let Queued { host, action, run, .. } = &mut queued;
        action.fence = 0;
        let body = self.seal_action(action)?;
        self.conn
            .prepare_cached(
                "INSERT INTO outbox (action_id, host, who, run_id, idempotency_key, body, summary, created_us)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                action.id.as_bytes(),
                host.as_str(),
                action.who,
                run.map(|run| *run.as_bytes()),
                idempotency_key,
                body,
                summary,
                to_us(self.now)
            ])?;
        action.fence = self.conn.last_insert_rowid().cast_unsigned();
        let target = on_pane(host, &action.pane);
        self.audit(&Entry {
            who: &action.who,
            what: action.verb.name(),
            target: &target,
            decision: "queued",
            detail: &format!("{} {summary}", action.id),
        })?;
        self.tell(|told| told.actions.push(queued.clone()));
        Ok(queued)
    }

    /// What this caller's key was used for before.
    pub fn find_key(&self, who: &str, key: &str) -> Result<Option<Earlier>, StoreError> {
        let found = self
            .conn
            .prepare_cached(
                "SELECT action_id, outcome, reason FROM outbox WHERE who = ?1 AND idempotency_key = ?2",
            )?
            .query_row([who, key], |row| {
                Ok((
                    row.get::<_, Vec<u8>>(0)?,
                    row.get::<_, Option<String>>(1)?,
                    row.get::<_, Option<String>>(2)?,
                ))
            })
            .optional()?;
        let Some((id, outcome, reason)) = found else {
            return Ok(self.find_held(who, key)?.map(earlier_approval));
        };
        let action = ActionId::from_slice(&id).ok_or_else(|| damaged("outbox.action_id"))?;
        let outcome = outcome.map(|kind| -> Result<Outcome, StoreError> {
            Ok(Outcome {
                action,
                kind: kind.parse().map_err(damaged)?,
                reason: reason.unwrap_or_default(),
                pane: None,
                trace_parent: String::new(),
                spawned: None,
            })
        });
        Ok(Some(Earlier { action, outcome: outcome.transpose()?, held: None }))
    }

    /// The node may begin: from now on it is possible that the pane was touched.
    pub fn mark_permitted(&self, action: ActionId, who: &str, target: &str) -> Result<(), StoreError> {
        self.conn
            .prepare_cached(
                "UPDATE outbox SET permitted_us = coalesce(permitted_us, ?2) WHERE action_id = ?1",
            )?
            .execute(params![action.as_bytes(), to_us(self.now)])?;
        self.audit(&Entry { who, what: "permit", target, decision: "granted", detail: &action.to_string() })
    }

    /// What this caller asked for, and what is not settled, is from now on too late to begin. What has begun ends as it
    /// does: its node tells.
    pub(super) fn withdraw_actions_of(&self, who: &str) -> Result<(), StoreError> {
        let reason = format!("{who} was revoked");
        self.void_approvals("who = ?1", &who, &reason)?;
        self.withdraw("who = ?1", &who, &reason)
    }

    /// As [`Self::withdraw_actions_of`], of a run that does not wait for them any more.
    pub fn withdraw_actions_of_run(&self, run: RunId, reason: &str) -> Result<(), StoreError> {
        self.void_approvals("run_id = ?1", run.as_bytes(), reason)?;
        self.withdraw("run_id = ?1", run.as_bytes(), reason)
    }

    fn withdraw(&self, which: &str, of: &dyn ToSql, reason: &str) -> Result<(), StoreError> {
        let mut statement = self.conn.prepare_cached(&format!(
            "SELECT n, who, body, host, action_id FROM outbox WHERE settled_us IS NULL AND {which} ORDER BY n"
        ))?;
        let open = statement
            .query_map([of], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))?
            .collect::<Result<Vec<(i64, String, Vec<u8>, String, [u8; 16])>, _>>()?;
        for (n, who, body, host, id) in open {
            let mut action = open_action(self.vault, &id, &body)?;
            // Not the present: a clock that is set back would make it good again for a controller that is started anew.
            action.deadline = Timestamp::UNIX_EPOCH;
            let id = action.id;
            let target = on_pane(host, &action.pane);
            self.conn
                .prepare_cached("UPDATE outbox SET body = ?2 WHERE n = ?1")?
                .execute(params![n, self.seal_action(&action)?])?;
            self.audit(&Entry {
                who: &who,
                what: "act",
                target: &target,
                decision: "withdrawn",
                detail: &format!("{id} {reason}"),
            })?;
            self.tell(|told| told.withdrawn.push((id, reason.to_owned())));
        }
        Ok(())
    }

    /// Records how an action ended, once. An outcome for what is not open on this host changes nothing but the audit.
    pub(super) fn settle(&self, host: &Host, outcome: Outcome, trace_parent: &str) -> Result<(), StoreError> {
        let open: Option<(Vec<u8>, Option<[u8; 16]>, String)> = self
            .conn
            .prepare_cached(
                "SELECT body, run_id, who FROM outbox WHERE action_id = ?1 AND host = ?2 AND settled_us IS NULL",
            )?
            .query_row(params![outcome.action.as_bytes(), host.as_str()], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()?;
        let Some((body, run, who)) = open else {
            return self.audit(&Entry {
                who: &format!("node:{host}"),
                what: "outcome",
                target: host.as_str(),
                decision: "ignored",
                detail: &format!("{} {}: not open on this host", outcome.action, outcome.kind),
            });
        };
        self.conn
            .prepare_cached(
                "UPDATE outbox SET settled_us = ?2, outcome = ?3, reason = ?4, body = x'' WHERE action_id = ?1",
            )?
            .execute(params![
                outcome.action.as_bytes(),
                to_us(self.now),
                outcome.kind.as_str(),
                outcome.reason
            ])?;
        if let Some(pane) = &outcome.spawned {
            // Whoever asked for it may ask about it, also before its node has shown it, and after it has ended.
            self.stream(host, pane)?;
        }
        let action = open_action(self.vault, outcome.action.as_bytes(), &body)?;
        self.audit(&Entry {
            who: &who,
            what: action.verb.name(),
            target: &on_pane(host, &action.pane),
            decision: outcome.kind.as_str(),
            detail: &format!("{} {}", outcome.action, outcome.reason),
        })?;
        if let Some(run) = run.map(|run| RunId(uuid::Uuid::from_bytes(run))) {
            let input =
                Input::Outcome { action: outcome.action, kind: outcome.kind, reason: outcome.reason.clone() };
            self.inbox_input(host, &action.pane, run, &input, trace_parent)?;
        }
        self.tell(|told| told.settled.push((host.clone(), outcome)));
        Ok(())
    }
}

/// What is told of a key whose action was held.
fn earlier_approval(approval: Approval) -> Earlier {
    let ended = matches!(approval.state, ApprovalState::Denied | ApprovalState::Expired);
    let outcome = ended.then(|| Outcome {
        action: approval.action_id,
        kind: OutcomeKind::Refused,
        reason: format!("{}: {}", super::approvals::name(approval.n), approval.reason),
        pane: None,
        trace_parent: String::new(),
        spawned: None,
    });
    Earlier { action: approval.action_id, outcome, held: (!ended).then_some((approval.n, approval.until)) }
}

/// The place of an action in the vault.
fn place_of(id: &[u8]) -> [String; 2] {
    ["action".to_owned(), hex(id)]
}

/// Opens what [`Tx::seal_action`] sealed.
pub(super) fn open_action(vault: &Vault, id: &[u8], sealed: &[u8]) -> Result<Action, StoreError> {
    let [kind, id] = &place_of(id);
    let body = vault.open(Place(&[kind, id]), sealed)?;
    v1::Action::decode(body.as_slice()).map_err(damaged)?.try_into().map_err(damaged)
}

fn seal_body(vault: &Vault, key: KeyId, id: &[u8], body: &[u8]) -> Result<Vec<u8>, StoreError> {
    let [kind, id] = &place_of(id);
    Ok(vault.seal(key, Place(&[kind, id]), body)?)
}

/// The id of an action, and its body.
type Body = ([u8; 16], Vec<u8>);

/// Bodies that stand here, by their actions.
fn bodies(conn: &Connection, table: &str) -> Result<Vec<Body>, StoreError> {
    let mut statement = conn.prepare(&format!("SELECT action_id, body FROM {table} WHERE body <> x''"))?;
    Ok(statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?)
}

fn put_body(conn: &Connection, table: &str, id: &[u8], body: &[u8]) -> Result<(), StoreError> {
    conn.execute(&format!("UPDATE {table} SET body = ?2 WHERE action_id = ?1"), params![id, body])?;
    Ok(())
}

/// Where whole actions stand.
const TABLES: [&str; 2] = ["outbox", "approvals"];

/// Seals what an earlier version of this program has left open.
pub(super) fn seal_all(conn: &Connection, vault: &Vault, key: KeyId) -> Result<(), StoreError> {
    for table in TABLES {
        for (id, body) in bodies(conn, table)? {
            put_body(conn, table, &id, &seal_body(vault, key, &id, &body)?)?;
        }
    }
    Ok(())
}

impl Tx<'_> {
    /// The whole action, sealed for its place in the outbox or among what is held.
    pub(super) fn seal_action(&self, action: &Action) -> Result<Vec<u8>, StoreError> {
        let body = Zeroizing::new(v1::Action::from(action.clone()).encode_to_vec());
        seal_body(self.vault, self.key_in_force()?, action.id.as_bytes(), &body)
    }

    /// Seals every action that is not settled with this key; how many.
    pub(super) fn seal_actions_anew(&self, key: KeyId) -> Result<usize, StoreError> {
        let mut sealed = 0;
        for table in TABLES {
            for (id, body) in bodies(self.conn, table)? {
                let [kind, word] = &place_of(&id);
                let body = self.vault.open(Place(&[kind, word]), &body)?;
                put_body(self.conn, table, &id, &seal_body(self.vault, key, &id, &body)?)?;
                sealed += 1;
            }
        }
        Ok(sealed)
    }
}

/// All actions that are not settled, oldest first, for a controller that starts. Those that cannot be read are set aside before.
pub(super) fn open_actions(conn: &Connection, vault: &Vault) -> Result<Vec<Queued>, StoreError> {
    let mut statement = conn.prepare(OPEN)?;
    let mut rows = statement.query([])?;
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        out.push(queued(row, vault)?);
    }
    Ok(out)
}

/// Actions without outcome that cannot be read, by their numbers.
pub(super) fn unreadable(conn: &Connection, vault: &Vault) -> Result<Vec<Unreadable<i64>>, StoreError> {
    let mut statement = conn.prepare(OPEN)?;
    let mut rows = statement.query([])?;
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        if let Err(error) = queued(row, vault) {
            out.push(Unreadable { key: row.get(0)?, why: of_row(error)? });
        }
    }
    Ok(out)
}

const OPEN: &str = "SELECT n, host, run_id, body,
    EXISTS (SELECT 1 FROM approvals a WHERE a.action_id = outbox.action_id AND a.state = 'allowed'), action_id
    FROM outbox WHERE settled_us IS NULL ORDER BY n";

fn queued(row: &Row<'_>, vault: &Vault) -> Result<Queued, StoreError> {
    let id: [u8; 16] = row.get(5)?;
    let mut action = open_action(vault, &id, &row.get::<_, Vec<u8>>(3)?)?;
    action.fence = row.get::<_, i64>(0)?.cast_unsigned();
    Ok(Queued {
        host: Host::new(row.get::<_, String>(1)?).map_err(damaged)?,
        action,
        run: row.get::<_, Option<[u8; 16]>>(2)?.map(|run| RunId(uuid::Uuid::from_bytes(run))),
        inherited: true,
        approved: row.get(4)?,
    })
}

/// How an action stands, for lists and for tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionRow {
    pub action: ActionId,
    pub who: String,
    pub summary: String,
    pub permitted: Option<Timestamp>,
    pub outcome: Option<String>,
}

pub(super) fn list_actions(conn: &Connection, limit: usize) -> Result<Vec<ActionRow>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT action_id, who, summary, permitted_us, outcome FROM outbox ORDER BY n DESC LIMIT ?1",
    )?;
    readable("outbox", statement.query([super::int(limit as u64)?])?, |row| {
        let permitted: Option<i64> = row.get(3)?;
        Ok(ActionRow {
            action: ActionId::from_slice(&row.get::<_, Vec<u8>>(0)?).ok_or_else(|| damaged("outbox"))?,
            who: row.get(1)?,
            summary: row.get(2)?,
            permitted: permitted.map(|us| from_us("permitted_us", us)).transpose().map_err(damaged)?,
            outcome: row.get(4)?,
        })
    })
}
