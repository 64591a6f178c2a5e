//! The limb: watches the panes of one host, spools what it saw, acts on what it is told.
//!
//! The way of one line: [`observer`] (screen and matcher of every pane) → redacted records → [`spool`] (durable) →
//! [`session`] (the stream to the controller). The way of one action: session → [`act`] (policy, [`journal`], permit, guard,
//! paste, Enter, verify) → outcome → spool. [`board`] shows the present of every pane; [`rules`] are what is recognised and
//! how that changes; [`node`] puts it all together.

pub mod account;
pub mod act;
pub mod board;
pub mod config;
pub mod enroll;
mod framing;
mod health;
pub mod hook;
pub mod journal;
pub mod last_words;
pub mod node;
pub mod observer;
pub mod policy;
pub mod process;
pub mod rules;
pub mod session;
pub mod session_file;
pub mod spool;
#[cfg(test)]
mod testing;
pub mod vault;

pub use config::Config;
pub use node::run;
