//! A command that prints and ends at once: all that it said, and how it ended.

use std::time::Duration;

use wa_tests::{Stage, wait_for};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn what_a_spawned_command_says_last_is_logged_and_its_status_told() {
    let stage = Stage::new().unwrap();
    let _mux = stage.start_mux("80x24", &["/bin/sh", "-c", "exec sleep 1000"]).unwrap();
    let _controller = stage.start_controller(&[]).unwrap();
    stage.enroll_node().unwrap();
    let _node = stage.start_node(&[]).unwrap();
    wait_for("the host's pane", SOON, || {
        let answer = stage.wa(&["status", "-o", "json"]);
        (answer.code == 0 && !answer.json()["items"].as_array()?.is_empty()).then_some(())
    });
    for (end, status) in [("exit 3", "3"), ("kill -KILL $$", "signal:KILL")] {
        let script = format!("i=1; while [ $i -le 50 ]; do echo line $i; i=$((i+1)); done; {end}");
        let receipt = stage.wa(&["spawn", stage.host(), "-o", "json", "--", "sh", "-c", &script]);
        assert_eq!(receipt.code, 0, "{receipt:?}");
        let pane = receipt.json()["pane"].as_str().unwrap().to_owned();
        let told = stage.wa(&[
            "wait",
            &pane,
            "--for",
            "command.finished",
            "--since",
            "1m",
            "--timeout",
            "20s",
            "-o",
            "json",
        ]);
        assert_eq!(told.code, 0, "{told:?}");
        assert_eq!(told.json()["fields"]["status"], status, "{told:?}");
        let expected: Vec<String> = (1..=50).map(|n| format!("line {n}")).collect();
        let entries = wait_for("all lines", SOON, || {
            let answer = stage.wa(&["logs", &pane, "-o", "jsonl"]);
            let lines = answer.json_lines();
            (answer.code == 0 && lines.iter().any(|entry| entry["text"] == "line 50")).then_some(lines)
        });
        let said: Vec<&str> = entries.iter().filter_map(|entry| entry["text"].as_str()).collect();
        assert_eq!(said, expected);
        assert!(entries.iter().all(|entry| entry.get("gap").is_none()), "{entries:?}");
    }
}
