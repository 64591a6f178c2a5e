//! The hook witness: what the agents' own hooks say.
//!
//! Constraints. An agent waits for its hooks, takes their output for advice and their exit code for a verdict; so
//! `wa-node hook` prints nothing, ends within a fraction of a second and always with 0, whatever it meets: no node, no
//! socket, no JSON. Whoever runs as this user can connect to the socket and say what they like: what arrives is bounded,
//! checked, and never more than one witness of several. Of what an agent hands to its hook only names, paths and short
//! words travel on; prompts and answers stay where they are.
//!
//! Format. `DIR/hook.sock`, a unix stream socket, 0600 in a directory of 0700. A connection carries one message: its
//! length in bytes as a 32-bit number, high byte first, then so many bytes of JSON ([`message`]). The node answers
//! nothing; it closes the connection once it has found out who calls.
//!
//! Operation. The client ([`client`]) reads the agent's JSON, sends what of it matters, and stays until the node hangs
//! up or 200 ms have passed, for a process that is gone has no terminal any more. The node ([`listen`]) takes the
//! caller's process from the kernel, finds its controlling terminal, or that of its nearest ancestor that has one
//! (agents start hooks in sessions of their own), checks the message and passes on a [`HookReport`]. What a hook means
//! in the words of events stands in one table per agent ([`claude`], [`codex`], [`gemini`]).

mod claude;
pub mod client;
mod codex;
mod gemini;
mod message;
mod peer;
mod server;
mod table;

use std::path::{Path, PathBuf};
use std::time::Duration;

use wa_match::Testimony;
use wa_proto::{AgentKind, Timestamp};

pub use server::listen;

/// What one call of `wa-node hook` told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookReport {
    pub agent: AgentKind,
    /// As the agent names it: `UserPromptSubmit`, `AfterAgent`, `agent-turn-complete`, …
    pub event: String,
    /// Letters, digits, `-` and `_`, at most 128 of them.
    pub session_id: String,
    /// The agent's session file, absolute; not looked at, it may not exist.
    pub transcript_path: Option<PathBuf>,
    /// Absolute, or empty when the agent did not say.
    pub cwd: String,
    /// The process that called: `wa-node hook`, a descendant of the agent.
    pub peer_pid: u32,
    /// `/dev/pts/3`: the controlling terminal of the caller, or of its nearest ancestor that has one. None from an agent
    /// that works in a daemon, as Codex does since 0.169 whenever its daemon runs: then the session tells the pane.
    pub tty: Option<String>,
    /// When it arrived, by this host's clock.
    pub time: Timestamp,
    /// What it means, where it means one of the product's events.
    pub testimony: Option<Testimony>,
}

/// Where the node of this state directory listens.
pub fn socket_path(state_dir: &Path) -> PathBuf {
    state_dir.join("hook.sock")
}

/// The hook events of an agent (`claude`, `codex`, `gemini`) that are worth a call, in the order of a session; none for
/// an agent without hooks.
pub fn events(agent: &AgentKind) -> Vec<&'static str> {
    table::events(agent)
}

/// Bytes of a message, its length not counted.
const MAX_MESSAGE: usize = 256 << 10;
/// What the client waits for any one thing.
const PATIENCE: Duration = Duration::from_millis(200);
