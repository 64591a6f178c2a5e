//! Homes of accounts on hosts: whose they are, and who signs them in.
//!
//! Constraints: one run at a time signs an account in on a host. It has the home to itself from the commit in which it
//! learns that the home is not signed in, until the sign-in is seen or the run is over; whoever comes meanwhile waits, and
//! asks the node again. Only a home counts that its node has found to be the owner's: an alias may stand for somebody else
//! than it did when the home was signed in, and the account is another one then.
//!
//! The owner is a name without meaning, made with the account. It changes when the user name or the way to sign in does;
//! what was seen of limits and homes until then was another's, and is forgotten.

use rusqlite::{Connection, OptionalExtension as _, params};
use wa_proto::{AccountAlias, Host, RunId};
use wa_workflow::{Input, Level, Run, Status};

use super::accounts::{AccountChange, AccountRow, damaged};
use super::audit::Entry;
use super::readable::readable;
use super::{StoreError, Tx};
use crate::accounts::with_place;

/// A home of an account on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HomeRow {
    pub host: Host,
    /// `None`: not known.
    pub signed_in: Option<bool>,
}

/// A home, as its node has made it.
#[derive(Debug, Clone)]
pub struct MadeHome {
    /// The owner for whom it was made.
    pub owner: Vec<u8>,
    pub path: String,
    pub variable: String,
    pub signed_in: bool,
    /// Where the home of another owner was put; empty: there was none.
    pub set_aside: String,
}

/// What becomes of a run whose home was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HomeAnswer {
    /// It has heard of its home. One that is not signed in is its own to sign in.
    Taken,
    /// This run signs it in just now.
    SignedInBy(RunId),
    /// The account has another owner by now.
    OfAnother,
    /// The run does not wait for it any more.
    Unwanted,
}

/// Why an account is not signed in by this run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignInRefusal {
    #[error("there is no account {0}")]
    Unknown(AccountAlias),
    #[error("{0} is disabled: enable it first (`wa account enable {0}`)")]
    Disabled(AccountAlias),
    #[error("run {run} signs {alias} in on {host} already: wait for its end, or cancel it")]
    UnderWay { alias: AccountAlias, host: Host, run: RunId },
}

pub(super) fn homes(conn: &Connection, alias: &AccountAlias) -> Result<Vec<HomeRow>, StoreError> {
    let mut statement =
        conn.prepare_cached("SELECT host, signed_in FROM account_homes WHERE alias = ?1 ORDER BY host")?;
    readable("account_homes", statement.query([alias.as_str()])?, |row| {
        let host = Host::new(row.get::<_, String>(0)?).map_err(damaged)?;
        Ok(HomeRow { host, signed_in: row.get(1)? })
    })
}

/// The open run that signs the account in on this host.
pub(super) fn signing_in(
    conn: &Connection,
    alias: &AccountAlias,
    host: &Host,
) -> Result<Option<RunId>, StoreError> {
    let found: Option<Vec<u8>> = conn
        .prepare_cached(
            "SELECT sign_in_run FROM account_homes JOIN runs ON run_id = sign_in_run
             WHERE alias = ?1 AND account_homes.host = ?2 AND ended_us IS NULL",
        )?
        .query_row([alias.as_str(), host.as_str()], |row| row.get(0))
        .optional()?;
    found.map(|run| RunId::from_slice(&run).ok_or_else(|| damaged("sign_in_run"))).transpose()
}

/// Whose the account's homes must be; `None`: there is no such account.
pub(super) fn owner(conn: &Connection, alias: &AccountAlias) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(conn
        .prepare_cached("SELECT owner FROM accounts WHERE alias = ?1")?
        .query_row([alias.as_str()], |row| row.get(0))
        .optional()?)
}

impl Tx<'_> {
    pub(super) fn make_home(&self, alias: &AccountAlias, host: &Host) -> Result<(), StoreError> {
        self.conn
            .prepare_cached("INSERT OR IGNORE INTO account_homes (alias, host) VALUES (?1, ?2)")?
            .execute([alias.as_str(), host.as_str()])?;
        Ok(())
    }

    /// A node has made the home for a run, which hears of it, unless another one signs it in.
    pub fn take_home(
        &self,
        run: RunId,
        step: usize,
        alias: &AccountAlias,
        home: &MadeHome,
    ) -> Result<HomeAnswer, StoreError> {
        let Some(run) = self.run(run)? else { return Ok(HomeAnswer::Unwanted) };
        let host = &run.trigger.host;
        if !home.set_aside.is_empty() {
            self.tell_of_home_aside(&run, alias, &home.set_aside)?;
        }
        if run.step != step || !matches!(run.status, Status::Preparing { .. }) {
            return Ok(HomeAnswer::Unwanted);
        }
        if owner(self.conn, alias)?.as_ref() != Some(&home.owner) {
            return Ok(HomeAnswer::OfAnother);
        }
        self.note_home(alias, host, home.signed_in)?;
        if let Some(other) = signing_in(self.conn, alias, host)?.filter(|other| *other != run.id) {
            return Ok(HomeAnswer::SignedInBy(other));
        }
        if !home.signed_in {
            self.put_sign_in_run(alias, host, run.id)?;
        }
        let MadeHome { path, variable, signed_in, .. } = home.clone();
        let input = Input::Leased { step, alias: alias.clone(), home: path, variable, signed_in };
        self.inbox_input(host, &run.trigger.pane, run.id, &input, &run.trigger.trace_parent)?;
        Ok(HomeAnswer::Taken)
    }

    fn tell_of_home_aside(&self, run: &Run, alias: &AccountAlias, to: &str) -> Result<(), StoreError> {
        let host = &run.trigger.host;
        self.audit(&Entry {
            who: "controller",
            what: "account",
            target: alias.as_str(),
            decision: "home set aside",
            detail: &format!("on {host}, to {to}: its sign-in was not known to be this owner's"),
        })?;
        let text = format!(
            "the home of the account {alias} on {host} held a sign-in that is not known to be its owner's, and was set \
             aside as {to}: remove that once nobody needs it"
        );
        self.notify(run, Level::Warning, &text)
    }

    /// The account has a home on this host, and is signed in there, or not.
    pub fn note_home(&self, alias: &AccountAlias, host: &Host, signed_in: bool) -> Result<(), StoreError> {
        if self.account(alias)?.is_none() {
            return Ok(());
        }
        self.make_home(alias, host)?;
        self.note_signed_in(alias, host, signed_in)
    }

    pub(super) fn note_signed_in(
        &self,
        alias: &AccountAlias,
        host: &Host,
        signed_in: bool,
    ) -> Result<(), StoreError> {
        self.conn
            .prepare_cached("UPDATE account_homes SET signed_in = ?3 WHERE alias = ?1 AND host = ?2")?
            .execute(params![alias.as_str(), host.as_str(), signed_in])?;
        Ok(())
    }

    /// A sign-in was seen to succeed: the home is everybody's again.
    pub(super) fn note_sign_in_done(&self, alias: &AccountAlias, host: &Host) -> Result<(), StoreError> {
        self.note_signed_in(alias, host, true)?;
        self.conn
            .prepare_cached("UPDATE account_homes SET sign_in_run = NULL WHERE alias = ?1 AND host = ?2")?
            .execute([alias.as_str(), host.as_str()])?;
        Ok(())
    }

    fn put_sign_in_run(&self, alias: &AccountAlias, host: &Host, run: RunId) -> Result<(), StoreError> {
        self.conn
            .prepare_cached("UPDATE account_homes SET sign_in_run = ?3 WHERE alias = ?1 AND host = ?2")?
            .execute(params![alias.as_str(), host.as_str(), run.as_bytes()])?;
        Ok(())
    }

    /// From now on, until it is over, this run alone signs the account in on this host; no run, while it is disabled.
    pub fn begin_sign_in(
        &self,
        alias: &AccountAlias,
        host: &Host,
        run: RunId,
    ) -> Result<Result<(), SignInRefusal>, StoreError> {
        match self.account(alias)? {
            None => return Ok(Err(SignInRefusal::Unknown(alias.clone()))),
            Some(account) if account.disabled => return Ok(Err(SignInRefusal::Disabled(alias.clone()))),
            Some(_) => {}
        }
        if let Some(other) = signing_in(self.conn, alias, host)?.filter(|other| *other != run) {
            let (alias, host) = (alias.clone(), host.clone());
            return Ok(Err(SignInRefusal::UnderWay { alias, host, run: other }));
        }
        self.make_home(alias, host)?;
        self.put_sign_in_run(alias, host, run)?;
        Ok(Ok(()))
    }

    // ---- owners

    /// Whether the account may be somebody else's after this change.
    pub(super) fn changes_owner(
        &self,
        before: &AccountRow,
        change: &AccountChange,
    ) -> Result<bool, StoreError> {
        if change.sign_in.is_some_and(|way| way != before.sign_in) {
            return Ok(true);
        }
        let Some(name) = &change.credentials.username else { return Ok(false) };
        let sealed: Option<Vec<u8>> = self
            .conn
            .prepare_cached("SELECT sealed FROM account_secrets WHERE alias = ?1 AND field = 'username'")?
            .query_row([before.alias.as_str()], |row| row.get(0))
            .optional()?;
        let Some(sealed) = sealed else { return Ok(true) };
        let old = with_place(before.alias.as_str(), "username", |place| self.vault.open_text(place, &sealed));
        // One that does not open is nobody's known.
        Ok(old.map_or(true, |old| old.as_str() != name))
    }

    /// The account is somebody else's from now on.
    pub(super) fn give_to_new_owner(&self, alias: &AccountAlias) -> Result<(), StoreError> {
        for change in [
            "UPDATE accounts SET owner = randomblob(16) WHERE alias = ?1",
            "UPDATE account_homes SET signed_in = NULL WHERE alias = ?1",
            "DELETE FROM account_windows WHERE alias = ?1",
        ] {
            self.conn.prepare_cached(change)?.execute([alias.as_str()])?;
        }
        Ok(())
    }
}
