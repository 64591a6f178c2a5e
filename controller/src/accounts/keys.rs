//! Where the vault's key comes from.
//!
//! Constraints: never an argument, never a variable of the environment; a file that others may read is refused; a key
//! that was lost is never quietly replaced by a new one, for what the old one sealed would be lost with it.
//!
//! In this order, the first that there is:
//! 1. the systemd credential `wa-vault-key`: at least 32 random bytes;
//! 2. `[vault] key_file`: the same in a file;
//! 3. `[vault] passphrase_file`, or the systemd credential `wa-vault-passphrase`: a line of text, stretched with
//!    PBKDF2-HMAC-SHA-256 and a salt that the database keeps;
//! 4. `DIR/vault.key`, made when it is first needed.
//!
//! Another key takes over in two steps: the one in force is given as the previous one (`wa-vault-key-previous`,
//! `wa-vault-passphrase-previous`, `previous_key_file`, `previous_passphrase_file`), and a rotation seals everything anew.
//! The key of `DIR/vault.key` is made anew by the rotation itself: the new one is written beside it first, under its own
//! id, the commit that seals everything anew decides, then it takes the old one's name. Wherever that is cut off, the key
//! that the database names is in one of the files, and the next start finds it.

use std::fs::File;
use std::io::Read as _;
use std::num::NonZeroU32;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use ring::pbkdf2;
use serde::Deserialize;
use wa_link::{disk, files};
use zeroize::Zeroizing;

use super::vault::{self, KeyId, Vault, VaultError};

/// OWASP's figure for PBKDF2-HMAC-SHA-256.
const ITERATIONS: u32 = 600_000;
/// More than anybody's database says: a changed one must not keep a start busy for hours.
const MOST_ITERATIONS: u32 = 10_000_000;
const SALT_LEN: usize = 16;
const SECRET_LEN: usize = 32;
/// Bytes of a key file or passphrase.
const MAX_FILE: u64 = 4096;
/// Bytes of the shortest passphrase.
const SHORTEST_PASSPHRASE: usize = 12;

/// `[vault]` of the configuration. Paths; all may be absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultConfig {
    pub key_file: Option<PathBuf>,
    pub passphrase_file: Option<PathBuf>,
    /// What `key_file` or `passphrase_file` was until now, for a rotation.
    pub previous_key_file: Option<PathBuf>,
    pub previous_passphrase_file: Option<PathBuf>,
}

/// What is wrong with a key, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    #[error("cannot read the vault's key {}: {problem}", path.display())]
    Read { path: PathBuf, problem: String },
    #[error("cannot write the vault's key {}: {problem}", path.display())]
    Write { path: PathBuf, problem: String },
    #[error("others may read the vault's key {} (mode {mode:04o}): run `chmod 600 {}`, and think of a new key", path.display(), path.display())]
    OpenToOthers { path: PathBuf, mode: u32 },
    #[error("the vault's key {} has {length} bytes: at least {SECRET_LEN} random ones are needed (`head -c 32 /dev/urandom`)", path.display())]
    ShortKey { path: PathBuf, length: usize },
    #[error("the vault's passphrase {} is shorter than {SHORTEST_PASSPHRASE} bytes or not text: choose several words", path.display())]
    ShortPassphrase { path: PathBuf },
    #[error("the vault's key {} is larger than {MAX_FILE} bytes", path.display())]
    TooLarge { path: PathBuf },
    #[error("[vault] names both {0} and {1}: keep one")]
    Both(&'static str, &'static str),
    #[error(
        "the vault's key {} is missing, and accounts are sealed with it ({wanted}): bring it back from a backup; if it is \
         lost for good, `wa-controller --forget-credentials` goes on without what it sealed", path.display()
    )]
    Missing { path: PathBuf, wanted: KeyId },
    #[error("the database says nothing usable of how the vault's passphrase is stretched")]
    Stretching,
    #[error(
        "the key in force comes from {0}, which only you can change: give the present one as the previous key ([vault] \
         previous_key_file or previous_passphrase_file, or the systemd credential wa-vault-key-previous or \
         wa-vault-passphrase-previous), put the new one in its place, start the controller again, and rotate then"
    )]
    NotOurs(String),
}

impl From<KeyFileError> for VaultError {
    fn from(error: KeyFileError) -> Self {
        Self::Key(error)
    }
}

impl VaultConfig {
    /// # Errors
    /// When two places of one key are named.
    pub fn check(&self) -> Result<(), KeyFileError> {
        if self.key_file.is_some() && self.passphrase_file.is_some() {
            return Err(KeyFileError::Both("key_file", "passphrase_file"));
        }
        if self.previous_key_file.is_some() && self.previous_passphrase_file.is_some() {
            return Err(KeyFileError::Both("previous_key_file", "previous_passphrase_file"));
        }
        Ok(())
    }

    /// Paths are relative to the configuration file.
    pub(crate) fn relative_to(&mut self, base: &Path) {
        let Self { key_file, passphrase_file, previous_key_file, previous_passphrase_file } = self;
        for path in [key_file, passphrase_file, previous_key_file, previous_passphrase_file] {
            *path = path.take().map(|path| base.join(path));
        }
    }
}

/// One place of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    /// Random bytes. `credential`: from systemd, which has looked at who may read it.
    Key {
        path: PathBuf,
        credential: bool,
    },
    Passphrase {
        path: PathBuf,
        credential: bool,
    },
    /// Made and rotated by the controller.
    Own {
        path: PathBuf,
    },
}

impl Source {
    fn describe(&self) -> String {
        match self {
            Self::Key { path, .. } | Self::Own { path } => path.display().to_string(),
            Self::Passphrase { path, .. } => format!("the passphrase {}", path.display()),
        }
    }
}

/// Where the key is, and where the one before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    current: Source,
    previous: Option<Source>,
}

impl Sources {
    /// `credentials`: systemd's `$CREDENTIALS_DIRECTORY`.
    ///
    /// # Errors
    /// When the configuration names two places of one key.
    pub fn find(
        config: &VaultConfig,
        credentials: Option<&Path>,
        data_dir: &Path,
    ) -> Result<Self, KeyFileError> {
        config.check()?;
        let credential = |name: &str| credentials.map(|dir| dir.join(name)).filter(|path| path.exists());
        let place = |key_file: &Option<PathBuf>, passphrase_file: &Option<PathBuf>, suffix: &str| {
            let key = |path, credential| Source::Key { path, credential };
            let passphrase = |path, credential| Source::Passphrase { path, credential };
            credential(&format!("wa-vault-key{suffix}"))
                .map(|path| key(path, true))
                .or_else(|| key_file.clone().map(|path| key(path, false)))
                .or_else(|| passphrase_file.clone().map(|path| passphrase(path, false)))
                .or_else(|| Some(passphrase(credential(&format!("wa-vault-passphrase{suffix}"))?, true)))
        };
        let own = data_dir.join("vault.key");
        let previous = place(&config.previous_key_file, &config.previous_passphrase_file, "-previous");
        let Some(current) = place(&config.key_file, &config.passphrase_file, "") else {
            return Ok(Self { current: Source::Own { path: own }, previous });
        };
        // The controller's own key steps back when another is named.
        let previous = previous.or_else(|| own.exists().then_some(Source::Own { path: own }));
        Ok(Self { current, previous })
    }
}

/// What the database says of the key in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    pub id: KeyId,
    /// Of a passphrase: its salt, and how often it is stretched.
    pub stretched: Option<(Vec<u8>, u32)>,
}

/// The keys, as a start finds them.
#[derive(Debug)]
pub struct Opened {
    pub vault: Vault,
    pub in_force: KeyRow,
    /// What a rotation would put in force; `None`: a new one of the controller's own, or nothing else is given.
    pub next: Option<KeyRow>,
}

/// Opens the vault. `stored`: of the key that is in force; `None`: nothing was ever sealed.
///
/// # Errors
/// When a key cannot be read, or none is the one in force. Nothing has changed then.
pub fn open(sources: &Sources, stored: Option<&KeyRow>) -> Result<Opened, VaultError> {
    let vault = Vault::empty();
    let Some(stored) = stored else {
        let in_force = add(&vault, &sources.current, None, true)?;
        return Ok(Opened { vault, in_force, next: None });
    };
    let source_of = sources.current.describe();
    let wrong = |given| VaultError::WrongKey { given, wanted: stored.id, source_of };
    let current = match &sources.current {
        // It is made when it takes over from the one before.
        Source::Own { path }
            if sources.previous.is_some() && !path.exists() && !next_of(path, stored.id).exists() =>
        {
            None
        }
        current => Some(one_of(&vault, current, stored)?),
    };
    if let Some(current) = current.clone().filter(|current| current.id == stored.id) {
        return Ok(Opened { vault, in_force: current, next: None });
    }
    let Some(previous) = &sources.previous else {
        return Err(wrong(current.map_or(stored.id, |current| current.id)));
    };
    let before = one_of(&vault, previous, stored)?;
    if before.id != stored.id {
        return Err(wrong(current.map_or(before.id, |current| current.id)));
    }
    // With a salt of its own.
    let next = add(&vault, &sources.current, None, true)?;
    Ok(Opened { vault, in_force: before, next: Some(next) })
}

/// A key that may be the stored one.
fn one_of(vault: &Vault, source: &Source, stored: &KeyRow) -> Result<KeyRow, VaultError> {
    if let Source::Own { path } = source {
        settle_own(path, stored.id)?;
    }
    add(vault, source, Some(stored), false)
}

/// Reads a key and adds it; what the database would say of it.
fn add(
    vault: &Vault,
    source: &Source,
    stored: Option<&KeyRow>,
    may_make: bool,
) -> Result<KeyRow, VaultError> {
    match source {
        Source::Key { path, credential } => {
            Ok(KeyRow { id: vault.add(&read_key(path, *credential)?)?, stretched: None })
        }
        Source::Own { path } => {
            let secret = match (read_key(path, false), stored) {
                (Err(KeyFileError::Read { .. }), _) if may_make && !path.exists() => {
                    let secret = fresh()?;
                    write(path, &secret)?;
                    secret
                }
                (Err(KeyFileError::Read { path, .. }), Some(stored)) if !path.exists() => {
                    return Err(KeyFileError::Missing { path, wanted: stored.id }.into());
                }
                (read, _) => read?,
            };
            Ok(KeyRow { id: vault.add(&secret)?, stretched: None })
        }
        Source::Passphrase { path, credential } => {
            let passphrase = read_passphrase(path, *credential)?;
            let stretched = match stored.and_then(|row| row.stretched.clone()) {
                Some(stretched) => stretched,
                None => (vault::random::<SALT_LEN>()?.to_vec(), ITERATIONS),
            };
            let secret = stretch(&passphrase, &stretched)?;
            Ok(KeyRow { id: vault.add(secret.as_slice())?, stretched: Some(stretched) })
        }
    }
}

fn stretch(
    passphrase: &str,
    (salt, iterations): &(Vec<u8>, u32),
) -> Result<Zeroizing<[u8; SECRET_LEN]>, KeyFileError> {
    let iterations = NonZeroU32::new(*iterations).filter(|count| count.get() <= MOST_ITERATIONS);
    let iterations = iterations.filter(|_| salt.len() >= SALT_LEN).ok_or(KeyFileError::Stretching)?;
    let mut secret = Zeroizing::new([0; SECRET_LEN]);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, passphrase.as_bytes(), secret.as_mut());
    Ok(secret)
}

fn read(path: &Path, credential: bool) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let failed = |e: std::io::Error| KeyFileError::Read { path: path.to_owned(), problem: e.to_string() };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode() & 0o7777;
    // systemd lets the service's user in by an access list, whose mask shows in the mode.
    if mode & 0o077 != 0 && !credential {
        return Err(KeyFileError::OpenToOthers { path: path.to_owned(), mode });
    }
    // As much as there can be, so that no copy stays behind when it grows.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE as usize + 1));
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(KeyFileError::TooLarge { path: path.to_owned() });
    }
    Ok(bytes)
}

fn read_key(path: &Path, credential: bool) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let secret = read(path, credential)?;
    if secret.len() < SECRET_LEN {
        return Err(KeyFileError::ShortKey { path: path.to_owned(), length: secret.len() });
    }
    Ok(secret)
}

fn read_passphrase(path: &Path, credential: bool) -> Result<Zeroizing<String>, KeyFileError> {
    let bytes = read(path, credential)?;
    let short = || KeyFileError::ShortPassphrase { path: path.to_owned() };
    let text = std::str::from_utf8(&bytes).map_err(|_| short())?.trim_end_matches(['\n', '\r']);
    if text.len() < SHORTEST_PASSPHRASE { Err(short()) } else { Ok(Zeroizing::new(text.to_owned())) }
}

fn fresh() -> Result<Zeroizing<Vec<u8>>, VaultError> {
    Ok(Zeroizing::new(vault::random::<SECRET_LEN>()?.to_vec()))
}

fn write(path: &Path, secret: &[u8]) -> Result<(), KeyFileError> {
    let failed = |e: files::FileError| KeyFileError::Write { path: path.to_owned(), problem: e.to_string() };
    files::write_private(path, secret).map_err(failed)
}

/// Where a rotation writes the new key before its commit.
fn next_of(path: &Path, id: KeyId) -> PathBuf {
    path.with_extension(format!("key.{id}"))
}

/// Finishes a rotation that was cut off behind its commit, and forgets those that were before it.
fn settle_own(path: &Path, stored: KeyId) -> Result<(), VaultError> {
    let is_stored = |path: &Path| -> Result<bool, VaultError> {
        Ok(path.exists() && vault::key_id(&read_key(path, false)?)? == stored)
    };
    if is_stored(&next_of(path, stored))? {
        take_over(path, stored)?;
    }
    if is_stored(path)? {
        forget_others(path);
    }
    Ok(())
}

/// Removes keys of rotations that have not come about: nothing is sealed with them. One that stays harms nothing.
fn forget_others(path: &Path) {
    let directory = path.parent().unwrap_or(Path::new("."));
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return };
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let other = entry.file_name();
        let rest = other.to_str().and_then(|other| other.strip_prefix(name)?.strip_prefix('.'));
        if rest.is_some_and(|id| id.len() == 16 && id.chars().all(|c| c.is_ascii_hexdigit())) {
            drop(disk::remove(&entry.path()));
        }
    }
}

/// The new key takes the old one's name.
fn take_over(path: &Path, id: KeyId) -> Result<(), VaultError> {
    let failed = |problem: String| KeyFileError::Write { path: path.to_owned(), problem };
    disk::rename(&next_of(path, id), path).map_err(|e| failed(e.to_string()))?;
    let directory = path.parent().unwrap_or(Path::new("."));
    Ok(files::sync_dir(directory).map_err(|e| failed(e.to_string()))?)
}

impl Sources {
    /// Makes a new key for a rotation, where the one in force is the controller's own, and adds it to the vault. Blocks.
    ///
    /// # Errors
    /// When only the owner can change the key, or the new one cannot be written.
    pub(crate) fn renew(&self, vault: &Vault) -> Result<KeyRow, VaultError> {
        match &self.current {
            Source::Own { path } => {
                let secret = fresh()?;
                let id = vault.add(&secret)?;
                write(&next_of(path, id), &secret)?;
                Ok(KeyRow { id, stretched: None })
            }
            other => Err(KeyFileError::NotOurs(other.describe()).into()),
        }
    }

    /// After the commit of a rotation to a key of [`Self::renew`]. Blocks.
    ///
    /// # Errors
    /// When the file cannot be renamed: the next start does it.
    pub(crate) fn renewed(&self, id: KeyId) -> Result<(), VaultError> {
        match &self.current {
            Source::Own { path } => take_over(path, id),
            Source::Key { .. } | Source::Passphrase { .. } => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
