//! Join tokens, certificates and pauses.

use jiff::SignedDuration;
use rusqlite::{Connection, OptionalExtension as _, params};
use wa_link::principal::{Principal, Role};
use wa_proto::wire::{from_us, to_us};
use wa_proto::{Host, Timestamp};

use super::audit::Entry;
use super::{StoreError, Tx};

/// A token as it is stored: without its secret.
#[derive(Debug, Clone)]
pub struct NewToken {
    pub secret_hash: [u8; 32],
    pub name: Host,
    pub created_by: String,
    pub expires: Timestamp,
    /// The name may have a live certificate, which is revoked when the token is redeemed.
    pub replaces: bool,
}

/// Why a token was not redeemed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    #[error("the token is not known here: make a new one with `wa fleet token`")]
    Unknown,
    #[error("the token was used before: each works once; make a new one with `wa fleet token`")]
    Used,
    #[error("the token has expired: make a new one with `wa fleet token`")]
    Expired,
    #[error(
        "the token is not for the name in its text: copy the whole line that `wa fleet token` printed, as it is"
    )]
    OtherName,
    #[error("a node of this name has a live certificate: make the token with `wa fleet token --replace`")]
    NameTaken,
}

/// A certificate that was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedCertificate {
    /// Lower-case hex.
    pub serial: String,
    pub principal: Principal,
    pub expires: Timestamp,
}

/// Nothing begins where this holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// `all`, `pane HOST/…` or `selector …`.
    pub scope: String,
    pub who: String,
    pub reason: String,
    pub since: Timestamp,
}

/// How long expired tokens and certificates are kept, longer than a node may recover with one, so that whoever comes with one is told what is wrong with it. The
/// audit trail keeps them for good.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(24 * 60);

impl Tx<'_> {
    /// Whether a certificate of this principal still holds.
    pub fn has_live_certificate(&self, who: &Principal) -> Result<bool, StoreError> {
        let found: Option<i64> = self
            .conn
            .prepare_cached(
                "SELECT 1 FROM certificates WHERE role = ?1 AND name = ?2 AND expires_us > ?3
                 AND revoked_us IS NULL LIMIT 1",
            )?
            .query_row(params![who.role.as_str(), who.name.as_str(), to_us(self.now)], |row| row.get(0))
            .optional()?;
        Ok(found.is_some())
    }

    /// Stores a new token, unless its name is taken.
    pub fn create_token(&self, token: &NewToken) -> Result<(), StoreError> {
        let node = Principal { role: Role::Node, name: token.name.clone() };
        if !token.replaces && self.has_live_certificate(&node)? {
            return Err(StoreError::refused(format!(
                "the node {} has a live certificate: give --replace to let a new node take its name",
                token.name
            )));
        }
        let forgotten = self.now.saturating_sub(REMEMBERED).unwrap_or(self.now);
        self.conn.prepare_cached("DELETE FROM tokens WHERE expires_us < ?1")?.execute([to_us(forgotten)])?;
        self.conn
            .prepare_cached(
                "INSERT INTO tokens (secret_hash, name, created_us, created_by, expires_us, replaces)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                token.secret_hash,
                token.name.as_str(),
                to_us(self.now),
                token.created_by,
                to_us(token.expires),
                token.replaces
            ])?;
        self.audit(&Entry {
            who: &token.created_by,
            what: "token",
            target: token.name.as_str(),
            decision: "made",
            detail: if token.replaces { "replaces" } else { "" },
        })
    }

    /// Uses a token up, if it is for the name that was `asked` for; `None`: any. The refusal is audited either way, so it is a
    /// value and not an error.
    pub fn redeem_token(
        &self,
        secret_hash: &[u8; 32],
        asked: Option<&Host>,
    ) -> Result<Result<Host, TokenRefusal>, StoreError> {
        let found: Option<(String, i64, bool, Option<i64>)> = self
            .conn
            .prepare_cached("SELECT name, expires_us, replaces, used_us FROM tokens WHERE secret_hash = ?1")?
            .query_row([secret_hash.as_slice()], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })
            .optional()?;
        let Some((name, expires, replaces, used)) = found else {
            return self.refuse_token("", TokenRefusal::Unknown);
        };
        let node = Principal {
            role: Role::Node,
            name: Host::new(name.as_str()).map_err(|e| StoreError::Damaged(e.to_string().into()))?,
        };
        if used.is_some() {
            return self.refuse_token(&name, TokenRefusal::Used);
        }
        if expires <= to_us(self.now) {
            return self.refuse_token(&name, TokenRefusal::Expired);
        }
        if asked.is_some_and(|asked| *asked != node.name) {
            return self.refuse_token(&name, TokenRefusal::OtherName);
        }
        if !replaces && self.has_live_certificate(&node)? {
            return self.refuse_token(&name, TokenRefusal::NameTaken);
        }
        self.conn
            .prepare_cached("UPDATE tokens SET used_us = ?2 WHERE secret_hash = ?1")?
            .execute(params![secret_hash.as_slice(), to_us(self.now)])?;
        for role in [Role::Node, Role::Agent] {
            let former = Principal { role, name: node.name.clone() };
            // Also what has run out: its key would be good for a recovery.
            if self.was_ever_issued(&former)? {
                self.revoke(&former, "token", "replaced")?;
            }
            self.reinstate(&former)?;
        }
        Ok(Ok(node.name))
    }

    fn refuse_token(
        &self,
        name: &str,
        refusal: TokenRefusal,
    ) -> Result<Result<Host, TokenRefusal>, StoreError> {
        self.audit(&Entry {
            who: "anonymous",
            what: "join",
            target: name,
            decision: "refused",
            detail: &refusal.to_string(),
        })?;
        Ok(Err(refusal))
    }

    pub fn record_certificate(&self, issued: &IssuedCertificate, by: &str) -> Result<(), StoreError> {
        let Principal { role, name } = &issued.principal;
        let forgotten = self.now.saturating_sub(REMEMBERED).unwrap_or(self.now);
        self.conn
            .prepare_cached("DELETE FROM certificates WHERE role = ?1 AND name = ?2 AND expires_us < ?3")?
            .execute(params![role.as_str(), name.as_str(), to_us(forgotten)])?;
        self.conn
            .prepare_cached(
                "INSERT INTO certificates (serial, role, name, issued_us, expires_us) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                issued.serial,
                role.as_str(),
                name.as_str(),
                to_us(self.now),
                to_us(issued.expires)
            ])?;
        self.audit(&Entry {
            who: by,
            what: "certificate",
            target: &issued.principal.to_string(),
            decision: "made",
            detail: &format!("serial {}, until {}", issued.serial, issued.expires),
        })
    }

    pub fn add_pause(&self, scope: &str, who: &str, reason: &str) -> Result<(), StoreError> {
        self.conn
            .prepare_cached(
                "INSERT INTO pauses (scope, who, reason, since_us) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
            )?
            .execute(params![scope, who, reason, to_us(self.now)])?;
        self.audit(&Entry { who, what: "pause", target: scope, decision: "paused", detail: reason })
    }

    pub fn remove_pause(&self, scope: &str, who: &str, reason: &str) -> Result<(), StoreError> {
        self.conn.prepare_cached("DELETE FROM pauses WHERE scope = ?1")?.execute([scope])?;
        self.audit(&Entry { who, what: "pause", target: scope, decision: "lifted", detail: reason })
    }

    /// Whether this very scope is paused.
    pub fn is_paused(&self, scope: &str) -> Result<bool, StoreError> {
        let found: Option<i64> = self
            .conn
            .prepare_cached("SELECT 1 FROM pauses WHERE scope = ?1")?
            .query_row([scope], |row| row.get(0))
            .optional()?;
        Ok(found.is_some())
    }
}

/// All pauses that hold.
pub(super) fn pauses(conn: &Connection) -> Result<Vec<Pause>, StoreError> {
    let mut statement = conn.prepare("SELECT scope, who, reason, since_us FROM pauses")?;
    let mut rows = statement.query([])?;
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        // A pause whose scope is no text holds everything; the rest is only told.
        out.push(Pause {
            scope: row.get(0).unwrap_or_default(),
            who: row.get(1).unwrap_or_default(),
            reason: row.get(2).unwrap_or_default(),
            since: row
                .get(3)
                .ok()
                .and_then(|us| from_us("pauses.since_us", us).ok())
                .unwrap_or(Timestamp::UNIX_EPOCH),
        });
    }
    Ok(out)
}
