//! What waits to be done for one connection, in order.
//!
//! One thread per connection works this list off: requests that came in, pushes that are due, and
//! frames that go to everybody. While it writes to a reader that does not read, the list waits: a
//! pane stands in it at most once, so whatever a pane does meanwhile becomes one push; requests are
//! not read beyond [`REQUESTS_AHEAD`]; and with [`ITEMS_AHEAD`] things waiting the connection is
//! given up.

use std::collections::{HashSet, VecDeque};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use wa_mux::codec::Pdu;

use super::lock;

const REQUESTS_AHEAD: usize = 256;
const ITEMS_AHEAD: usize = 1 << 16;

/// Something to do.
#[derive(Debug)]
pub(super) enum Item {
    Request {
        serial: u64,
        ident: u64,
        payload: Vec<u8>,
    },
    /// Tell what changed in the pane.
    Push(u64),
    /// Serial 0: for everybody.
    Frame {
        serial: u64,
        pdu: Arc<Pdu>,
    },
}

#[derive(Debug, Default)]
struct Waiting {
    items: VecDeque<Item>,
    /// Panes with a push in `items`.
    pushes: HashSet<u64>,
    requests: usize,
    closed: bool,
}

/// See the head of the module.
#[derive(Debug)]
pub(super) struct Outlet {
    waiting: Mutex<Waiting>,
    more: Condvar,
    room: Condvar,
    stream: UnixStream,
}

impl Outlet {
    /// `stream`: to be shut when the connection is given up.
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { waiting: Mutex::default(), more: Condvar::new(), room: Condvar::new(), stream }
    }

    /// Adds a request; waits while there are many. False: the connection is closed.
    pub(super) fn request(&self, serial: u64, ident: u64, payload: Vec<u8>) -> bool {
        let waiting = lock(&self.waiting);
        let mut waiting = self
            .room
            .wait_while(waiting, |w| w.requests >= REQUESTS_AHEAD && !w.closed)
            .unwrap_or_else(PoisonError::into_inner);
        if waiting.closed {
            return false;
        }
        waiting.requests += 1;
        waiting.items.push_back(Item::Request { serial, ident, payload });
        self.more.notify_one();
        true
    }

    /// A push is due for this pane.
    pub(super) fn push(&self, pane: u64) {
        let mut waiting = lock(&self.waiting);
        if waiting.pushes.insert(pane) {
            waiting.items.push_back(Item::Push(pane));
            self.more.notify_one();
        }
    }

    /// Adds a message.
    pub(super) fn frame(&self, serial: u64, pdu: Arc<Pdu>) {
        let mut waiting = lock(&self.waiting);
        if waiting.items.len() >= ITEMS_AHEAD {
            drop(waiting);
            tracing::warn!("a client reads too slowly, its connection is closed");
            return self.close();
        }
        waiting.items.push_back(Item::Frame { serial, pdu });
        self.more.notify_one();
    }

    /// The next thing to do. `None`: nothing, and the caller said not to wait, or it is over.
    pub(super) fn next(&self, wait: bool) -> Option<Item> {
        let mut waiting = lock(&self.waiting);
        if wait {
            waiting = self
                .more
                .wait_while(waiting, |w| w.items.is_empty() && !w.closed)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if waiting.closed {
            return None;
        }
        let item = waiting.items.pop_front()?;
        match item {
            Item::Push(pane) => {
                waiting.pushes.remove(&pane);
            }
            Item::Request { .. } => {
                waiting.requests -= 1;
                self.room.notify_one();
            }
            Item::Frame { .. } => {}
        }
        Some(item)
    }

    pub(super) fn is_closed(&self) -> bool {
        lock(&self.waiting).closed
    }

    /// Ends the connection; both of its threads notice.
    pub(super) fn close(&self) {
        let mut waiting = lock(&self.waiting);
        waiting.closed = true;
        waiting.items.clear();
        self.more.notify_all();
        self.room.notify_all();
        // An error: the other end was faster.
        self.stream.shutdown(Shutdown::Both).ok();
    }
}
