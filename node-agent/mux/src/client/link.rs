//! The table of requests that wait for their answers.
//!
//! Shared by the callers, who add to it, and the reader, who takes from it. Everything is decided under one lock:
//! after the end was noted nothing can be added, and whoever waited has been told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use crate::codec::Pdu;
use crate::event::CloseReason;

/// An answer. The reader counts those for which nobody waits any more.
pub(crate) type Answer = oneshot::Sender<Pdu>;

#[derive(Default)]
pub(crate) struct Link {
    table: Mutex<Table>,
    /// A request was added: the reader must read on even when nobody takes the events.
    pub(crate) added: Notify,
    /// The end was noted: the writer must let go of its half.
    pub(crate) ended: Notify,
    unknown_pushes: AtomicU64,
}

#[derive(Default)]
struct Table {
    last_serial: u64,
    waiting: BTreeMap<u64, Answer>,
    closed: Option<CloseReason>,
}

/// A place in the table; left when dropped.
pub(crate) struct Waiting<'a> {
    link: &'a Link,
    pub(crate) serial: u64,
    pub(crate) answer: oneshot::Receiver<Pdu>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.link.table().waiting.remove(&self.serial);
    }
}

impl Link {
    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing in here panics half-way through a change.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A table that goes on behind the serial of the greeting.
    pub(crate) fn after(last_serial: u64) -> Self {
        Self { table: Mutex::new(Table { last_serial, ..Table::default() }), ..Self::default() }
    }

    /// A place for one request; an error when the connection is gone. No serial is 0: that means a push.
    pub(crate) fn add(&self) -> Result<Waiting<'_>, CloseReason> {
        let (sender, answer) = oneshot::channel();
        let serial = {
            let mut table = self.table();
            if let Some(reason) = &table.closed {
                return Err(reason.clone());
            }
            table.last_serial += 1;
            let serial = table.last_serial;
            table.waiting.insert(serial, sender);
            serial
        };
        self.added.notify_one();
        Ok(Waiting { link: self, serial, answer })
    }

    /// Whoever waits for this serial. `None`: has given up.
    pub(crate) fn take(&self, serial: u64) -> Option<Answer> {
        self.table().waiting.remove(&serial)
    }

    pub(crate) fn is_waited_for(&self) -> bool {
        !self.table().waiting.is_empty()
    }

    /// Notes the end; the first reason stays. Everybody who waits is let go.
    pub(crate) fn close(&self, reason: CloseReason) -> CloseReason {
        self.ended.notify_one();
        let mut table = self.table();
        table.waiting.clear();
        table.closed.get_or_insert(reason).clone()
    }

    pub(crate) fn closed(&self) -> Option<CloseReason> {
        self.table().closed.clone()
    }

    /// Counts a push of an unknown kind and returns the count so far.
    pub(crate) fn count_unknown_push(&self) -> u64 {
        self.unknown_pushes.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn unknown_pushes(&self) -> u64 {
        self.unknown_pushes.load(Ordering::Relaxed)
    }
}
