//! Actions on real panes.

mod late;
mod menus;
mod places;

use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use wa_embedded_mux::Command;
use wa_mux::codec::{ClientId, Codec, FrameReader, Introduction, Key, KeyCode, Pdu, put_frame};
use wa_proto::wire::v1;
use wa_proto::{Action, AgentKind, Pane, PaneState, Verb};

use crate::observer::Sockets;
use crate::session::Answer;
use crate::testing::fake::{Fake, Script, Wezterm};
use crate::testing::{Acting, LIMIT, Mux, Node, action, agent, main_socket, prompt};

struct Stage {
    dir: tempfile::TempDir,
    mux: Mux,
    node: Node,
    acting: Acting,
}

impl Stage {
    fn new(command: impl FnOnce(&Path) -> Command, answer: Answer) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mux = Mux::start(dir.path(), command(dir.path()));
        let node = Node::start(dir.path(), &mux.socket);
        let acting = Acting::start(dir.path(), &node, answer);
        Self { dir, mux, node, acting }
    }

    fn shell() -> Self {
        Self::new(|_| prompt(), Answer::Granted)
    }

    async fn ready(&self, state: PaneState) -> Pane {
        self.node.ready(state).await
    }

    /// Acts, and waits for the outcome.
    async fn act(&self, action: Action) -> v1::Outcome {
        self.acting.act(&self.node, action).await
    }

    async fn screen(&self) -> String {
        let view =
            self.node.muxes.get(&wa_proto::MuxName::main()).unwrap().look(self.mux.pane()).await.unwrap();
        view.frame.rows.iter().map(|row| row.text.trim_end()).collect::<Vec<_>>().join("\n")
    }

    async fn stop(self) {
        // The desk waits for questions, and the asker's end is held by the actor that stops.
        self.node.stop().await;
        drop((self.dir, self.mux));
    }
}

fn send(text: &str) -> Verb {
    Verb::Send { text: text.into(), enter: true }
}

fn said(outcome: &v1::Outcome) -> (&str, &str) {
    (&outcome.outcome, &outcome.reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_gets_a_command_and_runs_it_once() {
    let stage = Stage::shell();
    let pane = stage.ready(PaneState::Shell).await;
    let file = stage.dir.path().join("ran");
    let command = action(&pane, send(&format!("echo once >> {}", file.display())));
    let outcome = stage.act(command.clone()).await;
    assert_eq!(outcome.outcome, "submitted", "{}", outcome.reason);
    // The same action again, as after a lost acknowledgement.
    stage.acting.actions.accepted.send(command).await.unwrap();
    let other = stage.act(action(&pane, send("echo two"))).await;
    assert_eq!(other.outcome, "submitted", "{}", other.reason);
    stage.node.until("two", |node| node.lines().contains(&"two".to_owned()).then_some(())).await;
    assert_eq!(std::fs::read_to_string(file).unwrap(), "once\n");
    assert!(stage.acting.journal.open_actions().is_empty());
    let placed = action(&pane, Verb::Send { text: "echo left".into(), enter: false });
    assert_eq!(stage.act(placed).await.outcome, "placed");
    assert!(stage.screen().await.trim_end().ends_with("$ echo left"));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_typed_is_refused_in_words() {
    let stage = Stage::shell();
    let pane = stage.ready(PaneState::Shell).await;
    let refuse = async |change: &dyn Fn(&mut Action), word: &str| {
        let mut action = action(&pane, send("echo never"));
        change(&mut action);
        let outcome = stage.act(action).await;
        let (kind, reason) = said(&outcome);
        assert!(matches!(kind, "refused" | "expired"), "{kind}: {reason}");
        assert!(reason.contains(word), "{word}: {reason}");
    };
    refuse(&|action| action.who = "agent:bob".into(), "no rule").await;
    refuse(&|action| action.pane.generation = wa_proto::Generation::new("other-1-1").unwrap(), "restarted")
        .await;
    refuse(&|action| action.pane.pane_id = 99, "gone").await;
    refuse(&|action| action.pane.mux = wa_proto::MuxName::new("gui").unwrap(), "no mux server gui").await;
    refuse(&|action| action.deadline = wa_link::clock::now() - Duration::from_secs(1), "deadline").await;
    refuse(&|action| action.expect_agent = Some(AgentKind::claude()), "claude was expected").await;
    refuse(&|action| action.verb = send("two\nlines"), "newline").await;
    stage.act(Action { fence: 5, ..action(&pane, send("echo five")) }).await;
    refuse(&|action| action.fence = 4, "taken this pane over").await;
    assert!(!stage.screen().await.contains("never"));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_controllers_consent_nothing_is_typed() {
    let stage = Stage::new(|_| prompt(), Answer::Refused("automation is paused".into()));
    let pane = stage.ready(PaneState::Shell).await;
    let outcome = stage.act(action(&pane, send("echo never"))).await;
    assert_eq!(said(&outcome), ("refused", "automation is paused"));
    assert!(!stage.screen().await.contains("never"));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_new_panes_and_their_end() {
    let stage = Stage::shell();
    let pane = stage.ready(PaneState::Shell).await;
    let keys = |words: &[&str]| Verb::Keys(words.iter().map(|word| word.parse().unwrap()).collect());
    let outcome = stage.act(action(&pane, keys(&["e", "c", "h", "o", "Space", "x", "Enter"]))).await;
    assert_eq!(outcome.outcome, "submitted", "{}", outcome.reason);
    stage.node.until("x", |node| node.lines().contains(&"x".to_owned()).then_some(())).await;
    let verb = Verb::Spawn { command: vec!["/bin/cat".into()], cwd: String::new() };
    let outcome = stage.act(action(&pane, verb)).await;
    assert_eq!(outcome.outcome, "submitted", "{}", outcome.reason);
    let spawned = outcome.spawned.unwrap().pane_id;
    let new =
        stage.node.pane("the new pane", |pane| pane.pane.pane_id == spawned && !pane.tty.is_empty()).await;
    let outcome = stage.act(action(&new, Verb::Kill)).await;
    assert_eq!(outcome.outcome, "submitted", "{}", outcome.reason);
    assert!(!stage.mux.running.handle().panes().contains_key(&spawned));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_composer_takes_a_prompt_and_the_turn_begins() {
    let stage = Stage::new(|dir| agent(dir, "plain"), Answer::Granted);
    let pane = stage.ready(PaneState::Idle).await;
    assert_eq!(pane.agent, Some(AgentKind::claude()));
    let mut prompt = action(&pane, send("Reread AGENTS.md so it's fresh in your mind."));
    prompt.expect_agent = Some(AgentKind::claude());
    prompt.expect_agent_pid = Some(pane.agent_pid);
    let outcome = stage.act(prompt).await;
    assert_eq!(outcome.outcome, "submitted", "{}", outcome.reason);
    stage.ready(PaneState::Working).await;
    assert_eq!(stage.screen().await.matches("Reread AGENTS.md").count(), 1);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn enter_that_was_lost_is_pressed_again_and_no_more_than_twice() {
    let stage = Stage::new(|dir| agent(dir, "deaf"), Answer::Granted);
    let pane = stage.ready(PaneState::Idle).await;
    let outcome = stage.act(action(&pane, send("go on"))).await;
    assert_eq!(outcome.outcome, "submitted", "{}", outcome.reason);
    assert_eq!(stage.screen().await.matches("go on").count(), 1);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dialog_that_opens_in_between_gets_no_enter() {
    let stage = Stage::new(|dir| agent(dir, "dialog"), Answer::Granted);
    let pane = stage.ready(PaneState::Idle).await;
    let outcome = stage.act(action(&pane, send("go on"))).await;
    let (kind, reason) = said(&outcome);
    assert_eq!(kind, "unknown", "{reason}");
    assert!(reason.contains("Enter was not pressed"), "{reason}");
    // And now that it is open, nothing begins at all.
    let outcome = stage.act(action(&pane, send("go on"))).await;
    let (kind, reason) = said(&outcome);
    assert_eq!(kind, "refused", "{reason}");
    assert!(reason.contains("dialog"), "{reason}");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draft_is_never_typed_over() {
    let stage = Stage::new(|dir| agent(dir, "plain"), Answer::Granted);
    let pane = stage.ready(PaneState::Idle).await;
    let draft = action(&pane, Verb::Send { text: "half a thought".into(), enter: false });
    assert_eq!(stage.act(draft).await.outcome, "placed");
    let outcome = stage.act(action(&pane, send("go on"))).await;
    let (kind, reason) = said(&outcome);
    assert_eq!(kind, "refused", "{reason}");
    assert!(reason.contains("draft"), "{reason}");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_operator_presses_keys_over_a_draft_or_where_an_agent_leaves() {
    let stage = Stage::new(|dir| agent(dir, "plain"), Answer::Granted);
    let pane = stage.ready(PaneState::Idle).await;
    let placed = Verb::Send { text: "half a thought".into(), enter: false };
    assert_eq!(stage.act(action(&pane, placed)).await.outcome, "placed");
    let keys = |who: &str, key: &str| Action {
        who: who.into(),
        expect_agent: Some(AgentKind::claude()),
        ..action(&pane, Verb::Keys(vec![key.parse().unwrap()]))
    };
    for key in ["C-c", "Esc", "x"] {
        let outcome = stage.act(keys("workflow:codex-account-switch", key)).await;
        assert_eq!(said(&outcome), ("refused", "a half-written draft stands in claude's composer"));
    }
    assert_eq!(stage.act(keys("operator:eve", "x")).await.outcome, "submitted");
    stage.stop().await;
    // A dialog, which any key may answer: C-c says no.
    let stage = Stage::new(|dir| agent(dir, "dialog"), Answer::Granted);
    let pane = stage.ready(PaneState::Idle).await;
    stage.act(action(&pane, Verb::Send { text: "x".into(), enter: false })).await;
    let pane = stage.ready(PaneState::Waiting).await;
    for key in ["C-c", "Enter", "y"] {
        let key = Verb::Keys(vec![key.parse().unwrap()]);
        let outcome =
            stage.act(Action { who: "workflow:codex-account-switch".into(), ..action(&pane, key) }).await;
        let (kind, reason) = said(&outcome);
        assert_eq!(kind, "refused", "{reason}");
        assert!(reason.contains("a dialog of claude waits"), "{reason}");
    }
    stage.stop().await;
    // A screen without a composer: it leaves, or has not begun.
    let stage = Stage::new(
        |dir| {
            std::fs::write(dir.join("screen"), "Shutting down\n").unwrap();
            crate::testing::shown(dir)
        },
        Answer::Granted,
    );
    let pane = stage.node.pane("the agent", |pane| pane.agent.is_some()).await;
    let interrupt = Action {
        who: "workflow:codex-account-switch".into(),
        expect_agent: Some(AgentKind::claude()),
        ..action(&pane, Verb::Keys(vec!["C-c".parse().unwrap()]))
    };
    let outcome = stage.act(interrupt).await;
    let (kind, reason) = said(&outcome);
    assert_eq!(kind, "refused", "{reason}");
    assert!(reason.contains("on its way out"), "{reason}");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_show_is_unknown() {
    let stage = Stage::new(|dir| agent(dir, "silent"), Answer::Granted);
    let pane = stage.ready(PaneState::Idle).await;
    let outcome = tokio::time::timeout(LIMIT, stage.act(action(&pane, send("go on")))).await.unwrap();
    let (kind, reason) = said(&outcome);
    assert_eq!(kind, "unknown", "{reason}");
    assert!(reason.contains("did not show"), "{reason}");
    stage.stop().await;
}

/// Another client of the mux server, as a person's window is one.
struct Window {
    stream: UnixStream,
    frames: FrameReader,
    serial: u64,
}

impl Window {
    async fn open(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).await.unwrap();
        let mut window = Self { stream, frames: FrameReader::default(), serial: 0 };
        window.ask(Pdu::GetCodecVersion).await;
        let client_id =
            ClientId { hostname: "desk".into(), username: "ann".into(), pid: 1, ..ClientId::default() };
        window.ask(Pdu::SetClientId { introduction: Introduction { client_id, is_proxy: false } }).await;
        window
    }

    /// Asks, and waits for the answer.
    async fn ask(&mut self, request: Pdu) {
        self.serial += 1;
        let (ident, payload) = request.encode(Codec::V44);
        let mut bytes = Vec::new();
        put_frame(&mut bytes, self.serial, ident, &payload);
        self.stream.write_all(&bytes).await.unwrap();
        loop {
            while let Some(frame) = self.frames.next_frame().unwrap() {
                if frame.serial == self.serial {
                    return;
                }
            }
            let mut chunk = vec![0; 4096];
            let length = self.stream.read(&mut chunk).await.unwrap();
            assert_ne!(length, 0, "the server hung up");
            self.frames.extend(&chunk[..length]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_with_the_pane_in_focus_is_not_typed_over() {
    let stage = Stage::shell();
    let pane = stage.ready(PaneState::Shell).await;
    let mut window = Window::open(&stage.mux.socket).await;
    // Connecting counts as input; elsewhere it does not matter.
    assert_eq!(stage.act(action(&pane, send("echo one"))).await.outcome, "submitted");
    window.ask(Pdu::SetFocusedPane { pane_id: stage.mux.pane() }).await;
    for verb in [send("echo never"), Verb::Keys(vec!["Enter".parse().unwrap()])] {
        let outcome = stage.act(action(&pane, verb)).await;
        let (kind, reason) = said(&outcome);
        assert_eq!(kind, "refused", "{reason}");
        assert!(reason.contains("ann@desk typed") && reason.contains("quiet for 10 s"), "{reason}");
    }
    assert!(!stage.screen().await.contains("never"));
    drop(window);
    let mut outcome = stage.act(action(&pane, send("echo two"))).await;
    // The server notices a closed window in its own time.
    while outcome.outcome == "refused" {
        outcome = stage.act(action(&pane, send("echo two"))).await;
    }
    assert_eq!(outcome.outcome, "submitted", "{}", outcome.reason);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_composer_that_changed_by_itself_means_a_person() {
    let stage = Stage::new(|dir| agent(dir, "plain"), Answer::Granted);
    let pane = stage.ready(PaneState::Idle).await;
    let mut window = Window::open(&stage.mux.socket).await;
    let mux = stage.node.muxes.get(&pane.pane.mux).unwrap();
    let mut views = mux.follow(pane.pane.pane_id).await.unwrap();
    let pane_id = stage.mux.pane();
    window.ask(Pdu::SendPaste { pane_id, data: "my own words".into() }).await;
    let seen = views.wait_for(|view| view.touched.is_some());
    drop(tokio::time::timeout(LIMIT, seen).await.expect("the person was not noticed").unwrap());
    // It is sent: no draft stands there any more, and still the person may go on.
    let enter = Key::plain(KeyCode::Enter);
    window.ask(Pdu::SendKeyDown { pane_id, event: enter, input_serial: 1 }).await;
    stage.ready(PaneState::Working).await;
    let outcome = stage.act(action(&pane, send("go on"))).await;
    let (kind, reason) = said(&outcome);
    assert_eq!(kind, "refused", "{reason}");
    assert!(reason.contains("somebody typed into this pane"), "{reason}");
    assert!(!stage.screen().await.contains("go on"));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_only_observed_is_never_typed_into() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Fake::start(&dir.path().join("sock"), Script { codec: 45, ..Script::default() });
    let wezterm = Wezterm::new(dir.path());
    wezterm.show(&["$ "]);
    let sockets = Sockets { named: vec![main_socket(&dir.path().join("sock"))], discovery: None };
    let node = Node::with(dir.path(), sockets, wezterm.program(), LIMIT);
    let pane = node.pane("the pane", |pane| pane.title == "a title").await;
    let acting = Acting::start(dir.path(), &node, Answer::Granted);
    let verb = Verb::Spawn { command: vec!["/bin/true".into()], cwd: String::new() };
    for verb in [send("echo never"), Verb::Kill, verb] {
        let outcome = acting.act(&node, action(&pane, verb)).await;
        let (kind, reason) = said(&outcome);
        assert_eq!(kind, "refused", "{reason}");
        assert!(reason.contains("only observed (fallback: codec 45"), "{reason}");
    }
    assert_eq!(fake.script().connections, 1);
    node.stop().await;
}
