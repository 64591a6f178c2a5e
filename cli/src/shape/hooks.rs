//! `wa.hooks/1`: one configuration file of an agent, and our hooks in it.

use anstyle::AnsiColor;
use serde::Serialize;

use super::or_dash;
use crate::output::table::{Cell, Column, column};
use crate::output::{Look, Shape};

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct HookFile {
    pub(crate) agent: String,
    /// Null when the agent has no configuration here.
    pub(crate) file: Option<String>,
    /// `installed`, `outdated`, `absent`, `unreadable` or `no_agent`.
    pub(crate) state: &'static str,
    /// The agent's events on which it calls this host's node.
    pub(crate) events: Vec<String>,
    /// What it then runs.
    pub(crate) program: Option<String>,
    /// Whether the file was changed; with `--dry-run`, whether it would be.
    pub(crate) changed: bool,
    /// What it held before.
    pub(crate) backup: Option<String>,
    /// With `--dry-run`.
    pub(crate) diff: Option<String>,
    pub(crate) notes: Vec<String>,
}

impl Shape for HookFile {
    const SCHEMA: &'static str = "wa.hooks/1";

    fn name(&self) -> String {
        self.file.clone().unwrap_or_else(|| self.agent.clone())
    }

    fn columns(_: bool) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            column("AGENT", 6),
            column("STATE", 10),
            column("CHANGED", 7),
            column("EVENTS", 6),
            column("FILE", 12),
            column("NOTES", 8),
        ];
        COLUMNS
    }

    fn row(&self, _: &Look) -> Vec<Cell> {
        let state = match self.state {
            "installed" => Cell::styled(self.state, AnsiColor::Green.on_default()),
            "outdated" => Cell::styled(self.state, AnsiColor::Yellow.on_default()),
            "unreadable" => Cell::styled(self.state, AnsiColor::Red.on_default()),
            _ => Cell::plain(self.state),
        };
        vec![
            Cell::plain(&self.agent),
            state,
            Cell::plain(if self.changed { "yes" } else { "no" }),
            Cell::plain(&self.events.len().to_string()),
            Cell::plain(or_dash(self.file.as_deref())),
            Cell::plain(&if self.notes.is_empty() { "-".to_owned() } else { self.notes.join("; ") }),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Format, testing};

    const PAGE: &str = r#"{"agent":"claude","file":"/h/.claude/settings.json","state":"installed","events":["Stop"],"program":"/b/wa-node","changed":true,"backup":"/h/.claude/settings.json.wa-backup-20260901T120000Z","diff":null,"notes":[]}
"#;

    #[test]
    fn files_are_as_on_the_page() {
        let item = HookFile {
            agent: "claude".into(),
            file: Some("/h/.claude/settings.json".into()),
            state: "installed",
            events: vec!["Stop".into()],
            program: Some("/b/wa-node".into()),
            changed: true,
            backup: Some("/h/.claude/settings.json.wa-backup-20260901T120000Z".into()),
            diff: None,
            notes: vec![],
        };
        let (mut out, sink) = testing::out(Format::Jsonl);
        out.list(std::slice::from_ref(&item)).unwrap();
        assert_eq!(sink.text(), PAGE);
        let (mut out, sink) = testing::out(Format::Table);
        out.list(&[item]).unwrap();
        let row = sink.text().lines().nth(1).unwrap().to_owned();
        assert_eq!(row, "claude  installed  yes      1       /h/.claude/settings.json  -");
    }
}
