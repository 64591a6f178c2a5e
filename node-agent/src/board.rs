//! The board: what every pane and every mux is doing now, for whoever asks.
//!
//! A level, not a history: observers write the present, the session reads what has changed since it last looked. What a
//! pane's report is worth decides how soon it leaves: a new state at once, a title within 50 ms, mere output within a
//! second.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use wa_proto::wire::v1;
use wa_proto::{MuxName, Pane, PaneRef, Timestamp};

/// Panes that have gone are remembered for those who have yet to hear of it; beyond that many they get a full report.
const MAX_GONE: usize = 1024;

/// How soon a change is worth telling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Only the time of the last output.
    Output,
    /// Title, directory, size.
    Detail,
    /// State, agent, coming and going.
    State,
}

impl Urgency {
    /// How long such a change may wait for company.
    pub fn delay(self) -> Duration {
        match self {
            Self::Output => Duration::from_secs(1),
            Self::Detail => Duration::from_millis(50),
            Self::State => Duration::ZERO,
        }
    }
}

#[derive(Debug)]
struct Entry {
    pane: Pane,
    version: u64,
    urgency: Urgency,
}

#[derive(Debug, Default)]
struct State {
    panes: BTreeMap<PaneRef, Entry>,
    gone: VecDeque<(PaneRef, u64)>,
    /// Of the last that was forgotten.
    forgotten: u64,
    muxes: BTreeMap<MuxName, v1::MuxStatus>,
    problems: BTreeMap<String, String>,
    version: u64,
}

/// What is new since a version.
#[derive(Debug, Clone, PartialEq)]
pub struct Changes {
    /// `panes` are all there are.
    pub full: bool,
    pub panes: Vec<Pane>,
    pub gone: Vec<PaneRef>,
    /// Ask with this one next time.
    pub version: u64,
}

#[derive(Debug)]
pub struct Board {
    state: Mutex<State>,
    version: watch::Sender<u64>,
    health: watch::Sender<()>,
}

impl Default for Board {
    fn default() -> Self {
        Self { state: Mutex::default(), version: watch::Sender::new(0), health: watch::Sender::new(()) }
    }
}

/// What differs between two reports of a pane; `None` = nothing.
fn difference(old: &Pane, new: &Pane) -> Option<Urgency> {
    if old == new {
        return None;
    }
    let state = |pane: &Pane| (pane.state, pane.agent.clone(), pane.agent_pid, pane.detail.clone());
    if state(old) != state(new) {
        return Some(Urgency::State);
    }
    let quiet = Pane { last_output: new.last_output, ..old.clone() };
    Some(if quiet == *new { Urgency::Output } else { Urgency::Detail })
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pane as it is now.
    pub fn set_pane(&self, pane: Pane) {
        let mut state = self.lock();
        let version = state.version + 1;
        match state.panes.get_mut(&pane.pane) {
            Some(entry) => {
                let Some(urgency) = difference(&entry.pane, &pane) else { return };
                // What was not told yet keeps its urgency.
                entry.urgency = if entry.version > 0 { entry.urgency.max(urgency) } else { urgency };
                entry.pane = pane;
                entry.version = version;
            }
            None => {
                let entry = Entry { version, urgency: Urgency::State, pane };
                state.panes.insert(entry.pane.pane.clone(), entry);
            }
        }
        self.bump(state, version);
    }

    /// When a pane last printed; all else is as it was.
    pub fn set_output(&self, pane: &PaneRef, at: Option<Timestamp>) {
        let mut state = self.lock();
        let version = state.version + 1;
        let Some(entry) = state.panes.get_mut(pane).filter(|entry| entry.pane.last_output != at) else {
            return;
        };
        entry.pane.last_output = at;
        entry.version = version;
        self.bump(state, version);
    }

    pub fn remove_pane(&self, pane: &PaneRef) {
        let mut state = self.lock();
        if state.panes.remove(pane).is_none() {
            return;
        }
        let version = state.version + 1;
        state.gone.push_back((pane.clone(), version));
        while state.gone.len() > MAX_GONE {
            state.forgotten = state.gone.pop_front().map_or(0, |(_, version)| version);
        }
        self.bump(state, version);
    }

    fn bump(&self, mut state: MutexGuard<'_, State>, version: u64) {
        state.version = version;
        drop(state);
        self.version.send_replace(version);
    }

    /// Changes with every change of a pane.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    pub fn pane(&self, pane: &PaneRef) -> Option<Pane> {
        self.lock().panes.get(pane).map(|entry| entry.pane.clone())
    }

    pub fn panes(&self) -> Vec<Pane> {
        self.lock().panes.values().map(|entry| entry.pane.clone()).collect()
    }

    /// The most urgent change since a version.
    pub fn urgency_since(&self, version: Option<u64>) -> Option<Urgency> {
        let version = version.unwrap_or(0);
        let state = self.lock();
        let gone = state.gone.iter().any(|(_, at)| *at > version).then_some(Urgency::State);
        state
            .panes
            .values()
            .filter(|entry| entry.version > version)
            .map(|entry| entry.urgency)
            .chain(gone)
            .max()
    }

    /// Everything that has changed since a version; all of it for `None`.
    pub fn changes_since(&self, version: Option<u64>) -> Changes {
        let mut state = self.lock();
        let now = state.version;
        let full = version.is_none_or(|version| version < state.forgotten);
        let version = version.unwrap_or(0);
        let mut panes = Vec::new();
        for entry in state.panes.values_mut().filter(|entry| full || entry.version > version) {
            panes.push(entry.pane.clone());
            entry.urgency = Urgency::Output;
        }
        let gone = if full {
            Vec::new()
        } else {
            state.gone.iter().filter(|(_, at)| *at > version).map(|(pane, _)| pane.clone()).collect()
        };
        Changes { full, panes, gone, version: now }
    }

    pub fn set_mux(&self, name: &MuxName, status: v1::MuxStatus) {
        let old = self.lock().muxes.insert(name.clone(), status.clone());
        if old.as_ref() != Some(&status) {
            self.health.send_replace(());
        }
    }

    /// A mux server that is gone for good.
    pub fn remove_mux(&self, name: &MuxName) {
        if self.lock().muxes.remove(name).is_some() {
            self.health.send_replace(());
        }
    }

    /// Changes with every change of a mux server's status, and of what is wrong.
    pub fn watch_health(&self) -> watch::Receiver<()> {
        self.health.subscribe()
    }

    pub fn muxes(&self) -> Vec<v1::MuxStatus> {
        self.lock().muxes.values().cloned().collect()
    }

    /// Says, or takes back, what is wrong with some part of the node.
    pub fn set_problem(&self, part: &str, problem: Option<String>) {
        let old = match problem.clone() {
            Some(text) => self.lock().problems.insert(part.to_owned(), text),
            None => self.lock().problems.remove(part),
        };
        if old != problem {
            self.health.send_replace(());
        }
    }

    pub fn problems(&self) -> Vec<String> {
        self.lock().problems.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wa_proto::{Generation, PaneState, StateDetail};

    fn pane(id: u64, title: &str, state: PaneState) -> Pane {
        Pane {
            pane: PaneRef {
                mux: MuxName::main(),
                generation: Generation::new("g-1-1").unwrap(),
                pane_id: id,
            },
            title: title.into(),
            cwd: String::new(),
            project: String::new(),
            agent: None,
            agent_version: String::new(),
            agent_pid: 0,
            state,
            detail: StateDetail::default(),
            session_id: String::new(),
            cols: 80,
            rows: 24,
            tty: String::new(),
            last_output: None,
            mirror: false,
            session: None,
            not_logged: String::new(),
            account: None,
        }
    }

    #[test]
    fn only_what_changed_is_told_and_by_its_worth() {
        let board = Board::default();
        board.set_pane(pane(1, "a", PaneState::Idle));
        board.set_pane(pane(2, "b", PaneState::Idle));
        let all = board.changes_since(None);
        assert!(all.full);
        assert_eq!(all.panes.len(), 2);
        board.set_pane(pane(1, "a", PaneState::Idle));
        assert_eq!(board.urgency_since(Some(all.version)), None);
        board.set_pane(pane(1, "a2", PaneState::Idle));
        assert_eq!(board.urgency_since(Some(all.version)), Some(Urgency::Detail));
        board.set_pane(pane(1, "a2", PaneState::Working));
        board.set_pane(pane(1, "a3", PaneState::Working));
        assert_eq!(board.urgency_since(Some(all.version)), Some(Urgency::State));
        board.remove_pane(&pane(2, "", PaneState::Idle).pane);
        let some = board.changes_since(Some(all.version));
        assert_eq!((some.full, some.panes.len(), some.gone.len()), (false, 1, 1));
        assert_eq!(board.urgency_since(Some(some.version)), None);
    }

    #[test]
    fn who_slept_too_long_gets_everything() {
        let board = Board::default();
        board.set_pane(pane(0, "stays", PaneState::Idle));
        let first = board.changes_since(None).version;
        for id in 1..2000 {
            board.set_pane(pane(id, "", PaneState::Idle));
            board.remove_pane(&pane(id, "", PaneState::Idle).pane);
        }
        let changes = board.changes_since(Some(first));
        assert!(changes.full);
        assert_eq!(changes.panes.len(), 1);
    }
}
