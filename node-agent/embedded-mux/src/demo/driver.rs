//! What makes an interactive agent go: keys, time and the terminal's size come in, bytes go out.

use std::time::{Duration, Instant};

use super::input::{Key, Keys};
use super::tty::{Input, Tty};

/// How often the spinner turns.
pub(super) const SPIN: Duration = Duration::from_millis(250);
/// How often a change of size is looked for.
pub(super) const LOOK_AT_SIZE: Duration = Duration::from_millis(500);
/// How long an escape waits for the rest of a sequence.
const ESCAPE: Duration = Duration::from_millis(30);

/// An interactive agent. Times count from its start.
pub(super) trait Program {
    /// What happens by itself until `now`.
    fn tick(&mut self, now: Duration);
    /// A key was pressed, or a text pasted.
    fn key(&mut self, key: Key, now: Duration);
    /// The bytes that make the terminal show the present state; none if it does.
    fn paint(&mut self, now: Duration) -> Vec<u8>;
    /// When something will happen by itself, or look different.
    fn next_wakeup(&self, now: Duration) -> Duration;
    fn has_left(&self) -> bool;
    /// Columns and rows.
    fn resize(&mut self, size: (usize, usize));
    /// What is left on the screen at the end.
    fn farewell(&self) -> Vec<u8>;
}

/// Plays the program until it leaves or its terminal goes away.
pub(super) fn drive(tty: &Tty, mut program: impl Program) -> anyhow::Result<()> {
    let mut keys = Keys::default();
    let start = Instant::now();
    while !program.has_left() {
        let now = start.elapsed();
        program.resize(tty.size());
        program.tick(now);
        let bytes = program.paint(now);
        if !bytes.is_empty() {
            tty.write(&bytes)?;
        }
        let patience =
            if keys.is_unfinished() { ESCAPE } else { program.next_wakeup(now).saturating_sub(now) };
        let typed = match tty.read(Some(patience))? {
            Input::End => return Ok(()),
            Input::Nothing => keys.idle().into_iter().collect(),
            Input::Bytes(bytes) => keys.feed(&bytes),
        };
        let now = start.elapsed();
        for key in typed {
            // A queued prompt may begin between two keys.
            program.tick(now);
            program.key(key, now);
        }
    }
    tty.write(&program.farewell())?;
    Ok(())
}
