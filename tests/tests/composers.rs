//! The manners of composers: plain keys answer a dialog at once, Enter too soon behind a burst is a newline, a placeholder is
//! no draft, one Ctrl+C too many leaves. What is typed must come through all of them whole, once, or not at all.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::time::Duration;

use wa_tests::{Scene, Stage, wait_for};

const SOON: Duration = Duration::from_secs(20);
const QUICK: [&str; 2] = ["--turn", "500ms"];

fn codex(args: &[&str]) -> Scene {
    let args: Vec<&str> = QUICK.iter().chain(args).copied().collect();
    let scene = Scene::with_agent(Stage::new().unwrap(), "codex", &[], &args);
    scene.wait_screen("gpt-5.1-codex default");
    scene
}

fn gemini(args: &[&str]) -> Scene {
    let args: Vec<&str> = QUICK.iter().chain(args).copied().collect();
    let scene = Scene::with_agent(Stage::new().unwrap(), "gemini", &[], &args);
    scene.wait_state("idle");
    scene
}

#[test]
fn a_placeholder_is_no_draft_and_an_enter_behind_the_paste_is_no_newline() {
    for scene in [codex(&["--burst", "200ms"]), gemini(&["--burst", "200ms"])] {
        let lines = "first line\nsecond line";
        for text in ["one", lines, "three"] {
            scene.wait_state("idle");
            scene.tell(text);
        }
        assert_eq!(scene.submitted(), ["one", "first line\\nsecond line", "three"]);
    }
}

#[test]
fn an_enter_that_became_a_newline_is_pressed_again() {
    // Slower than the pause that is kept for it: the first Enter lands in the composer.
    let scene = gemini(&["--burst", "400ms"]);
    scene.tell("go on");
    assert_eq!(scene.submitted(), ["newline", "go on"]);
}

#[test]
fn long_pastes_that_are_shown_folded_arrive_whole() {
    let long = "a word and another one ".repeat(60);
    for scene in [codex(&[]), gemini(&[])] {
        scene.wait_state("idle");
        scene.tell(long.trim());
        assert_eq!(scene.submitted(), [long.trim()]);
    }
}

#[test]
fn a_draft_is_left_alone() {
    let scene = codex(&["--draft", "half a thought"]);
    let (outcome, reason) = scene.send("hello");
    assert_eq!(outcome, "refused", "{reason}");
    assert!(reason.contains("draft"), "{reason}");
    assert_eq!(scene.submitted(), [""; 0]);
    assert!(scene.screen().contains("half a thought"));
}

#[test]
fn nothing_is_sent_into_a_dialog_and_nothing_is_entered_when_one_opens() {
    // The text would run the command: its `p` by itself, or its Enter.
    let scene = codex(&["--dialog-turn", "1"]);
    scene.tell("push the branch");
    scene.wait_state("waiting");
    let (outcome, reason) = scene.send("please go on");
    assert_eq!(outcome, "refused", "{reason}");
    assert!(reason.contains("dialog"), "{reason}");
    assert_eq!(scene.submitted(), ["push the branch"]);

    // It opens between the paste and the Enter.
    let scene = codex(&["--dialog-on-paste"]);
    let (outcome, reason) = scene.send("please go on");
    assert_eq!(outcome, "unknown", "{reason}");
    assert!(reason.contains("Enter was not pressed"), "{reason}");
    assert_eq!(scene.submitted(), [""; 0]);
    assert!(scene.screen().contains("Would you like to run the following command?"));
    // The draft comes back under it; nobody types over that either.
    let answer = scene.stage.wa(&["deny", &scene.pane, "-o", "json"]);
    assert_eq!(answer.json()["outcome"], "submitted", "{answer:?}");
    scene.wait_screen("› please go on");
    assert_eq!(scene.send("hello").0, "refused");
    assert_eq!(scene.submitted(), ["dialog: No, and tell Codex what to do differently (esc)"]);
}

#[test]
fn plain_keys_in_a_dialog_act_at_once() {
    let scene = codex(&["--dialog-turn", "1"]);
    scene.tell("push the branch");
    scene.wait_state("waiting");
    let keys = scene.stage.wa(&["keys", &scene.pane, "p", "-o", "json"]);
    assert_eq!(keys.json()["outcome"], "submitted", "{keys:?}");
    assert!(scene.submitted()[1].starts_with("dialog: Yes, and don't ask again"), "{:?}", scene.submitted());
}

#[test]
fn one_ctrl_c_leaves_and_with_a_draft_it_takes_two() {
    let shell = Scene::with_shell_and(Stage::new().unwrap(), &[], &[("SCRIPTED_TURN", "500ms")]);
    let ctrl_c = || {
        let keys = shell.stage.wa(&["keys", &shell.pane, "C-c", "-o", "json"]);
        assert_eq!(keys.json()["outcome"], "submitted", "{keys:?}");
    };
    shell.wait_state("shell");
    shell.tell("codex");
    shell.wait_state("idle");
    shell.tell("hello");
    shell.wait_state("idle");
    let placed = shell.stage.wa(&["send", &shell.pane, "half a thought", "--no-enter", "-o", "json"]);
    assert_eq!(placed.json()["outcome"], "placed", "{placed:?}");
    ctrl_c();
    wait_for("the draft to go", SOON, || (!shell.screen().contains("half a thought")).then_some(()));
    assert_eq!(shell.state().as_deref(), Some("idle"), "the first one only clears");
    ctrl_c();
    shell.wait_state("exited");
    let ended = wait_for("its last words", SOON, || shell.events("session.ended").pop());
    let session = ended["fields"]["session_id"].as_str().unwrap();
    shell.tell(&format!("codex resume {session}"));
    shell.wait_state("idle");
    shell.wait_screen("› hello");
    assert_eq!(shell.submitted(), ["hello"]);
}
