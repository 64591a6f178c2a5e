//! Runs that wait for hours beside a pane that is drawn all the time.

use std::time::Duration;

use wa_link::clock;
use wa_proto::wire::v1;
use wa_proto::{AgentKind, EventKind, Pane, PaneState, SpoolId, Timestamp};

use crate::desk::{Desk, Node, pane, until};

/// How often the pane is drawn.
const DRAWN: u64 = 300;

fn limited(reset: Timestamp, last_output: Option<Timestamp>) -> Pane {
    let mut pane = pane(1, Some(AgentKind::codex()), PaneState::Limited);
    (pane.detail.until, pane.last_output) = (Some(reset), last_output);
    pane
}

async fn run(desk: &Desk) -> v1::GetRunResponse {
    let mut admin = desk.admin().await;
    let listed = admin.list_runs(v1::ListRunsRequest::default()).await.unwrap().into_inner();
    let request = v1::GetRunRequest { run_id: listed.runs[0].run_id.clone() };
    admin.get_run(request).await.unwrap().into_inner()
}

/// What changes nothing for the run is no input of it; what does is, and the inputs still lead where the run is.
#[tokio::test]
async fn a_pane_that_is_drawn_all_the_time_adds_nothing_to_a_run_that_waits() {
    let nap = "name = 'nap'\nversion = 1\non = 'bell'\nmax_actions = 1\n\
        [[step]]\ndo = 'wait_until'\nat = 'reset'\ntimeout = '26h'\nunless = ['working']\naside = 'went-on'\n\
        [[step]]\ndo = 'type'\ntext = 'proceed'\ntimeout = '5s'\n\
        [[step]]\nid = 'went-on'\ndo = 'finish'\ntext = 'it went on'\n";
    let place = tempfile::tempdir().unwrap();
    let mut config = wa_controller::Config::local(place.path().join("data"));
    config.workflows.push(wa_workflow::Definition::parse(nap).unwrap());
    let mut desk = Desk::with(place, config).await;
    let identity = desk.enrol("web-1").await;
    let mut node = Node::connect(&desk, &identity, SpoolId::generate()).await;
    let reset = clock::now() + Duration::from_secs(5 * 3600);
    node.panes(true, vec![limited(reset, None)]).await;
    let reset_time = reset.to_string();
    let fields = [("reset_time", reset_time.as_str())];
    node.event(EventKind::Bell, AgentKind::codex(), &fields).await;
    let before = run(&desk).await.inputs.len();
    for second in 0..DRAWN {
        let drawn = clock::now() + Duration::from_secs(second);
        node.panes(false, vec![limited(reset, Some(drawn))]).await;
    }
    // Reports are taken in their order.
    node.panes(false, vec![pane(1, Some(AgentKind::codex()), PaneState::LimitWarning)]).await;
    let told = until("the last report", async || {
        let told = run(&desk).await;
        told.inputs.iter().any(|input| input.input.contains("limit_warning")).then_some(told)
    })
    .await;
    let added = told.inputs.len() - before;
    println!("{added} inputs of {DRAWN} reports of the same, and one of another state");
    assert!(added <= 3, "{added} inputs: {:?}", told.inputs.last_chunk::<3>());
    let (last, of) = (told.inputs.last().unwrap(), told.run.unwrap());
    assert_eq!((last.state.as_str(), last.step.as_str()), (of.state.as_str(), of.step.as_str()));
    // A restarted controller, or node, tells the run nothing new either.
    desk.kill_and_restart().await;
    let node = Node::connect(&desk, &identity, SpoolId::generate()).await;
    let warned = pane(1, Some(AgentKind::codex()), PaneState::LimitWarning);
    node.panes(true, vec![warned.clone()]).await;
    node.panes(false, vec![warned.clone()]).await;
    // What it waits for is heard.
    node.panes(false, vec![Pane { state: PaneState::Working, ..warned }]).await;
    let told = until("the last report", async || {
        let told = run(&desk).await;
        told.run.as_ref().is_some_and(|run| run.state == "succeeded").then_some(told)
    })
    .await;
    assert!(told.inputs.len() - before <= 5, "{:?}", told.inputs);
}
