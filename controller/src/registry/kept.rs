//! What of the registry is stored, and when.
//!
//! Constraints: thousands of panes print all the time, and each report says when; to store every one of them anew would
//! keep the writer from what people wait for. So a pane is stored when anything else of it changed, and when it last
//! printed only if what is stored is older than [`OUTPUT_EVERY`], or its node has gone. What could not be stored is
//! stored whole the next time: then nothing that is in the database needs to be known.

use std::collections::HashSet;
use std::time::Duration;

use wa_proto::{Host, Pane, Timestamp};

use super::{Known, Node, PaneKey, Registry};
use crate::store::NodeChange;

/// How old the time of a pane's last output may be in the store.
const OUTPUT_EVERY: Duration = Duration::from_secs(60);

/// Whether a pane is stored as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    No,
    Yes,
    /// But for when it last printed.
    ButOutput(Option<Timestamp>),
}

impl Stored {
    /// After this change.
    pub(super) fn after(self, before: &Pane, now: &Pane) -> Self {
        let held = match self {
            Self::No => return Self::No,
            Self::Yes => before.last_output,
            Self::ButOutput(held) => held,
        };
        if !same_but_output(before, now) {
            Self::No
        } else if held == now.last_output {
            Self::Yes
        } else {
            Self::ButOutput(held)
        }
    }

    fn is_due(self, pane: &Pane) -> bool {
        let late = |held: Option<Timestamp>| match (held, pane.last_output) {
            (Some(held), Some(now)) => {
                Duration::try_from(now.duration_since(held)).is_ok_and(|late| late >= OUTPUT_EVERY)
            }
            _ => true,
        };
        match self {
            Self::No => true,
            Self::Yes => false,
            Self::ButOutput(held) => late(held),
        }
    }
}

/// Compared without a copy: there are many.
fn same_but_output(one: &Pane, other: &Pane) -> bool {
    let Pane {
        pane,
        title,
        cwd,
        project,
        agent,
        agent_version,
        agent_pid,
        state,
        detail,
        session_id,
        session,
        cols,
        rows,
        tty,
        last_output: _,
        mirror,
        not_logged,
        account,
    } = one;
    *pane == other.pane
        && *state == other.state
        && *title == other.title
        && *cwd == other.cwd
        && *project == other.project
        && *agent == other.agent
        && *agent_version == other.agent_version
        && *agent_pid == other.agent_pid
        && *detail == other.detail
        && *session_id == other.session_id
        && *session == other.session
        && (*cols, *rows, *mirror) == (other.cols, other.rows, other.mirror)
        && *tty == other.tty
        && *not_logged == other.not_logged
        && *account == other.account
}

/// What there is to store of a node.
#[derive(Debug, Default)]
pub(super) struct Storing {
    /// Anything at all.
    changed: bool,
    /// Places whose panes are no more.
    gone: HashSet<PaneKey>,
    /// What is stored is not known.
    whole: bool,
}

impl Storing {
    /// Everything is to be stored anew.
    pub(super) fn anew() -> Self {
        Self { changed: true, whole: true, gone: HashSet::new() }
    }

    pub(super) fn changed(&mut self) {
        self.changed = true;
    }

    pub(super) fn gone(&mut self, place: PaneKey) {
        self.changed = true;
        self.gone.insert(place);
    }
}

impl Known {
    pub(super) fn as_stored(pane: Pane) -> Self {
        Self { pane, seen: false, stored: Stored::Yes }
    }
}

impl Registry {
    /// What differs from what is stored; from now on it counts as stored.
    pub(crate) fn take_changes(&self) -> Vec<NodeChange> {
        let mut inner = self.lock();
        let changed = inner.nodes.iter_mut().filter(|(_, node)| node.storing.changed);
        changed.map(|(host, node)| node.take_change(host)).collect()
    }

    /// The last change of these hosts was not stored.
    pub(crate) fn not_stored(&self, hosts: &[Host]) {
        let mut inner = self.lock();
        for host in hosts {
            if let Some(node) = inner.nodes.get_mut(host) {
                node.storing = Storing::anew();
            }
        }
    }
}

impl Node {
    fn take_change(&mut self, host: &Host) -> NodeChange {
        let away = self.session.is_none();
        let Storing { mut gone, whole, .. } = std::mem::take(&mut self.storing);
        // A place that was filled again holds another pane now.
        gone.retain(|place| !self.panes.contains_key(place));
        let mut panes = Vec::new();
        for known in self.panes.values_mut() {
            let differs = known.stored != Stored::Yes;
            if whole || known.stored.is_due(&known.pane) || (away && differs) {
                known.stored = Stored::Yes;
                panes.push(known.pane.clone());
            }
        }
        NodeChange {
            host: host.clone(),
            version: self.version.clone(),
            last_seen: self.last_seen,
            skew_ms: self.skew_ms,
            heartbeat: self.heartbeat.clone(),
            whole,
            panes,
            gone: gone.into_iter().collect(),
        }
    }
}
