//! `wa logs --conversation`, `wa show` and `wa search` of what an agent's session file says, from a real controller.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::time::Duration;

use serde_json::Value;
use support::{answer, wa};
use tempfile::TempDir;
use wa_controller::store::{Batch, NodeChange};
use wa_controller::{Config, Controller};
use wa_link::shutdown::{Shutdown, Tasks};
use wa_proto::wire::v1;
use wa_proto::{
    AgentKind, AgentSession, Conversation, Generation, Host, Lane, Line, Lines, Message, MuxName, Pane,
    PaneRef, PaneState, RateLimitWindow, Record, RecordBody, Role, SpoolId, StateDetail, Timestamp,
    TokenUsage,
};

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + second).unwrap()
}

fn pane_ref(pane_id: u64) -> PaneRef {
    PaneRef { mux: MuxName::main(), generation: Generation::new("boot-1-1").unwrap(), pane_id }
}

fn message(index: u64, role: Role, name: &str, text: &str) -> Message {
    let time = Some(time(i64::try_from(index).unwrap()));
    Message { index, id: String::new(), role, name: name.into(), text: text.into(), cut_bytes: 0, time }
}

fn records() -> Vec<Record> {
    let line = |pane_id: u64, row, text: &str| {
        let line = Line { row, rev: 0, text: text.into(), rows: 1, time: None };
        let agent = Some(AgentKind::codex());
        RecordBody::Lines(Lines { pane: pane_ref(pane_id), layout: 1, agent, lines: vec![line] })
    };
    let result: String = (0..40).map(|n| format!("test number {n} ok\n")).collect();
    let messages = vec![
        message(0, Role::User, "", "run the tests\nand say how it went"),
        message(1, Role::Reasoning, "", "I should run them."),
        message(2, Role::ToolCall, "exec_command", "{\n  \"cmd\": \"cargo test\"\n}"),
        message(3, Role::ToolResult, "exec_command", &result),
        message(4, Role::Assistant, "", "All is \u{1b}[2Jwell\u{202e}."),
    ];
    let said = Conversation {
        pane: pane_ref(1),
        agent: AgentKind::codex(),
        session_id: "01a2".into(),
        skipped_bytes: 77,
        messages,
    };
    let bodies = [
        line(1, 1, "› run the tests"),
        RecordBody::Conversation(said),
        line(1, 2, "⚠ Heads up, you have less than 25% of your 5h limit left."),
        line(2, 1, "nothing but a screen"),
    ];
    let record = |(seq, body): (u64, RecordBody)| Record {
        lane: Lane::Bulk,
        seq,
        time: time(100),
        trace_parent: String::new(),
        body,
    };
    (1..).zip(bodies).map(record).collect()
}

fn pane(pane_id: u64, session: Option<AgentSession>) -> Pane {
    Pane {
        pane: pane_ref(pane_id),
        title: "a title".into(),
        cwd: "/src/shop".into(),
        project: "shop".into(),
        agent_pid: 4711,
        agent: Some(AgentKind::codex()),
        agent_version: "0.89.0".into(),
        state: PaneState::Idle,
        detail: StateDetail::default(),
        session_id: String::new(),
        cols: 80,
        rows: 24,
        tty: "/dev/pts/9".into(),
        last_output: None,
        mirror: false,
        account: None,
        not_logged: if session.is_some() { String::new() } else { "excluded by the title".into() },
        session,
    }
}

/// A controller that has heard of a session, and a home for `wa`.
struct Head {
    home: TempDir,
    running: wa_controller::Running,
    _runtime: tokio::runtime::Runtime,
}

impl Head {
    fn start() -> Self {
        wa_link::tls::install_provider();
        let home = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let config = Config::local(home.path().join("controller"));
        let host = Host::new("web-1").unwrap();
        let session = AgentSession {
            session_id: "01a2".into(),
            path: "/home/u/.codex/sessions/a.jsonl".into(),
            reason: "the process 4711 has it open".into(),
            usage: TokenUsage { context: 50, context_window: 200, ..TokenUsage::default() },
            rate_limits: vec![RateLimitWindow {
                window: "5h".into(),
                percent_used: 78.0,
                resets_at: Some(time(900)),
                observed_at: time(1),
            }],
            ..AgentSession::default()
        };
        let node = NodeChange {
            host: host.clone(),
            version: String::new(),
            last_seen: Some(time(0)),
            skew_ms: 0,
            heartbeat: v1::Heartbeat::default(),
            whole: true,
            panes: vec![pane(1, Some(session)), pane(2, None)],
            gone: Vec::new(),
        };
        let tasks = Tasks::new(Shutdown::new());
        let running = runtime.block_on(async {
            let running = Controller::start(config.clone(), tasks.clone()).await.unwrap();
            let store = running.store();
            let spool = SpoolId::generate();
            let batch =
                Batch { host, spool, lane: Lane::Bulk, records: records(), unknown: vec![], bytes: 1000 };
            store.ingest(batch).await.unwrap().wait().await.unwrap();
            store.save_nodes(vec![node]).await.unwrap();
            assert!(tasks.finish(Duration::from_secs(10)).await.failure.is_none());
            drop(running);
            // As after a restart: the panes are known, their node is away.
            Controller::start(config, Tasks::new(Shutdown::new())).await.unwrap()
        });
        Self { home, running, _runtime: runtime }
    }

    fn wa(&self, args: &[&str]) -> (i32, String, String) {
        let mut command = wa(self.home.path(), args);
        answer(command.env("WA_CONTEXT_FILE", &self.running.operator_context))
    }

    fn json(&self, args: &[&str]) -> Value {
        let (code, stdout, stderr) = self.wa(&[args, &["-o", "json"]].concat());
        assert_eq!(code, 0, "{args:?}: {stderr}");
        serde_json::from_str(&stdout).unwrap()
    }
}

#[test]
fn a_conversation_is_read_by_people_and_programs() {
    let head = Head::start();
    let (code, stdout, stderr) = head.wa(&["logs", "web-1/1", "--conversation"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let rows: Vec<&str> = stdout.lines().collect();
    let said = |time: &str, who: &str, text: &str| format!("2026-11-18T{time}Z  {who:>9} › {text}");
    let expected = [
        "--- gap: 77 bytes of the session file were not read ---".to_owned(),
        said("11:06:40", "user", "run the tests"),
        format!("{:34}and say how it went", ""),
        said("11:06:41", "thinks", "I should run them."),
        said("11:06:42", "tool", "exec_command { \"cmd\": \"cargo test\" }"),
        said("11:06:43", "result", "test number 0 ok"),
    ];
    assert_eq!(rows[..6], expected);
    assert!(rows[11].ends_with("… 34 more rows; all of it with -o jsonl"), "{stdout}");
    assert_eq!(rows[12], said("11:06:44", "codex", "All is [2Jwell\\u{202e}."));
    assert!(rows[13].ends_with("screen │ ⚠ Heads up, you have less than 25% of your 5h limit left."));
    assert_eq!(rows.len(), 14);
    assert!(!stdout.contains('\u{1b}'), "no terminal, no colours");

    let value = head.json(&["logs", "web-1/1", "--conversation"]);
    assert_eq!(value["schema"], "wa.logs/1");
    let items = value["items"].as_array().unwrap();
    assert_eq!(items.len(), 6);
    assert_eq!(items[3]["message"]["text"].as_str().unwrap().lines().count(), 40, "all of it");
    assert_eq!(items[0]["message"]["skipped_bytes"], 77);
    assert!(items[5]["text"].as_str().unwrap().starts_with("⚠ Heads up"));
    let tail = head.json(&["logs", "web-1/1", "--conversation", "--tail", "2"]);
    assert_eq!(tail["items"].as_array().unwrap()[..], items[4..]);
}

#[test]
fn a_pane_without_a_session_file_says_so_once() {
    let head = Head::start();
    let (code, stdout, stderr) = head.wa(&["logs", "web-1/2", "--conversation"]);
    assert!(code == 0 && stdout.ends_with("screen │ nothing but a screen\n"), "{stdout}");
    assert_eq!(stderr, "no session file of web-1/2 is known: this is what its screen showed\n");
    let (code, _, stderr) = head.wa(&["logs", "web-1/2", "--conversation", "-f", "--timeout", "500ms"]);
    assert!(code == 5 && stderr.starts_with("no session file is known of what runs in web-1/2;"), "{stderr}");
}

#[test]
fn a_pane_is_shown_with_the_file_that_belongs_to_it() {
    let head = Head::start();
    let (code, stdout, stderr) = head.wa(&["show", "web-1/1"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    for fact in [
        "node          away\n",
        "session file  /home/u/.codex/sessions/a.jsonl\n",
        "because       the process 4711 has it open\n",
        "context       50 of 200 (25% full)\n",
        "limit         5h: 78% used, resets 2026-11-18T11:21:40Z (seen 2026-11-18T11:06:41Z)\n",
    ] {
        assert!(stdout.contains(fact), "{fact:?} in {stdout}");
    }
    let value = head.json(&["show", "web-1/1"]);
    assert_eq!(value["session"]["reason"], "the process 4711 has it open");
    assert_eq!(
        (value["session"]["context_percent"].as_f64(), &value["not_logged"]),
        (Some(25.0), &Value::Null)
    );
    let value = head.json(&["status"]);
    assert_eq!(value["items"][1]["not_logged"], "excluded by the title");
    assert!(head.wa(&["status", "-o", "wide"]).1.contains("excluded by the title"));
    assert!(head.wa(&["show", "web-1/2"]).1.contains("not logged  excluded by the title\n"));
    assert_eq!(head.wa(&["show", "web-1/9"]).0, 3);
}

#[test]
fn what_was_said_is_found() {
    let head = Head::start();
    let (code, stdout, _) = head.wa(&["search", "\"say how\""]);
    assert_eq!(code, 0);
    let rows: Vec<&str> = stdout.lines().collect();
    assert!(rows.len() == 2 && rows[1].starts_with("web-1/1 "), "{stdout}");
    assert!(rows[1].ends_with("user › and say how it went"), "{stdout}");
    let value = head.json(&["search", "\"say how\""]);
    let hit = &value["items"][0];
    assert_eq!((&hit["pane"], &hit["message"]["role"]), (&"web-1/1".into(), &"user".into()));
    let (from, to) = (hit["matches"][0][0].as_u64().unwrap(), hit["matches"][0][1].as_u64().unwrap());
    let text = hit["message"]["text"].as_str().unwrap();
    assert_eq!(&text[usize::try_from(from).unwrap()..usize::try_from(to).unwrap()], "say how");
}
