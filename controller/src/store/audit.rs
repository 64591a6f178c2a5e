//! The audit trail: every decision and every action, append-only, each row chained to the one before by a hash.
//!
//! A row's hash is SHA-256 over the hash of the row before it and over the row's own fields, each with its length in
//! front, so that no two different rows hash alike. Texts that come in are redacted by the caller.

use ring::digest::{Context, SHA256};
use rusqlite::{Connection, OptionalExtension as _, params};
use wa_proto::Timestamp;
use wa_proto::wire::{from_us, to_us};

use super::{StoreError, Tx};

/// What is written down.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// `operator:NAME`, `workflow:NAME`, `node:NAME` or `anonymous`.
    pub who: &'a str,
    pub what: &'a str,
    pub target: &'a str,
    /// `queued`, `granted`, `refused`, `made`, an outcome …
    pub decision: &'a str,
    pub detail: &'a str,
}

/// A row of the trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    pub n: i64,
    pub time: Timestamp,
    pub who: String,
    pub what: String,
    pub target: String,
    pub decision: String,
    pub detail: String,
}

fn hash(before: &[u8], n: i64, time_us: i64, words: [&str; 5]) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    context.update(before);
    context.update(&n.to_be_bytes());
    context.update(&time_us.to_be_bytes());
    for word in words {
        context.update(&(word.len() as u64).to_be_bytes());
        context.update(word.as_bytes());
    }
    context.finish().as_ref().to_vec()
}

impl Tx<'_> {
    /// Appends to the trail.
    pub fn audit(&self, entry: &Entry<'_>) -> Result<(), StoreError> {
        let last: Option<(i64, Vec<u8>)> = self
            .conn
            .prepare_cached("SELECT n, hash FROM audit ORDER BY n DESC LIMIT 1")?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let (n, before) = last.map_or((1, Vec::new()), |(n, hash)| (n + 1, hash));
        let time_us = to_us(self.now);
        let words = [entry.who, entry.what, entry.target, entry.decision, entry.detail];
        self.conn
            .prepare_cached(
                "INSERT INTO audit (n, time_us, who, what, target, decision, detail, hash)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                n,
                time_us,
                words[0],
                words[1],
                words[2],
                words[3],
                words[4],
                hash(&before, n, time_us, words)
            ])?;
        Ok(())
    }
}

/// Reads the trail from its beginning and checks every hash.
///
/// # Errors
/// [`StoreError::Damaged`] with the number of the first row that does not follow from the one before.
pub(super) fn read(conn: &Connection) -> Result<Vec<AuditRow>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT n, time_us, who, what, target, decision, detail, hash FROM audit ORDER BY n",
    )?;
    let mut rows = statement.query([])?;
    let (mut out, mut before) = (Vec::new(), Vec::new());
    while let Some(row) = rows.next()? {
        let time_us = row.get(1)?;
        let entry = AuditRow {
            n: row.get(0)?,
            time: from_us("audit.time_us", time_us)?,
            who: row.get(2)?,
            what: row.get(3)?,
            target: row.get(4)?,
            decision: row.get(5)?,
            detail: row.get(6)?,
        };
        let words =
            [&entry.who, &entry.what, &entry.target, &entry.decision, &entry.detail].map(String::as_str);
        let stored: Vec<u8> = row.get(7)?;
        let follows = out.last().map_or(1, |last: &AuditRow| last.n + 1);
        if entry.n != follows || hash(&before, entry.n, time_us, words) != stored {
            return Err(StoreError::Damaged(format!("audit row {} was changed", entry.n).into()));
        }
        before = stored;
        out.push(entry);
    }
    Ok(out)
}
