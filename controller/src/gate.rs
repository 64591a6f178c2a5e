//! The gate: which actions are open, and whether one may begin now.
//!
//! Constraints (promises A1, A2): a node types only after a permit that is not older than [`PERMIT_LIFE`]; deadline,
//! fence and pause are decided here, by one clock and under one lock; after `Gate::pause` has been waited for, nothing
//! begins where the pause holds, not even on a permit that was given the moment before. Everything is in memory: the
//! outbox on disk is the truth about what is open, and is loaded at the start.
//!
//! A permit is written down after it was given, not before: it is worth one second, and what becomes of it the node
//! reports. So an action of an earlier life of this controller counts as possibly begun until its node has spoken.

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use wa_link::clock;
use wa_proto::selector::Selector;
use wa_proto::{Action, ActionId, Host, Outcome, PaneAddress, PaneRef, Timestamp, Verb};

use crate::config::PANES_PER_MINUTE;
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
    },
    Refused(String),
    Expired(String),
}

#[derive(Default)]
pub struct Gate {
    inner: Mutex<Inner>,
}

struct Inner {
    open: HashMap<ActionId, Open>,
    /// Open actions of a host by fence.
    by_host: HashMap<Host, BTreeMap<u64, ActionId>>,
    /// The newest fence that was permitted, by pane with open actions.
    permitted_fence: HashMap<(Host, PaneRef), u64>,
    waiting: HashMap<ActionId, watch::Sender<Option<Outcome>>>,
    holds: Vec<Hold>,
    /// Panes that workflows were let through to.
    acted: Acted,
    panes_per_minute: u32,
}

/// What actions of workflows are done in the name of.
const WORKFLOW: &str = "workflow:";
/// The time over which panes are counted.
const MINUTE: Duration = Duration::from_secs(60);

/// Panes on which workflows acted within the last minute, and when last.
#[derive(Default)]
struct Acted(HashMap<(Host, PaneRef), Instant>);

impl Acted {
    /// Counts this pane in, or says why that is one too many.
    fn too_many(&mut self, (host, pane): (&Host, &PaneRef), most: u32) -> Option<String> {
        let now = clock::monotonic();
        self.0.retain(|_, at| now.saturating_duration_since(*at) < MINUTE);
        let key = (host.clone(), pane.clone());
        if self.0.len() >= most as usize && !self.0.contains_key(&key) {
            return Some(format!("workflows have acted on {most} panes within a minute, and may on no more"));
        }
        self.0.insert(key, now);
        None
    }
}

struct Open {
    queued: Queued,
    leave: Leave,
    /// Why it does not begin any more.
    withdrawn: Option<String>,
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
        Self { inner: Mutex::new(inner) }
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

    // ---- permits and pauses

    /// Whether this node may begin this action now. `labels` gives those of the action's pane, or of the host alone.
    pub(crate) fn permit(
        &self,
        host: &Host,
        action: ActionId,
        labels: impl FnOnce(Option<&PaneAddress>) -> Labels,
        now: Timestamp,
    ) -> Verdict {
        let mut inner = self.lock();
        let Inner { open, permitted_fence, holds, acted, panes_per_minute, .. } = &mut *inner;
        let Some(found) = open.get_mut(&action).filter(|found| found.queued.host == *host) else {
            return Verdict::Refused("the controller knows no such open action".into());
        };
        let wanted = &found.queued.action;
        if found.leave == Leave::GivenUp {
            return Verdict::Expired("whoever asked for it has given it up".into());
        }
        if let Some(reason) = &found.withdrawn {
            return Verdict::Expired(reason.clone());
        }
        if now >= wanted.deadline {
            return Verdict::Expired(format!("its deadline {} has passed", wanted.deadline));
        }
        let spawns = matches!(wanted.verb, Verb::Spawn { .. });
        let pane = (!spawns).then(|| address(host, &wanted.pane));
        if let Some(hold) = first_hold(holds, pane.as_ref(), &labels(pane.as_ref())) {
            return Verdict::Refused(describe(hold));
        }
        if let Some(workflow) = wanted.who.strip_prefix(WORKFLOW) {
            let of_it = |hold: &&Hold| matches!(&hold.scope, Scope::Workflow(name) if name == workflow);
            if let Some(hold) = holds.iter().find(of_it) {
                return Verdict::Refused(describe(hold));
            }
            if let Some(too_many) = acted.too_many((host, &wanted.pane), *panes_per_minute) {
                return Verdict::Refused(too_many);
            }
        }
        if !spawns {
            let fence = permitted_fence.entry((host.clone(), wanted.pane.clone())).or_default();
            if *fence > wanted.fence {
                return Verdict::Refused("a later action on this pane has begun".into());
            }
            *fence = wanted.fence;
        }
        let first = found.leave == Leave::NotYet;
        found.leave = Leave::Permitted(clock::monotonic());
        Verdict::Granted { first, who: wanted.who.clone(), trace_parent: wanted.trace_parent.clone() }
    }

    /// Why nothing may begin on this pane, if so.
    pub fn paused(&self, pane: Option<&PaneAddress>, labels: &Labels) -> Option<String> {
        first_hold(&self.lock().holds, pane, labels).map(describe)
    }

    /// Why a workflow does nothing anywhere, if so.
    pub(crate) fn workflow_paused(&self, name: &str) -> Option<String> {
        let inner = self.lock();
        let of_it = |hold: &&Hold| matches!(&hold.scope, Scope::Workflow(paused) if paused == name);
        inner.holds.iter().find(of_it).map(describe)
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
        let permitted = inner.open.values().filter_map(|open| match open.leave {
            Leave::Permitted(at) => Some(at),
            Leave::NotYet | Leave::GivenUp => None,
        });
        permitted.max().map(|last| last + PERMIT_LIFE + PERMIT_TRAVEL)
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
            open: HashMap::new(),
            by_host: HashMap::new(),
            permitted_fence: HashMap::new(),
            waiting: HashMap::new(),
            holds: Vec::new(),
            acted: Acted::default(),
            panes_per_minute: PANES_PER_MINUTE,
        }
    }
}

impl Inner {
    fn add(&mut self, queued: Queued) {
        let fences = self.by_host.entry(queued.host.clone()).or_default();
        fences.insert(queued.action.fence, queued.action.id);
        self.open.insert(queued.action.id, Open { queued, leave: Leave::NotYet, withdrawn: None });
    }
}

pub(crate) fn address(host: &Host, pane: &PaneRef) -> PaneAddress {
    PaneAddress { host: host.clone(), mux: pane.mux.clone(), pane_id: pane.pane_id }
}

fn first_hold<'a>(holds: &'a [Hold], pane: Option<&PaneAddress>, labels: &Labels) -> Option<&'a Hold> {
    holds.iter().find(|hold| hold.scope.covers(pane, labels))
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

#[cfg(test)]
mod tests {
    use super::*;
    use wa_proto::{Generation, MuxName, OutcomeKind};

    fn now() -> Timestamp {
        "2026-11-22T12:00:00Z".parse().unwrap()
    }

    fn host() -> Host {
        Host::new("web-1").unwrap()
    }

    fn queued(fence: u64, pane_id: u64) -> Queued {
        let pane = PaneRef { mux: MuxName::main(), generation: Generation::new("g").unwrap(), pane_id };
        let action = Action {
            id: ActionId::generate(),
            pane,
            deadline: now() + Duration::from_secs(30),
            fence,
            who: "operator:o".into(),
            expect_agent: None,
            expect_agent_pid: None,
            expect_shell: false,
            trace_parent: String::new(),
            verb: Verb::Kill,
        };
        Queued { host: host(), action, run: None, inherited: false }
    }

    fn ask(gate: &Gate, host: &Host, action: ActionId, now: Timestamp) -> Verdict {
        gate.permit(host, action, |_| Labels::new(), now)
    }

    fn outcome(action: ActionId) -> Outcome {
        Outcome {
            action,
            kind: OutcomeKind::Submitted,
            reason: String::new(),
            pane: None,
            trace_parent: String::new(),
            spawned: None,
        }
    }

    #[test]
    fn only_what_is_open_on_the_host_and_in_time_begins() {
        let gate = Gate::default();
        let action = queued(1, 3);
        let id = action.action.id;
        gate.add(action);
        assert!(matches!(ask(&gate, &Host::new("b").unwrap(), id, now()), Verdict::Refused(_)));
        assert!(matches!(ask(&gate, &host(), ActionId::generate(), now()), Verdict::Refused(_)));
        let late = now() + Duration::from_secs(30);
        assert!(matches!(ask(&gate, &host(), id, late), Verdict::Expired(_)));
        assert!(matches!(ask(&gate, &host(), id, now()), Verdict::Granted { first: true, .. }));
        assert!(matches!(ask(&gate, &host(), id, now()), Verdict::Granted { first: false, .. }));
        assert!(!gate.give_up(id), "it may have begun");
        gate.settle(outcome(id));
        assert!(matches!(ask(&gate, &host(), id, now()), Verdict::Refused(_)));
        assert!(gate.open_after(&host(), 0).is_empty());
    }

    #[test]
    fn what_was_given_up_never_begins() {
        let gate = Gate::default();
        let (action, mut old) = (queued(1, 3), queued(2, 3));
        old.inherited = true;
        let (id, old_id) = (action.action.id, old.action.id);
        gate.add(action);
        gate.add(old);
        assert!(gate.give_up(id) && gate.give_up(id));
        assert!(matches!(ask(&gate, &host(), id, now()), Verdict::Expired(_)));
        assert!(!gate.give_up(old_id), "an earlier life may have permitted it");
    }

    /// Callers go away at any moment, and their place with them.
    #[test]
    fn who_waits_no_longer_is_struck_out() {
        let gate = Arc::new(Gate::default());
        let id = ActionId::generate();
        let (one, two) = (gate.wait_for(id), gate.wait_for(id));
        drop(one);
        assert_eq!(gate.lock().waiting.len(), 1, "the other still waits");
        gate.add(Queued { action: Action { id, ..queued(1, 3).action }, ..queued(1, 3) });
        gate.settle(outcome(id));
        assert_eq!(two.known().map(|known| known.action), Some(id));
        drop((two, gate.wait_for(ActionId::generate())));
        assert!(gate.lock().waiting.is_empty());
    }

    #[test]
    fn an_older_fence_never_follows_a_newer_one() {
        let gate = Gate::default();
        let (one, two, other) = (queued(1, 3), queued(2, 3), queued(0, 4));
        let ids = [one.action.id, two.action.id, other.action.id];
        for action in [two, one, other] {
            gate.add(action);
        }
        let fences: Vec<u64> = gate.open_after(&host(), 0).iter().map(|action| action.fence).collect();
        assert_eq!(fences, [1, 2]);
        assert!(matches!(ask(&gate, &host(), ids[1], now()), Verdict::Granted { .. }));
        assert!(matches!(ask(&gate, &host(), ids[0], now()), Verdict::Refused(_)));
        assert!(matches!(ask(&gate, &host(), ids[2], now()), Verdict::Granted { .. }));
    }

    #[test]
    fn a_pause_by_selector_also_holds_for_panes_that_come_later() {
        let gate = Gate::default();
        let action = queued(1, 9);
        let id = action.action.id;
        let scope: Scope = "selector agent=codex".parse().unwrap();
        gate.pause(std::slice::from_ref(&scope), "operator:o", "lunch");
        gate.add(action);
        let labels = |agent: &str| Labels::from([("agent".to_owned(), agent.to_owned())]);
        let asked = |agent: &str| gate.permit(&host(), id, |_| labels(agent), now());
        assert_eq!(
            asked("codex"),
            Verdict::Refused("agent in (codex) is paused by operator:o: lunch".into())
        );
        assert!(matches!(asked("claude"), Verdict::Granted { .. }));
        gate.unpause(&[scope]);
        assert!(matches!(asked("codex"), Verdict::Granted { .. }));
    }

    #[test]
    fn scopes_read_as_written() {
        for text in ["all", "pane a/3", "pane a/gui/3", "selector host in (a,b)"] {
            assert_eq!(text.parse::<Scope>().unwrap().to_string(), text);
        }
        for bad in ["", "pane", "pane x", "selector =", "everything else"] {
            assert!(bad.parse::<Scope>().is_err(), "{bad}");
        }
    }

    /// Many threads ask for permits while one pauses: no permit is given after `pause` returned, and every permit that
    /// was given before is no longer good at the instant that it returned.
    #[test]
    fn no_permit_outlives_a_pause() {
        for _ in 0..50 {
            let gate = Arc::new(Gate::default());
            let actions: Vec<_> = (1..=40).map(|n| queued(n, n)).collect();
            let ids: Vec<_> = actions.iter().map(|queued| queued.action.id).collect();
            for action in actions {
                gate.add(action);
            }
            let askers: Vec<_> = ids
                .chunks(10)
                .map(|ids| {
                    let (gate, ids) = (Arc::clone(&gate), ids.to_vec());
                    std::thread::spawn(move || {
                        // The node's clock for the permit began no later than when it was asked for.
                        let ask_one = |id| {
                            let asked = Instant::now();
                            matches!(ask(&gate, &host(), id, now()), Verdict::Granted { .. }).then_some(asked)
                        };
                        ids.into_iter().filter_map(ask_one).collect::<Vec<_>>()
                    })
                })
                .collect();
            let quiet = gate.pause(&[Scope::Everything], "operator:o", "");
            let after: Vec<_> = ids.iter().map(|id| ask(&gate, &host(), *id, now())).collect();
            assert!(after.iter().all(|verdict| matches!(verdict, Verdict::Refused(_))));
            for granted in askers.into_iter().flat_map(|asker| asker.join().unwrap()) {
                assert!(
                    quiet.is_some_and(|quiet| granted + PERMIT_LIFE <= quiet),
                    "a permit outlives the pause"
                );
            }
        }
    }
}
