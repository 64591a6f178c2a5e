//! Going on without the vault's key, when that is lost for good.
//!
//! What it sealed cannot be read by anybody: the credentials of accounts and the texts of actions that are not settled.
//! Accounts stay, without credentials. An action may have begun, so it ends `unknown`; one that a person was to allow has
//! lapsed. Runs hear of both. It is done while no controller runs; the next start makes, or takes, a key.

use std::cell::Cell;
use std::path::Path;

use rusqlite::{Connection, params};
use wa_proto::wire::to_us;
use wa_proto::{ActionId, Host, OutcomeKind, RunId, Timestamp};
use wa_workflow::Input;

use super::audit::Entry;
use super::{StoreError, Tx, connection};
use crate::accounts::vault::Vault;

const REASON: &str = "the vault's key was lost, and its text with it";

/// What was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgotten {
    pub credentials: usize,
    pub actions: usize,
}

/// Gives up what the vault of this database sealed. Nobody else may have it open.
///
/// # Errors
/// When the database cannot be used: then nothing has changed.
pub fn forget_vault(path: &Path, now: Timestamp) -> Result<Forgotten, StoreError> {
    let mut conn = connection::create(path)?;
    let whole = conn.transaction()?;
    let (ids, vault) = (Cell::new(super::log::head(&whole)? + 1), Vault::empty());
    let forgotten = give_up(&Tx::new(&whole, now, &ids, &vault))?;
    whole.commit()?;
    Ok(forgotten)
}

fn give_up(tx: &Tx<'_>) -> Result<Forgotten, StoreError> {
    let credentials = tx.conn.execute("DELETE FROM account_secrets", [])?;
    tx.conn.execute("DELETE FROM vault", [])?;
    let unknown = |action| Input::Outcome { action, kind: OutcomeKind::Unknown, reason: REASON.to_owned() };
    let denied = |action| Input::Denied { action, reason: REASON.to_owned() };
    let actions = tell_runs(tx, "outbox WHERE settled_us IS NULL", unknown)?
        + tell_runs(tx, "approvals WHERE state = 'open'", denied)?;
    tx.conn.execute(
        "UPDATE outbox SET settled_us = ?1, outcome = ?2, reason = ?3, body = x'' WHERE settled_us IS NULL",
        params![to_us(tx.now), OutcomeKind::Unknown.as_str(), REASON],
    )?;
    tx.conn.execute(
        "UPDATE approvals SET state = 'expired', reason = ?2, answered_us = ?1, body = x'' WHERE state = 'open'",
        params![to_us(tx.now), REASON],
    )?;
    let detail = format!("{credentials} credentials, {actions} actions");
    tx.audit(&Entry {
        who: "controller",
        what: "vault",
        target: "key",
        decision: "forgotten",
        detail: &detail,
    })?;
    Ok(Forgotten { credentials, actions })
}

/// Puts into the inbox what the runs of these actions hear; how many actions there are.
fn tell_runs(tx: &Tx<'_>, of: &str, input: impl Fn(ActionId) -> Input) -> Result<usize, StoreError> {
    for_each(tx.conn, of, |action, run, host| {
        // One whose run is no longer there has nobody to tell.
        let Some(run) = run.map(|run| tx.run(run)).transpose()?.flatten() else { return Ok(()) };
        tx.inbox_input(&host, &run.trigger.pane, run.id, &input(action), "")
    })
}

fn for_each(
    conn: &Connection,
    of: &str,
    mut work: impl FnMut(ActionId, Option<RunId>, Host) -> Result<(), StoreError>,
) -> Result<usize, StoreError> {
    let damaged = |what: &str| StoreError::Damaged(format!("an action's {what}").into());
    let mut statement = conn.prepare(&format!("SELECT action_id, run_id, host FROM {of}"))?;
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<Vec<([u8; 16], Option<[u8; 16]>, String)>, _>>()?;
    for (action, run, host) in &rows {
        let action = ActionId::from_slice(action).ok_or_else(|| damaged("id"))?;
        let run = run.as_ref().map(|run| RunId::from_slice(run).ok_or_else(|| damaged("run"))).transpose()?;
        work(action, run, Host::new(host.as_str()).map_err(|_| damaged("host"))?)?;
    }
    Ok(rows.len())
}
