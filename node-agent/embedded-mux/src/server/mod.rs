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
mod shared;
mod state;
mod turns;

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wa_mux::codec::Codec;
use wa_screen::terminal::Size;

pub use command::Command;

use shared::{Place, Shared, lock};
use turns::Queues;

/// What the server says it is.
const VERSION: &str = concat!("wa-embedded-mux ", env!("CARGO_PKG_VERSION"));
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
