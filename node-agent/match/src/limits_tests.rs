//! Limits at which an agent stands already.

use wa_proto::{EventKind, Frame, PaneState};

use crate::matcher_tests::{BUSY, LIMIT, Pane, codex};

/// Nobody saw it come: the node was away, or is new here.
#[test]
fn a_limit_that_stands_there_at_first_sight_is_told_once() {
    let rows = ["  >_ OpenAI Codex (v0.169.0)", "", "› continue", "", LIMIT, ""];
    let mut pane = Pane::new("codex");
    let (events, last) = pane.rest(&codex(&rows, ""));
    assert_eq!(events.iter().map(|event| event.kind).collect::<Vec<_>>(), [EventKind::LimitReached]);
    assert!(events[0].fields["reset_at"] == "2:31 AM" && !events[0].fields.contains_key("reset_time"));
    assert_eq!((events[0].witnesses.len(), last.state), (2, PaneState::Limited));
    assert_eq!(pane.kinds(&codex(&rows, "")), []);
    pane.restart();
    assert_eq!(pane.kinds(&codex(&rows, "")), [], "nor by a program that was started anew");
    // The next turn that hits it is another one.
    let more = [&rows[..], &["› go on", ""]].concat();
    pane.kinds(&codex(&more, BUSY));
    assert_eq!(pane.kinds(&codex(&[&more[..], &[LIMIT, ""]].concat(), "")), [EventKind::LimitReached]);
    // One that is not the last thing holds no more.
    let mut pane = Pane::new("codex");
    assert_eq!(pane.kinds(&codex(&[&rows[..], &["› go on", "", "• Done.", ""]].concat(), "")), []);
}

#[test]
fn of_a_limit_that_was_there_before_only_a_date_says_when_it_lifts() {
    let told = |words: &str| {
        let mut pane = Pane::new("codex");
        pane.facts.zone = Some(jiff::tz::TimeZone::UTC);
        pane.now = "2026-11-22T12:00:00Z".parse().unwrap();
        let limit = format!("■ You've hit your usage limit. Try again {words}.");
        let (events, _) = pane.rest(&codex(&["› continue", "", &limit, ""], ""));
        events.into_iter().map(|event| event.fields.get("reset_time").cloned()).collect::<Vec<_>>()
    };
    assert_eq!(told("at Nov 24th, 2026 8:04 AM"), [Some("2026-11-24T08:04:00Z".to_owned())]);
    assert_eq!(told("at Nov 21st, 2026 8:04 AM"), [], "it has lifted since");
    for unknown in ["at 3:42 PM", "in 3 hours 5 minutes", "later"] {
        assert_eq!(told(unknown), [None], "{unknown}");
    }
}

/// A session that is resumed shows old limits, perhaps of another account; one that has just begun shows none but its own.
#[test]
fn a_limit_before_the_first_turn_of_a_new_process_is_its_own_only_where_nothing_is_replayed() {
    let banner = "  >_ OpenAI Codex (v0.169.0)";
    for (rows, expected) in [
        (vec![banner, "", LIMIT, ""], &[EventKind::LimitReached][..]),
        (vec![banner, "", "› continue", "", LIMIT, ""], &[]),
        (vec!["• what was said before", "", LIMIT, ""], &[]),
    ] {
        let mut pane = Pane::new("bash");
        pane.kinds(&Frame::from_text(100, "$ "));
        pane.process("codex", 100);
        pane.kinds(&Frame::from_text(100, "$ codex"));
        assert_eq!(pane.kinds(&codex(&rows, "")), expected, "{rows:?}");
        assert_eq!(pane.kinds(&codex(&rows, "")), [], "{rows:?}");
    }
}

/// A node that meets a pane reads its text first, and the process table a moment later.
#[test]
fn a_limit_of_a_process_that_ran_before_the_pane_was_met_is_told() {
    let rows = ["› continue", "", LIMIT, ""];
    for (age, expected) in
        [(60, &[EventKind::AgentStarted, EventKind::LimitReached][..]), (0, &[EventKind::AgentStarted])]
    {
        let mut pane = Pane::new("bash");
        pane.show(&Frame::from_text(100, ""));
        pane.process("codex", 100);
        pane.facts.agent_since = Some(pane.now - jiff::SignedDuration::from_secs(age));
        assert_eq!(pane.kinds(&codex(&rows, "")), expected, "{age}");
    }
}
