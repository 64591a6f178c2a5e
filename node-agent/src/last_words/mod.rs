//! `wa-node exec -- CMD`: a command whose last words are heard, and whose end is told.
//!
//! Constraints. A mux server waits a few milliseconds for more output before it shows any; when the terminal ends
//! meanwhile, what it held back is lost to everybody (all of the output, for a program that prints and ends at once). And
//! no server tells how a program ended. So something has to keep the terminal a little longer than the command does, and
//! must not be felt while the command runs:
//!
//! - The command has the terminal as if it had been started alone: standard streams, environment and signal dispositions
//!   are what they were; nothing is read and nothing printed in between.
//! - Where the wrapper leads the terminal's session (a pane of its own) the command gets a process group, and that group
//!   has the foreground *before* the command begins: Ctrl-C, the window's size and a hang-up go to it, and who asks for the
//!   terminal's foreground finds the command and not the wrapper. A second stage of this program stands still (SIGSTOP)
//!   in that group until it has the terminal, and then becomes the command; thus nothing runs in between and no
//!   descriptor is passed on.
//! - Started from a shell with job control, the command stays in the wrapper's group, which is the shell's job: Ctrl-Z,
//!   `fg` and `bg` move both.
//! - In a pane of its own nobody could continue a stopped command; there the wrapper does. (Alone, its group would be an
//!   orphaned one, which Ctrl-Z does not stop.)
//!
//! Format. When the command has ended: `OSC 1337 ; SetUserVar=wa_exit=BASE64 BEL` on the controlling terminal, never on a
//! redirected standard output. The value is the status in decimal or `signal:NAME` (`signal:KILL`). A command that was
//! killed may have been in the middle of a sequence or of a synchronized update, which would swallow both its last words
//! and this: then a string terminator and the end of such an update go first. Nothing else is ever printed.
//!
//! Operation. Exit code: the command's; 128 + signal; 127 not found, 126 cannot be run. After the report the wrapper stays
//! for [`LINGER`]. Servers were seen to deliver everything from 5 ms on; with 100 ms
//! lines were lost on a machine with three times the work it can do; 300 ms is three times that, and nobody waits for it.

mod run;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser};

/// How long the terminal is kept after the command has ended.
pub const LINGER: Duration = Duration::from_millis(300);
/// The user variable that tells the exit status.
pub const EXIT_VARIABLE: &str = "wa_exit";
/// The subcommand, of `wa-node` and of `wa`.
const WORD: &str = "exec";
/// Programs that have it.
const PROGRAMS: [&str; 2] = ["wa-node", "wa"];

/// Runs a command in this terminal so that its last output and its exit status are seen
#[derive(Debug, Args)]
pub struct Exec {
    /// Second stage: stand still, then become the command
    #[arg(long, hide = true)]
    held: bool,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    command: Vec<OsString>,
}

#[derive(Parser)]
struct Call {
    #[command(flatten)]
    exec: Exec,
}

/// Runs the command. Returns when it has ended and its last words had the time to be delivered.
pub fn run(exec: &Exec) -> ExitCode {
    let Some((program, arguments)) = exec.command.split_first() else { return ExitCode::FAILURE };
    if exec.held {
        return ExitCode::from(run::become_command(program, arguments));
    }
    ExitCode::from(run::supervise(&exec.command))
}

/// For programs that carry the node in themselves: runs `PROGRAM exec -- CMD` if this is what they are called with.
pub fn called(arguments: &[OsString]) -> Option<ExitCode> {
    if arguments.get(1).is_none_or(|word| word != WORD) {
        return None;
    }
    // The word stands where the name of a program would.
    Some(match Call::try_parse_from(&arguments[1..]) {
        Ok(call) => run(&call.exec),
        Err(error) => {
            // Standard error may be closed.
            error.print().ok();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
        }
    })
}

/// The program to wrap commands in: the running one if it has the subcommand, else a `wa-node` beside it.
pub fn find() -> Option<PathBuf> {
    find_from(&std::env::current_exe().ok()?)
}

fn find_from(running: &Path) -> Option<PathBuf> {
    // After an upgrade the kernel names the old file; the new one stands in its place.
    let name = running.to_str()?;
    let running = Path::new(name.strip_suffix(" (deleted)").unwrap_or(name));
    let own = running.file_name().and_then(OsStr::to_str).is_some_and(|name| PROGRAMS.contains(&name));
    let found = if own { running.to_owned() } else { running.with_file_name(PROGRAMS[0]) };
    found.is_file().then_some(found)
}

/// A command that is to be run in the wrapper.
pub fn wrap(wrapper: &Path, command: &[String]) -> Option<Vec<String>> {
    let head = [wrapper.to_str()?, WORD, "--"].map(str::to_owned);
    Some(head.into_iter().chain(command.iter().cloned()).collect())
}

/// Whether these are the arguments of a wrapper.
pub fn is_wrapper(arguments: &[String]) -> bool {
    let program = arguments.first().map(|program| program.rsplit('/').next().unwrap_or(program));
    program.is_some_and(|program| PROGRAMS.contains(&program))
        && arguments.get(1).is_some_and(|word| word == WORD)
}

/// How a command ended, as the wrapper tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    Status(u8),
    /// Name of the signal, without `SIG`.
    Signal(String),
}

impl Told {
    /// Reads the variable's value; `None` for what the wrapper would not have written.
    pub fn parse(value: &str) -> Option<Self> {
        if let Some(name) = value.strip_prefix("signal:") {
            let good = (1..=16).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
            return good.then(|| Self::Signal(name.to_owned()));
        }
        let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| value.parse().ok().map(Self::Status)).flatten()
    }

    /// The variable's value.
    pub fn value(&self) -> String {
        match self {
            Self::Status(status) => status.to_string(),
            Self::Signal(name) => format!("signal:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrapper_is_known_by_its_arguments() {
        let is = |text: &str| is_wrapper(&text.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert!(is("/opt/wa/bin/wa-node exec -- codex"));
        assert!(is("wa exec codex"));
        assert!(!is("wa-node run --state-dir x"));
        assert!(!is("bash exec"));
        assert!(!is("wa-node"));
    }

    #[test]
    fn the_wrapper_is_the_running_program_or_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        assert_eq!(find_from(&at("wa-node")), None, "it must be there");
        std::fs::write(at("wa-node"), "").unwrap();
        std::fs::write(at("wa"), "").unwrap();
        assert_eq!(find_from(&at("wa")), Some(at("wa")));
        assert_eq!(find_from(&at("wa-bench")), Some(at("wa-node")));
        assert_eq!(find_from(&at("wa-node (deleted)")), Some(at("wa-node")));
    }

    #[test]
    fn only_what_the_wrapper_writes_is_an_exit() {
        for told in
            [Told::Status(0), Told::Status(255), Told::Signal("KILL".into()), Told::Signal("USR1".into())]
        {
            assert_eq!(Told::parse(&told.value()), Some(told));
        }
        for bad in ["", "256", "-1", "+1", " 1", "signal:", "signal:kill", "signal:A B", "0x1", "٣"] {
            assert_eq!(Told::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_program_that_carries_the_node_takes_only_its_word() {
        let call = |words: &[&str]| called(&words.iter().map(OsString::from).collect::<Vec<_>>());
        assert!(call(&["wa", "status"]).is_none());
        assert!(call(&["wa"]).is_none());
        assert!(call(&["wa", "exec"]).is_some(), "a mistake is answered, too");
    }
}
