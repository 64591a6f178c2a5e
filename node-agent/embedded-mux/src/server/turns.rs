//! Locks that are taken in turns.
//!
//! The system's own lets a thread that has just unlocked it lock it again, before those that wait have woken up: a pane
//! that prints without end would shut out everybody else. Here all come in through one door, and who waits for the
//! value stands in it: whoever unlocked finds the door closed, and the value goes to who waits.

use std::num::NonZero;
use std::sync::{Mutex, MutexGuard};

use super::lock;

/// See the head of the module.
#[derive(Debug, Default)]
pub(super) struct Turns<T> {
    door: Mutex<()>,
    value: Mutex<T>,
}

impl<T> Turns<T> {
    pub(super) fn new(value: T) -> Self {
        Self { door: Mutex::new(()), value: Mutex::new(value) }
    }

    /// Waits for its turn. One thread must not ask twice.
    pub(super) fn lock(&self) -> MutexGuard<'_, T> {
        let _door = lock(&self.door);
        lock(&self.value)
    }
}

/// Where panes wait to apply output. Fewer do it at a time than there are processors: else a flood in many panes would
/// leave the threads that work for clients hardly any time, and terminals locked by threads that get none either.
#[derive(Debug)]
pub(super) struct Queues(Vec<Turns<()>>);

impl Queues {
    pub(super) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self((0..processors.saturating_sub(1).max(1)).map(|_| Turns::default()).collect())
    }

    /// Waits until it is this pane's turn, which lasts as long as the guard.
    pub(super) fn turn(&self, pane: u64) -> Option<MutexGuard<'_, ()>> {
        let mine = pane.checked_rem(self.0.len() as u64)?;
        self.0.get(usize::try_from(mine).ok()?).map(Turns::lock)
    }
}
