//! Nodes as they are stored: change by change.

use wa_proto::{Pane, PaneState, StateDetail};

use super::tests::{host, open, pane, time};
use super::*;

pub(super) fn told(pane_id: u64, title: &str) -> Pane {
    Pane {
        pane: pane(pane_id),
        title: title.into(),
        cwd: String::new(),
        project: String::new(),
        agent: None,
        agent_version: String::new(),
        agent_pid: 0,
        state: PaneState::Idle,
        detail: StateDetail::default(),
        session_id: String::new(),
        cols: 80,
        rows: 24,
        tty: String::new(),
        last_output: None,
        mirror: false,
        session: None,
        not_logged: String::new(),
        account: None,
    }
}

fn change(panes: Vec<Pane>, gone: &[u64], whole: bool) -> NodeChange {
    NodeChange {
        host: host(),
        version: "1".into(),
        last_seen: Some(time(1)),
        skew_ms: 0,
        heartbeat: wa_proto::wire::v1::Heartbeat::default(),
        whole,
        panes,
        gone: gone.iter().map(|id| (wa_proto::MuxName::main(), *id)).collect(),
    }
}

/// What a controller that starts finds: numbers and titles.
fn kept(place: &Path) -> (Vec<(u64, String)>, bool) {
    let metrics = Arc::new(Metrics::default());
    let (_, kept) = Store::open(
        &place.join("state.db"),
        super::tests::keys(place),
        |_| Arc::new(super::tests::Idle),
        metrics,
        time(0),
    )
    .unwrap();
    let [node] = <[NodeRow; 1]>::try_from(kept.nodes).unwrap();
    (node.panes.into_iter().map(|pane| (pane.pane.pane_id, pane.title)).collect(), node.damaged)
}

#[tokio::test]
async fn changes_of_panes_add_up() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    let titles =
        |titles: &[(u64, &str)]| titles.iter().map(|(id, title)| (*id, (*title).to_owned())).collect();
    let save = async |change| store.save_nodes(vec![change]).await.unwrap();
    save(change(vec![told(1, "a"), told(2, "b"), told(3, "c")], &[], false)).await;
    save(change(vec![], &[], false)).await;
    save(change(vec![told(2, "b2"), told(4, "d")], &[1], false)).await;
    assert_eq!(kept(place.path()), (titles(&[(2, "b2"), (3, "c"), (4, "d")]), false));
    save(change(vec![told(5, "e")], &[], true)).await;
    assert_eq!(kept(place.path()), (titles(&[(5, "e")]), false));
}

#[tokio::test]
async fn a_pane_that_cannot_be_read_is_told_and_what_was_not_stored_is_named() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    store.save_nodes(vec![change(vec![told(1, "a"), told(2, "b")], &[], false)]).await.unwrap();
    let conn = rusqlite::Connection::open(place.path().join("state.db")).unwrap();
    conn.execute("UPDATE panes SET report = x'ff' WHERE pane_id = 1", []).unwrap();
    drop(conn);
    assert_eq!(kept(place.path()), (vec![(2, "b".to_owned())], true));
    let other = Host::new("web-2").unwrap();
    let beyond = wa_proto::PaneRef { pane_id: u64::MAX, ..pane(0) };
    let impossible = Pane { pane: beyond, ..told(0, "") };
    let bad = NodeChange { host: other.clone(), ..change(vec![impossible], &[], false) };
    let (missing, _) = store.save_nodes(vec![bad, change(vec![told(3, "c")], &[], false)]).await.unwrap_err();
    assert_eq!(missing, [other]);
    assert_eq!(kept(place.path()).0.len(), 2);
}
