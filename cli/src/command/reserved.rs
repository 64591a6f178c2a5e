//! A file for what the controller gives once: a key, a token. It is made, empty and for its owner alone, before the
//! controller is asked: what cannot be kept is not asked for.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::failure::Failure;

/// The place of a file that will be written.
pub(super) struct Reserved<'a> {
    path: &'a Path,
    /// There was none before.
    made_here: bool,
}

impl<'a> Reserved<'a> {
    /// Makes the file, or sees that it may be replaced.
    pub(super) fn new(path: &'a Path, force: bool) -> Result<Self, Failure> {
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let made_here = match made {
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::AlreadyExists && force => false,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return Err(Failure::usage(format!("{} is there already", path.display()))
                    .remedy("name another file, or give --force to replace this one"));
            }
            Err(error) => return Err(Failure::usage(format!("cannot write {}: {error}", path.display()))),
        };
        Ok(Self { path, made_here })
    }

    /// Takes back a file that was made for nothing. One that something stands in stays, for it was given: only what came
    /// after failed. The failure is what counts, so none is told here.
    pub(super) fn give_up(&self) {
        if self.made_here && std::fs::metadata(self.path).is_ok_and(|file| file.len() == 0) {
            std::fs::remove_file(self.path).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer could not be printed: the key stands nowhere else.
    #[test]
    fn what_was_written_stays_when_something_fails_later() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("alice.context.toml");
        Reserved::new(&path, false).ok().unwrap().give_up();
        assert!(!path.exists());
        let reserved = Reserved::new(&path, false).ok().unwrap();
        assert!(Reserved::new(&path, false).is_err());
        std::fs::write(&path, "a context").unwrap();
        reserved.give_up();
        assert!(path.exists());
    }
}
