//! The inbox: what has happened and is not worked off.
//!
//! A row goes away in the commit that holds all that follows from it; a crash before leaves the row, a crash after leaves the
//! effects (promise W1). A trigger may wait here, for its turn on the pane or for a time.

use jiff::SignedDuration;
use prost::Message as _;
use rusqlite::{Row, params};
use wa_proto::wire::{from_us, to_us, v1};
use wa_proto::{Event, Generation, Host, MuxName, PaneRef, RunId, Timestamp};
use wa_workflow::Input;

use super::{StoreError, Tx, int};

/// One row of the inbox.
#[derive(Debug, Clone, PartialEq)]
pub struct InboxRow {
    pub n: i64,
    pub host: Host,
    pub pane: PaneRef,
    pub trace_parent: String,
    /// When the event happened, by its node's clock. `None`: not known, or it waited for its turn here.
    pub happened: Option<Timestamp>,
    /// It was looked at once, and put off.
    pub put_off: bool,
    pub item: InboxItem,
}

#[derive(Debug, Clone, PartialEq)]
pub enum InboxItem {
    /// May start runs: of `workflow` only, where one was named when it had to wait.
    Event { event: Box<Event>, workflow: Option<String> },
    /// For one run.
    Input { run: RunId, input: Input },
}

fn damaged(problem: impl std::fmt::Display) -> StoreError {
    StoreError::Damaged(problem.to_string().into())
}

fn pane_of(row: &Row<'_>, mux: usize, pane_id: usize, generation: usize) -> Result<PaneRef, StoreError> {
    Ok(PaneRef {
        mux: MuxName::new(row.get::<_, String>(mux)?).map_err(damaged)?,
        generation: Generation::new(row.get::<_, String>(generation)?).map_err(damaged)?,
        pane_id: row.get::<_, i64>(pane_id)?.cast_unsigned(),
    })
}

/// Nothing is put off for longer.
const LONGEST: SignedDuration = SignedDuration::from_secs(60);

/// In microseconds: what is to come up again later than this was put off by a clock that has been set back since.
pub(super) fn latest_due(now: Timestamp) -> i64 {
    to_us(now.saturating_add(LONGEST).unwrap_or(now))
}

const INBOX: &str = "n, host, mux, pane_id, generation, run_id, workflow, body, trace_parent, event_us, \
                     due_us IS NOT NULL";

fn inbox_row(row: &Row<'_>) -> Result<InboxRow, StoreError> {
    let body: Vec<u8> = row.get(7)?;
    let item = match row.get::<_, Option<Vec<u8>>>(5)? {
        Some(run) => InboxItem::Input {
            run: RunId::from_slice(&run).ok_or_else(|| damaged("inbox.run_id"))?,
            input: serde_json::from_slice(&body).map_err(|e| damaged(format!("inbox: {e}")))?,
        },
        None => {
            let event: Event =
                v1::Event::decode(body.as_slice()).map_err(damaged)?.try_into().map_err(damaged)?;
            InboxItem::Event { event: Box::new(event), workflow: row.get(6)? }
        }
    };
    Ok(InboxRow {
        n: row.get(0)?,
        host: Host::new(row.get::<_, String>(1)?).map_err(damaged)?,
        pane: pane_of(row, 2, 3, 4)?,
        trace_parent: row.get(8)?,
        happened: row.get::<_, Option<i64>>(9)?.and_then(|us| from_us("inbox.event_us", us).ok()),
        put_off: row.get(10)?,
        item,
    })
}

/// A row that enters the inbox; it is worked off before the commit ends, unless it waits.
struct NewRow<'a> {
    host: &'a Host,
    pane: &'a PaneRef,
    /// `None`: an event.
    run: Option<RunId>,
    /// For this one alone.
    workflow: Option<&'a str>,
    body: &'a [u8],
    trace_parent: &'a str,
    happened: Option<Timestamp>,
    waits: Waits,
}

/// Until when a row waits.
#[derive(Clone, Copy)]
enum Waits {
    No,
    /// Until the pane's present run has ended.
    ForItsTurn,
    Until(Timestamp),
}

impl<'a> NewRow<'a> {
    fn of(host: &'a Host, pane: &'a PaneRef, body: &'a [u8], trace_parent: &'a str) -> Self {
        let waits = Waits::No;
        Self { host, pane, run: None, workflow: None, body, trace_parent, happened: None, waits }
    }
}

fn body_of(event: &Event) -> Vec<u8> {
    v1::Event::from(event.clone()).encode_to_vec()
}

impl Tx<'_> {
    fn put(&self, new: &NewRow<'_>) -> Result<(), StoreError> {
        let (queued, due) = match new.waits {
            Waits::No => (0, None),
            Waits::ForItsTurn => (1, None),
            Waits::Until(due) => (0, Some(due)),
        };
        self.conn
            .prepare_cached(
                "INSERT INTO inbox (host, mux, pane_id, generation, run_id, workflow, body, trace_parent, event_us,
                 queued, due_us) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            )?
            .execute(params![
                new.host.as_str(),
                new.pane.mux.as_str(),
                int(new.pane.pane_id)?,
                new.pane.generation.as_str(),
                new.run.map(|run| *run.as_bytes()),
                new.workflow,
                new.body,
                new.trace_parent,
                new.happened.map(to_us),
                queued,
                due.map(to_us)
            ])?;
        match new.waits {
            Waits::No => self.mark_inbox(),
            Waits::ForItsTurn => {}
            Waits::Until(due) => self.wake_at(due),
        }
        Ok(())
    }

    pub(super) fn inbox_event(
        &self,
        host: &Host,
        pane: &PaneRef,
        body: &[u8],
        happened: Timestamp,
        trace_parent: &str,
    ) -> Result<(), StoreError> {
        self.put(&NewRow { happened: Some(happened), ..NewRow::of(host, pane, body, trace_parent) })
    }

    /// A trigger for one workflow alone.
    pub fn inbox_trigger(
        &self,
        host: &Host,
        pane: &PaneRef,
        event: &Event,
        workflow: &str,
    ) -> Result<(), StoreError> {
        self.put(&NewRow { workflow: Some(workflow), ..NewRow::of(host, pane, &body_of(event), "") })
    }

    /// Records an input for a run.
    pub fn inbox_input(
        &self,
        host: &Host,
        pane: &PaneRef,
        run: RunId,
        input: &Input,
        trace_parent: &str,
    ) -> Result<(), StoreError> {
        let body = serde_json::to_vec(input).map_err(StoreError::invalid)?;
        self.put(&NewRow { run: Some(run), ..NewRow::of(host, pane, &body, trace_parent) })
    }

    /// Keeps a trigger for one workflow until the pane's present run has ended.
    pub fn inbox_queue(&self, row: &InboxRow, event: &Event, workflow: &str) -> Result<(), StoreError> {
        self.put_again(row, event, workflow, None, Waits::ForItsTurn)
    }

    /// Lets a trigger come up again, for one workflow, at that time.
    pub fn inbox_put_off(
        &self,
        row: &InboxRow,
        event: &Event,
        workflow: &str,
        due: Timestamp,
    ) -> Result<(), StoreError> {
        self.put_again(row, event, workflow, row.happened, Waits::Until(due))
    }

    fn put_again(
        &self,
        row: &InboxRow,
        event: &Event,
        workflow: &str,
        happened: Option<Timestamp>,
        waits: Waits,
    ) -> Result<(), StoreError> {
        let body = body_of(event);
        let again = NewRow::of(&row.host, &row.pane, &body, &row.trace_parent);
        self.put(&NewRow { workflow: Some(workflow), happened, waits, ..again })
    }

    /// Rows to work off now, in order of arrival. One that cannot be read is set aside.
    pub fn inbox_fresh(&self) -> Result<Vec<InboxRow>, StoreError> {
        let mut statement = self.conn.prepare_cached(&format!(
            "SELECT {INBOX} FROM inbox WHERE queued = 0 AND (due_us IS NULL OR due_us <= ?1 OR due_us > ?2)
                 ORDER BY n LIMIT 64"
        ))?;
        let mut rows = statement.query([to_us(self.now), latest_due(self.now)])?;
        let (mut out, mut unreadable) = (Vec::new(), Vec::new());
        while let Some(row) = rows.next()? {
            match inbox_row(row) {
                Ok(row) => out.push(row),
                Err(error) => unreadable.push((row.get(0)?, error)),
            }
        }
        for (n, error) in unreadable {
            tracing::error!(%error, row = n, "a row of the inbox cannot be read and was set aside");
            self.inbox_set_aside(n)?;
        }
        Ok(out)
    }

    /// The row is worked off.
    pub fn inbox_done(&self, n: i64) -> Result<(), StoreError> {
        self.conn.prepare_cached("DELETE FROM inbox WHERE n = ?1")?.execute([n])?;
        Ok(())
    }

    /// The row cannot be worked off: it is kept, and not tried again.
    pub fn inbox_set_aside(&self, n: i64) -> Result<(), StoreError> {
        self.conn
            .prepare_cached("UPDATE inbox SET queued = 2, aside_us = ?2 WHERE n = ?1")?
            .execute(params![n, to_us(self.now)])?;
        Ok(())
    }

    /// Triggers that wait for this pane.
    pub fn inbox_waiting(&self, host: &Host, pane: &PaneRef) -> Result<u64, StoreError> {
        let count: i64 = self
            .conn
            .prepare_cached(
                "SELECT count(*) FROM inbox WHERE queued = 1 AND host = ?1 AND mux = ?2 AND pane_id = ?3
                 AND generation = ?4",
            )?
            .query_row(
                params![host.as_str(), pane.mux.as_str(), int(pane.pane_id)?, pane.generation.as_str()],
                |row| row.get(0),
            )?;
        Ok(count.cast_unsigned())
    }

    /// Lets the oldest trigger that waits for this pane come up again; whether there was one.
    pub fn inbox_release(&self, host: &Host, pane: &PaneRef) -> Result<bool, StoreError> {
        let released = self
            .conn
            .prepare_cached(
                "UPDATE inbox SET queued = 0 WHERE n = (SELECT n FROM inbox WHERE queued = 1 AND host = ?1
                 AND mux = ?2 AND pane_id = ?3 AND generation = ?4 ORDER BY n LIMIT 1)",
            )?
            .execute(params![
                host.as_str(),
                pane.mux.as_str(),
                int(pane.pane_id)?,
                pane.generation.as_str()
            ])?;
        Ok(released > 0)
    }
}
