//! The agents' session files as a witness: found for a process, followed as they grow.
//!
//! Constraints. A file is only taken for a pane's when no other can be meant (`choose`), and the reason travels with it.
//! Only regular files below the agent's own home are opened, read-only (`open`). Nothing is polled: the system tells of
//! changes (`watch`), and every half minute each pane looks whether something was missed. What is read waits in the
//! channel of whoever asked; a slow reader slows the reading, and memory stays bounded. Texts are not redacted here.
//!
//! Format. A position is opaque: it names the file, by what it can be known again, and how far it was read.
//!
//! Operation. One task per pane that is followed (`follower`). It looks at the process (`process`), finds the files that
//! it may write (`find`), chooses, reads (`reader`), and sleeps until something changes.

mod choose;
mod find;
mod follower;
mod homes;
mod open;
mod position;
mod process;
mod reader;
#[cfg(test)]
mod tests;
mod watch;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};
use wa_link::shutdown::Tasks;
use wa_match::{Notice, Testimony};
use wa_proto::{AgentKind, AgentSession, Message, Timestamp, Witness};

use crate::account::AccountRoot;
pub use homes::Homes;
pub(crate) use process::homes_of;

/// Files that are read at the same time, over all panes.
const READERS: usize = 2;

/// Finds and follows session files. Clones share what they have.
#[derive(Clone)]
pub struct SessionFiles {
    tasks: Tasks,
    homes: Homes,
    accounts: Option<AccountRoot>,
    watcher: watch::Watcher,
    readers: Arc<Semaphore>,
}

/// Whose session file is wanted.
#[derive(Debug, Clone)]
pub struct Follow {
    pub pane_id: u64,
    pub agent: AgentKind,
    /// The agent's process, or its launcher.
    pub pid: u32,
    /// Of the pane, for where the process cannot be asked; may be empty.
    pub cwd: String,
    /// The position of the last [`Update::Messages`] that was kept, or empty.
    pub resume: Vec<u8>,
}

/// What a file says. Texts are not redacted.
#[derive(Debug, Clone, PartialEq)]
pub enum Update {
    /// What is known of the session, whenever it changes. Without a path: no file is known, and the reason says why.
    Session(Box<AgentSession>),
    /// In the order of the file.
    Messages {
        agent: AgentKind,
        session_id: String,
        /// Bytes right before the first message that were not read.
        skipped_bytes: u64,
        messages: Vec<Message>,
        /// Where the reading stands after these messages.
        position: Vec<u8>,
    },
    /// Only of what was written since the following began.
    Testimony(Testimony),
    /// The same of words that rules are to read.
    Notice(Notice),
}

/// Something that names the session of a pane's agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// [`Witness::Hook`]: said by the agent itself, and said again when it changes, so it stands until then. Anything
    /// else stands until the agent begins another session.
    pub witness: Witness,
    /// Empty when only the path is known.
    pub session_id: String,
    /// Of the file, absolute; empty when only the id is known. It may not exist yet.
    pub path: String,
    /// Who says so, in words: `its hook SessionStart`, `the screen`.
    pub source: String,
}

/// A pane that is followed. Dropping it ends that.
pub struct Following {
    hints: Arc<Hints>,
    _end: DropGuard,
}

/// The latest hint of each kind.
#[derive(Default)]
struct Hints {
    latest: Mutex<Vec<(Hint, Timestamp)>>,
    news: Notify,
}

impl SessionFiles {
    /// Nothing runs until a pane is followed.
    pub fn start(tasks: &Tasks, homes: Homes) -> Self {
        Self {
            tasks: tasks.clone(),
            homes,
            accounts: None,
            watcher: watch::Watcher::default(),
            readers: Arc::new(Semaphore::new(READERS)),
        }
    }

    /// Knows that homes of accounts share their sessions.
    pub fn with_accounts(mut self, accounts: AccountRoot) -> Self {
        self.accounts = Some(accounts);
        self
    }

    /// Follows the session file of this process until the answer is dropped, the updates are not wanted any more, or the
    /// program ends. Updates carry the pane's id. An agent whose files are not known gets none.
    pub fn follow(&self, request: Follow, updates: mpsc::Sender<(u64, Update)>) -> Following {
        let hints = Arc::new(Hints::default());
        let end = CancellationToken::new();
        if matches!(request.agent.as_str(), "claude" | "codex" | "gemini") {
            let name = format!("session file of pane {}", request.pane_id);
            let (files, hints, ended) = (self.clone(), Arc::clone(&hints), end.clone());
            let shutdown = self.tasks.shutdown().triggered();
            self.tasks.spawn(name, async move {
                tokio::select! {
                    () = follower::run(files, request, hints, updates) => {}
                    () = ended.cancelled() => {}
                    () = shutdown => {}
                }
            });
        }
        Following { hints, _end: end.drop_guard() }
    }
}

impl Following {
    /// Takes a hint. Never blocks; of each kind of witness only the latest counts.
    pub fn hint(&self, hint: Hint) {
        let now = wa_link::clock::now();
        let mut latest = self.hints.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |known: &Hint| known.session_id == hint.session_id && known.path == hint.path;
        match latest.iter_mut().find(|(known, _)| known.witness == hint.witness) {
            // Hooks say the same with every event.
            Some((known, _)) if same(known) => return,
            Some(known) => *known = (hint, now),
            None => latest.push((hint, now)),
        }
        drop(latest);
        self.hints.news.notify_one();
    }
}

impl Hints {
    fn all(&self) -> Vec<(Hint, Timestamp)> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
