//! The project's own client against this server.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::time::Duration;

use support::{PATIENCE, Server};
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;
use wa_mux::codec::{Key, KeyCode, Modifiers, OsBytes};
use wa_mux::{Client, ConnectOptions, MuxEvent, Spawn};

async fn connect(server: &Server) -> (Client, Receiver<MuxEvent>) {
    let now = Duration::from_secs(1_800_000_000);
    let handle = server.running.handle();
    Client::connect(handle.socket(), ConnectOptions::new("host", "user", now)).await.unwrap()
}

async fn until<T>(events: &mut Receiver<MuxEvent>, mut wanted: impl FnMut(MuxEvent) -> Option<T>) -> T {
    let search = async {
        loop {
            if let Some(found) = wanted(events.recv().await.unwrap()) {
                return found;
            }
        }
    };
    timeout(PATIENCE, search).await.unwrap()
}

async fn until_text(events: &mut Receiver<MuxEvent>, pane: u64, text: &str) {
    until(events, |event| match event {
        MuxEvent::Changes(c) if c.pane_id == pane => {
            c.rows.iter().any(|row| row.text.contains(text)).then_some(())
        }
        _ => None,
    })
    .await;
}

fn os(text: &str) -> OsBytes {
    OsBytes::from(text)
}

#[tokio::test]
async fn a_pane_from_its_first_word_to_its_end() {
    let server = Server::start(|_| {});
    let (client, mut events) = connect(&server).await;
    assert_eq!(client.info().codec.number(), 44);
    assert_eq!(client.info().pid, Some(std::process::id()));
    let spawned = client
        .spawn(Spawn {
            command: ["/bin/sh", "-c", "echo one; stty -echo; echo READY; exec cat -v"].map(os).to_vec(),
            env: vec![(os("PATH"), os("/usr/bin:/bin"))],
            cwd: Some("/tmp".to_owned()),
            cols: 60,
            rows: 10,
        })
        .await
        .unwrap();
    let pane = spawned.pane_id;
    until(&mut events, |event| match event {
        MuxEvent::TabAdded { tab_id, .. } => (tab_id == spawned.tab_id).then_some(()),
        _ => None,
    })
    .await;
    until_text(&mut events, pane, "READY").await;

    let listed = client.list_panes().await.unwrap();
    let entry = &listed.iter().find(|p| p.entry.pane_id == pane).unwrap().entry;
    assert_eq!((entry.size.cols, entry.size.rows), (60, 10));
    assert_eq!(entry.workspace, "wa");
    assert!(entry.tty_name.as_deref().unwrap().starts_with("/dev/pts/"));

    client.send_paste(pane, "pasted").await.unwrap();
    client.send_key(pane, Key::plain(KeyCode::Enter)).await.unwrap();
    until_text(&mut events, pane, "pasted").await;
    assert!(client.render_changes(pane).await.unwrap());
    until(&mut events, |event| match event {
        MuxEvent::Barrier { pane_id, alive } => (pane_id == pane && alive).then_some(()),
        _ => None,
    })
    .await;
    let dims = client.dimensions(pane).await.unwrap();
    assert_eq!(dims.cursor.y, 3);
    let whole = dims.dims.scrollback_top..dims.dims.physical_top + 10;
    let rows = client.get_lines(pane, std::slice::from_ref(&whole)).await.unwrap();
    let texts: Vec<_> = rows.iter().map(|row| row.text.as_str()).take(4).collect();
    assert_eq!(texts, ["one", "READY", "pasted", ""]);

    client.resize(spawned.tab_id, pane, wa_mux::client::size_in_cells(30, 10)).await.unwrap();
    until(&mut events, |event| {
        matches!(event, MuxEvent::TabResized(tab) if tab == spawned.tab_id).then_some(())
    })
    .await;

    // The end of its input, then its end.
    client.send_key(pane, Key::with(KeyCode::Char('d'), Modifiers::CTRL)).await.unwrap();
    until(&mut events, |event| matches!(event, MuxEvent::PaneRemoved(id) if id == pane).then_some(())).await;
    assert!(!client.render_changes(pane).await.unwrap());

    client.kill_pane(0).await.unwrap();
    until(&mut events, |event| matches!(event, MuxEvent::PaneRemoved(0)).then_some(())).await;
    assert!(client.kill_pane(0).await.unwrap_err().is_no_such_pane());
    assert_eq!(client.client_list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_end_of_the_server_is_the_end_of_the_connection() {
    let server = Server::start(|_| {});
    let (_client, mut events) = connect(&server).await;
    tokio::task::spawn_blocking(move || server.running.stop()).await.unwrap();
    until(&mut events, |event| matches!(event, MuxEvent::Closed { .. }).then_some(())).await;
}
