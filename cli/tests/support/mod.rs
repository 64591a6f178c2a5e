//! Running `wa` in a home of its own.

// Each test program uses a part.
#![allow(dead_code)]

pub(crate) mod head;
pub(crate) mod shell;

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// `wa` with nothing of this environment.
pub(crate) fn wa(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wa"));
    command.args(args).env_clear().env("HOME", home).env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
    command
}

/// Exit code, standard output, standard error.
pub(crate) fn answer(command: &mut Command) -> (i32, String, String) {
    match command.output() {
        Ok(output) => said(&output),
        Err(error) => panic!("{command:?}: {error}"),
    }
}

pub(crate) fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// A `wa` that runs; killed when dropped.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        match command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn() {
            Ok(child) => Self(child),
            Err(error) => panic!("{command:?}: {error}"),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        // It may have ended; then the wait tells.
        pid.map(|pid| kill_process(pid, signal).ok());
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> (i32, String, String) {
        use std::io::Read as _;
        let (mut out, mut err) = (String::new(), String::new());
        if let Some(mut pipe) = self.0.stdout.take() {
            pipe.read_to_string(&mut out).ok();
        }
        if let Some(mut pipe) = self.0.stderr.take() {
            pipe.read_to_string(&mut err).ok();
        }
        let code = self.0.wait().ok().and_then(|status| status.code());
        (code.unwrap_or(-1), out, err)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Waits until the condition gives something.
pub(crate) fn wait_for<T>(what: &str, time: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + time;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "waited {time:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
