//! Session files: the level that stands at a pane, and the conversation.

use crate::session::{AgentSession, Conversation, Message, RateLimitWindow, TokenUsage};

use super::{Invalid, agent, bad, from_optional_us, from_us, need, optional_us, to_us};
use crate::wire::v1;

impl From<AgentSession> for v1::AgentSession {
    fn from(session: AgentSession) -> Self {
        Self {
            session_id: session.session_id,
            path: session.path,
            reason: session.reason,
            model: session.model,
            usage: Some(v1::TokenUsage {
                input: session.usage.input,
                cached_input: session.usage.cached_input,
                output: session.usage.output,
                context: session.usage.context,
                context_window: session.usage.context_window,
            }),
            rate_limits: session.rate_limits.into_iter().map(Into::into).collect(),
            compactions: session.compactions,
            problem: session.problem,
        }
    }
}

impl TryFrom<v1::AgentSession> for AgentSession {
    type Error = Invalid;
    fn try_from(session: v1::AgentSession) -> Result<Self, Invalid> {
        let usage = session.usage.unwrap_or_default();
        Ok(Self {
            session_id: session.session_id,
            path: session.path,
            reason: session.reason,
            model: session.model,
            usage: TokenUsage {
                input: usage.input,
                cached_input: usage.cached_input,
                output: usage.output,
                context: usage.context,
                context_window: usage.context_window,
            },
            rate_limits: session.rate_limits.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            compactions: session.compactions,
            problem: session.problem,
        })
    }
}

impl From<RateLimitWindow> for v1::RateLimitWindow {
    fn from(limit: RateLimitWindow) -> Self {
        Self {
            window: limit.window,
            percent_used: limit.percent_used,
            resets_us: optional_us(limit.resets_at),
            observed_us: to_us(limit.observed_at),
        }
    }
}

impl TryFrom<v1::RateLimitWindow> for RateLimitWindow {
    type Error = Invalid;
    fn try_from(limit: v1::RateLimitWindow) -> Result<Self, Invalid> {
        if !limit.percent_used.is_finite() {
            return Err(bad("rate_limit.percent_used", limit.percent_used));
        }
        Ok(Self {
            window: limit.window,
            percent_used: limit.percent_used,
            resets_at: from_optional_us("rate_limit.resets_us", limit.resets_us)?,
            observed_at: from_us("rate_limit.observed_us", limit.observed_us)?,
        })
    }
}

impl From<Conversation> for v1::Conversation {
    fn from(conversation: Conversation) -> Self {
        Self {
            pane: Some(conversation.pane.into()),
            agent: conversation.agent.as_str().to_owned(),
            session_id: conversation.session_id,
            skipped_bytes: conversation.skipped_bytes,
            messages: conversation.messages.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::Conversation> for Conversation {
    type Error = Invalid;
    fn try_from(conversation: v1::Conversation) -> Result<Self, Invalid> {
        Ok(Self {
            pane: need("conversation.pane", conversation.pane)?.try_into()?,
            agent: need("conversation.agent", agent(conversation.agent))?,
            session_id: conversation.session_id,
            skipped_bytes: conversation.skipped_bytes,
            messages: conversation.messages.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
        })
    }
}

impl From<Message> for v1::Message {
    fn from(message: Message) -> Self {
        Self {
            index: message.index,
            id: message.id,
            role: message.role.as_str().to_owned(),
            name: message.name,
            text: message.text,
            cut_bytes: message.cut_bytes,
            time_us: optional_us(message.time),
        }
    }
}

impl TryFrom<v1::Message> for Message {
    type Error = Invalid;
    fn try_from(message: v1::Message) -> Result<Self, Invalid> {
        Ok(Self {
            index: message.index,
            id: message.id,
            role: message.role.parse().map_err(|e| bad("message.role", e))?,
            name: message.name,
            text: message.text,
            cut_bytes: message.cut_bytes,
            time: from_optional_us("message.time_us", message.time_us)?,
        })
    }
}
