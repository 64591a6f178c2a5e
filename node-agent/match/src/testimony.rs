//! What witnesses other than the screen say that happened, and how it meets what the screen shows.
//!
//! An agent's session file and its hooks tell of the same things that a screen shows, a little earlier or later.
//! Constraints. One thing that happened is one event, however many witnesses saw it, and names them. Two things of one kind
//! are two events, also when they follow each other closely: each witness tells of each thing once.
//!
//! Operation. A testimony waits a moment for the screen, whose events carry rule, line and row. An event that the screen
//! tells takes the waiting testimonies of its kind as further witnesses. One that has waited long enough becomes an event of
//! its own. A testimony of what was told a moment ago confirms it and is dropped; an event of the screen that a testimony
//! has told a moment ago is not told again. Lines that scrolled by may settle much later than that: they confirm what was
//! told in the same turn without the screen. A file tells of one limit twice, by its numbers and in words; it is one.

use std::collections::{BTreeMap, VecDeque};

use jiff::{SignedDuration, Timestamp};
use wa_proto::{AgentKind, EventKind, Witness};

use crate::observation::Detected;
use crate::reading;
use crate::resets::is_minute_of;

/// So long the screen may take to show what another witness has said.
const SCREEN_FIRST: SignedDuration = SignedDuration::from_secs(3);
/// Witnesses of one thing speak within this time.
const ONE_THING: SignedDuration = SignedDuration::from_secs(10);
/// Testimonies that wait, things told and keys that are remembered, at most; the oldest go first. Of what arrives between
/// two looks the first are heard.
pub(crate) const MAX: usize = 64;

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
    /// Id of the rule that read its words; empty: they were not read.
    pub rule: String,
    /// The same names as the fields of rules: `percent_left`, `window`, `reset_at`, `session_id`, `trigger`, …
    pub fields: BTreeMap<String, String>,
    /// One line in words, not redacted.
    pub line: String,
    pub at: Timestamp,
}

/// The testimonies of one pane.
#[derive(Debug, Clone, Default)]
pub(crate) struct Testimonies {
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
    /// Of a limit: which.
    window: String,
    at: Timestamp,
    /// Turns begun in the agent's process by then.
    turn: u64,
}

impl Told {
    fn of(event: &Detected, at: Timestamp, turn: u64) -> Self {
        let window = window(&event.fields).to_owned();
        Self { kind: event.kind, witnesses: event.witnesses.clone(), window, at, turn }
    }

    fn is_unseen(&self) -> bool {
        !self.witnesses.contains(&Witness::Screen)
    }
}

impl Testimonies {
    /// Joins what was said with the events of this look; events that only others than the screen told are added in
    /// front, for they waited. `agent` is the one that runs, or has just gone, and the turns that it began: without one
    /// nobody speaks.
    pub(crate) fn join(
        &mut self,
        agent: Option<(&AgentKind, u64)>,
        arrived: Vec<Testimony>,
        events: &mut Vec<Detected>,
        now: Timestamp,
    ) {
        let turn = agent.map_or(0, |(_, turns)| turns);
        self.told.retain(|told| is_near(told, now) || (told.is_unseen() && told.turn == turn));
        for testimony in arrived {
            self.hear(testimony, now);
        }
        events.retain_mut(|event| self.meet(event, turn, now));
        let Some((agent, _)) = agent else {
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
            remember(&mut self.told, Told::of(event, now, turn));
        }
        events.splice(0..0, alone);
    }

    fn hear(&mut self, testimony: Testimony, now: Timestamp) {
        let Testimony { kind, witness, key, rule, fields, line, at: _ } = testimony;
        if !key.is_empty() {
            let key = (witness, kind, key);
            if self.keys.contains(&key) {
                return;
            }
            remember(&mut self.keys, key);
        }
        if self.has_said(witness, kind, &fields, now) {
            return;
        }
        let known = self
            .told
            .iter_mut()
            .find(|told| told.kind == kind && !told.witnesses.contains(&witness) && is_near(told, now));
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
                if event.rule.is_empty() {
                    event.rule = rule;
                }
            }
            None => {
                let event = Detected { rule, fields, ..reading::derived(kind, None, vec![witness], &line) };
                remember(&mut self.waiting, Waiting { event, since: now });
            }
        }
    }

    /// Whether the same witness has just spoken of the same limit; takes what it adds.
    fn has_said(
        &mut self,
        witness: Witness,
        kind: EventKind,
        fields: &BTreeMap<String, String>,
        now: Timestamp,
    ) -> bool {
        if !matches!(kind, EventKind::LimitReached | EventKind::LimitWarning) {
            return false;
        }
        let same = |other: &str| other.is_empty() || window(fields).is_empty() || other == window(fields);
        let waiting = self.waiting.iter_mut().map(|waiting| &mut waiting.event).find(|event| {
            event.kind == kind && event.witnesses.contains(&witness) && same(window(&event.fields))
        });
        if let Some(event) = waiting {
            add_fields(&mut event.fields, fields.clone());
            return true;
        }
        self.told.iter().any(|told| {
            told.kind == kind && told.witnesses.contains(&witness) && same(&told.window) && is_near(told, now)
        })
    }

    /// Whether another witness than the screen has told of such a thing in this turn, of which the screen shows a line only
    /// now. Each is confirmed once.
    pub(crate) fn confirms(&mut self, kind: EventKind, turn: u64) -> bool {
        let told =
            self.told.iter_mut().find(|told| told.kind == kind && told.is_unseen() && told.turn == turn);
        told.map(|told| told.witnesses.push(Witness::Screen)).is_some()
    }

    /// Whether an event of the screen is news; takes those who said so before as its witnesses.
    fn meet(&mut self, event: &mut Detected, turn: u64, now: Timestamp) -> bool {
        let unseen = |told: &&mut Told| {
            told.kind == event.kind
                && is_near(told, now)
                && !told.witnesses.iter().any(|witness| event.witnesses.contains(witness))
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
        remember(&mut self.told, Told::of(event, now, turn));
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

/// Witnesses of one thing may still speak of it.
fn is_near(told: &Told, now: Timestamp) -> bool {
    now.duration_since(told.at) < ONE_THING
}

fn window(fields: &BTreeMap<String, String>) -> &str {
    fields.get("window").map_or("", String::as_str)
}

/// What the screen has read stays; only the second of a reset, of which it shows the minute, it does not know.
fn add_fields(fields: &mut BTreeMap<String, String>, more: BTreeMap<String, String>) {
    for (name, value) in more {
        let minute = fields.get(&name).filter(|_| name == "reset_time").and_then(|at| at.parse().ok());
        let exact = value.parse().ok().zip(minute).is_some_and(|(exact, at)| is_minute_of(at, exact));
        if exact {
            fields.insert(name, value);
        } else {
            fields.entry(name).or_insert(value);
        }
    }
}

fn remember<T>(queue: &mut VecDeque<T>, item: T) {
    if queue.len() >= MAX {
        queue.pop_front();
    }
    queue.push_back(item);
}
