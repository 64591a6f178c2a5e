//! Usage limits while people sleep: waited out, the agent told to go on once; its dialogs answered by their labels, its own
//! automatic continue left alone. Where that cannot be done, people are told, and the pane stays as it is.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use wa_tests::{Scene, Stage, wait_for};

const SOON: Duration = Duration::from_secs(40);
/// Agents print whole minutes: the next one may be a little more than a minute away.
const MINUTES: Duration = Duration::from_secs(100);

/// The configuration of a controller whose limits are waited out by the built-in workflow, but for its pauses.
fn impatient(stage: &Stage) -> String {
    let built_in = include_str!("../../controller/workflow/workflows/limit-wait.toml");
    let mut quick = built_in.to_owned();
    for (long, short) in [("2m", "1s"), ("1m", "1s"), ("20s", "3s"), ("30m", "3s"), ("45s", "6s")] {
        let before = quick.len();
        quick = quick
            .replace(&format!("grace = \"{long}\""), &format!("grace = \"{short}\""))
            .replace(&format!("jitter = \"{long}\""), &format!("jitter = \"{short}\""))
            .replace(&format!("timeout = \"{long}\""), &format!("timeout = \"{short}\""));
        assert_eq!(before - quick.len(), usize::from(long.len() == 3), "the workflow has changed: {long}");
    }
    fs::write(stage.path("limit-wait.toml"), quick).unwrap();
    let config = stage.path("controller.toml");
    fs::write(&config, "workflows = ['limit-wait.toml']\n[[override]]\nvars = { proceed = 'go on' }\n")
        .unwrap();
    config.to_str().unwrap().to_owned()
}

/// The agent with these arguments, and a controller that is impatient.
fn scene(agent: &str, args: &[&str]) -> Scene {
    let stage = Stage::new().unwrap();
    let config = impatient(&stage);
    let resets = format!("@{}", stage.path("resets").display());
    let resets = ["--limit-resets", &resets];
    let args = if agent == "claude" { [&resets[..], args].concat() } else { args.to_vec() };
    let scene = Scene::with_agent(stage, agent, &["--config", &config], &args);
    scene.wait_state("idle");
    scene
}

/// The first whole minute that is at least so many seconds away.
fn next_minute(seconds: i64) -> Timestamp {
    let soon = wa_link::clock::now() + SignedDuration::from_secs(seconds + 59);
    Timestamp::from_second(soon.as_second().div_euclid(60) * 60).unwrap()
}

fn later(seconds: i64) -> Timestamp {
    wa_link::clock::now() + SignedDuration::from_secs(seconds)
}

/// What Claude Code will say of its limit.
fn lifts_at(scene: &Scene, reset: Timestamp) -> Timestamp {
    fs::write(scene.stage.path("resets"), reset.strftime("%-I:%M%P (UTC)").to_string()).unwrap();
    reset
}

/// Waits until the pane is known to be limited until then.
fn until(scene: &Scene, reset: Timestamp) {
    wait_for(&format!("the reset at {reset}"), SOON, || {
        let answer = scene.stage.wa(&["status", "-o", "json"]);
        let told = answer.json()["items"][0]["state_detail"]["until"].as_str()?.parse::<Timestamp>().ok()?;
        (told.as_second() == reset.as_second()).then_some(())
    });
}

/// What people were told of the waiting. That a dialog stood there they hear from another workflow.
fn told_by_it(scene: &Scene) -> Vec<Value> {
    scene.notices().into_iter().filter(|notice| notice["workflow"] == "limit-wait").collect()
}

/// The run of the workflow, once it is in this state.
fn run_in(scene: &Scene, state: &str, time: Duration) -> Value {
    wait_for(&format!("a run that is {state}"), time, || {
        scene.runs().into_iter().find(|run| run["workflow"] == "limit-wait" && run["state"] == state)
    })
}

#[test]
fn codex_is_told_to_go_on_when_its_limit_has_lifted() {
    let stage = Stage::new().unwrap();
    let config = impatient(&stage);
    let quota = stage.path("quota");
    // A popup opens over the composer: what is typed there would answer it.
    let args = ["--turn", "1s", "--quota", quota.to_str().unwrap(), "--offer", "limit"];
    let scene = Scene::with_agent(stage, "codex", &["--config", &config], &args);
    scene.wait_state("idle");
    let reset = later(8);
    fs::write(&quota, format!(" {reset}\n")).unwrap();
    scene.tell("begin");
    // Its screen tells the minute, its session file the second.
    until(&scene, reset);
    let done = run_in(&scene, "succeeded", SOON);
    assert_eq!(done["reason"], "the limit lifted, and the agent works again");
    let told: Timestamp = done["ended"].as_str().unwrap().parse().unwrap();
    assert!(told >= reset, "told {told}, before {reset}");
    assert_eq!(scene.submitted(), ["begin", "dialog: Keep current model", "go on"]);
    assert_eq!(told_by_it(&scene), [Value::Null; 0]);
}

#[test]
fn gemini_is_stopped_by_the_label_and_told_to_go_on() {
    let stage = Stage::new().unwrap();
    let config = impatient(&stage);
    let (quota, reset) = (stage.path("quota"), next_minute(10));
    fs::write(&quota, format!(" {reset}\n")).unwrap();
    let args = ["--turn", "1s", "--quota", quota.to_str().unwrap()];
    let scene = Scene::with_agent(stage, "gemini", &["--config", &config], &args);
    scene.wait_state("idle");
    scene.tell("begin");
    let waiting = run_in(&scene, "waiting", SOON);
    wait_for("the dialog to be answered", SOON, || (scene.submitted().len() == 2).then_some(()));
    assert_eq!(scene.submitted(), ["begin", "dialog: Stop"], "neither another model nor an upgrade");
    let done = run_in(&scene, "succeeded", MINUTES);
    assert_eq!((&done["run"], &done["actions_done"]), (&waiting["run"], &Value::from(2)));
    assert!(wa_link::clock::now() >= reset, "told before the limit had lifted");
    assert_eq!(scene.submitted(), ["begin", "dialog: Stop", "go on"], "once");
}

#[test]
fn claude_is_stopped_by_the_label_and_told_to_go_on() {
    let scene = scene("claude", &["--turn", "1s", "--limit-after", "2s", "--limit-menu"]);
    scene.tell("begin");
    let reset = lifts_at(&scene, next_minute(10));
    scene.start_timers();
    wait_for("the menu to be answered", SOON, || (scene.submitted().len() == 2).then_some(()));
    let stop = "dialog: Stop and wait for limit to reset";
    assert_eq!(scene.submitted(), ["begin", stop]);
    let done = run_in(&scene, "succeeded", MINUTES);
    assert!(wa_link::clock::now() >= reset, "told before the limit had lifted");
    assert_eq!(scene.submitted(), ["begin", stop, "go on"], "once");
    let explained = scene.stage.wa(&["run", "explain", done["run"].as_str().unwrap(), "-o", "json"]).json();
    assert_eq!(explained["inputs"].as_array().unwrap().last().unwrap()["state"], "succeeded", "{explained}");
    assert_eq!(told_by_it(&scene), [Value::Null; 0]);
}

#[test]
fn claude_that_goes_on_by_itself_is_not_disturbed() {
    let args = ["--release", "2.1.240", "--turn", "3s", "--limit-after", "4s", "--auto-continue", "8s"];
    let scene = scene("claude", &args);
    scene.tell("begin");
    // Long after it goes on by itself.
    lifts_at(&scene, next_minute(45));
    scene.start_timers();
    let reached = wait_for("the limit", SOON, || scene.events("limit.reached").pop());
    assert_eq!(reached["agent"], "claude");
    let done = run_in(&scene, "succeeded", SOON);
    assert_eq!((&done["reason"], &done["actions_done"]), (&"the agent went on by itself".into(), &0.into()));
    // Any key would have ended its waiting.
    assert_eq!(scene.submitted(), ["begin"]);
}

#[test]
fn a_menu_that_cannot_be_answered_safely_is_left_to_a_person() {
    let scene =
        scene("codex", &["--turn", "1s", "--limit-turn", "1", "--limit-for", "5s", "--offer", "permission"]);
    scene.tell("begin");
    let asking = run_in(&scene, "asking", SOON);
    let notice = wait_for("the question", SOON, || {
        scene.notices().into_iter().find(|notice| notice["run"] == asking["run"])
    });
    assert!(notice["text"].as_str().unwrap().contains("cannot be answered safely"), "{notice}");
    assert_eq!((asking["actions_done"].as_u64(), scene.state().as_deref()), (Some(0), Some("waiting")));
    assert_eq!(scene.submitted(), ["begin"], "nothing was chosen");
    // A person sees to it.
    assert_eq!(scene.stage.wa(&["deny", &scene.pane]).code, 0);
    let answer = scene.stage.wa(&["notice", "answer", &notice["id"].to_string(), "done"]);
    assert_eq!(answer.code, 0, "{answer:?} {notice}");
    assert_eq!(run_in(&scene, "succeeded", SOON)["reason"], "left to a person");
}

#[test]
fn a_limit_that_has_not_lifted_after_all_is_waited_for_anew() {
    let stage = Stage::new().unwrap();
    let config = impatient(&stage);
    let quota = stage.path("quota");
    let args = ["--turn", "1s", "--quota", quota.to_str().unwrap()];
    let scene = Scene::with_agent(stage, "codex", &["--config", &config], &args);
    scene.wait_state("idle");
    fs::write(&quota, format!(" {}\n", later(6))).unwrap();
    scene.tell("begin");
    wait_for("the limit", SOON, || scene.events("limit.reached").pop());
    // The provider changes its mind after it told the reset.
    let reset = later(3600);
    fs::write(&quota, format!(" {reset}\n")).unwrap();
    wait_for("another limit", SOON, || (scene.events("limit.reached").len() == 2).then_some(()));
    // The file says once that a window is used up; the screen tells the minute.
    until(&scene, Timestamp::from_second(reset.as_second() / 60 * 60).unwrap());
    wait_for("the next run to wait", SOON, || {
        let runs = scene.runs();
        (runs.len() == 2 && runs[0]["state"] == "waiting" && runs[0]["step"] == "reset").then_some(())
    });
    assert_eq!(scene.submitted(), ["begin", "go on"], "and not again");
    assert_eq!(scene.state().as_deref(), Some("limited"));
    // The first does not say that the limit lifted, and people hear of it.
    assert_eq!(scene.runs()[1]["reason"], "the limit had not lifted: the agent met it again");
    let told = told_by_it(&scene);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0]["text"].as_str().unwrap().contains("met its limit again"), "{told:?}");
}

#[test]
fn a_draft_that_somebody_left_is_not_typed_over_when_the_limit_lifts() {
    let scene = scene("codex", &["--turn", "1s", "--limit-turn", "1", "--limit-for", "12s"]);
    scene.tell("begin");
    run_in(&scene, "waiting", SOON);
    let placed = scene.stage.wa(&["send", &scene.pane, "half a thought", "--no-enter", "-o", "json"]);
    assert_eq!(placed.json()["outcome"], "placed", "{placed:?}");
    let asking = run_in(&scene, "asking", SOON);
    let notice = wait_for("the question", SOON, || told_by_it(&scene).pop());
    assert!(notice["text"].as_str().unwrap().contains("not certain"), "{notice}");
    assert_eq!((&notice["run"], asking["actions_done"].as_u64()), (&asking["run"], Some(0)));
    assert_eq!(scene.submitted(), ["begin"]);
    assert!(scene.screen().contains("› half a thought"));
    assert_eq!(scene.stage.wa(&["run", "cancel", asking["run"].as_str().unwrap()]).code, 0);
    run_in(&scene, "cancelled", SOON);
}
/// Whether a session file below this directory says that a window is used up.
fn is_used_up(dir: &Path) -> bool {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
        true => is_used_up(&entry.path()),
        false => fs::read_to_string(entry.path()).is_ok_and(|text| text.contains("\"used_percent\":100")),
    })
}

/// The limit came while no node was there, and the one that comes has never seen the pane.
#[test]
fn a_limit_that_stands_there_when_the_node_comes_is_waited_out_all_the_same() {
    let stage = Stage::new().unwrap();
    let config = impatient(&stage);
    let (quota, reset) = (stage.path("quota"), later(25));
    let args = ["--turn", "5s", "--quota", quota.to_str().unwrap()];
    let mut scene = Scene::with_agent(stage, "codex", &["--config", &config], &args);
    let begun = Instant::now();
    scene.wait_state("idle");
    fs::write(&quota, format!(" {reset}\n")).unwrap();
    scene.tell("begin");
    scene.node.take().unwrap().kill();
    fs::remove_dir_all(scene.stage.path("node/spool")).unwrap();
    wait_for("the limit in the session file", SOON, || is_used_up(&scene.stage.path("home")).then_some(()));
    assert_eq!(scene.events("limit.reached"), [Value::Null; 0]);
    // What has begun in a pane just now may show an old session.
    wait_for("the agent to be older than the node", SOON, || {
        (begun.elapsed() > Duration::from_secs(5)).then_some(())
    });
    scene.node = Some(scene.stage.start_node(&[]).unwrap());
    // A clock without a date may be of another day; whoever knows better says so.
    let run =
        wait_for("a run", SOON, || scene.runs().into_iter().find(|run| run["workflow"] == "limit-wait"));
    wait_for("the limit to lift, or a question", MINUTES, || {
        let run = scene.runs().into_iter().find(|other| other["run"] == run["run"]).unwrap();
        match run["state"].as_str().unwrap() {
            "asking" => {
                let notice = told_by_it(&scene).pop()?;
                let answer = scene.stage.wa(&["notice", "answer", &notice["id"].to_string(), "proceed"]);
                assert_eq!(answer.code, 0, "{answer:?} {notice}");
                None
            }
            "succeeded" => Some(()),
            _ => None,
        }
    });
    assert_eq!(scene.events("limit.reached").len(), 1);
    assert_eq!(scene.submitted(), ["begin", "go on"], "once");
}
