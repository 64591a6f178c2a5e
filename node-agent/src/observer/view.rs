//! What others may see of a pane that an observer owns.
//!
//! Constraints: screens and matchers belong to one task and are never shared; others ask it over a channel and get
//! copies. A *look* is fresh: it comes after everything that the server had to say when it was asked. Frames in here are
//! not redacted; whoever lets one out of the node redacts it first.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use wa_match::{Foreground, ProcessInfo};
use wa_mux::Client;
use wa_proto::{AgentKind, Frame, Generation, MuxName, PaneRef, PaneState};

use super::pane::Watched;
use super::ttys::{Terminal, Ttys};
use crate::hook::HookReport;
use crate::rules::explain::Explained;

/// A look takes a round trip; longer than a request may take means that it will not come.
const LOOK: Duration = Duration::from_secs(12);

/// A pane at one moment.
#[derive(Debug, Clone)]
pub struct View {
    pub pane: PaneRef,
    pub frame: Arc<Frame>,
    pub title: String,
    /// As of the last look at the process table.
    pub foreground: Foreground,
    /// Who that was.
    pub group: Arc<Vec<ProcessInfo>>,
    /// The agent that all witnesses together tell of.
    pub agent: Option<AgentKind>,
    pub state: PaneState,
    pub tty: Option<String>,
    pub mirror: bool,
    /// Why the configuration excludes it from everything but being shown.
    pub excluded: Option<Arc<str>>,
    /// When the composer last changed although nothing was sent.
    pub touched: Option<Instant>,
    /// Under which rows are numbered now.
    pub layout: u64,
    /// Grows with every change of the frame.
    pub seq: u64,
    /// The server's own count of what was printed, as of its last word. It differs also where something came and went
    /// between two words.
    pub drawn: u64,
}

/// Why a pane cannot be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookError {
    NoMux,
    NoPane,
    /// It is only looked at from time to time, and was not yet.
    NotSeen,
    /// It is shown only; why, in words.
    NotMatched(String),
    Frozen(String),
}

impl fmt::Display for LookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMux => f.write_str("the mux server is not connected"),
            Self::NoPane => f.write_str("the pane is gone"),
            Self::NotSeen => {
                f.write_str("not yet seen: the pane is only looked at from time to time; try again")
            }
            Self::NotMatched(why) => write!(f, "no rules are run over the pane: {why}"),
            Self::Frozen(error) => f.write_str(error),
        }
    }
}

/// What an observer has to do with its server now.
#[derive(Debug, Clone, Default)]
pub enum Link {
    #[default]
    Away,
    /// It is only looked at, from time to time; why, in words.
    Slow(Arc<str>),
    Native(Connected),
}

/// The server that an observer is connected to.
#[derive(Debug, Clone)]
pub struct Connected {
    pub client: Client,
    pub generation: Generation,
}

/// Asked of an observer.
#[derive(Debug)]
pub(super) enum Command {
    /// Answered afresh.
    Ask { pane_id: u64, asked: Asked },
    /// Every changed frame from now on; ends with the pane.
    Follow { pane_id: u64, reply: oneshot::Sender<Option<watch::Receiver<Arc<View>>>> },
    /// An action begins (or ends): until then, what changes in the composer is our doing.
    Acting { pane_id: u64, active: bool },
    /// An agent's hook was called from this terminal.
    Hook { terminal: Terminal, report: Box<HookReport> },
}

/// What is asked of one pane.
#[derive(Debug)]
pub(super) enum Asked {
    Look(oneshot::Sender<Result<Arc<View>, LookError>>),
    Explain(oneshot::Sender<Result<Box<Explained>, LookError>>),
}

impl Asked {
    /// The one who asked may have gone.
    pub(super) fn answer(self, pane: &mut Watched) {
        match self {
            Self::Look(reply) => drop(reply.send(Ok(pane.view()))),
            Self::Explain(reply) => drop(reply.send(pane.explain().map(Box::new))),
        }
    }

    /// The one who asked may have gone.
    pub(super) fn fail(self, error: LookError) {
        match self {
            Self::Look(reply) => drop(reply.send(Err(error))),
            Self::Explain(reply) => drop(reply.send(Err(error))),
        }
    }
}

/// Speaks to the observer of one mux server.
#[derive(Debug, Clone)]
pub struct MuxHandle {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) link: watch::Receiver<Link>,
    /// Closed once the server was looked at. Its waiters wake in the order in which they came.
    pub(super) looked: Arc<Semaphore>,
}

impl MuxHandle {
    /// The present state of the connection.
    pub fn link(&self) -> Link {
        self.link.borrow().clone()
    }

    /// Waits until the server's panes were listed once since the node has started, or it is clear that no server is
    /// there. False: that takes longer.
    pub async fn looked(&self, limit: Duration) -> bool {
        timeout(limit, self.looked.acquire()).await.is_ok()
    }

    /// A fresh view of a pane, over the observer's own connection.
    pub async fn look(&self, pane_id: u64) -> Result<Arc<View>, LookError> {
        let (reply, answer) = oneshot::channel();
        self.ask(pane_id, Asked::Look(reply), answer).await
    }

    /// Why a pane is in its state, rule by rule, over a fresh frame.
    pub async fn explain(&self, pane_id: u64) -> Result<Box<Explained>, LookError> {
        let (reply, answer) = oneshot::channel();
        self.ask(pane_id, Asked::Explain(reply), answer).await
    }

    async fn ask<T>(
        &self,
        pane_id: u64,
        asked: Asked,
        answer: oneshot::Receiver<Result<T, LookError>>,
    ) -> Result<T, LookError> {
        self.commands.send(Command::Ask { pane_id, asked }).await.map_err(|_| LookError::NoMux)?;
        match timeout(LOOK, answer).await {
            Ok(answer) => answer.map_err(|_| LookError::NoMux)?,
            Err(_) => Err(LookError::Frozen(format!(
                "the mux server did not show the pane within {} s",
                LOOK.as_secs()
            ))),
        }
    }

    /// The view of a pane, with every change; `None` if there is no such pane.
    pub async fn follow(&self, pane_id: u64) -> Option<watch::Receiver<Arc<View>>> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Follow { pane_id, reply }).await.ok()?;
        answer.await.ok()?
    }

    /// Says that an action begins or ends on a pane.
    pub async fn acting(&self, pane_id: u64, active: bool) {
        // Without an observer there is nobody to mislead.
        drop(self.commands.send(Command::Acting { pane_id, active }).await);
    }
}

/// All mux servers of this host. Windows come and go.
#[derive(Debug, Clone)]
pub struct Muxes {
    handles: Arc<RwLock<BTreeMap<MuxName, MuxHandle>>>,
    ttys: Ttys,
}

impl Muxes {
    pub(super) fn new(ttys: Ttys) -> Self {
        Self { handles: Arc::default(), ttys }
    }

    pub fn get(&self, name: &MuxName) -> Option<MuxHandle> {
        self.handles.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Hands a hook's report to the pane with its terminal. False: there is no such pane.
    pub async fn hook(&self, report: HookReport) -> bool {
        let Some(tty) = report.tty.clone() else { return false };
        let ttys = self.ttys.clone();
        // A look at the file system.
        let owner = wa_link::worker::blocking(move || {
            let terminal = Terminal::of(&tty);
            ttys.owner(&terminal).map(|name| (name, terminal))
        });
        let Ok(Some((name, terminal))) = owner.await else { return false };
        let Some(mux) = self.get(&name) else { return false };
        let command = Command::Hook { terminal, report: Box::new(report) };
        // A server that takes nothing for so long has more to tell than a hook.
        timeout(LOOK, mux.commands.send(command)).await.is_ok_and(|sent| sent.is_ok())
    }

    pub(super) fn insert(&self, name: MuxName, handle: MuxHandle) {
        self.handles.write().unwrap_or_else(PoisonError::into_inner).insert(name, handle);
    }

    pub(super) fn remove(&self, name: &MuxName) {
        self.handles.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}
