//! What people are asked, and what becomes of their answers: dialogs answered by a person's word.

use std::time::Duration;

use wa_tests::{Scene, wait_for};

const LONG: Duration = Duration::from_secs(30);

#[test]
fn a_dialog_is_answered_by_its_label_while_it_stands_there() {
    let scene = Scene::with_claude(&["--dialog-after", "5s", "--dialog-after", "25s"]);
    let early = scene.stage.wa(&["approve", &scene.pane]);
    assert!(matches!(early.code, 3 | 4), "there is nothing to approve yet: {early:?}");
    let event = wait_for("the dialog", LONG, || scene.events("approval.requested").pop());
    let offered = event["fields"]["choices"].as_str().unwrap();
    assert!(offered.starts_with("Yes | Yes, and don"), "{offered}");
    let told = wait_for("a notice", LONG, || scene.notices().pop());
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
