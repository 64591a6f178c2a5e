//! The client against a server on a real socket that does as it is told, good and bad.

#![allow(clippy::unwrap_used)] // the helpers are tests too
#![allow(clippy::reversed_empty_ranges, clippy::single_range_in_vec_init)] // ranges are the data here

use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use wa_mux::codec::{
    ClientId, Codec, Dimensions, FrameReader, FrameWriter, Key, KeyCode, Modifiers, PaneNode, Pdu, Problem,
    RenderChanges, Row, SpawnDomain,
};
use wa_mux::{Client, CloseReason, ConnectError, ConnectOptions, Damage, MuxEvent, RequestError, Spawn};

struct Listener {
    socket: UnixListener,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Listener {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sock");
        Self { socket: UnixListener::bind(&path).unwrap(), path, _folder: folder }
    }

    async fn accept(&self) -> Peer {
        let (stream, _) = self.socket.accept().await.unwrap();
        Peer {
            stream,
            frames: FrameReader::default(),
            writer: FrameWriter::new().unwrap(),
            codec: Codec::V44,
        }
    }
}

/// The server's end of one connection.
struct Peer {
    stream: UnixStream,
    frames: FrameReader,
    writer: FrameWriter,
    codec: Codec,
}

impl Peer {
    /// The next request; `None` when the client is gone.
    async fn next(&mut self) -> Option<(u64, Pdu)> {
        loop {
            if let Some(frame) = self.frames.next_frame().unwrap() {
                return Some((frame.serial, Pdu::decode(frame.ident, frame.payload, self.codec).unwrap()));
            }
            let mut chunk = vec![0; 4096];
            match self.stream.read(&mut chunk).await {
                Ok(0) | Err(_) => return None,
                Ok(length) => self.frames.extend(&chunk[..length]),
            }
        }
    }

    async fn send(&mut self, serial: u64, pdu: Pdu) {
        let bytes = self.bytes(serial, pdu);
        self.stream.write_all(&bytes).await.unwrap();
    }

    fn bytes(&mut self, serial: u64, pdu: Pdu) -> Vec<u8> {
        let (ident, payload) = pdu.encode(self.codec);
        let mut out = Vec::new();
        self.writer.put(&mut out, serial, ident, &payload);
        out
    }

    async fn greet(&mut self, codec: u64) -> Option<ClientId> {
        let (serial, pdu) = self.next().await.unwrap();
        assert_eq!(pdu, Pdu::GetCodecVersion);
        let answer = Pdu::GetCodecVersionResponse {
            codec_version: codec,
            version: "20250223-062404-4ff581a8".into(),
            executable_path: "/usr/bin/wezterm-mux-server".into(),
            config_file_path: None,
        };
        self.send(serial, answer).await;
        self.codec = Codec::from_number(codec)?;
        let (serial, pdu) = self.next().await.unwrap();
        let Pdu::SetClientId { introduction } = pdu else { panic!("{pdu:?}") };
        assert!(!introduction.is_proxy);
        self.send(serial, Pdu::UnitResponse).await;
        Some(introduction.client_id)
    }
}

fn options() -> ConnectOptions {
    ConnectOptions::new("host", "someone", Duration::from_secs(1_700_000_000))
}

/// A client and the server's end of its connection.
async fn pair(options: ConnectOptions) -> (Client, mpsc::Receiver<MuxEvent>, Peer) {
    let listener = Listener::new();
    let (connected, peer) = tokio::join!(Client::connect(&listener.path, options), async {
        let mut peer = listener.accept().await;
        peer.greet(44).await;
        peer
    });
    let (client, events) = connected.unwrap();
    (client, events, peer)
}

fn changes(pane_id: u64, seqno: u64) -> Pdu {
    Pdu::GetPaneRenderChangesResponse {
        changes: Box::new(RenderChanges {
            pane_id,
            mouse_grabbed: false,
            cursor: Default::default(),
            dims: Default::default(),
            dirty: vec![],
            title: "a title".into(),
            working_dir: None,
            rows: vec![Row::plain(0, "a row")],
            input_serial: None,
            seqno,
        }),
    }
}

fn dims(pane_id: u64, top: i64, rows: u64) -> Pdu {
    Pdu::GetPaneRenderableDimensionsResponse {
        pane_id,
        cursor: Default::default(),
        dims: Dimensions { scrollback_top: top, scrollback_rows: rows, ..Default::default() },
    }
}

#[tokio::test]
async fn the_greeting_in_every_native_codec() {
    let listener = Listener::new();
    let mut ids = Vec::new();
    for codec in [42, 43, 44] {
        let (connected, id) = tokio::join!(Client::connect(&listener.path, options()), async {
            listener.accept().await.greet(codec).await.unwrap()
        });
        let (client, _events) = connected.unwrap();
        let info = client.info();
        assert_eq!(info.codec.number(), codec);
        assert_eq!(info.version, "20250223-062404-4ff581a8");
        if cfg!(target_os = "linux") {
            assert_eq!(info.pid, Some(std::process::id()));
            assert!(info.generation.contains(&format!("-{}-", std::process::id())), "{}", info.generation);
        }
        assert_eq!(client.client_id(), &id);
        assert_eq!((id.hostname.as_str(), id.epoch), ("host", 1_700_000_000));
        ids.push(id.id);
    }
    ids.dedup();
    assert_eq!(ids.len(), 3, "every connection has an id of its own");
}

#[tokio::test]
async fn a_codec_that_is_not_native_is_refused_by_number() {
    let listener = Listener::new();
    for number in [41, 45, 46] {
        let (connected, ()) = tokio::join!(Client::connect(&listener.path, options()), async {
            listener.accept().await.greet(number).await;
        });
        match connected.unwrap_err() {
            ConnectError::UnsupportedCodec { codec, version, .. } => {
                assert_eq!((codec, version.as_str()), (number, "20250223-062404-4ff581a8"));
            }
            other => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn no_server_and_a_silent_server() {
    let nowhere = PathBuf::from("/nonexistent/sock");
    let error = Client::connect(&nowhere, options()).await.unwrap_err();
    assert!(
        error.to_string().starts_with("cannot connect to the mux server at /nonexistent/sock"),
        "{error}"
    );
    let listener = Listener::new();
    let impatient = ConnectOptions { connect_timeout: Duration::from_millis(50), ..options() };
    let error = Client::connect(&listener.path, impatient).await.unwrap_err();
    assert!(matches!(error, ConnectError::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn pushes_before_the_greeting_are_events_too() {
    let listener = Listener::new();
    let (connected, _peer) = tokio::join!(Client::connect(&listener.path, options()), async {
        let mut peer = listener.accept().await;
        peer.send(0, changes(3, 1)).await;
        peer.greet(44).await;
        peer
    });
    let (_client, mut events) = connected.unwrap();
    let MuxEvent::Changes(changes) = events.recv().await.unwrap() else { panic!() };
    assert_eq!((changes.pane_id, changes.rows[0].text.as_str()), (3, "a row"));
}

#[tokio::test]
async fn answers_find_their_requests_in_any_order() {
    let (client, _events, mut peer) = pair(options()).await;
    let server = async {
        let mut asked = Vec::new();
        for _ in 0..3 {
            let (serial, pdu) = peer.next().await.unwrap();
            let Pdu::GetPaneRenderableDimensions { pane_id } = pdu else { panic!("{pdu:?}") };
            asked.push((serial, pane_id));
        }
        for (serial, pane_id) in asked.into_iter().rev() {
            assert_ne!(serial, 0);
            peer.send(serial, dims(pane_id, pane_id as i64 * 100, 1)).await;
        }
    };
    let (a, b, c, ()) =
        tokio::join!(client.dimensions(1), client.dimensions(2), client.dimensions(3), server);
    let tops = [a, b, c].map(|answer| answer.unwrap().dims.scrollback_top);
    assert_eq!(tops, [100, 200, 300]);
}

#[tokio::test]
async fn an_inverted_range_is_never_sent() {
    let (client, _events, mut peer) = pair(options()).await;
    for bad in [5..2, 7..7] {
        let error = client.get_lines(1, &[0..3, bad.clone()]).await.unwrap_err();
        assert_eq!(error, RequestError::InvalidRange(bad));
    }
    assert_eq!(client.get_lines(1, &[]).await, Ok(vec![]));
    drop(client);
    assert_eq!(peer.next().await, None, "nothing was sent");
}

#[tokio::test]
async fn lines_are_asked_in_pieces_and_only_asked_ones_come_back() {
    let (client, _events, mut peer) = pair(options()).await;
    let server = async {
        let (serial, pdu) = peer.next().await.unwrap();
        assert_eq!(pdu, Pdu::GetPaneRenderableDimensions { pane_id: 1 });
        peer.send(serial, dims(1, 100, 1200)).await;
        let mut asked = 0;
        while asked < 1200 {
            let (serial, pdu) = peer.next().await.unwrap();
            let Pdu::GetLines { pane_id: 1, lines } = pdu else { panic!("{pdu:?}") };
            let count: i64 = lines.iter().map(|range| range.end - range.start).sum();
            assert!((1..=500).contains(&count), "{lines:?}");
            asked += count;
            // One row too many before, one after, as real servers do; and row 700 has gone.
            let wider = lines.iter().flat_map(|range| range.start - 1..range.end + 1);
            let rows =
                wider.filter(|row| *row != 700).map(|row| Row::plain(row, &format!("row {row}"))).collect();
            peer.send(serial, Pdu::GetLinesResponse { pane_id: 1, rows }).await;
        }
    };
    let (rows, ()) = tokio::join!(client.get_lines(1, &[0..i64::MAX]), server);
    let rows = rows.unwrap();
    let expected: Vec<i64> = (100..1300).filter(|row| *row != 700).collect();
    assert_eq!(rows.iter().map(|row| row.index).collect::<Vec<_>>(), expected);
    assert_eq!(rows[5].text, "row 105");
}

#[tokio::test]
async fn rows_that_scrolled_away_are_missing_not_an_error() {
    let (client, _events, mut peer) = pair(options()).await;
    let server = async {
        let (serial, _) = peer.next().await.unwrap();
        peer.send(serial, dims(1, 5000, 24)).await;
    };
    let (rows, ()) = tokio::join!(client.get_lines(1, &[10..20]), server);
    assert_eq!(rows, Ok(vec![]));
}

#[tokio::test]
async fn the_changes_come_before_their_barrier() {
    let (client, mut events, mut peer) = pair(options()).await;
    let server = async {
        let (serial, pdu) = peer.next().await.unwrap();
        assert_eq!(pdu, Pdu::GetPaneRenderChanges { pane_id: 4 });
        peer.send(0, changes(4, 9)).await;
        peer.send(serial, Pdu::LivenessResponse { pane_id: 4, is_alive: true }).await;
    };
    let (alive, ()) = tokio::join!(client.render_changes(4), server);
    assert_eq!(alive, Ok(true));
    assert!(matches!(events.recv().await.unwrap(), MuxEvent::Changes(changes) if changes.seqno == 9));
    assert_eq!(events.recv().await.unwrap(), MuxEvent::Barrier { pane_id: 4, alive: true });
}

#[tokio::test]
async fn a_consumer_may_wait_for_an_answer_behind_more_pushes_than_it_has_room_for() {
    let (client, mut events, mut peer) = pair(ConnectOptions { event_capacity: 4, ..options() }).await;
    let server = async {
        let (serial, _) = peer.next().await.unwrap();
        for seqno in 0..1000 {
            peer.send(0, changes(1, seqno)).await;
        }
        peer.send(serial, Pdu::Pong).await;
        peer
    };
    let (pong, _peer) = tokio::join!(client.ping(), server);
    assert_eq!(pong, Ok(()));
    for seqno in 0..1000 {
        assert!(matches!(events.recv().await.unwrap(), MuxEvent::Changes(changes) if changes.seqno == seqno));
    }
}

#[tokio::test]
async fn a_consumer_that_does_not_take_stops_the_server_and_loses_nothing() {
    let (_client, mut events, mut peer) = pair(ConnectOptions { event_capacity: 4, ..options() }).await;
    // Push until the socket takes no more.
    let mut sent = 0;
    let mut left = Vec::new();
    let stalled = Duration::from_millis(300);
    loop {
        assert!(sent < 1_000_000, "nothing ever held the server back");
        if left.is_empty() {
            left = peer.bytes(0, changes(1, sent));
            sent += 1;
        }
        match tokio::time::timeout(stalled, peer.stream.write(&left)).await {
            Ok(written) => drop(left.drain(..written.unwrap())),
            Err(_) => break,
        }
    }
    let rest = async {
        peer.stream.write_all(&left).await.unwrap();
        drop(peer);
    };
    let all = async {
        for seqno in 0..sent {
            assert!(
                matches!(events.recv().await.unwrap(), MuxEvent::Changes(changes) if changes.seqno == seqno)
            );
        }
        assert_eq!(events.recv().await, Some(MuxEvent::Closed { reason: CloseReason::ServerClosed }));
        assert_eq!(events.recv().await, None);
    };
    tokio::join!(rest, all);
}

#[tokio::test]
async fn a_server_that_does_not_answer_counts_as_frozen() {
    let patience = Duration::from_millis(500);
    let (client, _events, mut peer) = pair(ConnectOptions { request_timeout: patience, ..options() }).await;
    assert_eq!(client.ping().await, Err(RequestError::Frozen { request: "Ping", waited: patience }));
    // The answer comes late and finds nobody; the next one finds its own.
    let (late, _) = peer.next().await.unwrap();
    let server = async {
        let (serial, _) = peer.next().await.unwrap();
        assert_ne!(serial, late);
        peer.send(late, dims(9, 0, 0)).await;
        peer.send(serial, Pdu::Pong).await;
    };
    let (pong, ()) = tokio::join!(client.ping(), server);
    assert_eq!(pong, Ok(()));
}

#[tokio::test]
async fn no_more_requests_wait_at_a_time_than_allowed() {
    let (client, _events, mut peer) = pair(ConnectOptions { max_pending: 2, ..options() }).await;
    let server = async {
        let mut answered = 0;
        let mut waiting = Vec::new();
        while answered < 5 {
            // As long as nothing is answered, only two requests come.
            let more = tokio::time::timeout(Duration::from_millis(100), peer.next()).await;
            match more {
                Ok(request) => waiting.push(request.unwrap().0),
                Err(_) if waiting.is_empty() => {}
                Err(_) => {
                    assert!(waiting.len() <= 2);
                    peer.send(waiting.remove(0), Pdu::Pong).await;
                    answered += 1;
                }
            }
        }
    };
    let pings = async {
        let (a, b, c, d, e) =
            tokio::join!(client.ping(), client.ping(), client.ping(), client.ping(), client.ping());
        [a, b, c, d, e].into_iter().for_each(|answer| answer.unwrap());
    };
    tokio::join!(pings, server);
}

#[tokio::test]
async fn a_malformed_frame_closes_the_connection_and_says_which() {
    let (client, mut events, mut peer) = pair(options()).await;
    let start = peer.bytes(0, Pdu::PaneFocused { pane_id: 1 });
    let server = async {
        let (_serial, _) = peer.next().await.unwrap();
        peer.stream.write_all(&start).await.unwrap();
        // PaneRemoved with a byte too many: length 4, serial 0, ident 37, pane 1, rubbish.
        peer.stream.write_all(&[4, 0, 37, 1, 1]).await.unwrap();
        peer
    };
    let (pong, mut peer) = tokio::join!(client.ping(), server);
    let Err(RequestError::Closed(reason)) = pong else { panic!("{pong:?}") };
    // Before it: the two answers of the greeting and the focus push.
    let CloseReason::Malformed { frame: 3, offset, damage: Damage::Payload(error) } = &reason else {
        panic!("{reason:?}")
    };
    assert_eq!(error.problem, Problem::LeftOver(1));
    assert!(*offset > 4, "{offset}");
    assert_eq!(events.recv().await, Some(MuxEvent::PaneFocused(1)));
    assert_eq!(events.recv().await, Some(MuxEvent::Closed { reason: reason.clone() }));
    assert_eq!(events.recv().await, None);
    assert_eq!(client.closed(), Some(reason.clone()));
    assert_eq!(client.ping().await, Err(RequestError::Closed(reason)));
    assert_eq!(peer.next().await, None, "the client hung up");
}

#[tokio::test]
async fn unknown_pushes_are_skipped_and_counted() {
    let (client, mut events, mut peer) = pair(options()).await;
    // Ident 99 with two bytes.
    peer.stream.write_all(&[4, 0, 99, 1, 1]).await.unwrap();
    peer.send(0, Pdu::SetPalette { pane_id: 0, palette: Default::default() }).await;
    peer.send(0, Pdu::PaneRemoved { pane_id: 7 }).await;
    assert_eq!(events.recv().await, Some(MuxEvent::PaneRemoved(7)));
    assert_eq!(client.unknown_pushes(), 1);
}

#[tokio::test]
async fn a_refusal_is_in_the_servers_words() {
    let (client, _events, mut peer) = pair(options()).await;
    let server = async {
        let (serial, _) = peer.next().await.unwrap();
        peer.send(serial, Pdu::ErrorResponse { reason: "Error: no such pane 9999".into() }).await;
    };
    let (killed, ()) = tokio::join!(client.kill_pane(9999), server);
    let error = killed.unwrap_err();
    assert!(error.is_no_such_pane());
    assert_eq!(error.to_string(), "the mux server refused KillPane: Error: no such pane 9999");
}

#[tokio::test]
async fn the_connection_ends_with_the_last_handle() {
    let (client, mut events, mut peer) = pair(options()).await;
    let other = client.clone();
    drop(client);
    let server = async {
        let (serial, _) = peer.next().await.unwrap();
        peer.send(serial, Pdu::Pong).await;
    };
    let (pong, ()) = tokio::join!(other.ping(), server);
    assert_eq!(pong, Ok(()));
    drop(other);
    assert_eq!(peer.next().await, None);
    assert_eq!(events.recv().await, None);
}

#[tokio::test]
async fn answers_arrive_when_nobody_listens_to_events() {
    let (client, events, mut peer) = pair(ConnectOptions { event_capacity: 1, ..options() }).await;
    drop(events);
    for seqno in 0..10 {
        peer.send(0, changes(1, seqno)).await;
    }
    let server = async {
        let (serial, _) = peer.next().await.unwrap();
        peer.send(serial, Pdu::Pong).await;
    };
    let (pong, ()) = tokio::join!(client.ping(), server);
    assert_eq!(pong, Ok(()));
}

#[tokio::test]
async fn what_goes_out_when_acting() {
    let (client, _events, mut peer) = pair(options()).await;
    let spawn = Spawn {
        command: vec!["/bin/sh".into(), "-l".into()],
        env: vec![("PATH".into(), "/bin".into())],
        cwd: Some("/srv".into()),
        cols: 100,
        rows: 30,
    };
    let server = async {
        let (serial, pdu) = peer.next().await.unwrap();
        assert_eq!(pdu, Pdu::SendPaste { pane_id: 1, data: "hello\nworld".into() });
        peer.send(serial, Pdu::UnitResponse).await;
        let (serial, pdu) = peer.next().await.unwrap();
        let Pdu::SendKeyDown { pane_id: 1, event, input_serial } = pdu else { panic!("{pdu:?}") };
        assert_eq!(event, Key::with(KeyCode::Char('c'), Modifiers::CTRL));
        peer.send(serial, Pdu::UnitResponse).await;
        let (serial, pdu) = peer.next().await.unwrap();
        let Pdu::SpawnV2 {
            domain: SpawnDomain::Default,
            window_id: None,
            command,
            command_dir,
            size,
            workspace,
        } = pdu
        else {
            panic!("{pdu:?}")
        };
        let command = command.unwrap();
        assert_eq!(command.args, [b"/bin/sh".to_vec().into(), b"-l".to_vec().into()]);
        assert_eq!(command.envs[&"PATH".into()].value, "/bin".into());
        assert_eq!((command_dir.as_deref(), workspace.as_str()), (Some("/srv"), "wa"));
        assert_eq!((size.cols, size.rows, size.pixel_width), (100, 30, 800));
        peer.send(serial, Pdu::SpawnResponse { tab_id: 1, pane_id: 2, window_id: 3, size }).await;
        input_serial
    };
    let acting = async {
        client.send_paste(1, "hello\nworld").await.unwrap();
        let serial = client.send_key(1, Key::with(KeyCode::Char('c'), Modifiers::CTRL)).await.unwrap();
        let spawned = client.spawn(spawn).await.unwrap();
        assert_eq!((spawned.tab_id, spawned.pane_id, spawned.window_id), (1, 2, 3));
        serial
    };
    let (ours, theirs) = tokio::join!(acting, server);
    assert_eq!(ours, theirs);
    assert!((1_700_000_000_000..1_700_000_060_000).contains(&ours), "Unix milliseconds: {ours}");
}

#[tokio::test]
async fn panes_are_listed_with_the_titles_around_them() {
    let (client, _events, mut peer) = pair(options()).await;
    let recorded = std::fs::read(
        std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("testdata/recordings/02-listpanes-lifecycle.s2c.bin"),
    )
    .unwrap();
    let mut reader = FrameReader::default();
    reader.extend(&recorded);
    let listing = loop {
        let frame = reader.next_frame().unwrap().unwrap();
        if frame.ident == 4 {
            break Pdu::decode(4, frame.payload, Codec::V44).unwrap();
        }
    };
    assert!(
        matches!(&listing, Pdu::ListPanesResponse { tabs, .. } if matches!(tabs[1], PaneNode::Split { .. }))
    );
    let server = async {
        let (serial, _) = peer.next().await.unwrap();
        peer.send(serial, listing).await;
    };
    let (panes, ()) = tokio::join!(client.list_panes(), server);
    let panes = panes.unwrap();
    let seen: Vec<_> = panes
        .iter()
        .map(|pane| (pane.entry.pane_id, pane.tab_title.as_str(), pane.window_title.as_str()))
        .collect();
    assert_eq!(
        seen,
        [(0, "", "main window"), (1, "build tab", "main window"), (2, "build tab", "main window")]
    );
    assert_eq!(panes[2].entry.working_dir.as_deref(), Some("file:///srv/"));
}
