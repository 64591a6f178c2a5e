//! `wa.notice_list/1`: what workflows told people, and ask them.

use serde::Serialize;
use wa_proto::Timestamp;
use wa_proto::wire::{Invalid, v1};

use super::{address, age, instant, known, or_dash};
use crate::output::table::{Cell, Column, column};
use crate::output::{Look, Shape};

#[derive(Debug, Clone, Serialize)]
pub(crate) struct NoticeItem {
    id: u64,
    time: Option<Timestamp>,
    pane: Option<String>,
    run: String,
    workflow: String,
    level: String,
    text: String,
    /// Empty: nothing is asked.
    choices: Vec<String>,
    until: Option<Timestamp>,
    closed: Option<Timestamp>,
    answer: Option<String>,
    who: Option<String>,
}

impl TryFrom<v1::Notice> for NoticeItem {
    type Error = Invalid;
    fn try_from(notice: v1::Notice) -> Result<Self, Invalid> {
        let pane = notice.pane.as_ref().map(|pane| address(&notice.host, pane)).transpose()?;
        Ok(Self {
            id: notice.id,
            time: instant("notice.time_us", notice.time_us)?,
            pane: pane.map(|pane| pane.to_string()),
            run: notice.run_id,
            workflow: notice.workflow,
            level: notice.level,
            text: notice.text,
            choices: notice.choices,
            until: instant("notice.until_us", notice.until_us)?,
            closed: instant("notice.closed_us", notice.closed_us)?,
            answer: known(notice.answer),
            who: known(notice.who),
        })
    }
}

impl NoticeItem {
    fn asks(&self) -> String {
        match (&self.answer, self.closed) {
            (Some(answer), _) => answer.clone(),
            (None, Some(_)) => "-".to_owned(),
            (None, None) if self.choices.is_empty() => "-".to_owned(),
            (None, None) => format!("{}?", self.choices.join("|")),
        }
    }
}

impl Shape for NoticeItem {
    const SCHEMA: &'static str = "wa.notice_list/1";

    fn name(&self) -> String {
        self.id.to_string()
    }

    fn columns(_: bool) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            column("ID", 3),
            column("AGE", 4),
            column("PANE", 12),
            column("LEVEL", 7),
            column("ANSWER", 8),
            column("TEXT", 10),
        ];
        COLUMNS
    }

    fn row(&self, look: &Look) -> Vec<Cell> {
        vec![
            Cell::plain(&self.id.to_string()),
            Cell::plain(&age(look.now, self.time)),
            Cell::plain(or_dash(self.pane.as_deref())),
            Cell::styled(&self.level, super::state_style(level_as_state(&self.level))),
            Cell::plain(&self.asks()),
            Cell::plain(&self.text),
        ]
    }
}

/// The same colours as states have.
fn level_as_state(level: &str) -> &str {
    match level {
        "error" => "failed",
        "warning" => "waiting",
        other => other,
    }
}
