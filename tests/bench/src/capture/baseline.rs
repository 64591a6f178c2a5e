//! What people do without `wa`: a poller that reads every pane's viewport once a second and stores the lines that are new.
//!
//! It is a kind baseline. `wezterm cli get-text` pollers start a process and a connection for each read; this one has a
//! single connection of its own for all of them. New lines are found as such pollers find them: the longest end of the
//! last viewport that is the beginning of this one is taken as known, what follows is stored; when nothing overlaps,
//! all of it is.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde::Serialize;
use wa_mux::{Client, ConnectOptions};
use wa_tests::{Program, Stage, binary, wait_for};

use super::cell::Mux;
use super::measure::{Usage, Watch};
use super::workload::{Pane, Printed};
use crate::figures::Distribution;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    socket: PathBuf,
    /// What was stored, by pane, is written there at the end.
    #[arg(long)]
    out: PathBuf,
    /// It ends when this file is there.
    #[arg(long)]
    stop: PathBuf,
}

/// The lines stored of each pane.
type Stored = BTreeMap<u64, Vec<String>>;

/// The poller's own program.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stored = runtime.block_on(poll(args))?;
    let half = args.out.with_extension("half");
    fs::write(&half, serde_json::to_vec(&stored)?)?;
    fs::rename(half, &args.out)?;
    Ok(())
}

async fn poll(args: &Args) -> anyhow::Result<Stored> {
    let since_epoch = wa_link::clock::now().duration_since(wa_proto::Timestamp::UNIX_EPOCH);
    let options = ConnectOptions::new("poller", "poller", Duration::try_from(since_epoch)?);
    // It asks for all it wants: pushes are not looked at.
    let (client, events) = Client::connect(&args.socket, options).await?;
    drop(events);
    let (mut stored, mut before) = (Stored::new(), BTreeMap::new());
    let start = Instant::now();
    for round in 1_u32.. {
        for pane in client.list_panes().await? {
            let id = pane.entry.pane_id;
            let dims = client.dimensions(id).await?.dims;
            let bottom = dims.physical_top + i64::try_from(dims.viewport_rows)?;
            let rows = client.get_lines(id, std::slice::from_ref(&(dims.physical_top..bottom))).await?;
            let view: Vec<String> = rows.iter().map(|row| row.text.trim_end().to_owned()).collect();
            let last: Vec<String> = before.remove(&id).unwrap_or_default();
            stored.entry(id).or_default().extend_from_slice(&view[known(&last, &view)..]);
            before.insert(id, view);
        }
        while start.elapsed() < Duration::from_secs(1) * round {
            if args.stop.exists() {
                return Ok(stored);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(stored)
}

/// How many lines at the beginning of `view` are the end of `last`.
fn known(last: &[String], view: &[String]) -> usize {
    if last == view {
        return view.len();
    }
    (1..=last.len().min(view.len())).rev().find(|count| last.ends_with(&view[..*count])).unwrap_or(0)
}

/// What the poller got, and what it cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Polled {
    /// Of the printed rows that can be told apart; `None` for recorded sessions.
    pub(crate) captured_percent: Option<f64>,
    pub(crate) stored_lines: u64,
    /// Lines that a person would have read.
    pub(crate) read_lines: u64,
    pub(crate) usage: Usage,
    pub(crate) mux: Mux,
}

impl Polled {
    pub(crate) fn stored_per_read(&self) -> f64 {
        self.stored_lines as f64 / self.read_lines.max(1) as f64
    }
}

/// A poller at work.
#[derive(Debug)]
pub(crate) struct Poller {
    // Killed when dropped.
    _program: Program,
    watch: Watch,
    stop: PathBuf,
    out: PathBuf,
}

impl Poller {
    pub(crate) fn start(stage: &Stage) -> anyhow::Result<Self> {
        let (stop, out) = (stage.path("poller.stop"), stage.path("poller.json"));
        let socket = stage.mux_socket();
        let pairs = [("--socket", &socket), ("--out", &out), ("--stop", &stop)];
        let mut args = vec!["capture-poller".as_ref()];
        args.extend(pairs.iter().flat_map(|(name, path)| [name.as_ref(), path.as_os_str()]));
        let program = Program::start(&binary("wa-bench"), args, &[], &stage.path("poller.log"))?;
        let watch = Watch::start(program.pid())?;
        Ok(Self { _program: program, watch, stop, out })
    }

    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        self.watch.usage()
    }

    pub(crate) fn end(self) -> anyhow::Result<Stored> {
        fs::write(&self.stop, "")?;
        wait_for("the poller to end", Duration::from_secs(30), || self.out.exists().then_some(()));
        Ok(serde_json::from_slice(&fs::read(&self.out)?)?)
    }
}

/// Rows with a mark of their own: those captured, and all.
pub(crate) fn captured(stored: &Stored, panes: &[Pane], printed: &[Printed]) -> Option<f64> {
    let (mut found, mut all) = (0, 0);
    for (pane, printed) in panes.iter().zip(printed) {
        let script = pane.script()?;
        let marked: HashSet<_> = script.rows(printed.lines).into_iter().flatten().collect();
        let lines = stored.get(&pane.id).map(Vec::as_slice).unwrap_or_default();
        let seen: HashSet<_> = lines.iter().flat_map(|line| script.keys(line)).collect();
        all += marked.len();
        found += marked.intersection(&seen).count();
    }
    Some(100.0 * found as f64 / all.max(1) as f64)
}

/// Lines stored, blank ones left out.
pub(crate) fn count(stored: &Stored) -> u64 {
    stored.values().flatten().filter(|line| !line.trim().is_empty()).count() as u64
}

/// The time of one real `wezterm cli get-text`, where there is one.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RealPoller {
    NotMeasured(String),
    /// One read of one pane.
    Call(Distribution),
}

impl RealPoller {
    pub(crate) fn measure(socket: &Path, pane: u64) -> anyhow::Result<Self> {
        let probe = Command::new("wezterm").arg("--version").output();
        if !probe.is_ok_and(|output| output.status.success()) {
            return Ok(Self::NotMeasured("wezterm is not on PATH".into()));
        }
        let mut samples = Vec::new();
        for _ in 0..20 {
            let start = Instant::now();
            let output = Command::new("wezterm")
                .args(["-n", "cli", "--prefer-mux", "--no-auto-start", "get-text", "--pane-id"])
                .arg(pane.to_string())
                .env("WEZTERM_UNIX_SOCKET", socket)
                .output()?;
            ensure!(output.status.success(), "wezterm cli: {}", String::from_utf8_lossy(&output.stderr));
            samples.push(start.elapsed());
        }
        Ok(Distribution::of(samples).map_or(Self::NotMeasured("no sample".into()), Self::Call))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_overlap_is_known() {
        let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for (last, view, wanted) in [
            ("a b c", "a b c", 3),
            ("a b c", "b c d", 2),
            ("a b c", "x y z", 0),
            ("c c", "c c d", 2),
            ("", "a", 0),
        ] {
            assert_eq!(known(&lines(last), &lines(view)), wanted, "{last} | {view}");
        }
    }
}
