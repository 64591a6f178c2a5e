//! Accounts, pools, and the key that seals them.
//!
//! Constraints: credentials are sealed before they reach the database, each for its own account and field, and leave it
//! sealed; every change is in the audit trail, by names only; the key in force is named in the same commits as what it
//! seals, so a rotation is whole or has not happened.

use std::fmt;

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use wa_proto::wire::{from_us, to_us};
use wa_proto::{AccountAlias, AgentKind, Timestamp};

use super::audit::Entry;
use super::readable::readable;
use super::{StoreError, Tx};
use crate::accounts::choice::SignIn;
use crate::accounts::keys::KeyRow;
use crate::accounts::vault::KeyId;
use crate::accounts::{Credentials, with_place};

/// The pool of accounts that name none.
pub const DEFAULT_POOL: &str = "default";

/// An account, without what the vault holds of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountRow {
    pub alias: AccountAlias,
    pub agent: AgentKind,
    pub pool: String,
    pub sign_in: SignIn,
    /// In the sign-in data; empty: the agent's own.
    pub provider: String,
    /// 0 = any number.
    pub max_panes: u32,
    pub disabled: bool,
    /// Hosts on which the agent's ordinary home belongs to it; `*`: all.
    pub default_hosts: Vec<String>,
    pub last_used: Option<Timestamp>,
}

/// What is new of an account; `None` stays.
#[derive(Debug, Clone, Default)]
pub struct AccountChange {
    pub disabled: Option<bool>,
    pub sign_in: Option<SignIn>,
    pub pool: Option<String>,
    pub max_panes: Option<u32>,
    pub default_hosts: Option<Vec<String>>,
    /// Those that there are take the place of what was kept.
    pub credentials: Credentials,
}

/// A pool, and how many accounts it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolRow {
    pub name: String,
    pub switching: bool,
    pub accounts: u32,
}

impl AccountChange {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        let Self { disabled, sign_in, pool, max_panes, default_hosts, credentials } = self;
        let state = disabled.is_some() || sign_in.is_some();
        let place = pool.is_some() || max_panes.is_some() || default_hosts.is_some();
        !state && !place && credentials.fields().next().is_none()
    }
}

impl PoolRow {
    /// Why nothing is switched in it, where that is so.
    pub fn switching_off(&self) -> String {
        let name = &self.name;
        format!(
            "switching is off in pool {name}: an admin turns it on with `wa account pool set {name} --switching on`"
        )
    }
}

/// What a rotation has sealed anew, and with which key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotated {
    pub entries: usize,
    pub key: KeyId,
}

pub(super) fn damaged(problem: impl fmt::Display) -> StoreError {
    StoreError::Damaged(format!("accounts: {problem}").into())
}

pub(super) fn read_time(us: Option<i64>) -> Result<Option<Timestamp>, StoreError> {
    us.map(|us| from_us("accounts", us).map_err(damaged)).transpose()
}

pub(super) const COLUMNS: &str =
    "alias, agent, pool, sign_in, provider, max_panes, disabled, default_hosts, last_used_us";

pub(super) fn read_account(row: &Row<'_>) -> Result<AccountRow, StoreError> {
    let sign_in: String = row.get(3)?;
    Ok(AccountRow {
        alias: AccountAlias::new(row.get::<_, String>(0)?).map_err(damaged)?,
        agent: AgentKind::new(row.get::<_, String>(1)?),
        pool: row.get(2)?,
        sign_in: SignIn::parse(&sign_in).ok_or_else(|| damaged(format!("sign_in {sign_in:?}")))?,
        provider: row.get(4)?,
        max_panes: row.get(5)?,
        disabled: row.get(6)?,
        default_hosts: serde_json::from_str(&row.get::<_, String>(7)?).map_err(damaged)?,
        last_used: read_time(row.get(8)?)?,
    })
}

/// An account by its name.
pub(super) fn account(conn: &Connection, alias: &AccountAlias) -> Result<Option<AccountRow>, StoreError> {
    conn.prepare_cached(&format!("SELECT {COLUMNS} FROM accounts WHERE alias = ?1"))?
        .query_row([alias.as_str()], |row| Ok(read_account(row)))
        .optional()?
        .transpose()
}

/// All accounts of a pool, or all, by name.
pub(super) fn accounts(conn: &Connection, pool: Option<&str>) -> Result<Vec<AccountRow>, StoreError> {
    let mut statement = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM accounts WHERE ?1 IS NULL OR pool = ?1 ORDER BY alias"
    ))?;
    readable("accounts", statement.query([pool])?, read_account)
}

/// All pools, or the one of this name.
pub(super) fn pools(conn: &Connection, name: Option<&str>) -> Result<Vec<PoolRow>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT name, switching, (SELECT count(*) FROM accounts WHERE pool = name) FROM pools
         WHERE ?1 IS NULL OR name = ?1 ORDER BY name",
    )?;
    readable("pools", statement.query([name])?, |row| {
        Ok(PoolRow { name: row.get(0)?, switching: row.get(1)?, accounts: row.get(2)? })
    })
}

/// The name of a field of an account, and its value, sealed.
pub type SealedField = (String, Vec<u8>);

/// Fields of an account, by name; `None`: there is no such account.
pub(super) fn sealed(
    conn: &Connection,
    alias: &AccountAlias,
) -> Result<Option<Vec<SealedField>>, StoreError> {
    if account(conn, alias)?.is_none() {
        return Ok(None);
    }
    let mut statement =
        conn.prepare_cached("SELECT field, sealed FROM account_secrets WHERE alias = ?1 ORDER BY field")?;
    let rows = statement.query_map([alias.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(Some(rows.collect::<Result<_, _>>()?))
}

/// What the database says of the key in force; `None`: nothing was ever sealed.
pub(super) fn key_row(conn: &Connection) -> Result<Option<KeyRow>, StoreError> {
    let found = conn
        .prepare_cached("SELECT key_id, salt, iterations FROM vault")?
        .query_row([], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Option<Vec<u8>>>(1)?, row.get(2)?)))
        .optional()?;
    let Some((id, salt, iterations)) = found else { return Ok(None) };
    let id = KeyId::from_slice(&id).ok_or_else(|| damaged("the vault's key has no name"))?;
    Ok(Some(KeyRow { id, stretched: salt.zip(iterations) }))
}

/// Names the key in force.
pub(super) fn put_key_row(conn: &Connection, row: &KeyRow, now: Timestamp) -> Result<(), StoreError> {
    let (salt, iterations) = row.stretched.clone().unzip();
    conn.prepare_cached(
        "INSERT INTO vault (one, key_id, salt, iterations, since_us) VALUES (1, ?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET key_id = ?1, salt = ?2, iterations = ?3, since_us = ?4",
    )?
    .execute(params![row.id.as_bytes(), salt, iterations, to_us(now)])?;
    Ok(())
}

fn hosts_json(hosts: &[String]) -> Result<String, StoreError> {
    serde_json::to_string(hosts).map_err(StoreError::invalid)
}

impl Tx<'_> {
    /// The key that this commit seals with.
    pub(super) fn key_in_force(&self) -> Result<KeyId, StoreError> {
        Ok(key_row(self.conn)?.ok_or_else(|| damaged("no key is in force"))?.id)
    }

    fn audit_account(&self, who: &str, alias: &str, decision: &str, detail: &str) -> Result<(), StoreError> {
        self.audit(&Entry { who, what: "account", target: alias, decision, detail })
    }

    /// An account by its name.
    pub fn account(&self, alias: &AccountAlias) -> Result<Option<AccountRow>, StoreError> {
        account(self.conn, alias)
    }

    /// Makes an account, and its pool if that is new, with switching off.
    ///
    /// # Errors
    /// When the alias is taken.
    pub fn add_account(
        &self,
        new: &AccountRow,
        credentials: &Credentials,
        who: &str,
    ) -> Result<(), StoreError> {
        if self.account(&new.alias)?.is_some() {
            return Err(StoreError::refused(format!(
                "there is an account {} already: choose another alias, or change that one with `wa account update`",
                new.alias
            )));
        }
        self.make_pool(&new.pool)?;
        self.conn
            .prepare_cached(
                "INSERT INTO accounts (alias, agent, pool, sign_in, provider, max_panes, disabled, default_hosts, owner)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, randomblob(16))",
            )?
            .execute(params![
                new.alias.as_str(),
                new.agent.as_str(),
                new.pool,
                new.sign_in.as_str(),
                new.provider,
                new.max_panes,
                new.disabled,
                hosts_json(&new.default_hosts)?
            ])?;
        let fields = self.put_credentials(&new.alias, credentials)?;
        let detail =
            format!("for {} in pool {}, signs in by {}{fields}", new.agent, new.pool, new.sign_in.as_str());
        self.audit_account(who, new.alias.as_str(), "added", &detail)
    }

    /// Changes what is given.
    ///
    /// # Errors
    /// When there is no such account.
    pub fn change_account(
        &self,
        alias: &AccountAlias,
        change: &AccountChange,
        who: &str,
    ) -> Result<(), StoreError> {
        let before = self.account(alias)?.ok_or(StoreError::NotFound("account"))?;
        let mut words = Vec::new();
        if let Some(pool) = &change.pool {
            self.make_pool(pool)?;
            words.push(format!("pool {pool}"));
        }
        if let Some(disabled) = change.disabled {
            words.push(if disabled { "disabled" } else { "enabled" }.to_owned());
        }
        if let Some(way) = change.sign_in {
            words.push(format!("signs in by {}", way.as_str()));
        }
        if let Some(most) = change.max_panes {
            words.push(format!("max panes {most}"));
        }
        if let Some(hosts) = &change.default_hosts {
            words.push(format!("default hosts {}", hosts.join(",")));
        }
        if self.changes_owner(&before, change)? {
            self.give_to_new_owner(alias)?;
            words.push("for another owner".to_owned());
        }
        self.conn
            .prepare_cached(
                "UPDATE accounts SET pool = ?2, disabled = ?3, max_panes = ?4, default_hosts = ?5, sign_in = ?6
                 WHERE alias = ?1",
            )?
            .execute(params![
                alias.as_str(),
                change.pool.as_ref().unwrap_or(&before.pool),
                change.disabled.unwrap_or(before.disabled),
                change.max_panes.unwrap_or(before.max_panes),
                hosts_json(change.default_hosts.as_ref().unwrap_or(&before.default_hosts))?,
                change.sign_in.unwrap_or(before.sign_in).as_str()
            ])?;
        let fields = self.put_credentials(alias, &change.credentials)?;
        self.audit_account(who, alias.as_str(), "changed", &format!("{}{fields}", words.join(", ")))
    }

    /// Forgets an account: credentials, leases, windows.
    ///
    /// # Errors
    /// When there is no such account.
    pub fn remove_account(&self, alias: &AccountAlias, who: &str) -> Result<(), StoreError> {
        let removed =
            self.conn.prepare_cached("DELETE FROM accounts WHERE alias = ?1")?.execute([alias.as_str()])?;
        if removed == 0 {
            return Err(StoreError::NotFound("account"));
        }
        self.audit_account(who, alias.as_str(), "removed", "")
    }

    fn make_pool(&self, name: &str) -> Result<(), StoreError> {
        self.conn.prepare_cached("INSERT OR IGNORE INTO pools (name) VALUES (?1)")?.execute([name])?;
        Ok(())
    }

    /// Makes a pool, and turns switching on or off in it.
    pub fn set_pool(&self, name: &str, switching: bool, who: &str) -> Result<PoolRow, StoreError> {
        self.make_pool(name)?;
        self.conn
            .prepare_cached("UPDATE pools SET switching = ?2 WHERE name = ?1")?
            .execute(params![name, switching])?;
        let decision = if switching { "switching on" } else { "switching off" };
        self.audit(&Entry { who, what: "pool", target: name, decision, detail: "" })?;
        pools(self.conn, Some(name))?.pop().ok_or(StoreError::NotFound("pool"))
    }

    /// Seals and stores; their names for the audit trail.
    fn put_credentials(&self, alias: &AccountAlias, credentials: &Credentials) -> Result<String, StoreError> {
        let mut names = Vec::new();
        for (field, value) in credentials.fields() {
            let key = self.key_in_force()?;
            let sealed =
                with_place(alias.as_str(), field, |place| self.vault.seal(key, place, value.as_bytes()))?;
            self.conn
                .prepare_cached(
                    "INSERT OR REPLACE INTO account_secrets (alias, field, sealed) VALUES (?1, ?2, ?3)",
                )?
                .execute(params![alias.as_str(), field, sealed])?;
            names.push(field);
        }
        Ok(if names.is_empty() { String::new() } else { format!("; sealed: {}", names.join(", ")) })
    }

    /// Seals everything anew with `next`, which is the key in force from this commit on.
    ///
    /// # Errors
    /// When something does not open: then nothing is changed.
    pub fn rotate_vault(&self, next: &KeyRow, who: &str) -> Result<Rotated, StoreError> {
        let before = self.key_in_force()?;
        let mut entries = self.seal_actions_anew(next.id)?;
        let mut statement = self.conn.prepare("SELECT alias, field, sealed FROM account_secrets")?;
        let all = statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<Result<Vec<(String, String, Vec<u8>)>, _>>()?;
        for (alias, field, sealed) in all {
            let sealed = with_place(&alias, &field, |place| {
                let plain = self.vault.open(place, &sealed)?;
                self.vault.seal(next.id, place, &plain)
            })?;
            self.conn
                .prepare_cached("UPDATE account_secrets SET sealed = ?3 WHERE alias = ?1 AND field = ?2")?
                .execute(params![alias, field, sealed])?;
            entries += 1;
        }
        put_key_row(self.conn, next, self.now)?;
        let detail = format!("{entries} entries from key {before} to key {}", next.id);
        self.audit(&Entry { who, what: "vault", target: "key", decision: "rotated", detail: &detail })?;
        Ok(Rotated { entries, key: next.id })
    }
}
