//! One connection to a mux server.
//!
//! The loop never waits for the server: requests are futures beside it. It does wait for the spool, and while it does
//! nothing is read. Barriers: the server answers `GetPaneRenderChanges` in the stream of pushes, so that whatever waits
//! for a pane's barrier (the baseline, a fresh look, the answer to a fetch) sees everything that came before it. The
//! barriers of a pane come in the order in which they were asked for.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use wa_link::shutdown::Shutdown;
use wa_mux::client::{PaneInfo, RequestError};
use wa_mux::codec::{Alert, Codec, Row};
use wa_mux::{Client, CloseReason, MuxEvent};
use wa_proto::{GapCause, Generation, PaneRef};
use wa_screen::{Options, Removal};

use super::pane::{Moment, Watched};
use super::view::{Command, LookError, View};
use super::{Observer, batch};
use crate::process::Snapshot;

/// Between two looks at the process table …
const SCAN_EVERY: Duration = Duration::from_millis(500);
/// … when nothing happens and an agent runs, …
const SCAN_IDLE: Duration = Duration::from_secs(5);
/// … and once more after the last output: a program may start silently.
const SCAN_LATE: Duration = Duration::from_secs(2);
/// Events taken in one go before anything else is done.
const BURST: usize = 64;
/// A server does not have more panes than this; what is beyond is not watched.
const MAX_PANES: usize = 4096;

/// What waits for a barrier of a pane.
enum Waiter {
    Baseline,
    Look(oneshot::Sender<Result<Arc<View>, LookError>>),
    Rows(Option<Vec<Row>>),
}

enum Done {
    Listed(Result<Vec<PaneInfo>, RequestError>),
    Asked(Result<bool, RequestError>),
    Fetched(u64, Result<Vec<Row>, RequestError>),
    Scanned(Snapshot, HashMap<String, String>),
}

struct Connection {
    client: Client,
    generation: Generation,
    options: Options,
    is_gui: bool,
    pending: FuturesUnordered<BoxFuture<'static, Done>>,
    waiters: HashMap<u64, VecDeque<Waiter>>,
    listing: bool,
    relist: bool,
    first_list: bool,
    scanning: bool,
    scanned: Option<Instant>,
    scan_at: Option<Instant>,
    output: Option<Instant>,
}

impl Observer {
    /// Serves a connection until it ends.
    pub(super) async fn serve(
        &mut self,
        client: Client,
        mut events: mpsc::Receiver<MuxEvent>,
        shutdown: &Shutdown,
    ) -> CloseReason {
        let Some(generation) = self.generation.clone() else { return CloseReason::ServerClosed };
        let mut connection = Connection {
            options: Options { reread_when_settled: client.info().codec == Codec::V42 },
            client,
            generation,
            is_gui: is_gui(&self.path),
            pending: FuturesUnordered::new(),
            waiters: HashMap::new(),
            listing: false,
            relist: false,
            first_list: true,
            scanning: false,
            scanned: None,
            scan_at: None,
            output: None,
        };
        connection.list();
        let triggered = shutdown.triggered();
        tokio::pin!(triggered);
        loop {
            let wake = self.next_wake(&connection);
            tokio::select! {
                biased;
                () = &mut triggered => return CloseReason::ServerClosed,
                event = events.recv() => {
                    let mut next = event;
                    for _ in 0..BURST {
                        match next {
                            Some(MuxEvent::Closed { reason }) => return reason,
                            Some(event) => self.event_of_mux(&mut connection, event).await,
                            None => return connection.client.closed().unwrap_or(CloseReason::ServerClosed),
                        }
                        next = match events.try_recv() {
                            Ok(event) => Some(event),
                            Err(_) => break,
                        };
                    }
                }
                Some(done) = connection.pending.next() => {
                    if let Err(reason) = self.done(&mut connection, done).await {
                        return reason;
                    }
                }
                Some(command) = self.commands.recv() => self.command(&mut connection, command),
                () = sleep_until(wake) => {}
            }
            self.settle(&mut connection).await;
        }
    }

    fn next_wake(&self, connection: &Connection) -> Option<Instant> {
        let now = Moment::now();
        self.panes
            .values()
            .filter_map(|pane| pane.wake_at(now))
            .chain(connection.scan_at.filter(|_| !connection.scanning))
            .min()
    }

    /// Does what is due, hands full batches to the spool, and shows the present on the board.
    async fn settle(&mut self, connection: &mut Connection) {
        let now = Moment::now();
        let mut groups = Vec::new();
        for (id, pane) in &mut self.panes {
            if pane.wake_at(now).is_none_or(|at| at > now.here) {
                continue;
            }
            if let Some(ranges) = pane.wake(&self.shared.engine, now) {
                connection.fetch(*id, ranges);
            }
            groups.extend(pane.due_group());
            self.shared.board.set_pane(pane.report());
        }
        for group in groups {
            self.append(group).await;
        }
        if connection.scan_at.is_some_and(|at| at <= now.here) && !connection.scanning {
            self.scan(connection);
        }
    }

    async fn event_of_mux(&mut self, connection: &mut Connection, event: MuxEvent) {
        match event {
            MuxEvent::Changes(changes) => {
                let id = changes.pane_id;
                if !self.panes.contains_key(&id) && !self.meet(connection, id) {
                    return;
                }
                connection.output();
                if let Some(ranges) = self.panes.get_mut(&id).and_then(|pane| pane.changes(*changes)) {
                    connection.fetch(id, ranges);
                }
            }
            MuxEvent::Barrier { pane_id, alive } => self.barrier(connection, pane_id, alive).await,
            MuxEvent::Alert { pane_id, alert } => self.alert(pane_id, alert),
            MuxEvent::PaneRemoved(id) => self.remove(connection, id).await,
            MuxEvent::TabAdded { .. } => connection.list(),
            MuxEvent::PaneFocused(_)
            | MuxEvent::TabResized(_)
            | MuxEvent::TabTitle { .. }
            | MuxEvent::WindowTitle { .. }
            | MuxEvent::WindowWorkspace { .. }
            | MuxEvent::WorkspaceRenamed { .. }
            | MuxEvent::Closed { .. } => {}
        }
    }

    fn alert(&mut self, id: u64, alert: Alert) {
        let Some(pane) = self.panes.get_mut(&id) else { return };
        match alert {
            Alert::Bell => pane.bell(),
            Alert::SetUserVar { name, value } => pane.user_var(name, value),
            _ => {}
        }
    }

    /// A pane that was not known. False: there are too many.
    fn meet(&mut self, connection: &mut Connection, id: u64) -> bool {
        if self.panes.len() >= MAX_PANES {
            return false;
        }
        let pane = PaneRef { mux: self.name.clone(), generation: connection.generation.clone(), pane_id: id };
        let position = self.positions.remove(&(connection.generation.to_string(), id));
        let mut watched = Watched::new(pane, connection.options, position);
        watched.mirror = connection.is_gui;
        self.panes.insert(id, watched);
        // Splits are not announced: the list tells the terminal and the size.
        connection.list();
        true
    }

    async fn remove(&mut self, connection: &mut Connection, id: u64) {
        for waiter in connection.waiters.remove(&id).into_iter().flatten() {
            if let Waiter::Look(reply) = waiter {
                // The one who asked may have gone.
                let _gone = reply.send(Err(LookError::NoPane));
            }
        }
        let Some(mut pane) = self.panes.remove(&id) else { return };
        let group = pane.removed(Removal::Exit);
        self.shared.board.remove_pane(&pane.pane);
        self.append(group).await;
        self.status(&connection.client, "");
    }

    async fn barrier(&mut self, connection: &mut Connection, id: u64, alive: bool) {
        let waiter = connection.waiters.get_mut(&id).and_then(VecDeque::pop_front);
        if !alive {
            if let Some(Waiter::Look(reply)) = waiter {
                // The one who asked may have gone.
                let _gone = reply.send(Err(LookError::NoPane));
            }
            return self.remove(connection, id).await;
        }
        let Some(pane) = self.panes.get_mut(&id) else { return };
        match waiter {
            Some(Waiter::Look(reply)) => {
                // The one who asked may have gone.
                let _gone = reply.send(Ok(pane.view()));
            }
            Some(Waiter::Rows(rows)) => {
                if let Some(ranges) = pane.rows(rows) {
                    connection.fetch(id, ranges);
                }
            }
            Some(Waiter::Baseline) | None => {}
        }
    }

    async fn done(&mut self, connection: &mut Connection, done: Done) -> Result<(), CloseReason> {
        match done {
            Done::Listed(Ok(list)) => self.listed(connection, list).await,
            Done::Listed(Err(error)) | Done::Asked(Err(error)) => return Err(broken(&error)),
            Done::Asked(Ok(_)) => {}
            Done::Fetched(id, rows) => {
                if let Err(error) = &rows
                    && !matches!(error, RequestError::Refused { .. } | RequestError::InvalidRange(_))
                {
                    return Err(broken(error));
                }
                // Judged only after everything that was pushed before the answer.
                connection.barrier(id, Waiter::Rows(rows.ok()));
            }
            Done::Scanned(snapshot, projects) => self.scanned(connection, &snapshot, &projects),
        }
        Ok(())
    }

    async fn listed(&mut self, connection: &mut Connection, list: Vec<PaneInfo>) {
        let again = std::mem::take(&mut connection.relist);
        for info in &list {
            let id = info.entry.pane_id;
            let new = !self.panes.contains_key(&id);
            if new && !self.meet(connection, id) {
                continue;
            }
            if let Some(pane) = self.panes.get_mut(&id) {
                pane.listed(info, connection.is_gui);
                self.shared.board.set_pane(pane.report());
            }
            if new || connection.first_list {
                connection.barrier(id, Waiter::Baseline);
            }
        }
        // What meeting these panes asked for is this very list.
        (connection.listing, connection.relist) = (false, false);
        let gone: Vec<u64> = self
            .panes
            .keys()
            .filter(|id| !list.iter().any(|info| info.entry.pane_id == **id))
            .copied()
            .collect();
        if std::mem::take(&mut connection.first_list) {
            for id in gone {
                self.remove(connection, id).await;
            }
            for (_, position) in std::mem::take(&mut self.positions) {
                self.append(batch::lost(position, GapCause::NodeDown)).await;
            }
        }
        self.status(&connection.client, "");
        connection.output();
        if again {
            connection.list();
        }
    }

    fn command(&mut self, connection: &mut Connection, command: Command) {
        match command {
            Command::Look { pane_id, reply } => {
                if self.panes.contains_key(&pane_id) {
                    connection.barrier(pane_id, Waiter::Look(reply));
                } else {
                    // The one who asked may have gone.
                    let _gone = reply.send(Err(LookError::NoPane));
                }
            }
            Command::Follow { pane_id, reply } => {
                // The one who asked may have gone.
                let _gone = reply.send(self.panes.get_mut(&pane_id).map(Watched::follow));
            }
            Command::Acting { pane_id, active } => {
                if let Some(pane) = self.panes.get_mut(&pane_id) {
                    pane.acting(active);
                }
            }
        }
    }

    // ---- processes

    /// One pass over the process table, for all panes of this server.
    fn scan(&self, connection: &mut Connection) {
        let now = Instant::now();
        connection.scanning = true;
        connection.scanned = Some(now);
        let late = connection.output.map(|output| output + SCAN_LATE).filter(|late| *late > now);
        let idle = self.panes.values().any(Watched::has_agent).then_some(now + SCAN_IDLE);
        connection.scan_at = [late, idle].into_iter().flatten().min();
        let ttys: Vec<String> = self.panes.values().filter_map(|pane| pane.tty.clone()).collect();
        let directories: Vec<String> = self.panes.values().map(|pane| pane.cwd().to_owned()).collect();
        let processes = Arc::clone(&self.shared.processes);
        let look = tokio::task::spawn_blocking(move || {
            let projects =
                directories.into_iter().map(|cwd| (project_of(&cwd), cwd)).map(|(p, cwd)| (cwd, p));
            (processes.look(&ttys), projects.collect())
        });
        connection.pending.push(Box::pin(async move {
            let (snapshot, projects) = look.await.unwrap_or_default();
            Done::Scanned(snapshot, projects)
        }));
    }

    fn scanned(
        &mut self,
        connection: &mut Connection,
        snapshot: &Snapshot,
        projects: &HashMap<String, String>,
    ) {
        connection.scanning = false;
        for (id, pane) in &mut self.panes {
            if let Some(project) = projects.get(pane.cwd()) {
                pane.project.clone_from(project);
            }
            let group = pane.tty.as_ref().and_then(|tty| snapshot.groups.get(tty));
            let Some(group) = group else { continue };
            if let Some(ranges) = pane.processes(group) {
                connection.fetch(*id, ranges);
            }
            self.shared.board.set_pane(pane.report());
        }
    }
}

impl Connection {
    /// Asks for the list of panes, once at a time.
    fn list(&mut self) {
        if std::mem::replace(&mut self.listing, true) {
            self.relist = true;
            return;
        }
        let client = self.client.clone();
        self.pending.push(Box::pin(async move { Done::Listed(client.list_panes().await) }));
    }

    fn barrier(&mut self, id: u64, waiter: Waiter) {
        self.waiters.entry(id).or_default().push_back(waiter);
        let client = self.client.clone();
        self.pending.push(Box::pin(async move { Done::Asked(client.render_changes(id).await) }));
    }

    fn fetch(&mut self, id: u64, ranges: Vec<Range<i64>>) {
        let client = self.client.clone();
        self.pending.push(Box::pin(async move { Done::Fetched(id, client.get_lines(id, &ranges).await) }));
    }

    /// Something was printed: the process table is worth a look.
    fn output(&mut self) {
        let now = Instant::now();
        self.output = Some(now);
        let soonest = self.scanned.map_or(now, |scanned| scanned + SCAN_EVERY).max(now);
        self.scan_at = Some(self.scan_at.map_or(soonest, |at| at.min(soonest)));
    }
}

fn broken(error: &RequestError) -> CloseReason {
    match error {
        RequestError::Closed(reason) => reason.clone(),
        other => CloseReason::Io(other.to_string()),
    }
}

fn is_gui(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("gui-sock-"))
}

/// The name of the repository that holds a directory, else of the directory.
fn project_of(cwd: &str) -> String {
    let path = Path::new(cwd);
    let repository = path.ancestors().find(|dir| dir.join(".git").exists());
    let name = repository.unwrap_or(path).file_name();
    name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
