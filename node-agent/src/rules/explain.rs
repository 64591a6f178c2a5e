//! Why a pane is in its state, as it may leave the node.
//!
//! Constraints: state and detail are those that every other surface shows; no line leaves that the redactor has not seen
//! with everything that stands around it, for what makes a secret one may stand a row above. So a line of a trace goes out
//! as the rule read it only where the redactor leaves the rows there as they are; else the row does, redacted.

use std::sync::Arc;

use wa_match::{Redactor, RuleTrace};
use wa_proto::wire::v1;
use wa_proto::{Frame, PaneRef, PaneState, StateDetail};

/// Of a line or a missing thing, in bytes.
const MAX_TEXT: usize = 1 << 10;
/// Rows that one match may reach over.
const MATCH_ROWS: usize = 16;

/// One look at a pane, rule by rule. Not redacted, but for the detail.
#[derive(Debug)]
pub struct Explained {
    pub(crate) pane: PaneRef,
    pub(crate) frame: Arc<Frame>,
    /// As the board shows it.
    pub(crate) state: PaneState,
    pub(crate) detail: StateDetail,
    pub(crate) explanation: wa_match::Explanation,
}

impl Explained {
    /// As it may leave the node.
    pub(crate) fn redacted(self, redactor: &Redactor) -> v1::Explanation {
        let frame = redactor.redact_frame(&self.frame);
        let trace = |trace: RuleTrace| self::trace(trace, &self.frame, &frame, redactor);
        let explanation = self.explanation;
        v1::Explanation {
            agent: explanation.agent.map(|agent| agent.as_str().to_owned()).unwrap_or_default(),
            agent_version: explanation.version,
            state: self.state.as_str().to_owned(),
            detail: Some(self.detail.into()),
            rules: explanation.rules.into_iter().map(trace).collect(),
        }
    }
}

fn trace(trace: RuleTrace, raw: &Frame, redacted: &Frame, redactor: &Redactor) -> v1::RuleTrace {
    let clean = |text: &str| {
        let text = redactor.redact(text);
        text[..text.floor_char_boundary(MAX_TEXT)].to_owned()
    };
    let line = match trace.row {
        Some(row) if !same_rows(raw, redacted, row) => {
            redacted.rows.get(row).map(|row| clean(row.text.trim())).unwrap_or_default()
        }
        _ => clean(&trace.line),
    };
    let row = trace.row.and_then(|row| u32::try_from(row.saturating_add(1)).ok());
    v1::RuleTrace {
        rule: trace.rule,
        pack: trace.pack,
        event: trace.event.as_str().to_owned(),
        verdict: trace.verdict.as_str().to_owned(),
        region: trace.region.to_owned(),
        row: row.unwrap_or(0),
        line,
        witnesses: trace.witnesses.iter().map(|witness| witness.as_str().to_owned()).collect(),
        missing: trace.missing.iter().map(|missing| clean(missing)).collect(),
    }
}

/// Whether nothing was taken out where a match that begins in this row may stand.
fn same_rows(raw: &Frame, redacted: &Frame, row: usize) -> bool {
    let rows = row.saturating_sub(1)..row.saturating_add(MATCH_ROWS);
    rows.into_iter()
        .all(|at| raw.rows.get(at).map(|row| &row.text) == redacted.rows.get(at).map(|row| &row.text))
}
