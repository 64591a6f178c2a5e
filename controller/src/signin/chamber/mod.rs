//! Where one browser lives, for one login, apart from the other users of the machine.
//!
//! Constraints: chromedriver takes orders from everybody who reaches its port, and the orders include "start this program";
//! a port of the loopback is reached by every user of the machine. So the port must lie where they do not get to, or there
//! must be nobody else. Nothing of a browser may outlive its login, not when the controller is killed either: chromium
//! leaves its process group (its crash handlers do), so a group is not enough to find it all. A crash report, a core dump
//! or a temporary file may hold a password.
//!
//! Format: a directory of mode 0700 for one login, `$TMPDIR/wa-browser-RANDOM`, with two sockets: `driver`, by which the
//! controller speaks to chromedriver, and `way`, by which the browser gets out. HOME and TMPDIR of the browser are in there
//! as well; the directory is removed at the end.
//!
//! Operation: this program is started again as a helper ([`called`]). It starts chromedriver on a free port, carries
//! between port and sockets, and ends when its standard input does, that is also when the controller dies: first every
//! process below it (it is the reaper of orphans), then the directory, then itself.
//!
//! *Apart*: the helper runs under `unshare` in namespaces of its own for users, processes, mounts and the network. The port
//! is on a loopback that nobody else has; the only way out is the socket `way`, a SOCKS proxy in the controller (see
//! [`way`]). Killing `unshare` kills all of it. This is what happens wherever the system allows it, for root and others.
//!
//! *Alone*: where it does not, the port is on the machine's loopback, and only if nobody else is there: no other user (but
//! root, who can do everything anyhow) runs a program, owns a socket or may log in (see [`neighbours`]). Within a container
//! that shares its network with others their programs cannot be seen; their sockets can. Otherwise the login is refused and
//! a person is asked.

mod inside;
mod neighbours;
mod way;

use std::ffi::OsStr;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::UnixListener;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

use super::{BrowserConfig, Provider, SignInError};

pub(super) use inside::WAY_PORT;
pub use inside::called;

/// What chromedriver may take until it listens.
const START: Duration = Duration::from_secs(15);
/// What the end may take before it is made short.
const END: Duration = Duration::from_secs(3);
/// Words of the helper, each a line.
const ENTERED: &str = "entered";
const READY: &str = "ready";

/// How the browser is kept from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    Apart,
    Alone,
}

/// The directory of one login, removed with its handle.
#[derive(Debug)]
struct Dir(PathBuf);

impl Dir {
    fn make() -> std::io::Result<Self> {
        let dir = std::env::temp_dir().join(format!("wa-browser-{:016x}", fastrand::u64(..)));
        // Fails if something of that name is there already.
        DirBuilder::new().mode(0o700).create(&dir)?;
        Ok(Self(dir))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // The helper removes it too; whoever comes second finds nothing.
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// A running chromedriver. When dropped, it and all that it started are killed.
#[derive(Debug)]
pub(super) struct Chamber {
    kept: Kept,
    child: Child,
    /// Closed, it tells the helper to end.
    stdin: Option<ChildStdin>,
    way: UnixListener,
    dir: Dir,
}

/// Why a chamber could not be entered.
enum NotEntered {
    /// The system does not allow the namespaces; what it said.
    Refused(String),
    Failed(SignInError),
}

fn failed(what: impl Into<String>) -> SignInError {
    SignInError::BrowserFailed { what: what.into() }
}

impl Chamber {
    /// Starts chromedriver, apart from the others if the system allows it.
    pub(super) async fn enter(config: &BrowserConfig, chromedriver: &Path) -> Result<Self, SignInError> {
        let helper = match &config.helper {
            Some(helper) => helper.clone(),
            None => std::env::current_exe()
                .map_err(|error| failed(format!("this program is not found: {error}")))?,
        };
        let refused = match Self::start(Kept::Apart, &helper, chromedriver).await {
            Ok(chamber) => return Ok(chamber),
            Err(NotEntered::Failed(error)) => return Err(error),
            Err(NotEntered::Refused(refused)) => refused,
        };
        let looking = config.tasks.spawn_blocking("look for other users", neighbours::others);
        if let Some(who) = looking.await.map_err(|_| SignInError::Cancelled)? {
            tracing::warn!(refused, who, "no namespaces for a browser, and others are on this machine");
            return Err(SignInError::OtherUsers { who });
        }
        match Self::start(Kept::Alone, &helper, chromedriver).await {
            Ok(chamber) => Ok(chamber),
            Err(NotEntered::Failed(error)) => Err(error),
            Err(NotEntered::Refused(what)) => Err(failed(what)),
        }
    }

    async fn start(kept: Kept, helper: &Path, chromedriver: &Path) -> Result<Self, NotEntered> {
        let io = |error: std::io::Error| NotEntered::Failed(failed(format!("its directory: {error}")));
        let dir = Dir::make().map_err(io)?;
        let way = UnixListener::bind(dir.0.join("way")).map_err(io)?;
        let mut child = match command(kept, helper, &dir.0, chromedriver).spawn() {
            Ok(child) => child,
            Err(error) => return Err(NotEntered::Refused(format!("cannot start its helper: {error}"))),
        };
        let stdin = child.stdin.take();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let chamber = Self { kept, child, stdin, way, dir };
        let (Some(stdout), Some(mut stderr)) = (stdout, stderr) else {
            return Err(NotEntered::Failed(failed("its helper has no output")));
        };
        let mut lines = BufReader::new(stdout.take(1024)).lines();
        let mut entered = false;
        let listening = timeout(START, async {
            while let Ok(Some(line)) = lines.next_line().await {
                match line.as_str() {
                    ENTERED => entered = true,
                    READY => return true,
                    _ => {}
                }
            }
            false
        });
        match listening.await {
            Ok(true) => return Ok(chamber),
            Ok(false) => {}
            Err(_) => return Err(NotEntered::Failed(failed("chromedriver did not start in time"))),
        }
        let mut said = String::new();
        // Words for the log only; there may be none.
        timeout(END, (&mut stderr).take(1024).read_to_string(&mut said)).await.ok();
        let said = said.trim().replace('\n', "; ");
        if entered {
            return Err(NotEntered::Failed(failed(format!("chromedriver did not start: {said}"))));
        }
        Err(NotEntered::Refused(said))
    }

    pub(super) fn kept(&self) -> Kept {
        self.kept
    }

    /// The socket by which chromedriver is spoken to.
    pub(super) fn driver(&self) -> PathBuf {
        self.dir.0.join("driver")
    }

    /// Lets the browser out, until dropped. Never ends by itself.
    pub(super) async fn serve_way(&self, provider: &Provider) {
        way::serve(&self.way, provider).await;
    }

    /// Ends everything, and waits until it has ended.
    pub(super) async fn leave(mut self) {
        drop(self.stdin.take());
        if timeout(END, self.child.wait()).await.is_err() {
            tracing::warn!("a browser's helper did not end in time and is killed");
            // Gone already is as good.
            self.child.kill().await.ok();
        }
    }
}

impl Drop for Chamber {
    fn drop(&mut self) {
        drop(self.stdin.take());
        if self.kept == Kept::Apart {
            // All of a namespace dies with its first process. Alone the helper does it, which is why it is left to end by
            // its standard input. It may be gone already.
            self.child.start_kill().ok();
        }
    }
}

fn command(kept: Kept, helper: &Path, dir: &Path, chromedriver: &Path) -> Command {
    let mut command = match kept {
        Kept::Apart => {
            let mut command = Command::new("unshare");
            command.args(["--user", "--map-current-user", "--keep-caps", "--net", "--pid", "--mount-proc"]);
            command.args(["--fork", "--kill-child=KILL", "--"]).arg(helper);
            command
        }
        Kept::Alone => Command::new(helper),
    };
    let word = match kept {
        Kept::Apart => inside::APART,
        Kept::Alone => inside::ALONE,
    };
    command.args([OsStr::new(inside::WORD), OsStr::new(word), dir.as_os_str(), chromedriver.as_os_str()]);
    command
        .env_clear()
        .env("LANG", "C.UTF-8")
        .env("HOME", dir)
        .env("TMPDIR", dir)
        .env("XDG_RUNTIME_DIR", dir);
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    // The group keeps a Ctrl-C at the controller's terminal from reaching the browser before the controller does.
    command.env("PATH", path).current_dir(dir).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}
