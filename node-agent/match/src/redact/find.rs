//! One text, all kinds: the literal search, and what each literal leads to.
//!
//! All literals of all kinds are in one automaton. A text without any is done with after one pass; otherwise each place
//! leads to its reader: a token is read from there, a name has its value looked for, a context has its pattern run once.

use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind};

use super::assign::{self, Class};
use super::contexts::{self, CONTEXTS, Ready};
use super::span::{Span, merge};
use super::tokens::{self, TOKENS};

#[derive(Debug, Clone, Copy)]
enum Lead {
    Token(usize),
    Word(Class),
    Context(usize),
    Key,
    Device,
}

/// The longest literal is not longer, in bytes: a literal that a wrap cut lies within so much of either side.
pub(super) const REACH: usize = 32;

const KEY_WORDS: &[&str] = &[
    "-----BEGIN",
    "---- BEGIN",
    "PRIVATE KEY",
    "-----END",
    "---- END",
    "PuTTY-User-Key-File",
    "b3BlbnNzaC1rZXktdjE",
];
const DEVICE_WORDS: &[&str] = &[
    "one-time",
    "One-time",
    "device code",
    "Device code",
    "user code",
    "User code",
    "verification code",
    "Verification code",
    "nter the code",
    "nter this code",
    "following code",
    "/device",
    "devicelogin",
];

pub(super) struct Finder {
    literals: AhoCorasick,
    seams: Seams,
    leads: Vec<Lead>,
    contexts: Vec<Ready>,
}

/// What a text holds.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// In order, not overlapping.
    pub(super) spans: Vec<Span>,
    /// Something of a private key's frame.
    pub(super) key: bool,
    /// Speaks of a code for a device login.
    pub(super) device: bool,
    /// Where the last word begins that a secret may follow.
    pub(super) context: Option<usize>,
}

impl Finder {
    pub(super) fn new() -> Self {
        let mut words: Vec<String> = Vec::new();
        let mut leads = Vec::new();
        let mut add = |word: String, lead| {
            words.push(word);
            leads.push(lead);
        };
        for (index, token) in TOKENS.iter().enumerate() {
            tokens::literals(token).into_iter().for_each(|word| add(word, Lead::Token(index)));
        }
        assign::words().into_iter().for_each(|(word, class)| add(word, Lead::Word(class)));
        for (index, context) in CONTEXTS.iter().enumerate() {
            context.literals.iter().for_each(|word| add((*word).to_owned(), Lead::Context(index)));
        }
        KEY_WORDS.iter().for_each(|word| add((*word).to_owned(), Lead::Key));
        DEVICE_WORDS.iter().for_each(|word| add((*word).to_owned(), Lead::Device));
        #[expect(clippy::expect_used, reason = "a few hundred short constant words")]
        let literals = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::DFA))
            .build(&words)
            .expect("the literal table builds");
        let seams = Seams::new(&words);
        Self { literals, seams, leads, contexts: contexts::ready() }
    }

    /// Whether a literal may lie across the place where `tail` ends and `head` begins.
    pub(super) fn across(&self, tail: &[u8], head: &[u8]) -> bool {
        if !self.seams.may(tail, head) {
            return false;
        }
        let tail = &tail[tail.len() - tail.len().min(REACH)..];
        let head = &head[..head.len().min(REACH)];
        let mut glued = [0; 2 * REACH];
        glued[..tail.len()].copy_from_slice(tail);
        glued[tail.len()..tail.len() + head.len()].copy_from_slice(head);
        self.stirs(&glued[..tail.len() + head.len()])
    }

    /// Whether there is anything to look at.
    pub(super) fn stirs(&self, text: &[u8]) -> bool {
        self.literals.is_match(text)
    }

    /// Everything in a text. Behind `end` are blanks and borders.
    pub(super) fn find(&self, text: &str, end: usize) -> Findings {
        let mut out = Findings::default();
        let mut read = vec![0_usize; TOKENS.len()];
        let mut run = vec![false; self.contexts.len()];
        let mut named = 0;
        for hit in self.literals.find_overlapping_iter(text) {
            match self.leads[hit.pattern().as_usize()] {
                Lead::Token(index) => {
                    if hit.start() >= read[index] {
                        let (stop, span) = TOKENS[index].span(text, hit.start(), end);
                        read[index] = stop.max(hit.start() + 1);
                        if span.is_none() && stop == end {
                            // Too short to tell; the next row may know.
                            out.context = out.context.max(Some(hit.start()));
                        }
                        out.spans.extend(span);
                    }
                }
                Lead::Word(class) => {
                    out.context = out.context.max(Some(hit.start()));
                    // Inside a value that was taken there is nothing more to take.
                    if hit.start() >= named {
                        let (stop, span) = assign::span(text, hit.range(), class, end);
                        if span.is_some() || stop > hit.end() + assign::VALUE {
                            named = stop;
                        }
                        out.spans.extend(span);
                    }
                }
                Lead::Context(index) => {
                    out.context = out.context.max(Some(hit.start()));
                    if !std::mem::replace(&mut run[index], true)
                        && let Some(context) = self.contexts.get(index)
                    {
                        context.spans(text, end, &mut out.spans);
                    }
                }
                Lead::Key => out.key = true,
                Lead::Device => out.device = true,
            }
        }
        out.spans.retain(|span| !text[span.range.clone()].contains("[redacted:"));
        out.spans = merge(std::mem::take(&mut out.spans));
        out
    }
}

/// Which three bytes stand together in some literal: most ends of rows are told by them alone to cut none.
struct Seams(Vec<u64>);

impl Seams {
    fn new(words: &[String]) -> Self {
        let mut seams = Self(vec![0; 1 << 9]);
        for word in words {
            for three in word.as_bytes().windows(3) {
                let at = Self::place(three[0], three[1], three[2]);
                seams.0[at >> 6] |= 1 << (at & 63);
            }
        }
        seams
    }

    /// Fifteen bits of three bytes.
    fn place(a: u8, b: u8, c: u8) -> usize {
        (usize::from(a & 31) << 10) | (usize::from(b & 31) << 5) | usize::from(c & 31)
    }

    fn holds(&self, a: u8, b: u8, c: u8) -> bool {
        let at = Self::place(a, b, c);
        self.0[at >> 6] & (1 << (at & 63)) != 0
    }

    /// A literal of two bytes may be missed here: cut in the middle it is a sign at the end of a row.
    fn may(&self, tail: &[u8], head: &[u8]) -> bool {
        let (Some(last), Some(first)) = (tail.last(), head.first()) else { return false };
        let before = tail.len().checked_sub(2).is_some_and(|at| self.holds(tail[at], *last, *first));
        before || head.get(1).is_some_and(|second| self.holds(*last, *first, *second))
    }
}

/// Codes of device logins, where the text around speaks of one: `ABCD-EFGH`, `8M3D-PLQ6T`.
pub(super) fn device_codes(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let part = |b: &u8| b.is_ascii_uppercase() || b.is_ascii_digit();
    let mut out = Vec::new();
    let mut from = 0;
    while let Some(dash) = text[from..].find('-').map(|at| from + at) {
        let left = bytes[from..dash].iter().rev().take(6).take_while(|b| part(b)).count();
        let right = bytes[dash + 1..].iter().take(6).take_while(|b| part(b)).count();
        let (start, stop) = (dash - left, dash + 1 + right);
        let alone =
            |b: Option<&u8>| !b.is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'/'));
        let before = start.checked_sub(1).and_then(|at| bytes.get(at));
        let edge = alone(before)
            || (before.is_some_and(u8::is_ascii_alphanumeric) && super::tokens::left_edge(text, start));
        let letters = bytes[start..stop].iter().any(u8::is_ascii_uppercase);
        let masked = super::shape::masked(&text[start..stop]);
        if left == 4 && matches!(right, 4 | 5) && edge && alone(bytes.get(stop)) && letters && !masked {
            out.push(start..stop);
        }
        from = dash + 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_builds_and_no_literal_is_longer_than_the_reach() {
        let finder = Finder::new();
        assert_eq!(finder.contexts.len(), CONTEXTS.len());
        let longest = TOKENS.iter().map(|token| token.prefix.len()).max().unwrap();
        assert!(longest <= REACH, "{longest}");
        for context in CONTEXTS {
            assert!(context.literals.iter().all(|word| word.len() <= REACH));
        }
    }

    #[test]
    fn device_codes_stand_alone() {
        let found = |text: &str| device_codes(text).len();
        assert_eq!(found("   QF7K-2XWZR"), 1);
        assert_eq!(found("code: ABCD-EFGH."), 1);
        for text in ["XXXX-XXXXX", "2024-0001", "aABCD-EFGHI", "ABCD-EFGHIJ", "ABCD-EFGH-IJKL", "x/ABCD-EFGH"]
        {
            assert_eq!(found(text), 0, "{text}");
        }
    }
}
