//! Looking at a server through `wezterm cli`: the way out when its wire is not spoken here.
//!
//! Constraints: polling a server through processes is known to wedge it, so at most one process runs at a time, they
//! start at least [`MIN_INTERVAL`] apart, each has a deadline, and nothing is ever started by itself
//! (`--no-auto-start`). It only observes: panes and what they show. No typing, no spawning, no history: what scrolls
//! by between two looks is not seen. A range of lines is never inverted, for that kills the server.
//!
//! Operation: `WEZTERM_UNIX_SOCKET` names the socket; `-n` keeps the user's configuration, which may run code, out.

mod parse;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout};

pub use parse::{CliPane, CliSize};

/// The least time between the starts of two processes.
pub const MIN_INTERVAL: Duration = Duration::from_secs(2);
/// Nothing that `wezterm cli` prints is larger, in bytes.
const MAX_OUTPUT: u64 = 16 << 20;
const MAX_ERRORS: u64 = 64 << 10;

/// How to run `wezterm`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CliOptions {
    /// The program: `wezterm`, or its path.
    pub program: PathBuf,
    /// The socket of the server to look at.
    pub socket: PathBuf,
    /// For each process; it is killed afterwards.
    pub timeout: Duration,
    /// Between the starts of two processes; not less than [`MIN_INTERVAL`].
    pub interval: Duration,
}

impl CliOptions {
    /// `wezterm` from PATH, 10 s for each call, the least interval.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            program: PathBuf::from("wezterm"),
            socket: socket.into(),
            timeout: Duration::from_secs(10),
            interval: MIN_INTERVAL,
        }
    }
}

/// Why a look failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error("cannot run {}: {source}; is WezTerm installed and on PATH?", program.display())]
    Start { program: PathBuf, source: std::io::Error },
    #[error("reading the output of wezterm cli: {0}")]
    Io(#[from] std::io::Error),
    #[error("wezterm cli {command} did not end within {} s; the mux server may be frozen", waited.as_secs())]
    Timeout { command: &'static str, waited: Duration },
    /// In the words of `wezterm`.
    #[error("wezterm cli {command} failed: {message}")]
    Failed { command: &'static str, message: String },
    #[error("wezterm cli {command} printed more than {MAX_OUTPUT} bytes")]
    TooMuch { command: &'static str },
    #[error("wezterm cli list printed something else than a list of panes: {0}")]
    BadList(#[from] serde_json::Error),
}

impl CliError {
    /// The server does not know the pane (any more).
    pub fn is_no_such_pane(&self) -> bool {
        matches!(self, Self::Failed { message, .. } if message.contains("no such pane"))
    }
}

/// Looks at one server, slowly.
#[derive(Debug)]
pub struct CliObserver {
    options: CliOptions,
    /// Held while a process runs: when the next one may start.
    turn: Mutex<Option<Instant>>,
}

impl CliObserver {
    pub fn new(options: CliOptions) -> Self {
        let interval = options.interval.max(MIN_INTERVAL);
        Self { options: CliOptions { interval, ..options }, turn: Mutex::new(None) }
    }

    /// The panes of the server.
    pub async fn list(&self) -> Result<Vec<CliPane>, CliError> {
        let output = self.run("list", &["--format", "json"]).await?;
        Ok(parse::list(&output)?)
    }

    /// The rows on the screen of a pane, top to bottom, at most as many as it had when it was listed. Soft-wrapped
    /// rows are rows of their own.
    pub async fn viewport(&self, pane: &CliPane) -> Result<Vec<String>, CliError> {
        // The default range begins two rows too high; both ends are named, and the last is never before the first.
        let Some(last) = pane.size.rows.checked_sub(1) else { return Ok(Vec::new()) };
        let (id, last) = (pane.pane_id.to_string(), last.to_string());
        let output =
            self.run("get-text", &["--pane-id", &id, "--start-line", "0", "--end-line", &last]).await?;
        Ok(parse::text(&output, pane.size.rows))
    }

    async fn run(&self, command: &'static str, args: &[&str]) -> Result<Vec<u8>, CliError> {
        let mut turn = self.turn.lock().await;
        if let Some(at) = *turn {
            sleep_until(at).await;
        }
        *turn = Some(Instant::now() + self.options.interval);
        let mut child = self.start(command, args)?;
        let waited = self.options.timeout;
        match timeout(waited, collect(&mut child, command)).await {
            Ok(result) => result,
            Err(_) => {
                child.kill().await?;
                Err(CliError::Timeout { command, waited })
            }
        }
    }

    fn start(&self, command: &str, args: &[&str]) -> Result<Child, CliError> {
        Command::new(&self.options.program)
            .args(["-n", "cli", "--prefer-mux", "--no-auto-start", command])
            .args(args)
            .env("WEZTERM_UNIX_SOCKET", &self.options.socket)
            .env_remove("WEZTERM_PANE")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| CliError::Start { program: self.options.program.clone(), source })
    }
}

async fn collect(child: &mut Child, command: &'static str) -> Result<Vec<u8>, CliError> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (output, errors) = tokio::try_join!(read(stdout, MAX_OUTPUT), read(stderr, MAX_ERRORS))?;
    if output.len() as u64 > MAX_OUTPUT {
        child.kill().await?;
        return Err(CliError::TooMuch { command });
    }
    if child.wait().await?.success() {
        Ok(output)
    } else {
        Err(CliError::Failed { command, message: parse::failure(&errors) })
    }
}

/// Everything up to one byte beyond the limit. The pipe is closed afterwards.
async fn read(stream: Option<impl AsyncRead + Unpin>, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        stream.take(limit + 1).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
