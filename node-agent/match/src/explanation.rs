//! Why a pane is in its state, rule by rule.
//!
//! Constraints. Explaining changes nothing: it works on a copy of the matcher that looks once more at the moment of the last
//! look. What it says must be bounded, for a screen may be full of words of rules. Lines are as the screen has them, only
//! without the secrets that rules name; whoever sends them on redacts them.
//!
//! Format. First what fired, then what matches and is held back, then what matches in shadow, then what nearly matches, the
//! nearest first.

use jiff::Timestamp;
use wa_proto::{AgentKind, EventKind, Frame, PaneState, StateDetail, Witness};

use crate::look::{Known, Look, look};
use crate::matcher::{PaneMatcher, occurrence};
use crate::observation::{Facts, Observation};
use crate::presence::Standing;
use crate::reading;
use crate::rules::explain::{Near, nearly};
use crate::rules::{Engine, Hit, Rearm};
use crate::scan::scan;

/// Traces of rules that match, and of those that nearly do.
const MATCHES: usize = 64;
const NEARLY: usize = 24;
/// Longer lines are cut, in characters.
const LINE_CHARS: usize = 400;

/// One look at a pane, rule by rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    pub agent: Option<AgentKind>,
    /// Empty when not known.
    pub version: String,
    pub state: PaneState,
    pub detail: StateDetail,
    pub rules: Vec<RuleTrace>,
}

/// What one rule says to a screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleTrace {
    pub rule: String,
    pub pack: String,
    pub event: EventKind,
    pub verdict: Verdict,
    /// The region that the rule looks at.
    pub region: &'static str,
    /// 0-based frame row where the match begins, or where most of it stands.
    pub row: Option<usize>,
    /// What stands there; not redacted.
    pub line: String,
    /// Who speaks for it.
    pub witnesses: Vec<Witness>,
    /// Why it does not fire, in words; empty for what fired.
    pub missing: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Told when it appeared.
    Fired,
    /// Matches, but was told before, is history, or has not stood long enough.
    Held,
    /// Matches in shadow.
    Shadowed,
    /// Something is missing.
    Nearly,
}

impl Verdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fired => "fired",
            Self::Held => "held",
            Self::Shadowed => "shadowed",
            Self::Nearly => "nearly",
        }
    }
}

impl PaneMatcher {
    /// Says why the pane is in its state. Changes nothing.
    pub fn explain(&self, engine: &Engine, frame: &Frame, facts: &Facts) -> Explanation {
        let mut after = self.clone();
        let observed = after.observe(engine, frame, facts, self.aside.at().unwrap_or(Timestamp::UNIX_EPOCH));
        let seen = after.look(engine, frame, &after.settled_facts(facts));
        explanation(engine, &seen, &observed, |hit| after.held(engine, &seen, hit))
    }

    /// Why a match of a live rule does not fire now; `None` if it did.
    fn held(&self, engine: &Engine, seen: &Look, hit: &Hit) -> Option<String> {
        let rule = engine.rule(hit.rule)?;
        if self.aside.was_told(&rule.id, &hit.line) {
            return None;
        }
        let standing = match hit.event {
            EventKind::AgentStarted => {
                return Some("the start is told by the process; this row names the version".to_owned());
            }
            EventKind::ApprovalRequested => match reading::dialog(seen) {
                Some((dialog, _)) => self.presences.standing(dialog.key),
                None => return Some("no dialog is open".to_owned()),
            },
            _ if rule.text.rearm == Rearm::Compaction => {
                return Some(
                    "no work was seen between it and the compaction before, or it is history".to_owned(),
                );
            }
            _ => self.presences.standing(occurrence(rule, hit, &seen.hits)),
        };
        Some(match standing {
            Standing::Waits => "it has not stood long enough".to_owned(),
            Standing::Told => "the same was told before".to_owned(),
            Standing::History => {
                "it stood there at first sight, in a replay, or when its pack came".to_owned()
            }
            Standing::Absent => "the screen must stand still, or the work be done, first".to_owned(),
        })
    }
}

/// Says what [`scan()`] sees in one saved screen, and why.
pub fn explain_screen(engine: &Engine, frame: &Frame, facts: &Facts, now: Timestamp) -> Explanation {
    let observed = scan(engine, frame, facts, now);
    let seen = look(engine, frame, facts, &Known { still: true, ..Known::default() });
    explanation(engine, &seen, &observed, |hit| {
        let rule = engine.rule(hit.rule)?;
        let told = |event: &&crate::Detected| event.rule == *rule.id && event.line == hit.line;
        let same = observed.events.iter().any(|event| event.kind == hit.event);
        match observed.events.iter().find(told) {
            Some(_) => None,
            None if same => Some("another match has told the same".to_owned()),
            None => Some("what else is on the screen says that it is over, or that nothing waits".to_owned()),
        }
    })
}

fn explanation(
    engine: &Engine,
    seen: &Look,
    observed: &Observation,
    held: impl Fn(&Hit) -> Option<String>,
) -> Explanation {
    let mut rules: Vec<RuleTrace> = Vec::new();
    for hit in seen.hits.iter().take(MATCHES) {
        let lacking = reading::lacking(engine, seen, hit);
        let (verdict, missing) = match held(hit) {
            _ if !lacking.is_empty() => (Verdict::Nearly, lacking),
            None => (Verdict::Fired, Vec::new()),
            Some(why) => (Verdict::Held, vec![why]),
        };
        rules.extend(matched(engine, seen, hit, verdict, missing));
    }
    for hit in seen.shadowed.iter().take(MATCHES) {
        rules.extend(matched(engine, seen, hit, Verdict::Shadowed, reading::lacking(engine, seen, hit)));
    }
    let matches = |rule: usize| seen.hits.iter().chain(&seen.shadowed).any(|hit| hit.rule == rule);
    let nearly = nearly(engine, &seen.scene()).into_iter().filter(|near| !matches(near.rule));
    rules.extend(nearly.take(NEARLY).filter_map(|near| missed(engine, seen, near)));
    rules.sort_by_key(|trace| trace.verdict);
    let (agent, version) = (observed.agent.clone(), observed.version.clone());
    Explanation { agent, version, state: observed.state, detail: observed.detail.clone(), rules }
}

fn matched(
    engine: &Engine,
    seen: &Look,
    hit: &Hit,
    verdict: Verdict,
    missing: Vec<String>,
) -> Option<RuleTrace> {
    let witnesses = reading::witnesses(seen);
    let (row, line) = (Some(hit.rows.start), hit.line.as_str());
    trace(engine, hit.rule, RuleParts { verdict, row, line, witnesses, missing })
}

fn missed(engine: &Engine, seen: &Look, near: Near) -> Option<RuleTrace> {
    let line = near.row.map_or("", |row| seen.sheet.text(row));
    let witnesses = if near.row.is_some() { vec![Witness::Screen] } else { Vec::new() };
    let parts = RuleParts { verdict: Verdict::Nearly, row: near.row, line, witnesses, missing: near.missing };
    trace(engine, near.rule, parts)
}

struct RuleParts<'a> {
    verdict: Verdict,
    row: Option<usize>,
    line: &'a str,
    witnesses: Vec<Witness>,
    missing: Vec<String>,
}

fn trace(engine: &Engine, rule: usize, parts: RuleParts<'_>) -> Option<RuleTrace> {
    let rule = engine.rule(rule)?;
    Some(RuleTrace {
        rule: rule.id.to_string(),
        pack: engine.packs().get(rule.pack).map_or_else(String::new, |pack| pack.name.clone()),
        event: rule.text.event,
        verdict: parts.verdict,
        region: rule.text.region.as_str(),
        row: parts.row,
        line: parts.line.trim().chars().take(LINE_CHARS).collect(),
        witnesses: parts.witnesses,
        missing: parts.missing,
    })
}
