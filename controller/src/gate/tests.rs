//! What begins, what waits, and what never does.

use super::*;
use wa_proto::{Generation, MuxName, OutcomeKind};

/// The same in all of a test.
fn now() -> Timestamp {
    static NOW: std::sync::OnceLock<Timestamp> = std::sync::OnceLock::new();
    *NOW.get_or_init(clock::now)
}

fn host() -> Host {
    Host::new("web-1").unwrap()
}

fn queued(fence: u64, pane_id: u64) -> Queued {
    let pane = PaneRef { mux: MuxName::main(), generation: Generation::new("g").unwrap(), pane_id };
    let action = Action {
        id: ActionId::generate(),
        pane,
        deadline: now() + Duration::from_secs(30),
        fence,
        who: "operator:o".into(),
        expect_agent: None,
        expect_agent_pid: None,
        expect_shell: false,
        trace_parent: String::new(),
        verb: Verb::Kill,
    };
    Queued { host: host(), action, run: None, inherited: false, approved: false }
}

fn ask(gate: &Gate, host: &Host, action: ActionId, now: Timestamp) -> Verdict {
    gate.permit(host, action, |_| Labels::new(), now)
}

fn outcome(action: ActionId) -> Outcome {
    Outcome {
        action,
        kind: OutcomeKind::Submitted,
        reason: String::new(),
        pane: None,
        trace_parent: String::new(),
        spawned: None,
    }
}

#[test]
fn only_what_is_open_on_the_host_and_in_time_begins() {
    let gate = Gate::default();
    let action = queued(1, 3);
    let id = action.action.id;
    gate.add(action);
    assert!(matches!(ask(&gate, &Host::new("b").unwrap(), id, now()), Verdict::Refused(_)));
    assert!(matches!(ask(&gate, &host(), ActionId::generate(), now()), Verdict::Refused(_)));
    let late = now() + Duration::from_secs(30);
    assert!(matches!(ask(&gate, &host(), id, late), Verdict::Expired(_)));
    assert!(matches!(ask(&gate, &host(), id, now()), Verdict::Granted { first: true, .. }));
    assert!(matches!(ask(&gate, &host(), id, now()), Verdict::Granted { first: false, .. }));
    assert!(!gate.give_up(id), "it may have begun");
    gate.settle(outcome(id));
    assert!(matches!(ask(&gate, &host(), id, now()), Verdict::Refused(_)));
    assert!(gate.open_after(&host(), 0).is_empty());
}

#[test]
fn what_was_given_up_never_begins() {
    let gate = Gate::default();
    let (action, mut old) = (queued(1, 3), queued(2, 3));
    old.inherited = true;
    let (id, old_id) = (action.action.id, old.action.id);
    gate.add(action);
    gate.add(old);
    assert!(gate.give_up(id) && gate.give_up(id));
    assert!(matches!(ask(&gate, &host(), id, now()), Verdict::Expired(_)));
    assert!(!gate.give_up(old_id), "an earlier life may have permitted it");
}

/// Callers go away at any moment, and their place with them.
#[test]
fn who_waits_no_longer_is_struck_out() {
    let gate = Arc::new(Gate::default());
    let id = ActionId::generate();
    let (one, two) = (gate.wait_for(id), gate.wait_for(id));
    drop(one);
    assert_eq!(gate.lock().waiting.len(), 1, "the other still waits");
    gate.add(Queued { action: Action { id, ..queued(1, 3).action }, ..queued(1, 3) });
    gate.settle(outcome(id));
    assert_eq!(two.known().map(|known| known.action), Some(id));
    drop((two, gate.wait_for(ActionId::generate())));
    assert!(gate.lock().waiting.is_empty());
}

#[test]
fn an_older_fence_never_follows_a_newer_one() {
    let gate = Gate::default();
    let (one, two, other) = (queued(1, 3), queued(2, 3), queued(0, 4));
    let ids = [one.action.id, two.action.id, other.action.id];
    for action in [two, one, other] {
        gate.add(action);
    }
    let fences: Vec<u64> = gate.open_after(&host(), 0).iter().map(|action| action.fence).collect();
    assert_eq!(fences, [1, 2]);
    assert!(matches!(ask(&gate, &host(), ids[1], now()), Verdict::Granted { .. }));
    assert!(matches!(ask(&gate, &host(), ids[0], now()), Verdict::Refused(_)));
    assert!(matches!(ask(&gate, &host(), ids[2], now()), Verdict::Granted { .. }));
}

#[test]
fn a_pause_by_selector_also_holds_for_panes_that_come_later() {
    let gate = Gate::default();
    let action = queued(1, 9);
    let id = action.action.id;
    let scope: Scope = "selector agent=codex".parse().unwrap();
    gate.pause(std::slice::from_ref(&scope), "operator:o", "lunch");
    gate.add(action);
    let labels = |agent: &str| Labels::from([("agent".to_owned(), agent.to_owned())]);
    let asked = |agent: &str| gate.permit(&host(), id, |_| labels(agent), now());
    assert_eq!(asked("codex"), Verdict::Refused("agent in (codex) is paused by operator:o: lunch".into()));
    assert!(matches!(asked("claude"), Verdict::Granted { .. }));
    gate.unpause(&[scope]);
    assert!(matches!(asked("codex"), Verdict::Granted { .. }));
}

#[test]
fn scopes_read_as_written() {
    for text in ["all", "pane a/3", "pane a/gui/3", "selector host in (a,b)"] {
        assert_eq!(text.parse::<Scope>().unwrap().to_string(), text);
    }
    for bad in ["", "pane", "pane x", "selector =", "everything else"] {
        assert!(bad.parse::<Scope>().is_err(), "{bad}");
    }
}

/// Many threads ask for permits while one pauses: no permit is given after `pause` returned, and every permit that
/// was given before is no longer good at the instant that it returned.
#[test]
fn no_permit_outlives_a_pause() {
    for _ in 0..50 {
        let gate = Arc::new(Gate::default());
        let actions: Vec<_> = (1..=40).map(|n| queued(n, n)).collect();
        let ids: Vec<_> = actions.iter().map(|queued| queued.action.id).collect();
        for action in actions {
            gate.add(action);
        }
        let askers: Vec<_> = ids
            .chunks(10)
            .map(|ids| {
                let (gate, ids) = (Arc::clone(&gate), ids.to_vec());
                std::thread::spawn(move || {
                    // The node's clock for the permit began no later than when it was asked for.
                    let ask_one = |id| {
                        let asked = Instant::now();
                        matches!(ask(&gate, &host(), id, now()), Verdict::Granted { .. }).then_some(asked)
                    };
                    ids.into_iter().filter_map(ask_one).collect::<Vec<_>>()
                })
            })
            .collect();
        let quiet = gate.pause(&[Scope::Everything], "operator:o", "");
        let after: Vec<_> = ids.iter().map(|id| ask(&gate, &host(), *id, now())).collect();
        assert!(after.iter().all(|verdict| matches!(verdict, Verdict::Refused(_))));
        for granted in askers.into_iter().flat_map(|asker| asker.join().unwrap()) {
            assert!(quiet.is_some_and(|quiet| granted + PERMIT_LIFE <= quiet), "a permit outlives the pause");
        }
    }
}

/// Right after a restart a permit of the life before may still be good.
#[test]
fn a_pause_waits_out_what_an_earlier_life_has_permitted() {
    let inherited = Queued { inherited: true, ..queued(1, 3) };
    let before = Instant::now();
    let gate = Gate::from_kept(std::slice::from_ref(&inherited), &[], 1);
    let quiet = gate.pause(&[Scope::Everything], "operator:o", "");
    assert!(quiet.is_some_and(|quiet| quiet >= before + PERMIT_LIFE), "{quiet:?}");
    gate.settle(outcome(inherited.action.id));
    assert_eq!(gate.pause(&[Scope::Everything], "operator:o", ""), None, "it has ended");
    assert_eq!(Gate::default().pause(&[Scope::Everything], "operator:o", ""), None);
}

/// A clock that was ahead when an action was asked for, and is right now: it begins no later than it was to.
#[tokio::test]
async fn a_clock_that_is_set_back_gives_an_action_no_more_time() {
    let gate = Gate::default();
    let day = Duration::from_secs(27 * 3600);
    let ahead = now() + day;
    let mut action = queued(1, 3);
    // As a controller finds it that is started after the clock was set.
    let made = uuid::Timestamp::from_unix(uuid::NoContext, ahead.as_second().try_into().unwrap(), 0);
    action.action.id = ActionId(uuid::Uuid::new_v7(made));
    action.action.deadline = ahead + Duration::from_millis(1500);
    action.inherited = true;
    let id = action.action.id;
    gate.add(action);
    assert!(matches!(ask(&gate, &host(), id, now()), Verdict::Granted { .. }));
    tokio::time::sleep_until(clock::monotonic() + Duration::from_millis(2600)).await;
    assert!(matches!(ask(&gate, &host(), id, now()), Verdict::Expired(_)));
}
