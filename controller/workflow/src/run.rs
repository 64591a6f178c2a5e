//! Runs: the state machine that executes a definition.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use wa_proto::{
    ActionId, AgentKind, Event, EventId, Host, Key, OutcomeKind, PaneRef, PaneState, RunId, Timestamp, Verb,
};

use crate::{Definition, Step};

/// One execution of a workflow on one pane. Stored as JSON; readers of an older version default what is new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub id: RunId,
    pub workflow: String,
    /// Version of the definition that it began with.
    pub version: u32,
    pub trigger: Trigger,
    pub started: Timestamp,
    /// Index of the step it is at.
    pub step: usize,
    /// When the present step's time is over.
    pub step_deadline: Timestamp,
    /// Actions made so far: names the next one.
    pub attempts: u32,
    /// Actions that reached, or may have reached, the pane.
    pub actions_done: u32,
    pub status: Status,
}

/// What began a run and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    pub event: EventId,
    pub host: Host,
    pub pane: PaneRef,
    pub agent: Option<AgentKind>,
    /// 0 = unknown.
    pub agent_pid: u32,
    /// W3C traceparent of the event.
    pub trace_parent: String,
}

impl Trigger {
    /// `None` when the event stands on no pane.
    pub fn of(host: Host, event: &Event, trace_parent: &str) -> Option<Self> {
        Some(Self {
            event: event.id,
            host,
            pane: event.pane.clone()?,
            agent: event.agent.clone(),
            agent_pid: event.agent_pid,
            trace_parent: trace_parent.to_owned(),
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Status {
    /// For the pane to be in a state that the step wants; not before `not_before`.
    Waiting {
        not_before: Timestamp,
    },
    /// For the outcome of an action.
    Acting {
        action: ActionId,
    },
    Ended {
        end: End,
        reason: String,
        at: Timestamp,
    },
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    Succeeded,
    Failed,
    Cancelled,
    /// An action may or may not have arrived; a person should look.
    Unknown,
}

impl Status {
    /// One word for people: `waiting acting succeeded failed cancelled unknown`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Waiting { .. } => "waiting",
            Self::Acting { .. } => "acting",
            Self::Ended { end, .. } => match end {
                End::Succeeded => "succeeded",
                End::Failed => "failed",
                End::Cancelled => "cancelled",
                End::Unknown => "unknown",
            },
        }
    }
}

/// One thing that happened to a run. The controller records it before it steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "input", rename_all = "snake_case")]
pub enum Input {
    /// The pane as it stands now.
    Pane {
        state: PaneState,
        agent: Option<AgentKind>,
        agent_pid: u32,
    },
    /// The pane, or its mux server's process, is no more.
    PaneGone,
    Outcome {
        action: ActionId,
        kind: OutcomeKind,
        reason: String,
    },
    /// The wake-up time that the run asked for has come.
    Timer,
    Cancel {
        reason: String,
    },
}

/// What the controller has to do, in the same commit as the new run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Put an action into the outbox.
    Act {
        action: ActionId,
        verb: Verb,
        expect_agent: Option<AgentKind>,
        expect_agent_pid: Option<u32>,
        deadline: Timestamp,
    },
    /// Send [`Input::Timer`] at this time; replaces the former wake-up.
    WakeAt(Timestamp),
}

/// First pause after a refusal; doubles up to the longest.
const RETRY_FIRST: SignedDuration = SignedDuration::from_secs(2);
const RETRY_LONGEST: SignedDuration = SignedDuration::from_secs(60);
/// How long after an action's deadline a run still waits for the node's word. The action itself stays open: a late
/// outcome is recorded, but the run no longer waits for it.
const OUTCOME_GRACE: SignedDuration = SignedDuration::from_secs(60);

/// What to do with a trigger for a pane on which a run may be active (promise W2: one at a time).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    Start,
    /// The active run has typed nothing yet and will do what this one would.
    Merge,
    /// Start it when the active run has ended.
    Queue,
}

/// Decides about a new trigger while `active` runs on the same pane.
pub fn admit(definition: &Definition, active: Option<&Run>) -> Admission {
    match active {
        None => Admission::Start,
        Some(run) if run.is_over() => Admission::Start,
        Some(run)
            if run.workflow == definition.name
                && run.attempts == 0
                && matches!(run.status, Status::Waiting { .. }) =>
        {
            Admission::Merge
        }
        Some(_) => Admission::Queue,
    }
}

impl Run {
    /// Begins a run. The caller then gives it the pane's present state as its first input.
    pub fn start(
        definition: &Definition,
        id: RunId,
        trigger: Trigger,
        now: Timestamp,
    ) -> (Self, Vec<Effect>) {
        let mut run = Self {
            id,
            workflow: definition.name.clone(),
            version: definition.version,
            trigger,
            started: now,
            step: 0,
            step_deadline: now,
            attempts: 0,
            actions_done: 0,
            status: Status::Waiting { not_before: now },
        };
        let mut effects = Vec::new();
        run.enter(definition, 0, now, &mut effects);
        (run, effects)
    }

    pub fn is_over(&self) -> bool {
        matches!(self.status, Status::Ended { .. })
    }

    /// Whether it wants to hear of the pane's state.
    pub fn watches_pane(&self) -> bool {
        matches!(self.status, Status::Waiting { .. })
    }

    /// The action whose outcome it waits for.
    pub fn open_action(&self) -> Option<ActionId> {
        match self.status {
            Status::Acting { action } => Some(action),
            _ => None,
        }
    }

    fn end(&mut self, end: End, reason: impl Into<String>, now: Timestamp) {
        self.status = Status::Ended { end, reason: reason.into(), at: now };
    }

    /// Goes to a step: acting steps act at once, waiting steps wait.
    fn enter(&mut self, definition: &Definition, at: usize, now: Timestamp, effects: &mut Vec<Effect>) {
        self.step = at;
        let Some(step) = definition.steps.get(at) else {
            return self.end(End::Succeeded, "every step done", now);
        };
        self.step_deadline = now.saturating_add(step.timeout()).unwrap_or(Timestamp::MAX);
        match step {
            Step::WaitUntil { .. } => {
                self.status = Status::Waiting { not_before: now };
                effects.push(Effect::WakeAt(self.step_deadline));
            }
            Step::Type { .. } | Step::Keys { .. } => self.act(definition, now, effects),
        }
    }

    /// Makes the present step's action.
    fn act(&mut self, definition: &Definition, now: Timestamp, effects: &mut Vec<Effect>) {
        let verb = match definition.steps.get(self.step) {
            Some(Step::Type { text, .. }) => Verb::Send { text: text.clone(), enter: true },
            Some(Step::Keys { keys, .. }) => {
                Verb::Keys(keys.iter().filter_map(|key| key.parse::<Key>().ok()).collect())
            }
            Some(Step::WaitUntil { .. }) | None => return,
        };
        if self.actions_done >= definition.max_actions {
            return self.end(
                End::Failed,
                format!("its budget of {} actions is used up", definition.max_actions),
                now,
            );
        }
        self.attempts += 1;
        let action = self.action_id(self.attempts);
        self.status = Status::Acting { action };
        effects.push(Effect::Act {
            action,
            verb,
            expect_agent: definition.agent.clone().or_else(|| self.trigger.agent.clone()),
            expect_agent_pid: Some(self.trigger.agent_pid).filter(|pid| *pid != 0),
            deadline: self.step_deadline,
        });
        let give_up = self.step_deadline.saturating_add(OUTCOME_GRACE).unwrap_or(Timestamp::MAX);
        effects.push(Effect::WakeAt(give_up));
    }

    /// Ids of a run's actions follow from the run's id, so that a replayed step names the same action.
    fn action_id(&self, attempt: u32) -> ActionId {
        ActionId(Uuid::from_u128(self.id.0.as_u128() ^ u128::from(attempt)))
    }

    fn on_pane(
        &mut self,
        definition: &Definition,
        state: PaneState,
        agent_pid: u32,
        now: Timestamp,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Status::Waiting { not_before } = self.status else { return effects };
        let expected = self.trigger.agent_pid;
        if expected != 0 && agent_pid != 0 && agent_pid != expected {
            let reason = format!("another agent process ({agent_pid}) runs in the pane, not {expected}");
            self.end(End::Failed, reason, now);
            return effects;
        }
        if definition.agent.is_some()
            && matches!(state, PaneState::Shell | PaneState::Exited | PaneState::Crashed | PaneState::Gone)
        {
            self.end(End::Failed, format!("the agent is no longer there: the pane is {state}"), now);
            return effects;
        }
        match definition.steps.get(self.step) {
            Some(Step::WaitUntil { states, .. }) if states.contains(&state) => {
                self.enter(definition, self.step + 1, now, &mut effects);
            }
            // An acting step that was refused waits here for a better moment.
            Some(Step::Type { .. } | Step::Keys { .. }) if now >= not_before => {
                self.act(definition, now, &mut effects);
            }
            _ => {}
        }
        effects
    }

    fn on_outcome(
        &mut self,
        definition: &Definition,
        action: ActionId,
        kind: OutcomeKind,
        reason: &str,
        now: Timestamp,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.open_action() != Some(action) {
            return effects;
        }
        match kind {
            OutcomeKind::Submitted | OutcomeKind::Placed => {
                self.actions_done += 1;
                self.enter(definition, self.step + 1, now, &mut effects);
            }
            OutcomeKind::Unknown => {
                self.actions_done += 1;
                self.end(End::Unknown, reason, now);
            }
            OutcomeKind::Refused | OutcomeKind::Expired => {
                if now >= self.step_deadline {
                    self.end(End::Failed, format!("{kind}: {reason}"), now);
                } else {
                    let doublings = self.attempts.saturating_sub(1).min(6);
                    let pause = RETRY_FIRST.saturating_mul(1 << doublings).min(RETRY_LONGEST);
                    let not_before =
                        now.saturating_add(pause).unwrap_or(Timestamp::MAX).min(self.step_deadline);
                    self.status = Status::Waiting { not_before };
                    effects.push(Effect::WakeAt(not_before));
                }
            }
        }
        effects
    }

    fn on_timer(&mut self, definition: &Definition, now: Timestamp) -> Vec<Effect> {
        let mut effects = Vec::new();
        match self.status {
            Status::Ended { .. } => {}
            Status::Acting { .. } => {
                let give_up = self.step_deadline.saturating_add(OUTCOME_GRACE).unwrap_or(Timestamp::MAX);
                if now >= give_up {
                    self.actions_done += 1;
                    self.end(End::Unknown, "the node did not say how the action ended", now);
                } else {
                    effects.push(Effect::WakeAt(give_up));
                }
            }
            Status::Waiting { not_before } if now >= self.step_deadline => {
                let what = match definition.steps.get(self.step) {
                    Some(Step::WaitUntil { states, .. }) => {
                        let states: Vec<_> = states.iter().map(|state| state.as_str()).collect();
                        format!("the pane was not {} in time", states.join(" or "))
                    }
                    _ => format!("no good moment to act came in time (tried {} times)", self.attempts),
                };
                debug_assert!(not_before <= now);
                self.end(End::Failed, what, now);
            }
            Status::Waiting { not_before } => match definition.steps.get(self.step) {
                Some(Step::Type { .. } | Step::Keys { .. }) if now >= not_before => {
                    self.act(definition, now, &mut effects);
                }
                _ => effects.push(Effect::WakeAt(self.step_deadline)),
            },
        }
        effects
    }
}

/// One step of one run: pure, total, and the only way in which a run changes.
pub fn step(definition: &Definition, run: &Run, input: &Input, now: Timestamp) -> (Run, Vec<Effect>) {
    let mut next = run.clone();
    if next.is_over() {
        return (next, Vec::new());
    }
    if definition.name != run.workflow || definition.version != run.version {
        let reason = format!("the workflow {} is no longer at version {}", run.workflow, run.version);
        next.end(End::Failed, reason, now);
        return (next, Vec::new());
    }
    let effects = match input {
        Input::Pane { state, agent_pid, .. } => next.on_pane(definition, *state, *agent_pid, now),
        Input::PaneGone => {
            let end = if next.open_action().is_some() { End::Unknown } else { End::Failed };
            next.end(end, "the pane is gone", now);
            Vec::new()
        }
        Input::Outcome { action, kind, reason } => next.on_outcome(definition, *action, *kind, reason, now),
        Input::Timer => next.on_timer(definition, now),
        Input::Cancel { reason } => {
            next.end(End::Cancelled, reason.clone(), now);
            Vec::new()
        }
    };
    (next, effects)
}

#[cfg(test)]
mod tests;
