//! What a registry keeps of nodes that come and go.

use std::sync::OnceLock;

use super::*;
use wa_proto::{Generation, StateDetail};

fn pane(pane_id: u64, generation: &str) -> Pane {
    Pane {
        pane: PaneRef { mux: MuxName::main(), generation: Generation::new(generation).unwrap(), pane_id },
        title: String::new(),
        cwd: String::new(),
        project: String::new(),
        agent: None,
        agent_version: String::new(),
        agent_pid: 0,
        state: PaneState::Idle,
        detail: StateDetail::default(),
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

fn host() -> Host {
    Host::new("web-1").unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + second).unwrap()
}

/// By the clock that nobody sets.
fn after(second: u64) -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(wa_link::clock::monotonic) + Duration::from_secs(second)
}

fn times(second: u32) -> (Timestamp, Instant) {
    (at(second.into()), after(second.into()))
}

fn connect(registry: &Registry, now: Timestamp) {
    let (to_node, _) = mpsc::channel(1);
    registry.connect(&host(), &v1::Hello::default(), now, to_node, Shutdown::new());
}

fn heartbeat(generation: &str) -> v1::Heartbeat {
    let mux = v1::MuxStatus { name: "main".into(), generation: generation.into(), ..Default::default() };
    v1::Heartbeat { muxes: vec![mux], ..Default::default() }
}

/// A registry on which panes 1 and 2 were seen, and watched, in a session before the present one.
fn come_back() -> Registry {
    let registry = Registry::default();
    connect(&registry, at(0));
    registry.report(&host(), true, vec![pane(1, "g1"), pane(2, "g1")], &[], times(0));
    for id in [1, 2] {
        assert!(registry.watch(&host(), &pane(id, "g1").pane, after(0)).is_some());
    }
    connect(&registry, at(1));
    registry
}

#[test]
fn a_pane_that_is_not_found_again_is_given_up_in_time() {
    let registry = come_back();
    assert_eq!(registry.watch(&host(), &pane(1, "g1").pane, after(1)), None, "nothing is fed of what was");
    assert!(registry.report(&host(), true, vec![], &[], times(2)).is_empty());
    // As long as its mux server does not answer, nobody knows.
    registry.heartbeat(&host(), heartbeat(""), at(2));
    assert!(registry.give_up_unseen(after(500)).is_empty());
    registry.heartbeat(&host(), heartbeat("g1"), at(500));
    let found = registry.report(&host(), false, vec![pane(1, "g1")], &[], times(500));
    assert_eq!(found, [(pane(1, "g1").pane, input_of(&pane(1, "g1")))]);
    assert_eq!(registry.panes().len(), 2);
    let gone = registry.give_up_unseen(after(501));
    assert_eq!(gone[&host()], [(pane(2, "g1").pane, Input::PaneGone)]);
    assert_eq!(registry.panes().len(), 1);
    assert!(registry.give_up_unseen(after(9999)).is_empty());
}

/// Its event came late: what told of its end was told while nobody listened.
#[test]
fn whoever_waits_for_a_pane_that_is_gone_already_hears_of_it() {
    let registry = Registry::default();
    connect(&registry, at(0));
    registry.report(&host(), true, vec![pane(1, "g2")], &[], times(0));
    registry.heartbeat(&host(), heartbeat("g2"), at(0));
    let (gone, new) = (pane(9, "g2").pane, pane(10, "g2").pane);
    let former = pane(1, "g1").pane;
    for watched in [&gone, &new, &former] {
        assert_eq!(registry.watch(&host(), watched, after(100)), None);
    }
    // As a run does after each of its steps.
    registry.watch(&host(), &former, after(125));
    assert!(registry.give_up_unseen(after(129)).is_empty(), "an event may overtake the report of its pane");
    registry.report(&host(), false, vec![pane(10, "g2")], &[], times(129));
    let mut told = registry.give_up_unseen(after(130)).remove(&host()).unwrap();
    told.sort_by_key(|(pane, _)| pane.pane_id);
    assert_eq!(told, [(former, Input::PaneGone), (gone.clone(), Input::PaneGone)]);
    assert!(registry.give_up_unseen(after(140)).is_empty(), "once");
    registry.not_told(&host(), &told[1..]);
    assert_eq!(registry.give_up_unseen(after(145))[&host()], told[1..]);
    // As long as its mux server does not answer, nobody knows; nor while the node is away.
    registry.watch(&host(), &gone, after(200));
    registry.heartbeat(&host(), heartbeat(""), at(200));
    assert!(registry.give_up_unseen(after(500)).is_empty());
    connect(&registry, at(500));
    registry.heartbeat(&host(), heartbeat("g2"), at(500));
    assert!(registry.give_up_unseen(after(900)).is_empty());
    registry.unwatch(&host(), &gone);
    registry.report(&host(), true, vec![], &[], times(900));
    let left = registry.give_up_unseen(after(930)).remove(&host()).unwrap();
    assert!(!left.iter().any(|(pane, _)| *pane == gone), "{left:?}");
}

/// Set back by hours, it would let runs wait for so long; set forward, it would give up what a node is about to find.
#[test]
fn a_wall_clock_that_is_set_changes_nothing_about_who_is_seen() {
    for set in [-7200, 7200] {
        let registry = come_back();
        registry.heartbeat(&host(), heartbeat("g1"), at(set));
        registry.report(&host(), true, vec![], &[], (at(set), after(2)));
        assert!(registry.give_up_unseen(after(31)).is_empty(), "{set}");
        assert_eq!(registry.give_up_unseen(after(32))[&host()].len(), 2, "{set}");
    }
}

#[test]
fn another_server_process_takes_the_panes_of_the_former_with_it() {
    let registry = come_back();
    let mut changes = registry.report(&host(), true, vec![pane(1, "g2")], &[], times(2));
    changes.sort_by_key(|(pane, _)| pane.pane_id);
    let gone = |id| (pane(id, "g1").pane, Input::PaneGone);
    assert_eq!(changes, [gone(1), gone(2)]);
    assert_eq!(registry.panes().len(), 1);
}

#[test]
fn what_a_node_tells_is_bounded() {
    let registry = Registry::default();
    connect(&registry, at(0));
    for from in (0..30_000).step_by(5000) {
        registry.report(
            &host(),
            false,
            (from..from + 5000).map(|id| pane(id, "g1")).collect(),
            &[],
            times(0),
        );
    }
    assert_eq!(registry.panes().len(), MAX_PANES);
}

/// What there is to store: numbers of the panes, places that are empty now, and whether it is all.
fn stored(registry: &Registry) -> Option<(Vec<u64>, Vec<u64>, bool)> {
    let mut changes = registry.take_changes();
    assert!(changes.len() <= 1);
    let change = changes.pop()?;
    let panes = change.panes.iter().map(|pane| pane.pane.pane_id).collect();
    Some((panes, change.gone.into_iter().map(|(_, id)| id).collect(), change.whole))
}

#[test]
fn only_what_changed_is_stored() {
    let registry = Registry::default();
    connect(&registry, at(0));
    let printed = |id, second| Pane { last_output: Some(at(second)), ..pane(id, "g1") };
    let report = |pane: Pane| drop(registry.report(&host(), false, vec![pane], &[], times(0)));
    registry.report(&host(), true, vec![printed(1, 0), printed(2, 0), printed(3, 0)], &[], times(0));
    assert_eq!(stored(&registry), Some((vec![1, 2, 3], vec![], false)));
    assert_eq!(stored(&registry), None);
    // Panes print all the time.
    report(printed(1, 1));
    report(printed(1, 59));
    assert_eq!(stored(&registry), Some((vec![], vec![], false)));
    report(printed(1, 60));
    report(printed(2, 5));
    assert_eq!(stored(&registry), Some((vec![1], vec![], false)));
    report(Pane { title: "another".into(), ..printed(2, 6) });
    report(printed(1, 61));
    assert_eq!(stored(&registry), Some((vec![2], vec![], false)));
    registry.report(&host(), false, vec![], &[pane(2, "g1").pane, pane(3, "g1").pane], times(0));
    report(printed(3, 7));
    assert_eq!(stored(&registry), Some((vec![3], vec![2], false)));
}

#[test]
fn what_a_node_last_said_is_stored_when_it_goes_and_whole_when_that_failed() {
    let registry = Registry::default();
    let (to_node, _) = mpsc::channel(1);
    let (handle, _) = registry.connect(&host(), &v1::Hello::default(), at(0), to_node, Shutdown::new());
    let printed = |id, second| Pane { last_output: Some(at(second)), ..pane(id, "g1") };
    registry.report(&host(), true, vec![printed(1, 0), printed(2, 0)], &[], times(0));
    assert!(stored(&registry).is_some());
    registry.report(&host(), false, vec![printed(2, 9)], &[], times(9));
    assert!(registry.disconnect(&host(), &handle, at(10)));
    assert_eq!(stored(&registry), Some((vec![2], vec![], false)));
    registry.not_stored(&[host(), Host::new("web-2").unwrap()]);
    assert_eq!(stored(&registry), Some((vec![1, 2], vec![], true)));
    assert_eq!(stored(&registry), None);
}
