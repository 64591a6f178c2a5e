//! The controller's host.
//!
//! Its database is SQLite's own files, which the simulated disk does not see. So a crash is made by copying them as they
//! stand, before anything is closed. For a power cut the host stops speaking first, for a moment: what it commits from
//! then on nobody heard of, so any part of it may be missing, cut at any byte.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use wa_controller::store::Store;
use wa_controller::{Config, Controller, Definition, Running};
use wa_link::shutdown::{Shutdown, Tasks};

use super::host::Host;
use super::workflows;

pub(crate) const PORT: u16 = 7443;
pub(crate) const NAME: &str = "controller";

pub(crate) struct Head {
    pub(crate) host: Host,
    rng: fastrand::Rng,
    /// The owner's own.
    pub(crate) workflows: Vec<Definition>,
    life: u32,
    running: Option<Running>,
    node_life: SignedDuration,
    policy: Option<PathBuf>,
    /// Since the host stopped speaking: what stood in the files then.
    silent: Option<Files>,
}

/// The database as it stands.
struct Files {
    main: Vec<u8>,
    log: Vec<u8>,
}

impl Files {
    fn read(dir: &Path) -> Self {
        let read = |name: &str| fs::read(dir.join(name)).unwrap_or_default();
        Self { main: read("state.db"), log: read("state.db-wal") }
    }
}

impl Head {
    /// `node_life`: of the certificates that it gives to nodes.
    pub(crate) fn new(host: Host, rng: fastrand::Rng, node_life: SignedDuration) -> Self {
        let workflows = workflows::put_into(&host.folder);
        let head =
            Self { host, rng, workflows, life: 1, running: None, node_life, policy: None, silent: None };
        fs::create_dir(head.folder()).unwrap();
        head
    }

    /// From the next start on.
    pub(crate) fn obeys(&mut self, policy: &str) {
        let path = self.host.folder.join("policy.toml");
        fs::write(&path, policy).unwrap();
        self.policy = Some(path);
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.host.folder.join(self.life.to_string())
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.folder().join("state.db")
    }

    pub(crate) fn store(&self) -> Option<Arc<Store>> {
        self.running.as_ref().map(|running| Arc::clone(running.store()))
    }

    pub(crate) fn running(&self) -> Option<&Running> {
        self.running.as_ref()
    }

    pub(crate) fn start(&mut self, now: Duration) {
        let config = Config {
            listen: SocketAddr::from(([0, 0, 0, 0], PORT)),
            url: Some(format!("https://{NAME}:{PORT}")),
            workflows: self.workflows.clone(),
            node_life: self.node_life,
            policy: self.policy.clone(),
            ..Config::local(self.folder())
        };
        let starting = async { Controller::start(config, Tasks::new(Shutdown::new())).await };
        self.running = Some(self.host.start(now, Box::pin(starting)).unwrap());
    }

    /// From now on nobody hears what it does.
    pub(crate) fn silence(&mut self) {
        self.silent = Some(Files::read(&self.folder()));
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.silent.is_some()
    }

    /// Crashes. If it was silent before, the power failed. Says what became of the database.
    pub(crate) fn crash(&mut self) -> String {
        let mut files = Files::read(&self.folder());
        let mut said = format!("write-ahead log of {} bytes", files.log.len());
        if let Some(before) = self.silent.take() {
            // Pages that were copied back since may need what is in the log now.
            if before.main == files.main {
                let from = files.log.iter().zip(&before.log).take_while(|(new, old)| new == old).count();
                let cut = self.rng.usize(from..=files.log.len().max(from));
                let mut log = files.log[..cut.min(files.log.len())].to_vec();
                log.extend(before.log.iter().skip(cut));
                said =
                    format!("{said}, of the last {} bytes {} are there", files.log.len() - from, cut - from);
                files.log = log;
            }
        }
        let old = self.folder();
        self.life += 1;
        let new = self.folder();
        copy(&old, &new);
        fs::write(new.join("state.db"), files.main).unwrap();
        fs::write(new.join("state.db-wal"), files.log).unwrap();
        self.running = None;
        self.host.machine.disk().die();
        self.host.end();
        self.host.machine.disk().revive(false).unwrap();
        fs::remove_dir_all(old).unwrap();
        said
    }
}

/// Everything but the database, which is written anew.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else if !name.to_string_lossy().starts_with("state.db") && name != "lock" {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
}
