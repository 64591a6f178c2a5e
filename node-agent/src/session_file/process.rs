//! What the process table says of an agent, for telling its session file: when it started, where it works, what it holds
//! open, and which others like it work in the same directory.
//!
//! Linux only: elsewhere none of this can be read without rights that a node does not have, and the reason says so.

use std::path::PathBuf;

use wa_proto::{AgentKind, Timestamp};

use super::homes::Homes;

/// One agent's process, and those of its group that are the agent too: a launcher's program.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Process {
    pub(super) started: Option<Timestamp>,
    pub(super) cwd: Option<PathBuf>,
    /// Its own environment, as far as it matters here. `None`: it could not be read.
    pub(super) homes: Option<Homes>,
    pub(super) args: Vec<String>,
    /// Regular files that it holds open.
    pub(super) open: Vec<PathBuf>,
    /// All pids that are this agent.
    pub(super) pids: Vec<u32>,
    /// Others of the same kind that work in the same directory on a terminal.
    pub(super) rivals: Vec<Rival>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rival {
    pub(super) pid: u32,
    pub(super) started: Timestamp,
}

#[cfg(not(target_os = "linux"))]
pub(super) fn look(_agent: &AgentKind, pid: u32, _now: Timestamp) -> Process {
    Process { pids: vec![pid], ..Process::default() }
}

#[cfg(target_os = "linux")]
pub(super) use linux::look;

/// The home variables of a process. `None`: they cannot be read.
pub(crate) fn homes_of(pid: u32) -> Option<Homes> {
    #[cfg(target_os = "linux")]
    return linux::environment(std::path::Path::new("/proc"), pid);
    #[cfg(not(target_os = "linux"))]
    return {
        let _ = pid;
        None
    };
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;
    use std::path::Path;

    use wa_match::{Foreground, ProcessInfo, identify};

    use super::*;
    use crate::process::instant_of;
    use crate::session_file::homes::NAMES;

    /// Bytes of a command line or an environment that are read.
    const MAX_BLOCK: u64 = 256 << 10;
    /// Descriptors of one process that are looked at.
    const MAX_OPEN: usize = 4096;

    struct Entry {
        pid: u32,
        parent: u32,
        group: u32,
        terminal: i32,
        ticks: u64,
        name: String,
    }

    pub(in crate::session_file) fn look(agent: &AgentKind, pid: u32, now: Timestamp) -> Process {
        let root = Path::new("/proc");
        let entries: Vec<Entry> = pids(root).filter_map(|pid| entry(root, pid)).collect();
        let Some(own) = entries.iter().find(|entry| entry.pid == pid) else {
            return Process { pids: vec![pid], ..Process::default() };
        };
        let mut process = Process {
            started: instant_of(own.ticks, now),
            cwd: cwd(root, pid),
            args: strings(root, pid, "cmdline"),
            pids: vec![pid],
            ..Process::default()
        };
        // Launcher and program stand in one group. What else runs there was started by the agent.
        let is_agent = |entry: &Entry| is(root, agent, entry);
        let mut children = entries.iter().filter(|entry| entry.group == own.group && entry.pid != pid);
        if let Some(program) = children.find(|entry| entry.parent == pid && is_agent(entry)) {
            process.pids.push(program.pid);
        }
        let youngest = process.pids.last().copied().unwrap_or(pid);
        process.homes = environment(root, youngest).or_else(|| environment(root, pid));
        process.open = process.pids.iter().flat_map(|pid| open_files(root, *pid)).collect();
        process.rivals = entries
            .iter()
            .filter(|entry| entry.terminal != 0 && entry.group != own.group && entry.pid == entry.group)
            .filter(|entry| is_agent(entry) && process.cwd.is_some() && cwd(root, entry.pid) == process.cwd)
            .filter_map(|entry| Some(Rival { pid: entry.pid, started: instant_of(entry.ticks, now)? }))
            .collect();
        process
    }

    fn pids(root: &Path) -> impl Iterator<Item = u32> {
        let entries = fs::read_dir(root).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
    }

    /// `PID (NAME) STATE PPID PGRP SESSION TTY … STARTTIME …`; the name may hold blanks and parentheses.
    fn entry(root: &Path, pid: u32) -> Option<Entry> {
        let stat = fs::read_to_string(root.join(pid.to_string()).join("stat")).ok()?;
        let (head, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        Some(Entry {
            pid,
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            terminal: fields.get(4)?.parse().ok()?,
            ticks: fields.get(19)?.parse().ok()?,
            name: head.split_once('(')?.1.to_owned(),
        })
    }

    fn is(root: &Path, agent: &AgentKind, entry: &Entry) -> bool {
        let exe = fs::read_link(root.join(entry.pid.to_string()).join("exe")).ok();
        let info = ProcessInfo {
            pid: entry.pid,
            pgid: entry.pid,
            comm: entry.name.clone(),
            args: strings(root, entry.pid, "cmdline"),
            exe: exe.map(|path| path.to_string_lossy().into_owned()),
            ..ProcessInfo::default()
        };
        matches!(identify(&[info]), Foreground::Agent { kind, .. } if kind == *agent)
    }

    fn cwd(root: &Path, pid: u32) -> Option<PathBuf> {
        fs::read_link(root.join(pid.to_string()).join("cwd")).ok()
    }

    fn strings(root: &Path, pid: u32, file: &str) -> Vec<String> {
        let bytes = block(root, pid, file).unwrap_or_default();
        let parts = bytes.split(|byte| *byte == 0).filter(|part| !part.is_empty());
        parts.map(|part| String::from_utf8_lossy(part).into_owned()).collect()
    }

    fn block(root: &Path, pid: u32, file: &str) -> Option<Vec<u8>> {
        use std::io::Read as _;
        let mut bytes = Vec::new();
        let file = fs::File::open(root.join(pid.to_string()).join(file)).ok()?;
        file.take(MAX_BLOCK).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// Only the variables that matter are kept: an environment is full of secrets.
    pub(super) fn environment(root: &Path, pid: u32) -> Option<Homes> {
        let bytes = block(root, pid, "environ").filter(|bytes| !bytes.is_empty())?;
        let variables = bytes.split(|byte| *byte == 0).filter_map(|variable| {
            let variable = std::str::from_utf8(variable).ok()?;
            let (name, value) = variable.split_once('=')?;
            let name = NAMES.into_iter().find(|known| *known == name)?;
            (!value.is_empty()).then(|| (name, PathBuf::from(value)))
        });
        Some(Homes::new(variables))
    }

    fn open_files(root: &Path, pid: u32) -> Vec<PathBuf> {
        let entries = fs::read_dir(root.join(pid.to_string()).join("fd")).into_iter().flatten().flatten();
        let links = entries.take(MAX_OPEN).filter_map(|entry| fs::read_link(entry.path()).ok());
        links
            .filter(|path| path.is_absolute() && !path.starts_with("/dev") && !path.starts_with("/proc"))
            .collect()
    }
}
