//! Witnesses beside the screen: the agents' session files and their hooks, brought to the panes that they belong to.
//!
//! Constraints: a session file is followed for as long as its agent's process lives and holds the pane's terminal, or is
//! stopped behind a shell; of panes that are not logged none is. What a hook says belongs to the pane with its terminal. What
//! arrives from a file that is followed no more is still taken, but no longer moves the place where reading goes on.
//! Operation: followings have numbers, for pane numbers mean other panes after the server's end. One that is over is let go
//! after a moment, in which it reads what the agent wrote last.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use wa_proto::{AgentKind, Witness};

use super::Observer;
use super::ttys::Terminal;
use crate::hook::HookReport;
use crate::process::ProcessId;
use crate::session_file::{Follow, Following, Hint, SessionFiles, Update};

/// Updates that wait for the observer; while they do, nothing is read from the files.
const UPDATES: usize = 16;
/// An agent's last words are read for this long after its end.
const LAST_READ: Duration = Duration::from_secs(2);
/// A hook may be called before its agent was seen in the process table.
const EARLY_HINT: Duration = Duration::from_secs(10);
/// Followings whose late updates are still taken.
const REMEMBERED: u64 = 1024;

/// The session file of a pane's agent.
struct Followed {
    number: u64,
    agent: AgentKind,
    process: ProcessId,
    following: Following,
}

/// The session files of one server's panes.
pub(super) struct Files {
    sessions: SessionFiles,
    /// By pane.
    followed: BTreeMap<u64, Followed>,
    /// Those that are over, and when to let go of them.
    ending: Vec<(Instant, Following)>,
    /// Hints for followings that have not begun, by pane.
    hints: HashMap<u64, (Instant, Hint)>,
    /// Panes by number of the following.
    panes: HashMap<u64, u64>,
    last: u64,
    sender: mpsc::Sender<(u64, Update)>,
    updates: mpsc::Receiver<(u64, Update)>,
}

impl Files {
    pub(super) fn new(sessions: SessionFiles) -> Self {
        let (sender, updates) = mpsc::channel(UPDATES);
        Self {
            sessions,
            followed: BTreeMap::new(),
            ending: Vec::new(),
            hints: HashMap::new(),
            panes: HashMap::new(),
            last: 0,
            sender,
            updates,
        }
    }

    /// The next update, with the number of its following.
    pub(super) async fn next(&mut self) -> (u64, Update) {
        match self.updates.recv().await {
            Some(update) => update,
            None => std::future::pending().await,
        }
    }

    /// When to let go of the next that is over.
    pub(super) fn due(&self) -> Option<Instant> {
        self.ending.iter().map(|(at, _)| *at).min()
    }

    /// Lets go of those that are over for long enough.
    pub(super) fn let_go(&mut self) {
        let now = Instant::now();
        self.ending.retain(|(at, _)| *at > now);
    }

    fn begin(&mut self, pane_id: u64, agent: AgentKind, process: ProcessId, cwd: String, resume: Vec<u8>) {
        self.last += 1;
        let number = self.last;
        self.panes.retain(|known, _| *known + REMEMBERED > number);
        self.panes.insert(number, pane_id);
        let request = Follow { pane_id: number, agent: agent.clone(), pid: process.pid, cwd, resume };
        let following = self.sessions.follow(request, self.sender.clone());
        if let Some((at, hint)) = self.hints.remove(&pane_id)
            && at.elapsed() < EARLY_HINT
        {
            following.hint(hint);
        }
        self.followed.insert(pane_id, Followed { number, agent, process, following });
    }

    fn end(&mut self, pane_id: u64) {
        if let Some(followed) = self.followed.remove(&pane_id) {
            self.ending.push((Instant::now() + LAST_READ, followed.following));
        }
    }

    /// The pane is gone: nothing more will be taken.
    pub(super) fn forget(&mut self, pane_id: u64) {
        self.end(pane_id);
        self.hints.remove(&pane_id);
        self.panes.retain(|_, pane| *pane != pane_id);
    }

    fn hint(&mut self, pane_id: u64, agent: &AgentKind, hint: Hint) {
        match self.followed.get(&pane_id) {
            Some(followed) if followed.agent == *agent => followed.following.hint(hint),
            _ => drop(self.hints.insert(pane_id, (Instant::now(), hint))),
        }
    }
}

impl Observer {
    /// Follows the session files of the agents that run in the panes now, and of no others.
    pub(super) fn follow_sessions(&mut self) {
        for (id, pane) in &mut self.panes {
            let running = pane.agent_to_follow();
            let known = self.files.followed.get(id).map(|followed| (&followed.agent, followed.process));
            match (running, known) {
                (Some(running), Some(known)) if known == running => {}
                (Some((agent, process)), _) => {
                    let (agent, cwd) = (agent.clone(), pane.cwd().to_owned());
                    self.files.end(*id);
                    self.files.begin(*id, agent, process, cwd, pane.begin_session());
                }
                // Stopped, it may go on.
                (None, Some((_, process))) if pane.is_logged() && process.is_running() => {}
                (None, Some(_)) => self.files.end(*id),
                (None, None) => {}
            }
        }
    }

    /// What a session file says.
    pub(super) fn session_update(&mut self, number: u64, update: Update) {
        let Some(pane_id) = self.files.panes.get(&number) else { return };
        let present = self.files.followed.get(pane_id);
        let current = present.is_none_or(|followed| followed.number == number);
        if let Some(pane) = self.panes.get_mut(pane_id) {
            pane.session_update(update, current);
        }
    }

    /// What an agent's hook says.
    pub(super) fn hook(&mut self, terminal: &Terminal, report: HookReport) {
        let of_terminal = |tty: &String| Terminal::of(tty) == *terminal;
        let pane = self.panes.iter_mut().find(|(_, pane)| pane.tty.as_ref().is_some_and(of_terminal));
        let Some((id, pane)) = pane.filter(|(_, pane)| pane.is_logged()) else { return };
        let HookReport { agent, event, session_id, transcript_path, testimony, .. } = report;
        let path = transcript_path.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
        let source = format!("its hook {event}");
        self.files.hint(*id, &agent, Hint { witness: Witness::Hook, session_id, path, source });
        if let Some(testimony) = testimony {
            pane.testimony(testimony);
        }
    }
}
