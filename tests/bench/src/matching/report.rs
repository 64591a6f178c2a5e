//! The figures on paper, the goals beside them.

use std::fmt;

use serde::Serialize;

use super::frames::Cell;
use super::transcript::Reading;
use crate::goal::Goal;

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) schema: &'static str,
    /// A smoke test: the figures say nothing of speed.
    pub(crate) quick: bool,
    pub(crate) seconds: f64,
    /// Of the built-in packs.
    pub(crate) literals: usize,
    pub(crate) frames: Vec<Cell>,
    pub(crate) transcript: Vec<Reading>,
    pub(crate) goals: Vec<Goal>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let note = if self.quick { ", quick: not a measurement" } else { "" };
        writeln!(f, "match, {:.0} s{note}; built-in packs, {} literals", self.seconds, self.literals)?;
        writeln!(
            f,
            "\n{:<14} {:>6} {:>6} {:>8} {:>8} {:>8}   {:>8} {:>8} {:>8}   {:>8}",
            "changed frame",
            "frames",
            "bytes",
            "mean us",
            "p50",
            "p99",
            "rules",
            "composer",
            "rest",
            "bare A-C"
        )?;
        for cell in &self.frames {
            writeln!(f, "{cell}")?;
        }
        writeln!(
            f,
            "\n{:<14} {:>8} {:>8} {:>10} {:>10} {:>8}",
            "transcript", "MiB", "read", "MiB/s", "bare A-C", ""
        )?;
        for reading in &self.transcript {
            writeln!(f, "{reading}")?;
        }
        writeln!(f)?;
        for goal in &self.goals {
            writeln!(f, "  {goal}")?;
        }
        let met = self.goals.iter().filter(|goal| goal.met).count();
        writeln!(f, "goals met: {met} of {}", self.goals.len())
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, frames, mean_bytes, observe, parts, baseline_us } = self;
        write!(
            f,
            "{name:<14} {frames:>6} {mean_bytes:>6} {:>8.1} {:>8.1} {:>8.1}",
            observe.mean_us, observe.p50_us, observe.p99_us
        )?;
        write!(
            f,
            "   {:>8.1} {:>8.1} {:>8.1}   {baseline_us:>8.1}",
            parts.rules_us, parts.composer_us, parts.rest_us
        )
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, own_mib, read_mib, mib_per_s, baseline_mib_per_s, .. } = self;
        let name = format!("{rows} rows a page");
        write!(
            f,
            "{name:<14} {own_mib:>8.2} {read_mib:>8.1} {mib_per_s:>10.1} {baseline_mib_per_s:>10.1} {:>6.1} %",
            self.percent()
        )
    }
}
