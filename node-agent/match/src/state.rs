//! The state of a pane: one machine for every surface.
//!
//! Constraints. A dialog waits, whatever else is on the screen. An agent that works is working, also below an old limit
//! text. Agents stream answers without any marker: no marker means idle only when the composer is there and nothing above
//! it has changed for half a second, unless the agent's title says that it is ready. A limit holds while its text is the
//! last thing above the composer; a warning colours only an idle agent.

use jiff::{SignedDuration, Timestamp};
use wa_proto::{PaneState, StateDetail};

use crate::composer::Composer;
use crate::look::{Look, TitleSign};
use crate::process::Foreground;
use crate::reading;
use crate::rules::Hit;
use crate::still;

/// So long an agent must be quiet to be idle.
pub(crate) const QUIET: SignedDuration = SignedDuration::from_millis(500);

/// How the last agent of a pane went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Left {
    Exited,
    Crashed,
}

/// What the machine looks at.
pub(crate) struct Inputs<'a> {
    pub(crate) look: &'a Look,
    pub(crate) foreground: &'a Foreground,
    pub(crate) before: PaneState,
    /// How the agent that was here went, as long as nothing else ran since.
    pub(crate) left: Option<Left>,
    /// An agent has just gone from its work, and nothing has told yet how.
    pub(crate) undecided: bool,
    /// The composer of this agent process was seen before.
    pub(crate) had_composer: bool,
    /// A turn was seen to begin, and not yet to end.
    pub(crate) turn_open: bool,
    /// Since when nothing above the live area has changed.
    pub(crate) quiet_since: Timestamp,
    /// A saved screen: nothing will ever change.
    pub(crate) still: bool,
    pub(crate) limited: Option<&'a Hit>,
    pub(crate) warning: Option<&'a Hit>,
    /// It waits for a sign-in in a browser.
    pub(crate) authenticating: Option<&'a Hit>,
    pub(crate) dialog_kind: &'a str,
    pub(crate) now: Timestamp,
}

/// The state now, without `since`.
pub(crate) fn decide(inputs: &Inputs<'_>) -> (PaneState, StateDetail) {
    if inputs.look.agent.is_some() && inputs.left.is_none() {
        return agent(inputs);
    }
    if inputs.undecided {
        return (inputs.before, why("the agent is gone; its last words may still come"));
    }
    match (inputs.left, inputs.foreground) {
        (Some(Left::Exited), _) => (PaneState::Exited, why("the agent is gone")),
        (Some(Left::Crashed), _) => (PaneState::Crashed, why("the agent is gone without an end screen")),
        (None, Foreground::Shell { name }) => {
            (PaneState::Shell, why(&format!("{name} is in the foreground")))
        }
        (None, Foreground::Other { name } | Foreground::Remote { name }) => {
            (PaneState::Unknown, why(&format!("{name} is in the foreground")))
        }
        (None, Foreground::Unknown) if inputs.look.waits => (PaneState::Shell, why("a shell's prompt waits")),
        (None, Foreground::Agent { .. } | Foreground::Unknown) => (PaneState::Unknown, why("no witness")),
    }
}

fn agent(inputs: &Inputs<'_>) -> (PaneState, StateDetail) {
    let view = &inputs.look.view;
    let title = inputs.look.title;
    if let Some(hit) = inputs.authenticating.filter(|_| view.content == Composer::Dialog) {
        return (PaneState::Authenticating, why(&hit.line));
    }
    if view.content == Composer::Dialog || title == TitleSign::Waiting {
        let kind = if inputs.dialog_kind.is_empty() { "dialog" } else { "approval" };
        let detail = StateDetail { kind: kind.to_owned(), ..why("a dialog is open") };
        return (PaneState::Waiting, detail);
    }
    if let Some(working) = &view.working {
        return (PaneState::Working, why(&working.text));
    }
    if title == TitleSign::Working {
        return (PaneState::Working, why("the window title says so"));
    }
    if view.content == Composer::Missing {
        if let Some(hit) = inputs.authenticating {
            return (PaneState::Authenticating, why(&hit.line));
        }
        return without_composer(inputs);
    }
    if let Some(hit) = inputs.limited {
        return (PaneState::Limited, limit(hit));
    }
    if inputs.still && reading::is_unanswered(inputs.look) {
        return (PaneState::Working, why("nothing has answered the last prompt yet"));
    }
    let quiet = inputs.still || inputs.now.duration_since(inputs.quiet_since) >= QUIET;
    let ready = title == TitleSign::Ready && inputs.before != PaneState::Working;
    if !quiet && !ready {
        // It may stream an answer; the state stays until it is quiet.
        let state = match inputs.before {
            before @ (PaneState::Working | PaneState::Idle | PaneState::LimitWarning) => before,
            PaneState::Waiting | PaneState::Limited if inputs.turn_open => PaneState::Working,
            PaneState::Waiting | PaneState::Limited => PaneState::Idle,
            _ => PaneState::Starting,
        };
        return (state, why("the screen has just changed"));
    }
    match inputs.warning {
        Some(hit) => (PaneState::LimitWarning, limit(hit)),
        None => (PaneState::Idle, why("the composer waits for input")),
    }
}

fn without_composer(inputs: &Inputs<'_>) -> (PaneState, StateDetail) {
    if let Some(hit) = inputs.limited {
        return (PaneState::Limited, limit(hit));
    }
    if inputs.still {
        let told = still::state(inputs.look);
        let (state, words) = told.unwrap_or((PaneState::Unknown, "no composer on the screen".to_owned()));
        return (state, why(&words));
    }
    if !inputs.had_composer {
        return (PaneState::Starting, why("no composer yet"));
    }
    let quiet = inputs.now.duration_since(inputs.quiet_since) >= QUIET;
    match inputs.before {
        PaneState::Working => (PaneState::Working, why("the composer is out of sight")),
        before if !quiet => (before, why("the composer is out of sight")),
        _ => (PaneState::Unknown, why("the composer is out of sight")),
    }
}

fn why(text: &str) -> StateDetail {
    let mut why = String::new();
    // Footers are columns: without the blanks between them more is told.
    for word in text.split_whitespace() {
        why.extend((!why.is_empty()).then_some(' '));
        why.push_str(word);
    }
    if let Some((end, _)) = why.char_indices().nth(120) {
        why.truncate(end);
    }
    StateDetail { why, ..StateDetail::default() }
}

fn limit(hit: &Hit) -> StateDetail {
    let number = |name: &str| hit.fields.get(name).and_then(|text| text.parse::<f64>().ok());
    let percent_left = number("percent_left").or_else(|| number("percent_used").map(|used| 100.0 - used));
    let window =
        ["window", "model"].iter().find_map(|name| hit.fields.get(*name)).cloned().unwrap_or_default();
    StateDetail { percent_left, window, ..why(&hit.line) }
}
