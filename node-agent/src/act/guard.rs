//! Whether to type: on a fresh look, over the same connection that will carry the keys.
//!
//! Constraints (A2): another generation, a pane that is gone, another program than expected, a person at the keyboard, a
//! mirror: each refuses, in words. A person is a client whose focus is this pane and whose last input is less than ten
//! seconds old (the server counts whole seconds), or a composer that changed although nothing was sent. Processes are
//! looked up anew, not remembered.

use std::sync::Arc;
use std::time::Duration;

use wa_match::Foreground;
use wa_mux::Client;
use wa_proto::{Action, PaneRef};

use super::{End, Parts};
use crate::observer::{Connected, MuxHandle, View};
use crate::policy::Allowed;

/// A person who did something within this time is still there.
const PERSON: Duration = Duration::from_secs(10);

/// What a guard saw, with the way to the pane.
pub(super) struct Sight {
    pub(super) mux: MuxHandle,
    pub(super) client: Client,
    pub(super) view: Arc<View>,
    /// By the process table of this moment.
    pub(super) foreground: Foreground,
}

/// The mux server of the action, if it is the process that the action speaks of.
pub(super) fn generation(parts: &Parts, action: &Action) -> Result<(MuxHandle, Connected), End> {
    let name = &action.pane.mux;
    let mux = parts.muxes.get(name).ok_or_else(|| End::refused(format!("there is no mux server {name} on this host")))?;
    let connected = mux
        .connected()
        .ok_or_else(|| End::refused(format!("the mux server {name} is not connected just now")))?;
    if connected.generation != action.pane.generation {
        return Err(End::refused("the mux server was restarted since: its pane numbers mean other panes now"));
    }
    Ok((mux.clone(), connected))
}

/// A fresh look at the action's pane, and everything that speaks against typing there.
pub(super) async fn look(parts: &Parts, action: &Action, allowed: Allowed) -> Result<Sight, End> {
    let (mux, connected) = generation(parts, action)?;
    let pane_id = action.pane.pane_id;
    let tty = parts.board.pane(&action.pane).map(|pane| pane.tty).unwrap_or_default();
    let (view, clients, foreground) =
        tokio::join!(mux.look(pane_id), connected.client.client_list(), foreground(parts, tty));
    let view = view.map_err(|error| End::refused(error.to_string()))?;
    if view.pane != action.pane {
        return Err(End::refused("the mux server was restarted since: its pane numbers mean other panes now"));
    }
    if view.mirror {
        return Err(End::refused("this pane mirrors one of another mux server: act on that one"));
    }
    let clients = clients.map_err(|error| End::refused(error.to_string()))?;
    person(&connected.client, &clients, &action.pane)?;
    if let Some(ago) = view.touched.map(|touched| touched.elapsed()).filter(|ago| *ago < PERSON) {
        return Err(End::refused(format!(
            "somebody typed into this pane {} s ago: automation waits until it has been quiet for {} s",
            ago.as_secs(),
            PERSON.as_secs()
        )));
    }
    let foreground = foreground.unwrap_or_else(|| view.foreground.clone());
    program(action, &view, &foreground, allowed)?;
    Ok(Sight { mux, client: connected.client, view, foreground })
}

/// Who holds the terminal now; `None` where the process table cannot be asked.
async fn foreground(parts: &Parts, tty: String) -> Option<Foreground> {
    if tty.is_empty() {
        return None;
    }
    let processes = Arc::clone(&parts.processes);
    let look = tokio::task::spawn_blocking(move || {
        let snapshot = processes.look(std::slice::from_ref(&tty));
        snapshot.groups.get(&tty).map(|group| wa_match::identify(group))
    });
    look.await.ok().flatten()
}

fn person(ours: &Client, clients: &[wa_mux::codec::ClientInfo], pane: &PaneRef) -> Result<(), End> {
    let now = wa_link::clock::now().as_second();
    let me = ours.client_id();
    for client in clients {
        let id = &client.client_id;
        let own = (id.pid, id.epoch, id.id) == (me.pid, me.epoch, me.id) && id.hostname == me.hostname;
        let ago = now.saturating_sub(client.last_input);
        if !own && client.focused_pane_id == Some(pane.pane_id) && ago < PERSON.as_secs().cast_signed() {
            return Err(End::refused(format!(
                "{}@{} typed {} s ago with this pane in focus: automation waits until it has been quiet for {} s",
                id.username,
                id.hostname,
                ago.max(0),
                PERSON.as_secs()
            )));
        }
    }
    Ok(())
}

/// The program in the foreground is the one that the action is meant for.
fn program(action: &Action, view: &View, foreground: &Foreground, allowed: Allowed) -> Result<(), End> {
    let remote = matches!(foreground, Foreground::Remote { .. });
    if let Some(expected) = &action.expect_agent {
        let by_process = foreground.agent() == Some(expected);
        let by_screen = remote && allowed.screen_only && view.agent.as_ref() == Some(expected);
        if !by_process && !by_screen {
            return Err(End::refused(format!("{expected} was expected there, but {}", describe(foreground))));
        }
    }
    if let Some(pid) = action.expect_agent_pid
        && foreground.agent_pid() != Some(pid)
        && !remote
    {
        return Err(End::refused(format!("the agent with pid {pid} was expected there, but {}", describe(foreground))));
    }
    if remote && !allowed.screen_only {
        return Err(End::refused(format!(
            "{}: what runs behind it cannot be seen from here, and this host's policy has no screen_only rule for it",
            describe(foreground)
        )));
    }
    Ok(())
}

pub(super) fn describe(foreground: &Foreground) -> String {
    match foreground {
        Foreground::Unknown => "what runs there cannot be told".to_owned(),
        Foreground::Agent { kind, pid, .. } => format!("{kind} (pid {pid}) runs there"),
        Foreground::Shell { name } | Foreground::Other { name } | Foreground::Remote { name } => {
            format!("{name} runs there")
        }
    }
}
