//! Act: send, keys, kill and spawn, asked for by a person or an agent.
//!
//! The controller decides what it can see (pane known and here, generation, mirror, pause, policy) at once; what its policy
//! holds for a person goes on when somebody has allowed it, also after its caller has gone; all else is decided
//! by the node's policy and guards when the action begins. The answer is the action's outcome, and comes within the time
//! that the caller gave: the last part of it, the time that a node takes to see what became of its keys, is not for
//! beginning. When there is no outcome by then: an action that was never permitted did not begin and never will, for its
//! deadline has passed (`expired`); of one that was permitted it is `unknown`, and its row stays open until the node
//! tells.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout_at;
use tonic::Status;
use tracing::Instrument as _;
use wa_link::principal::Role;
use wa_link::{clock, trace};
use wa_proto::policy::Decision;
use wa_proto::wire::v1;
use wa_proto::{
    Action, ActionId, ErrorCode, Generation, Host, MuxName, Outcome, OutcomeKind, PaneAddress, PaneRef,
    Timestamp, Verb,
};

use super::{Fleet, away, check_host, status, usage};
use crate::gate::{Labels, Waiter, address};
use crate::identity::peer::Peer;
use crate::orchestrator::summary;
use crate::policy::{self, Entered, Judgement};
use crate::registry::PaneView;
use crate::store::{Earlier, Entry, NewAction, approval_name};

pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(600);
/// An action that has begun is verified for up to five seconds, and its outcome travels.
const OUTCOME_TIME: Duration = Duration::from_secs(6);
/// Bytes of one text or command.
pub(super) const MAX_TEXT: usize = 256 * 1024;
const MAX_KEY: usize = 200;

/// Where an action goes.
struct Target {
    host: Host,
    pane: PaneRef,
    /// `None` for a spawn.
    view: Option<PaneView>,
}

impl Target {
    fn address(&self) -> Option<PaneAddress> {
        self.view.as_ref().map(PaneView::address)
    }

    /// Of the pane, or for a spawn of the host alone.
    fn labels(&self) -> Labels {
        let of_host = || Labels::from([("host".to_owned(), self.host.to_string())]);
        self.view.as_ref().map_or_else(of_host, PaneView::labels)
    }
}

impl Fleet {
    pub(super) async fn carry_out(
        &self,
        peer: &Peer,
        request: v1::ActRequest,
    ) -> Result<v1::ActResponse, Status> {
        let verb = Verb::try_from(request.verb.clone().ok_or_else(|| usage("the verb is missing"))?)
            .map_err(usage)?;
        check_size(&verb)?;
        let key = Some(request.idempotency_key.as_str()).filter(|key| !key.is_empty());
        if key.is_some_and(|key| key.len() > MAX_KEY) {
            return Err(usage(format!("idempotency key: at most {MAX_KEY} bytes")));
        }
        let target = self.target(peer, &request, &verb)?;
        let wanted = patience(request.timeout_ms);
        let span = tracing::info_span!("act", verb = verb.name(), host = %target.host);
        trace::set_parent(&span, &request.trace_parent);
        let ours = trace::parent_of(&span);
        let trace_parent = if ours.is_empty() { request.trace_parent.clone() } else { ours };
        let action = action(peer, &target, verb, trace_parent, wanted);
        let judged = self.gate.judge(&target.host, &action, || target.labels());
        if let Some(reason) = self.objection(peer, &target, &request, &judged) {
            if !request.dry_run {
                self.write_down_refusal(&target, &action, &reason).await?;
            }
            return Ok(answer(&target, None, OutcomeKind::Refused.as_str(), reason));
        }
        if request.dry_run {
            return Ok(dry_run(&target, &action.verb, judged));
        }
        self.queue_and_wait(peer, target, action, key, wanted).instrument(span).await
    }

    /// The pane, or for a spawn the mux, that the request names; it must be here.
    fn target(&self, peer: &Peer, request: &v1::ActRequest, verb: &Verb) -> Result<Target, Status> {
        if matches!(verb, Verb::Spawn { .. }) {
            return self.spawn_target(peer, request);
        }
        let pane = request.pane.clone().ok_or_else(|| usage("pane is missing"))?;
        let view = self.pane_here(&super::address(peer, pane)?)?;
        Ok(Target { host: view.host.clone(), pane: view.pane.pane.clone(), view: Some(view) })
    }

    fn spawn_target(&self, peer: &Peer, request: &v1::ActRequest) -> Result<Target, Status> {
        let host = Host::new(request.host.as_str()).map_err(usage)?;
        check_host(peer, &host)?;
        let mux = match request.pane.as_ref().map(|pane| pane.mux.as_str()).filter(|mux| !mux.is_empty()) {
            Some(mux) => MuxName::new(mux).map_err(usage)?,
            None => MuxName::main(),
        };
        let nodes = self.registry.nodes();
        let node = nodes
            .iter()
            .find(|node| node.host == host)
            .ok_or_else(|| ErrorCode::NotFound.status(format!("there is no node {host}")))?;
        if !node.connected {
            return Err(away(&host));
        }
        let of_heartbeat = node.heartbeat.muxes.iter().find(|known| known.name == mux.as_str());
        let generation = of_heartbeat.and_then(|known| Generation::new(known.generation.as_str()).ok());
        let of_panes = || {
            let panes = self.registry.panes().into_iter();
            let mut on_mux = panes.filter(|view| view.host == host && view.pane.pane.mux == mux);
            on_mux.next().map(|view| view.pane.pane.generation)
        };
        let generation = generation.or_else(of_panes).ok_or_else(|| {
            ErrorCode::Unreachable.status(format!("{host} is not connected to a mux server named {mux}"))
        })?;
        Ok(Target { host, pane: PaneRef { mux, generation, pane_id: 0 }, view: None })
    }

    /// Why nothing is even tried.
    fn objection(
        &self,
        peer: &Peer,
        target: &Target,
        request: &v1::ActRequest,
        judged: &Judgement,
    ) -> Option<String> {
        let answers = matches!(request.verb, Some(v1::act_request::Verb::Choose(_)));
        if answers && peer.principal.role == Role::Agent {
            return Some(
                "an agent answers no dialog: a person does, with `wa approve` or `wa deny`".to_owned(),
            );
        }
        if !request.generation.is_empty() && request.generation != target.pane.generation.as_str() {
            return Some(format!(
                "the mux server is another process now: generation {}, not {}",
                target.pane.generation, request.generation
            ));
        }
        if target.view.as_ref().is_some_and(|view| view.pane.mirror) {
            return Some("this pane mirrors one of another mux server: act on that one".into());
        }
        let denied = (judged.decision == Decision::Deny).then(|| judged.reason.clone());
        self.gate.paused(target.address().as_ref(), &target.labels()).or(denied)
    }

    async fn write_down_refusal(&self, target: &Target, action: &Action, reason: &str) -> Result<(), Status> {
        let (who, what) = (action.who.clone(), action.verb.name());
        let place = target.address().map_or_else(|| target.host.to_string(), |pane| pane.to_string());
        let detail = format!("{reason}: {}", summary(&action.verb));
        let stored = self.store.write(move |tx| {
            tx.audit(&Entry { who: &who, what, target: &place, decision: "refused", detail: &detail })
        });
        stored.await.map_err(|e| status(&e))
    }

    async fn queue_and_wait(
        &self,
        peer: &Peer,
        target: Target,
        action: Action,
        key: Option<&str>,
        wait: Duration,
    ) -> Result<v1::ActResponse, Status> {
        let deadline = clock::monotonic() + wait;
        let mut id = action.id;
        let mut waiter = self.gate.wait_for(id);
        let (gate, registry) = (Arc::clone(&self.gate), Arc::clone(&self.registry));
        let (host, idempotency_key) = (target.host.clone(), key.map(str::to_owned));
        let caller = peer.clone();
        let queued = self.store.write(move |tx| {
            tx.check_caller(&caller)?;
            if let Some(key) = &idempotency_key
                && let Some(earlier) = tx.find_key(&action.who, key)?
            {
                return Ok(Begun::Earlier(earlier));
            }
            let summary = summary(&action.verb);
            let new = NewAction { host, action, run: None, idempotency_key, summary };
            policy::enter(tx, &gate, &registry, new).map(Begun::New)
        });
        let mut held = None;
        match queued.await.map_err(|e| status(&e))? {
            Begun::New(Entered::Queued) => {}
            Begun::New(Entered::Held { approval, until }) => held = Some((approval, until)),
            Begun::New(Entered::Refused(reason)) => {
                return Ok(answer(&target, Some(id), OutcomeKind::Refused.as_str(), reason));
            }
            Begun::Earlier(earlier) => {
                if let Some(outcome) = earlier.outcome {
                    return Ok(told(&target, outcome));
                }
                held = earlier.held;
                id = earlier.action;
                waiter = self.gate.wait_for(id);
                // It may have been settled before this listened.
                if held.is_none() && !self.gate.is_open(id) && waiter.known().is_none() {
                    let reason =
                        "the same key was used a moment ago, and its outcome has just come: ask again";
                    return Err(ErrorCode::Busy.status(reason));
                }
            }
        }
        let waited = tokio::select! {
            waited = timeout_at(deadline, waiter.outcome()) => waited.ok().flatten(),
            () = self.tasks.shutdown().triggered() => None,
        };
        Ok(match (waited, held) {
            (Some(outcome), _) => told(&target, outcome),
            (None, Some(held)) => self.not_answered(&target, id, held, &waiter),
            (None, None) => self.not_told(&target, id, &waiter),
        })
    }

    /// Whoever answers the approval is told how it ended: it is theirs now.
    fn not_answered(
        &self,
        target: &Target,
        id: ActionId,
        (approval, until): (u64, Timestamp),
        waiter: &Waiter,
    ) -> v1::ActResponse {
        if let Some(outcome) = waiter.known() {
            return told(target, outcome);
        }
        let name = approval_name(approval);
        let reason = if self.gate.is_open(id) {
            format!("{name} was allowed, and the node has not said how it ended; look at the pane")
        } else {
            format!(
                "it waits for a person, who can answer until {until:.0} with `wa approve {name}` or `wa deny {name}`"
            )
        };
        answer(target, Some(id), OutcomeKind::Unknown.as_str(), reason)
    }

    fn not_told(&self, target: &Target, id: ActionId, waiter: &Waiter) -> v1::ActResponse {
        let (outcome, reason) = if self.tasks.shutdown().is_triggered() {
            (OutcomeKind::Unknown, "the controller shuts down; the node may begin it until its deadline")
        } else if self.gate.give_up(id) {
            (OutcomeKind::Expired, "the node did not ask for a permit in time; it will not begin")
        } else if let Some(outcome) = waiter.known() {
            return told(target, outcome);
        } else {
            let reason = "the node was permitted to begin and has not said how it ended; look at the pane";
            (OutcomeKind::Unknown, reason)
        };
        answer(target, Some(id), outcome.as_str(), reason.into())
    }
}

/// What came of asking.
enum Begun {
    New(Entered),
    /// The key was used before.
    Earlier(Earlier),
}

/// How long a caller waits for an outcome.
pub(super) fn patience(timeout_ms: u32) -> Duration {
    match timeout_ms {
        0 => DEFAULT_TIMEOUT,
        ms => Duration::from_millis(ms.into()).min(LONGEST),
    }
}

/// How much of that is for beginning.
pub(super) fn begin_within(wait: Duration) -> Duration {
    wait - OUTCOME_TIME.min(wait / 2)
}

fn dry_run(target: &Target, verb: &Verb, judged: Judgement) -> v1::ActResponse {
    let hoped = match verb {
        _ if judged.decision == Decision::Ask => OutcomeKind::Refused,
        Verb::Send { enter: false, .. } => OutcomeKind::Placed,
        _ => OutcomeKind::Submitted,
    };
    let mut what = format!("dry run, nothing was sent: {} {}", verb.name(), summary(verb));
    if judged.decision == Decision::Ask {
        what = format!("{what}; {}", judged.reason);
    }
    answer(target, None, hoped.as_str(), what)
}

fn action(peer: &Peer, target: &Target, verb: Verb, trace_parent: String, wait: Duration) -> Action {
    // A pane is closed whatever runs in it; all else is meant for the process that the caller saw.
    let seen = target.view.as_ref().filter(|_| !matches!(verb, Verb::Kill)).map(|view| &view.pane);
    Action {
        id: ActionId::generate(),
        pane: target.pane.clone(),
        deadline: clock::now() + begin_within(wait),
        fence: 0,
        who: peer.who(),
        expect_agent: seen.and_then(|pane| pane.agent.clone()),
        expect_agent_pid: seen.map(|pane| pane.agent_pid).filter(|pid| *pid != 0),
        expect_shell: false,
        trace_parent,
        verb,
    }
}

fn check_size(verb: &Verb) -> Result<(), Status> {
    let size = match verb {
        Verb::Send { text, .. } => text.len(),
        Verb::Spawn { command, cwd } => command.iter().map(String::len).sum::<usize>() + cwd.len(),
        Verb::Keys(_) | Verb::Choose { .. } | Verb::Kill => 0,
    };
    if let Verb::Spawn { command, .. } = verb
        && command.is_empty()
    {
        return Err(usage("the command is missing"));
    }
    if size > MAX_TEXT {
        return Err(usage(format!("{size} bytes of text; at most {MAX_TEXT} go at once")));
    }
    Ok(())
}

fn told(target: &Target, outcome: Outcome) -> v1::ActResponse {
    let mut response = answer(target, Some(outcome.action), outcome.kind.as_str(), outcome.reason);
    if let Some(spawned) = &outcome.spawned {
        response.pane = Some(address(&target.host, spawned).into());
    }
    response
}

fn answer(target: &Target, id: Option<ActionId>, outcome: &str, reason: String) -> v1::ActResponse {
    v1::ActResponse {
        action_id: id.map(|id| id.as_bytes().to_vec()).unwrap_or_default(),
        pane: target.address().map(Into::into),
        outcome: outcome.to_owned(),
        reason,
    }
}
