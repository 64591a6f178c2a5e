//! What a node is told: by arguments, else by its configuration file, else by default.

use std::path::{Path, PathBuf};

use jiff::SignedDuration;
use serde::Deserialize;
use wa_link::files::FileError;
use wa_match::{PackError, PatternError, Redactor, UserPattern};

use crate::observer::{Capture, CaptureError, CaptureOptions, Discovery, InvalidSocket, MuxSocket};
use crate::rules::LocalPacks;

/// Bytes that the spool may take when nothing else is said.
const DEFAULT_SPOOL: u64 = 1 << 30;
/// And how long its bulk may wait.
const DEFAULT_AGE: SignedDuration = SignedDuration::from_hours(72);

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
    /// `files`: where it is, or all that were read together.
    #[error("rule pack {files}: {source}")]
    Pack { files: String, source: PackError },
    #[error(transparent)]
    Capture(#[from] CaptureError),
    #[error("{}: {source}", path.display())]
    Redact { path: PathBuf, source: PatternError },
    #[error(transparent)]
    Pattern(#[from] PatternError),
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
    /// How long bulk waits in the spool for the controller.
    pub spool_max_age: SignedDuration,
    /// Rule packs beside the built-in ones.
    pub rule_packs: LocalPacks,
    /// Which panes are logged, and how much of them.
    pub capture: CaptureOptions,
    /// Secrets beside the built-in kinds; they have been proved.
    pub redact: Vec<UserPattern>,
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
    /// As `72h` or `90m`.
    spool_max_age: Option<SignedDuration>,
    #[serde(default)]
    rule_packs: Vec<PathBuf>,
    #[serde(default)]
    capture: CaptureOptions,
    #[serde(default)]
    redact: Vec<UserPattern>,
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
            spool_max_age: DEFAULT_AGE,
            rule_packs: LocalPacks::default(),
            capture: CaptureOptions::default(),
            redact: Vec::new(),
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
            Some(path) => load(path)?,
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
        config.spool_max_age = file.spool_max_age.unwrap_or(DEFAULT_AGE);
        let base = arguments.file.as_deref().and_then(Path::parent).unwrap_or(Path::new("."));
        config.rule_packs = LocalPacks(file.rule_packs.iter().map(|pack| base.join(pack)).collect());
        config.capture = file.capture;
        config.redact = file.redact;
        Ok(config)
    }

    /// The redactor with the patterns of the configuration.
    ///
    /// # Errors
    /// When a pattern does not hold; those of a file have been proved when it was read.
    pub fn redactor(&self) -> Result<Redactor, ConfigError> {
        Ok(Redactor::with_patterns(&self.redact)?)
    }

    /// Which panes are logged, and how much of them, with the rules compiled and the budgets full.
    ///
    /// # Errors
    /// When a rule or a budget makes no sense.
    pub fn capture(&self) -> Result<Capture, ConfigError> {
        Ok(Capture::new(&self.capture)?)
    }
}

/// Reads a configuration file and proves its patterns.
fn load(path: &Path) -> Result<File, ConfigError> {
    let file: File = wa_link::config::load(path)?;
    Redactor::with_patterns(&file.redact)
        .map_err(|source| ConfigError::Redact { path: path.to_owned(), source })?;
    Ok(file)
}

/// The redactor with the patterns of a node's configuration file.
///
/// # Errors
/// When the file cannot be read or holds what it must not.
pub fn redactor_of(path: &Path) -> Result<Redactor, ConfigError> {
    Ok(Redactor::with_patterns(&load(path)?.redact)?)
}

/// Who the node is, and where its controller.
pub fn identity_path(state_dir: &Path) -> PathBuf {
    state_dir.join("identity").join("node.context.toml")
}

/// Held by the node that runs on the directory.
pub fn lock_path(state_dir: &Path) -> PathBuf {
    state_dir.join("lock")
}

/// What the controller may not have yet.
pub fn spool_path(state_dir: &Path) -> PathBuf {
    state_dir.join("spool")
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
        std::fs::write(
            &path,
            "mux_sockets = [\"/a\", \"gui=/b\"]\nspool_max_bytes = 5000000\nspool_max_age = \"36h\"\n",
        )
        .unwrap();
        let config = Config::resolve(arguments(Some(&path), &[]), |_| None).unwrap();
        assert_eq!((config.mux_sockets.len(), config.spool_max_bytes), (2, 5_000_000));
        assert_eq!(config.spool_max_age, SignedDuration::from_hours(36));
        assert_eq!(config.policy, Path::new("/state/policy.toml"));
        let config = Config::resolve(arguments(Some(&path), &["/c"]), |_| None).unwrap();
        assert_eq!(config.mux_sockets, vec!["/c".parse().unwrap()]);
        let config = Config::resolve(arguments(None, &["/c"]), |_| None).unwrap();
        assert_eq!(config.spool_max_age, SignedDuration::from_hours(72));
    }

    #[test]
    fn patterns_of_secrets_are_proved_when_the_file_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.toml");
        let text = "[[redact]]\nname = \"internal-token\"\npattern = 'acme-(?P<secret>[a-z0-9]{12})'\n";
        std::fs::write(&path, text).unwrap();
        let config = Config::resolve(arguments(Some(&path), &["/a"]), |_| None).unwrap();
        let out = config.redactor().unwrap().redact("is acme-a1b2c3d4e5f6 good?").into_owned();
        assert_eq!(out, "is acme-[redacted:internal-token:16] good?");
        assert_eq!(
            redactor_of(&path).unwrap().redact("acme-a1b2c3d4e5f6"),
            "acme-[redacted:internal-token:16]"
        );
        for (pattern, word) in
            [("'.*'", "empty"), ("'(x'", "regular expression"), ("'x'\ngroup = 1", "group")]
        {
            std::fs::write(&path, format!("[[redact]]\nname = \"mine\"\npattern = {pattern}\n")).unwrap();
            let error = Config::resolve(arguments(Some(&path), &["/a"]), |_| None).unwrap_err().to_string();
            assert!(error.contains("node.toml") && error.contains(word), "{error}");
        }
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
