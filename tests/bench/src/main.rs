//! `wa-bench NAME`: measurements of the whole, each beside a baseline of the same run.
//!
//! Run it from a build without debug assertions: `cargo run --profile bench-run -p wa-bench -- react`, after
//! `cargo build --profile bench-run --workspace --bins`.

mod capture;
mod dictionary;
mod disk;
mod figures;
mod fleet;
mod goal;
mod matching;
mod react;
mod ship;

use std::fmt::Display;

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use serde::Serialize;

#[derive(Debug, Parser)]
#[command(
    name = "wa-bench",
    version,
    about = "Measures wa; each figure stands beside a baseline of the same run"
)]
struct Args {
    #[command(subcommand)]
    bench: Bench,
    /// How the figures are printed.
    #[arg(short = 'o', long, value_enum, default_value_t = Output::Table, global = true)]
    output: Output,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Output {
    Table,
    Json,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// What of the panes' output is in the log, and what that costs.
    Capture(capture::Args),
    /// The programs in the panes of `capture`.
    #[command(hide = true)]
    CapturePane(capture::pane::Args),
    /// The poller that `capture` compares with.
    #[command(hide = true)]
    CapturePoller(capture::baseline::Args),
    /// What the compression dictionary is worth on sessions that it was not trained on; trains a new one.
    Dictionary(dictionary::Args),
    /// Many nodes on one controller: latency, memory, a restart, slow nodes among them.
    Fleet(fleet::Args),
    /// The empty call that `fleet` compares with.
    #[command(hide = true)]
    FleetEcho,
    /// A process of simulated nodes of `fleet`.
    #[command(hide = true)]
    FleetNodes(fleet::nodes::Args),
    /// What recognising costs: a changed frame, a transcript.
    Match(matching::Args),
    /// From a trigger printed in a pane to the first keystroke that its program receives.
    React(react::Args),
    /// The program in the panes of `react`.
    #[command(hide = true)]
    ReactPane(react::pane::Args),
    /// From the spool to the acknowledged commit, and what that costs on the wire.
    Ship(ship::Args),
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    match args.bench {
        Bench::Capture(bench) => print(&capture::run(&bench).context("capture")?, args.output),
        Bench::CapturePane(pane) => capture::pane::run(&pane),
        Bench::CapturePoller(poller) => capture::baseline::run(&poller),
        Bench::Dictionary(bench) => print(&dictionary::run(&bench).context("dictionary")?, args.output),
        Bench::Fleet(bench) => print(&fleet::run(&bench).context("fleet")?, args.output),
        Bench::FleetEcho => fleet::echo::run(),
        Bench::FleetNodes(nodes) => fleet::nodes::run(&nodes),
        Bench::Match(bench) => print(&matching::run(&bench).context("match")?, args.output),
        Bench::React(bench) => print(&react::run(&bench).context("react")?, args.output),
        Bench::ReactPane(pane) => react::pane::run(&pane),
        Bench::Ship(bench) => print(&ship::run(&bench).context("ship")?, args.output),
    }
}

fn print(report: &(impl Display + Serialize), output: Output) -> anyhow::Result<()> {
    match output {
        Output::Table => print!("{report}"),
        Output::Json => println!("{}", serde_json::to_string_pretty(report)?),
    }
    Ok(())
}
