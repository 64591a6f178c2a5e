//! Workflows: data, executed by one pure function.
//!
//! A [`Definition`] is a TOML file of typed steps. A [`Run`] is one execution of it on one pane; it is a plain value that
//! the controller stores as a row. [`step`] takes a run, one recorded input and the time, and gives the next run and the
//! effects to carry out. It reads no clock, draws no random number and does no I/O, so a run's state is the fold of its
//! recorded inputs (promise W1), and a controller killed between any two instructions goes on where it was.
//!
//! ```text
//! event ──► Run::start ─┐
//!                       ├─► (Run, [Effect]) ──► one commit: run row, outbox rows, wake-up time
//! pane state, outcome,  │
//! time, cancel ──► step ┘
//! ```
//!
//! What a run does about trouble is decided here and nowhere else: a *refused* or *expired* action did not touch the
//! pane, so the run goes back to waiting and tries again later, until the step's time is over; an *unknown* one may have,
//! so the run ends as `unknown` and nobody types again blindly.

mod definition;
mod run;

pub use definition::{Definition, InvalidDefinition, Step, builtin};
pub use run::{Admission, Effect, End, Input, Run, Status, Trigger, admit, step};
