//! The rule engine: packs of rules over the rendered screen.

mod engine;
mod pack;
pub(crate) mod text;
mod version;

pub use engine::Engine;
pub(crate) use engine::last_prompt;
pub(crate) use engine::{Hit, Scene};
pub(crate) use pack::Rearm;
pub use pack::{PackError, PackSource};

#[cfg(test)]
mod tests;
