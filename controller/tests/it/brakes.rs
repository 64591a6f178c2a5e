//! Brakes over the wire: a broken pane stops a workflow there, many panes stop it everywhere.

use wa_link::tls::Identity;
use wa_proto::wire::v1;
use wa_proto::{AgentKind, EventKind, OutcomeKind, PaneState, SpoolId};

use crate::desk::{Desk, Node, pane, pane_ref, until};

const WORKFLOW: &str = "greet";

struct Scene {
    desk: Desk,
    _identity: Identity,
    node: Node,
}

impl Scene {
    async fn new() -> Self {
        Self::with("").await
    }

    /// With more in the head of its workflow.
    async fn with(more: &str) -> Self {
        let greet = &format!(
            "name = 'greet'\nversion = 1\non = 'bell'\nmax_actions = 1\n{more}\
            [[step]]\ndo = 'type'\ntext = 'hello'\ntimeout = '60s'\n"
        );
        let place = tempfile::tempdir().unwrap();
        let mut config = wa_controller::Config::local(place.path().join("data"));
        config.workflows.push(wa_workflow::Definition::parse(greet).unwrap());
        let desk = Desk::with(place, config).await;
        let identity = desk.enrol("web-1").await;
        let node = Node::connect(&desk, &identity, SpoolId::generate()).await;
        Self { desk, _identity: identity, node }
    }

    async fn bell(&mut self, id: u64) {
        self.node.event_in(id, EventKind::Bell, AgentKind::claude(), &[]).await;
    }

    async fn state(&self, id: u64, state: PaneState) {
        self.node.panes(false, vec![pane(id, Some(AgentKind::claude()), state)]).await;
    }

    /// The newest run of a pane.
    async fn run_is(&self, id: u64, state: &str) {
        let of_pane = |run: &v1::Run| run.pane.as_ref().is_some_and(|pane| pane.pane_id == id);
        until(state, async || {
            let listed = self.desk.admin().await.list_runs(v1::ListRunsRequest::default()).await.unwrap();
            let newest = listed.into_inner().runs.into_iter().find(of_pane);
            newest.filter(|run| run.state == state)
        })
        .await;
    }

    /// A run that begins, and whose action may have arrived or not.
    async fn bad_end(&mut self, id: u64) {
        self.state(id, PaneState::Idle).await;
        self.bell(id).await;
        let action = self.node.action().await;
        self.node.outcome(&action, OutcomeKind::Unknown, "nobody saw it").await;
        self.run_is(id, "unknown").await;
    }

    async fn notices(&self) -> Vec<String> {
        let listed = self.desk.admin().await.list_notices(v1::ListNoticesRequest::default()).await.unwrap();
        // Each run tells of its own end, too.
        let of_brakes = |text: &String| text.starts_with("workflow ");
        listed.into_inner().notices.into_iter().map(|notice| notice.text).filter(of_brakes).collect()
    }

    async fn declined(&self) -> String {
        let rows = self.desk.running().store().audit_trail().await.unwrap();
        let last = rows.into_iter().rfind(|row| row.what == "run").unwrap();
        assert_eq!(last.decision, "declined");
        last.detail
    }

    async fn paused(&self) -> String {
        let listed = self.desk.admin().await.list_workflows(v1::ListWorkflowsRequest {}).await.unwrap();
        listed.into_inner().workflows.into_iter().find(|one| one.name == WORKFLOW).unwrap().paused
    }
}

#[tokio::test]
async fn a_broken_pane_stops_a_workflow_there_and_nowhere_else() {
    let mut scene = Scene::new().await;
    for _ in 0..5 {
        scene.bad_end(1).await;
    }
    let told = scene.notices().await;
    assert!(told[0].contains(&format!("{WORKFLOW} rests on web-1/1 for 1h")), "{told:?}");
    assert_eq!((told.len(), scene.paused().await.as_str()), (1, ""));
    scene.bell(1).await;
    assert!(scene.declined().await.contains("rests on this pane"), "{}", scene.declined().await);
    // The others go on.
    scene.bad_end(2).await;
    assert_eq!(scene.notices().await.len(), 1);
}

#[tokio::test]
async fn a_workflow_that_ends_badly_on_many_panes_is_paused_everywhere() {
    let mut scene = Scene::new().await;
    for id in 1..=5 {
        scene.bad_end(id).await;
    }
    let told = scene.notices().await;
    assert!(told[0].contains(&format!("{WORKFLOW} is paused everywhere")), "{told:?}");
    assert!((1..=5).all(|id| told[0].contains(&format!("web-1/{id}"))), "which: {told:?}");
    scene.bell(6).await;
    assert!(scene.declined().await.contains("the workflow is paused"));
    assert!(scene.paused().await.contains("on 5 panes"), "{}", scene.paused().await);
    // A person takes it back.
    let unpause = v1::PauseRequest { workflow: WORKFLOW.into(), ..Default::default() };
    scene.desk.admin().await.pause(unpause).await.unwrap();
    assert_eq!(scene.paused().await, "");
}

/// Nobody did anything wrong: a host that goes down must not keep the others from being looked after.
#[tokio::test]
async fn panes_that_go_while_runs_wait_on_them_are_no_bad_ends() {
    const LIMITED: &str = "limit-wait";
    let mut scene = Scene::new().await;
    let limited = |id| pane(id, Some(AgentKind::claude()), PaneState::Limited);
    scene.node.panes(true, (1..=6).map(limited).collect()).await;
    for id in 1..=6 {
        scene.node.event_in(id, EventKind::LimitReached, AgentKind::claude(), &[]).await;
        scene.run_is(id, "waiting").await;
    }
    // Three agents are left, and three panes go.
    for id in 1..=3 {
        scene.state(id, PaneState::Shell).await;
    }
    let gone = (4..=6).map(|id| pane_ref(id).into()).collect();
    let report = v1::PaneReport { full: false, panes: vec![], gone };
    scene.node.send(v1::node_message::Kind::Panes(report)).await;
    for id in 1..=6 {
        scene.run_is(id, "cancelled").await;
    }
    let listed = scene.desk.admin().await.list_workflows(v1::ListWorkflowsRequest {}).await.unwrap();
    let paused = listed.into_inner().workflows.into_iter().find(|one| one.name == LIMITED).unwrap().paused;
    assert_eq!((paused.as_str(), scene.notices().await), ("", vec![]));
}

/// Else what has given up looks like what works.
#[tokio::test]
async fn a_workflow_that_began_too_often_on_a_pane_says_so_once() {
    let mut scene = Scene::with("max_runs = { count = 2, per = '1h' }\n").await;
    for _ in 0..2 {
        scene.bad_end(1).await;
    }
    assert_eq!(scene.notices().await, Vec::<String>::new());
    for _ in 0..3 {
        scene.bell(1).await;
    }
    // Over the wire in order: what comes of a later pane comes after what came of the first.
    scene.bad_end(2).await;
    let told = scene.notices().await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("workflow greet does not begin on web-1/1: 2 runs began"), "{told:?}");
}
