//! What a node says of its panes is held in memory and stored: no text of it is longer than anybody reads.

use wa_proto::wire::v1;
use wa_proto::{AgentKind, PaneState, SpoolId, StateDetail};

use crate::desk::{Desk, Node, pane, until};

/// Bytes.
const LONG: usize = 1 << 20;

#[tokio::test]
async fn no_text_of_a_pane_is_kept_beyond_what_anybody_reads() {
    let desk = Desk::start().await;
    let identity = desk.enrol("web-1").await;
    let node = Node::connect(&desk, &identity, SpoolId::generate()).await;
    let long = || "x".repeat(LONG);
    let detail = StateDetail { kind: long(), window: long(), ..StateDetail::default() };
    let mut told = pane(1, Some(AgentKind::new(long())), PaneState::Idle);
    told.detail = detail;
    node.panes(true, vec![told]).await;
    let panes = until("the pane", async || {
        let mut fleet = desk.admin().await.max_decoding_message_size(64 << 20);
        let panes = fleet.list_panes(v1::ListPanesRequest::default()).await.unwrap().into_inner().panes;
        (!panes.is_empty()).then_some(panes)
    })
    .await;
    let bytes = prost::Message::encoded_len(&panes[0]);
    assert!(bytes < 64 * 1024, "one pane takes {bytes} bytes");
}
