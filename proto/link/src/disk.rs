//! Changes on the disk that must survive a crash, one function each. A simulation sees every one of them, and may refuse
//! it or lose what was not synced (see [`crate::world`]).
//!
//! All of them block.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::world::{self, Change};

fn announce(change: Change<'_>) -> io::Result<()> {
    match world::current() {
        Some(world) => world.change(change),
        None => Ok(()),
    }
}

/// A new, empty file that only its owner reads; what was there is gone.
///
/// # Errors
/// What the disk says.
pub fn create(path: &Path) -> io::Result<File> {
    announce(Change::Create(path))?;
    OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// A new file that only its owner reads, where none was.
///
/// # Errors
/// What the disk says.
pub fn create_new(path: &Path) -> io::Result<File> {
    announce(Change::Create(path))?;
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// # Errors
/// What the disk says; a part may have been written.
pub fn write(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    announce(Change::Write { file, bytes, at })?;
    file.write_all_at(bytes, at)
}

/// What was written stays.
///
/// # Errors
/// What the disk says; nobody knows what stays then.
pub fn sync(file: &File) -> io::Result<()> {
    announce(Change::Sync(file))?;
    file.sync_data()
}

/// Makes a file end at `len`.
///
/// # Errors
/// What the disk says.
pub fn cut(file: &File, len: u64) -> io::Result<()> {
    announce(Change::Cut { file, len })?;
    file.set_len(len)
}

/// # Errors
/// What the disk says.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    announce(Change::Rename { from, to })?;
    fs::rename(from, to)
}

/// # Errors
/// What the disk says.
pub fn remove(path: &Path) -> io::Result<()> {
    announce(Change::Remove(path))?;
    fs::remove_file(path)
}

/// Files that were made, renamed and removed in the directory stay so.
///
/// # Errors
/// What the disk says.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    announce(Change::SyncDir(path))?;
    File::open(path)?.sync_all()
}
