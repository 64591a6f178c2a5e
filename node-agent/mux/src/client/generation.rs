//! Which server process is at the other end.
//!
//! Pane ids start again with every server process, so everything said about a pane names the process too: its
//! *generation*, "first 8 of the boot id"-"pid"-"start time in clock ticks". The kernel says the pid of the peer; no
//! answer of the server does.
//!
//! Where the kernel cannot be asked (another operating system, a peer outside our pid namespace), every connection
//! counts as a generation of its own: panes are then shown anew after a redial, never mixed up.

use tokio::net::UnixStream;

/// The peer's pid and generation. `connection` is unique among the connections of this process.
pub(crate) async fn of_peer(stream: &UnixStream, connection: u64) -> (Option<u32>, String) {
    let pid = stream.peer_cred().ok().and_then(|peer| peer.pid()).and_then(|pid| u32::try_from(pid).ok());
    let known = match pid {
        Some(pid) if pid > 0 => of_process(pid).await,
        _ => None,
    };
    (pid, known.unwrap_or_else(|| format!("unknown-{}-{connection}", std::process::id())))
}

#[cfg(target_os = "linux")]
async fn of_process(pid: u32) -> Option<String> {
    let boot = tokio::fs::read_to_string("/proc/sys/kernel/random/boot_id").await.ok()?;
    let stat = tokio::fs::read_to_string(format!("/proc/{pid}/stat")).await.ok()?;
    Some(format!("{}-{pid}-{}", boot.get(..8)?, start_time(&stat)?))
}

#[cfg(not(target_os = "linux"))]
async fn of_process(_pid: u32) -> Option<String> {
    None
}

/// Field 22 of `/proc/PID/stat`. The second field is the name in parentheses and may hold anything.
#[cfg(target_os = "linux")]
fn start_time(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    // The state, field 3, comes first behind the name.
    after_name.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        let tail = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21";
        for name in ["bash", "a) b (c", "1 2 3"] {
            assert_eq!(start_time(&format!("77 ({name}) {tail}")), Some(4711));
        }
        assert_eq!(start_time("77 (bash) S 1"), None);
        assert_eq!(start_time("77"), None);
    }

    #[tokio::test]
    async fn our_own_generation_has_our_pid() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let (pid, generation) = of_peer(&ours, 1).await;
        assert_eq!(pid, Some(std::process::id()));
        let parts: Vec<_> = generation.split('-').collect();
        assert_eq!((parts[0].len(), parts[1]), (8, std::process::id().to_string().as_str()));
        assert!(parts[2].parse::<u64>().unwrap() > 0);
    }
}
