//! The server: a unix socket that speaks the wire of the WezTerm multiplexer.
//!
//! Constraints. Clients cannot tell it from the real one in what they use: same messages, same
//! order, same quirks where clients depend on them. It is for demonstrations and tests, so it does
//! little: the requests that are not served are answered with an error. A hundred panes that say
//! nothing cost nothing; an output is with the clients about as soon as the time that it is held
//! back for more ([`Options::coalesce`]) has gone by.
//!
//! Operation. Threads, no runtime: three for a pane (`pane`), two for a connection
//! (`connection`, `outlet`), one that accepts. All sleep until there is something to do.
//! `state` is locked before a terminal, never the other way round, and neither while writing; the
//! turn to apply output before a terminal, too. Terminals are locked in turns (`turns`): a pane that
//! floods keeps nobody from looking at it.

mod command;
mod connection;
mod keys;
mod outlet;
mod pane;
mod process;
mod requests;
mod state;
mod turns;

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use wa_mux::codec::{Alert, ClientId, ClientInfo, ClipboardSelection, Codec, Pdu, SplitDirection};
use wa_screen::terminal::{Notice, Size};

pub use command::Command;

use crate::clock;
use connection::Connection;
use outlet::Outlet;
use pane::Pane;
use state::State;
use turns::Queues;

/// What the server says it is.
const VERSION: &str = concat!("wa-embedded-mux ", env!("CARGO_PKG_VERSION"));
/// More clients than anybody has.
const CONNECTION_LIMIT: usize = 256;
/// How long a stop waits for threads.
const STOP_WAIT: Duration = Duration::from_secs(2);

/// What happens when a client asks for rows from 5 to 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InvertedRange {
    /// Its connection is dropped.
    #[default]
    Drop,
    /// The process ends, as the real server does.
    Die,
}

/// How to run a server.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the socket goes. Its folder is made if it is missing.
    pub socket: PathBuf,
    /// Size of the first pane.
    pub size: Size,
    /// Rows kept above each viewport.
    pub scrollback_lines: usize,
    /// How long output waits for more.
    pub coalesce: Duration,
    /// The version of the wire that is spoken, with its quirks.
    pub codec: Codec,
    /// The program of the first pane, and of panes that are opened without one.
    /// `None`: there is no first pane, and the others run the user's shell.
    pub first_command: Option<Command>,
    /// See there.
    pub inverted_range: InvertedRange,
    /// WriteToPane blocks the whole server while a program does not read, as in the real one.
    pub freeze_on_unread_input: bool,
}

impl Options {
    /// The defaults of the real server: 80x24, 3500 rows, 3 ms, codec 44, the user's shell.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
            size: Size { cols: 80, rows: 24 },
            scrollback_lines: 3500,
            coalesce: Duration::from_millis(3),
            codec: Codec::V44,
            first_command: Some(Command::default()),
            inverted_range: InvertedRange::default(),
            freeze_on_unread_input: false,
        }
    }
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Someone listens there.
    #[error("another multiplexer listens on {}; stop it, or name another --socket", .0.display())]
    InUse(PathBuf),
    /// Others could put a socket there.
    #[error("{} can be written to by others; run `chmod go-w` on it, or use another folder", .0.display())]
    FolderNotPrivate(PathBuf),
    /// Something in the file system.
    #[error("{what} {}: {error}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// How it failed.
        error: io::Error,
    },
    /// The first program did not start.
    #[error("the first pane did not start: {0}")]
    FirstPane(SpawnError),
}

/// Why a pane did not start.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
pub struct SpawnError(anyhow::Error);

/// A client that introduced itself.
#[derive(Debug)]
struct Client {
    id: ClientId,
    connected_at: i64,
    last_input: i64,
    focused: Option<u64>,
}

/// Threads that run.
#[derive(Debug, Default)]
struct Threads {
    count: Mutex<usize>,
    fewer: Condvar,
}

/// What all threads work with.
struct Shared {
    options: Options,
    state: Mutex<State>,
    clients: Mutex<Vec<Client>>,
    outlets: Mutex<Vec<Arc<Outlet>>>,
    threads: Arc<Threads>,
    stopping: AtomicBool,
    /// The one thread that the real server has for requests, where it is to be felt.
    turn: Mutex<()>,
    /// For panes that apply output.
    queues: Queues,
}

/// Where a new pane goes.
enum Place<'a> {
    Tab { window: Option<u64>, workspace: &'a str },
    Beside { pane: &'a Pane, shrinks_to: Size, direction: SplitDirection, new_is_second: bool },
}

/// The ids of a new pane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spawned {
    /// Its window.
    pub window: u64,
    /// Its tab.
    pub tab: u64,
    /// The pane.
    pub pane: u64,
}

/// A panic in another thread left the value as it was between two steps; all of ours are whole.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts a thread out.
struct Counted(Arc<Threads>);

impl Drop for Counted {
    fn drop(&mut self) {
        *lock(&self.0.count) -= 1;
        self.0.fewer.notify_all();
    }
}

impl Shared {
    fn is_codec_42(&self) -> bool {
        self.options.codec == Codec::V42
    }

    fn spawn(&self, name: String, work: impl FnOnce() + Send + 'static) {
        *lock(&self.threads.count) += 1;
        let counted = Counted(Arc::clone(&self.threads));
        let started = std::thread::Builder::new().name(name).spawn(move || {
            let _counted = counted;
            work();
        });
        if let Err(error) = started {
            tracing::error!(%error, "no thread to be had");
        }
    }

    fn pane(&self, id: u64) -> Option<Arc<Pane>> {
        lock(&self.state).panes.get(&id).cloned()
    }

    /// Sends a message to everybody.
    fn broadcast(&self, pdu: Pdu) {
        let pdu = Arc::new(pdu);
        for outlet in lock(&self.outlets).iter() {
            outlet.frame(0, Arc::clone(&pdu));
        }
    }

    /// Tells everybody what changed in a pane.
    fn changed(&self, pane: u64) {
        for outlet in lock(&self.outlets).iter() {
            outlet.push(pane);
        }
    }

    /// A batch of output was applied.
    fn output(&self, pane: u64, notices: Vec<Notice>) {
        let (mut first, mut last) = (Vec::new(), Vec::new());
        for notice in notices {
            if let Notice::WindowTitle(title) = &notice {
                first.extend(self.title_window(pane, title));
            }
            match told(pane, notice) {
                pdu @ Pdu::SetClipboard { .. } => first.push(pdu),
                pdu => last.push(pdu),
            }
        }
        first.into_iter().for_each(|pdu| self.broadcast(pdu));
        self.changed(pane);
        last.into_iter().for_each(|pdu| self.broadcast(pdu));
    }

    fn title_window(&self, pane: u64, title: &str) -> Option<Pdu> {
        let mut state = lock(&self.state);
        let window_id = state.window_of(pane)?;
        state.windows.get_mut(&window_id)?.title = title.to_owned();
        let title = title.to_owned();
        Some(Pdu::WindowTitleChanged { window_id, title })
    }

    fn spawn_pane(
        self: &Arc<Self>,
        command: &Command,
        size: Size,
        place: &Place<'_>,
    ) -> Result<Spawned, SpawnError> {
        let id = lock(&self.state).next_pane();
        let (pane, threads) = Pane::start(id, command, size, self).map_err(SpawnError)?;
        let spawned = self.register(Arc::clone(&pane), place);
        let Some(spawned) = spawned else {
            pane.end();
            return Err(SpawnError(anyhow::anyhow!("its neighbour is gone")));
        };
        if let Place::Tab { .. } = place {
            self.broadcast(Pdu::TabAddedToWindow { tab_id: spawned.tab, window_id: spawned.window });
        }
        pane.run(threads, self);
        if let Place::Beside { pane, shrinks_to, .. } = place {
            pane.resize(*shrinks_to);
            self.changed(pane.id);
        }
        Ok(spawned)
    }

    fn register(&self, pane: Arc<Pane>, place: &Place<'_>) -> Option<Spawned> {
        let mut state = lock(&self.state);
        let id = pane.id;
        let (tab, window) = match place {
            Place::Tab { window, workspace } => state.add_tab(pane, *window, workspace),
            Place::Beside { pane: other, direction, new_is_second, .. } => {
                let window = state.window_of(other.id)?;
                let tab = state.add_beside(other.id, pane, *direction, *new_is_second)?;
                (tab, window)
            }
        };
        Some(Spawned { window, tab, pane: id })
    }

    fn resize(&self, pane: &Pane, size: Size) {
        pane.resize(size);
        let tab = lock(&self.state).tab_of(pane.id);
        if let Some(tab_id) = tab {
            self.broadcast(Pdu::TabResized { tab_id });
        }
        self.changed(pane.id);
    }

    /// Takes a pane out at once and ends its program in the background.
    fn kill_pane(self: &Arc<Self>, id: u64) {
        if let Some(pane) = self.pane(id) {
            self.remove_pane(id);
            self.spawn(format!("pane-{id}-kill"), move || pane.end());
        }
    }

    /// Takes a pane out, once.
    fn remove_pane(&self, id: u64) {
        let Some(pane) = self.pane(id) else {
            return;
        };
        if !pane.set_gone() {
            return;
        }
        let grown = lock(&self.state).remove(id);
        self.broadcast(Pdu::PaneRemoved { pane_id: id });
        for (neighbour, size) in grown {
            neighbour.resize(size);
            self.changed(neighbour.id);
        }
    }

    fn introduce(&self, id: ClientId) {
        let now = clock::unix_seconds();
        let mut clients = lock(&self.clients);
        if clients.iter().all(|client| client.id != id) {
            clients.push(Client { id, connected_at: now, last_input: now, focused: None });
        }
    }

    fn with_client(&self, id: Option<&ClientId>, change: impl FnOnce(&mut Client)) {
        let mut clients = lock(&self.clients);
        if let Some(client) = clients.iter_mut().find(|client| Some(&client.id) == id) {
            change(client);
        }
    }

    fn bump_input(&self, id: Option<&ClientId>) {
        self.with_client(id, |client| client.last_input = clock::unix_seconds());
    }

    fn focused(&self, id: Option<&ClientId>, pane: u64) {
        self.with_client(id, |client| client.focused = Some(pane));
    }

    fn clients(&self) -> Vec<ClientInfo> {
        lock(&self.clients)
            .iter()
            .map(|client| ClientInfo {
                client_id: client.id.clone(),
                connected_at: client.connected_at,
                active_workspace: None,
                last_input: client.last_input,
                focused_pane_id: client.focused,
            })
            .collect()
    }

    fn disconnected(&self, outlet: &Arc<Outlet>, client: Option<&ClientId>) {
        lock(&self.outlets).retain(|other| !Arc::ptr_eq(other, outlet));
        lock(&self.clients).retain(|other| Some(&other.id) != client);
    }

    fn accept(self: &Arc<Self>, stream: UnixStream) -> io::Result<()> {
        let (reading, closing) = (stream.try_clone()?, stream.try_clone()?);
        let outlet = Arc::new(Outlet::new(closing));
        let connection = Connection::new(Arc::clone(self), Arc::clone(&outlet), stream)?;
        {
            let mut outlets = lock(&self.outlets);
            if outlets.len() >= CONNECTION_LIMIT {
                return Err(io::Error::other("too many connections"));
            }
            outlets.push(Arc::clone(&outlet));
        }
        self.spawn("client-read".to_owned(), move || {
            connection::read_frames(reading, &outlet);
        });
        self.spawn("client".to_owned(), move || connection.run());
        Ok(())
    }

    fn listen(self: &Arc<Self>, listener: &UnixListener, wake: &UnixStream) {
        while !self.stopping.load(Ordering::Acquire) {
            let mut watched = [PollFd::new(listener, PollFlags::IN), PollFd::new(wake, PollFlags::IN)];
            match poll(&mut watched, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    tracing::error!(%error, "waiting for connections");
                    return;
                }
            }
            match listener.accept() {
                Ok((stream, _)) => {
                    let served = stream.set_nonblocking(false).and_then(|()| self.accept(stream));
                    if let Err(error) = served {
                        tracing::warn!(%error, "a connection that could not be served");
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection");
                    // Out of descriptors, most likely: let others close some.
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        }
    }
}

fn told(pane_id: u64, notice: Notice) -> Pdu {
    let alert = match notice {
        Notice::Bell => Alert::Bell,
        Notice::Toast { title, body } => Alert::Toast { title, body, focus: true },
        Notice::WorkingDirectory => Alert::CurrentWorkingDirectoryChanged,
        Notice::IconTitle(title) => Alert::IconTitleChanged(Some(title)),
        Notice::WindowTitle(title) => Alert::WindowTitleChanged(title),
        Notice::UserVar { name, value } => Alert::SetUserVar { name, value },
        Notice::Progress(progress) => Alert::Progress(progress),
        Notice::Clipboard { primary, text } => {
            return Pdu::SetClipboard {
                pane_id,
                clipboard: Some(text),
                selection: if primary {
                    ClipboardSelection::PrimarySelection
                } else {
                    ClipboardSelection::Clipboard
                },
            };
        }
    };
    Pdu::NotifyAlert { pane_id, alert }
}

/// The server, before it runs.
#[derive(Debug)]
pub struct EmbeddedMux;

impl EmbeddedMux {
    /// Binds the socket and starts the first pane.
    ///
    /// # Errors
    /// When the socket cannot be made, somebody listens on it, or the first program does not start.
    pub fn start(mut options: Options) -> Result<Running, StartError> {
        options.size = options.size.clamped();
        let bound = bind(&options.socket)?;
        let (wake, woken) = UnixStream::pair().map_err(io_error("waking", &options.socket))?;
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            clients: Mutex::default(),
            outlets: Mutex::default(),
            threads: Arc::default(),
            stopping: AtomicBool::new(false),
            turn: Mutex::new(()),
            queues: Queues::new(),
            options,
        });
        let running =
            Running { handle: Handle { shared: Arc::clone(&shared) }, wake, socket: bound.identity };
        if let Some(command) = &shared.options.first_command {
            let place = Place::Tab { window: None, workspace: "default" };
            shared.spawn_pane(command, shared.options.size, &place).map_err(StartError::FirstPane)?;
        }
        let home = Arc::clone(&shared);
        shared.spawn("accept".to_owned(), move || home.listen(&bound.listener, &woken));
        Ok(running)
    }
}

struct Bound {
    listener: UnixListener,
    identity: (u64, u64),
}

fn io_error<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StartError + 'a {
    move |error| StartError::Io { what, path: path.to_owned(), error }
}

fn bind(socket: &Path) -> Result<Bound, StartError> {
    let folder = match socket.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(io_error("making the folder", folder))?;
    let facts = std::fs::metadata(folder).map_err(io_error("looking at", folder))?;
    if facts.mode() & 0o022 != 0 {
        return Err(StartError::FolderNotPrivate(folder.to_owned()));
    }
    if socket.symlink_metadata().is_ok() {
        if UnixStream::connect(socket).is_ok() {
            return Err(StartError::InUse(socket.to_owned()));
        }
        // Left behind by a server that was killed.
        std::fs::remove_file(socket).map_err(io_error("removing the old socket", socket))?;
    }
    let listener = UnixListener::bind(socket).map_err(io_error("binding", socket))?;
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(socket, private).map_err(io_error("closing to others", socket))?;
    listener.set_nonblocking(true).map_err(io_error("listening on", socket))?;
    let facts = std::fs::metadata(socket).map_err(io_error("looking at", socket))?;
    Ok(Bound { listener, identity: (facts.dev(), facts.ino()) })
}

/// A server that runs. Dropped, it stops.
pub struct Running {
    handle: Handle,
    /// Its end wakes the thread that accepts.
    wake: UnixStream,
    /// Device and inode of the socket, so that nobody else's is removed.
    socket: (u64, u64),
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("socket", &self.handle.socket()).finish_non_exhaustive()
    }
}

impl Running {
    /// What works on the server from within the process.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Ends all programs, closes all connections and removes the socket. Takes up to two seconds.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let shared = &self.handle.shared;
        shared.stopping.store(true, Ordering::Release);
        self.wake.shutdown(std::net::Shutdown::Both).ok();
        let socket = self.handle.socket();
        if std::fs::metadata(socket).is_ok_and(|f| (f.dev(), f.ino()) == self.socket) {
            std::fs::remove_file(socket).ok();
        }
        let panes: Vec<u64> = lock(&shared.state).panes.keys().copied().collect();
        panes.into_iter().for_each(|pane| shared.kill_pane(pane));
        let outlets = lock(&shared.outlets).clone();
        outlets.iter().for_each(|outlet| outlet.close());
        let threads = &shared.threads;
        let (left, _) = threads
            .fewer
            .wait_timeout_while(lock(&threads.count), STOP_WAIT, |count| *count > 0)
            .unwrap_or_else(PoisonError::into_inner);
        if *left > 0 {
            tracing::warn!(threads = *left, "a program outlives its pane");
        }
    }
}

/// Works on a running server from within its process.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Handle").field(&self.socket()).finish()
    }
}

impl Handle {
    /// Where clients connect.
    pub fn socket(&self) -> &Path {
        &self.shared.options.socket
    }

    /// Starts a program in a new window of `workspace`.
    ///
    /// # Errors
    /// When the program does not start.
    pub fn spawn(&self, command: &Command, size: Size, workspace: &str) -> Result<Spawned, SpawnError> {
        let place = Place::Tab { window: None, workspace };
        self.shared.spawn_pane(command, size, &place)
    }

    /// Changes the size of a pane. False: there is no such pane.
    pub fn resize(&self, pane: u64, size: Size) -> bool {
        match self.shared.pane(pane) {
            Some(pane) => {
                self.shared.resize(&pane, size);
                true
            }
            None => false,
        }
    }

    /// Ends a pane. False: there is no such pane.
    pub fn kill(&self, pane: u64) -> bool {
        let known = self.shared.pane(pane).is_some();
        self.shared.kill_pane(pane);
        known
    }

    /// The panes that are open, each with its terminal's name.
    pub fn panes(&self) -> BTreeMap<u64, Option<String>> {
        let state = lock(&self.shared.state);
        let panes = state.panes.iter();
        panes.map(|(id, pane)| (*id, pane.tty_name.clone())).collect()
    }
}
