//! A line's way up: from a pane to `wa logs`, with every program killed on the way.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::fs;
use std::time::Duration;

use wa_tests::{Account, Stage, log_of, wait_for};

const LINES: u64 = 5000;

fn has_line(stage: &Stage, pane: &str, number: u64) -> bool {
    let wanted = format!("line {number}");
    let answer = stage.wa(&["logs", pane, "--tail", "200", "-o", "jsonl"]);
    answer.code == 0 && answer.json_lines().iter().any(|entry| entry["text"] == wanted.as_str())
}

/// A shell script that prints numbered lines, in pieces that begin when their file appears.
fn printer(stage: &Stage) -> String {
    let dir = stage.path("go");
    fs::create_dir(&dir).unwrap();
    let dir = dir.display();
    format!(
        "from=1; for to in 1500 3000 {LINES}; do \
           until [ -e {dir}/$to ]; do sleep 0.02; done; \
           i=$from; while [ $i -le $to ]; do echo \"line $i\"; i=$((i+1)); \
             [ $((i % 50)) = 0 ] && sleep 0.01; done; \
           echo done > {dir}/$to.done; from=$((to+1)); done; \
         exec sleep 1000"
    )
}

#[test]
fn every_line_enters_the_log_once_though_node_and_controller_are_killed() {
    let stage = Stage::new().unwrap();
    let script = printer(&stage);
    let go = |piece: &str| fs::write(stage.path("go").join(piece), "").unwrap();
    let done = |piece: &str| stage.path("go").join(format!("{piece}.done")).exists();

    let _mux = stage.start_mux("80x24", &["/bin/sh", "-c", &script]).unwrap();
    let controller = stage.start_controller(&[]).unwrap();
    stage.enroll_node().unwrap();
    let node = stage.start_node(&[]).unwrap();
    let pane = format!("{}/0", stage.host());

    wait_for("the pane to be seen", Duration::from_secs(20), || {
        let answer = stage.wa(&["status", "-o", "json"]);
        (answer.code == 0 && !answer.json()["items"].as_array()?.is_empty()).then_some(())
    });

    // First piece: the node dies in the middle of it, and comes back.
    go("1500");
    wait_for("the first lines in the log", Duration::from_secs(20), || {
        log_of(&stage, &pane).iter().any(|entry| entry["text"] == "line 100").then_some(())
    });
    node.kill();
    wait_for("the pane to print while no node looks", Duration::from_secs(20), || done("1500").then_some(()));
    let node = stage.start_node(&[]).unwrap();

    // Second piece: the controller dies in the middle of it, and comes back.
    go("3000");
    wait_for("lines of the second piece", Duration::from_secs(20), || {
        log_of(&stage, &pane).iter().any(|entry| entry["text"] == "line 1600").then_some(())
    });
    controller.kill();
    wait_for("the pane to print while no controller listens", Duration::from_secs(20), || {
        done("3000").then_some(())
    });
    let _controller = stage.start_controller(&[]).unwrap();
    go("5000");
    wait_for("the last line in the log", Duration::from_secs(60), || {
        has_line(&stage, &pane, LINES).then_some(())
    });

    let account = Account::of(&log_of(&stage, &pane), LINES);
    assert_eq!(account.twice, Vec::<u64>::new(), "no line twice");
    assert_eq!(account.disorder, 0, "in order");
    assert_eq!(account.missing, account.gap_rows, "what is missing is in a gap: {:?}", account.gaps);
    // 1,500 lines fit into the scrollback: nothing left it while the node was away.
    assert_eq!((account.missing, account.gaps.len()), (0, 0), "{:?}", account.gaps);
    let exit = node.terminate().unwrap();
    assert!(exit.success(), "the node ends cleanly on SIGTERM: {exit}");
}

#[test]
fn what_left_the_scrollback_while_the_node_was_away_is_a_gap_with_its_count() {
    let stage = Stage::new().unwrap();
    let go = stage.path("go");
    let script = format!(
        "seq -f 'line %.0f' 1 100; until [ -e {} ]; do sleep 0.02; done; seq -f 'line %.0f' 101 {LINES}; exec sleep 1000",
        go.display()
    );
    let _mux = stage.start_mux("80x24", &["/bin/sh", "-c", &script]).unwrap();
    let _controller = stage.start_controller(&[]).unwrap();
    stage.enroll_node().unwrap();
    let node = stage.start_node(&[]).unwrap();
    let pane = format!("{}/0", stage.host());
    wait_for("the first lines", Duration::from_secs(20), || has_line(&stage, &pane, 100).then_some(()));
    node.kill();
    fs::write(&go, "").unwrap();
    let _node = stage.start_node(&[]).unwrap();
    wait_for("the last line", Duration::from_secs(30), || has_line(&stage, &pane, LINES).then_some(()));

    let account = Account::of(&log_of(&stage, &pane), LINES);
    assert_eq!(account.twice, Vec::<u64>::new(), "no line twice");
    assert_eq!(account.disorder, 0, "in order");
    assert_eq!(account.missing, account.gap_rows, "{:?}", account.gaps);
    assert!(account.gap_rows > 0, "4,900 lines do not fit into 3,500 rows of scrollback");
    for gap in &account.gaps {
        assert!(matches!(gap["cause"].as_str(), Some("node_down" | "flood" | "trimmed")), "{gap}");
    }
}

#[test]
fn a_word_that_was_printed_is_found() {
    let stage = Stage::new().unwrap();
    let _mux = stage
        .start_mux(
            "80x24",
            &["/bin/sh", "-c", "echo error in src/main.rs: needle-4711 lost; exec sleep 1000"],
        )
        .unwrap();
    let _controller = stage.start_controller(&[]).unwrap();
    stage.enroll_node().unwrap();
    let _node = stage.start_node(&[]).unwrap();
    for query in ["needle-4711", "src/main.rs", "error in src"] {
        let hit = wait_for("a search hit", Duration::from_secs(20), || {
            let answer = stage.wa(&["search", query, "-o", "jsonl"]);
            assert_eq!(answer.code, 0, "{answer:?}");
            answer.json_lines().into_iter().next()
        });
        let (text, span) = (hit["text"].as_str().unwrap(), &hit["matches"][0]);
        let range = usize::try_from(span[0].as_u64().unwrap()).unwrap()
            ..usize::try_from(span[1].as_u64().unwrap()).unwrap();
        assert!(text[range].contains(query.split(' ').next().unwrap()), "{hit}");
    }
    let none = stage.wa(&["search", "absent-needle", "-o", "json"]);
    assert_eq!((none.code, none.json()["items"].as_array().unwrap().len()), (0, 0));
}
