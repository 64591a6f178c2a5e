//! A hook's way up: installed by `wa hooks`, run by an agent in a pane, told as an event; and taken out again.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use wa_tests::{Stage, wait_for};

const SOON: Duration = Duration::from_secs(30);
const SESSION: &str = "b5f6c1c2-1111-2222-3333-444455556666";
/// The user's own settings, which nobody may touch.
const OWN: &str = "{\n  \"model\": \"opus\",\n  \"hooks\": {\"Stop\": [{\"hooks\": [{\"type\": \"command\", \"command\": \"say done\"}]}]}\n}\n";

/// Runs each command that is laid down, as Claude Code does: by a shell of its own, with the JSON on standard input.
const SCRIPT: &str = r#"
echo ready
while :; do
    if [ -e command ]; then
        /bin/sh -c "$(cat command)" < input > output 2>&1
        echo $? > status
        rm command
    fi
    sleep 0.02
done
"#;

/// The commands in a settings file, by event.
fn commands(settings: &Path, event: &str) -> Vec<String> {
    let settings: Value = serde_json::from_str(&fs::read_to_string(settings).unwrap()).unwrap();
    let groups = settings["hooks"][event].as_array().cloned().unwrap_or_default();
    let hooks = groups.iter().flat_map(|group| group["hooks"].as_array().unwrap());
    hooks.map(|hook| hook["command"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_an_agents_hook_says_is_an_event_of_its_pane() {
    let stage = Stage::new().unwrap();
    let home = stage.path("claude-home");
    fs::create_dir(&home).unwrap();
    let settings = home.join("settings.json");
    fs::write(&settings, OWN).unwrap();
    let state = stage.path("node");
    let hooks = |args: &[&str]| {
        let args = [&["hooks"], args, &["--agent", "claude", "-o", "json"]].concat();
        let answer = stage.wa_with(&args, &[("CLAUDE_CONFIG_DIR", &home)]);
        assert_eq!(answer.code, 0, "{answer:?}");
        let items = answer.json()["items"].clone();
        assert_eq!(items.as_array().unwrap().len(), 1, "{items}");
        items[0].clone()
    };
    let state_dir = state.to_str().unwrap();
    assert_eq!(hooks(&["status", "--state-dir", state_dir])["state"], "absent");
    let installed = hooks(&["install", "--state-dir", state_dir]);
    assert_eq!(
        (&installed["state"], &installed["changed"]),
        (&json!("installed"), &json!(true)),
        "{installed}"
    );
    assert_eq!(fs::read_to_string(installed["backup"].as_str().unwrap()).unwrap(), OWN);
    assert_eq!(hooks(&["install", "--state-dir", state_dir])["changed"], false);

    let command = stage.stand_in("claude", SCRIPT, &[("CLAUDE_CONFIG_DIR", &home)]).unwrap();
    let dir = stage.stand_in_dir("claude");
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let _mux = stage.start_mux("80x24", &command).unwrap();
    let _controller = stage.start_controller(&[]).unwrap();
    stage.enroll_node().unwrap();
    let _node = stage.start_node(&[]).unwrap();
    let pane = format!("{}/0", stage.host());
    wait_for("the agent to be known", SOON, || {
        let answer = stage.wa(&["status", &pane, "-o", "json"]);
        (answer.code == 0 && answer.json()["items"][0]["agent"] == "claude").then_some(())
    });

    let run = |event: &str, said: Value| {
        let ours: Vec<_> = commands(&settings, event).into_iter().filter(|c| c != "say done").collect();
        assert_eq!(ours.len(), 1, "{event}: {ours:?}");
        let mut said = said;
        said["session_id"] = json!(SESSION);
        said["hook_event_name"] = json!(event);
        said["cwd"] = json!(dir);
        said["transcript_path"] = json!(home.join(format!("projects/p/{SESSION}.jsonl")));
        fs::write(dir.join("input"), said.to_string()).unwrap();
        fs::write(dir.join("command.new"), &ours[0]).unwrap();
        fs::rename(dir.join("command.new"), dir.join("command")).unwrap();
        wait_for("the hook to end", SOON, || (!dir.join("command").exists()).then_some(()));
        let of = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
        assert_eq!(
            (of("status").as_str(), of("output").as_str()),
            ("0\n", ""),
            "an agent hears nothing of it"
        );
    };
    let event = |kind: &str| {
        wait_for(kind, SOON, || {
            let answer = stage.wa(&["events", &pane, "--event", kind, "-o", "jsonl"]);
            assert_eq!(answer.code, 0, "{answer:?}");
            let all = answer.json_lines();
            assert!(all.len() < 2, "{all:?}");
            all.into_iter().next()
        })
    };
    run("UserPromptSubmit", json!({ "prompt": "a-prompt-that-stays-here" }));
    let started = event("turn.started");
    assert!(started["witnesses"].as_array().unwrap().contains(&json!("hook")), "{started}");
    assert_eq!(started["agent"], "claude", "{started}");
    run(
        "Notification",
        json!({ "notification_type": "permission_prompt", "message": "Claude needs your permission to use Bash" }),
    );
    let asked = event("approval.requested");
    assert_eq!(asked["witnesses"], json!(["hook"]), "{asked}");
    assert_eq!(
        asked["line"], "claude hook Notification: Claude needs your permission to use Bash",
        "{asked}"
    );
    let everything = stage.wa(&["events", "-o", "jsonl"]).stdout;
    assert!(!everything.contains("a-prompt-that-stays-here"), "{everything}");

    assert_eq!(hooks(&["status", "--state-dir", state_dir])["state"], "installed");
    assert_eq!(hooks(&["status", "--state-dir", "/elsewhere"])["state"], "outdated");
    assert_eq!(hooks(&["remove"])["state"], "absent");
    let left: Value = serde_json::from_str(&fs::read_to_string(&settings).unwrap()).unwrap();
    assert_eq!(left, serde_json::from_str::<Value>(OWN).unwrap(), "the user's own are left");
}
