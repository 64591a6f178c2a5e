//! Keystrokes on their way down: outbox, permit, outcome, pause.

use std::time::Duration;

use tonic::Code;
use tonic::transport::Channel;
use wa_link::principal::Role;
use wa_proto::wire::v1;
use wa_proto::wire::v1::fleet_client::FleetClient;
use wa_proto::{AgentKind, Lane, OutcomeKind, PaneState, RecordBody, SpoolId};

use crate::desk::{Desk, LIMIT, Node, address, outcome_record, pane, pane_ref, until};

pub(crate) async fn desk_with_pane() -> (Desk, wa_link::tls::Identity, SpoolId, Node) {
    let desk = Desk::start().await;
    let identity = desk.enrol("web-1").await;
    let spool = SpoolId::generate();
    let node = Node::connect(&desk, &identity, spool).await;
    node.panes(true, vec![pane(1, Some(AgentKind::codex()), PaneState::Idle)]).await;
    known(&desk).await;
    (desk, identity, spool, node)
}

pub(crate) async fn known(desk: &Desk) {
    let admin = desk.admin().await;
    until("the pane", async || {
        let request = v1::ListPanesRequest { selector: String::new(), pane: Some(address("web-1", 1)) };
        admin.clone().list_panes(request).await.ok()?.into_inner().panes[0].connected.then_some(())
    })
    .await;
}

pub(crate) fn send(text: &str) -> v1::ActRequest {
    v1::ActRequest {
        pane: Some(address("web-1", 1)),
        verb: Some(v1::act_request::Verb::Send(v1::SendText { text: text.into(), enter: true })),
        ..Default::default()
    }
}

pub(crate) async fn act(mut fleet: FleetClient<Channel>, request: v1::ActRequest) -> v1::ActResponse {
    tokio::time::timeout(LIMIT, fleet.act(request)).await.unwrap().unwrap().into_inner()
}

fn pause(paused: bool, selector: &str) -> v1::PauseRequest {
    v1::PauseRequest { selector: selector.into(), paused, reason: "lunch".into(), ..Default::default() }
}

#[tokio::test]
async fn a_send_is_permitted_done_and_told() {
    let (desk, _, _, mut node) = desk_with_pane().await;
    let operator = desk.fleet(Role::Operator, "ada").await;
    let asked = act(
        operator.clone(),
        send("continue, my key is sk-ant-api03-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
    );
    let done = async {
        let action = node.action().await;
        assert_eq!((action.who.as_str(), action.expect_agent.as_str()), ("operator:ada", "codex"));
        assert_eq!(action.expect_agent_pid, 4711);
        assert_eq!(node.ask(&action.action_id).await.refused, "");
        let submitted = outcome_record(1, &action.action_id, OutcomeKind::Submitted, "seen");
        node.records(Lane::Events, vec![submitted]).await;
        node.acked(Lane::Events, 1).await;
        // Settled: neither permitted again nor offered again.
        assert!(node.ask(&action.action_id).await.refused.contains("no such open action"));
    };
    let (told, ()) = tokio::join!(asked, done);
    assert_eq!((told.outcome.as_str(), told.reason.as_str()), ("submitted", "seen"));

    let trail = desk.running().store().audit_trail().await.unwrap();
    let of = |decision: &str| trail.iter().any(|row| row.who == "operator:ada" && row.decision == decision);
    assert!(of("queued") && of("submitted"), "{trail:?}");
    until("the permit in the trail", async || {
        let trail = desk.running().store().audit_trail().await.unwrap();
        trail.iter().any(|row| row.what == "permit" && row.decision == "granted").then_some(())
    })
    .await;
    assert!(!format!("{trail:?}").contains("sk-ant-api03"), "the trail holds what is redacted");
}

/// Its node has not shown it yet, or it has ended already: an event of it can be waited for all the same.
#[tokio::test]
async fn a_spawned_pane_is_known_by_its_outcome() {
    let (desk, _, _, mut node) = desk_with_pane().await;
    let mut operator = desk.fleet(Role::Operator, "ada").await;
    let spawn = v1::ActRequest {
        host: "web-1".into(),
        verb: Some(v1::act_request::Verb::Spawn(v1::SpawnPane {
            command: vec!["true".into()],
            cwd: "/".into(),
        })),
        ..Default::default()
    };
    let done = async {
        let action = node.action().await;
        assert_eq!(node.ask(&action.action_id).await.refused, "");
        let mut outcome = outcome_record(1, &action.action_id, OutcomeKind::Submitted, "");
        if let RecordBody::Outcome(outcome) = &mut outcome.body {
            outcome.spawned = Some(pane_ref(7));
        }
        node.records(Lane::Events, vec![outcome]).await;
        node.acked(Lane::Events, 1).await;
    };
    let (told, ()) = tokio::join!(act(operator.clone(), spawn), done);
    assert_eq!(told.pane, Some(address("web-1", 7)));
    let mut wait = async |pane_id| {
        let pane = Some(address("web-1", pane_id));
        let condition = "command.finished".into();
        let mut request = tonic::Request::new(v1::WaitRequest { pane, condition, ..Default::default() });
        request.set_timeout(Duration::from_millis(200));
        operator.wait(request).await.unwrap_err().code()
    };
    assert_eq!(wait(7).await, tonic::Code::DeadlineExceeded);
    assert_eq!(wait(8).await, tonic::Code::NotFound);
}

#[tokio::test]
async fn an_action_is_offered_again_to_the_next_session_with_the_same_id() {
    let (mut desk, identity, spool, mut node) = desk_with_pane().await;
    let operator = desk.fleet(Role::Operator, "ada").await;
    let asked = act(operator, send("hello"));
    let killed = async {
        let first = node.action().await;
        drop(node);
        let mut again = Node::connect(&desk, &identity, spool).await;
        let second = again.action().await;
        assert_eq!(first, second);
        assert_eq!(again.ask(&second.action_id).await.refused, "");
        let outcome = outcome_record(1, &second.action_id, OutcomeKind::Unknown, "no proof");
        again.records(Lane::Events, vec![outcome]).await;
        again.acked(Lane::Events, 1).await;
    };
    let (told, ()) = tokio::join!(asked, killed);
    assert_eq!(told.outcome, "unknown");

    // Over a kill of the controller: the row is durable before it is offered.
    let mut node = Node::connect(&desk, &identity, spool).await;
    node.panes(true, vec![pane(1, Some(AgentKind::codex()), PaneState::Idle)]).await;
    known(&desk).await;
    let operator = desk.fleet(Role::Operator, "ada").await;
    let asked = tokio::time::timeout(Duration::from_millis(500), act(operator, send("two")));
    let (_, before) = tokio::join!(asked, node.action());
    desk.kill_and_restart().await;
    let mut node = Node::connect(&desk, &identity, spool).await;
    assert_eq!(node.action().await, before);
    // The outcome comes twice, on two spools, and settles once.
    for spool in [spool, SpoolId::generate()] {
        let mut node = Node::connect(&desk, &identity, spool).await;
        let seq = node.welcome.acked_events + 1;
        node.records(Lane::Events, vec![outcome_record(seq, &before.action_id, OutcomeKind::Submitted, "")])
            .await;
        node.acked(Lane::Events, seq).await;
    }
    let trail = desk.running().store().audit_trail().await.unwrap();
    let id = wa_proto::ActionId::from_slice(&before.action_id).unwrap().to_string();
    let of = |decision: &str| {
        trail.iter().filter(|row| row.decision == decision && row.detail.contains(&id)).count()
    };
    assert_eq!((of("submitted"), of("ignored")), (1, 1));
}

#[tokio::test]
async fn what_cannot_be_is_refused_at_once() {
    let (desk, _, _, node) = desk_with_pane().await;
    let mut operator = desk.fleet(Role::Operator, "ada").await;
    let unknown = v1::ActRequest { pane: Some(address("web-1", 9)), ..send("x") };
    assert_eq!(operator.act(unknown).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(operator.act(send("a\u{1b}b")).await.unwrap_err().code(), Code::InvalidArgument);
    let other = v1::ActRequest { generation: "boot-0-0".into(), ..send("x") };
    let told = act(operator.clone(), other).await;
    assert!(told.outcome == "refused" && told.reason.contains("another process"), "{told:?}");
    let dry = act(operator.clone(), v1::ActRequest { dry_run: true, ..send("x") }).await;
    assert!(
        dry.outcome == "submitted" && dry.action_id.is_empty() && dry.reason.contains("dry run"),
        "{dry:?}"
    );
    assert!(desk.running().store().actions(10).await.unwrap().is_empty());
    drop(node);
    until("the node to be away", async || {
        let nodes = desk.running().registry().nodes();
        (!nodes[0].connected).then_some(())
    })
    .await;
    assert_eq!(operator.act(send("x")).await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn a_key_is_acted_on_once() {
    let (desk, _, _, mut node) = desk_with_pane().await;
    let operator = desk.fleet(Role::Operator, "ada").await;
    let request = v1::ActRequest { idempotency_key: "k1".into(), ..send("once") };
    let work = async {
        let action = node.action().await;
        node.records(Lane::Events, vec![outcome_record(1, &action.action_id, OutcomeKind::Placed, "p")])
            .await;
        action.action_id
    };
    let (one, action_id) = tokio::join!(act(operator.clone(), request.clone()), work);
    let two = act(operator, request).await;
    assert_eq!((one.outcome.as_str(), &one.action_id), ("placed", &action_id));
    assert_eq!((two.outcome.as_str(), two.action_id), ("placed", action_id));
    assert_eq!(desk.running().store().actions(10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn nothing_begins_after_pause_has_answered() {
    let (desk, _, _, mut node) = desk_with_pane().await;
    let operator = desk.fleet(Role::Operator, "ada").await;
    let mut admin = desk.admin().await;
    let asked = act(operator.clone(), send("hello"));
    let work = async {
        let action = node.action().await;
        let began = std::time::Instant::now();
        assert_eq!(node.ask(&action.action_id).await.refused, "");
        // A permit is good for a second, so the answer takes that long.
        let answer = admin.pause(pause(true, "agent=codex")).await.unwrap().into_inner();
        assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
        assert_eq!(answer.panes, [address("web-1", 1)]);
        assert!(!answer.everything);
        let refused = node.ask(&action.action_id).await;
        assert!(refused.refused.contains("paused by operator:owner: lunch"), "{refused:?}");
        node.records(
            Lane::Events,
            vec![outcome_record(1, &action.action_id, OutcomeKind::Refused, "paused")],
        )
        .await;
    };
    let (told, ()) = tokio::join!(asked, work);
    assert_eq!(told.outcome, "refused");
    // Nothing is even queued, and the pane says so.
    let told = act(operator.clone(), send("more")).await;
    assert!(told.outcome == "refused" && told.reason.contains("lunch"), "{told:?}");
    let listed = admin.list_panes(v1::ListPanesRequest::default()).await.unwrap().into_inner().panes;
    assert!(listed[0].paused);

    // Pausing everything on top: lifting the first does not lift the second.
    assert!(admin.pause(pause(true, "")).await.unwrap().into_inner().everything);
    let still = admin.pause(pause(false, "agent=codex")).await.unwrap_err();
    assert!(still.message().contains("everything is paused"), "{still}");
    assert!(!admin.pause(pause(false, "")).await.unwrap().into_inner().everything);
    let (told, action) = tokio::join!(act(operator, send("again")), async {
        let action = node.action().await;
        assert_eq!(node.ask(&action.action_id).await.refused, "");
        node.records(Lane::Events, vec![outcome_record(2, &action.action_id, OutcomeKind::Submitted, "")])
            .await;
    });
    assert_eq!((told.outcome.as_str(), action), ("submitted", ()));
}

#[tokio::test]
async fn a_pause_outlives_a_restart() {
    let (mut desk, identity, spool, node) = desk_with_pane().await;
    desk.admin().await.pause(pause(true, "host=web-1")).await.unwrap();
    drop(node);
    desk.kill_and_restart().await;
    let node = Node::connect(&desk, &identity, spool).await;
    node.panes(true, vec![pane(1, Some(AgentKind::codex()), PaneState::Idle)]).await;
    known(&desk).await;
    let told = act(desk.fleet(Role::Operator, "ada").await, send("x")).await;
    assert!(told.outcome == "refused" && told.reason.contains("lunch"), "{told:?}");
}

#[tokio::test]
async fn what_was_never_permitted_expires() {
    let (desk, _, _, mut node) = desk_with_pane().await;
    let operator = desk.fleet(Role::Operator, "ada").await;
    let request = v1::ActRequest { timeout_ms: 200, ..send("late") };
    let late = async {
        let action = node.action().await;
        let deadline = action.deadline_us;
        until("the deadline", async || (wa_link::clock::now().as_microsecond() > deadline).then_some(()))
            .await;
        let permit = node.ask(&action.action_id).await;
        assert!(permit.expired && permit.refused.contains("deadline"), "{permit:?}");
        node.records(Lane::Events, vec![outcome_record(1, &action.action_id, OutcomeKind::Expired, "late")])
            .await;
    };
    let (told, ()) = tokio::join!(act(operator, request), late);
    assert_eq!(told.outcome, "expired");
}

#[tokio::test]
async fn waiting_ends_with_a_state_an_event_or_the_callers_patience() {
    let (desk, _, _, mut node) = desk_with_pane().await;
    let mut viewer = desk.fleet(Role::Viewer, "v").await;
    let wait = |condition: &str| v1::WaitRequest {
        pane: Some(address("web-1", 1)),
        condition: condition.into(),
        ..Default::default()
    };
    let holds = viewer.wait(wait("idle")).await.unwrap().into_inner();
    assert_eq!(holds.panes[0].pane.as_ref().unwrap().state, "idle");

    let mut impatient = tonic::Request::new(wait("working"));
    impatient.set_timeout(Duration::from_millis(300));
    assert_eq!(viewer.wait(impatient).await.unwrap_err().code(), Code::DeadlineExceeded);

    let later = async {
        node.panes(false, vec![pane(1, Some(AgentKind::codex()), PaneState::Working)]).await;
    };
    let mut other = viewer.clone();
    let (came, ()) = tokio::join!(other.wait(wait("working")), later);
    assert_eq!(came.unwrap().into_inner().panes.len(), 1);

    let selector =
        v1::WaitRequest { selector: "agent=codex".into(), condition: "bell".into(), ..Default::default() };
    let mut other = viewer.clone();
    let waiting = other.wait(selector.clone());
    let ring = async {
        // What rings before the call has begun to wait is of the past.
        loop {
            node.event(wa_proto::EventKind::Bell, AgentKind::codex(), &[]).await;
        }
    };
    let came = tokio::select! {
        came = waiting => came,
        () = ring => unreachable!(),
    };
    assert_eq!(came.unwrap().into_inner().events[0].event.as_ref().unwrap().event, "bell");
    let since = v1::WaitRequest { since_us: 1, all: true, ..selector };
    assert_eq!(viewer.wait(since).await.unwrap().into_inner().events.len(), 1);

    assert_eq!(viewer.wait(wait("happy")).await.unwrap_err().code(), Code::InvalidArgument);
    let unknown = v1::WaitRequest { pane: Some(address("web-1", 8)), ..wait("idle") };
    assert_eq!(viewer.wait(unknown).await.unwrap_err().code(), Code::NotFound);
}
