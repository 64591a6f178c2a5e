//! Whose account a process uses: its home variable points to a home of ours.
//!
//! Of the environment only the variables that name homes are read, and a process's environment is that of its start: what
//! was found for one stays true.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use wa_match::{Foreground, ProcessInfo};
use wa_proto::{AccountAlias, AgentKind};

use super::kind;
use crate::process::{ProcessId, Snapshot};
use crate::session_file::{Homes, homes_of};

/// Processes that are remembered.
const MAX_KNOWN: usize = 1024;

/// `DIR/accounts`: the homes of accounts on this host. Clones share what they remember.
#[derive(Debug, Clone)]
pub struct AccountRoot {
    path: PathBuf,
    known: Arc<Mutex<HashMap<ProcessId, Option<AccountAlias>>>>,
}

impl AccountRoot {
    /// Below this state directory, which is there.
    pub fn below(state_dir: &Path) -> Self {
        let state = std::fs::canonicalize(state_dir).unwrap_or_else(|_| state_dir.to_owned());
        Self { path: state.join("accounts"), known: Arc::default() }
    }

    pub(super) fn state_dir(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    pub(super) fn contains(&self, path: &Path) -> bool {
        path.starts_with(&self.path)
    }

    /// What the agent's variable names for this account.
    pub(super) fn home(&self, alias: &AccountAlias, kind: &kind::Kind) -> PathBuf {
        self.path.join(alias.as_str()).join(kind.agent)
    }

    /// The account whose home this is, for an agent.
    fn alias_at(&self, agent: &AgentKind, home: &Path) -> Option<AccountAlias> {
        let inside = match home.strip_prefix(&self.path) {
            Ok(inside) => inside.to_owned(),
            // The same directory by another name.
            Err(_) => std::fs::canonicalize(home).ok()?.strip_prefix(&self.path).ok()?.to_owned(),
        };
        let mut parts = inside.components();
        let (Some(Component::Normal(alias)), Some(Component::Normal(of)), None) =
            (parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        (of.to_str() == Some(agent.as_str())).then(|| AccountAlias::new(alias.to_str()?).ok())?
    }

    /// The account that these variables lead to.
    pub(super) fn account_in(&self, agent: &AgentKind, homes: &Homes) -> Option<AccountAlias> {
        let kind = kind::of(agent.as_str())?;
        self.alias_at(agent, &homes.get(kind.variable)?)
    }

    /// The account that the agent of a terminal's foreground group uses. Blocks.
    pub fn account_of(&self, group: &[ProcessInfo]) -> Option<AccountAlias> {
        let Foreground::Agent { kind, pid, .. } = wa_match::identify(group) else { return None };
        let id = ProcessId::find(group, pid)?;
        if let Some(known) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return known.clone();
        }
        let account = homes_of(pid).and_then(|homes| self.account_in(&kind, &homes));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(id, account.clone());
        account
    }

    /// A process that works in this account's home, if one does. Blocks. Where processes cannot be looked into, none.
    pub(super) fn process_in(&self, alias: &AccountAlias, kind: &kind::Kind) -> Option<u32> {
        let pids = std::fs::read_dir("/proc").ok()?.flatten();
        let mut pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let agent = AgentKind::new(kind.agent);
        pids.find(|pid| {
            homes_of(*pid).and_then(|homes| self.account_in(&agent, &homes)).as_ref() == Some(alias)
        })
    }

    /// The same of all terminals of a look at the process table.
    pub(crate) fn accounts_of(&self, snapshot: &Snapshot) -> HashMap<String, AccountAlias> {
        let of_group =
            |(tty, group): (&String, &Vec<ProcessInfo>)| Some((tty.clone(), self.account_of(group)?));
        snapshot.groups.iter().filter_map(of_group).collect()
    }

    /// Where the session files of an agent with this home really are: the home of an account shares them with another,
    /// and each file has one name.
    pub(crate) fn home_of_sessions(&self, agent: &AgentKind, home: PathBuf) -> PathBuf {
        let Some(kind) = kind::of(agent.as_str()).filter(|_| home.starts_with(&self.path)) else {
            return home;
        };
        let shared = std::fs::read_link(home.join(kind.sessions)).ok().filter(|target| target.is_absolute());
        let shared = shared.and_then(|target| std::fs::canonicalize(target).ok());
        shared.and_then(|sessions| sessions.parent().map(Path::to_owned)).unwrap_or(home)
    }
}
