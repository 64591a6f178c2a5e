//! The account of a recorded agent session: how well its log tells what a person would have read (`reading`).

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::goals;
use super::log::Transcript;
use super::reading::{Reading, ToRead, content};

const MOST_SAMPLES: usize = 8;

/// Lines, summed over sessions with [`Quality::add`].
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Quality {
    /// That a person would have read: those of the final scrollback, those of alternate screens, and of the others that
    /// were there for a while those that the log still shows.
    pub(crate) read: u64,
    /// In the log.
    pub(crate) stored: u64,
    /// Revisions that were sent before those that the log shows.
    pub(crate) replaced: u64,
    /// In the final scrollback, outside the live area.
    pub(crate) last: u64,
    /// Of these in the log, in order.
    pub(crate) last_present: u64,
    /// On the primary screen, and cleared away before the end.
    pub(crate) cleared: u64,
    pub(crate) cleared_present: u64,
    /// On alternate screens.
    pub(crate) alternate: u64,
    pub(crate) alternate_present: u64,
    /// Lines of the log that are none of these.
    pub(crate) noise: u64,
    /// The first few lines of the final scrollback that are missing.
    pub(crate) missing: Vec<String>,
    /// The first few that were cleared away or written over and are missing.
    pub(crate) gone: Vec<String>,
    /// The first few of the log that nobody would have read.
    pub(crate) noise_samples: Vec<String>,
    /// Sessions that miss a goal by themselves.
    pub(crate) short_of_goal: Vec<String>,
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 1.0 } else { part as f64 / whole as f64 }
}

/// Takes one of these from the heap.
fn take(heap: &mut HashMap<&str, usize>, text: &str) -> bool {
    match heap.get_mut(text) {
        Some(count) if *count > 0 => {
            *count -= 1;
            true
        }
        _ => false,
    }
}

impl Quality {
    pub(crate) fn stored_per_read(&self) -> f64 {
        ratio(self.stored, self.read)
    }

    pub(crate) fn present_percent(&self) -> f64 {
        100.0 * ratio(self.last_present, self.last)
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.read += other.read;
        self.stored += other.stored;
        self.replaced += other.replaced;
        self.last += other.last;
        self.last_present += other.last_present;
        self.cleared += other.cleared;
        self.cleared_present += other.cleared_present;
        self.alternate += other.alternate;
        self.alternate_present += other.alternate_present;
        self.noise += other.noise;
        self.missing.extend(other.missing);
        self.gone.extend(other.gone);
        self.noise_samples.extend(other.noise_samples);
        self.short_of_goal.extend(other.short_of_goal);
    }

    /// Judges the log of the session of this name.
    pub(crate) fn of(reading: &Reading, name: &str, transcript: &Transcript) -> Self {
        let stored: Vec<String> = transcript.texts().filter_map(content).collect();
        let mut heap: HashMap<&str, usize> = HashMap::new();
        for text in &stored {
            *heap.entry(text).or_default() += 1;
        }
        let known: HashSet<&str> = heap.keys().copied().collect();
        let (excused, missing): (Vec<_>, Vec<_>) = absent(&reading.last, &stored)
            .into_iter()
            .partition(|line| line.again && known.contains(line.text.as_str()));
        let last = (reading.last.len() - excused.len()) as u64;
        for line in &reading.last {
            take(&mut heap, &line.text);
        }
        let (gone, there): (Vec<_>, Vec<_>) =
            reading.cleared.iter().partition(|line| !take(&mut heap, &line.text));
        let gone: Vec<_> = gone.into_iter().filter(|line| !line.again).collect();
        let alternate_present = reading.alternate.iter().filter(|text| take(&mut heap, text)).count() as u64;
        let noise: Vec<&String> = stored.iter().filter(|text| take(&mut heap, text)).collect();
        let alternate = reading.alternate.len() as u64;
        let (cleared, cleared_present) = ((gone.len() + there.len()) as u64, there.len() as u64);
        let mut quality = Self {
            read: last + cleared_present + alternate,
            stored: stored.len() as u64,
            replaced: transcript.replaced(),
            last,
            last_present: last - missing.len() as u64,
            cleared,
            cleared_present,
            alternate,
            alternate_present,
            noise: noise.len() as u64,
            missing: samples(name, missing.iter().map(|line| &line.text)),
            gone: samples(name, gone.iter().map(|line| &line.text)),
            noise_samples: samples(name, noise.into_iter()),
            short_of_goal: Vec::new(),
        };
        let (stored, present) = (quality.stored_per_read(), quality.present_percent());
        if stored > goals::STORED_PER_READ || present < goals::PRESENT_PERCENT {
            let Self { stored: count, read, .. } = quality;
            let words = format!("{name}: {count} stored / {read} read = {stored:.2}, {present:.1} % present");
            quality.short_of_goal.push(words);
        }
        quality
    }
}

fn samples<'a>(name: &str, texts: impl Iterator<Item = &'a String>) -> Vec<String> {
    texts.take(MOST_SAMPLES).map(|text| format!("{name}: {text}")).collect()
}

/// Which of `wanted` are not in `log` in order: what the longest common subsequence leaves out.
fn absent<'a>(wanted: &'a [ToRead], log: &[String]) -> Vec<&'a ToRead> {
    let width = log.len() + 1;
    let mut best = vec![0_u32; (wanted.len() + 1) * width];
    for row in (0..wanted.len()).rev() {
        for col in (0..log.len()).rev() {
            best[row * width + col] = if wanted[row].text == log[col] {
                best[(row + 1) * width + col + 1] + 1
            } else {
                best[(row + 1) * width + col].max(best[row * width + col + 1])
            };
        }
    }
    let (mut col, mut out) = (0, Vec::new());
    for (row, line) in wanted.iter().enumerate() {
        let text = &line.text;
        // Passing over lines of the log as long as that loses nothing.
        while col < log.len() && *text != log[col] && best[row * width + col + 1] == best[row * width + col] {
            col += 1;
        }
        if col < log.len() && *text == log[col] {
            col += 1;
        } else {
            out.push(line);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::log::Entry;
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    /// With a capital: printed again.
    fn to_read(text: &str) -> Vec<ToRead> {
        let line = |text: &str| ToRead { text: text.to_lowercase(), again: text != text.to_lowercase() };
        text.split(' ').map(line).collect()
    }

    #[test]
    fn what_is_not_there_in_order_is_absent() {
        let absent = |wanted: &str, log: &[String]| {
            absent(&to_read(wanted), log).into_iter().map(|line| line.text.clone()).collect::<Vec<_>>()
        };
        assert_eq!(absent("a b c d", &lines("a x c d")), ["b"]);
        assert_eq!(absent("a b c", &lines("b c a")), ["a"]);
        assert_eq!(absent("a b", &lines("x a y b")).len(), 0);
        assert_eq!(absent("a", &[]), ["a"]);
    }

    fn judged(reading: &Reading, log: &str) -> Quality {
        let entry = |(row, text)| Entry::Line { row, rev: 0, rows: 1, text };
        let entries = (0..).zip(lines(log)).map(entry).collect();
        Quality::of(reading, "session", &Transcript { entries })
    }

    #[test]
    fn lines_beyond_what_was_read_are_noise_and_missing_ones_are_named() {
        let reading = Reading { last: to_read("a b"), cleared: to_read("c e"), alternate: lines("d d") };
        let told = judged(&reading, "c d spinner a a");
        assert_eq!((told.read, told.stored, told.noise), (5, 5, 2));
        assert_eq!((told.last_present, told.cleared_present, told.alternate_present), (1, 1, 1));
        assert_eq!((told.missing, told.gone), (vec!["session: b".to_owned()], vec!["session: e".to_owned()]));
        assert_eq!(told.short_of_goal.len(), 1, "b is missing");
    }

    #[test]
    fn what_was_printed_again_may_be_there_once_or_twice() {
        let reading = Reading { last: to_read("a b A B"), ..Reading::default() };
        for (log, read) in [("a b a b", 4), ("a b", 2)] {
            let told = judged(&reading, log);
            assert_eq!((told.read, told.last, told.last_present, told.noise), (read, read, read, 0), "{log}");
        }
        assert_eq!(judged(&reading, "a").missing.len(), 2);
    }
}
