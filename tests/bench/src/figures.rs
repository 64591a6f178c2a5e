//! Samples and what is told of them.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// The usual points of a distribution, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Distribution {
    pub(crate) samples: usize,
    pub(crate) min_ms: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p90_ms: f64,
    pub(crate) p95_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

impl Distribution {
    /// `None` of nothing.
    pub(crate) fn of(mut samples: Vec<Duration>) -> Option<Self> {
        samples.sort_unstable();
        // Nearest rank: the smallest sample that at least this share of all do not exceed.
        let at = |percent: usize| {
            let rank = (samples.len() * percent).div_ceil(100).max(1);
            samples.get(rank - 1).map(|sample| sample.as_secs_f64() * 1e3)
        };
        Some(Self {
            samples: samples.len(),
            min_ms: at(0)?,
            p50_ms: at(50)?,
            p90_ms: at(90)?,
            p95_ms: at(95)?,
            p99_ms: at(99)?,
            max_ms: at(100)?,
        })
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { samples, min_ms, p50_ms, p90_ms, p95_ms, p99_ms, max_ms } = self;
        write!(
            f,
            "min {min_ms:.2}  p50 {p50_ms:.2}  p90 {p90_ms:.2}  p95 {p95_ms:.2}  p99 {p99_ms:.2}  max {max_ms:.2} ms  ({samples} samples)"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let samples = (1..=200).rev().map(Duration::from_millis).collect();
        let told = Distribution::of(samples).unwrap();
        assert_eq!((told.min_ms, told.p50_ms, told.p99_ms, told.max_ms), (1.0, 100.0, 198.0, 200.0));
        assert_eq!(Distribution::of(Vec::new()), None);
    }
}
