//! The rule engine: packs of rules over rendered rows: a screen, settled lines, the words of a record.

mod engine;
mod excerpt;
pub(crate) mod explain;
mod literals;
mod pack;
mod pattern;
mod proof;
mod set;
pub(crate) mod text;
mod version;

pub use engine::Engine;
pub(crate) use engine::last_prompt;
pub(crate) use engine::{Hit, Rule, Scene};
pub(crate) use excerpt::{Excerpt, rows_of};
pub use pack::{Origin, Pack, PackError, Surface};
pub(crate) use pack::{Rearm, Region};
pub use set::{PackInfo, RuleInfo, revision};

#[cfg(test)]
mod set_tests;
#[cfg(test)]
mod tests;
