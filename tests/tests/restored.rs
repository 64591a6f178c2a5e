//! A host whose state directory goes back to a backup: every line is in the log, once.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use wa_tests::{Program, Stage, wait_for};

const PATIENCE: Duration = Duration::from_secs(30);

/// Prints lines in the pane, each long enough alone to be a record of its own.
fn say(pipe: &Path, word: &str, count: u32) {
    for number in 1..=count {
        let mut pipe = std::fs::OpenOptions::new().write(true).open(pipe).unwrap();
        writeln!(pipe, "{word}-{number}.").unwrap();
        std::thread::sleep(Duration::from_millis(150));
    }
}

/// Some file in the folder holds the text.
fn holds(folder: &Path, text: &str) -> bool {
    let files = std::fs::read_dir(folder).unwrap().filter_map(|entry| std::fs::read(entry.ok()?.path()).ok());
    files.into_iter().any(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
}

fn copy(from: &Path, to: &Path) {
    std::fs::remove_dir_all(to).ok();
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

fn logged(stage: &Stage, word: &str) {
    wait_for(word, PATIENCE, || log_text(stage).contains(word).then_some(()));
}

fn log_text(stage: &Stage) -> String {
    stage.wa(&["logs", "stage/0", "--tail", "500"]).stdout
}

fn end(program: Program) {
    program.terminate().unwrap();
}

#[test]
fn lines_are_logged_once_although_a_backup_was_put_back() {
    let stage = Stage::new().unwrap();
    let pipe = stage.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let script = format!("while read line; do echo \"$line\"; done <>{}", pipe.display());
    let _mux = stage.start_mux("80x24", &["/bin/sh", "-c", &script]).unwrap();
    let controller = stage.start_controller(&[]).unwrap();
    stage.enroll_node().unwrap();
    // The journal as well: with the identity of today, as the controller has renewed it.
    let parts = ["spool", "journal"];
    let spool = stage.path("node/spool");
    std::fs::create_dir(stage.path("backup")).unwrap();
    let (of_node, of_backup) =
        (|part: &str| stage.path("node").join(part), |part: &str| stage.path("backup").join(part));

    let node = stage.start_node(&[]).unwrap();
    say(&pipe, "before", 3);
    logged(&stage, "before-3.");
    end(node);
    parts.iter().for_each(|part| copy(&of_node(part), &of_backup(part)));

    let node = stage.start_node(&[]).unwrap();
    say(&pipe, "after", 6);
    logged(&stage, "after-6.");
    end(node);
    end(controller);

    parts.iter().for_each(|part| copy(&of_backup(part), &of_node(part)));
    let _node = stage.start_node(&[]).unwrap();
    say(&pipe, "late", 20);
    wait_for("the last line in the spool", PATIENCE, || holds(&spool, "late-20.").then_some(()));
    let _controller = stage.start_controller(&[]).unwrap();
    logged(&stage, "late-20.");

    let text = log_text(&stage);
    for (word, count) in [("before", 3), ("after", 6), ("late", 20)] {
        for number in 1..=count {
            let line = format!("{word}-{number}.");
            assert_eq!(text.matches(&line).count(), 1, "{line}:\n{text}");
        }
    }
}
