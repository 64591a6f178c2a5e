//! Which mux servers there are.
//!
//! The first socket that is named is the mux `main`, unless it has a name of its own. Without any, `main` is the `sock` of
//! WezTerm's runtime directory, whether or not it is there yet; the sockets of windows (`gui-sock-PID`) are found there,
//! at the start and every ten seconds, and go with their process.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use wa_link::shutdown::Shutdown;
use wa_mux::discover::{self, Env};
use wa_proto::MuxName;

use super::Starter;

/// A window that has just opened can wait, and a look costs one listing of a small directory.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A mux server by its socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MuxSocket {
    pub name: MuxName,
    pub path: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("mux socket {text:?}: {problem}; write PATH or NAME=PATH")]
pub struct InvalidSocket {
    text: String,
    problem: String,
}

impl FromStr for MuxSocket {
    type Err = InvalidSocket;

    /// `PATH` (the mux `main`) or `NAME=PATH`.
    fn from_str(text: &str) -> Result<Self, InvalidSocket> {
        let bad = |problem: String| InvalidSocket { text: text.chars().take(200).collect(), problem };
        let (name, path) = match text.split_once('=') {
            Some((name, path)) if !name.contains('/') => {
                (MuxName::new(name).map_err(|error| bad(error.to_string()))?, path)
            }
            _ => (MuxName::main(), text),
        };
        if path.is_empty() {
            return Err(bad("the path is missing".to_owned()));
        }
        Ok(Self { name, path: PathBuf::from(path) })
    }
}

/// Where mux servers are looked for when none is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovery {
    env: Env,
    /// Between two looks at the runtime directory.
    every: Duration,
}

impl Discovery {
    /// By the usual variables, which `variable` reads.
    pub fn new(variable: impl Fn(&str) -> Option<String>) -> Self {
        Self { env: Env::from_lookup(|name| variable(name).map(Into::into)), every: LOOK_EVERY }
    }

    #[cfg(test)]
    pub(crate) fn often(self) -> Self {
        Self { every: Duration::from_millis(50), ..self }
    }

    /// Where `wezterm-mux-server` listens unless it is told otherwise; `None` without a home directory.
    pub fn main(&self) -> Option<MuxSocket> {
        Some(MuxSocket { name: MuxName::main(), path: self.env.default_socket()? })
    }

    /// The other servers that are there now.
    fn others(&self) -> Vec<MuxSocket> {
        let main = self.env.default_socket();
        let others =
            discover::discover(&self.env).into_iter().filter(|socket| Some(&socket.path) != main.as_ref());
        // The name of the main one is taken, whether or not it is there yet.
        let named = others.filter_map(|socket| {
            let name = if socket.name == discover::MAIN { "env" } else { &socket.name };
            Some(MuxSocket { name: MuxName::new(name).ok()?, path: socket.path })
        });
        named.collect()
    }
}

/// The process whose window a socket belongs to; `None`: it is a mux server's.
pub(super) fn window_of(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.strip_prefix("gui-sock-")?.parse().ok()
}

/// Looks for sockets that are not observed yet, until the shutdown.
pub(super) async fn run(mut starter: Starter, discovery: Discovery, shutdown: Shutdown) {
    let discovery = Arc::new(discovery);
    loop {
        let look = Arc::clone(&discovery);
        let found = wa_link::worker::blocking(move || look.others()).await.unwrap_or_default();
        for socket in found {
            starter.start(socket);
        }
        starter.forget_closed_windows().await;
        tokio::select! {
            () = shutdown.triggered() => return,
            () = tokio::time::sleep(discovery.every) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_read_as_documented() {
        let socket =
            |text: &str| text.parse::<MuxSocket>().map(|socket| (socket.name.to_string(), socket.path));
        assert_eq!(socket("/run/a=b/sock"), Ok(("main".into(), "/run/a=b/sock".into())));
        assert_eq!(socket("gui=/run/x"), Ok(("gui".into(), "/run/x".into())));
        for bad in ["", "gui=", "a b=/x"] {
            assert!(socket(bad).unwrap_err().to_string().contains("NAME=PATH"), "{bad}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_default_is_where_the_server_listens() {
        let with = |set: &[(&str, &str)]| {
            let set: Vec<(String, String)> = set.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
            let found = Discovery::new(|name| set.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone()));
            found.main().map(|socket| socket.path)
        };
        assert_eq!(
            with(&[("XDG_RUNTIME_DIR", "/run/user/1"), ("HOME", "/h")]),
            Some("/run/user/1/wezterm/sock".into())
        );
        assert_eq!(with(&[("HOME", "/h")]), Some("/h/.local/share/wezterm/sock".into()));
        assert_eq!(with(&[]), None);
    }
}
