//! Dialogs: read the labels, move the selection, see it, Enter, see the dialog gone.
//!
//! Constraints (A2, A3): a dialog is answered by the label of a choice, never by a number or a blind Enter, and only if it is
//! the one that was meant; one key at a time, each seen to have moved the selection before the next; Enter only when a
//! second fresh read shows the same dialog with the selection on the label. Arrow keys that nobody took leave it as it was.
//! A dialog that goes long after Enter, or while the server was slow to answer that, may have been closed by something else.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tracing::Instrument as _;
use wa_match::Foreground;
use wa_match::menu::{self, Menu};
use wa_mux::codec::{Key, KeyCode};
use wa_proto::{Action, AgentKind};

use super::guard::{self, Sight};
use super::perform::Leave;
use super::{End, Parts};
use crate::observer::View;

/// What a key did must show within this time.
const SEEN: Duration = Duration::from_secs(5);
/// Agents close a dialog in the moment that it is answered.
const AT_ONCE: Duration = Duration::from_secs(1);

pub(super) async fn choose(
    parts: &Parts,
    action: &Action,
    leave: &Leave,
    sight: &Sight,
    labels: &[String],
    dialog: &str,
) -> Result<End, End> {
    let agent = agent_of(sight)?;
    let menu = meant(&sight.view, &agent, dialog)?;
    let target = menu.find(labels).ok_or_else(|| not_offered(&menu, labels))?;
    let selected = menu.selected();
    let mut at =
        selected.ok_or_else(|| End::refused("which choice of the dialog is selected does not show"))?;
    let pane_id = action.pane.pane_id;
    let mut views = sight.views.clone();
    leave.holds()?;
    while at != target {
        let (key, next) = if at < target { (KeyCode::Down, at + 1) } else { (KeyCode::Up, at - 1) };
        let pressed = sight.client.send_key(pane_id, Key::plain(key)).await;
        pressed.map_err(|error| End::unknown(format!("moving the selection: {error}")))?;
        selection(&mut views, &agent, &menu, next).await?;
        at = next;
    }
    let pressed = take(parts, action, leave, &agent, &menu, target).await?;
    let label = &menu.choices[target].label;
    gone(&mut views, &agent, &menu, pressed).instrument(tracing::info_span!("verify")).await?;
    Ok(End::submitted(format!("{label:?} was taken, and the dialog is gone")))
}

fn agent_of(sight: &Sight) -> Result<AgentKind, End> {
    match &sight.foreground {
        Foreground::Agent { kind, .. } => Ok(kind.clone()),
        Foreground::Remote { .. } => sight.view.agent.clone().ok_or_else(|| {
            End::refused(
                "which agent runs behind the connection cannot be told, so its dialogs are not answered",
            )
        }),
        other => {
            Err(End::refused(format!("{}: only dialogs of agents are answered", guard::describe(other))))
        }
    }
}

/// The dialog that stands there, if it is the one that is meant.
fn meant(view: &View, agent: &AgentKind, dialog: &str) -> Result<Menu, End> {
    let menu = menu::read(&view.frame, agent)
        .ok_or_else(|| End::refused(format!("no dialog of {agent} with choices stands there")))?;
    if !dialog.is_empty() && menu.id != dialog {
        return Err(End::refused(
            "another dialog stands there now than the one that the answer was meant for",
        ));
    }
    Ok(menu)
}

fn not_offered(menu: &Menu, labels: &[String]) -> End {
    let offered: Vec<&str> = menu.choices.iter().map(|choice| choice.label.as_str()).collect();
    End::refused(format!("the dialog offers {:?}, and not {:?}", offered.join(" | "), labels.join(" | ")))
}

/// Waits until the selection has moved there.
async fn selection(
    views: &mut watch::Receiver<Arc<View>>,
    agent: &AgentKind,
    menu: &Menu,
    at: usize,
) -> Result<(), End> {
    let moved = |view: &Arc<View>| {
        menu::read(&view.frame, agent).is_none_or(|now| now.id != menu.id || now.selected() == Some(at))
    };
    let until = Instant::now() + SEEN;
    let seen = match timeout_at(until, views.wait_for(moved)).await {
        Ok(Ok(view)) => menu::read(&view.frame, agent),
        Ok(Err(_)) => return Err(End::unknown("the pane went away while the selection was being moved")),
        Err(_) => {
            return Err(End::unknown("the selection did not move within 5 s, so Enter was not pressed"));
        }
    };
    match seen {
        Some(now) if now.id == menu.id => Ok(()),
        _ => Err(End::unknown(
            "the dialog changed while the selection was being moved, so Enter was not pressed",
        )),
    }
}

/// Enter, after a second guard: the same dialog, and the selection on the label.
#[tracing::instrument(name = "enter", level = "info", skip_all)]
async fn take(
    parts: &Parts,
    action: &Action,
    leave: &Leave,
    agent: &AgentKind,
    menu: &Menu,
    target: usize,
) -> Result<Pressed, End> {
    let not = |why: &str| End::unknown(format!("the selection was moved, but Enter was not pressed: {why}"));
    // On record before the look, so that nothing but the round trip lies between the look and the key.
    parts.journal.entered(action.id, wa_link::clock::now()).await.map_err(|error| not(&error.to_string()))?;
    let sight = guard::look(parts, action, leave.allowed).await.map_err(|end| not(&end.reason))?;
    let now = menu::read(&sight.view.frame, agent).filter(|now| now.id == menu.id);
    if now.is_none_or(|now| now.selected() != Some(target)) {
        return Err(not("a second look does not show the selection on the choice"));
    }
    let sent = Instant::now();
    let pressed = sight.client.send_key(action.pane.pane_id, Key::plain(KeyCode::Enter)).await;
    pressed.map_err(|error| End::unknown(format!("pressing Enter: {error}")))?;
    Ok(Pressed { at: Instant::now(), promptly: sent.elapsed() <= guard::PROMPT })
}

/// Enter was pressed.
struct Pressed {
    /// When the server had answered it.
    at: Instant,
    promptly: bool,
}

/// Waits until the dialog is no longer there.
async fn gone(
    views: &mut watch::Receiver<Arc<View>>,
    agent: &AgentKind,
    menu: &Menu,
    pressed: Pressed,
) -> Result<(), End> {
    let left = |view: &Arc<View>| menu::read(&view.frame, agent).is_none_or(|now| now.id != menu.id);
    match timeout_at(pressed.at + SEEN, views.wait_for(left)).await {
        // A pane that ended took its dialog with it.
        Ok(_) if pressed.promptly && pressed.at.elapsed() <= AT_ONCE => Ok(()),
        Ok(_) => Err(End::unknown(
            "Enter was pressed, and the dialog did not go at once but later: something else may have closed it, look at the pane",
        )),
        Err(_) => Err(End::unknown(
            "Enter was pressed, and the dialog still stands there after 5 s: look at the pane",
        )),
    }
}
