//! How fast a transcript is read.

use std::time::Duration;

use aho_corasick::AhoCorasick;
use serde::Serialize;
use wa_match::{Engine, scan};
use wa_proto::Timestamp;

use super::material::Page;
use super::stopwatch::Stopwatch;

const MIB: f64 = 1024.0 * 1024.0;

/// A transcript in pages of one size.
#[derive(Debug, Serialize)]
pub(crate) struct Reading {
    /// Rows of a page.
    pub(crate) rows: usize,
    /// Of the transcript, before it is read again and again.
    pub(crate) own_mib: f64,
    pub(crate) read_mib: f64,
    /// Found in one reading of the transcript.
    pub(crate) events: usize,
    pub(crate) mib_per_s: f64,
    /// The bare pass, in the faster of its kinds.
    pub(crate) baseline_mib_per_s: f64,
}

/// Turns in which engine and baseline are measured.
const TURNS: usize = 9;

impl Reading {
    /// Reads the pages until `most` bytes have gone by.
    pub(crate) fn of(
        rows: usize,
        pages: &[Page],
        engine: &Engine,
        automata: &[AhoCorasick],
        most: usize,
    ) -> Self {
        let own: usize = pages.iter().map(|page| page.text.len()).sum();
        let rounds = most.div_ceil(TURNS * own.max(1)).max(1);
        let read = |page: &Page| scan(engine, &page.frame, &page.facts, Timestamp::UNIX_EPOCH).events.len();
        let events = pages.iter().map(read).sum();
        let rate = |time: Duration| (own * rounds) as f64 / MIB / time.as_secs_f64();
        let (mut engine, mut baseline) = (Vec::new(), vec![Vec::new(); automata.len()]);
        for _ in 0..TURNS {
            engine.push(rate(repeated(rounds, pages, read)));
            for (automaton, rates) in automata.iter().zip(&mut baseline) {
                rates.push(rate(repeated(rounds, pages, |page| automaton.find_iter(&page.text).count())));
            }
        }
        Self {
            rows,
            own_mib: own as f64 / MIB,
            read_mib: (own * rounds * TURNS) as f64 / MIB,
            events,
            mib_per_s: median(engine),
            baseline_mib_per_s: baseline.into_iter().map(median).fold(0.0, f64::max),
        }
    }

    /// Of the bare pass.
    pub(crate) fn percent(&self) -> f64 {
        100.0 * self.mib_per_s / self.baseline_mib_per_s
    }
}

fn repeated(rounds: usize, pages: &[Page], work: impl Fn(&Page) -> usize) -> Duration {
    let begin = Stopwatch::start();
    for _ in 0..rounds {
        std::hint::black_box(pages.iter().map(&work).sum::<usize>());
    }
    begin.elapsed()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}
