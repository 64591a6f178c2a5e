//! Recorded requests of a real client against this server: the same kind of answer to each, and the
//! same kinds of pushes in the order in which they first come, every one decoding to its last byte.
//!
//! Where the recorded server had been used before, or was used by others meanwhile, a script does
//! the same here.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use support::{Server, Wire, shell};
use wa_embedded_mux::Options;
use wa_mux::codec::{Codec, FrameReader, Pdu, TerminalSize, put_frame};
use wa_screen::terminal::Size;

struct Recorded {
    /// Serial, ident, payload.
    requests: Vec<(u64, u64, Vec<u8>)>,
    answers: BTreeMap<u64, u64>,
    pushes: Vec<u64>,
}

fn recorded(name: &str) -> Recorded {
    let frames = |side: &str| {
        let path = format!("{}/testdata/recordings/{name}.{side}.bin", env!("CARGO_MANIFEST_DIR"));
        let mut reader = FrameReader::default();
        reader.extend(&std::fs::read(path).unwrap());
        let mut frames = Vec::new();
        while let Some(frame) = reader.next_frame().unwrap() {
            frames.push((frame.serial, frame.ident, frame.payload.to_vec()));
        }
        frames
    };
    let mut answers = BTreeMap::new();
    let mut pushes = Vec::new();
    for (serial, ident, _) in frames("s2c") {
        if serial != 0 {
            answers.insert(serial, ident);
        } else if !pushes.contains(&ident) {
            pushes.push(ident);
        }
    }
    Recorded { requests: frames("c2s"), answers, pushes }
}

/// Sends the recorded requests; `after` is called behind the answer to each with its serial.
fn replay(name: &str, server: &Server, mut after: impl FnMut(u64, &mut Wire)) -> Recorded {
    let wanted = recorded(name);
    let mut client = server.client();
    let mut found = Recorded { requests: Vec::new(), answers: BTreeMap::new(), pushes: Vec::new() };
    let mut note = |pushes: &mut dyn Iterator<Item = Pdu>| {
        for push in pushes {
            if !found.pushes.contains(&push.ident()) {
                found.pushes.push(push.ident());
            }
        }
    };
    for (serial, ident, payload) in &wanted.requests {
        let mut frame = Vec::new();
        put_frame(&mut frame, *serial, *ident, payload);
        client.raw(&frame);
        let answer = client.answer(*serial);
        found.answers.insert(*serial, answer.ident());
        after(*serial, &mut client);
        note(&mut client.pushes.drain(..));
    }
    Recorded { requests: wanted.requests, ..found }
}

fn same(name: &str, server: &Server, after: impl FnMut(u64, &mut Wire)) {
    let wanted = recorded(name);
    let found = replay(name, server, after);
    assert_eq!(found.answers, wanted.answers, "{name}");
    assert_eq!(found.pushes, wanted.pushes, "{name}");
}

/// Waits for a push without taking those before it.
fn see(client: &mut Wire, mut wanted: impl FnMut(&Pdu) -> bool) {
    if client.pushes.iter().any(&mut wanted) {
        return;
    }
    loop {
        let (serial, push) = client.receive().unwrap();
        assert_eq!(serial, 0);
        let done = wanted(&push);
        client.pushes.push_back(push);
        if done {
            return;
        }
    }
}

fn see_text(client: &mut Wire, pane: u64, text: &str) {
    see(client, |push| {
        support::changes(push, pane).is_some_and(|c| c.rows.iter().any(|row| row.text.contains(text)))
    });
}

/// A server whose pane 0 has said all that it says by itself; and another client of it.
fn fresh() -> (Server, Wire) {
    fresh_with(|_| {})
}

fn fresh_with(options: impl FnOnce(&mut Options)) -> (Server, Wire) {
    let server = Server::start(options);
    let mut other = server.client();
    settled(&mut other, 0);
    (server, other)
}

fn settled(client: &mut Wire, pane_id: u64) {
    client.ask(&Pdu::GetPaneRenderChanges { pane_id });
    client.until_text(pane_id, "$");
}

/// A server with panes 0 to 3, the last of 40x12 with a prompt; and another client of it.
fn used() -> (Server, Wire) {
    used_with(|_| {})
}

fn used_with(options: impl FnOnce(&mut Options)) -> (Server, Wire) {
    let (server, mut other) = fresh_with(options);
    let size = Size { cols: 40, rows: 12 };
    for wanted in 1..=3 {
        let spawned = server.running.handle().spawn(&shell(), size, "default").unwrap();
        assert_eq!(spawned.pane, wanted);
        settled(&mut other, wanted);
    }
    (server, other)
}

#[test]
fn handshake() {
    same("01-handshake", &fresh().0, |_, _| {});
}

#[test]
fn panes_come_and_go() {
    let name = "02-listpanes-lifecycle";
    let (server, _other) = fresh();
    let mut wanted = recorded(name);
    let found = replay(name, &server, |serial, client| match serial {
        2 => see_text(client, 1, "$"),
        3 => see_text(client, 2, "$"),
        _ => {}
    });
    // GetPaneDirection, AdjustPaneSize and SetPaneZoomed are not served, so no tab is resized.
    for serial in [9, 10, 11, 13] {
        assert_ne!(wanted.answers.insert(serial, 0), Some(0));
    }
    wanted.pushes.retain(|ident| *ident != 54);
    assert_eq!(found.answers, wanted.answers);
    assert_eq!(found.pushes, wanted.pushes);
}

#[test]
fn output_is_pushed() {
    let (server, mut other) = used();
    same("03-push-on-output", &server, |serial, client| {
        if serial == 2 {
            other.write(3, "echo hello\r");
            see_text(client, 3, "hello");
            other.write(3, "seq 1 30\r");
            see(client, |push| {
                support::changes(push, 3).is_some_and(|c| !c.dirty.is_empty() && c.cursor.x == 2)
            });
        }
    });
}

#[test]
fn lines_are_read() {
    let name = "04-getlines-styled";
    let (server, mut other) = used();
    other.write(3, "seq 1 30\r");
    // The prompt below the thirty lines: from then on the pane is silent.
    see(&mut other, |push| support::changes(push, 3).is_some_and(|c| (c.cursor.x, c.cursor.y) == (2, 31)));
    let mut wanted = recorded(name);
    let found = replay(name, &server, |_, _| {});
    // SearchScrollbackRequest is not served.
    assert_eq!(wanted.answers.insert(5, 0), Some(32));
    assert_eq!(found.answers, wanted.answers);
    assert!(wanted.pushes.is_empty());
    assert!(found.pushes.is_empty());
}

#[test]
fn alerts_are_told() {
    let (server, mut other) = used();
    let alert = |client: &mut Wire| see(client, |push| matches!(push, Pdu::NotifyAlert { .. }));
    same("05-alerts", &server, |serial, client| {
        if serial != 2 {
            return;
        }
        other.write(3, "printf '\\033]1337;SetUserVar=%s=%s\\007' job_state ZG9uZTow\r");
        alert(client);
        other.write(3, "printf '\\a'\r");
        see(client, |push| matches!(push, Pdu::NotifyAlert { alert: wa_mux::codec::Alert::Bell, .. }));
        other.write(3, "printf '\\033]0;both\\007\\033]7;file://host/srv/x\\007'\r");
        see(client, |push| matches!(push, Pdu::WindowTitleChanged { .. }));
        other.write(3, "printf '\\033]52;c;aGVsbG8=\\007'\r");
        see(client, |push| matches!(push, Pdu::SetClipboard { .. }));
        other.write(3, "printf '\\033]9;note\\007\\033]777;notify;tt;bb\\007\\033]9;4;1;42\\007'\r");
        see(client, |push| {
            use wa_mux::codec::{Alert, Progress};
            matches!(push, Pdu::NotifyAlert { alert: Alert::Progress(Progress::Percentage(42)), .. })
        });
    });
}

#[test]
fn errors_are_told() {
    let (server, _other) = used();
    same("06-errors-and-compressed-request", &server, |_, _| {});
    // And in the same words.
    let (texts, mut reader) = (&mut Vec::new(), FrameReader::default());
    let path =
        concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/recordings/06-errors-and-compressed-request.s2c.bin");
    reader.extend(&std::fs::read(path).unwrap());
    while let Some(frame) = reader.next_frame().unwrap() {
        if let Pdu::ErrorResponse { reason } = Pdu::decode(frame.ident, frame.payload, Codec::V44).unwrap() {
            texts.push((frame.serial, reason));
        }
    }
    let mut client = server.client();
    for (serial, ident, payload) in recorded("06-errors-and-compressed-request").requests {
        let mut frame = Vec::new();
        put_frame(&mut frame, serial, ident, &payload);
        client.raw(&frame);
        if let Pdu::ErrorResponse { reason } = client.answer(serial) {
            assert_eq!((serial, reason), texts.remove(0));
        }
    }
    assert!(texts.is_empty());
}

#[test]
fn screens_sizes_and_trimmed_rows() {
    let (server, mut other) = used();
    // The recorded pane had no scrollback left, and its prompt stood in row 31.
    other.write(3, "seq 1 40; printf '\\033c'\r");
    other.until(|push| support::changes(push, 3).filter(|c| c.dims.scrollback_top > 20));
    same("07-altscreen-resize-trim", &server, |serial, client| {
        if serial != 2 {
            return;
        }
        other.write(3, "printf '\\033[?1049h\\033[Halt-line\\n'; sleep 0.2; printf '\\033[?1049l'\r");
        see(client, |push| support::changes(push, 3).is_some_and(|c| c.dims.physical_top == 0));
        see(client, |push| support::changes(push, 3).is_some_and(|c| c.dims.physical_top > 0));
        let size = TerminalSize { rows: 12, cols: 30, ..TerminalSize::default() };
        let tabs = match other.ask(&Pdu::ListPanes) {
            Pdu::ListPanesResponse { tabs, .. } => tabs,
            pdu => panic!("{pdu:?}"),
        };
        let mut panes = tabs.iter().flat_map(wa_mux::codec::PaneNode::leaves);
        let tab_id = panes.find(|pane| pane.pane_id == 3).unwrap().tab_id;
        other.ask(&Pdu::Resize { tab_id, pane_id: 3, size });
        see(client, |push| support::changes(push, 3).is_some_and(|c| c.dims.cols == 30));
        other.write(3, "seq 1 20000; echo TRIMMED\r");
        see(client, |push| {
            support::changes(push, 3).is_some_and(|c| c.rows.iter().any(|row| row.text == "TRIMMED"))
        });
    });
}

#[test]
fn last_words_are_lost() {
    // Long enough that a busy machine ends the first command within it, and shorter than the second one's sleep.
    let (server, mut other) = used_with(|options| options.coalesce = Duration::from_millis(50));
    let size = Size { cols: 80, rows: 24 };
    server.running.handle().spawn(&shell(), size, "default").unwrap();
    settled(&mut other, 4);
    let gone = |client: &mut Wire, pane: u64| {
        see(client, |push| matches!(push, Pdu::PaneRemoved { pane_id } if *pane_id == pane));
    };
    same("08-short-lived-command", &server, |serial, client| match serial {
        1 => {
            other.ask(&Pdu::KillPane { pane_id: 4 });
            gone(client, 4);
        }
        2 => gone(client, 5),
        3 => gone(client, 6),
        _ => {}
    });
}
