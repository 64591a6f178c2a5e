//! Files that only their owner may read.
//!
//! Constraints: a file is never seen half written, not even after a power cut; nothing of ours is readable by others,
//! not even for the moment between creating it and setting its mode; a directory that others may write to is refused,
//! for whoever can write there can put a key or a socket of their own in our place. Directories are 0700, files 0600.
//! Calls block: from async code use them at start-up, or through [`crate::shutdown::Tasks::spawn_blocking`].

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::disk;

/// What is wrong with a file or directory, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is not a directory: move it away or name another place", path.display())]
    NotADirectory { path: PathBuf },
    #[error("{} may be written by others (mode {mode:04o}): run `chmod go-w {}`", path.display(), path.display())]
    WritableByOthers { path: PathBuf, mode: u32 },
    #[error("{} belongs to another user (uid {uid}): name another directory", path.display())]
    ForeignOwner { path: PathBuf, uid: u32 },
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge { path: PathBuf, limit: u64 },
    #[error("{} is not UTF-8 text", path.display())]
    NotText { path: PathBuf },
    #[error("{} is in use by process {holder}: stop that one first", path.display())]
    Locked { path: PathBuf, holder: u32 },
    #[error("{} is in use by another process: stop that one first", path.display())]
    LockedByUnknown { path: PathBuf },
}

impl FileError {
    fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }
}

/// Makes sure that `path` is a directory of ours that nobody else may write to; creates it (and its parents) as 0700.
///
/// # Errors
/// When it cannot be made, is something else, belongs to another user, or is writable by group or others.
pub fn create_private_dir(path: &Path) -> Result<(), FileError> {
    match DirBuilder::new().recursive(true).mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(FileError::NotADirectory { path: path.to_owned() });
        }
        Err(error) => return Err(FileError::io("create directory", path, error)),
    }
    // An existing directory is taken as it stands, so look at it whether or not it was just made.
    let metadata = std::fs::metadata(path).map_err(|e| FileError::io("look at directory", path, e))?;
    let mode = metadata.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(FileError::WritableByOthers { path: path.to_owned(), mode });
    }
    let ours = rustix::process::geteuid();
    if metadata.uid() != ours.as_raw() && !ours.is_root() {
        return Err(FileError::ForeignOwner { path: path.to_owned(), uid: metadata.uid() });
    }
    Ok(())
}

/// Replaces a file in one step: a reader finds the old content or the new, and what was written survives a power cut
/// once this returns. The file is 0600.
///
/// # Errors
/// When the directory cannot be written; the old file then still stands.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{:016x}.tmp", fastrand::u64(..)));
    let temporary = directory.join(name);
    let written = write_new(&temporary, content)
        .map_err(|e| FileError::io("write", &temporary, e))
        .and_then(|()| disk::rename(&temporary, path).map_err(|e| FileError::io("replace", path, e)));
    if let Err(error) = written {
        // The first error is the one to report; a temporary file that stays is harmless.
        drop(disk::remove(&temporary));
        return Err(error);
    }
    sync_dir(directory)
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let file = disk::create_new(path)?;
    disk::write(&file, content, 0)?;
    disk::sync(&file)
}

/// Gives a file or directory another name in the same directory, durably.
///
/// # Errors
/// When the directory cannot be written, or the name is taken; then nothing was done.
pub fn move_within(from: &Path, to: &Path) -> Result<(), FileError> {
    disk::rename(from, to).map_err(|e| FileError::io("move away", from, e))?;
    sync_dir(to.parent().unwrap_or(Path::new(".")))
}

/// Makes names that were created, renamed or removed in a directory durable.
///
/// # Errors
/// When the directory cannot be opened or the disk fails.
pub fn sync_dir(path: &Path) -> Result<(), FileError> {
    disk::sync_dir(path).map_err(|e| FileError::io("sync directory", path, e))
}

/// Reads a text file of at most `limit` bytes.
///
/// # Errors
/// When it cannot be read, is larger, or is not UTF-8.
pub fn read_text(path: &Path, limit: u64) -> Result<String, FileError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit.saturating_add(1)).read_to_end(&mut bytes))
        .map_err(|e| FileError::io("read", path, e))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
        return Err(FileError::TooLarge { path: path.to_owned(), limit });
    }
    String::from_utf8(bytes).map_err(|_| FileError::NotText { path: path.to_owned() })
}

/// Whether group or others may read the file: for secrets a reason to warn.
///
/// # Errors
/// When the file cannot be looked at.
pub fn is_open_to_others(path: &Path) -> Result<bool, FileError> {
    let metadata = std::fs::metadata(path).map_err(|e| FileError::io("look at", path, e))?;
    Ok(metadata.mode() & 0o077 != 0)
}

/// An exclusive lock, held until dropped or until the process ends in any way. The file holds the pid of its holder and
/// stays where it is: removing a lock file would let two processes hold two files of one name.
#[derive(Debug)]
pub struct LockFile {
    _file: File,
    path: PathBuf,
}

impl LockFile {
    /// Takes the lock, without waiting.
    ///
    /// # Errors
    /// [`FileError::Locked`] with the pid of the holder, or what is wrong with the file.
    pub fn acquire(path: &Path) -> Result<Self, FileError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|e| FileError::io("open lock file", path, e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(held_by_another(file, path)),
            Err(TryLockError::Error(error)) => return Err(FileError::io("lock", path, error)),
        }
        file.set_len(0)
            .and_then(|()| file.write_all(format!("{}\n", std::process::id()).as_bytes()))
            .map_err(|e| FileError::io("write lock file", path, e))?;
        Ok(Self { _file: file, path: path.to_owned() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn held_by_another(file: File, path: &Path) -> FileError {
    let mut text = String::new();
    let holder = match file.take(32).read_to_string(&mut text) {
        Ok(_) => text.trim().parse().ok(),
        Err(_) => None,
    };
    match holder {
        Some(holder) => FileError::Locked { path: path.to_owned(), holder },
        None => FileError::LockedByUnknown { path: path.to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_private_directory_is_ours_alone() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a/b");
        create_private_dir(&path).unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o700, 0o700));
        create_private_dir(&path).unwrap();
    }

    #[test]
    fn a_directory_that_others_may_write_is_refused() {
        let place = tempfile::tempdir().unwrap();
        for others in [0o770, 0o707, 0o1777] {
            std::fs::set_permissions(place.path(), Permissions::from_mode(others)).unwrap();
            let error = create_private_dir(place.path()).unwrap_err();
            assert!(matches!(error, FileError::WritableByOthers { mode, .. } if mode == others), "{error}");
            assert!(error.to_string().contains("chmod go-w"), "{error}");
        }
        std::fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
        create_private_dir(place.path()).unwrap();
    }

    #[test]
    fn a_file_in_the_way_is_no_directory() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("file");
        std::fs::write(&path, "x").unwrap();
        assert!(matches!(create_private_dir(&path), Err(FileError::NotADirectory { .. })));
    }

    #[test]
    fn writing_replaces_and_leaves_nothing_beside() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("key");
        std::fs::write(&path, "old, and open to all").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert!(is_open_to_others(&path).unwrap());
        write_private(&path, b"new").unwrap();
        assert_eq!(read_text(&path, 3).unwrap(), "new");
        assert_eq!(mode(&path), 0o600);
        assert!(!is_open_to_others(&path).unwrap());
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
        assert!(matches!(read_text(&path, 2), Err(FileError::TooLarge { limit: 2, .. })));
    }

    #[test]
    fn a_failed_write_leaves_nothing_behind() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("taken");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("inside"), "x").unwrap();
        assert!(matches!(write_private(&path, b"x"), Err(FileError::Io { action: "replace", .. })));
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_second_taker_learns_who_holds_the_lock() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("lock");
        std::fs::write(&path, "99999999 a longer text of an earlier holder").unwrap();
        let held = LockFile::acquire(&path).unwrap();
        let error = LockFile::acquire(&path).unwrap_err();
        assert!(matches!(error, FileError::Locked { holder, .. } if holder == std::process::id()), "{error}");
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
        drop(held);
        LockFile::acquire(&path).unwrap();
    }
}
