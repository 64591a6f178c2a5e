//! A small multiplexer with real PTYs that speaks the WezTerm multiplexer's wire, and scripted
//! agents to run in it. For demonstrations and tests, never for production.
//!
//! [`EmbeddedMux::start`] opens a socket; any client of the real server can use it. [`terminal`] is
//! the model behind each pane and can be used by itself.

mod clock;
pub mod demo;
mod server;
pub mod terminal;

pub use server::{
    Command, EmbeddedMux, Handle, InvertedRange, Options, Running, SpawnError, Spawned, StartError,
};
