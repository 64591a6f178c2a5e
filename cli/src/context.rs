//! Which controller, and as whom.
//!
//! What was said beats what was found, and what was said on the line beats the environment:
//!
//! 1. `--context-file FILE`, or `--context NAME` in the configuration;
//! 2. `WA_CONTEXT_FILE`, then `WA_CONTEXT`;
//! 3. inside a pane (`WEZTERM_PANE` is set) the agent context of this host: its node's, where the unit in `deploy/` keeps
//!    it (`$XDG_STATE_HOME/wa-node`), or that of a running `wa up`;
//! 4. `current-context` of the configuration;
//! 5. the operator context of a running `wa up`.
//!
//! An agent in a pane therefore never gets an operator's context by accident: only when somebody names one.
//!
//! The configuration is `$XDG_CONFIG_HOME/wa/config.toml`:
//!
//! ```toml
//! current-context = "prod"
//! [contexts.prod]
//! file = "prod.context.toml"   # relative to the configuration
//! ```
//!
//! Everything that is asked of the world (variables, processes) comes through [`Surroundings`], so that tests need not
//! touch the environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::args::Globals;
use crate::failure::Failure;
use crate::up::pointer::{self, Pointer};

/// What the process finds around itself.
pub(crate) struct Surroundings<'a> {
    /// A variable; an empty one counts as unset.
    pub(crate) variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// Whether a process of ours with this id runs.
    pub(crate) runs: &'a dyn Fn(u32) -> bool,
}

impl Surroundings<'_> {
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        (self.variable)(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    fn text(&self, name: &str) -> Option<String> {
        (self.variable)(name).and_then(|value| value.into_string().ok()).filter(|value| !value.is_empty())
    }

    /// An XDG directory; only absolute ones count, as the specification has it.
    fn xdg(&self, name: &str, below_home: &str) -> Option<PathBuf> {
        let named = self.path(name).filter(|path| path.is_absolute());
        named.or_else(|| Some(self.path("HOME")?.join(below_home)))
    }

    pub(crate) fn config_home(&self) -> Option<PathBuf> {
        Some(self.xdg("XDG_CONFIG_HOME", ".config")?.join("wa"))
    }

    pub(crate) fn state_root(&self) -> Option<PathBuf> {
        self.xdg("XDG_STATE_HOME", ".local/state")
    }

    pub(crate) fn state_home(&self) -> Option<PathBuf> {
        Some(self.state_root()?.join("wa"))
    }

    pub(crate) fn runtime_dir(&self) -> Option<PathBuf> {
        Some(self.path("XDG_RUNTIME_DIR").filter(|path| path.is_absolute())?.join("wa"))
    }

    pub(crate) fn inside_a_pane(&self) -> bool {
        self.path("WEZTERM_PANE").is_some()
    }
}

/// How a context was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Named,
    Variable,
    InsidePane,
    Current,
    RunningUp,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Named => "named on the command line",
            Self::Variable => "named by an environment variable",
            Self::InsidePane => "this host's agent context, because this is a pane",
            Self::Current => "current-context of the configuration",
            Self::RunningUp => "of the running `wa up`",
        })
    }
}

/// A context file, and why this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) file: PathBuf,
    pub(crate) found: Found,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Config {
    current_context: Option<String>,
    #[serde(default)]
    contexts: BTreeMap<String, Named>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    file: PathBuf,
}

/// The configuration and where it is; none is an empty one, unless it was named.
fn config(globals: &Globals, around: &Surroundings<'_>) -> Result<(Config, PathBuf), Failure> {
    let default = around.config_home().map(|home| home.join("config.toml"));
    let (path, named) = match (&globals.config, default) {
        (Some(path), _) => (path.clone(), true),
        (None, Some(path)) => (path, false),
        (None, None) => return Ok((Config::default(), PathBuf::new())),
    };
    if !named && !path.exists() {
        return Ok((Config::default(), path));
    }
    let config = wa_link::config::load(&path).map_err(|error| Failure::usage(error.to_string()))?;
    Ok((config, path))
}

fn by_name(name: &str, globals: &Globals, around: &Surroundings<'_>) -> Result<PathBuf, Failure> {
    let (config, path) = config(globals, around)?;
    let Some(named) = config.contexts.get(name) else {
        let known: Vec<&str> = config.contexts.keys().map(String::as_str).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(Failure::usage(format!("no context {name:?} in {}; known: {known}", path.display()))
            .remedy(format!(
                "add it there:\n  [contexts.{name}]\n  file = \"/path/to/operator.context.toml\""
            )));
    };
    Ok(path.parent().unwrap_or(Path::new("")).join(&named.file))
}

/// The agent context of this host: its node's, else that of a running `wa up`.
fn agent_context(around: &Surroundings<'_>, up: Option<&Pointer>) -> Option<PathBuf> {
    let node = around.state_root().map(|state| state.join("wa-node/agent.context.toml"));
    node.filter(|file| file.exists()).or_else(|| up.map(|up| up.agent.clone()).filter(|file| file.exists()))
}

/// The context file to take.
///
/// # Errors
/// A usage error that says how to get one, when there is none.
pub(crate) fn choose(globals: &Globals, around: &Surroundings<'_>) -> Result<Choice, Failure> {
    if let Some(file) = &globals.context_file {
        return Ok(Choice { file: file.clone(), found: Found::Named });
    }
    if let Some(name) = &globals.context {
        return Ok(Choice { file: by_name(name, globals, around)?, found: Found::Named });
    }
    if let Some(file) = around.path("WA_CONTEXT_FILE") {
        return Ok(Choice { file, found: Found::Variable });
    }
    if let Some(name) = around.text("WA_CONTEXT") {
        return Ok(Choice { file: by_name(&name, globals, around)?, found: Found::Variable });
    }
    let up = pointer::read(around);
    if around.inside_a_pane()
        && let Some(file) = agent_context(around, up.as_ref())
    {
        return Ok(Choice { file, found: Found::InsidePane });
    }
    if let Some(name) = config(globals, around)?.0.current_context {
        return Ok(Choice { file: by_name(&name, globals, around)?, found: Found::Current });
    }
    match up {
        Some(up) => Ok(Choice { file: up.operator, found: Found::RunningUp }),
        None => Err(none_found(around)),
    }
}

fn none_found(around: &Surroundings<'_>) -> Failure {
    let config = around.config_home().map_or_else(|| "config.toml".into(), |home| home.join("config.toml"));
    Failure::usage("no controller is known here: there is no context").remedy(format!(
        "start everything on this machine with `wa up` (or `wa up --demo`), or name a controller's context file \
         (its DATA-DIR/operator.context.toml) by --context-file, WA_CONTEXT_FILE or in {}",
        config.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;
    use std::fs;

    /// A home with variables; nothing of the real environment is seen.
    struct World {
        home: tempfile::TempDir,
        variables: BTreeMap<String, OsString>,
    }

    impl World {
        fn new() -> Self {
            let home = tempfile::tempdir().unwrap();
            let mut world = Self { home, variables: BTreeMap::new() };
            let path = world.home.path().as_os_str().to_owned();
            world.variables.insert("HOME".into(), path);
            world
        }

        fn set(mut self, name: &str, value: impl Into<OsString>) -> Self {
            self.variables.insert(name.into(), value.into());
            self
        }

        fn write(self, file: &str, text: &str) -> Self {
            let path = self.at(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            self
        }

        fn up(self, pid: u32) -> Self {
            let place = self.at(".local/state/wa");
            fs::create_dir_all(&place).unwrap();
            let pointer = Pointer {
                pid,
                operator: self.at("up/operator.context.toml"),
                agent: self.at("up/agent.context.toml"),
            };
            pointer.write(&place).unwrap();
            self.write("up/agent.context.toml", "")
        }

        fn at(&self, file: &str) -> PathBuf {
            self.home.path().join(file)
        }

        fn choose(&self, line: &[&str]) -> Result<Choice, Failure> {
            let cli = <crate::args::Cli as clap::Parser>::try_parse_from(
                ["wa", "status"].iter().chain(line).copied(),
            )
            .unwrap();
            let variable = |name: &str| self.variables.get(name).cloned();
            choose(&cli.globals, &Surroundings { variable: &variable, runs: &|pid| pid == 4711 })
        }

        fn file(&self, line: &[&str]) -> (String, Found) {
            let choice = self.choose(line).unwrap();
            let file = choice.file.strip_prefix(self.home.path()).unwrap_or(&choice.file);
            (file.display().to_string(), choice.found)
        }
    }

    const CONFIG: &str = "current-context = \"prod\"\n[contexts.prod]\nfile = \"prod.toml\"\n\
                          [contexts.lab]\nfile = \"/lab.toml\"\n";

    #[test]
    fn what_was_said_beats_what_was_found() {
        let world = World::new()
            .write(".config/wa/config.toml", CONFIG)
            .up(4711)
            .set("WA_CONTEXT_FILE", "/v.toml")
            .set("WA_CONTEXT", "lab");
        assert_eq!(world.file(&["--context-file", "/x.toml"]), ("/x.toml".into(), Found::Named));
        assert_eq!(world.file(&["--context", "lab"]), ("/lab.toml".into(), Found::Named));
        assert_eq!(world.file(&[]), ("/v.toml".into(), Found::Variable));
        let world = world.set("WA_CONTEXT_FILE", "");
        assert_eq!(world.file(&[]), ("/lab.toml".into(), Found::Variable));
        let world = world.set("WA_CONTEXT", "");
        assert_eq!(world.file(&[]), (".config/wa/prod.toml".into(), Found::Current));
    }

    #[test]
    fn inside_a_pane_nobody_becomes_an_operator_by_accident() {
        let world = World::new().write(".config/wa/config.toml", CONFIG).up(4711).set("WEZTERM_PANE", "0");
        assert_eq!(world.file(&[]), ("up/agent.context.toml".into(), Found::InsidePane));
        assert_eq!(world.file(&["--context", "prod"]), (".config/wa/prod.toml".into(), Found::Named));
        let world = world.write(".local/state/wa-node/agent.context.toml", "");
        assert_eq!(world.file(&[]), (".local/state/wa-node/agent.context.toml".into(), Found::InsidePane));
    }

    #[test]
    fn a_pane_of_a_host_without_a_node_is_just_a_terminal() {
        let world = World::new().write(".config/wa/config.toml", CONFIG).set("WEZTERM_PANE", "0");
        assert_eq!(world.file(&[]).1, Found::Current);
    }

    #[test]
    fn a_running_up_is_found_and_a_dead_one_is_not() {
        assert_eq!(World::new().up(4711).file(&[]), ("up/operator.context.toml".into(), Found::RunningUp));
        let error = World::new().up(4712).choose(&[]).unwrap_err();
        assert_eq!(error.exit, Exit::Usage);
        assert!(error.remedy.unwrap().contains("wa up"));
    }

    #[test]
    fn mistakes_in_the_configuration_are_named() {
        let error =
            World::new().write(".config/wa/config.toml", CONFIG).choose(&["--context", "x"]).unwrap_err();
        assert!(error.message.contains("known: lab, prod"), "{error}");
        let world = World::new().write(".config/wa/config.toml", "curent-context = 'a'");
        let error = world.choose(&[]).unwrap_err();
        assert_eq!(error.exit, Exit::Usage);
        assert!(error.message.contains("curent-context"), "{error}");
        let error = World::new().choose(&["--config", "/nowhere/c.toml"]).unwrap_err();
        assert!(error.message.contains("/nowhere/c.toml"), "{error}");
    }
}
