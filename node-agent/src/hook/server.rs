//! The node's side of `hook.sock`. See the head of [`super`].

use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::geteuid;
use tokio::io::AsyncReadExt as _;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;
use wa_link::shutdown::Tasks;
use wa_link::{clock, files};
use wa_proto::{AgentKind, Timestamp};

use super::message::Message;
use super::table::{self, Reader};
use super::{HookReport, MAX_MESSAGE, peer};

/// Connections at a time; more are hung up on.
const MAX_CONNECTIONS: usize = 64;
/// Time that one connection has for everything.
const LIMIT: Duration = Duration::from_secs(1);
/// Between two lines in the log about calls that were refused.
const SILENCE: Duration = Duration::from_secs(60);
/// After a failed accept (no descriptors left) before the next.
const BREATH: Duration = Duration::from_millis(100);
const MAX_EVENT: usize = 64;
const MAX_SESSION_ID: usize = 128;

/// Listens for hooks at `path` (`DIR/hook.sock`) and passes on what they report, until the shutdown, or until nobody
/// takes reports any more. A socket that a node left behind is replaced. To be called inside a runtime.
///
/// # Errors
/// When the directory is not private or cannot be made, the path is too long for a socket or names something else, or
/// another node listens there.
pub fn listen(tasks: &Tasks, path: &Path, reports: mpsc::Sender<HookReport>) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    files::create_private_dir(directory).map_err(io::Error::other)?;
    let listener = bind(path, directory).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen for hooks at {}: {error}", path.display()))
    })?;
    let listener = UnixListener::from_std(listener)?;
    let own = Own::of(path)?;
    let post =
        Arc::new(Post { tasks: tasks.clone(), reports, reader: Mutex::default(), refused: Mutex::default() });
    let ended = tasks.shutdown().triggered();
    tasks.spawn("hooks", async move {
        tokio::select! {
            () = post.accept(&listener) => {}
            () = ended => {}
        }
        drop(own);
    });
    Ok(())
}

/// Binds under another name and moves it into place: the socket is 0600 before anybody can find it, and one that is
/// left over goes in the same step.
fn bind(path: &Path, directory: &Path) -> io::Result<StdListener> {
    match std::fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "something else is there: move it away",
            ));
        }
        Ok(_) if StdStream::connect(path).is_ok() => {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another wa-node listens there: stop it first",
            ));
        }
        _ => {}
    }
    let temporary = directory.join(format!(".h{:06x}", fastrand::u32(..1 << 24)));
    let listener = StdListener::bind(&temporary)?;
    let placed = listener
        .set_nonblocking(true)
        .and_then(|()| std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o600)))
        .and_then(|()| std::fs::rename(&temporary, path));
    if placed.is_err() {
        std::fs::remove_file(&temporary).ok();
    }
    placed.map(|()| listener)
}

/// Our socket file; removed with this, unless another has taken its place.
struct Own {
    path: PathBuf,
    file: (u64, u64),
}

impl Own {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: Self::file(path)? })
    }

    fn file(path: &Path) -> io::Result<(u64, u64)> {
        std::fs::symlink_metadata(path).map(|there| (there.dev(), there.ino()))
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if Self::file(&self.path).is_ok_and(|file| file == self.file) {
            std::fs::remove_file(&self.path).ok();
        }
    }
}

/// Why a call was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("too many calls at once")]
    Crowded,
    #[error("the caller is another user")]
    Foreign,
    #[error("the message did not come in time")]
    Slow,
    #[error("the message broke off")]
    Cut,
    #[error("the message is too large")]
    Large,
    #[error("the message cannot be read")]
    Garbage,
    #[error("too many reports wait to be looked at")]
    Full,
}

#[derive(Debug, Default)]
struct Refused {
    count: u64,
    last_told: Option<Instant>,
}

/// What the connections share.
struct Post {
    tasks: Tasks,
    reports: mpsc::Sender<HookReport>,
    reader: Mutex<Reader>,
    refused: Mutex<Refused>,
}

impl Post {
    async fn accept(self: &Arc<Self>, listener: &UnixListener) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.reports.closed() => return,
            };
            match accepted {
                Ok((stream, _)) => match places.clone().try_acquire_owned() {
                    Ok(place) => self.serve(stream, place),
                    Err(_) => self.refuse(Refusal::Crowded),
                },
                Err(error) => {
                    warn!(%error, "a hook's connection could not be accepted");
                    sleep(BREATH).await;
                }
            }
        }
    }

    fn serve(self: &Arc<Self>, stream: UnixStream, place: OwnedSemaphorePermit) {
        let (post, ended) = (self.clone(), self.tasks.shutdown().triggered());
        self.tasks.spawn("hook", async move {
            let taken = tokio::select! {
                taken = timeout(LIMIT, post.take(stream)) => taken.unwrap_or(Err(Refusal::Slow)),
                () = ended => return,
            };
            drop(place);
            if let Err(refusal) = taken {
                post.refuse(refusal);
            }
        });
    }

    async fn take(&self, mut stream: UnixStream) -> Result<(), Refusal> {
        let caller = stream.peer_cred().map_err(|_| Refusal::Foreign)?;
        if caller.uid() != geteuid().as_raw() {
            return Err(Refusal::Foreign);
        }
        let pid = caller.pid().and_then(|pid| u32::try_from(pid).ok()).ok_or(Refusal::Foreign)?;
        // At once, while the caller waits for it.
        let tty =
            self.tasks.spawn_blocking("hook peer", move || peer::terminal(pid)).await.unwrap_or_default();
        let body = read(&mut stream).await?;
        drop(stream);
        let message: Message = serde_json::from_slice(&body).map_err(|_| Refusal::Garbage)?;
        let now = clock::now();
        let Some(report) = self.report(message, pid, tty, now)? else { return Ok(()) };
        // Nobody listening is no fault of the caller's; the loop sees it, too.
        self.reports.try_send(report).or_else(|error| match error {
            mpsc::error::TrySendError::Full(_) => Err(Refusal::Full),
            mpsc::error::TrySendError::Closed(_) => Ok(()),
        })
    }

    /// `None` for what is well said and means nothing here.
    fn report(
        &self,
        message: Message,
        pid: u32,
        tty: Option<String>,
        now: Timestamp,
    ) -> Result<Option<HookReport>, Refusal> {
        let agent = AgentKind::new(&message.agent);
        let session_id = message.get("session_id").filter(|id| is_word(id, MAX_SESSION_ID));
        let session_id = session_id.ok_or(Refusal::Garbage)?.to_owned();
        if !table::is_known(&agent) || !is_word(&message.event, MAX_EVENT) {
            return Err(Refusal::Garbage);
        }
        if !table::has(&agent, &message) {
            return Ok(None);
        }
        let path = |field| {
            message.get(field).filter(|path| path.starts_with('/') && !path.contains(char::is_control))
        };
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Some(HookReport {
            session_id,
            transcript_path: path("transcript_path").map(PathBuf::from),
            cwd: path("cwd").unwrap_or_default().to_owned(),
            peer_pid: pid,
            tty,
            time: now,
            testimony: reader.testimony(&agent, &message, now),
            agent,
            event: message.event,
        }))
    }

    /// Counts it, and says so now and then: a flood must not fill the log.
    fn refuse(&self, why: Refusal) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.count += 1;
        if refused.last_told.is_none_or(|told| told.elapsed() >= SILENCE) {
            warn!(count = refused.count, last = %why, "calls of hooks were refused");
            *refused = Refused { count: 0, last_told: Some(Instant::now()) };
        }
    }
}

async fn read(stream: &mut UnixStream) -> Result<Vec<u8>, Refusal> {
    let length = stream.read_u32().await.map_err(|_| Refusal::Cut)?;
    let length =
        usize::try_from(length).ok().filter(|length| *length <= MAX_MESSAGE).ok_or(Refusal::Large)?;
    let mut body = Vec::new();
    let limit = u64::try_from(length).unwrap_or(u64::MAX);
    stream.take(limit).read_to_end(&mut body).await.map_err(|_| Refusal::Cut)?;
    if body.len() == length { Ok(body) } else { Err(Refusal::Cut) }
}

/// Letters, digits, `-` and `_`: what ids and names of events are made of.
fn is_word(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}
