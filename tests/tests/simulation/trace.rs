//! What happened, in order: every line with the time since the beginning and the host it happened on.

use std::fmt::{self, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use super::host;

/// Lines that are kept; those in the middle of a longer run go.
const KEPT: usize = 20_000;

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<String>,
    left_out: usize,
    /// Over all lines, those that were left out too.
    hash: u64,
    /// Each line is printed at once.
    aloud: bool,
    /// What every path begins with, and no line shows: it is another each time.
    place: String,
}

/// Clones write to the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trace(Arc<Mutex<Lines>>);

impl Trace {
    pub(crate) fn note(&self, at: Duration, host: &str, what: impl fmt::Display) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let what = what.to_string().replace(&lines.place, "");
        let line = format!("{:>10.3} {host:<10} {what}", at.as_secs_f64());
        // FNV-1a.
        let before = if lines.hash == 0 { 0xcbf2_9ce4_8422_2325 } else { lines.hash };
        lines.hash =
            line.bytes().fold(before, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        if lines.lines.len() >= KEPT {
            let middle = KEPT / 2;
            lines.lines.remove(middle);
            lines.left_out += 1;
        }
        if lines.aloud {
            eprintln!("{line}");
        }
        lines.lines.push(line);
    }

    /// From now on every line is printed at once.
    pub(crate) fn aloud(self) -> Self {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).aloud = true;
        self
    }

    pub(crate) fn takes_place_in(&self, place: &Path) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).place = place.display().to_string();
    }

    /// Tells two runs apart.
    pub(crate) fn hash(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).hash
    }

    pub(crate) fn text(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for (at, line) in lines.lines.iter().enumerate() {
            if at == KEPT / 2 && lines.left_out > 0 {
                writeln!(text, "... {} lines left out ...", lines.left_out).unwrap();
            }
            writeln!(text, "{line}").unwrap();
        }
        text
    }
}

impl Trace {
    /// What the programs log while this runs goes in here.
    pub(crate) fn follow<T>(&self, run: impl FnOnce() -> T) -> T {
        let subscriber = tracing_subscriber::registry().with(Follower(self.clone()));
        tracing::subscriber::with_default(subscriber, run)
    }
}

struct Follower(Trace);

impl<S: Subscriber> Layer<S> for Follower {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO || !metadata.target().starts_with("wa_") {
            return;
        }
        let mut words = Words::default();
        event.record(&mut words);
        let (host, at) = host::here().unwrap_or_default();
        self.0.note(at, &host, format_args!("{} {}{}", metadata.level(), words.message, words.fields));
    }
}

/// Hashes are over keys and serial numbers, which are others each time.
fn without_hashes(text: &str) -> String {
    const HASH: usize = 64;
    let is_hash = |word: &&str| word.len() == HASH && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let words = text.split_inclusive(|letter: char| !letter.is_ascii_alphanumeric());
    let hidden = words.map(|word| {
        let end = word.trim_end_matches(|letter: char| !letter.is_ascii_alphanumeric());
        if is_hash(&end) { word.replace(end, "(hash)") } else { word.to_owned() }
    });
    hidden.collect()
}

#[derive(Default)]
struct Words {
    message: String,
    fields: String,
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => write!(self.fields, " {name}={}", without_hashes(&format!("{value:?}"))).unwrap(),
        }
    }
}
