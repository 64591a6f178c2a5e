//! A keystroke's way down: an agent's compaction answered by the built-in workflow, `wa send`, and what stops them.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use serde_json::Value;
use wa_tests::{Scene, binary, wait_for};

const REREAD: &str = "Reread AGENTS.md so it's fresh in your mind.";

#[test]
fn a_compaction_is_answered_once() {
    let scene = Scene::with_claude(&["--compact-after", "3s"]);
    scene.wait_run(1, "succeeded");
    assert_eq!(scene.submitted(), [REREAD]);
    let events = scene.events("context.compacted");
    assert_eq!(events.len(), 1, "{events:?}");
    let witnesses: Vec<_> =
        events[0]["witnesses"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(witnesses.contains(&"screen") && witnesses.contains(&"process"), "{witnesses:?}");
    scene.wait_state("idle");
    assert_eq!(scene.submitted(), [REREAD], "and not again");
}

#[test]
fn two_compactions_with_identical_screens_are_answered_twice() {
    let scene = Scene::with_claude(&["--compact-after", "3s", "--compact-after", "12s"]);
    scene.wait_run(2, "succeeded");
    assert_eq!(scene.submitted(), [REREAD, REREAD]);
    assert_eq!(scene.events("context.compacted").len(), 2);
}

#[test]
fn a_compaction_that_is_drawn_again_is_not_another_one() {
    let scene = Scene::with_claude(&["--compact-after", "3s"]);
    scene.wait_run(1, "succeeded");
    for (cols, rows) in [(80, 24), (60, 30), (120, 40)] {
        scene.stage.resize_pane(0, cols, rows).unwrap();
        wait_for("the new size", Duration::from_secs(20), || {
            let screen = scene.stage.wa(&["screen", &scene.pane, "-o", "json"]);
            (screen.code == 0 && screen.json()["cols"] == cols).then_some(())
        });
        scene.wait_state("idle");
    }
    // One more turn: whatever the redrawing has set off would have come before its end.
    assert_eq!(scene.stage.wa(&["send", &scene.pane, "hello"]).code, 0);
    wait_for("the prompt", Duration::from_secs(20), || (scene.submitted().len() == 2).then_some(()));
    scene.wait_state("idle");
    assert_eq!(scene.submitted(), [REREAD, "hello"]);
    assert_eq!((scene.events("context.compacted").len(), scene.runs().len()), (1, 1));
}

#[test]
fn a_node_killed_between_paste_and_enter_leaves_an_unknown_and_types_no_more() {
    let mut scene = Scene::with_claude(&["--compact-after", "3s", "--swallow-enter", "1000"]);
    wait_for("the text in the composer", Duration::from_secs(30), || {
        let screen = scene.stage.wa(&["screen", &scene.pane]);
        screen.stdout.contains(REREAD).then_some(())
    });
    scene.node.take().unwrap().kill();
    scene.node = Some(scene.stage.start_node(&[]).unwrap());
    scene.wait_run(1, "unknown");
    assert_eq!(scene.submitted(), Vec::<String>::new());
    // The restarted node may have told the outcome before it has seen the pane again.
    let screen = wait_for("the screen", Duration::from_secs(20), || {
        let screen = scene.stage.wa(&["screen", &scene.pane]);
        (screen.code == 0).then_some(screen.stdout)
    });
    assert_eq!(screen.matches(REREAD).count(), 1, "pasted once: {screen}");
}

#[test]
fn a_draft_stops_the_typing() {
    let scene = Scene::with_claude(&["--draft", "half a thought"]);
    scene.wait_state("idle");
    let refused = scene.stage.wa(&["send", &scene.pane, "hello", "-o", "json"]);
    assert_eq!((refused.code, refused.json()["outcome"].as_str()), (4, Some("refused")), "{refused:?}");
    assert!(refused.json()["reason"].as_str().unwrap().contains("draft"), "{refused:?}");
    assert_eq!(scene.submitted(), Vec::<String>::new());
}

#[test]
fn what_is_sent_to_an_agent_arrives_whole_and_once() {
    let scene = Scene::with_claude(&[]);
    scene.wait_state("idle");
    let text = "first line\nsecond line";
    let sent = scene.stage.wa(&["send", &scene.pane, text, "-o", "json"]);
    assert_eq!((sent.code, sent.json()["outcome"].as_str()), (0, Some("submitted")), "{sent:?}");
    assert_eq!(scene.submitted(), [text.replace('\n', "\\n")]);
}

#[test]
fn a_shell_gets_what_is_sent_and_nothing_while_paused() {
    let scene = Scene::with_shell();
    scene.wait_state("shell");
    let mark = scene.stage.path("mark");
    let command = format!("echo typed > {}", mark.display());

    let paused = scene.stage.wa(&["pause", &scene.pane]);
    assert_eq!(paused.code, 0, "{paused:?}");
    let refused = scene.stage.wa(&["send", &scene.pane, &command, "-o", "json"]);
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(refused.json()["reason"].as_str().unwrap().contains("pause"), "{refused:?}");
    assert!(!mark.exists());

    assert_eq!(scene.stage.wa(&["unpause", &scene.pane]).code, 0);
    let sent = scene.stage.wa(&["send", &scene.pane, &command, "-o", "json"]);
    assert_eq!((sent.code, sent.json()["outcome"].as_str()), (0, Some("submitted")), "{sent:?}");
    wait_for("the command to run", Duration::from_secs(10), || mark.exists().then_some(()));

    let keys = scene.stage.wa(&["keys", &scene.pane, "l", "s", "-o", "json"]);
    assert_eq!((keys.code, keys.json()["outcome"].as_str()), (0, Some("submitted")), "{keys:?}");
    let newline = scene.stage.wa(&["send", &scene.pane, "a\nb"]);
    assert_eq!(newline.code, 4, "text with a newline goes only into a composer: {newline:?}");
}

#[test]
fn waiting_ends_when_the_state_holds_and_times_out_with_its_own_code() {
    let scene = Scene::with_claude(&["--compact-after", "4s"]);
    wait_for("the pane", Duration::from_secs(20), || scene.state());
    let idle = scene.stage.wa(&["wait", &scene.pane, "--for", "idle", "--timeout", "30s", "-o", "json"]);
    assert_eq!((idle.code, idle.json()["state"].as_str()), (0, Some("idle")), "{idle:?}");
    let event = scene.stage.wa(&[
        "wait",
        &scene.pane,
        "--for",
        "context.compacted",
        "--since",
        "1h",
        "--timeout",
        "30s",
        "-o",
        "json",
    ]);
    assert_eq!((event.code, event.json()["event"].as_str()), (0, Some("context.compacted")), "{event:?}");
    let never = scene.stage.wa(&["wait", &scene.pane, "--for", "crashed", "--timeout", "1s"]);
    assert_eq!(never.code, 5, "{never:?}");
    let unknown = scene.stage.wa(&["wait", &scene.pane, "--for", "happy"]);
    assert_eq!(unknown.code, 2, "{unknown:?}");
}

#[test]
fn a_command_that_prints_nothing_gets_no_second_enter() {
    let scene = Scene::with_shell();
    scene.wait_state("shell");
    // `read` would take a stray Enter for its line, and say so.
    let got = scene.stage.path("got");
    let command = format!("sleep 4; IFS= read -r line; echo \"got:$line\" > {}", got.display());
    let sent = scene.stage.wa(&["send", &scene.pane, &command, "-o", "json"]);
    assert_eq!((sent.code, sent.json()["outcome"].as_str()), (0, Some("submitted")), "{sent:?}");
    let typed = scene.stage.wa(&["keys", &scene.pane, "x", "Enter", "-o", "json"]);
    assert_eq!(typed.code, 0, "{typed:?}");
    wait_for("the line", Duration::from_secs(20), || got.exists().then_some(()));
    wait_for("its text", Duration::from_secs(5), || {
        let text = fs::read_to_string(&got).unwrap();
        (!text.is_empty()).then(|| assert_eq!(text, "got:x\n"))
    });
}

#[test]
fn an_agent_that_is_told_to_leave_has_taken_it() {
    let scene = Scene::with_shell();
    scene.wait_state("shell");
    let claude = scene.stage.path("claude");
    symlink(binary("wa-demo-agent"), &claude).unwrap();
    let started = scene.stage.wa(&["send", &scene.pane, &claude.display().to_string(), "-o", "json"]);
    assert_eq!((started.code, started.json()["outcome"].as_str()), (0, Some("submitted")), "{started:?}");
    scene.wait_state("idle");
    let left = scene.stage.wa(&["send", &scene.pane, "/exit", "-o", "json"]);
    assert_eq!((left.code, left.json()["outcome"].as_str()), (0, Some("submitted")), "{left:?}");
    scene.wait_state("exited");
}
