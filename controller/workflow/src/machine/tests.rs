mod clock;
mod switching;

use std::collections::BTreeSet;

use proptest::prelude::*;
use wa_proto::{AgentKind, EventId, Generation, Host, MuxName, PaneRef};

use super::*;
use crate::{Admission, PlaceOf, admit, builtin};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn named(name: &str) -> Definition {
    builtin().unwrap().into_iter().find(|definition| definition.name == name).unwrap()
}

const DOUBT: &str =
    "claude-compaction-reread on a/3: why. Whether its last action arrived is not known: look at the pane";

fn reread() -> Definition {
    named("claude-compaction-reread")
}

fn trigger(fields: &[(&str, &str)]) -> Trigger {
    Trigger {
        event: EventId(Uuid::from_u128(1)),
        host: Host::new("a").unwrap(),
        pane: PaneRef { mux: MuxName::main(), generation: Generation::new("g").unwrap(), pane_id: 3 },
        agent: Some(AgentKind::claude()),
        agent_pid: 77,
        trace_parent: String::new(),
        fields: fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        place: PlaceOf {
            address: "a/3".into(),
            project: "wa".into(),
            cwd: "/srv/wa".into(),
            session_id: "0199-aa".into(),
        },
    }
}

/// A definition, one run of it, and what the last input led to.
struct Stage {
    definition: Definition,
    run: Run,
    effects: Vec<Effect>,
}

impl Stage {
    fn begin(definition: Definition, fields: &[(&str, &str)]) -> Self {
        let id = RunId(Uuid::from_u128(0x1000));
        let (run, effects) = Run::start(&definition, id, trigger(fields), &Vars::new(), at(0));
        Self { definition, run, effects }
    }

    fn take(&mut self, second: i64, input: Input) -> &mut Self {
        (self.run, self.effects) = step(&self.definition, &self.run, &input, at(second));
        self
    }

    fn pane(&mut self, second: i64, state: PaneState) -> &mut Self {
        self.take(second, pane(state))
    }

    fn outcome(&mut self, second: i64, kind: OutcomeKind) -> &mut Self {
        let input = outcome(&self.run, kind);
        self.take(second, input)
    }

    fn id(&self) -> &str {
        self.definition.steps.get(self.run.step).map_or("", |step| &step.id)
    }

    fn verbs(&self) -> Vec<Verb> {
        acts(&self.effects).into_iter().map(|(_, verb)| verb).collect()
    }

    fn notices(&self) -> Vec<&str> {
        let text = |effect| match effect {
            &Effect::Notify { ref text, .. } | &Effect::Ask { question: ref text, .. } => Some(text.as_str()),
            _ => None,
        };
        self.effects.iter().filter_map(text).collect()
    }

    fn wakes(&self) -> Option<Timestamp> {
        self.effects.iter().rev().find_map(|effect| match effect {
            Effect::WakeAt(at) => Some(*at),
            _ => None,
        })
    }

    fn ended(&self) -> (&str, &str) {
        match &self.run.status {
            Status::Ended { reason, .. } => (self.run.status.name(), reason),
            status => (status.name(), ""),
        }
    }
}

fn pane(state: PaneState) -> Input {
    Input::Pane { state, agent: Some(AgentKind::claude()), agent_pid: 77, until: None }
}

fn outcome(run: &Run, kind: OutcomeKind) -> Input {
    Input::Outcome { action: run.open_action().expect("acting"), kind, reason: "why".into() }
}

fn acts(effects: &[Effect]) -> Vec<(ActionId, Verb)> {
    let act = |effect: &Effect| match effect {
        Effect::Act { action, verb, .. } => Some((*action, verb.clone())),
        _ => None,
    };
    effects.iter().filter_map(act).collect()
}

fn heard(kind: EventKind) -> Input {
    Input::Event { kind, session_id: String::new() }
}

fn send(text: &str) -> Verb {
    Verb::Send { text: text.to_owned(), enter: true }
}

// ---- compaction

#[test]
fn a_compaction_is_answered_once_the_agent_is_ready() {
    let mut stage = Stage::begin(reread(), &[]);
    assert_eq!(stage.verbs(), []);
    assert_eq!(stage.pane(1, PaneState::Working).verbs(), []);
    assert_eq!(
        stage.pane(2, PaneState::Idle).verbs(),
        [send("Reread AGENTS.md so it's fresh in your mind.")]
    );
    let acting = stage.run.clone();
    assert_eq!(stage.pane(3, PaneState::Idle).verbs(), [], "an idle pane does not act twice");
    assert_eq!(stage.run.status, acting.status);
    assert_eq!(stage.outcome(4, OutcomeKind::Submitted).ended().0, "succeeded");
}

#[test]
fn a_refusal_is_tried_again_and_an_unknown_is_not() {
    let mut stage = Stage::begin(reread(), &[]);
    stage.pane(1, PaneState::Idle);
    let (first, run) = (stage.run.open_action().unwrap(), stage.run.clone());
    stage.outcome(2, OutcomeKind::Refused);
    assert_eq!(stage.effects, [Effect::WakeAt(at(4))]);
    assert_eq!(stage.pane(3, PaneState::Idle).verbs(), []);
    assert_eq!(stage.take(4, Input::Timer).verbs().len(), 1);
    assert_ne!(stage.run.open_action(), Some(first), "a new try is a new action");
    stage.run = run;
    stage.outcome(2, OutcomeKind::Unknown);
    assert_eq!((stage.ended().0, stage.notices(), stage.effects.len()), ("unknown", vec![DOUBT], 1));
}

#[test]
fn another_process_a_shell_and_time_end_it() {
    let other =
        Input::Pane { state: PaneState::Idle, agent: Some(AgentKind::claude()), agent_pid: 78, until: None };
    let gone = [(other, 1), (pane(PaneState::Shell), 1), (Input::PaneGone, 1)];
    for ((input, now), end) in
        gone.into_iter().map(|input| (input, "cancelled")).chain([((Input::Timer, 600), "failed")])
    {
        let mut stage = Stage::begin(reread(), &[]);
        stage.take(now, input.clone());
        assert_eq!((stage.ended().0, stage.verbs().len()), (end, 0), "{input:?}");
        // What nobody could help is no news.
        assert_eq!(stage.notices().len(), usize::from(end == "failed"), "{input:?}");
    }
}

/// What a workflow types may be what ends an agent: that is no agent which went by itself.
#[test]
fn an_agent_that_goes_after_it_was_acted_on_is_a_failure() {
    let mut stage = limited();
    stage.take(20, Input::Timer);
    let mut waits = Stage { run: stage.run.clone(), definition: stage.definition.clone(), effects: vec![] };
    assert_eq!(waits.pane(30, PaneState::Exited).ended().0, "cancelled");
    stage.take(4000, Input::Timer).outcome(4001, OutcomeKind::Submitted);
    assert_eq!(stage.pane(4002, PaneState::Exited).ended().0, "failed");
    assert!(
        stage.notices()[0].starts_with("limit-wait on a/3: the agent is no longer there"),
        "{:?}",
        stage.notices()
    );
}

#[test]
fn a_second_trigger_is_merged_only_before_the_first_key() {
    let mut stage = Stage::begin(reread(), &[]);
    let admitted = |stage: &Stage| admit(&stage.definition, Some(&stage.run));
    assert_eq!(admit(&stage.definition, None), Admission::Start);
    assert_eq!(admitted(&stage), Admission::Merge);
    stage.pane(1, PaneState::Idle);
    assert_eq!(admitted(&stage), Admission::Queue);
    assert_eq!(admit(&named("approval-notice"), Some(&stage.run)), Admission::Start, "it takes no pane");
    stage.outcome(2, OutcomeKind::Submitted);
    assert_eq!(admitted(&stage), Admission::Start);
}

#[test]
fn values_come_from_the_most_particular_place() {
    let of = |text: &str| toml::from_str::<crate::Override>(text).unwrap();
    let overrides = [
        of("pane = 'a/3'\nvars = { rules_file = 'PANE.md' }"),
        of("project = 'wa'\nvars = { rules_file = 'PROJECT.md' }"),
        of("agent = 'claude'\nvars = { rules_file = 'AGENT.md', cwd = '/etc' }"),
        of("vars = { rules_file = 'ALL.md' }"),
        of("workflow = 'other'\npane = 'a/3'\nvars = { rules_file = 'OTHER.md' }"),
    ];
    for (skip, expected) in ["PANE.md", "PROJECT.md", "AGENT.md", "ALL.md"].into_iter().enumerate() {
        let vars = crate::resolve(&overrides[skip..], "claude-compaction-reread", &trigger(&[]));
        let (run, _) = Run::start(&reread(), RunId(Uuid::from_u128(1)), trigger(&[]), &vars, at(0));
        assert_eq!((run.vars["rules_file"].as_str(), run.vars["cwd"].as_str()), (expected, "/srv/wa"));
    }
}

// ---- limits

/// A run that knows when the limit lifts: an hour from its start.
fn limited() -> Stage {
    let reset = at(3600).to_string();
    let mut stage = Stage::begin(named("limit-wait"), &[("reset_at", "5pm"), ("reset_time", &reset)]);
    stage.pane(1, PaneState::Limited);
    stage
}

#[test]
fn a_limit_is_waited_out_and_the_agent_told_once() {
    let mut stage = limited();
    assert_eq!(stage.take(20, Input::Timer).id(), "reset", "no menu came");
    let wake = stage.wakes().unwrap();
    let latest = at(3600) + SignedDuration::from_mins(3);
    assert!(wake >= at(3600) + SignedDuration::from_mins(2) && wake <= latest, "{wake}");
    stage.pane(30, PaneState::Limited);
    let due = wake.as_second() + 1 - at(0).as_second();
    assert_eq!(stage.take(due - 2, Input::Timer).verbs(), []);
    assert_eq!(stage.take(due, Input::Timer).verbs(), [send("proceed")]);
    // The turn may begin before the node's word of it is here.
    stage.take(due + 1, heard(EventKind::TurnStarted));
    stage.outcome(due + 2, OutcomeKind::Submitted);
    assert_eq!(stage.id(), "again", "it may meet the limit once more");
    stage.take(due + 60, Input::Timer);
    assert_eq!(stage.ended(), ("succeeded", "the limit lifted, and the agent works again"));
}

#[test]
fn an_agent_that_goes_on_by_itself_is_left_alone() {
    let mut stage = limited();
    stage.take(20, Input::Timer).pane(21, PaneState::Limited);
    assert_eq!(stage.pane(3605, PaneState::Working).ended(), ("succeeded", "the agent went on by itself"));
    // It works still when the event of the limit arrives: that is not going on.
    let reset = at(3600).to_string();
    let mut early = Stage::begin(named("limit-wait"), &[("reset_time", &reset)]);
    early.take(20, Input::Timer);
    assert_eq!(early.pane(21, PaneState::Working).ended().0, "waiting");
}

/// Its node refused while a person typed; by the time of the next attempt the agent does what it would be told.
#[test]
fn an_agent_that_works_before_it_could_be_told_is_told_nothing() {
    let mut stage = limited();
    stage.take(20, Input::Timer).take(4000, Input::Timer);
    assert_eq!(stage.verbs(), [send("proceed")]);
    stage.outcome(4001, OutcomeKind::Refused).pane(4002, PaneState::Working);
    let mut still = Stage { run: stage.run.clone(), effects: Vec::new(), definition: named("limit-wait") };
    assert_eq!(stage.take(4003, Input::Timer).verbs(), []);
    assert_eq!(stage.ended(), ("succeeded", "the agent went on by itself"));
    assert_eq!(still.pane(4003, PaneState::Limited).verbs(), [send("proceed")]);
}

/// The agent says again that its limit is reached, whenever somebody types: that asks for no second `proceed`.
#[test]
fn a_limit_that_is_told_again_while_it_is_waited_out_is_the_same() {
    let mut stage = limited();
    stage.pane(5, PaneState::Waiting).outcome(6, OutcomeKind::Submitted);
    assert_eq!((stage.id(), stage.run.attempts), ("reset", 1));
    assert_eq!(admit(&stage.definition, Some(&stage.run)), Admission::Merge);
    stage.take(4000, Input::Timer);
    assert_eq!((stage.id(), admit(&stage.definition, Some(&stage.run))), ("proceed", Admission::Queue));
}

/// What it did when a person ended it may have arrived.
#[test]
fn a_run_that_is_cancelled_while_it_acts_is_in_doubt() {
    let cancel = || Input::Cancel { reason: "by operator:ada".into() };
    let mut stage = Stage::begin(reread(), &[]);
    let mut waits = Stage { run: stage.run.clone(), effects: Vec::new(), definition: reread() };
    stage.pane(1, PaneState::Idle).take(2, cancel());
    assert_eq!(stage.run.again_from(&stage.definition, false), Err(crate::NotAgain::Doubt));
    assert_eq!(stage.run.again_from(&stage.definition, true), Ok(1));
    waits.take(2, cancel());
    assert_eq!(waits.run.again_from(&waits.definition, false), Ok(0));
}

#[test]
fn a_menu_is_answered_by_what_waits_before_anything_else() {
    let mut stage = limited();
    let verbs = stage.pane(5, PaneState::Waiting).verbs();
    assert!(matches!(&verbs[..], [Verb::Choose { labels, .. }] if labels[0].contains("wait")), "{verbs:?}");
    assert_eq!(stage.outcome(6, OutcomeKind::Submitted).id(), "reset");
    // One that offers nothing of the kind is a person's.
    let mut strange = limited();
    strange.pane(5, PaneState::Waiting).outcome(21, OutcomeKind::Refused);
    assert_eq!((strange.ended().0, strange.verbs()), ("asking", vec![]));
    assert!(strange.notices()[0].contains("cannot be answered safely"), "{:?}", strange.notices());
}

#[test]
fn a_reset_that_nobody_knows_is_asked_for() {
    let mut stage = Stage::begin(named("limit-wait"), &[]);
    stage.pane(1, PaneState::Limited).take(20, Input::Timer);
    assert_eq!(stage.id(), "reset");
    let mut told = Stage { run: stage.run.clone(), effects: Vec::new(), definition: named("limit-wait") };
    stage.take(50, Input::Timer);
    assert_eq!(stage.ended().0, "asking");
    assert!(stage.notices()[0].contains("is not known"), "{:?}", stage.notices());
    let answer = |choice: &str| Input::Answer { choice: choice.into(), who: "operator:ada".into() };
    assert_eq!(stage.take(60, answer("nonsense")).ended().0, "asking");
    assert_eq!(stage.take(70, answer("proceed")).verbs(), [send("proceed")]);
    assert_eq!(stage.run.vars["answered_by"], "operator:ada");
    stage.outcome(71, OutcomeKind::Submitted);
    assert_eq!(stage.ended(), ("succeeded", "the agent was told to go on, as a person wished"));
    // What the pane shows later counts as well.
    let limited = Input::Pane {
        state: PaneState::Limited,
        agent: Some(AgentKind::claude()),
        agent_pid: 77,
        until: Some(at(900)),
    };
    told.take(30, limited);
    assert!(told.wakes().unwrap() >= at(900), "{:?}", told.effects);
}

/// By the time a person answers, the agent may work again: whoever types then would be in its way.
#[test]
fn an_agent_that_works_by_the_time_of_the_answer_is_told_nothing() {
    let mut stage = Stage::begin(named("limit-wait"), &[]);
    stage.pane(1, PaneState::Limited).take(20, Input::Timer).take(50, Input::Timer);
    assert_eq!(stage.ended().0, "asking");
    let answer = || Input::Answer { choice: "proceed".into(), who: "operator:ada".into() };
    assert_eq!(stage.pane(60, PaneState::Working).take(70, answer()).verbs(), []);
    assert_eq!(stage.ended(), ("succeeded", "the agent went on by itself"));
    // Refused over a person's keys, and then there is no need for it any more.
    let mut later = Stage::begin(named("limit-wait"), &[]);
    later.pane(1, PaneState::Limited).take(20, Input::Timer).take(50, Input::Timer);
    assert_eq!(later.take(60, answer()).verbs(), [send("proceed")]);
    later.outcome(61, OutcomeKind::Refused).pane(62, PaneState::Working);
    assert_eq!(later.take(70, Input::Timer).verbs(), []);
    assert_eq!(later.ended(), ("succeeded", "the agent went on by itself"));
}

#[test]
fn a_doubt_is_a_persons_and_nothing_is_typed_again() {
    let mut stage = limited();
    stage.take(20, Input::Timer).take(4000, Input::Timer);
    assert_eq!(stage.verbs(), [send("proceed")]);
    stage.outcome(4001, OutcomeKind::Unknown);
    assert_eq!((stage.ended().0, stage.verbs()), ("asking", vec![]));
    assert!(stage.notices()[0].contains("not certain (why)"), "{:?}", stage.notices());
}

/// At once, or a moment after the turn began: what the run says of it is the same.
#[test]
fn a_limit_that_holds_still_is_told_and_is_no_lifted_one() {
    for works_first in [false, true] {
        let mut stage = limited();
        stage.take(20, Input::Timer).take(4000, Input::Timer).outcome(4001, OutcomeKind::Submitted);
        if works_first {
            stage.take(4002, heard(EventKind::TurnStarted)).pane(4003, PaneState::Working);
        }
        stage.take(4010, heard(EventKind::LimitReached));
        assert_eq!(stage.ended(), ("succeeded", "the limit had not lifted: the agent met it again"));
        assert_eq!(stage.notices().len(), 1);
        assert!(stage.notices()[0].contains("met its limit again"), "{:?}", stage.notices());
    }
}

// ---- crashes

#[test]
fn a_crashed_agent_is_resumed_in_its_shell() {
    let mut stage = Stage::begin(named("crash-resume"), &[]);
    assert_eq!(stage.pane(1, PaneState::Working).verbs(), []);
    assert_eq!(stage.pane(2, PaneState::Crashed).verbs(), [send("claude --resume 0199-aa")]);
    let expects_shell = |effect: &Effect| matches!(effect, Effect::Act { expect: Expect::Shell, .. });
    assert!(stage.effects.iter().any(expects_shell));
    stage.outcome(3, OutcomeKind::Submitted);
    let another =
        Input::Pane { state: PaneState::Idle, agent: Some(AgentKind::claude()), agent_pid: 99, until: None };
    assert_eq!(stage.take(5, another).ended(), ("succeeded", "the session was resumed in its pane"));
}

#[test]
fn a_pane_that_went_with_its_agent_is_replaced() {
    let mut stage = Stage::begin(named("crash-resume"), &[]);
    let spawn = Verb::Spawn {
        command: ["sh", "-c", "claude --resume 0199-aa"].map(str::to_owned).into(),
        cwd: "/srv/wa".to_owned(),
    };
    assert_eq!(stage.take(1, Input::PaneGone).verbs(), [spawn]);
    assert_eq!(stage.take(2, Input::PaneGone).ended().0, "acting", "the old pane is gone for good");
    assert_eq!(stage.outcome(3, OutcomeKind::Submitted).ended().0, "succeeded");
}

/// By the time that its crash is told nobody can ask for the pane any more.
#[test]
fn of_a_pane_that_is_gone_its_last_event_is_believed() {
    let fields = [("pane_gone", "true"), ("session_id", "0199-bb"), ("cwd", "/srv/shop")];
    let cwd_of = |known: &str| {
        let trigger =
            Trigger { place: PlaceOf { cwd: known.into(), ..PlaceOf::default() }, ..trigger(&fields) };
        let id = RunId(Uuid::from_u128(0x1000));
        let (run, _) = Run::start(&named("crash-resume"), id, trigger, &Vars::new(), at(0));
        let (_, effects) = step(&named("crash-resume"), &run, &Input::PaneGone, at(1));
        match acts(&effects).pop() {
            Some((_, Verb::Spawn { command, cwd })) if command[2] == "claude --resume 0199-bb" => cwd,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((cwd_of("").as_str(), cwd_of("/srv/wa").as_str()), ("/srv/shop", "/srv/wa"));
}

#[test]
fn what_is_no_session_is_not_typed() {
    for session in ["", "a; rm -rf ~", "--help", "a b", "$(id)"] {
        let mut stage = Stage::begin(named("crash-resume"), &[("session_id", session)]);
        if session.is_empty() {
            stage.run.vars.insert("resume_command".into(), String::new());
        }
        stage.pane(2, PaneState::Shell);
        assert_eq!((stage.verbs(), stage.ended().0), (vec![], "failed"), "{session:?}");
        assert!(stage.notices()[0].contains("resume_command is not known"), "{:?}", stage.notices());
    }
}

// ---- approvals

#[test]
fn an_approval_is_told_and_never_answered() {
    let fields = [("command", "rm -rf build"), ("choices", "Yes | No")];
    let stage = Stage::begin(named("approval-notice"), &fields);
    assert_eq!(stage.notices(), ["claude on a/3 waits: rm -rf build (Yes | No)"]);
    assert_eq!((stage.ended().0, stage.verbs()), ("succeeded", vec![]));
    let bare = Stage::begin(named("approval-notice"), &[]);
    assert_eq!(bare.notices(), ["claude on a/3 waits for an answer"]);
}

// ---- every workflow, whatever comes

fn any_definition() -> impl Strategy<Value = Definition> {
    prop::sample::select(builtin().unwrap())
}

fn input_of(run: &Run, kind: u8) -> Input {
    let states = [
        PaneState::Idle,
        PaneState::Working,
        PaneState::Waiting,
        PaneState::LimitWarning,
        PaneState::Limited,
        PaneState::Shell,
    ];
    match kind {
        0..=5 => pane(states[usize::from(kind)]),
        6 => heard(EventKind::TurnStarted),
        7 => heard(EventKind::LimitReached),
        8 => Input::Answer { choice: "proceed".into(), who: "operator:ada".into() },
        9 => Input::PaneGone,
        18 => Input::Leased {
            step: run.step,
            alias: "work-2".parse().unwrap(),
            home: "/h".into(),
            variable: "CODEX_HOME".into(),
            signed_in: run.attempts.is_multiple_of(2),
        },
        19 => Input::NotLeased { step: run.step, reason: "why".into(), until: Some(at(1800)) },
        20 => heard(EventKind::AuthDeviceCode),
        21 => heard(EventKind::AuthSucceeded),
        22 => Input::SigningIn { step: run.step },
        23 => Input::SignedIn { step: run.step },
        24 => Input::SignInFailed { step: run.step, reason: "why".into() },
        25 => Input::Restarted,
        26 => Input::Event { kind: EventKind::SessionEnded, session_id: "0199-cc".into() },
        27 => Input::Answer { choice: "signed-in".into(), who: "operator:ada".into() },
        10..=14 if run.open_action().is_some() => outcome(run, OutcomeKind::ALL[usize::from(kind) - 10]),
        _ => Input::Timer,
    }
}

proptest! {
    /// Whatever happens in whatever order: the budget holds, nothing is done after the end, a run only goes forward, an
    /// action id is used once, one code is entered at most, none after a doubt, and a stored run steps like the one in
    /// memory.
    #[test]
    fn no_order_of_inputs_breaks_a_run(
        definition in any_definition(),
        inputs in prop::collection::vec((0_u8..28, 0_i64..900), 1..80),
        known in any::<bool>(),
    ) {
        let reset = at(3600).to_string();
        let fields: &[(&str, &str)] = if known { &[("reset_time", &reset)] } else { &[] };
        let Stage { mut run, .. } = Stage::begin(definition.clone(), fields);
        let (mut now, mut reached, mut seen) = (0, 0, BTreeSet::new());
        let (mut begun, mut in_doubt) = (0, false);
        for (kind, wait) in inputs {
            now += wait;
            let input = input_of(&run, kind);
            let was_over = run.is_over();
            let stored: Run = serde_json::from_str(&serde_json::to_string(&run).unwrap()).unwrap();
            let (next, effects) = step(&definition, &stored, &input, at(now));
            prop_assert_eq!(&step(&definition, &run, &input, at(now)), &(next.clone(), effects.clone()));
            prop_assert!(!was_over || effects.is_empty());
            prop_assert!(next.step >= run.step, "it went back");
            let arrived = matches!(input, Input::Outcome {
                kind: OutcomeKind::Submitted | OutcomeKind::Unknown | OutcomeKind::Placed, .. });
            reached += u32::from(arrived);
            let doubt = matches!(input, Input::Outcome { kind: OutcomeKind::Unknown, .. });
            in_doubt = (in_doubt || doubt) && !matches!(input, Input::Answer { .. });
            let sign_in = effects.iter().any(|effect| matches!(effect, Effect::SignIn { .. }));
            prop_assert!(!in_doubt || (acts(&effects).is_empty() && !sign_in), "went on after a doubt");
            let enters = |run: &Run| run.status == Status::Preparing { begun: true };
            prop_assert!(!(sign_in && begun > 0), "a code may be entered twice");
            begun += u32::from(enters(&next) && !enters(&run));
            for (action, _) in acts(&effects) {
                prop_assert!(seen.insert(action), "an action id was used twice");
            }
            run = next;
        }
        prop_assert!(reached <= definition.max_actions);
    }

    /// Nobody answers and nothing happens: with time alone every run ends, also when what it waits for is lost.
    #[test]
    fn every_run_ends(definition in any_definition(), known in any::<bool>()) {
        let reset = at(3600).to_string();
        let fields: &[(&str, &str)] = if known { &[("reset_time", &reset)] } else { &[] };
        let Stage { mut run, effects, .. } = Stage::begin(definition.clone(), fields);
        let mut wake = effects;
        for _ in 0..100 {
            if run.is_over() {
                break;
            }
            let next = wake.iter().rev().find_map(|effect| match effect {
                Effect::WakeAt(at) => Some(*at),
                _ => None,
            });
            let next = next.expect("a run that waits wants to be woken");
            (run, wake) = step(&definition, &run, &Input::Timer, next);
        }
        prop_assert!(run.is_over(), "{:?}", run.status);
    }
}
