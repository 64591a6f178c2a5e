//! A node's host: the node's own parts, and something that hands records to the spool as observers do.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use wa_link::clock;
use wa_link::shutdown::{Shutdown, Tasks};
use wa_match::Engine;
use wa_node::account::Marks;
use wa_node::act;
use wa_node::board::Board;
use wa_node::config::{agent_context_path, identity_path, policy_path};
use wa_node::journal::Journal;
use wa_node::observer::{self, FIRST_LOOK, Fallback, MuxSocket, Muxes, Shared, Sockets};
use wa_node::policy::{self, PolicyFile};
use wa_node::rules::Rules;
use wa_node::session::{self, ControllerClock, Parts, Paths, Screens};
use wa_node::session_file::{Homes, SessionFiles};
use wa_node::spool::{Group, NewRecord, Options, Spool};
use wa_proto::wire::v1;
use wa_proto::{Action, EventId, Lane, MuxName, Outcome, PaneRef};

use super::accounts;
use super::host::Host;
use super::joining::{Answer, come_in};
use super::lateness;
use super::mux::{Mux, Processes};
use super::trace::Trace;

/// Panes that print.
const PANES: u64 = 2;

/// What was handed to the spool, as seen from outside: it survives the node.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// By pane.
    pub(crate) next_row: BTreeMap<u64, i64>,
    /// Handed over: how long the line of each pane and row is, and the id of each event.
    pub(crate) lines: BTreeMap<(u64, i64), usize>,
    pub(crate) events: BTreeSet<[u8; 16]>,
    /// Of these the spool said that they are durable.
    pub(crate) durable_lines: BTreeSet<(u64, i64)>,
    pub(crate) durable_events: BTreeSet<[u8; 16]>,
    /// The same of what begins runs.
    pub(crate) durable_triggers: BTreeSet<Vec<u8>>,
    /// The generator has nothing more to say.
    pub(crate) quiet: bool,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger(Arc<Mutex<Told>>);

impl Ledger {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct Limb {
    pub(crate) host: Host,
    pub(crate) ledger: Ledger,
    pub(crate) mux: Mux,
    /// Its disk once refused: then lines that never came to it are let go of, and named.
    pub(crate) was_sick: bool,
    rng: fastrand::Rng,
    options: Options,
    engine: Arc<Engine>,
    spool: Option<Spool>,
    /// Where its actions go in.
    accepted: Option<mpsc::Sender<Action>>,
    /// Events that it tells when the engine says so.
    told: Option<mpsc::Sender<v1::Event>>,
    /// Bytes of bulk a second beside the usual, where a run is about that.
    bulk: Option<u64>,
    /// It has no identity at first.
    guest: bool,
    /// What came of enrolling, while that is what runs here.
    pub(crate) enrolled: Option<Answer>,
    trace: Trace,
}

/// As the node gives them, without what is blackened.
struct ScreensOf(Muxes);

impl Screens for ScreensOf {
    fn screen(&self, pane: PaneRef) -> BoxFuture<'static, Result<v1::Screen, String>> {
        let mux = self.0.get(&pane.mux);
        Box::pin(async move {
            let mux = mux.ok_or("there is no such mux server")?;
            if !mux.looked(FIRST_LOOK).await {
                return Err("not yet seen".to_owned());
            }
            let view = mux.look(pane.pane_id).await.map_err(|error| error.to_string())?;
            if view.pane != pane {
                return Err("the mux server was restarted since".to_owned());
            }
            let dialog = view.agent.as_ref().and_then(|agent| wa_match::menu::rows(&view.frame, agent));
            let screen = v1::Screen::from_frame(pane, view.title.clone(), &view.frame);
            Ok(screen.with_dialog(dialog.unwrap_or_default()))
        })
    }

    fn explain(&self, _: PaneRef) -> BoxFuture<'static, Result<v1::Explanation, String>> {
        Box::pin(async { Err("nobody asks".to_owned()) })
    }

    fn secrets(&self, _: &PaneRef) -> Vec<v1::Secret> {
        Vec::new()
    }
}

pub(crate) fn pane(id: u64) -> v1::PaneRef {
    v1::PaneRef { mux: "main".into(), generation: "simulated".into(), pane_id: id }
}

impl Limb {
    pub(crate) fn new(host: Host, mut rng: fastrand::Rng, engine: &Arc<Engine>, trace: &Trace) -> Self {
        // Longer than all clocks together are ever set forward.
        let max_age = jiff::SignedDuration::from_hours(24 * 365);
        let options = if rng.u8(..4) == 0 {
            // So small that an hour without the controller fills it.
            Options { max_bytes: 40_000, file_bytes: 4_000, max_age }
        } else {
            Options { max_bytes: 64 << 20, file_bytes: rng.u64(1_000..20_000), max_age }
        };
        let (engine, trace) = (Arc::clone(engine), trace.clone());
        let mux = Mux::new(rng.fork());
        host.machine.runs(mux.clone());
        std::fs::write(policy_path(&host.folder), policy::DEFAULT).unwrap();
        std::fs::create_dir(host.folder.join("identity")).unwrap();
        Self {
            mux,
            was_sick: false,
            host,
            ledger: Ledger::default(),
            rng,
            options,
            engine,
            spool: None,
            accepted: None,
            told: None,
            bulk: None,
            guest: false,
            enrolled: None,
            trace,
        }
    }

    pub(crate) fn identity(&self) -> std::path::PathBuf {
        identity_path(&self.host.folder)
    }

    /// It has so much bulk a second, and a spool that holds it.
    pub(crate) fn is_loaded(&mut self, bytes_per_s: u64) {
        (self.bulk, self.options) = (Some(bytes_per_s), lateness::spool());
    }

    /// From now on it has to come in by itself.
    pub(crate) fn becomes_guest(&mut self) {
        self.guest = true;
        std::fs::remove_file(policy_path(&self.host.folder)).unwrap();
    }

    pub(crate) fn is_guest(&self) -> bool {
        self.guest
    }

    /// Starts what a person starts on a host that is not enrolled, if they have a token.
    fn start_enrolling(&mut self, now: Duration) {
        let folder = self.host.folder.clone();
        if !folder.join("token").exists() {
            return;
        }
        let answer = Answer::default();
        let told = Arc::clone(&answer);
        let starting = async move {
            let tasks = Tasks::new(Shutdown::new());
            tasks.spawn("enroll", async move { drop(told.set(come_in(folder).await)) });
        };
        self.host.start(now, Box::pin(starting));
        self.enrolled = Some(answer);
    }

    /// Its spool never had to let go of anything.
    pub(crate) fn is_ample(&self) -> bool {
        self.options.max_bytes >= 1 << 20 && !self.was_sick
    }

    pub(crate) fn spool(&self) -> Option<&Spool> {
        self.spool.as_ref()
    }

    /// Starts the node.
    ///
    /// # Errors
    /// Why it could not.
    pub(crate) fn start(&mut self, now: Duration) -> Result<(), String> {
        if self.guest && !self.identity().exists() {
            self.start_enrolling(now);
            return Ok(());
        }
        let (folder, options, engine) = (self.host.folder.clone(), self.options, Arc::clone(&self.engine));
        let (ledger, rng) = (self.ledger.clone(), self.rng.fork());
        let (name, trace) = (self.host.name.clone(), self.trace.clone());
        let (identity, mux, bulk) = (self.identity(), self.mux.clone(), self.bulk);
        let starting = async {
            let opened = Spool::open(&folder.join("spool"), options);
            let (spool, found) = opened.map_err(|error| error.to_string())?;
            let opened = Journal::open(&folder.join("journal"));
            let (journal, left) = opened.map_err(|error| error.to_string())?;
            let status = spool.status();
            trace.note(
                now,
                &name,
                format_args!(
                    "starts: events {}..{}, bulk {}..{}, {:?} {:?}",
                    status.events.first,
                    status.events.next,
                    status.bulk.first,
                    status.bulk.next,
                    found.notes,
                    left.notes
                ),
            );
            let tasks = Tasks::new(Shutdown::new());
            let opened =
                Opened { spool: spool.clone(), journal, positions: found.positions, left: left.outcomes };
            let accepted = assemble(&folder, &identity, &tasks, opened, engine, mux);
            let (told, telling) = mpsc::channel(64);
            tasks.spawn("events", events(spool.clone(), ledger.clone(), telling));
            if let Some(bulk) = bulk {
                tasks.spawn("bulk", lateness::load(spool.clone(), ledger.clone(), rng.clone(), bulk));
            }
            tasks.spawn("load", load(name, spool.clone(), ledger, rng));
            Ok::<_, String>((spool, accepted, told))
        };
        let (spool, accepted, told) = self.host.start(now, Box::pin(starting))?;
        (self.spool, self.accepted, self.told) = (Some(spool), Some(accepted), Some(told));
        Ok(())
    }

    /// Gives it an action once more, as after a lost acknowledgement.
    pub(crate) fn again(&self, action: Action) {
        // A full queue, or a node that is down, has lost it.
        self.accepted.iter().for_each(|accepted| drop(accepted.try_send(action.clone())));
    }

    /// Has it write an event down.
    pub(crate) fn tell(&self, event: v1::Event) {
        // A node that is down has seen nothing.
        self.told.iter().for_each(|told| drop(told.try_send(event.clone())));
    }

    /// Crashes; its disk is dead already.
    pub(crate) fn end(&mut self) {
        (self.spool, self.accepted, self.told) = (None, None, None);
        self.enrolled = None;
        self.host.end();
    }
}

struct Opened {
    spool: Spool,
    journal: Journal,
    positions: Vec<v1::PanePosition>,
    /// Outcomes that may not have reached the spool.
    left: Vec<Outcome>,
}

/// Starts what `wa_node::node` starts, but for what belongs to a real host alone: hooks and session files. The way in for
/// actions.
fn assemble(
    folder: &Path,
    identity: &Path,
    tasks: &Tasks,
    opened: Opened,
    engine: Arc<Engine>,
    mux: Mux,
) -> mpsc::Sender<Action> {
    let Opened { spool, journal, positions, left } = opened;
    mux.is_used_by(journal.clone());
    let board = Arc::new(Board::default());
    let rules = Rules::fixed(engine, Arc::clone(&board));
    let shared = Shared {
        processes: Arc::new(Processes(mux.clone())),
        sessions: SessionFiles::start(tasks, Homes::default()),
        fallback: Fallback::new("/nonexistent/wezterm".into()),
        ..Shared::new(tasks, spool.clone(), Arc::clone(&board), rules.clone())
    };
    let socket = MuxSocket { name: MuxName::main(), path: folder.join("sock") };
    let sockets = Sockets { named: vec![socket], discovery: None };
    let muxes = observer::start(tasks, &shared, sockets, positions);
    let (permits, desk) = session::permits();
    let (actions, intake) = act::intake();
    let accepted = actions.accepted.clone();
    let clock = Arc::new(ControllerClock::default());
    let policy = Arc::new(PolicyFile::new(policy_path(folder)));
    let acting = act::Parts {
        journal: journal.clone(),
        spool: spool.clone(),
        policy: Arc::clone(&policy),
        permits,
        muxes: muxes.clone(),
        processes: Arc::new(Processes(mux)),
        clock: Arc::clone(&clock),
        marks: Marks::default(),
        redactor: wa_match::Redactor::builtin().clone(),
    };
    tasks.spawn("actions", act::run(acting, left, intake, tasks.shutdown().clone()));
    let paths = Paths { identity: identity.to_owned(), agent_context: agent_context_path(folder) };
    let screens = Arc::new(ScreensOf(muxes));
    let parts = Parts {
        paths,
        spool,
        journal,
        board,
        policy,
        rules,
        permits: desk,
        screens,
        accounts: Some(Arc::new(accounts::Homes)),
        actions,
        clock,
    };
    tasks.spawn("session", session::run(parts, tasks.shutdown().clone()));
    accepted
}

/// Lines, events and gaps, as long as the node runs.
async fn load(name: String, spool: Spool, ledger: Ledger, mut rng: fastrand::Rng) {
    let slow = rng.u64(50..2000);
    let (mut lines, mut events) = (Vec::new(), Vec::new());
    loop {
        tokio::time::sleep(Duration::from_millis(rng.u64(1..slow))).await;
        if ledger.lock().quiet {
            return;
        }
        let mut group = Group::default();
        for _ in 0..rng.usize(0..4) {
            let (pane_id, count, length) = (rng.u64(0..PANES), rng.usize(1..8), rng.usize(0..300));
            let record = some_lines(&name, &ledger, pane_id, count, length, &mut lines);
            group.records.push(record);
        }
        if rng.u8(..3) == 0 {
            group.records.push(some_event(&ledger, rng.u64(0..PANES), &mut events));
        }
        if group.records.is_empty() {
            continue;
        }
        let whole = if rng.u8(..3) == 0 {
            spool.append_durable(group).await.is_ok()
        } else {
            if spool.append(group).await.is_err() {
                return;
            }
            false
        };
        if whole {
            // What was handed over before is durable with it.
            let mut told = ledger.lock();
            told.durable_lines.extend(lines.drain(..));
            told.durable_events.extend(events.drain(..));
        }
    }
}

/// Each as an observer would write it down.
async fn events(spool: Spool, ledger: Ledger, mut telling: mpsc::Receiver<v1::Event>) {
    while let Some(event) = telling.recv().await {
        let id = event.id.clone();
        let mut group = Group::default();
        group.records.push(record(Lane::Events, v1::record::Body::Event(event)));
        if spool.append_durable(group).await.is_ok() {
            ledger.lock().durable_triggers.insert(id);
        }
    }
}

/// Something that comes too late.
pub(crate) fn late() -> Group {
    let line = v1::Line { row: i64::MAX, rows: 1, text: "too late".into(), ..v1::Line::default() };
    let lines = v1::Lines { pane: Some(pane(0)), layout: 1, lines: vec![line], ..v1::Lines::default() };
    Group { records: vec![record(Lane::Bulk, v1::record::Body::Lines(lines))], positions: Vec::new() }
}

fn record(lane: Lane, body: v1::record::Body) -> NewRecord {
    NewRecord { lane, time: clock::now(), trace_parent: String::new(), body }
}

fn some_lines(
    name: &str,
    ledger: &Ledger,
    pane_id: u64,
    count: usize,
    length: usize,
    handed: &mut Vec<(u64, i64)>,
) -> NewRecord {
    let mut told = ledger.lock();
    let mut lines = Vec::new();
    for _ in 0..count {
        let next = told.next_row.entry(pane_id).or_default();
        let row = *next;
        *next += 1;
        told.lines.insert((pane_id, row), length);
        handed.push((pane_id, row));
        lines.push(v1::Line { row, rows: 1, text: text(name, pane_id, row, length), ..v1::Line::default() });
    }
    let lines = v1::Lines { pane: Some(pane(pane_id)), layout: 1, lines, ..v1::Lines::default() };
    record(Lane::Bulk, v1::record::Body::Lines(lines))
}

pub(crate) fn text(name: &str, pane_id: u64, row: i64, length: usize) -> String {
    let mut text = format!("{name} pane {pane_id} row {row} ");
    text.extend(std::iter::repeat_n('x', length));
    text
}

pub(crate) fn some_event(ledger: &Ledger, pane_id: u64, handed: &mut Vec<[u8; 16]>) -> NewRecord {
    let id = *EventId::generate().as_bytes();
    ledger.lock().events.insert(id);
    handed.push(id);
    let event = v1::Event {
        id: id.to_vec(),
        pane: Some(pane(pane_id)),
        event: "bell".to_owned(),
        ..v1::Event::default()
    };
    record(Lane::Events, v1::record::Body::Event(event))
}
