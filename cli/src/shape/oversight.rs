//! `wa.audit/1`, `wa.audit_check/1`, `wa.approvals/1`, `wa.policy_test/1`: who did what, what waits for a person, and
//! what the policy says.

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use wa_proto::wire::{Invalid, v1};
use wa_proto::{PaneAddress, Timestamp};

use super::{age, clock, exit_of, instant, known, or_dash};
use crate::failure::Exit;
use crate::output::table::{Cell, Column, column};
use crate::output::{Look, Shape};

/// One row of the audit trail.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct AuditItem {
    n: u64,
    time: Option<Timestamp>,
    who: String,
    what: String,
    target: Option<String>,
    decision: String,
    detail: Option<String>,
    /// Over the row and the hash of the row before it, in hex; null from a controller that does not tell it.
    hash: Option<String>,
}

impl TryFrom<v1::AuditEntry> for AuditItem {
    type Error = Invalid;
    fn try_from(entry: v1::AuditEntry) -> Result<Self, Invalid> {
        Ok(Self {
            n: entry.n,
            time: instant("audit.time_us", entry.time_us)?,
            who: entry.who,
            what: entry.what,
            target: known(entry.target),
            decision: entry.decision,
            detail: known(entry.detail),
            hash: known(entry.hash),
        })
    }
}

/// Colours of what was decided.
fn decision_style(decision: &str) -> Style {
    match decision {
        "deny" | "denied" | "refused" => AnsiColor::Red.on_default(),
        "ask" | "held" | "open" | "expired" => AnsiColor::Yellow.on_default(),
        "allow" | "allowed" | "used" => AnsiColor::Green.on_default(),
        _ => Style::new(),
    }
}

impl Shape for AuditItem {
    const SCHEMA: &'static str = "wa.audit/1";
    const CUT: bool = true;

    fn name(&self) -> String {
        self.n.to_string()
    }

    fn columns(_: bool) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            column("N", 6),
            column("TIME", 20),
            column("WHO", 16),
            column("WHAT", 10),
            column("TARGET", 12),
            column("DECISION", 8),
            column("DETAIL", 6),
        ];
        COLUMNS
    }

    fn row(&self, _: &Look) -> Vec<Cell> {
        vec![
            Cell::plain(&self.n.to_string()),
            Cell::plain(&self.time.map_or_else(|| "-".to_owned(), clock)),
            Cell::plain(&self.who),
            Cell::plain(&self.what),
            Cell::plain(or_dash(self.target.as_deref())),
            Cell::styled(&self.decision, decision_style(&self.decision)),
            Cell::plain(or_dash(self.detail.as_deref())),
        ]
    }
}

/// Whether the chain of hashes holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct AuditCheck {
    ok: bool,
    rows: u64,
    /// Hash of the last row, in hex; null where there is none.
    head: Option<String>,
    /// Number and hash of the last row: what is kept elsewhere, for `--head`.
    keep: Option<String>,
    /// The first row that does not follow from the one before.
    broken_at: Option<u64>,
    problem: Option<String>,
}

impl From<v1::VerifyAuditResponse> for AuditCheck {
    fn from(answer: v1::VerifyAuditResponse) -> Self {
        Self {
            // A problem without a row is one as well.
            ok: answer.broken_at == 0 && answer.problem.is_empty(),
            rows: answer.rows,
            keep: known(answer.head.clone()).map(|head| format!("{}:{head}", answer.rows)),
            head: known(answer.head),
            broken_at: Some(answer.broken_at).filter(|row| *row > 0),
            problem: known(answer.problem),
        }
    }
}

impl AuditCheck {
    pub(crate) fn exit(&self) -> Exit {
        if self.ok { Exit::Done } else { Exit::Failed }
    }

    /// What is wrong, in words.
    pub(crate) fn problem(&self) -> Option<String> {
        let why = self.problem.as_deref().unwrap_or("it does not follow from the one before");
        match (self.ok, self.broken_at) {
            (true, _) => None,
            (false, Some(row)) => Some(format!("the audit trail is broken at row {row}: {why}")),
            (false, None) => Some(format!("the audit trail is broken: {why}")),
        }
    }
}

impl Shape for AuditCheck {
    const SCHEMA: &'static str = "wa.audit_check/1";

    fn name(&self) -> String {
        self.keep.clone().unwrap_or_default()
    }

    fn columns(_: bool) -> &'static [Column] {
        const COLUMNS: &[Column] = &[column("ROWS", 6), column("HOLDS", 5), column("HEAD", 66)];
        COLUMNS
    }

    fn row(&self, _: &Look) -> Vec<Cell> {
        let holds = match self.broken_at {
            None if self.ok => Cell::styled("yes", AnsiColor::Green.on_default()),
            None => Cell::styled("no", AnsiColor::Red.on_default()),
            Some(row) => Cell::styled(&format!("no: row {row}"), AnsiColor::Red.on_default()),
        };
        vec![Cell::plain(&self.rows.to_string()), holds, Cell::plain(or_dash(self.keep.as_deref()))]
    }
}

/// An action that the policy holds, or held, until a person has looked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ApprovalItem {
    id: String,
    time: Option<Timestamp>,
    pane: Option<String>,
    who: String,
    verb: String,
    /// Redacted and cut.
    text: Option<String>,
    rule: Option<String>,
    until: Option<Timestamp>,
    state: String,
    answered_by: Option<String>,
    /// Of the action, once it is known.
    outcome: Option<String>,
    /// Why it lapsed, or the reason of the outcome.
    reason: Option<String>,
}

impl TryFrom<v1::Approval> for ApprovalItem {
    type Error = Invalid;
    fn try_from(approval: v1::Approval) -> Result<Self, Invalid> {
        let pane = approval.pane.map(PaneAddress::try_from).transpose()?;
        Ok(Self {
            id: approval.id,
            time: instant("approval.time_us", approval.time_us)?,
            pane: pane.map(|pane| pane.to_string()),
            who: approval.who,
            verb: approval.verb,
            text: known(approval.text),
            rule: known(approval.rule),
            until: instant("approval.until_us", approval.until_us)?,
            state: approval.state,
            answered_by: known(approval.answered_by),
            outcome: known(approval.outcome),
            reason: known(approval.reason),
        })
    }
}

impl ApprovalItem {
    pub(crate) fn is(&self, id: &str) -> bool {
        self.id == id
    }

    /// As what was answered: a denial that stands is done; of what was allowed the action's outcome counts, which may not
    /// be known yet.
    pub(crate) fn exit(&self, allow: bool) -> Exit {
        match (self.state.as_str(), &self.outcome) {
            ("denied", _) if !allow => Exit::Done,
            ("used", Some(outcome)) if allow => exit_of(outcome),
            ("allowed" | "used", None) if allow => Exit::TimedOut,
            _ => Exit::Refused,
        }
    }

    /// How it stands, in words.
    pub(crate) fn words(&self) -> String {
        let state = match (self.state.as_str(), &self.outcome) {
            ("allowed", None) => "allowed, and its outcome is not known yet".to_owned(),
            (state, None) => state.to_owned(),
            (_, Some(outcome)) => outcome.clone(),
        };
        match &self.reason {
            Some(reason) => format!("{}: {state}: {reason}", self.id),
            None => format!("{}: {state}", self.id),
        }
    }
}

impl Shape for ApprovalItem {
    const SCHEMA: &'static str = "wa.approvals/1";

    fn name(&self) -> String {
        self.id.clone()
    }

    fn columns(wide: bool) -> &'static [Column] {
        const TABLE: &[Column] = &[
            column("ID", 12),
            column("AGE", 4),
            column("STATE", 7),
            column("UNTIL", 20),
            column("PANE", 12),
            column("WHO", 14),
            column("VERB", 5),
            column("TEXT", 4),
        ];
        const WIDE: &[Column] = &[
            column("ID", 12),
            column("AGE", 4),
            column("STATE", 7),
            column("UNTIL", 20),
            column("PANE", 12),
            column("WHO", 14),
            column("VERB", 5),
            column("RULE", 8),
            column("ANSWERED BY", 11),
            column("OUTCOME", 9),
            column("REASON", 6),
            column("TEXT", 4),
        ];
        if wide { WIDE } else { TABLE }
    }

    fn row(&self, look: &Look) -> Vec<Cell> {
        let mut row = vec![
            Cell::plain(&self.id),
            Cell::plain(&age(look.now, self.time)),
            Cell::styled(&self.state, decision_style(&self.state)),
            Cell::plain(&self.until.map_or_else(|| "-".to_owned(), clock)),
            Cell::plain(or_dash(self.pane.as_deref())),
            Cell::plain(&self.who),
            Cell::plain(&self.verb),
        ];
        if look.wide() {
            row.push(Cell::plain(or_dash(self.rule.as_deref())));
            row.push(Cell::plain(or_dash(self.answered_by.as_deref())));
            row.push(Cell::plain(or_dash(self.outcome.as_deref())));
            row.push(Cell::plain(or_dash(self.reason.as_deref())));
        }
        row.push(Cell::plain(or_dash(self.text.as_deref())));
        row
    }
}

/// What the policy says to an action.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct PolicyAnswer {
    decision: String,
    rule: Option<String>,
    reason: Option<String>,
    /// Why the file on disk is not what has answered.
    pub(crate) file_problem: Option<String>,
}

impl From<v1::TestPolicyResponse> for PolicyAnswer {
    fn from(answer: v1::TestPolicyResponse) -> Self {
        Self {
            decision: answer.decision,
            rule: known(answer.rule),
            reason: known(answer.reason),
            file_problem: known(answer.file_problem),
        }
    }
}

impl PolicyAnswer {
    /// A word that this version does not know is no allowance.
    pub(crate) fn exit(&self) -> Exit {
        if self.decision == "allow" { Exit::Done } else { Exit::Refused }
    }
}

impl Shape for PolicyAnswer {
    const SCHEMA: &'static str = "wa.policy_test/1";

    fn name(&self) -> String {
        self.decision.clone()
    }

    fn columns(_: bool) -> &'static [Column] {
        const COLUMNS: &[Column] = &[column("DECISION", 8), column("RULE", 8), column("REASON", 6)];
        COLUMNS
    }

    fn row(&self, _: &Look) -> Vec<Cell> {
        vec![
            Cell::styled(&self.decision, decision_style(&self.decision)),
            Cell::plain(or_dash(self.rule.as_deref())),
            Cell::plain(or_dash(self.reason.as_deref())),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Format, testing};

    fn printed<T: Shape>(format: Format, item: &T) -> String {
        let (mut out, sink) = testing::out(format);
        out.one(item).unwrap();
        sink.text()
    }

    #[test]
    fn a_row_of_the_trail_is_as_on_the_page() {
        let entry = v1::AuditEntry {
            n: 7,
            time_us: 1_788_264_000_000_000,
            who: "operator:anna".into(),
            what: "send".into(),
            target: "web-1/3".into(),
            decision: "allow".into(),
            detail: String::new(),
            hash: "0f".into(),
        };
        let item = AuditItem::try_from(entry).unwrap();
        assert_eq!(
            printed(Format::Jsonl, &item),
            concat!(
                r#"{"schema":"wa.audit/1","n":7,"time":"2026-09-01T12:00:00Z","who":"operator:anna","what":"send","#,
                r#""target":"web-1/3","decision":"allow","detail":null,"hash":"0f"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn a_broken_chain_is_no_success() {
        let check = |broken_at, problem: &str| {
            AuditCheck::from(v1::VerifyAuditResponse {
                rows: 9,
                head: "ab".into(),
                broken_at,
                problem: problem.into(),
                compared_row: 0,
            })
        };
        assert_eq!((check(0, "").exit(), check(0, "").problem()), (Exit::Done, None));
        let broken = check(4, "its hash is another");
        assert_eq!(broken.exit(), Exit::Failed);
        assert_eq!(broken.problem().unwrap(), "the audit trail is broken at row 4: its hash is another");
        assert!(printed(Format::Table, &broken).contains("no: row 4"));
        // A row without a number is no good chain either.
        assert_eq!(check(0, "the head is not the one that was kept").exit(), Exit::Failed);
    }

    #[test]
    fn an_answer_ends_as_what_was_answered() {
        let item = |state: &str, outcome: &str| {
            let approval = v1::Approval {
                id: "approval-7".into(),
                state: state.into(),
                outcome: outcome.into(),
                reason: "why".into(),
                ..Default::default()
            };
            ApprovalItem::try_from(approval).unwrap()
        };
        for (state, outcome, allow, exit) in [
            ("used", "submitted", true, Exit::Done),
            ("used", "refused", true, Exit::Refused),
            ("used", "unknown", true, Exit::TimedOut),
            ("used", "", true, Exit::TimedOut),
            ("allowed", "", true, Exit::TimedOut),
            ("expired", "", true, Exit::Refused),
            ("denied", "", true, Exit::Refused),
            ("denied", "", false, Exit::Done),
            ("used", "submitted", false, Exit::Refused),
            ("something new", "", true, Exit::Refused),
        ] {
            assert_eq!(item(state, outcome).exit(allow), exit, "{state} {outcome} {allow}");
        }
        assert_eq!(item("allowed", "").words(), "approval-7: allowed, and its outcome is not known yet: why");
        let (out, _) = testing::out(Format::Wide);
        assert_eq!(item("open", "").row(&out.look).len(), ApprovalItem::columns(true).len());
    }

    #[test]
    fn only_allow_allows() {
        for (decision, exit) in
            [("allow", Exit::Done), ("deny", Exit::Refused), ("ask", Exit::Refused), ("", Exit::Refused)]
        {
            let answer = v1::TestPolicyResponse { decision: decision.into(), ..Default::default() };
            assert_eq!(PolicyAnswer::from(answer).exit(), exit, "{decision}");
        }
    }
}
