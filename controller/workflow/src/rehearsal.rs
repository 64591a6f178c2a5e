//! What a workflow would have done on a pane whose recording is there: nothing is typed, leased or asked.
//!
//! Constraints: pure and bounded, like everything here. What only a real pane can answer is assumed, and the lines say so:
//! every action is taken as done, every account as free, every code as accepted; a person never answers. So the lines show
//! the way of a run on which nothing goes wrong.
//!
//! Operation: the moments of the recording are fed to [`step`] in their order, timers in between when they are due. After
//! the last moment time goes on for the run that is under way, with the pane as it was left.

use std::collections::BTreeMap;

use uuid::Uuid;
use wa_proto::{
    AccountAlias, AgentKind, EventId, EventKind, Generation, Host, MuxName, OutcomeKind, PaneRef, PaneState,
    RunId, Timestamp, Verb,
};

use crate::run::{Effect, Input, PlaceOf, Run, Status, Trigger};
use crate::template::Vars;
use crate::{Definition, step};

/// Inputs that one run may take; a recording of weeks would not say more.
const MAX_INPUTS: usize = 1000;
/// Lines of one rehearsal.
const MAX_LINES: usize = 10_000;

/// Something that a recording shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    pub at: Timestamp,
    pub seen: Seen,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    Event { kind: EventKind, fields: BTreeMap<String, String> },
    State { state: PaneState, until: Option<Timestamp> },
}

/// One thing that would have been done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rehearsed {
    pub at: Timestamp,
    /// The step; empty where there is none.
    pub step: String,
    pub text: String,
    /// The recording had ended by then.
    pub beyond: bool,
}

/// The state in which an event leaves a pane; `None`: it says nothing of it. For recordings that hold only events.
pub fn state_after(kind: EventKind) -> Option<PaneState> {
    Some(match kind {
        EventKind::TurnStarted => PaneState::Working,
        EventKind::TurnFinished | EventKind::LimitLifted => PaneState::Idle,
        EventKind::LimitWarning => PaneState::LimitWarning,
        EventKind::LimitReached => PaneState::Limited,
        EventKind::ApprovalRequested => PaneState::Waiting,
        EventKind::AgentStarted => PaneState::Starting,
        EventKind::AgentExited => PaneState::Exited,
        EventKind::AgentCrashed => PaneState::Crashed,
        EventKind::AuthDeviceCode => PaneState::Authenticating,
        _ => return None,
    })
}

/// What the workflow would have done. `overrides`: as the configuration has them for this pane. The moments are taken in
/// their order; a time before the one that came last counts as that.
pub fn rehearse(
    definition: &Definition,
    agent: Option<&AgentKind>,
    overrides: &Vars,
    moments: &[Moment],
) -> Vec<Rehearsed> {
    let mut stage = Stage {
        definition,
        agent,
        overrides,
        run: None,
        begun: 0,
        taken: 0,
        wake: None,
        state: None,
        now: Timestamp::MIN,
        beyond: false,
        lines: Vec::new(),
    };
    if !definition.is_for(agent) {
        let agent = agent.map_or("no known agent", AgentKind::as_str);
        stage.say("", format!("{} is not for {agent}: it would not begin", definition.name));
        return stage.lines;
    }
    for moment in moments {
        stage.timers(Some(moment.at));
        stage.now = stage.now.max(moment.at);
        match &moment.seen {
            Seen::Event { kind, fields } => stage.event(*kind, fields),
            Seen::State { state, until } => stage.becomes(*state, *until),
        }
    }
    stage.beyond = true;
    stage.timers(None);
    if stage.begun == 0 {
        let on: Vec<_> = definition.on.iter().map(|kind| kind.as_str()).collect();
        let on = if on.is_empty() { "only a person begins it".to_owned() } else { on.join(", ") };
        stage.say("", format!("it would not begin: nothing of what begins it is in the recording ({on})"));
    }
    stage.lines
}

struct Stage<'a> {
    definition: &'a Definition,
    agent: Option<&'a AgentKind>,
    overrides: &'a Vars,
    run: Option<Run>,
    /// Runs that began.
    begun: u128,
    /// Inputs of the present one.
    taken: usize,
    wake: Option<Timestamp>,
    state: Option<(PaneState, Option<Timestamp>)>,
    now: Timestamp,
    beyond: bool,
    lines: Vec<Rehearsed>,
}

impl Stage<'_> {
    fn say(&mut self, step: &str, text: String) {
        if self.lines.len() < MAX_LINES {
            self.lines.push(Rehearsed { at: self.now, step: step.to_owned(), text, beyond: self.beyond });
        }
    }

    /// Lets time pass, up to a moment or to the end of the run.
    fn timers(&mut self, until: Option<Timestamp>) {
        while let Some(wake) = self.wake.filter(|wake| until.is_none_or(|until| *wake <= until)) {
            self.wake = None;
            self.now = self.now.max(wake);
            self.take(Input::Timer);
        }
    }

    fn event(&mut self, kind: EventKind, fields: &BTreeMap<String, String>) {
        if self.run.is_none() {
            if self.definition.on.contains(&kind) {
                self.begin(kind, fields);
            }
        } else if self.definition.hears(kind) {
            let session_id = fields.get("session_id").cloned().unwrap_or_default();
            self.take(Input::Event { kind, session_id });
        }
        if let Some(state) = state_after(kind) {
            self.becomes(state, None);
        }
    }

    fn becomes(&mut self, state: PaneState, until: Option<Timestamp>) {
        self.state = Some((state, until));
        self.look();
    }

    /// Shows the run the pane as it is.
    fn look(&mut self) {
        let Some((state, until)) = self.state else { return };
        if self.run.as_ref().is_some_and(Run::watches_pane) {
            let agent = self.agent.cloned();
            self.take(Input::Pane { state, agent, agent_pid: 0, until });
        }
    }

    fn begin(&mut self, kind: EventKind, fields: &BTreeMap<String, String>) {
        self.begun += 1;
        self.taken = 0;
        let name = |text: &str| text.to_owned();
        let (Ok(host), Ok(generation)) = (Host::new("recording"), Generation::new("recording")) else {
            return;
        };
        let trigger = Trigger {
            event: EventId(Uuid::nil()),
            host,
            pane: PaneRef { mux: MuxName::main(), generation, pane_id: 0 },
            agent: self.agent.cloned(),
            agent_pid: 0,
            trace_parent: String::new(),
            fields: fields.clone(),
            place: PlaceOf { address: name("recording/0"), ..PlaceOf::default() },
        };
        let id = RunId(Uuid::from_u128(self.begun << 64));
        self.say("", format!("begins, by {kind}"));
        let (run, effects) = Run::start(self.definition, id, trigger, self.overrides, self.now);
        self.run = Some(run);
        self.follow(effects);
        self.look();
    }

    /// Steps the run, and does what is assumed of what it asks for.
    fn take(&mut self, input: Input) {
        let Some(run) = self.run.take() else { return };
        self.taken += 1;
        if self.taken > MAX_INPUTS {
            self.wake = None;
            return self.say("", "is not followed any further".to_owned());
        }
        let (next, effects) = step(self.definition, &run, &input, self.now);
        let moved = (next.step, &next.status) != (run.step, &run.status);
        self.run = Some(next);
        self.follow(effects);
        // After a move the run sees the pane once more, as it does on a real one.
        if moved && self.run.as_ref().is_some_and(|run| matches!(run.status, Status::Waiting { .. })) {
            self.look();
        }
    }

    fn follow(&mut self, effects: Vec<Effect>) {
        let at = self.run.as_ref().and_then(|run| self.definition.steps.get(run.step));
        let at = at.map(|step| step.id.clone()).unwrap_or_default();
        let mut answer = None;
        for effect in effects {
            match effect {
                Effect::WakeAt(wake) => self.wake = Some(wake),
                Effect::Notify { level, text } => {
                    self.say(&at, format!("would tell people ({}): {text}", level.as_str()));
                }
                Effect::Ask { question, choices, until } => {
                    self.say(
                        &at,
                        format!("would ask people until {until}: {question} ({})", choices.join(", ")),
                    );
                    // Nobody answers; what the recording shows may.
                    if self.beyond {
                        self.wake = None;
                    }
                }
                Effect::Act { action, verb, .. } => {
                    self.say(&at, format!("would {}; taken as done", words(&verb)));
                    let kind = OutcomeKind::Submitted;
                    answer = Some(Input::Outcome { action, kind, reason: String::new() });
                }
                Effect::Lease { step, wanted, .. } => {
                    let wanted = wanted.map_or_else(|| "an account".to_owned(), |alias| alias.to_string());
                    self.say(&at, format!("would lease {wanted}; taken as free, and as signed in"));
                    answer = leased(step);
                }
                Effect::SignIn { step, .. } => {
                    self.say(&at, "would enter the code that was printed; taken as accepted".to_owned());
                    answer = Some(Input::SignedIn { step });
                }
            }
        }
        if let Some(Status::Ended { reason, .. }) = self.run.as_ref().map(|run| run.status.clone()) {
            let how = self.run.as_ref().map(|run| run.status.name()).unwrap_or_default();
            self.say(&at, format!("ends, {how}: {reason}"));
            (self.run, self.wake) = (None, None);
        }
        if let Some(answer) = answer {
            self.take(answer);
        }
    }
}

fn leased(step: usize) -> Option<Input> {
    Some(Input::Leased {
        step,
        alias: AccountAlias::new("ACCOUNT").ok()?,
        home: "/ACCOUNT/HOME".to_owned(),
        variable: "ACCOUNT_VARIABLE".to_owned(),
        signed_in: true,
    })
}

fn words(verb: &Verb) -> String {
    match verb {
        Verb::Send { text, .. } => format!("type {text:?}"),
        Verb::Keys(keys) => {
            format!("press {}", keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        }
        Verb::Choose { labels, .. } => format!("choose the first that is offered of {}", labels.join(" | ")),
        Verb::Spawn { command, .. } => format!("start {:?} in a new pane", command.join(" ")),
        Verb::Kill => "close the pane".to_owned(),
    }
}

#[cfg(test)]
#[path = "rehearsal/tests.rs"]
mod tests;
