//! What a pane shows, understood: secrets taken out, the agent and its composer found, events and state told.
//!
//! Everything here is a pure function of frames, facts and a given time: no clock, no I/O, no tasks.

mod cells;
pub mod composer;
pub mod process;
pub mod redact;
mod hash;
mod rules;
pub mod shell;
#[cfg(test)]
mod testing;

pub use composer::{Composer, ComposerView, Held, Working};
pub use process::{Foreground, ProcessInfo, identify};
pub use rules::{Engine, PackError, PackSource};
pub use redact::{Redactor, RedactorState};
