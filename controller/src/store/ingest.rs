//! Records into the log, each once.
//!
//! Constraints (promises L1, L2): a record is named by (node, spool id, lane, seq) and enters once, whatever is re-sent
//! and however late; a lane's high-water mark moves only over records that are in the log or over a hole that the node
//! named; mark, lines, events and inbox rows are one commit, and the acknowledgement comes after it.
//!
//! Operation: seqs up to the mark are skipped. A seq beyond mark + 1 is refused unless holes cover everything between.
//! A hole may come in its turn, or ahead of it in the same block; it is remembered, for the block that follows it may
//! arrive on another connection. Independently of the marks, a line's place (pane, layout, row) holds one line, the
//! newest rev, and an event's id stands once: a spool that was restored under a new id doubles nothing.

use prost::Message as _;
use rusqlite::{CachedStatement, OptionalExtension as _, params};
use wa_link::trace;
use wa_proto::wire::{to_us, v1};
use wa_proto::{
    Event, EventId, EventKind, Gap, GapCause, Hole, Host, Lane, Line, Lines, PaneRef, Record, RecordBody,
    SpoolId, Timestamp,
};

use super::aside::of_row;
use super::messages::Heard;
use super::slices::Slice;
use super::unknown::UnknownRecord;
use super::{StoreError, Tx, int, words};

/// Consecutive records of one lane, checked at the door.
#[derive(Debug, Clone)]
pub struct Batch {
    pub host: Host,
    pub spool: SpoolId,
    pub lane: Lane,
    pub records: Vec<Record>,
    /// Those among them that this version cannot read; in order, too.
    pub unknown: Vec<UnknownRecord>,
    /// Size before compression.
    pub bytes: usize,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ingested {
    /// The lane's high-water mark: everything up to and with it is durable.
    pub acked: u64,
    pub records: usize,
    pub lines: usize,
    /// Of conversations: new, or with a new text.
    pub messages: usize,
    /// Messages that were left out or changed, because of what was in them.
    pub messages_cut: usize,
    /// Records that this version cannot read.
    pub unknown: usize,
}

impl Ingested {
    /// What a later slice of the same batch brought.
    pub(super) fn add(&mut self, later: Self) {
        self.acked = self.acked.max(later.acked);
        self.records += later.records;
        self.lines += later.lines;
        self.messages += later.messages;
        self.messages_cut += later.messages_cut;
        self.unknown += later.unknown;
    }
}

pub(super) fn lane_number(lane: Lane) -> i32 {
    v1::Lane::from(lane).into()
}

/// Order within one place of the log.
pub(super) const ORD_GAP_HERE: i64 = 0;
pub(super) const ORD_LINE: i64 = 1;
pub(super) const ORD_GAP_AFTER: i64 = 2;

const INSERT_LINE: &str = "INSERT INTO log (id, stream, layout, row, ord, sub, rev, rows, time_us, agent, text)
     VALUES (?1, ?2, ?3, ?4, 1, 0, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (stream, layout, row, ord, sub) DO NOTHING";
pub(super) const INDEX_WORDS: &str = "INSERT INTO log_words (rowid, words) VALUES (?1, ?2)";

/// Gaps of one place and moment, to the microsecond, beyond the first. Whoever tells of more has
/// their number told as unknown.
const MOST_BESIDE: i64 = 15;

/// How far the log has come in a lane of a spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark {
    /// Everything up to and with this seq is in the log; 0 = nothing.
    pub acked: u64,
    /// The node's clock when that record was captured, microseconds since the epoch; 0 = not known.
    pub time_us: i64,
}

/// Where the lines of one record go, and with what.
struct LinePlace<'a> {
    stream: i64,
    layout: i64,
    agent: Option<&'a str>,
    time: Timestamp,
    insert: CachedStatement<'a>,
    index: CachedStatement<'a>,
    /// Folded for the index, line by line.
    words: String,
}

impl Tx<'_> {
    /// The high-water mark of a lane.
    pub fn mark(&self, host: &Host, spool: SpoolId, lane: Lane) -> Result<Mark, StoreError> {
        let mark = self
            .conn
            .prepare_cached(
                "SELECT acked, acked_time_us FROM spools WHERE host = ?1 AND spool_id = ?2 AND lane = ?3",
            )?
            .query_row(params![host.as_str(), spool.as_bytes(), lane_number(lane)], |row| {
                Ok(Mark { acked: row.get::<_, i64>(0)?.cast_unsigned(), time_us: row.get(1)? })
            })
            .optional()?;
        Ok(mark.unwrap_or_default())
    }

    /// Whether so many events of this host wait for workflows that it should send no more for the moment: others' events would
    /// wait behind them.
    pub(super) fn is_behind(&self, host: &Host) -> Result<bool, StoreError> {
        const BEHIND: i64 = 256;
        let waiting: i64 = self
            .conn
            .prepare_cached(
                "SELECT count(*) FROM (SELECT host FROM inbox WHERE queued = 0 AND due_us IS NULL ORDER BY n LIMIT 2048)
                 WHERE host = ?1",
            )?
            .query_row([host.as_str()], |row| row.get(0))?;
        if waiting > BEHIND {
            // They are worked off in the same commit, as far as its time goes.
            self.mark_inbox();
        }
        Ok(waiting > BEHIND)
    }

    /// Puts the records into the log and moves the mark.
    pub(super) fn ingest(&self, slice: Slice) -> Result<Ingested, StoreError> {
        let Slice { host, spool, lane, holes, records, unknown } = slice;
        let before = self.mark(&host, spool, lane)?.acked;
        for (hole, time) in &holes {
            self.remember_hole(&host, spool, lane, hole, *time)?;
        }
        let mut done = Ingested { acked: before, ..Ingested::default() };
        let (mut last, mut time_us) = (None, 0);
        let mut unknown = unknown.into_iter().peekable();
        let mut records = records.into_iter().peekable();
        loop {
            let next = records.peek().map(|record| record.seq);
            if let Some(other) = unknown.next_if(|other| next.is_none_or(|next| other.seq < next)) {
                if self.reach(&host, spool, lane, other.seq, &mut done)? {
                    time_us = other.time_us;
                    self.keep_unknown(&host, spool, lane, &other)?;
                    done.unknown += 1;
                }
            } else if let Some(record) = records.next() {
                if self.reach(&host, spool, lane, record.seq, &mut done)? {
                    let is_hole = matches!(record.body, RecordBody::Hole(_));
                    time_us = if is_hole { 0 } else { record.time.as_microsecond() };
                    if let RecordBody::Hole(hole) = &record.body
                        && (lane == Lane::Events || hole.gaps.is_empty())
                    {
                        self.enter_lost(&host, spool, lane, hole, record.time)?;
                    }
                    self.enter(&host, record, &mut last, &mut done)?;
                }
            } else {
                break;
            }
        }
        if done.acked > before {
            self.conn
                .prepare_cached(
                    "INSERT INTO spools (host, spool_id, lane, acked, acked_time_us) VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT DO UPDATE SET acked = excluded.acked, acked_time_us = excluded.acked_time_us",
                )?
                .execute(params![
                    host.as_str(),
                    spool.as_bytes(),
                    lane_number(lane),
                    int(done.acked)?,
                    time_us
                ])?;
            // What the mark has passed is named no more.
            self.conn
                .prepare_cached(
                    "DELETE FROM holes WHERE host = ?1 AND spool_id = ?2 AND lane = ?3 AND last_seq <= ?4",
                )?
                .execute(params![host.as_str(), spool.as_bytes(), lane_number(lane), int(done.acked)?])?;
        }
        Ok(done)
    }

    /// Moves the mark to this seq. `false`: it was there already.
    fn reach(
        &self,
        host: &Host,
        spool: SpoolId,
        lane: Lane,
        seq: u64,
        done: &mut Ingested,
    ) -> Result<bool, StoreError> {
        if seq <= done.acked {
            return Ok(false);
        }
        if seq > done.acked + 1 && self.over_holes(host, spool, lane, done.acked, seq)? + 1 < seq {
            return Err(StoreError::Missing { acked: done.acked, got: seq });
        }
        done.acked = seq;
        done.records += 1;
        Ok(true)
    }

    fn remember_hole(
        &self,
        host: &Host,
        spool: SpoolId,
        lane: Lane,
        hole: &Hole,
        time: Timestamp,
    ) -> Result<(), StoreError> {
        if hole.first_seq == 0 || hole.last_seq < hole.first_seq {
            let problem = format!("hole: {} to {} is no range of seqs", hole.first_seq, hole.last_seq);
            return Err(StoreError::invalid(problem));
        }
        let (first, last) = (int(hole.first_seq)?, int(hole.last_seq)?);
        self.conn
            .prepare_cached(
                "INSERT INTO holes (host, spool_id, lane, first_seq, last_seq, cause, time_us)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT DO UPDATE SET last_seq = max(last_seq, excluded.last_seq)",
            )?
            .execute(params![
                host.as_str(),
                spool.as_bytes(),
                lane_number(lane),
                first,
                last,
                hole.cause.as_str(),
                to_us(time)
            ])?;
        Ok(())
    }

    /// How far the mark may move from `acked` towards `seq` over known holes; at most `seq - 1`.
    fn over_holes(
        &self,
        host: &Host,
        spool: SpoolId,
        lane: Lane,
        acked: u64,
        seq: u64,
    ) -> Result<u64, StoreError> {
        let mut mark = acked;
        let mut find = self.conn.prepare_cached(
            "SELECT last_seq FROM holes WHERE host = ?1 AND spool_id = ?2 AND lane = ?3
             AND first_seq <= ?4 AND last_seq >= ?4 ORDER BY last_seq DESC LIMIT 1",
        )?;
        while mark + 1 < seq {
            let next = int(mark + 1)?;
            let last: Option<i64> = find
                .query_row(params![host.as_str(), spool.as_bytes(), lane_number(lane), next], |row| {
                    row.get(0)
                })
                .optional()?;
            let Some(last) = last else { break };
            mark = last.cast_unsigned().min(seq - 1);
        }
        Ok(mark)
    }

    /// Events that are gone were to be heard by people and workflows: that they are is an event of its own. So is that bulk is
    /// gone of which nobody knows the panes, for no log has a gap then. What a spool of another id had was told under that id.
    fn enter_lost(
        &self,
        host: &Host,
        spool: SpoolId,
        lane: Lane,
        hole: &Hole,
        time: Timestamp,
    ) -> Result<(), StoreError> {
        if hole.cause == GapCause::Restored {
            return Ok(());
        }
        // Named by what it tells of, so that it stands once.
        let (of_lane, what) = match lane {
            Lane::Events => (0, "events"),
            Lane::Bulk => (1 << 64, "records"),
        };
        let name = u128::from_be_bytes(*spool.as_bytes()) ^ u128::from(hole.last_seq) ^ of_lane;
        let Some(id) = EventId::from_slice(&name.to_be_bytes()) else { return Ok(()) };
        let time = if time == Timestamp::UNIX_EPOCH { self.now } else { time };
        let lost = hole.last_seq - hole.first_seq + 1;
        let fields = [("cause", hole.cause.as_str().to_owned()), (what, lost.to_string())];
        let event = Event { id, ..Event::new(EventKind::CaptureGap, fields) };
        self.enter_event(host, &event, time, "")
    }

    /// One record's effects. `last` is the pane of the lines before, and its stream: mostly theirs, too.
    pub(super) fn enter(
        &self,
        host: &Host,
        record: Record,
        last: &mut Option<(PaneRef, i64)>,
        done: &mut Ingested,
    ) -> Result<(), StoreError> {
        let (time, trace_parent) = (record.time, record.trace_parent);
        match record.body {
            RecordBody::Lines(lines) => {
                let stream = match last {
                    Some((pane, stream)) if *pane == lines.pane => *stream,
                    _ => self.stream(host, &lines.pane)?,
                };
                done.lines += self.enter_lines(stream, &lines, time)?;
                *last = Some((lines.pane, stream));
            }
            RecordBody::Gap(gap) => self.enter_gap(host, &gap, time)?,
            RecordBody::Hole(hole) => {
                // A node may find a hole without knowing when it came about.
                let time = if time == Timestamp::UNIX_EPOCH { self.now } else { time };
                for gap in &hole.gaps {
                    self.enter_gap(host, gap, time)?;
                }
            }
            RecordBody::Repaint(repaint) => {
                let stream = self.stream(host, &repaint.pane)?;
                self.conn
                    .prepare_cached("INSERT OR IGNORE INTO repaints VALUES (?1, ?2, ?3, ?4, ?5)")?
                    .execute(params![
                        stream,
                        int(repaint.layout)?,
                        repaint.first_row,
                        to_us(time),
                        repaint.rows
                    ])?;
            }
            RecordBody::Event(event) => self.enter_event(host, &event, time, &trace_parent)?,
            RecordBody::Conversation(conversation) => {
                let Heard { messages, cut } = self.enter_conversation(host, conversation, time)?;
                done.messages += messages;
                done.messages_cut += cut;
            }
            RecordBody::Outcome(outcome) => self.settle(host, outcome, &trace_parent)?,
        }
        Ok(())
    }

    /// The number of one life of one pane.
    pub(super) fn stream(&self, host: &Host, pane: &PaneRef) -> Result<i64, StoreError> {
        let key = params![host.as_str(), pane.mux.as_str(), int(pane.pane_id)?, pane.generation.as_str()];
        let known = self
            .conn
            .prepare_cached(
                "SELECT id FROM streams WHERE host = ?1 AND mux = ?2 AND pane_id = ?3 AND generation = ?4",
            )?
            .query_row(key, |row| row.get(0))
            .optional()?;
        if let Some(id) = known {
            return Ok(id);
        }
        self.conn
            .prepare_cached("INSERT INTO streams (host, mux, pane_id, generation) VALUES (?1, ?2, ?3, ?4)")?
            .execute(key)?;
        Ok(self.conn.last_insert_rowid())
    }

    fn enter_lines(&self, stream: i64, lines: &Lines, time: Timestamp) -> Result<usize, StoreError> {
        let mut place = LinePlace {
            stream,
            layout: int(lines.layout)?,
            agent: lines.agent.as_ref().map(|agent| agent.as_str()),
            time,
            insert: self.conn.prepare_cached(INSERT_LINE)?,
            index: self.conn.prepare_cached(INDEX_WORDS)?,
            words: String::new(),
        };
        let mut new = 0;
        for line in &lines.lines {
            new += usize::from(self.enter_line(&mut place, line)?);
        }
        Ok(new)
    }

    /// `false` when the place already holds this rev or a newer one.
    fn enter_line(&self, place: &mut LinePlace<'_>, line: &Line) -> Result<bool, StoreError> {
        // Nearly every line is new: whether its place is taken is asked by putting it there.
        let entered = self.insert_line(place, line)?
            || (self.remove_older(place, line)? && self.insert_line(place, line)?);
        if !entered {
            return Ok(false);
        }
        let id = self.take_log_id();
        words::index_text_into(&line.text, &mut place.words);
        if !place.words.is_empty() {
            place.index.execute(params![id, place.words])?;
        }
        Ok(true)
    }

    /// Puts it under the next id; `false` when its place is taken.
    fn insert_line(&self, place: &mut LinePlace<'_>, line: &Line) -> Result<bool, StoreError> {
        let added = place.insert.execute(params![
            self.next_log_id.get(),
            place.stream,
            place.layout,
            line.row,
            line.rev,
            line.rows,
            to_us(line.time.unwrap_or(place.time)),
            place.agent,
            line.text
        ])?;
        Ok(added > 0)
    }

    /// Makes room for a newer rev; `false` when the place holds this one or one that is newer still.
    fn remove_older(&self, place: &LinePlace<'_>, line: &Line) -> Result<bool, StoreError> {
        let (id, rev): (i64, u32) = self
            .conn
            .prepare_cached(
                "SELECT id, rev FROM log WHERE stream = ?1 AND layout = ?2 AND row = ?3 AND ord = 1 AND sub = 0",
            )?
            .query_row(params![place.stream, place.layout, line.row], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if rev >= line.rev {
            return Ok(false);
        }
        self.conn.prepare_cached("DELETE FROM log WHERE id = ?1")?.execute([id])?;
        self.conn.prepare_cached("DELETE FROM log_words WHERE rowid = ?1")?.execute([id])?;
        Ok(true)
    }

    fn enter_gap(&self, host: &Host, gap: &Gap, time: Timestamp) -> Result<(), StoreError> {
        let stream = self.stream(host, &gap.pane)?;
        let layout = int(gap.layout)?;
        let (row, ord) = match gap.first_row {
            Some(row) => (row, ORD_GAP_HERE),
            // Nobody counted its rows: it stands after what was last seen.
            None => (self.last_row(stream, layout)?, ORD_GAP_AFTER),
        };
        let rows = gap.rows.map(int).transpose()?;
        let cause = gap.cause.as_str();
        let Some(sub) = self.place_of_gap((stream, layout, row, ord), to_us(time), rows, cause)? else {
            return Ok(());
        };
        self.conn
            .prepare_cached(
                "INSERT INTO log (id, stream, layout, row, ord, sub, rev, rows, time_us, cause)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, ?8, ?9)",
            )?
            .execute(params![self.take_log_id(), stream, layout, row, ord, sub, rows, to_us(time), cause])?;
        Ok(())
    }

    /// Where a gap of this place and moment goes; `None`: it stands there already, or there are too many. The same gap again
    /// changes nothing; another one stands beside it.
    fn place_of_gap(
        &self,
        (stream, layout, row, ord): (i64, i64, i64, i64),
        first: i64,
        rows: Option<i64>,
        cause: &str,
    ) -> Result<Option<i64>, StoreError> {
        let mut beside = self.conn.prepare_cached(
            "SELECT sub, rows, cause FROM log WHERE stream = ?1 AND layout = ?2 AND row = ?3 AND ord = ?4
             AND sub BETWEEN ?5 AND ?6 ORDER BY sub",
        )?;
        let last = first.saturating_add(MOST_BESIDE);
        let mut found = beside.query([stream, layout, row, ord, first, last])?;
        let mut free = first;
        while let Some(held) = found.next()? {
            if held.get::<_, i64>(0)? != free {
                break;
            }
            if (held.get::<_, Option<i64>>(1)?, held.get::<_, String>(2)?.as_str()) == (rows, cause) {
                return Ok(None);
            }
            free += 1;
        }
        if free <= last {
            return Ok(Some(free));
        }
        // There is more of it than is kept apart: how much, the last one no longer says.
        self.conn
            .prepare_cached(
                "UPDATE log SET rows = NULL WHERE stream = ?1 AND layout = ?2 AND row = ?3 AND ord = ?4 AND sub = ?5",
            )?
            .execute([stream, layout, row, ord, last])?;
        Ok(None)
    }

    fn last_row(&self, stream: i64, layout: i64) -> Result<i64, StoreError> {
        let row: Option<i64> = self
            .conn
            .prepare_cached("SELECT max(row) FROM log WHERE stream = ?1 AND layout = ?2")?
            .query_row([stream, layout], |row| row.get(0))?;
        Ok(row.unwrap_or(0))
    }

    pub(super) fn take_log_id(&self) -> i64 {
        let id = self.next_log_id.get();
        self.next_log_id.set(id + 1);
        self.tell(|told| told.log = true);
        id
    }

    /// Stores an event and, if it stands on a pane, lets workflows see it. An id that is known changes nothing.
    pub fn enter_event(
        &self,
        host: &Host,
        event: &Event,
        time: Timestamp,
        trace_parent: &str,
    ) -> Result<(), StoreError> {
        let span = tracing::info_span!("log event", event = event.kind.as_str(), %host);
        trace::set_parent(&span, trace_parent);
        let ours = trace::parent_of(&span);
        let trace_parent = if ours.is_empty() { trace_parent } else { &ours };
        let body = v1::Event::from(event.clone()).encode_to_vec();
        let pane = event.pane.as_ref();
        let added = self
            .conn
            .prepare_cached(
                "INSERT OR IGNORE INTO events
                 (id, host, mux, pane_id, generation, time_us, event, agent, body, trace_parent)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?
            .execute(params![
                event.id.as_bytes(),
                host.as_str(),
                pane.map(|pane| pane.mux.as_str()),
                pane.map(|pane| int(pane.pane_id)).transpose()?,
                pane.map(|pane| pane.generation.as_str()),
                to_us(time),
                event.kind.as_str(),
                event.agent.as_ref().map_or("", |agent| agent.as_str()),
                body,
                trace_parent
            ])?;
        if added == 0 {
            return Ok(());
        }
        self.tell(|told| told.events = true);
        if let Err(error) = self.note_account_event(host, event, time) {
            // An account's row that cannot be read must not keep events out of the log.
            let what = of_row(error)?;
            tracing::error!(%what, "what an event says of an account was not noted");
        }
        match pane {
            Some(pane) => self.inbox_event(host, pane, &body, time, trace_parent),
            None => Ok(()),
        }
    }
}
