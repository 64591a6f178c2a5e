//! The program as it is started: exit codes, what goes to which stream, and its manners with pipes.

mod support;

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use support::{said, wa};

fn answer(home: &Path, args: &[&str]) -> (i32, String, String) {
    support::answer(&mut wa(home, args))
}

#[test]
fn without_a_context_it_says_how_to_get_one() {
    let home = tempfile::tempdir().unwrap();
    for args in [&["status"][..], &["logs", "a/0"], &["send", "a/0", "x"], &["run", "list"]] {
        let (code, stdout, stderr) = answer(home.path(), args);
        assert_eq!((code, stdout.as_str()), (2, ""), "{args:?}");
        assert!(stderr.contains("wa up") && stderr.contains("WA_CONTEXT_FILE"), "{stderr}");
    }
}

#[test]
fn mistakes_on_the_line_are_found_before_anybody_is_asked() {
    let home = tempfile::tempdir().unwrap();
    for args in [
        &["frobnicate"][..],
        &["status", "a/x"],
        &["status", "-l", "a="],
        &["search", "x", "--since", "yesterday"],
        &["send", "a/0"],
        &["send", "a/0", "a\u{1b}[A"],
        &["wait", "a/0", "--for", "happy"],
        &["help", "frobnicate"],
        &["account", "add"],
        &["account", "add", "work"],
        &["account", "add", "work", "--agent", "cursor"],
        &["account", "add", "wo/rk", "--agent", "codex"],
        &["account", "add", "work", "--agent", "codex", "--password", "x"],
        &["account", "add", "work", "--agent", "codex", "--max-panes", "-1"],
        &["account", "add", "work", "--agent", "codex", "--default-on", "a b"],
        &["account", "update", "work"],
        &["account", "update", "work", "--default-on", "a", "--no-default"],
        &["account", "remove", "work"],
        &["account", "login", "work"],
        &["account", "pool", "set", "default"],
        &["account", "pool", "set", "default", "--switching", "maybe"],
        &["switch-account", "work"],
        &["switch-account", "a/1", "--to", "wo/rk"],
        &["approve", "agent=codex"],
        &["approve", "approval-1", "--choice", "Yes"],
        &["approval", "list", "--limit", "0"],
        &["audit", "--since", "yesterday"],
        &["audit", "list", "--since", "yesterday"],
        &["audit", "verify", "--tail", "1"],
        &["audit", "--tail", "0"],
        &["policy", "test", "--verb", "send"],
        &["policy", "test", "--who", "operator:anna"],
        &["policy", "test", "--who", "operator:anna", "--verb", "send", "--label", "codex"],
        &["policy", "test", "--who", "operator:anna", "--verb", "send", "--label", "a=b", "--pane", "a/1"],
    ] {
        let (code, stdout, stderr) = answer(home.path(), args);
        assert_eq!((code, stdout.as_str()), (2, ""), "{args:?}: {stderr}");
        assert!(
            !stderr.contains("no context"),
            "{args:?}: the mistake is said, not what it would meet: {stderr}"
        );
    }
}

#[test]
fn a_broken_context_is_named() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("c.toml");
    std::fs::write(&file, "schema = 'wa.context/1'\ncontroler = 'https://a'\n").unwrap();
    let (code, _, stderr) = answer(home.path(), &["status", "--context-file", file.to_str().unwrap()]);
    assert_eq!(code, 2);
    assert!(stderr.contains("c.toml:2") && stderr.contains("controler"), "{stderr}");
}

#[test]
fn bare_wa_is_a_quick_start() {
    let home = tempfile::tempdir().unwrap();
    let (code, stdout, stderr) = answer(home.path(), &[]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.contains("wa send PANE") && !stdout.contains('\u{1b}'), "{stdout}");
    let (code, json, _) = answer(home.path(), &["-o", "json"]);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, value["schema"].as_str()), (0, Some("wa.help/1")));
    assert_eq!(answer(home.path(), &["help", "-o", "json"]).1, json);
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    let home = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = wa(home.path(), &["help", "-o", "json"]).stdout(writer).output().unwrap();
    assert_eq!(said(&output), (0, String::new(), String::new()));
}

#[test]
fn a_text_from_standard_input_is_checked_like_any_other() {
    let home = tempfile::tempdir().unwrap();
    let mut child = wa(home.path(), &["send", "a/0", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"one\x1btwo\n").unwrap();
    let (code, _, stderr) = said(&child.wait_with_output().unwrap());
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("U+001B"), "{stderr}");
}
