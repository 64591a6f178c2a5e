//! One look at a screen: which agent is there, what its composer holds, which rules match.
//!
//! Constraints. The process table decides which agent runs; only where it cannot speak (no process table, ssh, a
//! container) the screen does, and then only by structure that a quotation does not have: the composer with its footer, a
//! dialog with its key hints.

use wa_proto::{AgentKind, Frame};

use crate::composer::{self, Composer, ComposerView};
use crate::observation::{Facts, Progress};
use crate::process::Foreground;
use crate::rules::text::Sheet;
use crate::rules::{Engine, Hit, Scene, last_prompt};

/// What the window title says, or a progress bar beside it. One `printf` forges them: they help, and prove nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TitleSign {
    None,
    Working,
    Waiting,
    Ready,
}

pub(crate) struct Look {
    pub(crate) agent: Option<AgentKind>,
    /// The process table named it.
    pub(crate) by_process: bool,
    pub(crate) version: String,
    pub(crate) view: ComposerView,
    pub(crate) hits: Vec<Hit>,
    /// The last submitted prompt: row and hash of its words.
    pub(crate) prompt: Option<(usize, u64)>,
    pub(crate) sheet: Sheet,
    pub(crate) title: TitleSign,
}

/// What earlier looks found out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known<'a> {
    /// The agent of this process, where the process table does not speak now.
    pub(crate) agent: Option<&'a AgentKind>,
    pub(crate) version: &'a str,
    /// The agent that has just gone.
    pub(crate) left: Option<&'a AgentKind>,
    /// A saved screen: the agent named for it may have ended on it.
    pub(crate) still: bool,
}

pub(crate) fn look(engine: &Engine, frame: &Frame, facts: &Facts, known: &Known<'_>) -> Look {
    let sheet = Sheet::new(frame);
    let (agent, by_process, mut version) = match &facts.foreground {
        Foreground::Agent { kind, version, .. } => (Some(kind.clone()), true, version.clone()),
        Foreground::Shell { .. } | Foreground::Other { .. } => (None, false, String::new()),
        Foreground::Unknown | Foreground::Remote { .. } => {
            (known.agent.cloned().or_else(|| agent_on_screen(frame, &sheet)), false, String::new())
        }
    };
    if version.is_empty() && agent.is_some() {
        version = known.version.to_owned();
    }
    let view = agent.as_ref().map_or_else(ComposerView::missing, |agent| composer::read(frame, agent));
    let prompt = agent.as_ref().and_then(|agent| last_prompt(&sheet, agent, &view));
    let title = match title_sign(&facts.title, agent.as_ref()) {
        TitleSign::None if facts.progress == Some(Progress::Busy) => TitleSign::Working,
        sign => sign,
    };
    // A saved end screen without a process table: its own words name the agent.
    let left = known.left.cloned().or_else(|| end_on_screen(&facts.foreground, agent.as_ref(), &sheet));
    let scene = Scene {
        sheet: &sheet,
        view: &view,
        agent: agent.as_ref(),
        alive: by_process && !known.still,
        left: left.as_ref(),
        version: &version,
        prompt: prompt.map(|(row, _)| row),
    };
    let hits = engine.hits(&scene);
    // The lowest banner is of the session that is on the screen.
    let silent = facts.foreground.version().is_empty();
    if silent && let Some(banner) = hits.iter().rev().find_map(|hit| hit.fields.get("version")) {
        version = banner.clone();
    }
    Look { agent, by_process, version, view, hits, prompt, sheet, title }
}

/// The agent whose composer or dialog stands on the screen, with words beside it that only it prints.
fn agent_on_screen(frame: &Frame, sheet: &Sheet) -> Option<AgentKind> {
    let proof: [(AgentKind, &[&str]); 3] = [
        (AgentKind::claude(), &["ClaudeCode", "❯", "esctointerrupt", "EsctocancelTab", "Esctocancel"]),
        (
            AgentKind::gemini(),
            &[
                "Typeyourmessageor@path",
                "/model",
                "(esctocancel",
                "GeminiCLI",
                "1.Allowonce",
                "Usagelimitreached",
            ],
        ),
        (
            AgentKind::codex(),
            &[
                "contextleft",
                "?forshortcuts",
                "esctointerrupt)",
                "OpenAICodex(v",
                "default·~",
                "Pressenterto",
                "enterselect",
            ],
        ),
    ];
    proof.into_iter().find_map(|(kind, words)| {
        let view = composer::read(frame, &kind);
        let there =
            view.content != Composer::Missing && words.iter().any(|word| sheet.squeezed.contains(word));
        there.then_some(kind)
    })
}

fn end_on_screen(foreground: &Foreground, agent: Option<&AgentKind>, sheet: &Sheet) -> Option<AgentKind> {
    let silent = matches!(foreground, Foreground::Unknown | Foreground::Remote { .. });
    if agent.is_some() || !silent {
        return None;
    }
    let words = [
        ("claude--resume", AgentKind::claude()),
        ("claude--worktree", AgentKind::claude()),
        ("codexresume", AgentKind::codex()),
        ("Agentpoweringdown", AgentKind::gemini()),
        ("gemini--resume", AgentKind::gemini()),
    ];
    words.into_iter().find(|(word, _)| sheet.squeezed.contains(word)).map(|(_, kind)| kind)
}

fn title_sign(title: &str, agent: Option<&AgentKind>) -> TitleSign {
    let title = title.trim_start();
    let Some(first) = title.chars().next() else { return TitleSign::None };
    match agent.map(AgentKind::as_str) {
        Some("codex") if title.starts_with('[') && title.contains("] Action Required") => TitleSign::Waiting,
        Some("codex") if ('\u{2801}'..='\u{28ff}').contains(&first) => TitleSign::Working,
        Some("gemini") => match first {
            '✦' | '⏲' => TitleSign::Working,
            '✋' => TitleSign::Waiting,
            '◇' => TitleSign::Ready,
            _ => TitleSign::None,
        },
        _ => TitleSign::None,
    }
}
