//! A pane: what it runs and what state it is in. One vocabulary of states for every surface.

use std::fmt;
use std::str::FromStr;

use crate::{AccountAlias, AgentSession, PaneRef, Timestamp};

/// A word that is not one of a closed set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} {text:?}")]
pub struct UnknownWord {
    pub what: &'static str,
    pub text: String,
}

/// Defines an enum whose variants each have one word, with `as_str`, `Display`, `FromStr` and `ALL`.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "&'static str")]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant),+];
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl std::str::FromStr for $name {
            type Err = $crate::pane::UnknownWord;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($word => Ok($name::$variant),)+
                    _ => Err($crate::pane::UnknownWord {
                        what: $what,
                        text: text.chars().take(80).collect(),
                    }),
                }
            }
        }
        impl TryFrom<String> for $name {
            type Error = $crate::pane::UnknownWord;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }
        impl From<$name> for &'static str {
            fn from(word: $name) -> &'static str {
                word.as_str()
            }
        }
    };
}
pub(crate) use words;

words! {
    /// What a pane is doing, as far as the witnesses tell.
    PaneState, "pane state" {
        Unknown = "unknown",
        Shell = "shell",
        Starting = "starting",
        Working = "working",
        Idle = "idle",
        Waiting = "waiting",
        LimitWarning = "limit_warning",
        Limited = "limited",
        Authenticating = "authenticating",
        Exited = "exited",
        Crashed = "crashed",
        Gone = "gone",
    }
}

/// Which agent runs in a pane. An open set: packs may name agents that this program has never heard of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct AgentKind(String);

impl AgentKind {
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }
    pub fn claude() -> Self {
        Self::new("claude")
    }
    pub fn codex() -> Self {
        Self::new("codex")
    }
    pub fn gemini() -> Self {
        Self::new("gemini")
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AgentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for AgentKind {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::new(text))
    }
}

/// Why a pane is in its state.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StateDetail {
    pub since: Option<Timestamp>,
    /// The rule or witness that decided, in words.
    pub why: String,
    /// While waiting: `approval`, `question` or `dialog`.
    pub kind: String,
    /// Percent of the window left, for limits and context.
    pub percent_left: Option<f64>,
    /// `5h`, `weekly`, `monthly`, or a model's name.
    pub window: String,
    /// When the limit lifts.
    pub until: Option<Timestamp>,
    /// Exit code.
    pub code: Option<i32>,
}

/// All that is known of one pane. Texts are redacted.
#[derive(Debug, Clone, PartialEq)]
pub struct Pane {
    pub pane: PaneRef,
    pub title: String,
    pub cwd: String,
    /// Last component of the working directory's repository, or of the directory.
    pub project: String,
    pub agent: Option<AgentKind>,
    pub agent_version: String,
    /// 0 = none.
    pub agent_pid: u32,
    pub state: PaneState,
    pub detail: StateDetail,
    pub session_id: String,
    /// What the agent's own session file says; `None` where none is known.
    pub session: Option<AgentSession>,
    pub cols: u32,
    pub rows: u32,
    pub tty: String,
    pub last_output: Option<Timestamp>,
    /// A mirror of another mux domain: shown, not logged, not acted on.
    pub mirror: bool,
    /// Why what the pane prints is not logged, or only in part, in words; empty: all of it is.
    pub not_logged: String,
    /// The account whose home on this host the agent uses; `None`: a home of its user's own.
    pub account: Option<AccountAlias>,
}
