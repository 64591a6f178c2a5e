//! The controller's policy with real programs: what an agent asks for waits for a person, and is bound to what its pane
//! showed then.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::fs;
use std::time::Duration;

use wa_tests::{Answer, Scene, Stage, wait_for};

const SOON: Duration = Duration::from_secs(30);

const POLICY: &str = "[[rule]]\nname = 'agents ask'\nwho = 'agent:*'\nverbs = 'send'\ndecision = 'ask'\n\
                      [[rule]]\nwho = 'operator:*'\ntext = 'rm -rf'\ndecision = 'deny'\n\
                      [[rule]]\nwho = 'operator:*'\ndecision = 'allow'\n";
/// Of the host.
const HOST_POLICY: &str =
    "[[rule]]\nwho = ['operator:*', 'agent:*']\nverbs = ['send', 'keys', 'kill']\ndecision = 'allow'\n";

/// As an agent in a pane of the host.
fn as_agent(scene: &Scene, args: &[&str]) -> Answer {
    let context = scene.stage.path("node/agent.context.toml");
    scene.stage.wa_with(args, &[("WA_CONTEXT_FILE", &context)])
}

/// An agent's send that nobody has answered within its time, and of which people were told.
fn held(scene: &Scene, text: &str, id: &str) {
    let sent = as_agent(scene, &["send", &scene.pane, text, "--timeout", "1s", "-o", "json"]);
    assert_eq!((sent.code, sent.json()["outcome"].as_str()), (5, Some("unknown")), "{sent:?}");
    assert!(sent.json()["reason"].as_str().unwrap().contains(&format!("`wa approve {id}`")), "{sent:?}");
    wait_for("a notice", SOON, || {
        let newest = scene.notices().into_iter().next()?;
        newest["text"].as_str()?.contains(&format!("`wa approve {id}`")).then_some(())
    });
}

#[test]
fn what_an_agent_asks_for_waits_for_a_person() {
    let stage = Stage::new().unwrap();
    let policy = stage.path("policy.toml");
    fs::write(&policy, POLICY).unwrap();
    let scene = Scene::with_claude_and(stage, &["--policy", policy.to_str().unwrap()], &["--turn", "500ms"]);
    fs::write(scene.stage.path("node/policy.toml"), HOST_POLICY).unwrap();
    scene.wait_state("idle");

    held(&scene, "first", "approval-1");
    assert_eq!(scene.submitted(), [""; 0], "nothing is typed before somebody has looked");
    let own = as_agent(&scene, &["approve", "approval-1"]);
    assert_eq!(own.code, 4, "an agent approves nothing: {own:?}");
    let approved = scene.stage.wa(&["approve", "approval-1"]);
    assert_eq!(approved.code, 0, "{approved:?}");
    assert_eq!(scene.submitted(), ["first"]);
    let again = scene.stage.wa(&["approve", "approval-1"]);
    assert_eq!(again.code, 4, "{again:?}");

    // The screen goes on without it: what was asked for is void.
    scene.wait_state("idle");
    held(&scene, "second", "approval-2");
    scene.tell("something else");
    let late = scene.stage.wa(&["approve", "approval-2"]);
    assert_eq!(late.code, 4, "{late:?}");
    assert!(late.stderr.contains("does not show what it showed"), "{late:?}");

    scene.wait_state("idle");
    held(&scene, "third", "approval-3");
    assert_eq!(scene.stage.wa(&["deny", "approval-3"]).code, 0);
    let (outcome, reason) = scene.send("rm -rf /");
    assert_eq!(outcome, "refused");
    assert!(reason.contains("rule 2 of the controller's policy denies"), "{reason}");
    assert_eq!(scene.submitted(), ["first", "something else"]);

    let verified = scene.stage.wa(&["audit", "verify"]);
    assert_eq!(verified.code, 0, "{verified:?}");
    let rows = scene.stage.wa(&["audit", "--who", "agent:stage", "--target", &scene.pane, "-o", "jsonl"]);
    let decisions: Vec<String> = rows
        .json_lines()
        .iter()
        .filter_map(|row| Some(row["decision"].as_str()?.to_owned()).filter(|_| row["what"] == "send"))
        .collect();
    assert_eq!(decisions, ["held", "queued", "submitted", "held", "held"], "{rows:?}");
}
