//! `wa.workflow_list/1`, `wa.workflow/1`, `wa.rehearsal/1`: what the controller would do by itself.

use serde::Serialize;
use wa_controller::Rehearsed;
use wa_proto::Timestamp;
use wa_proto::wire::v1;

use super::{clock, known, or_dash};
use crate::output::table::{Cell, Column, column};
use crate::output::{Look, Shape};

#[derive(Debug, Clone, Serialize)]
pub(crate) struct WorkflowItem {
    name: String,
    version: u32,
    on: String,
    agents: Vec<String>,
    max_actions: u32,
    /// Begins by its event.
    enabled: bool,
    paused: Option<String>,
    description: String,
}

impl From<v1::Workflow> for WorkflowItem {
    fn from(workflow: v1::Workflow) -> Self {
        Self {
            name: workflow.name,
            version: workflow.version,
            on: workflow.on,
            agents: workflow.agents,
            max_actions: workflow.max_actions,
            enabled: !workflow.off,
            paused: known(workflow.paused),
            description: workflow.description,
        }
    }
}

impl Shape for WorkflowItem {
    const SCHEMA: &'static str = "wa.workflow_list/1";

    fn name(&self) -> String {
        self.name.clone()
    }

    fn columns(_: bool) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            column("WORKFLOW", 12),
            column("ON", 12),
            column("AGENTS", 8),
            column("STATE", 6),
            column("DOES", 10),
        ];
        COLUMNS
    }

    fn row(&self, _: &Look) -> Vec<Cell> {
        let agents = if self.agents.is_empty() { "any".to_owned() } else { self.agents.join(",") };
        vec![
            Cell::plain(&self.name),
            Cell::plain(&self.on),
            Cell::plain(&agents),
            Cell::plain(match (&self.paused, self.enabled) {
                (Some(why), _) => why,
                (None, true) => "on",
                (None, false) => "off",
            }),
            Cell::plain(&self.description),
        ]
    }
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct WorkflowShown {
    #[serde(flatten)]
    pub(crate) workflow: WorkflowItem,
    pub(crate) steps: Vec<StepShown>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct StepShown {
    id: String,
    verb: String,
    timeout_ms: u64,
}

impl From<v1::Workflow> for WorkflowShown {
    fn from(mut workflow: v1::Workflow) -> Self {
        let steps = std::mem::take(&mut workflow.steps);
        let steps = steps.into_iter().map(|step| StepShown {
            id: step.id,
            verb: step.verb,
            timeout_ms: step.timeout_ms,
        });
        Self { steps: steps.collect(), workflow: workflow.into() }
    }
}

impl Shape for WorkflowShown {
    const SCHEMA: &'static str = "wa.workflow/1";

    fn name(&self) -> String {
        self.workflow.name.clone()
    }

    fn columns(wide: bool) -> &'static [Column] {
        WorkflowItem::columns(wide)
    }

    fn row(&self, look: &Look) -> Vec<Cell> {
        self.workflow.row(look)
    }
}

impl Shape for StepShown {
    const SCHEMA: &'static str = "wa.workflow_steps/1";

    fn name(&self) -> String {
        self.id.clone()
    }

    fn columns(_: bool) -> &'static [Column] {
        const COLUMNS: &[Column] = &[column("STEP", 12), column("DOES", 10), column("TIMEOUT", 8)];
        COLUMNS
    }

    fn row(&self, _: &Look) -> Vec<Cell> {
        let timeout = std::time::Duration::from_millis(self.timeout_ms);
        vec![Cell::plain(&self.id), Cell::plain(&self.verb), Cell::plain(&crate::client::words(timeout))]
    }
}

/// One thing that a run would have done on a recorded pane.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RehearsedItem {
    time: Timestamp,
    step: Option<String>,
    text: String,
    /// The recording had ended by then.
    beyond: bool,
}

impl From<Rehearsed> for RehearsedItem {
    fn from(line: Rehearsed) -> Self {
        Self { time: line.at, step: known(line.step), text: line.text, beyond: line.beyond }
    }
}

impl Shape for RehearsedItem {
    const SCHEMA: &'static str = "wa.rehearsal/1";

    fn name(&self) -> String {
        self.step.clone().unwrap_or_default()
    }

    fn columns(_: bool) -> &'static [Column] {
        const COLUMNS: &[Column] =
            &[column("TIME", 20), column("RECORDED", 8), column("STEP", 12), column("WHAT", 10)];
        COLUMNS
    }

    fn row(&self, _: &Look) -> Vec<Cell> {
        vec![
            Cell::plain(&clock(self.time)),
            Cell::plain(if self.beyond { "no" } else { "yes" }),
            Cell::plain(or_dash(self.step.as_deref())),
            Cell::plain(&self.text),
        ]
    }
}
