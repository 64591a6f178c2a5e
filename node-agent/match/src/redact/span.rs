//! A secret that was found in a text.

use std::borrow::Cow;
use std::ops::Range;

use super::shape::Alphabet;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) range: Range<usize>,
    pub(super) kind: Cow<'static, str>,
    /// In words, without the secret.
    pub(super) why: Cow<'static, str>,
    /// How it would go on if the row cuts it.
    pub(super) next: Option<Next>,
    /// Of several names for the same text the highest counts.
    pub(super) rank: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) alphabet: Alphabet,
    /// Certainly not whole yet.
    pub(super) short: bool,
    /// Has the usual length: what follows is something else.
    pub(super) whole: bool,
    /// Characters that the usual length still wants; 0 = not known, or none.
    pub(super) left: usize,
    /// A quotation mark was opened before it and not closed.
    pub(super) quoted: bool,
}

impl Next {
    /// Nothing is known but the characters.
    pub(super) fn of(alphabet: Alphabet) -> Self {
        Self { alphabet, short: false, whole: false, left: 0, quoted: false }
    }

    /// After so many characters more.
    pub(super) fn after(self, run: usize) -> Self {
        let left = self.left.saturating_sub(run);
        Self { left, short: left > 0, whole: self.left > 0 && left == 0, ..self }
    }
}

/// Sorted and joined where they overlap; the earlier and longer one names the kind.
pub(super) fn merge(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_by(|a, b| {
        a.range.start.cmp(&b.range.start).then(b.rank.cmp(&a.rank)).then(b.range.end.cmp(&a.range.end))
    });
    let mut out: Vec<Span> = Vec::with_capacity(spans.len());
    for span in spans {
        match out.last_mut() {
            Some(last) if span.range.start < last.range.end => {
                if span.range.end > last.range.end {
                    last.range.end = span.range.end;
                    last.next = span.next;
                }
            }
            _ => out.push(span),
        }
    }
    out
}
