//! An agent crashes: its session is resumed where it was, in a new pane where the old one went with it, and not for ever.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::fs;
use std::time::Duration;

use serde_json::Value;
use wa_tests::{Scene, Stage, wait_for};

const LONG: Duration = Duration::from_secs(60);
/// As the built-in workflow has it.
const BUDGET: usize = 3;

/// A configuration that turns the workflow on.
fn turned_on(stage: &Stage) -> String {
    let config = stage.path("controller.toml");
    fs::write(&config, "enable_workflows = ['crash-resume']\n").unwrap();
    config.to_str().unwrap().to_owned()
}

/// Runs of the workflow that are over, the latest first.
fn over(scene: &Scene) -> Vec<Value> {
    let of_it = |run: &Value| run["workflow"] == "crash-resume" && !run["ended"].is_null();
    scene.runs().into_iter().filter(of_it).collect()
}

fn wait_over(scene: &Scene, count: usize) -> Value {
    wait_for(&format!("{count} run(s) to be over"), LONG, || {
        let runs = over(scene);
        (runs.len() == count).then(|| runs[0].clone())
    })
}

fn status(scene: &Scene, pane: &str) -> Option<Value> {
    let answer = scene.stage.wa(&["status", "-o", "json"]);
    let panes = answer.json();
    panes["items"].as_array().unwrap().iter().find(|item| item["pane"] == pane).cloned()
}

/// In the middle of a turn: one that goes while it is idle may have been told to.
fn crash_at_work(scene: &Scene, prompt: &str) {
    scene.tell(prompt);
    scene.wait_state("working");
    // With its first turn it begins a session file.
    wait_for("its session", LONG, || {
        status(scene, &scene.pane).filter(|pane| pane["session_id"].is_string())
    });
    scene.kill_agent("codex");
}

const LONG_TURN: [(&str, &str); 1] = [("SCRIPTED_TURN", "30s")];

#[test]
fn a_crashed_agent_is_resumed_in_its_pane_until_its_budget_is_used_up() {
    let stage = Stage::new().unwrap();
    let config = turned_on(&stage);
    let scene = Scene::with_shell_and(stage, &["--config", &config], &LONG_TURN);
    scene.wait_state("shell");
    scene.tell("codex");
    scene.wait_state("idle");
    let mut session = Value::Null;
    for (crash, prompt) in (1..=BUDGET).zip(["one", "two", "three"]) {
        crash_at_work(&scene, prompt);
        let run = wait_over(&scene, crash);
        let explained = scene.stage.wa(&["run", "explain", run["run"].as_str().unwrap()]).stdout;
        assert_eq!(run["state"], "succeeded", "{run}\n{explained}");
        assert_eq!(run["reason"], "the session was resumed in its pane");
        scene.wait_state("idle");
        scene.wait_screen(&format!("› {prompt}"));
        let resumed = status(&scene, &scene.pane).unwrap()["session_id"].clone();
        assert!(resumed.is_string() && (crash == 1 || resumed == session), "{resumed}, after {session}");
        session = resumed;
    }
    // Enough: the shell is left as it is.
    crash_at_work(&scene, "four");
    let crashes = || scene.events("agent.crashed").len();
    wait_for("the last crash to be told", LONG, || (crashes() == BUDGET + 1).then_some(()));
    scene.tell("echo still here");
    scene.wait_screen("still here");
    assert_eq!(over(&scene).len(), BUDGET);
    assert_eq!(scene.submitted(), ["one", "two", "three", "four"]);
}

/// Opens panes for the workflow: a host does not let it unless its own policy says so.
fn may_spawn(stage: &Stage) {
    let policy = stage.path("node/policy.toml");
    let rules = fs::read_to_string(&policy).unwrap();
    let spawns =
        "[[rule]]\nwho = ['workflow:crash-resume']\nverbs = ['spawn']\npanes = ['*']\ndecision = 'allow'\n\n";
    fs::write(&policy, format!("{spawns}{rules}")).unwrap();
}

/// The agent works on its first prompt, and has a session.
fn begin(scene: &Scene) -> Value {
    scene.wait_state("idle");
    may_spawn(&scene.stage);
    scene.tell("begin");
    scene.wait_state("working");
    wait_for("its session", LONG, || status(scene, &scene.pane).filter(|pane| pane["session_id"].is_string()))
}

fn is_resumed_in_a_new_pane(scene: &Scene, before: &Value) {
    let run = wait_over(scene, 1);
    let explained = scene.stage.wa(&["run", "explain", run["run"].as_str().unwrap()]).stdout;
    assert_eq!(run["state"], "succeeded", "{run}\n{explained}");
    assert_eq!(run["reason"], "the session was resumed in a new pane");
    let new = format!("{}/1", scene.stage.host());
    let after = wait_for("the new pane", LONG, || {
        status(scene, &new).filter(|pane| pane["state"] == "idle" && pane["session_id"].is_string())
    });
    for same in ["agent", "session_id", "cwd"] {
        assert_eq!(after[same], before[same], "{same}: {after}");
    }
    let told = scene.notices().into_iter().find(|notice| notice["run"] == run["run"]).unwrap();
    assert!(told["text"].as_str().unwrap().contains("in a new one"), "{told}");
    assert_eq!(scene.submitted(), ["begin"]);
}

#[test]
fn an_agent_whose_pane_goes_after_its_crash_is_resumed_in_a_new_one() {
    let stage = Stage::new().unwrap();
    let config = turned_on(&stage);
    let scene = Scene::with_passing_pane(stage, "codex", &["--config", &config], &LONG_TURN);
    let before = begin(&scene);
    scene.kill_agent("codex");
    is_resumed_in_a_new_pane(&scene, &before);
}

/// Nothing of the pane is left by the time that anybody hears of it.
#[test]
fn an_agent_whose_pane_goes_with_it_is_resumed_in_a_new_one() {
    let stage = Stage::new().unwrap();
    let config = turned_on(&stage);
    let scene = Scene::with_pane_of_its_own(stage, "codex", &["--config", &config], &LONG_TURN);
    let before = begin(&scene);
    scene.kill_agent("codex");
    is_resumed_in_a_new_pane(&scene, &before);
    let crashes = scene.events("agent.crashed");
    assert_eq!((crashes.len(), &crashes[0]["fields"]["session_id"]), (1, &before["session_id"]));
}

#[test]
fn a_pane_that_a_person_closes_stays_closed() {
    let stage = Stage::new().unwrap();
    let config = turned_on(&stage);
    let scene = Scene::with_pane_of_its_own(stage, "codex", &["--config", &config], &LONG_TURN);
    begin(&scene);
    let killed = scene.stage.wa(&["kill", &scene.pane]);
    assert_eq!(killed.code, 0, "{killed:?}");
    wait_for("the pane to go", LONG, || status(&scene, &scene.pane).is_none().then_some(()));
    // What comes after it in the log has come: nothing was told before.
    let opened = scene.stage.wa(&["spawn", scene.stage.host(), "--", "sh", "-c", "printf '\\a'; sleep 1"]);
    assert_eq!(opened.code, 0, "{opened:?}");
    wait_for("a later event", LONG, || scene.events("bell").pop());
    assert_eq!((scene.events("agent.crashed"), over(&scene)), (vec![], vec![]));
}

#[test]
fn a_session_that_cannot_be_resumed_is_told() {
    let stage = Stage::new().unwrap();
    let config = turned_on(&stage);
    let built_in = include_str!("../../controller/workflow/workflows/crash-resume.toml");
    fs::write(stage.path("crash-resume.toml"), built_in.replace("timeout = \"1m\"", "timeout = \"5s\""))
        .unwrap();
    fs::write(&config, "workflows = ['crash-resume.toml']\nenable_workflows = ['crash-resume']\n").unwrap();
    let scene = Scene::with_shell_and(stage, &["--config", &config], &LONG_TURN);
    scene.wait_state("shell");
    scene.tell("codex");
    scene.wait_state("idle");
    // An upgrade that goes wrong.
    fs::remove_file(scene.stage.path("bin/codex")).unwrap();
    crash_at_work(&scene, "begin");
    let run = wait_over(&scene, 1);
    assert_eq!(run["state"], "failed", "{run}");
    let told = scene.notices().into_iter().find(|notice| notice["run"] == run["run"]).unwrap();
    assert_eq!(told["level"], "error", "{told}");
    scene.wait_screen("No such file or directory");
    scene.tell("echo still here");
    scene.wait_screen("still here");
    assert_eq!(scene.submitted(), ["begin"]);
}
