//! A mux server that answers late: what it shows is old, and what happened meanwhile nobody saw.

use std::time::Duration;

use wa_proto::PaneState;

use super::{Acting, Mux, Node, said, send};
use crate::session::Answer;
use crate::testing::relay::{Late, Relay};
use crate::testing::{action, agent, prompt};

/// Far more than such a server needs.
const LONG: Duration = Duration::from_millis(1200);

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_late_is_not_typed_on() {
    let dir = tempfile::tempdir().unwrap();
    let mux = Mux::start(dir.path(), prompt());
    let socket = dir.path().join("relay");
    let relay = Relay::start(&socket, &mux.socket);
    let node = Node::start(dir.path(), &socket);
    let acting = Acting::start(dir.path(), &node, Answer::Granted);
    let pane = node.ready(PaneState::Shell).await;
    relay.set(Late::All(LONG));
    let outcome = acting.act(&node, action(&pane, send("echo never"))).await;
    let (kind, reason) = said(&outcome);
    assert_eq!(kind, "refused", "{reason}");
    assert!(reason.contains("too old to type on"), "{reason}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enter_that_is_answered_late_is_not_pressed_again() {
    let dir = tempfile::tempdir().unwrap();
    let mux = Mux::start(dir.path(), agent(dir.path(), "deaf"));
    let socket = dir.path().join("relay");
    let relay = Relay::start(&socket, &mux.socket);
    let node = Node::start(dir.path(), &socket);
    let acting = Acting::start(dir.path(), &node, Answer::Granted);
    let pane = node.ready(PaneState::Idle).await;
    relay.set(Late::AfterKeys(LONG));
    let outcome = acting.act(&node, action(&pane, send("go on"))).await;
    let (kind, reason) = said(&outcome);
    assert_eq!(kind, "unknown", "{reason}");
    assert!(reason.contains("answered that Enter late"), "{reason}");
    assert_eq!(relay.keys(), 1);
    node.stop().await;
}
