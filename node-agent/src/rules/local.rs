//! The packs that the node's own configuration names, and the word to read them again.

use std::path::{Path, PathBuf};

use tokio::sync::mpsc;
use wa_link::files;
use wa_match::{Engine, Origin, Pack, PackError};

use super::disk::MAX_PACK;
use crate::config::ConfigError;

/// Paths of local packs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalPacks(pub Vec<PathBuf>);

/// Tells a running node to read its local packs again.
#[derive(Debug, Clone)]
pub struct Reload(mpsc::Sender<Result<LocalPacks, String>>);

/// The node's end of [`Reload`].
#[derive(Debug)]
pub struct Reloads(mpsc::Receiver<Result<LocalPacks, String>>);

/// Both ends.
pub fn reloads() -> (Reload, Reloads) {
    let (send, receive) = mpsc::channel(1);
    (Reload(send), Reloads(receive))
}

impl Reload {
    /// Reads the packs again, these from now on; or says what keeps the configuration from being read.
    pub async fn packs(&self, packs: Result<LocalPacks, String>) {
        // A node that has ended reads nothing any more.
        drop(self.0.send(packs).await);
    }
}

impl Reloads {
    /// The next one; never, once nobody is left who could ask.
    pub(super) async fn next(&mut self) -> Result<LocalPacks, String> {
        match self.0.recv().await {
            Some(packs) => packs,
            None => std::future::pending().await,
        }
    }
}

fn name_of(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

impl LocalPacks {
    /// Reads them. A pack has the name of its file, without what follows the last dot.
    ///
    /// # Errors
    /// When one cannot be read, or is larger than a pack may be.
    pub fn read(&self) -> Result<Vec<Pack>, ConfigError> {
        let limit = u64::try_from(MAX_PACK).unwrap_or(u64::MAX);
        let read = |path: &PathBuf| {
            let text = files::read_text(path, limit)?;
            Ok(Pack { name: name_of(path), text, origin: Origin::Local, shadow: false })
        };
        self.0.iter().map(read).collect()
    }

    /// Proves packs that were read from these files, beside the built-in ones.
    ///
    /// # Errors
    /// The first mistake, with its file.
    pub fn engine(&self, packs: &[Pack]) -> Result<Engine, ConfigError> {
        Engine::with_packs(packs).map_err(|source| {
            let pack = match &source {
                PackError::Syntax { pack, .. } | PackError::Rule { pack, .. } => Some(pack.as_str()),
                PackError::Set { .. } => None,
            };
            ConfigError::Pack { files: self.names(pack), source }
        })
    }

    /// The files that may hold this pack; all, where it is not known which.
    fn names(&self, pack: Option<&str>) -> String {
        let is_ours = |pack: &&str| self.0.iter().any(|path| name_of(path) == *pack);
        let pack = pack.filter(is_ours);
        let of_pack = |path: &&PathBuf| pack.is_none_or(|pack| name_of(path) == pack);
        let names: Vec<_> = self.0.iter().filter(of_pack).map(|path| path.display().to_string()).collect();
        names.join(", ")
    }
}
