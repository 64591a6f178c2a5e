//! The audit trail: its rows, and whether its chain of hashes holds.
//!
//! The trail may be long: rows are read page by page, and a caller that reads slowly holds up nobody. What is added while
//! somebody reads belongs to the next call.

use tonic::Status;
use wa_proto::wire::{to_us, v1};

use super::streams::{Over, Sink};
use super::{Fleet, Items, optional_time, status, usage};
use crate::identity::ca::hex;
use crate::identity::peer::Peer;
use crate::store::{AuditFilter, AuditRow};

/// Bytes of a word that rows are picked by.
const MAX_WORD: usize = 1000;

impl Fleet {
    pub(super) fn open_audit(
        &self,
        peer: &Peer,
        request: v1::ListAuditRequest,
    ) -> Result<Items<v1::AuditEntry>, Status> {
        let since = optional_time("since_us", request.since_us)?;
        let word = |name: &str, text: String| match text.len() {
            0 => Ok(None),
            1..=MAX_WORD => Ok(Some(text)),
            _ => Err(usage(format!("{name}: at most {MAX_WORD} bytes"))),
        };
        let (who, target) = (word("who", request.who)?, word("target", request.target)?);
        let (filter, tail) = (AuditFilter { who, target, since }, request.tail);
        Ok(self.stream("audit", peer, move |fleet, sink| async move {
            fleet.audit_rows(filter, tail, &sink).await
        }))
    }

    async fn audit_rows(
        &self,
        filter: AuditFilter,
        tail: u32,
        sink: &Sink<v1::AuditEntry>,
    ) -> Result<(), Over> {
        let store = &self.store;
        let last = sink.need(store.audit_head().await).await?;
        let mut after = match filter.since {
            Some(since) => sink.need(store.audit_before(since).await).await?,
            None => 0,
        };
        if tail > 0 {
            after = after.max(sink.need(store.audit_tail(filter.clone(), last, tail).await).await?);
        }
        while after < last {
            let (rows, next) = sink.need(store.audit_page(filter.clone(), after, last).await).await?;
            for row in rows {
                sink.give(entry(row)).await?;
            }
            after = next;
        }
        Ok(())
    }

    pub(super) async fn check_audit(&self) -> Result<v1::VerifyAuditResponse, Status> {
        let chain = self.store.verify_audit().await.map_err(|error| status(&error))?;
        let (broken_at, problem) = chain.broken.unwrap_or_default();
        Ok(v1::VerifyAuditResponse { rows: chain.rows, head: hex(&chain.head), broken_at, problem })
    }
}

fn entry(row: AuditRow) -> v1::AuditEntry {
    v1::AuditEntry {
        n: row.n.cast_unsigned(),
        time_us: to_us(row.time),
        who: row.who,
        what: row.what,
        target: row.target,
        decision: row.decision,
        detail: row.detail,
    }
}
