//! The disk of a host: real files, of which a power cut takes what was not synced.
//!
//! Every change is noted with what it takes to undo it, until it is synced: a file's bytes by syncing the file, names by
//! syncing their directory. When the power fails, of each file a prefix of its unsynced changes stays, the next write
//! is torn at any byte, and the rest is undone; of the unsynced names a prefix stays. A process that is killed loses
//! nothing that it has written.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use wa_link::world::Change;

#[derive(Debug)]
enum Undo {
    /// The bytes before, and the length.
    Write {
        file: File,
        inode: u64,
        at: u64,
        old: Vec<u8>,
        len: u64,
        wrote: u64,
    },
    Cut {
        file: File,
        inode: u64,
        len: u64,
        tail: Vec<u8>,
    },
    /// Names: what stood there before.
    Create {
        path: PathBuf,
        before: Option<Vec<u8>>,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
        before: Option<Vec<u8>>,
    },
    Remove {
        path: PathBuf,
        before: Vec<u8>,
    },
}

/// How the disk is today.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    Well,
    Full,
    ReadOnly,
    /// It takes writes and fails to sync them.
    NoSync,
}

#[derive(Debug)]
pub(crate) struct Disk {
    rng: fastrand::Rng,
    undo: Vec<Undo>,
    health: Health,
    /// The power fails in the step after so many.
    fails_in: Option<u32>,
    dead: bool,
}

impl Disk {
    pub(crate) fn new(rng: fastrand::Rng) -> Self {
        Self { rng, undo: Vec::new(), health: Health::Well, fails_in: None, dead: false }
    }

    pub(crate) fn set(&mut self, health: Health) {
        self.health = health;
    }

    /// The power will fail in the step after so many.
    pub(crate) fn fail_in(&mut self, steps: u32) {
        self.fails_in = Some(steps);
    }

    /// Nothing goes wrong any more.
    pub(crate) fn heal(&mut self) {
        (self.health, self.fails_in) = (Health::Well, None);
    }

    /// What was not synced stays as it is. Each such change holds a file open.
    pub(crate) fn forget(&mut self) {
        self.undo.clear();
    }

    /// Nothing is changed any more.
    pub(crate) fn die(&mut self) {
        self.dead = true;
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead
    }

    pub(crate) fn change(&mut self, change: Change<'_>) -> io::Result<()> {
        if self.dead {
            return Err(Errno::IO.into());
        }
        if let Some(steps) = &mut self.fails_in {
            if *steps == 0 {
                self.dead = true;
                if let Change::Write { file, bytes, at } = change {
                    let part = self.rng.usize(..=bytes.len());
                    self.note(change)?;
                    file.write_all_at(&bytes[..part], at)?;
                }
                return Err(Errno::IO.into());
            }
            *steps -= 1;
        }
        match (self.health, change) {
            (Health::ReadOnly, _) => return Err(Errno::ROFS.into()),
            (Health::Full, Change::Write { .. } | Change::Create(_)) => return Err(Errno::NOSPC.into()),
            (Health::NoSync, Change::Sync(_)) => return Err(Errno::IO.into()),
            _ => {}
        }
        self.note(change)
    }

    /// Keeps what it takes to undo it, or lets go of what is safe now.
    fn note(&mut self, change: Change<'_>) -> io::Result<()> {
        match change {
            Change::Write { file, bytes, at } => {
                let len = file.metadata()?.len();
                let keep = len.saturating_sub(at).min(bytes.len() as u64);
                let mut old = vec![0; usize::try_from(keep).unwrap_or(0)];
                file.read_exact_at(&mut old, at)?;
                let (file, inode) = (file.try_clone()?, file.metadata()?.ino());
                self.undo.push(Undo::Write { file, inode, at, old, len, wrote: bytes.len() as u64 });
            }
            Change::Cut { file, len: to } => {
                let len = file.metadata()?.len();
                let mut tail = vec![0; usize::try_from(len.saturating_sub(to)).unwrap_or(0)];
                file.read_exact_at(&mut tail, to.min(len))?;
                let (file, inode) = (file.try_clone()?, file.metadata()?.ino());
                self.undo.push(Undo::Cut { file, inode, len, tail });
            }
            Change::Create(path) => {
                let before = fs::read(path).ok();
                self.undo.push(Undo::Create { path: path.to_owned(), before });
            }
            Change::Rename { from, to } => {
                let before = fs::read(to).ok();
                self.undo.push(Undo::Rename { from: from.to_owned(), to: to.to_owned(), before });
            }
            Change::Remove(path) => {
                if let Ok(before) = fs::read(path) {
                    self.undo.push(Undo::Remove { path: path.to_owned(), before });
                }
            }
            Change::Sync(file) => {
                let synced = file.metadata()?.ino();
                self.undo.retain(|undo| undo.inode() != Some(synced));
            }
            Change::SyncDir(dir) => self.undo.retain(|undo| undo.parent() != Some(dir)),
        }
        Ok(())
    }

    /// The host goes on after the crash. Says what became of what was not synced.
    pub(crate) fn revive(&mut self, power_cut: bool) -> io::Result<String> {
        let undo = std::mem::take(&mut self.undo);
        (self.dead, self.fails_in) = (false, None);
        if !power_cut || undo.is_empty() {
            return Ok("nothing was lost".to_owned());
        }
        let (files, names): (Vec<_>, Vec<_>) = undo.into_iter().partition(|undo| undo.inode().is_some());
        let (mut inodes, mut said) = (Vec::new(), Vec::new());
        for undo in &files {
            if !inodes.contains(&undo.inode()) {
                inodes.push(undo.inode());
            }
        }
        let mut files = files;
        for inode in inodes {
            let (of_file, rest): (Vec<_>, Vec<_>) = files.into_iter().partition(|undo| undo.inode() == inode);
            files = rest;
            let stay = self.rng.usize(..=of_file.len());
            said.push(format!("{stay} of {} unsynced changes of a file stay", of_file.len()));
            for (at, undo) in of_file.into_iter().enumerate().rev().filter(|(at, _)| *at >= stay) {
                undo.undo(if at == stay { Some(&mut self.rng) } else { None })?;
            }
        }
        let stay = self.rng.usize(..=names.len());
        said.push(format!("{stay} of {} unsynced names stay", names.len()));
        for undo in names.into_iter().skip(stay).rev() {
            undo.undo(None)?;
        }
        Ok(said.join("; "))
    }
}

impl Undo {
    fn inode(&self) -> Option<u64> {
        match self {
            Self::Write { inode, .. } | Self::Cut { inode, .. } => Some(*inode),
            Self::Create { .. } | Self::Rename { .. } | Self::Remove { .. } => None,
        }
    }

    fn parent(&self) -> Option<&Path> {
        match self {
            Self::Write { .. } | Self::Cut { .. } => None,
            Self::Create { path, .. } | Self::Remove { path, .. } => path.parent(),
            Self::Rename { to, .. } => to.parent(),
        }
    }

    /// `torn`: only from some byte on.
    fn undo(self, torn: Option<&mut fastrand::Rng>) -> io::Result<()> {
        match self {
            Self::Write { file, at, old, len, wrote, .. } => {
                let from = torn.map_or(0, |rng| rng.u64(..=wrote));
                let kept = usize::try_from(from).unwrap_or(usize::MAX).min(old.len());
                file.write_all_at(&old[kept..], at + kept as u64)?;
                file.set_len(len.max((at + from).min(file.metadata()?.len())))
            }
            Self::Cut { file, len, tail, .. } => {
                let now = len - tail.len() as u64;
                file.write_all_at(&tail, now)
            }
            Self::Create { path, before } => match before {
                Some(before) => put_back(&path, &before),
                None => gone(&path),
            },
            Self::Rename { from, to, before } => {
                if to.exists() {
                    fs::rename(&to, from)?;
                }
                before.map_or(Ok(()), |before| put_back(&to, &before))
            }
            Self::Remove { path, before } => put_back(&path, &before),
        }
    }
}

/// Files of ours are private.
fn put_back(path: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::write(path, bytes)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
}

fn gone(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
