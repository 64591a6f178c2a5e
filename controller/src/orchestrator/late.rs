//! What is told late, and what is told too early.
//!
//! Constraints: an event that a node could not tell for a long time is no news: the agent may have gone on, a person may have
//! answered, the limit may have lifted. It begins no run that types, unless the pane is still as the event left it.
//! Whether it is, only the pane can say; a node that has just come back may take a moment to find it, so an old event waits for
//! that once. What began no run for this reason stands in the audit as `stale`.
//!
//! A dialog that a workflow is about to answer is nobody's to be told of. Its event and the one that begins the workflow come
//! together, in any order: so a notice of a dialog waits for a moment, and is not sent where a run stands at an answer, or has
//! acted and the dialog is no more.

use jiff::SignedDuration;
use wa_proto::{Event, EventKind, Host, Pane, PaneState, Timestamp};
use wa_workflow::{Definition, Run};

use super::Orchestrator;
use crate::gate::address;
use crate::store::InboxRow;

/// An event that is told so long after it happened is old.
const OLD: SignedDuration = SignedDuration::from_mins(30);
/// A pane that changed so soon after the event is as the event left it.
const SETTLES: SignedDuration = SignedDuration::from_secs(60);
/// How long an old event waits for its pane: longer than a node that has come back may take to find it.
const FOUND: SignedDuration = SignedDuration::from_secs(45);
/// How long a notice of a dialog waits for a workflow that answers it.
const ANSWERED: SignedDuration = SignedDuration::from_secs(2);

/// Whether an event begins a run now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Timeliness {
    Now,
    /// Let it come up again then.
    Later(Timestamp),
    /// It begins none, and why.
    Stale(String),
    /// A run sees to it.
    SeenTo,
}

impl Orchestrator {
    /// What a workflow is to make of an event now; `active` is the run that has the pane.
    pub(super) fn timeliness(
        &self,
        definition: &Definition,
        row: &InboxRow,
        event: &Event,
        active: Option<&Run>,
        now: Timestamp,
    ) -> Timeliness {
        // What people begin is never late.
        let Some(happened) = row.happened else { return Timeliness::Now };
        let pane = self.shown(row);
        if definition.max_actions > 0 {
            let age = now.duration_since(happened).saturating_add(self.ahead(&row.host));
            return if age < OLD { Timeliness::Now } else { old(row, event, happened, pane.as_ref(), now) };
        }
        if event.kind != EventKind::ApprovalRequested {
            return Timeliness::Now;
        }
        let Some(active) = active else {
            return if row.put_off { Timeliness::Now } else { later(now, ANSWERED) };
        };
        let answers = self.definition_of(active).is_some_and(|definition| definition.answers(active));
        let gone = active.actions_done > 0 && pane.is_some_and(|pane| pane.state != PaneState::Waiting);
        match (answers, row.put_off) {
            (true, _) => Timeliness::SeenTo,
            (false, false) => later(now, ANSWERED),
            (false, true) if gone => Timeliness::SeenTo,
            (false, true) => Timeliness::Now,
        }
    }

    /// The pane as its node shows it now.
    fn shown(&self, row: &InboxRow) -> Option<Pane> {
        let view = self.registry.pane(&address(&row.host, &row.pane))?;
        (view.connected && view.pane.pane == row.pane).then_some(view.pane)
    }

    /// How far the node's clock is ahead.
    fn ahead(&self, host: &Host) -> SignedDuration {
        SignedDuration::from_millis(self.registry.skew_ms(host))
    }
}

fn later(now: Timestamp, wait: SignedDuration) -> Timeliness {
    now.saturating_add(wait).map_or(Timeliness::Now, Timeliness::Later)
}

/// An event that is old: whether the pane is still as it left it. `happened` is of the node's clock, and so is the time of
/// the pane's state.
fn old(
    row: &InboxRow,
    event: &Event,
    happened: Timestamp,
    pane: Option<&Pane>,
    now: Timestamp,
) -> Timeliness {
    let Some(pane) = pane else {
        return match row.put_off {
            false => later(now, FOUND),
            true => Timeliness::Stale(format!("it happened at {happened:.0}, and its pane is not there")),
        };
    };
    let other_process = event.agent_pid != 0 && pane.agent_pid != 0 && event.agent_pid != pane.agent_pid;
    let settled = happened.saturating_add(SETTLES).unwrap_or(happened);
    let still =
        leaves(event.kind) == Some(pane.state) || pane.detail.since.is_some_and(|since| since <= settled);
    if still && !other_process {
        return Timeliness::Now;
    }
    let since = pane.detail.since.map(|since| format!(" since {since:.0}")).unwrap_or_default();
    let who = if other_process { "another agent process runs there" } else { "the pane has changed" };
    Timeliness::Stale(format!("it happened at {happened:.0}; {who}: it is {}{since}", pane.state))
}

/// The state that tells the same as the event, for as long as it lasts.
fn leaves(kind: EventKind) -> Option<PaneState> {
    match kind {
        EventKind::LimitReached => Some(PaneState::Limited),
        EventKind::LimitWarning => Some(PaneState::LimitWarning),
        EventKind::ApprovalRequested | EventKind::QuestionAsked => Some(PaneState::Waiting),
        EventKind::AgentCrashed => Some(PaneState::Crashed),
        _ => None,
    }
}

#[cfg(test)]
#[path = "late_tests.rs"]
mod tests;
