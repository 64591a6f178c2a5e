//! Whether to type: on a fresh look, over the same connection that will carry the keys.
//!
//! Constraints (A2): another generation, a pane that is gone, another program than expected, a person at the keyboard, a
//! mirror: each refuses, in words. What is judged is the newest that has arrived when the last of the answers is there. A person is a client whose focus is this pane and whose last input is less than ten
//! seconds old (the server counts whole seconds), or a composer that changed although nothing was sent. Processes are
//! looked up anew, not remembered. A look whose answer was long on its way shows what stood there that long ago: it does
//! not count, and another one is taken.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use wa_match::{Foreground, ProcessInfo};
use wa_mux::Client;
use wa_mux::codec::ClientInfo;
use wa_proto::{Action, Timestamp, Verb};

use super::{End, Parts};
use crate::observer::{Connected, Link, MuxHandle, View};
use crate::policy::Allowed;
use crate::process::ProcessId;

/// An answer that took longer came too late: meanwhile a dialog may have opened, been answered and closed.
pub(super) const PROMPT: Duration = Duration::from_millis(500);
/// How often a look is taken that comes too late.
const MAX_LOOKS: u32 = 4;

/// A person who did something within this time is still there.
pub(crate) const PERSON: Duration = Duration::from_secs(10);

/// What a guard saw, with the way to the pane.
pub(super) struct Sight {
    pub(super) mux: MuxHandle,
    pub(super) client: Client,
    pub(super) view: Arc<View>,
    /// Every view from that one on.
    pub(super) views: watch::Receiver<Arc<View>>,
    /// By the process table of this moment.
    pub(super) foreground: Foreground,
    /// The process that leads the terminal's foreground group, where that can be told.
    pub(super) leader: Option<ProcessId>,
}

/// The mux server of the action, if it is the process that the action speaks of.
pub(super) fn generation(parts: &Parts, action: &Action) -> Result<(MuxHandle, Connected), End> {
    let name = &action.pane.mux;
    let mux = parts
        .muxes
        .get(name)
        .ok_or_else(|| End::refused(format!("there is no mux server {name} on this host")))?;
    let connected = match mux.link() {
        Link::Native(connected) => connected,
        Link::Slow(why) => {
            return Err(End::refused(format!(
                "the mux server {name} is only observed ({why}): nothing is typed"
            )));
        }
        Link::Away => {
            return Err(End::refused(format!("the mux server {name} is not connected just now")));
        }
    };
    if connected.generation != action.pane.generation {
        return Err(End::refused(
            "the mux server was restarted since: its pane numbers mean other panes now",
        ));
    }
    Ok((mux, connected))
}

/// A fresh look at the action's pane, and everything that speaks against acting there.
#[tracing::instrument(name = "guard", level = "info", skip_all)]
pub(super) async fn look(parts: &Parts, action: &Action, allowed: Allowed) -> Result<Sight, End> {
    let mut took = Duration::ZERO;
    for _ in 0..MAX_LOOKS {
        let asked = Instant::now();
        let sight = look_once(parts, action, allowed).await?;
        took = asked.elapsed();
        if took <= PROMPT {
            return Ok(sight);
        }
    }
    let took = took.as_millis();
    Err(End::refused(format!("the mux server took {took} ms to answer: what it shows is too old to type on")))
}

async fn look_once(parts: &Parts, action: &Action, allowed: Allowed) -> Result<Sight, End> {
    let (mux, connected) = generation(parts, action)?;
    let pane_id = action.pane.pane_id;
    // By the clock of before, if it is set forward meanwhile.
    let asked = wa_link::clock::now();
    let (seen, clients) = tokio::join!(mux.look(pane_id), connected.client.client_list());
    let seen = seen.map_err(|error| End::refused(error.to_string()))?;
    let (foreground, leader) = holder(parts, &seen).await;
    // What has come since then counts as well.
    let views = mux.follow(pane_id).await.ok_or_else(|| End::refused("the pane is gone"))?;
    let view = Arc::clone(&views.borrow());
    if view.pane != action.pane {
        return Err(End::refused(
            "the mux server was restarted since: its pane numbers mean other panes now",
        ));
    }
    if view.mirror {
        return Err(End::refused("this pane mirrors one of another mux server: act on that one"));
    }
    if let Some(why) = &view.excluded {
        return Err(End::refused(format!(
            "the configuration of this host keeps its hands off this pane: {why}"
        )));
    }
    if matches!(action.verb, Verb::Send { .. } | Verb::Keys(_) | Verb::Choose { .. }) {
        let clients = clients.map_err(|error| End::refused(error.to_string()))?;
        person(&connected.client, &clients, &view, asked.min(wa_link::clock::now()))?;
        remote(&foreground, allowed)?;
    }
    expected(action, &view, &foreground, allowed)?;
    Ok(Sight { mux, client: connected.client, view, views, foreground, leader })
}

/// Who holds the terminal now, and the leader of that group; what the observer last saw where the process table cannot be
/// asked.
pub(super) async fn holder(parts: &Parts, view: &Arc<View>) -> (Foreground, Option<ProcessId>) {
    let Some(tty) = view.tty.clone() else { return (view.foreground.clone(), leader(&view.group)) };
    let (processes, seen) = (Arc::clone(&parts.processes), Arc::clone(view));
    let look = wa_link::worker::blocking(move || {
        if processes.still(&tty, &seen.group) {
            return Some((seen.foreground.clone(), leader(&seen.group)));
        }
        let snapshot = processes.look(std::slice::from_ref(&tty));
        snapshot.groups.get(&tty).map(|group| (wa_match::identify(group), leader(group)))
    });
    look.await.ok().flatten().unwrap_or((Foreground::Unknown, None))
}

fn leader(group: &[ProcessInfo]) -> Option<ProcessId> {
    group.iter().find(|process| process.pid == process.pgid).map(ProcessId::of)
}

/// How long ago the person at this client of the server did anything, in seconds. `None`: the client is this connection.
pub(crate) fn idle_for(ours: &Client, client: &ClientInfo, now: Timestamp) -> Option<i64> {
    let (id, me) = (&client.client_id, ours.client_id());
    let own = (id.pid, id.epoch, id.id) == (me.pid, me.epoch, me.id) && id.hostname == me.hostname;
    (!own).then(|| now.as_second().saturating_sub(client.last_input))
}

/// Nobody is typing there.
fn person(ours: &Client, clients: &[ClientInfo], view: &View, now: Timestamp) -> Result<(), End> {
    let quiet = format!("automation waits until it has been quiet for {} s", PERSON.as_secs());
    for client in clients {
        let Some(ago) = idle_for(ours, client, now) else { continue };
        if client.focused_pane_id == Some(view.pane.pane_id) && ago < PERSON.as_secs().cast_signed() {
            let (id, ago) = (&client.client_id, ago.max(0));
            let (user, host) = (&id.username, &id.hostname);
            return Err(End::refused(format!(
                "{user}@{host} typed {ago} s ago with this pane in focus: {quiet}"
            )));
        }
    }
    match view.touched.map(|touched| touched.elapsed()).filter(|ago| *ago < PERSON) {
        Some(ago) => {
            Err(End::refused(format!("somebody typed into this pane {} s ago: {quiet}", ago.as_secs())))
        }
        None => Ok(()),
    }
}

/// What runs behind ssh and its like cannot be seen from here.
fn remote(foreground: &Foreground, allowed: Allowed) -> Result<(), End> {
    if !matches!(foreground, Foreground::Remote { .. }) || allowed.screen_only {
        return Ok(());
    }
    Err(End::refused(format!(
        "{}: what runs behind it cannot be seen from here, and this host's policy has no screen_only rule for it",
        describe(foreground)
    )))
}

/// The program in the foreground is the one that the action is meant for.
fn expected(action: &Action, view: &View, foreground: &Foreground, allowed: Allowed) -> Result<(), End> {
    let remote = matches!(foreground, Foreground::Remote { .. }) && allowed.screen_only;
    let other =
        |what: String| Err(End::refused(format!("{what} was expected there, but {}", describe(foreground))));
    if let Some(kind) = &action.expect_agent
        && foreground.agent() != Some(kind)
        && !(remote && view.agent.as_ref() == Some(kind))
    {
        return other(kind.to_string());
    }
    if action.expect_shell && !matches!(foreground, Foreground::Shell { .. }) {
        return other("a shell".to_owned());
    }
    match action.expect_agent_pid {
        Some(pid) if foreground.agent_pid() != Some(pid) && !remote => {
            other(format!("the agent with pid {pid}"))
        }
        _ => Ok(()),
    }
}

/// Who holds the terminal, in words.
pub(crate) fn describe(foreground: &Foreground) -> String {
    match foreground {
        Foreground::Unknown => "what runs there cannot be told".to_owned(),
        Foreground::Agent { kind, pid, .. } => format!("{kind} (pid {pid}) runs there"),
        Foreground::Shell { name } | Foreground::Other { name } | Foreground::Remote { name } => {
            format!("{name} runs there")
        }
    }
}
