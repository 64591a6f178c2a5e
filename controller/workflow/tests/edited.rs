//! A workflow file that is edited while a run waits: the run does not go on at whatever stands at its number now.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::collections::BTreeMap;

use wa_proto::{
    AgentKind, EventId, Generation, Host, MuxName, OutcomeKind, PaneRef, PaneState, RunId, Timestamp,
};
use wa_workflow::{Definition, Effect, End, Input, NotAgain, PlaceOf, Run, Status, Trigger, step};

const BEFORE: &str = r#"
name = "tidy"
description = "d"
version = 1
agents = ["codex"]
on = "turn.finished"
max_actions = 2

[[step]]
id = "quiet"
do = "wait_until"
states = ["idle"]
timeout = "8h"

[[step]]
id = "say"
do = "type"
text = "thanks"
timeout = "1m"
"#;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// Its owner puts a step in front, and does not think of the number of the version.
fn edited() -> Definition {
    let steps = r#"
[[step]]
id = "warn"
do = "type"
text = "please stop and wait"
timeout = "1m"

[[step]]
id = "quiet"
"#;
    let edited = BEFORE.replacen("[[step]]\nid = \"quiet\"", steps.trim_start(), 1);
    Definition::parse(&edited).unwrap()
}

/// A run that waits for the pane to be idle.
fn waiting(before: &Definition) -> Run {
    let trigger = Trigger {
        event: EventId(uuid::Uuid::from_u128(1)),
        host: Host::new("a").unwrap(),
        pane: PaneRef { mux: MuxName::main(), generation: Generation::new("g").unwrap(), pane_id: 3 },
        agent: Some(AgentKind::codex()),
        agent_pid: 77,
        trace_parent: String::new(),
        fields: BTreeMap::new(),
        place: PlaceOf { address: "a/3".into(), ..PlaceOf::default() },
    };
    let (run, _) = Run::start(before, RunId(uuid::Uuid::from_u128(2)), trigger, &BTreeMap::new(), at(0));
    assert_eq!(before.steps[run.step].id, "quiet");
    run
}

fn pane(state: PaneState) -> Input {
    Input::Pane { state, agent: Some(AgentKind::codex()), agent_pid: 77, until: None }
}

#[test]
fn a_run_that_waits_does_not_skip_what_was_put_before_it() {
    let (before, edited) = (Definition::parse(BEFORE).unwrap(), edited());
    assert_eq!((&before.name, before.version), (&edited.name, edited.version));
    let run = waiting(&before);

    // The controller is started again with the edited file; the agent works.
    let (run, effects) = step(&edited, &run, &pane(PaneState::Working), at(10));
    let Status::Ended { end: End::Failed, reason, .. } = &run.status else { panic!("{:?}", run.status) };
    assert_eq!(reason, "the workflow tidy was changed, and its version was not");
    let [Effect::Notify { text, .. }] = effects.as_slice() else { panic!("{effects:?}") };
    assert!(text.contains("`wa run start tidy a/3`"), "{text}");
    assert_eq!(run.again_from(&edited, true), Err(NotAgain::Changed));
    assert_eq!(run.again_from(&before, true), Ok(0));
}

/// What it had under way when it was ended is looked at by a person, unless its outcome is what came.
#[test]
fn an_action_that_was_under_way_is_a_doubt() {
    let (before, edited) = (Definition::parse(BEFORE).unwrap(), edited());
    let (acting, _) = step(&before, &waiting(&before), &pane(PaneState::Idle), at(5));
    let action = acting.open_action().unwrap();
    let (gone, effects) = step(&edited, &acting, &Input::PaneGone, at(10));
    assert_eq!((gone.status.name(), gone.doubted), ("unknown", true));
    assert!(matches!(effects.as_slice(), [Effect::Notify { text, .. }] if text.contains("look at the pane")));
    let outcome = |kind| Input::Outcome { action, kind, reason: String::new() };
    for (kind, name, done) in [
        (OutcomeKind::Submitted, "failed", 1),
        (OutcomeKind::Refused, "failed", 0),
        (OutcomeKind::Unknown, "unknown", 1),
    ] {
        let (over, _) = step(&edited, &acting, &outcome(kind), at(10));
        assert_eq!((over.status.name(), over.actions_done), (name, done), "{kind}");
    }
}

/// What the file does stayed the same, or the run is of a program that kept no hash.
#[test]
fn other_runs_go_on() {
    let before = Definition::parse(BEFORE).unwrap();
    let said = Definition::parse(&BEFORE.replace("[[step]]", "# Once it is quiet.\n[[step]]")).unwrap();
    let run = waiting(&before);
    let mut stored = serde_json::to_value(&run).unwrap();
    stored.as_object_mut().unwrap().remove("definition_hash").unwrap();
    let old: Run = serde_json::from_value(stored).unwrap();
    for (definition, run) in [(&said, &run), (&edited(), &old)] {
        let (next, _) = step(definition, run, &pane(PaneState::Working), at(10));
        assert!(!next.is_over(), "{:?}", next.status);
    }
}
