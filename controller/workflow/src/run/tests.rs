use super::*;
use crate::builtin;
use proptest::prelude::*;
use wa_proto::{Generation, MuxName};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn definition() -> Definition {
    builtin().unwrap().remove(0)
}

fn started() -> (Run, Vec<Effect>) {
    let trigger = Trigger {
        event: EventId(Uuid::from_u128(1)),
        host: Host::new("a").unwrap(),
        pane: PaneRef { mux: MuxName::main(), generation: Generation::new("g").unwrap(), pane_id: 3 },
        agent: Some(AgentKind::claude()),
        agent_pid: 77,
        trace_parent: String::new(),
    };
    Run::start(&definition(), RunId(Uuid::from_u128(0x1000)), trigger, at(0))
}

fn pane(state: PaneState) -> Input {
    Input::Pane { state, agent: Some(AgentKind::claude()), agent_pid: 77 }
}

fn outcome(run: &Run, kind: OutcomeKind) -> Input {
    Input::Outcome { action: run.open_action().expect("acting"), kind, reason: "why".into() }
}

fn acts(effects: &[Effect]) -> Vec<(ActionId, Verb)> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Act { action, verb, .. } => Some((*action, verb.clone())),
            Effect::WakeAt(_) => None,
        })
        .collect()
}

#[test]
fn a_compaction_is_answered_once_the_agent_is_ready() {
    let (run, effects) = started();
    assert_eq!(acts(&effects), []);
    let (run, effects) = step(&definition(), &run, &pane(PaneState::Working), at(1));
    assert_eq!(acts(&effects), []);
    let (run, effects) = step(&definition(), &run, &pane(PaneState::Idle), at(2));
    let text = "Reread AGENTS.md so it's fresh in your mind.".to_owned();
    assert_eq!(acts(&effects), [(run.open_action().unwrap(), Verb::Send { text, enter: true })]);
    let (again, effects) = step(&definition(), &run, &pane(PaneState::Idle), at(3));
    assert_eq!((&again, acts(&effects)), (&run, vec![]), "an idle pane does not act twice");
    let (run, _) = step(&definition(), &run, &outcome(&run, OutcomeKind::Submitted), at(4));
    assert_eq!(run.status.name(), "succeeded");
}

#[test]
fn a_refusal_is_tried_again_and_an_unknown_is_not() {
    let (run, _) = started();
    let (run, _) = step(&definition(), &run, &pane(PaneState::Idle), at(1));
    let first = run.open_action().unwrap();
    let (waiting, effects) = step(&definition(), &run, &outcome(&run, OutcomeKind::Refused), at(2));
    assert_eq!(effects, [Effect::WakeAt(at(4))]);
    let (early, effects) = step(&definition(), &waiting, &pane(PaneState::Idle), at(3));
    assert_eq!((early.status.name(), acts(&effects)), ("waiting", vec![]));
    let (second, effects) = step(&definition(), &waiting, &Input::Timer, at(4));
    assert_eq!(acts(&effects).len(), 1);
    assert_ne!(second.open_action(), Some(first), "a new try is a new action");

    let (ended, effects) = step(&definition(), &run, &outcome(&run, OutcomeKind::Unknown), at(2));
    assert_eq!((ended.status.name(), effects), ("unknown", vec![]));
}

#[test]
fn another_process_a_shell_and_time_end_it() {
    let (run, _) = started();
    let other = Input::Pane { state: PaneState::Idle, agent: Some(AgentKind::claude()), agent_pid: 78 };
    for (input, now) in [(other, at(1)), (pane(PaneState::Shell), at(1)), (Input::Timer, at(600))] {
        let (run, effects) = step(&definition(), &run, &input, now);
        assert_eq!((run.status.name(), acts(&effects)), ("failed", vec![]), "{input:?}");
    }
}

#[test]
fn a_second_trigger_is_merged_only_before_the_first_key() {
    let (run, _) = started();
    assert_eq!(admit(&definition(), None), Admission::Start);
    assert_eq!(admit(&definition(), Some(&run)), Admission::Merge);
    let (acting, _) = step(&definition(), &run, &pane(PaneState::Idle), at(1));
    assert_eq!(admit(&definition(), Some(&acting)), Admission::Queue);
    let (over, _) = step(&definition(), &acting, &outcome(&acting, OutcomeKind::Submitted), at(2));
    assert_eq!(admit(&definition(), Some(&over)), Admission::Start);
}

fn any_input() -> impl Strategy<Value = u8> {
    0_u8..9
}

proptest! {
    /// Whatever happens in whatever order: the budget holds, nothing is done after the end, every action that is
    /// not refused is the last of its step, and a stored run steps like the one in memory.
    #[test]
    fn no_order_of_inputs_breaks_the_budget(inputs in proptest::collection::vec((any_input(), 0_i64..90), 1..60)) {
        let definition = definition();
        let (mut run, _) = started();
        let (mut now, mut reached, mut seen) = (0, 0, std::collections::BTreeSet::new());
        for (kind, wait) in inputs {
            now += wait;
            let input = match kind {
                0 => pane(PaneState::Idle),
                1 => pane(PaneState::Working),
                2 => pane(PaneState::Waiting),
                3 => Input::Timer,
                4 => pane(PaneState::LimitWarning),
                _ => match run.open_action() {
                    Some(_) => outcome(&run, OutcomeKind::ALL[usize::from(kind) - 4]),
                    None => Input::Timer,
                },
            };
            if let Input::Outcome { kind: OutcomeKind::Submitted | OutcomeKind::Unknown | OutcomeKind::Placed, .. } = input {
                reached += 1;
            }
            let was_over = run.is_over();
            let stored: Run = serde_json::from_str(&serde_json::to_string(&run).unwrap()).unwrap();
            let (next, effects) = step(&definition, &stored, &input, at(now));
            prop_assert_eq!(&step(&definition, &run, &input, at(now)), &(next.clone(), effects.clone()));
            prop_assert!(!was_over || effects.is_empty());
            for (action, _) in acts(&effects) {
                prop_assert!(seen.insert(action), "an action id was used twice");
            }
            run = next;
        }
        prop_assert!(reached <= definition.max_actions);
    }
}
