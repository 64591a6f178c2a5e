//! What a matcher keeps beside events and state: the rules of the last look, what was told, rules in shadow, drift.
//!
//! Constraints. Rules may be exchanged between any two looks, and nothing may be told again because of it. What a rule that
//! has just come finds on the screen is history, as everything is at first sight; a dialog and a sign-in that wait are news
//! all the same. Rules are known by what they say and not by the engine they are in: the same pack loaded again is the same.
//! Rules in shadow have this bookkeeping of their own, so that they can never change what the others tell.
//!
//! Only a hash of all live rules is saved. After a restart with other rules nobody can say which of them are new; then
//! everything that stands there is history once.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;

use crate::drift::Drift;
use crate::hash;
use crate::observation::Detected;
use crate::rules::{Engine, Rule};
use crate::shadow::Shadow;

/// Events remembered as told.
const TOLD: usize = 64;

/// The rules of an engine, by what they say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Definitions {
    all: HashSet<u64>,
    /// Of the rules that find marks of compaction; in shadow.
    compaction: u64,
    shadow_compaction: u64,
    /// Of all live rules.
    live: u64,
}

impl Definitions {
    pub(crate) fn of(rules: &[Rule]) -> Self {
        let compaction = |rule: &&Rule| rule.text.rearm == crate::rules::Rearm::Compaction;
        let sum = |shadow: bool, wanted: &dyn Fn(&&Rule) -> bool| {
            let rules = rules.iter().filter(|rule| rule.shadow == shadow).filter(wanted);
            let mut all: Vec<String> = rules.map(|rule| format!("{:x}", rule.definition)).collect();
            all.sort_unstable();
            hash::hash(&all.iter().map(String::as_str).collect::<Vec<_>>())
        };
        Self {
            all: rules.iter().map(|rule| rule.definition).collect(),
            compaction: sum(false, &compaction),
            shadow_compaction: sum(true, &compaction),
            live: sum(false, &|_| true),
        }
    }
}

/// Which rules have come since the last look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Arrived {
    #[default]
    None,
    /// Those that are not among these.
    Since(Arc<Definitions>),
    All,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Aside {
    known: Option<Arc<Definitions>>,
    /// Hash of the live rules before a restart.
    saved: Option<i64>,
    arrived: Arrived,
    told: VecDeque<u64>,
    at: Option<Timestamp>,
    pub(crate) shadow: Shadow,
    pub(crate) drift: Drift,
}

impl Aside {
    /// What is known after a restart.
    pub(crate) fn restored(saved: Option<i64>) -> Self {
        Self { saved, ..Self::default() }
    }

    /// Names the live rules of the last look.
    pub(crate) fn rules(&self) -> Option<i64> {
        self.known.as_ref().map(|known| known.live.cast_signed()).or(self.saved)
    }

    /// A look begins, with these rules.
    pub(crate) fn begin(&mut self, engine: &Engine, now: Timestamp) {
        let rules = engine.definitions();
        self.at = Some(now);
        self.arrived = match self.known.take() {
            Some(known) if Arc::ptr_eq(&known, rules) || known == *rules => Arrived::None,
            Some(known) => Arrived::Since(known),
            None if self.saved == Some(rules.live.cast_signed()) => Arrived::None,
            None => Arrived::All,
        };
        self.known = Some(Arc::clone(rules));
    }

    /// Whether what this rule finds now stood there before the rule came.
    pub(crate) fn is_new(&self, rule: &Rule) -> bool {
        match &self.arrived {
            Arrived::None => false,
            Arrived::Since(known) => !known.all.contains(&rule.definition),
            Arrived::All => true,
        }
    }

    /// Whether other marks of compaction are found than at the last look.
    pub(crate) fn marks_changed(&self, shadow: bool) -> bool {
        let of = |rules: &Definitions| if shadow { rules.shadow_compaction } else { rules.compaction };
        match (&self.arrived, &self.known) {
            (Arrived::None, _) | (_, None) => false,
            (Arrived::Since(before), Some(now)) => of(before) != of(now),
            (Arrived::All, _) => true,
        }
    }

    /// A look ends.
    pub(crate) fn end(&mut self, events: &[Detected]) {
        for event in events.iter().filter(|event| !event.rule.is_empty()) {
            if self.told.len() >= TOLD {
                self.told.pop_front();
            }
            self.told.push_back(told(&event.rule, &event.line));
        }
    }

    /// Whether this rule told this line.
    pub(crate) fn was_told(&self, rule: &str, line: &str) -> bool {
        self.told.contains(&told(rule, line))
    }

    /// The moment of the last look.
    pub(crate) fn at(&self) -> Option<Timestamp> {
        self.at
    }

    pub(crate) fn next_wakeup(&self, now: Timestamp) -> Option<Timestamp> {
        self.shadow.next_wakeup(now).into_iter().chain(self.drift.next_wakeup()).min()
    }
}

fn told(rule: &str, line: &str) -> u64 {
    hash::squeezed(&format!("{rule} {line}"))
}
