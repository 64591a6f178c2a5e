//! The state machine that executes a definition: pure, total, and the only way in which a run changes.
//!
//! What a run does about trouble is decided here and nowhere else. A *refused* or *expired* action did not touch the pane:
//! the run waits and tries again, with pauses that double, until the step's time is over; then the step has failed. An
//! *unknown* one may have touched it: the run ends as `unknown`, or goes where its file says that a person is asked. A step
//! that fails ends the run, or leads where its file says; where it says nothing, people are told. A run that only waited when its
//! agent or its pane went ends as `cancelled`: nobody did anything wrong.

mod accounts;
mod reset;

use jiff::SignedDuration;
use uuid::Uuid;
use wa_proto::{ActionId, AgentKind, EventKind, OutcomeKind, PaneState, RunId, Timestamp, Verb};

use crate::Definition;
use crate::definition::Follows;
use crate::run::{Effect, End, Expect, Input, Run, Status, Trigger, login_command};
use crate::step::{Choice, Level, Place, Step, Work};
use crate::template::{Quoting, Template, Vars};

/// First pause after a refusal; doubles up to the longest.
const RETRY_FIRST: SignedDuration = SignedDuration::from_secs(2);
const RETRY_LONGEST: SignedDuration = SignedDuration::from_secs(60);
/// How long after an action's deadline a run still waits for the node's word. The action itself stays open: a late
/// outcome is recorded, but the run no longer waits for it.
const OUTCOME_GRACE: SignedDuration = SignedDuration::from_secs(60);
/// The value that is the agent's own where nothing else is said.
const LOGIN_COMMAND: &str = "login_command";

/// `at + by`, at most the end of time.
fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// One step of one run, as far as the inputs lead.
pub fn step(definition: &Definition, run: &Run, input: &Input, now: Timestamp) -> (Run, Vec<Effect>) {
    let mut next = run.clone();
    if next.is_over() {
        return (next, Vec::new());
    }
    if !definition.is_of(run) {
        let told = next.end_as_changed(definition, input, now);
        return (next, vec![told]);
    }
    if let Input::ClockSet { by } = input {
        next.reckon_anew(*by);
    }
    let before = (next.step, next.status.clone());
    let mut machine = Machine { definition, run: &mut next, now, effects: Vec::new() };
    machine.take(input);
    let effects = machine.effects;
    // Where it waits for something else, it has yet to be told how the pane is.
    let moved = (next.step, &next.status) != (before.0, &before.1);
    next.told = if moved { None } else { input.told().or(next.told) };
    (next, effects)
}

impl Run {
    /// Begins a run. `overrides`: values that go before the definition's own. The caller then gives it the pane's present
    /// state as its first input.
    pub fn start(
        definition: &Definition,
        id: RunId,
        trigger: Trigger,
        overrides: &Vars,
        now: Timestamp,
    ) -> (Self, Vec<Effect>) {
        let mut vars = definition.vars.clone();
        for (name, value) in overrides {
            // What the pane is cannot be overridden, and what nobody uses need not be stored.
            if let Some(own) = vars.get_mut(name) {
                own.clone_from(value);
            }
        }
        vars.extend(trigger.vars());
        let login = vars.entry(LOGIN_COMMAND.to_owned()).or_default();
        if login.is_empty() {
            let agent = trigger.agent.as_ref().map(AgentKind::as_str).unwrap_or_default();
            login_command(agent).unwrap_or_default().clone_into(login);
        }
        let reset = trigger.fields.get("reset_time").and_then(|at| at.parse().ok());
        let mut run = Self {
            id,
            workflow: definition.name.clone(),
            version: definition.version,
            definition_hash: definition.hash.clone(),
            trigger,
            started: now,
            step: 0,
            step_deadline: now,
            attempts: 0,
            tries: 0,
            actions_done: 0,
            status: Status::Waiting { not_before: now, armed: false },
            vars,
            reset,
            free: None,
            failed_at: None,
            doubted: false,
            signed_in: false,
            pane_state: None,
            told: None,
            heard: std::collections::BTreeSet::new(),
        };
        let mut machine = Machine { definition, run: &mut run, now, effects: Vec::new() };
        machine.enter(0);
        let effects = machine.effects;
        (run, effects)
    }

    /// Ends, because the steps are not those that it began with: whatever stands at its place now may be another. What it
    /// did last may be in doubt: then that is how it ends.
    fn end_as_changed(&mut self, definition: &Definition, input: &Input, now: Timestamp) -> Effect {
        let doubt = match (self.open_action(), input) {
            (Some(open), Input::Outcome { action, kind, .. }) if open == *action => {
                self.actions_done += u32::from(!matches!(kind, OutcomeKind::Refused | OutcomeKind::Expired));
                *kind == OutcomeKind::Unknown
            }
            (Some(open), Input::Denied { action, .. }) if open == *action => false,
            (open, _) => open.is_some(),
        };
        let name = &self.workflow;
        let reason = if definition.name != *name {
            format!("the workflow {name} is no longer there")
        } else if definition.version != self.version {
            format!("the workflow {name} is no longer at version {}", self.version)
        } else {
            format!("the workflow {name} was changed, and its version was not")
        };
        let look =
            if doubt { "; whether its last action arrived is not known: look at the pane" } else { "" };
        let text = format!(
            "a run of {name} was ended: {reason} while it was under way{look}. \
             `wa run start {name} {}` begins it anew",
            self.trigger.place.address
        );
        self.doubted |= doubt;
        self.end(if doubt { End::Unknown } else { End::Failed }, reason, now);
        Effect::Notify { level: Level::Warning, text }
    }

    /// The wall clock was set by so much: what is left of every wait stays what it was.
    fn reckon_anew(&mut self, by: SignedDuration) {
        self.step_deadline = later(self.step_deadline, by);
        if let Status::Waiting { not_before, .. } = &mut self.status {
            *not_before = later(*not_before, by);
        }
    }

    fn end(&mut self, end: End, reason: impl Into<String>, now: Timestamp) {
        self.status = Status::Ended { end, reason: reason.into(), at: now };
    }

    /// Ids of a run's actions follow from the run's id, so that a replayed step names the same action.
    fn action_id(&self, attempt: u32) -> ActionId {
        ActionId(Uuid::from_u128(self.id.0.as_u128() ^ u128::from(attempt)))
    }

    /// The run's own part of a jitter: the id is random, and the same over every replay.
    fn jitter(&self, whole: SignedDuration) -> SignedDuration {
        let part = i32::try_from(self.id.0.as_u128() % 1000).unwrap_or(0);
        whole.checked_mul(part).map_or(SignedDuration::ZERO, |scaled| scaled / 1000)
    }
}

struct Machine<'a> {
    definition: &'a Definition,
    run: &'a mut Run,
    now: Timestamp,
    effects: Vec<Effect>,
}

impl<'a> Machine<'a> {
    fn present(&self) -> Option<&'a Step> {
        self.definition.steps.get(self.run.step)
    }

    fn wake_at(&mut self, at: Timestamp) {
        self.effects.push(Effect::WakeAt(at));
    }

    fn wait(&mut self, not_before: Timestamp) {
        self.run.status = Status::Waiting { not_before, armed: false };
    }

    // ---- from step to step

    /// Goes to a step, and on through those that wait for nothing.
    fn enter(&mut self, at: usize) {
        self.run.step = at;
        self.run.tries = 0;
        let Some(step) = self.present() else {
            return self.run.end(End::Succeeded, "every step done", self.now);
        };
        self.run.step_deadline = later(self.now, step.timeout);
        match &step.work {
            Work::WaitState { .. } => {
                self.wait(self.now);
                self.wake_at(self.run.step_deadline);
            }
            // A dialog may be drawn a moment later than what announced it.
            Work::Choose { .. } => {
                self.run.heard.clear();
                self.wait(self.now);
                self.wake_at(self.run.step_deadline);
            }
            Work::WaitReset { .. } => {
                self.wait(self.now);
                self.wait_for_reset();
            }
            Work::Expect { .. } => self.expect(),
            Work::Type { .. } | Work::Keys { .. } | Work::Spawn { .. } => {
                self.run.heard.clear();
                self.act();
            }
            Work::Notify { level, text } => {
                if let Some(text) = self.render(text, Quoting::None) {
                    self.effects.push(Effect::Notify { level: *level, text });
                    self.go_on();
                }
            }
            Work::LeaseAccount { .. } => self.lease(),
            Work::When { signed_in } => match self.run.signed_in {
                true => self.enter(*signed_in),
                false => self.go_on(),
            },
            Work::DeviceLogin => self.sign_in(),
            Work::Ask { question, choices, events, heard } => {
                match heard.filter(|_| events.iter().any(|kind| self.run.heard.contains(kind))) {
                    Some(to) => self.enter(to),
                    None => self.ask(question, choices),
                }
            }
            Work::Fail { reason } => {
                if let Some(reason) = self.render(reason, Quoting::None) {
                    self.run.end(End::Failed, reason, self.now);
                }
            }
            Work::Finish { reason } => {
                if let Some(reason) = self.render(reason, Quoting::None) {
                    self.run.end(End::Succeeded, reason, self.now);
                }
            }
        }
    }

    fn ask(&mut self, question: &Template, choices: &[Choice]) {
        let Some(question) = self.render(question, Quoting::None) else { return };
        let choices = choices.iter().map(|choice| choice.label.clone()).collect();
        self.run.status = Status::Asking;
        let until = self.run.step_deadline;
        self.effects.push(Effect::Ask { question, choices, until });
        self.wake_at(until);
    }

    /// The present step is done.
    fn go_on(&mut self) {
        let next = self.present().and_then(|step| step.next).unwrap_or(self.run.step + 1);
        self.enter(next);
    }

    /// The present step cannot be done.
    fn fail(&mut self, reason: String) {
        self.run.failed_at = Some(self.run.step);
        match self.present().and_then(|step| step.on_failure) {
            Some(to) => self.divert(to, reason),
            None => self.give_up(End::Failed, reason),
        }
    }

    /// Ends badly where the file does not say how: so people are told here.
    fn give_up(&mut self, end: End, reason: impl Into<String>) {
        let (reason, run) = (reason.into(), &self.run);
        let look = match end {
            End::Unknown => ". Whether its last action arrived is not known: look at the pane",
            _ => "",
        };
        let text = format!("{} on {}: {reason}{look}", run.workflow, run.trigger.place.address);
        self.effects.push(Effect::Notify { level: Level::Warning, text });
        self.run.end(end, reason, self.now);
    }

    /// Ends because what it was for is gone. That is no fault of the workflow, unless it was what it did last.
    fn left(&mut self, reason: String) {
        let waits = matches!(
            self.present().map(|step| &step.work),
            Some(Work::WaitReset { .. } | Work::Ask { .. } | Work::LeaseAccount { .. })
        );
        if !self.run.doubted && (waits || self.run.attempts == 0) {
            return self.run.end(End::Cancelled, reason, self.now);
        }
        self.give_up(End::Failed, reason);
    }

    fn divert(&mut self, to: usize, reason: String) {
        self.run.vars.insert("failure".to_owned(), reason);
        self.enter(to);
    }

    /// The text with its values; `None`: the step has failed over it.
    fn render(&mut self, text: &Template, quoting: Quoting) -> Option<String> {
        match text.render(&self.run.vars, quoting) {
            Ok(text) => Some(text),
            Err(error) => {
                let id = self.present().map(|step| step.id.clone()).unwrap_or_default();
                self.fail(format!("{id}: {error}"));
                None
            }
        }
    }

    // ---- acting

    fn expectation(&self, place: Place) -> Expect {
        let of_one = || match self.definition.agents.as_slice() {
            [only] => Some(only.clone()),
            _ => None,
        };
        let same =
            self.definition.follows == Follows::Agent || self.present().is_some_and(|step| step.same_process);
        match place {
            Place::Shell => Expect::Shell,
            Place::Agent => Expect::Agent {
                kind: self.run.trigger.agent.clone().or_else(of_one),
                pid: Some(self.run.trigger.agent_pid).filter(|pid| *pid != 0 && same),
            },
        }
    }

    /// What the present step does; `None`: it does nothing, or has failed.
    fn verb(&mut self) -> Option<(Verb, Expect)> {
        match &self.present()?.work {
            Work::Type { text, place, .. } => {
                let quoting = if *place == Place::Shell { Quoting::Shell } else { Quoting::None };
                let text = self.render(text, quoting)?;
                Some((Verb::Send { text, enter: true }, self.expectation(*place)))
            }
            Work::Keys { keys } => Some((Verb::Keys(keys.clone()), self.expectation(Place::Agent))),
            Work::Choose { labels } => {
                let choose = Verb::Choose { labels: labels.clone(), dialog: String::new() };
                Some((choose, self.expectation(Place::Agent)))
            }
            Work::Spawn { command, cwd } => {
                let mut words = Vec::with_capacity(command.len());
                for word in command {
                    words.push(self.render(word, Quoting::None)?);
                }
                let cwd = self.render(cwd, Quoting::None)?;
                Some((Verb::Spawn { command: words, cwd }, Expect::Agent { kind: None, pid: None }))
            }
            _ => None,
        }
    }

    /// Makes the present step's action.
    fn act(&mut self) {
        if let Some(Work::Type { unless, aside, .. }) = self.present().map(|step| &step.work)
            && self.run.pane_state.is_some_and(|state| unless.contains(&state))
        {
            return self.step_aside(*aside);
        }
        let Some((verb, expect)) = self.verb() else { return };
        let budget = self.definition.max_actions;
        if self.run.actions_done >= budget {
            return self.give_up(End::Failed, format!("its budget of {budget} actions is used up"));
        }
        self.run.attempts += 1;
        self.run.tries += 1;
        let action = self.run.action_id(self.run.attempts);
        self.run.status = Status::Acting { action };
        let deadline = self.run.step_deadline;
        self.effects.push(Effect::Act { action, verb, expect, deadline });
        self.wake_at(later(deadline, OUTCOME_GRACE));
    }

    // ---- inputs

    fn take(&mut self, input: &Input) {
        match input {
            Input::Pane { state, agent_pid, until, .. } => self.on_pane(*state, *agent_pid, *until),
            Input::PaneGone => self.on_gone(),
            Input::Event { kind, session_id } => {
                self.run.heard.insert(*kind);
                self.hear_session(*kind, session_id);
                self.on_event(*kind);
            }
            Input::Outcome { action, kind, reason } => self.on_outcome(*action, *kind, reason),
            Input::Held { action, until } => self.on_held(*action, *until),
            Input::Denied { action, reason } if self.run.open_action() == Some(*action) => {
                self.fail(reason.clone());
            }
            Input::Denied { .. } => {}
            Input::Answer { choice, who } => self.on_answer(choice, who),
            Input::Leased { step, alias, home, variable, signed_in } => {
                self.on_leased(*step, alias, home, variable, *signed_in);
            }
            Input::NotLeased { step, reason, until } => self.on_not_leased(*step, reason, *until),
            Input::SigningIn { step } => self.on_signing_in(*step),
            Input::SignedIn { step } => self.on_signed_in(*step),
            Input::SignInFailed { step, reason } => self.on_sign_in_failed(*step, reason),
            Input::Again { step } => self.enter(*step),
            Input::Restarted => self.on_restart(),
            Input::Timer | Input::ClockSet { .. } => self.on_timer(),
            Input::Cancel { reason } => {
                // What it was doing may have reached the pane: nobody listens to its outcome any more.
                self.run.doubted |= self.run.open_action().is_some();
                self.run.end(End::Cancelled, reason.clone(), self.now);
            }
        }
    }

    fn on_gone(&mut self) {
        if self.spawning() {
            return;
        }
        if self.run.open_action().is_some() {
            return self.give_up(End::Unknown, "the pane is gone");
        }
        match self.definition.on_gone.filter(|to| *to > self.run.step) {
            Some(to) => self.divert(to, "the pane is gone".to_owned()),
            None => self.left("the pane is gone".to_owned()),
        }
    }

    /// It is at a step that makes a new pane, and needs the old one no more.
    fn spawning(&self) -> bool {
        self.present().is_some_and(|step| matches!(step.work, Work::Spawn { .. }))
    }

    fn on_pane(&mut self, state: PaneState, agent_pid: u32, until: Option<Timestamp>) {
        self.run.pane_state = Some(state);
        if state == PaneState::Limited && until.is_some() {
            self.run.reset = until;
        }
        if !self.run.watches_pane() {
            return;
        }
        if self.definition.follows == Follows::Agent && self.has_left(state, agent_pid) {
            return;
        }
        let Status::Waiting { not_before, armed } = self.run.status else { return };
        match self.present().map(|step| &step.work) {
            Some(Work::WaitState { states }) if states.contains(&state) => self.go_on(),
            Some(Work::Expect { states, .. }) if states.contains(&state) => self.go_on(),
            Some(Work::WaitReset { unless, aside, .. }) => {
                if unless.contains(&state) {
                    if armed {
                        self.step_aside(*aside);
                    }
                } else {
                    self.run.status = Status::Waiting { not_before, armed: true };
                    if until.is_some() {
                        self.wait_for_reset();
                    }
                }
            }
            Some(Work::DeviceLogin) => self.watch_for_code(false),
            Some(Work::Choose { .. })
                if state == PaneState::Waiting && (self.run.tries == 0 || self.now >= not_before) =>
            {
                self.act();
            }
            // An acting step that was refused waits here for a better moment.
            Some(Work::Type { .. } | Work::Keys { .. } | Work::Spawn { .. }) if self.now >= not_before => {
                self.act()
            }
            _ => {}
        }
    }

    /// The run's agent is not in the pane any more: it ends.
    fn has_left(&mut self, state: PaneState, agent_pid: u32) -> bool {
        let expected = self.run.trigger.agent_pid;
        let gone =
            matches!(state, PaneState::Shell | PaneState::Exited | PaneState::Crashed | PaneState::Gone);
        let reason = if expected != 0 && agent_pid != 0 && agent_pid != expected {
            format!("another agent process ({agent_pid}) runs in the pane, not {expected}")
        } else if !self.definition.agents.is_empty() && gone {
            format!("the agent is no longer there: the pane is {state}")
        } else {
            return false;
        };
        self.left(reason);
        true
    }

    fn on_event(&mut self, kind: EventKind) {
        let waiting = matches!(self.run.status, Status::Waiting { .. });
        match self.present().map(|step| &step.work) {
            Some(Work::Expect { events, not, .. }) if waiting => {
                if not.contains(&kind) {
                    self.fail(format!("{kind} came"));
                } else if events.contains(&kind) {
                    self.go_on();
                }
            }
            Some(Work::DeviceLogin) if waiting => self.sign_in(),
            // It is over without us: nothing was entered yet.
            Some(Work::DeviceLogin)
                if self.run.status == (Status::Preparing { begun: false })
                    && kind != EventKind::AuthDeviceCode =>
            {
                self.sign_in();
            }
            Some(Work::Ask { events, heard: Some(to), .. })
                if self.run.status == Status::Asking && events.contains(&kind) =>
            {
                self.enter(*to);
            }
            _ => {}
        }
    }

    /// What has been heard since the last action counts: an effect may be quicker than its outcome.
    fn expect(&mut self) {
        self.wait(self.now);
        let Some(Work::Expect { events, not, .. }) = self.present().map(|step| &step.work) else { return };
        if let Some(kind) = not.iter().find(|kind| self.run.heard.contains(kind)) {
            self.fail(format!("{kind} came"));
        } else if events.iter().any(|kind| self.run.heard.contains(kind)) {
            self.go_on();
        } else {
            self.wake_at(self.run.step_deadline);
        }
    }

    fn on_outcome(&mut self, action: ActionId, kind: OutcomeKind, reason: &str) {
        if self.run.open_action() != Some(action) {
            return;
        }
        match kind {
            OutcomeKind::Submitted | OutcomeKind::Placed => {
                self.run.actions_done += 1;
                self.go_on();
            }
            OutcomeKind::Unknown => self.doubt(reason.to_owned()),
            OutcomeKind::Refused | OutcomeKind::Expired if self.now >= self.run.step_deadline => {
                self.fail(format!("{kind}: {reason}"));
            }
            OutcomeKind::Refused | OutcomeKind::Expired => {
                let doublings = self.run.tries.saturating_sub(1).min(6);
                let pause = RETRY_FIRST.saturating_mul(1 << doublings).min(RETRY_LONGEST);
                let not_before = later(self.now, pause).min(self.run.step_deadline);
                self.wait(not_before);
                self.wake_at(not_before);
            }
        }
    }

    /// The action waits for a person; the step waits with it.
    fn on_held(&mut self, action: ActionId, until: Timestamp) {
        if self.run.open_action() == Some(action) {
            self.run.step_deadline = self.run.step_deadline.max(until);
            self.wake_at(later(self.run.step_deadline, OUTCOME_GRACE));
        }
    }

    /// Nobody knows whether an action arrived.
    fn doubt(&mut self, reason: String) {
        self.run.doubted = true;
        self.run.failed_at = Some(self.run.step);
        self.run.actions_done += 1;
        match self.present().and_then(|step| step.on_unknown) {
            Some(to) => self.divert(to, reason),
            None => self.give_up(End::Unknown, reason),
        }
    }

    fn on_answer(&mut self, choice: &str, who: &str) {
        if self.run.status != Status::Asking {
            return;
        }
        let Some(Work::Ask { choices, .. }) = self.present().map(|step| &step.work) else { return };
        if let Some(chosen) = choices.iter().find(|offered| offered.label == choice) {
            self.run.vars.insert("answered_by".to_owned(), who.to_owned());
            self.enter(chosen.to);
        }
    }
}

#[cfg(test)]
mod tests;
