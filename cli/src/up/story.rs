//! What the demo should show, and what of it has been seen.
//!
//! Pure: it is told what the controller says, answers with what is new in words, and in the end with the account. What
//! counts is what any user could see: the story has no access to the programs in the panes.

use std::collections::BTreeSet;

use anstyle::AnsiColor;
use serde::Serialize;

use crate::output::table::{Cell, Column, column};
use crate::output::{Look, Shape};
use crate::shape::{EventLine, Hit, PaneStatus, RunItem};

/// What waits for the reset of a limit.
const LIMIT_WAIT: &str = "limit-wait";

/// The things that must happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Chapter {
    ClaudeRecognised,
    CodexRecognised,
    GeminiRecognised,
    ShellRecognised,
    CompactionSeen,
    ReactionVerified,
    LimitWarning,
    LimitReached,
    LimitWaitedOut,
    SearchHit,
}

impl Chapter {
    const ALL: [Self; 10] = [
        Self::ClaudeRecognised,
        Self::CodexRecognised,
        Self::GeminiRecognised,
        Self::ShellRecognised,
        Self::CompactionSeen,
        Self::ReactionVerified,
        Self::LimitWarning,
        Self::LimitReached,
        Self::LimitWaitedOut,
        Self::SearchHit,
    ];

    fn words(self) -> &'static str {
        match self {
            Self::ClaudeRecognised => "a Claude Code pane was recognised",
            Self::CodexRecognised => "a Codex pane was recognised",
            Self::GeminiRecognised => "a Gemini CLI pane was recognised",
            Self::ShellRecognised => "a shell was recognised",
            Self::CompactionSeen => "a compaction was seen",
            Self::ReactionVerified => "the reaction was typed and seen to arrive",
            Self::LimitWarning => "a usage-limit warning stood in status",
            Self::LimitReached => "a usage limit was reached, and its reset is waited for",
            Self::LimitWaitedOut => "the limit lifted, and the agent was told to proceed and works again",
            Self::SearchHit => "printed text was found by search",
        }
    }
}

/// Where and how a chapter happened.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    pane: Option<String>,
    detail: String,
}

#[derive(Debug, Default)]
pub(crate) struct Story {
    seen: Vec<(Chapter, Seen)>,
    /// Runs whose end was told.
    runs: BTreeSet<(String, String)>,
}

/// One line of the account: `wa.demo/1`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Told {
    what: Chapter,
    seen: bool,
    pane: Option<String>,
    detail: Option<String>,
}

impl Story {
    /// Notes a chapter. `Some` with the line to tell when it is the first time.
    fn note(&mut self, chapter: Chapter, pane: Option<&str>, detail: String) -> Option<String> {
        if self.seen.iter().any(|(seen, _)| *seen == chapter) {
            return None;
        }
        let line = format!("{}: {}  {detail}", chapter.words(), pane.unwrap_or("-"));
        self.seen.push((chapter, Seen { pane: pane.map(str::to_owned), detail }));
        Some(line)
    }

    pub(crate) fn panes(&mut self, panes: &[PaneStatus]) -> Vec<String> {
        panes.iter().flat_map(|pane| self.pane(pane)).collect()
    }

    fn pane(&mut self, pane: &PaneStatus) -> Vec<String> {
        let recognised = match (pane.agent.as_deref(), pane.state.as_str()) {
            (Some("claude"), _) => Some(Chapter::ClaudeRecognised),
            (Some("codex"), _) => Some(Chapter::CodexRecognised),
            (Some("gemini"), _) => Some(Chapter::GeminiRecognised),
            (None, "shell") => Some(Chapter::ShellRecognised),
            _ => None,
        };
        let version = pane.agent_version.as_deref().map(|version| format!(" {version}")).unwrap_or_default();
        let who = format!("{}{version}, {}", pane.agent.as_deref().unwrap_or("shell"), pane.state);
        let first = recognised.and_then(|chapter| self.note(chapter, Some(&pane.pane), who));
        let limit = match pane.state.as_str() {
            "limit_warning" => Some(Chapter::LimitWarning),
            // Once it is known until when.
            "limited" if pane.state_detail.until.is_some() => Some(Chapter::LimitReached),
            _ => None,
        };
        let limit = limit.map(|chapter| {
            let detail = format!("{}: {}", pane.agent.as_deref().unwrap_or("-"), pane.state_detail.words());
            self.note(chapter, Some(&pane.pane), detail)
        });
        first.into_iter().chain(limit.flatten()).collect()
    }

    pub(crate) fn event(&mut self, event: &EventLine) -> Option<String> {
        let detail = event.line.as_deref().unwrap_or("").trim().to_owned();
        match event.event.as_str() {
            "context.compacted" => self.note(Chapter::CompactionSeen, event.pane.as_deref(), detail),
            _ => None,
        }
    }

    pub(crate) fn runs(&mut self, runs: &[RunItem]) -> Vec<String> {
        runs.iter().filter_map(|run| self.run(run)).collect()
    }

    fn run(&mut self, run: &RunItem) -> Option<String> {
        let chapter = match run.workflow.as_str() {
            "claude-compaction-reread" => Some(Chapter::ReactionVerified),
            LIMIT_WAIT => Some(Chapter::LimitWaitedOut),
            _ => None,
        };
        if let Some(chapter) = chapter.filter(|_| run.state == "succeeded") {
            let reason = run.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
            let detail = format!("workflow {}{reason}", run.workflow);
            return self.note(chapter, run.pane.as_deref(), detail);
        }
        let first = self.runs.insert((run.run.clone(), run.state.clone()));
        let reason = run.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
        let pane = run.pane.as_deref().unwrap_or("-");
        first.then(|| format!("workflow {} is {} on {pane}{reason}", run.workflow, run.state))
    }

    pub(crate) fn hit(&mut self, query: &str, hit: &Hit) -> Option<String> {
        let detail = format!("{query:?} in: {}", hit.text().trim());
        self.note(Chapter::SearchHit, Some(&hit.entry.pane.to_string()), detail)
    }

    pub(crate) fn has_hit(&self) -> bool {
        self.seen.iter().any(|(chapter, _)| *chapter == Chapter::SearchHit)
    }

    /// Everything that should have happened, in its order, seen or not.
    pub(crate) fn account(&self) -> Vec<Told> {
        let told = |chapter: Chapter| {
            let seen = self.seen.iter().find(|(seen, _)| *seen == chapter).map(|(_, how)| how);
            Told {
                what: chapter,
                seen: seen.is_some(),
                pane: seen.and_then(|how| how.pane.clone()),
                detail: seen.map(|how| how.detail.clone()),
            }
        };
        Chapter::ALL.into_iter().map(told).collect()
    }

    /// What was not seen, in words.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        self.account().iter().filter(|told| !told.seen).map(|told| told.what.words()).collect()
    }
}

impl Shape for Told {
    const SCHEMA: &'static str = "wa.demo/1";
    const CUT: bool = true;

    fn name(&self) -> String {
        self.what.words().to_owned()
    }

    fn columns(_: bool) -> &'static [Column] {
        const COLUMNS: &[Column] =
            &[column("SEEN", 4), column("WHAT", 4), column("PANE", 4), column("HOW", 3)];
        COLUMNS
    }

    fn row(&self, _: &Look) -> Vec<Cell> {
        let seen = match self.seen {
            true => Cell::styled("yes", AnsiColor::Green.on_default()),
            false => Cell::styled("no", AnsiColor::Red.on_default()),
        };
        vec![
            seen,
            Cell::plain(self.what.words()),
            Cell::plain(self.pane.as_deref().unwrap_or("-")),
            Cell::plain(self.detail.as_deref().unwrap_or("-")),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wa_proto::wire::v1;

    fn at(pane_id: u64) -> Option<v1::PaneRef> {
        Some(v1::PaneRef { mux: "main".into(), generation: "g".into(), pane_id })
    }

    fn pane(pane_id: u64, agent: &str, state: &str) -> PaneStatus {
        let pane =
            v1::Pane { r#ref: at(pane_id), agent: agent.into(), state: state.into(), ..Default::default() };
        let item =
            v1::PaneItem { host: "demo".into(), pane: Some(pane), connected: true, ..Default::default() };
        PaneStatus::try_from(item).unwrap()
    }

    fn run(workflow: &str, state: &str) -> RunItem {
        let run = v1::Run {
            run_id: workflow.into(),
            workflow: workflow.into(),
            host: "demo".into(),
            pane: at(0),
            state: state.into(),
            ..Default::default()
        };
        RunItem::try_from(run).unwrap()
    }

    #[test]
    fn each_thing_is_told_once_and_the_account_is_whole() {
        let mut story = Story::default();
        let panes = [pane(0, "claude", "idle"), pane(1, "codex", "limit_warning"), pane(2, "", "shell")];
        assert_eq!(story.panes(&panes).len(), 4);
        assert_eq!(story.panes(&panes), Vec::<String>::new());
        assert_eq!(story.missing().len(), 6);

        let event = v1::EventItem {
            host: "demo".into(),
            event: Some(v1::Event { pane: at(0), event: "context.compacted".into(), ..Default::default() }),
            ..Default::default()
        };
        let event = EventLine::try_from(event).unwrap();
        assert!(story.event(&event).unwrap().contains("demo/0"));
        assert_eq!(story.event(&event), None);

        const REREAD: &str = "claude-compaction-reread";
        let acting = run(REREAD, "acting");
        let told = story.runs(&[acting.clone(), acting]);
        assert_eq!(told, ["workflow claude-compaction-reread is acting on demo/0"]);
        assert_eq!(story.runs(&[run(REREAD, "succeeded")]).len(), 1);
        let mut limited = pane(1, "codex", "limited");
        assert_eq!(story.panes(&[limited.clone()]), [""; 0], "until when?");
        limited.state_detail.until = "2026-11-22T08:31:00Z".parse().ok();
        story.panes(&[pane(3, "gemini", "working"), limited]);
        // Another workflow's success is not the limit's.
        story.runs(&[run("approval-notice", "succeeded")]);
        assert_eq!(story.missing().len(), 2);
        story.runs(&[run(LIMIT_WAIT, "succeeded")]);
        assert_eq!(story.missing(), ["printed text was found by search"]);
        assert!(!story.has_hit());
        assert_eq!(story.account().iter().filter(|told| told.seen).count(), 9);
    }
}
