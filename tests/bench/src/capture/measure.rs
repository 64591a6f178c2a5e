//! What processes cost: time on the processor and memory, as the kernel counts them.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;

const MIB: f64 = 1024.0 * 1024.0;

/// Bytes as MiB.
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB
}

/// Time that all threads of the process have had, ended ones included; in steps of 10 ms.
pub(crate) fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid}"))?;
    let ticks = cpu_ticks(&stat).context("/proc/PID/stat does not read as expected")?;
    Ok(Duration::from_millis(10 * ticks))
}

/// User and system time, in hundredths of a second as Linux tells it everywhere. The second field, the name, may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(14 - 3);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

/// MiB that the process holds, now and at most.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Memory {
    pub(crate) rss_mib: f64,
    pub(crate) peak_mib: f64,
}

pub(crate) fn memory(pid: u32) -> anyhow::Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
        Some(mib(kib * 1024))
    };
    let (rss_mib, peak_mib) =
        field("VmRSS:").zip(field("VmHWM:")).context("no memory in /proc/PID/status")?;
    Ok(Memory { rss_mib, peak_mib })
}

/// A process whose time is taken over a while.
#[derive(Debug)]
pub(crate) struct Watch {
    pid: u32,
    cpu: Duration,
    since: Instant,
}

/// What a process used over a while.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Usage {
    pub(crate) cpu_seconds: f64,
    pub(crate) wall_seconds: f64,
}

impl Usage {
    /// Of one core.
    pub(crate) fn percent(&self) -> f64 {
        100.0 * self.cpu_seconds / self.wall_seconds
    }
}

impl Watch {
    pub(crate) fn start(pid: u32) -> anyhow::Result<Self> {
        Ok(Self { pid, cpu: cpu(pid)?, since: Instant::now() })
    }

    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        let cpu_seconds = (cpu(self.pid)? - self.cpu).as_secs_f64();
        Ok(Usage { cpu_seconds, wall_seconds: self.since.elapsed().as_secs_f64() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_found_behind_any_name() {
        assert_eq!(cpu_ticks("7 (a) b) R 1 2 3 4 5 6 7 8 9 10 30 12 13 14"), Some(42));
        assert_eq!(cpu_ticks("7 (a"), None);
    }

    #[test]
    fn work_is_seen() {
        let watch = Watch::start(std::process::id()).unwrap();
        let end = Instant::now() + Duration::from_millis(200);
        while Instant::now() < end {}
        let usage = watch.usage().unwrap();
        assert!(usage.cpu_seconds > 0.02 && usage.percent() <= 400.0, "{usage:?}");
        assert!(memory(std::process::id()).unwrap().rss_mib > 0.5);
    }
}
