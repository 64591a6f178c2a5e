//! Reading the log of one pane: pages in the order of the pane, then what arrives.
//!
//! Inside a pane the order is (generation, layout, row), whatever the order of arrival; a follower gets arrivals, and a
//! line that was rewritten again. For a follower both are cut at a *head*, the id of the newest row, so that the
//! change-over from pages to following neither skips nor doubles a row. Who does not follow reads without a head: a line
//! that is rewritten meanwhile has a new id, and would be cut off.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row, params, params_from_iter};
use wa_proto::wire::from_us;
use wa_proto::{AgentKind, Gap, GapCause, Generation, Host, Line, MuxName, PaneAddress, PaneRef, Timestamp};

use super::ingest::ORD_LINE;
use super::messages::{ORD_MESSAGE, Said, said};
use super::{StoreError, int, readable};

/// One line or gap with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct LogEntry {
    /// Order of arrival.
    pub id: i64,
    pub host: Host,
    pub pane: PaneRef,
    pub layout: u64,
    /// The node's clock at capture.
    pub time: Timestamp,
    pub agent: Option<AgentKind>,
    pub item: LogItem,
    place: Place,
}

#[derive(Debug, Clone, PartialEq)]
pub enum LogItem {
    Line(Line),
    Gap(Gap),
    /// Of the agent's session file; it stands in no layout.
    Message(Box<Said>),
}

/// Where an entry stands in its pane. A message has the number of its session for a layout, its index for a row, and its
/// place in time for `sub`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) stream: i64,
    pub(super) layout: i64,
    pub(super) row: i64,
    pub(super) ord: i64,
    pub(super) sub: i64,
}

/// Where the next page begins: after this entry.
#[derive(Debug, Clone, Copy)]
pub struct Cursor(Place);

impl Cursor {
    pub(super) fn place(self) -> Place {
        self.0
    }
}

impl LogEntry {
    pub fn cursor(&self) -> Cursor {
        Cursor(self.place)
    }

    /// Bytes of its text.
    pub(crate) fn text_bytes(&self) -> usize {
        match &self.item {
            LogItem::Line(line) => line.text.len(),
            LogItem::Gap(_) => 0,
            LogItem::Message(said) => said.message.text.len(),
        }
    }
}

/// A line of no rows is a tombstone: the line above has swallowed it. It stands in the table as the highest revision of
/// its row, and nobody is shown it.
pub(super) const SHOWN: &str = "(log.ord <> 1 OR log.rows > 0)";

pub(super) const COLUMNS: &str = "log.id, log.stream, log.layout, log.row, log.ord, log.sub, log.rev, log.rows, \
     log.time_us, log.agent, log.text, log.cause, streams.host, streams.mux, streams.pane_id, streams.generation";

/// Reads a row of [`COLUMNS`]. Everything on disk is checked again.
pub(super) fn entry(row: &Row<'_>) -> Result<LogEntry, StoreError> {
    let damaged = |problem: String| StoreError::Damaged(problem.into());
    let place = Place {
        stream: row.get(1)?,
        layout: row.get(2)?,
        row: row.get(3)?,
        ord: row.get(4)?,
        sub: row.get(5)?,
    };
    let name = |at: usize| row.get::<_, String>(at);
    let pane = PaneRef {
        mux: MuxName::new(name(13)?).map_err(|e| damaged(e.to_string()))?,
        generation: Generation::new(name(15)?).map_err(|e| damaged(e.to_string()))?,
        pane_id: row.get::<_, i64>(14)?.cast_unsigned(),
    };
    let rows: Option<i64> = row.get(7)?;
    let layout = if place.ord == ORD_MESSAGE { 0 } else { place.layout.cast_unsigned() };
    let item = if place.ord == ORD_MESSAGE {
        LogItem::Message(Box::new(said(row, place.row, row.get(10)?)?))
    } else if place.ord == ORD_LINE {
        let rows = rows.and_then(|rows| u32::try_from(rows).ok()).unwrap_or(0);
        LogItem::Line(Line { row: place.row, rev: row.get(6)?, text: row.get(10)?, rows, time: None })
    } else {
        let cause = name(11)?.parse().map_err(|e: wa_proto::pane::UnknownWord| damaged(e.to_string()))?;
        let first_row = (place.ord < ORD_LINE).then_some(place.row);
        LogItem::Gap(Gap { pane: pane.clone(), layout, first_row, rows: rows.map(i64::cast_unsigned), cause })
    };
    Ok(LogEntry {
        id: row.get(0)?,
        host: Host::new(name(12)?).map_err(|e| damaged(e.to_string()))?,
        pane,
        layout,
        time: from_us("log.time_us", row.get(8)?).map_err(|e| damaged(e.to_string()))?,
        agent: row.get::<_, Option<String>>(9)?.map(AgentKind::new),
        item,
        place,
    })
}

/// As [`entry`]; a gap where what stands there cannot be read. `None`: not even its place can.
pub(super) fn entry_or_gap(row: &Row<'_>) -> Result<Option<LogEntry>, StoreError> {
    let read = readable::one("log", row, entry)?;
    Ok(read.or_else(|| damaged_here(row)))
}

/// What is told in the place of a line that cannot be read. A message has no place among the lines.
fn damaged_here(row: &Row<'_>) -> Option<LogEntry> {
    let number = |at: usize| row.get::<_, i64>(at).ok();
    let name = |at: usize| row.get::<_, String>(at).ok();
    let place =
        Place { stream: number(1)?, layout: number(2)?, row: number(3)?, ord: number(4)?, sub: number(5)? };
    if place.ord == ORD_MESSAGE {
        return None;
    }
    let pane = PaneRef {
        mux: MuxName::new(name(13)?).ok()?,
        generation: Generation::new(name(15)?).ok()?,
        pane_id: number(14)?.cast_unsigned(),
    };
    let layout = place.layout.cast_unsigned();
    let (first_row, rows) = (Some(place.row), number(7).and_then(|rows| u64::try_from(rows).ok()));
    let gap = Gap { pane: pane.clone(), layout, first_row, rows, cause: GapCause::Damaged };
    Some(LogEntry {
        id: number(0)?,
        host: Host::new(name(12)?).ok()?,
        pane,
        layout,
        time: number(8).and_then(|us| from_us("log.time_us", us).ok()).unwrap_or(Timestamp::UNIX_EPOCH),
        agent: None,
        item: LogItem::Gap(gap),
        place,
    })
}

/// Text in one page: lines may be long, and many pages are read at a time.
const PAGE_BYTES: usize = 2 * 1024 * 1024;

/// Whether a page ends because of the size of its texts.
pub(super) fn is_full(page: &[LogEntry]) -> bool {
    page.iter().map(LogEntry::text_bytes).sum::<usize>() >= PAGE_BYTES
}

/// Reads rows until `limit` entries, or [`PAGE_BYTES`] of text, are in `out`; whether there is room for more.
pub(super) fn fill(
    mut rows: rusqlite::Rows<'_>,
    limit: usize,
    out: &mut Vec<LogEntry>,
) -> Result<bool, StoreError> {
    let mut bytes: usize = out.iter().map(LogEntry::text_bytes).sum();
    while out.len() < limit
        && bytes < PAGE_BYTES
        && let Some(row) = rows.next()?
    {
        let Some(entry) = entry_or_gap(row)? else { continue };
        bytes += entry.text_bytes();
        out.push(entry);
    }
    Ok(out.len() < limit && bytes < PAGE_BYTES)
}

/// No row comes to such an id: one that has it was given it by hand, and must not be the one that all others follow.
pub(super) const NO_ID: i64 = 1 << 62;

/// The id of the newest row, line or message.
pub(super) fn head(conn: &Connection) -> Result<i64, StoreError> {
    let newest = "SELECT max((SELECT coalesce(max(id), 0) FROM log WHERE id < ?1),
                             (SELECT coalesce(max(id), 0) FROM messages WHERE id < ?1), 0)";
    Ok(conn.query_row(newest, [NO_ID], |row| row.get(0))?)
}

/// Every life of a pane's address, oldest first.
pub(super) fn streams(conn: &Connection, pane: &PaneAddress) -> Result<Vec<i64>, StoreError> {
    let mut statement = conn
        .prepare_cached("SELECT id FROM streams WHERE host = ?1 AND mux = ?2 AND pane_id = ?3 ORDER BY id")?;
    let ids = statement
        .query_map(params![pane.host.as_str(), pane.mux.as_str(), int(pane.pane_id)?], |row| row.get(0))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

/// Whether anything of this pane was ever logged.
pub(super) fn knows(conn: &Connection, pane: &PaneAddress) -> Result<bool, StoreError> {
    let found: Option<i64> = conn
        .prepare_cached("SELECT id FROM streams WHERE host = ?1 AND mux = ?2 AND pane_id = ?3 LIMIT 1")?
        .query_row(params![pane.host.as_str(), pane.mux.as_str(), int(pane.pane_id)?], |row| row.get(0))
        .optional()?;
    Ok(found.is_some())
}

/// What to read of a pane.
#[derive(Debug, Clone)]
pub struct LogRange {
    pub pane: PaneAddress,
    pub since: Option<Timestamp>,
    /// Rows that arrived after it are left to the follower; `i64::MAX` where there is none.
    pub head: i64,
}

pub(super) fn since_us(since: Option<Timestamp>) -> i64 {
    since.map_or(i64::MIN, Timestamp::as_microsecond)
}

/// A page of a pane in the pane's order, after `after`; empty at the end.
pub(super) fn page(
    conn: &Connection,
    range: &LogRange,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Vec<LogEntry>, StoreError> {
    let mut out = Vec::new();
    for stream in streams(conn, &range.pane)? {
        let from = match after {
            Some(Cursor(place)) if place.stream > stream => continue,
            Some(Cursor(place)) if place.stream == stream => place,
            _ => Place { stream, layout: i64::MIN, row: i64::MIN, ord: i64::MIN, sub: i64::MIN },
        };
        let mut statement = conn.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM log JOIN streams ON streams.id = log.stream
             WHERE stream = ?1 AND (layout, row, ord, sub) > (?2, ?3, ?4, ?5) AND log.id <= ?6 AND time_us >= ?7
               AND {SHOWN}
             ORDER BY layout, row, ord, sub LIMIT ?8"
        ))?;
        let left = int((limit - out.len()) as u64)?;
        let rows = statement.query(params![
            stream,
            from.layout,
            from.row,
            from.ord,
            from.sub,
            range.head,
            since_us(range.since),
            left
        ])?;
        if !fill(rows, limit, &mut out)? {
            break;
        }
    }
    Ok(out)
}

/// The last `count` entries of a pane, in its order.
pub(super) fn tail(conn: &Connection, range: &LogRange, count: usize) -> Result<Vec<LogEntry>, StoreError> {
    let mut out = Vec::new();
    for stream in streams(conn, &range.pane)?.into_iter().rev() {
        let mut statement = conn.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM log JOIN streams ON streams.id = log.stream
             WHERE stream = ?1 AND log.id <= ?2 AND time_us >= ?3 AND {SHOWN}
             ORDER BY layout DESC, row DESC, ord DESC, sub DESC LIMIT ?4"
        ))?;
        let left = int((count - out.len()) as u64)?;
        let mut rows = statement.query(params![stream, range.head, since_us(range.since), left])?;
        while let Some(row) = rows.next()? {
            out.extend(entry_or_gap(row)?);
        }
        if out.len() >= count {
            break;
        }
    }
    out.reverse();
    Ok(out)
}

/// What arrived for a pane after `head`, in order of arrival.
pub(super) fn arrivals(
    conn: &Connection,
    pane: &PaneAddress,
    head: i64,
    limit: usize,
) -> Result<Vec<LogEntry>, StoreError> {
    let streams = streams(conn, pane)?;
    if streams.is_empty() {
        return Ok(Vec::new());
    }
    let places = vec!["?"; streams.len()].join(",");
    let mut statement = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM log JOIN streams ON streams.id = log.stream
         WHERE log.id > ? AND log.id < {NO_ID} AND +log.stream IN ({places}) AND {SHOWN} ORDER BY log.id LIMIT ?"
    ))?;
    let ids = streams.into_iter().map(Value::Integer);
    let values = std::iter::once(Value::Integer(head)).chain(ids).chain([Value::Integer(int(limit as u64)?)]);
    let mut out = Vec::new();
    fill(statement.query(params_from_iter(values))?, limit, &mut out)?;
    Ok(out)
}
