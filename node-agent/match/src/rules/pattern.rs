//! Patterns of rules.
//!
//! Constraints. Whatever a pack says, matching is linear in the text and a pattern takes a bounded amount of memory. Most
//! rules sleep for ever: what their patterns are compiled to is held only from the first time that one is tried.
//!
//! Format. A pattern is matched from the beginning of a block, and a blank in it also stands for no blank, or several, for
//! a wrap may have eaten it. `{uuid}` and `{reset}` stand for an id and for the words of a reset time.

use std::sync::OnceLock;

use regex::{Captures, Match, Regex, RegexBuilder};
use regex_syntax::hir::literal::Extractor;
use regex_syntax::hir::{Class, Hir, HirKind};

use super::text::normalise;

/// A compiled pattern may take this many bytes.
const PATTERN_BYTES: usize = 1 << 18;
/// A class of more characters than this stands for any text.
const WIDE: usize = 100;

/// One pattern, compiled when it is tried.
#[derive(Debug)]
pub(super) struct Pattern {
    source: Box<str>,
    compiled: OnceLock<Option<Regex>>,
}

impl Pattern {
    /// # Errors
    /// It ends in the middle of an escape.
    pub(super) fn new(pattern: &str) -> Result<Self, String> {
        Ok(Self { source: translate(pattern)?.into_boxed_str(), compiled: OnceLock::new() })
    }

    /// Compiles it.
    ///
    /// # Errors
    /// What keeps it from being compiled, in words: then it never matches.
    pub(super) fn check(&self) -> Result<(), String> {
        let compiled = compile(&self.source).map_err(|error| error.to_string().replace('\n', " "))?;
        self.compiled.get_or_init(|| Some(compiled));
        Ok(())
    }

    /// Gives back what it was compiled to, until it is tried again.
    pub(super) fn forget(&mut self) {
        self.compiled = OnceLock::new();
    }

    fn regex(&self) -> Option<&Regex> {
        self.compiled.get_or_init(|| compile(&self.source).ok()).as_ref()
    }

    pub(super) fn is_match(&self, text: &str) -> bool {
        self.regex().is_some_and(|regex| regex.is_match(text))
    }

    pub(super) fn find<'t>(&self, text: &'t str) -> Option<Match<'t>> {
        self.regex()?.find(text)
    }

    pub(super) fn captures<'t>(&self, text: &'t str) -> Option<Captures<'t>> {
        self.regex()?.captures(text)
    }

    pub(super) fn capture_names(&self) -> impl Iterator<Item = &str> {
        self.regex().into_iter().flat_map(Regex::capture_names).flatten()
    }
}

/// Bytes with which the matches of a pattern begin, where they are few enough to be told.
pub(super) fn first_bytes(pattern: &Pattern) -> Option<Vec<u8>> {
    let hir = regex_syntax::parse(&pattern.source).ok()?;
    let prefixes = Extractor::new().extract(&hir);
    prefixes.literals()?.iter().map(|prefix| prefix.as_bytes().first().copied()).collect()
}

/// Whether a match may begin with nearly any character: then the pattern is found in the midst of what quotes it.
pub(super) fn begins_with_anything(pattern: &Pattern) -> bool {
    regex_syntax::parse(&pattern.source).is_ok_and(|hir| first_of(&hir).0)
}

/// Whether it may begin with nearly any character, and whether it may be nothing at all.
fn first_of(hir: &Hir) -> (bool, bool) {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => (false, true),
        HirKind::Literal(_) => (false, false),
        HirKind::Class(class) => (is_wide(class), false),
        HirKind::Repetition(repeated) => {
            let (any, nothing) = first_of(&repeated.sub);
            (any, nothing || repeated.min == 0)
        }
        HirKind::Capture(capture) => first_of(&capture.sub),
        HirKind::Concat(parts) => {
            let mut any = false;
            for part in parts {
                let (one, nothing) = first_of(part);
                any |= one;
                if !nothing {
                    return (any, false);
                }
            }
            (any, true)
        }
        HirKind::Alternation(ways) => ways
            .iter()
            .map(first_of)
            .fold((false, false), |(any, nothing), way| (any || way.0, nothing || way.1)),
    }
}

fn is_wide(class: &Class) -> bool {
    let count: usize = match class {
        Class::Unicode(class) => class.ranges().iter().map(|range| range.len()).sum(),
        Class::Bytes(class) => class.ranges().iter().map(|range| range.len()).sum(),
    };
    count > WIDE
}

/// A pattern as the library has it: anchored, with blanks that a wrap may have eaten.
fn translate(pattern: &str) -> Result<String, String> {
    let uuid = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
    let zone = r"(?: [A-Z]{2,5}\b(?:[+-]\d{1,2}(?::\d{2})?\b)?| \([A-Za-z][\w+/-]*\))?";
    let clock = r"\d{1,2}(?::\d{2})? ?[AaPp][Mm]\b";
    let day = r"[A-Z][a-z]{2,8}\b(?: \d{1,2}(?:st|nd|rd|th)?\b)?(?:, \d{4}\b)?";
    let reset = format!("(?:(?:{day},?(?: at)? )?{clock}{zone}|{day}{zone})");
    let pattern = normalise(pattern).replace("{uuid}", uuid).replace("{reset}", &reset);
    let mut out = String::from("^(?:");
    let mut class = 0_u32;
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            // Classes as ASCII has them: small programs, and agents print no other digits.
            '\\' => match chars.next() {
                Some('d') => out.push_str(if class > 0 { "0-9" } else { "[0-9]" }),
                Some('w') => out.push_str(if class > 0 { "0-9A-Za-z_" } else { "[0-9A-Za-z_]" }),
                Some('s') => out.push_str(if class > 0 { " " } else { "[ ]" }),
                Some('S') if class == 0 => out.push_str("[^ ]"),
                Some('b') => out.push_str(r"(?-u:\b)"),
                Some(other) => out.extend(['\\', other]),
                None => return Err("it ends in a backslash".to_owned()),
            },
            ' ' if class == 0 => out.push_str("[ ]*"),
            c => out.push(c),
        }
        match c {
            '[' => class += 1,
            ']' => class = class.saturating_sub(1),
            _ => {}
        }
    }
    out.push(')');
    Ok(out)
}

fn compile(source: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(source).size_limit(PATTERN_BYTES).dfa_size_limit(PATTERN_BYTES).build()
}
