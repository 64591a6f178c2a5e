//! Which limits, warnings and sign-in codes are news.
//!
//! Constraints. An agent says the same limit in several places: a row, a dialog, the footer. One turn that runs into a
//! limit is one event for each window or model; what names neither is of the one that was told before, and what names it
//! after words that did not is the same.
//!
//! A limit is a level as well: an agent that stands at one holds still until somebody sees to it, whether or not anybody saw
//! it come. So one that stood there at first sight, or stands there before the first turn of a new process, is told once. The
//! words of a session that is replayed are none: they may be of another account. When such a limit lifts is known only from
//! words that mean the same whenever they are read, and one that has lifted already is not told.

use jiff::{SignedDuration, Timestamp};
use wa_proto::{EventKind, PaneState};

use crate::life::is_banner;
use crate::look::Look;
use crate::matcher::PaneMatcher;
use crate::observation::{Detected, Facts};
use crate::reading;
use crate::reset::{self, Refused};
use crate::resets;
use crate::rules::{Engine, Hit, Region};
use crate::state::QUIET;

/// Codes remembered.
const CODES: usize = 16;

/// Words that name a day and a year mean the same at two moments that are so far apart; a clock or a weekday alone does not.
const APART: SignedDuration = SignedDuration::from_hours(8 * 24);

/// A process that ran for so long when its pane was met was not begun in it just now, with an old session to show.
const BEFORE: SignedDuration = SignedDuration::from_secs(3);

/// A limit, or an overload, that was told last: the prompt that ran into it, and the rule.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    kind: EventKind,
    prompt: u64,
    rule: String,
}

impl PaneMatcher {
    /// The limit at which an agent stands that has done nothing since it was seen first.
    pub(crate) fn standing_limit(
        &mut self,
        engine: &Engine,
        seen: &Look,
        facts: &Facts,
        now: Timestamp,
    ) -> Option<Detected> {
        let quiet = now.duration_since(self.quiet_since(seen, now)) >= QUIET;
        let stands = match self.state {
            PaneState::Limited => quiet,
            PaneState::Waiting => true,
            _ => false,
        };
        let agent = self.running.as_ref()?;
        let idle = agent.turns == 0 && !agent.turn_open && !agent.first_limit_told;
        let hit = reading::limited(seen).filter(|_| stands && idle && reading::is_whole(seen))?;
        let footer = engine.rule(hit.rule).is_some_and(|rule| rule.text.region == Region::Footer);
        let unasked = is_banner(seen) && seen.prompt.is_none();
        // Text and processes of a pane come one after the other when it is met.
        let before = |(met, since): (Timestamp, Timestamp)| met.duration_since(since) >= BEFORE;
        let found = agent.found_limited || self.met.zip(facts.agent_since).is_some_and(before);
        if !(found || footer || unasked) || !reading::is_witnessed(engine, seen, hit) {
            return None;
        }
        if let Some(agent) = &mut self.running {
            agent.first_limit_told = true;
        }
        let mut event = reading::detected(engine, seen, hit);
        match lifts(&event, facts, now) {
            Lifts::Lifted => return None,
            Lifts::At => self.resets.note(&mut event, facts.zone.as_ref(), now),
            Lifts::Unknown => {}
        }
        (!self.was_warned(&event, seen)).then_some(event)
    }

    /// One warning for a window in one turn, and one limit for a model, in however many places they stand. What names
    /// neither is of the one that was told before, and what names it after words that did not is the same.
    pub(crate) fn was_warned(&mut self, event: &Detected, seen: &Look) -> bool {
        match event.kind {
            EventKind::LimitReached | EventKind::LimitWarning => {}
            EventKind::ErrorOverloaded => return self.was_left_behind(event, seen),
            // A quota that is full is the limit whose dialog was answered.
            EventKind::ErrorApi if is_quota(event) => {
                let prompt = words_of(seen);
                return self.limits_told.iter().any(|told| {
                    told.kind == EventKind::LimitReached && prompt != 0 && told.prompt == prompt
                });
            }
            _ => return false,
        }
        let (turns, words, key) = (self.turns(), words_of(seen), warned_key(event));
        // A dialog may hide the composer before a turn was seen to begin: another prompt is another turn.
        let now = |told: u64| told == words || told == 0 || words == 0;
        self.warned.retain(|(turn, told, _)| *turn == turns && now(*told));
        let limit = event.kind == EventKind::LimitReached;
        let kind = event.kind.as_str();
        let same = |told: &String| {
            *told == key || (limit && told.starts_with(kind) && (key.ends_with(' ') || told.ends_with(' ')))
        };
        if self.warned.iter().any(|(_, _, told)| same(told)) {
            return true;
        }
        let nameless = key.ends_with(' ');
        self.warned.push((turns, words, key));
        limit && self.was_left_behind(event, seen) && nameless
    }

    /// A dialog that is answered leaves the same words behind as a line, perhaps after more work.
    fn was_left_behind(&mut self, event: &Detected, seen: &Look) -> bool {
        let told = Told { kind: event.kind, prompt: words_of(seen), rule: event.rule.clone() };
        let before = self.limits_told.iter().position(|before| before.kind == told.kind);
        let before = before.map(|at| self.limits_told.remove(at));
        let again = before.is_some_and(|before| before.prompt == told.prompt && before.rule != told.rule);
        self.limits_told.push(told);
        again
    }

    /// Another witness than the screen has told of a limit, which the screen may show later.
    pub(crate) fn note_limit(&mut self, event: &Detected) {
        if event.kind == EventKind::LimitReached {
            let turns = self.turns();
            self.warned.retain(|(turn, _, _)| *turn == turns);
            self.warned.push((turns, 0, warned_key(event)));
        }
    }

    fn turns(&self) -> u64 {
        self.running.as_ref().map_or(0, |agent| agent.turns)
    }

    /// A sign-in code that was told stays on the screen, below which the agent may be started again.
    pub(crate) fn is_old_code(&self, hit: &Hit) -> bool {
        hit.event == EventKind::AuthDeviceCode && self.codes.contains(&hit.key.cast_signed())
    }

    pub(crate) fn note_code(&mut self, hit: &Hit) {
        if hit.event == EventKind::AuthDeviceCode {
            if self.codes.len() >= CODES {
                self.codes.remove(0);
            }
            self.codes.push(hit.key.cast_signed());
        }
    }
}

/// What words that were printed nobody knows when say of the reset.
enum Lifts {
    At,
    Lifted,
    Unknown,
}

fn lifts(event: &Detected, facts: &Facts, now: Timestamp) -> Lifts {
    if let Some(at) = resets::epoch(&event.fields) {
        return if at > now { Lifts::At } else { Lifts::Lifted };
    }
    let Some(printed) = event.fields.get("reset_at") else { return Lifts::Unknown };
    let read = |now| reset::instant(printed, now, facts.zone.as_ref());
    let earlier = now.checked_sub(APART).map(read);
    match (read(now), earlier) {
        (Ok(at), Ok(Ok(before))) if at == before => Lifts::At,
        (Err(Refused::Past(at)), Ok(Ok(before) | Err(Refused::Past(before)))) if at == before => {
            Lifts::Lifted
        }
        _ => Lifts::Unknown,
    }
}

fn warned_key(event: &Detected) -> String {
    let of = |name: &str| event.fields.get(name).map_or("", String::as_str);
    let model = if event.kind == EventKind::LimitReached { of("model") } else { "" };
    format!("{} {}{model}", event.kind.as_str(), of("window"))
}

fn is_quota(event: &Detected) -> bool {
    event.fields.get("cause").is_some_and(|cause| cause == "quota")
}

/// The words of the last prompt on the screen; 0 where there is none.
fn words_of(seen: &Look) -> u64 {
    seen.prompt.map_or(0, |(_, words)| words)
}
