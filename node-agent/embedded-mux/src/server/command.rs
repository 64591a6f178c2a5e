//! Which program a new pane runs, and with which environment.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use portable_pty::CommandBuilder;
use wa_mux::codec::{self, OsBytes};

/// Variables of the server's own surroundings that its panes must not see.
const NOT_FOR_PANES: &[&str] = &["WEZTERM_UNIX_SOCKET", "WEZTERM_PANE", "OLDPWD", "PWD", "SHLVL", "_"];

/// A program for a new pane.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Command {
    /// Program and arguments. Empty: the user's shell.
    pub args: Vec<OsString>,
    /// The whole environment, but for what the server adds. `None`: the server's own.
    pub env: Option<Vec<(OsString, OsString)>>,
    /// Where it starts. `None`: where the server did.
    pub cwd: Option<PathBuf>,
}

impl Command {
    /// A program with arguments, in the server's environment.
    pub fn new<S: Into<OsString>>(args: impl IntoIterator<Item = S>) -> Self {
        Self { args: args.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// `usual`: what runs when nothing is named.
    pub(super) fn from_wire(
        command: Option<codec::CommandBuilder>,
        dir: Option<String>,
        usual: Option<&Self>,
    ) -> Self {
        let text = |bytes: OsBytes| OsString::from_vec(bytes.0);
        let Some(command) = command else {
            let usual = usual.cloned().unwrap_or_default();
            return Self { cwd: dir.map(PathBuf::from).or(usual.cwd), ..usual };
        };
        let env = command.envs.into_iter().map(|(name, entry)| (text(name), text(entry.value))).collect();
        Self {
            args: command.args.into_iter().map(text).collect(),
            env: Some(env),
            cwd: command.cwd.map(|cwd| PathBuf::from(text(cwd))).or_else(|| dir.map(PathBuf::from)),
        }
    }

    /// What a pane is called as long as nothing better is known.
    pub(super) fn name(&self) -> String {
        let shell = std::env::var_os("SHELL").unwrap_or_else(|| "sh".into());
        let program = self.args.first().unwrap_or(&shell);
        let name = Path::new(program).file_name().unwrap_or(program);
        String::from_utf8_lossy(name.as_bytes()).into_owned()
    }

    pub(super) fn builder(&self, pane: u64, socket: &Path) -> CommandBuilder {
        let mut builder = if self.args.is_empty() {
            CommandBuilder::new_default_prog()
        } else {
            CommandBuilder::from_argv(self.args.clone())
        };
        match &self.env {
            None => NOT_FOR_PANES.iter().for_each(|name| builder.env_remove(name)),
            Some(env) => {
                builder.env_clear();
                for (name, value) in env {
                    builder.env(name, value);
                }
            }
        }
        let cwd = self.cwd.clone().or_else(|| std::env::current_dir().ok());
        if let Some(cwd) = cwd {
            builder.cwd(cwd);
        }
        builder.env("TERM", "xterm-256color");
        builder.env("COLORTERM", "truecolor");
        builder.env("TERM_PROGRAM", "WezTerm");
        builder.env("TERM_PROGRAM_VERSION", super::VERSION);
        builder.env("WEZTERM_PANE", pane.to_string());
        builder.env("WEZTERM_UNIX_SOCKET", socket);
        builder
    }
}
