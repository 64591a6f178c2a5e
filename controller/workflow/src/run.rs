//! Runs: what is stored of one execution of a workflow, what happens to it, and what it asks for.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use wa_proto::{
    AccountAlias, ActionId, AgentKind, Event, EventId, EventKind, Host, OutcomeKind, PaneRef, PaneState,
    RunId, Timestamp, Verb,
};

use crate::Definition;
use crate::step::Level;
use crate::template::Vars;

/// One execution of a workflow on one pane. Stored as JSON; readers of an older version default what is new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub id: RunId,
    pub workflow: String,
    /// Version of the definition that it began with.
    pub version: u32,
    /// Its hash; empty: the run was begun by a program that did not keep it.
    #[serde(default)]
    pub definition_hash: String,
    pub trigger: Trigger,
    pub started: Timestamp,
    /// Index of the step it is at.
    pub step: usize,
    /// When the present step's time is over.
    pub step_deadline: Timestamp,
    /// Actions made so far: names the next one.
    pub attempts: u32,
    /// Of these, in the present step.
    #[serde(default)]
    pub tries: u32,
    /// Actions that reached, or may have reached, the pane.
    pub actions_done: u32,
    pub status: Status,
    /// Values for the texts of the steps, fixed at the start.
    #[serde(default)]
    pub vars: Vars,
    /// When the limit lifts, as far as it is known.
    #[serde(default)]
    pub reset: Option<Timestamp>,
    /// When an account of the pool can be used again, as the last lease that failed said.
    #[serde(default)]
    pub free: Option<Timestamp>,
    /// The step that failed last.
    #[serde(default)]
    pub failed_at: Option<usize>,
    /// Of an action of this run nobody knows whether it arrived.
    #[serde(default)]
    pub doubted: bool,
    /// The home of the leased account was signed in when it was leased.
    #[serde(default)]
    pub signed_in: bool,
    /// The pane's state when it was last told.
    #[serde(default)]
    pub pane_state: Option<PaneState>,
    /// What was told of the pane since the run came to where it waits.
    #[serde(default)]
    pub told: Option<Told>,
    /// Events on the pane since the last action was begun.
    #[serde(default)]
    pub heard: BTreeSet<EventKind>,
}

/// What a run reads from a report of its pane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    pub state: PaneState,
    pub agent_pid: u32,
    pub until: Option<Timestamp>,
}

/// What began a run and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    pub event: EventId,
    pub host: Host,
    pub pane: PaneRef,
    pub agent: Option<AgentKind>,
    /// 0 = unknown.
    pub agent_pid: u32,
    /// W3C traceparent of the event.
    pub trace_parent: String,
    /// As the event has them.
    #[serde(default)]
    pub fields: BTreeMap<String, String>,
    /// What the controller knew of the pane then.
    #[serde(default)]
    pub place: PlaceOf,
}

/// Where a run happens, in words. Empty: not known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceOf {
    pub address: String,
    pub project: String,
    pub cwd: String,
    pub session_id: String,
}

impl Trigger {
    /// `None` when the event stands on no pane.
    pub fn of(host: Host, event: &Event, place: PlaceOf, trace_parent: &str) -> Option<Self> {
        Some(Self {
            event: event.id,
            host,
            pane: event.pane.clone()?,
            agent: event.agent.clone(),
            agent_pid: event.agent_pid,
            trace_parent: trace_parent.to_owned(),
            fields: event.fields.clone(),
            place,
        })
    }

    /// Whether the event tells that its pane went with what it is about.
    pub fn pane_is_gone(&self) -> bool {
        self.fields.contains_key("pane_gone")
    }

    /// Values that every text may use.
    pub(crate) fn vars(&self) -> Vars {
        let field = |name: &str| self.fields.get(name).cloned().unwrap_or_default();
        let session = match field("session_id") {
            id if id.is_empty() => self.place.session_id.clone(),
            id => id,
        };
        // Of a pane that is gone nobody knows more than its last event.
        let told_or = |name: &str, known: &String| match known.is_empty() && self.pane_is_gone() {
            true => field(name),
            false => known.clone(),
        };
        let agent = self.agent.as_ref().map(AgentKind::as_str).unwrap_or_default();
        let vars = [
            ("agent", agent.to_owned()),
            ("host", self.host.to_string()),
            ("pane", self.place.address.clone()),
            ("project", told_or("project", &self.place.project)),
            ("cwd", told_or("cwd", &self.place.cwd)),
            ("resume_command", resume_command(agent, &session).unwrap_or_default()),
            ("session_id", session),
            ("command", field("command")),
            ("choices", field("choices")),
            ("window", field("window")),
            ("reset", field("reset_at")),
        ];
        vars.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// The command that goes on with a session, as one line for a shell. `None`: the agent has none that is known, or what
/// stands for the session's id is none.
pub fn resume_command(agent: &str, session: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let sound = !session.is_empty()
        && session.len() <= 128
        && session.chars().all(plain)
        && !session.starts_with('-');
    let command = match agent {
        "claude" => "claude --resume",
        "codex" => "codex resume",
        "gemini" => "gemini --resume",
        _ => return None,
    };
    sound.then(|| format!("{command} {session}"))
}

/// The command by which an agent's own program signs in, as one line for a shell.
pub(crate) fn login_command(agent: &str) -> Option<&'static str> {
    match agent {
        "claude" => Some("claude auth login"),
        "codex" => Some("codex login --device-auth"),
        // It has none: it asks when it starts.
        "gemini" => Some("gemini"),
        _ => None,
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Status {
    /// For the pane, an event or a time; an acting step that was refused, not before `not_before`.
    Waiting {
        not_before: Timestamp,
        /// The pane has been seen in none of the states that would end the waiting early.
        #[serde(default)]
        armed: bool,
    },
    /// For the outcome of an action.
    Acting {
        action: ActionId,
    },
    /// For the controller: an account and its home, or a sign-in.
    Preparing {
        /// The code may have been entered: that is not done again.
        #[serde(default)]
        begun: bool,
    },
    /// For a person's answer.
    Asking,
    Ended {
        end: End,
        reason: String,
        at: Timestamp,
    },
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    Succeeded,
    Failed,
    Cancelled,
    /// An action may or may not have arrived; a person should look.
    Unknown,
}

impl Status {
    /// One word for people: `waiting acting preparing asking succeeded failed cancelled unknown`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Waiting { .. } => "waiting",
            Self::Acting { .. } => "acting",
            Self::Preparing { .. } => "preparing",
            Self::Asking => "asking",
            Self::Ended { end, .. } => match end {
                End::Succeeded => "succeeded",
                End::Failed => "failed",
                End::Cancelled => "cancelled",
                End::Unknown => "unknown",
            },
        }
    }
}

/// One thing that happened to a run. The controller records it before it steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "input", rename_all = "snake_case")]
pub enum Input {
    /// The pane as it stands now.
    Pane {
        state: PaneState,
        agent: Option<AgentKind>,
        agent_pid: u32,
        /// When the limit lifts that the pane shows.
        #[serde(default)]
        until: Option<Timestamp>,
    },
    /// The pane, or its mux server's process, is no more.
    PaneGone,
    /// An event that a step of the run's workflow speaks of happened on the pane.
    Event {
        kind: EventKind,
        /// Of the agent's session, where the event tells it.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        session_id: String,
    },
    Outcome {
        action: ActionId,
        kind: OutcomeKind,
        reason: String,
    },
    /// The action waits for a person's leave until then: nothing was typed.
    Held {
        action: ActionId,
        until: Timestamp,
    },
    /// The leave was not given, or what it was asked for is no longer so: nothing was typed, and it is not tried again.
    Denied {
        action: ActionId,
        reason: String,
    },
    /// A person has chosen.
    Answer {
        choice: String,
        who: String,
    },
    /// The answer to [`Effect::Lease`] of this step: the account is the pane's, and its home is there.
    Leased {
        step: usize,
        alias: AccountAlias,
        /// Absolute path on the pane's host.
        home: String,
        /// By which the agent takes it for its home.
        variable: String,
        signed_in: bool,
    },
    /// The other one. `until`: when an account of the pool can be used again.
    NotLeased {
        step: usize,
        reason: String,
        #[serde(default)]
        until: Option<Timestamp>,
    },
    /// The answers to [`Effect::SignIn`] of this step. The code is entered from now on: recorded before it is.
    SigningIn {
        step: usize,
    },
    SignedIn {
        step: usize,
    },
    SignInFailed {
        step: usize,
        reason: String,
    },
    /// A person has it begin at this step: an earlier run failed there.
    Again {
        step: usize,
    },
    /// The controller was started anew: what it prepared for this run is lost.
    Restarted,
    /// The wake-up time that the run asked for has come.
    Timer,
    /// The wall clock was set by so much: every time that was reckoned from the present moment is another now. Instants
    /// that others have told, such as the reset of a limit, stay.
    ClockSet {
        by: SignedDuration,
    },
    Cancel {
        reason: String,
    },
}

impl Input {
    pub(crate) fn told(&self) -> Option<Told> {
        match self {
            Self::Pane { state, agent_pid, until, .. } => {
                Some(Told { state: *state, agent_pid: *agent_pid, until: *until })
            }
            _ => None,
        }
    }
}

/// What the controller has to do, in the same commit as the new run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Put an action into the outbox.
    Act {
        action: ActionId,
        verb: Verb,
        expect: Expect,
        deadline: Timestamp,
    },
    /// Lease an account, have its home made, and answer with [`Input::Leased`] or [`Input::NotLeased`]. Asked again after a
    /// restart.
    Lease {
        step: usize,
        /// This one and no other.
        wanted: Option<AccountAlias>,
        login: bool,
        deadline: Timestamp,
    },
    /// Enter the code that this action had printed, by this time; record [`Input::SigningIn`] first, and answer with
    /// [`Input::SignedIn`] or [`Input::SignInFailed`].
    SignIn {
        step: usize,
        alias: AccountAlias,
        action: ActionId,
        deadline: Timestamp,
    },
    /// Send [`Input::Timer`] at this time; replaces the former wake-up.
    WakeAt(Timestamp),
    Notify {
        level: Level,
        text: String,
    },
    /// Show it with its choices until the run is no longer `asking`; the answer comes as [`Input::Answer`].
    Ask {
        question: String,
        choices: Vec<String>,
        until: Timestamp,
    },
}

/// What must hold the terminal when an action begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// This agent, where one is named; in this process, where that is known.
    Agent {
        kind: Option<AgentKind>,
        pid: Option<u32>,
    },
    Shell,
}

/// What to do with a trigger for a pane on which a run may be active (promise W2: one at a time).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    Start,
    /// The active run will do what this one would.
    Merge,
    /// Start it when the active run has ended.
    Queue,
}

/// The field of a trigger that names the account which a person wants.
pub const WANTED_ACCOUNT: &str = "wanted_account";

/// Decides about a new trigger while `active` runs on the same pane.
pub fn admit(definition: &Definition, active: Option<&Run>) -> Admission {
    match active {
        None => Admission::Start,
        // What never acts takes no pane for itself.
        Some(_) if definition.max_actions == 0 => Admission::Start,
        Some(run) if run.is_over() => Admission::Start,
        Some(run) if definition.merges(run) => Admission::Merge,
        Some(_) => Admission::Queue,
    }
}

/// Why a run is not begun again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAgain {
    #[error("the run has not ended: cancel it first")]
    Open,
    #[error("the run succeeded")]
    Succeeded,
    #[error(
        "whether one of its actions arrived is not known: look at the pane, and say that it may begin again"
    )]
    Doubt,
    #[error("it held an account, which it has given back: begin the workflow anew")]
    Account,
    #[error("it only told people something")]
    Nothing,
    #[error("the workflow was changed since: begin it anew")]
    Changed,
}

impl Run {
    /// At which step a run that failed can begin again, by a new run. `sure`: a person has seen to what is in doubt.
    pub fn again_from(&self, definition: &Definition, sure: bool) -> Result<usize, NotAgain> {
        let Status::Ended { end, .. } = &self.status else { return Err(NotAgain::Open) };
        if *end == End::Succeeded {
            return Err(NotAgain::Succeeded);
        }
        if (self.doubted || *end == End::Unknown) && !sure {
            return Err(NotAgain::Doubt);
        }
        if !definition.is_of(self) {
            return Err(NotAgain::Changed);
        }
        if definition.max_actions == 0 {
            return Err(NotAgain::Nothing);
        }
        if self.vars.contains_key("account") {
            return Err(NotAgain::Account);
        }
        Ok(self.failed_at.unwrap_or(self.step).min(definition.steps.len() - 1))
    }

    pub fn is_over(&self) -> bool {
        matches!(self.status, Status::Ended { .. })
    }

    /// Whether it wants to hear of the pane's state.
    pub fn watches_pane(&self) -> bool {
        matches!(self.status, Status::Waiting { .. } | Status::Asking)
    }

    /// Whether an input tells it nothing that it was not told where it waits now: what comes of that has come, or comes by
    /// the timer that was set then.
    pub fn knows(&self, input: &Input) -> bool {
        self.told.is_some() && self.told == input.told()
    }

    /// The action whose outcome it waits for.
    pub fn open_action(&self) -> Option<ActionId> {
        match self.status {
            Status::Acting { action } => Some(action),
            _ => None,
        }
    }
}
