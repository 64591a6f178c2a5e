//! What is logged of panes, and how much.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use wa_proto::wire::v1;
use wa_proto::{GapCause, Lane};

use super::numbered;
use crate::observer::{Capture, CaptureOptions};
use crate::testing::fake::{Fake, Script};
use crate::testing::{Mux, Node, shell};

fn capture(text: &str) -> Capture {
    let options: CaptureOptions = toml::from_str(text).unwrap();
    Capture::new(&options).unwrap()
}

fn gate(dir: &Path, name: &str) -> String {
    format!("until [ -e {} ]; do sleep 0.02; done", dir.join(name).display())
}

fn open(dir: &Path, name: &str) {
    std::fs::write(dir.join(name), "").unwrap();
}

async fn logged(node: &Node, line: &str) {
    node.until(line, |node| node.lines().iter().any(|logged| logged == line).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_title_excludes_a_pane_nothing_of_it_is_logged() {
    let dir = tempfile::tempdir().unwrap();
    let script = format!(
        "echo line 1; {}; printf '\\e]0;Enter password\\a'; {}; echo line 2; sleep 1.3; echo line 3; {}; \
         printf '\\e]0;bash\\a'; {}; echo line 4; sleep 1.3; clear; echo line 5; exec cat",
        gate(dir.path(), "a"),
        gate(dir.path(), "b"),
        gate(dir.path(), "c"),
        gate(dir.path(), "d"),
    );
    let mux = Mux::start(dir.path(), shell(&script));
    let node = Node::other(dir.path(), &mux.socket, |shared| {
        shared.capture = capture("exclude = [{ title = \"*password*\" }]");
    });
    logged(&node, "line 1").await;
    open(dir.path(), "a");
    let pane = node.pane("excluded", |pane| !pane.not_logged.is_empty()).await;
    assert_eq!(pane.not_logged, "excluded by the rule title = \"*password*\"");
    assert_eq!(pane.title, "Enter password");
    let mux_handle = node.muxes.get(&pane.pane.mux).unwrap();
    let view = mux_handle.look(pane.pane.pane_id).await.unwrap();
    assert!(view.excluded.is_some(), "nobody acts on it");
    open(dir.path(), "b");
    // It is still shown.
    let mut follow = mux_handle.follow(pane.pane.pane_id).await.unwrap();
    follow.wait_for(|view| view.frame.rows.iter().any(|row| row.text.contains("line 3"))).await.unwrap();
    open(dir.path(), "c");
    node.pane("included again", |pane| pane.not_logged.is_empty()).await;
    open(dir.path(), "d");
    logged(&node, "line 5").await;
    // What was printed while it was excluded is not logged later, also where it stood until now.
    assert_eq!(numbered(&node.all_lines()), [1, 4, 5]);
    let gaps: Vec<_> = node.gaps().into_iter().map(|gap| (gap.cause, gap.rows)).collect();
    assert_eq!(gaps, [(GapCause::Excluded.as_str().to_owned(), None)]);
    node.until("capture.gap", |node| {
        let event = node.events().into_iter().find(|event| event.event == "capture.gap")?;
        (event.fields["cause"] == "excluded").then_some(())
    })
    .await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_excludes_its_pane_from_the_first_line_on() {
    let dir = tempfile::tempdir().unwrap();
    let mux = Mux::start(dir.path(), shell("for i in {1..100}; do echo line $i; done; exec sleep 600"));
    let rules = || capture("exclude = [{ command = \"sleep\" }]");
    let node = Node::other(dir.path(), &mux.socket, |shared| shared.capture = rules());
    let pane = node.pane("excluded", |pane| pane.not_logged.starts_with("excluded by the rule")).await;
    assert_eq!(pane.not_logged, "excluded by the rule command = \"sleep\"");
    node.stop().await;
    let node = Node::other(dir.path(), &mux.socket, |shared| {
        shared.capture = capture("include = [{ domain = \"gui-*\" }]")
    });
    let pane = node.pane("not included", |pane| !pane.not_logged.is_empty()).await;
    assert_eq!(pane.not_logged, "no include rule holds for it");
    assert!(node.all_lines().is_empty() && node.gaps().is_empty(), "{:?}", node.all_lines());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_the_budget_is_a_gap_with_its_count_and_events_go_on() {
    let dir = tempfile::tempdir().unwrap();
    // Lines of 13 rows: the budget holds about a thousand of them.
    let script = format!(
        "{}; x=$(printf '%01000d'); \
         for i in {{1..1500}}; do echo \"line $i $x\"; [ $((i % 15)) = 0 ] && sleep 0.04; done; \
         sleep 1.2; printf '\\a'; {}; echo the end; exec cat",
        gate(dir.path(), "go"),
        gate(dir.path(), "a"),
    );
    let mux = Mux::start(dir.path(), shell(&script));
    let node = Node::other(dir.path(), &mux.socket, |shared| {
        shared.capture = capture("pane_bytes_per_minute = 1048576");
    });
    node.pane("the pane", |pane| !pane.tty.is_empty()).await;
    open(dir.path(), "go");
    let pane =
        node.pane("over its budget", |pane| pane.not_logged.starts_with("over its budget of 1 MiB")).await;
    node.until("bell", |node| node.events().iter().any(|event| event.event == "bell").then_some(())).await;
    let event = node
        .until("capture.gap", |node| node.events().into_iter().find(|event| event.event == "capture.gap"))
        .await;
    assert_eq!(event.fields["cause"], "flood");
    assert!(event.fields["rows"].parse::<u64>().unwrap() > 0);
    // A sixteenth of a minute later it is stored again.
    let wait = async {
        while node.board.pane(&pane.pane).is_none_or(|pane| !pane.not_logged.is_empty()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap();
    open(dir.path(), "a");
    node.until("the end", |node| node.lines().iter().any(|line| line == "the end").then_some(())).await;
    let stored = stored_rows(&node);
    let lost: u64 = node.gaps().iter().map(|gap| gap.rows.unwrap()).sum();
    assert!(node.gaps().iter().all(|gap| gap.cause == "flood"), "{:?}", node.gaps());
    // Every row is stored or in a gap, and in one of them only.
    let (last, _) = stored.last_key_value().unwrap();
    let kept: u64 = stored.values().map(|(_, rows)| u64::from(*rows)).sum();
    assert_eq!(kept + lost, last.unsigned_abs() + 1, "{:?}", node.gaps());
    assert!(lost >= 13 * 100 && kept >= 13 * 500, "{kept} {lost}");
    node.stop().await;
}

/// Highest revision and rows of the logged lines, by row.
fn stored_rows(node: &Node) -> BTreeMap<i64, (u32, u32)> {
    let mut rows = BTreeMap::new();
    for record in node.records(Lane::Bulk) {
        if let Some(v1::record::Body::Lines(lines)) = &record.body {
            rows.extend(lines.lines.iter().map(|line| (line.row, (line.rev, line.rows))));
        }
    }
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_was_not_pushed_is_found_by_the_rare_look() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("sock");
    let fake = Fake::start(&socket, Script { forgetful: true, ..Script::native(&["one", "two", "$ "]) });
    let node = Node::other(dir.path(), &socket, |shared| shared.verify_every = Duration::from_millis(50));
    logged(&node, "two").await;
    fake.script().pane.lines = ["one", "two", "three", "four", "$ "].map(str::to_owned).into();
    logged(&node, "four").await;
    assert_eq!(node.lines(), ["one", "two", "three", "four"]);
    node.stop().await;
}
