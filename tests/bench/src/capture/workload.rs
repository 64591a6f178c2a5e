//! The cells of the matrix: what runs in how many panes for how long, and the multiplexer with these panes in it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::Serialize;
use wa_tests::{Program, Stage};

pub(crate) use super::pane::Printed;
use super::sessions::Session;
use super::text::{COLS, Script};

/// What the programs in the panes do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Workload {
    Idle,
    Spinner,
    /// So many bytes a second over all panes together.
    Rate(u64),
    /// `seq 1 LAST` in each pane.
    Seq(u32),
    Sessions,
}

impl Workload {
    /// How a person calls it.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Idle => "idle".into(),
            Self::Spinner => "spinner".into(),
            Self::Rate(bytes) if bytes == 1 << 20 => "1 MiB/s".into(),
            Self::Rate(bytes) => format!("{} KiB/s", bytes >> 10),
            Self::Seq(last) => format!("seq 1 {last}"),
            Self::Sessions => "sessions".into(),
        }
    }
}

/// One cell of the matrix.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Plan {
    pub(crate) workload: Workload,
    pub(crate) panes: u32,
    /// How long it goes on while the node is there, and while it is not. `seq` and sessions take the time they take.
    pub(crate) seconds: f64,
    pub(crate) seconds_without: f64,
    /// Whether the passes without the node are run.
    pub(crate) compared: bool,
}

/// The whole matrix.
pub(crate) fn matrix() -> Vec<Plan> {
    let plan = |workload, seconds, seconds_without| {
        move |panes| Plan { workload, panes, seconds, seconds_without, compared: true }
    };
    let mut plans = Vec::new();
    plans.extend([1, 20, 100].map(plan(Workload::Idle, 20.0, 6.0)));
    plans.extend([1, 20, 100].map(plan(Workload::Spinner, 12.0, 6.0)));
    plans.extend([1, 20, 100].map(plan(Workload::Rate(1 << 20), 15.0, 8.0)));
    plans.extend([1, 20].map(plan(Workload::Seq(200_000), 0.0, 0.0)));
    plans.push(plan(Workload::Seq(40_000), 0.0, 0.0)(100));
    // They take the best part of a minute: compared once.
    let sessions = [1, 20, 100].map(plan(Workload::Sessions, 0.0, 0.0));
    plans.extend(sessions.map(|plan| Plan { compared: plan.panes == 20, ..plan }));
    plans
}

/// A few small cells, each part of the benchmark once: a smoke test, not a measurement.
pub(crate) fn quick() -> Vec<Plan> {
    let plan = |workload, panes, seconds, compared| Plan {
        workload,
        panes,
        seconds,
        seconds_without: 1.5,
        compared,
    };
    vec![
        plan(Workload::Idle, 3, 1.0, false),
        plan(Workload::Spinner, 3, 3.0, false),
        plan(Workload::Rate(128 << 10), 3, 3.0, true),
        plan(Workload::Seq(20_000), 2, 0.0, false),
        plan(Workload::Sessions, 2, 0.0, false),
    ]
}

/// A pane with its program.
#[derive(Debug, Clone)]
pub(crate) struct Pane {
    pub(crate) id: u64,
    pub(crate) what: What,
    done: PathBuf,
}

/// What a pane is known to print.
#[derive(Debug, Clone)]
pub(crate) enum What {
    Script(Script),
    Session(Session),
}

impl Pane {
    pub(crate) fn script(&self) -> Option<Script> {
        match self.what {
            What::Script(script) => Some(script),
            What::Session(_) => None,
        }
    }
}

/// A multiplexer with the panes of a plan, which wait for [`Scene::go`].
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) stage: Stage,
    pub(crate) mux: Program,
    pub(crate) panes: Vec<Pane>,
}

impl Scene {
    pub(crate) fn set(plan: &Plan, seconds: f64, dir: &Path, sessions: &[Session]) -> anyhow::Result<Self> {
        let stage = Stage::new_in(dir)?;
        let mux = stage.start_empty_mux()?;
        let mut commands = Vec::new();
        let mut panes = Vec::new();
        for number in 0..plan.panes {
            let done = stage.path(format!("done-{number}.json"));
            let Cast { name, size, what, arguments } = cast(&stage, plan, number, seconds, sessions)?;
            let command = command(&stage, &name, &done, arguments)?;
            commands.push((command, size.0.into(), size.1.into()));
            panes.push(Pane { id: 0, what, done });
        }
        for (pane, id) in panes.iter_mut().zip(stage.spawn_sized_panes(commands)?) {
            pane.id = id;
        }
        Ok(Self { stage, mux, panes })
    }

    /// The work begins.
    pub(crate) fn go(&self) -> anyhow::Result<()> {
        Ok(fs::write(self.stage.path("go"), "")?)
    }

    /// What each pane has printed, when all are done.
    pub(crate) fn wait_done(&self, limit: Duration) -> anyhow::Result<Vec<Printed>> {
        let end = Instant::now() + limit;
        loop {
            if self.panes.iter().all(|pane| pane.done.exists()) {
                break;
            }
            if Instant::now() > end {
                bail!("the panes' programs did not end within {} s", limit.as_secs());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let read = |pane: &Pane| {
            let text = fs::read(&pane.done).with_context(|| pane.done.display().to_string())?;
            anyhow::Ok(serde_json::from_slice(&text)?)
        };
        self.panes.iter().map(read).collect()
    }
}

/// A pane to be opened.
struct Cast {
    /// The name that its program runs under.
    name: String,
    size: (u16, u16),
    what: What,
    arguments: Vec<String>,
}

fn cast(stage: &Stage, plan: &Plan, number: u32, seconds: f64, sessions: &[Session]) -> anyhow::Result<Cast> {
    let size = (u16::try_from(COLS)?, 24);
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
    let pane = number.to_string();
    let seconds = seconds.to_string();
    let numbered = What::Script(Script::Numbered { pane: number });
    let (what, kind) = match plan.workload {
        Workload::Idle => (numbered, words(&["idle", "--pane", &pane])),
        Workload::Spinner => (numbered, words(&["spinner", "--pane", &pane, "--seconds", &seconds])),
        Workload::Rate(bytes) => {
            let rate = (bytes as f64 / f64::from(plan.panes)).to_string();
            (numbered, words(&["rate", "--pane", &pane, "--seconds", &seconds, "--rate", &rate]))
        }
        Workload::Seq(last) => (What::Script(Script::Seq), words(&["seq", "--last", &last.to_string()])),
        Workload::Sessions => {
            let session = sessions.get(number as usize % sessions.len().max(1)).context("no session")?;
            let path = session.path.display().to_string();
            let size = (session.cols, session.rows);
            let agent = named(stage, &session.agent)?;
            let kind = words(&["play", &path, &agent.display().to_string()]);
            let what = What::Session(session.clone());
            return Ok(Cast { name: "bash".into(), size, what, arguments: kind });
        }
    };
    Ok(Cast { name: "wa-bench".into(), size, what, arguments: kind })
}

/// This very program, under a name by which the node knows a shell or an agent.
fn named(stage: &Stage, program: &str) -> anyhow::Result<PathBuf> {
    let link = stage.path(program);
    if !link.exists() {
        symlink(std::env::current_exe()?, &link)?;
    }
    Ok(link)
}

fn command(stage: &Stage, name: &str, done: &Path, arguments: Vec<String>) -> anyhow::Result<Vec<String>> {
    let text = |path: &Path| path.display().to_string();
    let mut command = vec![text(&named(stage, name)?), "capture-pane".into()];
    command.extend(["--go".into(), text(&stage.path("go")), "--done".into(), text(done)]);
    command.extend(arguments);
    Ok(command)
}
