//! Where no text goes, although it looks like a composer or a prompt.

use std::fs;

use wa_proto::AgentKind;

use super::{Stage, action, said, send};
use crate::session::Answer;
use crate::testing::shown;
use wa_embedded_mux::Command;
use wa_proto::PaneState;

const RULE: &str = "────────────────────────────────────────────────────────────";

/// A program of this agent's name that shows these rows, and nothing else whatever it is given.
fn screen(agent: &str, rows: &[&str]) -> Stage {
    let (agent, rows) = (agent.to_owned(), rows.join("\n"));
    let command = move |dir: &std::path::Path| -> Command {
        fs::write(dir.join("screen"), rows).unwrap();
        drop(shown(dir));
        let path = dir.join(&agent);
        if agent != "claude" {
            fs::rename(dir.join("claude"), &path).unwrap();
        }
        Command::new([path, dir.join("screen")])
    };
    Stage::new(command, Answer::Granted)
}

/// Once the pane is seen to be that agent's, a text is refused with this word in the reason.
async fn refuses(stage: Stage, agent: &str, wanted: impl Fn(PaneState) -> bool, word: &str) {
    let kind = AgentKind::new(agent);
    let ready = |pane: &wa_proto::Pane| pane.agent.as_ref() == Some(&kind) && wanted(pane.state);
    let pane = stage.node.pane(agent, ready).await;
    let outcome = stage.act(action(&pane, send("go on"))).await;
    let (outcome, reason) = said(&outcome);
    assert_eq!(outcome, "refused", "{reason}");
    assert!(reason.contains(word), "{word}: {reason}");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_of_nothing_but_blanks_is_no_text() {
    let stage = Stage::shell();
    let pane = stage.ready(PaneState::Shell).await;
    for blank in ["   ", "\u{a0}\u{2003}"] {
        let outcome = stage.act(action(&pane, send(blank))).await;
        let (kind, reason) = said(&outcome);
        assert_eq!(kind, "refused", "{reason}");
        assert!(reason.contains("nothing but blanks"), "{reason}");
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_composer_that_only_its_words_tell_of_is_not_typed_into() {
    let rows = ["⏺ Done.", "", RULE, "❯ ", RULE, "  ? for shortcuts"];
    refuses(screen("claude", &rows), "claude", |state| state == PaneState::Idle, "style").await;
}

/// The composer is still drawn, and empty; the title knows better.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_title_asks_for_an_answer_gets_no_text() {
    let rows = [
        "\u{1b}]2;[ ! ] Action Required | webapp\u{7}• Done.",
        "",
        "\u{1b}[1m›\u{1b}[0m \u{1b}[2mExplain this codebase\u{1b}[0m",
        "",
        "  \u{1b}[2mgpt-5.1-codex default · ~/webapp\u{1b}[0m\u{1b}[3;3H\u{1b}[?25h",
    ];
    refuses(screen("codex", &rows), "codex", |state| state == PaneState::Waiting, "waits for an answer")
        .await;
}

/// Codex 0.169 shows it about seven seconds before it takes an Enter.
#[tokio::test(flavor = "multi_thread")]
async fn a_composer_that_takes_no_enter_yet_gets_no_text() {
    let rows = [
        "",
        "",
        "\u{1b}[1m›\u{1b}[0m \u{1b}[2mAsk Codex to do anything\u{1b}[0m",
        "",
        "  \u{1b}[2m? for shortcuts\u{1b}[0m\u{1b}[3;3H\u{1b}[?25h",
    ];
    let shown = |state| matches!(state, PaneState::Starting | PaneState::Idle);
    refuses(screen("codex", &rows), "codex", shown, "still starting").await;
}

/// The shell is the one in the foreground; what stands there is the second line of its own command, or a question of one.
#[tokio::test(flavor = "multi_thread")]
async fn a_shell_that_asks_for_more_gets_no_command() {
    for begun in ["echo 'one", "read -p 'Delete all? [y/N] '"] {
        let stage = Stage::shell();
        let pane = stage.ready(PaneState::Shell).await;
        let outcome = stage.act(action(&pane, send(begun))).await;
        assert_eq!(outcome.outcome, "submitted", "{}", outcome.reason);
        let outcome = stage.act(action(&pane, send("echo never"))).await;
        let (kind, reason) = said(&outcome);
        assert_eq!(kind, "refused", "{reason}");
        assert!(reason.contains("waits for the rest") && !stage.screen().await.contains("never"), "{reason}");
        stage.stop().await;
    }
}

/// A text that is sent there runs as a command.
#[tokio::test(flavor = "multi_thread")]
async fn a_composer_in_shell_mode_gets_no_text() {
    let codex = [
        "",
        "",
        "\u{1b}[1;38;5;9m!\u{1b}[0m",
        "",
        "  \u{1b}[2mgpt-5.1-codex default · ~/webapp\u{1b}[0m\u{1b}[3;3H\u{1b}[?25h",
    ];
    let idle = |state| state == PaneState::Idle;
    refuses(screen("codex", &codex), "codex", idle, "shell mode").await;
    let claude = ["⏺ Done.", "", RULE, "!\u{a0}\u{1b}[7m \u{1b}[0m", RULE, "  ! for bash mode"];
    refuses(screen("claude", &claude), "claude", idle, "shell mode").await;
}

/// A draft that is taller than the screen hides its beginning, and looks like no composer at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_draft_taller_than_the_screen_is_not_typed_over() {
    let mut rows: Vec<String> = (1..30).map(|n| format!("  and line {n} of a long thought")).collect();
    rows.push("  the end of it\u{1b}[?25h".into());
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    refuses(screen("codex", &rows), "codex", |_| true, "draft").await;
}
