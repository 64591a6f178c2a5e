//! Definitions: which event starts a workflow, and its steps. Refused whole when anything in them is wrong.

use jiff::SignedDuration;
use serde::Deserialize;
use wa_proto::{AgentKind, EventKind, Key, PaneState};

/// One workflow, as its TOML file says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    pub name: String,
    #[serde(default)]
    pub description: String,
    pub version: u32,
    /// Only where this agent runs; absent: any.
    pub agent: Option<AgentKind>,
    /// The event that starts a run.
    pub on: EventKind,
    /// Actions that may reach the pane in one run.
    pub max_actions: u32,
    #[serde(rename = "step")]
    pub steps: Vec<Step>,
}

/// One step. `timeout` bounds the whole step, retries included.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// Goes on once the pane is in one of the states.
    WaitUntil { states: Vec<PaneState>, timeout: SignedDuration },
    /// Pastes the text, presses Enter and verifies.
    Type { text: String, timeout: SignedDuration },
    /// Presses keys.
    Keys { keys: Vec<String>, timeout: SignedDuration },
}

impl Step {
    pub fn timeout(&self) -> SignedDuration {
        match self {
            Self::WaitUntil { timeout, .. } | Self::Type { timeout, .. } | Self::Keys { timeout, .. } => {
                *timeout
            }
        }
    }
}

/// What is wrong with a definition, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDefinition {
    #[error("workflow file: {path}: {problem}")]
    Syntax { path: String, problem: String },
    #[error("workflow {name:?}: {problem}")]
    Content { name: String, problem: String },
}

impl Definition {
    /// Reads and checks one TOML file.
    pub fn parse(text: &str) -> Result<Self, InvalidDefinition> {
        let reader = toml::Deserializer::parse(text)
            .map_err(|e| InvalidDefinition::Syntax { path: "(syntax)".into(), problem: e.to_string() })?;
        let definition: Self = serde_path_to_error::deserialize(reader).map_err(|e| {
            InvalidDefinition::Syntax { path: e.path().to_string(), problem: e.inner().message().to_owned() }
        })?;
        definition.check()?;
        Ok(definition)
    }

    fn check(&self) -> Result<(), InvalidDefinition> {
        let fail = |problem: String| Err(InvalidDefinition::Content { name: self.name.clone(), problem });
        if self.name.is_empty() || !self.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            return fail("name may hold letters, digits and '-' only".into());
        }
        if self.steps.is_empty() {
            return fail("it has no step".into());
        }
        for (at, step) in self.steps.iter().enumerate() {
            let number = at + 1;
            if step.timeout() <= SignedDuration::ZERO {
                return fail(format!("step {number}: timeout must be longer than zero"));
            }
            match step {
                Step::WaitUntil { states, .. } if states.is_empty() => {
                    return fail(format!("step {number}: states is empty"));
                }
                Step::Type { text, .. } => {
                    if let Some(c) = text.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
                        return fail(format!("step {number}: text holds the control character {c:?}"));
                    }
                    if text.is_empty() {
                        return fail(format!("step {number}: text is empty"));
                    }
                }
                Step::Keys { keys, .. } => {
                    if keys.is_empty() {
                        return fail(format!("step {number}: keys is empty"));
                    }
                    for key in keys {
                        if let Err(unknown) = key.parse::<Key>() {
                            return fail(format!("step {number}: {unknown}"));
                        }
                    }
                }
                Step::WaitUntil { .. } => {}
            }
        }
        let acting = self.steps.iter().filter(|step| !matches!(step, Step::WaitUntil { .. })).count();
        if acting > self.max_actions as usize {
            return fail(format!("it has {acting} acting steps but max_actions = {}", self.max_actions));
        }
        Ok(())
    }
}

/// The workflows that come with the program.
pub fn builtin() -> Result<Vec<Definition>, InvalidDefinition> {
    [include_str!("../workflows/claude-compaction-reread.toml")].into_iter().map(Definition::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        name = "w"
        version = 1
        on = "context.compacted"
        max_actions = 1
        [[step]]
        do = "type"
        text = "hello"
        timeout = "5s"
    "#;

    #[test]
    fn the_built_in_ones_load() {
        assert!(!builtin().unwrap().is_empty());
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        assert!(Definition::parse(GOOD).is_ok());
        let cases = [
            ("on = \"context.compacted\"", "on = \"context.gone\"", "context.gone"),
            ("do = \"type\"", "do = \"shout\"", "shout"),
            ("timeout = \"5s\"", "timeout = \"0s\"", "longer than zero"),
            ("timeout = \"5s\"", "timeout = \"5s\"\nretries = 3", "retries"),
            ("text = \"hello\"", "text = \"a\\u001b\"", "control character"),
            ("max_actions = 1", "max_actions = 0", "acting steps"),
            ("name = \"w\"", "name = \"a b\"", "letters"),
            ("[[step]]", "[[steppe]]", "steppe"),
        ];
        for (from, to, expect) in cases {
            let error = Definition::parse(&GOOD.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(expect), "{to}: {error}");
        }
    }
}
