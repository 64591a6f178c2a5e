//! What a pane shows, understood: secrets taken out, the agent and its composer found, events and state told.
//!
//! Everything here is a pure function of frames, facts and a given time: no clock, no I/O, no tasks. The parts:
//!
//! - [`Redactor`] takes secrets out of texts, rows and frames.
//! - [`identify`] tells from the process table which program holds a terminal.
//! - [`composer::read`] finds where an agent takes text, and what stands there; [`shell::prompt_row`] does for shells.
//! - [`Engine`] runs rules, which are data, over a frame.
//! - [`PaneMatcher`] follows one pane over time: events once each, and one state. [`scan()`] looks at one saved screen.

mod cells;
mod compaction;
pub mod composer;
#[cfg(test)]
mod corpus_tests;
mod dialog;
mod hash;
mod look;
mod matcher;
#[cfg(test)]
mod matcher_tests;
mod observation;
mod presence;
pub mod process;
mod reading;
pub mod redact;
pub mod reset;
mod resets;
mod rules;
mod saved;
mod scan;
pub mod session;
pub mod shell;
mod state;
mod testimony;
#[cfg(test)]
mod testimony_tests;
#[cfg(test)]
mod testing;

pub use composer::{Composer, ComposerView, Held, Working};
pub use matcher::PaneMatcher;
pub use observation::{Detected, Facts, Observation, Progress};
pub use process::{Foreground, ProcessInfo, identify};
pub use redact::{Finding, PatternError, Redactor, RedactorState, UserPattern};
pub use rules::{Engine, PackError, PackSource};
pub use scan::scan;
pub use testimony::Testimony;
