//! Doing what the controller says, at most once, and never over a person.
//!
//! Constraints (A1-A4): an action is on record before its first step is sent; it needs this host's policy, the controller's
//! permit not older than a second, and a guard that holds on a fresh look; whatever cannot be shown to have arrived ends
//! `unknown`, and nobody types again blindly. One action at a time on a pane; the others wait, bounded.
//! Operation: this module takes actions in, lets them wait for their pane, and hands outcomes over (journal first, then
//! spool). `perform.rs` is one action from the permit to the outcome, `guard.rs` says whether to type, `text.rs` pastes
//! and submits (`line.rs` reads a shell's line, `prompts.rs` an agent's transcript), `menu.rs` answers dialogs,
//! `other.rs` presses keys, spawns and kills. Every step waits for frames; the only clock is the one before Enter,
//! which agents need.

mod guard;
mod line;
mod menu;
mod other;
mod perform;
mod prompts;
#[cfg(test)]
mod tests;
mod text;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tracing::Instrument as _;
use wa_link::shutdown::Shutdown;
use wa_match::Redactor;
use wa_proto::wire::v1;
use wa_proto::{Action, ActionId, Lane, Outcome, OutcomeKind, PaneRef, Verb};

use crate::account::Marks;
use crate::journal::{Begin, Journal, JournalError};
use crate::observer::Muxes;
use crate::policy::PolicyFile;
use crate::process::ProcessTable;
use crate::session::{Actions, ControllerClock, Permits};
use crate::spool::{Group, NewRecord, Spool};

pub(crate) use guard::{PERSON, describe, idle_for};

/// Actions that are under way at a time, over all panes.
const MAX_RUNNING: usize = 64;
/// Actions that wait for a pane.
const MAX_WAITING: usize = 16;
/// Between the session and here.
const QUEUE: usize = 256;
/// For actions under way, when the node ends.
const LAST: Duration = Duration::from_secs(3);

/// What acting needs from the rest of the node.
#[derive(Clone)]
pub struct Parts {
    pub journal: Journal,
    pub spool: Spool,
    pub policy: Arc<PolicyFile>,
    pub permits: Permits,
    pub muxes: Muxes,
    pub processes: Arc<dyn ProcessTable>,
    pub clock: Arc<ControllerClock>,
    /// Where panes stand when something is typed.
    pub marks: Marks,
    /// Reasons may quote what a screen shows.
    pub redactor: Redactor,
}

/// How an action ended.
#[derive(Debug, Clone, PartialEq, Eq)]
struct End {
    kind: OutcomeKind,
    reason: String,
    spawned: Option<PaneRef>,
}

impl End {
    fn new(kind: OutcomeKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into(), spawned: None }
    }

    fn refused(reason: impl Into<String>) -> Self {
        Self::new(OutcomeKind::Refused, reason)
    }

    fn unknown(reason: impl Into<String>) -> Self {
        Self::new(OutcomeKind::Unknown, reason)
    }

    fn submitted(reason: impl Into<String>) -> Self {
        Self::new(OutcomeKind::Submitted, reason)
    }
}

/// What an action takes for itself while it is under way: its pane. A spawn has none yet; spawns follow each other.
fn seat(action: &Action) -> PaneRef {
    match action.verb {
        Verb::Spawn { .. } => PaneRef { pane_id: u64::MAX, ..action.pane.clone() },
        Verb::Send { .. } | Verb::Keys(_) | Verb::Choose { .. } | Verb::Kill => action.pane.clone(),
    }
}

/// What waits for the actor.
#[derive(Debug)]
pub struct Intake {
    accepted: mpsc::Receiver<Action>,
    refused: mpsc::Receiver<(ActionId, String)>,
}

/// The way in, and its end.
pub fn intake() -> (Actions, Intake) {
    let (accepted_tx, accepted) = mpsc::channel(QUEUE);
    let (refused_tx, refused) = mpsc::channel(QUEUE);
    (Actions { accepted: accepted_tx, refused: refused_tx }, Intake { accepted, refused })
}

type Running = BoxFuture<'static, Option<PaneRef>>;

struct Actor {
    parts: Parts,
    running: FuturesUnordered<Running>,
    /// Panes on which an action is under way.
    busy: HashSet<PaneRef>,
    waiting: HashMap<PaneRef, VecDeque<Action>>,
    /// Highest fence seen, by pane.
    fences: HashMap<PaneRef, u64>,
}

/// Takes actions until the shutdown. First hands over what a crash left undelivered.
pub async fn run(parts: Parts, undelivered: Vec<Outcome>, mut intake: Intake, shutdown: Shutdown) {
    for outcome in undelivered {
        deliver(&parts, outcome).await;
    }
    let mut actor = Actor {
        parts,
        running: FuturesUnordered::new(),
        busy: HashSet::new(),
        waiting: HashMap::new(),
        fences: HashMap::new(),
    };
    loop {
        tokio::select! {
            biased;
            () = shutdown.triggered() => break,
            Some(pane) = actor.running.next() => actor.ended(pane),
            Some(action) = intake.accepted.recv(), if actor.running.len() < MAX_RUNNING => actor.accept(action),
            Some((action, reason)) = intake.refused.recv(), if actor.running.len() < MAX_RUNNING => {
                actor.refuse(action, None, String::new(), reason);
            }
            else => break,
        }
    }
    let rest = async { while actor.running.next().await.is_some() {} };
    if tokio::time::timeout(LAST, rest).await.is_err() {
        tracing::warn!("actions under way are left: their outcome will be unknown");
    }
}

impl Actor {
    fn accept(&mut self, action: Action) {
        match self.parts.journal.find(action.id) {
            Some(Begin::Open) => return,
            Some(Begin::Ended(outcome)) => return self.again(outcome),
            Some(Begin::Doubtful | Begin::New) | None => {}
        }
        let seat = seat(&action);
        let waits = self.waiting.get(&seat);
        if waits.is_some_and(|waits| waits.iter().any(|waiting| waiting.id == action.id)) {
            return;
        }
        if waits.is_some_and(|waits| waits.len() >= MAX_WAITING) {
            let reason = format!("{MAX_WAITING} actions wait for this pane already");
            return self.refuse(action.id, Some(action.pane), action.trace_parent, reason);
        }
        if self.busy.contains(&seat) {
            self.waiting.entry(seat).or_default().push_back(action);
        } else {
            self.start(action);
        }
    }

    fn start(&mut self, action: Action) {
        if let Some(reason) = self.fenced_off(&action) {
            let seat = seat(&action);
            self.refuse(action.id, Some(action.pane), action.trace_parent, reason);
            return self.next_of(&seat);
        }
        let span = tracing::info_span!(
            "action",
            id = %action.id,
            verb = action.verb.name(),
            mux = %action.pane.mux,
            pane = action.pane.pane_id,
            who = action.who,
            outcome = tracing::field::Empty,
        );
        wa_link::trace::set_parent(&span, &action.trace_parent);
        let seat = seat(&action);
        self.busy.insert(seat.clone());
        let parts = self.parts.clone();
        let work = async move {
            // `None`: it is begun and ended elsewhere already.
            if let Some(end) = perform::perform(&parts, &action).await {
                let reason = parts.redactor.redact(&end.reason).into_owned();
                tracing::Span::current().record("outcome", end.kind.as_str());
                tracing::info!(reason, "action ended");
                let parent = wa_link::trace::current_parent();
                let trace_parent = if parent.is_empty() { action.trace_parent } else { parent };
                let outcome = Outcome {
                    action: action.id,
                    kind: end.kind,
                    reason,
                    pane: Some(action.pane),
                    trace_parent,
                    spawned: end.spawned,
                };
                settle(&parts, outcome).await;
            }
            Some(seat)
        };
        self.running.push(Box::pin(work.instrument(span)));
    }

    /// A newer holder of the pane has spoken.
    fn fenced_off(&mut self, action: &Action) -> Option<String> {
        let pane = seat(action);
        let seen = match self.fences.get(&pane) {
            Some(seen) => *seen,
            None => self.parts.journal.fence(&action.pane),
        };
        self.fences.insert(pane, seen.max(action.fence));
        (action.fence < seen).then(|| "somebody else has taken this pane over since".to_owned())
    }

    fn ended(&mut self, pane: Option<PaneRef>) {
        if let Some(pane) = pane {
            self.busy.remove(&pane);
            self.next_of(&pane);
        }
    }

    fn next_of(&mut self, pane: &PaneRef) {
        let Some(waits) = self.waiting.get_mut(pane) else { return };
        let next = waits.pop_front();
        if waits.is_empty() {
            self.waiting.remove(pane);
        }
        if let Some(next) = next {
            self.start(next);
        }
    }

    /// Unless it is under way already, or has ended: it may have been offered again.
    fn refuse(&mut self, action: ActionId, pane: Option<PaneRef>, trace_parent: String, reason: String) {
        let outcome =
            Outcome { action, kind: OutcomeKind::Refused, reason, pane, trace_parent, spawned: None };
        let parts = self.parts.clone();
        self.running.push(Box::pin(async move {
            match parts.journal.refuse(outcome.clone(), wa_link::clock::now()).await {
                Ok(None) => deliver(&parts, outcome).await,
                Ok(Some(Begin::Ended(ended))) => deliver(&parts, ended).await,
                Ok(Some(Begin::Open | Begin::Doubtful | Begin::New)) => {}
                Err(error) => {
                    unrecorded(&error, action);
                    if parts.journal.find(action) != Some(Begin::Open) {
                        deliver(&parts, outcome).await;
                    }
                }
            }
            None
        }));
    }

    /// The controller asks for something that has ended: it has lost, or not yet seen, the outcome.
    fn again(&mut self, outcome: Outcome) {
        let parts = self.parts.clone();
        self.running.push(Box::pin(async move {
            deliver(&parts, outcome).await;
            None
        }));
    }
}

/// Puts an outcome on record, then hands it over.
async fn settle(parts: &Parts, outcome: Outcome) {
    if let Err(error) = parts.journal.settle(outcome.clone(), wa_link::clock::now()).await {
        unrecorded(&error, outcome.action);
    }
    deliver(parts, outcome).await;
}

fn unrecorded(error: &JournalError, action: ActionId) {
    tracing::error!(%error, %action, "an outcome is not in the journal; it is handed over all the same");
}

/// Hands an outcome to the spool, durably.
async fn deliver(parts: &Parts, outcome: Outcome) {
    let now = wa_link::clock::now();
    let action = outcome.action;
    let record = NewRecord {
        lane: Lane::Events,
        time: now,
        trace_parent: outcome.trace_parent.clone(),
        body: v1::record::Body::Outcome(outcome.into()),
    };
    let group = Group { records: vec![record], positions: Vec::new() };
    if let Err(error) = parts.spool.append_durable(group).await {
        tracing::error!(%error, %action, "an outcome was not spooled; it is handed over after the next start");
        return;
    }
    if let Err(error) = parts.journal.delivered(action, now).await {
        tracing::warn!(%error, %action, "the journal does not know that an outcome was spooled");
    }
}
