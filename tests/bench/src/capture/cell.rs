//! One cell of the matrix, in three passes with a fresh multiplexer each: alone, with node and controller, with a poller.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;
use wa_mux::codec;
use wa_tests::{Program, wait_for};

use super::agents::Quality;
use super::baseline::{self, Polled, Poller, RealPoller};
use super::goals;
use super::judge::Account;
use super::log::{Entry, Log, Transcript};
use super::measure::{self, Memory, Usage, Watch, mib};
use super::reading::Played;
use super::sessions::Session;
use super::text::END;
use super::workload::{Plan, Printed, Scene, What, Workload};
use crate::goal::Goal;

/// How long the panes' programs may take beyond their time.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long the log may take to hold the end of every pane.
const DRAIN: Duration = Duration::from_secs(60);
/// A log that has not grown for so long is taken as complete.
const QUIET: Duration = Duration::from_secs(3);

/// What all cells share.
pub(crate) struct Common {
    pub(crate) dir: PathBuf,
    pub(crate) sessions: Vec<Session>,
}

/// The figures of a cell.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Cell {
    pub(crate) workload: String,
    pub(crate) panes: u32,
    pub(crate) output_mib: f64,
    pub(crate) with_node: WithNode,
    /// The multiplexer alone, with the same work.
    pub(crate) mux_alone: Option<Mux>,
    /// Per cent of a core that the multiplexer takes more with the node connected. Says little of programs that print as
    /// fast as they may: see the time per MiB there.
    pub(crate) mux_extra_percent: Option<f64>,
    pub(crate) poller: Option<Polled>,
    pub(crate) goals: Vec<Goal>,
}

/// What the multiplexer used while the programs worked.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Mux {
    pub(crate) usage: Usage,
    /// `None` where little is printed.
    pub(crate) cpu_ms_per_mib: Option<f64>,
}

impl Mux {
    pub(crate) fn new(plan: &Plan, usage: Usage, printed: &[Printed]) -> Self {
        Self { usage, cpu_ms_per_mib: per_mib(plan, usage.cpu_seconds, printed) }
    }
}

/// Milliseconds by MiB of output.
fn per_mib(plan: &Plan, cpu_seconds: f64, printed: &[Printed]) -> Option<f64> {
    let output = mib(printed.iter().map(|pane| pane.bytes).sum());
    (!matches!(plan.workload, Workload::Idle | Workload::Spinner)).then(|| 1e3 * cpu_seconds / output)
}

/// The pass with node and controller.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct WithNode {
    /// Of workloads whose rows are known.
    pub(crate) account: Option<Account>,
    /// Of recorded sessions.
    pub(crate) quality: Option<Quality>,
    /// While the programs worked.
    pub(crate) node: Usage,
    /// Until everything was acknowledged, by MiB of output.
    pub(crate) cpu_ms_per_mib: Option<f64>,
    pub(crate) memory: Memory,
    pub(crate) controller: Usage,
    pub(crate) mux: Mux,
    /// From the last byte printed until the log held the end of every pane; recorded sessions have no such end.
    pub(crate) behind_seconds: Option<f64>,
}

pub(crate) fn run(plan: &Plan, common: &Common) -> anyhow::Result<(Cell, Option<RealPoller>)> {
    let (with_node, printed, reading) = with_node(plan, common).context("with the node")?;
    let (mut mux_alone, mut poller, mut real) = (None, None, None);
    if plan.compared {
        mux_alone = Some(alone(plan, common).context("without the node")?);
        let (polled, call) = polled(plan, common, &reading).context("with the poller")?;
        (poller, real) = (Some(polled), Some(call));
    }
    let mut cell = Cell {
        workload: plan.workload.name(),
        panes: plan.panes,
        output_mib: mib(printed.iter().map(|pane| pane.bytes).sum()),
        mux_extra_percent: mux_alone.map(|alone| with_node.mux.usage.percent() - alone.usage.percent()),
        with_node,
        mux_alone,
        poller,
        goals: Vec::new(),
    };
    cell.goals = judge(plan, &cell.with_node);
    Ok((cell, real))
}

fn judge(plan: &Plan, told: &WithNode) -> Vec<Goal> {
    let mut goals = Vec::new();
    if let Some(account) = &told.account {
        let doubtful = account.lost + account.invented + account.uncounted_gaps + account.altered;
        goals.push(Goal::at_most("rows lost silently", doubtful as f64, 0.0, ""));
        goals.push(Goal::at_most("rows doubled", account.doubled as f64, 0.0, ""));
    }
    if let (Workload::Rate(_), Some(account)) = (plan.workload, &told.account) {
        let (percent, least) = (account.captured_percent(), goals::CAPTURED_PERCENT);
        goals.push(Goal::at_least("rows captured", percent, least, " %"));
        let (percent, most) = (told.node.percent(), goals::CPU_PERCENT_AT_1_MIB);
        goals.push(Goal::at_most("node's share of a core", percent, most, " %"));
    }
    if let (Workload::Spinner, Some(account)) = (plan.workload, &told.account) {
        let (stored, most) = (account.stored_per_read(), goals::STORED_PER_READ);
        goals.push(Goal::at_most("stored lines per line read", stored, most, ""));
    }
    if plan.workload == Workload::Idle {
        let (percent, most) = (told.node.percent(), goals::IDLE_CPU_PERCENT);
        goals.push(Goal::at_most("node's share of a core", percent, most, " %"));
        goals.push(Goal::at_most("node's memory", told.memory.rss_mib, goals::IDLE_RSS_MIB, " MiB"));
    }
    if let Some(quality) = &told.quality {
        let (stored, most) = (quality.stored_per_read(), goals::STORED_PER_READ);
        goals.push(Goal::at_most("stored lines per line read", stored, most, ""));
        let (present, least) = (quality.present_percent(), goals::PRESENT_PERCENT);
        goals.push(Goal::at_least("final scrollback in the log", present, least, " %"));
    }
    goals
}

fn limit(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds) + PATIENCE
}

/// Starts the work; for idle panes: lets them print their few lines and come to rest.
fn begin(plan: &Plan, scene: &Scene) -> anyhow::Result<()> {
    if plan.workload == Workload::Idle {
        scene.go()?;
        scene.wait_done(PATIENCE)?;
        std::thread::sleep(QUIET);
    }
    Ok(())
}

/// The work itself: what was printed.
fn work(plan: &Plan, scene: &Scene, seconds: f64) -> anyhow::Result<Vec<Printed>> {
    if plan.workload == Workload::Idle {
        std::thread::sleep(Duration::from_secs_f64(seconds));
    } else {
        scene.go()?;
    }
    scene.wait_done(limit(seconds))
}

fn alone(plan: &Plan, common: &Common) -> anyhow::Result<Mux> {
    let scene = Scene::set(plan, plan.seconds_without, &common.dir, &common.sessions)?;
    begin(plan, &scene)?;
    let watch = Watch::start(scene.mux.pid())?;
    let printed = work(plan, &scene, plan.seconds_without)?;
    Ok(Mux::new(plan, watch.usage()?, &printed))
}

/// What the sessions gave to read: the same in every pass.
type Readings = Option<u64>;

fn polled(plan: &Plan, common: &Common, read: &Readings) -> anyhow::Result<(Polled, RealPoller)> {
    let scene = Scene::set(plan, plan.seconds_without, &common.dir, &common.sessions)?;
    let poller = Poller::start(&scene.stage)?;
    begin(plan, &scene)?;
    let (watch, mux) = (Poller::usage(&poller)?, Watch::start(scene.mux.pid())?);
    let printed = work(plan, &scene, plan.seconds_without)?;
    let (after, mux) = (poller.usage()?, mux.usage()?);
    // One more round, for what was printed last.
    std::thread::sleep(Duration::from_millis(1500));
    let stored = poller.end()?;
    let lines = || printed.iter().map(|pane| u64::from(pane.lines) + 1).sum();
    let polled = Polled {
        captured_percent: baseline::captured(&stored, &scene.panes, &printed),
        stored_lines: baseline::count(&stored),
        read_lines: read.unwrap_or_else(lines),
        usage: Usage {
            cpu_seconds: after.cpu_seconds - watch.cpu_seconds,
            wall_seconds: after.wall_seconds - watch.wall_seconds,
        },
        mux: Mux::new(plan, mux, &printed),
    };
    let pane = scene.panes.first().context("no pane")?;
    Ok((polled, RealPoller::measure(&scene.stage.mux_socket(), pane.id)?))
}

/// Node and controller that look at a scene.
struct Watched {
    log: Log,
    node: Program,
    controller: Program,
}

impl Watched {
    fn start(scene: &Scene) -> anyhow::Result<Self> {
        let controller = scene.stage.start_controller(&[])?;
        scene.stage.enroll_node()?;
        let node = scene.stage.start_node(&[])?;
        let log = Log::open(&scene.stage.context_file(), scene.stage.host())?;
        wait_for("every pane to be seen", Duration::from_secs(60), || {
            log.panes().is_ok_and(|panes| panes == scene.panes.len()).then_some(())
        });
        Ok(Self { log, node, controller })
    }
}

fn with_node(plan: &Plan, common: &Common) -> anyhow::Result<(WithNode, Vec<Printed>, Readings)> {
    let scene = Scene::set(plan, plan.seconds, &common.dir, &common.sessions)?;
    let watched = Watched::start(&scene)?;
    begin(plan, &scene)?;
    let node = Watch::start(watched.node.pid())?;
    let controller = Watch::start(watched.controller.pid())?;
    let mux = Watch::start(scene.mux.pid())?;
    let printed = work(plan, &scene, plan.seconds)?;
    let (node_usage, controller, mux) = (node.usage()?, controller.usage()?, mux.usage()?);
    let done = Instant::now();
    let (mut account, mut quality, mut read, mut behind_seconds) = (None, None, None, None);
    if plan.workload == Workload::Sessions {
        let told = sessions(&scene, &watched.log)?;
        (read, quality) = (Some(told.read), Some(told));
    } else {
        drain(&scene, &watched.log);
        behind_seconds = Some(done.elapsed().as_secs_f64());
    }
    let (memory, total) = (measure::memory(watched.node.pid())?, node.usage()?.cpu_seconds);
    if quality.is_none() {
        account = Some(account_of(&scene, &watched.log, &printed)?);
    }
    let told = WithNode {
        account,
        quality,
        node: node_usage,
        cpu_ms_per_mib: per_mib(plan, total, &printed),
        memory,
        controller,
        mux: Mux::new(plan, mux, &printed),
        behind_seconds,
    };
    Ok((told, printed, read))
}

/// Waits until the end of every pane is in the log, as long as that may take: what is missing then is found later.
fn drain(scene: &Scene, log: &Log) {
    let end = Instant::now() + DRAIN;
    let mut open: Vec<u64> = scene.panes.iter().map(|pane| pane.id).collect();
    let ended = |pane: &u64| {
        let tail = log.of_pane(*pane, 8).unwrap_or_default();
        tail.entries.iter().any(|entry| matches!(entry, Entry::Line { text, .. } if text.trim() == END))
    };
    while !open.is_empty() && Instant::now() < end {
        open.retain(|pane| !ended(pane));
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn account_of(scene: &Scene, log: &Log, printed: &[Printed]) -> anyhow::Result<Account> {
    let mut sum = Account::default();
    for (pane, printed) in scene.panes.iter().zip(printed) {
        if let Some(script) = pane.script() {
            sum.add(Account::of(pane.id, script, printed.lines, &log.of_pane(pane.id, 0)?));
        }
    }
    Ok(sum)
}

/// Looks at what the panes hold, ends them, and judges the log when it has come to rest.
fn sessions(scene: &Scene, log: &Log) -> anyhow::Result<Quality> {
    std::thread::sleep(QUIET);
    let held = held_then_ended(scene)?;
    let transcripts = settled(scene, log)?;
    let mut sum = Quality::default();
    let mut played: HashMap<&str, Played> = HashMap::new();
    for ((pane, transcript), rows) in scene.panes.iter().zip(&transcripts).zip(&held) {
        if let What::Session(session) = &pane.what {
            let name = session.name.as_str();
            if !played.contains_key(name) {
                played.insert(name, Played::of(session)?);
            }
            let reading = played.get(name).map(|played| played.conclude(rows)).unwrap_or_default();
            sum.add(Quality::of(&reading, name, transcript));
        }
    }
    Ok(sum)
}

/// The rows that the multiplexer holds of each pane.
fn held_then_ended(scene: &Scene) -> anyhow::Result<Vec<Vec<codec::Row>>> {
    scene.stage.with_mux(async |client| {
        let mut held = Vec::new();
        for pane in &scene.panes {
            let told = client.dimensions(pane.id).await?;
            let bottom = told.dims.physical_top + i64::try_from(told.dims.viewport_rows)?;
            let all = told.dims.scrollback_top..bottom;
            held.push(client.get_lines(pane.id, std::slice::from_ref(&all)).await?);
        }
        for pane in &scene.panes {
            client.kill_pane(pane.id).await?;
        }
        Ok(held)
    })
}

/// The logs of all panes, when they have not grown for a while.
fn settled(scene: &Scene, log: &Log) -> anyhow::Result<Vec<Transcript>> {
    let (end, mut before) = (Instant::now() + DRAIN, Vec::new());
    loop {
        let now =
            scene.panes.iter().map(|pane| log.of_pane(pane.id, 0)).collect::<anyhow::Result<Vec<_>>>()?;
        if now == before || Instant::now() > end {
            return Ok(now);
        }
        before = now;
        std::thread::sleep(QUIET);
    }
}
