//! Witnesses beside the screen.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use wa_embedded_mux::Command;
use wa_proto::wire::v1;
use wa_proto::{AgentKind, EventKind, Pane, Witness};

use crate::hook::HookReport;
use crate::testing::{Mux, Node, agent, prompt};

const SESSION: &str = "5f0c7f1e-6f0a-4c35-9c6e-0b9a3d1f2a44";

fn report(tty: Option<String>, path: Option<PathBuf>) -> HookReport {
    let now = wa_link::clock::now();
    HookReport {
        agent: AgentKind::claude(),
        event: "UserPromptSubmit".into(),
        session_id: SESSION.into(),
        transcript_path: path,
        cwd: String::new(),
        peer_pid: 1,
        tty,
        time: now,
        testimony: Some(wa_match::Testimony {
            kind: EventKind::QuestionAsked,
            witness: Witness::Hook,
            key: "q1".into(),
            rule: String::new(),
            fields: Default::default(),
            line: "Which colour?".into(),
            at: now,
        }),
    }
}

fn is_agent(pane: &Pane) -> bool {
    pane.agent.is_some() && pane.agent_pid > 0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_is_heard_at_the_pane_with_its_terminal_and_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let mux = Mux::start(dir.path(), agent(dir.path(), "plain"));
    let node = Node::start(dir.path(), &mux.socket);
    let pane = node.pane("an agent", is_agent).await;
    assert!(!node.muxes.hook(report(None, None)).await);
    assert!(!node.muxes.hook(report(Some("/dev/null".into()), None)).await);
    assert!(node.muxes.hook(report(Some(pane.tty.clone()), None)).await);
    let event = node
        .until("question.asked", |node| {
            node.events().into_iter().find(|event| event.event == "question.asked")
        })
        .await;
    assert!(event.witnesses.contains(&"hook".to_owned()), "{event:?}");
    node.stop().await;
}

/// Claude Code's files below a directory, written as it writes them.
struct Home {
    dir: PathBuf,
    written: usize,
}

impl Home {
    fn new(dir: &Path) -> Self {
        let home = Self { dir: dir.join("config"), written: 0 };
        std::fs::create_dir_all(home.file().parent().unwrap()).unwrap();
        std::fs::write(home.file(), "").unwrap();
        home
    }

    fn file(&self) -> PathBuf {
        self.dir.join("projects/-srv-webapp").join(format!("{SESSION}.jsonl"))
    }

    fn say(&mut self, text: &str) {
        self.written += 1;
        let line = format!(
            r#"{{"parentUuid":null,"isSidechain":false,"userType":"external","cwd":"/srv/webapp","sessionId":"{SESSION}","version":"2.1.176","gitBranch":"main","type":"user","uuid":"00000000-0000-4000-8000-{:012}","timestamp":"2026-11-20T10:00:00.000Z","message":{{"role":"user","content":"{text}"}}}}"#,
            self.written
        );
        let mut file = std::fs::OpenOptions::new().append(true).open(self.file()).unwrap();
        writeln!(file, "{line}").unwrap();
    }

    fn agent(&self, dir: &Path) -> Command {
        drop(agent(dir, "plain"));
        let config = format!("CLAUDE_CONFIG_DIR={}", self.dir.display());
        Command::new(["/usr/bin/env", config.as_str(), dir.join("claude").to_str().unwrap(), "plain"])
    }
}

fn said(node: &Node) -> Vec<String> {
    let conversations = node.conversations().into_iter();
    conversations.flat_map(|conversation| conversation.messages).map(|message| message.text).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_session_file_stands_at_its_pane_and_its_messages_are_recorded_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut home = Home::new(dir.path());
    home.say("the first");
    let mux = Mux::start(dir.path(), home.agent(dir.path()));
    let node = Node::start(dir.path(), &mux.socket);
    let pane = node.pane("an agent", is_agent).await;
    assert!(node.muxes.hook(report(Some(pane.tty.clone()), Some(home.file()))).await);
    let pane = node
        .pane("its session", |pane| pane.session.as_ref().is_some_and(|session| !session.path.is_empty()))
        .await;
    assert_eq!(pane.session_id, SESSION);
    assert!(pane.session.unwrap().reason.contains("UserPromptSubmit"));
    let key = "-----BEGIN RSA PRIVATE KEY-----\\nMIIEowIBAAKCAQEAu1SU1LfVLPHCozMxH2Mo4lgOEePzNm0tRgeLezV6ffAt0guntd\\n-----END RSA PRIVATE KEY-----";
    home.say(&format!("here it is\\n{key}\\nand on"));
    let texts = node
        .until("the second message", |node| {
            Some(said(node)).filter(|said| said.iter().any(|text| text.contains("and on")))
        })
        .await;
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert_eq!(texts[0], "the first");
    assert!(!texts[1].contains("MIIE") && texts[1].starts_with("here it is\n"), "{texts:?}");
    node.stop().await;
    home.say("while the node was away");
    let node = Node::start(dir.path(), &mux.socket);
    let texts = node
        .until("the third message", |node| {
            Some(said(node)).filter(|said| said.iter().any(|text| text.contains("away")))
        })
        .await;
    assert_eq!(texts.len(), 3, "{texts:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_has_no_session_file() {
    let dir = tempfile::tempdir().unwrap();
    let mux = Mux::start(dir.path(), prompt());
    let node = Node::start(dir.path(), &mux.socket);
    let pane = node.pane("a shell", |pane| pane.state == wa_proto::PaneState::Shell).await;
    assert!(pane.session.is_none());
    node.stop().await;
}

/// One look at the screen shows nothing of this: the rules read the record's words.
#[tokio::test(flavor = "multi_thread")]
async fn an_error_that_only_the_session_file_tells_is_read_by_the_rules() {
    let dir = tempfile::tempdir().unwrap();
    let mut home = Home::new(dir.path());
    home.say("the first");
    let mux = Mux::start(dir.path(), home.agent(dir.path()));
    let node = Node::start(dir.path(), &mux.socket);
    let pane = node.pane("an agent", is_agent).await;
    assert!(node.muxes.hook(report(Some(pane.tty.clone()), Some(home.file()))).await);
    node.pane("its session", |pane| pane.session.as_ref().is_some_and(|session| !session.path.is_empty()))
        .await;
    let now = wa_link::clock::now();
    let words = "You've hit your Opus limit · resets 3pm (UTC)";
    let quoted = serde_json::json!({"type": "assistant", "uuid": "q", "sessionId": SESSION,
        "timestamp": now.to_string(), "message": {"model": "m", "content": [{"type": "text", "text": words}]}});
    let told = serde_json::json!({"type": "assistant", "uuid": "e", "sessionId": SESSION,
        "timestamp": now.to_string(), "isApiErrorMessage": true, "error": "rate_limit",
        "message": {"model": "<synthetic>", "content": [{"type": "text", "text": words}]}});
    let mut file = std::fs::OpenOptions::new().append(true).open(home.file()).unwrap();
    writeln!(file, "{quoted}\n{told}").unwrap();
    let limits = |node: &Node| -> Vec<v1::Event> {
        node.events().into_iter().filter(|event| event.event == "limit.reached").collect()
    };
    let told = node.until("the limit", |node| Some(limits(node)).filter(|told| !told.is_empty())).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((told[0].rule.as_str(), told[0].fields["model"].as_str()), ("claude.limit.reached", "Opus"));
    assert_eq!(told[0].fields["reset_at"], "3pm (UTC)");
    assert!(told[0].fields.contains_key("reset_time"));
    assert_eq!(told[0].witnesses, ["session_file"]);
    node.stop().await;
}
