//! The limb: watches the panes of one host, spools what it saw, acts on what it is told.

pub mod board;
mod framing;
pub mod journal;
pub mod policy;
pub mod process;
pub mod session;
pub mod spool;
