//! What policy files have in common: the node's, which says what may be typed on its host, and the controller's, which
//! says what people, agents and workflows may do.
//!
//! Format: a rule names who, verbs and panes, each by one or more patterns in which `*` stands for any text, and decides
//! `allow`, `deny` or `ask`. What a regular expression of a rule is held against is [`Verb::text`]. A pattern that can fit
//! nothing is a mistake: a rule that denies would never do so, and nobody would see it.

use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::Verb;

/// What a rule decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    Allow,
    Deny,
    /// A person has to look first.
    Ask,
}

impl Decision {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Ask => "ask",
        }
    }
}

/// A verb as policy files name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerbName {
    Send,
    /// Keys, and answers to dialogs: these are keys, chosen by what stands beside them.
    Keys,
    /// Answers to dialogs alone.
    Choose,
    Spawn,
    Kill,
}

impl VerbName {
    pub const ALL: [Self; 5] = [Self::Send, Self::Keys, Self::Choose, Self::Spawn, Self::Kill];

    pub fn of(verb: &Verb) -> Self {
        match verb {
            Verb::Send { .. } => Self::Send,
            Verb::Keys(_) => Self::Keys,
            Verb::Choose { .. } => Self::Choose,
            Verb::Spawn { .. } => Self::Spawn,
            Verb::Kill => Self::Kill,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Keys => "keys",
            Self::Choose => "choose",
            Self::Spawn => "spawn",
            Self::Kill => "kill",
        }
    }

    /// Whether a rule for this verb is one for `other`, too.
    pub fn covers(self, other: Self) -> bool {
        self == other || (self == Self::Keys && other == Self::Choose)
    }
}

/// There is no such verb.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown verb {0:?}: use one of send keys choose spawn kill")]
pub struct UnknownVerb(pub String);

impl FromStr for VerbName {
    type Err = UnknownVerb;

    fn from_str(text: &str) -> Result<Self, UnknownVerb> {
        let unknown = || UnknownVerb(text.chars().take(40).collect());
        Self::ALL.into_iter().find(|verb| verb.as_str() == text).ok_or_else(unknown)
    }
}

/// One word or a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Words {
    One(String),
    Many(Vec<String>),
}

impl Words {
    /// Fits everything.
    pub fn any() -> Self {
        Self::One("*".to_owned())
    }

    pub fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

/// Patterns of one key of a rule.
const MAX_WORDS: usize = 200;

/// One pattern or several, where a file must have some.
///
/// # Errors
/// There are none, or too many.
pub fn words<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let words = Words::deserialize(from)?.into_vec();
    if words.is_empty() || words.len() > MAX_WORDS {
        return Err(D::Error::custom(format!("1 to {MAX_WORDS} patterns")));
    }
    Ok(words)
}

/// The key `who`: `operator:NAME`, `agent:HOST`, `workflow:NAME` or `*`.
///
/// # Errors
/// As [`words`]; and the first that can fit nobody.
pub fn who<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let words = words(from)?;
    let known = |who: &str| {
        let mut names = ["operator:", "agent:", "workflow:"].iter().filter_map(|kind| who.strip_prefix(kind));
        names.any(|name| !name.is_empty())
    };
    match words.iter().find(|who| *who != "*" && !known(who)) {
        Some(other) => {
            Err(D::Error::custom(format!("{other:?}: write operator:NAME, agent:HOST, workflow:NAME or *")))
        }
        None => Ok(words),
    }
}

/// The key `panes` of a host's own file: `PANE` or `MUX/PANE`.
///
/// # Errors
/// As [`words`]; and the first that can fit no pane of any host.
pub fn host_panes<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let words = words(from)?;
    match words.iter().find(|pane| !fits_some_pane(pane)) {
        Some(other) => Err(D::Error::custom(format!(
            "{other:?}: write PANE, MUX/PANE, MUX/* or *; the host is this one and is not named"
        ))),
        None => Ok(words),
    }
}

/// Whether there can be a `PANE` or `MUX/PANE` that the pattern fits.
fn fits_some_pane(pattern: &str) -> bool {
    let name = |text: &str| text.bytes().all(|c| c.is_ascii_alphanumeric() || b"._-*".contains(&c));
    let number = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit() || c == b'*');
    match pattern.split_once('/') {
        Some((mux, pane)) => !mux.is_empty() && name(mux) && number(pane),
        // A wildcard stands for the slash as well.
        None => match pattern.rsplit_once('*') {
            Some((mux, end)) => name(mux) && end.bytes().all(|c| c.is_ascii_digit()),
            None => number(pattern),
        },
    }
}

/// `*` stands for any text, everything else for itself.
pub fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|head| text.strip_prefix(head)) else { return false };
    let mut last = None;
    for part in parts {
        if let Some(middle) = last.replace(part) {
            match rest.find(middle) {
                Some(at) => rest = &rest[at + str::len(middle)..],
                None => return false,
            }
        }
    }
    last.map_or(rest.is_empty(), |tail| rest.ends_with(tail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn globs() {
        for (pattern, text) in
            [("*", ""), ("a*", "a"), ("a*c", "abc"), ("a*b*c", "a-b-c"), ("abc", "abc"), ("*a", "ba")]
        {
            assert!(glob(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("", "a"), ("a", "ab"), ("a*c", "ab"), ("a*b*c", "a-c"), ("ab*ba", "aba")] {
            assert!(!glob(pattern, text), "{pattern} {text}");
        }
    }

    /// By the definition, letter by letter.
    fn model(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, rest) => rest.is_none(),
            (Some(('*', after)), Some((_, rest))) => model(after, text) || model(pattern, rest),
            (Some(('*', after)), None) => model(after, text),
            (Some((wanted, after)), Some((found, rest))) => wanted == found && model(after, rest),
            (Some(_), None) => false,
        }
    }

    proptest! {
        #[test]
        fn a_glob_fits_what_its_letters_say(pattern in "[abé*]{0,8}", text in "[abé]{0,10}") {
            let letters = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(glob(&pattern, &text), model(&letters(&pattern), &letters(&text)));
        }
    }

    #[derive(Debug, Deserialize)]
    struct Rule {
        #[serde(deserialize_with = "who")]
        who: Vec<String>,
        #[serde(deserialize_with = "host_panes")]
        panes: Vec<String>,
    }

    fn rule(who: serde_json::Value, panes: serde_json::Value) -> Result<Rule, String> {
        serde_json::from_value(serde_json::json!({ "who": who, "panes": panes })).map_err(|e| e.to_string())
    }

    #[test]
    fn what_can_fit_nothing_is_a_mistake() {
        for good in ["*", "operator:*", "operator:anna", "agent:web-*", "workflow:limit-wait"] {
            assert_eq!(rule(good.into(), "*".into()).unwrap().who, [good]);
        }
        for bad in ["operators:*", "anna", "operator:", "", "Operator:anna", "spiffe://wa/operator/anna"] {
            assert!(rule(bad.into(), "*".into()).unwrap_err().contains("operator:NAME"), "{bad}");
        }
        for good in ["*", "3", "3*", "main/3", "main/*", "*/3", "gui*", "*3", "work-2/1*"] {
            assert_eq!(rule("*".into(), good.into()).unwrap().panes, [good]);
        }
        for bad in ["", "web-1", "web-1/main/3", "main/", "/3", "main/x", "x*y", "mäin/3", "main/3 "] {
            assert!(rule("*".into(), bad.into()).unwrap_err().contains("MUX/PANE"), "{bad:?}");
        }
        let none: [&str; 0] = [];
        assert!(rule(serde_json::json!(none), "*".into()).unwrap_err().contains("1 to 200"));
    }

    proptest! {
        /// What is refused fits no pane.
        #[test]
        fn no_pattern_is_refused_that_fits_a_pane(
            pattern in "[a1*/]{0,6}", mux in "[a1]{1,3}", pane in 0..20_u64,
        ) {
            let fits = glob(&pattern, &format!("{mux}/{pane}")) || glob(&pattern, &pane.to_string());
            prop_assert!(!fits || fits_some_pane(&pattern), "{pattern:?} fits {mux}/{pane}");
        }
    }

    #[test]
    fn verbs_read_as_written() {
        for verb in VerbName::ALL {
            assert_eq!(verb.as_str().parse::<VerbName>(), Ok(verb));
        }
        assert!("type".parse::<VerbName>().unwrap_err().to_string().contains("\"type\""));
        assert!(VerbName::Keys.covers(VerbName::Choose) && !VerbName::Choose.covers(VerbName::Keys));
    }
}
