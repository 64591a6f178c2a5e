//! Opening the database file, the same way for everybody.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use rusqlite_migration::{M, Migrations};

use super::StoreError;

/// A step stays as it is once it was released; what changes later is a step of its own.
const STEPS: &[M<'_>] = &[
    M::up(include_str!("schema.sql")),
    M::up(include_str!("conversations.sql")),
    M::up(include_str!("rules.sql")),
    M::up(include_str!("identity.sql")),
    M::up(include_str!("notices.sql")),
    M::up(include_str!("accounts.sql")),
    M::up(include_str!("approvals.sql")),
    M::up(include_str!("unknown.sql")),
    M::up(include_str!("runs.sql")),
    M::up(include_str!("retention.sql")),
    M::up(include_str!("owners.sql")),
    M::up(include_str!("again.sql")),
    M::up(include_str!("marks.sql")),
    M::up(include_str!("audit_head.sql")),
];
const MIGRATIONS: Migrations<'_> = Migrations::from_slice(STEPS);

/// Pages of 4 KiB after which the writer itself copies the write-ahead log back: the checkpoint thread keeps it far
/// smaller.
const WAL_BACKSTOP_PAGES: u32 = 16_384;

/// A connection to a database that exists.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(|e| StoreError::open(path, advise(&e)))?;
    let journal = settle(&conn).map_err(|e| StoreError::open(path, advise(&e)))?;
    if journal != "wal" {
        let problem =
            format!("its journal is {journal:?}: the file system must allow a write-ahead log (no NFS)");
        return Err(StoreError::open(path, problem));
    }
    Ok(conn)
}

/// The writer's connection: creates the file if it is missing (0600) and brings it to the present schema.
pub(super) fn create(path: &Path) -> Result<Connection, StoreError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    // SQLite would create it with the umask's mode; its -wal and -shm take the mode of the database.
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|e| StoreError::open(path, e))?;
    let mut conn = open(path)?;
    MIGRATIONS.to_latest(&mut conn).map_err(|e| StoreError::open(path, explain(e)))?;
    Ok(conn)
}

/// Sets what holds for every connection; the kind of journal that the file has.
fn settle(conn: &Connection) -> Result<String, rusqlite::Error> {
    conn.busy_timeout(Duration::from_secs(10))?;
    let journal = conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "wal_autocheckpoint", WAL_BACKSTOP_PAGES)?;
    conn.pragma_update(None, "foreign_keys", true)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.pragma_update(None, "cache_size", -16_384)?;
    conn.set_prepared_statement_cache_capacity(128);
    Ok(journal)
}

/// What is wrong, and what to do where that is known.
fn advise(error: &rusqlite::Error) -> String {
    let advice = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            "; restore it from a backup, or move it away: then the log begins anew"
        }
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            "; the user that runs the controller must be able to write it and its directory"
        }
        Some(ErrorCode::DiskFull) => "; free some space",
        _ => "",
    };
    format!("{error}{advice}")
}

fn explain(error: rusqlite_migration::Error) -> String {
    use rusqlite_migration::{Error, MigrationDefinitionError};
    match error {
        Error::MigrationDefinition(MigrationDefinitionError::DatabaseTooFarAhead) => {
            "it was written by a newer wa-controller; run that one, or restore a backup".into()
        }
        Error::RusqliteError { err, .. } => advise(&err),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_are_valid() {
        MIGRATIONS.validate().unwrap();
    }

    /// Each step was the last once.
    #[test]
    fn a_database_of_any_earlier_version_is_brought_up_to_date() {
        for steps in 1..STEPS.len() {
            let place = tempfile::tempdir().unwrap();
            let path = place.path().join("state.db");
            let mut conn = Connection::open(&path).unwrap();
            Migrations::from_slice(&STEPS[..steps]).to_latest(&mut conn).unwrap();
            drop(conn);
            let conn = create(&path).unwrap();
            conn.prepare(
                "SELECT expires_us, mid, shadow FROM certificates, messages, rule_packs, revocations",
            )
            .unwrap();
        }
    }

    #[test]
    fn what_is_no_database_is_said_so() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("state.db");
        std::fs::write(&path, "this was a database once, and then somebody edited it").unwrap();
        let error = create(&path).unwrap_err().to_string();
        assert!(error.contains("state.db") && error.contains("not a database; restore"), "{error}");
    }

    #[test]
    fn a_newer_database_is_not_touched() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("state.db");
        create(&path).unwrap().pragma_update(None, "user_version", 999).unwrap();
        let error = create(&path).unwrap_err().to_string();
        assert!(error.contains("newer"), "{error}");
    }
}
