//! The policy file on disk, which is read again when it changes.
//!
//! Constraints: a file that cannot be used changes nothing: the policy that is in force stays, and that the file is wrong is
//! said in `wa fleet status`, by `/healthz`, in a metric and in the audit trail. A file that is being written is not read: it
//! has to look the same twice, a second apart, unless somebody asks for it (SIGHUP).

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;
use wa_link::files;
use wa_link::shutdown::Shutdown;

use super::{InvalidPolicy, MAX_FILE, Policy};
use crate::gate::Gate;
use crate::store::{Entry, Store};

/// How often the file is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// What tells one state of a file from another: time of change in nanoseconds, size, inode. `None`: it is not there.
type Stamp = Option<(i64, i64, u64, u64)>;

/// A policy file that is followed.
#[derive(Debug)]
pub struct PolicyFile {
    path: PathBuf,
    state: Mutex<State>,
    again: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Of what was read last, whether it could be used or not.
    read: Stamp,
    problem: Option<String>,
}

fn stays(error: &InvalidPolicy) -> String {
    format!("{error}; the policy before it stays in force")
}

fn stamp(path: &Path) -> Stamp {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.mtime(), meta.mtime_nsec(), meta.len(), meta.ino()))
}

/// Reads a policy from a file.
///
/// # Errors
/// The first mistake, with its place.
pub(crate) fn read(path: &Path) -> Result<Policy, InvalidPolicy> {
    let refuse = |problem: String| InvalidPolicy::Rules { path: path.display().to_string(), problem };
    // Opening something else, a pipe for one, may wait for ever.
    if std::fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
        return Err(refuse("is no file".to_owned()));
    }
    let text = files::read_text(path, MAX_FILE).map_err(|error| refuse(error.to_string()))?;
    Policy::parse(&text, path)
}

impl PolicyFile {
    /// The file, with what it says.
    ///
    /// # Errors
    /// As [`Policy::parse`]; a controller does not start with a policy that it does not understand.
    pub(crate) fn open(path: PathBuf) -> Result<(Self, Policy), InvalidPolicy> {
        let state = State { read: stamp(&path), problem: None };
        let policy = read(&path)?;
        Ok((Self { path, state: Mutex::new(state), again: Notify::new() }, policy))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the file as it stands is not in force, if so.
    pub fn problem(&self) -> Option<String> {
        self.state().problem.clone()
    }

    /// As [`Self::problem`], of the file as it is this moment: somebody may have saved it just now. Reads it where it has
    /// changed.
    pub(crate) fn problem_now(&self) -> Option<String> {
        if stamp(&self.path) == self.state().read {
            return self.problem();
        }
        Some(match read(&self.path) {
            Ok(_) => format!("{} was changed a moment ago: try again in two seconds", self.path.display()),
            Err(error) => stays(&error),
        })
    }

    /// Has it read again at once.
    pub fn reload(&self) {
        self.again.notify_one();
    }

    /// Follows the file until the shutdown.
    pub(crate) async fn follow(&self, gate: &Gate, store: &Store, shutdown: &Shutdown) {
        let mut before = self.state().read;
        loop {
            let asked = tokio::select! {
                biased;
                () = shutdown.triggered() => return,
                asked = timeout(EVERY, self.again.notified()) => asked.is_ok(),
            };
            let now = stamp(&self.path);
            let settled = now == before;
            before = now;
            if asked || (settled && now != self.state().read) {
                self.take(now, gate, store).await;
            }
        }
    }

    /// Reads it, and puts it in force if it can be used. Which of the two is written down.
    async fn take(&self, stamp: Stamp, gate: &Gate, store: &Store) {
        let read = read(&self.path);
        {
            let mut state = self.state();
            state.read = stamp;
            state.problem = read.as_ref().err().map(stays);
        }
        match read {
            Ok(policy) => self.put_in_force(policy, gate, store).await,
            Err(error) => {
                tracing::error!(%error, "the policy file cannot be used; the policy before it stays in force");
                self.note(store, "refused", error.to_string()).await;
            }
        }
    }

    /// Has the gate judge by it, and writes that down.
    pub(crate) async fn put_in_force(&self, policy: Policy, gate: &Gate, store: &Store) {
        let detail = format!("{} rules, sha256 {}", policy.rules(), policy.hash());
        tracing::info!(path = %self.path.display(), detail, "the policy was read");
        gate.set_policy(Some(Arc::new(policy)));
        self.note(store, "loaded", detail).await;
    }

    async fn note(&self, store: &Store, decision: &'static str, detail: String) {
        let target = self.path.display().to_string();
        let noted = store.write(move |tx| {
            tx.audit(&Entry { who: "controller", what: "policy", target: &target, decision, detail: &detail })
        });
        if let Err(error) = noted.await {
            tracing::warn!(%error, "what became of the policy file is missing in the audit trail");
        }
    }
}
