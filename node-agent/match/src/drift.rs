//! Screens of a known agent that nothing knows: counted, so that rules can be written before they are missed.
//!
//! Constraints. A new version may draw its dialogs and its footer in a way that no grammar and no rule reads; nothing else
//! would tell. On what is known this must be silent, and the same screen must be counted and not repeated: its key is the
//! shape of it, without numbers, paths and quoted words. Half-drawn screens look like nothing that is known, so a look is
//! told only when it has stood for a second.
//!
//! Operation. Only agents with a known composer are looked at. A *dialog* is two choices or more, or a box, with a row of
//! key hints below, where the composer is missing or holds one of the choices. A *footer* is what stands below a prompt's
//! glyph where the composer is missing, or a notice beside the composer that speaks of limits and that no rule reads.

use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use jiff::{SignedDuration, Timestamp};

use crate::composer::{self, Composer};
use crate::hash;
use crate::look::Look;
use crate::observation::{UnknownKind, UnknownLook};
use crate::reading;
use crate::rules::Engine;

/// So long it must stand.
const HOLD: SignedDuration = SignedDuration::from_millis(1000);
/// Rows from the end of the screen in which its key hints stand.
const HINT_ROWS: usize = 6;
/// Rows above its hints that a dialog may have, and above its first choice.
const DIALOG_ROWS: usize = 30;
const QUESTION_ROWS: usize = 12;
/// Rows below a prompt's glyph.
const FOOTER_ROWS: usize = 8;
/// Words of a row that make its shape.
const SHAPE_WORDS: usize = 5;

/// Follows one pane, so that a look is told once while it stands.
#[derive(Debug, Clone, Default)]
pub(crate) struct Drift {
    standing: Option<Standing>,
}

#[derive(Debug, Clone)]
struct Standing {
    key: u64,
    since: Timestamp,
    /// Or there is nothing to tell.
    told: bool,
}

impl Drift {
    /// The look that has stood long enough and was not told yet, if there is one.
    pub(crate) fn observe(&mut self, engine: &Engine, look: &Look, now: Timestamp) -> Vec<UnknownLook> {
        let Some(seen) = candidate(look) else {
            self.standing = None;
            return Vec::new();
        };
        let standing = match &mut self.standing {
            Some(standing) if standing.key == seen.key => standing,
            other => {
                let told = is_written_of(engine, look, &seen);
                other.insert(Standing { key: seen.key, since: now, told })
            }
        };
        let tells = !standing.told && now.duration_since(standing.since) >= HOLD;
        standing.told |= tells;
        tells.then_some(seen).into_iter().collect()
    }

    pub(crate) fn next_wakeup(&self) -> Option<Timestamp> {
        let waits = self.standing.as_ref().filter(|standing| !standing.told)?;
        waits.since.checked_add(HOLD).ok()
    }
}

/// What looks like a dialog or a footer of the agent, and nothing knows it.
pub(crate) fn unknown(engine: &Engine, look: &Look) -> Option<UnknownLook> {
    candidate(look).filter(|seen| !is_written_of(engine, look, seen))
}

/// Whether a row of it has all the words of a rule: whoever wrote that rule knew the row, and chose not to match it.
fn is_written_of(engine: &Engine, look: &Look, seen: &UnknownLook) -> bool {
    seen.kind == UnknownKind::Footer && seen.rows.clone().any(|row| engine.has_words_of(&look.scene(), row))
}

fn candidate(look: &Look) -> Option<UnknownLook> {
    let agent = look.agent.as_ref()?;
    if !composer::is_known(agent) || reading::authenticating(look).is_some() {
        return None;
    }
    let found = match look.view.content {
        Composer::Missing => dialog(look).or_else(|| footer_of_glyph(look)),
        Composer::Draft { .. } => dialog(look).filter(|found| look.view.rows.contains(&found.first)),
        Composer::Empty | Composer::Paste { .. } | Composer::Dialog => None,
    };
    let found = found.or_else(|| notice(look))?;
    let known =
        look.hits.iter().any(|hit| hit.rows.start < found.rows.end && found.rows.start < hit.rows.end);
    (!known).then(|| found.told(look))
}

struct Found {
    kind: UnknownKind,
    rows: Range<usize>,
    /// The first of its rows that make its shape.
    first: usize,
}

impl Found {
    fn told(self, look: &Look) -> UnknownLook {
        let rows = self.first..self.rows.end;
        let shapes: Vec<String> =
            rows.map(|row| shape(look.sheet.text(row))).filter(|shape| !shape.is_empty()).collect();
        let parts = std::iter::once(self.kind.as_str()).chain(shapes.iter().map(String::as_str));
        let key = hash::hash(&parts.collect::<Vec<_>>());
        UnknownLook { kind: self.kind, rows: self.rows, key }
    }
}

/// The first letters of a row: no digits, paths, quotations or marks.
fn shape(text: &str) -> String {
    let mut quote = None;
    let unquoted: String = text
        .chars()
        .filter(|c| match (quote, *c) {
            (Some(end), c) if c == end => {
                quote = None;
                false
            }
            (Some(_), _) => false,
            (None, '"') => {
                quote = Some('"');
                false
            }
            (None, _) => true,
        })
        .collect();
    let is_word = |word: &&str| {
        word.chars().any(char::is_alphabetic)
            && !word.contains(['/', '\\', '~', '.', '=', '_'])
            && !word.contains(|c: char| c.is_ascii_digit())
    };
    let letters =
        |word: &str| word.chars().filter(|c| c.is_alphabetic()).flat_map(char::to_lowercase).collect();
    let words = unquoted.split_whitespace().filter(is_word).take(SHAPE_WORDS);
    words.map(letters).collect::<Vec<String>>().join(" ")
}

/// Choices, or a box, above a row of key hints near the end of the screen.
fn dialog(look: &Look) -> Option<Found> {
    let sheet = &look.sheet;
    let written = (0..sheet.rows.len()).rev().filter(|row| !sheet.is_blank(*row));
    let hint = written.take(HINT_ROWS).find(|row| is_hint(sheet.text(*row)))?;
    let from = hint.saturating_sub(DIALOG_ROWS);
    let choices: Vec<usize> = (from..hint).filter(|row| is_choice(sheet.text(*row))).collect();
    let marked = choices.iter().any(|row| is_marked(sheet.text(*row)));
    let first = if choices.len() >= 2 && marked {
        choices[0]
    } else {
        (from..hint).rev().find(|row| sheet.text(*row).starts_with('╭'))?
    };
    let top = (first.saturating_sub(QUESTION_ROWS)..=first)
        .rev()
        .find(|row| sheet.text(*row).starts_with(['╭', '─']))
        .unwrap_or_else(|| first.saturating_sub(2));
    let end = (hint..sheet.rows.len()).rev().find(|row| !sheet.is_blank(*row)).unwrap_or(hint) + 1;
    Some(Found { kind: UnknownKind::Dialog, rows: top..end, first })
}

/// Keys that answer something, and not the one that stops the agent.
fn is_hint(text: &str) -> bool {
    static KEYS: LazyLock<AhoCorasick> = LazyLock::new(|| {
        any_of(&[
            "enter to ",
            "esc to ",
            "enter select",
            "press enter",
            "space to ",
            "tab to ",
            "to navigate",
        ])
    });
    static STOPS: LazyLock<AhoCorasick> =
        LazyLock::new(|| any_of(&["to interrupt", "esc to cancel, ", "tab to cycle"]));
    KEYS.is_match(text) && !STOPS.is_match(text)
}

/// Looks for any of these words in one pass, in upper and lower case: every changed frame is asked.
fn any_of(words: &[&str]) -> AhoCorasick {
    #[expect(clippy::expect_used, reason = "a few short words are far from every limit")]
    AhoCorasick::builder().ascii_case_insensitive(true).build(words).expect("the words build")
}

fn is_choice(text: &str) -> bool {
    composer::is_option(text) || is_marked(text) || text.starts_with(['○', '◯', '☐'])
}

/// The choice that is selected.
fn is_marked(text: &str) -> bool {
    let rest = text.trim_start().strip_prefix(['❯', '›', '●', '◉', '☒', '>']);
    rest.and_then(|rest| rest.strip_prefix(' ')).is_some_and(|rest| !rest.trim().is_empty())
}

/// A prompt's glyph near the end of the screen with a row of hints below, where no composer was read.
fn footer_of_glyph(look: &Look) -> Option<Found> {
    let sheet = &look.sheet;
    let last = (0..sheet.rows.len()).rev().find(|row| !sheet.is_blank(*row))?;
    // The shell's, below an agent that was stopped.
    if sheet.text(last).ends_with(['$', '#']) {
        return None;
    }
    let is_glyph = |row: &usize| {
        let text = sheet.text(*row);
        let alone =
            text.strip_prefix(['❯', '›', '>']).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '));
        alone && sheet.rows[*row].column <= 2
    };
    let glyph = (last.saturating_sub(FOOTER_ROWS)..last).rev().find(is_glyph)?;
    let hints = [
        "shortcuts",
        "context left",
        "shift+tab",
        "ctrl+",
        "/model",
        "@path",
        "esc to",
        "bypass permissions",
    ];
    let is_footer = |row: &usize| {
        let text = sheet.text(*row).to_lowercase();
        hints.iter().any(|words| text.contains(words))
    };
    let first = (glyph + 1..=last).find(is_footer)?;
    Some(Found { kind: UnknownKind::Footer, rows: glyph..last + 1, first })
}

/// A row beside the composer that speaks of limits, and that no rule reads.
fn notice(look: &Look) -> Option<Found> {
    let view = &look.view;
    if matches!(view.content, Composer::Missing | Composer::Dialog) {
        return None;
    }
    let above = view.live_top.unwrap_or(view.rows.start)..view.rows.start;
    let read = |row: usize| look.hits.iter().any(|hit| hit.rows.contains(&row));
    let what = ["limit", "quota", "usage", "credits"];
    let how = [
        "reached",
        "hit",
        "exceeded",
        "nearly",
        "approaching",
        "resets",
        "out of",
        "remaining",
        "left",
        "used",
    ];
    // Above it stand an error's details too; a notice that sticks there has its sign.
    let above = above.filter(|row| look.sheet.text(*row).starts_with('⚠'));
    let row = view.footer.clone().chain(above).find(|row| {
        let text = look.sheet.text(*row).to_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
        says(&what) && says(&how) && !read(*row)
    })?;
    Some(Found { kind: UnknownKind::Footer, rows: row..row + 1, first: row })
}
