//! What is asked of the figures.

pub(crate) const CAPTURED_PERCENT: f64 = 99.9;
pub(crate) const CPU_PERCENT_AT_1_MIB: f64 = 10.0;
pub(crate) const IDLE_CPU_PERCENT: f64 = 0.5;
pub(crate) const IDLE_RSS_MIB: f64 = 25.0;
pub(crate) const STORED_PER_READ: f64 = 1.1;
pub(crate) const PRESENT_PERCENT: f64 = 99.5;
