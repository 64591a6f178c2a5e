//! A small multiplexer with real PTYs that speaks the WezTerm multiplexer's wire, and scripted
//! agents to run in it. For demonstrations and tests, never for production.
//!
//! [`EmbeddedMux::start`] opens a socket; any client of the real server can use it. The model behind
//! each pane is [`wa_screen::terminal`].

mod clock;
pub mod demo;
mod server;

pub use server::{
    Command, EmbeddedMux, Handle, InvertedRange, Options, Running, SpawnError, Spawned, StartError,
};
