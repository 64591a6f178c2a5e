//! What policy files have in common: the node's, which says what may be typed on its host, and the controller's, which
//! says what people, agents and workflows may do.
//!
//! Format: a rule names who, verbs and panes, each by one or more patterns in which `*` stands for any text, and decides
//! `allow`, `deny` or `ask`. What a regular expression of a rule is held against is [`Verb::text`].

use std::str::FromStr;

use serde::Deserialize;

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

    #[test]
    fn verbs_read_as_written() {
        for verb in VerbName::ALL {
            assert_eq!(verb.as_str().parse::<VerbName>(), Ok(verb));
        }
        assert!("type".parse::<VerbName>().unwrap_err().to_string().contains("\"type\""));
        assert!(VerbName::Keys.covers(VerbName::Choose) && !VerbName::Choose.covers(VerbName::Keys));
    }
}
