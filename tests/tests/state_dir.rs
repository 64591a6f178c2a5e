//! What a node says of a state directory that it cannot use, and that it uses none which is another's.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use wa_tests::{Namespace, Stage, binary, inside, mount_small, wait_for};

const SOON: Duration = Duration::from_secs(60);

/// Runs the node on this state directory to its end, which must come by itself: what it said.
fn refused(state_dir: &Path) -> String {
    let mut command = Command::new(binary("wa-node"));
    let output = command.args(["run", "--state-dir"]).arg(state_dir).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

fn enrolled() -> Stage {
    let stage = Stage::new().unwrap();
    let controller = stage.start_controller(&[]).unwrap();
    stage.enroll_node().unwrap();
    drop(controller);
    stage
}

#[test]
fn the_second_node_on_a_state_directory_is_told_of_the_first() {
    let stage = Stage::new().unwrap();
    let _controller = stage.start_controller(&[]).unwrap();
    stage.enroll_node().unwrap();
    let node = stage.start_node(&[]).unwrap();
    wait_for("the node to run", SOON, || stage.log("wa-node").contains("node runs").then_some(()));
    let said = refused(&stage.path("node"));
    assert!(said.contains(&format!("in use by process {}", node.pid())), "{said}");
    assert!(node.terminate().unwrap().success(), "and the first did not notice");
}

#[test]
fn a_state_directory_that_others_may_write_to_is_refused() {
    let stage = enrolled();
    for part in ["", "spool", "journal"] {
        let path = stage.path("node").join(part);
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        let said = refused(&stage.path("node"));
        assert!(
            said.contains(&format!("chmod go-w {}", path.display().to_string().trim_end_matches('/'))),
            "{said}"
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    }
}

#[test]
fn what_is_no_state_directory_is_said() {
    let stage = enrolled();
    let said = refused(&stage.path("nowhere"));
    assert!(said.contains("not enrolled") && said.contains("wa-node enroll"), "{said}");
    assert!(!stage.path("nowhere").exists(), "and nothing is made there");
    // Something in the place of what the node keeps.
    fs::write(stage.path("node/spool"), "a file").unwrap();
    let said = refused(&stage.path("node"));
    assert!(said.contains("not a directory") && said.contains("node/spool"), "{said}");
    fs::remove_file(stage.path("node/spool")).unwrap();
    for damaged in ["", "no context at all\n", "schema = \"wa.context/1\"\n"] {
        fs::write(stage.path("node/identity/node.context.toml"), damaged).unwrap();
        let said = refused(&stage.path("node"));
        assert!(said.contains("node.context.toml") && said.contains("wa-node enroll"), "{damaged:?}: {said}");
    }
}

#[test]
fn a_state_directory_on_a_read_only_disk_is_said() {
    if !inside("a_state_directory_on_a_read_only_disk_is_said", Namespace::Mount) {
        return;
    }
    let stage = Stage::new().unwrap();
    let _controller = stage.start_controller(&[]).unwrap();
    mount_small(&stage.path("node"), 4 << 20).unwrap();
    stage.enroll_node().unwrap();
    let node = stage.start_node(&[]).unwrap();
    wait_for("the node to run", SOON, || stage.log("wa-node").contains("node runs").then_some(()));
    assert!(node.terminate().unwrap().success());
    let mounted = |options: &str| {
        let status = Command::new("mount").args(["-o", options]).arg(stage.path("node")).status();
        assert!(status.unwrap().success());
    };
    mounted("remount,ro");
    let said = refused(&stage.path("node"));
    assert!(said.contains(stage.path("node").to_str().unwrap()), "{said}");
    assert!(said.to_lowercase().contains("read-only"), "{said}");
    mounted("remount,rw");
    let node = stage.start_node(&[]).unwrap();
    wait_for("the node to run again", SOON, || {
        (stage.log("wa-node").matches("node runs").count() == 2).then_some(())
    });
    assert!(node.terminate().unwrap().success());
}
