//! `wa-node hook` as agents run it, and the socket that it speaks to.

#![allow(clippy::unwrap_used)] // the helpers are tests too

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::sync::mpsc;
use wa_link::shutdown::{Shutdown, Tasks};
use wa_node::hook::{self, HookReport};
use wa_proto::{AgentKind, EventKind, Witness};

const NODE: &str = env!("CARGO_BIN_EXE_wa-node");
const ID: &str = "b5f6c1c2-1111-2222-3333-444455556666";
/// Far more than anything here takes.
const SOON: Duration = Duration::from_secs(20);

struct House {
    dir: TempDir,
    tasks: Tasks,
    reports: mpsc::Receiver<HookReport>,
}

impl House {
    fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tasks = Tasks::new(Shutdown::new());
        let (sender, reports) = mpsc::channel(16);
        hook::listen(&tasks, &hook::socket_path(&dir.path().join("node")), sender).unwrap();
        Self { dir, tasks, reports }
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("node")
    }

    fn socket(&self) -> PathBuf {
        hook::socket_path(&self.state())
    }

    async fn next(&mut self) -> HookReport {
        tokio::time::timeout(SOON, self.reports.recv()).await.expect("a report").expect("a listener")
    }

    /// What a call gives while the listener runs.
    async fn call(&self, args: &[&str], input: &str) -> (Output, Duration) {
        let (state, input) = (self.state(), input.to_owned());
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        tokio::task::spawn_blocking(move || call(&state, &args, &input)).await.unwrap()
    }
}

fn call(state: &Path, args: &[String], input: &str) -> (Output, Duration) {
    let start = Instant::now();
    let mut child = Command::new(NODE)
        .args(["hook", "--state-dir"])
        .arg(state)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may leave early.
    child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
    (child.wait_with_output().unwrap(), start.elapsed())
}

fn assert_silent(output: &Output) {
    assert_eq!(output.status.code(), Some(0));
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b""[..], &b""[..]));
}

fn prompt() -> String {
    format!(
        r#"{{"session_id":"{ID}","transcript_path":"/h/.claude/projects/p/{ID}.jsonl","cwd":"/w","permission_mode":"default","hook_event_name":"UserPromptSubmit","prompt":"do not tell"}}"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_reports_to_the_node() {
    let mut house = House::open();
    let (output, _) = house.call(&["claude", "UserPromptSubmit"], &prompt()).await;
    assert_silent(&output);
    let report = house.next().await;
    assert_eq!(report.agent, AgentKind::claude());
    assert_eq!((report.event.as_str(), report.session_id.as_str()), ("UserPromptSubmit", ID));
    assert_eq!(report.transcript_path, Some(PathBuf::from(format!("/h/.claude/projects/p/{ID}.jsonl"))));
    assert_eq!(report.cwd, "/w");
    let testimony = report.testimony.clone().unwrap();
    assert_eq!((testimony.kind, testimony.witness), (EventKind::TurnStarted, Witness::Hook));
    assert!(!format!("{report:?}").contains("do not tell"), "the prompt stays where it is");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notify_hands_its_words_over_as_an_argument() {
    let mut house = House::open();
    let json = format!(r#"{{"type":"agent-turn-complete","thread-id":"{ID}","turn-id":"t1","cwd":"/w"}}"#);
    let (output, _) = house.call(&["codex", "notify", &json], "").await;
    assert_silent(&output);
    let report = house.next().await;
    assert_eq!((report.event.as_str(), report.session_id.as_str()), ("agent-turn-complete", ID));
    assert_eq!(
        report.testimony.map(|testimony| (testimony.kind, testimony.key)),
        Some((EventKind::TurnFinished, "t1".into()))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_of_many_megabytes_is_taken_and_its_session_told() {
    let mut house = House::open();
    let json = prompt().replace("do not tell", &"x".repeat(5 << 20));
    let (output, _) = house.call(&["claude", "UserPromptSubmit"], &json).await;
    assert_silent(&output);
    assert_eq!(house.next().await.session_id, ID);
}

#[test]
fn whatever_goes_wrong_an_agent_does_not_hear_of_it() {
    let dir = tempfile::tempdir().unwrap();
    // A socket that is left over, one that takes no calls, and none.
    let dead = dir.path().join("dead");
    std::fs::create_dir(&dead).unwrap();
    drop(UnixListener::bind(hook::socket_path(&dead)).unwrap());
    let deaf = dir.path().join("deaf");
    std::fs::create_dir(&deaf).unwrap();
    let _listener = UnixListener::bind(hook::socket_path(&deaf)).unwrap();
    let long = dir.path().join("l".repeat(150));
    for state in [&dead, &deaf, &long, &dir.path().join("none")] {
        let (output, time) = call(state, &["claude".into(), "Stop".into()], &prompt());
        assert_silent(&output);
        assert!(time < Duration::from_secs(3), "{time:?}");
    }
    for (args, input) in [
        (&[][..], ""),
        (&["claude"], ""),
        (&["claude", "Stop"], "rubbish"),
        (&["claude", "Stop", "{", "and more", "--than", "it"], ""),
        (&["--wrong"], ""),
        (&["aider", "Stop"], "{}"),
    ] {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        assert_silent(&call(&dead, &args, input).0);
    }
    // Without any argument at all.
    assert_silent(&Command::new(NODE).arg("hook").stdin(Stdio::null()).output().unwrap());
}

#[test]
fn a_queue_that_is_full_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = hook::socket_path(dir.path());
    let _listener = UnixListener::bind(&path).unwrap();
    let mut waiting = Vec::new();
    loop {
        let socket = rustix::net::socket_with(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::STREAM,
            rustix::net::SocketFlags::NONBLOCK,
            None,
        )
        .unwrap();
        let address = rustix::net::SocketAddrUnix::new(&path).unwrap();
        if rustix::net::connect(&socket, &address).is_err() {
            break;
        }
        waiting.push(socket);
        assert!(waiting.len() < 100_000);
    }
    let (output, time) = call(dir.path(), &["claude".into(), "Stop".into()], &prompt());
    assert_silent(&output);
    assert!(time < Duration::from_secs(3), "{time:?}");
}

#[test]
fn an_agent_that_never_ends_its_input_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let start = Instant::now();
    let mut child = Command::new(NODE)
        .args(["hook", "--state-dir"])
        .arg(dir.path())
        .args(["claude", "Stop"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(prompt().as_bytes()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    drop(input);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_terminal_is_that_of_the_agent_though_the_hook_has_none() {
    let mut house = House::open();
    // An agent on a terminal of its own that starts its hook in another session, as Claude Code does, and waits for it.
    let line = format!(
        "tty > tty; setsid -w {NODE} hook --state-dir {} claude UserPromptSubmit < prompt",
        house.state().display()
    );
    let dir = house.dir.path();
    std::fs::write(dir.join("prompt"), prompt()).unwrap();
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null());
    let mut agent = command.spawn().unwrap();
    let report = house.next().await;
    assert!(agent.wait().unwrap().success());
    let tty = std::fs::read_to_string(house.dir.path().join("tty")).unwrap();
    assert!(tty.starts_with("/dev/"), "{tty}");
    assert_eq!(report.tty.as_deref(), Some(tty.trim()));
    assert_ne!(report.peer_pid, agent.id(), "the hook calls, not the agent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_without_any_terminal_has_none() {
    let mut house = House::open();
    // Detached twice, it belongs to init, which has no terminal either.
    let line = format!(
        "printf '%s' '{}' > j; (setsid sh -c 'sleep 0.2; {NODE} hook --state-dir {} claude Stop < j' &)",
        prompt(),
        house.state().display()
    );
    let mut command = Command::new("sh");
    command.args(["-c", &line]).current_dir(house.dir.path()).stdin(Stdio::null());
    assert!(command.status().unwrap().success());
    assert_eq!(house.next().await.tty, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_is_private_replaced_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = hook::socket_path(&dir.path().join("node"));
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    std::fs::set_permissions(path.parent().unwrap(), std::fs::Permissions::from_mode(0o700)).unwrap();
    drop(UnixListener::bind(&path).unwrap());
    let stale = std::fs::metadata(&path).unwrap().ino();
    let tasks = Tasks::new(Shutdown::new());
    let (sender, _reports) = mpsc::channel(1);
    hook::listen(&tasks, &path, sender.clone()).unwrap();
    let meta = std::fs::metadata(&path).unwrap();
    assert_eq!(meta.mode() & 0o7777, 0o600);
    assert_ne!(meta.ino(), stale);
    let names: Vec<_> =
        std::fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["hook.sock"], "nothing else is left");

    let error = hook::listen(&tasks, &path, sender.clone()).unwrap_err();
    assert!(error.to_string().contains("another wa-node"), "{error}");
    assert!(tasks.finish(SOON).await.stayed.is_empty());
    assert!(!path.exists(), "gone with its listener");

    std::fs::write(&path, "a file").unwrap();
    let tasks = Tasks::new(Shutdown::new());
    let error = hook::listen(&tasks, &path, sender.clone()).unwrap_err();
    assert!(error.to_string().contains("something else"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "a file");
    let long = dir.path().join("l".repeat(120)).join("hook.sock");
    let error = hook::listen(&tasks, &long, sender).unwrap_err();
    assert!(error.to_string().contains("hook.sock"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_others_may_write_to_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let open = dir.path().join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    let (sender, _reports) = mpsc::channel(1);
    let error = hook::listen(&Tasks::new(Shutdown::new()), &hook::socket_path(&open), sender).unwrap_err();
    assert!(error.to_string().contains("chmod"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_user_is_not_heard() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can become another user");
        return;
    }
    let mut house = House::open();
    // As if the permissions did not hold.
    for (path, mode) in [(house.dir.path(), 0o755), (&house.state(), 0o755), (&house.socket(), 0o666)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let program = house.dir.path().join("wa-node");
    std::fs::copy(NODE, &program).unwrap();
    let (state, json) = (house.state(), prompt());
    let stranger = move |uid: u32| {
        let mut child = Command::new(&program)
            .args(["hook", "--state-dir"])
            .arg(&state)
            .args(["claude", "Stop"])
            .uid(uid)
            .gid(uid)
            .current_dir("/")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(json.as_bytes()).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
    };
    tokio::task::spawn_blocking(move || {
        stranger(65534);
        stranger(0);
    })
    .await
    .unwrap();
    // The second is heard, and was the only one.
    assert_eq!(house.next().await.session_id, ID);
    assert!(house.reports.try_recv().is_err());
}

fn frame(body: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    frame.extend(body);
    frame
}

fn message(session: &str) -> Vec<u8> {
    frame(
        format!(
            r#"{{"agent":"claude","event":"Stop","said":{{"session_id":"{session}","cwd":"relative"}}}}"#
        )
        .as_bytes(),
    )
}

/// Writes and waits until the node hangs up.
fn throw(path: &Path, bytes: &[u8]) {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    // The node may have hung up already.
    stream.write_all(bytes).ok();
    stream.read_to_end(&mut Vec::new()).ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_callers_cost_nothing() {
    let mut house = House::open();
    let path = house.socket();
    let heard = Arc::new(AtomicBool::new(false));
    let seen = heard.clone();
    let good = tokio::task::spawn_blocking(move || {
        for body in [
            &b"{}"[..],
            b"rubbish",
            b"[[[[[[[[",
            br#"{"agent":"aider","event":"Stop","said":{"session_id":"abcdefgh"}}"#,
            br#"{"agent":"claude","event":"St op","said":{"session_id":"abcdefgh"}}"#,
            br#"{"agent":"claude","event":"Stop","said":{"session_id":"../../etc"}}"#,
            br#"{"agent":"claude","event":"Stop","said":{}}"#,
            br#"{"agent":"claude","event":"Stop","said":{"session_id":"abcdefgh"},"more":1}"#,
        ] {
            throw(&path, &frame(body));
        }
        throw(&path, &[0xff; 4]);
        throw(&path, &[0; 70_000]);
        // Half a message, and a caller that keeps its line open: cut off in time.
        let start = Instant::now();
        throw(&path, &message(ID)[..20]);
        assert!(start.elapsed() < Duration::from_secs(10));
        // More callers than places, none of whom says anything: they are cut off, and others heard again.
        let idle: Vec<_> = (0..300).map(|_| UnixStream::connect(&path)).collect();
        let end = Instant::now() + SOON;
        while !seen.load(Ordering::Relaxed) && Instant::now() < end {
            throw(&path, &message("after-the-flood"));
        }
        drop(idle);
    });
    let last = house.next().await;
    heard.store(true, Ordering::Relaxed);
    good.await.unwrap();
    assert_eq!(last.session_id, "after-the-flood");
    assert_eq!((last.cwd.as_str(), last.transcript_path), ("", None), "a relative path is none");
    assert!(house.tasks.finish(SOON).await.stayed.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_that_nobody_takes_are_dropped_not_kept() {
    let mut house = House::open();
    let path = house.socket();
    tokio::task::spawn_blocking(move || (0..100).for_each(|_| throw(&path, &message(ID)))).await.unwrap();
    let mut count = 0;
    while house.reports.try_recv().is_ok() {
        count += 1;
    }
    assert_eq!(count, 16, "what the channel holds");
    house.reports.close();
    let end = Instant::now() + SOON;
    while house.socket().exists() {
        assert!(Instant::now() < end, "the listener ends with its reader");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
