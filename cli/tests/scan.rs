//! `wa rules scan|explain --file|show|test|list --local` as they are started, on recorded screens and streams: no
//! controller, no context, no terminal.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use support::{answer, said, wa};
use tempfile::TempDir;

const NOW: &str = "2026-11-22T12:00:00Z";

fn home() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn recorded(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../node-agent/match/testdata");
    folder.join(name).to_str().unwrap().to_owned()
}

/// A recorded session, unpacked into the home.
fn session(home: &Path, name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../node-agent/screen/testdata/sessions");
    let packed = std::fs::File::open(folder.join(format!("{name}.raw.zst"))).unwrap();
    let mut bytes = Vec::new();
    zstd::Decoder::new(packed).unwrap().take(16 << 20).read_to_end(&mut bytes).unwrap();
    write(home, "session.raw", &bytes)
}

fn write(home: &Path, name: &str, bytes: &[u8]) -> String {
    let file: PathBuf = home.join(name);
    std::fs::write(&file, bytes).unwrap();
    file.to_str().unwrap().to_owned()
}

fn objects(home: &Path, args: &[&str]) -> (i32, Vec<Value>, String) {
    let args = [&["rules", "scan", "-o", "jsonl", "--now", NOW], args].concat();
    let (code, stdout, stderr) = answer(&mut wa(home, &args));
    (code, stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), stderr)
}

fn names(object: &Value) -> Vec<&str> {
    object["events"].as_array().unwrap().iter().map(|event| event["event"].as_str().unwrap()).collect()
}

#[test]
fn a_saved_screen_is_one_object() {
    let home = home();
    let screen = "\
╭───────────────────────────────────────╮
│ >_ OpenAI Codex (v0.89.0)             │
╰───────────────────────────────────────╯

› go on

■ You've hit your usage limit. Upgrade to Pro (https://chatgpt.com/explore/pro) or try again at 2:31 AM.

› Ask Codex to do anything

  ? for shortcuts";
    let file = write(home.path(), "limit.txt", screen.as_bytes());
    let (code, found, stderr) = objects(home.path(), &["--agent", "codex", "--size", "120x40", &file]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let object = &found[0];
    assert_eq!((object["file"].as_str(), object["agent"].as_str()), (Some(file.as_str()), Some("codex")));
    assert_eq!(object["state"], "limited");
    let limit =
        object["events"].as_array().unwrap().iter().find(|event| event["event"] == "limit.reached").unwrap();
    assert_eq!((limit["line"].as_u64(), limit["offset"].is_null()), (Some(7), true));
    assert_eq!(limit["fields"]["reset_at"], "2:31 AM");
    assert!(limit["fields"]["reset_time"].as_str().unwrap().starts_with("2026-11-2"), "{limit}");
    let mut keys: Vec<&String> = limit.as_object().unwrap().keys().collect();
    keys.sort_unstable();
    assert_eq!(keys, ["agent", "event", "fields", "line", "offset", "rule"]);
}

#[test]
fn colours_tell_a_placeholder_from_a_draft() {
    let home = home();
    let (empty, draft) = (recorded("codex-0.89.0-empty.ansi"), recorded("codex-0.89.0-dialog.ansi"));
    let (code, found, _) = objects(home.path(), &[&empty, &draft]);
    assert_eq!(code, 0);
    assert_eq!((found[0]["state"].as_str(), found[1]["state"].as_str()), (Some("idle"), Some("waiting")));
    assert_eq!(names(&found[1]), ["approval.requested"]);
    let printed = answer(&mut wa(home.path(), &["rules", "scan", &empty, &draft]));
    assert!(printed.1.lines().nth(2).unwrap().contains("waiting"), "{}", printed.1);
    let printed = answer(&mut wa(home.path(), &["rules", "scan", "-o", "name", &empty, &draft]));
    assert_eq!(printed.1, format!("{empty}\n{draft}\n"));
}

#[test]
fn json_carries_its_schema_and_standard_input_is_a_file() {
    let home = home();
    let mut command = wa(home.path(), &["rules", "scan", "-", "-o", "json"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"nothing here\n").unwrap();
    let (code, stdout, _) = said(&child.wait_with_output().unwrap());
    let value: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, value["schema"].as_str()), (0, Some("wa.scan/1")));
    let item = &value["items"][0];
    assert_eq!((item["file"].as_str(), item["state"].as_str()), (Some("-"), Some("unknown")));
    assert_eq!(names(item), [""; 0]);
}

#[test]
fn a_recorded_session_tells_what_happened_where() {
    let home = home();
    let file = session(home.path(), "codex_0.169.0_120x40_session");
    for agent in [&["--agent", "codex"][..], &[]] {
        let args = [&["--raw", "--size", "120x40", &file], agent].concat();
        let (code, found, stderr) = objects(home.path(), &args);
        assert_eq!((code, stderr.as_str()), (0, ""));
        let events = found[0]["events"].as_array().unwrap();
        assert_eq!(events[0]["event"], "agent.started");
        let at = |name: &str| -> Vec<u64> {
            let of = events.iter().filter(|event| event["event"] == name);
            of.map(|event| event["offset"].as_u64().unwrap()).collect()
        };
        let warnings = at("limit.warning");
        assert!(warnings[0] > 16_326 && warnings[0] <= 18_520, "{warnings:?}");
        assert_eq!(at("context.compacted").len(), 1, "{:?}", at("context.compacted"));
        assert!(at("session.ended").iter().any(|at| (112_780..=116_300).contains(at)), "{agent:?}");
        let offsets: Vec<u64> = events.iter().map(|event| event["offset"].as_u64().unwrap()).collect();
        assert!(offsets.is_sorted(), "in the order in which they fired");
        // What came of the first bytes is the beginning of what came of all.
        let (_, part, _) = objects(home.path(), &[&args[..], &["--offset", "18520"]].concat());
        let part = part[0]["events"].as_array().unwrap();
        assert_eq!(part.iter().filter(|event| event["event"] == "limit.warning").count(), 1);
        assert_eq!(names(&found[0])[..part.len().min(3)], names(&serde_json::json!({ "events": part }))[..3]);
    }
}

#[test]
fn a_quotation_in_a_shell_is_nothing() {
    let home = home();
    let stream = "\x1b[?2004hme@box:~$ cat notes\r\n\x1b[?2004l\rYou've hit your usage limit. Try again at 3pm.\r\n\
                  ■ You've hit your usage limit. Try again at 3:42 PM.\r\n\x1b[?2004hme@box:~$ ";
    let file = write(home.path(), "shell.raw", stream.as_bytes());
    let (code, found, _) = objects(home.path(), &["--raw", &file]);
    assert_eq!((code, names(&found[0])), (0, vec![]));
    assert_eq!(found[0]["state"], "shell");
}

#[test]
fn a_file_that_cannot_be_read_spares_the_others() {
    let home = home();
    let good = recorded("codex-0.89.0-empty.ansi");
    let (code, found, stderr) = objects(home.path(), &["/nonexistent/a.txt", &good]);
    assert_eq!((code, found.len()), (7, 1), "{stderr}");
    assert!(stderr.contains("/nonexistent/a.txt"), "{stderr}");
    assert_eq!(objects(home.path(), &["/nonexistent/a.txt"]).0, 3);
    assert_eq!(objects(home.path(), &["/nonexistent/a.txt", "/nonexistent/b.txt"]).0, 3);
    let folder = home.path().to_str().unwrap();
    assert_eq!(objects(home.path(), &[folder]).0, 2, "a directory");
    assert_eq!(objects(home.path(), &["--raw", folder]).0, 2);
}

#[test]
fn odd_files_are_bounded_work() {
    let home = home();
    let mut odd = "x".repeat(1 << 20).into_bytes();
    odd.extend_from_slice("\n\x1b[1m".as_bytes());
    odd.extend(std::iter::repeat_n("■ You've hit your usage limit. ", 4000).flat_map(str::bytes));
    odd.extend_from_slice(b"\n\xff\xfe\x00\x07\n");
    let odd = write(home.path(), "odd.bin", &odd);
    let many = write(home.path(), "many.txt", "› You've hit your usage limit\n".repeat(100_000).as_bytes());
    let huge = write(home.path(), "huge.txt", &vec![b'a'; 9 << 20]);
    let empty = write(home.path(), "empty.txt", b"");
    let begun = std::time::Instant::now();
    let (code, found, stderr) = objects(home.path(), &["--agent", "codex", &odd, &many, &huge, &empty]);
    assert_eq!((code, found.len()), (7, 3), "{stderr}");
    assert!(stderr.contains("odd.bin: byte ") && stderr.contains("many.txt: 100000 lines"), "{stderr}");
    assert!(stderr.contains("huge.txt is larger than 8 MiB"), "{stderr}");
    let (code, found, _) = objects(home.path(), &["--raw", &odd, &empty]);
    assert_eq!((code, found.len()), (0, 2));
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
}

#[test]
fn wrong_arguments_are_usage_errors() {
    let home = home();
    for args in [
        &["scan"][..],
        &["scan", "--size", "0x0", "a"],
        &["scan", "--size", "9999x9999", "a"],
        &["scan", "--offset", "5", "a"],
        &["scan", "--now", "yesterday-ish", "a"],
        &["scan", "--agent", "Not A Word", "a"],
        &["explain"],
        &["explain", "a/0", "--file", "b"],
        &["push"],
        &["list", "pack.toml"],
        &["show"],
    ] {
        let (code, stdout, stderr) = answer(&mut wa(home.path(), &[&["rules"], args].concat()));
        assert_eq!((code, stdout.as_str()), (2, ""), "{args:?}: {stderr}");
    }
}

const PACK: &str = r#"schema = "wa.pack/1"
version = "1"

[[rule]]
id = "mine.full"
event = "context.full"
agent = "codex"
region = "transcript"
literals = ["the cup is full"]
pattern = 'the cup is full(?: of (?P<what>\w+))?'
rearm = "turn"
[[rule.example]]
text = "the cup is full of tea"
fields = { what = "tea" }
[[rule.counter]]
text = "the cup is empty"
"#;

#[test]
fn a_pack_of_ones_own_is_tested_shown_and_run() {
    let home = home();
    let pack = write(home.path(), "mine.toml", PACK.as_bytes());
    let (code, stdout, stderr) = answer(&mut wa(home.path(), &["rules", "test", &pack, "-o", "json"]));
    assert_eq!(code, 0, "{stdout}{stderr}");
    let value: Value = serde_json::from_str(&stdout).unwrap();
    let item = &value["items"][0];
    assert_eq!((item["pack"].as_str(), item["rules"].as_u64()), (Some("mine"), Some(1)));
    assert_eq!((item["examples"].as_u64(), item["counters"].as_u64()), (Some(1), Some(1)));

    let (code, stdout, _) = answer(&mut wa(home.path(), &["rules", "show", "mine.full", "--pack", &pack]));
    assert_eq!(code, 0);
    assert!(stdout.starts_with("# pack mine (local), line 5\n[[rule]]\nid = \"mine.full\""), "{stdout}");
    assert!(stdout.contains("[[rule.counter]]\ntext = \"the cup is empty\""), "{stdout}");

    let (code, stdout, _) = answer(&mut wa(home.path(), &["rules", "list", "--local", &pack]));
    assert_eq!(code, 0);
    assert!(stdout.lines().any(|line| line.starts_with("mine") && line.contains("local")), "{stdout}");
    assert!(stdout.lines().any(|line| line.starts_with("codex") && line.contains("builtin")), "{stdout}");

    let screen =
        write(home.path(), "cup.txt", "the cup is full of milk\n\n› hm\n\n  ? for shortcuts\n".as_bytes());
    let (code, found, _) = objects(home.path(), &["--agent", "codex", "--pack", &pack, &screen]);
    assert_eq!((code, names(&found[0])), (0, vec!["context.full"]));
    assert_eq!(found[0]["events"][0]["fields"]["what"], "milk");

    let args = ["rules", "explain", "--file", &screen, "--agent", "codex", "--pack", &pack];
    let (code, stdout, stderr) = answer(&mut wa(home.path(), &args));
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.lines().any(|line| line.starts_with("fired") && line.contains("mine.full")), "{stdout}");
}

#[test]
fn mistakes_of_packs_are_named_for_every_file() {
    let home = home();
    let lies = write(home.path(), "lies.toml", PACK.replace("is full of tea", "is half full").as_bytes());
    let unknown = write(home.path(), "unknown.toml", PACK.replace("rearm", "rearms").as_bytes());
    let good = write(home.path(), "good.toml", PACK.as_bytes());
    let args = ["rules", "test", "-o", "jsonl", &lies, &unknown, &good];
    let (code, stdout, _) = answer(&mut wa(home.path(), &args));
    assert_eq!(code, 1, "{stdout}");
    let all: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((all[0]["line"].as_u64(), all[0]["rule"].as_str()), (Some(5), Some("mine.full")), "{stdout}");
    assert!(all[0]["problem"].as_str().unwrap().contains("example 1"), "{stdout}");
    assert!(all[1]["problem"].as_str().unwrap().contains("rearms"), "{stdout}");
    assert_eq!(all[2]["ok"], true);
    let twin = write(home.path(), "twin.toml", PACK.as_bytes());
    let (code, stdout, _) = answer(&mut wa(home.path(), &["rules", "test", &good, &twin]));
    assert_eq!(code, 1, "the same rule twice: {stdout}");
    assert!(stdout.contains("good, twin together"), "{stdout}");
    let (code, _, stderr) = answer(&mut wa(home.path(), &["rules", "test", "/nonexistent/p.toml"]));
    assert_eq!(code, 3, "{stderr}");
    let (code, stdout, stderr) = answer(&mut wa(home.path(), &["rules", "scan", "--pack", &lies, &good]));
    assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
    assert!(stderr.contains("lies") && stderr.contains("line 5"), "{stderr}");
}

#[test]
fn the_packs_that_are_built_in_are_good() {
    let home = home();
    let (code, stdout, stderr) = answer(&mut wa(home.path(), &["rules", "test"]));
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(stdout.lines().count() > 4, "{stdout}");
    let (code, _, stderr) = answer(&mut wa(home.path(), &["rules", "show", "codex.limit"]));
    assert_eq!(code, 3);
    assert!(stderr.contains("did you mean codex.limit."), "{stderr}");
    let (code, stdout, _) = answer(&mut wa(home.path(), &["rules", "show", "codex", "-o", "name"]));
    assert_eq!(code, 0);
    assert!(stdout.lines().any(|line| line == "codex.limit.usage"), "{stdout}");
}

/// What an agent prints in one breath is more than a screen: its error stood on none.
#[test]
fn an_error_that_no_frame_shows_is_found_on_its_line() {
    let home = home();
    let live =
        "\r\n› Ask Codex to do anything\r\n\r\n  gpt-5.1-codex default · ~/webapp\r\n  ? for shortcuts";
    let work = "\r\n• Working (3s • esc to interrupt)\r\n";
    let flood = |words: &str| -> String { (0..300).map(|n| format!("    {words} {n}\r\n")).collect() };
    let quoted = "• Ran cat old.log\r\n  └ ■ unexpected status 500 Internal Server Error: quoted\r\n\r\n";
    let error = "\r\n■ unexpected status 503 Service Unavailable: upstream\r\n\r\n";
    // Each frame goes up to where the last one's live area began, and paints anew.
    let frame = |up: usize, text: &str| format!("\x1b[?2026h\x1b[{up}A\r\x1b[J{text}\x1b[?2026l");
    let started = frame(0, &format!(">_ OpenAI Codex (v0.169.0)\r\n{live}"));
    let asked = frame(4, &format!("› read the log\r\n{work}{live}"));
    let before = format!("{started}{asked}");
    let print = |error: &str| {
        frame(6, &format!("{quoted}{}{error}{}{work}{live}", flood("output row"), flood("more of it")))
    };
    let scan = |text: &str| {
        let file = write(home.path(), "flood.raw", text.as_bytes());
        let args = ["--raw", "--size", "80x24", "--agent", "codex", &file];
        let (code, mut found, stderr) = objects(home.path(), &args);
        assert_eq!((code, stderr.as_str()), (0, ""));
        let object = found.remove(0);
        let errors =
            object["events"].as_array().unwrap().iter().filter(|event| event["event"] == "error.api");
        errors.cloned().collect::<Vec<Value>>()
    };
    let all = format!("{before}{}", print(error));
    let told = scan(&all);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((told[0]["fields"]["status"].as_u64(), told[0]["line"].as_u64()), (Some(503), None));
    assert_eq!(told[0]["offset"].as_u64(), Some(all.len() as u64));
    assert!(scan(&format!("{before}{}", print(""))).is_empty(), "what a command's output quotes is no error");
    // More than a server keeps: the line went by unread, and nothing is made up.
    let endless: String = (0..5000).map(|n| format!("    more of it {n}\r\n")).collect();
    let lost = frame(6, &format!("{quoted}{error}{endless}{work}{live}"));
    assert!(scan(&format!("{before}{lost}")).is_empty());
}

/// `wa workflow run --dry-run`: the same replay, and what a workflow would have made of it.
#[test]
fn a_workflow_is_tried_on_a_recorded_session() {
    let home = home();
    let file = session(home.path(), "codex_0.169.0_120x40_session-errlimits");
    let run = |workflow: &str, more: &[&str]| {
        let base = ["workflow", "run", workflow, &file, "--size", "120x40", "--now", NOW, "-o", "jsonl"];
        let (code, stdout, stderr) = answer(&mut wa(home.path(), &[&base[..], more].concat()));
        let lines: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (code, lines, stderr)
    };
    let (code, lines, stderr) = run("limit-wait", &["--dry-run", "--agent", "codex"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let says = |words: &str| {
        let at = lines.iter().position(|line| line["text"].as_str().unwrap().contains(words));
        at.unwrap_or_else(|| panic!("{words}: {lines:#?}"))
    };
    let begun = says("begins, by limit.reached");
    assert_eq!(lines[begun]["beyond"], false);
    assert!(says("the agent went on by itself") > begun, "as the recording has it");
    let times: Vec<&str> = lines.iter().map(|line| line["time"].as_str().unwrap()).collect();
    assert!(times.is_sorted_by_key(|time| time.parse::<wa_proto::Timestamp>().unwrap()), "{times:?}");
    // Had it ended at the limit: the reset is waited for, long after the recording.
    let (code, lines, stderr) = run("limit-wait", &["--dry-run", "--agent", "codex", "--offset", "8157"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let typed = lines.iter().find(|line| line["text"].as_str().unwrap().contains("would type \"proceed\""));
    let typed = typed.unwrap_or_else(|| panic!("{lines:#?}"));
    assert_eq!(typed["beyond"], true);
    assert!(typed["time"].as_str().unwrap() > NOW, "{typed}");
    let (_, lines, _) = run("claude-compaction-reread", &["--dry-run", "--agent", "codex"]);
    assert!(lines[0]["text"].as_str().unwrap().contains("is not for codex"), "{lines:?}");

    // For real it is another command.
    let (code, _, stderr) = run("limit-wait", &[]);
    assert!(code == 2 && stderr.contains("--dry-run"), "{stderr}");
    let (code, _, stderr) = run("limit-weight", &["--dry-run"]);
    assert!(code == 3 && stderr.contains("limit-wait"), "{stderr}");
    let bad = write(home.path(), "bad.toml", b"name = 'w'\nversion = 1\non = 'ball'\n");
    let (code, _, stderr) = run(&bad, &["--dry-run"]);
    assert!(code == 2 && stderr.contains("bad.toml"), "{stderr}");
    let (code, ..) =
        answer(&mut wa(home.path(), &["workflow", "run", "limit-wait", "/nonexistent", "--dry-run"]));
    assert_eq!(code, 3);
}
