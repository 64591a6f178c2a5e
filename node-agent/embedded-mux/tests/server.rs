//! The server as clients on the bare wire see it.

#![allow(clippy::unwrap_used, reason = "a test")]
#![allow(clippy::single_range_in_vec_init, clippy::reversed_empty_ranges, reason = "lists of ranges of rows")]

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use support::{PATIENCE, Server, Wire, changes, shell};
use wa_embedded_mux::{Command, EmbeddedMux, Options, StartError};
use wa_mux::codec::{
    ClientId, Codec, Introduction, Key, KeyCode, Modifiers, PaneNode, Pdu, SpawnDomain, SplitDirection,
    SplitRequest, SplitSize, TerminalSize,
};
use wa_screen::terminal::Size;

/// A program that shows every byte that it reads.
const SHOW: &str = "stty raw -echo; printf \"$0\"; echo READY; exec cat -v";

fn script(script: &str, zeroth: &str) -> Command {
    Command { args: ["/bin/sh", "-c", script, zeroth].map(Into::into).to_vec(), ..shell() }
}

fn running(script_text: &str, zeroth: &str) -> (Server, Wire) {
    let command = script(script_text, zeroth);
    let server = Server::start(|options| options.first_command = Some(command));
    let client = server.client();
    (server, client)
}

/// A client that has seen the text in pane 0.
fn shown(script: &str, zeroth: &str, text: &str) -> (Server, Wire) {
    let (server, mut client) = running(script, zeroth);
    client.ask(&Pdu::GetPaneRenderChanges { pane_id: 0 });
    client.until_text(0, text);
    (server, client)
}

fn panes(client: &mut Wire) -> Vec<wa_mux::codec::PaneEntry> {
    match client.ask(&Pdu::ListPanes) {
        Pdu::ListPanesResponse { tabs, .. } => tabs.iter().flat_map(PaneNode::leaves).cloned().collect(),
        pdu => panic!("{pdu:?}"),
    }
}

#[test]
fn the_socket_is_private_and_nobody_elses() {
    let server = Server::start(|_| {});
    let handle = server.running.handle();
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(handle.socket()), 0o600);
    assert_eq!(mode(handle.socket().parent().unwrap()), 0o700);
    let second = EmbeddedMux::start(Options::new(handle.socket()));
    assert!(matches!(second, Err(StartError::InUse(_))));
    // Still there, and serving.
    assert_eq!(server.client().ask(&Pdu::Ping), Pdu::Pong);
    let open = server.folder.path().join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    let in_public = EmbeddedMux::start(Options::new(open.join("sock")));
    assert!(matches!(in_public, Err(StartError::FolderNotPrivate(_))));
    // Somebody else's socket in the old place is left alone.
    let socket = handle.socket().to_owned();
    std::fs::rename(&socket, server.folder.path().join("moved")).unwrap();
    std::fs::write(&socket, "theirs").unwrap();
    server.running.stop();
    assert_eq!(std::fs::read_to_string(&socket).unwrap(), "theirs");
}

#[test]
fn an_inverted_range_costs_one_connection() {
    let server = Server::start(|_| {});
    let (mut bad, mut good) = (server.client(), server.client());
    bad.send(&Pdu::GetLines { pane_id: 0, lines: vec![5..2] });
    while bad.receive().is_some() {}
    assert_eq!(good.ask(&Pdu::Ping), Pdu::Pong);
    // So does a payload that is too short.
    let mut bad = server.client();
    bad.raw(&[0x02, 0x01, 0x23]);
    while bad.receive().is_some() {}
    assert_eq!(good.ask(&Pdu::Ping), Pdu::Pong);
}

#[test]
fn rows_that_are_not_there_are_answered_with_others() {
    let (_server, mut client) = shown("seq 1 60; exec sleep 1000", "", "60");
    let mut rows = |ranges: &[std::ops::Range<i64>]| match client
        .ask(&Pdu::GetLines { pane_id: 0, lines: ranges.to_vec() })
    {
        Pdu::GetLinesResponse { rows, .. } => rows.iter().map(|row| row.index).collect::<Vec<_>>(),
        pdu => panic!("{pdu:?}"),
    };
    // Rows 0 to 60 are there.
    assert_eq!(rows(&[3..6]), [3, 4, 5]);
    assert_eq!(rows(&[59..61, 0..1, 0..1]), [59, 60, 0, 0]);
    assert_eq!(rows(&[-5..-3]), [0, 1]);
    assert_eq!(rows(&[1000..1003]), [0, 1, 2]);
    assert_eq!(rows(&[58..63]), [55, 56, 57, 58, 59, 60]);
    assert_eq!(rows(&[7..7]), [0; 0]);
    assert_eq!(rows(&[0..0]), [60]);
    assert_eq!(rows(&[i64::MIN..i64::MAX]).len(), 61);
}

#[test]
fn the_first_push_holds_everything_and_the_next_only_news() {
    let (_server, mut client) = running("seq 1 60; printf '> '; read x; echo answer; exec sleep 1000", "");
    let first = loop {
        client.ask(&Pdu::GetPaneRenderChanges { pane_id: 0 });
        let mut all = client.pushes.drain(..).filter_map(|push| changes(&push, 0));
        if let Some(found) = all.find(|c| c.rows.iter().any(|row| row.text == "> ")) {
            break found;
        }
    };
    assert_eq!((first.dims.physical_top, first.dims.scrollback_rows), (37, 61));
    assert_eq!(first.cursor.y, 60);
    // The cursor's row comes once more at the end.
    assert_eq!(first.rows.last().unwrap().index, 60);
    assert_eq!(first.rows.iter().filter(|row| row.index == 60).count(), 2);
    // Nothing new: nothing but the answer.
    let alive = client.ask(&Pdu::GetPaneRenderChanges { pane_id: 0 });
    assert_eq!(alive, Pdu::LivenessResponse { pane_id: 0, is_alive: true });
    assert!(client.pushes.is_empty());
    // A second client gets everything again: rows above the viewport as a range.
    let mut late = _server.client();
    late.ask(&Pdu::GetPaneRenderChanges { pane_id: 0 });
    let all = late.until(|push| changes(push, 0));
    assert_eq!(all.dirty, [0..37]);
    assert_eq!(all.rows.len(), 25);
    assert!(matches!(late.until(|push| Some(push.clone())), Pdu::SetPalette { pane_id: 0, .. }));
    client.write(0, "\r");
    let news = client.until_text(0, "answer");
    assert!(news.rows.iter().all(|row| row.index >= 60));
    assert!(news.dirty.is_empty());
}

#[test]
fn a_slow_reader_catches_up_in_one_push() {
    // Far more than fits between the server and a client that reads nothing.
    let script = "echo ready; read x; for i in $(seq 1 400); do head -c 1300 /dev/urandom | base64; sleep 0.005; done; \
                  echo LAST; exec sleep 1000";
    let (server, mut other) = shown(script, "", "ready");
    let mut slow = server.client();
    slow.ask(&Pdu::GetPaneRenderChanges { pane_id: 0 });
    slow.pushes.clear();
    other.write(0, "\r");
    // The other reads all the while, the slow one nothing.
    let count = |client: &mut Wire| {
        let mut pushes = 0;
        client.until(|push| {
            let changes = changes(push, 0)?;
            pushes += 1;
            changes.rows.iter().any(|row| row.text == "LAST").then_some(())
        });
        pushes
    };
    let all = count(&mut other);
    let few = count(&mut slow);
    assert!(few + 20 < all, "{few} of {all}");
    let seen = slow.ask(&Pdu::GetPaneRenderableDimensions { pane_id: 0 });
    assert_eq!(seen, other.ask(&Pdu::GetPaneRenderableDimensions { pane_id: 0 }));
    assert!(slow.pushes.is_empty());
}

#[test]
fn pastes_and_keys_are_read_by_the_program() {
    let (_server, mut client) = shown(SHOW, "", "READY");
    let mut says = |pdu: Pdu, text: &str| {
        assert_eq!(client.ask(&pdu), Pdu::UnitResponse);
        client.until_text(0, text);
    };
    let paste = |data: &str| Pdu::SendPaste { pane_id: 0, data: data.into() };
    let key =
        |code, modifiers| Pdu::SendKeyDown { pane_id: 0, event: Key { code, modifiers }, input_serial: 7 };
    let none = Modifiers::NONE;
    // Without markers every line end is a return.
    says(paste("a\nb\r\nc\x1b[201~d"), "a^Mb^Mcd");
    says(key(KeyCode::Up, none), "^[[A");
    says(key(KeyCode::Char('c'), Modifiers::CTRL), "^C");
    says(key(KeyCode::Char('x'), Modifiers::ALT), "^[x");
    says(key(KeyCode::Tab, Modifiers::SHIFT), "^[[Z");
    says(key(KeyCode::Left, Modifiers::CTRL), "^[[1;5D");
    says(key(KeyCode::Function(5), none), "^[[15~");
    says(key(KeyCode::Escape, none), "^[");
    says(key(KeyCode::Backspace, none), "^?");
    says(key(KeyCode::Char('é'), none), "M-CM-)");
    says(key(KeyCode::Enter, none), "^M");
}

#[test]
fn pastes_and_keys_follow_the_modes_of_the_program() {
    let (_server, mut client) = shown(SHOW, "\\033[?2004h\\033[?1h", "READY");
    client.ask(&Pdu::SendPaste { pane_id: 0, data: "a b\x1b[200~".into() });
    client.until_text(0, "^[[200~a b^[[201~");
    client.ask(&Pdu::SendKeyDown { pane_id: 0, event: Key::plain(KeyCode::Up), input_serial: 99 });
    // The sender is told at once, whether anything changed or not.
    client.until(|push| changes(push, 0).filter(|c| c.input_serial == Some(99)));
    client.until_text(0, "^[OA");
}

#[test]
fn the_terminal_answers_the_program() {
    let script = "stty raw -echo; printf 'ab\\033[6n'; head -c 6 | cat -v; exec sleep 1000";
    shown(script, "", "ab^[[1;3R");
}

#[test]
fn a_program_that_does_not_read_blocks_nobody() {
    let (server, mut client) = shown("stty raw -echo; echo READY; exec sleep 1000", "", "READY");
    let data = vec![b'x'; 1 << 20];
    for _ in 0..4 {
        client.ask(&Pdu::WriteToPane { pane_id: 0, data: data.clone() });
    }
    match client.ask(&Pdu::WriteToPane { pane_id: 0, data }) {
        Pdu::ErrorResponse { reason } => assert!(reason.contains("does not read"), "{reason}"),
        pdu => panic!("{pdu:?}"),
    }
    assert_eq!(server.client().ask(&Pdu::Ping), Pdu::Pong);
}

#[test]
fn unless_that_is_wanted() {
    let command = script("stty raw -echo; echo READY; exec sleep 1000", "");
    let server = Server::start(|options| {
        options.first_command = Some(command);
        options.freeze_on_unread_input = true;
    });
    let mut client = server.client();
    client.ask(&Pdu::GetPaneRenderChanges { pane_id: 0 });
    client.until_text(0, "READY");
    let mut other = server.client();
    assert_eq!(other.ask(&Pdu::Ping), Pdu::Pong);
    client.send(&Pdu::WriteToPane { pane_id: 0, data: vec![b'x'; 1 << 20] });
    // It takes a moment until the write blocks; from then on there is no answer.
    let end = std::time::Instant::now() + PATIENCE;
    while other.asked_within(&Pdu::Ping, Duration::from_millis(300)) {
        assert!(std::time::Instant::now() < end, "never froze");
    }
}

#[test]
fn a_killed_pane_is_gone_at_once_and_its_program_soon() {
    let (server, mut client) = shown("trap '' HUP; echo pid $$; while :; do sleep 1000; done", "", "pid ");
    client.ask(&Pdu::GetPaneRenderChanges { pane_id: 0 });
    let rows = match client.ask(&Pdu::GetLines { pane_id: 0, lines: vec![0..1] }) {
        Pdu::GetLinesResponse { rows, .. } => rows,
        pdu => panic!("{pdu:?}"),
    };
    let pid = rows[0].text.trim().strip_prefix("pid ").unwrap().to_owned();
    assert_eq!(client.ask(&Pdu::KillPane { pane_id: 0 }), Pdu::UnitResponse);
    client.until(|push| matches!(push, Pdu::PaneRemoved { pane_id: 0 }).then_some(()));
    let alive = client.ask(&Pdu::GetPaneRenderChanges { pane_id: 0 });
    assert_eq!(alive, Pdu::LivenessResponse { pane_id: 0, is_alive: false });
    assert!(panes(&mut client).is_empty());
    // Stopping waits for the program, which does not care to be hung up on.
    server.running.stop();
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn splits_share_a_tab_and_grow_back() {
    let server = Server::start(|_| {});
    let mut client = server.client();
    let split = |direction, size| SplitRequest { direction, target_is_second: true, top_level: false, size };
    let request = |pane_id, split| Pdu::SplitPane {
        pane_id,
        split,
        command: None,
        command_dir: None,
        domain: SpawnDomain::Default,
        move_pane_id: None,
    };
    let answer = client.ask(&request(0, split(SplitDirection::Horizontal, SplitSize::Percent(50))));
    assert!(matches!(answer, Pdu::SpawnResponse { pane_id: 1, tab_id: 0, window_id: 0, .. }));
    client.ask(&request(1, split(SplitDirection::Vertical, SplitSize::Cells(5))));
    let shape = |client: &mut Wire| {
        panes(client)
            .iter()
            .map(|p| (p.pane_id, p.size.cols, p.size.rows, p.left_col, p.top_row))
            .collect::<Vec<_>>()
    };
    assert_eq!(shape(&mut client), [(0, 39, 24, 0, 0), (1, 40, 18, 40, 0), (2, 40, 5, 40, 19)]);
    client.ask(&Pdu::KillPane { pane_id: 1 });
    assert_eq!(shape(&mut client), [(0, 39, 24, 0, 0), (2, 40, 24, 40, 0)]);
    client.ask(&Pdu::KillPane { pane_id: 0 });
    assert_eq!(shape(&mut client), [(2, 80, 24, 0, 0)]);
}

#[test]
fn clients_are_listed_with_input_and_focus() {
    let server = Server::start(|_| {});
    let (mut one, mut two) = (server.client(), server.client());
    let id = |id| ClientId {
        hostname: "h".into(),
        username: "u".into(),
        pid: 1,
        epoch: 2,
        id,
        ssh_auth_sock: None,
    };
    for (client, number) in [(&mut one, 1), (&mut two, 2)] {
        let introduction = Introduction { client_id: id(number), is_proxy: false };
        client.ask(&Pdu::SetClientId { introduction });
    }
    two.ask(&Pdu::SetFocusedPane { pane_id: 0 });
    one.until(|push| matches!(push, Pdu::PaneFocused { pane_id: 0 }).then_some(()));
    let list = |client: &mut Wire| match client.ask(&Pdu::GetClientList) {
        Pdu::GetClientListResponse { clients } => clients,
        pdu => panic!("{pdu:?}"),
    };
    let clients = list(&mut one);
    let focus: Vec<_> = clients.iter().map(|c| (c.client_id.id, c.focused_pane_id)).collect();
    assert_eq!(focus, [(1, None), (2, Some(0))]);
    let before = clients[1].last_input;
    // Seconds are whole: input counts once the next one has begun.
    while list(&mut one)[1].last_input == before {
        two.write(0, " ");
    }
    assert_eq!(list(&mut one)[0].last_input, clients[0].last_input);
    drop(two);
    while list(&mut one).len() > 1 {}
}

#[test]
fn programs_know_where_they_run() {
    let script = "echo \"$WEZTERM_PANE|$TERM|$COLORTERM|$TERM_PROGRAM|$WEZTERM_UNIX_SOCKET|$(tty)|${HOME-none}|$PWD\" | fold -w 70; exec sleep 1000";
    let (server, mut client) = shown(script, "", "0|xterm-256color|truecolor|WezTerm|");
    // Known for a moment as what it was before.
    let entry = loop {
        let entry = panes(&mut client).remove(0);
        if entry.title == "sleep" {
            break entry;
        }
    };
    let tty = entry.tty_name.unwrap();
    let rows = match client.ask(&Pdu::GetLines { pane_id: 0, lines: vec![0..8] }) {
        Pdu::GetLinesResponse { rows, .. } => rows,
        pdu => panic!("{pdu:?}"),
    };
    let text: String = rows.iter().map(|row| row.text.trim_end()).collect();
    let socket = server.running.handle().socket().to_str().unwrap().to_owned();
    assert!(text.ends_with(&format!("|{socket}|{tty}|none|/")), "{text}");
    assert_eq!(entry.working_dir.as_deref(), Some("file:///"));
    assert_eq!((entry.size.cols, entry.size.pixel_width), (80, 640));
}

#[test]
fn sizes_from_outside_are_kept_sane() {
    let server = Server::start(|_| {});
    let mut client = server.client();
    for (rows, cols) in [(0, 0), (u64::MAX, 3), (7, u64::MAX)] {
        let size = TerminalSize { rows, cols, ..TerminalSize::default() };
        assert_eq!(client.ask(&Pdu::Resize { tab_id: 0, pane_id: 0, size }), Pdu::UnitResponse);
    }
    let entry = panes(&mut client).remove(0);
    assert_eq!((entry.size.rows, entry.size.cols), (7, 2000));
}

#[test]
fn codec_42_has_its_own_shapes() {
    let server = Server::start(|options| options.codec = Codec::V42);
    let handle = server.running.handle();
    let mut client = Wire::connect(handle.socket(), Codec::V42);
    match client.ask(&Pdu::GetCodecVersion) {
        Pdu::GetCodecVersionResponse { codec_version, .. } => assert_eq!(codec_version, 42),
        pdu => panic!("{pdu:?}"),
    }
    let introduction = Introduction { client_id: ClientId::default(), is_proxy: false };
    assert_eq!(client.ask(&Pdu::SetClientId { introduction }), Pdu::UnitResponse);
    client.ask(&Pdu::GetPaneRenderChanges { pane_id: 0 });
    let palettes = client.pushes.iter().filter(|push| matches!(push, Pdu::SetPalette { .. }));
    assert_eq!(palettes.count(), 2);
    client.write(0, "cd /tmp; printf '\\033[?1049h'; seq 1 50\r");
    // Not the echo of the command, which ends so too.
    let printed =
        |changes: &wa_mux::codec::RenderChanges| changes.rows.iter().any(|row| row.text.trim_end() == "50");
    let changes = client.until(|push| support::changes(push, 0).filter(printed));
    assert_eq!(changes.dims.scrollback_top, changes.dims.physical_top);
    assert!(changes.dims.physical_top > 20);
    // Looked at anew every 300 ms, when there is something to tell.
    let mut working_dir = changes.working_dir;
    while working_dir.as_deref() != Some("file:///tmp") {
        client.write(0, "\r");
        working_dir = client.until(|push| support::changes(push, 0)).working_dir;
    }
}

#[test]
fn new_windows_have_their_size_and_workspace() {
    let server = Server::start(|_| {});
    let mut client = server.client();
    let size = Size { cols: 100, rows: 30 };
    let spawned = server.running.handle().spawn(&shell(), size, "wa").unwrap();
    client.until(|push| matches!(push, Pdu::TabAddedToWindow { tab_id: 1, window_id: 1 }).then_some(()));
    let entry = panes(&mut client).into_iter().find(|p| p.pane_id == spawned.pane).unwrap();
    assert_eq!((entry.workspace.as_str(), entry.size.cols, entry.size.rows), ("wa", 100, 30));
    let missing = Command::new(["/no/such/program"]);
    assert!(server.running.handle().spawn(&missing, size, "wa").is_err());
}
