//! What a changed frame costs.

use std::time::Duration;

use aho_corasick::AhoCorasick;
use serde::Serialize;
use wa_match::{Engine, PaneMatcher, composer};
use wa_proto::{Frame, Timestamp};

use super::material::Step;
use super::stopwatch::Stopwatch;
use crate::figures::Distribution;

/// Between two frames.
const PAUSE: Duration = Duration::from_millis(25);

/// The frames of one size.
#[derive(Debug, Serialize)]
pub(crate) struct Cell {
    pub(crate) name: &'static str,
    /// Frames that are not counted twice.
    pub(crate) frames: usize,
    /// Text of a frame, in bytes.
    pub(crate) mean_bytes: usize,
    pub(crate) observe: Times,
    pub(crate) parts: Parts,
    /// The bare pass over the same text.
    pub(crate) baseline_us: f64,
}

/// Microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Times {
    pub(crate) mean_us: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) max_us: f64,
}

/// Where the time goes, in microseconds per frame.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Parts {
    /// Literals and rules: with the packs, less without.
    pub(crate) rules_us: f64,
    pub(crate) composer_us: f64,
    /// Rows made comparable, turns, state.
    pub(crate) rest_us: f64,
}

impl Times {
    fn of(samples: Vec<Duration>) -> Option<Self> {
        let mean_us = mean_us(&samples);
        let told = Distribution::of(samples)?;
        Some(Self {
            mean_us,
            p50_us: told.p50_ms * 1e3,
            p99_us: told.p99_ms * 1e3,
            max_us: told.max_ms * 1e3,
        })
    }
}

fn mean_us(samples: &[Duration]) -> f64 {
    samples.iter().sum::<Duration>().as_secs_f64() * 1e6 / samples.len().max(1) as f64
}

/// What all cells are measured with.
pub(crate) struct Tools<'t> {
    pub(crate) engine: &'t Engine,
    pub(crate) without_rules: &'t Engine,
    pub(crate) automata: &'t [AhoCorasick],
    pub(crate) rounds: usize,
}

impl Cell {
    /// Measures sessions of frames; `None` of no frame.
    pub(crate) fn of(name: &'static str, sessions: &[&[Step]], tools: &Tools<'_>) -> Option<Self> {
        let steps = || sessions.iter().copied().flatten();
        let frames = steps().count();
        let bytes: usize = steps().map(|step| text_of(&step.frame).len()).sum();
        let rounds = |work: &mut dyn FnMut(&mut Vec<Duration>)| {
            work(&mut Vec::new());
            let mut samples = Vec::with_capacity(frames * tools.rounds);
            (0..tools.rounds).for_each(|_| work(&mut samples));
            samples
        };
        let all =
            rounds(&mut |samples| sessions.iter().for_each(|steps| observe(tools.engine, steps, samples)));
        let bare = rounds(&mut |samples| {
            sessions.iter().for_each(|steps| observe(tools.without_rules, steps, samples))
        });
        let composer = rounds(&mut |samples| samples.extend(steps().map(read)));
        let baseline = tools.automata.iter().map(|automaton| {
            let texts: Vec<String> = steps().map(|step| text_of(&step.frame)).collect();
            mean_us(&rounds(&mut |samples| samples.extend(texts.iter().map(|text| pass(automaton, text)))))
        });
        let (bare, composer) = (mean_us(&bare), mean_us(&composer));
        let observe = Times::of(all)?;
        let parts = Parts {
            rules_us: (observe.mean_us - bare).max(0.0),
            composer_us: composer,
            rest_us: (bare - composer).max(0.0),
        };
        let baseline_us = baseline.fold(f64::INFINITY, f64::min);
        Some(Self { name, frames, mean_bytes: bytes / frames.max(1), observe, parts, baseline_us })
    }
}

/// One session, by a matcher that has seen nothing.
fn observe(engine: &Engine, steps: &[Step], samples: &mut Vec<Duration>) {
    let mut matcher = PaneMatcher::new();
    let mut now = Timestamp::UNIX_EPOCH;
    for step in steps {
        let facts = step.facts();
        let begin = Stopwatch::start();
        let seen = matcher.observe(engine, &step.frame, &facts, now);
        samples.push(begin.elapsed());
        std::hint::black_box(seen);
        now += PAUSE;
    }
}

fn read(step: &Step) -> Duration {
    let begin = Stopwatch::start();
    if let Some(agent) = &step.agent {
        std::hint::black_box(composer::read(&step.frame, agent));
    }
    begin.elapsed()
}

fn pass(automaton: &AhoCorasick, text: &str) -> Duration {
    let begin = Stopwatch::start();
    std::hint::black_box(automaton.find_iter(text).count());
    begin.elapsed()
}

fn text_of(frame: &Frame) -> String {
    frame.rows.iter().flat_map(|row| [row.text.as_str(), "\n"]).collect()
}
