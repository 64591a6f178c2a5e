//! Starting the command, waiting for it, telling its end. The rules are at the head of the module above.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, kill_process_group, waitpid};
use rustix::termios::{tcgetpgrp, tcsetpgrp};
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use super::{EXIT_VARIABLE, LINGER, Told};

/// A shell's word for a command that is not there, …
const NOT_FOUND: u8 = 127;
/// … and for one that cannot be run.
const CANNOT_RUN: u8 = 126;
/// A command that stops itself again and again is continued so often.
const CONTINUE_AFTER: Duration = Duration::from_millis(100);
/// How long a terminal that takes nothing (Ctrl-S, a server that stands still) is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// Second stage. Returns only if the command cannot be started.
pub(super) fn become_command(program: &OsStr, arguments: &[OsString]) -> u8 {
    // Goes on when the first stage has given this group the terminal.
    if let Err(error) = kill_process(rustix::process::getpid(), Signal::STOP) {
        complain(&format!("cannot wait for the terminal: {error}"));
        return CANNOT_RUN;
    }
    let error = Command::new(program).args(arguments).exec();
    let program = program.to_string_lossy();
    match error.kind() {
        io::ErrorKind::NotFound if program.contains('/') => {
            complain(&format!("{program}: no such file, or its interpreter is missing"));
            NOT_FOUND
        }
        io::ErrorKind::NotFound => {
            complain(&format!("{program}: command not found; look at PATH, or give the whole path"));
            NOT_FOUND
        }
        io::ErrorKind::PermissionDenied => {
            complain(&format!("{program}: permission denied; is it a program, and executable?"));
            CANNOT_RUN
        }
        _ => {
            complain(&format!("{program}: cannot be run: {error}"));
            CANNOT_RUN
        }
    }
}

/// Runs the command to its end, tells it, and gives the exit code.
pub(super) fn supervise(command: &[OsString]) -> u8 {
    let ended = match begin(command) {
        Ok(ended) => ended,
        Err(error) => {
            complain(&format!("cannot start {}: {error}", command[0].to_string_lossy()));
            return CANNOT_RUN;
        }
    };
    let (told, code) = describe(ended);
    // Without a terminal there is nobody to tell, and nothing that could be lost.
    if tell(&told).is_ok() {
        std::thread::sleep(LINGER);
    }
    code
}

fn complain(text: &str) {
    eprintln!("wa-node exec: {text}");
}

/// Starts the second stage, which stands still; what is done to signals from then on does not reach the command.
fn begin(command: &[OsString]) -> io::Result<WaitStatus> {
    let own_pane = leads_the_foreground();
    let mut stage = Command::new(this_program()?);
    stage.args(["exec", "--held", "--"]).args(command);
    if own_pane {
        stage.process_group(0);
    }
    let child = stage.spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("no process id"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(Supervisor { pid, own_pane, continue_at: None }.watch());
    if ended.is_err() {
        // It may still stand where it began, and would for ever.
        kill_process(pid, Signal::KILL).ok();
    }
    ended
}

/// This process leads the terminal's session, and its group has the foreground.
///
/// `getsid` is not asked: in a container whose session was begun outside it answers 0, which is no process. A group of
/// one's own is entered again without effect, by anybody but the leader of a session, who may never change groups.
fn leads_the_foreground() -> bool {
    let this = rustix::process::getpid();
    terminal().is_ok_and(|terminal| tcgetpgrp(&terminal) == Ok(this))
        && rustix::process::setpgid(None, None) == Err(rustix::io::Errno::PERM)
}

/// The controlling terminal, by a description of its own that does not block.
fn terminal() -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    rustix::fs::open("/dev/tty", flags, Mode::empty())
}

fn this_program() -> io::Result<PathBuf> {
    match std::env::current_exe() {
        // Replaced while it started: the kernel still has it.
        Ok(path) if !path.is_file() && cfg!(target_os = "linux") => Ok("/proc/self/exe".into()),
        found => found,
    }
}

struct Supervisor {
    pid: Pid,
    /// The command has a group of its own, in a pane of its own.
    own_pane: bool,
    /// It has stopped, and is to go on.
    continue_at: Option<Instant>,
}

/// Signals that would have been for the command.
struct Signals {
    hangup: Stream,
    terminate: Stream,
    interrupt: Stream,
    quit: Stream,
    user1: Stream,
    user2: Stream,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.hangup.recv() => Signal::HUP,
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.quit.recv() => Signal::QUIT,
            _ = self.user1.recv() => Signal::USR1,
            _ = self.user2.recv() => Signal::USR2,
        }
    }
}

impl Supervisor {
    /// Waits for the end of the command.
    async fn watch(mut self) -> io::Result<WaitStatus> {
        let mut changes = signal(SignalKind::child())?;
        let mut signals = Signals::new()?;
        let mut held = true;
        loop {
            while let Some(status) = self.change()? {
                if !status.stopped() {
                    return Ok(status);
                }
                if std::mem::take(&mut held) {
                    self.let_go()?;
                } else {
                    self.stopped();
                }
            }
            tokio::select! {
                _ = changes.recv() => {}
                signal = signals.next() => self.pass_on(signal),
                () = sleep_until(self.continue_at.unwrap_or_else(Instant::now)), if self.continue_at.is_some() => {
                    self.continue_at = None;
                    self.to_command(Signal::CONT);
                }
            }
        }
    }

    fn change(&self) -> io::Result<Option<WaitStatus>> {
        loop {
            match waitpid(Some(self.pid), WaitOptions::NOHANG | WaitOptions::UNTRACED) {
                Err(rustix::io::Errno::INTR) => {}
                changed => return Ok(changed?.map(|(_, status)| status)),
            }
        }
    }

    /// Gives the second stage the terminal and lets it go on.
    fn let_go(&self) -> io::Result<()> {
        if self.own_pane {
            // The terminal may have ended; then so will the command.
            if let Ok(terminal) = terminal() {
                tcsetpgrp(&terminal, self.pid).ok();
            }
        }
        Ok(kill_process(self.pid, Signal::CONT)?)
    }

    /// The command stopped.
    fn stopped(&mut self) {
        if self.own_pane {
            self.continue_at = Some(Instant::now() + CONTINUE_AFTER);
        } else {
            // The shell is to notice, and continues the whole job.
            kill_process(rustix::process::getpid(), Signal::STOP).ok();
        }
    }

    fn pass_on(&self, signal: Signal) {
        // What is typed in a shared group reaches both.
        if self.own_pane || !matches!(signal, Signal::INT | Signal::QUIT) {
            self.to_command(signal);
        }
    }

    fn to_command(&self, signal: Signal) {
        // Where it has just ended, the next look tells.
        if self.own_pane && signal == Signal::CONT {
            kill_process_group(self.pid, signal).ok();
        } else {
            kill_process(self.pid, signal).ok();
        }
    }
}

/// What to tell of an end, and the exit code that passes it on.
fn describe(status: WaitStatus) -> (Told, u8) {
    if let Some(signal) = status.terminating_signal() {
        let number = u8::try_from(signal).unwrap_or(u8::MAX - 128);
        return (Told::Signal(name_of(signal)), 128_u8.saturating_add(number));
    }
    let code = status.exit_status().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    (Told::Status(code), code)
}

fn name_of(signal: i32) -> String {
    let named = [
        (Signal::HUP, "HUP"),
        (Signal::INT, "INT"),
        (Signal::QUIT, "QUIT"),
        (Signal::ILL, "ILL"),
        (Signal::TRAP, "TRAP"),
        (Signal::ABORT, "ABRT"),
        (Signal::BUS, "BUS"),
        (Signal::FPE, "FPE"),
        (Signal::KILL, "KILL"),
        (Signal::USR1, "USR1"),
        (Signal::SEGV, "SEGV"),
        (Signal::USR2, "USR2"),
        (Signal::PIPE, "PIPE"),
        (Signal::ALARM, "ALRM"),
        (Signal::TERM, "TERM"),
        (Signal::XCPU, "XCPU"),
        (Signal::XFSZ, "XFSZ"),
        (Signal::SYS, "SYS"),
    ];
    let name = named.iter().find(|(known, _)| known.as_raw() == signal).map(|(_, name)| (*name).to_owned());
    name.unwrap_or_else(|| signal.to_string())
}

/// Tells the terminal how the command ended.
fn tell(told: &Told) -> io::Result<()> {
    let value = base64::engine::general_purpose::STANDARD.encode(told.value());
    let mut text = format!("\x1b]1337;SetUserVar={EXIT_VARIABLE}={value}\x07");
    if matches!(told, Told::Signal(_)) {
        text.insert_str(0, "\x1b\\\x1b[?2026l");
    }
    let terminal = terminal()?;
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        match rustix::io::write(&terminal, rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => rest = &rest[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => wait_for_room(&terminal)?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn wait_for_room(terminal: &OwnedFd) -> io::Result<()> {
    let patience = Timespec { tv_sec: PATIENCE.as_secs().cast_signed(), tv_nsec: 0 };
    match poll(&mut [PollFd::new(terminal, PollFlags::OUT)], Some(&patience)) {
        Ok(0) => Err(io::ErrorKind::TimedOut.into()),
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_as_shells_count_them() {
        let end = |script: &str| {
            let mut child = Command::new("/bin/sh").args(["-c", script]).spawn().unwrap();
            let pid = Pid::from_child(&child);
            let (_, status) = waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap();
            child.wait().ok();
            describe(status)
        };
        assert_eq!(end("exit 0"), (Told::Status(0), 0));
        assert_eq!(end("exit 255"), (Told::Status(255), 255));
        assert_eq!(end("kill -KILL $$"), (Told::Signal("KILL".into()), 137));
        assert_eq!(end("kill -TERM $$"), (Told::Signal("TERM".into()), 143));
    }
}
