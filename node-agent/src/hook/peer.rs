//! Who calls: the terminal of a process, or of its nearest ancestor that has one.
//!
//! Agents start hooks in sessions without a terminal, so the question goes up to the agent. It must not go past it: a
//! daemon that one pane's agent has started (Codex 0.169 has such) serves the agents of other panes, too, and its
//! ancestors say nothing about whose hook this is. A hook and the shells around it are young, a daemon is not.

/// Ancestors that are asked.
const MAX_STEPS: usize = 32;
/// An ancestor without a terminal that is older than the caller by more is a daemon. Hundredths of a second.
const YOUNG: u64 = 1000;

/// The controlling terminal (`/dev/pts/3`) of the process or of its nearest ancestor with one. Blocks for a moment.
pub(super) fn terminal(pid: u32) -> Option<String> {
    climb(pid, look)
}

fn climb(pid: u32, look: impl Fn(u32) -> Option<Process>) -> Option<String> {
    let caller = look(pid)?;
    let started = caller.started;
    let mut process = caller;
    for _ in 0..MAX_STEPS {
        if process.terminal.is_some() {
            return process.terminal;
        }
        if process.parent <= 1 || started.saturating_sub(process.started) > YOUNG {
            return None;
        }
        process = look(process.parent)?;
    }
    None
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Process {
    parent: u32,
    terminal: Option<String>,
    /// Hundredths of a second, from any beginning.
    started: u64,
}

#[cfg(target_os = "linux")]
fn look(pid: u32) -> Option<Process> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (parent, device, started) = parse_stat(&stat)?;
    Some(Process { parent, terminal: path_of(device), started })
}

/// Parent, terminal and start of `PID (COMM) STATE PPID PGRP SESSION TTY …`; the name may hold blanks and parentheses.
#[cfg(target_os = "linux")]
fn parse_stat(stat: &str) -> Option<(u32, u32, u64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    let device: i32 = fields.nth(2)?.parse().ok()?;
    // Field 22 of proc_pid_stat(5).
    let started = fields.nth(14)?.parse().ok()?;
    Some((parent, device.cast_unsigned(), started))
}

/// The device file of a terminal that the kernel names by its number: pseudo-terminals and consoles.
#[cfg(target_os = "linux")]
fn path_of(device: u32) -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xf_ff00));
    let path = match major {
        136..=143 => format!("/dev/pts/{}", (major - 136) * 256 + minor),
        4 if minor < 64 => format!("/dev/tty{minor}"),
        _ => return None,
    };
    // Another namespace may have other terminals under the same name.
    let there = std::fs::metadata(&path).ok()?.rdev();
    (there == rustix::fs::makedev(major, minor)).then_some(path)
}

#[cfg(not(target_os = "linux"))]
fn look(pid: u32) -> Option<Process> {
    let output = std::process::Command::new("ps")
        .args(["-o", "ppid=,tty=,etime=", "-p", &pid.to_string()])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut fields = text.split_ascii_whitespace();
    let parent = fields.next()?.parse().ok()?;
    let terminal = fields.next().filter(|tty| !tty.contains('?')).map(|tty| format!("/dev/{tty}"));
    // `[[dd-]hh:]mm:ss`, from now back.
    let age = fields.next()?.split(['-', ':']).rev().zip([1, 60, 3600, 86_400]);
    let age: u64 = age.filter_map(|(count, unit)| Some(count.parse::<u64>().ok()? * unit)).sum();
    Some(Process { parent, terminal, started: u64::MAX / 2 - age * 100 })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn names_of_processes_do_not_mislead() {
        let stat = "449 (a) b (c)) S 96 449 449 34817 449 4194304 1 2 3 4 5 6 7 8 20 0 1 0 4711 9";
        assert_eq!(parse_stat(stat), Some((96, 34817, 4711)));
        assert_eq!(parse_stat("1 (init) S 0 1 1 0 -1"), None);
        assert_eq!(parse_stat("1 (init"), None);
    }

    #[test]
    fn what_is_no_terminal_has_no_path() {
        for device in [0, 1 << 8 | 3, 136 << 8 | 0xff | 0xff << 20, u32::MAX] {
            assert_eq!(path_of(device), None, "{device:#x}");
        }
    }

    #[test]
    fn an_old_ancestor_without_a_terminal_is_a_daemon() {
        let table = |agent_tty: Option<&'static str>, agent_started| {
            move |pid| {
                let process = |parent, tty: Option<&str>, started| {
                    Some(Process { parent, terminal: tty.map(str::to_owned), started })
                };
                match pid {
                    9 => process(8, None, 100_000),
                    8 => process(7, None, 99_990),
                    7 => process(6, agent_tty, agent_started),
                    6 => process(1, Some("/dev/pts/1"), 5),
                    _ => None,
                }
            }
        };
        assert_eq!(climb(9, table(Some("/dev/pts/7"), 50)).as_deref(), Some("/dev/pts/7"));
        assert_eq!(climb(9, table(None, 50)), None, "it serves others, too");
        assert_eq!(climb(9, table(None, 99_980)).as_deref(), Some("/dev/pts/1"));
        assert_eq!(climb(9, |_| Some(Process { parent: 9, terminal: None, started: 0 })), None, "no end");
    }

    #[test]
    fn a_process_that_is_gone_has_no_terminal() {
        assert_eq!(terminal(u32::MAX), None);
    }
}
