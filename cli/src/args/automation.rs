//! `wa run`, `wa workflow`, `wa notice`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use wa_proto::{AgentKind, PaneAddress, Timestamp};

#[derive(Debug, Subcommand)]
#[command(before_help = "Examples:
  wa run list web-1/3
  wa run explain 0199aa…                each thing that happened to it, and where that led
  wa run start limit-wait web-1/3
  wa run cancel 0199aa… --reason \"I do it myself\"
  wa run retry 0199aa…")]
pub(crate) enum Run {
    /// The latest first
    List(RunList),
    /// One run
    Show { run: String },
    /// One run, input by input
    Explain { run: String },
    /// Begin one by hand, as if its event had come
    Start { workflow: String, pane: PaneAddress },
    /// End one; what it has typed stays typed
    Cancel {
        run: String,
        /// Why; kept with the run
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Begin one that failed again, from the step at which it failed
    Retry {
        run: String,
        /// You have looked at the pane: also where nobody knows whether an action arrived
        #[arg(long)]
        sure: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct RunList {
    /// Only on this pane
    pub(crate) pane: Option<PaneAddress>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) limit: u32,
}

#[derive(Debug, Subcommand)]
#[command(before_help = "Examples:
  wa workflow list
  wa workflow show limit-wait
  wa workflow validate my-workflow.toml
  wa workflow run limit-wait session.raw --dry-run --agent codex")]
pub(crate) enum Workflow {
    /// What the controller runs, and whether it is paused
    List,
    /// One, with its steps
    Show { name: String },
    /// Read files as the controller would, and say what is wrong; asks no controller
    Validate {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// What one would have done on a pane that was recorded; asks no controller
    Run(Rehearsal),
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  wa workflow run limit-wait session.raw --dry-run --agent codex --size 120x40
  wa workflow run my-workflow.toml session.raw --dry-run -o jsonl

The recording is what a program wrote to its terminal, replayed as `wa rules scan --raw` does; its pace is made up. Nothing is
typed: every action is taken as done, every account as free, and no person answers. After the end of the recording time goes
on for the run. For real, on a pane: `wa run start`.")]
pub(crate) struct Rehearsal {
    /// One that is built in, or a file
    #[arg(value_name = "WORKFLOW")]
    pub(crate) workflow: String,
    /// A recorded byte stream; - reads standard input
    #[arg(value_name = "RECORDING")]
    pub(crate) recording: String,
    /// Only say what would be done
    #[arg(long, required = true)]
    pub(crate) dry_run: bool,
    /// This agent's process runs there; `shell`: none does [default: the screen tells]
    #[arg(long, value_name = "AGENT", value_parser = super::rules::agent)]
    pub(crate) agent: Option<AgentKind>,
    /// Columns and rows [default: 80x24]
    #[arg(long, value_name = "COLSxROWS", value_parser = super::rules::size)]
    pub(crate) size: Option<(u16, u16)>,
    /// Only the first so many bytes; `wa rules scan --raw` says where something happened
    #[arg(long, value_name = "N")]
    pub(crate) offset: Option<u64>,
    /// When the last byte came: RFC 3339 [default: now]
    #[arg(long, value_name = "TIME")]
    pub(crate) now: Option<Timestamp>,
}

#[derive(Debug, Subcommand)]
#[command(before_help = "Examples:
  wa notice list --open
  wa notice answer 12 proceed")]
pub(crate) enum Notice {
    /// What workflows told people, the latest first
    List {
        /// Only questions that wait for an answer
        #[arg(long)]
        open: bool,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
    /// Answer a question of a workflow
    Answer { id: u64, choice: String },
}
