//! The process table of Linux: `/proc`.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use wa_match::ProcessInfo;

use super::{ProcessTable, Snapshot};

/// Bytes of a command line that are read: agents are known by its beginning.
const MAX_COMMAND: usize = 16 << 10;

#[derive(Debug)]
pub(super) struct Proc {
    root: PathBuf,
}

impl Default for Proc {
    fn default() -> Self {
        Self { root: PathBuf::from("/proc") }
    }
}

/// The fields of `/proc/PID/stat` that matter.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    comm: String,
    state: char,
    pgrp: i32,
    tty: u32,
    tpgid: i32,
}

/// `PID (COMM) STATE PPID PGRP SESSION TTY TPGID …`; the name may hold blanks and parentheses.
fn parse_stat(text: &str) -> Option<Stat> {
    let (head, rest) = text.rsplit_once(')')?;
    let comm = head.split_once('(')?.1.to_owned();
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let pgrp = fields.nth(1)?.parse().ok()?;
    let tty: i32 = fields.nth(1)?.parse().ok()?;
    let tpgid = fields.next()?.parse().ok()?;
    Some(Stat { comm, state, pgrp, tty: tty.cast_unsigned(), tpgid })
}

/// The number that the kernel shows in `stat` for a device.
fn kernel_number(device: u64) -> u32 {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

impl ProcessTable for Proc {
    fn look(&self, ttys: &[String]) -> Snapshot {
        let mut wanted: HashMap<u32, Vec<&String>> = HashMap::new();
        let mut snapshot = Snapshot::default();
        for tty in ttys {
            if let Ok(meta) = fs::metadata(tty) {
                wanted.entry(kernel_number(meta.rdev())).or_default().push(tty);
                snapshot.groups.insert(tty.clone(), Vec::new());
            }
        }
        let Ok(entries) = fs::read_dir(&self.root) else { return snapshot };
        for entry in entries.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let path = entry.path();
            let Some(stat) = fs::read_to_string(path.join("stat")).ok().and_then(|text| parse_stat(&text))
            else {
                continue;
            };
            let Some(ttys) = wanted.get(&stat.tty).filter(|_| stat.tty != 0 && stat.pgrp == stat.tpgid)
            else {
                continue;
            };
            let info = describe(&path, pid, &stat);
            for tty in ttys {
                snapshot.groups.entry((*tty).clone()).or_default().push(info.clone());
            }
        }
        snapshot
    }

    fn still(&self, tty: &str, group: &[ProcessInfo]) -> bool {
        let Some(number) = fs::metadata(tty).ok().map(|meta| kernel_number(meta.rdev())) else {
            return false;
        };
        // A new foreground job takes the terminal from the old one; a program that replaces another has another name.
        let same = |known: &ProcessInfo| {
            let path = self.root.join(known.pid.to_string());
            let stat = fs::read_to_string(path.join("stat")).ok().and_then(|text| parse_stat(&text));
            stat.is_some_and(|stat| {
                stat.tty == number && stat.pgrp == stat.tpgid && describe(&path, known.pid, &stat) == *known
            })
        };
        !group.is_empty() && group.iter().all(same)
    }
}

fn describe(path: &Path, pid: u32, stat: &Stat) -> ProcessInfo {
    let mut command = fs::read(path.join("cmdline")).unwrap_or_default();
    command.truncate(MAX_COMMAND);
    let args = command
        .split(|byte| *byte == 0)
        .map(|arg| String::from_utf8_lossy(arg).into_owned())
        .filter(|arg| !arg.is_empty())
        .collect();
    ProcessInfo {
        pid,
        pgid: stat.pgrp.cast_unsigned(),
        comm: stat.comm.clone(),
        args,
        exe: fs::read_link(path.join("exe")).ok().map(|path| path.to_string_lossy().into_owned()),
        stopped: matches!(stat.state, 'T' | 't'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stat_lines_with_names_of_all_kinds() {
        let stat = parse_stat("449 (a) b (c)) S 96 449 449 34817 449 4194304 1").unwrap();
        assert_eq!(stat, Stat { comm: "a) b (c)".into(), state: 'S', pgrp: 449, tty: 34817, tpgid: 449 });
        assert_eq!(parse_stat("1 (init) S 0 1 1 0 -1").map(|stat| stat.tpgid), Some(-1));
    }

    #[test]
    fn device_numbers_as_the_kernel_writes_them() {
        assert_eq!(kernel_number(rustix::fs::makedev(136, 1)), 34817);
        assert_eq!(kernel_number(rustix::fs::makedev(136, 300)), (300 & 0xff) | (136 << 8) | (0x100 << 12));
    }

    #[test]
    fn a_missing_terminal_is_not_in_the_answer() {
        let snapshot = Proc::default().look(&["/dev/pts/99999".to_owned()]);
        assert!(snapshot.groups.is_empty());
    }

    proptest! {
        #[test]
        fn no_stat_line_does_harm(text in ".{0,200}") {
            let _unused = parse_stat(&text);
        }
    }
}
