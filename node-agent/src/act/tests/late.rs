//! A mux server that answers late: what it shows is old, and what happened meanwhile nobody saw.

use std::time::Duration;

use wa_proto::{PaneState, Verb};

use super::{Acting, Mux, Node, said, send};
use crate::session::Answer;
use crate::testing::relay::{Late, Relay};
use crate::testing::{action, agent, prompt, shown};

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

/// It takes no key itself: what becomes of it, others decide.
const DIALOG: &str = "────────────────────────────────────────\n Bash command\n\n   cargo test\n\n \
    Do you want to proceed?\n \u{1b}[7m❯\u{1b}[0m 1. Yes\n   2. No\n\n Esc to cancel\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_dialog_that_goes_long_after_the_enter_proves_nothing() {
    for late in [None, Some(Late::AfterKeys(LONG))] {
        let dir = tempfile::tempdir().unwrap();
        let screen = dir.path().join("screen");
        std::fs::write(&screen, DIALOG).unwrap();
        let mux = Mux::start(dir.path(), shown(dir.path()));
        let socket = dir.path().join("relay");
        let relay = Relay::start(&socket, &mux.socket);
        let node = Node::start(dir.path(), &socket);
        let acting = Acting::start(dir.path(), &node, Answer::Granted);
        let pane = node.ready(PaneState::Waiting).await;
        if let Some(late) = late {
            relay.set(late);
        }
        let choose = Verb::Choose { labels: vec!["Yes".into()], dialog: String::new() };
        let closing = async {
            while relay.keys() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            // What closes it comes of itself, and not of the key; where the server is slow, before anybody can see when.
            if late.is_none() {
                tokio::time::sleep(LONG).await;
            }
            std::fs::write(&screen, "⏺ Another client has answered.\n").unwrap();
        };
        let (outcome, ()) = tokio::join!(acting.act(&node, action(&pane, choose)), closing);
        let (kind, reason) = said(&outcome);
        assert_eq!(kind, "unknown", "{late:?}: {reason}");
        assert!(reason.contains("something else may have closed it"), "{reason}");
        node.stop().await;
    }
}
