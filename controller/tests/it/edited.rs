//! A workflow's file is edited while a run waits: the restart ends the run, and says so.

use wa_proto::wire::v1;
use wa_proto::{AgentKind, EventKind, PaneState, SpoolId};
use wa_workflow::Definition;

use crate::desk::{Desk, Node, pane, until};

const TIDY: &str = "name = 'tidy'\nversion = 1\non = 'bell'\nmax_actions = 2\n\
    [[step]]\nid = 'quiet'\ndo = 'wait_until'\nstates = ['idle']\ntimeout = '8h'\n\
    [[step]]\nid = 'say'\ndo = 'type'\ntext = 'thanks'\ntimeout = '1m'\n";

fn parse(text: &str) -> Vec<Definition> {
    vec![Definition::parse(text).unwrap()]
}

async fn run(desk: &Desk) -> Option<v1::Run> {
    let listed = desk.admin().await.list_runs(v1::ListRunsRequest::default()).await.unwrap();
    listed.into_inner().runs.into_iter().next()
}

#[tokio::test]
async fn a_run_whose_workflow_was_edited_ends_with_a_notice() {
    let place = tempfile::tempdir().unwrap();
    let mut config = wa_controller::Config::local(place.path().join("data"));
    config.workflows = parse(TIDY);
    let mut desk = Desk::with(place, config).await;
    let (identity, spool) = (desk.enrol("web-1").await, SpoolId::generate());
    let mut node = Node::connect(&desk, &identity, spool).await;
    node.panes(true, vec![pane(1, Some(AgentKind::claude()), PaneState::Working)]).await;
    node.event(EventKind::Bell, AgentKind::claude(), &[]).await;
    let waiting = until("the run", async || run(&desk).await).await;
    assert_eq!((waiting.state.as_str(), waiting.step.as_str()), ("waiting", "quiet"));

    // A comment changes nothing.
    desk.restart_with(parse(&format!("# For the evening.\n{TIDY}"))).await;
    assert_eq!(run(&desk).await.unwrap(), waiting);

    let warn = "[[step]]\nid = 'warn'\ndo = 'type'\ntext = 'stop'\ntimeout = '1m'\n[[step]]\nid = 'quiet'";
    let edited = TIDY.replace("[[step]]\nid = 'quiet'", warn).replace("max_actions = 2", "max_actions = 3");
    desk.restart_with(parse(&edited)).await;
    // No node is here, and no report comes.
    let ended = until("its end", async || run(&desk).await.filter(|run| run.state == "failed")).await;
    assert_eq!((ended.step.as_str(), ended.actions_done), ("", 0));
    assert!(ended.reason.contains("tidy was changed"), "{}", ended.reason);
    let request = v1::ListNoticesRequest { open: false, limit: 0 };
    let notices = desk.admin().await.list_notices(request).await.unwrap().into_inner().notices;
    assert!(notices.iter().any(|one| one.text.contains("`wa run start tidy web-1/1`")), "{notices:?}");
    let retry = v1::RetryRunRequest { run_id: ended.run_id, sure: false };
    let refused = desk.admin().await.retry_run(retry).await.unwrap_err();
    assert!(refused.message().contains("was changed since"), "{refused:?}");
}
