//! Steps: what a workflow can do, typed. Targets of jumps are indices, and always point forward: a run ends.

use jiff::SignedDuration;
use wa_proto::{EventKind, Key, PaneState};

use crate::template::Template;

/// One step of a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// By which others jump to it; `step-N` unless named.
    pub id: String,
    pub work: Work,
    /// Of the whole step, retries included.
    pub timeout: SignedDuration,
    /// Where the run goes on when the step is done; `None`: at the next one.
    pub next: Option<usize>,
    /// Where it goes on when the step cannot be done in time; `None`: the run fails.
    pub on_failure: Option<usize>,
    /// Where it goes on when an action may or may not have arrived; `None`: the run ends as `unknown`. From there nothing
    /// is typed before a person has answered.
    pub on_unknown: Option<usize>,
    /// Acts only on the agent's process that the run began with, also where the run follows the pane.
    pub same_process: bool,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Goes on once the pane is in one of the states.
    WaitState { states: Vec<PaneState> },
    /// Goes on when the time has come, and `grace`, and a part of `jitter` that follows from the run's id. It fails where the
    /// time is not known, or lies beyond the step's timeout.
    WaitReset {
        of: Reset,
        grace: SignedDuration,
        jitter: SignedDuration,
        /// The pane is in one of these after it was not: the agent, or a person, has gone on.
        unless: Vec<PaneState>,
        aside: Option<usize>,
    },
    /// Goes on once one of the events comes, or the pane is in one of the states; fails at once when one of `not` comes.
    Expect { events: Vec<EventKind>, states: Vec<PaneState>, not: Vec<EventKind> },
    /// Pastes the text, presses Enter and verifies. Not done, and gone on `aside`, while the pane is in one of `unless`: what it
    /// would be told has come about by itself.
    Type { text: Template, place: Place, unless: Vec<PaneState>, aside: Option<usize> },
    /// Presses keys.
    Keys { keys: Vec<Key> },
    /// Answers the dialog that stands in the pane by the first of these labels that it offers. Done, without a key, when
    /// the pane waits for nothing.
    Choose { labels: Vec<String> },
    /// Starts a program in a new pane of the same server.
    Spawn { command: Vec<Template>, cwd: Template },
    /// Leases an account of the pane's agent, and has its home made on the pane's host. `login`: only for a sign-in, of the
    /// account that a person named; the lease is over when the run is.
    LeaseAccount { login: bool },
    /// Goes on elsewhere where the home of the leased account was signed in already.
    When { signed_in: usize },
    /// Waits for the code that the run's last action had printed, and enters it on the provider's page. Done as well when the
    /// sign-in succeeds in another way; fails when it fails.
    DeviceLogin,
    /// Tells people.
    Notify { level: Level, text: Template },
    /// Asks people, and goes on where the answer leads, or `heard` once one of the events comes.
    Ask { question: Template, choices: Vec<Choice>, events: Vec<EventKind>, heard: Option<usize> },
    /// Ends the run as failed.
    Fail { reason: Template },
    /// Ends the run as succeeded.
    Finish { reason: Template },
}

/// What a step can wait for by the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    /// The limit that the run began with lifts.
    Limit,
    /// An account of the pool can be used again, as the last lease that failed said. Fails where the limit itself lifts
    /// hardly later.
    Account,
}

/// Into what text goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The composer of the workflow's agent.
    Agent,
    /// A shell's prompt.
    Shell,
}

/// How much a notice matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Info,
    Warning,
    Error,
}

impl Level {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// An answer that a person can give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    pub label: String,
    pub to: usize,
}

impl Work {
    /// Whether it may touch the pane, or make a new one.
    pub fn acts(&self) -> bool {
        matches!(self, Self::Type { .. } | Self::Keys { .. } | Self::Choose { .. } | Self::Spawn { .. })
    }

    /// Whether a doubt must be cleared up by a person before it.
    pub(crate) fn wants_certainty(&self) -> bool {
        self.acts() || matches!(self, Self::DeviceLogin)
    }

    /// The word by which files name it.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::WaitState { .. } | Self::WaitReset { .. } => "wait_until",
            Self::Expect { .. } => "expect",
            Self::Type { place: Place::Agent, .. } => "type",
            Self::Type { place: Place::Shell, .. } => "run",
            Self::Keys { .. } => "keys",
            Self::Choose { .. } => "choose",
            Self::Spawn { .. } => "spawn",
            Self::LeaseAccount { .. } => "lease_account",
            Self::When { .. } => "when",
            Self::DeviceLogin => "device_login",
            Self::Notify { .. } => "notify",
            Self::Ask { .. } => "ask",
            Self::Fail { .. } => "fail",
            Self::Finish { .. } => "finish",
        }
    }

    pub(crate) fn templates(&self) -> Vec<&Template> {
        match self {
            Self::Type { text, .. }
            | Self::Notify { text, .. }
            | Self::Ask { question: text, .. }
            | Self::Fail { reason: text }
            | Self::Finish { reason: text } => vec![text],
            Self::Spawn { command, cwd } => command.iter().chain([cwd]).collect(),
            Self::WaitState { .. }
            | Self::WaitReset { .. }
            | Self::Expect { .. }
            | Self::Keys { .. }
            | Self::Choose { .. }
            | Self::LeaseAccount { .. }
            | Self::When { .. }
            | Self::DeviceLogin => Vec::new(),
        }
    }

    /// Jumps that only this kind of step has.
    pub(crate) fn jumps(&self) -> Vec<usize> {
        match self {
            Self::Ask { choices, heard, .. } => {
                choices.iter().map(|choice| choice.to).chain(*heard).collect()
            }
            Self::When { signed_in } => vec![*signed_in],
            Self::WaitReset { aside, .. } | Self::Type { aside, .. } => aside.iter().copied().collect(),
            _ => Vec::new(),
        }
    }

    /// Nothing comes after it.
    pub(crate) fn ends(&self) -> bool {
        matches!(self, Self::Fail { .. } | Self::Finish { .. } | Self::Ask { .. })
    }
}
