//! How many files this program may have open, and whether a crash leaves its memory behind.
//!
//! Every connection is a file, and the usual soft limit of 1,024 is there for programs that call `select(2)`, which none of
//! ours does. A controller of a thousand nodes would stop taking connections in with it.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit on open files to the hard one. The limit in force afterwards; `None`: there is none.
///
/// # Errors
/// When the system refuses; then the limit is what it was.
pub fn raise_open_files() -> io::Result<Option<u64>> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit)?;
    }
    Ok(limit.current)
}

/// From now on no crash of this process leaves a core dump, and no other process of its user may look into its memory:
/// for programs that hold credentials. What it starts leaves no core dump either, unless it raises its soft limit again.
///
/// # Errors
/// When the system refuses.
pub fn no_core_dumps() -> io::Result<()> {
    let limit = getrlimit(Resource::Core);
    setrlimit(Resource::Core, Rlimit { current: Some(0), ..limit })?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let before = getrlimit(Resource::Nofile);
        let lower = before.maximum.map_or(512, |most| most.min(512));
        setrlimit(Resource::Nofile, rustix::process::Rlimit { current: Some(lower), ..before }).unwrap();
        assert_eq!(raise_open_files().unwrap(), before.maximum);
        assert_eq!(getrlimit(Resource::Nofile).current, before.maximum);
    }
}
