//! What is asked of the figures.

use serde::Serialize;

pub(crate) const CAPTURED_PERCENT: f64 = 99.9;
pub(crate) const CPU_PERCENT_AT_1_MIB: f64 = 10.0;
pub(crate) const IDLE_CPU_PERCENT: f64 = 0.5;
pub(crate) const IDLE_RSS_MIB: f64 = 25.0;
pub(crate) const STORED_PER_READ: f64 = 1.1;
pub(crate) const PRESENT_PERCENT: f64 = 99.5;

/// A figure beside its goal.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Goal {
    pub(crate) name: &'static str,
    pub(crate) figure: f64,
    pub(crate) goal: f64,
    pub(crate) unit: &'static str,
    pub(crate) at_least: bool,
    pub(crate) met: bool,
}

impl Goal {
    pub(crate) fn at_most(name: &'static str, figure: f64, goal: f64, unit: &'static str) -> Self {
        Self { name, figure, goal, unit, at_least: false, met: figure <= goal }
    }

    pub(crate) fn at_least(name: &'static str, figure: f64, goal: f64, unit: &'static str) -> Self {
        Self { name, figure, goal, unit, at_least: true, met: figure >= goal }
    }
}
