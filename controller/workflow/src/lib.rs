//! Workflows: data, executed by one pure function.
//!
//! A [`Definition`] is a TOML file of typed steps that only goes forward. A [`Run`] is one execution of it on one pane; it is
//! a plain value that the controller stores as a row. [`step`] takes a run, one recorded input and the time, and gives the
//! next run and the effects to carry out. It reads no clock, draws no random number and does no I/O, so a run's state is the
//! fold of its recorded inputs (promise W1), and a controller killed between any two instructions goes on where it was.
//!
//! ```text
//! event ──► Run::start ─┐
//!                       ├─► (Run, [Effect]) ──► one commit: run row, outbox rows, notices, wake-up time
//! pane state, event,    │
//! outcome, answer,      │
//! time, cancel ──► step ┘
//! ```
//!
//! `raw.rs` and `definition.rs` read files and refuse what could not end well; `step.rs` names what a step can do;
//! `template.rs` fills texts; `run.rs` is what is stored; `machine.rs` decides; `rehearsal.rs` shows what a recording would
//! have led to.

mod definition;
mod fingerprint;
mod machine;
mod overrides;
mod raw;
mod rehearsal;
mod run;
mod step;
mod template;

pub use definition::{BUILTIN_VARS, Definition, Follows, InvalidDefinition, Rate, builtin};
pub use machine::step;
pub use overrides::{Override, resolve};
pub use rehearsal::{Moment, Rehearsed, Seen, rehearse, state_after};
pub use run::{
    Admission, Effect, End, Expect, Input, NotAgain, PlaceOf, Run, Status, Told, Trigger, WANTED_ACCOUNT,
    admit, resume_command,
};
pub use step::{Choice, Level, Place, Reset, Step, Work};
pub use template::{Quoting, Template, TemplateError, Vars};
