//! The process witness: which program holds a pane's terminal.
//!
//! Constraints: one pass over the process table serves all panes; the table is looked at when panes say something, at
//! most every half second, and freshly before anything is typed. Only the members of the terminal's foreground group
//! count: agents keep daemons of the same name elsewhere. What processes say of themselves is bounded and may be
//! anything; processes vanish while they are looked at. A process is its pid and its start: pids come again. Nothing here
//! says what a program is; that is `wa_match::identify`.
//!
//! Our own wrapper (`wa-node exec`) is not what runs in a terminal: beside the command that it runs it is left out.

mod exits;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(any(not(target_os = "linux"), test))]
mod ps;
mod version;

use std::collections::HashMap;

use wa_match::ProcessInfo;
use wa_proto::Timestamp;

pub use exits::Exits;

/// Members of a group that are looked at; its leader is always one of them.
const MAX_GROUP: usize = 256;

/// One look at the process table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// Members of the foreground process group, by path of the terminal.
    pub groups: HashMap<String, Vec<ProcessInfo>>,
}

impl Snapshot {
    fn add(&mut self, tty: &str, info: &ProcessInfo) {
        let Some(group) = self.groups.get_mut(tty) else { return };
        if group.len() < MAX_GROUP || info.pid == info.pgid {
            group.push(info.clone());
        }
    }

    fn without_wrappers(mut self) -> Self {
        for group in self.groups.values_mut() {
            if group.iter().any(|info| !is_wrapper(info)) {
                group.retain(|info| !is_wrapper(info));
            }
        }
        self
    }
}

fn is_wrapper(info: &ProcessInfo) -> bool {
    crate::last_words::is_wrapper(&info.args)
}

/// One process, also after another got its pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProcessId {
    pub pid: u32,
    /// As [`ProcessInfo::started`]; 0 = not known.
    pub started: u64,
}

impl ProcessId {
    pub fn of(info: &ProcessInfo) -> Self {
        Self { pid: info.pid, started: info.started }
    }

    /// The member of a group with this pid.
    pub fn find(group: &[ProcessInfo], pid: u32) -> Option<Self> {
        group.iter().find(|info| info.pid == pid).map(Self::of)
    }

    /// A number that no other process on this host has.
    pub fn number(self) -> u64 {
        // Pids take 22 bits at most.
        self.started << 22 ^ u64::from(self.pid)
    }

    /// When it started; `None`: that cannot be told.
    pub fn since(self, now: Timestamp) -> Option<Timestamp> {
        #[cfg(target_os = "linux")]
        return if self.started == 0 { None } else { linux::instant_of(self.started, now) };
        #[cfg(not(target_os = "linux"))]
        return {
            let _ = now;
            None
        };
    }

    /// Whether it still exists and has not ended.
    pub fn is_running(self) -> bool {
        #[cfg(target_os = "linux")]
        return linux::is_running(self);
        #[cfg(not(target_os = "linux"))]
        return ps::is_running(self);
    }
}

/// Where processes are found.
pub trait ProcessTable: Send + Sync {
    /// The foreground groups of these terminals (`/dev/pts/3`). A terminal that is not there is not in the answer.
    fn look(&self, ttys: &[String]) -> Snapshot;

    /// Whether these processes, and so what they are, still are the terminal's foreground group, as far as each of them
    /// tells. Cheap; `false` means only that [`Self::look`] has to say.
    fn still(&self, tty: &str, group: &[ProcessInfo]) -> bool;
}

/// The table of this host.
pub fn of_this_host() -> Box<dyn ProcessTable> {
    #[cfg(target_os = "linux")]
    return Box::new(linux::Proc::default());
    #[cfg(not(target_os = "linux"))]
    return Box::new(ps::Ps::default());
}

/// Where a process comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    /// As exact as the system counts: a hundredth of a second.
    pub started: Timestamp,
    /// Who has started it, if that runs on the same terminal.
    pub parent: Option<ProcessInfo>,
}

/// Where this process comes from. `None`: it has gone, or this system does not tell.
pub fn origin(pid: u32, now: Timestamp) -> Option<Origin> {
    #[cfg(target_os = "linux")]
    return linux::origin(pid, now);
    #[cfg(not(target_os = "linux"))]
    return {
        let _ = (pid, now);
        None
    };
}

/// When a process started, by what the system counts.
#[cfg(target_os = "linux")]
pub(crate) fn instant_of(started: u64, now: Timestamp) -> Option<Timestamp> {
    linux::instant_of(started, now)
}

/// A name or an argument as it may be shown: without control characters.
fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(pid: u32, args: &str) -> ProcessInfo {
        ProcessInfo {
            pid,
            pgid: 7,
            args: args.split(' ').map(str::to_owned).collect(),
            ..ProcessInfo::default()
        }
    }

    #[test]
    fn the_wrapper_is_left_out_beside_its_command_only() {
        let mut snapshot = Snapshot::default();
        snapshot.groups.insert("a".into(), Vec::new());
        snapshot.add("a", &info(7, "/opt/wa-node exec -- codex"));
        assert_eq!(snapshot.clone().without_wrappers().groups["a"].len(), 1, "it has only begun");
        snapshot.add("a", &info(8, "codex"));
        snapshot.add("elsewhere", &info(9, "codex"));
        let snapshot = snapshot.without_wrappers();
        assert_eq!(snapshot.groups["a"].iter().map(|info| info.pid).collect::<Vec<_>>(), [8]);
        assert_eq!(snapshot.groups.len(), 1);
    }

    #[test]
    fn a_group_is_bounded_and_keeps_its_leader() {
        let mut snapshot = Snapshot::default();
        snapshot.groups.insert("a".into(), Vec::new());
        for pid in 1000..3000 {
            snapshot.add("a", &info(pid, "cc"));
        }
        snapshot.add("a", &info(7, "make -j2000"));
        assert_eq!(snapshot.groups["a"].len(), MAX_GROUP + 1);
        assert_eq!(snapshot.groups["a"].last().unwrap().pid, 7);
    }

    #[test]
    fn a_process_is_its_pid_and_its_start() {
        let mut child = std::process::Command::new("/bin/sleep").arg("600").spawn().unwrap();
        let unknown = ProcessId { pid: child.id(), started: 0 };
        assert!(unknown.is_running());
        assert!(!ProcessId { pid: child.id(), started: 1 }.is_running(), "another one had this pid");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!unknown.is_running());
    }
}
