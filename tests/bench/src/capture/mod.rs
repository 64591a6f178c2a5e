//! `capture`: what of the panes' output is in the log, and what that costs.
//!
//! Everything is as in a fleet: a multiplexer (the embedded one, with real terminals), a node and a controller as three
//! processes, mutual TLS over loopback, durable at both ends, real programs in the panes. The log is read back over the
//! controller's API after everything has been acknowledged, and judged row by row (`judge`) or, for recorded sessions
//! of agents, by what a person would have read (`agents`). Each cell of the matrix (`workload`) runs three times (`cell`):
//! with node and controller, with the multiplexer alone, and with the poller that people use instead (`baseline`).

mod agents;
pub(crate) mod baseline;
mod cell;
mod goals;
mod judge;
mod log;
pub(crate) mod measure;
pub(crate) mod pane;
mod reading;
mod report;
pub(crate) mod sessions;
mod text;
mod workload;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context as _;

use crate::disk;
use crate::figures::Distribution;
pub(crate) use report::Report;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A few small cells in less than a minute: whether it works, not how fast it is.
    #[arg(long)]
    quick: bool,
    /// Only the cells whose name contains this, for example `idle` or `seq`.
    #[arg(long)]
    only: Option<String>,
    /// Only the cells with so many panes.
    #[arg(long)]
    panes: Option<u32>,
    /// Folder for the files of the run: on the disk to be measured. Default: the present one.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Folder with the recorded sessions.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../node-agent/screen/testdata/sessions"))]
    sessions: PathBuf,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Report> {
    let begin = Instant::now();
    let (mut sessions, left_out) = sessions::playable(&args.sessions)?;
    if args.quick {
        sessions.retain(|session| session.name.contains("0.89.0") && session.name.ends_with("-neg"));
    }
    let probe = tempfile::tempdir_in(&args.dir)?;
    let fsync = Distribution::of(disk::fsync_times(probe.path(), 400)?).context("no fsync sample")?;
    let common = cell::Common { dir: args.dir.clone(), sessions };
    let wanted = |plan: &workload::Plan| {
        args.only.as_ref().is_none_or(|only| plan.workload.name().contains(only.as_str()))
            && args.panes.is_none_or(|panes| plan.panes == panes)
    };
    let plans = if args.quick { workload::quick() } else { workload::matrix() };
    let (mut cells, mut real_poller) = (Vec::new(), None);
    for plan in plans.iter().filter(|plan| wanted(plan)) {
        let name = format!("{}, {} panes", plan.workload.name(), plan.panes);
        eprintln!("{:4} s  {name}", begin.elapsed().as_secs());
        let (cell, real) = cell::run(plan, &common).context(name)?;
        cells.push(cell);
        real_poller = real_poller.or(real);
    }
    Ok(Report {
        schema: "wa.bench.capture/1",
        quick: args.quick,
        seconds: begin.elapsed().as_secs_f64(),
        cells,
        sessions_left_out: left_out,
        real_poller,
        fsync,
        in_memory: disk::is_memory(probe.path())?,
    })
}
