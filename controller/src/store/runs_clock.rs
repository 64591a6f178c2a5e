//! Times that stand here and were reckoned from a wall clock that has been set since.
//!
//! Constraints: what stands here are wall-clock times, so that a restart needs no other clock to read them. A time that was
//! reckoned from the present moment (a deadline, a pause before the next attempt, until when an approval can be given) was
//! meant as a length: it goes with the clock, so that what is left of it stays what it was. Instants that others have told
//! (the reset of a limit) and what has happened keep their times. A run shifts its own by a recorded input; this is what
//! stands beside it.

use rusqlite::params;
use wa_proto::wire::{from_us, to_us};
use wa_proto::{RunId, Timestamp};
use wa_workflow::Run;

use super::readable::readable;
use super::runs::read_run;
use super::{StoreError, Tx};

impl Tx<'_> {
    /// Every open run, and when its times were reckoned last: at its last input, or its beginning. What cannot be read is
    /// left out.
    pub fn open_runs_reckoned(&self) -> Result<Vec<(Run, Timestamp)>, StoreError> {
        let mut statement = self.conn.prepare_cached(
            "SELECT CAST(run_id AS BLOB), body, coalesce((SELECT time_us FROM run_inputs i WHERE i.run_id = runs.run_id
             ORDER BY n DESC LIMIT 1), started_us) FROM runs WHERE ended_us IS NULL ORDER BY run_id",
        )?;
        readable("runs", statement.query([])?, |row| {
            let reckoned = from_us("run_inputs.time_us", row.get(2)?)?;
            Ok((read_run(&row.get::<_, String>(1)?)?, reckoned))
        })
    }

    /// Shifts what stands beside a run: until when its question, and what is held of it, can be answered.
    pub fn shift_waits_of(&self, run: RunId, by_us: i64) -> Result<(), StoreError> {
        for sql in [
            "UPDATE notices SET until_us = until_us + ?2 WHERE run_id = ?1 AND choices <> '' AND closed_us IS NULL",
            "UPDATE approvals SET until_us = until_us + ?2, created_us = created_us + ?2
             WHERE run_id = ?1 AND state = 'open'",
        ] {
            self.conn.prepare_cached(sql)?.execute(params![run.as_bytes(), by_us])?;
        }
        self.tell(|told| told.notices = true);
        Ok(())
    }

    /// Shifts what belongs to no run: what is held of a person or an agent, and what was put off.
    pub fn shift_other_waits(&self, by_us: i64) -> Result<(), StoreError> {
        for sql in [
            "UPDATE approvals SET until_us = until_us + ?1, created_us = created_us + ?1
             WHERE run_id IS NULL AND state = 'open'",
            "UPDATE inbox SET due_us = due_us + ?1 WHERE due_us IS NOT NULL",
        ] {
            self.conn.prepare_cached(sql)?.execute([by_us])?;
        }
        Ok(())
    }

    /// As [`Self::shift_other_waits`], where by how much is not known: what was asked for later than now was asked for just
    /// now. What was put off is never put off for long.
    pub fn shorten_other_waits(&self) -> Result<(), StoreError> {
        self.conn
            .prepare_cached(
                "UPDATE approvals SET until_us = ?1 + (until_us - created_us), created_us = ?1
                 WHERE run_id IS NULL AND state = 'open' AND created_us > ?1",
            )?
            .execute([to_us(self.now)])?;
        Ok(())
    }
}
