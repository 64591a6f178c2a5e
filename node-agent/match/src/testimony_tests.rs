//! What a session file or a hook says, together with what the screen shows.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use proptest::prelude::*;
use wa_proto::{AgentKind, EventKind, Frame, Witness};

use crate::matcher_tests::{BUSY, LOGO, MARK, Pane, WORK, claude, codex, compacted, talk, talking};
use crate::{Detected, Testimony};

fn said(pane: &mut Pane, witness: Witness, kind: EventKind, key: &str) {
    let fields = BTreeMap::from([("trigger".to_owned(), "auto".to_owned())]);
    let line = "the context was compacted".to_owned();
    let at = pane.now;
    let (key, rule) = (key.to_owned(), String::new());
    pane.matcher.tell(Testimony { kind, witness, key, rule, fields, line, at });
}

fn compactions(events: Vec<Detected>) -> Vec<Vec<Witness>> {
    let of = events.into_iter().filter(|event| event.kind == EventKind::ContextCompacted);
    of.map(|event| event.witnesses).collect()
}

const ALL: [Witness; 3] = [Witness::Screen, Witness::Process, Witness::SessionFile];

#[test]
fn a_testimony_before_the_screen_is_its_witness() {
    let mut pane = talking();
    said(&mut pane, Witness::SessionFile, EventKind::ContextCompacted, "b1");
    pane.show(&claude(80, &talk(), WORK));
    let (events, _) = pane.rest(&claude(80, &compacted(), ""));
    let event = events.iter().find(|event| event.kind == EventKind::ContextCompacted).unwrap();
    assert_eq!(event.witnesses, ALL);
    assert_eq!((event.line.as_str(), event.fields["trigger"].as_str()), (MARK, "auto"));
    assert_eq!(compactions(events), [ALL], "and once");
}

#[test]
fn a_testimony_after_the_screen_confirms_it_and_fires_nothing() {
    let mut pane = talking();
    assert_eq!(compactions(pane.rest(&claude(80, &compacted(), "")).0).len(), 1);
    said(&mut pane, Witness::Hook, EventKind::ContextCompacted, "");
    said(&mut pane, Witness::SessionFile, EventKind::ContextCompacted, "b1");
    assert_eq!(compactions(pane.rest(&claude(80, &compacted(), "")).0).len(), 0);
}

#[test]
fn a_file_knows_the_second_of_a_reset_of_which_the_screen_shows_the_minute() {
    const LIMIT: &str = "■ You've hit your usage limit. Try again at 8:31 AM.";
    let file = |pane: &mut Pane, at: &str| {
        let fields =
            [("reset_time", at), ("window", "5h")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let (kind, witness, at) = (EventKind::LimitReached, Witness::SessionFile, pane.now);
        let (key, rule, line) = (at.to_string(), String::new(), "5h limit: 0% left".to_owned());
        pane.matcher.tell(Testimony { kind, witness, key, rule, fields: fields.into(), line, at });
    };
    let limited = |order: [bool; 2], told: &str| {
        let mut pane = Pane::new("codex");
        pane.facts.zone = Some(jiff::tz::TimeZone::UTC);
        pane.now = "2026-11-22T06:30:00Z".parse().unwrap();
        pane.kinds(&codex(&["  >_ OpenAI Codex (v0.169.0)"], ""));
        pane.kinds(&codex(&["› continue", ""], BUSY));
        let mut last = None;
        for screen in order {
            if screen {
                let (events, seen) = pane.rest(&codex(&["› continue", "", LIMIT, ""], ""));
                let reached = events.into_iter().find(|event| event.kind == EventKind::LimitReached);
                last = Some((reached.unwrap().fields["reset_time"].clone(), seen.detail.until));
            } else {
                file(&mut pane, told);
            }
        }
        let (fields, _) = last.unwrap();
        (fields, pane.rest(&codex(&["› continue", "", LIMIT, ""], "")).1.detail.until.unwrap().to_string())
    };
    let (minute, second) = ("2026-11-22T08:31:00Z".to_owned(), "2026-11-22T08:31:47Z".to_owned());
    assert_eq!(limited([false, true], &second), (second.clone(), second.clone()));
    assert_eq!(limited([true, false], &second), (minute.clone(), second));
    // Of another limit.
    assert_eq!(limited([false, true], "2026-11-22T08:32:00Z"), (minute.clone(), minute));
}

#[test]
fn what_the_screen_does_not_show_fires_by_itself_and_not_again_when_it_does() {
    let mut pane = talking();
    said(&mut pane, Witness::SessionFile, EventKind::ContextCompacted, "b1");
    said(&mut pane, Witness::Hook, EventKind::ContextCompacted, "");
    let (events, _) = pane.rest(&claude(80, &talk(), WORK));
    assert_eq!(compactions(events), [[Witness::SessionFile, Witness::Hook]]);
    // Long after, the mark comes into view.
    pane.now += SignedDuration::from_secs(60);
    assert_eq!(compactions(pane.rest(&claude(80, &compacted(), "")).0).len(), 0);
    // The same record is read again.
    said(&mut pane, Witness::SessionFile, EventKind::ContextCompacted, "b1");
    assert_eq!(compactions(pane.rest(&claude(80, &compacted(), "")).0).len(), 0);
}

#[test]
fn two_of_a_kind_in_a_row_are_two() {
    let mut pane = talking();
    for key in ["b1", "b2"] {
        said(&mut pane, Witness::SessionFile, EventKind::ContextCompacted, key);
    }
    let (events, _) = pane.rest(&claude(80, &compacted(), ""));
    // Those that only the file told waited, and so come after.
    assert_eq!(compactions(events), [ALL.to_vec(), vec![Witness::SessionFile]]);
}

#[test]
fn a_question_does_not_wait_for_the_screen() {
    let mut pane = talking();
    said(&mut pane, Witness::Hook, EventKind::QuestionAsked, "");
    let seen = pane.show(&claude(80, &talk(), WORK));
    assert_eq!(seen.events.last().map(|event| event.kind), Some(EventKind::QuestionAsked));
    assert_eq!(seen.events.last().and_then(|event| event.agent.clone()), Some(AgentKind::claude()));
}

#[test]
fn where_no_agent_runs_nobody_speaks() {
    let mut pane = Pane::new("bash");
    let shell = Frame::from_text(80, "$ ");
    pane.rest(&shell);
    said(&mut pane, Witness::Hook, EventKind::TurnFinished, "");
    assert_eq!(pane.rest(&shell).0, []);
}

proptest! {
    /// However testimonies of distinct things arrive, each thing is told once and names each witness once.
    #[test]
    fn each_thing_is_told_once(
        things in prop::collection::vec((any::<bool>(), any::<bool>(), 0u32..8_000), 1..12),
    ) {
        let mut pane = Pane::new("claude");
        let frame = claude(80, LOGO, "");
        pane.rest(&frame);
        let (mut files, mut hooks, mut events) = (0, 0, Vec::new());
        for (at, (file, hook, pause)) in things.iter().enumerate() {
            if *file {
                files += 1;
                said(&mut pane, Witness::SessionFile, EventKind::ContextCompacted, &format!("b{at}"));
            }
            if *hook {
                hooks += 1;
                said(&mut pane, Witness::Hook, EventKind::ContextCompacted, "");
            }
            events.extend(pane.show(&frame).events);
            pane.now += SignedDuration::from_millis(i64::from(*pause));
            events.extend(pane.show(&frame).events);
        }
        events.extend(pane.rest(&frame).0);
        let told = compactions(events);
        prop_assert!(told.len() >= files.max(hooks), "{told:?}");
        prop_assert!(told.len() <= files + hooks);
        for witnesses in &told {
            let unique: std::collections::BTreeSet<_> = witnesses.iter().collect();
            prop_assert_eq!(unique.len(), witnesses.len());
        }
    }
}
