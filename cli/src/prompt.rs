//! Asking a person at the terminal: on standard error, for standard output carries data.
//!
//! While something secret is typed the terminal neither shows it nor makes signals of keys: Ctrl-C comes as a key. Signals
//! of others (SIGINT, SIGTERM) end the question, not the program: the terminal is set back before that ends.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};
use wa_link::worker;
use zeroize::Zeroizing;

use crate::failure::Failure;

/// Bytes of an answer.
const LIMIT: usize = 4096;

/// Whether somebody is there who sees the question.
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks yes or no; everything but yes is no.
pub(crate) fn confirm(question: &str) -> Result<bool, Failure> {
    let answer = visible(&format!("{question} [y/N] "))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// A line that may be seen.
pub(crate) fn visible(question: &str) -> Result<Zeroizing<String>, Failure> {
    show(question)?;
    let mut text = Zeroizing::new(String::with_capacity(LIMIT));
    let read = io::stdin().lock().take(LIMIT as u64).read_line(&mut text).map_err(unreadable)?;
    if read == 0 {
        return Err(no_answer());
    }
    let length = text.trim_end_matches(['\n', '\r']).len();
    text.truncate(length);
    Ok(text)
}

/// A line that nobody sees. Blocks; not within a runtime.
pub(crate) fn hidden(question: &str) -> Result<Zeroizing<String>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(unreadable)?;
    let typed = runtime.block_on(async {
        // From here on neither kills this process.
        let mut interrupts = signal(SignalKind::interrupt()).map_err(unreadable)?;
        let mut terminations = signal(SignalKind::terminate()).map_err(unreadable)?;
        let _quiet = Quiet::start().map_err(unreadable)?;
        show(question)?;
        tokio::select! {
            typed = worker::blocking(|| line(io::stdin().lock().bytes())) => {
                typed.unwrap_or_else(|error| Err(unreadable(error)))
            }
            _ = interrupts.recv() => Err(Failure::interrupted()),
            _ = terminations.recv() => Err(Failure::interrupted()),
        }
    });
    // After a signal a thread still waits for a key; nothing but the end of the program ends that.
    runtime.shutdown_background();
    show("\n")?;
    typed
}

fn show(text: &str) -> Result<(), Failure> {
    let mut to = io::stderr();
    to.write_all(text.as_bytes())
        .and_then(|()| to.flush())
        .map_err(|error| Failure::failed(format!("cannot ask on the terminal: {error}")))
}

fn unreadable(error: impl Into<io::Error>) -> Failure {
    Failure::failed(format!("cannot read from the terminal: {}", error.into()))
}

fn no_answer() -> Failure {
    Failure::usage("nothing was answered")
}

/// A terminal that shows nothing, until it is dropped.
struct Quiet(Termios);

impl Quiet {
    fn start() -> rustix::io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG | LocalModes::IEXTEN);
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        // What was typed before the question is not the answer.
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // A terminal that is gone cannot be set back.
        tcsetattr(io::stdin(), OptionalActions::Now, &self.0).ok();
    }
}

/// Keys until Enter. Backspace and Ctrl-U work; other control keys do nothing.
fn line(keys: impl Iterator<Item = io::Result<u8>>) -> Result<Zeroizing<String>, Failure> {
    // Never grown, so that no copy is left behind.
    let mut typed = Zeroizing::new(Vec::with_capacity(LIMIT));
    for key in keys {
        match key.map_err(unreadable)? {
            b'\n' | b'\r' => {
                let text =
                    std::str::from_utf8(&typed).map_err(|_| Failure::usage("what was typed is no UTF-8"))?;
                return Ok(Zeroizing::new(text.to_owned()));
            }
            // Ctrl-C
            0x03 => return Err(Failure::interrupted()),
            // Ctrl-D
            0x04 if typed.is_empty() => return Err(no_answer()),
            // Ctrl-U
            0x15 => typed.clear(),
            0x08 | 0x7f => {
                let start = typed.iter().rposition(|byte| byte & 0xc0 != 0x80);
                typed.truncate(start.unwrap_or(0));
            }
            key if key < 0x20 => {}
            _ if typed.len() == LIMIT => {
                return Err(Failure::usage(format!("what was typed is longer than {LIMIT} bytes")));
            }
            key => typed.push(key),
        }
    }
    Err(no_answer())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;

    fn typed(keys: &[u8]) -> Result<String, Exit> {
        let read = line(keys.iter().map(|key| Ok(*key)));
        read.map(|text| text.as_str().to_owned()).map_err(|failure| failure.exit)
    }

    #[test]
    fn keys_make_a_line() {
        assert_eq!(typed(b"abc\nrest"), Ok("abc".into()));
        assert_eq!(typed(b"\r"), Ok(String::new()));
        assert_eq!(typed("ab\u{e9}\u{7f}\u{7f}c\n".as_bytes()), Ok("ac".into()));
        assert_eq!(typed(b"\x7f\x7fwrong\x15right\x01\x04\n"), Ok("right".into()));
        assert_eq!(typed(b"ab\x03"), Err(Exit::Interrupted));
        assert_eq!(typed(b"\x04"), Err(Exit::Usage));
        assert_eq!(typed(b"ab"), Err(Exit::Usage));
        assert_eq!(typed(b"\xff\n"), Err(Exit::Usage));
        assert_eq!(typed(&[b'a'; LIMIT + 1]), Err(Exit::Usage));
    }
}
