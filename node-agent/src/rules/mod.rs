//! The rules of this node, and how they change while it runs.
//!
//! Constraints. Three kinds of packs run together: the built-in ones, those pushed by the controller, and the local ones of
//! the configuration, which have the last word: a local pack stands in the place of a pushed one of its name. A set is taken
//! whole or not at all, and while a new one is weighed, or is refused, the old one runs. The pushed set is on disk, so that a
//! node without a controller runs it after a restart; what is damaged there is said, and healed by the next set. A change of
//! rules loses nothing of what is known of a pane, and what already stands on its screen is not told because of it.
//!
//! Operation. [`Rules`] is the handle that everybody shares: observers follow its engine, the session brings sets and takes
//! reports. `worker.rs` weighs sets and reloads one at a time, compiling on a thread of its own; of sets that wait only the
//! newest counts. `disk.rs` keeps the pushed set, `shadow.rs` counts what shadow rules find, `unknown.rs` the screens that no
//! rule knows, `explain.rs` makes the answer to "why is this pane in its state".

mod disk;
pub(crate) mod explain;
mod local;
mod shadow;
#[cfg(test)]
pub(crate) mod tests;
mod unknown;
mod worker;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use wa_match::{Detected, Engine};
use wa_proto::wire::v1;

use crate::board::Board;
use shadow::Shadows;
use unknown::UnknownScreens;

pub use local::{LocalPacks, Reload, Reloads, reloads};
pub(crate) use unknown::Strange;
pub use worker::Worker;

/// What is in force, and what else there is to say of it. Clones are the same rules.
#[derive(Clone)]
pub struct Rules(Arc<Inner>);

struct Inner {
    board: Arc<Board>,
    engine: watch::Sender<Arc<Engine>>,
    standing: Mutex<Standing>,
    /// Grows when there is a new report.
    reports: watch::Sender<u64>,
    /// The newest pushed set; a worker takes it from here.
    wanted: watch::Sender<Option<Arc<v1::RulePacks>>>,
    shadows: Mutex<Shadows>,
    unknown: Mutex<UnknownScreens>,
}

#[derive(Debug, Default)]
struct Standing {
    /// Of the pushed set that is in force.
    revision: String,
    /// Revision of the last set that was refused since, and why.
    refused: Option<(String, String)>,
}

impl Rules {
    /// These rules; nothing is on disk, and no set is taken until a [`Worker`] runs.
    pub fn fixed(engine: Arc<Engine>, board: Arc<Board>) -> Self {
        let shadows = Mutex::new(Shadows::of(&engine));
        Self(Arc::new(Inner {
            board,
            engine: watch::Sender::new(engine),
            standing: Mutex::default(),
            reports: watch::Sender::new(0),
            wanted: watch::Sender::new(None),
            shadows,
            unknown: Mutex::default(),
        }))
    }

    /// The built-in rules, the pushed set in `state_dir` and the local packs. A pushed set that cannot be read or does not
    /// hold is told as a problem on the board, and left out. Blocks.
    ///
    /// # Errors
    /// When a local pack cannot be read or does not hold.
    pub fn open(
        state_dir: &Path,
        local: &LocalPacks,
        board: Arc<Board>,
    ) -> Result<(Self, Worker), crate::config::ConfigError> {
        Worker::open(state_dir, local, board)
    }

    /// What runs now.
    pub fn engine(&self) -> Arc<Engine> {
        Arc::clone(&self.0.engine.borrow())
    }

    /// What runs, with every change.
    pub fn follow(&self) -> watch::Receiver<Arc<Engine>> {
        self.0.engine.subscribe()
    }

    /// A set that the controller wants here. What becomes of it is told by a report.
    pub fn want(&self, packs: v1::RulePacks) {
        self.0.wanted.send_replace(Some(Arc::new(packs)));
    }

    /// Changes whenever there is a new report.
    pub fn reports(&self) -> watch::Receiver<u64> {
        self.0.reports.subscribe()
    }

    /// What runs on this node.
    pub fn report(&self) -> v1::RulesReport {
        let standing = self.standing();
        let engine = self.engine();
        let shadows = lock(&self.0.shadows);
        let (refused_revision, refused) = standing.refused.clone().unwrap_or_default();
        let pack = |pack: &wa_match::PackInfo| v1::PackStatus {
            name: pack.name.clone(),
            version: pack.version.clone(),
            hash: pack.hash.clone(),
            origin: pack.origin.as_str().to_owned(),
            rules: u32::try_from(pack.rules).unwrap_or(u32::MAX),
            shadow: pack.shadow,
            shadowed: if pack.shadow { shadows.of_pack(&pack.name) } else { Vec::new() },
        };
        v1::RulesReport {
            revision: standing.revision.clone(),
            refused_revision,
            refused,
            packs: engine.packs().iter().map(pack).collect(),
        }
    }

    /// Counts what shadow rules have found.
    pub(crate) fn shadowed(&self, found: &[Detected]) {
        if found.is_empty() {
            return;
        }
        let mut shadows = lock(&self.0.shadows);
        for detected in found {
            shadows.count(&detected.rule);
        }
    }

    /// Counts a screen that no rule knows; `text` gives its rows, redacted, if they are not known yet.
    pub(crate) fn unknown(&self, strange: &Strange<'_>, text: impl FnOnce() -> String) {
        lock(&self.0.unknown).count(strange, text);
    }

    /// Screens that no rule knows, those seen most often first.
    pub fn unknown_screens(&self) -> Vec<v1::UnknownScreen> {
        lock(&self.0.unknown).list()
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        lock(&self.0.standing)
    }

    /// Puts an engine in force, with the pushed set that it was made of.
    fn put_in_force(&self, engine: Engine, revision: String, refused: Option<(String, String)>) {
        let mut standing = self.standing();
        lock(&self.0.shadows).rebase(&engine);
        *standing = Standing { revision, refused };
        self.0.engine.send_replace(Arc::new(engine));
        drop(standing);
        self.tell();
    }

    fn refuse(&self, revision: String, why: String) {
        self.standing().refused = Some((revision, why));
        self.tell();
    }

    /// The set in force was sent again: what was refused came before it.
    fn confirm(&self) {
        self.standing().refused = None;
        self.tell();
    }

    fn tell(&self) {
        self.0.reports.send_modify(|version| *version += 1);
    }

    fn set_problem(&self, part: Part, text: Option<String>) {
        if let Some(text) = &text {
            tracing::error!("{text}");
        }
        self.0.board.set_problem(part.key(), text);
    }
}

/// What of the rules may be in trouble.
#[derive(Debug, Clone, Copy)]
enum Part {
    Local,
    Pushed,
    Disk,
}

impl Part {
    fn key(self) -> &'static str {
        match self {
            Self::Local => "rules: local packs",
            Self::Pushed => "rules: pushed packs",
            Self::Disk => "rules: disk",
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
