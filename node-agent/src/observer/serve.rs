//! One connection to a mux server.
//!
//! The loop never waits for the server: requests are futures beside it. It does wait for the spool, and while it does
//! nothing is read. Barriers: the server answers `GetPaneRenderChanges` in the stream of pushes, so that whatever waits
//! for a pane's barrier (the baseline, a fresh look, the answer to a fetch) sees everything that came before it. The
//! barriers of a pane come in the order in which they were asked for.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::Instant;
use wa_link::shutdown::Shutdown;
use wa_mux::client::{PaneInfo, RequestError};
use wa_mux::codec::{Alert, Codec, Row};
use wa_mux::{Client, CloseReason, MuxEvent};
use wa_proto::Generation;
use wa_screen::Options;

use super::Observer;
use super::pane::{Moment, News, Watched};
use super::scan::{Scanned, Scans};
use super::verify::{self, Held, Turns};
use super::view::{Asked, Command, LookError};
use crate::act::{PERSON, idle_for};

/// Events taken in one go before anything else is done.
const BURST: usize = 64;

/// How long is waited to be told who is there.
const SOMEBODY: Duration = Duration::from_millis(250);
/// Looks that wait for the first list.
const MAX_EARLY: usize = 64;

/// What waits for a barrier of a pane.
enum Waiter {
    Baseline,
    Asked(Asked),
    Rows(Option<Vec<Row>>),
    Held(Box<Held>),
}

enum Done {
    Listed(Result<Vec<PaneInfo>, RequestError>),
    Asked(Result<bool, RequestError>),
    Fetched(u64, Result<Vec<Row>, RequestError>),
    Scanned(Scanned),
    Verified(Result<Option<Held>, RequestError>),
}

struct Connection {
    client: Client,
    generation: Generation,
    options: Options,
    pending: FuturesUnordered<BoxFuture<'static, Done>>,
    waiters: BTreeMap<u64, VecDeque<Waiter>>,
    listing: bool,
    relist: bool,
    first_list: bool,
    /// Looks at panes that the first list, which is still under way, may name.
    early: Vec<Command>,
    scans: Scans,
    turns: Turns,
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
            options: Options { codec_42: client.info().codec == Codec::V42 },
            client,
            generation,
            pending: FuturesUnordered::new(),
            waiters: BTreeMap::new(),
            listing: false,
            relist: false,
            first_list: true,
            early: Vec::new(),
            scans: Scans::default(),
            turns: Turns::new(self.shared.verify_every),
        };
        for pane in self.panes.values_mut() {
            pane.followed_again(connection.options);
        }
        connection.list();
        let triggered = shutdown.triggered();
        tokio::pin!(triggered);
        loop {
            let wake = self.next_wake(&connection);
            tokio::select! {
                biased;
                () = &mut triggered => return CloseReason::ServerClosed,
                () = self.ttys.changed() => self.judge_mirrors(),
                event = events.recv() => {
                    let mut next = event;
                    let mut handled = 0;
                    loop {
                        match next {
                            Some(MuxEvent::Closed { reason }) => return reason,
                            Some(event) => self.event_of_mux(&mut connection, event).await,
                            None => return connection.client.closed().unwrap_or(CloseReason::ServerClosed),
                        }
                        handled += 1;
                        // Nothing is taken out of the channel that is not handled here.
                        if handled == BURST {
                            break;
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
                (following, update) = self.files.next() => self.session_update(following, update),
                Ok(()) = self.engine.changed() => self.new_rules(),
                _ = connection.scans.exits.next() => connection.scans.soon(),
                () = sleep_until(wake) => {}
            }
            self.settle(&mut connection).await;
        }
    }

    fn next_wake(&self, connection: &Connection) -> Option<Instant> {
        let now = Moment::now();
        let panes = self.panes.values().filter_map(|pane| pane.wake_at(now));
        let others = [connection.scans.due(), self.files.due(), Some(connection.turns.due())];
        panes.chain(others.into_iter().flatten()).min()
    }

    /// Does what is due, hands full batches to the spool, and shows the present on the board.
    async fn settle(&mut self, connection: &mut Connection) {
        for (id, ranges) in self.wake_panes().await {
            connection.fetch(id, ranges);
        }
        if connection.scans.due().is_some_and(|at| at <= Instant::now()) {
            let look = self.scan(&mut connection.scans);
            connection.pending.push(Box::pin(async move { Done::Scanned(look.await) }));
        }
        self.files.let_go();
        self.verify_next(connection);
    }

    /// Asks what the server holds of the pane whose turn it is.
    fn verify_next(&mut self, connection: &mut Connection) {
        let Some(id) = connection.turns.next(Instant::now(), self.panes.keys().copied()) else { return };
        let Some(pane) = self.panes.get(&id).filter(|pane| pane.is_logged()) else { return };
        let look = verify::ask(connection.client.clone(), id, pane.pushes());
        connection.pending.push(Box::pin(async move { Done::Verified(look.await) }));
    }

    /// From now on all panes are looked at with other rules.
    pub(super) fn new_rules(&mut self) {
        let engine = self.engine.borrow_and_update().clone();
        for pane in self.panes.values_mut() {
            pane.new_rules(&engine);
        }
    }

    /// Does what is due in the panes. Returns what is to be fetched.
    pub(super) async fn wake_panes(&mut self) -> Vec<(u64, Vec<Range<i64>>)> {
        let now = Moment::now();
        let (mut groups, mut fetches) = (Vec::new(), Vec::new());
        for (id, pane) in &mut self.panes {
            if pane.wake_at(now).is_none_or(|at| at > now.here) {
                continue;
            }
            if let Some(ranges) = pane.wake(now) {
                fetches.push((*id, ranges));
            }
            groups.extend(pane.due_group());
            match pane.news() {
                News::Report(report) => self.shared.board.set_pane(*report),
                News::Output(at) => self.shared.board.set_output(&pane.pane, at),
            }
        }
        for group in groups {
            self.append(group).await;
        }
        fetches
    }

    async fn event_of_mux(&mut self, connection: &mut Connection, event: MuxEvent) {
        match event {
            MuxEvent::Changes(changes) => {
                let id = changes.pane_id;
                if !self.panes.contains_key(&id) && !self.meet(connection, id) {
                    return;
                }
                connection.scans.output();
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
        pane.alert(alert);
    }

    /// A pane that was not known. False: there are too many.
    fn meet(&mut self, connection: &mut Connection, id: u64) -> bool {
        if !self.add(&connection.generation, id, connection.options) {
            return false;
        }
        // Splits are not announced: the list tells the terminal and the size.
        connection.list();
        true
    }

    async fn remove(&mut self, connection: &mut Connection, id: u64) {
        for waiter in connection.waiters.remove(&id).into_iter().flatten() {
            if let Waiter::Asked(asked) = waiter {
                asked.fail(LookError::NoPane);
            }
        }
        let may_crash = self.panes.get(&id).is_some_and(Watched::may_crash);
        let by_itself = may_crash && !somebody_is_there(&connection.client).await;
        if self.drop_pane(id, by_itself).await {
            self.status(&connection.client, "");
        } else {
            self.lose_unmet(&connection.generation, id).await;
        }
    }

    async fn barrier(&mut self, connection: &mut Connection, id: u64, alive: bool) {
        let waiter = connection.waiters.get_mut(&id).and_then(VecDeque::pop_front);
        if !alive {
            if let Some(Waiter::Asked(asked)) = waiter {
                asked.fail(LookError::NoPane);
            }
            return self.remove(connection, id).await;
        }
        let Some(pane) = self.panes.get_mut(&id) else { return };
        match waiter {
            Some(Waiter::Asked(asked)) => asked.answer(pane),
            Some(Waiter::Rows(rows)) => {
                if let Some(ranges) = pane.rows(rows) {
                    connection.fetch(id, ranges);
                }
            }
            Some(Waiter::Held(held)) => {
                if let Some(ranges) = pane.held(*held) {
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
            Done::Scanned(scanned) => {
                for (id, ranges) in self.scanned(&mut connection.scans, &scanned) {
                    connection.fetch(id, ranges);
                }
            }
            Done::Verified(Ok(Some(held))) => {
                connection.barrier(held.pane_id, Waiter::Held(Box::new(held)));
            }
            Done::Verified(Ok(None)) => {}
            Done::Verified(Err(error)) => return Err(broken(&error)),
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
                pane.listed(info);
            }
            if new || connection.first_list {
                connection.barrier(id, Waiter::Baseline);
            }
        }
        self.share_ttys();
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
            self.lose_unclaimed().await;
            self.looked.close();
            for command in std::mem::take(&mut connection.early) {
                self.command(connection, command);
            }
        }
        self.status(&connection.client, "");
        connection.scans.output();
        if again {
            connection.list();
        }
    }

    fn command(&mut self, connection: &mut Connection, command: Command) {
        match command {
            Command::Ask { pane_id, asked } => {
                if self.panes.contains_key(&pane_id) {
                    connection.barrier(pane_id, Waiter::Asked(asked));
                } else if connection.first_list && connection.early.len() < MAX_EARLY {
                    connection.early.push(Command::Ask { pane_id, asked });
                } else {
                    asked.fail(LookError::NoPane);
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
            Command::Hook { terminal, report } => {
                // Its agent may have just started.
                connection.scans.soon();
                self.hook(&terminal, *report);
            }
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
}

fn broken(error: &RequestError) -> CloseReason {
    match error {
        RequestError::Closed(reason) => reason.clone(),
        other => CloseReason::Io(other.to_string()),
    }
}

pub(super) async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Whether a person has just been at one of the server's clients, and may have closed a pane; also where nobody can tell.
async fn somebody_is_there(client: &Client) -> bool {
    let Ok(Ok(clients)) = tokio::time::timeout(SOMEBODY, client.client_list()).await else { return true };
    let recent = |ago: i64| ago < PERSON.as_secs().cast_signed();
    let now = wa_link::clock::now();
    clients.iter().filter_map(|other| idle_for(client, other, now)).any(recent)
}
