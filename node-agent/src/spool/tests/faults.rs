//! A disk that fails: what the spool asks of it on this thread goes wrong as planned. The bytes are on a real disk.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use rustix::io::Errno;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Plan {
    Well,
    /// So many more bytes, then none but what was kept; what becomes free others take.
    Full(u64),
    /// So many more bytes, and what becomes free.
    Small(u64),
    ReadOnly,
    /// After so many, each is refused.
    SyncFails(u32),
    /// The machine stops in the step after so many; of its write this part is there, in 256ths.
    Dies {
        steps: u32,
        part: u8,
    },
}

#[derive(Debug)]
struct State {
    plan: Plan,
    dead: bool,
    /// Written and not synced: where it begins.
    unsynced: Vec<(File, u64)>,
    /// Files for which the disk keeps room, and up to where.
    kept: Vec<(Inode, u64)>,
}

type Inode = (u64, u64);

fn inode(file: &File) -> Inode {
    let metadata = file.metadata().unwrap();
    (metadata.dev(), metadata.ino())
}

thread_local! {
    static STATE: RefCell<State> = const {
        RefCell::new(State { plan: Plan::Well, dead: false, unsynced: Vec::new(), kept: Vec::new() })
    };
}

pub(super) fn set(plan: Plan) {
    STATE.with_borrow_mut(|state| {
        state.plan = plan;
        state.dead = false;
    });
}

pub(super) fn plan() -> Plan {
    STATE.with_borrow(|state| state.plan)
}

pub(super) fn is_dead() -> bool {
    STATE.with_borrow(|state| state.dead)
}

/// The power fails: of what was written since the last sync this part stays, in 256ths. Then all is well.
pub(super) fn lose(part: u8) {
    STATE.with_borrow_mut(|state| {
        for (file, from) in state.unsynced.drain(..) {
            let len = file.metadata().unwrap().len();
            if len > from {
                file.set_len(from + (len - from) * u64::from(part) / 256).unwrap();
            }
        }
        state.plan = Plan::Well;
        state.dead = false;
    });
}

fn fail(errno: Errno) -> io::Result<()> {
    Err(errno.into())
}

impl State {
    fn kept_to(&self, file: &File) -> u64 {
        let inode = inode(file);
        self.kept.iter().find(|(of, _)| *of == inode).map_or(0, |(_, to)| *to)
    }

    /// Of what the file takes only `len` bytes stay.
    fn free(&mut self, file: &File, len: u64) {
        let all = self.kept_to(file).max(file.metadata().unwrap().len());
        if let Plan::Small(left) = &mut self.plan {
            *left += all.saturating_sub(len);
        }
    }

    fn keep(&mut self, file: &File, to: u64) {
        let inode = inode(file);
        self.kept.retain(|(of, _)| *of != inode);
        self.kept.push((inode, to));
    }

    /// Counts a step; the part of it that is still done when the machine stops in it.
    fn live(&mut self) -> Result<(), Option<u8>> {
        if self.dead {
            return Err(None);
        }
        match &mut self.plan {
            Plan::Dies { steps: 0, part } => {
                self.dead = true;
                Err(Some(*part))
            }
            Plan::Dies { steps, .. } => {
                *steps -= 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Before anything but a write and a sync.
pub(in super::super) fn step() -> io::Result<()> {
    STATE.with_borrow_mut(|state| match (state.live(), state.plan) {
        (Err(_), _) => fail(Errno::IO),
        (Ok(()), Plan::ReadOnly) => fail(Errno::ROFS),
        _ => Ok(()),
    })
}

pub(in super::super) fn reserve(file: &File, at: u64, len: u64) -> io::Result<()> {
    STATE.with_borrow_mut(|state| {
        if state.live().is_err() {
            return fail(Errno::IO);
        }
        // A file begun anew has nothing yet.
        let from = if at == 0 { 0 } else { state.kept_to(file).max(at) };
        let new = (at + len).saturating_sub(from);
        match &mut state.plan {
            Plan::ReadOnly => return fail(Errno::ROFS),
            Plan::Full(left) | Plan::Small(left) if *left < new => return fail(Errno::NOSPC),
            Plan::Full(left) | Plan::Small(left) => *left -= new,
            _ => {}
        }
        state.keep(file, at + len);
        Ok(())
    })
}

/// Cutting a file off gives back what was kept behind it.
pub(in super::super) fn cut(file: &File, len: u64) -> io::Result<()> {
    step()?;
    STATE.with_borrow_mut(|state| {
        state.free(file, len);
        state.keep(file, 0);
    });
    Ok(())
}

/// Before a file goes, or another takes its name.
pub(in super::super) fn remove(path: &Path) -> io::Result<()> {
    step()?;
    if let Ok(file) = File::open(path) {
        STATE.with_borrow_mut(|state| state.free(&file, 0));
    }
    Ok(())
}

pub(in super::super) fn write(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    STATE.with_borrow_mut(|state| {
        let live = state.live();
        if !state.dead || matches!(live, Err(Some(_))) {
            state.unsynced.push((file.try_clone()?, at));
        }
        let part = |part: u64| file.write_all_at(&bytes[..usize::try_from(part).unwrap()], at);
        let len = bytes.len() as u64;
        let kept = state.kept_to(file).saturating_sub(at).min(len);
        match (live, &mut state.plan) {
            (Err(None), _) => fail(Errno::IO),
            (Err(Some(share)), _) => part(len * u64::from(share) / 256).and(fail(Errno::IO)),
            (Ok(()), Plan::ReadOnly) => fail(Errno::ROFS),
            (Ok(()), Plan::Full(left) | Plan::Small(left)) if *left < len - kept => {
                part(kept + std::mem::take(left)).and(fail(Errno::NOSPC))
            }
            (Ok(()), Plan::Full(left) | Plan::Small(left)) => {
                *left -= len - kept;
                Ok(())
            }
            _ => Ok(()),
        }
    })
}

pub(in super::super) fn sync(file: &File) -> io::Result<()> {
    STATE.with_borrow_mut(|state| {
        let live = state.live();
        match (live, &mut state.plan) {
            (Err(_), _) | (Ok(()), Plan::SyncFails(0)) => return fail(Errno::IO),
            (Ok(()), Plan::SyncFails(left)) => *left -= 1,
            (Ok(()), Plan::ReadOnly) => return fail(Errno::ROFS),
            _ => {}
        }
        let stat = |file: &File| rustix::fs::fstat(file).map(|stat| (stat.st_dev, stat.st_ino));
        let this = stat(file)?;
        state.unsynced.retain(|(other, _)| stat(other).is_ok_and(|other| other != this));
        Ok(())
    })
}
