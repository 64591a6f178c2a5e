//! `wa-node hook`: what an agent runs.
//!
//! Everything that can go wrong here is nobody's fault and nobody's business: it is not printed, not logged, and no
//! reason for another exit code. See the head of [`super`].

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::PATIENCE;
use super::message::Message;

/// Bytes of the agent's JSON that are looked at.
const MAX_INPUT: usize = 256 << 10;
/// Bytes that are taken from standard input before it is left alone.
const MAX_TAKEN: usize = 64 << 20;
/// Between two tries to reach a node whose queue is full.
const RETRY: Duration = Duration::from_millis(10);

/// The arguments after `wa-node hook`.
#[derive(Debug, Clone, Default)]
pub struct Call {
    /// Where the node's state is.
    pub state_dir: PathBuf,
    /// `claude`, `codex` or `gemini`.
    pub agent: String,
    /// What happened, where the agent's JSON does not say it itself.
    pub event: Option<String>,
    /// The JSON, from agents that hand it over as an argument; else it is read from standard input.
    pub json: Option<OsString>,
}

/// Tells the node. Takes well under a second, and says nothing about how it went.
pub fn tell(call: &Call) {
    let json = match &call.json {
        Some(json) => json.as_bytes().iter().copied().take(MAX_INPUT).collect(),
        None => read(std::io::stdin().as_fd()),
    };
    let message = Message::of(&call.agent, call.event.as_deref(), &json);
    if let Some(frame) = message.and_then(|message| message.framed()) {
        send(&super::socket_path(&call.state_dir), &frame);
    }
}

/// The first part of the input. The rest is taken, too, for an agent may mind when nobody reads what it writes; an
/// agent that does not close its end is not waited for.
fn read(input: impl AsFd) -> Vec<u8> {
    let (mut kept, mut taken, mut buffer) = (Vec::new(), 0, vec![0; 64 << 10]);
    while taken < MAX_TAKEN && is_ready(&input) {
        match rustix::io::read(&input, &mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                let room = MAX_INPUT.saturating_sub(kept.len());
                kept.extend_from_slice(&buffer[..count.min(room)]);
                taken += count;
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => break,
        }
    }
    kept
}

fn is_ready(input: &impl AsFd) -> bool {
    let Ok(limit) = PATIENCE.try_into() else { return false };
    poll(&mut [PollFd::new(input, PollFlags::IN)], Some(&limit)).is_ok_and(|ready| ready > 0)
}

fn send(path: &Path, frame: &[u8]) {
    let Some(mut stream) = reach(path) else { return };
    let timed =
        stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
    if timed.is_ok() && stream.write_all(frame).is_ok() && stream.shutdown(Shutdown::Write).is_ok() {
        // The node hangs up once it knows who this is. Whatever comes, comes.
        stream.read_exact(&mut [0]).ok();
    }
}

/// A connection that never waits for a queue: a blocking connect waits as long as the node likes.
fn reach(path: &Path) -> Option<UnixStream> {
    let address = SocketAddrUnix::new(path).ok()?;
    let end = Instant::now() + PATIENCE;
    loop {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).ok()?;
        match connect(&socket, &address) {
            Ok(()) => {
                let stream = UnixStream::from(socket);
                return stream.set_nonblocking(false).ok().map(|()| stream);
            }
            Err(Errno::AGAIN | Errno::INTR) if Instant::now() < end => std::thread::sleep(RETRY),
            Err(_) => return None,
        }
    }
}
