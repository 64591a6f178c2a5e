//! A whole node: spool, journal, observers, actions and the session, started and ended in order.
//!
//! Starting: the state directory is locked, spool and journal are put in order, and only then does anything speak. Ending:
//! observers and actions stop first, then the spool is flushed and closed, then the session sends what is left.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use wa_link::context::{Context, ContextError};
use wa_link::files::{FileError, LockFile};
use wa_link::shutdown::{Shutdown, Tasks};
use wa_match::Redactor;
use wa_proto::PaneRef;
use wa_proto::wire::v1;

use crate::account::{self, AccountRoot, Marks};
use crate::act;
use crate::board::Board;
use crate::config::{Config, ConfigError, agent_context_path, identity_path, lock_path, spool_path};
use crate::health;
use crate::hook::{self, HookReport};
use crate::journal::{Journal, JournalError};
use crate::observer::{self, Capture, FIRST_LOOK, Fallback, MuxHandle, Muxes, Shared, Sockets};
use crate::policy::PolicyFile;
use crate::rules::{self, Reloads, Rules};
use crate::session::{self, ControllerClock, Screens};
use crate::spool::{Options, Spool, SpoolError};
use crate::vault::Vault;

/// For observers and actions to end.
const GRACE: Duration = Duration::from_secs(5);
/// For the session to send what is left.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// Hook reports that wait.
const HOOKS: usize = 64;

#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error(
        "{} is not there: this host is not enrolled; run `wa-node enroll` first, or name the state directory where it was",
        _0.display()
    )]
    NotEnrolled(PathBuf),
    #[error(
        "the identity of this host cannot be used: {0}; if it is damaged, run `wa-node enroll` with a new token"
    )]
    Identity(ContextError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("a thread of the node failed: {0}")]
    Thread(String),
}

struct ScreensOf {
    muxes: Muxes,
    redactor: Redactor,
    vault: Arc<Vault>,
}

/// The observer of a pane's server, once that was looked at.
pub(crate) async fn observer_of(muxes: &Muxes, pane: &PaneRef) -> Result<MuxHandle, String> {
    let mux =
        muxes.get(&pane.mux).ok_or_else(|| format!("there is no mux server {} on this host", pane.mux))?;
    if mux.looked(FIRST_LOOK).await {
        return Ok(mux);
    }
    Err(format!(
        "not yet seen: the node has just started and has not looked at the mux server {} so far; try again",
        pane.mux
    ))
}

/// The pane that was found is the one that was asked for.
pub(crate) fn same_pane(asked: &PaneRef, found: &PaneRef) -> Result<(), String> {
    if asked == found {
        return Ok(());
    }
    Err("the mux server was restarted since: its pane numbers mean other panes now".to_owned())
}

impl Screens for ScreensOf {
    fn screen(&self, pane: PaneRef) -> BoxFuture<'static, Result<v1::Screen, String>> {
        let (muxes, redactor) = (self.muxes.clone(), self.redactor.clone());
        Box::pin(async move {
            let mux = observer_of(&muxes, &pane).await?;
            let view = mux.look(pane.pane_id).await.map_err(|error| error.to_string())?;
            same_pane(&pane, &view.pane)?;
            let frame = redactor.redact_frame(&view.frame);
            let title = redactor.redact(&view.title).into_owned();
            let dialog = view.agent.as_ref().and_then(|agent| wa_match::menu::rows(&view.frame, agent));
            Ok(v1::Screen::from_frame(pane, title, &frame).with_dialog(dialog.unwrap_or_default()))
        })
    }

    fn explain(&self, pane: PaneRef) -> BoxFuture<'static, Result<v1::Explanation, String>> {
        let (muxes, redactor) = (self.muxes.clone(), self.redactor.clone());
        Box::pin(async move {
            let mux = observer_of(&muxes, &pane).await?;
            let explained = mux.explain(pane.pane_id).await.map_err(|error| error.to_string())?;
            same_pane(&pane, &explained.pane)?;
            Ok(explained.redacted(&redactor))
        })
    }

    fn secrets(&self, pane: &PaneRef) -> Vec<v1::Secret> {
        self.vault.reveal(pane).into_iter().map(Into::into).collect()
    }
}

/// What was opened before anything is started.
struct Opened {
    _lock: LockFile,
    rules: Rules,
    capture: Capture,
    redactor: Redactor,
    host: String,
    spool: Spool,
    journal: Journal,
    positions: Vec<v1::PanePosition>,
    undelivered: Vec<wa_proto::Outcome>,
    notes: Vec<String>,
}

fn open(config: &Config, board: Arc<Board>) -> Result<(Opened, rules::Worker), NodeError> {
    let state = &config.state_dir;
    let capture = config.capture()?;
    let redactor = config.redactor()?;
    let identity = identity_path(state);
    if !identity.exists() {
        return Err(NodeError::NotEnrolled(identity));
    }
    let context = Context::load(&identity).map_err(NodeError::Identity)?;
    wa_link::files::create_private_dir(state)?;
    let lock = LockFile::acquire(&lock_path(state))?;
    let (rules, worker) = Rules::open(state, &config.rule_packs, board)?;
    let options = Options::with_max_bytes(config.spool_max_bytes).with_max_age(config.spool_max_age);
    let (spool, found) = Spool::open(&spool_path(state), options)?;
    let (journal, left) = Journal::open(&state.join("journal"))?;
    let mut notes = found.notes;
    notes.extend(left.notes);
    let opened = Opened {
        _lock: lock,
        rules,
        capture,
        redactor,
        host: context.name.to_string(),
        spool,
        journal,
        positions: found.positions,
        undelivered: left.outcomes,
        notes,
    };
    Ok((opened, worker))
}

/// Runs a node until the shutdown. Returns when everything that could be made durable is.
///
/// # Errors
/// When the node cannot start; afterwards it runs on, whatever happens to controller, mux servers or disk.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), NodeError> {
    let (_, reloads) = rules::reloads();
    Box::pin(run_with(config, reloads, shutdown)).await
}

/// As [`run`]; reads its local rule packs again when it is told to.
///
/// # Errors
/// As [`run`].
pub async fn run_with(config: Config, reloads: Reloads, shutdown: Shutdown) -> Result<(), NodeError> {
    let board = Arc::new(Board::default());
    let (opening, shown) = (config.clone(), Arc::clone(&board));
    let opened = tokio::task::spawn_blocking(move || open(&opening, shown));
    let (opened, worker) = opened.await.map_err(|error| NodeError::Thread(error.to_string()))??;
    for (at, note) in opened.notes.iter().enumerate() {
        tracing::error!(note, "found at the start");
        board.set_problem(&format!("start {at}"), Some(note.clone()));
    }
    let tasks = Tasks::new(shutdown.clone());
    let closing = Tasks::new(Shutdown::new());
    start(&config, &opened, &board, &tasks, &closing);
    tasks.spawn("rules", worker.run(tasks.clone(), reloads, tasks.shutdown().clone()));
    tracing::info!(host = opened.host, spool = %opened.spool.status().id, "node runs");
    shutdown.triggered().await;
    // Tasks that stay are named in the log by `finish`.
    drop(tasks.finish(GRACE).await);
    opened.spool.close().await;
    drop(closing.finish(LAST_WORDS).await);
    tracing::info!("node ended");
    Ok(())
}

fn start(config: &Config, opened: &Opened, board: &Arc<Board>, tasks: &Tasks, closing: &Tasks) {
    let policy = Arc::new(PolicyFile::new(config.policy.clone()));
    let root = AccountRoot::below(&config.state_dir);
    let usual = Shared::new(tasks, opened.spool.clone(), Arc::clone(board), opened.rules.clone());
    let shared = Shared {
        sessions: usual.sessions.clone().with_accounts(root.clone()),
        accounts: Some(root.clone()),
        redactor: opened.redactor.clone(),
        capture: opened.capture.clone(),
        host: opened.host.clone(),
        fallback: Fallback::new(config.wezterm.clone()),
        ..usual
    };
    let processes = Arc::clone(&shared.processes);
    let sockets = Sockets { named: config.mux_sockets.clone(), discovery: config.discovery.clone() };
    let muxes = observer::start(tasks, &shared, sockets, opened.positions.clone());
    listen_to_hooks(tasks, &config.state_dir, &muxes, board);
    let (permits, desk) = session::permits();
    let (actions, intake) = act::intake();
    let clock = Arc::new(ControllerClock::default());
    let marks = Marks::default();
    let accounts = account::Accounts::new(account::Parts {
        root,
        muxes: muxes.clone(),
        processes: Arc::clone(&processes),
        policy: Arc::clone(&policy),
        journal: opened.journal.clone(),
        vault: Arc::clone(&shared.vault),
        marks: marks.clone(),
    });
    let acting = act::Parts {
        journal: opened.journal.clone(),
        spool: opened.spool.clone(),
        policy: Arc::clone(&policy),
        permits,
        muxes: muxes.clone(),
        processes,
        clock: Arc::clone(&clock),
        marks,
        redactor: opened.redactor.clone(),
    };
    let health = health::run(
        opened.spool.clone(),
        opened.journal.clone(),
        Arc::clone(board),
        closing.shutdown().clone(),
    );
    closing.spawn("health", health);
    let undelivered = opened.undelivered.clone();
    tasks.spawn("actions", act::run(acting, undelivered, intake, tasks.shutdown().clone()));
    let session = session::Parts {
        paths: session::Paths {
            identity: identity_path(&config.state_dir),
            agent_context: agent_context_path(&config.state_dir),
        },
        spool: opened.spool.clone(),
        journal: opened.journal.clone(),
        board: Arc::clone(board),
        policy,
        permits: desk,
        rules: opened.rules.clone(),
        screens: Arc::new(ScreensOf { muxes, redactor: shared.redactor, vault: shared.vault }),
        accounts: Some(Arc::new(accounts)),
        actions,
        clock,
    };
    closing.spawn("session", session::run(session, closing.shutdown().clone()));
}

/// Agents' hooks are one witness of several: a node without them runs on and says so.
fn listen_to_hooks(tasks: &Tasks, state_dir: &Path, muxes: &Muxes, board: &Board) {
    let (reports, arriving) = mpsc::channel(HOOKS);
    let socket = hook::socket_path(state_dir);
    if let Err(error) = hook::listen(tasks, &socket, reports) {
        let text = format!(
            "hooks: cannot listen on {}: {error}; agents' hooks are not heard until the node is started again",
            socket.display()
        );
        tracing::error!("{text}");
        board.set_problem("hooks", Some(text));
        return;
    }
    tasks.spawn("hook reports", route_hooks(arriving, muxes.clone()));
}

/// Brings each report to its pane. Those that have none (an agent outside of every pane) are counted.
async fn route_hooks(mut arriving: mpsc::Receiver<HookReport>, muxes: Muxes) {
    let (mut dropped, mut said) = (0_u64, 0_u64);
    while let Some(report) = arriving.recv().await {
        let (agent, event) = (report.agent.clone(), report.event.clone());
        if muxes.hook(report).await {
            continue;
        }
        dropped += 1;
        // The first, then ever more rarely.
        if dropped >= said.saturating_mul(2).max(1) {
            said = dropped;
            tracing::info!(dropped, %agent, event, "hook reports that belong to no pane");
        }
    }
}
