//! A process of simulated nodes, as the benchmark sees it.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::nodes::{Order, Told};

/// For an answer; that everything is acknowledged may take as long as the fleet needs to come back.
const PATIENCE: Duration = Duration::from_secs(180);

/// Dies with its handle.
pub(super) struct Crew {
    child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    pub(super) count: u32,
    pub(super) told: Told,
}

impl Crew {
    /// Starts the process with these arguments of `fleet-nodes`, and waits until its nodes run.
    pub(super) async fn start(arguments: &[String], count: u32) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("fleet-nodes")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("the process of the nodes does not start")?;
        let orders = child.stdin.take().context("no standard input")?;
        let answers = BufReader::new(child.stdout.take().context("no standard output")?).lines();
        let mut crew = Self { child, orders, answers, count, told: Told::default() };
        crew.hear().await?;
        Ok(crew)
    }

    pub(super) fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("the process of the nodes has ended")
    }

    /// Gives an order and waits until it is carried out.
    pub(super) async fn tell(&mut self, order: Order) -> anyhow::Result<()> {
        let line = serde_json::to_string(&order)? + "\n";
        self.orders.write_all(line.as_bytes()).await?;
        self.hear().await
    }

    async fn hear(&mut self) -> anyhow::Result<()> {
        let line = timeout(PATIENCE, self.answers.next_line()).await;
        let line = line.context("the process of the nodes does not answer")??;
        self.told = serde_json::from_str(&line.context("the process of the nodes has ended")?)?;
        Ok(())
    }

    /// This share of the turns of a fleet.
    pub(super) async fn load(&mut self, rate: u32, of_nodes: u32, lines: u32) -> anyhow::Result<()> {
        if self.count == 0 {
            return Ok(());
        }
        let share = u64::from(rate) * 10 * u64::from(self.count) / u64::from(of_nodes.max(1));
        self.tell(Order::Load { turns_in_10_s: u32::try_from(share)?, lines }).await
    }

    /// Neither reads nor writes nor closes any longer.
    pub(super) fn stop(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    pub(super) fn go_on(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = i32::try_from(self.pid()?).ok().and_then(Pid::from_raw).context("a strange pid")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Ends it in order.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        let Self { mut child, orders, .. } = self;
        drop(orders);
        let status = timeout(PATIENCE, child.wait()).await.context("the nodes do not end")??;
        ensure!(status.success(), "the process of the nodes ended with {status}");
        Ok(())
    }
}
