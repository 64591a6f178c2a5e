//! The end of a process, the moment it ends, where the kernel tells (Linux: pidfd). Elsewhere, and where it does not,
//! the process table is looked at as often as without.
//!
//! A pid may be another process's by the time that it is asked for: the start is compared once the handle is held, and the
//! handle then stays with that process.

use std::collections::HashSet;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;

use super::ProcessId;

/// Waits for many processes. Dropping it lets go of all of them.
#[derive(Default)]
pub struct Exits {
    watched: HashSet<ProcessId>,
    ends: FuturesUnordered<BoxFuture<'static, ProcessId>>,
}

impl Exits {
    /// Waits for this process too. One that cannot be waited for is left to the process table.
    pub fn watch(&mut self, process: ProcessId) {
        if self.watched.contains(&process) {
            return;
        }
        if let Some(end) = end_of(process) {
            self.watched.insert(process);
            self.ends.push(end);
        }
    }

    /// The next that ends; forever while none is watched.
    pub async fn next(&mut self) -> ProcessId {
        match self.ends.next().await {
            Some(process) => {
                self.watched.remove(&process);
                process
            }
            None => std::future::pending().await,
        }
    }
}

#[cfg(target_os = "linux")]
fn end_of(process: ProcessId) -> Option<BoxFuture<'static, ProcessId>> {
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw)?;
    let handle = pidfd_open(pid, PidfdFlags::NONBLOCK).ok()?;
    if !process.is_running() {
        // It ended before, and what the handle holds is another.
        return Some(Box::pin(std::future::ready(process)));
    }
    #[expect(deprecated, reason = "sound for an owned descriptor, and its successor needs unsafe code")]
    let handle = AsyncFd::with_interest(handle, Interest::READABLE).ok()?;
    Some(Box::pin(async move {
        // Readable once it has ended; an error is as good a reason to look.
        drop(handle.readable().await);
        process
    }))
}

#[cfg(not(target_os = "linux"))]
fn end_of(_process: ProcessId) -> Option<BoxFuture<'static, ProcessId>> {
    None
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_end_of_a_process_is_told_once() {
        let mut sleeper = std::process::Command::new("/bin/sleep").arg("600").spawn().unwrap();
        let mut other = std::process::Command::new("/bin/sleep").arg("600").spawn().unwrap();
        let mut exits = Exits::default();
        for pid in [sleeper.id(), sleeper.id(), other.id(), 0] {
            exits.watch(ProcessId { pid, started: 0 });
        }
        assert!(tokio::time::timeout(Duration::from_millis(50), exits.next()).await.is_err());
        sleeper.kill().unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(10), exits.next()).await.unwrap();
        assert_eq!(ended.pid, sleeper.id());
        assert!(tokio::time::timeout(Duration::from_millis(50), exits.next()).await.is_err());
        sleeper.wait().unwrap();
        other.kill().unwrap();
        other.wait().unwrap();
    }
    #[tokio::test]
    async fn another_process_with_the_same_pid_is_not_waited_for() {
        let mut other = std::process::Command::new("/bin/sleep").arg("600").spawn().unwrap();
        let earlier = ProcessId { pid: other.id(), started: 1 };
        let mut exits = Exits::default();
        exits.watch(earlier);
        let ended = tokio::time::timeout(Duration::from_secs(10), exits.next()).await.unwrap();
        assert_eq!(ended, earlier);
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
