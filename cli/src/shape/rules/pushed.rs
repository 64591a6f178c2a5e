//! `wa.rules_push/1`: what became of a push.

use serde::Serialize;
use wa_proto::wire::v1;

use super::outcome_style;
use crate::failure::Exit;
use crate::output::table::{Cell, Column, column};
use crate::output::{Look, Shape};
use crate::shape::{known, or_dash};

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Pushed {
    schema: &'static str,
    /// Of the set that is wanted now or, with `--dry-run`, would be; null when nothing is.
    revision: Option<String>,
    dry_run: bool,
    pub(crate) nodes: Vec<NodeOutcome>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct NodeOutcome {
    host: String,
    /// `applied`, `refused`, `pending` or `unreachable`.
    outcome: String,
    reason: Option<String>,
}

impl Pushed {
    pub(crate) fn of(answer: v1::PushRulesResponse, dry_run: bool) -> Self {
        let node = |node: v1::NodeRules| NodeOutcome {
            host: node.host,
            outcome: node.outcome,
            reason: known(node.reason),
        };
        Self {
            schema: NodeOutcome::SCHEMA,
            revision: known(answer.revision),
            dry_run,
            nodes: answer.nodes.into_iter().map(node).collect(),
        }
    }

    pub(crate) fn exit(&self) -> Exit {
        let count = |word: &str| self.nodes.iter().filter(|node| node.outcome == word).count();
        if count("applied") == self.nodes.len() {
            Exit::Done
        } else if count("refused") == self.nodes.len() {
            Exit::Failed
        } else {
            Exit::Partly
        }
    }
}

impl Shape for NodeOutcome {
    const SCHEMA: &'static str = "wa.rules_push/1";

    fn name(&self) -> String {
        self.host.clone()
    }

    fn columns(_: bool) -> &'static [Column] {
        const COLUMNS: &[Column] = &[column("HOST", 12), column("OUTCOME", 11), column("REASON", 6)];
        COLUMNS
    }

    fn row(&self, _: &Look) -> Vec<Cell> {
        vec![
            Cell::plain(&self.host),
            Cell::styled(&self.outcome, outcome_style(&self.outcome)),
            Cell::plain(or_dash(self.reason.as_deref())),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_speaks_of_the_nodes() {
        for (outcomes, exit) in [
            (&[][..], Exit::Done),
            (&["applied", "applied"], Exit::Done),
            (&["applied", "refused"], Exit::Partly),
            (&["applied", "unreachable"], Exit::Partly),
            (&["refused", "pending"], Exit::Partly),
            (&["unreachable"], Exit::Partly),
            (&["refused", "refused"], Exit::Failed),
        ] {
            let node = |outcome: &&str| v1::NodeRules { outcome: (*outcome).into(), ..Default::default() };
            let answer =
                v1::PushRulesResponse { revision: "r".into(), nodes: outcomes.iter().map(node).collect() };
            assert_eq!(Pushed::of(answer, false).exit(), exit, "{outcomes:?}");
        }
    }
}
