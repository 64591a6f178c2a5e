//! Which account of a pool a pane continues with, and why.
//!
//! Constraints: pure, and explained: every account of the pool gets a verdict in words, whichever is chosen. Never the
//! account that the pane is on, never one that is disabled, of another agent, or in use in as many panes as it may be.
//! Of those that can be used the one with the most left is chosen; what nothing is known of counts as full. One that
//! another run signs in on the host just now comes after all others, for it is waited for. Equals are
//! told apart by the panes that use them, then by which was used longest ago, then by name, so the answer does not
//! depend on the order of the question.
//!
//! A window that was reached holds until it resets; one whose reset nobody knows holds for [`UNKNOWN_RESET`] after it
//! was seen. A window of one model holds only for runs on that model, and for those whose model is not known.

use std::cmp::Ordering;

use jiff::SignedDuration;
use wa_proto::{AccountAlias, AgentKind, Timestamp};

/// How long a reached window holds whose reset is not known: the shortest window of the known providers.
pub const UNKNOWN_RESET: SignedDuration = SignedDuration::from_hours(5);

/// What is known of one usage window of an account.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// `5h`, `weekly`, …, as the agent names it; empty: it was not named.
    pub window: String,
    /// Empty: all models.
    pub model: String,
    /// 0 to 100.
    pub percent_used: Option<f64>,
    pub resets: Option<Timestamp>,
    pub observed: Timestamp,
    /// The limit was reached, and has not been seen to lift.
    pub reached: bool,
}

impl Window {
    /// Until when nothing can be done in this window; `None`: now.
    pub fn blocked_until(&self, now: Timestamp) -> Option<Timestamp> {
        if !self.is_full() {
            return None;
        }
        let until = self.resets.or_else(|| self.observed.checked_add(UNKNOWN_RESET).ok())?;
        (until > now).then_some(until)
    }

    fn is_full(&self) -> bool {
        self.reached || self.percent_used.is_some_and(|used| used >= 100.0)
    }

    /// Percent that is left, while the figure still says something.
    fn left(&self, now: Timestamp) -> Option<f64> {
        let ends = self.resets.or_else(|| self.observed.checked_add(self.span()).ok());
        let passed = ends.is_none_or(|ends| ends <= now);
        let used = self.percent_used.filter(|used| used.is_finite() && !passed)?;
        Some(100.0 - used.clamp(0.0, 100.0))
    }

    /// How long the window is, by its name.
    fn span(&self) -> SignedDuration {
        let hours = match self.window.as_str() {
            "5h" | "session" => 5,
            "weekly" => 7 * 24,
            "monthly" => 31 * 24,
            _ => 24,
        };
        SignedDuration::from_hours(hours)
    }

    fn is_for(&self, model: &str) -> bool {
        self.model.is_empty() || model.is_empty() || names(&self.model, model)
    }

    /// The window, as people call it.
    pub fn name(&self) -> String {
        match (self.window.as_str(), self.model.as_str()) {
            ("", "") => "limit".to_owned(),
            ("", model) => format!("limit of {model}"),
            (window, "") => format!("{window} limit"),
            (window, model) => format!("{window} limit of {model}"),
        }
    }
}

/// Whether the words by which an agent's limit names models fit this model: `Opus` is `claude-opus-4-1`, `all Pro models`
/// has `gemini-2.5-pro` in it.
fn names(limit: &str, model: &str) -> bool {
    let words = |text: &str| -> Vec<String> {
        let parts = text.split(|c: char| !c.is_alphanumeric() && c != '.');
        parts.filter(|part| !part.is_empty()).map(str::to_lowercase).collect()
    };
    let model = words(model);
    let mut wanted = words(limit).into_iter().filter(|word| word != "all" && word != "models").peekable();
    wanted.peek().is_none() || wanted.all(|word| model.contains(&word))
}

/// How an account signs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignIn {
    /// A code from the terminal is entered in a browser.
    DeviceCode,
    ApiKey,
    /// A person does it.
    Manual,
}

impl SignIn {
    pub const ALL: [Self; 3] = [Self::DeviceCode, Self::ApiKey, Self::Manual];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::DeviceCode => "device_code",
            Self::ApiKey => "api_key",
            Self::Manual => "manual",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|way| way.as_str() == text)
    }
}

/// An account of the pool, as far as the choice asks.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    pub alias: AccountAlias,
    pub agent: AgentKind,
    pub disabled: bool,
    pub sign_in: SignIn,
    /// Whether its home on the pane's host was last seen signed in.
    pub signed_in: Option<bool>,
    /// Another run signs it in on the pane's host just now.
    pub signing_in: bool,
    /// Other panes that use it.
    pub panes: u32,
    /// 0 = any number.
    pub max_panes: u32,
    pub windows: Vec<Window>,
    pub last_used: Option<Timestamp>,
}

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    pub agent: &'a AgentKind,
    /// The account that the pane is on.
    pub from: Option<&'a AccountAlias>,
    /// This one or none.
    pub wanted: Option<&'a AccountAlias>,
    /// Empty: not known.
    pub model: &'a str,
}

/// What was thought of one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub alias: AccountAlias,
    pub usable: bool,
    pub reason: String,
    /// When it can be used again, where that is all that is missing.
    pub until: Option<Timestamp>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// `None`: none can be used now.
    pub account: Option<AccountAlias>,
    pub reason: String,
    /// Where none can be used: when the first will be, as far as it is known. It may be the one that the pane is on.
    pub earliest: Option<Timestamp>,
    pub considered: Vec<Verdict>,
}

/// Chooses.
pub fn choose(candidates: &[Candidate], wish: &Wish<'_>, now: Timestamp) -> Choice {
    let mut candidates: Vec<&Candidate> = candidates.iter().collect();
    candidates.sort_by(|a, b| by_preference(a, b, wish, now));
    let considered: Vec<Verdict> = candidates.iter().map(|candidate| verdict(candidate, wish, now)).collect();
    if let Some(best) = considered.iter().find(|verdict| verdict.usable) {
        let reason = match considered.iter().filter(|verdict| verdict.usable).count() {
            1 => format!("{}; no other account can be used now", best.reason),
            usable => format!("{}; the most of {usable} that can be used now", best.reason),
        };
        let reason =
            if wish.wanted.is_some() { format!("asked for by name; {}", best.reason) } else { reason };
        return Choice { account: Some(best.alias.clone()), reason, earliest: None, considered };
    }
    let earliest = considered.iter().filter_map(|verdict| verdict.until).min();
    let reason = none(&considered, wish, earliest);
    Choice { account: None, reason, earliest, considered }
}

/// Why there is no account.
fn none(considered: &[Verdict], wish: &Wish<'_>, earliest: Option<Timestamp>) -> String {
    if let Some(wanted) = wish.wanted {
        return match considered.iter().find(|verdict| verdict.alias == *wanted) {
            Some(verdict) => format!("{wanted} cannot be used: {}", verdict.reason),
            None => format!("there is no account {wanted} in this pool"),
        };
    }
    match earliest {
        _ if considered.is_empty() => "the pool has no accounts: `wa account add` makes one".to_owned(),
        Some(at) => format!("no account of the pool can be used now; the first limit resets at {at}"),
        None => "no account of the pool can be used now".to_owned(),
    }
}

/// The most left first, and so on; only the order of what is usable matters.
fn by_preference(a: &Candidate, b: &Candidate, wish: &Wish<'_>, now: Timestamp) -> Ordering {
    let left = |candidate| least_left(candidate, wish, now).map_or(100.0, |(left, _)| left);
    a.signing_in
        .cmp(&b.signing_in)
        .then(left(b).total_cmp(&left(a)))
        .then(a.panes.cmp(&b.panes))
        .then(a.last_used.cmp(&b.last_used))
        .then_with(|| a.alias.cmp(&b.alias))
}

/// The window with the least left, of those that count.
fn least_left<'c>(candidate: &'c Candidate, wish: &Wish<'_>, now: Timestamp) -> Option<(f64, &'c Window)> {
    let counted = candidate.windows.iter().filter(|window| window.is_for(wish.model));
    counted.filter_map(|window| Some((window.left(now)?, window))).min_by(|(a, _), (b, _)| a.total_cmp(b))
}

fn verdict(candidate: &Candidate, wish: &Wish<'_>, now: Timestamp) -> Verdict {
    let told =
        |usable, reason: String, until| Verdict { alias: candidate.alias.clone(), usable, reason, until };
    let no = |reason: String| told(false, reason, None);
    let blocked = blocked(&candidate.windows, wish.model, now);
    if candidate.disabled {
        return no("disabled".to_owned());
    }
    if candidate.agent != *wish.agent {
        return no(format!("it is for {}, and {} runs there", candidate.agent, wish.agent));
    }
    if wish.from == Some(&candidate.alias) {
        let until = blocked.filter(|_| wish.wanted.is_none()).map(|(until, _)| until);
        return told(false, "the pane is on it".to_owned(), until);
    }
    if wish.wanted.is_some_and(|wanted| *wanted != candidate.alias) {
        return no("another was asked for".to_owned());
    }
    if candidate.max_panes > 0 && candidate.panes >= candidate.max_panes {
        return no(format!("in use in {} of {} panes", candidate.panes, candidate.max_panes));
    }
    if candidate.sign_in == SignIn::Manual && candidate.signed_in != Some(true) {
        let alias = &candidate.alias;
        return no(format!(
            "a person signs it in on this host first: `wa account login {alias} --host HOST`"
        ));
    }
    match blocked {
        Some((until, why)) => told(false, why, Some(until)),
        None => told(true, usable(candidate, wish, now), None),
    }
}

/// Until when an account with these windows cannot be used on this model, and why.
pub fn blocked(windows: &[Window], model: &str, now: Timestamp) -> Option<(Timestamp, String)> {
    let counted = windows.iter().filter(|window| window.is_for(model));
    let (until, window) = counted
        .filter_map(|window| Some((window.blocked_until(now)?, window)))
        .max_by_key(|(until, _)| *until)?;
    let why = match window.resets {
        Some(_) => format!("its {} is reached; it resets at {until}", window.name()),
        None => format!("its {} is reached; the reset is unknown and taken as {until}", window.name()),
    };
    Some((until, why))
}

fn usable(candidate: &Candidate, wish: &Wish<'_>, now: Timestamp) -> String {
    let left = match least_left(candidate, wish, now) {
        Some((left, window)) => format!("{left:.0} % of its {} left", window.name()),
        None => "nothing is known of its limits".to_owned(),
    };
    let left = match candidate.signing_in {
        true => format!("{left}, once the run that signs it in on this host is done"),
        false => left,
    };
    match candidate.panes {
        0 => left,
        1 => format!("{left}, in use in another pane"),
        panes => format!("{left}, in use in {panes} other panes"),
    }
}

#[cfg(test)]
#[path = "choice_tests.rs"]
mod tests;
