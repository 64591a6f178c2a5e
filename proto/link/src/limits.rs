//! How many files this program may have open.
//!
//! Every connection is one, and the usual soft limit of 1,024 is there for programs that call `select(2)`, which none of
//! ours does. A controller of a thousand nodes would stop taking connections in with it.

use std::io;

use rustix::process::{Resource, getrlimit, setrlimit};

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
