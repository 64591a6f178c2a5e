//! How much is let through within a minute.
//!
//! Counted is what was let begin. What is remembered is bounded by the limits themselves.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::time::Duration;

use tokio::time::Instant;
use wa_proto::{Host, PaneRef};

/// The time over which is counted.
const MINUTE: Duration = Duration::from_secs(60);

/// What may begin within a minute; `None`: any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Limits {
    pub(crate) actions: Option<u32>,
    pub(crate) panes: Option<u32>,
}

impl Limits {
    pub(crate) fn none(self) -> bool {
        self == Self::default()
    }

    /// `None`: there are none.
    pub(crate) fn in_words(self) -> Option<String> {
        let actions = self.actions.map(|most| format!("{most} actions"));
        let panes = self.panes.map(|most| format!("{most} panes"));
        let most: Vec<String> = actions.into_iter().chain(panes).collect();
        (!most.is_empty()).then(|| format!("at most {} a minute", most.join(" and ")))
    }
}

/// A limit that has been reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reached {
    Actions(u32),
    Panes(u32),
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Actions(most) => write!(f, "{most} actions within a minute"),
            Self::Panes(most) => write!(f, "{most} panes within a minute"),
        }
    }
}

/// What one limit has counted.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    actions: VecDeque<Instant>,
    panes: HashMap<(Host, PaneRef), Instant>,
}

impl Rate {
    /// Counts an action in, or says which limit it would break.
    pub(crate) fn count(
        &mut self,
        limits: Limits,
        (host, pane): (&Host, &PaneRef),
        now: Instant,
    ) -> Result<(), Reached> {
        let fresh = |at: &Instant| now.saturating_duration_since(*at) < MINUTE;
        self.panes.retain(|_, at| fresh(at));
        while self.actions.front().is_some_and(|at| !fresh(at)) {
            self.actions.pop_front();
        }
        if let Some(most) = limits.actions.filter(|most| self.actions.len() >= *most as usize) {
            return Err(Reached::Actions(most));
        }
        let key = (host.clone(), pane.clone());
        let full = |most: &u32| self.panes.len() >= *most as usize && !self.panes.contains_key(&key);
        if let Some(most) = limits.panes.filter(full) {
            return Err(Reached::Panes(most));
        }
        if limits.actions.is_some() {
            self.actions.push_back(now);
        }
        if limits.panes.is_some() {
            self.panes.insert(key, now);
        }
        Ok(())
    }
}
