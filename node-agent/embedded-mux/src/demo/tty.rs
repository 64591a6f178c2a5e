//! The terminal that an agent runs in, seen from inside.

use std::io::{self, Write as _};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// What came within the time given.
pub(super) enum Input {
    Bytes(Vec<u8>),
    Nothing,
    /// The terminal is gone.
    End,
}

/// Standard input and output in raw mode; as they were before when dropped.
pub(super) struct Tty {
    /// `None`: standard input is no terminal, and stays as it is.
    before: Option<Termios>,
}

impl Tty {
    pub(super) fn raw() -> io::Result<Self> {
        let before = tcgetattr(io::stdin()).ok();
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.make_raw();
            tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        }
        Ok(Self { before })
    }

    /// Columns and rows; 80x24 where nobody knows.
    pub(super) fn size(&self) -> (usize, usize) {
        match tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
            _ => (80, 24),
        }
    }

    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()
    }

    /// Waits for input. Without a time: until there is some.
    pub(super) fn read(&self, patience: Option<Duration>) -> io::Result<Input> {
        let patience = patience.map(Timespec::try_from).transpose();
        // More than the kernel can count is for ever.
        let patience = patience.unwrap_or(None);
        let stdin = io::stdin();
        let mut watched = [PollFd::new(&stdin, PollFlags::IN)];
        match poll(&mut watched, patience.as_ref()) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(Input::Nothing),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let mut buffer = [0; 4096];
        match rustix::io::read(&stdin, &mut buffer) {
            Ok(0) | Err(rustix::io::Errno::IO) => Ok(Input::End),
            Ok(n) => Ok(Input::Bytes(buffer[..n].to_vec())),
            Err(rustix::io::Errno::INTR) => Ok(Input::Nothing),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // At the end of the program nothing can be done about a failure.
            tcsetattr(io::stdin(), OptionalActions::Now, before).ok();
        }
    }
}
