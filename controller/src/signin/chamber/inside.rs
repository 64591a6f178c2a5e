//! The helper: this program once more, beside the browser.

use std::ffi::OsString;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{ExitCode, Stdio};

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use rustix::process::{Pid, Resource, Rlimit, Signal};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::process::{Child, ChildStdout, Command};

use super::{ENTERED, READY};

pub(super) const WORD: &str = "browser-chamber";
pub(super) const APART: &str = "apart";
pub(super) const ALONE: &str = "alone";
/// Port of the way out, on the chamber's own loopback.
pub(in super::super) const WAY_PORT: u16 = 1080;
const MOST_CONNECTIONS: usize = 512;
/// Rounds of killing what is below us; a process that is being killed can have started another.
const ROUNDS: usize = 50;

/// To be called first in `main`, with all arguments: does the helper's work, if this process was started for it.
pub fn called(arguments: &[OsString]) -> Option<ExitCode> {
    let rest = arguments.get(1..)?;
    let (_, rest) = rest.split_first().filter(|(word, _)| *word == WORD)?;
    let done = match rest {
        [kept, dir, chromedriver] => run(kept, Path::new(dir), Path::new(chromedriver)),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    };
    Some(match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{WORD}: {error}");
            ExitCode::FAILURE
        }
    })
}

fn run(kept: &OsString, dir: &Path, chromedriver: &Path) -> io::Result<()> {
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    let apart = kept == APART;
    if apart {
        system::loopback_up()?;
    }
    system::become_reaper()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(serve(apart, dir, chromedriver));
    kill_descendants();
    // Our parent removes it too.
    std::fs::remove_dir_all(dir).ok();
    done
}

async fn serve(apart: bool, dir: &Path, chromedriver: &Path) -> io::Result<()> {
    println!("{ENTERED}");
    let way = match apart {
        true => Some(TcpListener::bind((Ipv4Addr::LOCALHOST, WAY_PORT)).await?),
        false => None,
    };
    let (mut child, mut output, port) = start(chromedriver).await?;
    let driver = UnixListener::bind(dir.join("driver"))?;
    std::fs::set_permissions(dir.join("driver"), std::fs::Permissions::from_mode(0o600))?;
    println!("{READY}");

    let mut open: FuturesUnordered<BoxFuture<'_, io::Result<()>>> = FuturesUnordered::new();
    let (ended, mut parent_gone) = tokio::sync::oneshot::channel();
    // A thread of its own: it stands in a read, which the end of this process need not wait for.
    std::thread::spawn(move || {
        // Nothing is ever written to it: what comes is its end.
        io::Read::read(&mut io::stdin(), &mut [0]).ok();
        ended.send(()).ok();
    });
    loop {
        let room = open.len() < MOST_CONNECTIONS;
        tokio::select! {
            _ = &mut parent_gone => return Ok(()),
            _ = child.wait() => return Ok(()),
            // Read and thrown away, so that nobody waits for room in the pipe.
            Ok(Some(_)) = output.next_line() => {}
            Ok((stream, _)) = driver.accept(), if room => open.push(Box::pin(to_driver(stream, port))),
            Ok((stream, _)) = accept(way.as_ref()), if room => open.push(Box::pin(to_way(stream, dir))),
            // A connection that breaks is its ends' concern.
            Some(_) = open.next(), if !open.is_empty() => {}
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<(TcpStream, std::net::SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

async fn to_driver(mut stream: UnixStream, port: u16) -> io::Result<()> {
    let mut driver = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    copy_bidirectional(&mut stream, &mut driver).await.map(drop)
}

async fn to_way(mut stream: TcpStream, dir: &Path) -> io::Result<()> {
    let mut way = UnixStream::connect(dir.join("way")).await?;
    copy_bidirectional(&mut stream, &mut way).await.map(drop)
}

/// Starts chromedriver and reads from it the port that it took. Should the helper be killed, the kernel kills it, and the
/// browser ends when the pipe from its driver does.
async fn start(chromedriver: &Path) -> io::Result<(Child, Lines<BufReader<ChildStdout>>, u16)> {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--"])
        .arg(chromedriver)
        .args(["--port=0", "--disable-dev-shm-usage"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let Some(stdout) = child.stdout.take() else { return Err(io::ErrorKind::BrokenPipe.into()) };
    let mut lines = BufReader::new(stdout).lines();
    while let Some(line) = lines.next_line().await? {
        let port = line.strip_prefix("ChromeDriver was started successfully on port ");
        if let Some(port) = port.and_then(|port| port.trim_end_matches('.').parse().ok()) {
            return Ok((child, lines, port));
        }
    }
    Err(io::Error::other("chromedriver ended, or does not say its port"))
}

/// Kills whatever was started below this process, in whatever session and group it is.
fn kill_descendants() {
    for _ in 0..ROUNDS {
        let children = children();
        if children.is_empty() {
            return;
        }
        for child in children {
            // One that has just ended is what we want.
            rustix::process::kill_process(child, Signal::KILL).ok();
            rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty()).ok();
        }
    }
}

/// Children of this process: those it started, and orphans of theirs.
fn children() -> Vec<Pid> {
    let own = std::process::id();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let parent = |entry: &std::fs::DirEntry| -> Option<u32> {
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        // The name in brackets may hold anything.
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    let pid = |entry: std::fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        (parent(&entry)? == own).then(|| Pid::from_raw(pid))?
    };
    entries.filter_map(pid).collect()
}

#[cfg(target_os = "linux")]
mod system {
    use std::io;

    use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

    /// Orphans of the browser become our children.
    pub(super) fn become_reaper() -> io::Result<()> {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        // What let us set up the network is not for the browser. There is nothing to clear where we have none.
        rustix::thread::clear_ambient_capability_set().ok();
        Ok(())
    }

    /// Turns the loopback of a new network namespace on: one RTM_NEWLINK with the flag IFF_UP, as rtnetlink(7) has it.
    pub(super) fn loopback_up() -> io::Result<()> {
        const RTM_NEWLINK: u16 = 16;
        const REQUEST_AND_ACK: u16 = 1 | 4;
        const LOOPBACK: i32 = 1;
        const UP: u32 = 1;
        let mut message = Vec::with_capacity(32);
        message.extend(32_u32.to_ne_bytes());
        message.extend(RTM_NEWLINK.to_ne_bytes());
        message.extend(REQUEST_AND_ACK.to_ne_bytes());
        // sequence, port, then family and type: all nought
        message.extend([0; 12]);
        message.extend(LOOPBACK.to_ne_bytes());
        message.extend(UP.to_ne_bytes());
        message.extend(UP.to_ne_bytes());
        let socket =
            rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        rustix::net::send(&socket, &message, SendFlags::empty())?;
        let mut answer = [0; 256];
        let (_, length) = rustix::net::recv(&socket, &mut answer, RecvFlags::empty())?;
        // After the head of 16 bytes stands the negative error number.
        let code = answer.get(16..20).filter(|_| length >= 20).and_then(|bytes| bytes.try_into().ok());
        match code.map(i32::from_ne_bytes) {
            Some(0) => Ok(()),
            Some(code) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
            None => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::io;

    pub(super) fn become_reaper() -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "a browser can be driven on Linux only"))
    }

    pub(super) fn loopback_up() -> io::Result<()> {
        become_reaper()
    }
}
