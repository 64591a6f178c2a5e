//! The figures on paper.

use std::fmt;

use serde::Serialize;

use crate::figures::Distribution;
use crate::goal::Goal;

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) schema: &'static str,
    /// A smoke test: the figures say nothing of speed.
    pub(crate) quick: bool,
    pub(crate) seconds: f64,
    pub(crate) text_mib: f64,
    pub(crate) rows: usize,
    /// On average; the baseline has as many.
    pub(crate) rows_in_commit: usize,
    pub(crate) shipped: Shipped,
    pub(crate) baseline_rows_per_s: f64,
    pub(crate) wired: Wired,
    pub(crate) replay: Replay,
    pub(crate) goals: Vec<Goal>,
    pub(crate) fsync: Distribution,
    /// The files lay in memory.
    pub(crate) in_memory: bool,
}

/// From the spool to the commit.
#[derive(Debug, Serialize)]
pub(crate) struct Shipped {
    pub(crate) records: u64,
    pub(crate) commits: usize,
    /// From the first commit to the last.
    pub(crate) seconds: f64,
    pub(crate) records_per_s: f64,
    pub(crate) rows_per_s: f64,
}

/// What the node sent.
#[derive(Debug, Serialize)]
pub(crate) struct Wired {
    pub(crate) bytes: u64,
    pub(crate) text: u64,
    pub(crate) per_text: f64,
}

/// The spool opened and read to its end.
#[derive(Debug, Serialize)]
pub(crate) struct Replay {
    pub(crate) mib: f64,
    pub(crate) records: usize,
    /// Opening alone: each record found and checked.
    pub(crate) open_mib_per_s: f64,
    /// Opening and reading.
    pub(crate) mib_per_s: f64,
    /// The same files, read and nothing done with them.
    pub(crate) bare_mib_per_s: f64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quick = if self.quick { ", quick: not a measurement" } else { "" };
        writeln!(
            f,
            "ship, {:.0} s{quick}; {:.1} MiB of text in {} rows",
            self.seconds, self.text_mib, self.rows
        )?;
        let Shipped { records, commits, seconds, records_per_s, rows_per_s } = &self.shipped;
        writeln!(
            f,
            "  shipped          {records_per_s:.0} records/s, {rows_per_s:.0} rows/s ({records} records, {commits} commits, {seconds:.2} s)"
        )?;
        writeln!(
            f,
            "  SQLite by hand   {:.0} rows/s, {} rows in a commit",
            self.baseline_rows_per_s, self.rows_in_commit
        )?;
        let Wired { bytes, text, per_text } = &self.wired;
        writeln!(f, "  on the wire      {bytes} bytes for {text} of text: {per_text:.3}")?;
        let Replay { mib, records, open_mib_per_s, mib_per_s, bare_mib_per_s } = &self.replay;
        writeln!(
            f,
            "  replay           {mib_per_s:.0} MiB/s, opening alone {open_mib_per_s:.0}, files read bare {bare_mib_per_s:.0} ({records} records, {mib:.1} MiB)"
        )?;
        let memory = if self.in_memory { "  IN MEMORY: not valid" } else { "" };
        writeln!(f, "  fsync of 512 B   {}{memory}", self.fsync)?;
        for goal in &self.goals {
            writeln!(f, "  {goal}")?;
        }
        Ok(())
    }
}
