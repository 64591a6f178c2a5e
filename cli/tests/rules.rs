//! `wa rules redact` as it is started: no controller, no context.

mod support;

use std::io::Write as _;
use std::process::Stdio;

use support::{answer, said, wa};

/// Put together here, so that no scanner of sources takes it for the real thing.
fn token() -> String {
    format!("gh{}_{}", 'p', "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zA1b2C")
}

#[test]
fn files_come_out_without_their_secrets_and_otherwise_as_they_are() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("build.log");
    std::fs::write(&file, format!("one\t{} \n\nlast", token())).unwrap();
    let (code, stdout, stderr) = answer(&mut wa(home.path(), &["rules", "redact", file.to_str().unwrap()]));
    assert_eq!(
        (code, stdout.as_str(), stderr.as_str()),
        (0, "one\t[redacted:github-token:64] \n\nlast\n", "")
    );
}

#[test]
fn standard_input_is_a_file_too() {
    let home = tempfile::tempdir().unwrap();
    for args in [&["rules", "redact"][..], &["rules", "redact", "-"]] {
        let mut child = wa(home.path(), args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(b"DB_PASSWORD=s3cr3t-pw\xff\n").unwrap();
        let (code, stdout, _) = said(&child.wait_with_output().unwrap());
        assert_eq!((code, stdout.as_str()), (0, "DB_PASSWORD=[redacted:assigned-secret:16]\n"));
    }
}

#[test]
fn explain_says_why_and_never_what() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("a.log");
    std::fs::write(&file, format!("nothing here\nkey {}\n", token())).unwrap();
    let name = file.to_str().unwrap();
    let (code, stdout, _) =
        answer(&mut wa(home.path(), &["rules", "redact", "--explain", "-o", "json", name]));
    let value: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, value["schema"].as_str()), (0, Some("wa.redactions/1")));
    let item = &value["items"][0];
    assert_eq!((item["file"].as_str(), item["line"].as_u64()), (Some(name), Some(2)));
    assert_eq!(
        (item["kind"].as_str(), item["start"].as_u64(), item["end"].as_u64()),
        (Some("github-token"), Some(4), Some(44))
    );
    assert!(item["why"].as_str().unwrap().contains("begins with"), "{item}");
    for format in ["json", "jsonl", "table", "wide", "name"] {
        let (_, stdout, _) =
            answer(&mut wa(home.path(), &["rules", "redact", "--explain", "-o", format, name]));
        assert!(!stdout.contains("aB3dE5gH"), "{format}: {stdout}");
    }
}

#[test]
fn patterns_of_a_node_are_taken_along() {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("node.toml");
    std::fs::write(&config, "[[redact]]\nname = 'internal-token'\npattern = 'acme-[a-z0-9]{12}'\n").unwrap();
    let file = home.path().join("a.log");
    std::fs::write(&file, "use acme-a1b2c3d4e5f6\n").unwrap();
    let (config, file) = (config.to_str().unwrap(), file.to_str().unwrap());
    let (code, stdout, _) = answer(&mut wa(home.path(), &["rules", "redact", "--node-config", config, file]));
    assert_eq!((code, stdout.as_str()), (0, "use [redacted:internal-token:32]\n"));
    std::fs::write(config, "[[redact]]\nname = 'mine'\npattern = '.*'\n").unwrap();
    let (code, stdout, stderr) =
        answer(&mut wa(home.path(), &["rules", "redact", "--node-config", config, file]));
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(stderr.contains("node.toml") && stderr.contains("mine"), "{stderr}");
}

#[test]
fn a_file_that_is_not_there_is_not_found() {
    let home = tempfile::tempdir().unwrap();
    let (code, stdout, stderr) = answer(&mut wa(home.path(), &["rules", "redact", "/nonexistent/a.log"]));
    assert_eq!((code, stdout.as_str()), (3, ""));
    assert!(stderr.contains("/nonexistent/a.log"), "{stderr}");
    let (code, ..) = answer(&mut wa(home.path(), &["rules", "redact", home.path().to_str().unwrap()]));
    assert_eq!(code, 2, "a directory");
}
