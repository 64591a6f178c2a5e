//! `wa.run_list/1`: one run of a workflow.

use serde::Serialize;
use wa_proto::Timestamp;
use wa_proto::wire::{Invalid, v1};

use super::{address, age, instant, known, or_dash, state_style};
use crate::output::table::{Cell, Column, column};
use crate::output::{Look, Shape};

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct RunItem {
    pub(crate) run: String,
    pub(crate) workflow: String,
    pub(crate) pane: Option<String>,
    generation: Option<String>,
    pub(crate) state: String,
    pub(crate) reason: Option<String>,
    started: Option<Timestamp>,
    ended: Option<Timestamp>,
}

impl TryFrom<v1::Run> for RunItem {
    type Error = Invalid;
    fn try_from(run: v1::Run) -> Result<Self, Invalid> {
        let pane = run.pane.as_ref().map(|pane| address(&run.host, pane)).transpose()?;
        Ok(Self {
            run: run.run_id,
            workflow: run.workflow,
            pane: pane.map(|pane| pane.to_string()),
            generation: run.pane.map(|pane| pane.generation),
            state: run.state,
            reason: known(run.reason),
            started: instant("run.started_us", run.started_us)?,
            ended: instant("run.ended_us", run.ended_us)?,
        })
    }
}

impl Shape for RunItem {
    const SCHEMA: &'static str = "wa.run_list/1";

    fn name(&self) -> String {
        self.run.clone()
    }

    fn columns(_: bool) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            column("RUN", 36),
            column("WORKFLOW", 12),
            column("PANE", 12),
            column("STATE", 9),
            column("AGE", 4),
            column("REASON", 6),
        ];
        COLUMNS
    }

    fn row(&self, look: &Look) -> Vec<Cell> {
        vec![
            Cell::plain(&self.run),
            Cell::plain(&self.workflow),
            Cell::plain(or_dash(self.pane.as_deref())),
            Cell::styled(&self.state, state_style(&self.state)),
            Cell::plain(&age(look.now, self.started)),
            Cell::plain(or_dash(self.reason.as_deref())),
        ]
    }
}
