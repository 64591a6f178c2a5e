//! One simulated node: the production session, spool, journal and board, and panes that are only told of.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use wa_link::clock;
use wa_link::context::Context;
use wa_link::shutdown::{Shutdown, Tasks};
use wa_match::Engine;
use wa_node::board::Board;
use wa_node::config::{agent_context_path, identity_path, policy_path};
use wa_node::journal::Journal;
use wa_node::policy::PolicyFile;
use wa_node::rules::Rules;
use wa_node::session::{self, Actions, ControllerClock, Parts, Paths, Permits, Screens};
use wa_node::spool::{Group, NewRecord, Options, Spool};
use wa_proto::wire::v1;
use wa_proto::wire::v1::record::Body;
use wa_proto::{
    AgentKind, AgentSession, Event, EventId, EventKind, Generation, Lane, MuxName, Pane, PaneRef, PaneState,
    RateLimitWindow, StateDetail, Timestamp, TokenUsage, Witness,
};

/// Actions that wait for a node that has nobody to carry them out.
const ACTIONS: usize = 16;

/// What the panes print: lines of a source, as agents show them.
const PRINTED: &str = include_str!("../capture/reading.rs");

/// The nodes of one process have the same rules.
pub(super) fn lines() -> Vec<&'static str> {
    PRINTED.lines().filter(|line| !line.trim().is_empty()).collect()
}

pub(super) struct SimNode {
    pub(super) spool: Spool,
    board: Arc<Board>,
    panes: Mutex<Vec<SimPane>>,
    /// Where actions would be asked for and carried out.
    _acting: (Permits, mpsc::Receiver<wa_proto::Action>),
}

struct SimPane {
    pane: Pane,
    /// The next row that is printed.
    row: i64,
}

impl SimNode {
    /// Opens the files of an enrolled node and starts its session with the controller at `url`. Blocks.
    pub(super) fn start(
        state: &Path,
        url: String,
        panes: u32,
        engine: &Arc<Engine>,
        tasks: &Tasks,
    ) -> anyhow::Result<Self> {
        let identity = identity_path(state);
        let context = Context { controller: url, ..Context::load(&identity)? };
        context.save(&identity)?;
        let (spool, _) = Spool::open(&state.join("spool"), Options::default())?;
        let (journal, _) = Journal::open(&state.join("journal"))?;
        let board = Arc::new(Board::default());
        let panes: Vec<SimPane> = (0..panes).map(SimPane::new).collect();
        for known in &panes {
            board.set_pane(known.pane.clone());
        }
        board.set_mux(&MuxName::main(), mux_status(panes.len()));
        let (accepted, actions) = mpsc::channel(ACTIONS);
        let (refused, _) = mpsc::channel(ACTIONS);
        let (permits, desk) = session::permits();
        let parts = Parts {
            paths: Paths { identity, agent_context: agent_context_path(state) },
            spool: spool.clone(),
            journal,
            board: Arc::clone(&board),
            policy: Arc::new(PolicyFile::new(policy_path(state))),
            rules: Rules::fixed(Arc::clone(engine), Arc::clone(&board)),
            permits: desk,
            screens: Arc::new(NoScreens),
            accounts: None,
            actions: Actions { accepted, refused },
            clock: Arc::new(ControllerClock::default()),
        };
        let shutdown: Shutdown = tasks.shutdown().clone();
        tasks.spawn(format!("session {}", context.name), session::run(parts, shutdown));
        Ok(Self { spool, board, panes: Mutex::new(panes), _acting: (permits, actions) })
    }

    fn panes(&self) -> MutexGuard<'_, Vec<SimPane>> {
        self.panes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A turn begins or ends in a pane, which has printed these lines before. The event is spooled, then shown.
    pub(super) async fn turn(&self, pane: usize, printed: &[&str]) -> anyhow::Result<()> {
        let (group, shown) = {
            let mut panes = self.panes();
            let count = panes.len();
            let turned = &mut panes[pane % count];
            (turned.turn(printed, clock::now()), turned.pane.clone())
        };
        self.spool.append(group).await?;
        self.board.set_pane(shown);
        Ok(())
    }

    /// Panes with a turn under way print all the time.
    pub(super) fn tick(&self) {
        let now = clock::now();
        let panes = self.panes();
        for known in panes.iter().filter(|known| known.pane.state == PaneState::Working) {
            self.board.set_output(&known.pane.pane, Some(now));
        }
    }
}

impl SimPane {
    fn new(id: u32) -> Self {
        let pane = PaneRef { mux: MuxName::main(), generation: generation(), pane_id: u64::from(id) };
        let now = clock::now();
        let session_id = format!("0198f3c4-7d1a-7e52-9b3f-{id:012x}");
        let window = |window: &str, percent_used| RateLimitWindow {
            window: window.to_owned(),
            percent_used,
            resets_at: Some(now),
            observed_at: now,
        };
        let session = AgentSession {
            path: format!(
                "/home/dev/.codex/sessions/2026/11/22/rollout-2026-11-22T09-14-03-{session_id}.jsonl"
            ),
            session_id: session_id.clone(),
            reason: "the agent has the file open".to_owned(),
            model: "gpt-5-codex".to_owned(),
            usage: TokenUsage {
                input: 1_204,
                cached_input: 88_032,
                output: 9_311,
                context: 61_022,
                context_window: 272_000,
            },
            rate_limits: vec![window("5h", 31.0), window("weekly", 64.0)],
            compactions: 1,
            problem: String::new(),
        };
        let pane = Pane {
            pane,
            title: format!("✳ fix the flaky retry test ({id})"),
            cwd: format!("/home/dev/src/service-{id}"),
            project: format!("service-{id}"),
            agent: Some(AgentKind::codex()),
            agent_version: "0.144.0".to_owned(),
            agent_pid: 40_000 + id,
            state: PaneState::Idle,
            detail: StateDetail::default(),
            session_id,
            session: Some(session),
            cols: 200,
            rows: 50,
            tty: format!("/dev/pts/{id}"),
            last_output: Some(now),
            mirror: false,
            not_logged: String::new(),
            account: None,
        };
        Self { pane, row: 0 }
    }

    fn turn(&mut self, printed: &[&str], now: Timestamp) -> Group {
        let Pane { state, detail, last_output, .. } = &mut self.pane;
        let kind = match *state {
            PaneState::Working => EventKind::TurnFinished,
            _ => EventKind::TurnStarted,
        };
        (*state, detail.why) = match kind {
            EventKind::TurnFinished => (PaneState::Idle, "codex.composer".to_owned()),
            _ => (PaneState::Working, "codex.working".to_owned()),
        };
        (detail.since, *last_output) = (Some(now), Some(now));
        let record = |lane, body| NewRecord { lane, time: now, trace_parent: String::new(), body };
        let mut records = Vec::with_capacity(2);
        if !printed.is_empty() {
            records.push(record(Lane::Bulk, Body::Lines(self.print(printed))));
        }
        records.push(record(Lane::Events, Body::Event(self.event(kind).into())));
        Group { records, positions: Vec::new() }
    }

    fn print(&mut self, printed: &[&str]) -> v1::Lines {
        let first = self.row;
        self.row += i64::try_from(printed.len()).unwrap_or(0);
        let line = |(row, text): (i64, &&str)| v1::Line {
            row,
            rev: 0,
            text: (*text).to_owned(),
            rows: 1,
            time_us: 0,
        };
        v1::Lines {
            pane: Some(self.pane.pane.clone().into()),
            layout: 1,
            agent: "codex".to_owned(),
            lines: (first..).zip(printed).map(line).collect(),
        }
    }

    fn event(&self, kind: EventKind) -> Event {
        let Pane { pane, agent, agent_version, agent_pid, detail, .. } = &self.pane;
        Event {
            id: EventId::generate(),
            pane: Some(pane.clone()),
            kind,
            agent: agent.clone(),
            agent_version: agent_version.clone(),
            agent_pid: *agent_pid,
            rule: detail.why.clone(),
            fields: [("model".to_owned(), "gpt-5-codex".to_owned())].into(),
            witnesses: vec![Witness::Screen, Witness::SessionFile],
            line: "• Working (12s • esc to interrupt)".to_owned(),
            row: self.row,
            layout: 1,
        }
    }
}

/// As one server process has it: boot, pid and start time.
#[expect(clippy::expect_used, reason = "a fixed text of the right form")]
fn generation() -> Generation {
    Generation::new("8e1c9d0f-2417-1183920").expect("a generation")
}

fn mux_status(panes: usize) -> v1::MuxStatus {
    v1::MuxStatus {
        name: "main".to_owned(),
        codec: 44,
        version: "20240203-110809-5046fc22".to_owned(),
        panes: u32::try_from(panes).unwrap_or(u32::MAX),
        generation: generation().to_string(),
        problem: String::new(),
    }
}

/// Where node number `at` has its files.
pub(super) fn state_dir(dir: &Path, at: u32) -> PathBuf {
    dir.join(name(at))
}

pub(super) fn name(at: u32) -> String {
    format!("sim-{at:05}")
}

/// The number in a node's name.
pub(super) fn number(name: &str) -> Option<u32> {
    name.strip_prefix("sim-")?.parse().ok()
}

struct NoScreens;

impl Screens for NoScreens {
    fn screen(&self, _: PaneRef) -> BoxFuture<'static, Result<v1::Screen, String>> {
        Box::pin(async { Err("a simulated pane has no screen".to_owned()) })
    }

    fn explain(&self, _: PaneRef) -> BoxFuture<'static, Result<v1::Explanation, String>> {
        Box::pin(async { Err("a simulated pane has no rules".to_owned()) })
    }

    fn secrets(&self, _: &PaneRef) -> Vec<v1::Secret> {
        Vec::new()
    }
}
