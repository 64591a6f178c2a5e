//! What goes into the matcher beside a frame, and what comes out.

use std::collections::BTreeMap;
use std::ops::Range;

use wa_proto::{AgentKind, EventKind, PaneState, StateDetail, Witness};

use crate::composer::ComposerView;
use crate::process::Foreground;

/// A progress bar that a program shows beside its text (OSC 9;4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// 0 to 100.
    Percent(u8),
    /// Something failed at so many percent.
    Error(u8),
    /// At work, for how long nobody knows.
    Busy,
}

/// What is known of a pane beside its screen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Window title, as the program set it.
    pub title: String,
    pub user_vars: BTreeMap<String, String>,
    /// The program's word, as the title is.
    pub progress: Option<Progress>,
    /// [`Foreground::Unknown`] when the process table could not be read: then the screen tells the agent.
    pub foreground: Foreground,
    /// Whether the agent process that last held the terminal still exists (stopped, or in the background); `None` = not
    /// known.
    pub agent_alive: Option<bool>,
    /// Since when the agent process that holds the terminal runs; `None` = not known.
    pub agent_since: Option<jiff::Timestamp>,
    /// Names the numbering of the frame's rows: rows of two layouts cannot be compared.
    pub layout: u64,
    /// The zone in which the pane's programs print times; `None` = not known.
    pub zone: Option<jiff::tz::TimeZone>,
}

/// One event, as it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detected {
    pub kind: EventKind,
    pub agent: Option<AgentKind>,
    /// Id of the rule; empty for what is derived from state.
    pub rule: String,
    /// Words as the screen prints them: `percent_left`, `percent_used`, `window`, `reset_at`, `session_id`, `command`, …
    pub fields: BTreeMap<String, String>,
    /// Codes and addresses that open an account (`user_code`, `url`). Never to be stored, sent or logged as they are.
    pub secrets: BTreeMap<String, String>,
    pub witnesses: Vec<Witness>,
    /// The line that told it, not redacted.
    pub line: String,
    /// Frame row where the line begins.
    pub row: Option<usize>,
    /// Stable number of its row, where a settled line told it that no frame shows.
    pub stable_row: Option<i64>,
}

/// What one look at a pane tells.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// In the order in which they happened.
    pub events: Vec<Detected>,
    pub state: PaneState,
    pub detail: StateDetail,
    /// First frame row of the agent's live area.
    pub live_top: Option<usize>,
    pub agent: Option<AgentKind>,
    /// Empty when not known.
    pub version: String,
    /// 0 when not known.
    pub agent_pid: u32,
    /// The session that the agent's end screen named; empty when not known.
    pub session_id: String,
    /// The agent's composer; missing when no agent is there.
    pub composer: ComposerView,
    /// What rules in shadow would have told, let through by the same gates. No events: they are to be counted. Without
    /// secrets.
    pub shadowed: Vec<Detected>,
    /// What looks like a dialog or a footer of the agent, and nothing knows it. Told once, as long as it stands.
    pub unknown: Vec<UnknownLook>,
}

/// Rows of a screen that nothing knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownLook {
    pub kind: UnknownKind,
    /// Frame rows.
    pub rows: Range<usize>,
    /// Names the shape, without numbers, paths and quoted words: the same screen again has the same key.
    pub key: u64,
}

/// What the rows look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UnknownKind {
    Dialog,
    Footer,
}

impl UnknownKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dialog => "dialog",
            Self::Footer => "footer",
        }
    }
}
