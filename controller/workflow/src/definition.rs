//! Definitions: which event starts a workflow, and its steps. Refused whole when anything in them is wrong.
//!
//! Constraints that are checked here, once: a run only goes forward, so it ends; it cannot act more often than its budget
//! allows; after an action of which nobody knows whether it arrived nothing is typed before a person has answered; every
//! name in a text is known.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use serde::Deserialize;
use wa_proto::{AgentKind, EventKind};

use crate::fingerprint::fingerprint;
use crate::raw::{Names, RawStep};
use crate::run::{Run, Status};
use crate::step::{Step, Work};
use crate::template::Vars;

/// One workflow, as its TOML file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// Letters, digits and '-'.
    pub name: String,
    pub description: String,
    pub version: u32,
    /// Begins by its event only where the configuration turns it on; by hand always.
    pub opt_in: bool,
    /// Only where one of these runs; empty: any.
    pub agents: Vec<AgentKind>,
    /// The events that start a run; none: only a person does.
    pub on: Vec<EventKind>,
    /// Workflows that its event does not start where it starts this one, and nothing before `merge_until` while it runs.
    pub instead_of: Vec<String>,
    /// Until a run has done this step, more of its triggers tell of the same thing; `None`: until its first action.
    pub merge_until: Option<usize>,
    /// Actions that may reach the pane in one run.
    pub max_actions: u32,
    /// Runs that may begin on one pane within a time; `None`: any number.
    pub max_runs: Option<Rate>,
    /// Whether the run ends when the agent's process does.
    pub follows: Follows,
    /// Where the run goes on when its pane is gone; `None`: it ends.
    pub on_gone: Option<usize>,
    /// Values for texts, unless an override says otherwise.
    pub vars: Vars,
    pub steps: Vec<Step>,
    /// SHA-256 of what the file says, in hexadecimal: of two that differ in it, the steps may be others.
    pub hash: String,
}

/// So many within a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    pub count: u32,
    pub per: SignedDuration,
}

/// What a run stays with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Follows {
    /// The agent's process: another one, or a shell in its place, ends the run.
    #[default]
    Agent,
    /// The pane, whatever runs in it.
    Pane,
}

/// What is wrong with a definition, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDefinition {
    #[error("workflow file: {path}: {problem}")]
    Syntax { path: String, problem: String },
    #[error("workflow {name:?}: {problem}")]
    Content { name: String, problem: String },
}

/// `on = "a"` or `on = ["a", "b"]`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum On {
    One(String),
    Several(Vec<String>),
}

impl On {
    fn kinds(self) -> Result<Vec<EventKind>, String> {
        let words = match self {
            Self::One(word) => vec![word],
            Self::Several(words) => words,
        };
        let kinds = words.iter().map(|word| word.parse().map_err(|unknown| format!("on: {unknown}")));
        kinds.collect()
    }
}

impl Default for On {
    fn default() -> Self {
        Self::Several(Vec::new())
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDefinition {
    name: String,
    #[serde(default)]
    description: String,
    version: u32,
    #[serde(default)]
    opt_in: bool,
    #[serde(default)]
    agents: Vec<AgentKind>,
    #[serde(default)]
    on: On,
    #[serde(default)]
    instead_of: Vec<String>,
    merge_until: Option<String>,
    max_actions: u32,
    max_runs: Option<Rate>,
    #[serde(default)]
    follows: Follows,
    on_gone: Option<String>,
    #[serde(default)]
    vars: Vars,
    #[serde(default)]
    step: Vec<RawStep>,
}

/// What tells how a sign-in goes.
const SIGN_IN: [EventKind; 4] =
    [EventKind::AuthDeviceCode, EventKind::AuthRequired, EventKind::AuthSucceeded, EventKind::AuthFailed];
/// What tells by which id a session is resumed.
pub(crate) const TELL_SESSION: [EventKind; 2] = [EventKind::SessionEnded, EventKind::SessionResumable];

/// Steps of a definition; more is a mistake.
const MAX_STEPS: usize = 64;

/// Names that every text may use: of the pane and of the event. What is not known there makes a step fail.
pub const BUILTIN_VARS: &[&str] = &[
    "agent",
    "host",
    "pane",
    "project",
    "cwd",
    "session_id",
    "resume_command",
    "command",
    "choices",
    "window",
    "reset",
    "failure",
    "answered_by",
    "login_command",
    "account",
    "account_home",
    "account_variable",
];

impl Definition {
    /// Reads and checks one TOML file.
    ///
    /// # Errors
    /// The first mistake, with its place.
    pub fn parse(text: &str) -> Result<Self, InvalidDefinition> {
        let syntax = |e: toml::de::Error| InvalidDefinition::Syntax {
            path: "(syntax)".into(),
            problem: e.to_string(),
        };
        let hash = fingerprint(&text.parse().map_err(syntax)?);
        let reader = toml::Deserializer::parse(text).map_err(syntax)?;
        let raw: RawDefinition = serde_path_to_error::deserialize(reader).map_err(|e| {
            InvalidDefinition::Syntax { path: e.path().to_string(), problem: e.inner().message().to_owned() }
        })?;
        let name = raw.name.clone();
        Self::read(raw, hash).map_err(|problem| InvalidDefinition::Content { name, problem })
    }

    fn read(raw: RawDefinition, hash: String) -> Result<Self, String> {
        if raw.name.is_empty() || !raw.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            return Err("name may hold letters, digits and '-' only".into());
        }
        if raw.step.is_empty() {
            return Err("it has no step".into());
        }
        if raw.step.len() > MAX_STEPS {
            return Err(format!("it has more than {MAX_STEPS} steps"));
        }
        if raw.max_runs.is_some_and(|rate| rate.count == 0 || rate.per <= SignedDuration::ZERO) {
            return Err("max_runs: count and per must be more than zero".into());
        }
        let ids = ids(&raw.step)?;
        let index = |key: &str, name: Option<&String>| {
            let at = name.map(|name| {
                let at = ids.iter().position(|id| id == name);
                at.ok_or_else(|| format!("{key}: there is no step {name:?}"))
            });
            at.transpose()
        };
        let on_gone = index("on_gone", raw.on_gone.as_ref())?;
        let merge_until = index("merge_until", raw.merge_until.as_ref())?;
        let mut steps = Vec::with_capacity(raw.step.len());
        for (from, step) in raw.step.into_iter().enumerate() {
            let id = ids[from].clone();
            let place = if id == format!("step-{}", from + 1) {
                id.clone()
            } else {
                format!("step {} ({id})", from + 1)
            };
            let step = step.read(id, &Names { ids: &ids, from });
            steps.push(step.map_err(|problem| format!("{place}: {problem}"))?);
        }
        let definition = Self {
            name: raw.name,
            description: raw.description,
            version: raw.version,
            opt_in: raw.opt_in,
            agents: raw.agents,
            on: raw.on.kinds()?,
            instead_of: raw.instead_of,
            merge_until,
            max_actions: raw.max_actions,
            max_runs: raw.max_runs,
            follows: raw.follows,
            on_gone,
            vars: raw.vars,
            steps,
            hash,
        };
        definition.check()?;
        Ok(definition)
    }

    fn check(&self) -> Result<(), String> {
        let known = |name: &str| BUILTIN_VARS.contains(&name) || self.vars.contains_key(name);
        for step in &self.steps {
            let names = step.work.templates().into_iter().flat_map(|template| template.names());
            if let Some(unknown) = names.into_iter().find(|name| !known(name)) {
                return Err(format!(
                    "{}: {{{{{unknown}}}}} is not known; there are {} and what [vars] names",
                    step.id,
                    BUILTIN_VARS.join(", ")
                ));
            }
        }
        let waits = |step: &&Step| {
            !matches!(
                step.work,
                Work::Notify { .. } | Work::Fail { .. } | Work::Finish { .. } | Work::When { .. }
            )
        };
        if let Some(step) = self.steps.iter().find(waits).filter(|_| self.max_actions == 0) {
            // It would keep those that act from the pane.
            return Err(format!(
                "{}: with max_actions = 0 a run tells people and waits for nothing",
                step.id
            ));
        }
        let most = self.most_actions();
        if most > self.max_actions {
            return Err(format!("a run can act {most} times, but max_actions = {}", self.max_actions));
        }
        let logins = self.steps.iter().filter(|step| step.work == Work::DeviceLogin).count();
        if logins > 1 {
            return Err(format!("it has {logins} device_login steps: a run enters one code, ever"));
        }
        for step in &self.steps {
            if let Some(acts) = step.on_unknown.and_then(|to| self.acts_unasked(to)) {
                return Err(format!(
                    "{}: on_unknown leads to {acts:?}, which acts, and no `ask` stands in between",
                    step.id
                ));
            }
        }
        Ok(())
    }

    /// Where a run can go from a step: where it was done or may have been, and where it was not.
    fn ways(&self, at: usize) -> (BTreeSet<usize>, BTreeSet<usize>) {
        let Some(step) = self.steps.get(at) else { return Default::default() };
        let mut done: BTreeSet<usize> = step.on_unknown.into_iter().chain(step.work.jumps()).collect();
        if !step.work.ends() {
            done.insert(step.next.unwrap_or(at + 1));
        }
        let gone = self.on_gone.filter(|gone| *gone > at);
        let mut not: BTreeSet<usize> = step.on_failure.into_iter().chain(gone).collect();
        for ways in [&mut done, &mut not] {
            ways.retain(|to| *to < self.steps.len());
        }
        (done, not)
    }

    /// Acting steps on the longest way through.
    fn most_actions(&self) -> u32 {
        let mut most = vec![0_u32; self.steps.len()];
        for at in (0..self.steps.len()).rev() {
            let (done, not) = self.ways(at);
            let longest = |ways: BTreeSet<usize>| ways.into_iter().map(|to| most[to]).max().unwrap_or(0);
            let acts = u32::from(self.steps[at].work.acts());
            most[at] = (longest(done) + acts).max(longest(not));
        }
        most.first().copied().unwrap_or(0)
    }

    /// A step that acts, or enters a code, and can be reached from `at` without a person's answer.
    fn acts_unasked(&self, at: usize) -> Option<&str> {
        let (mut open, mut seen) = (vec![at], BTreeSet::new());
        while let Some(at) = open.pop() {
            let Some(step) = self.steps.get(at).filter(|_| seen.insert(at)) else { continue };
            if step.work.wants_certainty() {
                return Some(&step.id);
            }
            // What follows from an answer is a person's word; what follows from none, or from an event, is not.
            let (done, not) = self.ways(at);
            open.extend(not);
            match &step.work {
                Work::Ask { heard, .. } => open.extend(heard),
                _ => open.extend(done),
            }
        }
        None
    }

    /// Whether a run began with just this. Runs of an older program do not tell their hash: there the version decides.
    pub fn is_of(&self, run: &Run) -> bool {
        let same = run.definition_hash.is_empty() || run.definition_hash == self.hash;
        self.name == run.workflow && self.version == run.version && same
    }

    /// Whether it is for this agent.
    pub fn is_for(&self, agent: Option<&AgentKind>) -> bool {
        self.agents.is_empty() || agent.is_some_and(|agent| self.agents.contains(agent))
    }

    /// Whether a step waits for such an event, or fears it.
    pub fn hears(&self, kind: EventKind) -> bool {
        let named = |name: &str| matches!(name, "session_id" | "resume_command");
        self.steps.iter().any(|step| match &step.work {
            Work::Expect { events, not, .. } => events.contains(&kind) || not.contains(&kind),
            Work::Ask { events, .. } => events.contains(&kind),
            Work::DeviceLogin => SIGN_IN.contains(&kind),
            work if TELL_SESSION.contains(&kind) => {
                work.templates().into_iter().any(|text| text.names().any(named))
            }
            _ => false,
        })
    }

    /// Whether it takes accounts from their pool by itself.
    pub fn leases(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.work, Work::LeaseAccount { login: false }))
    }

    /// Whether what would begin that workflow is this run's own doing, or its own to deal with.
    pub fn absorbs(&self, run: &Run, other: &str) -> bool {
        self.instead_of.iter().any(|name| name == other) && self.merges(run)
    }

    /// Whether this run of it stands at an answer to a dialog: it waits for one, or gives it.
    pub fn answers(&self, run: &Run) -> bool {
        let at_answer =
            || self.steps.get(run.step).is_some_and(|step| matches!(step.work, Work::Choose { .. }));
        run.workflow == self.name && !run.is_over() && at_answer()
    }

    /// Whether one of its runs would do what another trigger asks for.
    pub(crate) fn merges(&self, run: &Run) -> bool {
        run.workflow == self.name
            && match (self.merge_until, &run.status) {
                (_, Status::Ended { .. }) => false,
                (Some(until), Status::Acting { .. }) => run.step < until,
                (Some(until), _) => run.step <= until,
                (None, status) => {
                    run.attempts == 0 && matches!(status, Status::Waiting { .. } | Status::Preparing { .. })
                }
            }
    }
}

fn ids(steps: &[RawStep]) -> Result<Vec<String>, String> {
    let mut ids: Vec<String> = Vec::with_capacity(steps.len());
    for (at, step) in steps.iter().enumerate() {
        let id = step.id.clone().unwrap_or_else(|| format!("step-{}", at + 1));
        if id.is_empty() || !id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')) {
            return Err(format!("step {}: id {id:?} may hold letters, digits, '-' and '_' only", at + 1));
        }
        if ids.contains(&id) {
            return Err(format!("step {}: there is another step with the id {id:?}", at + 1));
        }
        ids.push(id);
    }
    Ok(ids)
}

/// The workflows that come with the program.
pub fn builtin() -> Result<Vec<Definition>, InvalidDefinition> {
    [
        include_str!("../workflows/claude-compaction-reread.toml"),
        include_str!("../workflows/limit-wait.toml"),
        include_str!("../workflows/crash-resume.toml"),
        include_str!("../workflows/approval-notice.toml"),
        include_str!("../workflows/auth-notice.toml"),
        include_str!("../workflows/account-login.toml"),
        include_str!("../workflows/codex-account-switch.toml"),
        include_str!("../workflows/claude-account-switch.toml"),
        include_str!("../workflows/gemini-account-switch.toml"),
        include_str!("../workflows/gemini-model-switch.toml"),
    ]
    .into_iter()
    .map(Definition::parse)
    .collect()
}

#[cfg(test)]
#[path = "definition/tests.rs"]
mod tests;
