//! A conversation's way up: from an agent's own session file and its screen to `wa logs --conversation`, with node and
//! controller killed on the way.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use wa_tests::{Stage, wait_for};

const SESSION: &str = "01a2024a-71a8-7241-9bb6-7a708ac3dfed";
const SOON: Duration = Duration::from_secs(30);

/// What is asked, what is answered, and what only the screen shows. The second answer takes several rows.
const TURNS: [(&str, &str, &str); 4] = [
    ("find the flaky test", "I will look at the tests first.", "note: the network was slow for round-one"),
    (
        "is it the parser?",
        "No. The parser is deterministic: it reads the whole file before it cuts it into lines, and none of its \
         tests looks at a clock. What fails once in a while is the test of the timer, which sleeps for two milliseconds.",
        "note: the network was slow for round-two",
    ),
    ("mend it then", "Done: it waits for the condition now.", "note: the network was slow for round-three"),
    ("thank you", "You are welcome.", "note: the network was slow for round-four"),
];

/// Plays a turn when its file appears: first the session file, then the screen.
const SCRIPT: &str = r#"
day="$CODEX_HOME/sessions/$(date +%Y/%m/%d)"
mkdir -p "$day"
file="$day/rollout-$(date +%Y-%m-%dT%H-%M-%S)-$SESSION.jsonl"
for turn in 0 1 2 3; do
    until [ -e go.$turn ]; do sleep 0.02; done
    sed "s/@NOW@/$(date -u +%Y-%m-%dT%H:%M:%S.%3NZ)/" $turn.jsonl >> "$file"
    cat $turn.screen
    : > done.$turn
done
read -r never
"#;

fn line(kind: &str, payload: Value) -> String {
    json!({ "timestamp": "@NOW@", "type": kind, "payload": payload }).to_string() + "\n"
}

/// The lines that Codex appends for a turn, each message twice as it does.
fn session_file(stage: &Stage, turn: usize) -> String {
    let (asked, answered, _) = TURNS[turn];
    let cwd = stage.stand_in_dir("codex");
    let mut text = String::new();
    if turn == 0 {
        text += &line(
            "session_meta",
            json!({ "id": SESSION, "timestamp": "@NOW@", "cwd": cwd, "originator": "codex-tui",
                    "cli_version": "0.144.0", "source": "cli" }),
        );
    }
    let message = |role: &str, kind: &str, text: &str| json!({ "type": "message", "role": role, "content": [{ "type": kind, "text": text }] });
    let window = |percent: f64, minutes: u32, resets: u64| json!({ "used_percent": percent, "window_minutes": minutes, "resets_at": resets });
    let used = 1200 * (turn as u64 + 1);
    let tokens = json!({ "input_tokens": used, "cached_input_tokens": 1000, "output_tokens": 90,
                         "reasoning_output_tokens": 20, "total_tokens": used + 90 });
    text += &line("event_msg", json!({ "type": "task_started", "model_context_window": 258_400 }));
    text += &line("turn_context", json!({ "cwd": cwd, "model": "gpt-5.1-codex" }));
    text += &line("response_item", message("user", "input_text", asked));
    text += &line("event_msg", json!({ "type": "user_message", "message": asked, "images": [] }));
    text += &line("event_msg", json!({ "type": "agent_message", "message": answered }));
    text += &line("response_item", message("assistant", "output_text", answered));
    text += &line(
        "event_msg",
        json!({ "type": "token_count",
                "info": { "total_token_usage": tokens, "last_token_usage": tokens, "model_context_window": 258_400 },
                "rate_limits": { "primary": window(12.5, 300, 4_102_444_800), "secondary": window(5.0, 10_080, 4_102_500_000) } }),
    );
    text + &line("event_msg", json!({ "type": "task_complete", "last_agent_message": answered }))
}

/// As Codex draws it: wrapped at words, under its own margin.
fn screen(turn: usize) -> String {
    let (asked, answered, note) = TURNS[turn];
    let mut rows = vec![String::new()];
    for word in answered.split(' ') {
        let row = rows.last_mut().unwrap();
        if row.len() + word.len() > 74 {
            rows.push(word.to_owned());
        } else {
            row.push_str(if row.is_empty() { "" } else { " " });
            row.push_str(word);
        }
    }
    format!("› {asked}\n\n• {}\n\n{note}\n\n", rows.join("\n  "))
}

fn conversation(stage: &Stage, pane: &str) -> Vec<Value> {
    let answer = stage.wa(&["logs", pane, "--conversation", "-o", "jsonl"]);
    if answer.code == 0 { answer.json_lines() } else { Vec::new() }
}

/// The message or the line of an entry, as one text.
fn words(entry: &Value) -> Option<String> {
    let message = &entry["message"];
    match message["role"].as_str() {
        Some(role) => Some(format!("{role}: {}", message["text"].as_str().unwrap())),
        None => {
            entry["text"].as_str().filter(|text| !text.trim().is_empty()).map(|text| text.trim().to_owned())
        }
    }
}

fn expected(turns: usize) -> Vec<String> {
    let said = |(asked, answered, note): &(&str, &str, &str)| {
        [format!("user: {asked}"), format!("assistant: {answered}"), (*note).to_owned()]
    };
    TURNS[..turns].iter().flat_map(said).collect()
}

#[test]
fn a_conversation_is_told_once_though_node_and_controller_are_killed() {
    let stage = Stage::new().unwrap();
    let home = stage.path("codex-home");
    let command =
        stage.stand_in("codex", SCRIPT, &[("CODEX_HOME", &home), ("SESSION", SESSION.as_ref())]).unwrap();
    let dir = stage.stand_in_dir("codex");
    for turn in 0..TURNS.len() {
        fs::write(dir.join(format!("{turn}.jsonl")), session_file(&stage, turn)).unwrap();
        fs::write(dir.join(format!("{turn}.screen")), screen(turn)).unwrap();
    }
    let go = |turn: usize| fs::write(dir.join(format!("go.{turn}")), "").unwrap();
    let played = |turn: usize| {
        wait_for("the turn to be played", SOON, || dir.join(format!("done.{turn}")).exists().then_some(()));
    };
    let told = |stage: &Stage, pane: &str, turns: usize| {
        wait_for("the turn in the conversation", SOON, || {
            let said: Vec<String> = conversation(stage, pane).iter().filter_map(words).collect();
            let last = expected(turns).split_off(3 * turns - 3);
            last.iter().all(|one| said.contains(one)).then_some(())
        });
    };
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let _mux = stage.start_mux("80x24", &command).unwrap();
    let controller = stage.start_controller(&[]).unwrap();
    stage.enroll_node().unwrap();
    let node = stage.start_node(&[]).unwrap();
    let pane = format!("{}/0", stage.host());
    wait_for("the agent to be known", SOON, || {
        let answer = stage.wa(&["status", &pane, "-o", "json"]);
        (answer.code == 0 && answer.stdout.contains("\"codex\"")).then_some(())
    });

    go(0);
    told(&stage, &pane, 1);
    check_shown(&stage, &pane);

    // The node dies, and the agent goes on.
    node.kill();
    go(1);
    played(1);
    let node = stage.start_node(&[]).unwrap();
    told(&stage, &pane, 2);

    controller.kill();
    go(2);
    played(2);
    let controller = stage.start_controller(&[]).unwrap();
    told(&stage, &pane, 3);

    // Both at once.
    go(3);
    node.kill();
    controller.kill();
    played(3);
    let _controller = stage.start_controller(&[]).unwrap();
    let _node = stage.start_node(&[]).unwrap();
    told(&stage, &pane, 4);

    let entries = conversation(&stage, &pane);
    let said: Vec<String> = entries.iter().filter_map(words).collect();
    assert_eq!(said, expected(4), "each once and in order, and no row twice that a message has");
    assert!(entries.iter().all(|entry| entry.get("gap").is_none()), "{entries:?}");
    let skipped: u64 = entries.iter().filter_map(|entry| entry["message"]["skipped_bytes"].as_u64()).sum();
    assert_eq!(skipped, 0, "{entries:?}");
}

/// What `wa show` says of the session file.
fn check_shown(stage: &Stage, pane: &str) {
    let session = wait_for("the session in wa show", SOON, || {
        let answer = stage.wa(&["show", pane, "-o", "json"]);
        assert_eq!(answer.code, 0, "{answer:?}");
        let session = answer.json()["session"].clone();
        (!session["rate_limits"].as_array()?.is_empty()).then_some(session)
    });
    let path = session["path"].as_str().unwrap();
    assert!(path.starts_with(stage.path("codex-home/sessions").to_str().unwrap()), "{session}");
    assert!(
        path.ends_with(&format!("{SESSION}.jsonl")) && fs::metadata(path).unwrap().is_file(),
        "{session}"
    );
    let reason = session["reason"].as_str().unwrap();
    assert!(reason.contains("begun since process"), "{session}");
    assert_eq!(
        (session["session_id"].as_str(), session["model"].as_str()),
        (Some(SESSION), Some("gpt-5.1-codex"))
    );
    // Input is counted without what came from the cache.
    assert_eq!(
        session["usage"],
        json!({ "input": 200, "cached_input": 1000, "output": 90, "context": 1290, "context_window": 258_400 })
    );
    let limits: Vec<_> = session["rate_limits"].as_array().unwrap().iter().collect();
    let windows: Vec<_> =
        limits.iter().map(|l| (l["window"].as_str().unwrap(), l["percent_used"].as_f64())).collect();
    assert_eq!(windows, [("5h", Some(12.5)), ("weekly", Some(5.0))], "{session}");
    assert_eq!(limits[0]["resets_at"], "2100-01-01T00:00:00Z", "{session}");
}
