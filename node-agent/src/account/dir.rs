//! A directory of ours, by its descriptor: what is done below it cannot be led elsewhere.
//!
//! Every name is looked at without following links; a directory that belongs to somebody else, or that others may enter,
//! is refused. Calls block.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::HomeError;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

#[derive(Debug)]
pub(super) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

/// What stands under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    Missing,
    File,
    Dir,
    /// With where it leads.
    Link(PathBuf),
    Other,
}

impl Dir {
    /// The directory that everything is below; it may be reached through links.
    pub(super) fn top(path: &Path) -> Result<Self, HomeError> {
        let fd = rustix::fs::open(path, DIRECTORY, Mode::empty()).map_err(|error| io_of(error, path))?;
        Ok(Self { fd, path: path.to_owned() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A directory of ours in this one; made with 0700 if there is none.
    pub(super) fn private(&self, name: &str) -> Result<Self, HomeError> {
        let path = self.path.join(name);
        match rustix::fs::mkdirat(&self.fd, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(io_of(error, &path)),
        }
        let opened = rustix::fs::openat(&self.fd, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty());
        let fd = opened.map_err(|error| match error {
            Errno::LOOP | Errno::NOTDIR => HomeError::InTheWay(path.clone()),
            error => io_of(error, &path),
        })?;
        let stat = rustix::fs::fstat(&fd).map_err(|error| io_of(error, &path))?;
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(HomeError::Foreign { path, uid: stat.st_uid });
        }
        let mode = Mode::from_raw_mode(stat.st_mode).bits();
        if mode & 0o077 != 0 {
            return Err(HomeError::Open { path, mode });
        }
        Ok(Self { fd, path })
    }

    pub(super) fn entry(&self, name: &str) -> Result<Entry, HomeError> {
        let failed = |error| io_of(error, &self.path.join(name));
        let stat = match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(Entry::Missing),
            Err(error) => return Err(failed(error)),
        };
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Entry::File,
            FileType::Directory => Entry::Dir,
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&self.fd, name, Vec::new()).map_err(failed)?;
                Entry::Link(OsString::from_vec(target.into_bytes()).into())
            }
            _ => Entry::Other,
        })
    }

    /// Makes a link under a name that is free.
    pub(super) fn link(&self, name: &str, target: &Path) -> Result<(), HomeError> {
        rustix::fs::symlinkat(target, &self.fd, name).map_err(|error| io_of(error, &self.path.join(name)))
    }

    pub(super) fn remove(&self, name: &str) -> Result<(), HomeError> {
        rustix::fs::unlinkat(&self.fd, name, AtFlags::empty())
            .map_err(|error| io_of(error, &self.path.join(name)))
    }

    /// Gives what stands under a name another one, which must be free; durable when this returns.
    pub(super) fn rename(&self, name: &str, to: &str) -> Result<(), HomeError> {
        let path = self.path.join(to);
        if self.entry(to)? != Entry::Missing {
            return Err(HomeError::InTheWay(path));
        }
        let renamed = rustix::fs::renameat(&self.fd, name, &self.fd, to);
        renamed.and_then(|()| rustix::fs::fsync(&self.fd)).map_err(|error| io_of(error, &path))
    }

    /// Removes a directory; one that holds something stays, which is an error.
    pub(super) fn remove_empty(&self, name: &str) -> Result<(), HomeError> {
        rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR)
            .map_err(|error| io_of(error, &self.path.join(name)))
    }

    /// A regular file of at most so many bytes. `None`: there is none.
    pub(super) fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, HomeError> {
        if self.entry(name)? != Entry::File {
            return Ok(None);
        }
        let path = self.path.join(name);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let fd = rustix::fs::openat(&self.fd, name, flags, Mode::empty()).map_err(|e| io_of(e, &path))?;
        read_all(File::from(fd), limit, &path).map(Some)
    }

    /// Puts a file of ours there in one step, 0600, durable when this returns. A link of that name is replaced, not
    /// followed. A file that has this content already is left as it is.
    pub(super) fn write(&self, name: &str, content: &[u8]) -> Result<(), HomeError> {
        let path = self.path.join(name);
        if matches!(self.entry(name)?, Entry::Dir | Entry::Other) {
            return Err(HomeError::InTheWay(path));
        }
        if self.read(name, content.len() as u64 + 1).ok().flatten().is_some_and(|old| old == content) {
            return Ok(());
        }
        let temporary = format!(".wa-{:016x}.tmp", fastrand::u64(..));
        let done = self.write_new(&temporary, content).and_then(|()| {
            rustix::fs::renameat(&self.fd, &temporary, &self.fd, name)?;
            rustix::fs::fsync(&self.fd)?;
            Ok(())
        });
        done.map_err(|source| {
            // The first error is the one to report.
            let _stays = rustix::fs::unlinkat(&self.fd, &temporary, AtFlags::empty());
            HomeError::Io { path, source }
        })
    }

    fn write_new(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR)?;
        let mut file = File::from(fd);
        file.write_all(content)?;
        file.sync_all()
    }
}

/// The whole of a file, if it is not larger than that.
pub(super) fn read_all(file: File, limit: u64, path: &Path) -> Result<Vec<u8>, HomeError> {
    let mut bytes = Vec::new();
    let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|source| HomeError::Io { path: path.to_owned(), source })?;
    if bytes.len() as u64 > limit {
        return Err(HomeError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(bytes)
}

fn io_of(error: Errno, path: &Path) -> HomeError {
    HomeError::Io { path: path.to_owned(), source: error.into() }
}
