//! One look at a saved screen: no process table, nothing before, nothing after.
//!
//! All that stands in the place where it would have fired is told, once for each kind of event; what a live pane derives
//! from changes (turns, exits) is not.

use jiff::Timestamp;
use wa_proto::{EventKind, Frame, PaneState};

use crate::composer::{self, Composer};
use crate::drift;
use crate::life::is_new_session;
use crate::look::{Known, look};
use crate::observation::{Detected, Facts, Observation};
use crate::reading;
use crate::resets;
use crate::rules::Engine;
use crate::shadow;
use crate::state::{self, Inputs};

/// Runs the engine over one screen. `facts.foreground` may name the agent that runs there.
pub fn scan(engine: &Engine, frame: &Frame, facts: &Facts, now: Timestamp) -> Observation {
    let seen = look(engine, frame, facts, &Known { still: true, ..Known::default() });
    let mut events: Vec<Detected> = Vec::new();
    let tell = |event: Detected, events: &mut Vec<Detected>| {
        if !events.iter().any(|told| told.kind == event.kind) {
            events.push(event);
        }
    };
    for hit in &seen.hits {
        let gated = matches!(
            hit.event,
            EventKind::AgentStarted | EventKind::ContextCompacted | EventKind::ApprovalRequested
        );
        if !gated && !reading::is_stale(engine, &seen, hit) && reading::is_witnessed(engine, &seen, hit) {
            tell(reading::detected(engine, &seen, hit), &mut events);
        }
    }
    if let Some(banner) = seen.hits.iter().find(|hit| hit.event == EventKind::AgentStarted)
        && (is_new_session(&seen) || !seen.agent.as_ref().is_some_and(composer::is_known))
    {
        tell(reading::detected(engine, &seen, banner), &mut events);
    }
    if let Some(marks) = reading::marks(&seen) {
        tell(reading::detected(engine, &seen, marks.last), &mut events);
    }
    if let Some((_, event)) = reading::approval(engine, &seen) {
        tell(event, &mut events);
    }
    let dialog_kind =
        reading::dialog(&seen).and_then(|(_, hit)| hit?.fields.get("kind").cloned()).unwrap_or_default();
    let says = |kind: EventKind| events.iter().any(|event| event.kind == kind);
    let how = if says(EventKind::AgentCrashed) { state::Left::Crashed } else { state::Left::Exited };
    let ended = says(EventKind::SessionEnded) || says(EventKind::AgentCrashed);
    let (state, detail) = state::decide(&Inputs {
        look: &seen,
        foreground: &facts.foreground,
        before: PaneState::Unknown,
        left: (ended && seen.view.content == Composer::Missing).then_some(how),
        undecided: false,
        had_composer: true,
        turn_open: false,
        quiet_since: now,
        still: true,
        limited: reading::limited(&seen),
        warning: reading::warning(&seen),
        authenticating: reading::authenticating(&seen),
        dialog_kind: &dialog_kind,
        now,
    });
    for event in &mut events {
        resets::read(event, facts.zone.as_ref(), now);
    }
    let mut shadowed: Vec<Detected> = Vec::new();
    for hit in seen.shadowed.iter().filter(|hit| reading::is_witnessed(engine, &seen, hit)) {
        let event = shadow::counted(engine, &seen, hit);
        if !shadowed.iter().any(|told| told.rule == event.rule) {
            shadowed.push(event);
        }
    }
    let session = events.iter().find_map(|event| event.fields.get("session_id"));
    Observation {
        state,
        detail,
        live_top: seen.view.live_top,
        agent: seen.agent.clone(),
        version: seen.version.clone(),
        agent_pid: facts.foreground.agent_pid().unwrap_or(0),
        session_id: session.cloned().unwrap_or_default(),
        composer: seen.view.clone(),
        events,
        shadowed,
        unknown: drift::unknown(engine, &seen).into_iter().collect(),
    }
}
