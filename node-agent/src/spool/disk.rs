//! Every change that the spool makes on the disk, one function each.
//!
//! Tests make them fail here: see `tests/faults.rs`.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

#[cfg(test)]
use super::tests::faults;

/// A new, empty file that only its owner reads.
pub(super) fn create(path: &Path) -> io::Result<File> {
    #[cfg(test)]
    faults::step()?;
    OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)
}

pub(super) fn write(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    #[cfg(test)]
    faults::write(file, bytes, at)?;
    file.write_all_at(bytes, at)
}

/// What was written stays.
pub(super) fn sync(file: &File) -> io::Result<()> {
    #[cfg(test)]
    faults::sync(file)?;
    file.sync_data()
}

pub(super) fn cut(file: &File, len: u64) -> io::Result<()> {
    #[cfg(test)]
    faults::step()?;
    file.set_len(len)
}

pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(test)]
    faults::step()?;
    fs::rename(from, to)
}

pub(super) fn remove(path: &Path) -> io::Result<()> {
    #[cfg(test)]
    faults::step()?;
    fs::remove_file(path)
}

/// Files made and renamed in the directory stay so.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    #[cfg(test)]
    faults::step()?;
    File::open(dir)?.sync_all()
}
