//! The gate: which actions are open, and whether one may begin now.
//!
//! Constraints (promises A1, A2): a node types only after a permit that is not older than [`PERMIT_LIFE`]; deadline,
//! fence and pause are decided here, by one clock and under one lock; after `Gate::pause` has been waited for, nothing
//! begins where the pause holds, not even on a permit that was given the moment before. Policy and limits are asked last, with
//! the pane as it is now: what they allowed when the action was asked for may be denied now. Everything is in memory: the
//! outbox on disk is the truth about what is open, and is loaded at the start.
//!
//! A permit is written down after it was given, not before: it is worth one second, and what becomes of it the node
//! reports. So an action of an earlier life of this controller counts as possibly begun until its node has spoken.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use wa_link::clock;
use wa_proto::policy::Decision;
use wa_proto::selector::Selector;
use wa_proto::{Action, ActionId, Host, Outcome, PaneAddress, PaneRef, RunId, Timestamp, Verb};

use crate::config::PANES_PER_MINUTE;
use crate::policy::{Judgement, Limits, Policy, Rate};
use crate::store::{Pause, Queued};

/// How long a node may rely on a permit.
pub const PERMIT_LIFE: Duration = Duration::from_secs(1);
/// For the way of the permit to the node, whose clock counts from its arrival.
const PERMIT_TRAVEL: Duration = Duration::from_millis(250);

/// Where nothing may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    Everything,
    Pane(PaneAddress),
    /// What this workflow does, wherever.
    Workflow(String),
    /// What the selector names, now or later.
    Selector(Selector),
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Everything => f.write_str("all"),
            Self::Pane(pane) => write!(f, "pane {pane}"),
            Self::Workflow(name) => write!(f, "workflow {name}"),
            Self::Selector(selector) => write!(f, "selector {selector}"),
        }
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(' ') {
            None if text == "all" => Ok(Self::Everything),
            Some(("pane", pane)) => pane.parse().map(Self::Pane).map_err(|e| e.to_string()),
            Some(("workflow", name)) => Ok(Self::Workflow(name.to_owned())),
            Some(("selector", selector)) => selector.parse().map(Self::Selector).map_err(|e| e.to_string()),
            _ => Err(format!("unknown scope of a pause: {text:?}")),
        }
    }
}

/// Labels of the pane that an action or a question is about.
pub type Labels = BTreeMap<String, String>;

impl Scope {
    /// `pane` is `None` for what has no pane yet, a spawn.
    pub fn covers(&self, pane: Option<&PaneAddress>, labels: &Labels) -> bool {
        match self {
            Self::Everything => true,
            Self::Pane(paused) => pane == Some(paused),
            Self::Workflow(_) => false,
            Self::Selector(selector) => selector.matches(|key| labels.get(key).map(String::as_str)),
        }
    }
}

#[derive(Debug, Clone)]
struct Hold {
    scope: Scope,
    who: String,
    reason: String,
}

/// What the gate says to a node that wants to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// `first`: it was not permitted before.
    Granted {
        first: bool,
        who: String,
        trace_parent: String,
        /// Host, mux and pane, as the audit trail names them.
        target: String,
    },
    Refused(String),
    Expired(String),
}

#[derive(Default)]
pub struct Gate {
    inner: Mutex<Inner>,
    held: Notify,
}

struct Inner {
    /// When this was made: what an earlier life of the controller has permitted, it had permitted by then.
    born: Instant,
    open: HashMap<ActionId, Open>,
    /// Open actions of a host by fence.
    by_host: HashMap<Host, BTreeMap<u64, ActionId>>,
    /// The newest fence that was permitted, by pane with open actions.
    permitted_fence: HashMap<(Host, PaneRef), u64>,
    waiting: HashMap<ActionId, watch::Sender<Option<Outcome>>>,
    holds: Vec<Hold>,
    /// Of what workflows were let through to.
    workflows: Rate,
    panes_per_minute: u32,
    policy: Option<Arc<Policy>>,
    /// Of what the policy's rules have let through, by their place.
    rates: HashMap<usize, Rate>,
}

/// What actions of workflows are done in the name of.
const WORKFLOW: &str = "workflow:";
struct Open {
    queued: Queued,
    /// Its deadline by the clock that only goes forward: a wall clock that is set back gives it no more time.
    until: Instant,
    leave: Leave,
    /// Why it does not begin any more.
    withdrawn: Option<String>,
}

impl Open {
    /// Why it does not begin any more, if so.
    fn too_late(&self, now: Timestamp) -> Option<String> {
        if self.leave == Leave::GivenUp {
            return Some("whoever asked for it has given it up".to_owned());
        }
        if let Some(reason) = &self.withdrawn {
            return Some(reason.clone());
        }
        let deadline = self.queued.action.deadline;
        (now >= deadline || clock::monotonic() >= self.until)
            .then(|| format!("its deadline {deadline} has passed"))
    }
}

/// Whether an open action has been let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leave {
    NotYet,
    /// Last at this instant.
    Permitted(Instant),
    /// Its caller was told that it never began: so it never does.
    GivenUp,
}

/// Waits for one outcome, and is struck out however the waiting ends: callers go away at any moment.
pub(crate) struct Waiter {
    gate: Arc<Gate>,
    action: ActionId,
    /// There until it is dropped.
    outcome: Option<watch::Receiver<Option<Outcome>>>,
}

impl Waiter {
    /// The outcome, once it is durable. Safe to drop and call again.
    pub(crate) async fn outcome(&mut self) -> Option<Outcome> {
        self.outcome.as_mut()?.wait_for(Option::is_some).await.ok()?.clone()
    }

    /// The outcome, if it is durable by now.
    pub(crate) fn known(&self) -> Option<Outcome> {
        self.outcome.as_ref()?.borrow().clone()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.outcome = None;
        self.gate.forget(self.action);
    }
}

impl Gate {
    /// As the store remembers it. Pauses that cannot be read hold everything: better still than sorry.
    pub fn from_kept(actions: &[Queued], pauses: &[Pause], panes_per_minute: u32) -> Self {
        let mut inner = Inner { panes_per_minute, ..Inner::default() };
        for queued in actions {
            inner.add(queued.clone());
        }
        inner.holds = pauses
            .iter()
            .map(|pause| {
                let scope = pause.scope.parse().unwrap_or_else(|error| {
                    tracing::error!(%error, "a stored pause cannot be read; everything is paused");
                    Scope::Everything
                });
                Hold { scope, who: pause.who.clone(), reason: pause.reason.clone() }
            })
            .collect();
        Self { inner: Mutex::new(inner), held: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- what is open

    /// An action has entered the outbox.
    pub(crate) fn add(&self, queued: Queued) {
        self.lock().add(queued);
    }

    /// From now on no permit is given for these.
    pub(crate) fn withdraw(&self, actions: Vec<(ActionId, String)>) {
        let mut inner = self.lock();
        for (action, reason) in actions {
            if let Some(open) = inner.open.get_mut(&action) {
                open.withdrawn = Some(reason);
            }
        }
    }

    /// An action's outcome is durable.
    pub(crate) fn settle(&self, outcome: Outcome) {
        let mut inner = self.lock();
        if let Some(open) = inner.open.remove(&outcome.action) {
            let Queued { host, action, .. } = &open.queued;
            if let Some(fences) = inner.by_host.get_mut(host) {
                fences.remove(&action.fence);
                if fences.is_empty() {
                    inner.by_host.remove(host);
                }
            }
            let pane = (host.clone(), action.pane.clone());
            let busy = inner
                .open
                .values()
                .any(|open| open.queued.host == pane.0 && open.queued.action.pane == pane.1);
            if !busy {
                inner.permitted_fence.remove(&pane);
            }
        }
        if let Some(waiting) = inner.waiting.remove(&outcome.action) {
            waiting.send_replace(Some(outcome));
        }
    }

    /// Open actions of a host with a fence beyond `after`, oldest first.
    pub(crate) fn open_after(&self, host: &Host, after: u64) -> Vec<Action> {
        let inner = self.lock();
        let Some(fences) = inner.by_host.get(host) else { return Vec::new() };
        let later = fences.range(after.saturating_add(1)..);
        later.filter_map(|(_, id)| Some(inner.open.get(id)?.queued.action.clone())).collect()
    }

    /// Gives the outcome once it is known. To be asked for before the action is queued.
    pub(crate) fn wait_for(self: &Arc<Self>, action: ActionId) -> Waiter {
        let outcome = self.lock().waiting.entry(action).or_default().subscribe();
        Waiter { gate: Arc::clone(self), action, outcome: Some(outcome) }
    }

    /// Nobody waits any longer, or the action was never queued.
    fn forget(&self, action: ActionId) {
        let mut inner = self.lock();
        if inner.waiting.get(&action).is_some_and(|waiting| waiting.receiver_count() == 0) {
            inner.waiting.remove(&action);
        }
    }

    /// Whether the action has no durable outcome yet.
    pub(crate) fn is_open(&self, action: ActionId) -> bool {
        self.lock().open.contains_key(&action)
    }

    /// The caller waits no longer. `true`: the action has not begun and, from now on, never will. `false`: it may have
    /// begun, or is settled.
    pub(crate) fn give_up(&self, action: ActionId) -> bool {
        let mut inner = self.lock();
        let Some(open) = inner.open.get_mut(&action).filter(|open| !open.queued.inherited) else {
            return false;
        };
        match open.leave {
            Leave::NotYet | Leave::GivenUp => {
                open.leave = Leave::GivenUp;
                true
            }
            Leave::Permitted(_) => false,
        }
    }

    // ---- permits

    /// Whether this node may begin this action now. `labels` gives those of the action's pane, or of the host alone.
    pub(crate) fn permit(
        &self,
        host: &Host,
        action: ActionId,
        labels: impl FnOnce(Option<&PaneAddress>) -> Labels,
        now: Timestamp,
    ) -> Verdict {
        let mut inner = self.lock();
        let Inner { open, permitted_fence, holds, policy, .. } = &mut *inner;
        let Some(found) = open.get(&action).filter(|found| found.queued.host == *host) else {
            return Verdict::Refused("the controller knows no such open action".into());
        };
        let Queued { action: wanted, approved, .. } = &found.queued;
        if let Some(reason) = found.too_late(now) {
            return Verdict::Expired(reason);
        }
        let spawns = matches!(wanted.verb, Verb::Spawn { .. });
        let pane = (!spawns).then(|| address(host, &wanted.pane));
        let labels = labels(pane.as_ref());
        if let Some(hold) = first_hold(holds, pane.as_ref(), &labels).or_else(|| hold_of(holds, &wanted.who))
        {
            return Verdict::Refused(describe(hold));
        }
        let judged = judge(policy.as_deref(), host, wanted, labels);
        if judged.decision == Decision::Deny || (judged.decision == Decision::Ask && !approved) {
            return Verdict::Refused(judged.reason);
        }
        let place = (host.clone(), wanted.pane.clone());
        let target = format!("{host} {} {}", wanted.pane.mux, wanted.pane.pane_id);
        if !spawns && permitted_fence.get(&place).is_some_and(|fence| *fence > wanted.fence) {
            return Verdict::Refused("a later action on this pane has begun".into());
        }
        let (who, trace_parent, fence) = (wanted.who.clone(), wanted.trace_parent.clone(), wanted.fence);
        let first = found.leave == Leave::NotYet;
        // What asks again for a fresh permit is counted already.
        if first && let Err(reached) = inner.count(&who, &judged, (host, &place.1)) {
            return Verdict::Refused(reached);
        }
        if !spawns {
            inner.permitted_fence.insert(place, fence);
        }
        if let Some(open) = inner.open.get_mut(&action) {
            open.leave = Leave::Permitted(clock::monotonic());
        }
        Verdict::Granted { first, who, trace_parent, target }
    }

    // ---- policy

    /// What is in force from now on; no permit is given by the one before. What was counted by it is forgotten.
    pub(crate) fn set_policy(&self, policy: Option<Arc<Policy>>) {
        let mut inner = self.lock();
        inner.policy = policy;
        inner.rates.clear();
    }

    pub(crate) fn policy(&self) -> Option<Arc<Policy>> {
        self.lock().policy.clone()
    }

    /// What the policy says to an action; `labels` are its pane's, or the host's alone for a spawn.
    pub(crate) fn judge(&self, host: &Host, action: &Action, labels: impl FnOnce() -> Labels) -> Judgement {
        match self.policy() {
            Some(policy) => judge(Some(&policy), host, action, labels()),
            None => Judgement::open(),
        }
    }

    /// An action was held: somebody has to look at its pane.
    pub(crate) fn tell_held(&self) {
        self.held.notify_one();
    }

    /// Waits for [`Self::tell_held`], also for one that came before.
    pub(crate) async fn held(&self) {
        self.held.notified().await;
    }

    // ---- pauses

    /// Why nothing may begin on this pane, if so.
    pub fn paused(&self, pane: Option<&PaneAddress>, labels: &Labels) -> Option<String> {
        first_hold(&self.lock().holds, pane, labels).map(describe)
    }

    /// Why a workflow does nothing anywhere, if so.
    pub(crate) fn workflow_paused(&self, name: &str) -> Option<String> {
        hold_of(&self.lock().holds, &format!("{WORKFLOW}{name}")).map(describe)
    }

    /// Whether everything is paused.
    pub fn everything_paused(&self) -> bool {
        self.lock().holds.iter().any(|hold| hold.scope == Scope::Everything)
    }

    /// From now on no permit is given where `scopes` hold. Permits that were given before have all lapsed at the instant
    /// that is returned; until then an action may still begin.
    pub(crate) fn pause(&self, scopes: &[Scope], who: &str, reason: &str) -> Option<Instant> {
        let mut inner = self.lock();
        for scope in scopes {
            if !inner.holds.iter().any(|hold| hold.scope == *scope) {
                inner.holds.push(Hold { scope: scope.clone(), who: who.into(), reason: reason.into() });
            }
        }
        // Which panes the scopes name is not asked again: waiting for one permit too many costs a second.
        inner.lapsed(|_| true)
    }

    /// When permits that were given for a run's actions have all lapsed; `None`: there are none.
    pub(crate) fn lapsed(&self, run: RunId) -> Option<Instant> {
        self.lock().lapsed(|queued| queued.run == Some(run))
    }

    /// Takes pauses back.
    pub(crate) fn unpause(&self, scopes: &[Scope]) {
        self.lock().holds.retain(|hold| !scopes.contains(&hold.scope));
    }

    /// All scopes that are paused.
    pub(crate) fn scopes(&self) -> Vec<Scope> {
        self.lock().holds.iter().map(|hold| hold.scope.clone()).collect()
    }
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            born: clock::monotonic(),
            open: HashMap::new(),
            by_host: HashMap::new(),
            permitted_fence: HashMap::new(),
            waiting: HashMap::new(),
            holds: Vec::new(),
            workflows: Rate::default(),
            panes_per_minute: PANES_PER_MINUTE,
            policy: None,
            rates: HashMap::new(),
        }
    }
}

impl Inner {
    /// When permits that were given for such actions have all lapsed; `None`: there are none.
    fn lapsed(&self, which: impl Fn(&Queued) -> bool) -> Option<Instant> {
        let permitted =
            self.open.values().filter(|open| which(&open.queued)).filter_map(|open| match open.leave {
                Leave::Permitted(at) => Some(at),
                Leave::NotYet | Leave::GivenUp => open.queued.inherited.then_some(self.born),
            });
        permitted.max().map(|last| last + PERMIT_LIFE + PERMIT_TRAVEL)
    }

    /// Counts what is let through, or says which limit it would break.
    fn count(&mut self, who: &str, judged: &Judgement, place: (&Host, &PaneRef)) -> Result<(), String> {
        let now = clock::monotonic();
        if who.starts_with(WORKFLOW) {
            let limits = Limits { actions: None, panes: Some(self.panes_per_minute) };
            let counted = self.workflows.count(limits, place, now);
            counted.map_err(|reached| format!("workflows have acted on {reached}, and may on no more"))?;
        }
        match judged.limits.filter(|(_, limits)| !limits.none()) {
            Some((at, limits)) => {
                let counted = self.rates.entry(at).or_default().count(limits, place, now);
                counted.map_err(|reached| {
                    format!(
                        "{} of the controller's policy has let {reached} through, and no more",
                        judged.rule
                    )
                })
            }
            None => Ok(()),
        }
    }

    fn add(&mut self, queued: Queued) {
        let fences = self.by_host.entry(queued.host.clone()).or_default();
        fences.insert(queued.action.fence, queued.action.id);
        let until = clock::monotonic() + left_of(&queued.action, clock::now());
        self.open.insert(queued.action.id, Open { queued, until, leave: Leave::NotYet, withdrawn: None });
    }
}

/// How long an action may still begin. One that was made later than now was made by a clock that has been set back since: it has
/// as long as it had then.
fn left_of(action: &Action, now: Timestamp) -> Duration {
    /// No instant is so far away that it cannot be reckoned with.
    const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);
    let made = action.id.0.get_timestamp().map(|time| time.to_unix());
    let made = made.and_then(|(seconds, _)| Timestamp::from_second(seconds.try_into().ok()?).ok());
    let from = made.map_or(now, |made| made.max(now));
    Duration::try_from(action.deadline.duration_since(from)).unwrap_or_default().min(LONGEST)
}

pub(crate) fn address(host: &Host, pane: &PaneRef) -> PaneAddress {
    PaneAddress { host: host.clone(), mux: pane.mux.clone(), pane_id: pane.pane_id }
}

fn first_hold<'a>(holds: &'a [Hold], pane: Option<&PaneAddress>, labels: &Labels) -> Option<&'a Hold> {
    holds.iter().find(|hold| hold.scope.covers(pane, labels))
}

/// What holds a workflow everywhere, if `who` is one.
fn hold_of<'a>(holds: &'a [Hold], who: &str) -> Option<&'a Hold> {
    let workflow = who.strip_prefix(WORKFLOW)?;
    holds.iter().find(|hold| matches!(&hold.scope, Scope::Workflow(name) if name == workflow))
}

fn judge(policy: Option<&Policy>, host: &Host, action: &Action, labels: Labels) -> Judgement {
    let Some(policy) = policy else { return Judgement::open() };
    policy.judge_verb(&action.who, (host, &action.pane), &action.verb, labels)
}

fn describe(hold: &Hold) -> String {
    let what = match &hold.scope {
        Scope::Everything => "everything is paused".to_owned(),
        Scope::Pane(pane) => format!("{pane} is paused"),
        Scope::Workflow(name) => format!("workflow {name} is paused"),
        Scope::Selector(selector) => format!("{selector} is paused"),
    };
    let reason = if hold.reason.is_empty() { String::new() } else { format!(": {}", hold.reason) };
    format!("{what} by {}{reason}", hold.who)
}
