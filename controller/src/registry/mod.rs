//! The fleet as it stands now: nodes, their sessions, and what they last said of their panes.
//!
//! Constraints: pane states are levels, told whole at the start of each session and then on change; they live in memory
//! and are stored lazily, only so that a restarted controller can still name the panes of nodes that are away. What a
//! disconnected node last said is shown as such and never acted on. One lock, held for moments, never over I/O.
//!
//! Stored is what differs from what is stored, pane by pane (`kept.rs`).
//!
//! A node that has just started knows none of its panes until its mux servers have answered, so the first whole report of
//! a session is no proof that a pane is gone. What an earlier session told is *unseen* until this one names it: shown
//! as not connected, fed to no run, and given up only when the node has had [`SEEN_BY`] to find it with its mux server
//! connected. A pane that this session has told, and then leaves out of a whole report, is gone at once.
//!
//! Runs that wait for a pane *watch* it: a watch is set before the present state is read, and a report looks for watches
//! after it changed the state, so a change cannot fall between the two. A pane may be gone before it is watched: its event came
//! late, or its end was told while nobody listened. That it is not here is no proof at first, for the event of a new pane may
//! overtake the report that names it. So whoever watches a pane that its node does not show for [`SEEN_BY`], with its mux
//! server connected, hears that it is gone.

mod asking;
mod kept;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use wa_link::shutdown::Shutdown;
use wa_proto::wire::v1;
use wa_proto::{Host, MuxName, Pane, PaneAddress, PaneRef, PaneState, Timestamp};
use wa_workflow::Input;

pub use asking::NoAnswer;
use asking::Waiting;
use kept::Storing;
pub use rules::NodeRules;

use crate::store::NodeRow;

/// Where a pane lives on its host.
pub type PaneKey = (MuxName, u64);

#[derive(Default)]
pub struct Registry {
    inner: Mutex<Inner>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct Inner {
    nodes: BTreeMap<Host, Node>,
    watched: BTreeMap<(Host, PaneRef), Watch>,
    next_session: u64,
}

#[derive(Default)]
struct Node {
    version: String,
    last_seen: Option<Timestamp>,
    skew_ms: i64,
    heartbeat: v1::Heartbeat,
    panes: BTreeMap<PaneKey, Known>,
    storing: Storing,
    session: Option<Arc<SessionHandle>>,
    /// What the present session last said of its rules.
    rules: Option<Arc<v1::RulesReport>>,
    /// When this session first told its panes whole. A wall clock may be set, hence not by that.
    reported: Option<Instant>,
    /// It was told that this node is not here: it has just joined, or was lost.
    absent: bool,
}

/// That a run waits for a pane.
struct Watch {
    since: Instant,
    /// It has heard that the pane is not there.
    told: bool,
}

struct Known {
    pane: Pane,
    /// The present session has told it.
    seen: bool,
    stored: kept::Stored,
}

/// How others reach a live session.
pub struct SessionHandle {
    id: u64,
    /// Ends this session, with the reason that the node is told.
    pub(crate) end: Shutdown,
    end_reason: Mutex<String>,
    /// Messages to the node that are not actions.
    pub(crate) to_node: mpsc::Sender<v1::ControllerMessage>,
    /// The outbox has something for this host.
    pub(crate) outbox: Notify,
    /// Requests that the node has yet to answer.
    pub(crate) screens: Waiting<v1::ScreenReply>,
    pub(crate) rules: Waiting<v1::RulesReply>,
    pub(crate) accounts: Waiting<v1::AccountReply>,
}

/// One node for a list.
#[derive(Debug, Clone)]
pub struct NodeView {
    pub host: Host,
    pub connected: bool,
    pub version: String,
    pub last_seen: Option<Timestamp>,
    pub skew_ms: i64,
    pub heartbeat: v1::Heartbeat,
    /// What it last said of its rules; `None`: away, or nothing yet.
    pub rules: Option<Arc<v1::RulesReport>>,
}

/// One pane for a list.
#[derive(Debug, Clone, PartialEq)]
pub struct PaneView {
    pub host: Host,
    pub pane: Pane,
    /// Its node is here and sees it.
    pub connected: bool,
}

impl PaneView {
    pub fn address(&self) -> PaneAddress {
        PaneAddress {
            host: self.host.clone(),
            mux: self.pane.pane.mux.clone(),
            pane_id: self.pane.pane.pane_id,
        }
    }

    /// What selectors see of a pane.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let pane = &self.pane;
        let labels = [
            ("host", self.host.to_string()),
            ("mux", pane.pane.mux.to_string()),
            ("pane", self.address().to_string()),
            ("agent", pane.agent.as_ref().map_or_else(String::new, ToString::to_string)),
            ("agent_version", pane.agent_version.clone()),
            ("state", pane.state.to_string()),
            ("project", pane.project.clone()),
            ("title", pane.title.clone()),
            ("cwd", pane.cwd.clone()),
            ("session", pane.session_id.clone()),
            ("account", pane.account.as_ref().map_or_else(String::new, ToString::to_string)),
        ];
        labels.into_iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| (k.to_owned(), v)).collect()
    }
}

impl SessionHandle {
    /// Ends the session; the node is told why and may come back.
    fn stop(&self, reason: &str) {
        reason.clone_into(&mut self.end_reason.lock().unwrap_or_else(PoisonError::into_inner));
        self.end.trigger();
    }

    pub(crate) fn end_reason(&self) -> String {
        self.end_reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How long a node that has come back may take to find its panes again.
const SEEN_BY: Duration = Duration::from_secs(30);
/// Panes of one node, told by however many reports.
const MAX_PANES: usize = 10_000;

impl Registry {
    /// As the store remembers it: every node away.
    pub fn from_kept(nodes: &[NodeRow]) -> Self {
        let nodes = nodes.iter().map(|row| {
            let unseen = |pane: &Pane| (key(&pane.pane), Known::as_stored(pane.clone()));
            let panes = row.panes.iter().map(unseen).collect();
            let node = Node {
                version: row.version.clone(),
                last_seen: row.last_seen,
                skew_ms: row.skew_ms,
                heartbeat: row.heartbeat.clone(),
                panes,
                storing: if row.damaged { Storing::anew() } else { Storing::default() },
                ..Node::default()
            };
            (row.host.clone(), node)
        });
        let inner = Inner { nodes: nodes.collect(), ..Inner::default() };
        Self { inner: Mutex::new(inner), changed: watch::Sender::new(()) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes whenever a pane or node changes.
    pub fn changed(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// A node that was let in but has not spoken.
    pub fn joined(&self, host: &Host) {
        self.lock().nodes.entry(host.clone()).or_default().absent = true;
        self.changed.send_replace(());
    }

    // ---- sessions

    /// Registers a session; the one before it, if any, is ended. With it, whether the node was absent until now.
    pub(crate) fn connect(
        &self,
        host: &Host,
        hello: &v1::Hello,
        now: Timestamp,
        to_node: mpsc::Sender<v1::ControllerMessage>,
        end: Shutdown,
    ) -> (Arc<SessionHandle>, bool) {
        let mut inner = self.lock();
        inner.next_session += 1;
        let handle = Arc::new(SessionHandle {
            id: inner.next_session,
            end,
            end_reason: Mutex::default(),
            to_node,
            outbox: Notify::new(),
            screens: Waiting::default(),
            rules: Waiting::default(),
            accounts: Waiting::default(),
        });
        let node = inner.nodes.entry(host.clone()).or_default();
        node.version.clone_from(&hello.version);
        node.last_seen = Some(now);
        node.skew_ms = skew_ms(hello.now_us, now);
        node.forget_session();
        node.storing.changed();
        let was_absent = std::mem::take(&mut node.absent);
        if let Some(before) = node.session.replace(Arc::clone(&handle)) {
            before.stop("another session of this node took its place");
        }
        drop(inner);
        self.changed.send_replace(());
        (handle, was_absent)
    }

    /// The session is over. `false` when another has taken its place.
    pub(crate) fn disconnect(&self, host: &Host, handle: &SessionHandle, now: Timestamp) -> bool {
        let mut inner = self.lock();
        let Some(node) = inner.nodes.get_mut(host) else { return false };
        if node.session.as_ref().is_none_or(|session| session.id != handle.id) {
            return false;
        }
        node.session = None;
        node.forget_session();
        node.absent = true;
        node.last_seen = Some(now);
        node.storing.changed();
        drop(inner);
        self.changed.send_replace(());
        true
    }

    /// Cuts a node off.
    pub fn end_session(&self, host: &Host, reason: &str) {
        if let Some(session) = self.session(host) {
            session.stop(reason);
        }
    }

    pub(crate) fn session(&self, host: &Host) -> Option<Arc<SessionHandle>> {
        self.lock().nodes.get(host)?.session.clone()
    }

    pub fn connected_nodes(&self) -> usize {
        self.lock().nodes.values().filter(|node| node.session.is_some()).count()
    }

    /// What the nodes let go of before it was logged, since each was started.
    pub fn dropped(&self) -> u64 {
        self.lock().nodes.values().map(|node| node.heartbeat.dropped).fold(0, u64::saturating_add)
    }

    // ---- what nodes say

    pub(crate) fn heartbeat(&self, host: &Host, heartbeat: v1::Heartbeat, now: Timestamp) {
        let mut inner = self.lock();
        let Some(node) = inner.nodes.get_mut(host) else { return };
        node.skew_ms = skew_ms(heartbeat.now_us, now);
        node.last_seen = Some(now);
        node.heartbeat = heartbeat;
        node.storing.changed();
        drop(inner);
        self.changed.send_replace(());
    }

    /// Takes a report in; what it changed on panes that are watched. Panes beyond [`MAX_PANES`] are left out.
    pub(crate) fn report(
        &self,
        host: &Host,
        full: bool,
        panes: Vec<Pane>,
        gone: &[PaneRef],
        (now, steady): (Timestamp, Instant),
    ) -> Vec<(PaneRef, Input)> {
        let mut inner = self.lock();
        let Inner { nodes, watched, .. } = &mut *inner;
        let Some(node) = nodes.get_mut(host) else { return Vec::new() };
        node.last_seen = Some(now);
        node.storing.changed();
        let mut changes: Vec<(PaneRef, Input)> =
            gone.iter().map(|pane| (pane.clone(), Input::PaneGone)).collect();
        let gone: HashSet<&PaneRef> = gone.iter().collect();
        node.lose(|known| gone.contains(&known.pane.pane));
        if full {
            node.reported.get_or_insert(steady);
            let listed: HashSet<&PaneRef> = panes.iter().map(|pane| &pane.pane).collect();
            changes.extend(node.lose(|known| known.seen && !listed.contains(&known.pane.pane)));
        }
        // Another server process answers under this name: what an earlier one had is gone with it.
        let present: HashSet<_> = panes.iter().map(|pane| (&pane.pane.mux, &pane.pane.generation)).collect();
        let muxes: HashSet<_> = present.iter().map(|(mux, _)| *mux).collect();
        changes.extend(node.lose(|Known { pane: Pane { pane, .. }, seen, .. }| {
            !seen && muxes.contains(&pane.mux) && !present.contains(&(&pane.mux, &pane.generation))
        }));
        for pane in panes {
            let place = key(&pane.pane);
            if node.panes.len() >= MAX_PANES && !node.panes.contains_key(&place) {
                tracing::warn!(%host, "more than {MAX_PANES} panes: the rest is left out");
                break;
            }
            let (told, input) = (pane.pane.clone(), input_of(&pane));
            let replaced = node.put(place, pane);
            if let Some(old) = replaced.filter(|old| *old != told) {
                changes.push((old, Input::PaneGone));
            }
            changes.push((told, input));
        }
        changes.retain(|(pane, input)| hears(watched, host, pane, input));
        drop(inner);
        self.changed.send_replace(());
        changes
    }

    /// Gives up the panes that nodes have not found again in time; those that are watched, by host. With them, watched ones that
    /// their nodes do not show: once for each watch.
    pub(crate) fn give_up_unseen(&self, now: Instant) -> BTreeMap<Host, Vec<(PaneRef, Input)>> {
        let mut inner = self.lock();
        let Inner { nodes, watched, .. } = &mut *inner;
        let mut changes = BTreeMap::new();
        let mut any = false;
        for (host, node) in nodes.iter_mut() {
            if !node.reported.is_some_and(|since| seen_by(since, now)) {
                continue;
            }
            // A mux server that is listed without a generation is not connected: its panes may well live.
            let lost: HashSet<String> = node
                .heartbeat
                .muxes
                .iter()
                .filter(|mux| mux.generation.is_empty())
                .map(|mux| mux.name.clone())
                .collect();
            let mut gone = node.lose(|known| !known.seen && !lost.contains(known.pane.pane.mux.as_str()));
            any |= !gone.is_empty();
            if !gone.is_empty() {
                node.storing.changed();
            }
            gone.retain(|(pane, input)| hears(watched, host, pane, input));
            for ((of, pane), watch) in watched.iter_mut().filter(|((of, _), _)| of == host) {
                let missing = !node.shows(pane) && !lost.contains(pane.mux.as_str());
                if missing && !watch.told && seen_by(watch.since, now) {
                    watch.told = true;
                    tracing::info!(host = %of, pane = pane.pane_id, "a run waits for a pane that is not there");
                    gone.push((pane.clone(), Input::PaneGone));
                }
            }
            if !gone.is_empty() {
                changes.insert(host.clone(), gone);
            }
        }
        drop(inner);
        if any {
            self.changed.send_replace(());
        }
        changes
    }

    /// What [`Self::give_up_unseen`] gave could not be passed on: it is to give it again.
    pub(crate) fn not_told(&self, host: &Host, gone: &[(PaneRef, Input)]) {
        let mut inner = self.lock();
        for (pane, _) in gone {
            if let Some(watch) = inner.watched.get_mut(&(host.clone(), pane.clone())) {
                watch.told = false;
            }
        }
    }

    /// From now on, reports tell what happens to this pane. Its present state, if its node is here and sees it.
    pub(crate) fn watch(&self, host: &Host, pane: &PaneRef, now: Instant) -> Option<Input> {
        let mut inner = self.lock();
        // A run that tries again and again watches anew each time: the pane is missing as long as it was.
        let watch = inner.watched.entry((host.clone(), pane.clone()));
        watch.or_insert(Watch { since: now, told: false }).told = false;
        let node = inner.nodes.get(host).filter(|node| node.session.is_some() && node.reported.is_some())?;
        let known = node.panes.get(&key(pane)).filter(|known| known.seen && known.pane.pane == *pane)?;
        Some(input_of(&known.pane))
    }

    pub(crate) fn unwatch(&self, host: &Host, pane: &PaneRef) {
        self.lock().watched.remove(&(host.clone(), pane.clone()));
    }

    /// How far a node's clock is ahead, as far as that is known.
    pub(crate) fn skew_ms(&self, host: &Host) -> i64 {
        self.lock().nodes.get(host).map_or(0, |node| node.skew_ms)
    }

    // ---- lists

    pub fn nodes(&self) -> Vec<NodeView> {
        let view = |(host, node): (&Host, &Node)| NodeView {
            host: host.clone(),
            connected: node.session.is_some(),
            version: node.version.clone(),
            last_seen: node.last_seen,
            skew_ms: node.skew_ms,
            heartbeat: node.heartbeat.clone(),
            rules: node.rules.clone(),
        };
        self.lock().nodes.iter().map(view).collect()
    }

    /// All panes, by host and address.
    pub fn panes(&self) -> Vec<PaneView> {
        let inner = self.lock();
        let of_node = |(host, node): (&Host, &Node)| {
            node.panes.values().map(|known| node.view(host, known)).collect::<Vec<_>>()
        };
        inner.nodes.iter().flat_map(of_node).collect()
    }

    pub fn pane(&self, address: &PaneAddress) -> Option<PaneView> {
        let inner = self.lock();
        let node = inner.nodes.get(&address.host)?;
        let known = node.panes.get(&(address.mux.clone(), address.pane_id))?;
        Some(node.view(&address.host, known))
    }

    pub fn knows(&self, host: &Host) -> bool {
        self.lock().nodes.contains_key(host)
    }
}

impl Node {
    /// What the session said no longer counts as seen.
    fn forget_session(&mut self) {
        self.reported = None;
        self.rules = None;
        for known in self.panes.values_mut() {
            known.seen = false;
        }
    }

    /// Removes panes, and says so.
    fn lose(&mut self, which: impl Fn(&Known) -> bool) -> Vec<(PaneRef, Input)> {
        let Self { panes, storing, .. } = self;
        let lost = panes.extract_if(.., |_, known| which(known));
        let gone = lost.map(|(place, known)| {
            storing.gone(place);
            (known.pane.pane, Input::PaneGone)
        });
        gone.collect()
    }

    /// It has such a pane, or leaves out what it has too much of.
    fn shows(&self, pane: &PaneRef) -> bool {
        match self.panes.get(&key(pane)) {
            Some(known) => known.pane.pane == *pane,
            None => self.panes.len() >= MAX_PANES,
        }
    }

    /// A pane as it is now; which one was in its place.
    fn put(&mut self, place: PaneKey, pane: Pane) -> Option<PaneRef> {
        match self.panes.get_mut(&place) {
            Some(known) => {
                known.stored = known.stored.after(&known.pane, &pane);
                known.seen = true;
                Some(std::mem::replace(&mut known.pane, pane).pane)
            }
            None => {
                self.panes.insert(place, Known { pane, seen: true, stored: kept::Stored::No });
                None
            }
        }
    }

    fn view(&self, host: &Host, known: &Known) -> PaneView {
        let connected = self.session.is_some() && known.seen;
        PaneView { host: host.clone(), pane: known.pane.clone(), connected }
    }
}

/// Whether a run waits for this pane. If so, it need not be told once more that the pane is gone.
fn hears(watched: &mut BTreeMap<(Host, PaneRef), Watch>, host: &Host, pane: &PaneRef, input: &Input) -> bool {
    let watch = watched.get_mut(&(host.clone(), pane.clone()));
    watch.map(|watch| watch.told |= *input == Input::PaneGone).is_some()
}

/// Whether a node has had its time since then.
fn seen_by(since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(since) >= SEEN_BY
}

/// How far the node's clock is ahead. The wire may claim any time.
fn skew_ms(theirs_us: i64, now: Timestamp) -> i64 {
    theirs_us.saturating_sub(now.as_microsecond()) / 1000
}

fn key(pane: &PaneRef) -> PaneKey {
    (pane.mux.clone(), pane.pane_id)
}

fn input_of(pane: &Pane) -> Input {
    if pane.state == PaneState::Gone {
        return Input::PaneGone;
    }
    let until = pane.detail.until;
    Input::Pane { state: pane.state, agent: pane.agent.clone(), agent_pid: pane.agent_pid, until }
}

/// Waits until something changed or the time is over; `false` when it is.
pub(crate) async fn changed_before(receiver: &mut watch::Receiver<()>, deadline: Instant) -> bool {
    matches!(tokio::time::timeout_at(deadline, receiver.changed()).await, Ok(Ok(())))
}
