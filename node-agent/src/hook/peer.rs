//! Who calls: the terminal of a process, or of its nearest ancestor that has one.

/// Ancestors that are asked.
const MAX_STEPS: usize = 32;

/// The controlling terminal (`/dev/pts/3`) of the process or of its nearest ancestor with one. Blocks for a moment.
pub(super) fn terminal(pid: u32) -> Option<String> {
    let mut pid = pid;
    for _ in 0..MAX_STEPS {
        let process = look(pid)?;
        if process.terminal.is_some() {
            return process.terminal;
        }
        if process.parent <= 1 {
            return None;
        }
        pid = process.parent;
    }
    None
}

#[derive(Debug, PartialEq, Eq)]
struct Process {
    parent: u32,
    terminal: Option<String>,
}

#[cfg(target_os = "linux")]
fn look(pid: u32) -> Option<Process> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (parent, device) = parse_stat(&stat)?;
    Some(Process { parent, terminal: path_of(device) })
}

/// Parent and terminal of `PID (COMM) STATE PPID PGRP SESSION TTY …`; the name may hold blanks and parentheses.
#[cfg(target_os = "linux")]
fn parse_stat(stat: &str) -> Option<(u32, u32)> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    let device: i32 = fields.nth(2)?.parse().ok()?;
    Some((parent, device.cast_unsigned()))
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
    let output =
        std::process::Command::new("ps").args(["-o", "ppid=,tty=", "-p", &pid.to_string()]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut fields = text.split_ascii_whitespace();
    let parent = fields.next()?.parse().ok()?;
    let terminal = fields.next().filter(|tty| !tty.contains('?')).map(|tty| format!("/dev/{tty}"));
    Some(Process { parent, terminal })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn names_of_processes_do_not_mislead() {
        assert_eq!(parse_stat("449 (a) b (c)) S 96 449 449 34817 449 4194304 1"), Some((96, 34817)));
        assert_eq!(parse_stat("1 (init) S 0 1 1 0 -1"), Some((0, 0)));
        assert_eq!(parse_stat("1 (init"), None);
    }

    #[test]
    fn what_is_no_terminal_has_no_path() {
        for device in [0, 1 << 8 | 3, 136 << 8 | 0xff | 0xff << 20, u32::MAX] {
            assert_eq!(path_of(device), None, "{device:#x}");
        }
    }

    #[test]
    fn a_process_that_is_gone_has_no_terminal() {
        assert_eq!(terminal(u32::MAX), None);
    }
}
