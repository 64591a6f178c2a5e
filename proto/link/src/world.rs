//! What lies under a program, and how a simulation stands in for it.
//!
//! Constraints: a program asks for the time, the network, the disk and threads in few places, and those places look here
//! first. Nobody enters a world but a simulation, on a thread of its own; everywhere else the answer is the operating
//! system's, for the price of a look at an empty thread-local. In a simulated world runs the same code: only what lies
//! under it is another. Threads become tasks of the runtime at hand, so that all of it happens on one thread in one order,
//! which a seed decides.
//!
//! ```text
//! clock ─┐
//! net ───┼─► world of this thread, if one was entered ─► simulation
//! disk ──┤                                       else ─► operating system
//! worker ┘
//! ```

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use wa_proto::Timestamp;

use crate::net::{Door, Wire};

/// One host of a simulation.
pub trait World: Send + Sync {
    /// What the clock on the host's wall shows.
    fn now(&self) -> Timestamp;

    /// A connection to a port of another host.
    fn connect(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Box<dyn Wire>>>;

    /// Connections to a port of this host.
    ///
    /// # Errors
    /// When the port is taken.
    fn listen(&self, address: SocketAddr) -> io::Result<Box<dyn Door>>;

    /// A connection to a socket of this host, and a name for the process that listens there.
    ///
    /// # Errors
    /// When nobody does.
    fn local(&self, path: &Path) -> io::Result<(Box<dyn Wire>, String)>;

    /// A change on the disk is about to be made.
    ///
    /// # Errors
    /// When it is not to be made: then the disk refused it, or has done as much of it as it would.
    fn change(&self, change: Change<'_>) -> io::Result<()>;
}

/// A change on the disk.
#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    /// A new, empty file.
    Create(&'a Path),
    Write {
        file: &'a File,
        bytes: &'a [u8],
        at: u64,
    },
    /// What was written to the file stays from now on.
    Sync(&'a File),
    Cut {
        file: &'a File,
        len: u64,
    },
    Rename {
        from: &'a Path,
        to: &'a Path,
    },
    Remove(&'a Path),
    /// What was created, renamed and removed in the directory stays so from now on.
    SyncDir(&'a Path),
}

thread_local! {
    static WORLD: RefCell<Option<Arc<dyn World>>> = const { RefCell::new(None) };
}

/// What runs on this thread runs in this world, until the answer is dropped.
pub fn enter(world: Arc<dyn World>) -> Entered {
    Entered(WORLD.replace(Some(world)))
}

/// Holds a world; see [`enter`].
#[must_use]
pub struct Entered(Option<Arc<dyn World>>);

impl Drop for Entered {
    fn drop(&mut self) {
        WORLD.set(self.0.take());
    }
}

/// The world of this thread, if it is a simulated one.
pub(crate) fn current() -> Option<Arc<dyn World>> {
    WORLD.with_borrow(Clone::clone)
}

/// Whether this thread's world is a simulated one.
pub(crate) fn is_simulated() -> bool {
    WORLD.with_borrow(Option::is_some)
}
