//! `wa.explanation/1`: why a pane or a saved screen is in its state.

use serde::Serialize;
use wa_match::{Explanation, RuleTrace};
use wa_proto::PaneAddress;
use wa_proto::wire::{Invalid, v1};

use anstyle::AnsiColor;

use crate::output::table::{Cell, Column, column};
use crate::output::{Look, Shape};
use crate::shape::pane::Detail;
use crate::shape::{known, need, or_dash};

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Explained {
    schema: &'static str,
    /// Null for a saved screen.
    pane: Option<String>,
    file: Option<String>,
    agent: Option<String>,
    agent_version: Option<String>,
    state: String,
    state_detail: Detail,
    pub(crate) rules: Vec<Trace>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Trace {
    rule: String,
    pack: String,
    event: String,
    /// `fired`, `held`, `shadowed` or `nearly`.
    verdict: String,
    region: String,
    /// From 1: row of the screen, or line of the file; null where it stands nowhere.
    row: Option<u64>,
    line: Option<String>,
    witnesses: Vec<String>,
    missing: Vec<String>,
}

impl Explained {
    pub(crate) fn of_pane(pane: &PaneAddress, answer: v1::ExplainPaneResponse) -> Result<Self, Invalid> {
        let explanation = need("explanation", answer.explanation)?;
        let trace = |trace: v1::RuleTrace| Trace {
            rule: trace.rule,
            pack: trace.pack,
            event: trace.event,
            verdict: trace.verdict,
            region: trace.region,
            row: Some(u64::from(trace.row)).filter(|row| *row > 0),
            line: known(trace.line),
            witnesses: trace.witnesses,
            missing: trace.missing,
        };
        Ok(Self {
            schema: Trace::SCHEMA,
            pane: Some(pane.to_string()),
            file: None,
            agent: known(explanation.agent),
            agent_version: known(explanation.agent_version),
            state: explanation.state,
            state_detail: explanation.detail.unwrap_or_default().try_into()?,
            rules: explanation.rules.into_iter().map(trace).collect(),
        })
    }

    /// `above`: lines of the file above the screen.
    pub(crate) fn of_file(file: &str, explanation: Explanation, above: usize) -> Result<Self, Invalid> {
        let trace = |trace: RuleTrace| Trace {
            rule: trace.rule,
            pack: trace.pack,
            event: trace.event.as_str().to_owned(),
            verdict: trace.verdict.as_str().to_owned(),
            region: trace.region.to_owned(),
            row: trace.row.and_then(|row| u64::try_from(above + row + 1).ok()),
            line: known(trace.line),
            witnesses: trace.witnesses.iter().map(|witness| witness.as_str().to_owned()).collect(),
            missing: trace.missing,
        };
        Ok(Self {
            schema: Trace::SCHEMA,
            pane: None,
            file: Some(file.to_owned()),
            agent: explanation.agent.map(|agent| agent.as_str().to_owned()),
            agent_version: known(explanation.version),
            state: explanation.state.as_str().to_owned(),
            state_detail: v1::StateDetail::from(explanation.detail).try_into()?,
            rules: explanation.rules.into_iter().map(trace).collect(),
        })
    }

    /// State and reason on one line.
    pub(crate) fn words(&self) -> String {
        let place = self.pane.as_ref().or(self.file.as_ref()).map_or("-", String::as_str);
        let agent = match (self.agent.as_deref(), self.agent_version.as_deref()) {
            (None, _) => "no agent".to_owned(),
            (Some(agent), None) => agent.to_owned(),
            (Some(agent), Some(version)) => format!("{agent} {version}"),
        };
        let why = self.state_detail.why.as_deref().unwrap_or("no reason given");
        let detail = self.state_detail.words();
        let detail = if detail == why || detail == "-" { String::new() } else { format!(" ({detail})") };
        format!("{place}: {agent}, {}{detail}: {why}", self.state)
    }
}

impl Shape for Trace {
    const SCHEMA: &'static str = "wa.explanation/1";

    fn name(&self) -> String {
        self.rule.clone()
    }

    fn columns(wide: bool) -> &'static [Column] {
        const TABLE: &[Column] = &[
            column("VERDICT", 8),
            column("RULE", 24),
            column("ROW", 3),
            column("LINE", 4),
            column("MISSING", 7),
        ];
        const WIDE: &[Column] = &[
            column("VERDICT", 8),
            column("EVENT", 18),
            column("RULE", 24),
            column("PACK", 6),
            column("REGION", 10),
            column("WITNESSES", 9),
            column("ROW", 3),
            column("LINE", 4),
            column("MISSING", 7),
        ];
        if wide { WIDE } else { TABLE }
    }

    fn row(&self, look: &Look) -> Vec<Cell> {
        const LINE: usize = 48;
        let verdict = match self.verdict.as_str() {
            "fired" => Cell::styled(&self.verdict, AnsiColor::Green.on_default()),
            _ => Cell::plain(&self.verdict),
        };
        let line = self.line.as_deref().unwrap_or("-").trim();
        let line = match line.char_indices().nth(LINE) {
            Some((end, _)) if !look.wide() => format!("{}…", &line[..end]),
            _ => line.to_owned(),
        };
        let row = self.row.map_or_else(|| "-".to_owned(), |row| row.to_string());
        let missing = if self.missing.is_empty() { "-".to_owned() } else { self.missing.join("; ") };
        let (rule, row, line, missing) =
            (Cell::plain(&self.rule), Cell::plain(&row), Cell::plain(&line), Cell::plain(&missing));
        if !look.wide() {
            return vec![verdict, rule, row, line, missing];
        }
        let witnesses = self.witnesses.join(",");
        let (event, pack) = (Cell::plain(&self.event), Cell::plain(&self.pack));
        let (region, witnesses) =
            (Cell::plain(&self.region), Cell::plain(or_dash(known(witnesses).as_deref())));
        vec![verdict, event, rule, pack, region, witnesses, row, line, missing]
    }
}
