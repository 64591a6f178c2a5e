//! Conversations: what agents' session files say, into the store and out of it.
//!
//! Constraints. Session files are read again, from their beginning or from the middle: after a restart, after a rotation,
//! when a session is resumed in another pane. A message is therefore named by (host, agent, session, index) and stands
//! once; the last text that was told is the text, and the same again changes nothing, so that followers hear nothing of
//! it. A node can only speak for its own host. Ids, names and texts are whatever a file holds: what is too long is cut,
//! what has no usable name is left out, control characters go, and all of it is counted.
//!
//! Place in time: by the agent's clock where it tells, but never after the capture and never before the message before
//! it, so that one clock that jumps cannot turn a conversation around. The place is given once and stays when the text
//! is replaced.
//!
//! Panes: a message belongs to every pane that told it. A resumed session may be a new one with copies of the old
//! messages in it; a copy keeps the agent's own id of the message, and in one pane only the older session's is shown.

use std::cmp::Ordering;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, params, params_from_iter};
use wa_proto::wire::{from_us, to_us};
use wa_proto::{Conversation, Host, Message, PaneAddress, Timestamp};

use super::ingest::INDEX_WORDS;
use super::log::{Cursor, LogEntry, LogRange, fill, is_full, since_us, streams};
use super::{StoreError, Tx, int, words};

/// A message and the session that it is of.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    pub session_id: String,
    /// Bytes of the session file right before it that were not read.
    pub skipped_bytes: u64,
    pub message: Message,
}

/// What became of the messages of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Heard {
    /// New, or with a new text.
    pub(super) messages: usize,
    /// Messages that were left out, or changed because of what was in them.
    pub(super) cut: usize,
}

/// Messages of one record; the rest is left out.
const MAX_MESSAGES: usize = 4096;
/// Bytes of a text. Nodes cut far earlier.
const MAX_TEXT: usize = 128 * 1024;
/// Bytes of a session's or a message's id: a longer one names nothing.
const MAX_ID: usize = 256;
/// Bytes of a tool's or an agent's name.
const MAX_NAME: usize = 128;

/// The columns of a message, in the places of [`super::log::COLUMNS`], then its own.
macro_rules! columns {
    ($stream:literal) => {
        concat!(
            "messages.id, ",
            $stream,
            ", messages.session, messages.idx, 3, messages.at_us, 0, NULL, messages.at_us, sessions.agent, \
             messages.text, NULL, streams.host, streams.mux, streams.pane_id, streams.generation, \
             sessions.session_id, messages.skipped_bytes, messages.mid, messages.role, messages.name, \
             messages.cut_bytes, messages.said_us"
        )
    };
}

/// Of a message as the pane has it that told it first.
pub(super) const COLUMNS: &str = columns!("messages.stream");
/// Of a message as a pane has it.
const COLUMNS_HERE: &str = columns!("said.stream");

/// The last columns of [`COLUMNS`], for a row that is none.
pub(super) const NO_COLUMNS: &str = "NULL, NULL, NULL, NULL, NULL, NULL, NULL";

/// Holds for messages that stand in no older session of the pane that told them first.
pub(super) const NO_COPY: &str = "NOT EXISTS (SELECT 1 FROM messages AS older
     WHERE messages.mid <> '' AND older.mid = messages.mid AND older.mid <> '' AND older.session < messages.session
       AND older.stream = messages.stream AND older.role = messages.role AND older.text = messages.text)";

/// The same within one pane, whoever told them first.
const NO_COPY_HERE: &str = "NOT EXISTS (SELECT 1 FROM messages AS older
       JOIN said AS beside ON beside.stream = said.stream AND beside.at_us = older.at_us
        AND beside.session = older.session AND beside.idx = older.idx
     WHERE messages.mid <> '' AND older.mid = messages.mid AND older.mid <> '' AND older.session < messages.session
       AND older.role = messages.role AND older.text = messages.text)";

const FROM: &str = "FROM said JOIN messages ON messages.session = said.session AND messages.idx = said.idx
     JOIN sessions ON sessions.id = said.session JOIN streams ON streams.id = said.stream";

/// Takes out what no text should have; whether there was any.
fn clean(text: &mut String) -> bool {
    let bad = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    let found = text.contains(bad);
    if found {
        text.retain(|c| !bad(c));
    }
    found
}

/// Cuts to so many bytes; the bytes that went.
fn cut(text: &mut String, most: usize) -> usize {
    let before = text.len();
    text.truncate(text.floor_char_boundary(most));
    before - text.len()
}

/// Brings a message into bounds; whether something had to be changed.
fn bound(message: &mut Message) -> bool {
    let mut changed = clean(&mut message.text) | clean(&mut message.name) | clean(&mut message.id);
    let lost = cut(&mut message.text, MAX_TEXT);
    message.cut_bytes = message.cut_bytes.saturating_add(lost as u64).min(i64::MAX.cast_unsigned());
    changed |= (lost > 0) | (cut(&mut message.name, MAX_NAME) > 0);
    if message.id.len() > MAX_ID {
        message.id.clear();
        changed = true;
    }
    changed
}

/// What is held of a message.
struct Held {
    id: i64,
    at_us: i64,
    skipped: i64,
    same: bool,
}

impl Tx<'_> {
    pub(super) fn enter_conversation(
        &self,
        host: &Host,
        conversation: Conversation,
        time: Timestamp,
    ) -> Result<Heard, StoreError> {
        let Conversation { pane, agent, mut session_id, skipped_bytes, messages } = conversation;
        let mut agent = agent.as_str().to_owned();
        let all = messages.len();
        if session_id.is_empty() || session_id.len() > MAX_ID || agent.len() > MAX_NAME {
            return Ok(Heard { messages: 0, cut: all });
        }
        let mut heard = Heard { messages: 0, cut: all.saturating_sub(MAX_MESSAGES) };
        heard.cut += usize::from(clean(&mut session_id) | clean(&mut agent));
        let stream = self.stream(host, &pane)?;
        let session = self.session(host, &agent, &session_id)?;
        let mut skipped = i64::try_from(skipped_bytes).unwrap_or(i64::MAX);
        for mut message in messages.into_iter().take(MAX_MESSAGES) {
            // An index beyond SQLite's integers is no count of anything.
            let Ok(idx) = i64::try_from(message.index) else {
                heard.cut += 1;
                continue;
            };
            heard.cut += usize::from(bound(&mut message));
            let new =
                self.enter_message(stream, session, idx, &message, std::mem::take(&mut skipped), time)?;
            heard.messages += usize::from(new);
        }
        Ok(heard)
    }

    fn session(&self, host: &Host, agent: &str, session_id: &str) -> Result<i64, StoreError> {
        let key = params![host.as_str(), agent, session_id];
        let known = self
            .conn
            .prepare_cached("SELECT id FROM sessions WHERE host = ?1 AND agent = ?2 AND session_id = ?3")?
            .query_row(key, |row| row.get(0))
            .optional()?;
        if let Some(id) = known {
            return Ok(id);
        }
        self.conn
            .prepare_cached("INSERT INTO sessions (host, agent, session_id) VALUES (?1, ?2, ?3)")?
            .execute(key)?;
        Ok(self.conn.last_insert_rowid())
    }

    /// `false` when it stands there already.
    fn enter_message(
        &self,
        stream: i64,
        session: i64,
        idx: i64,
        message: &Message,
        skipped: i64,
        time: Timestamp,
    ) -> Result<bool, StoreError> {
        let held = self.held(session, idx, message)?;
        let at_us = match &held {
            Some(held) => held.at_us,
            None => self.place_in_time(session, idx, message.time, time)?,
        };
        self.conn
            .prepare_cached(
                "INSERT OR IGNORE INTO said (stream, at_us, session, idx) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute([stream, at_us, session, idx])?;
        // Who once read what stands before it has it.
        let skipped = held.as_ref().map_or(skipped, |held| held.skipped.min(skipped));
        match held {
            Some(held) if held.same => {
                if skipped != held.skipped {
                    self.conn
                        .prepare_cached("UPDATE messages SET skipped_bytes = ?2 WHERE id = ?1")?
                        .execute([held.id, skipped])?;
                }
                return Ok(false);
            }
            Some(held) => self.replace(held.id, message, skipped, time)?,
            None => self.add(stream, session, idx, at_us, message, skipped, time)?,
        }
        Ok(true)
    }

    fn held(&self, session: i64, idx: i64, message: &Message) -> Result<Option<Held>, StoreError> {
        let held = self
            .conn
            .prepare_cached(
                "SELECT id, at_us, skipped_bytes, mid = ?3 AND role = ?4 AND name = ?5 AND text = ?6 AND cut_bytes = ?7
                 FROM messages WHERE session = ?1 AND idx = ?2",
            )?
            .query_row(
                params![
                    session,
                    idx,
                    message.id,
                    message.role.as_str(),
                    message.name,
                    message.text,
                    int(message.cut_bytes)?
                ],
                |row| {
                    Ok(Held { id: row.get(0)?, at_us: row.get(1)?, skipped: row.get(2)?, same: row.get(3)? })
                },
            )
            .optional()?;
        Ok(held)
    }

    fn place_in_time(
        &self,
        session: i64,
        idx: i64,
        said: Option<Timestamp>,
        captured: Timestamp,
    ) -> Result<i64, StoreError> {
        let before: Option<i64> = self
            .conn
            .prepare_cached(
                "SELECT at_us FROM messages WHERE session = ?1 AND idx < ?2 ORDER BY idx DESC LIMIT 1",
            )?
            .query_row([session, idx], |row| row.get(0))
            .optional()?;
        let at = to_us(said.map_or(captured, |said| said.min(captured)));
        Ok(before.map_or(at, |before| before.max(at)))
    }

    #[expect(clippy::too_many_arguments, reason = "the columns of a row")]
    fn add(
        &self,
        stream: i64,
        session: i64,
        idx: i64,
        at_us: i64,
        message: &Message,
        skipped: i64,
        time: Timestamp,
    ) -> Result<(), StoreError> {
        let id = self.take_log_id();
        self.conn
            .prepare_cached(
                "INSERT INTO messages (id, session, idx, stream, at_us, said_us, captured_us, mid, role, name, text,
                 cut_bytes, skipped_bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            )?
            .execute(params![
                id,
                session,
                idx,
                stream,
                at_us,
                message.time.map(to_us),
                to_us(time),
                message.id,
                message.role.as_str(),
                message.name,
                message.text,
                int(message.cut_bytes)?,
                skipped
            ])?;
        self.index_words(id, &message.text)
    }

    /// A new text has a new id: for followers it arrives again.
    fn replace(&self, old: i64, message: &Message, skipped: i64, time: Timestamp) -> Result<(), StoreError> {
        let id = self.take_log_id();
        self.conn
            .prepare_cached(
                "UPDATE messages SET id = ?2, said_us = ?3, captured_us = ?4, mid = ?5, role = ?6, name = ?7,
                 text = ?8, cut_bytes = ?9, skipped_bytes = ?10 WHERE id = ?1",
            )?
            .execute(params![
                old,
                id,
                message.time.map(to_us),
                to_us(time),
                message.id,
                message.role.as_str(),
                message.name,
                message.text,
                int(message.cut_bytes)?,
                skipped
            ])?;
        self.conn.prepare_cached("DELETE FROM log_words WHERE rowid = ?1")?.execute([old])?;
        self.index_words(id, &message.text)
    }

    /// Puts a text into the full-text index.
    pub(super) fn index_words(&self, id: i64, text: &str) -> Result<(), StoreError> {
        let folded = words::index_text(text);
        if !folded.is_empty() {
            self.conn.prepare_cached(INDEX_WORDS)?.execute(params![id, folded])?;
        }
        Ok(())
    }
}

/// A row of [`COLUMNS`], from its first own column on. Everything on disk is checked again.
pub(super) fn said(row: &rusqlite::Row<'_>, index: i64, text: String) -> Result<Said, StoreError> {
    let damaged = |problem: String| StoreError::Damaged(problem.into());
    let number = |at: usize| row.get::<_, i64>(at).map(i64::cast_unsigned);
    let role: String = row.get(19)?;
    let time = row.get::<_, Option<i64>>(22)?.map(|us| from_us("messages.said_us", us)).transpose();
    Ok(Said {
        session_id: row.get(16)?,
        skipped_bytes: number(17)?,
        message: Message {
            index: index.cast_unsigned(),
            id: row.get(18)?,
            role: role.parse().map_err(|e: wa_proto::pane::UnknownWord| damaged(e.to_string()))?,
            name: row.get(20)?,
            text,
            cut_bytes: number(21)?,
            time: time.map_err(|e| damaged(e.to_string()))?,
        },
    })
}

/// A page of what was said in a pane, in the order of time, after `after`; empty at the end.
pub(super) fn page(
    conn: &Connection,
    range: &LogRange,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Vec<LogEntry>, StoreError> {
    let mut out = Vec::new();
    for stream in streams(conn, &range.pane)? {
        let (at, session, idx) = match after.map(Cursor::place) {
            Some(place) if place.stream > stream => continue,
            Some(place) if place.stream == stream => (place.sub, place.layout, place.row),
            _ => (since_us(range.since), i64::MIN, i64::MIN),
        };
        let mut statement = conn.prepare_cached(&format!(
            "SELECT {COLUMNS_HERE} {FROM} WHERE said.stream = ?1
               AND (said.at_us, said.session, said.idx) > (?2, ?3, ?4) AND messages.id <= ?5 AND {NO_COPY_HERE}
             ORDER BY said.at_us, said.session, said.idx LIMIT ?6"
        ))?;
        let left = int((limit - out.len()) as u64)?;
        let rows = statement.query([stream, at, session, idx, range.head, left])?;
        if !fill(rows, limit, &mut out)? {
            break;
        }
    }
    Ok(out)
}

/// The last `count` messages of a pane, in the order of time; fewer where they are long.
pub(super) fn tail(conn: &Connection, range: &LogRange, count: usize) -> Result<Vec<LogEntry>, StoreError> {
    let mut out = Vec::new();
    for stream in streams(conn, &range.pane)?.into_iter().rev() {
        let mut statement = conn.prepare_cached(&format!(
            "SELECT {COLUMNS_HERE} {FROM} WHERE said.stream = ?1 AND said.at_us >= ?2 AND messages.id <= ?3
               AND {NO_COPY_HERE}
             ORDER BY said.at_us DESC, said.session DESC, said.idx DESC LIMIT ?4"
        ))?;
        let left = int((count - out.len()) as u64)?;
        let rows = statement.query([stream, since_us(range.since), range.head, left])?;
        if !fill(rows, count, &mut out)? {
            break;
        }
    }
    out.reverse();
    Ok(out)
}

/// Whether there is no message of the pane before this one; with none, none at all.
pub(super) fn nothing_before(
    conn: &Connection,
    range: &LogRange,
    first: Option<Cursor>,
) -> Result<bool, StoreError> {
    let Some(first) = first.map(Cursor::place) else { return Ok(true) };
    for stream in streams(conn, &range.pane)? {
        let (at, session, idx) = match stream.cmp(&first.stream) {
            Ordering::Less => (i64::MAX, i64::MAX, i64::MAX),
            Ordering::Equal => (first.sub, first.layout, first.row),
            Ordering::Greater => break,
        };
        let found: Option<i64> = conn
            .prepare_cached(
                "SELECT idx FROM said WHERE stream = ?1 AND (at_us, session, idx) < (?2, ?3, ?4) AND at_us >= ?5
                 LIMIT 1",
            )?
            .query_row([stream, at, session, idx, since_us(range.since)], |row| row.get(0))
            .optional()?;
        if found.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Lines, gaps and messages that arrived for a pane after `head`, in order of arrival.
pub(super) fn arrivals_of_both(
    conn: &Connection,
    pane: &PaneAddress,
    head: i64,
    limit: usize,
) -> Result<Vec<LogEntry>, StoreError> {
    let mut both = arrivals(conn, pane, head, limit)?;
    let seen = super::log::arrivals(conn, pane, head, limit)?;
    // Either may have been cut at its limit: what lies behind the shorter one's end comes with the next call.
    let end =
        |page: &[LogEntry]| page.last().filter(|_| page.len() >= limit || is_full(page)).map(|last| last.id);
    let to = end(&both).into_iter().chain(end(&seen)).min().unwrap_or(i64::MAX);
    both.extend(seen);
    both.retain(|entry| entry.id <= to);
    both.sort_by_key(|entry| entry.id);
    Ok(both)
}

/// What was said in a pane and arrived after `head`, in order of arrival.
fn arrivals(
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
        "SELECT {COLUMNS_HERE} FROM messages JOIN said ON said.at_us = messages.at_us AND said.session = messages.session
           AND said.idx = messages.idx AND said.stream IN ({places})
         JOIN sessions ON sessions.id = said.session JOIN streams ON streams.id = said.stream
         WHERE messages.id > ? AND {NO_COPY_HERE} ORDER BY messages.id LIMIT ?"
    ))?;
    let ids = streams.into_iter().map(Value::Integer);
    let values = ids.chain([Value::Integer(head), Value::Integer(int(limit as u64)?)]);
    let mut out = Vec::new();
    fill(statement.query(params_from_iter(values))?, limit, &mut out)?;
    Ok(out)
}

/// Whether anything was ever said in this pane.
pub(super) fn knows(conn: &Connection, pane: &PaneAddress) -> Result<bool, StoreError> {
    for stream in streams(conn, pane)? {
        let found: Option<i64> = conn
            .prepare_cached("SELECT idx FROM said WHERE stream = ?1 LIMIT 1")?
            .query_row([stream], |row| row.get(0))
            .optional()?;
        if found.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The `ord` of messages: after the places of lines and gaps.
pub(super) const ORD_MESSAGE: i64 = 3;
