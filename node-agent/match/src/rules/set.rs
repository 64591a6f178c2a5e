//! Packs together: which are in force, and which of their rules.
//!
//! Constraints. A set loads whole or not at all, and what is wrong with it says pack, line, rule and reason: whoever wrote it
//! is not at the node. A pack that is only tried out (in shadow) leaves everything else as it is.
//!
//! Operation. A pack takes the place of the one of its name that stands earlier, the built-in ones first of all. `disable`
//! switches rules of other packs off; what is left must have no id twice. Packs in shadow are a set of their own: their
//! `disable` must name rules that there are, and does nothing.

use std::collections::{HashMap, HashSet};

use sha2::{Digest as _, Sha256};
use wa_proto::EventKind;

use super::engine::Engine;
use super::pack::{self, Origin, Pack, PackError, Rearm, Region, RuleText, Surface};

const BUILTIN: &[(&str, &str)] = &[
    ("claude", include_str!("../../packs/claude.toml")),
    ("codex", include_str!("../../packs/codex.toml")),
    ("gemini", include_str!("../../packs/gemini.toml")),
    ("opencode", include_str!("../../packs/opencode.toml")),
    ("aider", include_str!("../../packs/aider.toml")),
    ("copilot", include_str!("../../packs/copilot.toml")),
    ("shell", include_str!("../../packs/shell.toml")),
];

/// Packs in a set, those that are replaced among them.
const PACKS: usize = 64;
/// Rules in a set.
const RULES: usize = 1000;
/// Characters of a name or an id.
const NAME_CHARS: usize = 64;
/// Bytes of a pattern, as it is written.
const PATTERN_BYTES: usize = 4096;
/// A rule for lines and records begins in one of these.
const FIRST_COLUMNS: usize = 5;
/// Milliseconds that a match may be asked to stand, or to be away.
const LONGEST_WAIT: u32 = 3_600_000;

/// A pack that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackInfo {
    pub name: String,
    /// As the pack says; empty where it does not.
    pub version: String,
    /// SHA-256 of its text, in lower-case hex.
    pub hash: String,
    pub origin: Origin,
    pub shadow: bool,
    /// Rules in force: without those that another pack switches off.
    pub rules: usize,
}

/// A rule that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleInfo<'a> {
    pub id: &'a str,
    pub pack: &'a str,
    pub event: EventKind,
    /// `*` for any.
    pub agent: &'a str,
    /// `>=0.53, <0.67`; empty: all.
    pub versions: &'a str,
    pub region: &'static str,
    /// What it reads.
    pub on: &'a [Surface],
    pub examples: usize,
    pub counters: usize,
    pub shadow: bool,
    /// 1-based line of its id in the pack's text; 0 when not known.
    pub line: usize,
}

/// A pack that was read, with the rules of it that run, each with its line.
pub(crate) struct Loaded {
    pub(crate) info: PackInfo,
    pub(crate) rules: Vec<(RuleText, Option<usize>)>,
    disable: Vec<String>,
    disable_line: Option<usize>,
}

impl Engine {
    /// The packs that are compiled in.
    pub fn builtin_packs() -> Vec<Pack> {
        let pack = |(name, text): &(&str, &str)| Pack {
            name: (*name).to_owned(),
            text: (*text).to_owned(),
            origin: Origin::Builtin,
            shadow: false,
        };
        BUILTIN.iter().map(pack).collect()
    }

    /// Built-in packs and these.
    ///
    /// A pack takes the place of the one of its name that is built in or stands earlier. Rules that a pack names in
    /// `disable` are switched off in all other packs. A pack in shadow leaves the packs that run as they are, also the one
    /// of its own name: its rules run beside them.
    ///
    /// # Errors
    /// The first mistake of any pack in force refuses the whole set: what cannot be read, a rule that does not compile or
    /// whose samples say otherwise, an id that occurs twice, a `disable` without a rule, more or larger packs than there
    /// may be.
    pub fn with_packs(more: &[Pack]) -> Result<Self, PackError> {
        let packs: Vec<Pack> = Self::builtin_packs().into_iter().chain(more.iter().cloned()).collect();
        Self::build(assemble(&packs)?)
    }

    /// Only these packs, without the built-in ones.
    #[cfg(test)]
    pub(crate) fn from_packs(packs: &[Pack]) -> Result<Self, PackError> {
        Self::build(assemble(packs)?)
    }

    /// The packs in force: those that run in their order, then those in shadow.
    pub fn packs(&self) -> &[PackInfo] {
        &self.packs
    }

    /// The rules in force, in the order of packs.
    pub fn rules(&self) -> impl Iterator<Item = RuleInfo<'_>> {
        self.all().map(|rule| {
            let pack = &self.packs[rule.pack];
            RuleInfo {
                id: &rule.text.id,
                pack: &pack.name,
                event: rule.text.event,
                agent: &rule.text.agent,
                versions: &rule.text.versions,
                region: rule.text.region.as_str(),
                on: &rule.text.on,
                examples: rule.text.example.len(),
                counters: rule.text.counter.len(),
                shadow: pack.shadow,
                line: rule.line.unwrap_or(0),
            }
        })
    }
}

/// SHA-256 over names, shadow flags and texts in the order of names, in lower-case hex; empty for no packs.
pub fn revision(packs: &[Pack]) -> String {
    if packs.is_empty() {
        return String::new();
    }
    let mut sorted: Vec<&Pack> = packs.iter().collect();
    sorted.sort_by_key(|pack| (&pack.name, pack.shadow));
    let mut sum = Sha256::new();
    for pack in sorted {
        for part in [pack.name.as_str(), if pack.shadow { "shadow" } else { "" }, pack.text.as_str()] {
            sum.update((part.len() as u64).to_be_bytes());
            sum.update(part);
        }
    }
    format!("{:x}", sum.finalize())
}

/// The packs in force, in their order; those in shadow last.
pub(crate) fn assemble(packs: &[Pack]) -> Result<Vec<Loaded>, PackError> {
    if packs.len() > PACKS {
        return Err(together(format!("there are {} packs; {PACKS} are the most", packs.len())));
    }
    let (mut live, mut shadow) = (Vec::new(), Vec::new());
    for pack in in_force(packs) {
        let to = if pack.shadow { &mut shadow } else { &mut live };
        to.push(load(pack)?);
    }
    check_disabled(&live, &shadow)?;
    switch_off(&mut live);
    check_ids(&live)?;
    check_ids(&shadow)?;
    live.append(&mut shadow);
    let rules: usize = live.iter().map(|pack| pack.rules.len()).sum();
    if rules > RULES {
        return Err(together(format!("there are {rules} rules; {RULES} are the most")));
    }
    for pack in &mut live {
        pack.info.rules = pack.rules.len();
    }
    Ok(live)
}

fn together(problem: String) -> PackError {
    PackError::Set { problem }
}

/// The last pack of each name, in the place of the first.
fn in_force(packs: &[Pack]) -> Vec<&Pack> {
    let mut all: Vec<&Pack> = Vec::with_capacity(packs.len());
    for pack in packs {
        match all.iter_mut().find(|known| known.name == pack.name && known.shadow == pack.shadow) {
            Some(known) => *known = pack,
            None => all.push(pack),
        }
    }
    all
}

fn load(source: &Pack) -> Result<Loaded, PackError> {
    if !is_name(&source.name) {
        let name: String = source.name.escape_default().take(NAME_CHARS).collect();
        let problem = format!("the name of a pack is 1 to {NAME_CHARS} of letters, digits, '.', '_' and '-'");
        return Err(together(format!("pack \"{name}\": {problem}")));
    }
    let parsed = pack::parse(source)?;
    for (rule, line) in parsed.pack.rule.iter().zip(&parsed.lines) {
        check(rule).map_err(|problem| PackError::Rule {
            pack: source.name.clone(),
            line: *line,
            rule: rule.id.escape_default().take(NAME_CHARS).collect(),
            problem,
        })?;
    }
    Ok(Loaded {
        info: PackInfo {
            name: source.name.clone(),
            version: parsed.pack.version,
            hash: format!("{:x}", Sha256::digest(&source.text)),
            origin: source.origin,
            shadow: source.shadow,
            rules: 0,
        },
        rules: parsed.pack.rule.into_iter().zip(parsed.lines).collect(),
        disable: parsed.pack.disable,
        disable_line: parsed.disable_line,
    })
}

fn is_name(text: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=NAME_CHARS).contains(&text.len()) && text.chars().all(good)
}

/// What can be said of a rule before it is compiled.
fn check(rule: &RuleText) -> Result<(), String> {
    if !is_name(&rule.id) {
        return Err(format!("an id is 1 to {NAME_CHARS} of letters, digits, '.', '_' and '-'"));
    }
    if [&rule.pattern, &rule.above, &rule.not_below, &rule.unless]
        .iter()
        .any(|pattern| pattern.len() > PATTERN_BYTES)
    {
        return Err(format!("a pattern is longer than {PATTERN_BYTES} bytes"));
    }
    if rule.columns.is_some_and(|(from, to)| from > to) {
        return Err("columns: the first is greater than the last".to_owned());
    }
    if rule.hold > LONGEST_WAIT || rule.cooldown > LONGEST_WAIT {
        return Err(format!("hold and cooldown are at most {LONGEST_WAIT} ms"));
    }
    check_surfaces(rule)
}

/// Away from the screen there is less to tell a notice from a text that quotes one: no box, no composer, no other frame.
/// So a rule that reads lines or records must say where a match begins, and tell only of what a turn brings.
fn check_surfaces(rule: &RuleText) -> Result<(), String> {
    let twice = |at: usize| rule.on[..at].contains(&rule.on[at]);
    if rule.on.is_empty() || (0..rule.on.len()).any(twice) {
        return Err("on: name frame, line and record at most once each, and one of them at least".to_owned());
    }
    let Some(surface) = rule.on.iter().find(|surface| **surface != Surface::Frame) else { return Ok(()) };
    let refuse = |problem: &str| Err(format!("on = [\"{}\"]: {problem}", surface.as_str()));
    if rule.region != Region::Tail {
        return refuse("the region must be tail: there is no dialog, composer, footer or end screen");
    }
    if rule.boxed == Some(true) {
        return refuse("there are no boxes: leave boxed = true out");
    }
    if rule.columns.is_none_or(|(from, to)| from > 0 || to > FIRST_COLUMNS) {
        let wanted = format!(
            "a match must begin at the line's start: write columns = [0, 0], at most [0, {FIRST_COLUMNS}]"
        );
        return refuse(&wanted);
    }
    if !rule.secrets.is_empty() {
        return refuse("codes and addresses that open an account are taken from the screen alone");
    }
    let record = rule.on.contains(&Surface::Record);
    if rule.rearm != Rearm::Turn && (record || rule.rearm != Rearm::Compaction) {
        return refuse(
            "a replayed session must stay silent: write rearm = \"turn\" (for lines also \"compaction\")",
        );
    }
    if record && !rule.above.is_empty() {
        return refuse("nothing stands above a record: leave above out");
    }
    Ok(())
}

/// Refuses a `disable` that names no rule of another pack: it may be misspelt.
fn check_disabled(live: &[Loaded], shadow: &[Loaded]) -> Result<(), PackError> {
    for pack in live.iter().chain(shadow) {
        let others = || live.iter().filter(|other| pack.info.shadow || other.info.name != pack.info.name);
        let is_rule = |id: &String| others().any(|other| other.rules.iter().any(|(rule, _)| rule.id == *id));
        if let Some(id) = pack.disable.iter().find(|id| !is_rule(id)) {
            let id: String = id.escape_default().take(NAME_CHARS).collect();
            return Err(PackError::Syntax {
                pack: pack.info.name.clone(),
                line: pack.disable_line,
                path: "disable".to_owned(),
                problem: format!("no other pack has a rule \"{id}\""),
            });
        }
    }
    Ok(())
}

fn switch_off(live: &mut [Loaded]) {
    let mut by: HashMap<String, HashSet<usize>> = HashMap::new();
    for (at, pack) in live.iter().enumerate() {
        for id in &pack.disable {
            by.entry(id.clone()).or_default().insert(at);
        }
    }
    for (at, pack) in live.iter_mut().enumerate() {
        pack.rules
            .retain(|(rule, _)| !by.get(&rule.id).is_some_and(|packs| packs.iter().any(|by| *by != at)));
    }
}

fn check_ids(packs: &[Loaded]) -> Result<(), PackError> {
    let mut seen: HashMap<&str, &str> = HashMap::new();
    for pack in packs {
        for (rule, line) in &pack.rules {
            if let Some(first) = seen.insert(&rule.id, &pack.info.name) {
                let problem = if first == pack.info.name {
                    "the id occurs twice in this pack".to_owned()
                } else {
                    format!(
                        "pack {first} has a rule of this id too; name it in `disable`, or take another id"
                    )
                };
                let (pack, rule) = (pack.info.name.clone(), rule.id.clone());
                return Err(PackError::Rule { pack, line: *line, rule, problem });
            }
        }
    }
    Ok(())
}
