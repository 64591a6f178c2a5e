//! The end of a process, the moment it ends, where the kernel tells (Linux: pidfd). Elsewhere, and where it does not,
//! the process table is looked at as often as without.

use std::collections::HashSet;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;

/// Waits for many processes. Dropping it lets go of all of them.
#[derive(Default)]
pub struct Exits {
    watched: HashSet<u32>,
    ends: FuturesUnordered<BoxFuture<'static, u32>>,
}

impl Exits {
    /// Waits for this process too. One that cannot be waited for is left to the process table.
    pub fn watch(&mut self, pid: u32) {
        if self.watched.contains(&pid) {
            return;
        }
        if let Some(end) = end_of(pid) {
            self.watched.insert(pid);
            self.ends.push(end);
        }
    }

    /// The next that ends; forever while none is watched.
    pub async fn next(&mut self) -> u32 {
        match self.ends.next().await {
            Some(pid) => {
                self.watched.remove(&pid);
                pid
            }
            None => std::future::pending().await,
        }
    }
}

#[cfg(target_os = "linux")]
fn end_of(pid: u32) -> Option<BoxFuture<'static, u32>> {
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    let process = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
    let handle = pidfd_open(process, PidfdFlags::NONBLOCK).ok()?;
    #[expect(deprecated, reason = "sound for an owned descriptor, and its successor needs unsafe code")]
    let handle = AsyncFd::with_interest(handle, Interest::READABLE).ok()?;
    Some(Box::pin(async move {
        // Readable once it has ended; an error is as good a reason to look.
        drop(handle.readable().await);
        pid
    }))
}

#[cfg(not(target_os = "linux"))]
fn end_of(_pid: u32) -> Option<BoxFuture<'static, u32>> {
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
            exits.watch(pid);
        }
        assert!(tokio::time::timeout(Duration::from_millis(50), exits.next()).await.is_err());
        sleeper.kill().unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(10), exits.next()).await.unwrap();
        assert_eq!(ended, sleeper.id());
        assert!(tokio::time::timeout(Duration::from_millis(50), exits.next()).await.is_err());
        sleeper.wait().unwrap();
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
