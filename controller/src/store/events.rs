//! Reading events, in order of arrival.

use prost::Message as _;
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};
use wa_proto::wire::{from_us, v1};
use wa_proto::{Event, EventKind, Host, PaneAddress, Timestamp};

use super::{StoreError, int, readable};

/// An event as it was stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEvent {
    /// Order of arrival.
    pub n: i64,
    pub host: Host,
    /// The node's clock at capture.
    pub time: Timestamp,
    pub event: Event,
    pub trace_parent: String,
}

/// Which events to read.
#[derive(Debug, Clone, Default)]
pub struct EventRange {
    pub pane: Option<PaneAddress>,
    pub host: Option<Host>,
    /// Empty = all.
    pub kinds: Vec<EventKind>,
    pub since: Option<Timestamp>,
    /// Only those that arrived after this one.
    pub after: i64,
    /// Only those that arrived before this one.
    pub before: Option<i64>,
}

/// The number of the newest event.
pub(super) fn head(conn: &Connection) -> Result<i64, StoreError> {
    Ok(conn.query_row("SELECT coalesce(max(n), 0) FROM events", [], |row| row.get(0))?)
}

/// The first `limit` events of the range, or the last if `newest`; always in order of arrival.
pub(super) fn read(
    conn: &Connection,
    range: &EventRange,
    limit: usize,
    newest: bool,
) -> Result<Vec<StoredEvent>, StoreError> {
    let mut sql = String::from("SELECT n, host, time_us, body, trace_parent FROM events WHERE n > ?");
    let mut values = vec![Value::Integer(range.after)];
    if let Some(before) = range.before {
        sql.push_str(" AND n < ?");
        values.push(Value::Integer(before));
    }
    if let Some(pane) = &range.pane {
        sql.push_str(" AND host = ? AND mux = ? AND pane_id = ?");
        values.push(Value::Text(pane.host.to_string()));
        values.push(Value::Text(pane.mux.to_string()));
        values.push(Value::Integer(int(pane.pane_id)?));
    }
    if let Some(host) = &range.host {
        sql.push_str(" AND host = ?");
        values.push(Value::Text(host.to_string()));
    }
    if let Some(since) = range.since {
        sql.push_str(" AND time_us >= ?");
        values.push(Value::Integer(since.as_microsecond()));
    }
    if !range.kinds.is_empty() {
        sql.push_str(" AND event IN (");
        sql.push_str(&vec!["?"; range.kinds.len()].join(","));
        sql.push(')');
        values.extend(range.kinds.iter().map(|kind| Value::Text(kind.as_str().to_owned())));
    }
    sql.push_str(if newest { " ORDER BY n DESC LIMIT ?" } else { " ORDER BY n LIMIT ?" });
    values.push(Value::Integer(int(limit as u64)?));
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let (mut out, mut looked_at) = (Vec::new(), 0);
    let mut last = None;
    while let Some(row) = rows.next()? {
        looked_at += 1;
        last = Some(row.get(0)?);
        out.extend(readable::one("events", row, stored)?);
    }
    drop(rows);
    // An empty page is the end to whoever reads page by page.
    if let (true, Some(last)) = (out.is_empty() && looked_at == limit, last) {
        let further = if newest {
            EventRange { before: Some(last), ..range.clone() }
        } else {
            EventRange { after: last, ..range.clone() }
        };
        return read(conn, &further, limit, newest);
    }
    if newest {
        out.reverse();
    }
    Ok(out)
}

fn stored(row: &Row<'_>) -> Result<StoredEvent, StoreError> {
    let damaged = |problem: String| StoreError::Damaged(problem.into());
    let body: Vec<u8> = row.get(3)?;
    let wire = v1::Event::decode(body.as_slice()).map_err(|e| damaged(e.to_string()))?;
    Ok(StoredEvent {
        n: row.get(0)?,
        host: Host::new(row.get::<_, String>(1)?).map_err(|e| damaged(e.to_string()))?,
        time: from_us("events.time_us", row.get(2)?).map_err(|e| damaged(e.to_string()))?,
        event: wire.try_into().map_err(|e: wa_proto::wire::Invalid| damaged(e.to_string()))?,
        trace_parent: row.get(4)?,
    })
}
