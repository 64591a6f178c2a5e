//! Every change that the spool makes on the disk, one function each.
//!
//! Tests make them fail here: see `tests/faults.rs`.

use std::fs::File;
use std::io;
use std::path::Path;

use wa_link::disk;

#[cfg(test)]
use super::tests::faults;

/// A new, empty file that only its owner reads.
pub(super) fn create(path: &Path) -> io::Result<File> {
    #[cfg(test)]
    faults::step()?;
    disk::create(path)
}

pub(super) fn write(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    #[cfg(test)]
    faults::write(file, bytes, at)?;
    disk::write(file, bytes, at)
}

/// Has the disk keep room for these bytes of the file, beyond its end, which stays where it is. `false`: this kind of
/// file system keeps none.
pub(super) fn reserve(file: &File, at: u64, len: u64) -> io::Result<bool> {
    #[cfg(test)]
    faults::reserve(file, at, len)?;
    keep_room(file, at, len)
}

#[cfg(target_os = "linux")]
fn keep_room(file: &File, at: u64, len: u64) -> io::Result<bool> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    let kept = rustix::io::retry_on_intr(|| fallocate(file, FallocateFlags::KEEP_SIZE, at, len));
    match kept {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "as on Linux")]
fn keep_room(_: &File, _: u64, _: u64) -> io::Result<bool> {
    Ok(false)
}

/// What was written stays.
pub(super) fn sync(file: &File) -> io::Result<()> {
    #[cfg(test)]
    faults::sync(file)?;
    disk::sync(file)
}

pub(super) fn cut(file: &File, len: u64) -> io::Result<()> {
    #[cfg(test)]
    faults::cut(file, len)?;
    disk::cut(file, len)
}

pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(test)]
    faults::remove(to)?;
    disk::rename(from, to)
}

pub(super) fn remove(path: &Path) -> io::Result<()> {
    #[cfg(test)]
    faults::remove(path)?;
    disk::remove(path)
}

/// Files made and renamed in the directory stay so.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    #[cfg(test)]
    faults::step()?;
    disk::sync_dir(dir)
}
