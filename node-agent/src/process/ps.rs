//! The process table where there is no `/proc`: one `ps` for all panes.
//!
//! Format: `pid pgid tpgid stat tty lstart ucomm args`, columns without headings, in the C locale and in UTC. `lstart` is
//! five words. `ucomm` is a column of fixed width, for names hold blanks; `args` are the rest, whose own blanks cannot be
//! told from those between them. The terminal comes without `/dev/`.

use std::ffi::OsStr;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use jiff::civil::DateTime;
use wa_match::ProcessInfo;

use super::version::{Installed, Versions};
use super::{ProcessId, ProcessTable, Snapshot, harmless};

/// Bytes of an answer that are read.
const MAX_ANSWER: u64 = 16 << 20;
/// Arguments of one process that are kept.
const MAX_ARGUMENTS: usize = 256;
/// Width of the column with the name: what a kernel keeps of it.
const NAME_WIDTH: usize = if cfg!(target_os = "linux") { 15 } else { 16 };

#[derive(Debug)]
pub(super) struct Ps {
    program: PathBuf,
    versions: Versions,
}

impl Default for Ps {
    fn default() -> Self {
        Self { program: "ps".into(), versions: Versions::default() }
    }
}

impl ProcessTable for Ps {
    fn look(&self, ttys: &[String]) -> Snapshot {
        let Some(answer) = ask(self.program.as_os_str()) else { return Snapshot::default() };
        let mut snapshot = Snapshot::default();
        for tty in ttys.iter().filter(|tty| Path::new(tty).exists()) {
            snapshot.groups.insert(tty.clone(), Vec::new());
        }
        for line in String::from_utf8_lossy(&answer).lines() {
            let Some((tty, mut info)) = parse(line, NAME_WIDTH) else { continue };
            let tty = format!("/dev/{tty}");
            if snapshot.groups.contains_key(&tty) {
                // Relative paths are not looked into: the working directory is not told.
                let exe = info.exe.as_deref().map(Path::new);
                let installed = Installed { exe, args: &info.args, cwd: &|| None };
                info.version = self.versions.of(ProcessId::of(&info), &installed);
                snapshot.add(&tty, &info);
            }
        }
        snapshot.without_wrappers()
    }

    fn still(&self, _tty: &str, _group: &[ProcessInfo]) -> bool {
        false
    }
}

fn ask(program: &OsStr) -> Option<Vec<u8>> {
    let mut child = Command::new(program)
        .args(["-axo", "pid=,pgid=,tpgid=,stat=,tty=,lstart=,ucomm=,args="])
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut answer = Vec::new();
    let read = child.stdout.take().map(|out| out.take(MAX_ANSWER).read_to_end(&mut answer));
    // Whether it says that it failed does not matter: what it printed is judged line by line.
    let waited = child.wait();
    read?.ok().and(waited.ok()).map(|_| answer)
}

/// By the signal that does nothing. A pid that came again meanwhile is told by the next look at the table.
#[cfg(not(target_os = "linux"))]
pub(super) fn is_running(id: ProcessId) -> bool {
    let pid = i32::try_from(id.pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

/// The next word, and what follows it.
fn word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// A member of its terminal's foreground group, with that terminal.
fn parse(line: &str, name_width: usize) -> Option<(String, ProcessInfo)> {
    let (pid, rest) = word(line)?;
    let (pgid, rest) = word(rest)?;
    let (tpgid, rest) = word(rest)?;
    let (stat, rest) = word(rest)?;
    let (tty, rest) = word(rest)?;
    let pgid: u32 = pgid.parse().ok()?;
    if tpgid.parse::<i64>().ok()? != i64::from(pgid) {
        return None;
    }
    let (started, rest) = started(rest)?;
    let rest = rest.trim_start();
    let width = rest.char_indices().nth(name_width).map_or(rest.len(), |(at, _)| at);
    let (comm, args) = rest.split_at(width);
    let args: Vec<String> = args.split_whitespace().take(MAX_ARGUMENTS).map(harmless).collect();
    let exe = args.first().filter(|first| first.starts_with('/')).cloned();
    let info = ProcessInfo {
        pid: pid.parse().ok()?,
        pgid,
        comm: harmless(comm.trim_end()),
        args,
        exe,
        stopped: stat.starts_with('T'),
        started,
        version: String::new(),
    };
    Some((tty.to_owned(), info))
}

/// `Sun Nov 22 08:02:11 2026`, in seconds, and what follows it.
fn started(text: &str) -> Option<(u64, &str)> {
    let (_weekday, rest) = word(text)?;
    let (month, rest) = word(rest)?;
    let (day, rest) = word(rest)?;
    let (time, rest) = word(rest)?;
    let (year, rest) = word(rest)?;
    let moment = DateTime::strptime("%b %d %H:%M:%S %Y", format!("{month} {day} {time} {year}")).ok()?;
    let seconds = moment.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second();
    Some((u64::try_from(seconds).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use wa_match::{Foreground, identify};

    /// Recorded with procps: names of 15 columns.
    const PROCPS: &str = include_str!("testdata/procps.txt");
    /// The columns of `ps` on macOS: a wider start, names of 16 columns, terminals as `ttys003`.
    const MACOS: &str = include_str!("testdata/macos.txt");

    fn on(text: &str, width: usize, tty: &str) -> Vec<ProcessInfo> {
        text.lines()
            .filter_map(|line| parse(line, width))
            .filter(|(on, _)| on == tty)
            .map(|(_, info)| info)
            .collect()
    }

    #[test]
    fn recorded_tables_name_who_holds_a_terminal() {
        let group = on(PROCPS, 15, "pts/0");
        assert_eq!(group.len(), 2, "{group:?}");
        assert_eq!(identify(&group).agent().map(wa_proto::AgentKind::as_str), Some("codex"));
        assert!(on(PROCPS, 15, "?").is_empty(), "what has no terminal is in no foreground");
        let group = on(MACOS, 16, "ttys003");
        assert_eq!((group.len(), group[0].comm.as_str()), (2, "node"));
        assert_eq!(group[0].started, 1_795_334_531);
        assert!(group[1].started > group[0].started);
        assert!(matches!(identify(&group), Foreground::Agent { pid: 6150, .. }), "{group:?}");
        let shell = on(MACOS, 16, "ttys001");
        assert_eq!(identify(&shell), Foreground::Shell { name: "zsh".to_owned() });
        let blanks = on(MACOS, 16, "ttys004");
        assert_eq!((blanks[0].comm.as_str(), blanks[0].args.len()), ("My Tool (beta)", 4));
        assert_eq!(blanks[0].exe.as_deref(), Some("/Applications/My"));
        let stopped = on(MACOS, 16, "ttys005");
        assert_eq!(identify(&stopped), Foreground::Unknown, "stopped: {stopped:?}");
    }

    /// The program of this host, as far as it knows these columns.
    #[test]
    fn the_table_of_this_host_is_read() {
        let Some(answer) = ask(OsStr::new("ps")) else { return };
        let text = String::from_utf8_lossy(&answer).into_owned();
        let lines = text.lines().count();
        // All but the columns of the foreground hold for every process.
        let whole =
            text.lines().filter(|line| word(line).is_some_and(|(pid, _)| pid.parse::<u32>().is_ok())).count();
        assert_eq!(whole, lines);
        assert!(Ps::default().look(&["/dev/pts/99999".to_owned()]).groups.is_empty());
        let missing = Ps { program: "/nonexistent/ps".into(), versions: Versions::default() };
        assert!(missing.look(&["/dev/null".to_owned()]).groups.is_empty());
    }

    proptest! {
        #[test]
        fn no_line_does_harm(text in ".{0,200}", start in 0_usize..20) {
            let _unused = parse(&text, 15);
            let words = "1 1 1 S pts/0 Sun Nov 22 08:02:11 2026 codex";
            let _unused = parse(&format!("{}{text}", &words[..words.len() - start]), 15);
        }
    }
}
