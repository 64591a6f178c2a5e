//! What a newer node tells that this version does not know.
//!
//! Constraints (L1, L2): it is acknowledged like any record, so it is never thrown away; it enters once, and in its turn. It
//! is kept as the bytes that came, and read again whenever the controller starts: after an update it takes its place in
//! the log, with the time at which it was captured.

use prost::Message as _;
use rusqlite::params;
use wa_proto::wire::v1;
use wa_proto::{Host, Lane, Record, SpoolId};

use super::ingest::{Ingested, lane_number};
use super::{StoreError, Tx, int, readable};

/// Looked at again in one commit.
const AT_ONCE: i64 = 1000;

/// A record that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownRecord {
    pub seq: u64,
    /// The node's clock at capture, microseconds since the epoch.
    pub time_us: i64,
    /// What is not known of it.
    pub why: String,
    /// A `wa.v1.Record`, whole.
    pub bytes: Vec<u8>,
}

impl Tx<'_> {
    /// Keeps it.
    pub(super) fn keep_unknown(
        &self,
        host: &Host,
        spool: SpoolId,
        lane: Lane,
        unknown: &UnknownRecord,
    ) -> Result<(), StoreError> {
        self.conn
            .prepare_cached("INSERT OR IGNORE INTO unknown_records VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
            .execute(params![
                host.as_str(),
                spool.as_bytes(),
                lane_number(lane),
                int(unknown.seq)?,
                unknown.time_us,
                unknown.why,
                unknown.bytes
            ])?;
        Ok(())
    }

    /// Reads again what could not be read when it came. How many records were taken into the log.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn take_in_unknown(&self) -> Result<usize, StoreError> {
        let (mut taken, mut stay) = (0, 0);
        loop {
            let kept = self.kept_after(stay)?;
            if kept.is_empty() {
                return Ok(taken);
            }
            stay += kept.len();
            for kept in kept {
                let Some((key, bytes)) = kept else { continue };
                let Ok(host) = Host::new(key.0.as_str()) else { continue };
                let wire = v1::Record::decode(bytes.as_slice()).ok();
                let Some(record) = wire.and_then(|wire| Record::try_from(wire).ok()) else { continue };
                let entered = self.apart(|tx| tx.enter(&host, record, &mut None, &mut Ingested::default()));
                match entered {
                    // It stays for the next start, and does not keep the others.
                    Err(error) if !error.is_passing() => {
                        tracing::error!(%error, %host, seq = key.3, "a record that was kept cannot enter the log");
                        continue;
                    }
                    entered => entered?,
                }
                self.conn
                    .prepare_cached(
                        "DELETE FROM unknown_records WHERE host = ?1 AND spool_id = ?2 AND lane = ?3 AND seq = ?4",
                    )?
                    .execute(params![key.0, key.1, key.2, key.3])?;
                (taken, stay) = (taken + 1, stay - 1);
            }
        }
    }

    /// Those behind the first so many, in the order of their names. `None`: not even its name can be read; it stays, too.
    fn kept_after(&self, first: usize) -> Result<Vec<Option<Kept>>, StoreError> {
        let mut find = self.conn.prepare_cached(
            "SELECT host, spool_id, lane, seq, record FROM unknown_records
             ORDER BY host, spool_id, lane, seq LIMIT ?1 OFFSET ?2",
        )?;
        let mut rows = find.query(params![AT_ONCE, int(first as u64)?])?;
        let mut kept = Vec::new();
        while let Some(row) = rows.next()? {
            kept.push(readable::one("unknown_records", row, |row| {
                Ok(((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?), row.get(4)?))
            })?);
        }
        Ok(kept)
    }
}

/// Host, spool, lane and seq.
type Name = (String, Vec<u8>, i32, i64);

/// What it is named by, and the record.
type Kept = (Name, Vec<u8>);
