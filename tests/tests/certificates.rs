//! Certificates over a node's life, with real programs: another CA, and a node that was off for too long.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::fs;
use std::path::Path;
use std::process::Command;

use wa_link::tls::Fingerprint;
use wa_tests::{Stage, binary};

/// Takes a step in the rotation of a controller that is stopped.
fn rotate(stage: &Stage, step: &str) {
    let mut command = Command::new(binary("wa-controller"));
    let output =
        command.args(["--rotate-ca", step, "--data-dir"]).arg(stage.path("controller")).output().unwrap();
    assert!(output.status.success(), "{step}: {}", String::from_utf8_lossy(&output.stderr));
}

fn enroll(stage: &Stage, token: &Path, name: &str) -> (bool, String) {
    let mut command = Command::new(binary("wa-node"));
    command.args(["enroll", "--controller", &stage.controller_url(), "--token-file"]).arg(token);
    let output = command.arg("--state-dir").arg(stage.path(name)).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn token(stage: &Stage, name: &str) -> std::path::PathBuf {
    let path = stage.path(format!("{name}.token"));
    let made = stage.wa(&["fleet", "token", name, "--ttl", "1h", "--force", "--out", path.to_str().unwrap()]);
    assert_eq!(made.code, 0, "{made:?}");
    path
}

/// The CA that the token names no longer vouches for the controller: that is said, and the token is not shown to it.
#[test]
fn a_token_made_before_another_ca_signs_opens_nothing_and_says_why() {
    let stage = Stage::new().unwrap();
    let controller = stage.start_controller(&[]).unwrap();
    let before = token(&stage, "web-1");
    assert!(controller.terminate().unwrap().success());
    rotate(&stage, "prepare");
    let controller = stage.start_controller(&[]).unwrap();
    let prepared = token(&stage, "web-2");
    // The present one signs until the next step.
    let (joined, said) = enroll(&stage, &token(&stage, "web-3"), "web-3");
    assert!(joined, "{said}");
    // People are given contexts that trust both.
    let context = stage.path("controller/operator.context.toml");
    let new = stage.path("ada.toml");
    let added =
        stage.wa(&["fleet", "operator", "add", "ada", "--role", "admin", "--out", new.to_str().unwrap()]);
    assert_eq!(added.code, 0, "{added:?}");
    fs::rename(&new, &context).unwrap();
    assert!(controller.terminate().unwrap().success());

    let ca = stage.path("controller/ca");
    let first = Fingerprint::of_pem(&fs::read_to_string(ca.join("ca.pem")).unwrap()).unwrap();
    // As if it had run for a day.
    fs::write(ca.join("rotation.since"), "prepared 2020-01-01T00:00:00Z\n").unwrap();
    rotate(&stage, "switch");
    assert_ne!(Fingerprint::of_pem(&fs::read_to_string(ca.join("ca.pem")).unwrap()).unwrap(), first);
    let _controller = stage.start_controller(&[]).unwrap();
    for (old, name) in [(&before, "web-1"), (&prepared, "web-2")] {
        let (joined, said) = enroll(&stage, old, name);
        assert!(
            !joined && said.contains("A token holds for one CA") && said.contains("wa fleet token"),
            "{said}"
        );
        assert!(!stage.path(name).join("identity/node.context.toml").exists(), "nothing half-made is left");
        let (joined, said) = enroll(&stage, &token(&stage, name), name);
        assert!(joined, "a new one is good: {said}");
    }
}
