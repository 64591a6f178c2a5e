//! Which pane uses which account.
//!
//! Constraints: a run leases once, whatever is asked again; the account is chosen and leased in one commit, so two panes
//! never take its last place.
//!
//! A lease is the run's while that is open and the pane's afterwards. It ends when the pane is gone, and when its run is
//! over and the pane turns out to be on another account.

use jiff::SignedDuration;
use prost::Message as _;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use wa_proto::wire::{to_us, v1};
use wa_proto::{AccountAlias, AgentKind, Generation, Host, MuxName, Pane, PaneRef, RunId, Timestamp};

use super::accounts::{self, AccountRow, DEFAULT_POOL, PoolRow, damaged, read_time};
use super::audit::{Entry, on_pane};
use super::homes::{HomeRow, SignInRefusal, homes, signing_in};
use super::limits::windows;
use super::readable::readable;
use super::{StoreError, Tx, int};
use crate::accounts::choice::{Candidate, Choice, SignIn, Verdict, Window, Wish, choose};

/// How long after its lease a pane may take to be stored.
const STORED_BY: SignedDuration = SignedDuration::from_secs(60);

/// Who wants an account, for what.
#[derive(Debug, Clone)]
pub struct LeaseRequest {
    pub run: RunId,
    pub host: Host,
    pub pane: PaneRef,
    pub agent: AgentKind,
    /// The account that the pane is on; `None`: not one of ours.
    pub from: Option<AccountAlias>,
    /// This one or none.
    pub wanted: Option<AccountAlias>,
    /// That the session runs on; empty: not known.
    pub model: String,
    /// Only to sign `wanted` in: neither limits nor the pool's switching matter, and no pane uses it yet.
    pub login: bool,
    pub now: Timestamp,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseAnswer {
    Leased {
        alias: AccountAlias,
        /// In the sign-in data; empty: the agent's own.
        provider: String,
        sign_in: SignIn,
        /// It signs in by a key, which the vault holds and which goes into its home.
        api_key: bool,
        reason: String,
    },
    None {
        reason: String,
        /// When the first account can be used again, as far as it is known.
        earliest: Option<Timestamp>,
        considered: Vec<Verdict>,
    },
}

/// One lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRow {
    pub alias: AccountAlias,
    pub run: RunId,
    pub host: Host,
    pub pane: PaneRef,
    pub since: Timestamp,
}

/// An account with all that is known of it, but for its secrets.
#[derive(Debug, Clone, PartialEq)]
pub struct AccountState {
    pub account: AccountRow,
    /// Names of what the vault holds.
    pub fields: Vec<String>,
    pub leases: Vec<LeaseRow>,
    pub windows: Vec<Window>,
    pub homes: Vec<HomeRow>,
}

/// Accounts with all that is known of them, by name.
pub(super) fn states(conn: &Connection, pool: Option<&str>) -> Result<Vec<AccountState>, StoreError> {
    let mut fields =
        conn.prepare_cached("SELECT field FROM account_secrets WHERE alias = ?1 ORDER BY field")?;
    let state = |account: AccountRow| {
        let alias = account.alias.as_str();
        let fields = readable("account_secrets", fields.query([alias])?, |row| Ok(row.get(0)?))?;
        let (leases, windows) = (leases(conn, Some(&account.alias), None)?, windows(conn, &account.alias)?);
        Ok(AccountState { fields, leases, windows, homes: homes(conn, &account.alias)?, account })
    };
    accounts::accounts(conn, pool)?.into_iter().map(state).collect()
}

/// Leases of an account, or all; on a host, or anywhere.
pub(super) fn leases(
    conn: &Connection,
    alias: Option<&AccountAlias>,
    host: Option<&Host>,
) -> Result<Vec<LeaseRow>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT alias, run_id, host, mux, pane_id, generation, since_us FROM account_leases
         WHERE (?1 IS NULL OR alias = ?1) AND (?2 IS NULL OR host = ?2) ORDER BY since_us",
    )?;
    // One that cannot be read names no pane that could be on the account.
    let rows = statement.query([alias.map(AccountAlias::as_str), host.map(Host::as_str)])?;
    readable("account_leases", rows, lease)
}

fn lease(row: &Row<'_>) -> Result<LeaseRow, StoreError> {
    Ok(LeaseRow {
        alias: AccountAlias::new(row.get::<_, String>(0)?).map_err(damaged)?,
        run: RunId::from_slice(&row.get::<_, Vec<u8>>(1)?).ok_or_else(|| damaged("run_id"))?,
        host: Host::new(row.get::<_, String>(2)?).map_err(damaged)?,
        pane: PaneRef {
            mux: MuxName::new(row.get::<_, String>(3)?).map_err(damaged)?,
            pane_id: row.get::<_, i64>(4)?.try_into().map_err(damaged)?,
            generation: Generation::new(row.get::<_, String>(5)?).map_err(damaged)?,
        },
        since: read_time(row.get(6)?)?.unwrap_or(Timestamp::UNIX_EPOCH),
    })
}

/// The account that a pane is on: its home's, else the one whose `default_hosts` names the host. One that is not known
/// here, or is another agent's, is none.
pub(super) fn account_of(
    conn: &Connection,
    host: &Host,
    pane: &Pane,
) -> Result<Option<AccountRow>, StoreError> {
    let Some(agent) = &pane.agent else { return Ok(None) };
    match &pane.account {
        Some(alias) => Ok(accounts::account(conn, alias)?.filter(|account| account.agent == *agent)),
        None => default_account(conn, host, agent),
    }
}

/// The account of an agent's ordinary home on a host. A host's own counts before one of all hosts.
pub(super) fn default_account(
    conn: &Connection,
    host: &Host,
    agent: &AgentKind,
) -> Result<Option<AccountRow>, StoreError> {
    let mut all = accounts::accounts(conn, None)?;
    all.retain(|account| account.agent == *agent);
    let names = |account: &AccountRow, word: &str| account.default_hosts.iter().any(|host| host == word);
    let own = all.iter().position(|account| names(account, host.as_str()));
    let found = own.or_else(|| all.iter().position(|account| names(account, "*")));
    Ok(found.map(|at| all.swap_remove(at)))
}

/// What a choice asks: from where, for what.
pub(super) struct Wanted<'a> {
    pub(super) host: &'a Host,
    pub(super) pane: Option<&'a PaneRef>,
    pub(super) run: Option<RunId>,
    pub(super) wish: Wish<'a>,
}

/// Whether what this host says of the account counts: its agents' ordinary home is the account's, or the controller had a
/// home made there. A node names any account that it likes.
pub(super) fn is_at_home(conn: &Connection, account: &AccountRow, host: &Host) -> Result<bool, StoreError> {
    let named = account.default_hosts.iter().any(|named| named == "*" || named == host.as_str());
    let mut home = conn.prepare_cached("SELECT 1 FROM account_homes WHERE alias = ?1 AND host = ?2")?;
    Ok(named || home.exists([account.alias.as_str(), host.as_str()])?)
}

/// The pool that a pane's accounts come from: that of its account, if that is at home on the host, else that of the wanted
/// one, else the default.
fn pool_of(conn: &Connection, host: &Host, wish: &Wish<'_>) -> Result<PoolRow, StoreError> {
    let known = |alias: Option<&AccountAlias>| match alias {
        Some(alias) => accounts::account(conn, alias),
        None => Ok(None),
    };
    let account = match known(wish.from)? {
        Some(from) if is_at_home(conn, &from, host)? => Some(from),
        _ => known(wish.wanted)?,
    };
    let name = account.map_or_else(|| DEFAULT_POOL.to_owned(), |account| account.pool);
    let found = accounts::pools(conn, Some(&name))?.pop();
    Ok(found.unwrap_or(PoolRow { name, switching: false, accounts: 0 }))
}

/// The choice for a pane, whether or not its pool may switch.
pub(super) fn choice(
    conn: &Connection,
    wanted: &Wanted<'_>,
    now: Timestamp,
) -> Result<(PoolRow, Choice), StoreError> {
    let pool = pool_of(conn, wanted.host, &wanted.wish)?;
    let candidates = states(conn, Some(&pool.name))?.into_iter().map(|state| candidate(conn, state, wanted));
    let candidates = candidates.collect::<Result<Vec<_>, _>>()?;
    let choice = choose(&candidates, &wanted.wish, now);
    Ok((pool, choice))
}

fn candidate(conn: &Connection, state: AccountState, wanted: &Wanted<'_>) -> Result<Candidate, StoreError> {
    let AccountState { account, leases, windows, homes, .. } = state;
    let own = |lease: &LeaseRow| lease.host == *wanted.host && Some(&lease.pane) == wanted.pane;
    let panes = leases.iter().filter(|lease| !own(lease)).count();
    let under_way = signing_in(conn, &account.alias, wanted.host)?;
    Ok(Candidate {
        signed_in: homes.iter().find(|home| home.host == *wanted.host).and_then(|home| home.signed_in),
        signing_in: under_way.is_some_and(|run| Some(run) != wanted.run),
        panes: u32::try_from(panes).unwrap_or(u32::MAX),
        alias: account.alias,
        agent: account.agent,
        disabled: account.disabled,
        sign_in: account.sign_in,
        max_panes: account.max_panes,
        windows,
        last_used: account.last_used,
    })
}

impl Tx<'_> {
    /// The account that a pane is on: its home's, else the one whose `default_hosts` names the host.
    pub fn account_of(&self, host: &Host, pane: &Pane) -> Result<Option<AccountAlias>, StoreError> {
        Ok(account_of(self.conn, host, pane)?.map(|account| account.alias))
    }

    /// Whether the pool that the pane's accounts come from may switch; else why not.
    pub fn may_switch(&self, host: &Host, pane: &Pane) -> Result<Result<(), String>, StoreError> {
        let Some(agent) = &pane.agent else { return Ok(Err("no known agent runs there".to_owned())) };
        let from = self.account_of(host, pane)?;
        let wish = Wish { agent, from: from.as_ref(), wanted: None, model: "" };
        let pool = pool_of(self.conn, host, &wish)?;
        Ok(if pool.switching { Ok(()) } else { Err(pool.switching_off()) })
    }

    /// Chooses an account and leases it for the run; the same again for a run that has one, unless that was disabled since.
    pub fn lease_account(&self, request: &LeaseRequest) -> Result<LeaseAnswer, StoreError> {
        if let Some(account) = self.leased_by(request.run)? {
            if !account.disabled {
                return self.leased(account, "leased by this run before".to_owned());
            }
            self.end_leases_of_run(request.run)?;
        }
        if request.login {
            return self.lease_for_login(request);
        }
        self.tidy_leases(None)?;
        let LeaseRequest { host, pane, agent, from, wanted, model, now, .. } = request;
        let wish = Wish { agent, from: from.as_ref(), wanted: wanted.as_ref(), model };
        let (pool, choice) =
            choice(self.conn, &Wanted { host, pane: Some(pane), run: Some(request.run), wish }, *now)?;
        let Choice { account, reason, earliest, considered } = choice;
        if !pool.switching {
            return Ok(LeaseAnswer::None { reason: pool.switching_off(), earliest, considered });
        }
        let Some(alias) = account else {
            return Ok(LeaseAnswer::None { reason, earliest, considered });
        };
        self.put_lease(request, &alias)?;
        self.leased(self.account(&alias)?.ok_or(StoreError::NotFound("account"))?, reason)
    }

    /// A sign-in that a person asked for.
    fn lease_for_login(&self, request: &LeaseRequest) -> Result<LeaseAnswer, StoreError> {
        let none = |reason: String| LeaseAnswer::None { reason, earliest: None, considered: Vec::new() };
        let Some(alias) = &request.wanted else {
            return Ok(none("no account was named for the sign-in".to_owned()));
        };
        let Some(account) = self.account(alias)? else {
            return Ok(none(SignInRefusal::Unknown(alias.clone()).to_string()));
        };
        if account.agent != request.agent {
            return Ok(none(format!("{alias} is for {}, not for {}", account.agent, request.agent)));
        }
        if let Err(refusal) = self.begin_sign_in(alias, &request.host, request.run)? {
            return Ok(none(refusal.to_string()));
        }
        self.leased(account, "asked for by name, to be signed in".to_owned())
    }

    fn leased_by(&self, run: RunId) -> Result<Option<AccountRow>, StoreError> {
        let alias: Option<String> = self
            .conn
            .prepare_cached("SELECT alias FROM account_leases WHERE run_id = ?1")?
            .query_row([run.as_bytes()], |row| row.get(0))
            .optional()?;
        let alias = alias.map(|alias| AccountAlias::new(alias).map_err(damaged)).transpose()?;
        Ok(alias.map(|alias| self.account(&alias)).transpose()?.flatten())
    }

    /// A key goes into the home of an account that signs in by it alone: where another way was chosen it would take the
    /// place of that sign-in.
    fn leased(&self, account: AccountRow, reason: String) -> Result<LeaseAnswer, StoreError> {
        let AccountRow { alias, provider, sign_in, .. } = account;
        let held = self
            .conn
            .prepare_cached("SELECT 1 FROM account_secrets WHERE alias = ?1 AND field = 'api_key'")?
            .exists([alias.as_str()])?;
        let api_key = held && sign_in == SignIn::ApiKey;
        Ok(LeaseAnswer::Leased { alias, provider, sign_in, api_key, reason })
    }

    fn put_lease(&self, request: &LeaseRequest, alias: &AccountAlias) -> Result<(), StoreError> {
        let pane = &request.pane;
        self.conn
            .prepare_cached(
                "INSERT INTO account_leases (run_id, alias, host, mux, pane_id, generation, since_us)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                request.run.as_bytes(),
                alias.as_str(),
                request.host.as_str(),
                pane.mux.as_str(),
                int(pane.pane_id)?,
                pane.generation.as_str(),
                to_us(request.now)
            ])?;
        self.conn
            .prepare_cached("UPDATE accounts SET last_used_us = ?2 WHERE alias = ?1")?
            .execute(params![alias.as_str(), to_us(request.now)])?;
        self.make_home(alias, &request.host)
    }

    /// The run gives its account back, unused.
    pub fn end_leases_of_run(&self, run: RunId) -> Result<(), StoreError> {
        for lease in leases(self.conn, None, None)?.iter().filter(|lease| lease.run == run) {
            self.end_lease(lease, "its run has not switched the pane")?;
        }
        Ok(())
    }

    fn end_lease(&self, lease: &LeaseRow, why: &str) -> Result<(), StoreError> {
        self.conn
            .prepare_cached("DELETE FROM account_leases WHERE run_id = ?1")?
            .execute([lease.run.as_bytes()])?;
        self.audit(&Entry {
            who: "controller",
            what: "account",
            target: &on_pane(&lease.host, &lease.pane),
            decision: "lease ended",
            detail: &format!("{} of run {}: {why}", lease.alias, lease.run),
        })
    }

    /// Ends leases of panes that are gone or on another account, of one host or of all.
    pub(super) fn tidy_leases(&self, host: Option<&Host>) -> Result<(), StoreError> {
        for lease in leases(self.conn, None, host)? {
            if let Some(why) = self.outlived(&lease)? {
                self.end_lease(&lease, &why)?;
            }
        }
        Ok(())
    }

    /// Why a lease is over.
    fn outlived(&self, lease: &LeaseRow) -> Result<Option<String>, StoreError> {
        let state: Option<(String, bool)> = self
            .conn
            .prepare_cached("SELECT state, ended_us IS NULL FROM runs WHERE run_id = ?1")?
            .query_row([lease.run.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let fresh = self.now.duration_since(lease.since) < STORED_BY;
        let succeeded = match state {
            Some((_, true)) => return Ok(None),
            Some((state, false)) => state == "succeeded",
            // Its first step leases in the commit that stores it.
            None if fresh => return Ok(None),
            None => false,
        };
        let gone = || Ok(Some("the pane is gone".to_owned()));
        match self.stored_pane(&lease.host, &lease.pane)? {
            Some(pane) if pane.pane != lease.pane => gone(),
            None if fresh => Ok(None),
            None => gone(),
            Some(pane) => Ok(match pane.account {
                Some(other) if other != lease.alias => Some(format!("the pane is on {other}")),
                None if !succeeded => Some("its run has not switched the pane".to_owned()),
                _ => None,
            }),
        }
    }

    /// What is stored of the pane in this place; perhaps of another generation.
    pub(super) fn stored_pane(&self, host: &Host, pane: &PaneRef) -> Result<Option<Pane>, StoreError> {
        let report: Option<Vec<u8>> = self
            .conn
            .prepare_cached(
                "SELECT CAST(report AS BLOB) FROM panes WHERE host = ?1 AND mux = ?2 AND pane_id = ?3",
            )?
            .query_row(params![host.as_str(), pane.mux.as_str(), int(pane.pane_id)?], |row| row.get(0))
            .optional()?;
        // What cannot be read is only a memory of what the node tells again.
        Ok(report.and_then(|report| v1::Pane::decode(report.as_slice()).ok()?.try_into().ok()))
    }
}
