//! What was revoked, and who may recover.
//!
//! Constraints: a revocation holds for every certificate of a name, known here or not, from its commit on and over any
//! restart; what is issued after it stands. Serials decide where they are known, for they are exact; the time decides for
//! the rest, and it counts whole seconds, as certificates do. Whoever watches [`super::Store::revoked`] hears of it in
//! the order of commits.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::SignedDuration;
use rusqlite::{Connection, OptionalExtension as _, params};
use wa_link::principal::{Principal, Role};
use wa_proto::wire::{from_us, to_us};
use wa_proto::{Host, Timestamp};

use super::audit::Entry;
use super::readable::readable;
use super::{StoreError, Tx};
use crate::identity::peer::Peer;

/// After this, what was issued before a revocation has run out, and cannot be recovered with either.
const NAMES_REMEMBERED: SignedDuration = SignedDuration::from_hours(24 * 150);

/// Certificates of a node within an hour: a healthy one asks twice a day, and each is written down for good.
const HOURLY: i64 = 60;

/// What opens nothing any more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revoked {
    /// Of certificates that have not run out by themselves.
    serials: HashSet<String>,
    /// What was issued to them before that time is void.
    names: HashMap<Principal, Timestamp>,
}

impl Revoked {
    pub fn bars(&self, peer: &Peer) -> bool {
        self.serials.contains(&peer.serial)
            || self.names.get(&peer.principal).is_some_and(|at| peer.issued.as_second() < at.as_second())
    }
}

/// What a person revokes.
#[derive(Debug, Clone)]
pub struct Revocation {
    pub name: Host,
    /// Certificates of these roles.
    pub roles: Vec<Role>,
    /// `operator:NAME`
    pub who: String,
    pub reason: String,
}

/// The newest certificate of a role and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRow {
    pub principal: Principal,
    pub issued: Timestamp,
    pub expires: Timestamp,
    pub revoked: Option<Timestamp>,
}

/// A host that may not come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokedHost {
    pub host: Host,
    pub at: Timestamp,
    /// `operator:NAME`
    pub who: String,
    pub reason: String,
}

/// Why a node may not recover with an old certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryRefusal {
    #[error("the old certificate was revoked")]
    Revoked,
    #[error("the old certificate is not known here")]
    Unknown,
}

impl Tx<'_> {
    /// Ends every certificate of a principal; how many held until now.
    pub fn revoke(&self, who: &Principal, by: &str, reason: &str) -> Result<usize, StoreError> {
        let (role, name, now) = (who.role.as_str(), who.name.as_str(), to_us(self.now));
        let live: i64 = self
            .conn
            .prepare_cached(
                "SELECT COUNT(*) FROM certificates WHERE role = ?1 AND name = ?2 AND expires_us > ?3
                 AND revoked_us IS NULL",
            )?
            .query_row(params![role, name, now], |row| row.get(0))?;
        self.conn
            .prepare_cached(
                "UPDATE certificates SET revoked_us = ?3 WHERE role = ?1 AND name = ?2 AND revoked_us IS NULL",
            )?
            .execute(params![role, name, now])?;
        self.conn
            .prepare_cached(
                "INSERT OR REPLACE INTO revocations (role, name, revoked_us, who, reason)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![role, name, now, by, reason])?;
        self.tell_revoked()?;
        Ok(usize::try_from(live).unwrap_or(0))
    }

    /// Ends what a name has, and tokens that were made for it. Who was cut off, with the number of certificates that held.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when no certificate of these roles was ever made for the name.
    pub fn revoke_name(&self, revocation: &Revocation) -> Result<Vec<(Principal, usize)>, StoreError> {
        let Revocation { name, roles, who, reason } = revocation;
        let mut ended = Vec::new();
        for role in roles {
            let principal = Principal { role: *role, name: name.clone() };
            if !self.was_ever_issued(&principal)? {
                continue;
            }
            let live = self.revoke(&principal, who, reason)?;
            if *role != Role::Node {
                self.withdraw_actions_of(&principal.author())?;
            }
            self.audit(&Entry {
                who,
                what: "revoke",
                target: &principal.to_string(),
                decision: "revoked",
                detail: reason,
            })?;
            ended.push((principal, live));
        }
        if roles.contains(&Role::Node) {
            self.conn
                .prepare_cached(
                    "UPDATE tokens SET expires_us = ?2 WHERE name = ?1 AND used_us IS NULL AND expires_us > ?2",
                )?
                .execute(params![name.as_str(), to_us(self.now)])?;
        }
        if ended.iter().any(|(who, _)| !matches!(who.role, Role::Node | Role::Agent)) {
            // Nor does a person come back as a host.
            let maker = format!("operator:{name}");
            self.conn
                .prepare_cached(
                    "UPDATE tokens SET expires_us = ?2 WHERE created_by = ?1 AND used_us IS NULL AND expires_us > ?2",
                )?
                .execute(params![maker, to_us(self.now)])?;
        }
        Ok(ended)
    }

    pub(super) fn was_ever_issued(&self, who: &Principal) -> Result<bool, StoreError> {
        let found: Option<i64> = self
            .conn
            .prepare_cached("SELECT 1 FROM certificates WHERE role = ?1 AND name = ?2 LIMIT 1")?
            .query_row([who.role.as_str(), who.name.as_str()], |row| row.get(0))
            .optional()?;
        Ok(found.is_some())
    }

    /// Lets what is issued from now on stand, also if a clock that went ahead dated a revocation of this name later.
    pub fn reinstate(&self, who: &Principal) -> Result<(), StoreError> {
        let changed = self
            .conn
            .prepare_cached(
                "UPDATE revocations SET revoked_us = ?3 WHERE role = ?1 AND name = ?2 AND revoked_us > ?3",
            )?
            .execute(params![who.role.as_str(), who.name.as_str(), to_us(self.now)])?;
        if changed > 0 { self.tell_revoked() } else { Ok(()) }
    }

    /// Whether a certificate was revoked, itself or with its name.
    pub fn bars(&self, peer: &Peer) -> Result<bool, StoreError> {
        let by_serial: Option<Option<i64>> = self
            .conn
            .prepare_cached("SELECT revoked_us FROM certificates WHERE serial = ?1")?
            .query_row([&peer.serial], |row| row.get(0))
            .optional()?;
        if let Some(revoked) = by_serial {
            return Ok(revoked.is_some());
        }
        let Principal { role, name } = &peer.principal;
        let by_name: Option<i64> = self
            .conn
            .prepare_cached("SELECT revoked_us FROM revocations WHERE role = ?1 AND name = ?2")?
            .query_row([role.as_str(), name.as_str()], |row| row.get(0))
            .optional()?;
        let Some(at) = by_name else { return Ok(false) };
        Ok(peer.issued.as_second() < from_us("revocations.revoked_us", at)?.as_second())
    }

    /// Refuses a caller who was admitted, and revoked before its turn came.
    pub fn check_caller(&self, peer: &Peer) -> Result<(), StoreError> {
        if self.bars(peer)? {
            return Err(StoreError::refused(format!(
                "the certificate of {} was revoked",
                peer.principal.in_words()
            )));
        }
        Ok(())
    }

    /// Whether a node was given so many certificates within an hour that it gets no more for now.
    pub fn has_enough(&self, host: &Host) -> Result<bool, StoreError> {
        let hour_ago = self.now.saturating_sub(SignedDuration::from_hours(1)).unwrap_or(self.now);
        let given: i64 = self
            .conn
            .prepare_cached(
                "SELECT COUNT(*) FROM certificates WHERE role = 'node' AND name = ?1 AND issued_us > ?2
                 AND revoked_us IS NULL",
            )?
            .query_row(params![host.as_str(), to_us(hour_ago)], |row| row.get(0))?;
        Ok(given >= HOURLY)
    }

    /// Whether the holder of this certificate, which has run out, may have a new one. The refusal is audited either way,
    /// so it is a value and not an error.
    pub fn recoverable(&self, peer: &Peer) -> Result<Result<(), RecoveryRefusal>, StoreError> {
        let known: Option<i64> = self
            .conn
            .prepare_cached("SELECT 1 FROM certificates WHERE serial = ?1 AND role = ?2 AND name = ?3")?
            .query_row([&peer.serial, peer.principal.role.as_str(), peer.principal.name.as_str()], |row| {
                row.get(0)
            })
            .optional()?;
        let refusal = if self.bars(peer)? {
            RecoveryRefusal::Revoked
        } else if known.is_none() {
            RecoveryRefusal::Unknown
        } else {
            return Ok(Ok(()));
        };
        self.audit_refused_recovery(peer, &refusal.to_string())?;
        Ok(Err(refusal))
    }

    /// Writes down that somebody who has the key of a certificate of ours was not given a new one.
    pub fn audit_refused_recovery(&self, peer: &Peer, reason: &str) -> Result<(), StoreError> {
        self.audit(&Entry {
            who: "anonymous",
            what: "recover",
            target: &peer.principal.to_string(),
            decision: "refused",
            detail: &format!("serial {}: {reason}", peer.serial),
        })
    }

    fn tell_revoked(&self) -> Result<(), StoreError> {
        let revoked = Arc::new(load(self.conn, self.now)?);
        self.tell(|told| told.revoked = Some(revoked));
        Ok(())
    }
}

/// What opens nothing any more, as it is stored.
pub(super) fn load(conn: &Connection, now: Timestamp) -> Result<Revoked, StoreError> {
    let mut statement = conn
        .prepare_cached("SELECT serial FROM certificates WHERE revoked_us IS NOT NULL AND expires_us > ?1")?;
    // No certificate that this program takes has a serial that is no text.
    let serials = readable("certificates", statement.query([to_us(now)])?, |row| Ok(row.get(0)?))?;
    let serials = serials.into_iter().collect();
    let since = now.saturating_sub(NAMES_REMEMBERED).unwrap_or(now);
    let mut statement =
        conn.prepare_cached("SELECT role, name, revoked_us FROM revocations WHERE revoked_us > ?1")?;
    let mut rows = statement.query([to_us(since)])?;
    let mut names = HashMap::new();
    while let Some(row) = rows.next()? {
        let who = row.get::<_, String>(0).and_then(|role| Ok((role, row.get(1)?)));
        let Ok(who) = who.map_err(StoreError::from).and_then(|(role, name)| principal(&role, name)) else {
            // No certificate that this program takes has such a role, or such a name.
            tracing::error!("a revocation cannot be read: its role or name is none that opens anything here");
            continue;
        };
        // When that was cannot be read: whatever was issued until now is void.
        let since = row.get(2).ok().and_then(|us| from_us("revocations.revoked_us", us).ok());
        names.insert(who, since.unwrap_or(now));
    }
    Ok(Revoked { serials, names })
}

/// Hosts that were revoked and have not joined again. What was issued since may have run out: it recovers.
pub(super) fn revoked_hosts(conn: &Connection) -> Result<Vec<RevokedHost>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT name, revoked_us, who, reason FROM revocations AS r WHERE role = 'node' AND NOT EXISTS (
             SELECT 1 FROM certificates AS c WHERE c.role = r.role AND c.name = r.name AND c.revoked_us IS NULL)",
    )?;
    readable("revocations", statement.query([])?, |row| {
        Ok(RevokedHost {
            host: principal("node", row.get(0)?)?.name,
            at: from_us("revocations.revoked_us", row.get(1)?)?,
            who: row.get(2)?,
            reason: row.get(3)?,
        })
    })
}

/// People with a certificate, by name: the newest one of each name and role.
pub(super) fn operators(conn: &Connection) -> Result<Vec<CertificateRow>, StoreError> {
    // With MAX, SQLite takes the other columns from the row that has it.
    let mut statement = conn.prepare_cached(
        "SELECT name, role, MAX(issued_us), expires_us, revoked_us FROM certificates
         WHERE role IN ('viewer', 'operator', 'admin') GROUP BY role, name ORDER BY name, role",
    )?;
    readable("certificates", statement.query([])?, |row| {
        let revoked: Option<i64> = row.get(4)?;
        Ok(CertificateRow {
            principal: principal(&row.get::<_, String>(1)?, row.get(0)?)?,
            issued: from_us("certificates.issued_us", row.get(2)?)?,
            expires: from_us("certificates.expires_us", row.get(3)?)?,
            revoked: revoked.map(|us| from_us("certificates.revoked_us", us)).transpose()?,
        })
    })
}

fn principal(role: &str, name: String) -> Result<Principal, StoreError> {
    let damaged = |what: String| StoreError::Damaged(what.into());
    let role = Role::ALL.into_iter().find(|known| known.as_str() == role);
    let role = role.ok_or_else(|| damaged("certificates.role: an unknown role".to_owned()))?;
    Ok(Principal { role, name: Host::new(name).map_err(|error| damaged(error.to_string()))? })
}
