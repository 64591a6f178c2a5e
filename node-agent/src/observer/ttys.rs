//! Which mux server a terminal belongs to.
//!
//! A window attached to a mux server shows that server's panes again on its own socket: mirrors, which are not to be
//! logged twice or typed into twice. A pane without a terminal on a window's socket is one; so is a pane whose terminal
//! (the same device) a server of higher rank has. Mux servers come before windows, `main` before the others.

use std::collections::{BTreeMap, HashSet};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use wa_proto::MuxName;

/// A terminal, the same under whatever path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Terminal {
    Device(u64),
    /// What is no device, as in tests and other namespaces.
    Path(String),
}

impl Terminal {
    pub(super) fn of(path: &str) -> Self {
        match std::fs::metadata(path) {
            Ok(meta) if meta.file_type().is_char_device() => Self::Device(meta.rdev()),
            _ => Self::Path(path.to_owned()),
        }
    }
}

/// Lower comes first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    is_gui: bool,
    is_other: bool,
    name: MuxName,
}

/// The terminals of all servers of this host.
#[derive(Debug, Clone, Default)]
pub(super) struct Ttys(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    owned: Mutex<BTreeMap<Rank, HashSet<Terminal>>>,
    changed: watch::Sender<()>,
}

impl Shared {
    fn owned(&self) -> MutexGuard<'_, BTreeMap<Rank, HashSet<Terminal>>> {
        self.owned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One server's part in it; what it had is free when this is dropped.
#[derive(Debug)]
pub(super) struct OwnTtys {
    ttys: Ttys,
    rank: Rank,
    changed: watch::Receiver<()>,
}

impl Ttys {
    pub(super) fn join(&self, name: &MuxName, is_gui: bool) -> OwnTtys {
        let rank = Rank { is_gui, is_other: !name.is_main(), name: name.clone() };
        OwnTtys { ttys: self.clone(), rank, changed: self.0.changed.subscribe() }
    }

    /// The server whose pane has this terminal: of several, the one of the highest rank.
    pub(super) fn owner(&self, terminal: &Terminal) -> Option<MuxName> {
        let owned = self.0.owned();
        owned.iter().find(|(_, owned)| owned.contains(terminal)).map(|(rank, _)| rank.name.clone())
    }
}

impl OwnTtys {
    /// Says which terminals this server has now.
    pub(super) fn share(&self, terminals: HashSet<Terminal>) {
        let before = self.ttys.0.owned().insert(self.rank.clone(), terminals.clone());
        if before.unwrap_or_default() != terminals {
            self.ttys.0.changed.send_replace(());
        }
    }

    /// A server of higher rank has this terminal.
    pub(super) fn is_foreign(&self, terminal: &Terminal) -> bool {
        self.ttys.0.owned().range(..&self.rank).any(|(_, owned)| owned.contains(terminal))
    }

    /// Some server's terminals have changed.
    pub(super) async fn changed(&mut self) {
        if self.changed.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for OwnTtys {
    fn drop(&mut self) {
        self.ttys.0.owned().remove(&self.rank);
        self.ttys.0.changed.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_of_higher_rank_has_the_terminal_until_it_lets_go() {
        let ttys = Ttys::default();
        let name = |text: &str| MuxName::new(text).unwrap();
        let gui = ttys.join(&name("gui-7"), true);
        let other = ttys.join(&name("a"), false);
        let main = ttys.join(&MuxName::main(), false);
        let null = Terminal::of("/dev/null");
        assert_eq!(null, Terminal::of("/dev/../dev/null"));
        for part in [&gui, &other, &main] {
            part.share(HashSet::from([null.clone()]));
        }
        assert_eq!([&gui, &other, &main].map(|part| part.is_foreign(&null)), [true, true, false]);
        assert_eq!(ttys.owner(&null), Some(MuxName::main()));
        main.share(HashSet::new());
        assert_eq!([&gui, &other].map(|part| part.is_foreign(&null)), [true, false]);
        drop(other);
        assert!(!gui.is_foreign(&null));
        assert!(!gui.is_foreign(&Terminal::of("/dev/zero")));
        assert_eq!((ttys.owner(&null), ttys.owner(&Terminal::of("/dev/zero"))), (Some(name("gui-7")), None));
    }
}
