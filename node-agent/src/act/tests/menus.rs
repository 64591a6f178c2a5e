//! Dialogs that are not answered, and what is said of them.

use wa_proto::{PaneState, Verb};

use super::{Stage, action, said};
use crate::session::Answer;
use crate::testing::shown;

/// Outcomes are stored, logged and audited; labels quote commands.
#[tokio::test(flavor = "multi_thread")]
async fn a_reason_quotes_no_secret_of_the_screen() {
    let secret = format!("ghp_{}", "aB3dE5gH7j".repeat(4).get(..36).unwrap());
    let rule = "─".repeat(60);
    let dialog = format!(
        "{rule}\n Bash command\n\n   gh auth status\n\n Do you want to proceed?\n \u{1b}[7m❯\u{1b}[0m 1. Yes\n   \
         2. Yes, and don't ask again for: GH_TOKEN={secret} gh\n   3. No\n\n Esc to cancel\n"
    );
    let stage = Stage::new(
        |dir| {
            std::fs::write(dir.join("screen"), dialog).unwrap();
            shown(dir)
        },
        Answer::Granted,
    );
    let pane = stage.ready(PaneState::Waiting).await;
    let choose = Verb::Choose { labels: vec!["Perhaps".into()], dialog: String::new() };
    let outcome = stage.act(action(&pane, choose)).await;
    let (kind, reason) = said(&outcome);
    assert_eq!(kind, "refused", "{reason}");
    assert!(reason.contains("the dialog offers \"Yes | Yes, and don't ask again"), "{reason}");
    assert!(!reason.contains(&secret[4..20]), "{reason}");
    stage.stop().await;
}
