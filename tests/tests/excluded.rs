//! What a node's configuration keeps out of the log: panes, what is too much, and secrets of the user's own kind.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use serde_json::Value;
use wa_tests::{Stage, wait_for};

const SOON: Duration = Duration::from_secs(60);
/// Half as much again as the budget of a minute holds.
const LINES: u64 = 20_000;
const FILL: &str = " of the flood, about as long as a line of a build with its file names";
const CONFIG: &str = r#"
[capture]
exclude = [{ title = "*password*" }]
pane_bytes_per_minute = 1048576

[[redact]]
name = "ticket"
pattern = 'TICKET-(?P<secret>[0-9]{6})'
"#;

fn script(text: &str) -> Vec<String> {
    ["/bin/sh", "-c", text].map(str::to_owned).to_vec()
}

fn log(stage: &Stage, pane: &str) -> Vec<Value> {
    let answer = stage.wa(&["logs", pane, "-o", "jsonl"]);
    if answer.code == 0 { answer.json_lines() } else { Vec::new() }
}

fn texts(entries: &[Value]) -> Vec<&str> {
    entries.iter().filter_map(|entry| entry["text"].as_str()).collect()
}

/// A node with that configuration and these panes.
struct House {
    stage: Stage,
    _programs: [wa_tests::Program; 3],
}

impl House {
    fn open(panes: &[&str]) -> Self {
        let stage = Stage::new().unwrap();
        let config = stage.path("node.toml");
        fs::write(&config, CONFIG).unwrap();
        let mux = stage.start_empty_mux().unwrap();
        stage
            .spawn_panes(
                panes
                    .iter()
                    .map(|text| script(&text.replace("@DIR@", stage.path("").to_str().unwrap())))
                    .collect(),
            )
            .unwrap();
        let controller = stage.start_controller(&[]).unwrap();
        stage.enroll_node().unwrap();
        let node = stage.start_node(&["--config", config.to_str().unwrap()]).unwrap();
        Self { stage, _programs: [mux, controller, node] }
    }

    fn pane(&self, id: u64) -> String {
        format!("{}/{id}", self.stage.host())
    }
}

#[test]
fn an_excluded_pane_is_shown_and_not_logged_until_it_is_included() {
    let house = House::open(&[
        "printf '\\033]2;Enter password\\007'; echo never-to-be-logged; until [ -e @DIR@go ]; do sleep 0.02; done; \
         printf '\\033]2;a shell\\007'; sleep 0.5; echo logged-again; exec sleep 1000",
        "echo ordinary; exec sleep 1000",
    ]);
    let stage = &house.stage;
    wait_for("the other pane's line", SOON, || {
        texts(&log(stage, &house.pane(1))).contains(&"ordinary").then_some(())
    });
    let shown = wait_for("the reason", SOON, || {
        let answer = stage.wa(&["show", &house.pane(0), "-o", "json"]);
        (answer.code == 0 && answer.json()["not_logged"].is_string()).then(|| answer.json())
    });
    assert_eq!(shown["not_logged"], "excluded by the rule title = \"*password*\"");
    assert!(stage.wa(&["screen", &house.pane(0)]).stdout.contains("never-to-be-logged"), "it is shown");
    assert_eq!(texts(&log(stage, &house.pane(0))), [""; 0]);
    fs::write(stage.path("go"), "").unwrap();
    wait_for("the line after it", SOON, || {
        texts(&log(stage, &house.pane(0))).contains(&"logged-again").then_some(())
    });
    let entries = log(stage, &house.pane(0));
    assert!(!texts(&entries).contains(&"never-to-be-logged"), "{entries:?}");
    let gaps: Vec<&Value> = entries.iter().filter_map(|entry| entry.get("gap")).collect();
    assert!(!gaps.is_empty() && gaps.iter().all(|gap| gap["rows"].is_null()), "{entries:?}");
    let answer = stage.wa(&["show", &house.pane(0), "-o", "json"]);
    assert!(answer.json()["not_logged"].is_null(), "{answer:?}");
    let hits = stage.wa(&["search", "never-to-be-logged", "-o", "json"]).json();
    assert_eq!(hits["items"].as_array().unwrap().len(), 0, "{hits}");
}

/// The numbers of the lines of the flood, and the rows in gaps.
fn account(entries: &[Value]) -> (Vec<u64>, u64) {
    let number = |text: &&str| text.strip_prefix("line ")?.get(..5)?.parse().ok();
    let gapped = entries.iter().filter_map(|entry| entry["gap"]["rows"].as_u64()).sum();
    (texts(entries).iter().filter_map(number).collect(), gapped)
}

#[test]
fn a_pane_over_its_budget_has_every_row_counted_and_leaves_the_others_theirs() {
    // In pieces, so that nothing leaves the scrollback unread: what is left out is left out on purpose.
    let flood = format!(
        "until [ -e @DIR@go ]; do sleep 0.02; done; i=0; while [ $i -lt {LINES} ]; do \
         seq -f 'line %05.0f{FILL}' $((i+1)) $((i+250)); i=$((i+250)); sleep 0.08; done; exec sleep 1000"
    );
    let house = House::open(&[
        &flood,
        "until [ -e @DIR@go ]; do sleep 0.02; done; seq -f 'quiet %.0f' 1 500; exec sleep 1000",
    ]);
    let stage = &house.stage;
    let pane = house.pane(0);
    wait_for("both panes", SOON, || {
        let answer = stage.wa(&["status", "-o", "json"]);
        (answer.code == 0 && answer.json()["items"].as_array()?.len() == 2).then_some(())
    });
    fs::write(stage.path("go"), "").unwrap();
    let said = wait_for("the shedding to be shown", SOON, || {
        let shown = stage.wa(&["show", &pane, "-o", "json"]);
        shown.json()["not_logged"].as_str().map(str::to_owned)
    });
    assert_eq!(said, "over its budget of 1 MiB a minute: lines are left out");
    let quiet = wait_for("the quiet pane", SOON, || {
        let entries = log(stage, &house.pane(1));
        texts(&entries).contains(&"quiet 500").then_some(entries)
    });
    let expected: Vec<String> = (1..=500).map(|n| format!("quiet {n}")).collect();
    assert_eq!(texts(&quiet), expected);

    let (seen, gapped) = wait_for("every row to be told of", SOON, || {
        let (seen, gapped) = account(&log(stage, &pane));
        (seen.len() as u64 + gapped >= LINES).then_some((seen, gapped))
    });
    assert!(seen.windows(2).all(|two| two[0] < two[1]), "a line twice, or out of order");
    assert_eq!(seen.len() as u64 + gapped, LINES, "each row is stored or counted");
    let stored = seen.len() * ("line 00000".len() + FILL.len());
    assert!(stored > 900_000 && gapped > 0, "{stored} bytes stored, {gapped} rows left out");
    let causes = log(stage, &pane);
    let causes: BTreeSet<&str> = causes.iter().filter_map(|entry| entry["gap"]["cause"].as_str()).collect();
    assert_eq!(causes, BTreeSet::from(["flood"]));
    let told = wait_for("the event", SOON, || {
        stage.wa(&["events", &pane, "--event", "capture.gap", "-o", "jsonl"]).json_lines().into_iter().next()
    });
    assert_eq!(told["fields"]["cause"], "flood", "{told}");
}

#[test]
fn a_secret_of_the_users_own_kind_is_gone_before_the_log() {
    let house = House::open(&[
        "number=12; echo \"see TICKET-${number}3456 for the rest\"; echo after; exec sleep 1000",
    ]);
    let stage = &house.stage;
    let entries = wait_for("the lines", SOON, || {
        let entries = log(stage, &house.pane(0));
        texts(&entries).contains(&"after").then_some(entries)
    });
    let text = texts(&entries)[0];
    assert!(text.starts_with("see TICKET-") && text.ends_with(" for the rest"), "{text}");
    assert!(text.contains("ticket") && !text.contains("123456"), "{text}");
    let screen = stage.wa(&["screen", &house.pane(0)]);
    assert!(screen.stdout.contains("for the rest") && !screen.stdout.contains("123456"), "{screen:?}");
    let hits = stage.wa(&["search", "123456", "-o", "json"]).json();
    assert_eq!(hits["items"].as_array().unwrap().len(), 0, "{hits}");
}
