//! `"session"` of `wa.status/1`: what an agent's own session file says.

use serde::Serialize;
use wa_proto::Timestamp;
use wa_proto::wire::{Invalid, v1};

use super::{clock, instant, known};

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Session {
    session_id: Option<String>,
    path: Option<String>,
    /// Why this file belongs to this pane.
    reason: Option<String>,
    model: Option<String>,
    usage: Usage,
    /// How full the context is.
    context_percent: Option<f64>,
    rate_limits: Vec<RateLimit>,
    compactions: u32,
    problem: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Usage {
    input: u64,
    cached_input: u64,
    output: u64,
    context: Option<u64>,
    context_window: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct RateLimit {
    window: String,
    percent_used: Option<f64>,
    resets_at: Option<Timestamp>,
    observed_at: Option<Timestamp>,
}

impl TryFrom<v1::AgentSession> for Session {
    type Error = Invalid;
    fn try_from(session: v1::AgentSession) -> Result<Self, Invalid> {
        let counted = |tokens: u64| (tokens > 0).then_some(tokens);
        let usage = session.usage.unwrap_or_default();
        let usage = Usage {
            input: usage.input,
            cached_input: usage.cached_input,
            output: usage.output,
            context: counted(usage.context),
            context_window: counted(usage.context_window),
        };
        Ok(Self {
            session_id: known(session.session_id),
            path: known(session.path),
            reason: known(session.reason),
            model: known(session.model),
            context_percent: usage.percent(),
            usage,
            rate_limits: session.rate_limits.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            compactions: session.compactions,
            problem: known(session.problem),
        })
    }
}

impl TryFrom<v1::RateLimitWindow> for RateLimit {
    type Error = Invalid;
    fn try_from(limit: v1::RateLimitWindow) -> Result<Self, Invalid> {
        Ok(Self {
            window: limit.window,
            percent_used: Some(limit.percent_used).filter(|percent| percent.is_finite()),
            resets_at: instant("rate_limit.resets_us", limit.resets_us)?,
            observed_at: instant("rate_limit.observed_us", limit.observed_us)?,
        })
    }
}

impl Usage {
    /// Of the context window, to a tenth.
    #[expect(clippy::cast_precision_loss, reason = "tokens are far below 2^52")]
    fn percent(self) -> Option<f64> {
        let (context, window) = (self.context?, self.context_window?);
        Some((context as f64 / window as f64 * 1000.0).round() / 10.0)
    }
}

impl RateLimit {
    fn words(&self) -> String {
        let mut words = format!("{}:", self.window);
        match self.percent_used {
            Some(percent) => words.extend([" ", &percent.to_string(), "% used"]),
            None => words.push_str(" use unknown"),
        }
        if let Some(at) = self.resets_at {
            words.extend([", resets ", &clock(at)]);
        }
        if let Some(at) = self.observed_at {
            words.extend([" (seen ", &clock(at), ")"]);
        }
        words
    }
}

impl Session {
    /// For `wa show`: what it is called and what it says; empty where nothing is known.
    pub(super) fn facts(&self) -> Vec<(&'static str, String)> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let usage = &self.usage;
        let tokens = format!("{} in, {} from cache, {} out", usage.input, usage.cached_input, usage.output);
        let context = match (usage.context, usage.context_window, self.context_percent) {
            (Some(context), Some(window), Some(percent)) => {
                format!("{context} of {window} ({percent}% full)")
            }
            (Some(context), ..) => context.to_string(),
            _ => String::new(),
        };
        let mut facts = vec![
            ("session", text(&self.session_id)),
            ("session file", text(&self.path)),
            ("because", text(&self.reason)),
            ("model", text(&self.model)),
            ("tokens", tokens),
            ("context", context),
        ];
        facts.extend(self.rate_limits.iter().map(|limit| ("limit", limit.words())));
        let compacted = match self.compactions {
            0 => String::new(),
            1 => "once".to_owned(),
            times => format!("{times} times"),
        };
        facts.extend([("compacted", compacted), ("problem", text(&self.problem))]);
        facts
    }
}
