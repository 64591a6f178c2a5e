//! The audit trail: its rows, and whether its chain of hashes holds.
//!
//! The trail may be long: rows are read page by page, and a caller that reads slowly holds up nobody. What is added while
//! somebody reads belongs to the next call.

use tonic::Status;
use wa_proto::wire::{to_us, v1};
use wa_proto::{Host, MuxName, PaneAddress};

use super::streams::{Over, Sink};
use super::{Fleet, Items, optional_time, status, usage};
use crate::identity::ca::hex;
use crate::identity::peer::Peer;
use crate::store::{AuditFilter, AuditRow, TrailMark};

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

    pub(super) async fn check_audit(
        &self,
        request: v1::VerifyAuditRequest,
    ) -> Result<v1::VerifyAuditResponse, Status> {
        let row = request.row;
        let kept = kept(request)?;
        let chain = self.store.verify_audit(kept).await.map_err(|error| status(&error))?;
        let (broken_at, problem) = chain.broken.unwrap_or_default();
        let head = hex(&chain.head);
        Ok(v1::VerifyAuditResponse { rows: chain.rows, head, broken_at, problem, compared_row: row })
    }
}

/// A pane's address as everywhere else; the row has it as `host mux id`.
fn shown(target: String) -> String {
    let words: Vec<&str> = target.split(' ').collect();
    let [host, mux, pane_id] = words[..] else { return target };
    match (Host::new(host), MuxName::new(mux), pane_id.parse()) {
        (Ok(host), Ok(mux), Ok(pane_id)) => PaneAddress { host, mux, pane_id }.to_string(),
        _ => target,
    }
}

/// The row that the caller remembers, if it does.
fn kept(request: v1::VerifyAuditRequest) -> Result<Option<TrailMark>, Status> {
    if request.row == 0 && request.hash.is_empty() {
        return Ok(None);
    }
    let n = i64::try_from(request.row).ok().filter(|n| *n > 0);
    let n = n.ok_or_else(|| usage("row: rows are counted from 1"))?;
    let hash = request.hash.to_ascii_lowercase();
    if hash.len() != 64 || !hash.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(usage("hash: it is written with 64 hexadecimal digits"));
    }
    Ok(Some(TrailMark { n, hash }))
}

fn entry(row: AuditRow) -> v1::AuditEntry {
    v1::AuditEntry {
        n: row.n.cast_unsigned(),
        time_us: to_us(row.time),
        who: row.who,
        what: row.what,
        target: shown(row.target),
        decision: row.decision,
        detail: row.detail,
        hash: hex(&row.hash),
    }
}
