//! One trace from the line on the screen to the verified keystroke, across the programs.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use wa_tests::{Collector, Span, Stage, binary, wait_for};

/// The names of the spans from this one up to the first of its trace.
fn way_up(span: &Span, spans: &[Span]) -> Vec<String> {
    let mut way = vec![format!("{} {}", span.service, span.name)];
    let mut at = span;
    while let Some(parent) = spans.iter().find(|other| other.trace == at.trace && other.id == at.parent) {
        way.push(format!("{} {}", parent.service, parent.name));
        at = parent;
    }
    way
}

#[test]
fn a_compaction_and_its_answer_are_one_trace() {
    let collector = Collector::start().unwrap();
    let mut stage = Stage::new().unwrap();
    stage.set_env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint());
    stage.set_env("OTEL_BSP_SCHEDULE_DELAY", "200");
    let bin = stage.path("bin");
    fs::create_dir(&bin).unwrap();
    symlink(binary("wa-demo-agent"), bin.join("claude")).unwrap();
    let claude = bin.join("claude").display().to_string();
    let _mux = stage.start_mux("100x30", &[&claude, "--compact-after", "2s"]).unwrap();
    let controller = stage.start_controller(&[]).unwrap();
    stage.enroll_node().unwrap();
    let node = stage.start_node(&[]).unwrap();
    wait_for("the run to succeed", Duration::from_secs(40), || {
        let runs = stage.wa(&["run", "list", "-o", "json"]);
        (runs.code == 0 && runs.json()["items"][0]["state"] == "succeeded").then_some(())
    });
    // Spans are flushed at the end of a program.
    assert!(node.terminate().unwrap().success());
    assert!(controller.terminate().unwrap().success());

    let spans = collector.spans();
    let action = spans.iter().find(|span| span.service == "wa-node" && span.name == "action").unwrap();
    let way = way_up(action, &spans);
    let expected = ["wa-node action", "wa-controller step", "wa-controller log event", "wa-node event"];
    let mut at = 0;
    for name in &way {
        if expected.get(at) == Some(&name.as_str()) {
            at += 1;
        }
    }
    assert_eq!(at, expected.len(), "from the keystroke back to the line: {way:?}");

    let names: BTreeSet<_> =
        spans.iter().filter(|span| span.trace == action.trace).map(|span| span.name.as_str()).collect();
    for name in ["permit", "guard", "paste", "enter", "verify"] {
        assert!(names.contains(name), "{name} is not among {names:?}");
    }
}
