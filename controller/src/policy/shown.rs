//! What a pane shows, as approvals are bound to it.
//!
//! Text, keys and answers are bound to the whole text of the screen, as its node gives it, redacted: whoever allows them has
//! seen, or can see, just that. A pane is closed whatever it shows, so its end is bound to the agent's process. A new pane
//! shows nothing.
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
    Ok(hash(rows(&screen)))
}

fn rows(screen: &v1::Screen) -> impl Iterator<Item = &str> {
    screen.rows.iter().map(|row| row.text.trim_end())
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
