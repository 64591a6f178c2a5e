//! From what happened to what is done: inbox, workflows, outbox.
//!
//! Constraints (promises W1, W2): a run changes only by [`wa_workflow::step`] with an input that is recorded in the same
//! commit; one run at a time acts on a pane; an action exists once it is in the outbox, and only then is it offered to
//! the node.
//!
//! Operation: [`Orchestrator::step`] works the inbox off inside the commit that filled it, so an event and the action
//! that follows from it cost one fsync. After the commit, [`Orchestrator::committed`] puts new actions through the gate's
//! books and wakes the sessions of their nodes; nothing here waits for a timer. What a restarted controller finds in the
//! inbox, and wake-ups that came due meanwhile, are worked off at its start by the task that wakes runs.
//!
//! A run that waits for its pane is fed the pane's present state after each of its steps, once, and then whatever
//! reports change: what tells a run nothing new is no input. Nothing is fed from nodes that are away. Accounts are
//! leased in the commit (`accounts.rs`); their homes and sign-ins are errands outside of it (`errands.rs`), whose
//! results come back as inputs.
//!
//! An event that is told late, or before the one that belongs to it, is looked at with its pane (`late.rs`).
//!
//! Of workflows that one event begins, those that another stands in for do not begin; what a person asks for takes the
//! place of what it stands in for and merely waits.

mod accounts;
mod brakes;
mod clock;
#[cfg(test)]
mod clock_tests;
mod errands;
mod late;
mod timers;

use accounts::{Code, Wanted};
use clock::Reckoning;
pub(crate) use errands::{Errand, Errands, House, run_errands};
use late::Timeliness;
pub(crate) use timers::{Alarm, run_timers};

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use tracing::info_span;
use wa_link::trace;
use wa_match::Redactor;
use wa_proto::{Action, Event, Host, Pane, PaneRef, RunId, Timestamp, Verb};
use wa_workflow::{
    Admission, Definition, Effect, Expect, Input, Level, Override, PlaceOf, Run, Status, Trigger,
    WANTED_ACCOUNT, admit,
};

use crate::gate::{Gate, address};
use crate::identity::ca::hex;
use crate::policy;
use crate::registry::Registry;
use crate::store::{Committed, InboxItem, InboxRow, NewAction, Observer, StoreError, Tx, on_pane};

/// Runs workflows. Lives on the store's writer thread.
pub struct Orchestrator {
    definitions: Arc<Vec<Definition>>,
    overrides: Vec<Override>,
    registry: Arc<Registry>,
    gate: Arc<Gate>,
    alarm: Arc<Alarm>,
    errands: Arc<Errands>,
    reckoning: Reckoning,
}

/// Rows of the inbox that one commit works off; what is more waits for the next.
const ROWS_PER_COMMIT: usize = 4096;
/// Of these, also when it has taken long already.
const ROWS_AT_LEAST: usize = 16;
/// Triggers that wait for one pane; what comes on top is merged into them.
const TRIGGERS: u64 = 32;
/// Inputs that one row may lead to: a definition that steps without end is cut here.
const INPUTS_PER_ROW: usize = 64;

impl Orchestrator {
    pub fn new(
        definitions: Arc<Vec<Definition>>,
        overrides: Vec<Override>,
        registry: Arc<Registry>,
        gate: Arc<Gate>,
    ) -> Self {
        Self {
            definitions,
            overrides,
            registry,
            gate,
            alarm: Arc::default(),
            errands: Arc::default(),
            reckoning: Reckoning::default(),
        }
    }

    /// What runs want done outside of commits.
    pub(crate) fn errands(&self) -> Arc<Errands> {
        Arc::clone(&self.errands)
    }

    /// Goes off when a run wants to be woken.
    pub(crate) fn alarm(&self) -> Arc<Alarm> {
        Arc::clone(&self.alarm)
    }

    fn row(&self, tx: &Tx<'_>, row: &InboxRow) -> Result<(), StoreError> {
        match &row.item {
            // Which account is taken is for people to say, not for the node that tells an event.
            InboxItem::Event { event, workflow: None } if event.fields.contains_key(WANTED_ACCOUNT) => {
                let mut event = event.clone();
                event.fields.remove(WANTED_ACCOUNT);
                self.event(tx, row, &event, None)?;
            }
            InboxItem::Event { event, workflow } => self.event(tx, row, event, workflow.as_deref())?,
            InboxItem::Input { run, input } => {
                if let Some(run) = tx.run(*run)? {
                    self.drive(tx, run, input.clone())?;
                }
            }
        }
        tx.inbox_done(row.n)
    }

    /// Ends the run for which a row was that was set aside: it may have been the timer that it waits for, or an outcome, and
    /// neither comes again.
    fn end_without(&self, tx: &Tx<'_>, row: &InboxRow, error: &StoreError) -> Result<(), StoreError> {
        let InboxItem::Input { run, .. } = &row.item else { return Ok(()) };
        let reason = format!("an input of it could not be worked off: {error}");
        let ended = tx.apart(|tx| {
            let Some(run) = tx.run(*run)?.filter(|run| !run.is_over()) else { return Ok(()) };
            let text = format!(
                "{} on {} was ended, for {reason}. Look at the pane, and at the controller's log",
                run.workflow, run.trigger.place.address
            );
            tx.notify(&run, Level::Error, &text)?;
            self.drive(tx, run, Input::Cancel { reason })
        });
        match ended {
            Err(error) if !error.is_passing() => {
                tracing::error!(%error, %run, "a run that lacks an input could not be ended: end it by hand");
                Ok(())
            }
            ended => ended,
        }
    }

    fn event(
        &self,
        tx: &Tx<'_>,
        row: &InboxRow,
        event: &Event,
        workflow: Option<&str>,
    ) -> Result<(), StoreError> {
        let fits = |definition: &&Definition| {
            let wanted = match workflow {
                Some(workflow) => workflow == definition.name,
                None => definition.on.contains(&event.kind) && !definition.opt_in,
            };
            wanted && definition.is_for(event.agent.as_ref())
        };
        let fitting: Vec<&Definition> = self.definitions.iter().filter(fits).collect();
        // By a person, or because it waited for its turn.
        let asked = workflow.is_some() && !row.put_off;
        // The run that acts there already, and may wait for this. What comes up again after a wait is no news to it.
        let before = if workflow.is_none() { tx.open_run(&row.host, &row.pane)? } else { None };
        let able = self.able(tx, fitting, row, event, asked)?;
        if asked && able.is_empty() && tx.open_run(&row.host, &row.pane)?.is_none() {
            // The workflow that it waited for is no more, or may not begin now. It was the one that was released, so the
            // next has its turn.
            tx.inbox_release(&row.host, &row.pane)?;
        }
        for definition in able {
            if asked {
                self.make_room(tx, definition, row)?;
            }
            let active = tx.open_run(&row.host, &row.pane)?;
            match self.timeliness(definition, row, event, active.as_ref(), tx.now) {
                Timeliness::Now => {}
                Timeliness::Later(due) => {
                    tx.inbox_put_off(row, event, &definition.name, due)?;
                    continue;
                }
                Timeliness::Stale(why) => {
                    declined(
                        tx,
                        definition,
                        row,
                        "stale",
                        &format!("event {} {}: {why}", event.kind, event.id),
                    )?;
                    continue;
                }
                Timeliness::SeenTo => {
                    merged(tx, definition, row, event, active.as_ref())?;
                    continue;
                }
            }
            // What a person asked for is not told to be another's.
            let admission = match admit(definition, active.as_ref()) {
                Admission::Merge if asked => Admission::Queue,
                Admission::Queue if !asked && self.absorbs(active.as_ref(), definition) => Admission::Merge,
                admission => admission,
            };
            match admission {
                Admission::Start => self.start(tx, definition, row, event)?,
                Admission::Queue if tx.inbox_waiting(&row.host, &row.pane)? < TRIGGERS => {
                    tx.inbox_queue(row, event, &definition.name)?;
                }
                Admission::Queue | Admission::Merge => merged(tx, definition, row, event, active.as_ref())?,
            }
        }
        match before
            .filter(|run| self.definition_of(run).is_some_and(|definition| definition.hears(event.kind)))
        {
            Some(run) => self.drive(tx, run, heard(event)),
            None => Ok(()),
        }
    }

    /// What a person asked for takes the place of what merely waits where it stands in for that.
    fn make_room(&self, tx: &Tx<'_>, definition: &Definition, row: &InboxRow) -> Result<(), StoreError> {
        let Some(active) = tx.open_run(&row.host, &row.pane)? else { return Ok(()) };
        let waits = matches!(active.status, Status::Waiting { .. } | Status::Asking);
        if !waits || !definition.instead_of.contains(&active.workflow) {
            return Ok(());
        }
        let reason = format!("replaced by {}", definition.name);
        self.drive(tx, active, Input::Cancel { reason })
    }

    fn absorbs(&self, active: Option<&Run>, definition: &Definition) -> bool {
        let of_active = active.and_then(|run| Some((run, self.definition_of(run)?)));
        of_active.is_some_and(|(run, of_run)| of_run.absorbs(run, &definition.name))
    }

    /// Those that may begin now; where one stands in for others, only that one. `asked`: for this workflow alone.
    fn able<'d>(
        &self,
        tx: &Tx<'_>,
        fitting: Vec<&'d Definition>,
        row: &InboxRow,
        event: &Event,
        asked: bool,
    ) -> Result<Vec<&'d Definition>, StoreError> {
        let mut able = Vec::with_capacity(fitting.len());
        for definition in fitting {
            let held = brakes::holds_back(tx, definition, &row.host, &row.pane)?;
            if let Some(held) = held.as_ref().filter(|_| !asked) {
                held.tell(tx, &definition.name, &row.host, &row.pane)?;
            }
            let why = match held {
                None if !asked => self.may_not_switch(tx, definition, row)?,
                held => held.map(|held| held.why().to_owned()),
            };
            match why {
                Some(why) => {
                    declined(tx, definition, row, "declined", &format!("event {}: {why}", event.id))?
                }
                None => able.push(definition),
            }
        }
        if !asked {
            let displaced: HashSet<&str> =
                able.iter().flat_map(|one| one.instead_of.iter().map(String::as_str)).collect();
            able.retain(|definition| !displaced.contains(definition.name.as_str()));
        }
        Ok(able)
    }

    fn start(
        &self,
        tx: &Tx<'_>,
        definition: &Definition,
        row: &InboxRow,
        event: &Event,
    ) -> Result<(), StoreError> {
        let place = self.place_of(&row.host, &row.pane);
        let Some(trigger) = Trigger::of(row.host.clone(), event, place, &row.trace_parent) else {
            return Ok(());
        };
        let overrides = wa_workflow::resolve(&self.overrides, &definition.name, &trigger);
        let (run, effects) = Run::start(definition, RunId::generate(), trigger, &overrides, tx.now);
        self.note(tx, &run, "began", &format!("by event {} {}", event.kind, event.id))?;
        let wake = self.carry_out(tx, &run, effects)?;
        tx.save_run(&run, wake)?;
        let present = self.present(&run);
        // No report will tell of it any more.
        let gone = (run.trigger.pane_is_gone() && !run.is_over()).then_some(Input::PaneGone);
        match gone.or(present) {
            Some(input) => self.drive(tx, run, input),
            None => self.after(tx, &run),
        }
    }

    /// What is known of a pane, for the texts of a run on it.
    fn place_of(&self, host: &Host, pane: &PaneRef) -> PlaceOf {
        let known = self.known(host, pane);
        let address = address(host, pane).to_string();
        match known {
            Some(Pane { project, cwd, session_id, .. }) => PlaceOf { address, project, cwd, session_id },
            None => PlaceOf { address, ..PlaceOf::default() },
        }
    }

    /// What is known of a pane now.
    fn known(&self, host: &Host, pane: &PaneRef) -> Option<Pane> {
        let view = self.registry.pane(&address(host, pane))?;
        Some(view.pane).filter(|known| known.pane == *pane)
    }

    /// Steps a run with an input, and with the pane's present state as long as that leads on.
    fn drive(&self, tx: &Tx<'_>, mut run: Run, input: Input) -> Result<(), StoreError> {
        let mut next = Some(input);
        for _ in 0..INPUTS_PER_ROW {
            let Some(input) = next.take() else { break };
            if run.is_over() {
                return Ok(());
            }
            let Some(definition) = self.definition_of(&run) else { return Ok(()) };
            let span =
                info_span!("step", workflow = run.workflow, run = %run.id, pane = run.trigger.pane.pane_id);
            trace::set_parent(&span, &run.trigger.trace_parent);
            let _entered = span.enter();
            tx.record_input(run.id, &input)?;
            let (stepped, effects) = wa_workflow::step(definition, &run, &input, tx.now);
            // Whatever it was that came: either it still asks the same, or it asks no more.
            if run.status == Status::Asking && (&stepped.status, stepped.step) != (&run.status, run.step) {
                tx.close_questions(run.id)?;
            }
            // What waits for its permit still must not be typed in the name of a run that does not wait for it any more.
            if let Some(why) = lets_go(&run, &stepped, &input) {
                tx.withdraw_actions_of_run(run.id, why)?;
            }
            let prepares = |run: &Run| matches!(run.status, Status::Preparing { .. }).then_some(run.step);
            if prepares(&run).is_some() && prepares(&run) != prepares(&stepped) {
                tx.send(run.id, None);
            }
            let wake = self.carry_out(tx, &stepped, effects)?;
            tx.save_run(&stepped, wake)?;
            let moved = (stepped.step, &stepped.status) != (run.step, &run.status);
            run = stepped;
            if moved && !matches!(input, Input::PaneGone) {
                next = self.present(&run);
            }
        }
        self.after(tx, &run)
    }

    /// The present state of the run's pane, if the run waits for it and the node is here; from now on the pane is
    /// watched.
    fn present(&self, run: &Run) -> Option<Input> {
        if run.is_over() {
            return None;
        }
        // A run that acts hears of it when the pane is gone.
        let present = self.registry.watch(&run.trigger.host, &run.trigger.pane, wa_link::clock::monotonic());
        present.filter(|_| run.watches_pane())
    }

    /// A definition by the run's name; where there is none any more, any other makes `step` end the run.
    fn definition_of(&self, run: &Run) -> Option<&Definition> {
        self.definitions
            .iter()
            .find(|definition| definition.name == run.workflow)
            .or_else(|| self.definitions.first())
    }

    fn after(&self, tx: &Tx<'_>, run: &Run) -> Result<(), StoreError> {
        let Status::Ended { reason, .. } = &run.status else { return Ok(()) };
        self.note(tx, run, run.status.name(), reason)?;
        self.give_back(tx, run)?;
        brakes::ended(tx, run)?;
        // A run that never acts ends beside the one that has the pane: its end is nobody's turn.
        if tx.open_run(&run.trigger.host, &run.trigger.pane)?.is_none() {
            tx.inbox_release(&run.trigger.host, &run.trigger.pane)?;
        }
        Ok(())
    }

    fn note(&self, tx: &Tx<'_>, run: &Run, decision: &str, detail: &str) -> Result<(), StoreError> {
        let target = on_pane(&run.trigger.host, &run.trigger.pane);
        tx.audit_workflow(&run.workflow, &target, "run", decision, &format!("{} {detail}", run.id))
    }

    /// Puts actions into the outbox; the wake-up time that the run asked for last.
    fn carry_out(
        &self,
        tx: &Tx<'_>,
        run: &Run,
        effects: Vec<Effect>,
    ) -> Result<Option<Timestamp>, StoreError> {
        let mut wake = None;
        for effect in effects {
            match effect {
                Effect::WakeAt(at) => wake = Some(at),
                Effect::Lease { step, wanted, login, deadline } => {
                    self.lease(tx, run, step, Wanted { alias: wanted, login, deadline })?;
                }
                Effect::SignIn { step, alias, action, deadline } => {
                    self.sign_in(tx, run, step, Code { alias, action, deadline })?;
                }
                Effect::Notify { level, text } => {
                    tx.notify(run, level, &Redactor::builtin().redact(&text))?
                }
                Effect::Ask { question, choices, until } => {
                    tx.ask(run, &Redactor::builtin().redact(&question), &choices, until)?;
                }
                Effect::Act { action, verb, expect, deadline } => {
                    let (expect_agent, expect_agent_pid, expect_shell) = match expect {
                        Expect::Agent { kind, pid } => (kind, pid, false),
                        Expect::Shell => (None, None, true),
                    };
                    let summary = summary(&verb);
                    let current = trace::current_parent();
                    let trace_parent =
                        if current.is_empty() { run.trigger.trace_parent.clone() } else { current };
                    let action = Action {
                        id: action,
                        pane: run.trigger.pane.clone(),
                        deadline,
                        fence: 0,
                        who: format!("workflow:{}", run.workflow),
                        expect_agent,
                        expect_agent_pid,
                        expect_shell,
                        trace_parent,
                        verb,
                    };
                    let (host, run) = (run.trigger.host.clone(), Some(run.id));
                    let new = NewAction { host, action, run, idempotency_key: None, summary };
                    policy::enter(tx, &self.gate, &self.registry, new)?;
                }
            }
        }
        Ok(wake)
    }
}

impl Observer for Orchestrator {
    fn begin(&self, tx: &Tx<'_>) -> Result<(), StoreError> {
        self.look_at_the_clock(tx)
    }

    fn step(&self, tx: &Tx<'_>) -> Result<(), StoreError> {
        let mut done = 0;
        loop {
            let rows = tx.inbox_fresh()?;
            if rows.is_empty() {
                return Ok(());
            }
            for row in rows {
                if done >= ROWS_PER_COMMIT || (done >= ROWS_AT_LEAST && tx.is_late()) {
                    tx.wake_at(tx.now);
                    return Ok(());
                }
                done += 1;
                match tx.apart(|tx| self.row(tx, &row)) {
                    Ok(()) => {}
                    // The row is good, the disk is not.
                    Err(error) if error.is_passing() => return Err(error),
                    // One row that cannot be worked off must not hold up the others.
                    Err(error) => {
                        tracing::error!(%error, row = row.n, host = %row.host, "a row of the inbox was set aside");
                        tx.inbox_set_aside(row.n)?;
                        self.end_without(tx, &row, &error)?;
                    }
                }
            }
        }
    }

    fn committed(&self, what: Committed) {
        self.reckoning.committed();
        // Not inside the commit: had it failed, the run would still be open and nobody would watch its pane.
        let last: HashMap<(Host, PaneRef), bool> =
            what.runs.into_iter().map(|(host, pane, open)| ((host, pane), open)).collect();
        for ((host, pane), _) in last.iter().filter(|(_, open)| !**open) {
            self.registry.unwatch(host, pane);
        }
        let hosts: BTreeSet<Host> = what.actions.iter().map(|queued| queued.host.clone()).collect();
        for queued in what.actions {
            self.gate.add(queued);
        }
        self.gate.withdraw(what.withdrawn);
        for (scope, who, reason) in &what.held {
            self.gate.pause(std::slice::from_ref(scope), who, reason);
        }
        for (_, outcome) in what.settled {
            self.gate.settle(outcome);
        }
        for host in hosts {
            if let Some(session) = self.registry.session(&host) {
                session.outbox.notify_one();
            }
        }
        if what.approvals {
            self.gate.tell_held();
        }
        self.errands.take_in(what.errands);
        if let Some(wake) = what.wake {
            self.alarm.set(wake);
        }
    }
}

/// Why a run's open action may not begin any more, if so: the run goes on, or ends, without its outcome.
fn lets_go(run: &Run, stepped: &Run, input: &Input) -> Option<&'static str> {
    if run.open_action().is_none() || run.open_action() == stepped.open_action() {
        return None;
    }
    match input {
        Input::Outcome { .. } | Input::Denied { .. } => None,
        Input::Cancel { .. } => Some("its run was cancelled"),
        _ => Some("its run does not wait for it any more"),
    }
}

/// What a run hears of an event.
fn heard(event: &Event) -> Input {
    let session_id = event.fields.get("session_id").cloned().unwrap_or_default();
    Input::Event { kind: event.kind, session_id }
}

/// A trigger that no run of its own follows from.
fn merged(
    tx: &Tx<'_>,
    definition: &Definition,
    row: &InboxRow,
    event: &Event,
    active: Option<&Run>,
) -> Result<(), StoreError> {
    let into = active.map_or_else(|| "those that wait".to_owned(), |run| run.id.to_string());
    declined(tx, definition, row, "merged", &format!("event {} into {into}", event.id))
}

/// Writes down why an event began no run.
fn declined(
    tx: &Tx<'_>,
    definition: &Definition,
    row: &InboxRow,
    decision: &str,
    detail: &str,
) -> Result<(), StoreError> {
    tx.audit_workflow(&definition.name, &on_pane(&row.host, &row.pane), "run", decision, detail)
}

/// What audit and lists show of an action: its text redacted and cut, with a hash of the whole.
pub(crate) fn summary(verb: &Verb) -> String {
    const SHOWN: usize = 120;
    shown_up_to(SHOWN, verb)
}

/// What people see of an action that they are to allow: as far as anybody reads.
pub(crate) fn to_be_allowed(verb: &Verb) -> String {
    const SHOWN: usize = 4096;
    shown_up_to(SHOWN, verb)
}

/// The text, redacted and cut after so many characters, with a hash of the whole.
fn shown_up_to(most: usize, verb: &Verb) -> String {
    if matches!(verb, Verb::Kill) {
        return String::new();
    }
    let text = verb.text();
    let hash = hex(&digest(&SHA256, text.as_bytes()).as_ref()[..8]);
    let redacted = Redactor::builtin().redact(&text);
    let shown: String = redacted.chars().take(most).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let cut = if redacted.chars().count() > most { "…" } else { "" };
    format!("{shown}{cut} (sha256 {hash})")
}

/// What reports changed on watched panes, into the inbox.
pub(crate) fn pane_inputs(tx: &Tx<'_>, host: &Host, changes: &[(PaneRef, Input)]) -> Result<(), StoreError> {
    for (pane, input) in changes {
        let Some(run) = tx.open_run(host, pane)? else { continue };
        // A pane that is drawn again and again is told once; that it is gone matters to a run that acts, too.
        if (run.watches_pane() && !run.knows(input)) || matches!(input, Input::PaneGone) {
            tx.inbox_input(host, pane, run.id, input, &run.trigger.trace_parent)?;
        }
    }
    Ok(())
}
