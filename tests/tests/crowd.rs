//! Many panes at once: none is overlooked, each can be looked at.

use std::time::Duration;

use wa_tests::{Stage, wait_for};

/// More than the node takes from its multiplexer in one go, several times over.
const PANES: u32 = 150;

#[test]
fn no_pane_of_a_crowded_host_is_overlooked() {
    let stage = Stage::new().unwrap();
    let _mux = stage.start_mux("80x24", &["/bin/sh", "-c", "echo word of pane 0; exec sleep 1000"]).unwrap();
    let command =
        |pane| vec!["/bin/sh".into(), "-c".into(), format!("echo word of pane {pane}; exec sleep 1000")];
    stage.spawn_panes((1..PANES).map(command).collect()).unwrap();
    let _controller = stage.start_controller(&[]).unwrap();
    stage.enroll_node().unwrap();
    let _node = stage.start_node(&[]).unwrap();

    wait_for("a line of every pane in the log", Duration::from_secs(60), || {
        let hits = stage.wa(&["search", "word of pane", "--limit", "1000", "-o", "jsonl"]);
        (hits.code == 0 && hits.stdout.lines().count() == PANES as usize).then_some(())
    });
    for pane in 0..PANES {
        let screen = stage.wa(&["screen", &format!("{}/{pane}", stage.host()), "--timeout", "5s"]);
        assert_eq!(screen.code, 0, "pane {pane}: {screen:?}");
        assert!(screen.stdout.contains(&format!("word of pane {pane}\n")), "pane {pane}: {}", screen.stdout);
    }
}
