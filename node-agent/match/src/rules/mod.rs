//! The rule engine: packs of rules over the rendered screen.

mod engine;
pub(crate) mod explain;
mod literals;
mod pack;
mod set;
pub(crate) mod text;
mod version;

pub use engine::Engine;
pub(crate) use engine::last_prompt;
pub(crate) use engine::{Hit, Rule, Scene};
pub use pack::{Origin, Pack, PackError};
pub(crate) use pack::{Rearm, Region};
pub use set::{PackInfo, RuleInfo, revision};

#[cfg(test)]
mod set_tests;
#[cfg(test)]
mod tests;
