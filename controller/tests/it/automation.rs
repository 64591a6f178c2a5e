//! Limits, approvals, questions and brakes over the wire: what the controller does by itself, and what it leaves to people.

use std::time::Duration;

use tonic::Code;
use wa_controller::{Config, Definition};
use wa_link::clock;
use wa_link::principal::Role;
use wa_link::tls::Identity;
use wa_proto::wire::v1;
use wa_proto::{AgentKind, EventKind, OutcomeKind, PaneState, RecordBody, SpoolId};

use crate::desk::{Desk, Node, address, event_record, pane, pane_ref, until};

/// The built-in workflow, which waits for minutes, with pauses that a test can bear.
const LIMIT_WAIT: &str = include_str!("../../workflow/workflows/limit-wait.toml");

struct Scene {
    desk: Desk,
    identity: Identity,
    spool: SpoolId,
    node: Node,
}

impl Scene {
    async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let place = tempfile::tempdir().unwrap();
        let mut config = Config::local(place.path().join("data"));
        change(&mut config);
        let desk = Desk::with(place, config).await;
        let (identity, spool) = (desk.enrol("web-1").await, SpoolId::generate());
        let node = Node::connect(&desk, &identity, spool).await;
        Self { desk, identity, spool, node }
    }

    /// With the limit's workflow that waits no longer than the reset, and a menu for a quarter of a second.
    async fn limited() -> Self {
        let quick = LIMIT_WAIT
            .replace("grace = \"2m\"", "grace = \"0s\"")
            .replace("jitter = \"1m\"", "jitter = \"0s\"")
            .replace("timeout = \"20s\"", "timeout = \"250ms\"")
            .replace("timeout = \"45s\"", "timeout = \"250ms\"");
        let greet = "name = 'greet'\nversion = 1\non = 'bell'\nmax_actions = 1\n\
            [[step]]\ndo = 'type'\ntext = 'hello'\ntimeout = '5s'\n";
        let workflows = [&quick, greet].map(|text| Definition::parse(text).unwrap());
        let scene = Self::with(|config| config.workflows.extend(workflows)).await;
        scene.state(PaneState::Limited).await;
        scene
    }

    async fn state(&self, state: PaneState) {
        self.node.panes(true, vec![pane(1, Some(AgentKind::claude()), state)]).await;
    }

    async fn event(&mut self, kind: EventKind, fields: &[(&str, &str)]) {
        self.node.event(kind, AgentKind::claude(), fields).await;
    }

    async fn outcome(&mut self, action: &v1::Action, kind: OutcomeKind) {
        self.node.outcome(action, kind, "as it was").await;
    }

    async fn run(&self) -> Option<v1::Run> {
        let listed = self.desk.admin().await.list_runs(v1::ListRunsRequest::default()).await.unwrap();
        listed.into_inner().runs.into_iter().next()
    }

    async fn run_is(&self, state: &str) -> v1::Run {
        until(state, async || self.run().await.filter(|run| run.state == state)).await
    }

    async fn notices(&self, open: bool) -> Vec<v1::Notice> {
        let request = v1::ListNoticesRequest { open, limit: 0 };
        self.desk.admin().await.list_notices(request).await.unwrap().into_inner().notices
    }

    async fn audit(&self, what: &str) -> Vec<(String, String)> {
        let rows = self.desk.running().store().audit_trail().await.unwrap();
        rows.into_iter().filter(|row| row.what == what).map(|row| (row.decision, row.detail)).collect()
    }
}

fn text_of(action: &v1::Action) -> &str {
    match &action.verb {
        Some(v1::action::Verb::Send(send)) => &send.text,
        other => panic!("not a send: {other:?}"),
    }
}

#[tokio::test]
async fn a_limit_is_waited_out_over_a_restart_and_the_agent_told_once() {
    let mut scene = Scene::limited().await;
    let reset = clock::now() + Duration::from_millis(1500);
    scene.event(EventKind::LimitReached, &[("reset_at", "5pm"), ("reset_time", &reset.to_string())]).await;
    scene.run_is("waiting").await;
    scene.desk.kill_and_restart().await;
    scene.node = Node::connect(&scene.desk, &scene.identity, scene.spool).await;
    scene.state(PaneState::Limited).await;
    let action = scene.node.action().await;
    assert!(clock::now() >= reset, "not before the limit has lifted");
    assert_eq!((text_of(&action), action.expect_agent.as_str()), ("proceed", "claude"));
    // The turn begins, and its event is here, before the node's word of the outcome.
    scene.event(EventKind::TurnStarted, &[]).await;
    scene.outcome(&action, OutcomeKind::Submitted).await;
    let run = scene.run_is("succeeded").await;
    assert_eq!(run.reason, "the limit lifted, and the agent works again");
    // What it was stepped with tells the same again.
    let id = v1::GetRunRequest { run_id: run.run_id.clone() };
    let shown = scene.desk.admin().await.get_run(id).await.unwrap().into_inner();
    let last = shown.inputs.last().unwrap();
    assert_eq!((last.state.as_str(), shown.run.unwrap().step), ("succeeded", "done".to_owned()));
    assert_eq!(scene.notices(false).await, []);
}

/// A run is the fold of its inputs also where all of them came in the commit that began it.
#[tokio::test]
async fn what_a_run_was_stepped_with_tells_the_same_again() {
    let mut scene = Scene::limited().await;
    scene.state(PaneState::Waiting).await;
    let reset = clock::now() + Duration::from_secs(3600);
    scene.event(EventKind::LimitReached, &[("reset_time", &reset.to_string())]).await;
    let action = scene.node.action().await;
    scene.outcome(&action, OutcomeKind::Submitted).await;
    let run =
        until("the wait for the reset", async || scene.run().await.filter(|run| run.step == "reset")).await;
    let id = v1::GetRunRequest { run_id: run.run_id };
    let shown = scene.desk.admin().await.get_run(id).await.unwrap().into_inner();
    let told: Vec<_> = shown.inputs.iter().map(|input| (input.step.as_str(), input.state.as_str())).collect();
    assert_eq!((told[0], told[1]), (("menu", "acting"), ("reset", "waiting")), "{told:?}");
}

#[tokio::test]
async fn an_agent_that_goes_on_by_itself_is_left_alone() {
    let mut scene = Scene::limited().await;
    let reset = clock::now() + Duration::from_secs(3600);
    scene.event(EventKind::LimitReached, &[("reset_time", &reset.to_string())]).await;
    until("the wait for the reset", async || scene.run().await.filter(|run| run.step == "reset")).await;
    scene.state(PaneState::Working).await;
    assert_eq!(scene.run_is("succeeded").await.reason, "the agent went on by itself");
}

#[tokio::test]
async fn a_doubt_is_asked_and_answered_once() {
    let mut scene = Scene::limited().await;
    scene.event(EventKind::LimitReached, &[("reset_time", &clock::now().to_string())]).await;
    let action = scene.node.action().await;
    scene.outcome(&action, OutcomeKind::Unknown).await;
    scene.run_is("asking").await;
    let asked = scene.notices(true).await;
    let [question] = &asked[..] else { panic!("{asked:?}") };
    assert!(question.text.contains("not certain") && question.choices == ["done"], "{question:?}");
    let answer = |id, choice: &str| v1::AnswerNoticeRequest { id, choice: choice.into() };
    let mut viewer = scene.desk.fleet(Role::Viewer, "vera").await;
    let mut operator = scene.desk.fleet(Role::Operator, "ada").await;
    for (request, code) in [
        (answer(question.id + 1, "done"), Code::NotFound),
        (answer(question.id, "nonsense"), Code::InvalidArgument),
    ] {
        assert_eq!(operator.answer_notice(request).await.unwrap_err().code(), code);
    }
    let refused = viewer.answer_notice(answer(question.id, "done")).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    operator.answer_notice(answer(question.id, "done")).await.unwrap();
    assert_eq!(scene.run_is("succeeded").await.reason, "left to a person");
    let twice = operator.answer_notice(answer(question.id, "done")).await.unwrap_err();
    assert_eq!(twice.code(), Code::PermissionDenied, "{twice}");
    assert_eq!(scene.notices(true).await, []);
    let closed = &scene.notices(false).await[0];
    assert_eq!((closed.answer.as_str(), closed.who.as_str()), ("done", "operator:ada"));
}

#[tokio::test]
async fn a_cancelled_run_asks_no_more() {
    let mut scene = Scene::limited().await;
    scene.event(EventKind::LimitReached, &[("reset_time", &clock::now().to_string())]).await;
    let action = scene.node.action().await;
    scene.outcome(&action, OutcomeKind::Unknown).await;
    let run = scene.run_is("asking").await;
    let cancel = |reason: &str| v1::CancelRunRequest { run_id: run.run_id.clone(), reason: reason.into() };
    let mut operator = scene.desk.fleet(Role::Operator, "ada").await;
    let cancelled = operator.cancel_run(cancel("I do it")).await.unwrap().into_inner().run.unwrap();
    assert_eq!(
        (cancelled.state.as_str(), cancelled.reason.as_str()),
        ("cancelled", "by operator:ada: I do it")
    );
    assert_eq!(scene.notices(true).await, []);
    assert_eq!(operator.cancel_run(cancel("")).await.unwrap_err().code(), Code::PermissionDenied);
}

/// Its node has the action, and has not asked yet whether it may begin.
#[tokio::test]
async fn what_a_cancelled_run_was_about_to_do_is_not_done() {
    let mut scene = Scene::limited().await;
    scene.event(EventKind::LimitReached, &[("reset_time", &clock::now().to_string())]).await;
    let action = scene.node.action().await;
    let run = scene.run_is("acting").await;
    let cancel = v1::CancelRunRequest { run_id: run.run_id, reason: String::new() };
    scene.desk.admin().await.cancel_run(cancel).await.unwrap();
    let permit = scene.node.ask(&action.action_id).await;
    assert!(permit.expired && permit.refused.contains("cancelled"), "{permit:?}");
    scene.desk.kill_and_restart().await;
    scene.node = Node::connect(&scene.desk, &scene.identity, scene.spool).await;
    assert!(scene.node.ask(&action.action_id).await.expired, "nor after a restart");
}

/// Its node was permitted to begin, and may have not.
#[tokio::test]
async fn what_a_cancelled_run_was_permitted_has_lapsed_when_that_is_answered() {
    let mut scene = Scene::limited().await;
    scene.event(EventKind::LimitReached, &[("reset_time", &clock::now().to_string())]).await;
    let action = scene.node.action().await;
    let run = scene.run_is("acting").await;
    let before = clock::monotonic();
    assert_eq!(scene.node.ask(&action.action_id).await.refused, "");
    let cancel = v1::CancelRunRequest { run_id: run.run_id, reason: String::new() };
    scene.desk.admin().await.cancel_run(cancel).await.unwrap();
    let answered = clock::monotonic();
    assert!(answered - before >= wa_controller::gate::PERMIT_LIFE, "{:?}", answered - before);
    assert!(scene.node.ask(&action.action_id).await.expired, "and there is no other");
}

/// The pane was missing from what its node told, and is there again: its run has ended meanwhile.
#[tokio::test]
async fn what_a_run_waits_for_no_more_is_not_begun() {
    let mut scene = Scene::limited().await;
    scene.event(EventKind::LimitReached, &[("reset_time", &clock::now().to_string())]).await;
    let action = scene.node.action().await;
    scene.node.panes(true, Vec::new()).await;
    assert_eq!(scene.run_is("unknown").await.reason, "the pane is gone");
    scene.state(PaneState::Limited).await;
    let permit = scene.node.ask(&action.action_id).await;
    assert!(permit.expired && permit.refused.contains("does not wait for it any more"), "{permit:?}");
    assert!(scene.audit("act").await.iter().any(|(decision, _)| decision == "withdrawn"));
}

/// One that waited, and may not begin when its turn comes, is not the last.
#[tokio::test]
async fn a_trigger_that_is_held_back_gives_the_next_one_its_turn() {
    let act = "max_actions = 1\n[[step]]\ndo = 'type'\ntext = 'hello'\ntimeout = '5s'\n";
    let first = format!("name = 'first'\nversion = 1\non = 'turn.finished'\n{act}");
    let once =
        format!("name = 'once'\nversion = 1\non = 'bell'\nmax_runs = {{ count = 1, per = '1h' }}\n{act}");
    let workflows = [&first, &once].map(|text| Definition::parse(text).unwrap());
    let mut scene = Scene::with(|config| config.workflows.extend(workflows)).await;
    scene.state(PaneState::Idle).await;
    for kind in [EventKind::TurnFinished, EventKind::Bell, EventKind::Bell, EventKind::ContextCompacted] {
        scene.event(kind, &[]).await;
    }
    for who in ["workflow:first", "workflow:once", "workflow:claude-compaction-reread"] {
        let action = scene.node.action().await;
        assert_eq!(action.who, who);
        scene.outcome(&action, OutcomeKind::Submitted).await;
    }
    assert!(scene.audit("run").await.iter().any(|(decision, _)| decision == "declined"));
}

/// The end of a run that only tells people is nobody's turn: those that wait keep their order.
#[tokio::test]
async fn a_notice_disturbs_no_run_that_acts_and_none_that_waits() {
    let mut scene = Scene::limited().await;
    scene.event(EventKind::LimitReached, &[("reset_time", &clock::now().to_string())]).await;
    let action = scene.node.action().await;
    for kind in [EventKind::ContextCompacted, EventKind::Bell] {
        scene.event(kind, &[]).await;
    }
    scene.event(EventKind::ApprovalRequested, &[("choices", CHOICES)]).await;
    until("a notice", async || scene.notices(false).await.into_iter().next()).await;
    scene.event(EventKind::TurnStarted, &[]).await;
    scene.outcome(&action, OutcomeKind::Submitted).await;
    scene.state(PaneState::Idle).await;
    let next = scene.node.action().await;
    assert_eq!(next.who, "workflow:claude-compaction-reread");
    scene.outcome(&next, OutcomeKind::Submitted).await;
    assert_eq!(scene.node.action().await.who, "workflow:greet");
}

/// Nor does it make one deaf that waits for its pane.
#[tokio::test]
async fn a_run_that_waits_still_hears_of_its_pane_after_a_notice() {
    let mut scene = Scene::limited().await;
    let reset = clock::now() + Duration::from_secs(3600);
    scene.event(EventKind::LimitReached, &[("reset_time", &reset.to_string())]).await;
    until("no menu", async || scene.run().await.filter(|run| run.step == "reset")).await;
    scene.event(EventKind::ApprovalRequested, &[("choices", CHOICES)]).await;
    until("a notice", async || scene.notices(false).await.into_iter().next()).await;
    scene.state(PaneState::Working).await;
    let ended = until("the end", async || {
        let listed = scene.desk.admin().await.list_runs(v1::ListRunsRequest::default()).await.unwrap();
        let mut runs = listed.into_inner().runs.into_iter();
        runs.find(|run| run.workflow == "limit-wait" && run.state != "waiting")
    });
    assert_eq!(ended.await.reason, "the agent went on by itself");
}

const CHOICES: &str =
    "Yes | Yes, and don't ask again for npm commands | No, and tell Claude what to do (esc)";

#[tokio::test]
async fn an_approval_is_told_and_answered_by_its_label() {
    let mut scene = Scene::with(|_| {}).await;
    scene.state(PaneState::Waiting).await;
    let fields = [("command", "npm test"), ("choices", CHOICES), ("dialog", "00000000deadbeef")];
    scene.event(EventKind::ApprovalRequested, &fields).await;
    let told = until("a notice", async || scene.notices(false).await.into_iter().next()).await;
    assert_eq!(told.text, format!("claude on web-1/1 waits: npm test ({CHOICES})"));
    assert_eq!(scene.notices(true).await, [], "nobody but `wa approve` answers it");
    for (deny, label) in [(false, "Yes"), (true, "No, and tell Claude what to do (esc)")] {
        let mut operator = scene.desk.fleet(Role::Operator, "ada").await;
        let decide = v1::DecideRequest { pane: Some(address("web-1", 1)), deny, ..Default::default() };
        let deciding = tokio::task::unconstrained(async move { operator.decide(decide).await });
        let node = async {
            let action = scene.node.action().await;
            scene.outcome(&action, OutcomeKind::Submitted).await;
            action
        };
        let (decided, action) = tokio::join!(deciding, node);
        assert_eq!(decided.unwrap().into_inner().outcome, "submitted");
        let wanted = v1::ChooseLabel { labels: vec![label.into()], dialog: "00000000deadbeef".into() };
        assert_eq!(action.verb, Some(v1::action::Verb::Choose(wanted)));
    }
    let mut agent = scene.desk.fleet(Role::Agent, "web-1").await;
    let decide = v1::DecideRequest { pane: Some(address("web-1", 1)), ..Default::default() };
    assert_eq!(agent.decide(decide).await.unwrap_err().code(), Code::PermissionDenied);
    // Nor by the label itself.
    let label = v1::ChooseLabel { labels: vec!["Yes".into()], dialog: "00000000deadbeef".into() };
    let choose = v1::ActRequest {
        pane: Some(address("web-1", 1)),
        verb: Some(v1::act_request::Verb::Choose(label)),
        timeout_ms: 200,
        ..Default::default()
    };
    let told = agent.act(choose).await.unwrap().into_inner();
    assert_eq!(told.outcome, "refused", "{told:?}");
    assert!(told.reason.contains("an agent answers no dialog"), "{told:?}");
}

/// A pane's state comes live, and the event that says what it asks a moment later.
#[tokio::test]
async fn an_answer_waits_for_what_is_asked() {
    let mut scene = Scene::with(|_| {}).await;
    scene.state(PaneState::Waiting).await;
    let mut operator = scene.desk.fleet(Role::Operator, "ada").await;
    until("the state", async || {
        let panes = scene.desk.admin().await.list_panes(v1::ListPanesRequest::default()).await.unwrap();
        panes.into_inner().panes.into_iter().find(|item| item.pane.as_ref().unwrap().state == "waiting")
    })
    .await;
    let decide = v1::DecideRequest { pane: Some(address("web-1", 1)), ..Default::default() };
    let mut deciding = Box::pin(async move { operator.decide(decide).await });
    let early = tokio::time::timeout(Duration::from_millis(200), &mut deciding).await;
    assert!(early.is_err(), "answered before anything was asked: {early:?}");
    let fields = [("choices", CHOICES), ("dialog", "00000000deadbeef")];
    let node = async {
        scene.event(EventKind::ApprovalRequested, &fields).await;
        let action = scene.node.action().await;
        scene.outcome(&action, OutcomeKind::Submitted).await;
    };
    let (decided, ()) = tokio::join!(deciding, node);
    assert_eq!(decided.unwrap().into_inner().outcome, "submitted");
}

#[tokio::test]
async fn workflows_act_on_so_many_panes_a_minute() {
    let mut scene = Scene::with(|config| config.panes_per_minute = 1).await;
    let idle = |id| pane(id, Some(AgentKind::claude()), PaneState::Idle);
    scene.node.panes(true, vec![idle(1), idle(2)]).await;
    scene.event(EventKind::ContextCompacted, &[]).await;
    let first = scene.node.action().await;
    assert_eq!(scene.node.ask(&first.action_id).await.refused, "");
    scene
        .node
        .record(|seq| {
            let mut record = event_record(seq, EventKind::ContextCompacted, AgentKind::claude());
            if let RecordBody::Event(event) = &mut record.body {
                event.pane = Some(pane_ref(2));
            }
            record
        })
        .await;
    let second = scene.node.action().await;
    let refused = scene.node.ask(&second.action_id).await.refused;
    assert!(refused.contains("1 panes within a minute"), "{refused}");
    assert_eq!(scene.node.ask(&first.action_id).await.refused, "", "the same pane is no other one");
}

#[tokio::test]
async fn a_run_is_begun_by_hand_where_its_agent_is() {
    let mut scene = Scene::with(|_| {}).await;
    scene.state(PaneState::Idle).await;
    let mut operator = scene.desk.fleet(Role::Operator, "ada").await;
    let start = |workflow: &str, id| v1::StartRunRequest {
        workflow: workflow.into(),
        pane: Some(address("web-1", id)),
    };
    assert_eq!(operator.start_run(start("nonsense", 1)).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(operator.start_run(start("limit-wait", 9)).await.unwrap_err().code(), Code::NotFound);
    until("the pane", async || {
        let started = scene
            .desk
            .fleet(Role::Operator, "ada")
            .await
            .start_run(start("claude-compaction-reread", 1))
            .await;
        started.ok().and_then(|run| run.into_inner().run)
    })
    .await;
    assert_eq!(text_of(&scene.node.action().await), "Reread AGENTS.md so it's fresh in your mind.");
    scene.node.panes(true, vec![pane(1, Some(AgentKind::codex()), PaneState::Idle)]).await;
    let refused = async || operator.clone().start_run(start("claude-compaction-reread", 1)).await.err();
    until("a refusal", async || refused().await.filter(|error| error.message().contains("is for claude")))
        .await;
}

#[tokio::test]
async fn a_crashed_agent_is_resumed_where_that_is_turned_on() {
    for on in [false, true] {
        let mut scene = Scene::with(|config| {
            config.enable_workflows = if on { vec!["crash-resume".into()] } else { Vec::new() };
        })
        .await;
        scene.state(PaneState::Crashed).await;
        scene.event(EventKind::AgentCrashed, &[("session_id", "0199-aa")]).await;
        assert_eq!(scene.run().await.is_some(), on);
        if !on {
            continue;
        }
        scene.node.panes(true, vec![pane(1, None, PaneState::Shell)]).await;
        let action = scene.node.action().await;
        assert_eq!((text_of(&action), action.expect_shell), ("claude --resume 0199-aa", true));
        scene.outcome(&action, OutcomeKind::Submitted).await;
        scene.state(PaneState::Idle).await;
        assert_eq!(scene.run_is("succeeded").await.reason, "the session was resumed in its pane");
    }
}

/// A run that failed begins again where it failed, by a person's word; one that is in doubt only when they are sure.
#[tokio::test]
async fn a_run_that_failed_is_begun_again_where_it_failed() {
    let workflow = "name = 'two'\nversion = 1\non = 'bell'\nmax_actions = 2\n\
        [[step]]\nid = 'one'\ndo = 'type'\ntext = 'one'\ntimeout = '10s'\n\
        [[step]]\nid = 'seen'\ndo = 'verify'\nevents = ['turn.started']\ntimeout = '100ms'\n\
        [[step]]\nid = 'two'\ndo = 'type'\ntext = 'two'\ntimeout = '10s'\n";
    let mut scene = Scene::with(|config| config.workflows.push(Definition::parse(workflow).unwrap())).await;
    scene.state(PaneState::Idle).await;
    scene.event(EventKind::Bell, &[]).await;
    let first = scene.node.action().await;
    let mut operator = scene.desk.fleet(Role::Operator, "ada").await;
    let run = scene.run_is("acting").await;
    let retry = |run: &v1::Run, sure| v1::RetryRunRequest { run_id: run.run_id.clone(), sure };
    let open = operator.retry_run(retry(&run, true)).await.unwrap_err();
    assert!(open.message().contains("has not ended"), "{open}");
    scene.outcome(&first, OutcomeKind::Submitted).await;
    let failed = scene.run_is("failed").await;
    let again = operator.retry_run(retry(&failed, false)).await.unwrap().into_inner().run.unwrap();
    assert_eq!((again.state.as_str(), again.step.as_str()), ("waiting", "seen"));
    scene.event(EventKind::TurnStarted, &[]).await;
    let second = scene.node.action().await;
    assert_eq!(text_of(&second), "two", "what was done is not done again");
    scene.outcome(&second, OutcomeKind::Unknown).await;
    let doubtful = scene.run_is("unknown").await;
    let refused = operator.retry_run(retry(&doubtful, false)).await.unwrap_err();
    assert!(refused.message().contains("look at the pane"), "{refused}");
    operator.retry_run(retry(&doubtful, true)).await.unwrap();
    let third = scene.node.action().await;
    assert_eq!(text_of(&third), "two");
    scene.outcome(&third, OutcomeKind::Submitted).await;
    let done = scene.run_is("succeeded").await;
    let id = v1::GetRunRequest { run_id: done.run_id };
    let shown = scene.desk.admin().await.get_run(id).await.unwrap().into_inner();
    assert_eq!(shown.inputs.last().unwrap().state, "succeeded", "it replays");
    assert!(operator.retry_run(retry(&shown.run.unwrap(), true)).await.is_err());
    // Whoever did not hear of the first time asks once more: what was done by then would be done twice.
    for sure in [false, true] {
        let twice = operator.retry_run(retry(&failed, sure)).await.unwrap_err();
        assert!(twice.message().contains(&again.run_id), "{twice}");
    }
}
