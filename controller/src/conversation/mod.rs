//! One timeline of a pane: what its agents' session files say, and what only the screen showed. Pure.
//!
//! Constraints. Nothing may vanish: every message is given, every gap of the screen is given, and a line of the screen is
//! left out only if its words stand in a message that is given ([`cover`] says when); in doubt the line is shown. Only
//! lines that were printed while the agent of the message ran can be left out. Messages keep the order of their session,
//! lines the order of the screen. Memory is bounded whatever comes: the caller reads on only when asked to.
//!
//! Format: two sorted streams go in, messages ([`Merge::heard`]) and lines or gaps ([`Merge::saw`]), each with a payload
//! that is not looked at; payloads come out of [`Merge::next`] in the order of the timeline.
//!
//! Order. By time, but a rewritten row has the time of its last rewrite: for the order, a line is no later than the lines
//! below it. And a line is no earlier than the messages that the lines above it render, for an agent writes its file when
//! a message is complete and prints before.
//!
//! Who reads a store tells when there is no more to read ([`Merge::no_more_said`], [`Merge::no_more_seen`]). Who follows
//! gives each line a time until which it may wait for the message that it renders: then it is shown.

mod cover;
#[cfg(test)]
mod recorded_tests;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use wa_proto::Timestamp;

pub(crate) use cover::Spoken;
use cover::{AHEAD, Cover, Plain, Words};

/// Messages that are read ahead of the screen, and bytes of them.
const AHEAD_MESSAGES: usize = 256;
const AHEAD_BYTES: usize = 2 * 1024 * 1024;
/// Lines that are read ahead, to know the neighbours of a line and the times of those below.
const AHEAD_LINES: usize = 256;

/// A line or a gap of the screen.
pub(crate) struct Seen {
    time: Timestamp,
    kind: Kind,
    until: Option<Timestamp>,
}

impl Seen {
    /// `text` is `None` for a gap. `agent` is the one that ran when the line was printed; empty for none. `until`: how
    /// long the line may wait for its message; `None` where no message comes but those that can be read.
    pub(crate) fn of(time: Timestamp, text: Option<&str>, agent: &str, until: Option<Timestamp>) -> Self {
        let kind = text.map_or(Kind::Gap, |text| Kind::Line(Words::of(text), agent.to_owned()));
        Self { time, kind, until }
    }
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step<T> {
    /// The next of the timeline.
    Give(T),
    /// More messages are to be read, or it is to be said that there are none.
    NeedSaid,
    /// More of the screen is to be read, or it is to be said that there is none.
    NeedSeen,
    /// Nothing before this time, unless something is heard.
    Wait(Timestamp),
    /// Nothing is left.
    Empty,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Unknown,
    /// Given.
    Shown,
    /// Left out: a message of this time says the same.
    Covered(Timestamp),
}

enum Kind {
    Gap,
    /// With the agent.
    Line(Words, String),
}

struct Waiting<T> {
    /// For the order.
    time: Timestamp,
    /// As it was told.
    captured: Timestamp,
    kind: Kind,
    until: Option<Timestamp>,
    fate: Fate,
    payload: T,
}

struct Said<T> {
    at: Timestamp,
    bytes: usize,
    payload: T,
}

/// The merge of one pane.
pub(crate) struct Merge<T> {
    cover: Cover,
    said: VecDeque<Said<T>>,
    said_bytes: usize,
    /// The newest time that was heard.
    heard_to: Option<Timestamp>,
    seen: VecDeque<Waiting<T>>,
    more_said: bool,
    more_seen: bool,
    /// What became of the line before the first of `seen`.
    before: Fate,
    /// Lines come after the messages that those above them render.
    not_before: Timestamp,
}

impl<T> Default for Merge<T> {
    fn default() -> Self {
        Self {
            cover: Cover::default(),
            said: VecDeque::new(),
            said_bytes: 0,
            heard_to: None,
            seen: VecDeque::new(),
            more_said: true,
            more_seen: true,
            before: Fate::Unknown,
            not_before: Timestamp::MIN,
        }
    }
}

impl<T> Merge<T> {
    /// The next message, in order.
    pub(crate) fn heard(&mut self, at: Timestamp, spoken: Spoken, payload: T) {
        let bytes = spoken.bytes();
        self.heard_to = self.heard_to.max(Some(at));
        self.said_bytes += bytes;
        self.said.push_back(Said { at, bytes, payload });
        self.cover.add(at, spoken);
    }

    pub(crate) fn no_more_said(&mut self) {
        self.more_said = false;
    }

    /// The next line or gap, in the order of the screen.
    pub(crate) fn saw(&mut self, seen: Seen, payload: T) {
        // Of the lines above only the time for the order changes, and only downwards: each is lowered a few times at most.
        for above in self.seen.iter_mut().rev().take_while(|above| above.time > seen.time) {
            above.time = seen.time;
        }
        let fate = match &seen.kind {
            Kind::Line(_, agent) if !agent.is_empty() => Fate::Unknown,
            Kind::Line(..) | Kind::Gap => Fate::Shown,
        };
        let Seen { time, kind, until } = seen;
        self.seen.push_back(Waiting { time, captured: time, kind, until, fate, payload });
    }

    pub(crate) fn no_more_seen(&mut self) {
        self.more_seen = false;
    }

    /// What waits: who follows reads on only while it is little.
    pub(crate) fn waiting(&self) -> usize {
        self.seen.len() + self.said.len()
    }

    /// What comes next in the timeline. `now` counts only for lines that may wait.
    pub(crate) fn next(&mut self, now: Timestamp) -> Step<T> {
        loop {
            if self.more_seen && self.seen.len() < AHEAD_LINES {
                return Step::NeedSeen;
            }
            let Some(first) = self.seen.front() else {
                return match self.said.pop_front() {
                    Some(said) => self.give_said(said),
                    None if self.more_said => Step::NeedSaid,
                    None => Step::Empty,
                };
            };
            let time = first.time.max(self.not_before);
            if self.wants_said(first.captured) {
                return Step::NeedSaid;
            }
            if self.said.front().is_some_and(|said| said.at <= time)
                && let Some(said) = self.said.pop_front()
            {
                return self.give_said(said);
            }
            if let Some(wait) = self.decide(now) {
                return Step::Wait(wait);
            }
            // What was decided may have moved the line behind a message.
            let Some(first) = self.seen.front() else { continue };
            let moved = self.said.front().is_some_and(|said| said.at <= first.time.max(self.not_before));
            if moved && first.fate == Fate::Shown {
                continue;
            }
            if let Some(step) = self.take_first() {
                return step;
            }
        }
    }

    /// Whether messages are to be read before a line of this time can be judged.
    fn wants_said(&self, time: Timestamp) -> bool {
        let to = time.saturating_add(AHEAD).unwrap_or(Timestamp::MAX);
        self.more_said
            && self.said.len() < AHEAD_MESSAGES
            && self.said_bytes < AHEAD_BYTES
            && self.heard_to.is_none_or(|heard| heard <= to)
    }

    fn give_said(&mut self, said: Said<T>) -> Step<T> {
        self.said_bytes -= said.bytes;
        self.cover.given();
        Step::Give(said.payload)
    }

    /// Takes the first line away; it is given unless it was covered.
    fn take_first(&mut self) -> Option<Step<T>> {
        let first = self.seen.pop_front()?;
        self.before = first.fate;
        match first.kind {
            Kind::Gap => {
                self.before = Fate::Unknown;
                self.cover.broke_off();
            }
            Kind::Line(..) => {}
        }
        match first.fate {
            Fate::Covered(_) => None,
            Fate::Shown | Fate::Unknown => Some(Step::Give(first.payload)),
        }
    }

    /// Decides what becomes of the first line; the time until which that must wait, if it must.
    fn decide(&mut self, now: Timestamp) -> Option<Timestamp> {
        let first = self.seen.front()?;
        if first.fate != Fate::Unknown {
            return None;
        }
        let patient = first.until.filter(|until| now < *until);
        let Kind::Line(words, _) = &first.kind else { return None };
        let wordless = matches!(words, Words::None(_));
        let fate = if wordless { self.judge_wordless(now) } else { self.judge(0) };
        match (fate, patient) {
            (Fate::Unknown, Some(until)) => return Some(until),
            (Fate::Unknown, None) => self.settle(0, Fate::Shown),
            (fate, _) => self.settle(0, fate),
        }
        None
    }

    /// What becomes of the line at this place by its words.
    fn judge(&mut self, at: usize) -> Fate {
        let Some(line) = self.seen.get(at) else { return Fate::Unknown };
        if line.fate != Fate::Unknown {
            return line.fate;
        }
        let Kind::Line(Words::Some(words), agent) = &line.kind else { return Fate::Unknown };
        let found = self.cover.find(words, agent, line.captured).or_else(|| {
            let Kind::Line(Words::Some(next), next_agent) = &self.seen.get(at + 1)?.kind else { return None };
            if next_agent != agent {
                return None;
            }
            self.cover.find_with_next(words, next, agent, line.captured)
        });
        found.map_or(Fate::Unknown, Fate::Covered)
    }

    /// A line without words goes the way of its neighbours: it is left out with a line that was. The edge of a frame
    /// belongs to one of them.
    fn judge_wordless(&mut self, now: Timestamp) -> Fate {
        let Some(Waiting { kind: Kind::Line(Words::None(plain), _), .. }) = self.seen.front() else {
            return Fate::Unknown;
        };
        let Plain { ends, begins, .. } = *plain;
        match self.before {
            Fate::Covered(at) if !begins && self.fits() => return Fate::Covered(at),
            Fate::Shown if ends => return Fate::Shown,
            Fate::Covered(_) | Fate::Shown | Fate::Unknown => {}
        }
        let is_worded = |line: &Waiting<T>| !matches!(line.kind, Kind::Line(Words::None(_), _));
        let Some(next) = self.seen.iter().position(is_worded) else { return Fate::Unknown };
        let fate = self.judge(next);
        match fate {
            Fate::Covered(at) => {
                self.settle(next, fate);
                if self.fits() { Fate::Covered(at) } else { Fate::Shown }
            }
            Fate::Shown => Fate::Shown,
            // Whoever waits for the next waits no longer than it does.
            Fate::Unknown => {
                let over = self.seen.get(next).is_none_or(|line| line.until.is_none_or(|until| now >= until));
                if over { Fate::Shown } else { Fate::Unknown }
            }
        }
    }

    /// Whether the first line, which has no words, is decoration or has the marks of the message that was found last.
    fn fits(&self) -> bool {
        let Some(Waiting { kind: Kind::Line(Words::None(plain), _), .. }) = self.seen.front() else {
            return false;
        };
        plain.marks.is_empty() || self.cover.has_marks(&plain.marks)
    }

    fn settle(&mut self, at: usize, fate: Fate) {
        if let Fate::Covered(time) = fate {
            self.not_before = self.not_before.max(time);
        }
        if let Some(line) = self.seen.get_mut(at) {
            line.fate = fate;
        }
    }
}
