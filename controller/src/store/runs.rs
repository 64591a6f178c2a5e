//! Runs: how far each workflow has come. The inputs of a run are kept: its state is their fold (promise W1).

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use wa_proto::wire::{from_us, to_us};
use wa_proto::{Host, MuxName, PaneAddress, PaneRef, RunId, Timestamp};
use wa_workflow::{Input, Run, Status};

use super::aside::{Columns, Unreadable, of_row};
use super::inbox::latest_due;
use super::readable::readable;
use super::{StoreError, Tx, int};

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

pub(super) fn read_run(body: &str) -> Result<Run, StoreError> {
    serde_json::from_str(body).map_err(|e| damaged(format!("a run's row: {e}")))
}

/// As its index has it. What this program could not read says nothing of its workflow, and what ended later than now did so by a
/// clock that was ahead: nobody knows when.
const BAD_ENDS: &str = "FROM runs WHERE workflow = ?1 AND ended_us > ?2 AND ended_us <= ?3 AND state IN ('failed', 'unknown') \
                        AND unreadable IS NULL";

impl Tx<'_> {
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

    /// The run that was begun where this one failed.
    pub fn begun_again(&self, failed: RunId) -> Result<Option<RunId>, StoreError> {
        let again: Option<Vec<u8>> = self
            .conn
            .prepare_cached("SELECT again FROM runs WHERE run_id = ?1")?
            .query_row([failed.as_bytes()], |row| row.get(0))
            .optional()?
            .flatten();
        again.map(|id| RunId::from_slice(&id).ok_or_else(|| damaged("runs.again"))).transpose()
    }

    /// `again` was begun where this run failed.
    pub fn mark_begun_again(&self, failed: RunId, again: RunId) -> Result<(), StoreError> {
        self.conn
            .prepare_cached("UPDATE runs SET again = ?2 WHERE run_id = ?1")?
            .execute(params![failed.as_bytes(), again.as_bytes()])?;
        Ok(())
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
                 AND generation = ?5 AND started_us > ?6 AND started_us <= ?7",
            )?
            .query_row(
                params![
                    workflow,
                    host.as_str(),
                    pane.mux.as_str(),
                    int(pane.pane_id)?,
                    pane.generation.as_str(),
                    to_us(since),
                    to_us(self.now)
                ],
                |row| row.get(0),
            )?;
        Ok(count.cast_unsigned())
    }

    /// Runs of a workflow on a pane that failed, or ended as nobody knows, since then.
    pub fn bad_ends_on(
        &self,
        workflow: &str,
        pane: &PaneAddress,
        since: Timestamp,
    ) -> Result<u64, StoreError> {
        let count = self.of_bad_ends("count(*)", workflow, pane, since)?;
        Ok(count.unwrap_or_default().cast_unsigned())
    }

    /// When a run of a workflow last ended badly on a pane, if that was within `since`.
    pub fn last_bad_end(
        &self,
        workflow: &str,
        pane: &PaneAddress,
        since: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let last = self.of_bad_ends("max(ended_us)", workflow, pane, since)?;
        last.map(|us| from_us("runs.ended_us", us).map_err(damaged)).transpose()
    }

    /// A figure over the bad ends of a workflow on a pane since then.
    fn of_bad_ends(
        &self,
        figure: &str,
        workflow: &str,
        pane: &PaneAddress,
        since: Timestamp,
    ) -> Result<Option<i64>, StoreError> {
        let sql = format!("SELECT {figure} {BAD_ENDS} AND host = ?4 AND mux = ?5 AND pane_id = ?6");
        let place = (pane.host.as_str(), pane.mux.as_str(), int(pane.pane_id)?);
        let of = params![workflow, to_us(since), to_us(self.now), place.0, place.1, place.2];
        Ok(self.conn.prepare_cached(&sql)?.query_row(of, |row| row.get(0))?)
    }

    /// Panes on which runs of a workflow ended badly since then.
    pub fn panes_with_bad_ends(
        &self,
        workflow: &str,
        since: Timestamp,
    ) -> Result<Vec<PaneAddress>, StoreError> {
        let mut statement =
            self.conn.prepare_cached(&format!("SELECT DISTINCT host, mux, pane_id {BAD_ENDS}"))?;
        let mut rows = statement.query(params![workflow, to_us(since), to_us(self.now)])?;
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            out.push(PaneAddress {
                host: Host::new(row.get::<_, String>(0)?).map_err(damaged)?,
                mux: MuxName::new(row.get::<_, String>(1)?).map_err(damaged)?,
                pane_id: row.get::<_, i64>(2)?.cast_unsigned(),
            });
        }
        Ok(out)
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
            "SELECT CAST(run_id AS BLOB), CAST(body AS BLOB) FROM runs
             WHERE wake_us IS NOT NULL AND wake_us <= ?1 AND ended_us IS NULL LIMIT 1000",
        )?;
        let due = statement
            .query_map([to_us(self.now)], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?)))?
            .collect::<Result<Vec<_>, _>>()?;
        for (run_id, body) in due {
            self.conn
                .prepare_cached("UPDATE runs SET wake_us = NULL WHERE run_id = ?1")?
                .execute([run_id])?;
            match std::str::from_utf8(&body).map_err(damaged).and_then(read_run) {
                Ok(Run { id, trigger, .. }) => {
                    self.inbox_input(&trigger.host, &trigger.pane, id, &Input::Timer, &trigger.trace_parent)?;
                }
                // The others must be woken all the same.
                Err(error) => tracing::error!(%error, "a run cannot be woken"),
            }
        }
        Ok(next_wake(self.conn, self.now)?.into_iter().chain(approvals).min())
    }
}

/// When the next run wants to be woken, or what was put off comes up again.
pub(super) fn next_wake(conn: &Connection, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
    let us: Option<i64> = conn
        .prepare_cached(
            "SELECT min(us) FROM (SELECT min(wake_us) AS us FROM runs
             WHERE wake_us IS NOT NULL AND typeof(wake_us) = 'integer' AND ended_us IS NULL
             UNION ALL SELECT min(min(due_us), ?1) FROM inbox
             WHERE due_us IS NOT NULL AND typeof(due_us) = 'integer' AND queued = 0)",
        )?
        .query_row([latest_due(now)], |row| row.get(0))?;
    // One that is no time must not keep the others asleep.
    Ok(us.and_then(|us| from_us("runs.wake_us", us).ok()))
}

/// Open runs, for a controller that starts. Those that cannot be read are set aside before.
pub(super) fn open_runs(conn: &Connection) -> Result<Vec<Run>, StoreError> {
    each_open(conn, |_, run, out| {
        out.push(run?);
        Ok(())
    })
}

/// Open runs that cannot be read.
pub(super) fn unreadable(conn: &Connection) -> Result<Vec<Unreadable<Vec<u8>>>, StoreError> {
    each_open(conn, |key, run, out| {
        if let Err(error) = run {
            out.push(Unreadable { key, why: of_row(error)? });
        }
        Ok(())
    })
}

fn each_open<T>(
    conn: &Connection,
    mut work: impl FnMut(Vec<u8>, Result<Run, StoreError>, &mut Vec<T>) -> Result<(), StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut statement =
        conn.prepare("SELECT CAST(run_id AS BLOB), CAST(body AS BLOB) FROM runs WHERE ended_us IS NULL")?;
    let mut rows = statement.query([])?;
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        let (key, body): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let run = std::str::from_utf8(&body).map_err(damaged).and_then(read_run);
        let of_its_row = |run: &Run| run.id.as_bytes() == key.as_slice();
        let run = run.and_then(|run| if of_its_row(&run) { Ok(run) } else { Err(damaged("another run's")) });
        work(key, run, &mut out)?;
    }
    Ok(out)
}

/// A run as it is listed, from [`listed_columns`]. `None`: not even where it is can be read.
fn listed(row: &Row<'_>) -> Result<Option<RunSummary>, StoreError> {
    // It is over all the same where nobody can read since when.
    let ended = match row.get::<_, Option<i64>>(2) {
        Ok(None) => None,
        Ok(Some(us)) => Some(from_us("runs.ended_us", us).unwrap_or(Timestamp::UNIX_EPOCH)),
        Err(_) => Some(Timestamp::UNIX_EPOCH),
    };
    let body: Vec<u8> = row.get(1)?;
    let run = match std::str::from_utf8(&body).map_err(damaged).and_then(read_run) {
        Ok(run) => run,
        Err(error) => {
            let reason = format!("its row cannot be read: {}", of_row(error)?);
            let id = RunId::from_slice(&row.get::<_, Vec<u8>>(0)?);
            let at = ended.unwrap_or(Timestamp::UNIX_EPOCH);
            let Some((of, id)) = Columns::read(row, 3).zip(id) else {
                tracing::warn!(reason, "a run is not listed");
                return Ok(None);
            };
            of.stand_in(id, &reason, at)
        }
    };
    Ok(Some(RunSummary { run, ended }))
}

/// Id, body, end, and [`Columns::NAMES`].
fn listed_columns() -> String {
    format!("CAST(run_id AS BLOB), CAST(body AS BLOB), ended_us, {}", Columns::NAMES)
}

/// The newest runs first.
pub(super) fn list_runs(
    conn: &Connection,
    pane: Option<&PaneAddress>,
    host: Option<&Host>,
    limit: usize,
) -> Result<Vec<RunSummary>, StoreError> {
    let mut statement = conn.prepare_cached(&format!(
        "SELECT {} FROM runs WHERE (?1 IS NULL OR host = ?1) AND (?2 IS NULL OR mux = ?2)
         AND (?3 IS NULL OR pane_id = ?3) ORDER BY started_us DESC LIMIT ?4",
        listed_columns()
    ))?;
    let of_host = pane.map(|pane| &pane.host).or(host);
    let mut rows = statement.query(params![
        of_host.map(Host::as_str),
        pane.map(|pane| pane.mux.as_str()),
        pane.map(|pane| int(pane.pane_id)).transpose()?,
        int(limit as u64)?
    ])?;
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        out.extend(listed(row)?);
    }
    Ok(out)
}

/// One run, and its inputs in their order.
pub(super) fn one(
    conn: &Connection,
    id: RunId,
) -> Result<Option<(RunSummary, Vec<RecordedInput>)>, StoreError> {
    let found = conn
        .prepare_cached(&format!("SELECT {} FROM runs WHERE run_id = ?1", listed_columns()))?
        .query_row([id.as_bytes()], |row| Ok(listed(row)))
        .optional()?
        .transpose()?;
    let Some(summary) = found.flatten() else { return Ok(None) };
    let time = |us: i64| from_us("runs", us).map_err(damaged);
    let mut statement =
        conn.prepare_cached("SELECT time_us, input FROM run_inputs WHERE run_id = ?1 ORDER BY n")?;
    let inputs = readable("run_inputs", statement.query([id.as_bytes()])?, |row| {
        Ok(RecordedInput { time: time(row.get(0)?)?, input: row.get(1)? })
    })?;
    Ok(Some((summary, inputs)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::SignedDuration;
    use wa_link::clock;

    use super::super::Store;
    use super::super::retention_tests::run;
    use super::super::tests::{Idle, host, keys, pane};
    use super::*;
    use crate::metrics::Metrics;

    fn store(place: &std::path::Path) -> Store {
        let metrics = Arc::new(Metrics::default());
        let file = place.join("state.db");
        Store::open(&file, keys(place), |_| Arc::new(Idle), metrics, clock::now()).unwrap().0
    }

    /// Nobody knows when that was: it must not keep a workflow from a pane for as long as the clock was ahead.
    #[tokio::test]
    async fn what_a_clock_that_was_ahead_wrote_down_is_not_of_late() {
        let place = tempfile::tempdir().unwrap();
        let store = store(place.path());
        let counts = |ahead: SignedDuration| {
            store.write(move |tx| {
                let id = run(tx, 1, 0, None)?;
                let mut bad = tx.run(id)?.unwrap();
                let at = tx.now + ahead;
                bad.started = at;
                bad.status = Status::Ended { end: wa_workflow::End::Failed, reason: String::new(), at };
                bad.id = RunId::generate();
                tx.save_run(&bad, None)?;
                let since = tx.now - SignedDuration::from_mins(10);
                let place = crate::gate::address(&host(), &pane(1));
                let begun = tx.runs_begun(&bad.workflow, &host(), &pane(1), since)?;
                let last = tx.last_bad_end(&bad.workflow, &place, since)?;
                let panes = tx.panes_with_bad_ends(&bad.workflow, since)?.len();
                Err::<(), _>(StoreError::Failed(format!("{begun} {} {panes}", last.is_some()).into()))
            })
        };
        let told = |result: Result<(), StoreError>| result.unwrap_err().to_string();
        let (now, ahead) = (counts(SignedDuration::ZERO).await, counts(SignedDuration::from_hours(27)).await);
        assert!(told(now).contains("1 true 1"));
        let ahead = told(ahead);
        assert!(ahead.contains("0 false 0"), "{ahead}");
    }

    /// It is asked inside a commit, and runs are kept for long.
    #[test]
    fn bad_ends_are_counted_without_reading_every_run() {
        let place = tempfile::tempdir().unwrap();
        let conn = super::super::connection::create(&place.path().join("state.db")).unwrap();
        let plan: String = conn
            .query_row(&format!("EXPLAIN QUERY PLAN SELECT count(*) {BAD_ENDS}"), params!["w", 0, 1], |row| {
                row.get(3)
            })
            .unwrap();
        assert!(plan.contains("runs_bad"), "{plan}");
    }
}
