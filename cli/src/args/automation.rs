//! `wa run`, `wa workflow`, `wa notice`, `wa approve`, `wa deny`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use wa_proto::PaneAddress;

#[derive(Debug, Subcommand)]
#[command(before_help = "Examples:
  wa run list web-1/3
  wa run explain 0199aa…                each thing that happened to it, and where that led
  wa run start limit-wait web-1/3
  wa run cancel 0199aa… --reason \"I do it myself\"")]
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
  wa workflow validate my-workflow.toml")]
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

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  wa approve web-1/3
  wa deny web-1/3
  wa approve web-1/3 --choice \"Yes, and don't ask again\"

The dialog is answered by the label of a choice, and only if it is the one that was told last and stands there still.")]
pub(crate) struct Decide {
    pub(crate) pane: PaneAddress,
    /// This choice, as the dialog words it, and not the one that approves this once
    #[arg(long, value_name = "LABEL")]
    pub(crate) choice: Option<String>,
    /// Say what would be answered, and do not
    #[arg(long)]
    pub(crate) dry_run: bool,
}
