//! `wa-bench NAME`: measurements of the whole, each beside a baseline of the same run.
//!
//! Run it from a build without debug assertions: `cargo run --profile bench-run -p wa-bench -- react`, after
//! `cargo build --profile bench-run --workspace --bins`.

mod disk;
mod figures;
mod react;

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};

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
    /// From a trigger printed in a pane to the first keystroke that its program receives.
    React(react::Args),
    /// The program in the panes of `react`.
    #[command(hide = true)]
    ReactPane(react::pane::Args),
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let report = match args.bench {
        Bench::React(args) => react::run(&args).context("react")?,
        Bench::ReactPane(args) => return react::pane::run(&args),
    };
    match args.output {
        Output::Table => print!("{report}"),
        Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
    }
    Ok(())
}
