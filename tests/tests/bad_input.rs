//! What goes wrong from outside is said in words, with the exit code of its kind.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::fs;
use std::process::Command;
use std::time::Duration;

use wa_tests::{Stage, binary, wait_for};

#[test]
fn without_a_controller_every_question_says_so() {
    let stage = Stage::new().unwrap();
    let controller = stage.start_controller(&[]).unwrap();
    controller.kill();
    for args in
        [&["fleet", "status"][..], &["status"], &["logs", "a/0"], &["search", "x"], &["send", "a/0", "x"]]
    {
        let answer = stage.wa(args);
        assert_eq!(answer.code, 6, "{args:?}: {answer:?}");
        assert!(answer.stdout.is_empty() && answer.stderr.contains("127.0.0.1"), "{args:?}: {answer:?}");
    }
}

#[test]
fn wrong_arguments_are_usage_errors_and_unknown_panes_are_not_found() {
    let stage = Stage::new().unwrap();
    let _controller = stage.start_controller(&[]).unwrap();
    for args in
        [&["frobnicate"][..], &["logs", "not-a-pane"], &["keys", "a/0", "Entr"], &["status", "-o", "yaml"]]
    {
        let answer = stage.wa(args);
        assert_eq!(answer.code, 2, "{args:?}: {answer:?}");
        assert!(!answer.stderr.is_empty(), "{args:?}");
    }
    for args in [&["send", "nowhere/0", "x"][..], &["logs", "nowhere/0"], &["screen", "nowhere/0"]] {
        let answer = stage.wa(args);
        assert_eq!(answer.code, 3, "{args:?}: {answer:?}");
    }
}

/// Enrols with this token text and gives exit success and the error text.
fn enroll(stage: &Stage, token: &str, dir: &str) -> (bool, String) {
    let file = stage.path(format!("token-{dir}"));
    fs::write(&file, token).unwrap();
    let output = Command::new(binary("wa-node"))
        .args(["enroll", "--controller", &stage.controller_url(), "--token-file"])
        .arg(&file)
        .arg("--state-dir")
        .arg(stage.path(dir))
        .output()
        .unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_token_works_once_for_its_name_and_refusals_give_the_reason() {
    let stage = Stage::new().unwrap();
    let _controller = stage.start_controller(&[]).unwrap();
    let token = stage.wa(&["fleet", "token", "web-1"]).stdout.trim().to_owned();

    let (ok, error) = enroll(&stage, "not a token", "bad");
    assert!(!ok && error.to_lowercase().contains("token"), "{error}");
    let (ok, error) = enroll(&stage, &token, "first");
    assert!(ok, "{error}");
    let (ok, error) = enroll(&stage, &token, "second");
    assert!(!ok && error.contains("used"), "{error}");
    assert!(!stage.path("second/identity").join("key.pem").exists(), "nothing half-made is left");

    let again = stage.wa(&["fleet", "token", "web-1"]);
    assert_ne!(again.code, 0, "web-1 has a live certificate: {again:?}");
    assert_eq!(stage.wa(&["fleet", "token", "web-1", "--replace"]).code, 0);
    assert!(!error.contains(&token), "the token is never printed again");
}

#[test]
fn a_node_without_a_mux_server_says_so_and_sees_it_when_it_comes() {
    let stage = Stage::new().unwrap();
    let _controller = stage.start_controller(&[]).unwrap();
    stage.enroll_node().unwrap();
    let _node = stage.start_node(&[]).unwrap();
    let problem = wait_for("the node to say what is missing", Duration::from_secs(20), || {
        let status = stage.wa(&["fleet", "status", "-o", "json"]).json();
        status["items"][0]["problems"].as_array()?.first()?.as_str().map(str::to_owned)
    });
    assert!(problem.contains("sock"), "{problem}");
    let _mux = stage.start_mux("80x24", &["/bin/sh", "-c", "echo here I am; exec sleep 1000"]).unwrap();
    wait_for("the pane", Duration::from_secs(40), || {
        let status = stage.wa(&["status", "-o", "json"]).json();
        (!status["items"].as_array()?.is_empty()).then_some(())
    });
}

#[test]
fn a_mux_that_dies_and_returns_is_a_new_generation() {
    let stage = Stage::new().unwrap();
    let _controller = stage.start_controller(&[]).unwrap();
    stage.enroll_node().unwrap();
    let mux = stage.start_mux("80x24", &["/bin/sh", "-c", "echo first life; exec sleep 1000"]).unwrap();
    let _node = stage.start_node(&[]).unwrap();
    let pane = format!("{}/0", stage.host());
    let generation = || {
        let status = stage.wa(&["status", "-o", "json"]).json();
        status["items"]
            .as_array()?
            .iter()
            .find(|item| item["pane"] == pane.as_str() && item["state"] != "gone")?["generation"]
            .as_str()
            .map(str::to_owned)
    };
    let said = |text: &str| {
        let answer = stage.wa(&["logs", &pane, "-o", "jsonl"]);
        answer.code == 0 && answer.json_lines().iter().any(|entry| entry["text"] == text)
    };
    wait_for("the first life in the log", Duration::from_secs(20), || said("first life").then_some(()));
    let first = wait_for("a generation", Duration::from_secs(20), generation);
    mux.kill();
    let _mux = stage.start_mux("80x24", &["/bin/sh", "-c", "echo second life; exec sleep 1000"]).unwrap();
    wait_for("the second life in the log", Duration::from_secs(40), || said("second life").then_some(()));
    let second = wait_for("the new generation", Duration::from_secs(20), || {
        generation().filter(|generation| *generation != first)
    });
    assert_ne!(first, second);
    let refused = stage.wa(&["send", &pane, "echo stale", "--if-generation", &first]);
    assert_eq!(refused.code, 4, "{refused:?}");
}

#[test]
fn a_bad_policy_is_told_before_any_host_has_joined() {
    let stage = Stage::new().unwrap();
    let policy = stage.path("policy.toml");
    fs::write(
        &policy,
        "[[rule]]\nwho = ['operator:*']\nverbs = ['send']\npanes = ['*']\ndecision = 'allow'\n",
    )
    .unwrap();
    let _controller = stage.start_controller(&["--policy", policy.to_str().unwrap()]).unwrap();
    let quiet = stage.wa(&["fleet", "status"]);
    assert!(quiet.code == 0 && !quiet.stderr.contains("policy"), "{quiet:?}");
    fs::write(&policy, "[[rule]]\nwho = 7\n").unwrap();
    let told = wait_for("the mistake to be told", Duration::from_secs(60), || {
        let answer = stage.wa(&["fleet", "status", "-o", "json"]);
        answer.stderr.contains("policy.toml").then_some(answer)
    });
    assert_eq!((told.code, told.json()["items"].as_array().map(Vec::len)), (0, Some(0)), "{told:?}");
}
