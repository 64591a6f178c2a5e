//! `wa audit`, `wa approval`, `wa approve ID`, `wa policy test`: against a real controller.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::time::Duration;

use serde_json::Value;
use support::head::Head;
use support::shell::Shell;
use support::{Running, wait_for};

const LIMIT: Duration = Duration::from_secs(40);

fn rows(head: &Head, args: &[&str]) -> Vec<Value> {
    let (code, out, err) = head.wa(&[&["audit", "-o", "jsonl"], args].concat());
    assert_eq!(code, 0, "{args:?}: {err}");
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_trail_is_read_filtered_and_verified() {
    let head = Head::start();
    for name in ["web-1", "web-2", "web-3"] {
        assert_eq!(head.wa(&["fleet", "token", name]).0, 0);
    }
    assert_eq!(head.wa(&["pause", "--reason", "lunch"]).0, 0);
    let all = rows(&head, &[]);
    let numbers: Vec<u64> = all.iter().map(|row| row["n"].as_u64().unwrap()).collect();
    assert!(numbers.is_sorted() && numbers.len() >= 4, "{all:?}");
    assert!(all.iter().any(|row| row["who"] == "operator:owner" && row["target"] == "web-2"), "{all:?}");
    let last = rows(&head, &["--tail", "2"]);
    assert_eq!(last, all[all.len() - 2..]);
    let (code, listed, _) = head.wa(&["audit", "list", "--tail", "2", "-o", "json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((code, listed["schema"].as_str()), (0, Some("wa.audit/1")));
    assert_eq!(listed["items"].as_array().unwrap(), &last);
    let of = rows(&head, &["--target", "web-2"]);
    assert!(!of.is_empty() && of.iter().all(|row| row["target"] == "web-2"), "{of:?}");
    assert!(rows(&head, &["--who", "operator:nobody"]).is_empty());
    assert_eq!(
        rows(&head, &["--who", "operator:owner", "--since", "1h"]).len(),
        rows(&head, &["--who", "operator:owner"]).len()
    );
    assert!(rows(&head, &["--since", "2999-01-01T00:00:00Z"]).is_empty());
    let (_, table, _) = head.wa(&["audit", "--tail", "1"]);
    assert!(table.starts_with("N ") && table.lines().count() == 2, "{table}");

    let (code, out, err) = head.wa(&["audit", "verify", "-o", "json"]);
    assert_eq!(code, 0, "{out}{err}");
    let check: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&check["schema"], &check["ok"]), (&"wa.audit_check/1".into(), &true.into()));
    assert!(check["rows"].as_u64().unwrap() >= all.len() as u64);
    assert_eq!(check["head"].as_str().unwrap().len(), 64);
    let (_, name, _) = head.wa(&["audit", "verify", "-o", "name"]);
    let kept = name.trim();
    assert_eq!(
        kept,
        format!("{}:{}", check["rows"], check["head"].as_str().unwrap()),
        "to be kept elsewhere"
    );
    assert_eq!(check["keep"], kept);
    let (_, table, _) = head.wa(&["audit", "verify"]);
    assert!(table.contains(kept), "{table}");
    assert_eq!(all.last().unwrap()["hash"], check["head"]);

    let (code, out, err) = head.wa(&["audit", "--who", "operator:nobody"]);
    assert_eq!((code, out.as_str(), err.trim()), (0, "", "the audit trail has no such row"));
}

#[test]
fn a_head_that_was_kept_is_looked_for() {
    let head = Head::start();
    for name in ["web-1", "web-2", "web-3"] {
        assert_eq!(head.wa(&["fleet", "token", name]).0, 0);
    }
    let (_, kept, _) = head.wa(&["audit", "verify", "-o", "name"]);
    let kept = kept.trim();
    assert_eq!(head.wa(&["fleet", "token", "web-4"]).0, 0);
    assert_eq!(head.wa(&["audit", "verify", "--head", kept]).0, 0);
    assert_eq!(head.wa(&["audit", "verify", "--head", &kept[..20]]).0, 2);
    // By somebody who has the file: the last rows are gone, with all that the controller remembers of them.
    let n: u64 = kept.split(':').next().unwrap().parse().unwrap();
    let database = rusqlite::Connection::open(head.home.path().join("controller/state.db")).unwrap();
    database.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    database
        .execute_batch(&format!(
            "DROP TRIGGER audit_no_delete; DELETE FROM audit WHERE n >= {n}; DELETE FROM audit_head"
        ))
        .unwrap();
    assert_eq!(head.wa(&["audit", "verify"]).0, 0);
    let (code, _, err) = head.wa(&["audit", "verify", "--head", kept]);
    assert!(code == 1 && err.contains(&format!("broken at row {n}: it is missing")), "{code} {err}");
    // Written anew, as many as before.
    for name in ["web-5", "web-6"] {
        assert_eq!(head.wa(&["fleet", "token", name]).0, 0);
    }
    assert_eq!(head.wa(&["audit", "verify"]).0, 0);
    let (code, _, err) = head.wa(&["audit", "verify", "--head", kept]);
    assert!(code == 1 && err.contains(&format!("broken at row {n}: its hash")), "{code} {err}");
}

#[test]
fn a_trail_that_was_changed_is_named_by_its_row() {
    let head = Head::start();
    for name in ["web-1", "web-2", "web-3"] {
        assert_eq!(head.wa(&["fleet", "token", name]).0, 0);
    }
    let changed = rows(&head, &["--target", "web-2"])[0]["n"].as_u64().unwrap();
    // By somebody who has the file.
    let database = rusqlite::Connection::open(head.home.path().join("controller/state.db")).unwrap();
    database.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    database.execute_batch("DROP TRIGGER audit_no_update").unwrap();
    let update = "UPDATE audit SET target = 'web-9' WHERE n = ?1";
    assert_eq!(database.execute(update, [i64::try_from(changed).unwrap()]).unwrap(), 1);
    let (code, out, err) = head.wa(&["audit", "verify"]);
    assert_eq!(code, 1, "{out}{err}");
    assert!(out.contains(&format!("no: row {changed}")), "{out}");
    assert!(err.contains(&format!("broken at row {changed}")), "{err}");
    let (code, out, _) = head.wa(&["audit", "verify", "-o", "json"]);
    let check: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &check["ok"], check["broken_at"].as_u64()), (1, &false.into(), Some(changed)));
}

#[test]
fn nothing_waits_and_nothing_unknown_is_answered() {
    let head = Head::start();
    let (code, out, err) = head.wa(&["approval", "list", "-o", "json"]);
    assert_eq!(code, 0, "{err}");
    let listed: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&listed["schema"], &listed["items"]), (&"wa.approvals/1".into(), &serde_json::json!([])));
    assert_eq!(head.wa(&["approval", "list", "--all"]).1, "");
    for args in [
        &["approve", "approval-1"][..],
        &["deny", "approval-1"],
        &["approve", "approval-1", "--dry-run"],
        &["deny", "nonsense", "--dry-run"],
    ] {
        let (code, out, err) = head.wa(args);
        assert_eq!((code, out.as_str()), (3, ""), "{args:?}: {err}");
    }
}

#[test]
fn a_policy_is_tried_before_it_is_in_force() {
    let head = Head::start();
    let file = head.home.path().join("policy.toml");
    let written = "\
[[rule]]
name = 'anna'
who = ['operator:anna']
verbs = ['send', 'keys']
selector = 'agent=codex'
decision = 'allow'

[[rule]]
name = 'night'
who = ['workflow:limit-wait']
verbs = ['send']
decision = 'ask'
";
    std::fs::write(&file, written).unwrap();
    let policy = file.to_str().unwrap();
    let test = |more: &[&str]| {
        let (code, out, err) = head.wa(&[&["policy", "test", "--file", policy, "-o", "json"], more].concat());
        let value: Value = serde_json::from_str(&out).unwrap_or_default();
        (code, value["decision"].as_str().unwrap_or_default().to_owned(), value["rule"].clone(), err)
    };
    let anna = ["--who", "operator:anna", "--verb", "send", "--text", "run the tests", "--label"];
    let (code, decision, rule, err) = test(&[&anna[..], &["agent=codex"]].concat());
    assert_eq!((code, decision.as_str()), (0, "allow"), "{err}");
    assert!(rule.as_str().unwrap().contains("anna"), "{rule}");
    let (code, decision, ..) = test(&[&anna[..], &["agent=claude"]].concat());
    assert_eq!((code, decision.as_str()), (4, "deny"));
    let (code, decision, ..) =
        test(&["--who", "workflow:limit-wait", "--verb", "send", "--label", "agent=codex"]);
    assert_eq!((code, decision.as_str()), (4, "ask"));

    for (args, exit, said) in [
        (&["--who", "operator:anna", "--verb", "dance", "--label", "agent=codex"][..], 2, "dance"),
        (&["--who", "", "--verb", "send", "--label", "agent=codex"], 2, "who"),
        (&["--who", "operator:anna", "--verb", "send", "--pane", "a/1"], 3, "a/1"),
    ] {
        let (code, _, _, err) = test(args);
        assert_eq!(code, exit, "{args:?}: {err}");
        assert!(err.contains(said), "{err}");
    }
    std::fs::write(&file, written.replace("decision = 'ask'", "decision = 'perhaps'")).unwrap();
    let (code, _, _, err) = test(&["--who", "operator:anna", "--verb", "send", "--label", "agent=codex"]);
    assert!(code == 2 && err.contains("perhaps"), "{code}: {err}");
    std::fs::write(&file, "\n").unwrap();
    assert_eq!(test(&anna[..6]).0, 2, "an empty file is no policy");
    std::fs::remove_file(&file).unwrap();
    assert_eq!(test(&anna[..6]).0, 3);
}

fn open_approval(head: &Head) -> Value {
    wait_for("an approval", LIMIT, || {
        let (_, out, _) = head.wa(&["approval", "list", "-o", "jsonl"]);
        out.lines().next().map(|line| serde_json::from_str(line).unwrap())
    })
}

#[test]
fn a_held_action_is_allowed_once_or_denied() {
    let head = Head::start_with(|config, home| {
        let policy = home.join("policy.toml");
        let text =
            "[[rule]]\nname = 'people ask'\nwho = ['operator:*']\nverbs = ['send']\ndecision = 'ask'\n";
        std::fs::write(&policy, text).unwrap();
        config.policy = Some(policy);
    });
    let shell = Shell::open(&head);
    let send = |text: &str| Running::start(&mut head.command(&["send", "a/0", text, "-o", "json"]));

    let sending = send("echo allowed-$((40 + 2))");
    let held = open_approval(&head);
    let id = held["id"].as_str().unwrap().to_owned();
    assert_eq!(
        [&held["pane"], &held["who"], &held["verb"], &held["state"]],
        ["a/0", "operator:owner", "send", "open"]
    );
    let (code, out, err) = head.wa(&["approve", &id, "--dry-run"]);
    assert!(code == 0 && out.contains(&id) && err.contains("would be allowed"), "{out}{err}");
    let (code, out, err) = head.wa(&["approve", &id, "-o", "json"]);
    assert_eq!(code, 0, "{out}{err}");
    let answered: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        [&answered["schema"], &answered["state"], &answered["outcome"], &answered["answered_by"]],
        ["wa.approvals/1", "used", "submitted", "operator:owner"]
    );
    let (code, out, err) = sending.end();
    assert!(code == 0 && out.contains(r#""outcome": "submitted""#), "{code} {out}{err}");
    let (_, screen, _) = head.wa(&["screen", "a/0"]);
    assert!(screen.contains("allowed-42"), "{screen}");
    // Once: the same words are held again, and an answer counts no second time.
    assert_eq!(head.wa(&["approve", &id]).0, 4);

    let sending = send("echo denied-$((40 + 2))");
    let id = open_approval(&head)["id"].as_str().unwrap().to_owned();
    let (code, out, err) = head.wa(&["deny", &id]);
    assert!(code == 0 && out.contains("denied"), "{out}{err}");
    let (code, out, _) = sending.end();
    assert!(code == 4 && out.contains(r#""outcome": "refused""#), "{code} {out}");
    assert!(!head.wa(&["screen", "a/0"]).1.contains("denied-42"));
    let (_, all, _) = head.wa(&["approval", "list", "--all", "-o", "wide"]);
    assert!(all.lines().count() == 3 && all.contains("people ask"), "{all}");
    // The policy that is in force says the same beforehand.
    let (code, out, err) = head.wa(&[
        "policy",
        "test",
        "--who",
        "operator:anna",
        "--verb",
        "send",
        "--pane",
        "a/0",
        "--text",
        "x",
    ]);
    assert!(code == 4 && out.contains("ask"), "{out}{err}");
    assert_eq!(head.wa(&["audit", "verify"]).0, 0);
    shell.close(&head);
}

/// What a person runs after an edit says so where the edit is not what answers.
#[test]
fn a_policy_file_that_cannot_be_used_is_told_with_the_answer() {
    const ALLOW: &str = "[[rule]]\nwho = 'operator:*'\ndecision = 'allow'\n";
    let head = Head::start_with(|config, home| {
        let file = home.join("policy.toml");
        std::fs::write(&file, ALLOW).unwrap();
        config.policy = Some(file);
    });
    let test = ["policy", "test", "--who", "operator:anna", "--verb", "send", "--label", "agent=codex"];
    let (code, _, err) = head.wa(&test);
    assert_eq!((code, err.as_str()), (0, ""));
    std::fs::write(head.home.path().join("policy.toml"), ALLOW.replace("operator:*", "operators:*")).unwrap();
    let (code, out, err) = head.wa(&test);
    assert!(code == 0 && out.contains("allow"), "{out}");
    assert!(err.contains("not what has answered") && err.contains("operators:*"), "{err}");
}

#[test]
fn a_refusal_names_the_caller_as_people_do() {
    let head = Head::start();
    let context = head.home.path().join("vic.toml");
    let context = context.to_str().unwrap();
    let (code, _, err) = head.wa(&["fleet", "operator", "add", "vic", "--role", "viewer", "--out", context]);
    assert_eq!(code, 0, "{err}");
    let (code, _, err) = head.wa(&["--context-file", context, "fleet", "token", "web-1"]);
    assert!(code == 4 && err.contains("viewer vic may not do this"), "{code} {err}");
    assert!(!err.contains("spiffe"), "{err}");
}
