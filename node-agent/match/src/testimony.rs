//! What witnesses other than the screen say that happened, and how it meets what the screen shows.
//!
//! An agent's session file and its hooks tell of the same things that a screen shows, a little earlier or later.
//! Constraints. One thing that happened is one event, however many witnesses saw it, and names them. Two things of one kind
//! are two events, also when they follow each other closely: each witness tells of each thing once.
//!
//! Operation. A testimony waits a moment for the screen, whose events carry rule, line and row. An event that the screen
//! tells takes the waiting testimonies of its kind as further witnesses. One that has waited long enough becomes an event of
//! its own. A testimony of what was told a moment ago confirms it and is dropped; an event of the screen that a testimony
//! has told a moment ago is not told again.

use std::collections::{BTreeMap, VecDeque};

use jiff::{SignedDuration, Timestamp};
use wa_proto::{AgentKind, EventKind, Witness};

use crate::observation::Detected;
use crate::reading;

/// So long the screen may take to show what another witness has said.
const SCREEN_FIRST: SignedDuration = SignedDuration::from_secs(3);
/// Witnesses of one thing speak within this time.
const ONE_THING: SignedDuration = SignedDuration::from_secs(10);
/// Testimonies that wait, things told and keys that are remembered, at most; the oldest go first.
const MAX: usize = 64;

/// One thing that a session file or a hook says has happened, just now: what a file held before it was first read is
/// history and no testimony.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Testimony {
    pub kind: EventKind,
    /// [`Witness::SessionFile`] or [`Witness::Hook`].
    pub witness: Witness,
    /// The witness's own name of it (the id of a boundary record, of a turn): the same again is the same thing. Empty
    /// where it gives none.
    pub key: String,
    /// The same names as the fields of rules: `percent_left`, `window`, `reset_at`, `session_id`, `trigger`, …
    pub fields: BTreeMap<String, String>,
    /// One line in words, not redacted.
    pub line: String,
    pub at: Timestamp,
}

/// The testimonies of one pane.
#[derive(Debug, Clone, Default)]
pub(crate) struct Testimonies {
    arrived: Vec<Testimony>,
    waiting: VecDeque<Waiting>,
    told: VecDeque<Told>,
    keys: VecDeque<(Witness, EventKind, String)>,
}

#[derive(Debug, Clone)]
struct Waiting {
    event: Detected,
    since: Timestamp,
}

/// An event that went out, and who has spoken of it.
#[derive(Debug, Clone)]
struct Told {
    kind: EventKind,
    witnesses: Vec<Witness>,
    at: Timestamp,
}

impl Testimonies {
    pub(crate) fn tell(&mut self, testimony: Testimony) {
        if self.arrived.len() < MAX {
            self.arrived.push(testimony);
        }
    }

    /// Joins what was said with the events of this look; events that only others than the screen told are added in
    /// front, for they waited. `agent` is the one that runs, or has just gone: without one nobody speaks.
    pub(crate) fn join(&mut self, agent: Option<&AgentKind>, events: &mut Vec<Detected>, now: Timestamp) {
        self.told.retain(|told| now.duration_since(told.at) < ONE_THING);
        for testimony in std::mem::take(&mut self.arrived) {
            self.hear(testimony, now);
        }
        events.retain_mut(|event| self.meet(event, now));
        let Some(agent) = agent else {
            self.waiting.clear();
            return;
        };
        let mut alone = Vec::new();
        self.waiting.retain_mut(|waiting| {
            let due = now.duration_since(waiting.since) >= patience(waiting.event.kind);
            if due {
                waiting.event.agent = Some(agent.clone());
                alone.push(waiting.event.clone());
            }
            !due
        });
        for event in &alone {
            remember(&mut self.told, told(event, now));
        }
        events.splice(0..0, alone);
    }

    fn hear(&mut self, testimony: Testimony, now: Timestamp) {
        let Testimony { kind, witness, key, fields, line, at: _ } = testimony;
        if !key.is_empty() {
            let key = (witness, kind, key);
            if self.keys.contains(&key) {
                return;
            }
            remember(&mut self.keys, key);
        }
        let known = self.told.iter_mut().find(|told| told.kind == kind && !told.witnesses.contains(&witness));
        if let Some(told) = known {
            told.witnesses.push(witness);
            return;
        }
        let other = self
            .waiting
            .iter_mut()
            .map(|waiting| &mut waiting.event)
            .find(|event| event.kind == kind && !event.witnesses.contains(&witness));
        match other {
            Some(event) => {
                event.witnesses.push(witness);
                add_fields(&mut event.fields, fields);
            }
            None => {
                let event = Detected { fields, ..reading::derived(kind, None, vec![witness], &line) };
                remember(&mut self.waiting, Waiting { event, since: now });
            }
        }
    }

    /// Whether an event of the screen is news; takes those who said so before as its witnesses.
    fn meet(&mut self, event: &mut Detected, now: Timestamp) -> bool {
        let unseen = |told: &&mut Told| {
            told.kind == event.kind && !told.witnesses.iter().any(|witness| event.witnesses.contains(witness))
        };
        if let Some(told) = self.told.iter_mut().find(unseen) {
            told.witnesses.extend(&event.witnesses);
            return false;
        }
        if let Some(at) = self.waiting.iter().position(|waiting| waiting.event.kind == event.kind)
            && let Some(waiting) = self.waiting.remove(at)
        {
            event.witnesses.extend(waiting.event.witnesses);
            add_fields(&mut event.fields, waiting.event.fields);
        }
        remember(&mut self.told, told(event, now));
        true
    }

    /// When a testimony stops waiting.
    pub(crate) fn next_wakeup(&self) -> Option<Timestamp> {
        let due = |waiting: &Waiting| waiting.since.checked_add(patience(waiting.event.kind)).ok();
        self.waiting.iter().filter_map(due).min()
    }
}

/// A question in free text shows on no screen as one.
fn patience(kind: EventKind) -> SignedDuration {
    if kind == EventKind::QuestionAsked { SignedDuration::ZERO } else { SCREEN_FIRST }
}

fn told(event: &Detected, at: Timestamp) -> Told {
    Told { kind: event.kind, witnesses: event.witnesses.clone(), at }
}

/// What the screen has read stays.
fn add_fields(fields: &mut BTreeMap<String, String>, more: BTreeMap<String, String>) {
    for (name, value) in more {
        fields.entry(name).or_insert(value);
    }
}

fn remember<T>(queue: &mut VecDeque<T>, item: T) {
    if queue.len() >= MAX {
        queue.pop_front();
    }
    queue.push_back(item);
}
