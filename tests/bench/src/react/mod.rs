//! `react`: from a trigger printed in a pane to the first keystroke that its program receives.
//!
//! Everything is as in a fleet: a multiplexer, a node and a controller as three processes, mutual TLS over loopback,
//! durable at both ends, the files on a disk and not in memory. A rule of the bench's own recognises the trigger, a
//! workflow of its own presses a key. Each pane's program takes the time itself, from just before its write to the
//! return of its read, so the clock is one and the way is whole: pty, multiplexer (which waits 3 ms for more), rules,
//! spool, wire, log, workflow, outbox, journal, permit, guard, key, pty.
//!
//! The baseline is what people do without `wa`: a loop that calls `wezterm cli get-text` once a second.

pub(crate) mod pane;

use std::fmt;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::Serialize;
use wa_tests::{Stage, wait_for};

use crate::disk;
use crate::figures::Distribution;

const GOAL_P50_MS: f64 = 7.0;
const GOAL_P99_MS: f64 = 15.0;

/// Rows are recognised in panes whose foreground program is `opencode`, an agent without a composer grammar: the pane program runs under a link of that name.
const PACK: &str = r#"
schema = "wa.pack/1"

[[rule]]
id = "bench.trigger"
event = "question.asked"
agent = "opencode"
region = "transcript"
columns = [0, 0]
literals = ["wa-bench trigger"]
pattern = 'wa-bench trigger (?<number>\d+)'
witnesses = ["screen", "process"]
rearm = "once"
cooldown = 0

[[rule.example]]
text = "wa-bench trigger 17"
fields = { number = "17" }
"#;

const WORKFLOW: &str = r#"
name = "bench-react"
version = 1
on = "question.asked"
max_actions = 1

[[step]]
do = "keys"
keys = ["y"]
timeout = "10s"
"#;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Panes on the host; each triggers in turn.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    panes: u32,
    /// Triggers in all, at 20 a second.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    triggers: u32,
    /// Folder for the files of the run: on the disk to be measured. Default: the present one.
    #[arg(long, default_value = ".")]
    dir: std::path::PathBuf,
}

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    schema: &'static str,
    panes: u32,
    triggers: u32,
    /// Triggers whose key never came.
    lost: u32,
    react: Distribution,
    fsync: Distribution,
    /// The files lay in memory: the figure is not valid.
    in_memory: bool,
    goal_p50_ms: f64,
    goal_p99_ms: f64,
    baseline: Baseline,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Baseline {
    NotMeasured(String),
    /// A poller that reads every pane once a second.
    Poller(Distribution),
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = |figure: f64, goal: f64| if figure <= goal { "met" } else { "missed" };
        writeln!(f, "react, {} panes, {} triggers, {} lost", self.panes, self.triggers, self.lost)?;
        writeln!(f, "  trigger to key   {}", self.react)?;
        writeln!(
            f,
            "  fsync of 512 B   {}{}",
            self.fsync,
            if self.in_memory { "  IN MEMORY: not valid" } else { "" }
        )?;
        writeln!(
            f,
            "  goal p50         {:.2} ms: {}",
            self.goal_p50_ms,
            mark(self.react.p50_ms, self.goal_p50_ms)
        )?;
        writeln!(
            f,
            "  goal p99         {:.2} ms: {}",
            self.goal_p99_ms,
            mark(self.react.p99_ms, self.goal_p99_ms)
        )?;
        match &self.baseline {
            Baseline::NotMeasured(why) => writeln!(f, "  1 s poller       not measured: {why}"),
            Baseline::Poller(times) => writeln!(f, "  1 s poller       {times}"),
        }
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Report> {
    let mut stage = Stage::new_in(&args.dir)?;
    let fsync = Distribution::of(disk::fsync_times(&stage.path(""), 400)?).context("no fsync sample")?;
    let (pack, workflow) = (stage.path("bench-pack.toml"), stage.path("bench-workflow.toml"));
    fs::write(&pack, PACK)?;
    fs::write(&workflow, WORKFLOW)?;
    let node_config = stage.path("node.toml");
    let controller_config = stage.path("controller.toml");
    fs::write(&node_config, format!("rule_packs = [{:?}]\n", pack.display().to_string()))?;
    fs::write(
        &controller_config,
        format!("panes_per_minute = 1000000\nworkflows = [{:?}]\n", workflow.display().to_string()),
    )?;

    let _mux = stage.start_mux("80x24", &["/bin/sh", "-c", "exec sleep 100000"])?;
    let _controller = stage.start_controller(&["--config", path_text(&controller_config)?])?;
    stage.enroll_node()?;
    let rounds = args.triggers.div_ceil(args.panes);
    spawn_panes(&stage, args.panes, rounds)?;
    let _node = stage.start_node(&["--config", path_text(&node_config)?])?;
    wait_recognised(&stage, args.panes);

    fs::write(stage.path("go"), "")?;
    let time = schedule(args.panes) * rounds + Duration::from_secs(20);
    let samples = collect(&stage, args.panes, args.panes * rounds, time)?;
    let got = u32::try_from(samples.len())?;
    if got < args.panes * rounds {
        explain_losses(&stage, args.panes * rounds);
        stage.keep();
    }
    let react = Distribution::of(samples).context("no key arrived")?;
    Ok(Report {
        schema: "wa.bench.react/1",
        panes: args.panes,
        triggers: args.panes * rounds,
        lost: args.panes * rounds - got,
        goal_p50_ms: GOAL_P50_MS + 3.0 * fsync.p50_ms,
        goal_p99_ms: GOAL_P99_MS + 3.0 * fsync.p99_ms,
        react,
        fsync,
        in_memory: disk::is_memory(&stage.path(""))?,
        baseline: baseline(&stage)?,
    })
}

fn path_text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("the folder's name is not UTF-8")
}

/// How long one round of all panes takes at 20 triggers a second.
fn schedule(panes: u32) -> Duration {
    Duration::from_millis(50) * panes
}

/// Each pane runs the trigger program under the name `opencode`, 50 ms behind the one before.
fn spawn_panes(stage: &Stage, panes: u32, rounds: u32) -> anyhow::Result<()> {
    let link = stage.path("opencode");
    symlink(std::env::current_exe()?, &link)?;
    let command = |pane: u32| {
        vec![
            link.display().to_string(),
            "react-pane".into(),
            "--samples".into(),
            stage.path(format!("samples-{pane}")).display().to_string(),
            "--delay-ms".into(),
            (pane * 50).to_string(),
            "--every-ms".into(),
            schedule(panes).as_millis().to_string(),
            "--triggers".into(),
            rounds.to_string(),
            "--go".into(),
            stage.path("go").display().to_string(),
        ]
    };
    stage.spawn_panes((0..panes).map(command).collect())
}

/// Every pane is known to run its program: from now on a trigger has both its witnesses.
fn wait_recognised(stage: &Stage, panes: u32) {
    wait_for("every pane to be recognised", Duration::from_secs(60), || {
        let status = stage.wa(&["status", "-l", "agent=opencode", "-o", "json"]);
        let items = (status.code == 0).then(|| status.json())?;
        (items["items"].as_array()?.len() == panes as usize).then_some(())
    });
}

/// What became of the runs that pressed no key, for the person at the terminal. The files stay for a closer look.
fn explain_losses(stage: &Stage, triggers: u32) {
    let runs = stage.wa(&["run", "list", "--limit", &triggers.to_string(), "-o", "jsonl"]);
    let events = stage.wa(&["events", "-o", "jsonl"]);
    let asked = events.stdout.lines().filter(|line| line.contains("bench.trigger")).count();
    eprintln!("{asked} of {triggers} triggers were recognised; see {}", stage.path("").display());
    for run in runs.stdout.lines().filter(|line| !line.contains("\"succeeded\"")) {
        eprintln!("{run}");
    }
}

fn collect(stage: &Stage, panes: u32, expected: u32, time: Duration) -> anyhow::Result<Vec<Duration>> {
    let end = Instant::now() + time;
    loop {
        let mut samples = Vec::new();
        for pane in 0..panes {
            let text = fs::read_to_string(stage.path(format!("samples-{pane}"))).unwrap_or_default();
            for line in text.lines() {
                samples.push(Duration::from_nanos(line.parse()?));
            }
        }
        if samples.len() >= expected as usize || Instant::now() > end {
            return Ok(samples);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The reaction time of a poller that reads a pane once a second: half a period and the call, at best; measured by its
/// calls, each of which finds the trigger at a moment that is spread evenly over the period.
fn baseline(stage: &Stage) -> anyhow::Result<Baseline> {
    let probe = Command::new("wezterm").arg("--version").output();
    if !probe.is_ok_and(|output| output.status.success()) {
        return Ok(Baseline::NotMeasured("wezterm is not on PATH".into()));
    }
    let mut samples = Vec::new();
    for call in 0..40_u32 {
        let start = Instant::now();
        let output = Command::new("wezterm")
            .args(["-n", "cli", "--prefer-mux", "--no-auto-start", "get-text", "--pane-id", "0"])
            .env("WEZTERM_UNIX_SOCKET", stage.mux_socket())
            .output()?;
        ensure!(output.status.success(), "wezterm cli get-text: {}", String::from_utf8_lossy(&output.stderr));
        // A trigger at phase k/40 of the period waits for the rest of it, then for the call.
        samples.push(start.elapsed() + Duration::from_millis(1000) * (40 - call) / 40);
    }
    Ok(Baseline::Poller(Distribution::of(samples).context("no call")?))
}
