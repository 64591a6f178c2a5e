//! Notices: what workflows tell people, and ask them.
//!
//! A question is open until it is answered or its run no longer waits for it; both happen in the commit that steps the run, so
//! an answer counts once and never for another question.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use wa_proto::wire::{from_us, to_us};
use wa_proto::{Generation, Host, MuxName, PaneRef, RunId, Timestamp};
use wa_workflow::{Input, Level, Run};

use super::audit::{Entry, on_pane};
use super::readable::readable;
use super::{StoreError, Tx, int};

/// One notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// By which people answer it; grows.
    pub id: u64,
    pub time: Timestamp,
    pub host: Host,
    pub pane: PaneRef,
    /// `None`: of no run.
    pub run: Option<RunId>,
    pub workflow: String,
    /// `info`, `warning` or `error`.
    pub level: String,
    pub text: String,
    /// Empty: nothing is asked.
    pub choices: Vec<String>,
    /// When the run stops waiting.
    pub until: Option<Timestamp>,
    pub closed: Option<Timestamp>,
    /// What was chosen, and by whom; empty: nothing was.
    pub answer: String,
    pub who: String,
}

/// What people are to be told.
pub(super) struct NewNotice<'a> {
    pub(super) host: &'a Host,
    pub(super) pane: &'a PaneRef,
    /// `None`: of no run.
    pub(super) run: Option<RunId>,
    pub(super) workflow: &'a str,
    pub(super) level: Level,
    pub(super) text: &'a str,
    /// JSON; empty: nothing is asked.
    pub(super) choices: &'a str,
    pub(super) until: Option<Timestamp>,
}

impl<'a> NewNotice<'a> {
    fn of(run: &'a Run, level: Level, text: &'a str) -> Self {
        let (host, pane) = (&run.trigger.host, &run.trigger.pane);
        Self { host, pane, run: Some(run.id), workflow: &run.workflow, level, text, choices: "", until: None }
    }
}

/// Why an answer does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerRefusal {
    #[error("there is no question {0}")]
    Unknown(u64),
    #[error("question {0} is no longer open")]
    Closed(u64),
    #[error("question {id} offers {offered}")]
    NotOffered { id: u64, offered: String },
}

const COLUMNS: &str = "n, time_us, host, mux, pane_id, generation, run_id, workflow, level, text, choices, until_us, \
                       closed_us, answer, who";

fn damaged(problem: impl std::fmt::Display) -> StoreError {
    StoreError::Damaged(format!("notices: {problem}").into())
}

fn read(row: &Row<'_>) -> Result<Notice, StoreError> {
    let time = |at: Option<i64>| at.map(|us| from_us("notices", us).map_err(damaged)).transpose();
    let choices: String = row.get(10)?;
    let run: Vec<u8> = row.get(6)?;
    let run_id = || RunId::from_slice(&run).ok_or_else(|| damaged("run_id"));
    Ok(Notice {
        id: row.get::<_, i64>(0)?.cast_unsigned(),
        time: from_us("notices", row.get(1)?).map_err(damaged)?,
        host: Host::new(row.get::<_, String>(2)?).map_err(damaged)?,
        pane: PaneRef {
            mux: MuxName::new(row.get::<_, String>(3)?).map_err(damaged)?,
            generation: Generation::new(row.get::<_, String>(5)?).map_err(damaged)?,
            pane_id: row.get::<_, i64>(4)?.cast_unsigned(),
        },
        run: (!run.is_empty()).then(run_id).transpose()?,
        workflow: row.get(7)?,
        level: row.get(8)?,
        text: row.get(9)?,
        choices: if choices.is_empty() {
            Vec::new()
        } else {
            serde_json::from_str(&choices).map_err(damaged)?
        },
        until: time(row.get(11)?)?,
        closed: time(row.get(12)?)?,
        answer: row.get::<_, Option<String>>(13)?.unwrap_or_default(),
        who: row.get::<_, Option<String>>(14)?.unwrap_or_default(),
    })
}

impl Tx<'_> {
    /// Tells people something of a run.
    pub fn notify(&self, run: &Run, level: Level, text: &str) -> Result<(), StoreError> {
        self.notice(&NewNotice::of(run, level, text))
    }

    /// Tells people something of a workflow on a pane that is of no run, unless it was told since then.
    pub fn notify_of_pane(
        &self,
        workflow: &str,
        host: &Host,
        pane: &PaneRef,
        since: Timestamp,
        text: &str,
    ) -> Result<(), StoreError> {
        // Notices are many only where much goes wrong, and then what was told is not far back.
        let told: bool = self
            .conn
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM notices WHERE n > (SELECT max(n) FROM notices) - 10000 AND workflow = ?1
                 AND host = ?2 AND mux = ?3 AND pane_id = ?4 AND generation = ?5 AND run_id = x''
                 AND time_us BETWEEN ?6 AND ?7)",
            )?
            .query_row(
                params![
                    workflow,
                    host.as_str(),
                    pane.mux.as_str(),
                    int(pane.pane_id)?,
                    pane.generation.as_str(),
                    to_us(since),
                    to_us(self.now),
                ],
                |row| row.get(0),
            )?;
        if told {
            return Ok(());
        }
        let level = Level::Warning;
        self.notice(&NewNotice { host, pane, run: None, workflow, level, text, choices: "", until: None })
    }

    /// Asks people; [`Self::answer`] answers.
    pub fn ask(
        &self,
        run: &Run,
        question: &str,
        choices: &[String],
        until: Timestamp,
    ) -> Result<(), StoreError> {
        let choices = serde_json::to_string(choices).map_err(StoreError::invalid)?;
        let told = NewNotice::of(run, Level::Warning, question);
        self.notice(&NewNotice { choices: &choices, until: Some(until), ..told })
    }

    pub(super) fn notice(&self, new: &NewNotice<'_>) -> Result<(), StoreError> {
        self.conn
            .prepare_cached(
                "INSERT INTO notices (time_us, host, mux, pane_id, generation, run_id, workflow, level, text, choices,
                 until_us) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            )?
            .execute(params![
                to_us(self.now),
                new.host.as_str(),
                new.pane.mux.as_str(),
                int(new.pane.pane_id)?,
                new.pane.generation.as_str(),
                new.run.map_or_else(Vec::new, |run| run.as_bytes().to_vec()),
                new.workflow,
                new.level.as_str(),
                new.text,
                new.choices,
                new.until.map(to_us)
            ])?;
        self.tell(|told| told.notices = true);
        Ok(())
    }

    /// The run waits for no answer any more.
    pub fn close_questions(&self, run: RunId) -> Result<(), StoreError> {
        let closed = self
            .conn
            .prepare_cached(
                "UPDATE notices SET closed_us = ?2 WHERE run_id = ?1 AND choices <> '' AND closed_us IS NULL",
            )?
            .execute(params![run.as_bytes(), to_us(self.now)])?;
        if closed > 0 {
            self.tell(|told| told.notices = true);
        }
        Ok(())
    }

    /// Gives a person's answer to the run that asked.
    pub fn answer(&self, id: u64, choice: &str, who: &str) -> Result<Result<(), AnswerRefusal>, StoreError> {
        let found = self
            .conn
            .prepare_cached(&format!("SELECT {COLUMNS} FROM notices WHERE n = ?1 AND choices <> ''"))?
            .query_row([int(id)?], |row| Ok(read(row)))
            .optional()?
            .transpose()?;
        let Some(notice) = found else { return Ok(Err(AnswerRefusal::Unknown(id))) };
        if notice.closed.is_some() {
            return Ok(Err(AnswerRefusal::Closed(id)));
        }
        if !notice.choices.iter().any(|offered| offered == choice) {
            return Ok(Err(AnswerRefusal::NotOffered { id, offered: notice.choices.join(", ") }));
        }
        let Some(run) = notice.run else { return Ok(Err(AnswerRefusal::Unknown(id))) };
        self.conn
            .prepare_cached("UPDATE notices SET closed_us = ?2, answer = ?3, who = ?4 WHERE n = ?1")?
            .execute(params![int(id)?, to_us(self.now), choice, who])?;
        self.audit(&Entry {
            who,
            what: "answer",
            target: &on_pane(&notice.host, &notice.pane),
            decision: choice,
            detail: &format!("question {id} of run {run}"),
        })?;
        let input = Input::Answer { choice: choice.to_owned(), who: who.to_owned() };
        self.inbox_input(&notice.host, &notice.pane, run, &input, "")?;
        self.tell(|told| told.notices = true);
        Ok(Ok(()))
    }
}

/// The newest first; `open`: questions that wait for an answer only.
pub(super) fn list(
    conn: &Connection,
    open: bool,
    host: Option<&Host>,
    limit: usize,
) -> Result<Vec<Notice>, StoreError> {
    let only = if open { "AND choices <> '' AND closed_us IS NULL" } else { "" };
    let mut statement = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM notices WHERE (?1 IS NULL OR host = ?1) {only} ORDER BY n DESC LIMIT ?2"
    ))?;
    readable("notices", statement.query(params![host.map(Host::as_str), int(limit as u64)?])?, read)
}
