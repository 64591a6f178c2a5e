//! Watching one mux server: one task owns the connection and every pane's screen and matcher.
//!
//! Constraints: one connection per server and never a lock around a screen; whatever leaves here is redacted; a position
//! is stored in the same group as the records before it, so that a restarted node logs nothing twice; while the spool is
//! behind nothing is read from the server, which then tells less often. A server whose wire is not spoken here, or that
//! sends malformed frames three times within a minute, is only looked at, slowly, and that is said.
//! Operation: this module dials and redials; `serve.rs` is one connection, `slow.rs` the looks without one, `verify.rs` the
//! rare look that proves that no push was missed; `alerts.rs` and `prompts.rs` what programs say beside their text; `panes.rs` keeps the panes, `pane` is one of them; `scan.rs` the process
//! table, `witness.rs` session files and hooks; `capture.rs` and `budget.rs` say what is logged; `batch.rs` turns what the
//! screen and the matcher hand out into records; `view.rs` is what others may see; `discover.rs` finds sockets, `ttys.rs`
//! tells mirrors.

mod alerts;
mod batch;
mod budget;
mod capture;
mod discover;
mod numbers;
mod pane;
mod panes;
mod prompts;
mod scan;
mod serve;
mod slow;
#[cfg(test)]
mod tests;
mod ttys;
mod verify;
mod view;
mod witness;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;
use wa_link::net;
use wa_link::shutdown::{Shutdown, Tasks};
use wa_match::{Engine, Redactor};
use wa_mux::client::{ConnectError, ConnectOptions, Server};
use wa_mux::{Client, CloseReason, MuxEvent};
use wa_proto::wire::v1;
use wa_proto::{EventKind, GapCause, Generation, MuxName};
use wa_screen::Removal;

use crate::account::AccountRoot;
use crate::board::Board;
use crate::process::{self, ProcessTable};
use crate::rules::Rules;
use crate::session_file::{Homes, SessionFiles};
use crate::spool::Spool;
use crate::vault::Vault;

pub use budget::Limits;
pub use capture::{Capture, CaptureError, CaptureOptions, PaneGlobs};
pub use discover::{Discovery, InvalidSocket, MuxSocket};
pub use slow::Fallback;
pub use view::{Connected, Link, LookError, MuxHandle, Muxes, View};

use numbers::Numbers;
use pane::Watched;
use slow::{Looker, Reason};
use ttys::{OwnTtys, Ttys};
use view::Command;
use witness::Files;

/// How long until every pane has been looked at once more, although nothing of it was pushed.
pub const VERIFY_EVERY: Duration = Duration::from_secs(300);
/// How long somebody who asks for a pane may wait for the first look at its server.
pub const FIRST_LOOK: Duration = Duration::from_secs(3);
/// A server does not have more panes than this; what is beyond is not watched.
const MAX_PANES: usize = 4096;
/// Malformed frames within [`MALFORMED_WINDOW`] after which a server is only looked at …
const MALFORMED_LIMIT: usize = 3;
const MALFORMED_WINDOW: Duration = Duration::from_secs(60);
/// … and before that, how long until the next attempt, doubled each time.
const MALFORMED_WAIT: Duration = Duration::from_millis(250);
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
    pub rules: Rules,
    pub redactor: Redactor,
    pub capture: Capture,
    pub sessions: SessionFiles,
    pub vault: Arc<Vault>,
    /// Where homes of accounts are.
    pub accounts: Option<AccountRoot>,
    /// For the mux server's list of clients.
    pub host: String,
    pub fallback: Fallback,
    /// How long until every pane has been looked at once more, although nothing of it was pushed.
    pub verify_every: Duration,
}

impl Shared {
    /// Over this spool and board, with the usual of everything else.
    pub fn new(tasks: &Tasks, spool: Spool, board: Arc<Board>, rules: Rules) -> Self {
        Self {
            spool,
            rules,
            board,
            processes: Arc::from(process::of_this_host()),
            redactor: Redactor::builtin().clone(),
            capture: Capture::default(),
            sessions: SessionFiles::start(tasks, Homes::from_env()),
            vault: Arc::default(),
            accounts: None,
            host: "localhost".to_owned(),
            fallback: Fallback::new(PathBuf::from("wezterm")),
            verify_every: VERIFY_EVERY,
        }
    }
}

/// Which mux servers to observe.
#[derive(Debug, Clone)]
pub struct Sockets {
    pub named: Vec<MuxSocket>,
    /// Where to find more.
    pub discovery: Option<Discovery>,
}

/// Where panes stood when the node last ran, by generation and pane id.
type Positions = HashMap<(String, u64), v1::PanePosition>;

struct Observer {
    shared: Shared,
    muxes: Muxes,
    name: MuxName,
    path: PathBuf,
    /// The process of the window that this socket belongs to.
    window: Option<u32>,
    commands: mpsc::Receiver<Command>,
    link: watch::Sender<Link>,
    looked: Arc<Semaphore>,
    positions: Positions,
    ttys: OwnTtys,
    looker: Looker,
    generation: Option<Generation>,
    /// Of the server process, by the kernel's word.
    pid: Option<u32>,
    /// Codec and version of the last connection.
    spoke: Option<(u64, String)>,
    panes: BTreeMap<u64, Watched>,
    /// Of this generation.
    numbers: Numbers,
    files: Files,
    engine: watch::Receiver<Arc<Engine>>,
    malformed: VecDeque<Instant>,
    /// It was only looked at before, for malformed frames: the next one is enough.
    probation: bool,
}

/// What to do after an attempt or a connection.
enum Next {
    Dial(Duration),
    /// No server: the longer, the less often.
    Wait,
    Look(Reason),
    /// The window was closed.
    Forget,
}

/// Starts observers.
struct Starter {
    tasks: Tasks,
    shared: Shared,
    muxes: Muxes,
    ttys: Ttys,
    positions: HashMap<String, Positions>,
}

/// Starts an observer for each socket, and one for each that is found later. `positions` are those of the spool.
pub fn start(tasks: &Tasks, shared: &Shared, sockets: Sockets, positions: Vec<v1::PanePosition>) -> Muxes {
    let mut by_mux: HashMap<String, Positions> = HashMap::new();
    for position in positions {
        let Some(pane) = position.pane.clone() else { continue };
        by_mux.entry(pane.mux).or_default().insert((pane.generation, pane.pane_id), position);
    }
    let ttys = Ttys::default();
    let muxes = Muxes::new(ttys.clone());
    let mut starter = Starter {
        tasks: tasks.clone(),
        shared: shared.clone(),
        muxes: muxes.clone(),
        ttys,
        positions: by_mux,
    };
    for socket in sockets.named {
        starter.start(socket);
    }
    if let Some(discovery) = sockets.discovery {
        tasks.spawn("discovery of mux servers", discover::run(starter, discovery, tasks.shutdown().clone()));
    }
    muxes
}

impl Starter {
    /// Starts an observer of a socket that has none.
    fn start(&mut self, socket: MuxSocket) {
        let MuxSocket { name, path } = socket;
        if self.muxes.get(&name).is_some() {
            return;
        }
        let (commands_tx, commands) = mpsc::channel(COMMANDS);
        let (link, link_rx) = watch::channel(Link::Away);
        let looked = Arc::new(Semaphore::new(0));
        let window = discover::window_of(&path);
        let observer = Observer {
            shared: self.shared.clone(),
            muxes: self.muxes.clone(),
            window,
            commands,
            link,
            looked: Arc::clone(&looked),
            positions: self.positions.remove(name.as_str()).unwrap_or_default(),
            ttys: self.ttys.join(&name, window.is_some()),
            looker: slow::looker(&self.shared.fallback, &path),
            generation: None,
            pid: None,
            spoke: None,
            panes: BTreeMap::new(),
            numbers: Numbers::default(),
            files: Files::new(self.shared.sessions.clone()),
            engine: self.shared.rules.follow(),
            malformed: VecDeque::new(),
            probation: false,
            name: name.clone(),
            path,
        };
        self.muxes.insert(name.clone(), MuxHandle { commands: commands_tx, link: link_rx, looked });
        let shutdown = self.tasks.shutdown().clone();
        self.tasks.spawn(format!("observer of mux {name}"), observer.run(shutdown));
    }

    /// Windows that were closed while the node was away will not be found again.
    async fn forget_closed_windows(&mut self) {
        let windows: Vec<_> =
            self.positions.keys().filter(|name| name.starts_with("gui-")).cloned().collect();
        for position in
            windows.iter().filter_map(|name| self.positions.remove(name)).flat_map(HashMap::into_values)
        {
            if let Err(error) = self.shared.spool.append(batch::lost(position, GapCause::NodeDown)).await {
                tracing::error!(%error, "the panes of a closed window are not ended in the spool");
            }
        }
    }
}

impl Observer {
    async fn run(mut self, shutdown: Shutdown) {
        let mut wait = REDIAL_FIRST;
        let mut silent = false;
        loop {
            let dialled = tokio::select! {
                biased;
                () = shutdown.triggered() => return,
                dialled = dial(&self.path, self.options()) => dialled,
            };
            let next = match dialled {
                Ok((client, events)) => {
                    (wait, silent) = (REDIAL_FIRST, false);
                    let reason = Box::pin(self.connection(client, events, &shutdown)).await;
                    self.after_close(&reason)
                }
                Err(error) => self.not_connected(error, std::mem::replace(&mut silent, true)).await,
            };
            if shutdown.is_triggered() {
                return;
            }
            match next {
                Next::Dial(after) => wait = after,
                Next::Wait => wait = (wait * 2).min(REDIAL_MAX),
                Next::Look(reason) => {
                    Box::pin(self.look_slowly(reason, &shutdown)).await;
                    (wait, silent) = (Duration::ZERO, false);
                }
                Next::Forget => return self.forget().await,
            }
            tokio::select! {
                biased;
                () = shutdown.triggered() => return,
                () = self.idle(wait) => {}
            }
        }
    }

    fn is_gui(&self) -> bool {
        self.window.is_some()
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
        tracing::info!(mux = %self.name, codec = info.codec.number(), version = info.version, %generation, "connected");
        self.take_generation(generation.clone(), info.pid).await;
        self.link.send_replace(Link::Native(Connected { client: client.clone(), generation }));
        self.status(&client, "");
        self.spoke = Some((info.codec.number(), info.version.clone()));
        let fields = [("codec", info.codec.number().to_string()), ("version", info.version)];
        self.event(EventKind::MuxConnected, &fields).await;
        let began = Instant::now();
        let reason = self.serve(client, events, shutdown).await;
        self.probation &= began.elapsed() < MALFORMED_WINDOW;
        self.link.send_replace(Link::Away);
        for pane in self.panes.values_mut() {
            pane.detached();
        }
        self.flush_all().await;
        // A window that is closed is no loss.
        if !shutdown.is_triggered() && !self.is_gui() {
            self.event(EventKind::MuxLost, &[("reason", reason.to_string())]).await;
        }
        reason
    }

    /// Panes belong to one server process; those of another have ended with it.
    async fn take_generation(&mut self, generation: Generation, pid: Option<u32>) {
        if self.generation.as_ref().is_some_and(|old| *old != generation) {
            self.lose_panes(Removal::MuxLost).await;
        }
        if self.generation.as_ref() != Some(&generation) {
            self.numbers = Numbers::default();
        }
        self.lose_older_generations(&generation).await;
        self.generation = Some(generation);
        self.pid = pid;
    }

    /// Says why the connection ended, and what to do now.
    fn after_close(&mut self, reason: &CloseReason) -> Next {
        if self.is_gui() && !matches!(reason, CloseReason::Malformed { .. }) {
            tracing::info!(mux = %self.name, %reason, "connection to a window lost; dialling again");
            return Next::Dial(REDIAL_FIRST);
        }
        tracing::warn!(mux = %self.name, %reason, "connection to the mux server lost; dialling again");
        self.trouble(reason.to_string());
        if !matches!(reason, CloseReason::Malformed { .. }) {
            return Next::Dial(REDIAL_FIRST);
        }
        let count = self.count_malformed();
        match (&self.generation, &self.spoke) {
            (Some(generation), Some((codec, version))) if count >= MALFORMED_LIMIT || self.probation => {
                self.probation = true;
                Next::Look(Reason {
                    why: format!("malformed frames, the last one: {reason}"),
                    codec: *codec,
                    version: version.clone(),
                    generation: generation.clone(),
                    pid: self.pid,
                })
            }
            _ => Next::Dial(malformed_wait(count)),
        }
    }

    /// How many malformed frames came within the window, this one included.
    fn count_malformed(&mut self) -> usize {
        let now = Instant::now();
        self.malformed.push_back(now);
        while self.malformed.front().is_some_and(|at| now.duration_since(*at) > MALFORMED_WINDOW) {
            self.malformed.pop_front();
        }
        self.malformed.len()
    }

    /// No connection: says so once; notices when the server process is gone for good.
    async fn not_connected(&mut self, error: ConnectError, silent: bool) -> Next {
        let is_io = matches!(error, ConnectError::Io { .. });
        if is_io && self.window.is_some_and(is_gone) {
            return Next::Forget;
        }
        let text = error.to_string();
        if let ConnectError::UnsupportedCodec { codec, version, pid, generation, .. } = error
            && let Some(generation) = self.same_unknown(generation)
        {
            return Next::Look(Reason { why: format!("codec {codec}"), codec, version, generation, pid });
        }
        if let Link::Slow(_) = self.link.send_replace(Link::Away) {
            self.event(EventKind::MuxLost, &[("reason", text.clone())]).await;
        }
        self.trouble(if is_io { "no socket" } else { "no answer" }.to_owned());
        if !silent {
            tracing::warn!(mux = %self.name, error = text, "no mux server; waiting for one");
            self.shared.board.set_problem(&format!("mux {}", self.name), Some(text));
        }
        if self.generation.is_some() && self.pid.is_none_or(is_gone) && is_io {
            self.lose_panes(Removal::MuxLost).await;
            self.generation = None;
        }
        // There is nothing to look at.
        self.looked.close();
        Next::Wait
    }

    /// Where the server process cannot be told, every greeting makes up a generation; between looks that says nothing.
    fn same_unknown(&self, generation: String) -> Option<Generation> {
        match &self.generation {
            Some(old) if generation.starts_with("unknown-") && old.as_str().starts_with("unknown-") => {
                Some(old.clone())
            }
            _ => Generation::new(generation).ok(),
        }
    }

    /// The window is closed: it was never more than a sight.
    async fn forget(mut self) {
        tracing::info!(mux = %self.name, "the window was closed");
        self.muxes.remove(&self.name);
        self.lose_panes(Removal::Exit).await;
        self.shared.board.remove_mux(&self.name);
        self.shared.board.set_problem(&format!("mux {}", self.name), None);
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

/// Connects over the socket, or over what a simulation puts in its place.
async fn dial(
    path: &Path,
    options: ConnectOptions,
) -> Result<(Client, mpsc::Receiver<MuxEvent>), ConnectError> {
    match net::local(path) {
        None => Client::connect(path, options).await,
        Some(Ok((stream, generation))) => {
            Client::over(stream, Server { path, pid: None, generation }, options).await
        }
        Some(Err(source)) => Err(ConnectError::Io { path: path.to_owned(), source }),
    }
}

/// Until the next attempt at a server that has sent so many malformed frames.
fn malformed_wait(count: usize) -> Duration {
    MALFORMED_WAIT * (1 << count.min(5))
}

/// No process has this pid any more.
fn is_gone(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_none_or(|pid| rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH))
}
