//! What the store says when it cannot.

use std::path::Path;
use std::sync::Arc;

use rusqlite::ErrorCode as Sql;

use crate::accounts::vault::VaultError;

/// Why the store refused. Cheap to clone: when a commit fails, everybody in it gets the same answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    #[error("cannot open the database {path}: {problem}")]
    Open { path: Arc<str>, problem: Arc<str> },
    #[error(
        "the disk that holds the database is full: free some space; nothing new is acknowledged until then"
    )]
    Full,
    #[error(
        "the database cannot be written (read-only file system or permissions): nothing new is acknowledged until it can"
    )]
    ReadOnly,
    #[error(
        "the database is damaged ({0}): stop the controller and restore state.db from a backup, or move it away and begin anew"
    )]
    Damaged(Arc<str>),
    /// The node sent a seq whose predecessors are neither in the log nor named by a hole.
    #[error("seq {got} cannot follow seq {acked}: the records between are missing and no hole names them")]
    Missing { acked: u64, got: u64 },
    /// A message whose content cannot be stored as it stands.
    #[error("{0}")]
    Invalid(Arc<str>),
    #[error("no such {0}")]
    NotFound(&'static str),
    #[error("{0}")]
    Refused(Arc<str>),
    /// A key is not here, or something does not open.
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("the store is shutting down")]
    Closed,
    #[error("the database failed: {0}")]
    Failed(Arc<str>),
}

impl StoreError {
    pub(super) fn open(path: &Path, problem: impl std::fmt::Display) -> Self {
        Self::Open { path: path.display().to_string().into(), problem: problem.to_string().into() }
    }

    pub(crate) fn invalid(problem: impl std::fmt::Display) -> Self {
        Self::Invalid(problem.to_string().into())
    }

    pub(crate) fn refused(problem: impl Into<Arc<str>>) -> Self {
        Self::Refused(problem.into())
    }

    /// Whether the same may well succeed later: the fault lies with the disk.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Full | Self::ReadOnly | Self::Closed)
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(Sql::DiskFull) => Self::Full,
            Some(Sql::ReadOnly | Sql::PermissionDenied) => Self::ReadOnly,
            Some(Sql::DatabaseCorrupt | Sql::NotADatabase) => Self::Damaged(error.to_string().into()),
            _ => Self::Failed(error.to_string().into()),
        }
    }
}

impl From<wa_proto::wire::Invalid> for StoreError {
    fn from(error: wa_proto::wire::Invalid) -> Self {
        Self::invalid(error)
    }
}
