//! The program: it lives until SIGTERM, and a killed one leaves room for the next.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use support::PATIENCE;
use wa_mux::codec::{Codec, Pdu};
use wa_mux::{Client, ConnectOptions};

/// Ends the program when a test fails.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn start(socket: &Path, rest: &[&str]) -> Program {
    let child = Command::new(env!("CARGO_BIN_EXE_wa-embedded-mux"))
        .args(["--socket", socket.to_str().unwrap()])
        .args(rest)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    Program(child)
}

fn await_socket(socket: &Path) {
    let end = Instant::now() + PATIENCE;
    while UnixStream::connect(socket).is_err() {
        assert!(Instant::now() < end, "nobody listens");
        std::thread::yield_now();
    }
}

async fn generation(socket: &Path) -> String {
    let now = Duration::from_secs(1_800_000_000);
    let options = ConnectOptions::new("host", "user", now);
    let (client, _events) = Client::connect(socket, options).await.unwrap();
    let panes = client.list_panes().await.unwrap();
    assert_eq!(panes[0].entry.pane_id, 0);
    assert_eq!((panes[0].entry.size.cols, panes[0].entry.size.rows), (100, 30));
    client.info().generation.clone()
}

#[tokio::test]
async fn a_killed_server_is_followed_by_a_new_generation() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("run/sock");
    let arguments = ["--size", "100x30", "--", "/bin/sh", "-c", "exec sleep 1000"];
    let mut first = start(&socket, &arguments);
    await_socket(&socket);
    let before = generation(&socket).await;
    first.0.kill().unwrap();
    first.0.wait().unwrap();
    assert!(socket.exists(), "a killed server cannot tidy up");
    let mut second = start(&socket, &arguments);
    await_socket(&socket);
    assert_ne!(generation(&socket).await, before);
    // A third finds the place taken, and says so.
    let mut third = start(&socket, &[]);
    assert!(!third.0.wait().unwrap().success());
    let mut said = String::new();
    third.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("another multiplexer listens on"), "{said}");
    let pid = Pid::from_child(&second.0);
    kill_process(pid, Signal::TERM).unwrap();
    assert!(second.0.wait().unwrap().success());
    assert!(!socket.exists());
    assert!(socket.parent().unwrap().exists());
}

#[test]
fn it_dies_of_an_inverted_range_when_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("run/sock");
    let arguments = ["--codec", "43", "--die-on-inverted-range", "--", "/bin/sh", "-c", "exec sleep 1000"];
    let mut program = start(&socket, &arguments);
    await_socket(&socket);
    let mut client = support::Wire::connect(&socket, Codec::V43);
    match client.ask(&Pdu::GetCodecVersion) {
        Pdu::GetCodecVersionResponse { codec_version, .. } => assert_eq!(codec_version, 43),
        pdu => panic!("{pdu:?}"),
    }
    let inverted = std::ops::Range { start: 5, end: 2 };
    client.send(&Pdu::GetLines { pane_id: 0, lines: vec![inverted] });
    assert_eq!(program.0.wait().unwrap().code(), Some(101));
}

#[test]
fn nonsense_is_refused_with_what_would_do() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, hint) in
        [(["--size", "80"], "80x24"), (["--size", "0x24"], "2 to 2000"), (["--codec", "45"], "42, 43 and 44")]
    {
        let mut program = start(&folder.path().join("sock"), &arguments);
        assert_eq!(program.0.wait().unwrap().code(), Some(2));
        let mut said = String::new();
        program.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(said.contains(hint), "{said}");
    }
}
