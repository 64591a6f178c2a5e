//! Packs: rules as data.
//!
//! A pack is a TOML file: `schema = "wa.pack/1"`, if wanted a `version`, a `description` and `disable = ["rule.id", …]`,
//! then rules. Unknown keys are refused, and line and path of a mistake are named. A rule tells what must be on the
//! screen (literals, then a pattern), where (agent, version, region, column, box), which witnesses it needs, and when it may
//! fire again. It carries the real lines that it was written from, and lines that look alike and must not fire.
//!
//! Patterns are written as the text is normalised (`'` for every apostrophe, `·` for every middle dot); a blank in a pattern
//! stands for any blanks, also none, because a wrap may have eaten it. `{uuid}` stands for a session id, `{reset}` for the words
//! in which agents print when a limit ends.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};
use wa_proto::{EventKind, Witness};

use crate::hash;

/// The only format there is.
const SCHEMA: &str = "wa.pack/1";
/// A larger file is no pack.
pub(crate) const PACK_BYTES: usize = 1 << 20;
/// Longest version, in characters.
const VERSION_CHARS: usize = 64;
const DESCRIPTION_CHARS: usize = 2000;

/// Who brought a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// Compiled in.
    Builtin,
    /// Named by this host's configuration.
    Local,
    /// Sent by the controller.
    Pushed,
}

impl Origin {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Builtin => "builtin",
            Self::Local => "local",
            Self::Pushed => "pushed",
        }
    }
}

/// A pack's file, and how it is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pack {
    /// Its file name without `.toml`: 1 to 64 of letters, digits, `.`, `_` and `-`.
    pub name: String,
    pub text: String,
    pub origin: Origin,
    /// What its rules find is counted, and nothing more.
    pub shadow: bool,
}

/// What is wrong with a set of packs. The whole set is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// The file is not TOML, or holds what a pack must not.
    #[error("pack {pack}{}: {path}: {problem}", place(*.line))]
    Syntax {
        pack: String,
        /// 1-based, where it is known.
        line: Option<usize>,
        /// `rule[2].region`, or `the file`.
        path: String,
        problem: String,
    },
    /// A rule cannot be, or one of its samples says otherwise.
    #[error("pack {pack}{}: rule {rule}: {problem}", place(*.line))]
    Rule {
        pack: String,
        /// 1-based line of the rule's `id`.
        line: Option<usize>,
        rule: String,
        problem: String,
    },
    /// The packs cannot run together.
    #[error("the packs together: {problem}")]
    Set { problem: String },
}

fn place(line: Option<usize>) -> String {
    line.map_or_else(String::new, |line| format!(", line {line}"))
}

/// The file of a pack, read.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PackText {
    pub(crate) schema: String,
    #[serde(default)]
    pub(crate) version: String,
    #[serde(default)]
    pub(crate) description: String,
    /// Ids of rules of other packs that are switched off.
    #[serde(default)]
    pub(crate) disable: Vec<String>,
    #[serde(default)]
    pub(crate) rule: Vec<RuleText>,
}

/// A pack that was read, and where things stand in it.
#[derive(Debug, Clone)]
pub(crate) struct Parsed {
    pub(crate) pack: PackText,
    /// Line of each rule's id.
    pub(crate) lines: Vec<Option<usize>>,
    /// Line of `disable`.
    pub(crate) disable_line: Option<usize>,
}

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Surface {
    /// The screen as it stands.
    Frame,
    /// Settled lines that scrolled by between two frames.
    Line,
    /// What an agent's session file says of an error, a warning or a notice, drawn as its screen draws it.
    Record,
}

impl Surface {
    pub const ALL: [Self; 3] = [Self::Frame, Self::Line, Self::Record];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Frame => "frame",
            Self::Line => "line",
            Self::Record => "record",
        }
    }
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
    /// The whole screen while no composer stands on it: a sign-in, a dialog.
    Bare,
    /// An agent's last words: no composer any more, and only a shell's prompt may follow.
    End,
}

impl Region {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Transcript => "transcript",
            Self::Tail => "tail",
            Self::Dialog => "dialog",
            Self::Composer => "composer",
            Self::Footer => "footer",
            Self::Bare => "bare",
            Self::End => "end",
        }
    }
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
    /// What it reads.
    #[serde(default = "default_on")]
    pub(crate) on: Vec<Surface>,
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
    /// None of these may be on the screen, blanks aside.
    #[serde(default)]
    pub(crate) without: Vec<String>,
    /// What the row that it hangs from must not match: the nearest one further out, with neither a blank row nor another
    /// result between.
    #[serde(default)]
    pub(crate) not_below: String,
    /// What the text that it looks at must not match, from the beginning: another rule knows that better.
    #[serde(default)]
    pub(crate) unless: String,
    /// What it stands in does not go on below a blank row, as a paragraph does.
    #[serde(default)]
    pub(crate) lone: bool,
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

impl RuleText {
    /// Hash of all that decides where and when it matches; its samples do not.
    pub(crate) fn definition(&self, shadow: bool) -> u64 {
        let place =
            (self.event, &self.agent, &self.versions, self.region, self.columns, self.boxed, self.rows);
        let words = (&self.literals, &self.pattern, &self.above, &self.fields, &self.words, &self.key);
        let bars = (&self.not_below, &self.unless, &self.without, self.lone);
        let gates = (bars, &self.secrets, &self.witnesses, self.rearm, shadow, &self.on);
        hash::hash(&[&self.id, &format!("{place:?} {words:?} {gates:?}")])
    }
}

fn default_on() -> Vec<Surface> {
    vec![Surface::Frame]
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

/// Reads a pack. Nothing in it is looked at further than its header.
pub(crate) fn parse(source: &Pack) -> Result<Parsed, PackError> {
    let line = |span: Option<Range<usize>>| span.map(|span| line_of(&source.text, span.start));
    let syntax = |line: Option<usize>, path: &str, problem: &str| PackError::Syntax {
        pack: source.name.clone(),
        line,
        path: if path == "." { "the file".to_owned() } else { path.to_owned() },
        problem: problem.trim().replace('\n', " "),
    };
    if source.text.len() > PACK_BYTES {
        return Err(syntax(None, "the file", &format!("it is larger than {PACK_BYTES} bytes")));
    }
    let table = DeTable::parse(&source.text)
        .map_err(|error| syntax(line(error.span()), "the file", error.message()))?;
    let of = |name: &str| {
        table.get_ref().get_key_value(name).map(|(key, _)| line_of(&source.text, key.span().start))
    };
    let (schema_line, version_line, disable_line) = (of("schema"), of("version"), of("disable"));
    let lines = rule_lines(&source.text, table.get_ref());
    let pack: PackText = serde_path_to_error::deserialize(Deserializer::from(table)).map_err(|error| {
        syntax(line(error.inner().span()), &error.path().to_string(), error.inner().message())
    })?;
    if pack.schema != SCHEMA {
        let problem = format!("{:?} is not known; write {SCHEMA:?}", pack.schema);
        return Err(syntax(schema_line, "schema", &problem));
    }
    if pack.version.chars().count() > VERSION_CHARS || pack.version.chars().any(char::is_control) {
        return Err(syntax(version_line, "version", "it is longer than 64 characters, or not one line"));
    }
    if pack.description.chars().count() > DESCRIPTION_CHARS {
        return Err(syntax(
            None,
            "description",
            &format!("it is longer than {DESCRIPTION_CHARS} characters"),
        ));
    }
    Ok(Parsed { pack, lines, disable_line })
}

/// Where the id of each rule stands; of one without an id, where the rule begins.
fn rule_lines(text: &str, table: &DeTable<'_>) -> Vec<Option<usize>> {
    let rules = table.get("rule").and_then(|rules| rules.get_ref().as_array());
    // Each is counted from the one before: a pack may be nothing but rules.
    let (mut known, mut count) = (0, 1);
    let line = |rule: &Spanned<DeValue<'_>>| {
        let id = rule.get_ref().as_table().and_then(|rule| rule.get("id"));
        let at = id.map_or(rule.span().start, |id| id.span().start);
        match text.get(known..at) {
            Some(between) => count += line_of(between, between.len()) - 1,
            None => count = line_of(text, at),
        }
        known = at;
        Some(count)
    };
    rules.into_iter().flat_map(|rules| rules.iter()).map(line).collect()
}

/// The 1-based line of a byte.
fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}
