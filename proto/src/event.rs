//! Events: what matters on a pane, at the moment it happens.

use std::collections::BTreeMap;

use crate::pane::words;
use crate::{AgentKind, EventId, PaneRef};

words! {
    /// The closed set of event names.
    EventKind, "event" {
        AgentStarted = "agent.started",
        AgentExited = "agent.exited",
        AgentCrashed = "agent.crashed",
        ContextLow = "context.low",
        ContextFull = "context.full",
        ContextCompacted = "context.compacted",
        LimitWarning = "limit.warning",
        LimitReached = "limit.reached",
        LimitLifted = "limit.lifted",
        SessionEnded = "session.ended",
        SessionResumable = "session.resumable",
        AuthRequired = "auth.required",
        AuthDeviceCode = "auth.device_code",
        AuthSucceeded = "auth.succeeded",
        AuthFailed = "auth.failed",
        AuthSignedOut = "auth.signed_out",
        ApprovalRequested = "approval.requested",
        QuestionAsked = "question.asked",
        TurnStarted = "turn.started",
        TurnFinished = "turn.finished",
        ErrorApi = "error.api",
        ErrorRetrying = "error.retrying",
        ErrorOverloaded = "error.overloaded",
        CommandFinished = "command.finished",
        Bell = "bell",
        MuxConnected = "mux.connected",
        MuxLost = "mux.lost",
        CaptureGap = "capture.gap",
        NodeJoined = "node.joined",
        NodeLost = "node.lost",
        NodeDegraded = "node.degraded",
    }
}

words! {
    /// Who saw it.
    Witness, "witness" {
        Screen = "screen",
        Process = "process",
        SessionFile = "session_file",
        Hook = "hook",
        Title = "title",
        UserVar = "user_var",
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub id: EventId,
    /// `None` for `mux.*` and `node.*`.
    pub pane: Option<PaneRef>,
    pub kind: EventKind,
    pub agent: Option<AgentKind>,
    pub agent_version: String,
    /// 0 = unknown.
    pub agent_pid: u32,
    /// The rule that fired; empty for events derived from state.
    pub rule: String,
    pub fields: BTreeMap<String, String>,
    pub witnesses: Vec<Witness>,
    /// The redacted line that fired it.
    pub line: String,
    pub row: i64,
    pub layout: u64,
}

impl Event {
    /// A new event that no agent, no rule and no row of a pane stands behind.
    pub fn new<N: Into<String>, V: Into<String>>(
        kind: EventKind,
        fields: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let fields = fields.into_iter().map(|(name, value)| (name.into(), value.into()));
        Self {
            id: EventId::generate(),
            pane: None,
            kind,
            agent: None,
            agent_version: String::new(),
            agent_pid: 0,
            rule: String::new(),
            fields: fields.collect(),
            witnesses: Vec::new(),
            line: String::new(),
            row: 0,
            layout: 0,
        }
    }
}
