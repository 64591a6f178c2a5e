//! A disk that fails: what the spool asks of it on this thread goes wrong as planned. The bytes are on a real disk.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use rustix::io::Errno;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Plan {
    Well,
    /// So many more bytes, then none.
    Full(u64),
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
}

thread_local! {
    static STATE: RefCell<State> = const {
        RefCell::new(State { plan: Plan::Well, dead: false, unsynced: Vec::new() })
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

pub(in super::super) fn write(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    STATE.with_borrow_mut(|state| {
        let live = state.live();
        if !state.dead || matches!(live, Err(Some(_))) {
            state.unsynced.push((file.try_clone()?, at));
        }
        let part = |part: u64| file.write_all_at(&bytes[..usize::try_from(part).unwrap()], at);
        let len = bytes.len() as u64;
        match (live, &mut state.plan) {
            (Err(None), _) => fail(Errno::IO),
            (Err(Some(share)), _) => part(len * u64::from(share) / 256).and(fail(Errno::IO)),
            (Ok(()), Plan::ReadOnly) => fail(Errno::ROFS),
            (Ok(()), Plan::Full(left)) if *left < len => part(std::mem::take(left)).and(fail(Errno::NOSPC)),
            (Ok(()), Plan::Full(left)) => {
                *left -= len;
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
