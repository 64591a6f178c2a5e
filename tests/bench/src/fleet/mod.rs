//! `fleet`: many nodes with many panes on one controller.
//!
//! The controller is the program as it is shipped, a process of its own with its files on the disk. The nodes run in
//! a few processes: production's session, spool, journal and board, each node with an identity that it got by redeeming
//! a token; only their panes are made up. Their spools lie in memory, since one disk cannot do what a thousand do.
//! Every so often a turn begins or ends somewhere: an event, a change of the pane's state, and the lines printed before
//! it. Panes with a turn under way print all the time, which each node tells once a second.
//!
//! Phases, all under load: (1) all is well; (2) some nodes read what they are told slowly or not at all, others are
//! stopped (SIGSTOP): connected and silent; (3) the controller is killed (SIGKILL), is away for a while, and starts again;
//! then the load ends, everything is delivered, and the log is counted: each event once.
//!
//! - *Event latency*: see `watch`. Of the nodes without trouble, with and without the others.
//! - *Back*: from the kill until all nodes are connected, and until all that they spooled meanwhile is acknowledged.
//! - *Status*: `wa fleet status` as a process, and its call alone; beside them `wa --version` and an empty call to another
//!   process, which tell what the busy machine alone costs.

mod crew;
mod door;
pub(crate) mod echo;
mod node;
pub(crate) mod nodes;
mod probe;
mod relay;
mod report;
mod stand;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::time::{Instant, sleep};
use wa_link::clock;
use wa_link::shutdown::{Shutdown, Tasks};
use wa_link::tls;
use wa_proto::wire::to_us;
use wa_tests::Program;

use crate::capture::measure::{self, Watch as CpuWatch};
use crate::disk;
use crate::figures::Distribution;
use crate::goal::Goal;
use crew::Crew;
use echo::Echo;
use nodes::Order;
pub(crate) use report::Report;
use report::{Accounts, Cpu, Phase, Restart};
use stand::{Client, Stand};
use watch::Watch;

const LATENCY_MS: f64 = 400.0;
const RSS_MIB: f64 = 1024.0;
const BACK_S: f64 = 30.0;
const STATUS_MS: f64 = 200.0;
const APART_MS: f64 = 1000.0;
/// Of the nodes, one in so many is slow, and one is stopped.
const TROUBLED: u32 = 20;
/// Longer than any node should need to come back.
const BACK_LIMIT: Duration = Duration::from_secs(150);
/// For events of a phase to arrive after it.
const LATE: Duration = Duration::from_secs(60);
/// Descriptors of the controller and of the benchmark beyond one for each node.
const FILES: u64 = 256;
const MEMORY: &str = "/dev/shm";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Little of it: whether it works, not how fast it is.
    #[arg(long)]
    quick: bool,
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(20..=20_000))]
    nodes: u32,
    /// On each node.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    panes: u32,
    /// Events a second, of the whole fleet.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Lines that are printed before each event.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=100))]
    lines: u32,
    /// Seconds of each phase under load.
    #[arg(long = "for", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Seconds for which the controller is away.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=600))]
    away: u32,
    /// Folder for the controller's files: on the disk to be measured. Default: the present one.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Folder for the files of the nodes. Default: in memory where there is a /dev/shm, else as --dir.
    #[arg(long)]
    nodes_dir: Option<PathBuf>,
}

/// How large the run is.
#[derive(Debug, Clone, Copy)]
struct Size {
    nodes: u32,
    panes: u32,
    rate: u32,
    lines: u32,
    time: Duration,
    away: Duration,
    slow: u32,
    stopped: u32,
}

impl Size {
    fn of(args: &Args) -> Self {
        let Args { nodes, panes, rate, lines, .. } = *args;
        let (time, away) = (Duration::from_secs(args.seconds.into()), Duration::from_secs(args.away.into()));
        let few = if args.quick { (50, 5, 100) } else { (nodes, panes, rate) };
        let (nodes, panes, rate) = few;
        let (time, away) =
            if args.quick { (Duration::from_secs(3), Duration::from_secs(3)) } else { (time, away) };
        let troubled = nodes / TROUBLED;
        Self { nodes, panes, rate, lines, time, away, slow: troubled, stopped: troubled }
    }

    /// Nodes that nothing happens to; they come first.
    fn well(&self) -> u32 {
        self.nodes - self.slow - self.stopped
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Report> {
    let size = Size::of(args);
    nodes::need_files(u64::from(size.nodes) + FILES)?;
    tls::install_provider();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(Box::pin(measure(args, size)))
}

async fn measure(args: &Args, size: Size) -> anyhow::Result<Report> {
    let (began, began_us) = (Instant::now(), to_us(clock::now()));
    let memory = PathBuf::from(MEMORY);
    let in_memory = if memory.is_dir() { memory } else { args.dir.clone() };
    let spools = tempfile::Builder::new()
        .prefix("wa-fleet-")
        .tempdir_in(args.nodes_dir.as_ref().unwrap_or(&in_memory))?;
    let stand = Arc::new(Stand::new(&args.dir, spools.path().to_owned())?);
    let fsync =
        Distribution::of(disk::fsync_times(&stand.stage.path(""), 200)?).context("no fsync sample")?;
    let controller = stand.start_controller()?;
    let mut client = stand.client().await?;
    let enrolling = Instant::now();
    stand.enrol(size.nodes).await?;
    let enrolled_s = enrolling.elapsed().as_secs_f64();
    let connecting = Instant::now();
    let crews = Crews::start(&stand, size).await?;
    stand::all_connected(&mut client, size.nodes, BACK_LIMIT).await?;
    let first_connected_s = connecting.elapsed().as_secs_f64();
    let tasks = Tasks::new(Shutdown::new());
    let echo = Echo::start().await?;
    let watch = Watch::start(stand.client().await?, &tasks);
    let mut fleet = Fleet { size, stand, controller: Some(controller), client, crews, echo, watch };

    let calm = fleet.phase().await.context("the phase in which all is well")?;
    let troubled = fleet.troubled().await.context("the phase with slow and stopped nodes")?;
    let restart = fleet.restart().await.context("the restart")?;
    let accounts = fleet.close(began_us).await?;
    drop(tasks.finish(Duration::from_secs(1)).await);
    Ok(Report {
        schema: "wa.bench.fleet/1",
        quick: args.quick,
        seconds: began.elapsed().as_secs_f64(),
        nodes: size.nodes,
        panes: size.panes,
        slow: size.slow,
        stopped: size.stopped,
        events_per_s: size.rate,
        lines_per_event: size.lines,
        enrolled_s,
        first_connected_s,
        goals: goals(&calm, &troubled, &restart, &accounts),
        calm,
        troubled,
        restart,
        accounts,
        fsync,
        in_memory: disk::is_memory(&args.dir)?,
        spools_in_memory: disk::is_memory(spools.path())?,
    })
}

fn goals(calm: &Phase, troubled: &Phase, restart: &Restart, accounts: &Accounts) -> Vec<Goal> {
    let peak = [calm.controller, troubled.controller, restart.controller].map(|held| held.peak_mib);
    let mut goals = vec![
        Goal::at_most("event latency p99", calm.latency.p99_ms, LATENCY_MS, " ms"),
        Goal::at_most("the same beside slow nodes", troubled.latency.p99_ms, LATENCY_MS, " ms"),
        Goal::at_most("controller's memory", peak.into_iter().fold(0.0, f64::max), RSS_MIB, " MiB"),
        Goal::at_most("back after kill -9", restart.connected_s.max(restart.replayed_s), BACK_S, " s"),
        Goal::at_most("wa fleet status p95", calm.asked.command.p95_ms, STATUS_MS, " ms"),
        Goal::at_most("its call alone p95", calm.asked.call.p95_ms, STATUS_MS, " ms"),
        Goal::at_most("wa fleet status p95, trouble", troubled.asked.command.p95_ms, STATUS_MS, " ms"),
        Goal::at_most("events lost", accounts.spooled.abs_diff(accounts.logged) as f64, 0.0, ""),
        Goal::at_most("events doubled", accounts.doubled as f64, 0.0, ""),
    ];
    let apart = restart.knocks.shortest_ms;
    goals.extend(apart.map(|ms| Goal::at_least("attempts of a node, apart", ms, APART_MS, " ms")));
    goals
}

/// The processes of the nodes.
struct Crews {
    well: Crew,
    slow: Crew,
    stopped: Crew,
}

impl Crews {
    async fn start(stand: &Stand, size: Size) -> anyhow::Result<Self> {
        let start = async |first: u32, count: u32, relay: bool| {
            let mut arguments: Vec<String> = [
                ("--first", first),
                ("--count", count),
                ("--panes", size.panes),
                ("--port", stand.port.into()),
            ]
            .into_iter()
            .flat_map(|(name, value)| [name.to_owned(), value.to_string()])
            .collect();
            arguments.extend(["--dir".to_owned(), stand.nodes.display().to_string()]);
            arguments.extend(relay.then(|| "--relay".to_owned()));
            Crew::start(&arguments, count).await
        };
        let well = size.well();
        Ok(Self {
            well: start(0, well, false).await?,
            slow: start(well, size.slow, true).await?,
            stopped: start(well + size.slow, size.stopped, false).await?,
        })
    }

    fn all(&mut self) -> [&mut Crew; 3] {
        [&mut self.well, &mut self.slow, &mut self.stopped]
    }

    async fn tell(&mut self, order: Order) -> anyhow::Result<()> {
        for crew in self.all() {
            crew.tell(order).await?;
        }
        Ok(())
    }

    async fn load(&mut self, size: Size) -> anyhow::Result<()> {
        for crew in self.all() {
            crew.load(size.rate, size.nodes, size.lines).await?;
        }
        Ok(())
    }
}

struct Fleet {
    size: Size,
    stand: Arc<Stand>,
    controller: Option<Program>,
    client: Client,
    crews: Crews,
    echo: Echo,
    watch: Watch,
}

/// Time on the processor of everybody, from now on.
struct Costs {
    controller: CpuWatch,
    nodes: Vec<CpuWatch>,
    bench: CpuWatch,
}

impl Costs {
    fn start(controller: u32, crews: &Crews) -> anyhow::Result<Self> {
        let nodes = [&crews.well, &crews.slow, &crews.stopped].map(|crew| CpuWatch::start(crew.pid()?));
        Ok(Self {
            controller: CpuWatch::start(controller)?,
            nodes: nodes.into_iter().collect::<Result<_, _>>()?,
            bench: CpuWatch::start(std::process::id())?,
        })
    }

    fn so_far(&self) -> anyhow::Result<Cpu> {
        let seconds = |watch: &CpuWatch| Ok::<_, anyhow::Error>(watch.usage()?.cpu_seconds);
        let nodes: Vec<f64> = self.nodes.iter().map(seconds).collect::<Result<_, _>>()?;
        Ok(Cpu {
            controller: seconds(&self.controller)?,
            nodes: nodes.iter().sum(),
            bench: seconds(&self.bench)?,
        })
    }
}

impl Fleet {
    fn pid(&self) -> anyhow::Result<u32> {
        self.controller.as_ref().map(Program::pid).context("the controller is away")
    }

    /// Load for a while, and what it was like for the nodes without trouble.
    async fn phase(&mut self) -> anyhow::Result<Phase> {
        self.crews.load(self.size).await?;
        let before = self.crews.well.told.turns;
        // The first second belongs to the start.
        sleep(Duration::from_secs(1)).await;
        let costs = Costs::start(self.pid()?, &self.crews)?;
        let (from_us, began) = (to_us(clock::now()), Instant::now());
        let until = began + self.size.time;
        let asked = probe::ask(&self.stand, &self.client, &self.echo, self.size.nodes, until).await?;
        let (to, seconds) = (to_us(clock::now()), began.elapsed().as_secs_f64());
        let cpu = costs.so_far()?;
        self.crews.well.tell(Order::Quiet).await?;
        let (well, spooled) = (self.size.well(), self.crews.well.told.turns);
        ensure!(spooled > before, "the nodes have spooled nothing");
        // Those that come late count most.
        self.watch.until(well, spooled, LATE).await?;
        let seen = self.watch.between(from_us, to);
        let took = seen.iter().filter(|sight| sight.node < well).map(|sight| sight.took).collect();
        Ok(Phase {
            seconds,
            events_per_s: seen.len() as f64 / seconds,
            latency: Distribution::of(took).context("no event was seen")?,
            late_ms: self.crews.well.told.late_ms,
            asked,
            cpu,
            controller: measure::memory(self.pid()?)?,
        })
    }

    async fn troubled(&mut self) -> anyhow::Result<Phase> {
        self.crews.load(self.size).await?;
        self.crews.slow.tell(Order::Slow).await?;
        self.crews.stopped.stop()?;
        let stopped = std::mem::replace(&mut self.crews.stopped.count, 0);
        let phase = self.phase().await;
        self.crews.stopped.count = stopped;
        self.crews.stopped.go_on()?;
        self.crews.slow.tell(Order::Full).await?;
        stand::all_connected(&mut self.client, self.size.nodes, BACK_LIMIT).await?;
        phase
    }

    /// Kills the controller under load, and lets it come back.
    async fn restart(&mut self) -> anyhow::Result<Restart> {
        self.crews.load(self.size).await?;
        sleep(Duration::from_secs(1)).await;
        let killed = Instant::now();
        let port = self.stand.port;
        if let Some(controller) = self.controller.take() {
            controller.kill();
        }
        let knocks = door::stand(port, self.size.away).await?;
        let started = Instant::now();
        self.controller = Some(self.stand.start_controller()?);
        let costs = Costs::start(self.pid()?, &self.crews)?;
        self.client = self.stand.client().await?;
        let answers_s = started.elapsed().as_secs_f64();
        stand::all_connected(&mut self.client, self.size.nodes, BACK_LIMIT).await?;
        let connected_s = killed.elapsed().as_secs_f64();
        self.crews.tell(Order::Acknowledged).await?;
        Ok(Restart {
            knocks,
            answers_s,
            connected_s,
            replayed_s: killed.elapsed().as_secs_f64(),
            cpu: costs.so_far()?,
            controller: measure::memory(self.pid()?)?,
        })
    }

    /// Ends the load, waits until everything is delivered, and counts.
    async fn close(mut self, began_us: i64) -> anyhow::Result<Accounts> {
        self.crews.tell(Order::Quiet).await?;
        self.crews.tell(Order::Acknowledged).await?;
        let spooled = self.crews.all().iter().map(|crew| crew.told.turns).sum();
        let lines = self.crews.all().iter().map(|crew| crew.told.lines).sum();
        let (logged, doubled) = watch::count(&self.stand, began_us).await?;
        let Crews { well, slow, stopped } = self.crews;
        for crew in [well, slow, stopped] {
            crew.end().await?;
        }
        if let Some(controller) = self.controller {
            controller.terminate()?;
        }
        Ok(Accounts { spooled, lines, logged, doubled })
    }
}
