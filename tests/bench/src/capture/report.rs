//! The figures on paper: a block for each cell, the goals beside the figures.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::baseline::{Polled, RealPoller};
use super::cell::{Cell, WithNode};
use crate::figures::Distribution;

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) schema: &'static str,
    /// A smoke test: the figures say nothing of speed.
    pub(crate) quick: bool,
    pub(crate) seconds: f64,
    pub(crate) cells: Vec<Cell>,
    /// Recordings that are too long to be played here.
    pub(crate) sessions_left_out: Vec<String>,
    pub(crate) real_poller: Option<RealPoller>,
    pub(crate) fsync: Distribution,
    /// The files lay in memory.
    pub(crate) in_memory: bool,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "capture, {:.0} s{}",
            self.seconds,
            if self.quick { ", quick: not a measurement" } else { "" }
        )?;
        writeln!(
            f,
            "mux = the embedded multiplexer; % = of one core; poller = one connection, every pane once a second"
        )?;
        for cell in &self.cells {
            write!(f, "\n{cell}")?;
        }
        writeln!(f, "\nfsync of 512 B   {}{}", self.fsync, if self.in_memory { "  IN MEMORY" } else { "" })?;
        match &self.real_poller {
            Some(RealPoller::Call(times)) => {
                writeln!(f, "wezterm cli      one get-text of one pane: {times}")?
            }
            Some(RealPoller::NotMeasured(why)) => writeln!(f, "wezterm cli      not measured: {why}")?,
            None => writeln!(f, "wezterm cli      not measured: no cell was compared")?,
        }
        if !self.sessions_left_out.is_empty() {
            writeln!(f, "sessions too long to be played here: {}", self.sessions_left_out.join(", "))?;
        }
        let missed = self.cells.iter().flat_map(|cell| &cell.goals).filter(|goal| !goal.met).count();
        let all: usize = self.cells.iter().map(|cell| cell.goals.len()).sum();
        writeln!(f, "goals met: {} of {all}", all - missed)
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "== {}, {} panes, {:.2} MiB", self.workload, self.panes, self.output_mib)?;
        self.with_node.rows(f)?;
        self.with_node.costs(f)?;
        if let (Some(alone), Some(extra)) = (&self.mux_alone, self.mux_extra_percent) {
            let with = &self.with_node.mux;
            write!(f, "  mux      {:.1} % alone, ", alone.usage.percent())?;
            write!(f, "{:.1} % with the node: {extra:+.1} %", with.usage.percent())?;
            if let (Some(alone), Some(with)) = (alone.cpu_ms_per_mib, with.cpu_ms_per_mib) {
                write!(f, "; {alone:.1} ms per MiB alone, {with:.1} with the node")?;
            }
            writeln!(f)?;
        }
        if let Some(poller) = &self.poller {
            poller.row(f)?;
        }
        for goal in &self.goals {
            writeln!(f, "  {goal}")?;
        }
        Ok(())
    }
}

impl WithNode {
    fn rows(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(a) = &self.account {
            let verdict = if a.is_exact() { "exact" } else { "NOT EXACT" };
            writeln!(
                f,
                "  rows     {} printed = {} captured ({:.2} %) + {} in gaps; {} doubled, {} lost silently: {verdict}",
                a.printed,
                a.captured,
                a.captured_percent(),
                a.gapped,
                a.doubled,
                a.lost
            )?;
            writeln!(
                f,
                "  lines    {} stored after {} earlier revisions, {:.3} per line read",
                a.stored_lines,
                a.replaced_lines,
                a.stored_per_read()
            )?;
            for fault in &a.faults {
                writeln!(f, "           fault: {fault}")?;
            }
        }
        if let Some(q) = &self.quality {
            writeln!(
                f,
                "  lines    {} read, {} stored after {} earlier revisions: {:.3} per line read; {} are noise",
                q.read,
                q.stored,
                q.replaced,
                q.stored_per_read(),
                q.noise
            )?;
            writeln!(
                f,
                "           present: {} of {} in the final scrollback, {} of {} written over, {} of {} on alternate screens",
                q.last_present, q.last, q.cleared_present, q.cleared, q.alternate_present, q.alternate
            )?;
            for session in q.short_of_goal.iter().collect::<BTreeSet<_>>() {
                writeln!(f, "           short of a goal: {session}")?;
            }
        }
        Ok(())
    }

    fn costs(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (node, memory) = (&self.node, &self.memory);
        write!(f, "  node     {:.2} % over {:.1} s", node.percent(), node.wall_seconds)?;
        if let Some(cpu) = self.cpu_ms_per_mib {
            write!(f, ", {cpu:.1} ms per MiB")?;
        }
        let (now, peak) = (memory.rss_mib, memory.peak_mib);
        write!(
            f,
            ", {now:.1} MiB now, {peak:.1} MiB at most; controller {:.1} %",
            self.controller.percent()
        )?;
        if let Some(behind) = self.behind_seconds {
            write!(f, "; log complete after {behind:.2} s")?;
        }
        writeln!(f)
    }
}

impl Polled {
    fn row(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  poller   ")?;
        if let Some(percent) = self.captured_percent {
            write!(f, "{percent:.2} % of rows captured, ")?;
        }
        writeln!(
            f,
            "{:.3} stored lines per line read; {:.2} % of a core, mux {:.1} %",
            self.stored_per_read(),
            self.usage.percent(),
            self.mux.usage.percent()
        )
    }
}
