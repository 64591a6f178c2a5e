//! The redactor: secrets leave the text before it goes anywhere.
//!
//! Constraints. A known secret must be gone from everything that is stored, sent or logged, also when a soft wrap or an
//! agent's own wrap cut it in two. Ordinary text must stay as it is, for it is searched later. Almost all text holds no
//! secret, so the common case is one pass of a literal search that borrows its input. Redacting twice changes nothing.
//!
//! Format. A secret becomes `[redacted:KIND:N]`: what it was and its length class (the next power of two, at least 16).
//! Where it goes on in another row or line, the rest becomes `[redacted:KIND:more]`.
//!
//! Operation. All literals of all kinds go through one Aho-Corasick pass; the regex of a kind runs only where one of its
//! literals was seen; a check on the found text throws out look-alikes (documentation placeholders, shell variables).

mod frame;
mod kinds;
mod rows;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use regex::Regex;

use kinds::{KINDS, Kind};

/// Finds secrets and takes them out. Immutable: one for the whole program.
pub struct Redactor {
    literals: AhoCorasick,
    /// Index into `kinds` by pattern of `literals`.
    owners: Vec<usize>,
    kinds: Vec<Compiled>,
}

struct Compiled {
    kind: &'static Kind,
    regex: Regex,
}

/// What `redact_line` remembers between consecutive lines of one text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RedactorState {
    /// Lines since the head of a private key whose end has not come.
    in_key: Option<u32>,
}

/// A secret found in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Span {
    range: Range<usize>,
    kind: &'static str,
}

/// A block without an end is given up after this many lines: an RSA key of 16,384 bits has 200.
const KEY_LINES: u32 = 256;
const KEY_KIND: &str = "private-key";

static BUILTIN: LazyLock<Redactor> = LazyLock::new(|| {
    let mut words = Vec::new();
    let mut owners = Vec::new();
    let mut kinds = Vec::new();
    for kind in KINDS {
        // The tables are constant and a test builds them all.
        let Ok(regex) = Regex::new(kind.pattern) else { continue };
        for literal in kind.literals {
            words.push(*literal);
            owners.push(kinds.len());
        }
        kinds.push(Compiled { kind, regex });
    }
    #[expect(clippy::expect_used, reason = "a few dozen short constant words")]
    let literals = AhoCorasick::new(words).expect("the literal table builds");
    Redactor { literals, owners, kinds }
});

impl Redactor {
    /// The redactor with all built-in kinds.
    pub fn builtin() -> &'static Self {
        &BUILTIN
    }

    /// Takes the secrets out of a text: a whole logical line, or several lines.
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let spans = self.spans(text);
        if spans.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        for span in &spans {
            out.push_str(&text[at..span.range.start]);
            placeholder(&mut out, span.kind, span.range.len());
            at = span.range.end;
        }
        out.push_str(&text[at..]);
        Cow::Owned(out)
    }

    /// Like [`Self::redact`] for the consecutive lines of one text: a private key may stretch over many.
    pub fn redact_line<'t>(&self, state: &mut RedactorState, line: &'t str) -> Cow<'t, str> {
        if let Some(lines) = state.in_key {
            return match key_line(line, lines) {
                KeyLine::Inside => {
                    state.in_key = Some(lines + 1);
                    Cow::Owned(more(line))
                }
                KeyLine::End(end) => {
                    state.in_key = None;
                    let mut out = format!("[redacted:{KEY_KIND}:more]");
                    out.push_str(&self.redact(&line[end..]));
                    Cow::Owned(out)
                }
                KeyLine::Outside => {
                    state.in_key = None;
                    self.redact_line(state, line)
                }
            };
        }
        if opens_key(line) {
            state.in_key = Some(0);
        }
        self.redact(line)
    }

    /// Secrets of a text: in order, not overlapping.
    fn spans(&self, text: &str) -> Vec<Span> {
        let mut seen = 0_u64;
        for hit in self.literals.find_overlapping_iter(text) {
            seen |= 1 << self.owners[hit.pattern().as_usize()];
        }
        if seen == 0 {
            return Vec::new();
        }
        let mut spans: Vec<Span> = Vec::new();
        for (index, compiled) in self.kinds.iter().enumerate() {
            if seen & (1 << index) == 0 {
                continue;
            }
            for captures in compiled.regex.captures_iter(text) {
                let named = captures.name("secret").or_else(|| captures.name("other"));
                let Some(secret) = named.or_else(|| captures.get(0)) else { continue };
                if !secret.as_str().starts_with("[redacted:") && (compiled.kind.check)(secret.as_str()) {
                    spans.push(Span { range: secret.range(), kind: compiled.kind.name });
                }
            }
        }
        merge(spans)
    }
}

/// Sorted and joined where they overlap; the earlier and longer one names the kind.
fn merge(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_by(|a, b| a.range.start.cmp(&b.range.start).then(b.range.end.cmp(&a.range.end)));
    let mut out: Vec<Span> = Vec::with_capacity(spans.len());
    for span in spans {
        match out.last_mut() {
            Some(last) if span.range.start < last.range.end => {
                last.range.end = last.range.end.max(span.range.end);
            }
            _ => out.push(span),
        }
    }
    out
}

fn placeholder(out: &mut String, kind: &str, length: usize) {
    use std::fmt::Write as _;
    // Writing to a String cannot fail.
    let _ = write!(out, "[redacted:{kind}:{}]", length.max(16).checked_next_power_of_two().unwrap_or(length));
}

enum KeyLine {
    Inside,
    /// Byte where the text after the key's end begins.
    End(usize),
    Outside,
}

/// What a line is to a private key that was open before it.
fn key_line(line: &str, lines: u32) -> KeyLine {
    if let Some(at) = line.find("-----END ") {
        let dashes = line[at + 9..].find("-----").map_or(line.len(), |end| at + 9 + end + 5);
        return KeyLine::End(dashes);
    }
    if lines >= KEY_LINES { KeyLine::Outside } else { key_material(line) }
}

/// Key material is one word of base64, perhaps after a border, a diff's sign or a line number; headers and blank lines
/// stand between.
fn key_material(line: &str) -> KeyLine {
    let header = ["Proc-Type:", "DEK-Info:", "Version:", "Comment:"].iter().any(|word| line.contains(word));
    let words = line.split_whitespace().filter(|word| word.chars().any(char::is_alphanumeric)).count();
    if header || words <= 2 { KeyLine::Inside } else { KeyLine::Outside }
}

/// A private key begins in this line and does not end in it.
fn opens_key(line: &str) -> bool {
    line.rfind("-----BEGIN ").is_some_and(|at| {
        let head = &line[at..];
        head.contains("PRIVATE KEY") && !head.contains("-----END ")
    })
}

/// A line inside a private key: what stands before its first letter or digit stays, for the reader's sake.
fn more(line: &str) -> String {
    let indent = line.find(char::is_alphanumeric).unwrap_or(line.len());
    if line[indent..].is_empty() {
        return line.to_owned();
    }
    format!("{}[redacted:{KEY_KIND}:more]", &line[..indent])
}

#[cfg(test)]
mod tests;
