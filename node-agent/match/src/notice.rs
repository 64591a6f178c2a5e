//! What a session file says in words of an error, a warning or a notice, read by the rules that read the screen.
//!
//! Constraints. One wording lives in one place, the packs. What a record says by its structure (that it is an error, its
//! code, percentages, the instant of a reset) is not read from words, and no words gainsay it. Messages of a conversation
//! are never notices, whatever they quote: that is for the parser to tell, by the kind of the record.
//!
//! Operation. The parser draws the words as the agent draws them on its screen, sign and all; the rules that read records
//! are tried at their beginning. What the record is by its structure decides among them. An error that no rule knows is
//! told as one; a notice that no rule knows is nothing.

use std::collections::BTreeMap;

use wa_proto::{AgentKind, EventKind, Timestamp, Witness};

use crate::resets;
use crate::rules::{Engine, Excerpt, Hit};
use crate::testimony::Testimony;

/// One record of an error, a warning or a notice, just written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The record's own name: the same again is the same thing. Empty where it gives none.
    pub key: String,
    /// As the agent draws it: `■ You've hit your usage limit. …`. Not redacted.
    pub text: String,
    /// What it is by its structure; `None`: its words must tell.
    pub kind: Option<EventKind>,
    /// Something failed.
    pub failed: bool,
    /// What its structure says, by the names of the rules' fields.
    pub fields: BTreeMap<String, String>,
    pub at: Timestamp,
}

/// What rules make of a notice.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) testimony: Option<Testimony>,
    /// What rules in shadow find.
    pub(crate) shadowed: Vec<Hit>,
}

impl Notice {
    pub(crate) fn read(&self, engine: &Engine, agent: &AgentKind, version: &str) -> Read {
        let excerpt = Excerpt::record(&self.text, agent, version);
        let (shadowed, hits): (Vec<Hit>, Vec<Hit>) = engine
            .hits(&excerpt.scene())
            .into_iter()
            .partition(|hit| engine.rule(hit.rule).is_some_and(|rule| rule.shadow));
        let hit = hits.into_iter().find(|hit| self.kind.is_none_or(|kind| kind == hit.event));
        let known = self.kind.or(hit.as_ref().map(|hit| hit.event));
        let Some(kind) = known.or(self.failed.then_some(EventKind::ErrorApi)) else {
            return Read { testimony: None, shadowed };
        };
        let mut fields = self.fields.clone();
        let rule = hit.as_ref().and_then(|hit| engine.rule(hit.rule));
        let rule = rule.map(|rule| rule.id.to_string()).unwrap_or_default();
        let first = excerpt.text(0);
        let line = hit.as_ref().map_or(first, |hit| hit.line.as_str()).to_owned();
        for (name, value) in hit.into_iter().flat_map(|hit| hit.fields) {
            fields.entry(name).or_insert(value);
        }
        if let Some(instant) = resets::epoch(&fields) {
            fields.entry("reset_time".to_owned()).or_insert(instant.to_string());
        }
        // Where the words name no time, the instant stands for them.
        if let Some(instant) = fields.get("reset_time").cloned() {
            fields.entry("reset_at".to_owned()).or_insert(instant);
        }
        let (key, witness, at) = (self.key.clone(), Witness::SessionFile, self.at);
        Read { testimony: Some(Testimony { kind, witness, key, rule, fields, line, at }), shadowed }
    }
}
