//! Where an agent keeps its session files.
//!
//! The agent's own process decides: its `HOME`, `CODEX_HOME` or `CLAUDE_CONFIG_DIR`, read from its environment. Only
//! where that cannot be read, the node's own stand for them. The home of an account shares its sessions with another one:
//! then the files are looked for there, and each has one name (`crate::account`).

use std::collections::BTreeMap;
use std::path::PathBuf;

use wa_proto::AgentKind;

/// The variables that say where session files are.
pub(super) const NAMES: [&str; 4] = ["HOME", "CODEX_HOME", "CLAUDE_CONFIG_DIR", "GEMINI_CLI_HOME"];

/// What stands for an agent's own environment where that cannot be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Homes {
    variables: BTreeMap<String, PathBuf>,
}

impl Homes {
    /// This process's own environment.
    pub fn from_env() -> Self {
        Self::new(NAMES.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?.into()))))
    }

    /// These variables, by name.
    pub fn new<'n>(variables: impl IntoIterator<Item = (&'n str, PathBuf)>) -> Self {
        let variables = variables.into_iter().map(|(name, path)| (name.to_owned(), path)).collect();
        Self { variables }
    }

    /// An absolute path.
    pub(crate) fn get(&self, name: &str) -> Option<PathBuf> {
        self.variables.get(name).filter(|path| path.is_absolute()).cloned()
    }

    /// The agent's home: everything that is read of it lies below. `None`: nothing says where it is.
    pub(crate) fn home_of(&self, agent: &AgentKind) -> Option<PathBuf> {
        let user = || self.get("HOME");
        match agent.as_str() {
            "claude" => self.get("CLAUDE_CONFIG_DIR").or_else(|| Some(user()?.join(".claude"))),
            "codex" => self.get("CODEX_HOME").or_else(|| Some(user()?.join(".codex"))),
            "gemini" => Some(self.get("GEMINI_CLI_HOME").or_else(user)?.join(".gemini")),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variables_decide_and_relative_ones_do_not_count() {
        let homes = Homes::new([("HOME", "/home/dev".into()), ("CODEX_HOME", "/data/codex".into())]);
        let home = |agent: &str| homes.home_of(&AgentKind::new(agent));
        assert_eq!(home("claude"), Some("/home/dev/.claude".into()));
        assert_eq!(home("codex"), Some("/data/codex".into()));
        assert_eq!(home("gemini"), Some("/home/dev/.gemini".into()));
        assert_eq!(home("aider"), None);
        assert_eq!(Homes::new([("HOME", "dev".into())]).home_of(&AgentKind::claude()), None);
    }
}
