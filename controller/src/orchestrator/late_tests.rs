//! Whether an old event is still true.

use std::collections::BTreeMap;

use wa_proto::{AgentKind, EventId, Generation, MuxName, PaneRef, StateDetail};

use super::*;
use crate::store::InboxItem;

fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + 60 * minute).unwrap()
}

fn place() -> PaneRef {
    PaneRef { mux: MuxName::main(), generation: Generation::new("g1").unwrap(), pane_id: 1 }
}

fn event(kind: EventKind) -> Event {
    Event {
        id: EventId::generate(),
        pane: Some(place()),
        kind,
        agent: Some(AgentKind::codex()),
        agent_version: String::new(),
        agent_pid: 7,
        rule: String::new(),
        fields: BTreeMap::new(),
        witnesses: vec![],
        line: String::new(),
        row: 0,
        layout: 0,
    }
}

fn row(put_off: bool) -> InboxRow {
    InboxRow {
        n: 1,
        host: Host::new("web-1").unwrap(),
        pane: place(),
        trace_parent: String::new(),
        happened: Some(at(0)),
        put_off,
        item: InboxItem::Event { event: Box::new(event(EventKind::LimitReached)), workflow: None },
    }
}

fn pane(state: PaneState, agent_pid: u32, since: Option<Timestamp>) -> Pane {
    Pane {
        pane: place(),
        title: String::new(),
        cwd: String::new(),
        project: String::new(),
        agent: Some(AgentKind::codex()),
        agent_version: String::new(),
        agent_pid,
        state,
        detail: StateDetail { since, ..StateDetail::default() },
        session_id: String::new(),
        cols: 80,
        rows: 24,
        tty: String::new(),
        last_output: None,
        mirror: false,
        session: None,
        not_logged: String::new(),
        account: None,
    }
}

#[test]
fn an_old_event_counts_as_long_as_its_pane_is_as_it_left_it() {
    use PaneState::{Idle, Limited, Working};
    let (limit, compaction) = (event(EventKind::LimitReached), event(EventKind::ContextCompacted));
    let cases = [
        (&limit, Limited, 7, Some(at(50)), true),
        (&limit, Limited, 7, None, true),
        (&limit, Limited, 8, Some(at(0)), false),
        (&limit, Idle, 7, Some(at(50)), false),
        (&limit, Idle, 7, None, false),
        // The turn ended, and nothing has happened since.
        (&compaction, Idle, 7, Some(at(1)), true),
        (&compaction, Working, 7, Some(at(50)), false),
    ];
    for (event, state, pid, since, counts) in cases {
        let pane = pane(state, pid, since);
        let told = old(&row(false), event, at(0), Some(&pane), at(60));
        assert_eq!(told == Timeliness::Now, counts, "{} {state} {pid} {since:?}: {told:?}", event.kind);
        assert!(counts || matches!(told, Timeliness::Stale(_)), "{told:?}");
    }
}

#[test]
fn an_old_event_waits_once_for_its_pane() {
    let limit = event(EventKind::LimitReached);
    let first = old(&row(false), &limit, at(0), None, at(60));
    assert_eq!(first, Timeliness::Later(at(60) + FOUND));
    let Timeliness::Stale(why) = old(&row(true), &limit, at(0), None, at(61)) else { panic!() };
    assert!(why.contains("not there"), "{why}");
}
