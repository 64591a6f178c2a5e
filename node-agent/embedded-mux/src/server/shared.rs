//! What all threads of the server work with: panes and who looks at them.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use wa_mux::codec::{Alert, ClientId, ClientInfo, ClipboardSelection, Codec, Pdu, SplitDirection};
use wa_screen::terminal::{Notice, Size};

use super::command::Command;
use super::connection::{Connection, read_frames};
use super::outlet::Outlet;
use super::pane::Pane;
use super::state::State;
use super::turns::Queues;
use super::{Options, SpawnError, Spawned};
use crate::clock;

/// More clients than anybody has.
const CONNECTION_LIMIT: usize = 256;

/// A client that introduced itself.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) id: ClientId,
    connected_at: i64,
    last_input: i64,
    pub(super) focused: Option<u64>,
}

/// Threads that run.
#[derive(Debug, Default)]
pub(super) struct Threads {
    pub(super) count: Mutex<usize>,
    pub(super) fewer: Condvar,
}

/// What all threads work with.
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) state: Mutex<State>,
    pub(super) clients: Mutex<Vec<Client>>,
    pub(super) outlets: Mutex<Vec<Arc<Outlet>>>,
    pub(super) threads: Arc<Threads>,
    pub(super) stopping: AtomicBool,
    /// The one thread that the real server has for requests, where it is to be felt.
    pub(super) turn: Mutex<()>,
    /// For panes that apply output.
    pub(super) queues: Queues,
}

/// Where a new pane goes.
pub(super) enum Place<'a> {
    Tab { window: Option<u64>, workspace: &'a str },
    Beside { pane: &'a Pane, shrinks_to: Size, direction: SplitDirection, new_is_second: bool },
}

/// A panic in another thread left the value as it was between two steps; all of ours are whole.
pub(super) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts a thread out.
pub(super) struct Counted(Arc<Threads>);

impl Drop for Counted {
    fn drop(&mut self) {
        *lock(&self.0.count) -= 1;
        self.0.fewer.notify_all();
    }
}

impl Shared {
    pub(super) fn is_codec_42(&self) -> bool {
        self.options.codec == Codec::V42
    }

    pub(super) fn spawn(&self, name: String, work: impl FnOnce() + Send + 'static) {
        *lock(&self.threads.count) += 1;
        let counted = Counted(Arc::clone(&self.threads));
        let started = std::thread::Builder::new().name(name).spawn(move || {
            let _counted = counted;
            work();
        });
        if let Err(error) = started {
            tracing::error!(%error, "no thread to be had");
        }
    }

    pub(super) fn pane(&self, id: u64) -> Option<Arc<Pane>> {
        lock(&self.state).panes.get(&id).cloned()
    }

    /// Sends a message to everybody.
    pub(super) fn broadcast(&self, pdu: Pdu) {
        let pdu = Arc::new(pdu);
        for outlet in lock(&self.outlets).iter() {
            outlet.frame(0, Arc::clone(&pdu));
        }
    }

    /// Tells everybody what changed in a pane.
    pub(super) fn changed(&self, pane: u64) {
        for outlet in lock(&self.outlets).iter() {
            outlet.push(pane);
        }
    }

    /// A batch of output was applied.
    pub(super) fn output(&self, pane: u64, notices: Vec<Notice>) {
        let (mut first, mut last) = (Vec::new(), Vec::new());
        for notice in notices {
            if let Notice::WindowTitle(title) = &notice {
                first.extend(self.title_window(pane, title));
            }
            match told(pane, notice) {
                pdu @ Pdu::SetClipboard { .. } => first.push(pdu),
                pdu => last.push(pdu),
            }
        }
        first.into_iter().for_each(|pdu| self.broadcast(pdu));
        self.changed(pane);
        last.into_iter().for_each(|pdu| self.broadcast(pdu));
    }

    pub(super) fn title_window(&self, pane: u64, title: &str) -> Option<Pdu> {
        let mut state = lock(&self.state);
        let window_id = state.window_of(pane)?;
        state.windows.get_mut(&window_id)?.title = title.to_owned();
        let title = title.to_owned();
        Some(Pdu::WindowTitleChanged { window_id, title })
    }

    pub(super) fn spawn_pane(
        self: &Arc<Self>,
        command: &Command,
        size: Size,
        place: &Place<'_>,
    ) -> Result<Spawned, SpawnError> {
        let id = lock(&self.state).next_pane();
        let (pane, threads) = Pane::start(id, command, size, self).map_err(SpawnError)?;
        let spawned = self.register(Arc::clone(&pane), place);
        let Some(spawned) = spawned else {
            pane.end();
            return Err(SpawnError(anyhow::anyhow!("its neighbour is gone")));
        };
        if let Place::Tab { .. } = place {
            self.broadcast(Pdu::TabAddedToWindow { tab_id: spawned.tab, window_id: spawned.window });
        }
        pane.run(threads, self);
        if let Place::Beside { pane, shrinks_to, .. } = place {
            pane.resize(*shrinks_to);
            self.changed(pane.id);
        }
        Ok(spawned)
    }

    pub(super) fn register(&self, pane: Arc<Pane>, place: &Place<'_>) -> Option<Spawned> {
        let mut state = lock(&self.state);
        let id = pane.id;
        let (tab, window) = match place {
            Place::Tab { window, workspace } => state.add_tab(pane, *window, workspace),
            Place::Beside { pane: other, direction, new_is_second, .. } => {
                let window = state.window_of(other.id)?;
                let tab = state.add_beside(other.id, pane, *direction, *new_is_second)?;
                (tab, window)
            }
        };
        Some(Spawned { window, tab, pane: id })
    }

    pub(super) fn resize(&self, pane: &Pane, size: Size) {
        pane.resize(size);
        let tab = lock(&self.state).tab_of(pane.id);
        if let Some(tab_id) = tab {
            self.broadcast(Pdu::TabResized { tab_id });
        }
        self.changed(pane.id);
    }

    /// Takes a pane out at once and ends its program in the background.
    pub(super) fn kill_pane(self: &Arc<Self>, id: u64) {
        if let Some(pane) = self.pane(id) {
            self.remove_pane(id);
            self.spawn(format!("pane-{id}-kill"), move || pane.end());
        }
    }

    /// Takes a pane out, once.
    pub(super) fn remove_pane(&self, id: u64) {
        let Some(pane) = self.pane(id) else {
            return;
        };
        if !pane.set_gone() {
            return;
        }
        let grown = lock(&self.state).remove(id);
        self.broadcast(Pdu::PaneRemoved { pane_id: id });
        for (neighbour, size) in grown {
            neighbour.resize(size);
            self.changed(neighbour.id);
        }
    }

    pub(super) fn introduce(&self, id: ClientId) {
        let now = clock::unix_seconds();
        let mut clients = lock(&self.clients);
        if clients.iter().all(|client| client.id != id) {
            clients.push(Client { id, connected_at: now, last_input: now, focused: None });
        }
    }

    pub(super) fn with_client(&self, id: Option<&ClientId>, change: impl FnOnce(&mut Client)) {
        let mut clients = lock(&self.clients);
        if let Some(client) = clients.iter_mut().find(|client| Some(&client.id) == id) {
            change(client);
        }
    }

    pub(super) fn bump_input(&self, id: Option<&ClientId>) {
        self.with_client(id, |client| client.last_input = clock::unix_seconds());
    }

    pub(super) fn focused(&self, id: Option<&ClientId>, pane: u64) {
        self.with_client(id, |client| client.focused = Some(pane));
    }

    pub(super) fn clients(&self) -> Vec<ClientInfo> {
        lock(&self.clients)
            .iter()
            .map(|client| ClientInfo {
                client_id: client.id.clone(),
                connected_at: client.connected_at,
                active_workspace: None,
                last_input: client.last_input,
                focused_pane_id: client.focused,
            })
            .collect()
    }

    pub(super) fn disconnected(&self, outlet: &Arc<Outlet>, client: Option<&ClientId>) {
        lock(&self.outlets).retain(|other| !Arc::ptr_eq(other, outlet));
        lock(&self.clients).retain(|other| Some(&other.id) != client);
    }

    pub(super) fn accept(self: &Arc<Self>, stream: UnixStream) -> io::Result<()> {
        let (reading, closing) = (stream.try_clone()?, stream.try_clone()?);
        let outlet = Arc::new(Outlet::new(closing));
        let connection = Connection::new(Arc::clone(self), Arc::clone(&outlet), stream)?;
        {
            let mut outlets = lock(&self.outlets);
            if outlets.len() >= CONNECTION_LIMIT {
                return Err(io::Error::other("too many connections"));
            }
            outlets.push(Arc::clone(&outlet));
        }
        self.spawn("client-read".to_owned(), move || {
            read_frames(reading, &outlet);
        });
        self.spawn("client".to_owned(), move || connection.run());
        Ok(())
    }

    pub(super) fn listen(self: &Arc<Self>, listener: &UnixListener, wake: &UnixStream) {
        while !self.stopping.load(Ordering::Acquire) {
            let mut watched = [PollFd::new(listener, PollFlags::IN), PollFd::new(wake, PollFlags::IN)];
            match poll(&mut watched, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    tracing::error!(%error, "waiting for connections");
                    return;
                }
            }
            match listener.accept() {
                Ok((stream, _)) => {
                    let served = stream.set_nonblocking(false).and_then(|()| self.accept(stream));
                    if let Err(error) = served {
                        tracing::warn!(%error, "a connection that could not be served");
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection");
                    // Out of descriptors, most likely: let others close some.
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        }
    }
}

fn told(pane_id: u64, notice: Notice) -> Pdu {
    let alert = match notice {
        Notice::Bell => Alert::Bell,
        Notice::Toast { title, body } => Alert::Toast { title, body, focus: true },
        Notice::WorkingDirectory => Alert::CurrentWorkingDirectoryChanged,
        Notice::IconTitle(title) => Alert::IconTitleChanged(Some(title)),
        Notice::WindowTitle(title) => Alert::WindowTitleChanged(title),
        Notice::UserVar { name, value } => Alert::SetUserVar { name, value },
        Notice::Progress(progress) => Alert::Progress(progress),
        Notice::Clipboard { primary, text } => {
            return Pdu::SetClipboard {
                pane_id,
                clipboard: Some(text),
                selection: if primary {
                    ClipboardSelection::PrimarySelection
                } else {
                    ClipboardSelection::Clipboard
                },
            };
        }
    };
    Pdu::NotifyAlert { pane_id, alert }
}
