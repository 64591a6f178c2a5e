//! Patterns of the people who run a node: secrets that only they know.
//!
//! Constraints. A pattern runs over every line of every pane, so it is bounded in size and cannot backtrack. One that
//! takes ordinary text away would make the log worthless, and nobody would notice until the day the log is needed: such
//! a pattern is refused when it is read, with the text that it took.

use std::borrow::Cow;

use regex::{Regex, RegexBuilder};
use serde::Deserialize;

use super::Redactor;
use super::span::Span;
use super::tokens::TOKENS;

/// Patterns of one node.
const PATTERNS: usize = 64;
/// Bytes of a pattern.
const LENGTH: usize = 1024;
/// Bytes of a pattern once it is built.
const BUILT: usize = 512 << 10;

/// A kind of secret in the words of a configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserPattern {
    /// Stands in the placeholder: lower-case letters, digits and `-`.
    pub name: String,
    /// A regular expression. The group `(?P<secret>…)` is what goes; without one the whole match.
    pub pattern: String,
}

/// Why a pattern is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("redact: more than {PATTERNS} patterns; join some with `|`")]
    TooMany,
    #[error(
        "redact: {0:?} is no name: use lower-case letters, digits and `-`, at most 32, for example internal-token"
    )]
    Name(String),
    #[error("redact: the name {0} is taken; choose another one")]
    Taken(String),
    #[error("redact {name}: the pattern is longer than {LENGTH} bytes; make two of it")]
    Long { name: String },
    #[error("redact {name}: {message}")]
    Syntax { name: String, message: String },
    #[error(
        "redact {name}: the pattern matches the empty text, so it would match everywhere; say what must be there"
    )]
    Empty { name: String },
    #[error(
        "redact {name}: the pattern also takes ordinary text, for example {taken:?} in {line:?}; say more exactly what a secret looks like"
    )]
    Ordinary { name: String, taken: String, line: &'static str },
}

/// Text that no secret stands in.
const ORDINARY: &[&str] = &[
    "The quick brown fox jumps over the lazy dog.",
    "error[E0308]: mismatched types --> src/main.rs:12:5",
    "let total = items.iter().map(|item| item.price * 3).sum::<u32>();",
    "2026-01-02T03:04:05.678Z  INFO server: listening on 127.0.0.1:8080",
    "commit 3f786850e387550fdab836ed7e6dc881de23001b",
    "-rw-r--r-- 1 dev dev 4096 Jan  2 03:04 README.md",
    "diff --git a/package.json b/package.json",
    "a",
    "0",
    " ",
    "-",
];

/// A pattern, ready to use.
#[derive(Debug, Clone)]
pub(super) struct User {
    name: String,
    regex: Regex,
}

impl User {
    pub(super) fn spans(&self, text: &str, end: usize, out: &mut Vec<Span>) {
        for captures in self.regex.captures_iter(&text[..end]) {
            let Some(secret) = captures.name("secret").or_else(|| captures.get(0)) else { continue };
            if !secret.is_empty() && !secret.as_str().contains("[redacted:") {
                out.push(Span {
                    range: secret.range(),
                    kind: Cow::Owned(self.name.clone()),
                    why: Cow::Owned(format!("the pattern {} of the configuration", self.name)),
                    next: None,
                    rank: 3,
                });
            }
        }
    }

    fn new(pattern: &UserPattern) -> Result<Self, PatternError> {
        let name = pattern.name.clone();
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if name.is_empty() || name.len() > 32 || !name.bytes().all(good) || name.starts_with('-') {
            return Err(PatternError::Name(name));
        }
        if pattern.pattern.len() > LENGTH {
            return Err(PatternError::Long { name });
        }
        let regex = RegexBuilder::new(&pattern.pattern)
            .size_limit(BUILT)
            .dfa_size_limit(BUILT)
            .nest_limit(32)
            .build()
            .map_err(|error| PatternError::Syntax { name: name.clone(), message: one_line(&error) })?;
        if regex.is_match("") || regex.find_iter("some text").any(|found| found.is_empty()) {
            return Err(PatternError::Empty { name });
        }
        for line in ORDINARY {
            if let Some(found) = regex.find(line) {
                return Err(PatternError::Ordinary { name, taken: found.as_str().to_owned(), line });
            }
        }
        Ok(Self { name, regex })
    }
}

/// What is wrong with a pattern, without the drawing of it.
fn one_line(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(limit) => {
            format!("the pattern takes more than {limit} bytes when it is built; use smaller repetitions")
        }
        other => {
            let text = other.to_string();
            let last = text.lines().last().unwrap_or("").trim();
            format!("the pattern is no regular expression: {}", last.trim_start_matches("error: "))
        }
    }
}

/// Proves patterns and makes them ready.
pub(super) fn ready(patterns: &[UserPattern]) -> Result<Vec<User>, PatternError> {
    if patterns.len() > PATTERNS {
        return Err(PatternError::TooMany);
    }
    for (at, pattern) in patterns.iter().enumerate() {
        let twice = patterns[..at].iter().any(|other| other.name == pattern.name);
        if twice || built_in(&pattern.name) {
            return Err(PatternError::Taken(pattern.name.clone()));
        }
    }
    patterns.iter().map(User::new).collect()
}

fn built_in(name: &str) -> bool {
    TOKENS.iter().any(|token| token.kind == name)
        || super::contexts::CONTEXTS.iter().any(|context| context.kind == name)
        || matches!(name, "assigned-secret" | "api-key-header" | "more")
}

impl Redactor {
    /// The built-in kinds, and these.
    ///
    /// # Errors
    /// When a name is taken or a pattern is too large, no regular expression, or takes ordinary text.
    pub fn with_patterns(patterns: &[UserPattern]) -> Result<Self, PatternError> {
        Ok(Self { users: ready(patterns)?.into(), ..Self::builtin().clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, pattern: &str) -> Result<Redactor, PatternError> {
        Redactor::with_patterns(&[UserPattern { name: name.into(), pattern: pattern.into() }])
    }

    #[test]
    fn a_pattern_takes_its_group_or_its_whole_match() {
        let redactor = with("internal-token", r"\bacme-[a-z0-9]{12}\b").unwrap();
        assert_eq!(redactor.redact("use acme-a1b2c3d4e5f6 now"), "use [redacted:internal-token:32] now");
        let redactor = with("badge", r"badge no\. (?P<secret>\d{6})").unwrap();
        assert_eq!(redactor.redact("badge no. 123456 is"), "badge no. [redacted:badge:16] is");
        assert!(
            !Redactor::builtin().redact("badge no. 123456").contains("redacted"),
            "the built-in one is another"
        );
    }

    #[test]
    fn a_pattern_is_seen_across_two_rows() {
        let redactor = with("internal-token", r"\bacme-[a-z0-9]{24}\b").unwrap();
        let rows = ["│ the token: acme-a1b2c3d4e5 │", "│ f6g7h8i9j0k1l2             │"];
        let out = redactor.redact_rows(&rows, 30).join("\n");
        assert!(!out.contains("a1b2c3d4") && !out.contains("f6g7h8i9"), "{out}");
    }

    #[test]
    fn what_would_take_everything_is_refused_with_a_reason() {
        for (pattern, word) in [
            ("", "empty"),
            ("a*", "empty"),
            ("(x|)", "empty"),
            (".", "ordinary"),
            (r"\w+", "ordinary"),
            (r"[0-9a-f]{40}", "ordinary"),
            ("(unclosed", "regular expression"),
            (r"\w{500}{500}", "bytes"),
            (r"(a)\1", "regular expression"),
        ] {
            let error = with("x", pattern).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("redact x"), "{pattern}: {error}");
        }
        assert!(matches!(with("x", &"a".repeat(2000)), Err(PatternError::Long { .. })));
        for name in ["", "Has Blank", "a]b", "-x"] {
            assert!(matches!(with(name, "abc1"), Err(PatternError::Name(_))), "{name}");
        }
        assert!(matches!(with("jwt", "abcd1"), Err(PatternError::Taken(_))));
    }
}
