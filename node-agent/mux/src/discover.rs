//! Which mux servers are there.
//!
//! WezTerm keeps its sockets in one runtime directory: `$XDG_RUNTIME_DIR/wezterm`, or `$HOME/.local/share/wezterm`
//! where there is no such variable (always on macOS). `sock` is the mux server's, `gui-sock-PID` that of a window.
//! A configuration may put the server's socket elsewhere; then only a pane of it knows, by `WEZTERM_UNIX_SOCKET`.
//!
//! Decisions: names must not depend on where this runs, for pane addresses are made of them; so the runtime directory
//! comes first and the variable second. Nobody is dialled (each connection costs the server work): a window's socket
//! counts when its process lives, since windows that crash leave theirs behind; the server's counts when it is there.

use std::ffi::OsString;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The first server found; pane addresses leave this name out.
pub const MAIN: &str = "main";
/// The server named by `WEZTERM_UNIX_SOCKET` when it is not the main one.
const FROM_ENVIRONMENT: &str = "env";
const GUI_PREFIX: &str = "gui-sock-";

/// What runs behind a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketKind {
    /// A `wezterm-mux-server`.
    Mux,
    /// A window with panes of its own, and mirrors of others'.
    Gui,
}

/// A socket that a server should listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socket {
    /// `main`, `env` or `gui-PID`.
    pub name: String,
    pub path: PathBuf,
    pub kind: SocketKind,
}

/// The variables that decide.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Env {
    pub xdg_runtime_dir: Option<PathBuf>,
    pub home: Option<PathBuf>,
    pub wezterm_unix_socket: Option<PathBuf>,
}

impl Env {
    /// Reads them through `lookup`, which is `|name| std::env::var_os(name)` as a rule. Empty ones count as unset.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<OsString>) -> Self {
        let path = |name| lookup(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self {
            xdg_runtime_dir: path("XDG_RUNTIME_DIR"),
            home: path("HOME"),
            wezterm_unix_socket: path("WEZTERM_UNIX_SOCKET"),
        }
    }

    fn runtime_dir(&self) -> Option<PathBuf> {
        let xdg = self.xdg_runtime_dir.as_ref().filter(|_| !cfg!(target_os = "macos"));
        match (xdg, &self.home) {
            (Some(xdg), _) => Some(xdg.join("wezterm")),
            (None, Some(home)) => Some(home.join(".local/share/wezterm")),
            (None, None) => None,
        }
    }

    /// Where a mux server listens by default, whether or not one does; `None` without a home.
    pub fn default_socket(&self) -> Option<PathBuf> {
        Some(self.runtime_dir()?.join("sock"))
    }
}

/// The sockets of this user, the main one first, windows last and the newest of them at the end.
pub fn discover(env: &Env) -> Vec<Socket> {
    let mut found = Vec::new();
    found.extend(env.default_socket().filter(|path| is_socket(path)).map(|path| mux(MAIN, path)));
    let guis = env.runtime_dir().map(|folder| live_guis(&folder)).unwrap_or_default();
    if let Some(path) = &env.wezterm_unix_socket
        && is_socket(path)
        && gui_pid(path).is_none()
        && found.iter().all(|socket| !same_file(&socket.path, path))
    {
        found.push(mux(if found.is_empty() { MAIN } else { FROM_ENVIRONMENT }, path.clone()));
    }
    found.extend(guis);
    found
}

fn mux(name: &str, path: PathBuf) -> Socket {
    Socket { name: name.to_owned(), path, kind: SocketKind::Mux }
}

fn live_guis(folder: &Path) -> Vec<Socket> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<(SystemTime, i32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let path = entry.path();
            let pid = gui_pid(&path)?;
            let metadata = std::fs::metadata(&path).ok()?;
            let alive = metadata.file_type().is_socket() && is_alive(pid);
            alive.then(|| (metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), pid, path))
        })
        .collect();
    found.sort();
    found
        .into_iter()
        .map(|(_, pid, path)| Socket { name: format!("gui-{pid}"), path, kind: SocketKind::Gui })
        .collect()
}

fn gui_pid(path: &Path) -> Option<i32> {
    path.file_name()?.to_str()?.strip_prefix(GUI_PREFIX)?.parse().ok().filter(|pid| *pid > 0)
}

/// Ours and running: a process of somebody else with this number is not the window that made the socket.
fn is_alive(pid: i32) -> bool {
    rustix::process::Pid::from_raw(pid).is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
}

fn is_socket(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

fn same_file(a: &Path, b: &Path) -> bool {
    a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

// On macOS the runtime directory is always under the home.
#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    struct Host {
        folder: tempfile::TempDir,
        _sockets: Vec<UnixListener>,
    }

    impl Host {
        fn with(sockets: &[&str]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(folder.path().join("run/wezterm")).unwrap();
            std::fs::create_dir_all(folder.path().join("home/.local/share/wezterm")).unwrap();
            let bind = |name: &&str| UnixListener::bind(folder.path().join(name)).unwrap();
            let sockets = sockets.iter().map(bind).collect();
            Self { folder, _sockets: sockets }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn env(&self, runtime: bool, socket: Option<&str>) -> Env {
            Env::from_lookup(|name| match name {
                "XDG_RUNTIME_DIR" => Some(if runtime { self.path("run").into() } else { OsString::new() }),
                "HOME" => Some(self.path("home").into()),
                "WEZTERM_UNIX_SOCKET" => socket.map(|name| self.path(name).into()),
                _ => None,
            })
        }
    }

    fn names(sockets: &[Socket]) -> Vec<&str> {
        sockets.iter().map(|socket| socket.name.as_str()).collect()
    }

    #[test]
    fn the_runtime_directory_comes_first_and_live_windows_last() {
        let alive = format!("run/wezterm/gui-sock-{}", std::process::id());
        // Process numbers end at 4194304.
        let host = Host::with(&["run/wezterm/sock", &alive, "run/wezterm/gui-sock-2000000000", "run/else"]);
        let found = discover(&host.env(true, Some("run/else")));
        assert_eq!(names(&found), ["main", "env", &format!("gui-{}", std::process::id())]);
        assert_eq!(found[0].path, host.path("run/wezterm/sock"));
        assert_eq!(
            found.iter().map(|socket| socket.kind).collect::<Vec<_>>()[1..],
            [SocketKind::Mux, SocketKind::Gui]
        );
    }

    #[test]
    fn the_variable_adds_nothing_that_is_there_already() {
        let host = Host::with(&["run/wezterm/sock"]);
        std::os::unix::fs::symlink(host.path("run/wezterm/sock"), host.path("run/link")).unwrap();
        for same in ["run/wezterm/sock", "run/link", "run/nothing"] {
            assert_eq!(names(&discover(&host.env(true, Some(same)))), ["main"], "{same}");
        }
    }

    #[test]
    fn a_socket_elsewhere_is_the_main_one_when_it_is_the_only_one() {
        let host = Host::with(&["run/else"]);
        let found = discover(&host.env(true, Some("run/else")));
        assert_eq!((names(&found), &found[0].path), (vec!["main"], &host.path("run/else")));
    }

    #[test]
    fn without_a_runtime_directory_the_home_has_it() {
        let host = Host::with(&["home/.local/share/wezterm/sock"]);
        let env = host.env(false, None);
        assert_eq!(env.default_socket(), Some(host.path("home/.local/share/wezterm/sock")));
        assert_eq!(names(&discover(&env)), ["main"]);
    }

    #[test]
    fn nothing_and_things_that_are_no_sockets() {
        let host = Host::with(&[]);
        std::fs::write(host.path("run/wezterm/sock"), "").unwrap();
        assert!(discover(&host.env(true, None)).is_empty());
        assert!(discover(&Env::default()).is_empty());
    }
}
