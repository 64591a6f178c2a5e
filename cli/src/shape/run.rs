//! `wa.run_list/1`, `wa.run_explain/1`: one run of a workflow, and what happened to it.

use serde::Serialize;
use wa_proto::Timestamp;
use wa_proto::wire::{Invalid, v1};

use super::{address, age, instant, known, need, or_dash, state_style};
use crate::output::table::{Cell, Column, column};
use crate::output::{Look, Shape};

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct RunItem {
    pub(crate) run: String,
    pub(crate) workflow: String,
    pub(crate) pane: Option<String>,
    generation: Option<String>,
    pub(crate) state: String,
    pub(crate) reason: Option<String>,
    started: Option<Timestamp>,
    ended: Option<Timestamp>,
    step: Option<String>,
    actions_done: u32,
}

impl TryFrom<v1::Run> for RunItem {
    type Error = Invalid;
    fn try_from(run: v1::Run) -> Result<Self, Invalid> {
        let pane = run.pane.as_ref().map(|pane| address(&run.host, pane)).transpose()?;
        Ok(Self {
            run: run.run_id,
            workflow: run.workflow,
            pane: pane.map(|pane| pane.to_string()),
            generation: run.pane.map(|pane| pane.generation),
            state: run.state,
            reason: known(run.reason),
            started: instant("run.started_us", run.started_us)?,
            ended: instant("run.ended_us", run.ended_us)?,
            step: known(run.step),
            actions_done: run.actions_done,
        })
    }
}

impl Shape for RunItem {
    const SCHEMA: &'static str = "wa.run_list/1";

    fn name(&self) -> String {
        self.run.clone()
    }

    fn columns(_: bool) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            column("RUN", 36),
            column("WORKFLOW", 12),
            column("PANE", 12),
            column("STATE", 9),
            column("STEP", 8),
            column("AGE", 4),
            column("REASON", 6),
        ];
        COLUMNS
    }

    fn row(&self, look: &Look) -> Vec<Cell> {
        vec![
            Cell::plain(&self.run),
            Cell::plain(&self.workflow),
            Cell::plain(or_dash(self.pane.as_deref())),
            Cell::styled(&self.state, state_style(&self.state)),
            Cell::plain(or_dash(self.step.as_deref())),
            Cell::plain(&age(look.now, self.started)),
            Cell::plain(or_dash(self.reason.as_deref())),
        ]
    }
}

/// A run with what it was stepped with.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RunShown {
    #[serde(flatten)]
    pub(crate) run: RunItem,
    pub(crate) inputs: Vec<RunInput>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct RunInput {
    time: Option<Timestamp>,
    input: serde_json::Value,
    /// Where it led.
    step: Option<String>,
    state: String,
}

impl TryFrom<v1::GetRunResponse> for RunShown {
    type Error = Invalid;
    fn try_from(shown: v1::GetRunResponse) -> Result<Self, Invalid> {
        let run = need("run", shown.run)?.try_into()?;
        let input = |one: v1::RunInput| {
            Ok(RunInput {
                time: instant("input.time_us", one.time_us)?,
                // What is no JSON is shown as the text that it is.
                input: serde_json::from_str(&one.input).unwrap_or(serde_json::Value::String(one.input)),
                step: known(one.step),
                state: one.state,
            })
        };
        Ok(Self { run, inputs: shown.inputs.into_iter().map(input).collect::<Result<_, Invalid>>()? })
    }
}

impl Shape for RunShown {
    const SCHEMA: &'static str = "wa.run_explain/1";

    fn name(&self) -> String {
        self.run.name()
    }

    fn columns(wide: bool) -> &'static [Column] {
        RunItem::columns(wide)
    }

    fn row(&self, look: &Look) -> Vec<Cell> {
        self.run.row(look)
    }
}

/// `pane: state working, agent codex`: what is known of an input, nothing of what is not.
fn in_words(input: &serde_json::Value) -> String {
    use serde_json::Value;
    let Value::Object(fields) = input else { return plain(input).unwrap_or_default() };
    let mut words = Vec::new();
    for (name, value) in fields.iter().filter(|(name, _)| *name != "input") {
        match value {
            Value::Object(inner) => words
                .extend(inner.iter().filter_map(|(name, value)| Some(format!("{name} {}", plain(value)?)))),
            other => words.extend(plain(other).map(|text| format!("{name} {text}"))),
        }
    }
    let kind = input["input"].as_str().unwrap_or("input");
    if words.is_empty() { kind.to_owned() } else { format!("{kind}: {}", words.join(", ")) }
}

/// `None`: it says nothing.
fn plain(value: &serde_json::Value) -> Option<String> {
    use serde_json::Value;
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Number(number) if number.as_f64() == Some(0.0) => None,
        Value::Array(items) if items.is_empty() => None,
        Value::Object(fields) if fields.is_empty() => None,
        other => Some(other.to_string()),
    }
}

impl Shape for RunInput {
    const SCHEMA: &'static str = "wa.run_inputs/1";

    fn name(&self) -> String {
        self.input["input"].as_str().unwrap_or("-").to_owned()
    }

    fn columns(_: bool) -> &'static [Column] {
        const COLUMNS: &[Column] =
            &[column("TIME", 20), column("INPUT", 20), column("STATE", 9), column("STEP", 8)];
        COLUMNS
    }

    fn row(&self, _: &Look) -> Vec<Cell> {
        let time = self.time.map_or_else(|| "-".to_owned(), super::clock);
        vec![
            Cell::plain(&time),
            Cell::plain(&in_words(&self.input)),
            Cell::styled(&self.state, state_style(&self.state)),
            Cell::plain(or_dash(self.step.as_deref())),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_is_told_in_words() {
        let told = |text: &str| in_words(&serde_json::from_str(text).unwrap());
        let pane = r#"{"agent":null,"agent_pid":0,"input":"pane","state":"unknown","until":null}"#;
        assert_eq!(told(pane), "pane: state unknown");
        let event = r#"{"input":"event","kind":"limit.reached","fields":{"window":"5h","reset_time":""}}"#;
        assert_eq!(told(event), "event: window 5h, kind limit.reached");
        assert_eq!(told(r#"{"input":"timer"}"#), "timer");
        assert_eq!(told(r#""what is no JSON""#), "what is no JSON");
    }
}
