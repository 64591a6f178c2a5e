//! `wa.operators/1`, `wa.operator/1` and `wa.revoked/1`: people, what they are given, and who is cut off.

use anstyle::AnsiColor;
use serde::Serialize;
use wa_proto::Timestamp;
use wa_proto::wire::{Invalid, from_us, v1};

use super::{clock, instant};
use crate::output::table::{Cell, Column, column};
use crate::output::{Look, Shape};

/// The newest certificate of a person in a role.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct OperatorItem {
    name: String,
    role: String,
    issued: Timestamp,
    expires: Timestamp,
    revoked: Option<Timestamp>,
}

impl TryFrom<v1::Operator> for OperatorItem {
    type Error = Invalid;
    fn try_from(operator: v1::Operator) -> Result<Self, Invalid> {
        Ok(Self {
            name: operator.name,
            role: operator.role,
            issued: from_us("operator.issued_us", operator.issued_us)?,
            expires: from_us("operator.expires_us", operator.expires_us)?,
            revoked: instant("operator.revoked_us", operator.revoked_us)?,
        })
    }
}

impl Shape for OperatorItem {
    const SCHEMA: &'static str = "wa.operators/1";

    fn name(&self) -> String {
        self.name.clone()
    }

    fn columns(_: bool) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            column("NAME", 8),
            column("ROLE", 8),
            column("ISSUED", 20),
            column("EXPIRES", 20),
            column("HOLDS", 5),
        ];
        COLUMNS
    }

    fn row(&self, look: &Look) -> Vec<Cell> {
        let holds = match self.revoked {
            Some(at) => Cell::styled(&format!("no: revoked {}", clock(at)), AnsiColor::Red.on_default()),
            None if self.expires <= look.now => Cell::styled("no: expired", AnsiColor::Yellow.on_default()),
            None => Cell::plain("yes"),
        };
        vec![
            Cell::plain(&self.name),
            Cell::plain(&self.role),
            Cell::plain(&clock(self.issued)),
            Cell::plain(&clock(self.expires)),
            holds,
        ]
    }
}

/// A context that was made for a person.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct NewOperator {
    pub(crate) name: String,
    pub(crate) role: String,
    pub(crate) expires: Timestamp,
    /// Where it was written; null: it is in `context`.
    pub(crate) file: Option<String>,
    pub(crate) context: Option<String>,
}

impl Shape for NewOperator {
    const SCHEMA: &'static str = "wa.operator/1";

    fn name(&self) -> String {
        self.name.clone()
    }

    fn columns(_: bool) -> &'static [Column] {
        const COLUMNS: &[Column] =
            &[column("NAME", 8), column("ROLE", 8), column("EXPIRES", 20), column("FILE", 4)];
        COLUMNS
    }

    fn row(&self, _: &Look) -> Vec<Cell> {
        vec![
            Cell::plain(&self.name),
            Cell::plain(&self.role),
            Cell::plain(&clock(self.expires)),
            Cell::plain(self.file.as_deref().unwrap_or("-")),
        ]
    }
}

/// Who opens nothing any more.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct RevokedItem {
    name: String,
    role: String,
    /// That held until now.
    certificates: u32,
}

impl From<v1::RevokedPrincipal> for RevokedItem {
    fn from(revoked: v1::RevokedPrincipal) -> Self {
        Self { name: revoked.name, role: revoked.role, certificates: revoked.certificates }
    }
}

impl Shape for RevokedItem {
    const SCHEMA: &'static str = "wa.revoked/1";

    fn name(&self) -> String {
        self.name.clone()
    }

    fn columns(_: bool) -> &'static [Column] {
        const COLUMNS: &[Column] = &[column("NAME", 8), column("ROLE", 8), column("CERTIFICATES", 12)];
        COLUMNS
    }

    fn row(&self, _: &Look) -> Vec<Cell> {
        vec![Cell::plain(&self.name), Cell::plain(&self.role), Cell::plain(&self.certificates.to_string())]
    }
}
