//! When to look at the process table, and what a look tells.
//!
//! Constraints: one pass serves all panes of a server; not more often than [`SCAN_EVERY`], and off the observer's task,
//! for it reads many small files. A look follows output (a program may have started or ended), comes once more a while
//! after the last output (a program may start silently), and at once when a known agent ends, where the kernel tells.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;
use wa_proto::AccountAlias;

use super::Observer;
use super::pane::Watched;
use crate::process::{Exits, Snapshot};

/// Between two looks at the process table …
const SCAN_EVERY: Duration = Duration::from_millis(500);
/// … when nothing happens and an agent runs, …
const SCAN_IDLE: Duration = Duration::from_secs(5);
/// … and once more after the last output: a program may start silently.
const SCAN_LATE: Duration = Duration::from_secs(2);

#[derive(Default)]
pub(super) struct Scans {
    running: bool,
    last: Option<Instant>,
    at: Option<Instant>,
    output: Option<Instant>,
    pub(super) exits: Exits,
}

/// What a look told: foreground groups and accounts by terminal, projects by directory; and which terminals were looked for.
#[derive(Default)]
pub(super) struct Scanned {
    snapshot: Snapshot,
    projects: HashMap<String, String>,
    accounts: HashMap<String, AccountAlias>,
    asked: HashSet<String>,
}

impl Scans {
    /// Something was printed: the process table is worth a look.
    pub(super) fn output(&mut self) {
        self.output = Some(Instant::now());
        self.soon();
    }

    /// As soon as may be.
    pub(super) fn soon(&mut self) {
        let now = Instant::now();
        let soonest = self.last.map_or(now, |last| last + SCAN_EVERY).max(now);
        self.at = Some(self.at.map_or(soonest, |at| at.min(soonest)));
    }

    /// When to look next; `None` while a look is under way.
    pub(super) fn due(&self) -> Option<Instant> {
        self.at.filter(|_| !self.running)
    }
}

impl Observer {
    /// One pass over the process table, for all panes of this server.
    pub(super) fn scan(&self, scans: &mut Scans) -> BoxFuture<'static, Scanned> {
        let now = Instant::now();
        scans.running = true;
        scans.last = Some(now);
        let late = scans.output.map(|output| output + SCAN_LATE).filter(|late| *late > now);
        let idle = self.panes.values().any(Watched::has_agent).then_some(now + SCAN_IDLE);
        scans.at = [late, idle].into_iter().flatten().min();
        let ttys: Vec<String> = self.panes.values().filter_map(|pane| pane.tty.clone()).collect();
        let asked: HashSet<String> = ttys.iter().cloned().collect();
        let unread = asked.clone();
        let directories: Vec<String> = self.panes.values().map(|pane| pane.cwd().to_owned()).collect();
        let (processes, accounts) = (Arc::clone(&self.shared.processes), self.shared.accounts.clone());
        let look = wa_link::worker::blocking(move || {
            let projects = directories.into_iter().map(|cwd| (project_of(&cwd), cwd));
            let snapshot = processes.look(&ttys);
            let accounts = accounts.map(|root| root.accounts_of(&snapshot)).unwrap_or_default();
            Scanned {
                snapshot,
                projects: projects.map(|(project, cwd)| (cwd, project)).collect(),
                accounts,
                asked,
            }
        });
        Box::pin(
            async move { look.await.unwrap_or_else(|_| Scanned { asked: unread, ..Scanned::default() }) },
        )
    }

    /// Shows the panes what a look told. Returns what is to be fetched.
    pub(super) fn scanned(&mut self, scans: &mut Scans, scanned: &Scanned) -> Vec<(u64, Vec<Range<i64>>)> {
        let Scanned { snapshot, projects, accounts, asked } = scanned;
        scans.running = false;
        let mut fetches = Vec::new();
        for (id, pane) in &mut self.panes {
            if let Some(project) = projects.get(pane.cwd()) {
                pane.set_project(project);
            }
            let Some(tty) = pane.tty.as_ref().filter(|tty| asked.contains(*tty)) else { continue };
            let Some(group) = snapshot.groups.get(tty) else {
                pane.no_processes();
                continue;
            };
            pane.set_account(accounts.get(tty));
            if let Some(ranges) = pane.processes(group) {
                fetches.push((*id, ranges));
            }
            if let Some(pid) = pane.agent_in_front() {
                scans.exits.watch(pid);
            }
        }
        self.tell_board();
        self.follow_sessions();
        fetches
    }
}

/// The name of the repository that holds a directory, else of the directory.
fn project_of(cwd: &str) -> String {
    let path = Path::new(cwd);
    let repository = path.ancestors().find(|dir| dir.join(".git").exists());
    let name = repository.unwrap_or(path).file_name();
    name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
