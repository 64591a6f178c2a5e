//! What a pane shows, understood: secrets taken out, the agent and its composer found, events and state told.
//!
//! Everything here is a pure function of frames, facts and a given time: no clock, no I/O, no tasks. The parts:
//!
//! - [`Redactor`] takes secrets out of texts, rows and frames.
//! - [`identify`] tells from the process table which program holds a terminal.
//! - [`composer::read`] finds where an agent takes text, and what stands there; [`shell::prompt_row`] does for shells.
//! - [`Engine`] runs rules, which are data in packs ([`Pack`]), over a frame.
//! - [`PaneMatcher`] follows one pane over time: events once each, and one state. [`scan()`] looks at one saved screen.
//! - [`PaneMatcher::explain`] and [`explain_screen`] say rule by rule why.

mod aside;
#[cfg(test)]
mod aside_tests;
mod cells;
mod compaction;
pub mod composer;
mod dialog;
mod drift;
#[cfg(test)]
mod drift_tests;
mod explanation;
#[cfg(test)]
mod explanation_tests;
mod hash;
mod life;
#[cfg(test)]
mod life_tests;
mod limits;
#[cfg(test)]
mod limits_tests;
mod look;
mod matcher;
#[cfg(test)]
mod matcher_tests;
pub mod menu;
mod notice;
mod observation;
mod passing;
#[cfg(test)]
mod passing_tests;
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
mod shadow;
pub mod shell;
mod state;
mod still;
mod testimony;
#[cfg(test)]
mod testimony_tests;
#[cfg(test)]
mod testing;

pub use composer::{Composer, ComposerView, Held, Working};
pub use explanation::{Explanation, RuleTrace, Verdict, explain_screen};
pub use matcher::PaneMatcher;
pub use notice::Notice;
pub use observation::{Detected, Facts, Observation, Progress, UnknownKind, UnknownLook};
pub use passing::Settled;
pub use process::{Foreground, ProcessInfo, identify};
pub use redact::{Finding, PatternError, Redactor, RedactorState, UserPattern};
pub use rules::{Engine, Origin, Pack, PackError, PackInfo, RuleInfo, Surface, revision};
pub use scan::scan;
pub use testimony::Testimony;
