//! Where things are: the agents' configuration, the program, the node's state.
//!
//! Claude Code: `CLAUDE_CONFIG_DIR`, else `~/.claude`. Codex: `CODEX_HOME`, else `~/.codex`. Gemini CLI: `.gemini` in
//! `GEMINI_CLI_HOME`, else in the home directory.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use wa_proto::AgentKind;

use super::{Program, Rewritten, Unfit, Wanted, file, json, toml};
use crate::context::Surroundings;
use crate::failure::{Exit, Failure};

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Agent {
    Claude,
    Codex,
    Gemini,
}

impl Agent {
    pub(crate) const ALL: [Self; 3] = [Self::Claude, Self::Codex, Self::Gemini];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::Gemini => "gemini",
        }
    }

    /// The directory of its configuration, there or not; `None` without a home.
    pub(crate) fn dir(self, around: &Surroundings<'_>) -> Option<PathBuf> {
        let home = |below: &str| around.path("HOME").map(|home| home.join(below));
        match self {
            Self::Claude => around.path("CLAUDE_CONFIG_DIR").or_else(|| home(".claude")),
            Self::Codex => around.path("CODEX_HOME").or_else(|| home(".codex")),
            Self::Gemini => {
                around.path("GEMINI_CLI_HOME").map(|home| home.join(".gemini")).or_else(|| home(".gemini"))
            }
        }
    }

    fn events(self) -> Vec<&'static str> {
        wa_node::hook::events(&AgentKind::new(self.as_str()))
    }
}

/// A file that hooks stand in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) agent: Agent,
    pub(crate) path: PathBuf,
    form: Form,
    /// Whether hooks belong here, or only `notify`.
    hooks: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json(json::Dialect),
    /// Codex's `config.toml`.
    Toml,
}

/// The files of an agent that are looked at.
pub(super) fn targets(agent: Agent, dir: &Path) -> Vec<Target> {
    let one = |name: &str, form, hooks| Target { agent, path: dir.join(name), form, hooks };
    match agent {
        Agent::Claude => vec![one("settings.json", Form::Json(json::Dialect::CLAUDE), true)],
        Agent::Gemini => vec![one("settings.json", Form::Json(json::Dialect::GEMINI), true)],
        Agent::Codex => {
            let in_toml = hooks_are_in_toml(dir);
            vec![
                one("hooks.json", Form::Json(json::Dialect::CODEX), !in_toml),
                one("config.toml", Form::Toml, in_toml),
            ]
        }
    }
}

/// Whether this user keeps Codex's hooks in `config.toml`.
fn hooks_are_in_toml(dir: &Path) -> bool {
    let config = || file::read(&dir.join("config.toml")).ok().flatten();
    !dir.join("hooks.json").exists() && config().is_some_and(|text| toml::has_hooks(&text))
}

impl Target {
    pub(super) fn wanted(&self, program: &Program) -> Wanted {
        let events = if self.hooks { self.agent.events() } else { Vec::new() };
        Wanted {
            hooks: events.into_iter().map(|event| program.entry(self.agent, event)).collect(),
            notify: (self.form == Form::Toml).then(|| program.words(self.agent, "notify")),
        }
    }

    pub(super) fn rewrite(&self, text: &str, wanted: &Wanted) -> Result<Rewritten, Unfit> {
        match self.form {
            Form::Json(dialect) => json::rewrite(text, dialect, &wanted.hooks),
            Form::Toml => toml::rewrite(text, wanted),
        }
    }
}

/// The `wa-node` beside this program, else the one on the path.
fn node(around: &Surroundings<'_>) -> Option<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|wa| Some(wa.parent()?.to_owned()));
    let path = (around.variable)("PATH").unwrap_or_default();
    let mut places =
        beside.into_iter().chain(std::env::split_paths(&path).filter(|place| place.is_absolute()));
    places.find_map(|place| {
        let node = place.join("wa-node");
        let meta = std::fs::metadata(&node).ok()?;
        (meta.is_file() && meta.permissions().mode() & 0o111 != 0).then_some(node)
    })
}

/// Where the node of this host keeps its state: where the unit in `deploy/` has it, else that of `wa up`.
fn state_dir(around: &Surroundings<'_>) -> Option<PathBuf> {
    let unit = around.state_root().map(|state| state.join("wa-node"))?;
    let up =
        around.state_home().map(|state| state.join("up/node")).filter(|dir| !unit.exists() && dir.exists());
    Some(up.unwrap_or(unit))
}

/// What the entries are to run.
///
/// # Errors
/// When there is no `wa-node`, or a path cannot be written into a configuration file.
pub(crate) fn program(named: Option<&Path>, around: &Surroundings<'_>) -> Result<Program, Failure> {
    let node = node(around).ok_or_else(|| {
        Failure::new(Exit::NotFound, "there is no wa-node, neither beside wa nor on the PATH")
            .remedy("install it beside wa, see deploy/README.md")
    })?;
    let state_dir = match named {
        Some(dir) => {
            std::path::absolute(dir).map_err(|error| Failure::usage(format!("{}: {error}", dir.display())))?
        }
        None => state_dir(around).ok_or_else(|| {
            Failure::failed(
                "neither XDG_STATE_HOME nor HOME is set: name the node's directory with --state-dir",
            )
        })?,
    };
    Ok(Program { node: text(&node)?, state_dir: text(&state_dir)? })
}

fn text(path: &Path) -> Result<String, Failure> {
    let text = path.to_str().filter(|text| !text.contains(char::is_control));
    text.map(str::to_owned).ok_or_else(|| {
        Failure::usage(format!(
            "{} cannot be written into a configuration file: use another path",
            path.display()
        ))
    })
}
