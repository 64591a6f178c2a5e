//! Wait: until a pane is in a state, or an event comes.
//!
//! A state that holds answers at once; what a node that is away last said does not count. An event counts from the call,
//! or from `since`. With a selector the first pane wins, also one that comes later; with `all`, each pane that the
//! selector named at the call has to get there, not all at the same moment.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tonic::Status;
use wa_link::clock;
use wa_proto::selector::Selector;
use wa_proto::wire::v1;
use wa_proto::{ErrorCode, EventKind, PaneAddress, PaneState};

use super::{
    Fleet, away, convert, no_pane, only_host, optional_address, optional_time, selector, status, usage,
};
use crate::gate::address;
use crate::identity::peer::Peer;
use crate::registry::{PaneView, changed_before};
use crate::store::EventRange;

/// Nobody waits longer than this.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// Events that are read at a time.
const PAGE: usize = 512;

enum Condition {
    State(PaneState),
    Event(EventKind),
}

/// Whose turn it is to get there.
struct Targets {
    pane: Option<PaneAddress>,
    selector: Selector,
    /// The panes of the call, as they were.
    at_call: BTreeMap<PaneAddress, PaneView>,
    all: bool,
}

impl Fleet {
    pub(super) async fn wait_for(
        &self,
        peer: &Peer,
        request: v1::WaitRequest,
        patience: Option<Duration>,
    ) -> Result<v1::WaitResponse, Status> {
        let condition = condition(&request.condition)?;
        let since = optional_time("since_us", request.since_us)?;
        let pane = optional_address(peer, request.pane)?;
        if pane.is_none() && request.selector.trim().is_empty() && request.all {
            return Err(usage("--all needs a selector"));
        }
        let selector = selector(&request.selector)?;
        let views = match &pane {
            Some(pane) => self.registry.pane(pane).into_iter().collect(),
            None => self.select(peer, &selector),
        };
        let at_call = views.into_iter().map(|view| (view.address(), view)).collect();
        let targets = Targets { pane, selector, at_call, all: request.all };
        if targets.all && targets.at_call.is_empty() {
            return Err(ErrorCode::NotFound.status(format!("no pane matches {}", targets.selector)));
        }
        let deadline = clock::monotonic() + patience.unwrap_or(LONGEST).min(LONGEST);
        let waiting = async {
            match condition {
                Condition::State(state) => self.wait_state(peer, &targets, state, deadline).await,
                Condition::Event(kind) => {
                    let range = EventRange {
                        pane: targets.pane.clone(),
                        host: only_host(peer),
                        kinds: vec![kind],
                        since,
                        after: 0,
                        before: None,
                    };
                    self.wait_event(&targets, range, deadline).await
                }
            }
        };
        tokio::select! {
            answer = waiting => answer,
            () = self.tasks.shutdown().triggered() => {
                Err(ErrorCode::Unreachable.status("the controller shuts down"))
            }
            refusal = self.doorkeeper.barred(peer) => Err(refusal),
        }
    }

    async fn wait_state(
        &self,
        peer: &Peer,
        targets: &Targets,
        state: PaneState,
        deadline: Instant,
    ) -> Result<v1::WaitResponse, Status> {
        if let Some(pane) = &targets.pane {
            let view = targets.at_call.get(pane).ok_or_else(|| no_pane(pane))?;
            // A pane that its node has yet to find again may still get there in time.
            if self.registry.session(&view.host).is_none() {
                return Err(away(&view.host));
            }
        }
        let mut changed = self.registry.changed();
        let mut done: BTreeMap<PaneAddress, PaneView> = BTreeMap::new();
        loop {
            changed.mark_unchanged();
            for (pane, view) in self.candidates(peer, targets) {
                if view.pane.state == state && view.connected {
                    done.entry(pane).or_insert(view);
                }
            }
            let reached = if targets.all { done.len() >= targets.at_call.len() } else { !done.is_empty() };
            if reached {
                let limit = if targets.all { usize::MAX } else { 1 };
                let panes = done.into_values().take(limit).map(|view| self.item(view)).collect();
                return Ok(v1::WaitResponse { panes, events: Vec::new() });
            }
            again(&mut changed, deadline).await?;
        }
    }

    /// Panes as they are now. One of the call that is no more is gone.
    fn candidates(&self, peer: &Peer, targets: &Targets) -> BTreeMap<PaneAddress, PaneView> {
        let mut now: BTreeMap<PaneAddress, PaneView> = BTreeMap::new();
        for (pane, before) in &targets.at_call {
            let view = self.registry.pane(pane).unwrap_or_else(|| {
                let mut gone = before.clone();
                gone.pane.state = PaneState::Gone;
                gone
            });
            now.insert(pane.clone(), view);
        }
        if targets.pane.is_none() && !targets.all {
            let views = self.select(peer, &targets.selector).into_iter();
            now.extend(views.map(|view| (view.address(), view)));
        }
        now
    }

    async fn wait_event(
        &self,
        targets: &Targets,
        mut range: EventRange,
        deadline: Instant,
    ) -> Result<v1::WaitResponse, Status> {
        let mut grew = self.store.events_grew();
        if range.since.is_none() {
            range.after = self.store.events_head().await.map_err(|e| status(&e))?;
        }
        if let Some(pane) = &targets.pane
            && !targets.at_call.contains_key(pane)
            && !self.store.knows_pane(pane.clone()).await.map_err(|e| status(&e))?
        {
            return Err(no_pane(pane));
        }
        let (mut seen, mut events) = (BTreeSet::new(), Vec::new());
        loop {
            grew.mark_unchanged();
            let page = self.store.events(range.clone(), PAGE, false).await.map_err(|e| status(&e))?;
            let whole = page.len() < PAGE;
            for stored in page {
                range.after = stored.n;
                let pane = stored.event.pane.as_ref().map(|pane| address(&stored.host, pane));
                let was_named = pane.as_ref().is_some_and(|pane| targets.at_call.contains_key(pane));
                let named = was_named || (!targets.all && self.event_fits(&stored, &targets.selector));
                if !named || (targets.all && !pane.is_some_and(|pane| seen.insert(pane))) {
                    continue;
                }
                events.push(convert::event_item(stored));
                if !targets.all || seen.len() >= targets.at_call.len() {
                    return Ok(v1::WaitResponse { panes: Vec::new(), events });
                }
            }
            if whole {
                again(&mut grew, deadline).await?;
            }
        }
    }
}

fn condition(text: &str) -> Result<Condition, Status> {
    if let Ok(state) = text.parse() {
        return Ok(Condition::State(state));
    }
    text.parse().map(Condition::Event).map_err(|_| {
        let states: Vec<_> = PaneState::ALL.iter().map(|state| state.as_str()).collect();
        usage(format!(
            "{:?} is neither a state ({}) nor an event (for example turn.finished)",
            text.chars().take(80).collect::<String>(),
            states.join(" ")
        ))
    })
}

/// Waits for a change.
async fn again(changed: &mut watch::Receiver<()>, deadline: Instant) -> Result<(), Status> {
    if changed_before(changed, deadline).await {
        Ok(())
    } else {
        Err(ErrorCode::TimedOut.status("it did not come about in time"))
    }
}
