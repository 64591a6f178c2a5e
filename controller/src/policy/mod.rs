//! The controller's policy: who may do what to which panes.
//!
//! Constraints: the file is validated whole, and a file with any mistake changes nothing; judging is linear in the text,
//! whatever the patterns are, and touches no disk and no network; the host's own policy still has the last word (promise
//! A4). Without a file everything is left to the hosts: what the roles allow is allowed here.
//!
//! Format, TOML. The first rule that fits decides, none denies:
//!
//! ```toml
//! [[rule]]
//! name = "agents ask"            # for people; otherwise its number
//! who = ["agent:web-*"]          # operator:NAME agent:HOST workflow:NAME; `*` stands for any text
//! verbs = ["send", "keys"]       # send keys choose spawn kill; `keys` covers `choose`; without it: all
//! panes = ["web-1/*"]            # HOST/PANE or HOST/MUX/PANE; a spawn is for the pane `new`; without it: all
//! selector = "agent=codex,state in (idle,waiting)"   # labels, as `wa status -l` takes them
//! text = "^/compact"             # regular expression; keys with blanks between, labels with ` | `
//! decision = "ask"               # allow deny ask
//! per_minute = 10                # actions that this rule lets begin within a minute
//! panes_per_minute = 3           # panes on which they may be
//! ```
//!
//! Operation: an action is judged when it is asked for, and again, with its pane as it is then, when its node asks for the
//! permit: a policy that was changed in between counts. `ask` holds it until a person has looked (`enter.rs`); limits count
//! what is let through. The file is read again when it has changed (`file.rs`).

mod enter;
mod file;
mod rates;
mod shown;
#[cfg(test)]
mod tests;

pub(crate) use enter::{Entered, enter};
pub use file::PolicyFile;
pub(crate) use file::read;
pub(crate) use rates::{Limits, Rate};
pub(crate) use shown::{look, shown};

use std::path::Path;

use regex::{Regex, RegexBuilder};
use ring::digest::{SHA256, digest};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use wa_link::config::ConfigError;
use wa_proto::policy::{Decision, VerbName, Words, glob, words};
use wa_proto::selector::Selector;
use wa_proto::{Host, MuxName, PaneRef, Verb};

use crate::gate::{Labels, address};
use crate::identity::ca::hex;

/// Bytes of a file.
pub(crate) const MAX_FILE: u64 = 1 << 20;
const MAX_RULES: usize = 500;
/// Bytes of a regular expression, and of what it is compiled to.
const MAX_PATTERN: usize = 4096;
const MAX_COMPILED: usize = 256 << 10;
const MAX_RATE: u32 = 10_000;
/// The pane that a spawn is for.
const NEW: &str = "new";

/// The rules of one file.
#[derive(Debug)]
pub struct Policy {
    rules: Vec<Rule>,
    /// SHA-256 of the file, in hex.
    hash: String,
}

#[derive(Debug)]
struct Rule {
    /// As people know it.
    name: String,
    who: Vec<String>,
    verbs: Vec<VerbName>,
    panes: Vec<String>,
    selector: Selector,
    text: Option<Regex>,
    decision: Decision,
    limits: Limits,
}

/// An action as rules see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    /// `operator:NAME`, `agent:HOST` or `workflow:NAME`.
    pub(crate) who: &'a str,
    pub(crate) verb: VerbName,
    /// [`Verb::text`].
    pub(crate) text: &'a str,
    /// Of the pane; `pane` is its address.
    pub(crate) labels: &'a Labels,
}

/// What the policy says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) decision: Decision,
    /// The rule that decided, by name; empty: none did.
    pub(crate) rule: String,
    /// In words.
    pub(crate) reason: String,
    /// Its place in the file and its limits, where it lets the action through.
    pub(crate) limits: Option<(usize, Limits)>,
}

impl Judgement {
    /// Without a policy.
    pub(crate) fn open() -> Self {
        Self {
            decision: Decision::Allow,
            rule: String::new(),
            reason: "the controller has no policy file: each host's own policy decides".to_owned(),
            limits: None,
        }
    }
}

// ---- reading

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    rule: Vec<RawRule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    #[serde(default, deserialize_with = "name")]
    name: Option<String>,
    #[serde(deserialize_with = "wa_proto::policy::who")]
    who: Vec<String>,
    #[serde(default, deserialize_with = "verbs")]
    verbs: Option<Vec<VerbName>>,
    #[serde(default, deserialize_with = "panes")]
    panes: Option<Vec<String>>,
    #[serde(default, deserialize_with = "selector")]
    selector: Selector,
    #[serde(default, deserialize_with = "pattern")]
    text: Option<Regex>,
    decision: Decision,
    #[serde(default, deserialize_with = "rate")]
    per_minute: Option<u32>,
    #[serde(default, deserialize_with = "rate")]
    panes_per_minute: Option<u32>,
}

fn name<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    const MAX: usize = 64;
    let name = String::deserialize(from)?;
    let plain = !name.is_empty() && name.len() <= MAX && !name.chars().any(char::is_control);
    if plain {
        Ok(Some(name))
    } else {
        Err(D::Error::custom(format!("1 to {MAX} bytes, no control characters")))
    }
}

fn panes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<String>>, D::Error> {
    let words = words(from)?;
    match words.iter().find(|pane| *pane != "*" && !pane.contains('/')) {
        Some(other) => Err(D::Error::custom(format!(
            "{other:?}: write HOST/PANE, HOST/MUX/PANE, HOST/* or *; labels belong into `selector`"
        ))),
        None => Ok(Some(words)),
    }
}

fn verbs<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<VerbName>>, D::Error> {
    let words = words(from)?;
    words.iter().map(|verb| verb.parse().map_err(D::Error::custom)).collect::<Result<_, _>>().map(Some)
}

fn selector<'de, D: Deserializer<'de>>(from: D) -> Result<Selector, D::Error> {
    let text = String::deserialize(from)?;
    if text.len() > MAX_PATTERN {
        return Err(D::Error::custom(format!("at most {MAX_PATTERN} bytes")));
    }
    text.parse().map_err(D::Error::custom)
}

fn pattern<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Regex>, D::Error> {
    let text = String::deserialize(from)?;
    if text.len() > MAX_PATTERN {
        return Err(D::Error::custom(format!("a regular expression has at most {MAX_PATTERN} bytes")));
    }
    let built = RegexBuilder::new(&text).size_limit(MAX_COMPILED).dfa_size_limit(MAX_COMPILED).build();
    built.map(Some).map_err(D::Error::custom)
}

fn rate<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    let rate = u32::deserialize(from)?;
    if (1..=MAX_RATE).contains(&rate) {
        Ok(Some(rate))
    } else {
        Err(D::Error::custom(format!("1 to {MAX_RATE}; to allow none, write decision = \"deny\"")))
    }
}

/// Why a policy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidPolicy {
    #[error(transparent)]
    File(#[from] ConfigError),
    #[error("{path}: {problem}")]
    Rules { path: String, problem: String },
}

impl Policy {
    /// Reads a policy; `path` is only for the errors.
    ///
    /// # Errors
    /// The first mistake, with its place.
    pub fn parse(text: &str, path: &Path) -> Result<Self, InvalidPolicy> {
        let file: RawFile = wa_link::config::parse(text, path)?;
        let refuse = |problem: String| InvalidPolicy::Rules { path: path.display().to_string(), problem };
        if file.rule.len() > MAX_RULES {
            return Err(refuse(format!("{} rules; at most {MAX_RULES}", file.rule.len())));
        }
        let mut rules = Vec::with_capacity(file.rule.len());
        for (at, raw) in file.rule.into_iter().enumerate() {
            let name = raw.name.unwrap_or_else(|| format!("rule {}", at + 1));
            let limits = Limits { actions: raw.per_minute, panes: raw.panes_per_minute };
            if raw.decision == Decision::Deny && !limits.none() {
                return Err(refuse(format!("rule[{at}]: what is denied has no limits; remove them")));
            }
            rules.push(Rule {
                name,
                who: raw.who,
                verbs: raw.verbs.unwrap_or_else(|| VerbName::ALL.to_vec()),
                panes: raw.panes.unwrap_or_else(|| Words::any().into_vec()),
                selector: raw.selector,
                text: raw.text,
                decision: raw.decision,
                limits,
            });
        }
        Ok(Self { rules, hash: hex(digest(&SHA256, text.as_bytes()).as_ref()) })
    }

    pub(crate) fn hash(&self) -> &str {
        &self.hash
    }

    pub(crate) fn rules(&self) -> usize {
        self.rules.len()
    }

    // ---- judging

    pub(crate) fn judge(&self, question: &Question<'_>) -> Judgement {
        let Question { who, verb, .. } = question;
        let asked = format!("`{}` by {who}", verb.as_str());
        let Some((at, rule)) = self.rules.iter().enumerate().find(|(_, rule)| rule.fits(question)) else {
            return Judgement {
                decision: Decision::Deny,
                rule: String::new(),
                reason: format!("no rule of the controller's policy allows {asked}"),
                limits: None,
            };
        };
        let name = &rule.name;
        let reason = match rule.decision {
            Decision::Allow => format!("{name} of the controller's policy allows {asked}"),
            Decision::Deny => format!("{name} of the controller's policy denies {asked}"),
            Decision::Ask => {
                format!("{name} of the controller's policy wants a person's approval for {asked}")
            }
        };
        let limits = (rule.decision != Decision::Deny).then_some((at, rule.limits));
        Judgement { decision: rule.decision, rule: name.clone(), reason, limits }
    }

    /// Judges what is meant for a pane of a host; `labels` are the pane's, or the host's alone for a spawn.
    pub(crate) fn judge_verb(
        &self,
        who: &str,
        (host, pane): (&Host, &PaneRef),
        verb: &Verb,
        mut labels: Labels,
    ) -> Judgement {
        if matches!(verb, Verb::Spawn { .. }) {
            spawn_into(&mut labels, host, &pane.mux);
        } else {
            // Of a pane that nobody has told of yet.
            labels.entry("pane".to_owned()).or_insert_with(|| address(host, pane).to_string());
        }
        let text = verb.text();
        self.judge(&Question { who, verb: VerbName::of(verb), text: &text, labels: &labels })
    }
}

/// What rules see of a pane that is not there yet.
pub(crate) fn spawn_into(labels: &mut Labels, host: &Host, mux: &MuxName) {
    let address = if mux.is_main() { format!("{host}/{NEW}") } else { format!("{host}/{mux}/{NEW}") };
    let of_it = [("host", host.to_string()), ("mux", mux.to_string()), ("pane", address)];
    labels.extend(of_it.map(|(name, value)| (name.to_owned(), value)));
}

impl Rule {
    fn fits(&self, question: &Question<'_>) -> bool {
        let Question { who, verb, text, labels } = question;
        let pane = labels.get("pane").map_or("", String::as_str);
        self.verbs.iter().any(|named| named.covers(*verb))
            && self.who.iter().any(|pattern| glob(pattern, who))
            && self.panes.iter().any(|pattern| glob(pattern, pane))
            && self.selector.matches(|key| labels.get(key).map(String::as_str))
            && self.text.as_ref().is_none_or(|regex| regex.is_match(text))
    }
}
