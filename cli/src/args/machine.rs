//! What concerns this machine: `wa up` and `wa hooks`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use wa_node::observer::MuxSocket;
use wa_proto::Host;

use super::duration;
use crate::hooks::Agent;

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  wa up                                 this machine's mux servers, until Ctrl-C
  wa up --demo                          four scripted panes, data in a temporary directory
  wa up --demo --for 30s                ends by itself and says what happened")]
pub(crate) struct Up {
    /// Bring an embedded multiplexer with scripted agents; nothing is left behind
    #[arg(long)]
    pub(crate) demo: bool,
    /// With --demo: end after so long; exit code 0 if everything that should happen did
    #[arg(long = "for", value_name = "DURATION", value_parser = duration, requires = "demo")]
    pub(crate) run_for: Option<Duration>,
    /// Address of the controller; port 0 takes a free one [default: 127.0.0.1:7443, with --demo a free port]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Where the data is kept [default: $XDG_STATE_HOME/wa/up]
    #[arg(long, value_name = "DIR", conflicts_with = "demo")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Name of this host [default: its short hostname]
    #[arg(long, value_name = "HOST")]
    pub(crate) name: Option<Host>,
    /// A mux server's socket; may be given more than once [default: those that are found]
    #[arg(long, value_name = "[NAME=]PATH", conflicts_with = "demo")]
    pub(crate) mux_socket: Vec<MuxSocket>,
}

#[derive(Debug, Subcommand)]
#[command(before_help = "Examples:
  wa hooks install --dry-run            what would change in the agents' files
  wa hooks install                      for every agent that is set up here
  wa hooks status
  wa hooks remove --agent codex")]
pub(crate) enum Hooks {
    /// Let the agents call `wa-node hook`; what else is in their files stays as it is, and a backup is kept
    Install {
        #[command(flatten)]
        agents: HookAgents,
        /// Where the node's state is [default: $XDG_STATE_HOME/wa-node, or that of `wa up`]
        #[arg(long, value_name = "DIR")]
        state_dir: Option<PathBuf>,
        /// Print the changes as a diff and make none
        #[arg(long)]
        dry_run: bool,
    },
    /// Take our entries out again, those of older installations, too
    Remove {
        #[command(flatten)]
        agents: HookAgents,
        /// Print the changes as a diff and make none
        #[arg(long)]
        dry_run: bool,
    },
    /// Which files have our entries
    Status {
        #[command(flatten)]
        agents: HookAgents,
        /// Where the node's state should be [default: $XDG_STATE_HOME/wa-node, or that of `wa up`]
        #[arg(long, value_name = "DIR")]
        state_dir: Option<PathBuf>,
    },
}

/// Whose hooks.
#[derive(Debug, Args)]
pub(crate) struct HookAgents {
    /// Only this agent; may be given more than once [default: those that are set up here]
    #[arg(long, value_enum, value_name = "AGENT")]
    pub(crate) agent: Vec<Agent>,
}
