//! Events that are told late, and dialogs that a workflow answers, over the wire.

use std::time::Duration;

use wa_link::clock;
use wa_link::tls::Identity;
use wa_proto::wire::v1::node_message::Kind as Up;
use wa_proto::wire::{to_us, v1};
use wa_proto::{AgentKind, EventKind, OutcomeKind, Pane, PaneState, RecordBody, SpoolId, Timestamp};

use crate::desk::{Desk, Node, event_record, pane, until};

struct Scene {
    desk: Desk,
    _identity: Identity,
    node: Node,
}

fn codex(state: PaneState, since: Timestamp) -> Pane {
    let mut pane = pane(1, Some(AgentKind::codex()), state);
    pane.detail.since = Some(since);
    pane
}

fn ago(hours: u64) -> Timestamp {
    clock::now() - Duration::from_secs(3600 * hours)
}

impl Scene {
    async fn new() -> Self {
        let desk = Desk::start().await;
        let identity = desk.enrol("web-1").await;
        let node = Node::connect(&desk, &identity, SpoolId::generate()).await;
        Self { desk, _identity: identity, node }
    }

    async fn pane(&self, pane: Pane) {
        self.node.panes(true, vec![pane]).await;
    }

    /// An event of Codex in pane 1 that happened then, with these fields.
    async fn event(&mut self, kind: EventKind, happened: Timestamp, fields: &[(&str, &str)]) {
        self.node
            .record(|seq| {
                let mut record = event_record(seq, kind, AgentKind::codex());
                record.time = happened;
                if let RecordBody::Event(event) = &mut record.body {
                    event.fields =
                        fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
                }
                record
            })
            .await;
    }

    async fn runs(&self) -> Vec<(String, String)> {
        let listed = self.desk.admin().await.list_runs(v1::ListRunsRequest::default()).await.unwrap();
        listed.into_inner().runs.into_iter().map(|run| (run.workflow, run.state)).collect()
    }

    async fn notices(&self) -> usize {
        let listed = self.desk.admin().await.list_notices(v1::ListNoticesRequest::default()).await.unwrap();
        listed.into_inner().notices.len()
    }

    /// What became of triggers of this workflow, in order.
    async fn decisions(&self, workflow: &str) -> Vec<(String, String)> {
        let rows = self.desk.running().store().audit_trail().await.unwrap();
        let of = |row: &wa_controller::store::AuditRow| {
            row.who == format!("workflow:{workflow}") && row.what == "run"
        };
        rows.into_iter().filter(of).map(|row| (row.decision, row.detail)).collect()
    }

    async fn decided(&self, workflow: &str, decision: &str) -> String {
        until(decision, async || {
            self.decisions(workflow)
                .await
                .into_iter()
                .find_map(|(now, detail)| (now == decision).then_some(detail))
        })
        .await
    }
}

#[tokio::test]
async fn a_limit_that_is_told_late_begins_no_run_where_the_agent_has_gone_on() {
    let mut scene = Scene::new().await;
    scene.pane(codex(PaneState::Idle, ago(1))).await;
    scene.event(EventKind::LimitReached, ago(3), &[]).await;
    let why = scene.decided("limit-wait", "stale").await;
    assert!(why.contains("the pane has changed: it is idle since"), "{why}");
    assert_eq!(scene.runs().await, []);
    // One that is still there is waited out, however late it is told.
    scene.pane(codex(PaneState::Limited, ago(1))).await;
    scene.event(EventKind::LimitReached, ago(3), &[]).await;
    scene.decided("limit-wait", "began").await;
    assert_eq!(scene.runs().await.len(), 1);
}

#[tokio::test]
async fn an_event_is_as_old_as_its_nodes_clock_says() {
    let mut scene = Scene::new().await;
    // The clock is three hours behind: what it tells has just happened.
    let heartbeat = v1::Heartbeat { now_us: to_us(ago(3)), ..v1::Heartbeat::default() };
    scene.node.send(Up::Heartbeat(heartbeat)).await;
    scene.pane(codex(PaneState::Idle, ago(1))).await;
    scene.event(EventKind::LimitReached, ago(3), &[]).await;
    scene.decided("limit-wait", "began").await;
}

/// The dialog and the limit that it belongs to are told together, in any order.
#[tokio::test]
async fn nobody_is_told_of_a_dialog_that_a_workflow_answers() {
    for limit_first in [false, true] {
        let mut scene = Scene::new().await;
        let now = clock::now();
        scene.pane(codex(PaneState::Waiting, now)).await;
        let choices = &[("choices", "Switch to gpt-5.1-codex-mini\nKeep current model")];
        let reset = (now + Duration::from_secs(3600)).to_string();
        for limit in [limit_first, !limit_first] {
            match limit {
                true => scene.event(EventKind::LimitReached, now, &[("reset_time", &reset)]).await,
                false => scene.event(EventKind::ApprovalRequested, now, choices).await,
            }
        }
        let action = scene.node.action().await;
        scene.node.outcome(&action, OutcomeKind::Submitted, "").await;
        scene.pane(codex(PaneState::Limited, now)).await;
        scene.decided("approval-notice", "merged").await;
        assert_eq!(scene.notices().await, 0);
        // What comes later, while the run waits, is no workflow's.
        scene.pane(codex(PaneState::Waiting, now)).await;
        scene.event(EventKind::ApprovalRequested, now, &[("command", "rm -r build")]).await;
        until("a notice", async || (scene.notices().await == 1).then_some(())).await;
    }
}
