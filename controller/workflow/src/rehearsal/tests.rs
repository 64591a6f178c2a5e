use proptest::prelude::*;

use super::*;
use crate::builtin;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn named(name: &str) -> Definition {
    builtin().unwrap().into_iter().find(|definition| definition.name == name).unwrap()
}

fn event(second: i64, kind: EventKind, fields: &[(&str, &str)]) -> Moment {
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Moment { at: at(second), seen: Seen::Event { kind, fields } }
}

fn state(second: i64, state: PaneState) -> Moment {
    Moment { at: at(second), seen: Seen::State { state, until: None } }
}

fn texts(name: &str, agent: AgentKind, moments: &[Moment]) -> Vec<String> {
    let lines = rehearse(&named(name), Some(&agent), &Vars::new(), moments);
    lines.into_iter().map(|line| line.text).collect()
}

#[test]
fn a_compaction_would_be_answered_when_the_agent_is_ready() {
    let moments =
        [event(1, EventKind::ContextCompacted, &[]), state(1, PaneState::Working), state(9, PaneState::Idle)];
    let lines =
        rehearse(&named("claude-compaction-reread"), Some(&AgentKind::claude()), &Vars::new(), &moments);
    let told: Vec<_> = lines.iter().map(|line| (line.at, line.step.as_str(), line.text.as_str())).collect();
    assert_eq!(
        told,
        [
            (at(1), "", "begins, by context.compacted"),
            (at(9), "reread", "would type \"Reread AGENTS.md so it's fresh in your mind.\"; taken as done"),
            (at(9), "", "ends, succeeded: every step done"),
        ]
    );
    let codex = texts("claude-compaction-reread", AgentKind::codex(), &moments);
    assert_eq!(codex, ["claude-compaction-reread is not for codex: it would not begin"]);
    let nothing = texts("claude-compaction-reread", AgentKind::claude(), &moments[1..]);
    assert!(nothing[0].contains("it would not begin"), "{nothing:?}");
}

#[test]
fn a_limit_would_be_waited_out_beyond_the_recording() {
    let reset = at(3600).to_string();
    let limit = event(1, EventKind::LimitReached, &[("reset_time", &reset)]);
    let lines = rehearse(&named("limit-wait"), Some(&AgentKind::codex()), &Vars::new(), &[limit]);
    let typed = lines.iter().find(|line| line.text.starts_with("would type \"proceed\"")).unwrap();
    assert!(typed.beyond && typed.at >= at(3600), "{lines:?}");
}

#[test]
fn a_switch_is_shown_to_its_end() {
    let session = [("session_id", "0199-bb")];
    let moments = [
        event(1, EventKind::LimitReached, &[]),
        state(20, PaneState::Exited),
        event(21, EventKind::SessionEnded, &session),
        state(30, PaneState::Idle),
        event(60, EventKind::TurnStarted, &[]),
    ];
    let told = texts("codex-account-switch", AgentKind::codex(), &moments);
    let wanted = [
        "begins, by limit.reached",
        "would lease an account; taken as free, and as signed in",
        "would press C-c; taken as done",
        "would type \"ACCOUNT_VARIABLE=/ACCOUNT/HOME codex resume 0199-bb\"; taken as done",
        "would type \"proceed\"; taken as done",
        "ends, succeeded: the agent works again",
    ];
    let mut left = told.iter();
    for line in wanted {
        assert!(left.any(|one| one == line), "{line} is not in its place in {told:#?}");
    }
}

proptest! {
    /// Whatever a recording holds, a rehearsal ends, and goes forward in time.
    #[test]
    fn every_rehearsal_ends(
        definition in prop::sample::select(builtin().unwrap()),
        moments in prop::collection::vec((0_usize..40, 0_i64..100_000), 0..40),
    ) {
        let moment = |(what, second): (usize, i64)| match PaneState::ALL.get(what) {
            Some(one) => state(second, *one),
            None => event(second, EventKind::ALL[what % EventKind::ALL.len()], &[("session_id", "0199-bb")]),
        };
        let moments: Vec<_> = moments.into_iter().map(moment).collect();
        let agent = definition.agents.first().cloned();
        let lines = rehearse(&definition, agent.as_ref(), &Vars::new(), &moments);
        prop_assert!(!lines.is_empty() && lines.len() < MAX_LINES);
        prop_assert!(lines.windows(2).all(|pair| pair[0].at <= pair[1].at));
    }
}
