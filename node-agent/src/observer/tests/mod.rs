//! Observers on real panes.

mod capture;
mod fallback;
mod passing;
mod several;
#[cfg(target_os = "linux")]
mod stalls;
mod witness;

use std::time::Duration;

use wa_proto::PaneState;

use crate::testing::{LIMIT, Mux, Node, prompt, shell};

fn numbered(lines: &[String]) -> Vec<u32> {
    lines.iter().filter_map(|line| line.strip_prefix("line ")?.parse().ok()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let mux = Mux::start(dir.path(), shell("for i in {1..400}; do echo line $i; done; exec cat"));
    let node = Node::start(dir.path(), &mux.socket);
    node.until("line 400", |node| node.lines().iter().any(|line| line == "line 400").then_some(())).await;
    assert_eq!(numbered(&node.lines()), (1..=400).collect::<Vec<_>>());
    assert!(node.gaps().is_empty(), "{:?}", node.gaps());
    let connected = node.events().into_iter().find(|event| event.event == "mux.connected").unwrap();
    assert_eq!(connected.fields["mux"], "main");
    let pane = node.pane("a pane with a terminal", |pane| !pane.tty.is_empty()).await;
    assert_eq!((pane.cols, pane.rows), (80, 24));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_node_goes_on_where_its_spool_says() {
    let dir = tempfile::tempdir().unwrap();
    let gate = dir.path().join("gate");
    let script = format!(
        "for i in {{1..100}}; do echo line $i; done; until [ -e {0} ]; do sleep 0.05; done; \
         for i in {{101..200}}; do echo line $i; done; exec cat",
        gate.display()
    );
    let mux = Mux::start(dir.path(), shell(&script));
    let node = Node::start(dir.path(), &mux.socket);
    node.until("line 100", |node| node.lines().iter().any(|line| line == "line 100").then_some(())).await;
    node.stop().await;
    std::fs::write(&gate, "").unwrap();
    let node = Node::start(dir.path(), &mux.socket);
    node.until("line 200", |node| node.lines().iter().any(|line| line == "line 200").then_some(())).await;
    assert_eq!(numbered(&node.lines()), (1..=200).collect::<Vec<_>>());
    assert!(node.gaps().is_empty(), "{:?}", node.gaps());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_server_is_said_and_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("sock");
    let node = Node::start(dir.path(), &socket);
    let said = async {
        while node.board.muxes().iter().all(|mux| mux.problem != "no socket") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, said).await.unwrap();
    assert_eq!(node.board.problems().len(), 1);
    let mux = Mux::start(dir.path(), shell("echo line 1; exec cat"));
    node.until("line 1", |node| node.lines().contains(&"line 1".to_owned()).then_some(())).await;
    assert!(node.board.problems().is_empty());
    let status = node.board.muxes().remove(0);
    assert_eq!((status.codec, status.problem.as_str()), (44, ""));
    mux.running.stop();
    node.until("mux.lost", |node| node.events().iter().any(|event| event.event == "mux.lost").then_some(()))
        .await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_do_not_reach_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let secret = format!("ghp_{}", "a1B2c3D4e5F6".repeat(3));
    let script = format!("printf '\\e]0;{secret}\\a'; echo token={secret}; echo line 1; exec cat");
    let mux = Mux::start(dir.path(), shell(&script));
    let node = Node::start(dir.path(), &mux.socket);
    node.until("line 1", |node| node.lines().contains(&"line 1".to_owned()).then_some(())).await;
    let pane = node.pane("a title", |pane| pane.title.contains("redacted")).await;
    assert!(!pane.title.contains(&secret));
    node.stop().await;
    for file in std::fs::read_dir(dir.path().join("spool")).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pane_that_ends_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let mux = Mux::start(dir.path(), prompt());
    let node = Node::start(dir.path(), &mux.socket);
    let pane = node.pane("a shell", |pane| pane.state == PaneState::Shell).await;
    mux.running.handle().kill(mux.pane());
    let mut changes = node.board.watch();
    let gone = async {
        while node.board.pane(&pane.pane).is_some() {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(LIMIT, gone).await.unwrap();
    assert!(node.muxes.get(&pane.pane.mux).unwrap().look(pane.pane.pane_id).await.is_err());
    node.stop().await;
}

/// A pane may end before anybody has met it: what it printed is lost, and that is said.
#[tokio::test(flavor = "multi_thread")]
async fn no_pane_ends_in_silence() {
    let dir = tempfile::tempdir().unwrap();
    let mux = Mux::start(dir.path(), prompt());
    let node = Node::start(dir.path(), &mux.socket);
    node.pane("a shell", |pane| pane.state == PaneState::Shell).await;
    let handle = mux.running.handle();
    let short = shell("echo last words");
    let size = wa_screen::terminal::Size { cols: 80, rows: 24 };
    let panes: Vec<u64> = (0..30).map(|_| handle.spawn(&short, size, "default").unwrap().pane).collect();
    node.until("a gap for each pane", |node| {
        let gaps = node.gaps();
        let said =
            |id: &u64| gaps.iter().any(|gap| gap.pane.as_ref().is_some_and(|pane| pane.pane_id == *id));
        panes.iter().all(said).then_some(())
    })
    .await;
    assert!(node.gaps().iter().all(|gap| gap.cause == "exit"));
    let alarms: Vec<_> = node.events().into_iter().filter(|event| event.event == "capture.gap").collect();
    assert!(alarms.is_empty(), "an ordinary end is no alarm: {alarms:?}");
    node.stop().await;
}
