//! The redactor: secrets leave the text before it goes anywhere.
//!
//! Constraints. A known secret must be gone from everything that is stored, sent or logged, also when a soft wrap or an
//! agent's own wrap cut it in two. Ordinary text must stay as it is, for it is searched later. Almost all text holds no
//! secret, so the common case is one pass of a literal search that borrows its input. Redacting twice changes nothing.
//! The time is linear in the text, whatever stands there.
//!
//! Format. A secret becomes `[redacted:KIND:N]`: what it was and its length class (the next power of two, at least 16).
//! Where it goes on in another row or line, the rest becomes `[redacted:KIND:more]`; N is then the length of all its
//! parts if they were seen together, else of the first. KIND is one word of lower-case letters, digits and `-`.
//!
//! Operation. `find` reads one text: tokens by their beginnings (`tokens`), values by their names (`assign`), the rest by
//! what stands around it (`contexts`); `shape` tells generated texts from words. `walk` follows rows over their ends,
//! `key` private keys over many rows; `rows` and `frame` apply it to a screen. `user` adds patterns of the configuration.

mod assign;
mod contexts;
mod find;
mod frame;
mod key;
mod rows;
mod shape;
mod span;
mod tokens;
mod user;
mod walk;

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use find::{Finder, Findings};
use rows::{Line, apply, edits_of};
use span::merge;
use user::User;
pub use user::{PatternError, UserPattern};
pub use walk::RedactorState;
use walk::Row;

const KEY_KIND: &str = "private-key";

/// Finds secrets and takes them out. Immutable and cheap to clone.
#[derive(Clone)]
pub struct Redactor {
    finder: Arc<Finder>,
    users: Arc<[User]>,
}

/// A secret that [`Redactor::explain`] found; never the secret itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub kind: String,
    /// Bytes of the text.
    pub start: usize,
    pub end: usize,
    pub replacement: String,
    /// What gave it away, in words.
    pub why: String,
}

static BUILTIN: LazyLock<Redactor> =
    LazyLock::new(|| Redactor { finder: Arc::new(Finder::new()), users: Arc::new([]) });

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redactor").field("users", &self.users).finish_non_exhaustive()
    }
}

impl Redactor {
    /// The redactor with all built-in kinds.
    pub fn builtin() -> &'static Self {
        &BUILTIN
    }

    fn finder(&self) -> &Finder {
        &self.finder
    }

    fn users(&self) -> &[User] {
        &self.users
    }

    /// Takes the secrets out of a text: a whole logical line, or several lines.
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if !text.contains('\n') {
            return self.redact_line(&mut RedactorState::default(), text);
        }
        let lines: Vec<Line<'_>> = text.split('\n').map(|text| Line { text, wrapped: false }).collect();
        let edits = self.line_edits(&lines);
        if edits.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut out = String::with_capacity(text.len());
        for (at, line) in lines.iter().enumerate() {
            if at > 0 {
                out.push('\n');
            }
            match edits.get(&at) {
                Some(edits) => out.push_str(&apply(line.text, edits)),
                None => out.push_str(line.text),
            }
        }
        Cow::Owned(out)
    }

    /// Like [`Self::redact`] for the consecutive lines of one text, one by one: a secret may go on from line to line.
    pub fn redact_line<'t>(&self, state: &mut RedactorState, line: &'t str) -> Cow<'t, str> {
        let marks = self.step(state, &Row::new(line)).marks;
        let edits = edits_of(marks);
        if edits.is_empty() { Cow::Borrowed(line) } else { Cow::Owned(apply(line, &edits)) }
    }

    /// What [`Self::redact_line`] would take from this line, and why.
    pub fn explain_line(&self, state: &mut RedactorState, line: &str) -> Vec<Finding> {
        let edits = edits_of(self.step(state, &Row::new(line)).marks);
        edits.into_iter().map(|edit| edit.finding(0)).collect()
    }

    /// What [`Self::redact`] would take, and why.
    pub fn explain(&self, text: &str) -> Vec<Finding> {
        let lines: Vec<Line<'_>> = text.split('\n').map(|text| Line { text, wrapped: false }).collect();
        let mut offsets = Vec::with_capacity(lines.len());
        let mut at = 0;
        for line in &lines {
            offsets.push(at);
            at += line.text.len() + 1;
        }
        let edits = self.line_edits(&lines);
        let all = edits.into_iter().flat_map(|(line, edits)| edits.into_iter().map(move |edit| (line, edit)));
        all.map(|(line, edit)| edit.finding(offsets[line])).collect()
    }

    /// Everything in one text, patterns of the configuration included.
    fn find(&self, text: &str, end: usize) -> Findings {
        let mut findings = self.finder.find(text, end);
        if !self.users.is_empty() {
            self.users.iter().for_each(|user| user.spans(text, end, &mut findings.spans));
            findings.spans = merge(std::mem::take(&mut findings.spans));
        }
        findings
    }
}

/// What stands for a secret of so many bytes.
fn placeholder(kind: &str, length: usize) -> String {
    format!("[redacted:{kind}:{}]", length.max(16).checked_next_power_of_two().unwrap_or(length))
}

/// What stands for a part of a secret that began above.
fn more(kind: &str) -> String {
    format!("[redacted:{kind}:more]")
}

#[cfg(test)]
mod tests;
