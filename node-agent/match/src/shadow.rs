//! Rules in shadow: let through by the same gates as the others, with bookkeeping of their own.
//!
//! What they would have told is counted, so it is without secrets. Nothing of it is saved: after a restart what stands
//! there is history.

use std::collections::BTreeMap;

use jiff::Timestamp;
use wa_proto::{AgentKind, EventKind, Witness};

use crate::compaction::{Compaction, Sight};
use crate::composer::Composer;
use crate::look::Look;
use crate::matcher::{PaneMatcher, Turn, occurrence};
use crate::observation::Detected;
use crate::presence::{Match, Moment, Presences};
use crate::reading;
use crate::rules::{Engine, Hit, Rearm, Rule};
use crate::state;

#[derive(Debug, Clone, Default)]
pub(crate) struct Shadow {
    presences: Presences,
    compaction: Compaction,
    seen: bool,
}

/// What the live gates go by in this frame.
struct Gates<'a> {
    moment: &'a Moment,
    /// Which rules have just come.
    is_new: &'a dyn Fn(&Rule) -> bool,
    /// Nothing above the live area has changed for a while.
    quiet: bool,
    /// Marks of compaction in shadow, and what else that machine looks at.
    sight: &'a Sight<'a>,
    /// An agent process was not there before.
    started: bool,
    /// Other rules find marks of compaction than at the last look.
    marks_changed: bool,
}

impl PaneMatcher {
    /// What the rules in shadow would have told.
    pub(crate) fn shadow(
        &mut self,
        engine: &Engine,
        seen: &Look,
        turn: &Turn,
        started: bool,
        now: Timestamp,
    ) -> Vec<Detected> {
        let mut shadow = std::mem::take(&mut self.aside.shadow);
        let marks = reading::marks_of(seen, &seen.shadowed);
        let gates = Gates {
            moment: &self.moment(seen, turn, now),
            is_new: &|rule| self.aside.is_new(rule),
            quiet: self.quiet.is_some_and(|(_, since)| now.duration_since(since) >= state::QUIET),
            sight: &turn.sight(seen, marks.as_ref()),
            started,
            marks_changed: self.aside.marks_changed(true),
        };
        let told = shadow.observe(engine, seen, &gates, now);
        self.aside.shadow = shadow;
        told
    }
}

impl Shadow {
    /// What the rules in shadow would tell of this frame.
    fn observe(&mut self, engine: &Engine, look: &Look, gates: &Gates<'_>, now: Timestamp) -> Vec<Detected> {
        let first = !std::mem::replace(&mut self.seen, true);
        if gates.started {
            self.presences.new_process();
        }
        let (mut told, mut visible) = (Vec::new(), Vec::with_capacity(look.shadowed.len()));
        let mut asked = false;
        for hit in &look.shadowed {
            let Some(rule) = engine.rule(hit.rule) else { continue };
            // A dialog is one event, though several rules may name it.
            let asks = hit.event == EventKind::ApprovalRequested;
            if asks && std::mem::replace(&mut asked, true) {
                continue;
            }
            let Some((found, waits)) = gate(engine, look, hit, gates) else { continue };
            visible.push(found.key);
            let history = (gates.moment.history || first || (gates.is_new)(rule)) && !waits;
            let moment = Moment { history, ..*gates.moment };
            if self.presences.appears(&found, &moment) && reading::is_witnessed(engine, look, hit) {
                told.push(counted(engine, look, hit));
            }
        }
        self.presences.settle(&visible, gates.moment);
        if look.agent.is_none() {
            return told;
        }
        if first || gates.started {
            self.compaction.begin(gates.sight);
        } else {
            if gates.marks_changed {
                self.compaction.adopt(gates.sight);
            }
            let marks = reading::marks_of(look, &look.shadowed);
            if self.compaction.observe(gates.sight, now)
                && let Some(marks) = marks
            {
                told.push(counted(engine, look, marks.last));
            }
        }
        told
    }

    /// Whether a match in a line that scrolled by would be news.
    pub(crate) fn appears(&mut self, found: &Match, moment: &Moment) -> bool {
        self.presences.appears(found, moment)
    }

    pub(crate) fn next_wakeup(&self, now: Timestamp) -> Option<Timestamp> {
        let compaction = self.compaction.next_wakeup().filter(|at| *at > now);
        self.presences.next_wakeup(now).into_iter().chain(compaction).min()
    }
}

/// What a match is to the presences, and whether it is something that waits; `None` where it does not go through them.
fn gate(engine: &Engine, look: &Look, hit: &Hit, gates: &Gates<'_>) -> Option<(Match, bool)> {
    let rule = engine.rule(hit.rule)?;
    if rule.text.rearm == Rearm::Compaction {
        return None;
    }
    if hit.event == EventKind::ApprovalRequested {
        let (dialog, _) = reading::dialog(look)?;
        return Some((Match { key: dialog.key, ..reading::DIALOG }, true));
    }
    if hit.event == EventKind::SessionEnded && look.agent.is_some() && !gates.quiet {
        return None;
    }
    if reading::is_stale(engine, look, hit) {
        return None;
    }
    let hold = if gates.moment.whole { rule.text.hold } else { rule.text.hold.max(reading::HALF_DRAWN) };
    let waits = matches!(hit.event, EventKind::AuthDeviceCode | EventKind::AuthRequired)
        && look.view.content == Composer::Missing;
    let key = occurrence(rule, hit, &look.shadowed);
    Some((Match { key, rearm: rule.text.rearm, cooldown: rule.text.cooldown, hold }, waits))
}

pub(crate) fn counted(engine: &Engine, look: &Look, hit: &Hit) -> Detected {
    without_secrets(reading::detected(engine, look, hit))
}

pub(crate) fn without_secrets(event: Detected) -> Detected {
    Detected { secrets: BTreeMap::new(), ..event }
}

/// What a rule in shadow finds in a record: each record is read once, so there is no gate.
pub(crate) fn of_record(engine: &Engine, agent: &AgentKind, hit: &Hit) -> Detected {
    let rule = engine.rule(hit.rule).map_or_else(String::new, |rule| rule.id.to_string());
    let derived = reading::derived(hit.event, Some(agent), vec![Witness::SessionFile], &hit.line);
    Detected { rule, fields: hit.fields.clone(), ..derived }
}
