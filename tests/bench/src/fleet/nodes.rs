//! The process of many nodes: starts their sessions and does what it is told on standard input, one word at a time, one
//! answer a line. It ends with its standard input.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::process::{Signal, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};
use wa_link::limits;
use wa_link::shutdown::{Shutdown, Tasks};
use wa_link::tls;
use wa_match::Engine;

use super::node::{self, SimNode, lines};
use super::relay::{self, Pace, Relay};

/// Descriptors of a node: spool, its directory while it is synced, journal, connection, and two more through a relay.
const FILES_OF_A_NODE: u64 = 6;
const OTHER_FILES: u64 = 128;
/// Between looks at spools that are not acknowledged to the end.
const LOOK: Duration = Duration::from_millis(20);
const GRACE: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Holds a folder for each node, enrolled.
    #[arg(long)]
    dir: PathBuf,
    #[arg(long)]
    first: u32,
    #[arg(long)]
    count: u32,
    #[arg(long)]
    panes: u32,
    /// The controller's port on every loopback address.
    #[arg(long)]
    port: u16,
    /// Through relays, whose pace can be set.
    #[arg(long)]
    relay: bool,
}

/// What nodes are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Order {
    /// Turns in all panes of these nodes, evenly, this many in ten seconds, each with so many printed lines before it.
    Load { turns_in_10_s: u32, lines: u32 },
    /// No more turns.
    Quiet,
    /// Answer when everything that is spooled by now is acknowledged.
    Acknowledged,
    /// Read what the controller sends slowly, or not at all.
    Slow,
    /// As fast as it comes.
    Full,
}

/// The answer to every order.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Told {
    /// Turns spooled so far.
    pub(super) turns: u64,
    /// Lines spooled so far.
    pub(super) lines: u64,
    /// The longest that a turn was spooled behind its time since the answer before, in milliseconds.
    pub(super) late_ms: f64,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    // A process that was stopped does not see that its standard input ends.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    need_files(u64::from(args.count) * FILES_OF_A_NODE + OTHER_FILES)?;
    tls::install_provider();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(args))
}

/// Makes sure that this process may have so many files open, and those that it starts.
pub(super) fn need_files(need: u64) -> anyhow::Result<()> {
    let may = limits::raise_open_files().context("the limit on open files cannot be raised")?;
    ensure!(
        may.is_none_or(|may| may >= need),
        "this takes {need} open files and {} are allowed: raise the hard limit (`ulimit -Hn`) or give fewer --nodes",
        may.unwrap_or_default()
    );
    Ok(())
}

async fn serve(args: &Args) -> anyhow::Result<()> {
    let tasks = Tasks::new(Shutdown::new());
    let mut crew = Crew::start(args, &tasks).await?;
    let mut orders = read_orders()?;
    crew.answer()?;
    while let Some(order) = orders.recv().await {
        crew.obey(serde_json::from_str(&order)?).await;
        crew.answer()?;
    }
    drop(tasks.finish(GRACE).await);
    Ok(())
}

/// Lines of standard input, until it ends.
fn read_orders() -> anyhow::Result<mpsc::Receiver<String>> {
    let (sender, orders) = mpsc::channel(1);
    let read = move || {
        for order in std::io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(order).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("orders".into()).spawn(read)?;
    Ok(orders)
}

struct Crew {
    nodes: Arc<Vec<SimNode>>,
    relay: Option<Relay>,
    tasks: Tasks,
    load: Option<(Shutdown, JoinHandle<()>)>,
    told: Arc<std::sync::Mutex<Told>>,
}

impl Crew {
    async fn start(args: &Args, tasks: &Tasks) -> anyhow::Result<Self> {
        let relay = match args.relay {
            true => Some(Relay::start(SocketAddr::from(([127, 0, 0, 1], args.port)), false, tasks).await?),
            false => None,
        };
        let engine = Arc::new(Engine::with_packs(&[])?);
        let mut nodes = Vec::new();
        for at in args.first..args.first + args.count {
            let url = match &relay {
                Some(relay) => format!("https://{}", relay.address),
                None => format!("https://{}:{}", relay::loopback(1, at), args.port),
            };
            let (state, panes) = (node::state_dir(&args.dir, at), args.panes);
            let node = SimNode::start(&state, url, panes, &engine, tasks);
            nodes.push(node.with_context(|| node::name(at))?);
        }
        let nodes = Arc::new(nodes);
        tick(&nodes, tasks);
        Ok(Self { nodes, relay, tasks: tasks.clone(), load: None, told: Arc::default() })
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::Load { turns_in_10_s, lines } => {
                self.quiet().await;
                let stop = self.tasks.shutdown().child();
                let load = Load {
                    nodes: Arc::clone(&self.nodes),
                    told: Arc::clone(&self.told),
                    lines: lines as usize,
                    stop: stop.clone(),
                };
                self.load = Some((stop, self.tasks.spawn("load", load.run(turns_in_10_s))));
            }
            Order::Quiet => self.quiet().await,
            Order::Acknowledged => acknowledged(&self.nodes).await,
            Order::Slow => self.pace(Pace::Slow),
            Order::Full => self.pace(Pace::Full),
        }
    }

    async fn quiet(&mut self) {
        if let Some((stop, load)) = self.load.take() {
            stop.trigger();
            // A load that panicked has said so.
            drop(load.await);
        }
    }

    fn pace(&self, pace: Pace) {
        if let Some(relay) = &self.relay {
            relay.set(pace);
        }
    }

    fn answer(&self) -> anyhow::Result<()> {
        let mut told = lock(&self.told);
        println!("{}", serde_json::to_string(&*told)?);
        told.late_ms = 0.0;
        Ok(())
    }
}

fn lock(told: &std::sync::Mutex<Told>) -> std::sync::MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Panes at work print: each node says so once a second, at a moment of its own.
fn tick(nodes: &Arc<Vec<SimNode>>, tasks: &Tasks) {
    let (nodes, ended) = (Arc::clone(nodes), tasks.shutdown().clone());
    tasks.spawn("output", async move {
        let every = Duration::from_secs(1) / u32::try_from(nodes.len().max(1)).unwrap_or(u32::MAX);
        let mut due = Instant::now();
        for node in nodes.iter().cycle() {
            due = (due + every).max(Instant::now());
            tokio::select! {
                () = sleep_until(due) => node.tick(),
                () = ended.triggered() => return,
            }
        }
    });
}

async fn acknowledged(nodes: &[SimNode]) {
    let spooled: Vec<_> = nodes.iter().map(|node| node.spool.status()).collect();
    for (node, spooled) in nodes.iter().zip(spooled) {
        loop {
            let now = node.spool.status();
            if now.events.first >= spooled.events.next && now.bulk.first >= spooled.bulk.next {
                break;
            }
            sleep(LOOK).await;
        }
    }
}

/// Turns at an even pace, in panes that are drawn at random. What a turn takes delays none that follow.
struct Load {
    nodes: Arc<Vec<SimNode>>,
    told: Arc<std::sync::Mutex<Told>>,
    lines: usize,
    stop: Shutdown,
}

impl Load {
    async fn run(self, turns_in_10_s: u32) {
        let text = lines();
        let mut rng = fastrand::Rng::with_seed(u64::from(turns_in_10_s) ^ self.nodes.len() as u64);
        let (every, began) = (Duration::from_secs(10) / turns_in_10_s.max(1), Instant::now());
        for turn in 0_u32.. {
            let due = began + every * turn;
            tokio::select! {
                biased;
                () = self.stop.triggered() => return,
                () = sleep_until(due) => {}
            }
            let node = &self.nodes[rng.usize(..self.nodes.len())];
            let from = rng.usize(..text.len().saturating_sub(self.lines).max(1));
            let printed = &text[from..(from + self.lines).min(text.len())];
            if let Err(error) = node.turn(rng.usize(..), printed).await {
                eprintln!("a turn was not spooled: {error:#}");
                return;
            }
            let mut told = lock(&self.told);
            told.turns += 1;
            told.lines += printed.len() as u64;
            told.late_ms = told.late_ms.max(due.elapsed().as_secs_f64() * 1e3);
        }
    }
}
