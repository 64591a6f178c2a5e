//! What a pane shows, as approvals are bound to it.
//!
//! Text, keys and answers are bound to what they are for, as its node gives it, redacted: whoever allows them has seen, or can
//! see, just that. Where a dialog waits it is the text of the dialog, with its question, its command, its choices and which of
//! them is selected: a clock beside it may go on. Elsewhere it is the whole text of the screen. A pane is closed whatever it
//! shows, so its end is bound to the agent's process. A new pane shows nothing.
//!
//! A pane is looked at once, right after the action was held; where that fails for too long the approval is void: what stands
//! there later is not what was there when it was asked.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use ring::digest::{Context, SHA256};
use wa_link::clock;
use wa_link::shutdown::Shutdown;
use wa_proto::wire::v1;
use wa_proto::{Action, AgentKind, Host, Verb};

use crate::gate::{Gate, address};
use crate::registry::{NoAnswer, Registry};
use crate::store::{Approval, Store, StoreError};

/// Panes that are looked at side by side.
const AT_A_TIME: usize = 16;
/// How long looking may fail.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between attempts.
const AGAIN: Duration = Duration::from_secs(1);

/// A hash of what the action is bound to, as it is now.
///
/// # Errors
/// Why the node has not shown it.
pub(crate) async fn shown(registry: &Registry, host: &Host, action: &Action) -> Result<Vec<u8>, NoAnswer> {
    if matches!(action.verb, Verb::Spawn { .. }) {
        return Ok(Vec::new());
    }
    // Another pane may have its address by now.
    let there = registry.pane(&address(host, &action.pane)).filter(|view| view.pane.pane == action.pane);
    let view = there.ok_or_else(|| NoAnswer::NoPane(host.clone()))?;
    if matches!(action.verb, Verb::Kill) {
        if !view.connected {
            return Err(NoAnswer::Away(host.clone()));
        }
        let agent = view.pane.agent.as_ref().map_or("", AgentKind::as_str);
        return Ok(hash([agent, &view.pane.agent_pid.to_string()].into_iter()));
    }
    let screen = registry.screen(host, action.pane.clone(), false).await?.screen.unwrap_or_default();
    Ok(of_screen(&screen))
}

fn of_screen(screen: &v1::Screen) -> Vec<u8> {
    let Some(dialog) = screen.dialog() else {
        return hash(screen.rows.iter().map(|row| row.text.trim_end()));
    };
    // A dialog may have a spinner of its own.
    let still = |c: &char| !('\u{2800}'..='\u{28ff}').contains(c);
    let rows: Vec<String> =
        dialog.iter().map(|row| row.text.trim_end().chars().filter(still).collect()).collect();
    hash(["a dialog"].into_iter().chain(rows.iter().map(String::as_str)))
}

fn hash<'a>(words: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    for word in words {
        context.update(&(word.len() as u64).to_be_bytes());
        context.update(word.as_bytes());
    }
    context.finish().as_ref().to_vec()
}

/// Looks at the panes of actions that were held, until the shutdown.
pub(crate) async fn look(store: &Arc<Store>, registry: &Registry, gate: &Gate, shutdown: &Shutdown) {
    loop {
        // Asked for before looking, so that what comes in between wakes it again.
        let more = gate.held();
        let (unseen, failed) = match store.unseen_approvals(AT_A_TIME).await {
            Ok(unseen) => (unseen, false),
            Err(StoreError::Closed) => return,
            Err(error) => {
                tracing::warn!(%error, "approvals could not be read; trying again");
                (Vec::new(), true)
            }
        };
        let full = unseen.len() == AT_A_TIME;
        let looked = join_all(unseen.iter().map(|approval| look_at(store, registry, approval))).await;
        let again = failed || looked.contains(&false);
        tokio::select! {
            biased;
            () = shutdown.triggered() => return,
            () = tokio::time::sleep(AGAIN), if again => {}
            () = std::future::ready(()), if full && !again => {}
            () = more => {}
        }
    }
}

/// Whether that is settled.
async fn look_at(store: &Store, registry: &Registry, approval: &Approval) -> bool {
    let (n, Some(action)) = (approval.n, &approval.action) else { return true };
    let late = || clock::now().duration_since(approval.time).unsigned_abs() >= PATIENCE;
    let seen = if late() { None } else { Some(shown(registry, &approval.host, action).await) };
    let noted = match seen {
        Some(Ok(shown)) => store.write(move |tx| tx.approval_shown(n, &shown)).await,
        Some(Err(error)) if !late() && !matches!(error, NoAnswer::NoPane(_)) => {
            tracing::debug!(%error, approval = n, "its pane could not be looked at; trying again");
            return false;
        }
        Some(Err(_)) | None => {
            let reason = "what its pane showed could not be looked at when it was asked";
            store.write(move |tx| tx.void_approval(n, reason)).await
        }
    };
    if let Err(error) = &noted {
        tracing::warn!(%error, approval = n, "what an approval is bound to was not stored; trying again");
    }
    noted.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(rows: &[&str], dialog: std::ops::Range<usize>) -> v1::Screen {
        let rows = rows.iter().map(|row| v1::ScreenRow { text: (*row).into(), ..Default::default() });
        v1::Screen { rows: rows.collect(), ..Default::default() }.with_dialog(dialog)
    }

    fn asks(clock: &str, spinner: &str, command: &str, selected: usize) -> Vec<u8> {
        let choice =
            |n: usize, label: &str| format!("{} {n}. {label}", if n == selected { "›" } else { " " });
        let (yes, no) = (choice(1, "Yes, proceed (y)"), choice(2, "No (esc)"));
        let question = format!("{spinner} Would you like to run the following command?");
        let rows = [clock, &question, command, &yes, &no, "tokens: 12k"];
        of_screen(&screen(&rows, 1..5))
    }

    #[test]
    fn a_dialog_is_the_same_while_a_clock_beside_it_goes_on() {
        let asked = asks("Working (12s)", "⠋", "$ ls", 1);
        assert_eq!(asks("Working (13s)", "⠹", "$ ls", 1), asked);
        for other in [
            asks("Working (12s)", "⠋", "$ rm -rf /", 1),
            asks("Working (12s)", "⠋", "$ ls", 2),
            of_screen(&screen(&["Working (12s)"], 0..0)),
        ] {
            assert_ne!(other, asked);
        }
    }

    #[test]
    fn rows_that_a_screen_does_not_have_are_no_dialog() {
        let whole = of_screen(&screen(&["a", "b"], 0..0));
        for dialog in [1..9, 7..8, 2..3] {
            assert_eq!(of_screen(&screen(&["a", "b"], dialog)), whole);
        }
        let odd = v1::Screen { dialog_row: u32::MAX, dialog_rows: u32::MAX, ..screen(&["a", "b"], 0..0) };
        assert_eq!(of_screen(&odd), whole);
        assert_ne!(of_screen(&screen(&["a", "c"], 0..0)), whole);
    }
}
