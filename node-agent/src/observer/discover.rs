//! Which mux servers there are.
//!
//! The first socket that is named is the mux `main`, unless it has a name of its own; without any, `main` is the `sock` of
//! WezTerm's runtime directory, whether or not it is there yet.

use std::path::PathBuf;
use std::str::FromStr;

use wa_proto::MuxName;

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

/// Where `wezterm-mux-server` listens unless it is told otherwise; `None` without a home directory.
pub fn default_socket(variable: impl Fn(&str) -> Option<String>) -> Option<MuxSocket> {
    let present = |name: &str| variable(name).filter(|value| !value.is_empty());
    let runtime = present("XDG_RUNTIME_DIR").filter(|_| cfg!(target_os = "linux")).map(PathBuf::from);
    let directory = match runtime {
        Some(runtime) => runtime.join("wezterm"),
        None => PathBuf::from(present("HOME")?).join(".local/share/wezterm"),
    };
    Some(MuxSocket { name: MuxName::main(), path: directory.join("sock") })
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
            default_socket(|name| set.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone())).map(|s| s.path)
        };
        assert_eq!(
            with(&[("XDG_RUNTIME_DIR", "/run/user/1"), ("HOME", "/h")]),
            Some("/run/user/1/wezterm/sock".into())
        );
        assert_eq!(with(&[("HOME", "/h")]), Some("/h/.local/share/wezterm/sock".into()));
        assert_eq!(with(&[]), None);
    }
}
