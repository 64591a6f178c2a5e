//! `wa account`, `wa switch-account`: against a real controller, with files, pipes and a terminal.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::fs::File;
use std::io::{Read as _, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{LocalModes, tcgetattr};
use serde_json::Value;
use support::head::Head;
use support::shell::Shell;
use support::{answer, said, wa};

/// Put together here, so that it stands nowhere else.
fn secret(what: &str) -> String {
    format!("{what}-{}-{}", "Tr0ub4dor", 73_317_331)
}

fn write(home: &Path, name: &str, text: &str, mode: u32) -> String {
    let file = home.join(name);
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    file.to_str().unwrap().to_owned()
}

fn json(head: &Head, args: &[&str]) -> Value {
    let (code, out, err) = head.wa(&[args, &["-o", "json"]].concat());
    assert_eq!(code, 0, "{args:?}: {out}{err}");
    serde_json::from_str(&out).unwrap()
}

/// Every file below a directory that holds these bytes.
fn files_with(directory: &Path, needle: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_with(&entry.path(), needle));
        } else if let Ok(bytes) = std::fs::read(entry.path())
            && bytes.windows(needle.len()).any(|window| window == needle)
        {
            found.push(entry.path().display().to_string());
        }
    }
    found
}

#[test]
fn a_credentials_file_that_others_may_read_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let password = secret("password");
    let text = format!("password = '{password}'\n");
    let add = |file: &str| {
        let args = ["account", "add", "work", "--agent", "codex", "--credentials-file", file];
        // Refused before anybody is asked: no controller is there.
        answer(wa(home.path(), &args).env("WA_CONTEXT_FILE", "/nonexistent/context.toml"))
    };
    for mode in [0o644, 0o640, 0o604, 0o620] {
        let file = write(home.path(), "c.toml", &text, mode);
        let (code, out, err) = add(&file);
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        assert!(err.contains(&format!("chmod 600 {file}")) && !err.contains(&password), "{err}");
    }
    for (name, text, code, said) in [
        ("typo.toml", format!("pasword = '{password}'"), 2, "pasword"),
        ("number.toml", "password = 73317331".to_owned(), 2, "must be a text"),
        ("empty.toml", String::new(), 2, "holds no credentials"),
        ("raw.toml", password.clone(), 2, "raw.toml:1"),
        ("long.toml", "#".repeat(70_000), 2, "larger"),
    ] {
        let (got, out, err) = add(&write(home.path(), name, &text, 0o600));
        assert_eq!((got, out.as_str()), (code, ""), "{err}");
        assert!(err.contains(said) && !err.contains("7331"), "{err}");
    }
    assert_eq!(add("/nonexistent/c.toml").0, 3);
    assert_eq!(add(home.path().to_str().unwrap()).0, 2, "a directory");
    // A good file is read, and then the controller is missed.
    let (code, _, err) = add(&write(home.path(), "good.toml", &text, 0o600));
    assert!(code == 2 && err.contains("/nonexistent/context.toml"), "{err}");
}

#[test]
fn an_account_is_added_changed_and_forgotten() {
    let head = Head::start();
    let (password, one_time, key) = (secret("password"), "JBSWY3DPEHPK3PXP", secret("key"));
    let text =
        format!("username = 'me@example.com'\npassword = '{password}'\none_time_secret = '{one_time}'\n");
    let file = write(head.home.path(), "work.toml", &text, 0o600);
    let added = json(&head, &["account", "add", "work", "--agent", "codex", "--credentials-file", &file]);
    assert_eq!(added["schema"], "wa.accounts/1");
    assert_eq!(
        [&added["alias"], &added["agent"], &added["pool"], &added["sign_in"]],
        ["work", "codex", "default", "device_code"]
    );
    let mut held: Vec<&str> =
        added["credentials"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    held.sort_unstable();
    assert_eq!(held, ["one_time_secret", "password", "username"]);

    // From a pipe.
    let args = ["account", "add", "ci", "--agent", "gemini", "--pool", "night", "--max-panes", "2"];
    let mut child = head
        .command(&[&args[..], &["--default-on", "web-1", "--credentials-file", "-"]].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(format!("api_key = '{key}'\n").as_bytes()).unwrap();
    let (code, out, err) = said(&child.wait_with_output().unwrap());
    assert_eq!(code, 0, "{err}");
    assert!(!out.contains(&key) && !err.contains("has no credentials"), "{out}{err}");

    // No terminal and no file: an account without credentials, and it says so.
    let (code, _, err) = head.wa(&["account", "add", "bare", "--agent", "claude"]);
    assert!(code == 0 && err.contains("bare has no credentials"), "{code} {err}");
    assert_ne!(head.wa(&["account", "add", "bare", "--agent", "claude"]).0, 0, "there is one already");
    let brings = |how: &str| {
        let file = write(head.home.path(), "key.toml", &format!("api_key = '{key}'\n"), 0o600);
        head.wa(&["account", "update", "bare", "--credentials-file", &file, "--sign-in", how, "-o", "json"])
    };
    let (code, _, err) = brings("device-code");
    assert!(code == 2 && !err.contains(&key), "it has no password: {code} {err}");
    let (code, out, err) = brings("api-key");
    let bare: Value = serde_json::from_str(&out).unwrap_or_default();
    assert_eq!((code, &bare["sign_in"]), (0, &"api_key".into()), "{err}");
    // Once more by hand: then nothing of it is used.
    assert_eq!(json(&head, &["account", "update", "bare", "--sign-in", "manual"])["sign_in"], "manual");

    // Another key seals them all, and all can be opened.
    let rotated = json(&head, &["account", "rotate"]);
    let held = json(&head, &["account", "list"]);
    let held =
        held["items"].as_array().unwrap().iter().map(|one| one["credentials"].as_array().unwrap().len());
    assert_eq!(
        (&rotated["schema"], &rotated["entries"]),
        (&"wa.vault_key/1".into(), &held.sum::<usize>().into())
    );
    assert_ne!(json(&head, &["account", "rotate"])["key"], rotated["key"]);

    let listed = json(&head, &["account", "list"]);
    let aliases: Vec<&str> =
        listed["items"].as_array().unwrap().iter().map(|one| one["alias"].as_str().unwrap()).collect();
    assert_eq!(aliases, ["bare", "ci", "work"]);
    assert_eq!(head.wa(&["account", "list", "--pool", "night", "-o", "name"]).1, "ci\n");
    let shown = json(&head, &["account", "show", "ci"]);
    assert_eq!(
        (&shown["max_panes"], &shown["default_on"][0], &shown["pool"]),
        (&2.into(), &"web-1".into(), &"night".into())
    );
    let (_, text, _) = head.wa(&["account", "show", "ci"]);
    assert!(
        text.contains("default on   web-1") && text.contains("api_key") && !text.contains(&key),
        "{text}"
    );

    // Only what is given changes.
    let changed = json(&head, &["account", "update", "ci", "--pool", "default", "--no-default"]);
    assert_eq!((&changed["pool"], &changed["max_panes"]), (&"default".into(), &2.into()));
    assert_eq!(
        (&changed["default_on"], &changed["credentials"]),
        (&serde_json::json!([]), &shown["credentials"])
    );
    assert_eq!(json(&head, &["account", "disable", "ci"])["state"], "disabled");
    assert_ne!(json(&head, &["account", "enable", "ci"])["state"], "disabled");
    let fresh = write(head.home.path(), "fresh.toml", &format!("password = 'new-{password}'\n"), 0o600);
    let changed = json(&head, &["account", "update", "work", "--credentials-file", &fresh]);
    assert_eq!(changed["credentials"], added["credentials"], "what the file leaves out stays");

    let (code, out, _) = head.wa(&["account", "test", "work", "-o", "json"]);
    let checks: Value = serde_json::from_str(&out).unwrap();
    let all_good = checks["items"].as_array().unwrap().iter().all(|check| check["ok"] != false);
    assert_eq!((checks["schema"].as_str(), code == 0), (Some("wa.account_test/1"), all_good), "{out}");

    // A terminal is asked, nobody else; then it is forgotten.
    let (code, _, err) = head.wa(&["account", "remove", "bare"]);
    assert!(code == 2 && err.contains("--yes"), "{err}");
    assert_eq!(head.wa(&["account", "remove", "bare", "--yes"]).0, 0);
    assert_eq!(head.wa(&["account", "show", "bare"]).0, 3);

    // What went in stands readable nowhere.
    for needle in [password.as_str(), one_time, &key] {
        let found = files_with(&head.home.path().join("controller"), needle.as_bytes());
        assert!(found.is_empty(), "{needle}: {found:?}");
    }
    // And who did it is known.
    let (code, out, err) = head.wa(&["audit", "--target", "work", "-o", "jsonl"]);
    assert!(code == 0 && out.contains("operator:owner"), "{out}{err}");
    assert!([password.as_str(), one_time, &key].iter().all(|needle| !out.contains(needle)), "{out}");
}

#[test]
fn pools_switch_when_they_are_told_to() {
    let head = Head::start();
    let set = json(&head, &["account", "pool", "set", "default", "--switching", "on"]);
    assert_eq!((&set["schema"], &set["switching"]), (&"wa.pools/1".into(), &true.into()));
    assert_eq!(json(&head, &["account", "pool", "set", "default", "--switching", "off"])["switching"], false);
    let listed = json(&head, &["account", "pool", "list"]);
    assert!(listed["items"].as_array().unwrap().iter().any(|pool| pool["name"] == "default"), "{listed}");
    for (args, code) in [
        (&["account", "pool", "set", "a b", "--switching", "on"][..], 2),
        (&["account", "show", "nobody"], 3),
        (&["account", "update", "nobody", "--max-panes", "1"], 3),
        (&["account", "remove", "nobody", "--yes"], 3),
        (&["account", "test", "nobody"], 3),
        (&["account", "login", "nobody", "--host", "a"], 3),
        (&["account", "add", "UPPER", "--agent", "codex"], 2),
        (&["switch-account", "a/1"], 3),
        (&["switch-account", "a/1", "--dry-run"], 3),
    ] {
        let (got, out, err) = head.wa(args);
        assert_eq!((got, out.as_str()), (code, ""), "{args:?}: {err}");
        assert!(err.starts_with("wa: "), "{err}");
    }
}

#[test]
fn an_agent_touches_no_accounts() {
    let head = Head::start();
    head.enrol();
    let agent = wa_node::config::agent_context_path(&head.state_dir());
    for args in [
        &["account", "add", "mine", "--agent", "codex"][..],
        &["account", "update", "mine", "--max-panes", "1"],
        &["account", "pool", "set", "default", "--switching", "on"],
        &["switch-account", "a/1"],
        &["audit"],
        &["audit", "verify"],
        &["approve", "approval-1"],
    ] {
        let (code, out, err) = answer(wa(head.home.path(), args).env("WA_CONTEXT_FILE", &agent));
        assert_eq!((code, out.as_str()), (4, ""), "{args:?}: {err}");
    }
}

#[test]
fn a_sign_in_begins_in_a_pane_of_its_own() {
    let head = Head::start();
    assert_eq!(head.wa(&["account", "add", "mine", "--agent", "codex"]).0, 0);
    let shell = Shell::open(&head);
    let login = ["account", "login", "mine", "--host", "a", "-o", "json"];
    let (code, out, err) = head.wa(&login);
    assert_eq!(code, 0, "{err}");
    let run: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(run["schema"], "wa.run_list/1");
    let pane = run["pane"].as_str().unwrap();
    assert!(pane.starts_with("a/") && pane != "a/0", "{run}");
    assert!(err.contains(&format!("wa show {pane} --reveal")), "{err}");
    let id = run["run"].as_str().unwrap();
    assert!(err.contains(&format!("wa run explain {id}")), "{err}");
    assert_eq!(head.wa(&["run", "cancel", id]).0, 0);
    // No agent runs in the shell's pane: there is no session to go on with.
    for dry_run in [&[][..], &["--dry-run"]] {
        let (code, _, err) = head.wa(&[&["switch-account", "a/0"][..], dry_run].concat());
        assert!(code == 4 && err.starts_with("wa: "), "{code} {err}");
    }
    assert_eq!(head.wa(&["account", "login", "mine", "--host", "nowhere"]).0, 3);
    shell.close(&head);
}

/// A terminal with `wa` at it.
struct Terminal {
    wa: Box<dyn Child + Send + Sync>,
    /// The terminal itself, which outlives `wa`.
    tty: File,
    master: Box<dyn MasterPty + Send>,
    writer: Box<dyn Write + Send>,
    reading: std::thread::JoinHandle<()>,
    shown: mpsc::Receiver<Vec<u8>>,
    all: String,
    /// How much of it was there when something was typed.
    seen: usize,
}

impl Terminal {
    fn start(head: &Head, args: &[&str]) -> Self {
        let pair = native_pty_system()
            .openpty(PtySize { rows: 24, cols: 200, pixel_width: 0, pixel_height: 0 })
            .unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_wa"));
        command.env_clear();
        command.args(args);
        command.env("HOME", head.home.path());
        command.env("WA_CONTEXT_FILE", &head.running.operator_context);
        let tty = File::open(pair.master.tty_name().unwrap()).unwrap();
        let wa = pair.slave.spawn_command(command).unwrap();
        let (mut reader, writer) =
            (pair.master.try_clone_reader().unwrap(), pair.master.take_writer().unwrap());
        let (to, shown) = mpsc::channel();
        let reading = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                if to.send(bytes[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { wa, tty, master: pair.master, writer, reading, shown, all: String::new(), seen: 0 }
    }

    /// Waits for a question that came after what was typed last.
    fn until(&mut self, question: &str) {
        while !self.all[self.seen..].contains(question) {
            let more = self.shown.recv_timeout(Duration::from_secs(20));
            let more = more.unwrap_or_else(|_| panic!("waited in vain for {question:?}: {:?}", self.all));
            self.all.push_str(&String::from_utf8_lossy(&more));
        }
    }

    fn answer(&mut self, answer: &str) {
        self.seen = self.all.len();
        self.writer.write_all(answer.as_bytes()).unwrap();
        self.writer.flush().unwrap();
    }

    /// How it ended, all that it showed, and whether the terminal shows again what is typed.
    fn end(mut self) -> (u32, String, bool) {
        let code = self.wa.wait().unwrap().exit_code();
        let back = self.echoes();
        drop((self.tty, self.writer, self.master));
        self.reading.join().unwrap();
        self.all.extend(self.shown.try_iter().map(|more| String::from_utf8_lossy(&more).into_owned()));
        (code, self.all, back)
    }

    /// Whether the terminal shows what is typed.
    fn echoes(&self) -> bool {
        tcgetattr(&self.tty).unwrap().local_modes.contains(LocalModes::ECHO | LocalModes::ICANON)
    }
}

/// What `wa` showed at a terminal that gave these answers, and how it ended.
fn at_a_terminal(head: &Head, args: &[&str], answers: &[(&str, &str)]) -> (u32, String) {
    let mut terminal = Terminal::start(head, args);
    for (question, answer) in answers {
        terminal.until(question);
        terminal.answer(answer);
    }
    let (code, all, back) = terminal.end();
    assert!(back, "the terminal shows nothing any more: {all}");
    (code, all)
}

#[test]
fn a_signal_leaves_no_terminal_that_shows_nothing() {
    let head = Head::start();
    for signal in [Signal::INT, Signal::TERM] {
        let args = ["account", "add", "never", "--agent", "codex", "--username", "me"];
        let mut terminal = Terminal::start(&head, &args);
        terminal.until("Password");
        assert!(!terminal.echoes());
        terminal.answer("half");
        let wa = i32::try_from(terminal.wa.process_id().unwrap()).unwrap();
        kill_process(Pid::from_raw(wa).unwrap(), signal).unwrap();
        let (code, shown, back) = terminal.end();
        assert!(back, "{signal:?}");
        assert!(code == 130 && shown.contains("interrupted"), "{signal:?}: {code} {shown:?}");
        assert_eq!(head.wa(&["account", "show", "never"]).0, 3);
    }
}

#[test]
fn at_a_terminal_it_asks_and_shows_nothing() {
    let head = Head::start();
    let (password, key) = (secret("password"), secret("key"));
    let (code, shown) = at_a_terminal(
        &head,
        &["account", "add", "work", "--agent", "codex", "--username", "me"],
        &[("Password", &format!("{password}\n")), ("one-time passwords", "\n")],
    );
    assert_eq!(code, 0, "{shown}");
    assert!(!shown.contains("7331"), "{shown}");
    assert_eq!(json(&head, &["account", "show", "work"])["credentials"].as_array().unwrap().len(), 2);

    let (code, shown) = at_a_terminal(
        &head,
        &["account", "add", "ci", "--agent", "gemini", "--sign-in", "api-key"],
        &[("API key", &format!("wrong\u{15}{key}\r"))],
    );
    assert!(code == 0 && !shown.contains("7331") && !shown.contains("wrong"), "{shown}");
    assert_eq!(json(&head, &["account", "show", "ci"])["credentials"], serde_json::json!(["api_key"]));

    // Ctrl-C ends it, and nothing was added.
    let args = ["account", "add", "never", "--agent", "codex", "--username", "me"];
    let (code, _) = at_a_terminal(&head, &args, &[("Password", "half\u{3}")]);
    assert_eq!((code, head.wa(&["account", "show", "never"]).0), (130, 3));

    // Everything but yes is no.
    let (code, _) = at_a_terminal(&head, &["account", "remove", "ci"], &[("[y/N]", "\n")]);
    assert_eq!((code, head.wa(&["account", "show", "ci"]).0), (4, 0));
    let (code, _) = at_a_terminal(&head, &["account", "remove", "ci"], &[("[y/N]", "y\n")]);
    assert_eq!((code, head.wa(&["account", "show", "ci"]).0), (0, 3));
}
