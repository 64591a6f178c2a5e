//! The code of a sign-in: nowhere but in the pane, in the node's memory, and before an operator who asks for it.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use wa_tests::{Answer, Stage, wait_for};

const SOON: Duration = Duration::from_secs(30);
/// Put together when the program runs, so that it stands in no file and no command line.
const CODE: [&str; 2] = ["QX7P", "T4KWZ"];
const PLACE: [&str; 2] = ["https://auth.openai.com/", "codex/device"];

fn script() -> String {
    format!(
        "code=\"{}-\"\"{}\"; place=\"{}\"\"{}\"\n\
         printf 'Welcome to Codex [v0.144.0]\\n\\n'\n\
         printf 'Follow these steps to sign in with ChatGPT using device code authorization:\\n\\n'\n\
         printf '1. Open this link in your browser and sign in to your account\\n   %s\\n\\n' \"$place\"\n\
         printf '2. Enter this one-time code (expires in 15 minutes)\\n   %s\\n\\n' \"$code\"\n\
         printf 'Continue only if you started this login in Codex.\\n'\n\
         read -r never\n",
        CODE[0], CODE[1], PLACE[0], PLACE[1]
    )
}

/// Every file below the directory that holds the bytes.
fn holding(dir: &Path, needle: &[u8]) -> Vec<PathBuf> {
    let (mut found, mut dirs) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                dirs.push(entry.path());
            } else if kind.is_file()
                // The node takes old files of its spool away.
                && let Ok(bytes) = std::fs::read(entry.path())
                && bytes.windows(needle.len()).any(|window| window == needle)
            {
                found.push(entry.path());
            }
        }
    }
    found
}

/// Who asked to reveal what, and what was decided.
fn revealed(stage: &Stage) -> Vec<(String, String, String)> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let state = Connection::open_with_flags(stage.path("controller/state.db"), flags).unwrap();
    let mut rows =
        state.prepare("SELECT who, target, decision FROM audit WHERE what = 'reveal' ORDER BY n").unwrap();
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn a_sign_in_code_is_a_handle_everywhere_but_before_an_operator() {
    let stage = Stage::new().unwrap();
    let (code, place) = (CODE.join("-"), PLACE.concat());
    let command = stage.stand_in("codex", &script(), &[]).unwrap();
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let _mux = stage.start_mux("100x30", &command).unwrap();
    let _controller = stage.start_controller(&[]).unwrap();
    stage.enroll_node().unwrap();
    let node = stage.start_node(&[]).unwrap();
    let pane = format!("{}/0", stage.host());
    let wa = |args: &[&str]| -> Answer {
        let answer = stage.wa(args);
        assert_eq!(answer.code, 0, "{answer:?}");
        answer
    };

    let event = wait_for("the event of the sign-in", SOON, || {
        wa(&["events", &pane, "--event", "auth.device_code", "-o", "jsonl"]).json_lines().into_iter().next()
    });
    let handle = |field: &str| {
        let handle = event["fields"][field].as_str().unwrap_or_default().to_owned();
        assert!(handle.starts_with("secret:") && handle.len() == 23, "{event}");
        handle
    };
    let (code_handle, place_handle) = (handle("user_code"), handle("url"));
    assert_ne!(code_handle, place_handle);
    assert_eq!(event["fields"]["expires"], "15 minutes");

    // All of it is in the log, but for the code.
    wait_for("the last line in the log", SOON, || {
        wa(&["logs", &pane]).stdout.contains("Continue only if").then_some(())
    });
    let log = wa(&["logs", &pane, "-o", "jsonl"]).stdout;
    assert!(log.contains("Enter this one-time code"), "{log}");
    for args in [
        &["logs", &pane][..],
        &["logs", &pane, "-o", "jsonl"],
        &["logs", &pane, "--conversation", "-o", "jsonl"],
        &["screen", &pane],
        &["screen", &pane, "--ansi"],
        &["screen", &pane, "-o", "json"],
        &["events", "-o", "jsonl"],
        &["status", "-o", "json"],
        &["show", &pane, "-o", "json"],
        &["search", CODE[0], "-o", "jsonl"],
        &["search", CODE[1], "-o", "jsonl"],
        &["search", "-e", "[0-9A-Z]{4}-[0-9A-Z]{5}", "-o", "jsonl"],
    ] {
        let said = wa(args).stdout;
        assert!(!CODE.iter().any(|part| said.contains(part)), "{args:?}: {said}");
    }
    assert_eq!(wa(&["search", &code, "-o", "json"]).json()["items"].as_array().unwrap().len(), 0);

    // An operator sees it, and that is written down. Nobody has until now.
    assert_eq!(revealed(&stage), []);
    let shown = wa(&["show", &pane, "--reveal", "-o", "json"]).json();
    let secrets: Vec<(&str, &str)> = shown["secrets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|secret: &Value| (secret["handle"].as_str().unwrap(), secret["value"].as_str().unwrap()))
        .collect();
    assert!(
        secrets.contains(&(&code_handle, &code)) && secrets.contains(&(&place_handle, &place)),
        "{shown}"
    );
    let words = wa(&["show", &pane, "--reveal"]).stdout;
    assert!(words.contains(&code) && words.contains(&place), "{words}");
    let audit = revealed(&stage);
    assert_eq!(audit.len(), 2);
    assert!(
        audit.iter().all(|(who, target, decision)| {
            who.starts_with("operator:") && *target == pane && decision == "granted"
        }),
        "{audit:?}"
    );

    // An agent does not.
    let agent = stage.path("node/agent.context.toml");
    let agent = agent.to_str().unwrap();
    assert_eq!(wa(&["--context-file", agent, "show", &pane, "-o", "json"]).json()["agent"], "codex");
    let refused = stage.wa(&["--context-file", agent, "show", &pane, "--reveal"]);
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(!refused.stdout.contains(&code) && !refused.stderr.contains(&code), "{refused:?}");
    assert_eq!(revealed(&stage).len(), 2, "what was refused has not been revealed");

    let clean = |stage: &Stage| {
        for dir in ["controller", "node", "home", "run"] {
            assert_eq!(holding(&stage.path(dir), code.as_bytes()), Vec::<PathBuf>::new());
        }
        for name in ["wa-controller.log", "wa-node.log"] {
            let text = std::fs::read(stage.path(name)).unwrap();
            assert!(!text.windows(code.len()).any(|window| window == code.as_bytes()), "{name}");
        }
    };
    // What stands beside the code would be found, so the code would be as well.
    for dir in ["controller", "node"] {
        assert!(!holding(&stage.path(dir), b"Enter this one-time code").is_empty(), "{dir}");
    }
    clean(&stage);
    // Neither does a node that takes the screen in anew write it down.
    node.kill();
    let _node = stage.start_node(&[]).unwrap();
    wait_for("the node to be back", SOON, || (stage.wa(&["screen", &pane]).code == 0).then_some(()));
    assert!(!wa(&["screen", &pane]).stdout.contains(CODE[0]));
    clean(&stage);
}

/// Announces two secrets and prints them when the file appears: its own key, whose lines it writes down, and a code.
const PARTED: &str = r#"
line() { head -c 48 /dev/urandom | base64 -w 64 | tee -a material; }
echo intro
printf '%sBEGIN PRIVATE KEY%s\n' ----- -----
line; line
until [ -e key ]; do sleep 0.02; done
line; line; line
printf '%sEND PRIVATE KEY%s\nthe key is over\n2. Enter this one-time code (expires in 15 minutes)\n' ----- -----
until [ -e code ]; do sleep 0.02; done
printf '   %s-%s\nthe code is over\n' QX7P T4KWZ
read -r never
"#;

#[test]
fn a_secret_that_began_before_the_node_was_killed_is_taken_out_after_it() {
    let stage = Stage::new().unwrap();
    let command = stage.stand_in("codex", PARTED, &[]).unwrap();
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let dir = stage.stand_in_dir("codex");
    let _mux = stage.start_mux("100x30", &command).unwrap();
    let _controller = stage.start_controller(&[]).unwrap();
    stage.enroll_node().unwrap();
    let mut node = stage.start_node(&[]).unwrap();
    let pane = format!("{}/0", stage.host());
    let logged = |text: &str| {
        wait_for(text, SOON, || stage.wa(&["logs", &pane]).stdout.contains(text).then_some(()));
    };
    logged("private-key:more");
    for (file, end) in [("key", "one-time code"), ("code", "the code is over")] {
        node.kill();
        std::fs::write(dir.join(file), "").unwrap();
        node = stage.start_node(&[]).unwrap();
        logged(end);
    }
    let log = stage.wa(&["logs", &pane]).stdout;
    let material = std::fs::read_to_string(dir.join("material")).unwrap();
    assert_eq!(material.lines().count(), 5, "{material}");
    for secret in material.lines().chain(CODE) {
        assert!(!log.contains(secret), "{secret} in {log}");
        for part in ["controller", "node"] {
            assert_eq!(holding(&stage.path(part), secret.as_bytes()), Vec::<PathBuf>::new(), "{secret}");
        }
    }
}
