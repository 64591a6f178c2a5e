//! An agent's own session file as a witness: what it says of the session, and the conversation in it.

use crate::pane::words;
use crate::{AgentKind, PaneRef, Timestamp};

/// What the session file that belongs to a pane says. A level: told when it changes, never spooled.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AgentSession {
    pub session_id: String,
    /// Absolute path on the node's host, redacted.
    pub path: String,
    /// Why this file belongs to this pane, in words.
    pub reason: String,
    /// As the agent names it; empty while unknown.
    pub model: String,
    /// Of the whole session, as far as the file has counted.
    pub usage: TokenUsage,
    /// As last reported by the provider, by window.
    pub rate_limits: Vec<RateLimitWindow>,
    /// Times that the context was compacted.
    pub compactions: u32,
    /// What keeps the file from being read in full, in words; empty while nothing does.
    pub problem: String,
}

/// Tokens. The counts of a session file, never an estimate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenUsage {
    /// Read from the cache not included.
    pub input: u64,
    pub cached_input: u64,
    /// Reasoning included.
    pub output: u64,
    /// In the context of the last turn; 0 = unknown.
    pub context: u64,
    /// Size of the context window; 0 = unknown.
    pub context_window: u64,
}

/// One usage window of the provider.
#[derive(Debug, Clone, PartialEq)]
pub struct RateLimitWindow {
    /// `5h`, `daily`, `weekly`, `monthly`, or as the agent names it.
    pub window: String,
    /// 0 to 100.
    pub percent_used: f64,
    pub resets_at: Option<Timestamp>,
    pub observed_at: Timestamp,
}

words! {
    /// Who speaks in a conversation, or what kind of step it was.
    Role, "role" {
        User = "user",
        Assistant = "assistant",
        /// What the agent shows of its reasoning.
        Reasoning = "reasoning",
        /// The agent calls a tool; `name` says which.
        ToolCall = "tool_call",
        ToolResult = "tool_result",
        /// The context was compacted here.
        Compaction = "compaction",
        /// Anything else that the agent notes: an error, a limit, a sign-in.
        Notice = "notice",
    }
}

/// Messages of one session, in the order of its file. Travels in the bulk lane.
#[derive(Debug, Clone, PartialEq)]
pub struct Conversation {
    pub pane: PaneRef,
    pub agent: AgentKind,
    pub session_id: String,
    /// Bytes of the file right before the first message that were not read: too much of it, or damaged.
    pub skipped_bytes: u64,
    pub messages: Vec<Message>,
}

/// One message. Texts are redacted.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Counts the messages of the session from 0. The same index again replaces the message: some agents rewrite theirs.
    pub index: u64,
    /// The agent's own id of the message, or empty. Copies of a message in a resumed session keep it.
    pub id: String,
    pub role: Role,
    /// The tool of a `tool_call` or `tool_result`; else empty.
    pub name: String,
    pub text: String,
    /// Bytes that were cut from the end of the text.
    pub cut_bytes: u64,
    /// By the agent's clock; `None` where it does not say.
    pub time: Option<Timestamp>,
}
