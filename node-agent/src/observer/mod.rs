//! Watching one mux server: one task owns the connection and every pane's screen and matcher.
//!
//! Constraints: one connection per server and never a lock around a screen; whatever leaves here is redacted; a position
//! is stored in the same group as the records before it, so that a restarted node logs nothing twice; while the spool is
//! behind nothing is read from the server, which then tells less often. A server that sends malformed frames three times
//! within a minute is left alone for a while, and that is said.
//! Operation: this module dials and redials; `serve.rs` is one connection; `pane.rs` one pane; `batch.rs` turns what the
//! screen and the matcher hand out into records; `view.rs` is what others may see.

mod batch;
mod discover;
mod pane;
mod serve;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use wa_link::shutdown::{Shutdown, Tasks};
use wa_match::Engine;
use wa_mux::client::{ConnectError, ConnectOptions};
use wa_mux::{Client, CloseReason, MuxEvent};
use wa_proto::wire::v1;
use wa_proto::{EventKind, Generation, MuxName};
use wa_screen::Removal;

use crate::board::Board;
use crate::process::ProcessTable;
use crate::spool::{Group, Spool};

pub use discover::{InvalidSocket, MuxSocket, default_socket};
pub use view::{Connected, LookError, MuxHandle, Muxes, View};

use pane::Watched;
use view::Command;

/// Malformed frames within [`MALFORMED_WINDOW`] after which a server is left alone …
const MALFORMED_LIMIT: usize = 3;
const MALFORMED_WINDOW: Duration = Duration::from_secs(60);
/// … for this long.
const MALFORMED_REST: Duration = Duration::from_secs(60);
/// A server may come back at any time, and asking a local socket costs next to nothing.
const REDIAL_FIRST: Duration = Duration::from_millis(100);
const REDIAL_MAX: Duration = Duration::from_secs(2);
/// Commands from sessions and actions.
const COMMANDS: usize = 64;

/// What all observers share.
#[derive(Clone)]
pub struct Shared {
    pub spool: Spool,
    pub board: Arc<Board>,
    pub processes: Arc<dyn ProcessTable>,
    pub engine: Arc<Engine>,
    /// For the mux server's list of clients.
    pub host: String,
}

/// Where panes stood when the node last ran, by generation and pane id.
type Positions = HashMap<(String, u64), v1::PanePosition>;

struct Observer {
    shared: Shared,
    name: MuxName,
    path: PathBuf,
    commands: mpsc::Receiver<Command>,
    connected: watch::Sender<Option<Connected>>,
    positions: Positions,
    generation: Option<Generation>,
    /// Of the server process, by the kernel's word.
    pid: Option<u32>,
    panes: BTreeMap<u64, Watched>,
    malformed: VecDeque<Instant>,
}

/// Starts an observer for each socket. `positions` are those of the spool.
pub fn start(
    tasks: &Tasks,
    shared: &Shared,
    sockets: Vec<MuxSocket>,
    positions: Vec<v1::PanePosition>,
) -> Muxes {
    let mut by_mux: HashMap<String, Positions> = HashMap::new();
    for position in positions {
        let Some(pane) = position.pane.clone() else { continue };
        by_mux.entry(pane.mux).or_default().insert((pane.generation, pane.pane_id), position);
    }
    let mut handles = BTreeMap::new();
    for socket in sockets {
        let (commands_tx, commands) = mpsc::channel(COMMANDS);
        let (connected, connected_rx) = watch::channel(None);
        let observer = Observer {
            shared: shared.clone(),
            path: socket.path,
            commands,
            connected,
            positions: by_mux.remove(socket.name.as_str()).unwrap_or_default(),
            generation: None,
            pid: None,
            panes: BTreeMap::new(),
            malformed: VecDeque::new(),
            name: socket.name.clone(),
        };
        let shutdown = tasks.shutdown().clone();
        tasks.spawn(format!("observer of mux {}", socket.name), observer.run(shutdown));
        handles.insert(socket.name, MuxHandle { commands: commands_tx, connected: connected_rx });
    }
    Muxes(Arc::new(handles))
}

impl Observer {
    async fn run(mut self, shutdown: Shutdown) {
        let mut wait = REDIAL_FIRST;
        let mut silent = false;
        loop {
            let dialled = tokio::select! {
                () = shutdown.triggered() => return,
                dialled = Client::connect(&self.path, self.options()) => dialled,
            };
            match dialled {
                Ok((client, events)) => {
                    (wait, silent) = (REDIAL_FIRST, false);
                    let reason = Box::pin(self.connection(client, events, &shutdown)).await;
                    if shutdown.is_triggered() {
                        return;
                    }
                    if let Some(rest) = self.after_close(&reason) {
                        wait = rest;
                    }
                }
                Err(error) => {
                    self.not_connected(&error, std::mem::replace(&mut silent, true)).await;
                    wait = (wait * 2).min(REDIAL_MAX);
                }
            }
            tokio::select! {
                () = shutdown.triggered() => return,
                () = self.idle(wait) => {}
            }
        }
    }

    fn options(&self) -> ConnectOptions {
        let user = std::env::var("USER").unwrap_or_else(|_| "wa-node".to_owned());
        let now = u64::try_from(wa_link::clock::now().as_millisecond()).unwrap_or(0);
        ConnectOptions::new(format!("wa-node:{}", self.shared.host), user, Duration::from_millis(now))
    }

    /// One connection, from the greeting to its end.
    async fn connection(
        &mut self,
        client: Client,
        events: mpsc::Receiver<MuxEvent>,
        shutdown: &Shutdown,
    ) -> CloseReason {
        let info = client.info().clone();
        let Ok(generation) = Generation::new(info.generation.clone()) else {
            return CloseReason::Io(format!("generation {:?} is no name", info.generation));
        };
        if self.generation.as_ref().is_some_and(|old| *old != generation) {
            self.lose_panes().await;
        }
        tracing::info!(mux = %self.name, codec = info.codec.number(), version = info.version, %generation, "connected");
        self.lose_older_generations(&generation).await;
        self.generation = Some(generation.clone());
        self.pid = info.pid;
        self.connected.send_replace(Some(Connected { client: client.clone(), generation }));
        self.status(&client, "");
        let fields = [("codec", info.codec.number().to_string()), ("version", info.version)];
        self.event(EventKind::MuxConnected, &fields).await;
        let reason = self.serve(client, events, shutdown).await;
        self.connected.send_replace(None);
        for pane in self.panes.values_mut() {
            pane.detached();
        }
        self.flush_all().await;
        if !shutdown.is_triggered() {
            self.event(EventKind::MuxLost, &[("reason", reason.to_string())]).await;
        }
        reason
    }

    /// Says why the connection ended; how long to leave the server alone, if it misbehaves.
    fn after_close(&mut self, reason: &CloseReason) -> Option<Duration> {
        tracing::warn!(mux = %self.name, %reason, "connection to the mux server lost; dialling again");
        self.trouble(reason.to_string());
        if !matches!(reason, CloseReason::Malformed { .. }) {
            return None;
        }
        let now = Instant::now();
        self.malformed.push_back(now);
        while self.malformed.front().is_some_and(|at| now.duration_since(*at) > MALFORMED_WINDOW) {
            self.malformed.pop_front();
        }
        if self.malformed.len() < MALFORMED_LIMIT {
            return None;
        }
        self.malformed.clear();
        self.trouble(format!(
            "fallback: malformed three times within a minute ({reason}); tried again every minute"
        ));
        Some(MALFORMED_REST)
    }

    /// No connection: says so once; notices when the server process is gone for good.
    async fn not_connected(&mut self, error: &ConnectError, silent: bool) {
        let text = match error {
            ConnectError::UnsupportedCodec { codec, .. } => format!("fallback: codec {codec}"),
            ConnectError::Io { .. } => "no socket".to_owned(),
            _ => "no answer".to_owned(),
        };
        self.trouble(text);
        if !silent {
            tracing::warn!(mux = %self.name, %error, "no mux server; waiting for one");
            self.shared.board.set_problem(&format!("mux {}", self.name), Some(error.to_string()));
        }
        if self.generation.is_some()
            && self.pid.is_none_or(is_gone)
            && matches!(error, ConnectError::Io { .. })
        {
            self.lose_panes().await;
            self.generation = None;
        }
    }

    /// Waits for the next attempt, and answers those who ask meanwhile.
    async fn idle(&mut self, wait: Duration) {
        let until = Instant::now() + wait;
        // Dropping a command answers it.
        while let Ok(Some(command)) = tokio::time::timeout_at(until, self.commands.recv()).await {
            drop(command);
        }
        tokio::time::sleep_until(until).await;
    }

    /// The server process has ended: its panes are gone, and their numbers will mean others.
    async fn lose_panes(&mut self) {
        tracing::warn!(mux = %self.name, panes = self.panes.len(), "the mux server process has ended");
        for (_, mut pane) in std::mem::take(&mut self.panes) {
            let group = pane.removed(Removal::MuxLost);
            self.shared.board.remove_pane(&pane.pane);
            self.append(group).await;
        }
    }

    /// Panes of server processes that ended while the node was away.
    async fn lose_older_generations(&mut self, present: &Generation) {
        let older: Vec<_> =
            self.positions.keys().filter(|(generation, _)| generation != present.as_str()).cloned().collect();
        for key in older {
            if let Some(position) = self.positions.remove(&key) {
                self.append(batch::lost(position, wa_proto::GapCause::MuxLost)).await;
            }
        }
    }

    async fn flush_all(&mut self) {
        let groups: Vec<Group> = self.panes.values_mut().filter_map(Watched::flush).collect();
        for group in groups {
            self.append(group).await;
        }
    }

    async fn append(&self, group: Group) {
        if let Err(error) = self.shared.spool.append(group).await {
            tracing::error!(%error, "records lost: the spool ended before the observer");
        }
    }

    /// An event of the server itself.
    async fn event(&self, kind: EventKind, fields: &[(&str, String)]) {
        self.append(batch::mux_event(kind, &self.name, self.generation.as_ref(), fields)).await;
    }

    fn status(&self, client: &Client, problem: &str) {
        let info = client.info();
        self.shared.board.set_problem(&format!("mux {}", self.name), None);
        let status = v1::MuxStatus {
            name: self.name.to_string(),
            codec: u32::try_from(info.codec.number()).unwrap_or(0),
            version: info.version.clone(),
            panes: u32::try_from(self.panes.len()).unwrap_or(u32::MAX),
            generation: info.generation.clone(),
            problem: problem.to_owned(),
        };
        self.shared.board.set_mux(&self.name, status);
    }

    fn trouble(&self, problem: String) {
        let status = v1::MuxStatus { name: self.name.to_string(), problem, ..v1::MuxStatus::default() };
        self.shared.board.set_mux(&self.name, status);
    }
}

/// No process has this pid any more.
fn is_gone(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_none_or(|pid| rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH))
}
