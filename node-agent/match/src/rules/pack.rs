//! Packs: rules as data.
//!
//! A pack is a TOML file. Unknown keys are refused, and the path of a mistake is named. A rule tells what must be on the
//! screen (literals, then a pattern), where (agent, version, region, column, box), which witnesses it needs, and when it may
//! fire again. It carries the real lines that it was written from, and lines that look alike and must not fire.
//!
//! Patterns are written as the text is normalised (`'` for every apostrophe, `·` for every middle dot); a blank in a pattern
//! stands for any blanks, also none, because a wrap may have eaten it. `{uuid}` stands for a session id, `{reset}` for the words
//! in which agents print when a limit ends.

use std::collections::BTreeMap;

use serde::Deserialize;
use wa_proto::{EventKind, Witness};

/// Where a pack comes from: a name for messages, and its text.
#[derive(Debug, Clone, Copy)]
pub struct PackSource<'a> {
    pub name: &'a str,
    pub text: &'a str,
}

/// What is wrong with a pack. The whole pack is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    #[error("pack {pack}: {path}: {problem}")]
    Syntax { pack: String, path: String, problem: String },
    #[error("pack {pack}: rule {rule}: {problem}")]
    Rule { pack: String, rule: String, problem: String },
    #[error("the literals of the packs do not build: {problem}")]
    Literals { problem: String },
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pack {
    pub(crate) schema: String,
    #[serde(default)]
    pub(crate) rule: Vec<RuleText>,
}

/// Part of a screen. A row may be in several: a tail is part of its transcript.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Region {
    /// Above the live area.
    Transcript,
    /// The transcript after the last submitted prompt.
    Tail,
    Dialog,
    Composer,
    /// Below the composer, and notices that stick to it from above.
    Footer,
    /// An agent's last words: no composer any more, and only a shell's prompt may follow.
    End,
}

/// When a match may fire again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Rearm {
    /// After a new turn has begun.
    Turn,
    /// After it was gone from the screen for the cool-down.
    Gone,
    /// Never for the same text in the same agent process.
    Once,
    /// Its own machine decides: compaction.
    Compaction,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleText {
    pub(crate) id: String,
    pub(crate) event: EventKind,
    pub(crate) agent: String,
    /// `>=0.53, <0.67`; empty: all.
    #[serde(default)]
    pub(crate) versions: String,
    pub(crate) region: Region,
    /// Columns in which the match may begin, inclusive; absent: any.
    pub(crate) columns: Option<(usize, usize)>,
    /// Must stand in a box, or must not; absent: either.
    pub(crate) boxed: Option<bool>,
    /// Rows that are looked at together; absent: as many as make a block.
    pub(crate) rows: Option<usize>,
    /// All must be on the screen, blanks aside.
    pub(crate) literals: Vec<String>,
    /// Matched from the beginning of a block.
    pub(crate) pattern: String,
    /// What the row above must match, if anything; its captures are fields too.
    #[serde(default)]
    pub(crate) above: String,
    /// Fields that the text does not hold.
    #[serde(default)]
    pub(crate) fields: BTreeMap<String, String>,
    /// Words of a capture that are reported as other words.
    #[serde(default)]
    pub(crate) words: BTreeMap<String, BTreeMap<String, String>>,
    /// Captures that make one occurrence; absent: the whole match.
    #[serde(default)]
    pub(crate) key: Vec<String>,
    /// Captures that are kept apart from the fields: codes and addresses that open an account.
    #[serde(default)]
    pub(crate) secrets: Vec<String>,
    #[serde(default)]
    pub(crate) witnesses: Vec<Witness>,
    pub(crate) rearm: Rearm,
    /// Milliseconds of absence after which a match is gone.
    #[serde(default = "default_cooldown")]
    pub(crate) cooldown: u32,
    /// Milliseconds that a match must stand before it fires.
    #[serde(default)]
    pub(crate) hold: u32,
    #[serde(default)]
    pub(crate) example: Vec<Example>,
    #[serde(default)]
    pub(crate) counter: Vec<Counter>,
}

fn default_cooldown() -> u32 {
    1000
}

/// A real sample, and what must be read from it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Example {
    pub(crate) text: String,
    #[serde(default = "default_cols")]
    pub(crate) cols: u32,
    #[serde(default)]
    pub(crate) version: String,
    #[serde(default)]
    pub(crate) fields: BTreeMap<String, String>,
}

/// A sample that must not fire.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Counter {
    pub(crate) text: String,
    #[serde(default = "default_cols")]
    pub(crate) cols: u32,
    #[serde(default)]
    pub(crate) version: String,
}

fn default_cols() -> u32 {
    80
}

pub(crate) fn parse(source: PackSource<'_>) -> Result<Pack, PackError> {
    let syntax = |path: String, problem: String| PackError::Syntax {
        pack: source.name.to_owned(),
        path: if path == "." { "the file".to_owned() } else { path },
        problem: problem.trim().replace('\n', " "),
    };
    let deserializer = toml::Deserializer::parse(source.text)
        .map_err(|error| syntax("the file".to_owned(), error.to_string()))?;
    let pack: Pack = serde_path_to_error::deserialize(deserializer)
        .map_err(|error| syntax(error.path().to_string(), error.inner().to_string()))?;
    if pack.schema != "wa.pack/1" {
        return Err(syntax(
            "schema".to_owned(),
            format!("{:?} is not known; write \"wa.pack/1\"", pack.schema),
        ));
    }
    Ok(pack)
}
