//! `wa up` as a person has it: started, looked at from another terminal, stopped.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use support::{Running, answer, wa, wait_for};

const PATIENCE: Duration = Duration::from_secs(60);

fn items(home: &Path, args: &[&str]) -> Option<Vec<Value>> {
    let (code, stdout, _) = answer(&mut wa(home, &[args, &["-o", "json"]].concat()));
    let value: Value = (code == 0).then(|| serde_json::from_str(&stdout).unwrap())?;
    value["items"].as_array().cloned()
}

fn connected(home: &Path) -> Option<()> {
    items(home, &["fleet", "status"])?.first().filter(|host| host["connected"] == true).map(drop)
}

#[test]
fn it_comes_back_with_its_data_on_another_port() {
    let place = tempfile::tempdir().unwrap();
    let home = place.path();
    let args = ["up", "--listen", "127.0.0.1:0", "--name", "here", "--mux-socket", "/nowhere/sock"];
    for _ in 0..2 {
        let up = Running::start(&mut wa(home, &args));
        wait_for("the node to be connected", PATIENCE, || connected(home));

        let (code, _, stderr) = answer(&mut wa(home, &args));
        assert_eq!(code, 1, "{stderr}");
        assert!(stderr.contains(&up.pid().to_string()), "{stderr}");

        up.signal(Signal::TERM);
        let (code, stdout, stderr) = up.end();
        assert_eq!((code, stdout.as_str()), (0, ""), "{stderr}");
        assert_eq!(answer(&mut wa(home, &["status"])).0, 2, "there is no context any more");
    }
    assert!(home.join(".local/state/wa/up/controller/state.db").exists());
}

#[test]
fn a_port_in_use_is_named() {
    let place = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, _, stderr) = answer(&mut wa(place.path(), &["up", "--listen", &address]));
    assert_eq!(code, 1);
    assert!(stderr.contains(&address) && stderr.contains("--listen"), "{stderr}");
}

#[test]
fn the_demo_does_what_it_says_and_leaves_nothing_behind() {
    // The path of a unix socket is short: not below the target directory.
    let place = tempfile::Builder::new().prefix("wa-up-").tempdir_in("/tmp").unwrap();
    let (home, tmp) = (place.path().join("home"), place.path().join("tmp"));
    std::fs::create_dir(&home).unwrap();
    std::fs::create_dir(&tmp).unwrap();
    let demo = Running::start(wa(&home, &["up", "--demo", "-o", "json"]).env("TMPDIR", &tmp));
    // The compaction is answered; the limit of the scripted Codex is reached, waited out, and it works again.
    for workflow in ["claude-compaction-reread", "limit-wait"] {
        wait_for(workflow, PATIENCE, || {
            let runs = items(&home, &["run", "list"])?;
            runs.iter().find(|run| run["workflow"] == workflow && run["state"] == "succeeded").map(drop)
        });
    }
    wait_for("a search hit", PATIENCE, || items(&home, &["search", "quoted_comma"])?.first().map(drop));
    let screen = answer(&mut wa(&home, &["screen", "demo/0"]));
    assert!(screen.0 == 0 && screen.1.contains("AGENTS.md"), "{screen:?}");

    demo.signal(Signal::INT);
    let (code, stdout, stderr) = demo.end();
    assert_eq!(code, 0, "{stderr}");
    let account: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(account["schema"], "wa.demo/1");
    let unseen: Vec<&Value> =
        account["items"].as_array().unwrap().iter().filter(|chapter| chapter["seen"] == false).collect();
    assert!(unseen.is_empty(), "{unseen:?}\n{stderr}");
    assert_eq!(std::fs::read_dir(&tmp).unwrap().count(), 0, "the temporary directory is gone");
    assert!(!home.join(".local/state/wa/up").exists());
}

#[test]
fn a_demo_that_is_too_short_says_what_did_not_happen() {
    let place = tempfile::Builder::new().prefix("wa-up-").tempdir_in("/tmp").unwrap();
    let (code, stdout, stderr) =
        answer(wa(place.path(), &["up", "--demo", "--for", "1s"]).env("TMPDIR", place.path()));
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("did not happen") && stderr.contains("compaction"), "{stderr}");
    assert!(stdout.contains("no "), "{stdout}");
}
