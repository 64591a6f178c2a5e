//! The note that a running `wa up` leaves, so that `wa` in another terminal needs no flags.
//!
//! It stands as `up.toml` in the runtime directory of the user (`$XDG_RUNTIME_DIR/wa`), or where there is none in the
//! state directory. A note whose process is gone is ignored. Beside it stands the lock that makes `wa up` single.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::context::Surroundings;
use crate::failure::Failure;

const FILE: &str = "up.toml";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pointer {
    pub(crate) pid: u32,
    /// Context file of the operator.
    pub(crate) operator: PathBuf,
    /// Context file for agents in the panes of this host.
    pub(crate) agent: PathBuf,
}

impl Pointer {
    /// Leaves the note in this directory.
    pub(crate) fn write(&self, place: &Path) -> Result<(), Failure> {
        let text = format!(
            "pid = {}\noperator = {}\nagent = {}\n",
            self.pid,
            quoted(&self.operator)?,
            quoted(&self.agent)?
        );
        wa_link::files::write_private(&place.join(FILE), text.as_bytes())
            .map_err(|error| Failure::failed(error.to_string()))
    }
}

/// A path as a TOML string; JSON's escapes are TOML's, too.
fn quoted(path: &Path) -> Result<String, Failure> {
    let text = path.to_str().ok_or_else(|| {
        Failure::failed(format!("{} is not UTF-8: choose another directory with --data-dir", path.display()))
    })?;
    serde_json::to_string(text).map_err(|error| Failure::failed(format!("{}: {error}", path.display())))
}

/// Takes the note away.
pub(crate) fn remove(place: &Path) {
    // Nothing is lost when it stays: the process that it names is gone.
    std::fs::remove_file(place.join(FILE)).ok();
}

/// Where the note of this user stands.
pub(crate) fn place(around: &Surroundings<'_>) -> Option<PathBuf> {
    around.runtime_dir().or_else(|| around.state_home())
}

/// The note of a running `wa up`. Looked for in both places, for a session may lack the runtime directory that
/// another has.
pub(crate) fn read(around: &Surroundings<'_>) -> Option<Pointer> {
    let places = [around.runtime_dir(), around.state_home()];
    places.into_iter().flatten().find_map(|place| {
        let pointer: Pointer = wa_link::config::load(&place.join(FILE)).ok()?;
        (around.runs)(pointer.pid).then_some(pointer)
    })
}

/// Whether a process of ours with this id runs.
pub(crate) fn is_running(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_note_comes_back_as_it_was_left() {
        let place = tempfile::tempdir().unwrap();
        let wa = place.path().join("wa");
        std::fs::create_dir(&wa).unwrap();
        let note = Pointer { pid: 7, operator: "/a \"b\"/\\o.toml".into(), agent: "/ä/a.toml".into() };
        note.write(&wa).unwrap();
        let variable = |name: &str| match name {
            "XDG_RUNTIME_DIR" => Some(place.path().as_os_str().to_owned()),
            _ => None,
        };
        let around = |runs: &'static dyn Fn(u32) -> bool| Surroundings { variable: &variable, runs };
        assert_eq!(read(&around(&|pid| pid == 7)), Some(note));
        assert_eq!(read(&around(&|_| false)), None);
        remove(&wa);
        assert_eq!(read(&around(&|_| true)), None);
    }

    #[test]
    fn this_process_runs_and_an_impossible_one_does_not() {
        assert!(is_running(std::process::id()));
        assert!(!is_running(0));
        assert!(!is_running(u32::MAX));
    }
}
