//! What happens while people sleep, and what they are asked: limits waited out, dialogs answered by a person's word.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::fs;
use std::time::Duration;

use serde_json::Value;
use wa_tests::{Scene, Stage, wait_for};

const LONG: Duration = Duration::from_secs(30);

fn notices(scene: &Scene) -> Vec<Value> {
    let answer = scene.stage.wa(&["notice", "list", "-o", "json"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    answer.json()["items"].as_array().unwrap().clone()
}

#[test]
fn a_dialog_is_answered_by_its_label_while_it_stands_there() {
    let scene = Scene::with_claude(&["--dialog-after", "2s", "--dialog-after", "20s"]);
    let early = scene.stage.wa(&["approve", &scene.pane]);
    assert!(matches!(early.code, 3 | 4), "there is nothing to approve yet: {early:?}");
    let event = wait_for("the dialog", LONG, || scene.events("approval.requested").pop());
    let offered = event["fields"]["choices"].as_str().unwrap();
    assert!(offered.starts_with("Yes | Yes, and don"), "{offered}");
    let told = wait_for("a notice", LONG, || notices(&scene).pop());
    assert!(told["text"].as_str().unwrap().contains(offered), "{told}");
    // Nothing but what is asked for by name approves more than this once.
    let tried = scene.stage.wa(&["approve", &scene.pane, "--dry-run", "-o", "json"]);
    assert!(tried.json()["reason"].as_str().unwrap().contains("Yes"), "{tried:?}");
    assert_eq!(scene.submitted(), [""; 0]);
    let denied = scene.stage.wa(&["deny", &scene.pane, "-o", "json"]);
    assert_eq!((denied.code, denied.json()["outcome"].as_str()), (0, Some("submitted")), "{denied:?}");
    assert_eq!(scene.submitted(), ["dialog: No"]);
    // The dialog has gone: the same answer goes nowhere.
    scene.wait_state("idle");
    let again = scene.stage.wa(&["deny", &scene.pane, "-o", "json"]);
    assert_eq!((again.code, again.json()["outcome"].as_str()), (4, Some("refused")), "{again:?}");
    // Another one is answered in its turn.
    scene.wait_state("waiting");
    let named = scene.stage.wa(&["approve", &scene.pane, "--choice", offered.split(" | ").nth(1).unwrap()]);
    assert_eq!(named.code, 0, "{named:?}");
    assert_eq!(scene.submitted().len(), 2);
    assert!(scene.submitted()[1].starts_with("dialog: Yes, and don"), "{:?}", scene.submitted());
}

/// The built-in workflow, but for its pauses.
fn impatient(stage: &Stage) -> String {
    let built_in = include_str!("../../controller/workflow/workflows/limit-wait.toml");
    let quick = built_in
        .replace("grace = \"2m\"", "grace = \"1s\"")
        .replace("jitter = \"1m\"", "jitter = \"1s\"")
        .replace("timeout = \"20s\"", "timeout = \"2s\"");
    fs::write(stage.path("limit-wait.toml"), quick).unwrap();
    let config = stage.path("controller.toml");
    fs::write(&config, "workflows = ['limit-wait.toml']\n[[override]]\nvars = { proceed = 'go on' }\n")
        .unwrap();
    config.to_str().unwrap().to_owned()
}

#[test]
fn a_limit_is_waited_out_and_the_agent_goes_on() {
    let stage = Stage::new().unwrap();
    let config = impatient(&stage);
    // Agents print whole minutes: the next one that is at least ten seconds away.
    let reset = wa_link::clock::now() + Duration::from_secs(70);
    let printed = reset.strftime("%-I:%M%P (UTC)").to_string();
    let scene = Scene::with_claude_and(
        stage,
        &["--config", &config],
        &["--turn", "1s", "--limit-after", "8s", "--limit-resets", &printed],
    );
    // A limit that stands there before anything was asked of the agent is an old one.
    scene.wait_state("idle");
    assert_eq!(scene.stage.wa(&["send", &scene.pane, "begin"]).code, 0);
    scene.wait_state("limited");
    let run = wait_for("the run", LONG, || scene.runs().pop());
    assert_eq!((run["workflow"].as_str(), run["state"].as_str()), (Some("limit-wait"), Some("waiting")));
    assert_eq!(scene.submitted(), ["begin"]);
    wait_for("the end of the limit", Duration::from_secs(100), || {
        (scene.runs().first()?["state"] == "succeeded").then_some(())
    });
    let now = wa_link::clock::now();
    assert!(
        now.as_second() >= reset.as_second() - reset.as_second() % 60,
        "told before the limit had lifted"
    );
    assert_eq!(scene.submitted(), ["begin", "go on"], "once");
    let explained = scene.stage.wa(&["run", "explain", run["run"].as_str().unwrap(), "-o", "json"]);
    assert_eq!(explained.json()["inputs"].as_array().unwrap().last().unwrap()["state"], "succeeded");
    assert_eq!(notices(&scene), [Value::Null; 0]);
}
