//! The built-in workflow over the wire: event, wait, action, outcome, end; and what a kill in the middle changes.

use wa_link::tls::Identity;
use wa_proto::wire::v1;
use wa_proto::{AgentKind, EventKind, Lane, OutcomeKind, PaneState, SpoolId};

use crate::desk::{Desk, Node, event_record, outcome_record, pane, until};

async fn desk() -> (Desk, Identity, SpoolId) {
    let desk = Desk::start().await;
    let identity = desk.enrol("web-1").await;
    (desk, identity, SpoolId::generate())
}

async fn connect(desk: &Desk, identity: &Identity, spool: SpoolId, state: PaneState) -> Node {
    let node = Node::connect(desk, identity, spool).await;
    node.panes(true, vec![pane(1, Some(AgentKind::claude()), state)]).await;
    node
}

async fn runs(desk: &Desk) -> Vec<(String, String)> {
    let runs = desk.admin().await.list_runs(v1::ListRunsRequest::default()).await.unwrap().into_inner().runs;
    runs.into_iter().map(|run| (run.state, run.reason)).collect()
}

async fn run_is(desk: &Desk, state: &str) {
    until(state, async || runs(desk).await.first().is_some_and(|(now, _)| now == state).then_some(())).await;
}

fn compacted(seq: u64) -> Vec<wa_proto::Record> {
    vec![event_record(seq, EventKind::ContextCompacted, AgentKind::claude())]
}

fn text_of(action: &v1::Action) -> &str {
    match &action.verb {
        Some(v1::action::Verb::Send(send)) => &send.text,
        other => panic!("not a send: {other:?}"),
    }
}

#[tokio::test]
async fn a_compaction_is_answered_once_the_agent_is_ready() {
    let (desk, identity, spool) = desk().await;
    let mut node = connect(&desk, &identity, spool, PaneState::Working).await;
    node.records(Lane::Events, compacted(1)).await;
    node.acked(Lane::Events, 1).await;
    run_is(&desk, "waiting").await;
    node.panes(false, vec![pane(1, Some(AgentKind::claude()), PaneState::Idle)]).await;
    let action = node.action().await;
    assert_eq!(text_of(&action), "Reread AGENTS.md so it's fresh in your mind.");
    assert_eq!(
        (action.who.as_str(), action.expect_agent.as_str()),
        ("workflow:claude-compaction-reread", "claude")
    );
    assert_eq!(node.ask(&action.action_id).await.refused, "");
    node.records(Lane::Events, vec![outcome_record(2, &action.action_id, OutcomeKind::Submitted, "")]).await;
    run_is(&desk, "succeeded").await;

    // The second compaction on the same screen: a second run, here with the agent already idle.
    node.records(Lane::Events, compacted(3)).await;
    let second = node.action().await;
    assert_ne!(second.action_id, action.action_id);
    assert!(second.fence > action.fence);
    assert_eq!(runs(&desk).await.len(), 2);
}

#[tokio::test]
async fn one_run_at_a_time_acts_on_a_pane() {
    let (desk, identity, spool) = desk().await;
    let mut node = connect(&desk, &identity, spool, PaneState::Idle).await;
    node.records(Lane::Events, compacted(1)).await;
    let first = node.action().await;
    // While it acts, another compaction comes, and waits for its turn.
    node.records(Lane::Events, compacted(2)).await;
    node.acked(Lane::Events, 2).await;
    assert_eq!(runs(&desk).await.len(), 1);
    node.records(Lane::Events, vec![outcome_record(3, &first.action_id, OutcomeKind::Submitted, "")]).await;
    let second = node.action().await;
    assert_ne!(first.action_id, second.action_id);
    let states: Vec<String> = runs(&desk).await.into_iter().map(|(state, _)| state).collect();
    assert_eq!(states, ["acting", "succeeded"]);
}

#[tokio::test]
async fn unknown_ends_the_run_and_nobody_types_again() {
    let (desk, identity, spool) = desk().await;
    let mut node = connect(&desk, &identity, spool, PaneState::Idle).await;
    node.records(Lane::Events, compacted(1)).await;
    let action = node.action().await;
    node.records(Lane::Events, vec![outcome_record(2, &action.action_id, OutcomeKind::Unknown, "killed")])
        .await;
    run_is(&desk, "unknown").await;
    assert_eq!(runs(&desk).await, [("unknown".to_owned(), "killed".to_owned())]);
    assert!(desk.running().store().actions(10).await.unwrap().len() == 1);
}

#[tokio::test]
async fn a_refused_action_is_tried_again_when_its_time_has_come() {
    let (desk, identity, spool) = desk().await;
    let mut node = connect(&desk, &identity, spool, PaneState::Idle).await;
    node.records(Lane::Events, compacted(1)).await;
    let first = node.action().await;
    node.records(Lane::Events, vec![outcome_record(2, &first.action_id, OutcomeKind::Refused, "a draft")])
        .await;
    // The timer of the run, not a report, brings the second attempt.
    let second = node.action().await;
    assert_ne!(first.action_id, second.action_id);
    node.records(Lane::Events, vec![outcome_record(3, &second.action_id, OutcomeKind::Submitted, "")]).await;
    run_is(&desk, "succeeded").await;
}

/// Promise W1: killed between any two steps, it goes on where it was.
#[tokio::test]
async fn a_killed_controller_goes_on_where_it_was() {
    let (mut desk, identity, spool) = desk().await;
    let mut node = connect(&desk, &identity, spool, PaneState::Working).await;
    let event = compacted(1);
    node.records(Lane::Events, event.clone()).await;
    node.acked(Lane::Events, 1).await;
    desk.kill_and_restart().await;
    assert_eq!(runs(&desk).await[0].0, "waiting");

    let mut node = connect(&desk, &identity, spool, PaneState::Idle).await;
    let action = node.action().await;
    desk.kill_and_restart().await;
    assert_eq!(runs(&desk).await[0].0, "acting");

    let mut node = connect(&desk, &identity, spool, PaneState::Idle).await;
    assert_eq!(node.action().await, action, "the same action, not another");
    node.records(Lane::Events, vec![outcome_record(2, &action.action_id, OutcomeKind::Submitted, "")]).await;
    run_is(&desk, "succeeded").await;
    // The same event from a spool that was restored under another id: no second run.
    let mut node = connect(&desk, &identity, SpoolId::generate(), PaneState::Idle).await;
    node.records(Lane::Events, event).await;
    node.acked(Lane::Events, 1).await;
    assert_eq!(runs(&desk).await.len(), 1);
}

#[tokio::test]
async fn a_pane_that_is_gone_ends_its_run() {
    let (desk, identity, spool) = desk().await;
    let mut node = connect(&desk, &identity, spool, PaneState::Working).await;
    node.records(Lane::Events, compacted(1)).await;
    node.acked(Lane::Events, 1).await;
    node.panes(true, vec![]).await;
    run_is(&desk, "cancelled").await;
    assert_eq!(runs(&desk).await[0].1, "the pane is gone");
}

/// A node that was restarted has yet to find its panes; the run waits on.
#[tokio::test]
async fn a_restarted_node_ends_no_run() {
    let (desk, identity, spool) = desk().await;
    let mut node = connect(&desk, &identity, spool, PaneState::Working).await;
    node.records(Lane::Events, compacted(1)).await;
    node.acked(Lane::Events, 1).await;
    run_is(&desk, "waiting").await;
    drop(node);
    let mut node = Node::connect(&desk, &identity, spool).await;
    node.panes(true, vec![]).await;
    node.panes(false, vec![pane(1, Some(AgentKind::claude()), PaneState::Idle)]).await;
    let action = node.action().await;
    assert_eq!(text_of(&action), "Reread AGENTS.md so it's fresh in your mind.");
}

/// A trigger that waits for a workflow that is no more must not hold up those behind it.
#[tokio::test]
async fn a_trigger_of_a_workflow_that_is_no_more_is_passed_over() {
    let place = tempfile::tempdir().unwrap();
    let mut config = wa_controller::Config::local(place.path().join("data"));
    let greet = "name = 'greet'\nversion = 1\non = 'bell'\nmax_actions = 1\n\
        [[step]]\ndo = 'type'\ntext = 'hello'\ntimeout = '5s'\n";
    config.workflows.push(wa_workflow::Definition::parse(greet).unwrap());
    let mut desk = Desk::with(place, config).await;
    let (identity, spool) = (desk.enrol("web-1").await, SpoolId::generate());
    let mut node = connect(&desk, &identity, spool, PaneState::Idle).await;
    node.records(Lane::Events, compacted(1)).await;
    let first = node.action().await;
    node.records(Lane::Events, vec![event_record(2, EventKind::Bell, AgentKind::claude())]).await;
    node.records(Lane::Events, compacted(3)).await;
    node.acked(Lane::Events, 2).await;
    node.acked(Lane::Events, 3).await;
    desk.restart_with(vec![]).await;
    let mut node = connect(&desk, &identity, spool, PaneState::Idle).await;
    assert_eq!(node.action().await, first);
    node.records(Lane::Events, vec![outcome_record(4, &first.action_id, OutcomeKind::Submitted, "")]).await;
    let second = node.action().await;
    assert_eq!(second.who, "workflow:claude-compaction-reread");
}
