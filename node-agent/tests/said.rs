//! What `wa-node` says to a person: each thing once, and only what there is to do with `wa-node`.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::process::Command;

/// What it says when it does not do this.
fn refusal(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_wa-node")).args(args).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn enroll(dir: &str, token_file: &str) -> String {
    refusal(&[
        "enroll",
        "--controller",
        "https://127.0.0.1:9",
        "--token-file",
        token_file,
        "--state-dir",
        dir,
    ])
}

#[test]
fn a_cause_is_said_once() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    let said = enroll(&path("state"), &path("none"));
    assert_eq!(said.matches("No such file or directory").count(), 1, "{said}");
    std::fs::write(path("token"), "a line of something else").unwrap();
    let said = enroll(&path("state"), &path("token"));
    assert_eq!(said.matches("this is not a join token").count(), 1, "{said}");
    assert!(!place.path().join("state").exists(), "nothing is made for a token that is none");
}

#[test]
fn a_host_that_is_not_enrolled_is_told_what_to_do_there() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("state");
    let run = ["run", "--mux-socket", "/nonexistent/sock", "--state-dir", dir.to_str().unwrap()];
    let said = refusal(&run);
    assert!(said.contains("wa-node enroll") && said.contains("node.context.toml"), "{said}");
    std::fs::create_dir_all(dir.join("identity")).unwrap();
    std::fs::write(dir.join("identity/node.context.toml"), "not a context").unwrap();
    let damaged = refusal(&run);
    assert!(damaged.contains("cannot be used") && damaged.contains("wa-node enroll"), "{damaged}");
    for said in [said, damaged] {
        assert!(!said.contains("--context-file") && !said.contains("WA_CONTEXT_FILE"), "{said}");
    }
}
