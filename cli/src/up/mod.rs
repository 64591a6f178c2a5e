//! `wa up`: the whole thing on this machine, in one process.
//!
//! Constraints. What runs here is what runs on a fleet: the node joins with a one-time token and speaks mutual TLS over
//! loopback; nothing is short-cut because both ends are one process. There is one `wa up` for a user at a time, guarded by
//! a lock in the runtime directory; a second one says which process holds it. Data stays in `$XDG_STATE_HOME/wa/up`, a
//! demo's in a temporary directory that goes with it.
//!
//! Operation. The controller starts, the node joins and connects, the note for other terminals is left
//! ([`pointer`]), and then it stays until it is told to stop: first the node, then the controller.

pub(crate) mod demo;
mod house;
pub(crate) mod pointer;
mod story;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use wa_link::dial::DEFAULT_PORT;
use wa_link::files::{self, FileError, LockFile};
use wa_link::shutdown::{EndedBy, Hangups, Shutdown, Tasks, on_signals};
use wa_proto::Host;

use crate::args::Up;
use crate::command::say;
use crate::context::Surroundings;
use crate::failure::{Exit, Failure};
use crate::output::Out;
use house::{House, Plan};
use pointer::Pointer;

/// Address of the controller that is the same at every start, so that contexts stay good.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), DEFAULT_PORT);

pub(crate) async fn up(args: &Up, around: &Surroundings<'_>, out: &mut Out) -> Result<Exit, Failure> {
    let place = pointer::place(around).ok_or_else(|| {
        Failure::failed("neither XDG_RUNTIME_DIR nor HOME is set: there is no place to note that this runs")
    })?;
    files::create_private_dir(&place).map_err(said)?;
    let _single = lock(&place.join("up.lock"))?;
    // The controller in it holds credentials.
    if let Err(error) = wa_link::limits::no_core_dumps() {
        say(&format!("a crash of this process may leave a core dump: {error}"));
    }
    let signals = Tasks::new(Shutdown::new());
    let ended =
        listen(&signals).map_err(|error| Failure::failed(format!("cannot listen for signals: {error}")))?;
    let result = if args.demo {
        demo::demo(args, &place, &signals, &ended, out).await
    } else {
        serve(args, &place, around, &signals).await
    };
    drop(signals.finish(std::time::Duration::from_secs(1)).await);
    result
}

/// Ends on SIGINT and SIGTERM, and when the terminal goes away.
fn listen(signals: &Tasks) -> std::io::Result<EndedBy> {
    let mut hangups = Hangups::new()?;
    let shutdown = signals.shutdown().clone();
    signals.spawn("hangup", async move {
        tokio::select! {
            () = hangups.next() => shutdown.trigger(),
            () = shutdown.triggered() => {}
        }
    });
    on_signals(signals)
}

/// A file error in our words.
fn said(error: FileError) -> Failure {
    Failure::failed(error.to_string())
}

fn lock(path: &Path) -> Result<LockFile, Failure> {
    LockFile::acquire(path).map_err(|error| match error {
        FileError::Locked { holder, .. } => {
            Failure::failed(format!("`wa up` is already running, as process {holder}"))
                .remedy("use it: `wa status` needs no flags while it runs; or stop it first")
        }
        other => said(other),
    })
}

async fn serve(args: &Up, place: &Path, around: &Surroundings<'_>, signals: &Tasks) -> Result<Exit, Failure> {
    let default = || around.state_home().map(|state| state.join("up"));
    let dir = args.data_dir.clone().or_else(default).ok_or_else(|| {
        Failure::failed("neither XDG_STATE_HOME nor HOME is set: name a directory with --data-dir")
    })?;
    let dir =
        std::path::absolute(&dir).map_err(|error| Failure::failed(format!("{}: {error}", dir.display())))?;
    let plan = Plan {
        dir,
        listen: args.listen.unwrap_or(LISTEN),
        name: args.name.clone().map_or_else(short_hostname, Ok)?,
        sockets: args.mux_socket.clone(),
        automation: None,
    };
    let house = House::open(&plan).await?;
    let left = leave_note(&house, place);
    say(&format!("controller: {} (data in {})", house.url(), plan.dir.display()));
    say(&format!("node: {} watches this host's mux servers", plan.name));
    say("in another terminal: wa status, wa fleet status. Ctrl-C ends it.");
    let failed = tokio::select! {
        () = signals.shutdown().triggered() => None,
        failure = house.broken() => Some(failure),
    };
    pointer::remove(place);
    house.close().await;
    left?;
    match failed {
        Some(failure) => Err(failure),
        None => Ok(Exit::Done),
    }
}

fn leave_note(house: &House, place: &Path) -> Result<(), Failure> {
    let note = Pointer { pid: std::process::id(), operator: house.operator(), agent: house.agent() };
    note.write(place)
}

/// The name of this host up to the first dot.
fn short_hostname() -> Result<Host, Failure> {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = kernel.or_else(|| {
        let output = std::process::Command::new("hostname").output().ok()?;
        String::from_utf8(output.stdout).ok()
    });
    let name = name.unwrap_or_default();
    let short = name.trim().split('.').next().unwrap_or_default();
    Host::new(short).map_err(|error| {
        Failure::usage(format!("this host's own name cannot be used: {error}"))
            .remedy("give it one with --name")
    })
}
