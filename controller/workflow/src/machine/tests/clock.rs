//! Clocks that are set, and timers that come whatever else comes.

use super::*;

fn set(by: i64) -> Input {
    Input::ClockSet { by: SignedDuration::from_secs(by) }
}

#[test]
fn a_deadline_goes_with_the_clock() {
    for by in [-97_200, 97_200] {
        let mut stage = Stage::begin(reread(), &[]);
        stage.take(100 + by, set(by));
        assert_eq!((stage.ended().0, stage.wakes()), ("waiting", Some(at(600 + by))));
        stage.take(599 + by, Input::Timer);
        assert_eq!(stage.ended().0, "waiting");
        assert_eq!(stage.take(600 + by, Input::Timer).ended().0, "failed");
    }
}

#[test]
fn the_reset_of_a_limit_is_an_instant() {
    let mut stage = limited();
    let due = stage.take(20, Input::Timer).wakes().unwrap();
    assert!(due >= at(3600), "{due}");
    let deadline = stage.run.step_deadline;
    stage.take(-1000, set(-1020));
    assert_eq!(
        (stage.wakes(), stage.run.step_deadline),
        (Some(due), deadline - SignedDuration::from_secs(1020))
    );
    // It has come by a clock that is right at last.
    assert_eq!(stage.take(4000, set(5000)).verbs(), [send("proceed")]);
}

#[test]
fn a_timer_that_comes_early_leaves_the_pause_before_the_next_try() {
    let mut stage = Stage::begin(reread(), &[]);
    stage.pane(10, PaneState::Idle).outcome(11, OutcomeKind::Refused);
    let again = stage.wakes().unwrap();
    assert_eq!(stage.take(11, Input::Timer).wakes(), Some(again));
    assert_eq!(stage.take(13, Input::Timer).verbs().len(), 1);
}

#[test]
fn what_is_told_again_is_no_news_until_the_run_moves_on() {
    let mut stage = Stage::begin(reread(), &[]);
    let working = pane(PaneState::Working);
    assert!(!stage.run.knows(&working));
    assert!(stage.take(1, working.clone()).run.knows(&working));
    let other = Input::Pane { state: PaneState::Working, agent: None, agent_pid: 78, until: None };
    assert!(
        !stage.run.knows(&other) && !stage.run.knows(&Input::PaneGone) && !stage.run.knows(&Input::Timer)
    );
    let idle = pane(PaneState::Idle);
    stage.take(2, idle.clone()).outcome(3, OutcomeKind::Refused);
    assert!(!stage.run.knows(&idle), "it waits for something else now");
}

/// A run as it is with a clock that is right.
fn righted(run: &Run, wrong: SignedDuration) -> Run {
    let right = |at: Timestamp| at - wrong;
    let mut run = run.clone();
    run.step_deadline = right(run.step_deadline);
    match &mut run.status {
        Status::Waiting { not_before, .. } => *not_before = right(*not_before),
        Status::Ended { at, .. } => *at = right(*at),
        Status::Acting { .. } | Status::Preparing { .. } | Status::Asking => {}
    }
    run
}

proptest! {
    /// Where no instant is told, a run whose clock is set goes as one that only looks at the time then.
    #[test]
    fn a_clock_that_is_set_changes_no_run(
        definition in any_definition(),
        inputs in prop::collection::vec((0_u8..28, 0_i64..900, -100_000_i64..100_000), 1..60),
    ) {
        let begin = || Stage::begin(definition.clone(), &[]);
        let (mut right, mut wrong, mut now, mut ahead) = (begin(), begin(), 0, 0);
        for (kind, wait, by) in inputs {
            if right.run.is_over() {
                break;
            }
            now += wait;
            match kind {
                // An instant.
                19 => continue,
                15..=17 => {
                    ahead += by;
                    wrong.take(now + ahead, set(by));
                    right.take(now, Input::Timer);
                }
                _ => {
                    let input = input_of(&right.run, kind);
                    wrong.take(now + ahead, input.clone());
                    right.take(now, input);
                }
            }
            let ahead = SignedDuration::from_secs(ahead);
            prop_assert_eq!(&righted(&wrong.run, ahead), &right.run);
            prop_assert_eq!(wrong.wakes().map(|at| at - ahead), right.wakes());
        }
    }

    /// Whatever comes in between, and however often: a run that is not over is woken when its step's time is.
    #[test]
    fn a_run_is_always_woken(
        definition in any_definition(),
        inputs in prop::collection::vec((0_u8..28, 0_i64..20), 1..200),
        known in any::<bool>(),
    ) {
        let reset = at(3600).to_string();
        let fields: &[(&str, &str)] = if known { &[("reset_time", &reset)] } else { &[] };
        let mut stage = Stage::begin(definition, fields);
        let (mut now, mut wake) = (0, stage.wakes());
        for (kind, wait) in inputs {
            now += wait;
            let due = wake.is_some_and(|wake| wake <= at(now));
            let input = if due { Input::Timer } else { input_of(&stage.run, kind) };
            if due {
                wake = None;
            }
            wake = stage.take(now, input).wakes().or(wake);
            let latest = later(stage.run.step_deadline, OUTCOME_GRACE);
            prop_assert!(
                stage.run.is_over() || wake.is_some_and(|wake| wake <= latest),
                "{:?} is woken at {wake:?}", stage.run
            );
        }
    }
}
