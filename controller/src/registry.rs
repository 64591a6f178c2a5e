//! The fleet as it stands now: nodes, their sessions, and what they last said of their panes.
//!
//! Constraints: pane states are levels, told whole at the start of each session and then on change; they live in memory
//! and are stored lazily, only so that a restarted controller can still name the panes of nodes that are away. What a
//! disconnected node last said is shown as such and never acted on. One lock, held for moments, never over I/O.
//!
//! Runs that wait for a pane *watch* it: a watch is set before the present state is read, and a report looks for watches
//! after it changed the state, so a change cannot fall between the two.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use wa_link::shutdown::Shutdown;
use wa_proto::wire::v1;
use wa_proto::{Host, MuxName, Pane, PaneAddress, PaneRef, PaneState, Timestamp};
use wa_workflow::Input;

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
    watched: HashSet<(Host, PaneRef)>,
    next_session: u64,
}

#[derive(Default)]
struct Node {
    version: String,
    last_seen: Option<Timestamp>,
    skew_ms: i64,
    heartbeat: v1::Heartbeat,
    panes: BTreeMap<PaneKey, Pane>,
    session: Option<Arc<SessionHandle>>,
    /// This session has told its panes whole.
    reported: bool,
    /// It was told that this node is not here: it has just joined, or was lost.
    absent: bool,
    /// Differs from what is stored.
    dirty: bool,
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
    screens: Mutex<HashMap<u64, oneshot::Sender<Result<v1::Screen, String>>>>,
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
}

/// One pane for a list.
#[derive(Debug, Clone, PartialEq)]
pub struct PaneView {
    pub host: Host,
    pub pane: Pane,
    pub connected: bool,
}

/// Why a screen cannot be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoScreen {
    #[error("the node {0} is not connected")]
    Away(Host),
    #[error("the node {0} did not answer in time")]
    Late(Host),
    #[error("the node {0} has too many requests under way: try again")]
    Busy(Host),
    #[error("{0}")]
    Node(String),
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

    fn screens(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Result<v1::Screen, String>>>> {
        self.screens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node's answer to a request; one that nobody waits for is dropped.
    pub(crate) fn screen_arrived(&self, reply: v1::ScreenReply) {
        let Some(waiter) = self.screens().remove(&reply.request_id) else { return };
        let answer = match (reply.screen, reply.error) {
            (Some(screen), error) if error.is_empty() => Ok(screen),
            (_, error) if !error.is_empty() => Err(error),
            _ => Err("the node knows no such pane".to_owned()),
        };
        // Nobody listens when the caller went away.
        drop(waiter.send(answer));
    }
}

/// Screens that may be asked of one node at a time.
const SCREENS: usize = 64;
const SCREEN_WAIT: Duration = Duration::from_secs(5);

impl Registry {
    /// As the store remembers it: every node away.
    pub fn from_kept(nodes: &[NodeRow]) -> Self {
        let nodes = nodes.iter().map(|row| {
            let panes = row.panes.iter().map(|pane| (key(&pane.pane), pane.clone())).collect();
            let node = Node {
                version: row.version.clone(),
                last_seen: row.last_seen,
                skew_ms: row.skew_ms,
                heartbeat: row.heartbeat.clone(),
                panes,
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
            screens: Mutex::default(),
        });
        let node = inner.nodes.entry(host.clone()).or_default();
        node.version.clone_from(&hello.version);
        node.last_seen = Some(now);
        node.skew_ms = (hello.now_us - now.as_microsecond()) / 1000;
        node.reported = false;
        node.dirty = true;
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
        node.reported = false;
        node.absent = true;
        node.last_seen = Some(now);
        node.dirty = true;
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

    /// Asks the node for a pane's screen.
    pub async fn screen(&self, host: &Host, pane: PaneRef) -> Result<v1::Screen, NoScreen> {
        let away = || NoScreen::Away(host.clone());
        let session = self.session(host).ok_or_else(away)?;
        let request_id = fastrand::u64(1..);
        let (sender, answer) = oneshot::channel();
        {
            let mut screens = session.screens();
            screens.retain(|_, waiter| !waiter.is_closed());
            if screens.len() >= SCREENS {
                return Err(NoScreen::Busy(host.clone()));
            }
            screens.insert(request_id, sender);
        }
        let request = v1::ScreenRequest { request_id, pane: Some(pane.into()) };
        let message =
            v1::ControllerMessage { kind: Some(v1::controller_message::Kind::ScreenRequest(request)) };
        let exchange = async {
            session.to_node.send(message).await.map_err(|_| away())?;
            answer.await.map_err(|_| away())?.map_err(NoScreen::Node)
        };
        let ended = session.end.triggered();
        tokio::select! {
            answered = timeout(SCREEN_WAIT, exchange) => answered.unwrap_or(Err(NoScreen::Late(host.clone()))),
            () = ended => Err(away()),
        }
    }

    // ---- what nodes say

    pub(crate) fn heartbeat(&self, host: &Host, heartbeat: v1::Heartbeat, now: Timestamp) {
        let mut inner = self.lock();
        let Some(node) = inner.nodes.get_mut(host) else { return };
        node.skew_ms = (heartbeat.now_us - now.as_microsecond()) / 1000;
        node.last_seen = Some(now);
        node.heartbeat = heartbeat;
        node.dirty = true;
        drop(inner);
        self.changed.send_replace(());
    }

    /// Takes a report in; what it changed on panes that are watched.
    pub(crate) fn report(
        &self,
        host: &Host,
        full: bool,
        panes: Vec<Pane>,
        gone: &[PaneRef],
        now: Timestamp,
    ) -> Vec<(PaneRef, Input)> {
        let mut inner = self.lock();
        let Inner { nodes, watched, .. } = &mut *inner;
        let Some(node) = nodes.get_mut(host) else { return Vec::new() };
        node.last_seen = Some(now);
        node.dirty = true;
        node.reported |= full;
        if full {
            node.panes.clear();
        }
        let mut changes = Vec::new();
        let mut changed = |pane: &PaneRef, input: Input| {
            if watched.contains(&(host.clone(), pane.clone())) {
                changes.push((pane.clone(), input));
            }
        };
        for pane in gone {
            if node.panes.get(&key(pane)).is_some_and(|known| known.pane == *pane) {
                node.panes.remove(&key(pane));
            }
            changed(pane, Input::PaneGone);
        }
        for pane in panes {
            changed(&pane.pane, input_of(&pane));
            let replaced = node.panes.insert(key(&pane.pane), pane.clone());
            if let Some(old) = replaced.filter(|old| old.pane != pane.pane) {
                changed(&old.pane, Input::PaneGone);
            }
        }
        if full {
            for (_, pane) in watched.iter().filter(|(of, _)| of == host) {
                if node.panes.get(&key(pane)).is_none_or(|known| known.pane != *pane) {
                    changes.push((pane.clone(), Input::PaneGone));
                }
            }
        }
        drop(inner);
        self.changed.send_replace(());
        changes
    }

    /// From now on, reports tell what happens to this pane. Its present state, if its node is here and has told it.
    pub(crate) fn watch(&self, host: &Host, pane: &PaneRef) -> Option<Input> {
        let mut inner = self.lock();
        inner.watched.insert((host.clone(), pane.clone()));
        let node = inner.nodes.get(host).filter(|node| node.session.is_some() && node.reported)?;
        node.panes.get(&key(pane)).filter(|known| known.pane == *pane).map(input_of)
    }

    pub(crate) fn unwatch(&self, host: &Host, pane: &PaneRef) {
        self.lock().watched.remove(&(host.clone(), pane.clone()));
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
        };
        self.lock().nodes.iter().map(view).collect()
    }

    /// All panes, by host and address.
    pub fn panes(&self) -> Vec<PaneView> {
        let inner = self.lock();
        let of_node = |(host, node): (&Host, &Node)| {
            let connected = node.session.is_some();
            let view = |pane: &Pane| PaneView { host: host.clone(), pane: pane.clone(), connected };
            node.panes.values().map(view).collect::<Vec<_>>()
        };
        inner.nodes.iter().flat_map(of_node).collect()
    }

    pub fn pane(&self, address: &PaneAddress) -> Option<PaneView> {
        let inner = self.lock();
        let node = inner.nodes.get(&address.host)?;
        let pane = node.panes.get(&(address.mux.clone(), address.pane_id))?;
        Some(PaneView { host: address.host.clone(), pane: pane.clone(), connected: node.session.is_some() })
    }

    pub fn knows(&self, host: &Host) -> bool {
        self.lock().nodes.contains_key(host)
    }

    /// Nodes that differ from what is stored; from now on they count as stored.
    pub(crate) fn take_dirty(&self) -> Vec<NodeRow> {
        let mut inner = self.lock();
        let dirty = inner.nodes.iter_mut().filter(|(_, node)| node.dirty);
        dirty
            .map(|(host, node)| {
                node.dirty = false;
                NodeRow {
                    host: host.clone(),
                    version: node.version.clone(),
                    last_seen: node.last_seen,
                    skew_ms: node.skew_ms,
                    heartbeat: node.heartbeat.clone(),
                    panes: node.panes.values().cloned().collect(),
                }
            })
            .collect()
    }
}

fn key(pane: &PaneRef) -> PaneKey {
    (pane.mux.clone(), pane.pane_id)
}

fn input_of(pane: &Pane) -> Input {
    if pane.state == PaneState::Gone {
        return Input::PaneGone;
    }
    Input::Pane { state: pane.state, agent: pane.agent.clone(), agent_pid: pane.agent_pid }
}

/// Waits until something changed or the time is over; `false` when it is.
pub(crate) async fn changed_before(receiver: &mut watch::Receiver<()>, deadline: Instant) -> bool {
    matches!(tokio::time::timeout_at(deadline, receiver.changed()).await, Ok(Ok(())))
}
