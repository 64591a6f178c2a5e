//! The process table of Linux: `/proc`.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use jiff::SignedDuration;
use wa_match::ProcessInfo;
use wa_proto::Timestamp;

use super::version::{Installed, Versions};
use super::{Origin, ProcessId, ProcessTable, Snapshot, harmless};

/// Bytes of a command line that are read: agents are known by its beginning.
const MAX_COMMAND: u64 = 16 << 10;
/// Bytes of `stat`; a name takes 15, or 64 for a kernel thread.
const MAX_STAT: u64 = 4 << 10;
/// What the kernel adds to the path of a program whose file is gone.
const DELETED: &str = " (deleted)";

#[derive(Debug)]
pub(super) struct Proc {
    root: PathBuf,
    versions: Versions,
}

impl Default for Proc {
    fn default() -> Self {
        Self { root: PathBuf::from("/proc"), versions: Versions::default() }
    }
}

/// The fields of `/proc/PID/stat` that matter.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    comm: String,
    state: char,
    parent: u32,
    pgrp: i32,
    tty: u32,
    tpgid: i32,
    /// In clock ticks since the system started.
    started: u64,
}

/// `PID (COMM) STATE PPID PGRP SESSION TTY TPGID …`; the name may hold anything, blanks, parentheses and newlines too.
fn parse_stat(text: &str) -> Option<Stat> {
    let (head, rest) = text.rsplit_once(')')?;
    let comm = head.split_once('(')?.1.to_owned();
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let pgrp = fields.next()?.parse().ok()?;
    let tty: i32 = fields.nth(1)?.parse().ok()?;
    let tpgid = fields.next()?.parse().ok()?;
    let started = fields.nth(13)?.parse().ok()?;
    Some(Stat { comm, state, parent, pgrp, tty: tty.cast_unsigned(), tpgid, started })
}

/// The beginning of a file that says nothing of its size.
fn head_of(path: &Path, bytes: u64) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    File::open(path).ok()?.take(bytes).read_to_end(&mut head).ok()?;
    Some(head)
}

/// Names need not be UTF-8.
fn stat_of(process: &Path) -> Option<Stat> {
    parse_stat(&String::from_utf8_lossy(&head_of(&process.join("stat"), MAX_STAT)?))
}

pub(super) fn is_running(id: ProcessId) -> bool {
    let stat = stat_of(&Path::new("/proc").join(id.pid.to_string()));
    // What nobody has waited for yet has ended all the same.
    stat.is_some_and(|stat| {
        !matches!(stat.state, 'Z' | 'X') && (id.started == 0 || stat.started == id.started)
    })
}

/// When a process started, by its ticks since the system did. Counted from now, not from the boot's wall clock, which is
/// not corrected when the clock is.
pub(super) fn instant_of(ticks: u64, now: Timestamp) -> Option<Timestamp> {
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split(' ').next()?.parse().ok()?;
    let age = uptime - ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
    now.checked_sub(SignedDuration::try_from_secs_f64(age.max(0.0)).ok()?).ok()
}

pub(super) fn origin(pid: u32, now: Timestamp) -> Option<Origin> {
    let table = Proc::default();
    let stat = stat_of(&table.root.join(pid.to_string()))?;
    let path = table.root.join(stat.parent.to_string());
    let parent = stat_of(&path).filter(|parent| parent.tty == stat.tty);
    let parent = parent.map(|parent| table.describe(&path, stat.parent, &parent));
    Some(Origin { started: instant_of(stat.started, now)?, parent })
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
            let Some(stat) = stat_of(&path) else { continue };
            let Some(ttys) = wanted.get(&stat.tty).filter(|_| stat.tty != 0 && stat.pgrp == stat.tpgid)
            else {
                continue;
            };
            let info = self.describe(&path, pid, &stat);
            for tty in ttys {
                snapshot.add(tty, &info);
            }
        }
        snapshot.without_wrappers()
    }

    fn still(&self, tty: &str, group: &[ProcessInfo]) -> bool {
        let Some(number) = fs::metadata(tty).ok().map(|meta| kernel_number(meta.rdev())) else {
            return false;
        };
        // A new foreground job takes the terminal from the old one; a program that replaces another has another name.
        let same = |known: &ProcessInfo| {
            let path = self.root.join(known.pid.to_string());
            stat_of(&path).is_some_and(|stat| {
                stat.tty == number
                    && stat.pgrp == stat.tpgid
                    && self.describe(&path, known.pid, &stat) == *known
            })
        };
        !group.is_empty() && group.iter().all(same)
    }
}

impl Proc {
    fn describe(&self, path: &Path, pid: u32, stat: &Stat) -> ProcessInfo {
        let command = head_of(&path.join("cmdline"), MAX_COMMAND).unwrap_or_default();
        let args: Vec<String> = command
            .split(|byte| *byte == 0)
            .map(|arg| harmless(&String::from_utf8_lossy(arg)))
            .filter(|arg| !arg.is_empty())
            .collect();
        let exe = fs::read_link(path.join("exe")).ok().map(|path| path.to_string_lossy().into_owned());
        let present = exe.as_deref().filter(|exe| !exe.ends_with(DELETED));
        let cwd = || fs::read_link(path.join("cwd")).ok();
        let installed = Installed { exe: present.map(Path::new), args: &args, cwd: &cwd };
        let version = self.versions.of(ProcessId { pid, started: stat.started }, &installed);
        ProcessInfo {
            pid,
            pgid: stat.pgrp.cast_unsigned(),
            comm: harmless(&stat.comm),
            exe: exe.map(|exe| exe.strip_suffix(DELETED).unwrap_or(&exe).to_owned()),
            args,
            stopped: matches!(stat.state, 'T' | 't'),
            started: stat.started,
            version,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REST: &str = "4194304 1 0 0 0 0 0 0 0 20 0 1 0 8151";

    #[test]
    fn stat_lines_with_names_of_all_kinds() {
        let stat = parse_stat(&format!("449 (a) b (c)) S 96 449 449 34817 449 {REST} 9 9")).unwrap();
        let (comm, state) = ("a) b (c)".into(), 'S');
        assert_eq!(stat, Stat { comm, state, parent: 96, pgrp: 449, tty: 34817, tpgid: 449, started: 8151 });
        let stat = parse_stat(&format!("7 (x\n7 (codex) S 1 7 7 0 7) T 96 7 7 34817 8 {REST}")).unwrap();
        assert_eq!((stat.state, stat.tpgid), ('T', 8), "the last parenthesis counts");
        assert_eq!(parse_stat("1 (init) S 0 1 1 0 -1"), None, "cut short");
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

    /// A process table of files: names that are no text, endless command lines, processes that vanish half-way.
    #[test]
    fn hostile_and_vanishing_processes() {
        let dir = tempfile::tempdir().unwrap();
        let process = |pid: u32, comm: &[u8], cmdline: Option<Vec<u8>>| {
            let path = dir.path().join(pid.to_string());
            fs::create_dir(&path).unwrap();
            // `/dev/null` stands for the terminal.
            let tty = kernel_number(fs::metadata("/dev/null").unwrap().rdev());
            let mut stat = format!("{pid} (").into_bytes();
            stat.extend(comm);
            stat.extend(format!(") S 1 7 7 {tty} 7 {REST}\n").bytes());
            fs::write(path.join("stat"), stat).unwrap();
            if let Some(cmdline) = cmdline {
                fs::write(path.join("cmdline"), cmdline).unwrap();
            }
        };
        process(7, b"co\ndex \xff)(", Some(b"codex\0--flag\x1b[2J\0".to_vec()));
        process(8, b"big", Some(vec![b'x'; 8 << 20]));
        process(9, b"gone", None);
        fs::create_dir(dir.path().join("10")).unwrap();
        fs::create_dir(dir.path().join("self")).unwrap();
        let table = Proc { root: dir.path().to_owned(), versions: Versions::default() };
        let mut group = table.look(&["/dev/null".to_owned()]).groups.remove("/dev/null").unwrap();
        group.sort_by_key(|info| info.pid);
        assert_eq!(group.iter().map(|info| info.pid).collect::<Vec<_>>(), [7, 8, 9]);
        assert_eq!(group[0].comm, "co\u{fffd}dex \u{fffd})(");
        assert_eq!(group[0].args, ["codex", "--flag\u{fffd}[2J"]);
        assert_eq!(group[1].args[0].len() as u64, MAX_COMMAND);
        assert!(group[2].args.is_empty());
        assert!(table.still("/dev/null", &group));
        fs::remove_dir_all(dir.path().join("9")).unwrap();
        assert!(!table.still("/dev/null", &group));
    }

    #[test]
    fn a_pid_that_comes_again_is_another_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("7");
        fs::create_dir(&path).unwrap();
        let tty = kernel_number(fs::metadata("/dev/null").unwrap().rdev());
        let write = |started: u64| {
            let rest = REST.replace("8151", &started.to_string());
            fs::write(path.join("stat"), format!("7 (codex) S 1 7 7 {tty} 7 {rest}")).unwrap();
            fs::write(path.join("cmdline"), "codex\0").unwrap();
        };
        let table = Proc { root: dir.path().to_owned(), versions: Versions::default() };
        write(100);
        let first = table.look(&["/dev/null".to_owned()]).groups.remove("/dev/null").unwrap();
        assert!(table.still("/dev/null", &first));
        write(200);
        assert!(!table.still("/dev/null", &first));
        let second = table.look(&["/dev/null".to_owned()]).groups.remove("/dev/null").unwrap();
        assert_ne!(ProcessId::of(&first[0]).number(), ProcessId::of(&second[0]).number());
    }

    proptest! {
        #[test]
        fn no_stat_line_does_harm(text in ".{0,200}") {
            let _unused = parse_stat(&text);
        }
    }
}
