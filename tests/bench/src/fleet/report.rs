//! The figures on paper.

use std::fmt;

use serde::Serialize;

use super::door::Knocks;
use crate::capture::measure::Memory;
use crate::figures::Distribution;
use crate::goal::Goal;

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) schema: &'static str,
    /// A smoke test: the figures say nothing of speed.
    pub(crate) quick: bool,
    pub(crate) seconds: f64,
    pub(crate) nodes: u32,
    pub(crate) panes: u32,
    /// Of the nodes, those that read slowly or not at all, and those that are stopped.
    pub(crate) slow: u32,
    pub(crate) stopped: u32,
    /// Asked for; what came about is in the phases.
    pub(crate) events_per_s: u32,
    pub(crate) lines_per_event: u32,
    /// All nodes joined, one token each.
    pub(crate) enrolled_s: f64,
    /// From the start of the processes of the nodes until all were connected, for the first time.
    pub(crate) first_connected_s: f64,
    pub(crate) calm: Phase,
    pub(crate) troubled: Phase,
    pub(crate) restart: Restart,
    pub(crate) accounts: Accounts,
    pub(crate) goals: Vec<Goal>,
    pub(crate) fsync: Distribution,
    /// The controller's files lay in memory: its figures are not valid.
    pub(crate) in_memory: bool,
    /// The spools lay in memory, as they do not on a host: what a thousand disks would do one cannot.
    pub(crate) spools_in_memory: bool,
}

/// The fleet under load for a while.
#[derive(Debug, Serialize)]
pub(crate) struct Phase {
    pub(crate) seconds: f64,
    pub(crate) events_per_s: f64,
    /// From before the spool to a subscriber, of nodes without trouble.
    pub(crate) latency: Distribution,
    /// Of these, what was behind its time when it was spooled: the load itself was late.
    pub(crate) late_ms: f64,
    pub(crate) asked: Asked,
    pub(crate) cpu: Cpu,
    pub(crate) controller: Memory,
}

/// How long answers took.
#[derive(Debug, Serialize)]
pub(crate) struct Asked {
    /// `wa fleet status -o json`, the whole process.
    pub(crate) command: Distribution,
    /// `wa --version`, the baseline of the command.
    pub(crate) version: Distribution,
    /// The call alone.
    pub(crate) call: Distribution,
    /// An empty call to another process: the baseline of the call.
    pub(crate) empty: Distribution,
}

/// Seconds on the processor.
#[derive(Debug, Serialize)]
pub(crate) struct Cpu {
    pub(crate) controller: f64,
    pub(crate) nodes: f64,
    /// The subscriber and those who ask, without the commands.
    pub(crate) bench: f64,
}

/// The controller killed and started again, under load.
#[derive(Debug, Serialize)]
pub(crate) struct Restart {
    /// How it was until it was started again.
    pub(crate) knocks: Knocks,
    /// From its second start until it answers.
    pub(crate) answers_s: f64,
    /// From the kill until every node is connected.
    pub(crate) connected_s: f64,
    /// From the kill until everything is acknowledged that was spooled until every node was connected.
    pub(crate) replayed_s: f64,
    pub(crate) cpu: Cpu,
    pub(crate) controller: Memory,
}

/// Turns spooled and turns in the log, at the end.
#[derive(Debug, Serialize)]
pub(crate) struct Accounts {
    pub(crate) spooled: u64,
    pub(crate) lines: u64,
    pub(crate) logged: u64,
    pub(crate) doubled: u64,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seconds, events_per_s, latency, late_ms, asked, cpu, controller } = self;
        writeln!(f, "    {seconds:.0} s, {events_per_s:.0} events/s, spooled {late_ms:.1} ms late at worst")?;
        writeln!(f, "    event latency    {latency}")?;
        writeln!(f, "    wa fleet status  {}", asked.command)?;
        writeln!(f, "    wa --version     {}", asked.version)?;
        writeln!(f, "    its call alone   {}", asked.call)?;
        writeln!(f, "    an empty call    {}", asked.empty)?;
        writeln!(f, "    {cpu}; controller {:.0} MiB, at most {:.0}", controller.rss_mib, controller.peak_mib)
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { controller, nodes, bench } = self;
        write!(f, "CPU seconds: controller {controller:.1}, nodes {nodes:.1}, benchmark {bench:.1}")
    }
}

impl fmt::Display for Restart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Knocks { seconds, nodes, attempts, shortest_ms, most_in_100_ms } = &self.knocks;
        let shortest = shortest_ms.map_or("-".to_owned(), |ms| format!("{ms:.0} ms"));
        writeln!(
            f,
            "    away for {seconds:.1} s: {attempts} attempts of {nodes} nodes, {shortest} apart at least, {most_in_100_ms} within 100 ms at most"
        )?;
        writeln!(
            f,
            "    answers {:.2} s after its start; from the kill: all connected {:.2} s, all replayed {:.2} s",
            self.answers_s, self.connected_s, self.replayed_s
        )?;
        writeln!(f, "    {}; controller at most {:.0} MiB", self.cpu, self.controller.peak_mib)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quick = if self.quick { ", quick: not a measurement" } else { "" };
        writeln!(
            f,
            "fleet, {:.0} s{quick}; {} nodes x {} panes, {} events/s with {} lines each",
            self.seconds, self.nodes, self.panes, self.events_per_s, self.lines_per_event
        )?;
        writeln!(f, "  enrolled in {:.1} s, connected in {:.1} s", self.enrolled_s, self.first_connected_s)?;
        write!(f, "  all is well:\n{}", self.calm)?;
        write!(f, "  {} slow and {} stopped nodes; the others:\n{}", self.slow, self.stopped, self.troubled)?;
        write!(f, "  restart, kill -9:\n{}", self.restart)?;
        let Accounts { spooled, lines, logged, doubled } = &self.accounts;
        writeln!(f, "  {spooled} events spooled with {lines} lines, {logged} logged, {doubled} doubled")?;
        let memory = if self.in_memory { "  IN MEMORY: not valid" } else { "" };
        let spools = if self.spools_in_memory { ", of which spools lie in memory" } else { "" };
        writeln!(f, "  fsync of 512 B   {}{memory}{spools}", self.fsync)?;
        for goal in &self.goals {
            writeln!(f, "  {goal}")?;
        }
        Ok(())
    }
}
