//! Questions to a real controller over mutual TLS, and their exit codes.

mod support;

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use support::head::Head;
use support::{Running, answer, wa};

/// The context that an agent on host `a` has.
fn agent_context(head: &Head) -> PathBuf {
    head.enrol();
    wa_node::config::agent_context_path(&head.state_dir())
}

#[test]
fn an_empty_fleet_is_an_empty_list() {
    let head = Head::start();
    for (args, schema) in [
        (&["status"][..], "wa.status/1"),
        (&["fleet", "status"], "wa.fleet_status/1"),
        (&["events"], "wa.events/1"),
        (&["search", "x"], "wa.search/1"),
        (&["run", "list"], "wa.run_list/1"),
        (&["rules", "list"], "wa.rules/1"),
        (&["rules", "unknown"], "wa.unknown_screens/1"),
    ] {
        let (code, stdout, stderr) = head.wa(&[args, &["-o", "json"]].concat());
        assert_eq!(code, 0, "{args:?}: {stderr}");
        let value: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!((value["schema"].as_str(), value["items"].as_array().unwrap().len()), (Some(schema), 0));
        assert_eq!(head.wa(args).1, "", "{args:?}: nothing that is no data");
    }
}

#[test]
fn what_is_not_there_is_not_found() {
    let head = Head::start();
    for args in [
        &["status", "a/0"][..],
        &["logs", "a/0"],
        &["screen", "a/0"],
        &["send", "a/0", "x"],
        &["keys", "a/0", "Enter"],
        &["kill", "a/0"],
        &["spawn", "a", "--", "true"],
        &["send", "-l", "agent=codex", "x"],
        &["rules", "explain", "a/0"],
        &["rules", "push", "--remove", "nobody"],
        &["rules", "push", "/nonexistent/p.toml"],
    ] {
        let (code, stdout, stderr) = head.wa(args);
        assert_eq!((code, stdout.as_str()), (3, ""), "{args:?}: {stderr}");
        assert!(stderr.starts_with("wa: "), "{stderr}");
    }
}

#[test]
fn a_token_stands_alone_on_standard_output() {
    let head = Head::start();
    let (code, stdout, stderr) = head.wa(&["fleet", "token", "web-1"]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(stdout.lines().count(), 1);
    stdout.parse::<wa_link::token::JoinToken>().unwrap();
    assert!(stderr.contains("wa-node enroll") && !stderr.contains(stdout.trim()), "{stderr}");
    assert_eq!(head.wa(&["fleet", "token", "web-1", "--ttl", "2h"]).0, 2);
}

#[test]
fn an_agent_makes_no_tokens_and_learns_why() {
    let head = Head::start();
    let agent = agent_context(&head);
    let mut command = wa(head.home.path(), &["fleet", "token", "b"]);
    let (code, stdout, stderr) = answer(command.env("WA_CONTEXT_FILE", &agent));
    assert_eq!((code, stdout.as_str()), (4, ""), "{stderr}");

    // Inside a pane that context is taken by itself, and the refusal says so.
    let state = head.home.path().join("state/wa-node");
    std::fs::create_dir_all(&state).unwrap();
    std::fs::copy(&agent, state.join("agent.context.toml")).unwrap();
    let mut command = wa(head.home.path(), &["fleet", "token", "b"]);
    command.env("WEZTERM_PANE", "0").env("XDG_STATE_HOME", head.home.path().join("state"));
    let (code, _, stderr) = answer(&mut command);
    assert_eq!(code, 4, "{stderr}");
    assert!(stderr.contains("--context"), "{stderr}");
}

#[test]
fn time_that_is_over_has_its_own_code() {
    let head = Head::start();
    for args in [
        &["wait", "agent=codex", "--for", "idle", "--timeout", "300ms"][..],
        &["events", "-f", "--timeout", "300ms"],
        &["status", "--watch", "--timeout", "300ms"],
    ] {
        let (code, stdout, stderr) = head.wa(args);
        assert_eq!((code, stdout.as_str()), (5, ""), "{args:?}: {stderr}");
        assert!(!stderr.is_empty());
    }
}

#[test]
fn an_interrupted_command_says_so_by_its_code() {
    let head = Head::start();
    let running = Running::start(&mut head.command(&["events", "-f", "-o", "jsonl"]));
    // The signal must not come before the program listens for it: until then it would end it by itself.
    support::wait_for("its connection", Duration::from_secs(10), || {
        let sockets = std::fs::read_dir(format!("/proc/{}/fd", running.pid())).ok()?;
        let open = sockets.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
        open.filter(|path| path.to_string_lossy().starts_with("socket:")).count().checked_sub(3)
    });
    running.signal(Signal::INT);
    let (code, stdout, _) = running.end();
    assert_eq!((code, stdout.as_str()), (130, ""));
}

#[test]
fn a_controller_that_is_gone_is_unreachable() {
    let head = Head::start();
    let followed = Running::start(&mut head.command(&["events", "-f"]));
    head.stop();
    let Head { running, .. } = &head;
    let address = running.local_addr.to_string();
    for args in [
        &["status"][..],
        &["fleet", "status"],
        &["logs", "a/0"],
        &["send", "a/0", "x"],
        &["rules", "list"],
        &["rules", "unknown"],
        &["rules", "explain", "a/0"],
        &["rules", "push", "--remove", "mine"],
    ] {
        let (code, stdout, stderr) = head.wa(args);
        assert_eq!((code, stdout.as_str()), (6, ""), "{args:?}: {stderr}");
        assert!(stderr.contains(&address), "{stderr}");
    }
    let (code, _, stderr) = followed.end();
    assert_eq!(code, 6, "{stderr}");
}

#[test]
fn packs_are_pushed_listed_and_taken_away() {
    let head = Head::start();
    let pack = |name: &str, pattern: &str| {
        let text = format!(
            "schema = \"wa.pack/1\"\nversion = \"7\"\n[[rule]]\nid = \"{name}.full\"\nevent = \"context.full\"\nagent = \"codex\"\n\
             region = \"transcript\"\nliterals = [\"the cup is full\"]\npattern = '{pattern}'\nrearm = \"turn\"\n\
             [[rule.example]]\ntext = \"the cup is full\"\n"
        );
        let file = head.home.path().join(format!("{name}.toml"));
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let (good, bad) = (pack("mine", "the cup is full"), pack("bad", "the cup is empty"));

    let (code, stdout, stderr) = head.wa(&["rules", "push", &bad]);
    assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
    assert!(stderr.contains("bad") && stderr.contains("line 4") && stderr.contains("example 1"), "{stderr}");
    let pushed = |args: &[&str]| -> Value {
        let (code, stdout, stderr) = head.wa(&[&["rules", "push", "-o", "json"], args].concat());
        assert_eq!(code, 0, "{stderr}");
        serde_json::from_str(&stdout).unwrap()
    };
    let dry = pushed(&[&good, "--dry-run"]);
    assert_eq!((dry["schema"].as_str(), dry["dry_run"].as_bool()), (Some("wa.rules_push/1"), Some(true)));
    assert_eq!(head.wa(&["rules", "list"]).1, "", "a dry run leaves nothing");
    let real = pushed(&[&good, "--shadow"]);
    assert_ne!(real["revision"], dry["revision"], "shadow is part of the set");
    let (_, stdout, _) = head.wa(&["rules", "list", "-o", "jsonl"]);
    let item: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((item["pack"].as_str(), item["version"].as_str()), (Some("mine"), Some("7")));
    assert_eq!((item["shadow"].as_bool(), item["origin"].as_str()), (Some(true), Some("pushed")));
    assert!(item["who"].as_str().unwrap().contains("operator") && item["pushed"].is_string(), "{item}");
    assert!(pushed(&["--remove", "mine"])["revision"].is_null());
    assert_eq!(head.wa(&["rules", "list"]).1, "");
    // An agent pushes nothing.
    let agent = agent_context(&head);
    let (code, _, stderr) =
        answer(wa(head.home.path(), &["rules", "push", &good]).env("WA_CONTEXT_FILE", &agent));
    assert_eq!(code, 4, "{stderr}");
}

#[test]
fn workflows_are_listed_shown_paused_and_read() {
    let head = Head::start();
    let json = |args: &[&str]| -> Value {
        let (code, out, err) = head.wa(args);
        assert_eq!(code, 0, "{args:?}: {err}");
        serde_json::from_str(&out).expect("JSON")
    };
    let listed = json(&["workflow", "list", "-o", "json"]);
    let enabled = |listed: &Value, name: &str| {
        let items = listed["items"].as_array().expect("items").clone();
        let found = items.into_iter().find(|item| item["name"] == name).expect("it is built in");
        (found["enabled"].as_bool(), found["paused"].as_str().map(str::to_owned))
    };
    assert_eq!(enabled(&listed, "limit-wait"), (Some(true), None));
    assert_eq!(enabled(&listed, "crash-resume"), (Some(false), None));
    let shown = json(&["workflow", "show", "limit-wait", "-o", "json"]);
    assert_eq!(
        (shown["schema"].as_str(), shown["steps"][1]["verb"].as_str()),
        (Some("wa.workflow/1"), Some("wait_until"))
    );
    assert_eq!(head.wa(&["workflow", "show", "nonsense"]).0, 3);
    let paused = head.wa(&["pause", "--workflow", "limit-wait", "--reason", "lunch"]);
    assert_eq!((paused.0, paused.1.trim()), (0, "paused: workflow limit-wait"));
    let (_, why) = enabled(&json(&["workflow", "list", "-o", "json"]), "limit-wait");
    assert!(why.as_ref().is_some_and(|why| why.contains("lunch")), "{why:?}");
    assert_eq!(head.wa(&["unpause", "--workflow", "limit-wait"]).0, 0);
    assert_eq!(json(&["workflow", "list", "-o", "json"]), listed);
    for (args, code) in [
        (&["pause", "--workflow", "nonsense"][..], 3),
        (&["pause", "a/1", "--workflow", "limit-wait"], 2),
        (&["run", "show", "nonsense"], 2),
        (&["run", "cancel", "0199aaaa-0000-7000-8000-000000000000"], 3),
        (&["run", "start", "limit-wait", "a/1"], 3),
        (&["notice", "answer", "1", "yes"], 3),
        (&["approve", "a/1"], 3),
    ] {
        let (got, _, err) = head.wa(args);
        assert_eq!(got, code, "{args:?}: {err}");
    }
    assert_eq!(json(&["notice", "list", "--open", "-o", "json"])["items"], serde_json::json!([]));
    // Files are read without asking anybody.
    let file = head.home.path().join("w.toml");
    let good =
        "name = 'w'\nversion = 1\non = 'bell'\nmax_actions = 0\n[[step]]\ndo = 'finish'\ntext = 'done'\n";
    let validated = |text: &str| {
        std::fs::write(&file, text).expect("written");
        answer(&mut wa(head.home.path(), &["workflow", "validate", file.to_str().expect("UTF-8")]))
    };
    assert_eq!(validated(good).0, 0);
    let (code, _, err) = validated(&good.replace("bell", "ball"));
    assert!(code == 2 && err.contains("ball"), "{err}");
}
