//! Brakes over the wire: a broken pane stops a workflow there, many panes stop it everywhere.

use wa_link::tls::Identity;
use wa_proto::wire::v1;
use wa_proto::{AgentKind, EventKind, PaneState, RecordBody, SpoolId};

use crate::desk::{Desk, Node, event_record, pane, pane_ref, until};

const WORKFLOW: &str = "claude-compaction-reread";

struct Scene {
    desk: Desk,
    _identity: Identity,
    node: Node,
}

impl Scene {
    async fn new() -> Self {
        let desk = Desk::start().await;
        let identity = desk.enrol("web-1").await;
        let node = Node::connect(&desk, &identity, SpoolId::generate()).await;
        Self { desk, _identity: identity, node }
    }

    async fn compacted(&mut self, id: u64) {
        self.node
            .record(|seq| {
                let mut record = event_record(seq, EventKind::ContextCompacted, AgentKind::claude());
                if let RecordBody::Event(event) = &mut record.body {
                    event.pane = Some(pane_ref(id));
                }
                record
            })
            .await;
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

    /// A run that begins and fails, for the agent is left.
    async fn bad_end(&mut self, id: u64) {
        self.node.panes(id == 1, vec![pane(id, Some(AgentKind::claude()), PaneState::Working)]).await;
        self.compacted(id).await;
        self.run_is(id, "waiting").await;
        self.state(id, PaneState::Shell).await;
        self.run_is(id, "failed").await;
    }

    async fn notices(&self) -> Vec<String> {
        let listed = self.desk.admin().await.list_notices(v1::ListNoticesRequest::default()).await.unwrap();
        listed.into_inner().notices.into_iter().map(|notice| notice.text).collect()
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
    scene.compacted(1).await;
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
    scene.compacted(6).await;
    assert!(scene.declined().await.contains("the workflow is paused"));
    assert!(scene.paused().await.contains("on 5 panes"), "{}", scene.paused().await);
    // A person takes it back.
    let unpause = v1::PauseRequest { workflow: WORKFLOW.into(), ..Default::default() };
    scene.desk.admin().await.pause(unpause).await.unwrap();
    assert_eq!(scene.paused().await, "");
}
