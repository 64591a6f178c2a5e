//! `wa-node exec`: last words are heard, and the command does not feel that it is wrapped.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod stage;

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use stage::{Stage, WRAPPER};
use wa_proto::PaneState;

/// It is there for a moment before it prints: what is gone before anybody knows of its pane is not the point.
const PRINTS: &str = "sleep 0.2; for i in {1..50}; do echo line $i; done; exit 3";

fn numbered(lines: &[String]) -> Vec<u32> {
    lines.iter().filter_map(|line| line.strip_prefix("line ")?.parse().ok()).collect()
}

/// A program that prints fifty lines and ends at once. Without the wrapper the server keeps them to itself.
#[tokio::test(flavor = "multi_thread")]
async fn last_words_are_heard_every_time() {
    let stage = Stage::start().await;
    for round in 0..40 {
        let bare = stage.open(&["/bin/bash", "--norc", "--noprofile", "-c", PRINTS]).await;
        let cause = stage.until("a gap", |stage| stage.gaps(bare).first().cloned()).await;
        assert_eq!(cause, "exit", "round {round}");
        assert!(numbered(&stage.lines(bare)).len() < 50, "round {round}: nothing was lost");

        let wrapped = stage.wrapped(PRINTS).await;
        assert_eq!(stage.status(wrapped).await, "3", "round {round}");
        let all = |stage: &Stage| (numbered(&stage.lines(wrapped)).len() >= 50).then_some(());
        stage.until("all lines", all).await;
        assert_eq!(numbered(&stage.lines(wrapped)), (1..=50).collect::<Vec<_>>(), "round {round}");
        stage.gone(wrapped).await;
        assert_eq!(stage.gaps(wrapped), [""; 0], "round {round}: nothing was lost");
    }
    stage.stop().await;
}

fn run(command: &[&str], input: &str) -> Output {
    let mut child = Command::new(WRAPPER)
        .args(["exec", "--"])
        .args(command)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("ONE", "two words")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Who does not read may be gone already.
    child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
    child.wait_with_output().unwrap()
}

#[test]
fn exit_codes_pass_through() {
    let code = |script: &str| run(&["sh", "-c", script], "").status.code();
    assert_eq!(code("exit 0"), Some(0));
    assert_eq!(code("exit 7"), Some(7));
    assert_eq!(code("kill -KILL $$"), Some(137));
    assert_eq!(code("kill -TERM $$"), Some(143));
    let missing = run(&["no-such-program"], "");
    assert_eq!(missing.status.code(), Some(127));
    let said = String::from_utf8(missing.stderr).unwrap();
    assert_eq!(
        said,
        "wa-node exec: no-such-program: command not found; look at PATH, or give the whole path\n"
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = run(&[file.path().to_str().unwrap()], "");
    assert_eq!(refused.status.code(), Some(126));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("permission denied"));
}

/// As in a container that is entered from outside: to the kernel, the session has no number there.
#[test]
fn it_runs_in_a_session_begun_outside_its_container() {
    let contained = |command: &[&str]| {
        let unshare = ["--user", "--map-root-user", "--pid", "--fork"];
        Command::new("unshare").args(unshare).args(command).stdin(Stdio::null()).output()
    };
    if !contained(&["true"]).is_ok_and(|tried| tried.status.success()) {
        eprintln!("not tried: this machine lets nobody make a namespace");
        return;
    }
    let ran = contained(&[WRAPPER, "exec", "--", "echo", "here"]).unwrap();
    assert_eq!((ran.status.code(), ran.stdout.as_slice()), (Some(0), &b"here\n"[..]), "{ran:?}");
}

#[test]
fn streams_environment_and_descriptors_are_the_commands_own() {
    let echoed = run(&["sh", "-c", "cat; echo err >&2"], "one\0two\n");
    assert_eq!((echoed.stdout.as_slice(), echoed.stderr.as_slice()), (&b"one\0two\n"[..], &b"err\n"[..]));
    let environment = String::from_utf8(run(&["env"], "").stdout).unwrap();
    let mut names: Vec<&str> = environment.lines().collect();
    names.sort_unstable();
    assert_eq!(names, ["ONE=two words", "PATH=/usr/bin:/bin"]);
    // The wrapper adds nothing to what it was started with, and takes nothing away. One shell starts both, since this
    // process opens descriptors all the time.
    for command in ["ls -1 /proc/self/fd", "grep ^Sig[IB] /proc/self/status"] {
        let both = format!("{command}; echo wrapped; {WRAPPER} exec -- {command}");
        let both = Command::new("sh").args(["-c", &both]).stdin(Stdio::null()).output().unwrap().stdout;
        let both = String::from_utf8(both).unwrap();
        let (alone, wrapped) = both.split_once("wrapped\n").unwrap();
        assert!(!alone.is_empty());
        assert_eq!(wrapped, alone, "{command}");
    }
    // Arguments that look like our own.
    let printed = run(&["printf", "%s|", "--held", "--help", "-x", "--"], "");
    assert_eq!(printed.stdout, b"--held|--help|-x|--|");
}

#[test]
fn a_signal_for_the_wrapper_is_one_for_the_command() {
    let mut child = Command::new(WRAPPER)
        .args([
            "exec",
            "--",
            "bash",
            "-c",
            "trap 'echo told; exit 9' TERM; echo ready; while :; do sleep 0.05; done",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    assert_eq!(line, "ready\n");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    line.clear();
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    assert_eq!((line.as_str(), child.wait().unwrap().code()), ("told\n", Some(9)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_holds_the_terminal_from_its_first_moment() {
    let stage = Stage::start().await;
    // Fields of stat: pid, pgrp, tty, tpgid; the shell reads them without another process. `read` and `stty` would stop a
    // group that has not got the foreground.
    let script = "read -r line < /proc/self/stat; set -- ${line##*)}; \
                  [ $$ = $3 ] && [ $$ = $6 ] && stty -echo && echo mine; read -r x && echo got $x";
    for _ in 0..10 {
        let pane = stage.wrapped(script).await;
        stage.shows(pane, "mine", |row| row == "mine").await;
        stage.line(pane, "it").await;
        assert_eq!(stage.status(pane).await, "0");
        let got = |stage: &Stage| stage.lines(pane).contains(&"got it".to_owned()).then_some(());
        stage.until("what was read", got).await;
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_sizes_and_the_end_of_the_pane_reach_the_command() {
    let stage = Stage::start().await;
    let file = stage.dir().join("hung-up");
    let script = format!(
        "trap 'stty size' WINCH; trap 'echo interrupted' INT; trap 'echo continued' CONT; \
         trap 'echo > {}; exit' HUP; echo ready; while :; do sleep 0.05; done",
        file.display()
    );
    let pane = stage.wrapped(&script).await;
    stage.shows(pane, "ready", |row| row == "ready").await;
    stage.resize(pane, 100, 30).await;
    stage.shows(pane, "its size", |row| row == "30 100").await;
    stage.ctrl(pane, 'c').await;
    stage.shows(pane, "Ctrl-C", |row| row.ends_with("interrupted")).await;
    // Nobody is there to continue it but the wrapper.
    stage.ctrl(pane, 'z').await;
    stage.shows(pane, "Ctrl-Z", |row| row.ends_with("continued")).await;
    stage.kill(pane).await;
    for _ in 0..500 {
        if file.exists() {
            return stage.stop().await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the command was not told that its terminal is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_shell_it_is_a_job_like_others() {
    let stage = Stage::start().await;
    let pane = stage.open(&["/bin/bash", "--norc", "--noprofile"]).await;
    stage.shows(pane, "a prompt", |row| row == "$").await;
    stage.line(pane, &format!("{WRAPPER} exec -- cat; echo \"code $?\"")).await;
    stage.line(pane, "echo").await;
    stage.shows(pane, "cat", |row| row == "echo").await;
    stage.ctrl(pane, 'z').await;
    stage.shows(pane, "a stopped job", |row| row.contains("Stopped")).await;
    stage.line(pane, "fg").await;
    stage.line(pane, "again").await;
    stage.shows(pane, "cat", |row| row == "again").await;
    stage.ctrl(pane, 'c').await;
    assert_eq!(stage.status(pane).await, "signal:INT");
    stage.line(pane, "echo \"still $((1+1))\"").await;
    stage.shows(pane, "the shell", |row| row == "still 2").await;
    stage.stop().await;
}

/// The agent is known by its own process, and the wrapper is not seen.
#[tokio::test(flavor = "multi_thread")]
async fn the_process_witness_sees_through_it() {
    let stage = Stage::start().await;
    let agent = stage.dir().join("codex");
    std::os::unix::fs::symlink("/bin/cat", &agent).unwrap();
    let agent = agent.to_str().unwrap();
    for command in
        [vec![WRAPPER, "exec", "--", agent], vec!["/bin/bash", "-c", &format!("{WRAPPER} exec {agent}; :")]]
    {
        let id = stage.open(&command).await;
        let pane = stage
            .pane("an agent", |pane| pane.pane.pane_id == id && pane.agent.is_some() && pane.agent_pid != 0)
            .await;
        assert_eq!(pane.agent.unwrap().as_str(), "codex");
        let name = std::fs::read_to_string(format!("/proc/{}/comm", pane.agent_pid)).unwrap();
        assert_eq!(name, "codex\n");
        stage.ctrl(id, 'd').await;
        assert_eq!(stage.status(id).await, "0");
        let gone = std::fs::metadata(format!("/proc/{}", pane.agent_pid));
        assert!(gone.is_err(), "nobody waited for it");
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_killed_in_the_middle_of_something_is_heard_too() {
    let stage = Stage::start().await;
    let sync = stage.wrapped(r"printf '\e[?2026hfirst\nlast words\n'; kill -KILL $$").await;
    assert_eq!(stage.status(sync).await, "signal:KILL");
    let heard = |stage: &Stage| stage.lines(sync).contains(&"last words".to_owned()).then_some(());
    stage.until("its last words", heard).await;
    let title = stage.wrapped(r"printf 'said\n\e]0;half a ti'; kill -SEGV $$").await;
    assert_eq!(stage.status(title).await, "signal:SEGV");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_panes_state_tells_how_its_command_ended() {
    let stage = Stage::start().await;
    // Something keeps the pane for a while after the wrapper has spoken.
    let after = format!("{WRAPPER} exec -- sh -c 'exit 3'; sleep 5");
    let id = stage.open(&["/bin/bash", "-c", &after]).await;
    let pane = stage.pane("its end", |pane| pane.pane.pane_id == id && pane.detail.code.is_some()).await;
    assert_eq!((pane.state, pane.detail.code), (PaneState::Exited, Some(3)));
    let after = format!("{WRAPPER} exec -- sh -c 'kill -9 $$'; sleep 1; echo more; sleep 600");
    let id = stage.open(&["/bin/bash", "-c", &after]).await;
    let of = |pane: &wa_proto::Pane| pane.pane.pane_id == id;
    let pane = stage.pane("its end", |pane| of(pane) && pane.state == PaneState::Crashed).await;
    assert_eq!(pane.detail.why, "the command was ended by SIGKILL");
    stage.pane("something else runs", |pane| of(pane) && pane.state != PaneState::Crashed).await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_in_the_wrapper_is_a_shell_as_soon_as_it_has_the_terminal() {
    let stage = Stage::start().await;
    let wrapped = [WRAPPER, "exec", "--", "/bin/bash", "--norc", "--noprofile", "-i"];
    let id = stage.open(&wrapped).await;
    let of = |pane: &wa_proto::Pane| pane.pane.pane_id == id;
    stage.pane("a shell", |pane| of(pane) && pane.state == PaneState::Shell).await;
    // What it runs is what runs there, and then it is a shell again.
    stage.line(id, "sleep 1.5").await;
    stage.pane("a command", |pane| of(pane) && pane.detail.why.contains("sleep is in the foreground")).await;
    stage.pane("a shell again", |pane| of(pane) && pane.state == PaneState::Shell).await;
    stage.stop().await;
}
