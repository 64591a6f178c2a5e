//! Other values for the texts of workflows: for a pane, a project, an agent, or everywhere.

use serde::Deserialize;
use wa_proto::AgentKind;

use crate::run::Trigger;
use crate::template::Vars;

/// Values that go before those of a workflow's file, where all that it names fits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// Of this workflow only.
    pub workflow: Option<String>,
    /// `host/3`
    pub pane: Option<String>,
    pub project: Option<String>,
    pub agent: Option<AgentKind>,
    pub vars: Vars,
}

impl Override {
    fn fits(&self, workflow: &str, trigger: &Trigger) -> bool {
        self.workflow.as_ref().is_none_or(|wanted| wanted == workflow)
            && self.pane.as_ref().is_none_or(|wanted| *wanted == trigger.place.address)
            && self.project.as_ref().is_none_or(|wanted| *wanted == trigger.place.project)
            && self.agent.as_ref().is_none_or(|wanted| trigger.agent.as_ref() == Some(wanted))
    }

    /// What a pane is told goes before what its project is, that before what its agent is.
    fn rank(&self) -> (bool, bool, bool, bool) {
        (self.pane.is_some(), self.project.is_some(), self.agent.is_some(), self.workflow.is_some())
    }
}

/// The values for a run: of all that fit the most particular, and of equals the last.
pub fn resolve(overrides: &[Override], workflow: &str, trigger: &Trigger) -> Vars {
    let mut fitting: Vec<&Override> = overrides.iter().filter(|one| one.fits(workflow, trigger)).collect();
    fitting.sort_by_key(|one| one.rank());
    fitting.into_iter().flat_map(|one| one.vars.clone()).collect()
}
