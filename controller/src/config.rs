//! What a controller is told: flags, and a TOML file that they overrule.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use jiff::SignedDuration;
use serde::Deserialize;
use wa_link::config::ConfigError;
use wa_link::files::{self, FileError};
use wa_workflow::{Definition, InvalidDefinition, Override};

use crate::policy::{self, InvalidPolicy};
use crate::retention::{InvalidRetention, Retention};
use crate::signin::{InvalidProvider, Providers};

use crate::accounts::keys::{KeyFileError, VaultConfig};
use crate::identity::ca::NODE_LIFE;

/// Everything that [`crate::Controller::start`] needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Made if it is missing; holds the database, the CA and the operator's context.
    pub data_dir: PathBuf,
    /// Where nodes and operators come in. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where `/healthz` and `/metrics` are served, without TLS; `None`: nowhere.
    pub admin_listen: Option<SocketAddr>,
    /// What the operator's context names; `None`: made from `listen`.
    pub url: Option<String>,
    /// Workflows beside the built-in ones.
    pub workflows: Vec<Definition>,
    /// Workflows that begin only where they are turned on, and are.
    pub enable_workflows: Vec<String>,
    /// Other values for the texts of workflows.
    pub overrides: Vec<Override>,
    /// Panes that workflows may act on within a minute.
    pub panes_per_minute: u32,
    /// Who may do what; `None`: each host's own policy decides.
    pub policy: Option<PathBuf>,
    /// Where the key is that seals credentials.
    pub vault: VaultConfig,
    /// Files of sign-in data beside the built-in ones.
    pub sign_in_providers: Vec<PathBuf>,
    /// How long what is over is kept.
    pub retention: Retention,
    /// How long a node's certificate holds; it is renewed at half of that.
    pub node_life: SignedDuration,
}

/// Panes that workflows may act on within a minute, unless the configuration says otherwise.
pub const PANES_PER_MINUTE: u32 = 30;

impl Config {
    /// What can be found wrong before the start.
    ///
    /// # Errors
    /// [`InvalidConfig::TwoOfAName`], [`InvalidConfig::Vault`], [`InvalidConfig::Retention`].
    pub fn check(&self) -> Result<(), InvalidConfig> {
        self.vault.check()?;
        if let Some(path) = &self.policy {
            policy::read(path)?;
        }
        providers(&self.sign_in_providers)?;
        let workflows = all_workflows(self.workflows.clone(), &self.enable_workflows)?;
        Ok(self.retention.check(&workflows)?)
    }

    /// On a free port of the loopback, without the admin address: for one machine and for tests.
    pub fn local(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            admin_listen: None,
            url: None,
            workflows: Vec::new(),
            enable_workflows: Vec::new(),
            overrides: Vec::new(),
            panes_per_minute: PANES_PER_MINUTE,
            policy: None,
            vault: VaultConfig::default(),
            sign_in_providers: Vec::new(),
            retention: Retention::default(),
            node_life: NODE_LIFE,
        }
    }
}

/// The file of `--config`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    pub data_dir: Option<PathBuf>,
    pub listen: Option<SocketAddr>,
    pub admin_listen: Option<SocketAddr>,
    pub url: Option<String>,
    /// Workflow files, relative to the configuration file.
    #[serde(default)]
    pub workflows: Vec<PathBuf>,
    /// Workflows to turn on that are off unless that is done.
    #[serde(default)]
    pub enable_workflows: Vec<String>,
    /// Other values for the texts of workflows: `[[override]]`.
    #[serde(default, rename = "override")]
    pub overrides: Vec<Override>,
    /// Panes that workflows may act on within a minute; 30 unless it is given.
    pub panes_per_minute: Option<u32>,
    /// The policy file, relative to the configuration file.
    pub policy: Option<PathBuf>,
    /// Where the key is that seals credentials; `DIR/vault.key` unless it is given.
    #[serde(default)]
    pub vault: VaultConfig,
    /// Files of sign-in data, relative to the configuration file.
    #[serde(default)]
    pub sign_in_providers: Vec<PathBuf>,
    /// How long what is over is kept.
    #[serde(default)]
    pub retention: Retention,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidConfig {
    #[error(transparent)]
    File(#[from] ConfigError),
    #[error(transparent)]
    Workflow(#[from] FileError),
    #[error("{}: {problem}", path.display())]
    Definition { path: PathBuf, problem: InvalidDefinition },
    #[error("two workflows are named {0:?}: rename one")]
    TwoOfAName(String),
    #[error("enable_workflows: there is no workflow {0:?}")]
    NoSuchWorkflow(String),
    #[error(transparent)]
    Policy(#[from] InvalidPolicy),
    #[error(transparent)]
    Builtin(#[from] InvalidDefinition),
    #[error(transparent)]
    Vault(#[from] KeyFileError),
    #[error(transparent)]
    SignIn(#[from] InvalidProvider),
    #[error(transparent)]
    Retention(#[from] InvalidRetention),
}

impl ConfigFile {
    /// # Errors
    /// When it cannot be read; the error names the key.
    pub fn load(path: &Path) -> Result<Self, InvalidConfig> {
        let mut file: Self = wa_link::config::load(path)?;
        let base = path.parent().unwrap_or(Path::new("."));
        for workflow in &mut file.workflows {
            *workflow = base.join(&*workflow);
        }
        file.policy = file.policy.map(|policy| base.join(policy));
        file.vault.relative_to(base);
        for provider in &mut file.sign_in_providers {
            *provider = base.join(&*provider);
        }
        Ok(file)
    }

    /// Reads and checks the workflow files.
    ///
    /// # Errors
    /// The first that cannot be used, with what is wrong.
    pub fn definitions(&self) -> Result<Vec<Definition>, InvalidConfig> {
        const LIMIT: u64 = 1024 * 1024;
        let read = |path: &PathBuf| {
            let text = files::read_text(path, LIMIT)?;
            Definition::parse(&text)
                .map_err(|problem| InvalidConfig::Definition { path: path.clone(), problem })
        };
        self.workflows.iter().map(read).collect()
    }
}

/// The built-in sign-in data and those of files, which take their place. Blocks.
pub(crate) fn providers(files: &[PathBuf]) -> Result<Providers, InvalidConfig> {
    Ok(Providers::builtin()?.with_files(files)?)
}

/// The built-in workflows and these; one of these takes the place of a built-in one of its name. What is `enabled` begins by
/// its event.
pub(crate) fn all_workflows(
    more: Vec<Definition>,
    enabled: &[String],
) -> Result<Vec<Definition>, InvalidConfig> {
    let mut names = BTreeSet::new();
    for definition in &more {
        if !names.insert(definition.name.as_str()) {
            return Err(InvalidConfig::TwoOfAName(definition.name.clone()));
        }
    }
    let mut all = wa_workflow::builtin()?;
    all.retain(|definition| !names.contains(definition.name.as_str()));
    all.extend(more);
    for name in enabled {
        let found = all.iter_mut().find(|definition| definition.name == *name);
        found.ok_or_else(|| InvalidConfig::NoSuchWorkflow(name.clone()))?.opt_in = false;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKFLOW: &str = "name = 'greet'\nversion = 1\non = 'bell'\nmax_actions = 1\n\
        [[step]]\ndo = 'type'\ntext = 'hello'\ntimeout = '5s'\n";

    #[test]
    fn a_file_and_its_workflows_are_read() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("controller.toml");
        std::fs::write(&path, "listen = '127.0.0.1:7443'\nworkflows = ['greet.toml']\n").unwrap();
        std::fs::write(place.path().join("greet.toml"), WORKFLOW).unwrap();
        let file = ConfigFile::load(&path).unwrap();
        assert_eq!(file.listen, Some("127.0.0.1:7443".parse().unwrap()));
        let definitions = file.definitions().unwrap();
        assert_eq!(definitions[0].name, "greet");
        let twice = [definitions.clone(), definitions].concat();
        assert!(all_workflows(twice, &[]).unwrap_err().to_string().contains("greet"));
        let own = Definition::parse(&WORKFLOW.replace("greet", "limit-wait")).unwrap();
        let all = all_workflows(vec![own.clone()], &[]).unwrap();
        let off = |all: &[Definition]| all.iter().find(|one| one.name == "crash-resume").unwrap().opt_in;
        assert!(off(&all) && !off(&all_workflows(vec![], &["crash-resume".into()]).unwrap()));
        let unknown = all_workflows(vec![], &["crash".into()]).unwrap_err().to_string();
        assert!(unknown.contains("\"crash\""), "{unknown}");
        assert_eq!(all.iter().filter(|one| one.name == "limit-wait").collect::<Vec<_>>(), [&own]);
    }

    #[test]
    fn mistakes_are_named() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("controller.toml");
        for (text, expect) in
            [("lisen = 'x'", "lisen"), ("listen = 'x'", "listen"), ("workflows = [1]", "workflows[0]")]
        {
            std::fs::write(&path, text).unwrap();
            let error = ConfigFile::load(&path).unwrap_err().to_string();
            assert!(error.contains(expect), "{text}: {error}");
        }
        std::fs::write(&path, "workflows = ['greet.toml']").unwrap();
        std::fs::write(place.path().join("greet.toml"), WORKFLOW.replace("bell", "ball")).unwrap();
        let error = ConfigFile::load(&path).unwrap().definitions().unwrap_err().to_string();
        assert!(error.contains("greet.toml") && error.contains("ball"), "{error}");
    }

    /// Runs that are forgotten are not counted either.
    #[test]
    fn what_is_over_is_kept_for_as_long_as_brakes_look_back() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("controller.toml");
        std::fs::write(&path, "[retention]\nfinished_days = 2\n").unwrap();
        let retention = ConfigFile::load(&path).unwrap().retention;
        let weekly =
            WORKFLOW.replace("max_actions = 1", "max_actions = 1\nmax_runs = { count = 3, per = '168h' }");
        let config = Config { retention, ..Config::local(place.path()) };
        config.check().unwrap();
        let config = Config { workflows: vec![Definition::parse(&weekly).unwrap()], ..config };
        let error = config.check().unwrap_err().to_string();
        assert!(error.contains("finished_days") && error.contains("greet"), "{error}");
        let none = Retention { finished_days: 0 };
        assert!(Config { retention: none, ..config }.check().is_err());
    }

    #[test]
    fn the_places_of_the_vaults_key_are_relative_to_the_file() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("controller.toml");
        std::fs::write(&path, "[vault]\nkey_file = 'new'\nprevious_passphrase_file = '/etc/old'\n").unwrap();
        let vault = ConfigFile::load(&path).unwrap().vault;
        assert_eq!(vault.key_file, Some(place.path().join("new")));
        assert_eq!(vault.previous_passphrase_file, Some("/etc/old".into()));
        let both = VaultConfig { passphrase_file: Some("words".into()), ..vault };
        let error = Config { vault: both, ..Config::local(place.path()) }.check().unwrap_err().to_string();
        assert!(error.contains("key_file and passphrase_file"), "{error}");
        std::fs::write(&path, "[vault]\nkey = 'x'\n").unwrap();
        assert!(ConfigFile::load(&path).unwrap_err().to_string().contains("vault"));
    }
}
