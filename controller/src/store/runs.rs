//! Inbox and runs: what has happened and is not worked off, and how far each workflow has come.
//!
//! An inbox row goes away in the commit that holds all that follows from it; a crash before leaves the row, a crash
//! after leaves the effects (promise W1). The inputs of a run are kept: its state is their fold.

use prost::Message as _;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use wa_proto::wire::{from_us, to_us, v1};
use wa_proto::{Event, Generation, Host, MuxName, PaneAddress, PaneRef, RunId, Timestamp};
use wa_workflow::{Input, Run, Status};

use super::{StoreError, Tx, int};

/// One row of the inbox.
#[derive(Debug, Clone, PartialEq)]
pub struct InboxRow {
    pub n: i64,
    pub host: Host,
    pub pane: PaneRef,
    pub trace_parent: String,
    pub item: InboxItem,
}

#[derive(Debug, Clone, PartialEq)]
pub enum InboxItem {
    /// May start runs: of `workflow` only, where one was named when it had to wait.
    Event { event: Box<Event>, workflow: Option<String> },
    /// For one run.
    Input { run: RunId, input: Input },
}

/// A run as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunSummary {
    pub run: Run,
    pub ended: Option<Timestamp>,
}

/// One input of a run, as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedInput {
    pub time: Timestamp,
    pub input: String,
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

fn read_run(body: &str) -> Result<Run, StoreError> {
    serde_json::from_str(body).map_err(|e| damaged(format!("a run's row: {e}")))
}

/// As its index has it.
const BAD_ENDS: &str =
    "SELECT count(*) FROM runs WHERE workflow = ?1 AND ended_us > ?2 AND state IN ('failed', 'unknown')";
const INBOX: &str = "n, host, mux, pane_id, generation, run_id, workflow, body, trace_parent";

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
        item,
    })
}

impl Tx<'_> {
    pub(super) fn inbox_event(
        &self,
        host: &Host,
        pane: &PaneRef,
        body: &[u8],
        trace_parent: &str,
    ) -> Result<(), StoreError> {
        self.conn
            .prepare_cached(
                "INSERT INTO inbox (host, mux, pane_id, generation, body, trace_parent)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                host.as_str(),
                pane.mux.as_str(),
                int(pane.pane_id)?,
                pane.generation.as_str(),
                body,
                trace_parent
            ])?;
        self.mark_inbox();
        Ok(())
    }

    /// A trigger for one workflow alone.
    pub fn inbox_trigger(
        &self,
        host: &Host,
        pane: &PaneRef,
        event: &Event,
        workflow: &str,
    ) -> Result<(), StoreError> {
        self.conn
            .prepare_cached(
                "INSERT INTO inbox (host, mux, pane_id, generation, workflow, body, trace_parent)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, '')",
            )?
            .execute(params![
                host.as_str(),
                pane.mux.as_str(),
                int(pane.pane_id)?,
                pane.generation.as_str(),
                workflow,
                v1::Event::from(event.clone()).encode_to_vec()
            ])?;
        self.mark_inbox();
        Ok(())
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
        self.conn
            .prepare_cached(
                "INSERT INTO inbox (host, mux, pane_id, generation, run_id, body, trace_parent)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                host.as_str(),
                pane.mux.as_str(),
                int(pane.pane_id)?,
                pane.generation.as_str(),
                run.as_bytes(),
                body,
                trace_parent
            ])?;
        self.mark_inbox();
        Ok(())
    }

    /// Rows to work off, in order of arrival. One that cannot be read is set aside.
    pub fn inbox_fresh(&self) -> Result<Vec<InboxRow>, StoreError> {
        let mut statement = self
            .conn
            .prepare_cached(&format!("SELECT {INBOX} FROM inbox WHERE queued = 0 ORDER BY n LIMIT 1000"))?;
        let mut rows = statement.query([])?;
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
        self.conn.prepare_cached("UPDATE inbox SET queued = 2 WHERE n = ?1")?.execute([n])?;
        Ok(())
    }

    /// Keeps a trigger for one workflow until the pane's present run has ended.
    pub fn inbox_queue(&self, row: &InboxRow, event: &Event, workflow: &str) -> Result<(), StoreError> {
        self.conn
            .prepare_cached(
                "INSERT INTO inbox (host, mux, pane_id, generation, workflow, body, trace_parent, queued)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1)",
            )?
            .execute(params![
                row.host.as_str(),
                row.pane.mux.as_str(),
                int(row.pane.pane_id)?,
                row.pane.generation.as_str(),
                workflow,
                v1::Event::from(event.clone()).encode_to_vec(),
                row.trace_parent
            ])?;
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

    /// The run that acts on this pane now.
    pub fn open_run(&self, host: &Host, pane: &PaneRef) -> Result<Option<Run>, StoreError> {
        let body: Option<String> = self
            .conn
            .prepare_cached(
                "SELECT body FROM runs WHERE host = ?1 AND mux = ?2 AND pane_id = ?3 AND generation = ?4
                 AND ended_us IS NULL",
            )?
            .query_row(
                params![host.as_str(), pane.mux.as_str(), int(pane.pane_id)?, pane.generation.as_str()],
                |row| row.get(0),
            )
            .optional()?;
        body.map(|body| read_run(&body)).transpose()
    }

    /// Runs of a workflow that began on this pane since then.
    pub fn runs_begun(
        &self,
        workflow: &str,
        host: &Host,
        pane: &PaneRef,
        since: Timestamp,
    ) -> Result<u64, StoreError> {
        let count: i64 = self
            .conn
            .prepare_cached(
                "SELECT count(*) FROM runs WHERE workflow = ?1 AND host = ?2 AND mux = ?3 AND pane_id = ?4
                 AND generation = ?5 AND started_us > ?6",
            )?
            .query_row(
                params![
                    workflow,
                    host.as_str(),
                    pane.mux.as_str(),
                    int(pane.pane_id)?,
                    pane.generation.as_str(),
                    to_us(since)
                ],
                |row| row.get(0),
            )?;
        Ok(count.cast_unsigned())
    }

    /// Runs of a workflow that failed, or ended as nobody knows, since then.
    pub fn bad_ends(&self, workflow: &str, since: Timestamp) -> Result<u64, StoreError> {
        let count: i64 = self
            .conn
            .prepare_cached(BAD_ENDS)?
            .query_row(params![workflow, to_us(since)], |row| row.get(0))?;
        Ok(count.cast_unsigned())
    }

    pub fn run(&self, id: RunId) -> Result<Option<Run>, StoreError> {
        let body: Option<String> = self
            .conn
            .prepare_cached("SELECT body FROM runs WHERE run_id = ?1")?
            .query_row([id.as_bytes()], |row| row.get(0))
            .optional()?;
        body.map(|body| read_run(&body)).transpose()
    }

    /// Stores a run as it now is. `wake`: when it wants to hear [`Input::Timer`]; `None` keeps what was set.
    pub fn save_run(&self, run: &Run, wake: Option<Timestamp>) -> Result<(), StoreError> {
        let (reason, ended) = match &run.status {
            Status::Ended { reason, at, .. } => (reason.as_str(), Some(to_us(*at))),
            Status::Waiting { .. } | Status::Acting { .. } | Status::Preparing { .. } | Status::Asking => {
                ("", None)
            }
        };
        let pane = &run.trigger.pane;
        self.conn
            .prepare_cached(
                "INSERT INTO runs (run_id, workflow, host, mux, pane_id, generation, state, reason, started_us,
                 ended_us, wake_us, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
                 ON CONFLICT (run_id) DO UPDATE SET state = ?7, reason = ?8, ended_us = ?10, body = ?12,
                 wake_us = CASE WHEN ?10 IS NULL THEN coalesce(?11, wake_us) END",
            )?
            .execute(params![
                run.id.as_bytes(),
                run.workflow,
                run.trigger.host.as_str(),
                pane.mux.as_str(),
                int(pane.pane_id)?,
                pane.generation.as_str(),
                run.status.name(),
                reason,
                to_us(run.started),
                ended,
                wake.map(to_us),
                serde_json::to_string(run).map_err(StoreError::invalid)?
            ])?;
        // One that never acts ends beside the run that has the pane, and that waits on.
        let open = ended.is_none() || self.open_run(&run.trigger.host, pane)?.is_some();
        self.tell(|told| told.runs.push((run.trigger.host.clone(), pane.clone(), open)));
        if let Some(wake) = wake {
            self.wake_at(wake);
        }
        Ok(())
    }

    /// Keeps the input that a run was stepped with.
    pub fn record_input(&self, run: RunId, input: &Input) -> Result<(), StoreError> {
        let input = serde_json::to_string(input).map_err(StoreError::invalid)?;
        self.conn
            .prepare_cached(
                "INSERT INTO run_inputs (run_id, n, time_us, input)
                 SELECT ?1, coalesce(max(n), 0) + 1, ?2, ?3 FROM run_inputs WHERE run_id = ?1",
            )?
            .execute(params![run.as_bytes(), to_us(self.now), input])?;
        Ok(())
    }

    /// Puts [`Input::Timer`] into the inbox of every run whose wake-up time has come, and works the inbox off, also what
    /// an earlier life left in it. The next wake-up time.
    pub fn wake_runs(&self) -> Result<Option<Timestamp>, StoreError> {
        self.mark_inbox();
        // First: that nobody allowed an action leaves no doubt about it, and to have waited in vain does.
        let approvals = self.expire_approvals()?;
        let mut statement = self.conn.prepare_cached(
            "SELECT run_id, body FROM runs WHERE wake_us IS NOT NULL AND wake_us <= ?1 AND ended_us IS NULL
             LIMIT 1000",
        )?;
        let due = statement
            .query_map([to_us(self.now)], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, String>(1)?)))?
            .collect::<Result<Vec<_>, _>>()?;
        for (run_id, body) in due {
            self.conn
                .prepare_cached("UPDATE runs SET wake_us = NULL WHERE run_id = ?1")?
                .execute([run_id])?;
            match read_run(&body) {
                Ok(Run { id, trigger, .. }) => {
                    self.inbox_input(&trigger.host, &trigger.pane, id, &Input::Timer, &trigger.trace_parent)?;
                }
                // The others must be woken all the same.
                Err(error) => tracing::error!(%error, "a run cannot be woken"),
            }
        }
        Ok(next_wake(self.conn)?.into_iter().chain(approvals).min())
    }
}

/// When the next run wants to be woken.
pub(super) fn next_wake(conn: &Connection) -> Result<Option<Timestamp>, StoreError> {
    let us: Option<i64> = conn
        .prepare_cached("SELECT min(wake_us) FROM runs WHERE wake_us IS NOT NULL AND ended_us IS NULL")?
        .query_row([], |row| row.get(0))?;
    us.map(|us| from_us("runs.wake_us", us).map_err(damaged)).transpose()
}

/// Open runs, for a controller that starts.
pub(super) fn open_runs(conn: &Connection) -> Result<Vec<Run>, StoreError> {
    let mut statement = conn.prepare("SELECT body FROM runs WHERE ended_us IS NULL")?;
    let mut rows = statement.query([])?;
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        out.push(read_run(&row.get::<_, String>(0)?)?);
    }
    Ok(out)
}

/// The newest runs first.
pub(super) fn list_runs(
    conn: &Connection,
    pane: Option<&PaneAddress>,
    host: Option<&Host>,
    limit: usize,
) -> Result<Vec<RunSummary>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT body, ended_us FROM runs WHERE (?1 IS NULL OR host = ?1) AND (?2 IS NULL OR mux = ?2)
         AND (?3 IS NULL OR pane_id = ?3) ORDER BY started_us DESC LIMIT ?4",
    )?;
    let of_host = pane.map(|pane| &pane.host).or(host);
    let mut rows = statement.query(params![
        of_host.map(Host::as_str),
        pane.map(|pane| pane.mux.as_str()),
        pane.map(|pane| int(pane.pane_id)).transpose()?,
        int(limit as u64)?
    ])?;
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        let ended = row.get::<_, Option<i64>>(1)?;
        let ended = ended.map(|us| from_us("runs.ended_us", us).map_err(damaged)).transpose()?;
        out.push(RunSummary { run: read_run(&row.get::<_, String>(0)?)?, ended });
    }
    Ok(out)
}

/// One run, and its inputs in their order.
pub(super) fn one(
    conn: &Connection,
    id: RunId,
) -> Result<Option<(RunSummary, Vec<RecordedInput>)>, StoreError> {
    let found: Option<(String, Option<i64>)> = conn
        .prepare_cached("SELECT body, ended_us FROM runs WHERE run_id = ?1")?
        .query_row([id.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((body, ended)) = found else { return Ok(None) };
    let time = |us: i64| from_us("runs", us).map_err(damaged);
    let summary = RunSummary { run: read_run(&body)?, ended: ended.map(time).transpose()? };
    let mut statement =
        conn.prepare_cached("SELECT time_us, input FROM run_inputs WHERE run_id = ?1 ORDER BY n")?;
    let mut rows = statement.query([id.as_bytes()])?;
    let mut inputs = Vec::new();
    while let Some(row) = rows.next()? {
        inputs.push(RecordedInput { time: time(row.get(0)?)?, input: row.get(1)? });
    }
    Ok(Some((summary, inputs)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It is asked inside a commit, and runs are kept for good.
    #[test]
    fn bad_ends_are_counted_without_reading_every_run() {
        let place = tempfile::tempdir().unwrap();
        let conn = super::super::connection::create(&place.path().join("state.db")).unwrap();
        let plan: String = conn
            .query_row(&format!("EXPLAIN QUERY PLAN {BAD_ENDS}"), params!["w", 0], |row| row.get(3))
            .unwrap();
        assert!(plan.contains("runs_bad"), "{plan}");
    }
}
