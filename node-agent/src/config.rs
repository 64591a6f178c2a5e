//! What a node is told: by arguments, else by its configuration file, else by default.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use wa_link::files::{self, FileError};
use wa_match::{Engine, PackError, PackSource};

use crate::observer::{Capture, CaptureError, CaptureOptions, Discovery, InvalidSocket, MuxSocket};

/// Bytes that the spool may take when nothing else is said.
const DEFAULT_SPOOL: u64 = 1 << 30;
/// Bytes of one rule pack.
const PACK_LIMIT: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(transparent)]
    File(#[from] wa_link::config::ConfigError),
    #[error(transparent)]
    Socket(#[from] InvalidSocket),
    #[error("two mux sockets have the name {0}: give the second one another, as NAME=PATH")]
    SameName(String),
    #[error(
        "no mux socket is named, and without HOME and XDG_RUNTIME_DIR none can be found: use --mux-socket PATH"
    )]
    NoSocket,
    #[error(transparent)]
    PackFile(#[from] FileError),
    #[error(transparent)]
    Pack(#[from] PackError),
    #[error(transparent)]
    Capture(#[from] CaptureError),
}

/// A node, ready to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub state_dir: PathBuf,
    /// At least one; whether a server listens there is seen later.
    pub mux_sockets: Vec<MuxSocket>,
    /// Where to find more of them; `None` when they were named.
    pub discovery: Option<Discovery>,
    /// The `wezterm` that looks at servers whose wire is not spoken here.
    pub wezterm: PathBuf,
    pub policy: PathBuf,
    /// Bytes.
    pub spool_max_bytes: u64,
    /// Rule packs beside the built-in ones.
    pub rule_packs: Vec<PathBuf>,
    /// Which panes are logged, and how much of them.
    pub capture: CaptureOptions,
}

/// The configuration file. Rule packs are relative to it; other paths are taken as they are.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    mux_sockets: Vec<String>,
    wezterm: Option<PathBuf>,
    policy: Option<PathBuf>,
    spool_max_bytes: Option<u64>,
    #[serde(default)]
    rule_packs: Vec<PathBuf>,
    #[serde(default)]
    capture: CaptureOptions,
}

/// What was said on the command line.
#[derive(Debug, Clone, Default)]
pub struct Arguments {
    pub state_dir: PathBuf,
    pub mux_sockets: Vec<MuxSocket>,
    pub policy: Option<PathBuf>,
    pub file: Option<PathBuf>,
}

impl Config {
    /// A node on these sockets, with the defaults of everything else.
    pub fn new(state_dir: PathBuf, mux_sockets: Vec<MuxSocket>) -> Self {
        let policy = policy_path(&state_dir);
        Self {
            state_dir,
            mux_sockets,
            discovery: None,
            wezterm: PathBuf::from("wezterm"),
            policy,
            spool_max_bytes: DEFAULT_SPOOL,
            rule_packs: Vec::new(),
            capture: CaptureOptions::default(),
        }
    }

    /// Joins arguments and file. `variable` reads the environment.
    ///
    /// # Errors
    /// When the file cannot be read or holds what it must not, or the sockets do not name mux servers.
    pub fn resolve(
        arguments: Arguments,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let file: File = match &arguments.file {
            Some(path) => wa_link::config::load(path)?,
            None => File::default(),
        };
        let mut sockets = arguments.mux_sockets;
        if sockets.is_empty() {
            sockets = file.mux_sockets.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        }
        let mut discovery = None;
        if sockets.is_empty() {
            let found = Discovery::new(variable);
            sockets.push(found.main().ok_or(ConfigError::NoSocket)?);
            discovery = Some(found);
        }
        for (at, socket) in sockets.iter().enumerate() {
            if sockets[..at].iter().any(|other| other.name == socket.name) {
                return Err(ConfigError::SameName(socket.name.to_string()));
            }
        }
        let mut config = Self::new(arguments.state_dir, sockets);
        config.discovery = discovery;
        if let Some(wezterm) = file.wezterm {
            config.wezterm = wezterm;
        }
        if let Some(policy) = arguments.policy.or(file.policy) {
            config.policy = policy;
        }
        config.spool_max_bytes = file.spool_max_bytes.unwrap_or(DEFAULT_SPOOL);
        let base = arguments.file.as_deref().and_then(Path::parent).unwrap_or(Path::new("."));
        config.rule_packs = file.rule_packs.iter().map(|pack| base.join(pack)).collect();
        config.capture = file.capture;
        Ok(config)
    }

    /// Which panes are logged, and how much of them, with the rules compiled and the budgets full.
    ///
    /// # Errors
    /// When a rule or a budget makes no sense.
    pub fn capture(&self) -> Result<Capture, ConfigError> {
        Ok(Capture::new(&self.capture)?)
    }

    /// The built-in rules and those of the packs that the configuration names, proved on their examples.
    ///
    /// # Errors
    /// When a pack cannot be read or a rule of it does not hold.
    pub fn engine(&self) -> Result<Engine, ConfigError> {
        let texts = self.rule_packs.iter().map(|path| files::read_text(path, PACK_LIMIT));
        let texts = texts.collect::<Result<Vec<_>, _>>()?;
        let names: Vec<String> = self.rule_packs.iter().map(|path| path.display().to_string()).collect();
        let sources: Vec<_> =
            names.iter().zip(&texts).map(|(name, text)| PackSource { name, text }).collect();
        Ok(Engine::with_packs(&sources)?)
    }
}

/// Who the node is, and where its controller.
pub fn identity_path(state_dir: &Path) -> PathBuf {
    state_dir.join("identity").join("node.context.toml")
}

/// What an agent in a pane of this host takes.
pub fn agent_context_path(state_dir: &Path) -> PathBuf {
    state_dir.join("agent.context.toml")
}

pub fn policy_path(state_dir: &Path) -> PathBuf {
    state_dir.join("policy.toml")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(file: Option<&Path>, sockets: &[&str]) -> Arguments {
        Arguments {
            state_dir: PathBuf::from("/state"),
            mux_sockets: sockets.iter().map(|text| text.parse().unwrap()).collect(),
            policy: None,
            file: file.map(Path::to_owned),
        }
    }

    #[test]
    fn arguments_come_before_the_file_and_the_file_before_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.toml");
        std::fs::write(&path, "mux_sockets = [\"/a\", \"gui=/b\"]\nspool_max_bytes = 5000000\n").unwrap();
        let config = Config::resolve(arguments(Some(&path), &[]), |_| None).unwrap();
        assert_eq!((config.mux_sockets.len(), config.spool_max_bytes), (2, 5_000_000));
        assert_eq!(config.policy, Path::new("/state/policy.toml"));
        let config = Config::resolve(arguments(Some(&path), &["/c"]), |_| None).unwrap();
        assert_eq!(config.mux_sockets, vec!["/c".parse().unwrap()]);
    }

    #[test]
    fn mistakes_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.toml");
        std::fs::write(&path, "spool = 1\n").unwrap();
        let error = Config::resolve(arguments(Some(&path), &[]), |_| None).unwrap_err().to_string();
        assert!(error.contains("node.toml:1") && error.contains("spool"), "{error}");
        let error = Config::resolve(arguments(None, &["/a", "/b"]), |_| None).unwrap_err().to_string();
        assert!(error.contains("NAME=PATH"), "{error}");
        assert!(Config::resolve(arguments(None, &[]), |_| None).is_err());
    }

    #[test]
    fn what_is_captured_is_checked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.toml");
        let resolve = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Config::resolve(arguments(Some(&path), &["/a"]), |_| None)
        };
        let text = "[capture]\nexclude = [{ title = \"*password*\" }]\npane_bytes_per_minute = 4000000\n";
        let config = resolve(text).unwrap();
        assert_eq!(config.capture.exclude[0].title.as_deref(), Some("*password*"));
        config.capture().unwrap();
        let error = resolve("[capture]\nexclude = [{ name = \"x\" }]\n").unwrap_err().to_string();
        assert!(error.contains("node.toml:2") && error.contains("name"), "{error}");
        let error = resolve("[capture]\ninclude = [{ cwd = \"{\" }]\n").unwrap().capture().unwrap_err();
        assert!(error.to_string().contains("capture.include[0].cwd"), "{error}");
    }

    #[test]
    fn without_a_name_sockets_are_found() {
        let home = |name: &str| (name == "HOME").then(|| "/home/u".to_owned());
        let config = Config::resolve(arguments(None, &[]), home).unwrap();
        assert_eq!(config.mux_sockets, vec!["/home/u/.local/share/wezterm/sock".parse().unwrap()]);
        assert!(config.discovery.is_some());
        let config = Config::resolve(arguments(None, &["/c"]), home).unwrap();
        assert_eq!((config.discovery, config.wezterm), (None, PathBuf::from("wezterm")));
    }
}
