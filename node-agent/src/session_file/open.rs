//! Opening files of strangers: read-only, regular files only, below one directory, never through a link.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, open, openat, statat};

/// Opens `inside`, a path below `home`. The home itself may be reached through links; below it none is followed, so what
/// an agent can put there leads nowhere else.
pub(super) fn regular_file(home: &Path, inside: &Path) -> io::Result<File> {
    let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at: OwnedFd = open(home, directory, Mode::empty())?;
    let mut names = Vec::new();
    for component in inside.components() {
        match component {
            Component::Normal(name) => names.push(name),
            _ => return Err(refused("leads out of the agent's home")),
        }
    }
    let Some(name) = names.pop() else { return Err(refused("names no file")) };
    for folder in names {
        at = openat(&at, folder, directory | OFlags::NOFOLLOW, Mode::empty())?;
    }
    // Looked at before it is opened: opening a device may do something.
    let stat = statat(&at, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(refused("is not a regular file"));
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = File::from(openat(&at, name, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(refused("is not a regular file"));
    }
    Ok(file)
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_regular_files_below_the_home_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        std::fs::create_dir_all(home.join("a/b")).unwrap();
        std::fs::write(home.join("a/b/file"), "inside").unwrap();
        std::fs::write(dir.path().join("secret"), "outside").unwrap();
        symlink(dir.path().join("secret"), home.join("a/link")).unwrap();
        symlink(dir.path(), home.join("out")).unwrap();
        symlink(&home, dir.path().join("other-name")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, home.join("a/pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
            .unwrap();
        let mut text = String::new();
        let by_link = dir.path().join("other-name");
        regular_file(&by_link, Path::new("a/b/file")).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "inside");
        for refused in ["a/link", "out/secret", "a/pipe", "a/b", "../secret", "/etc/passwd", "", "a/none"] {
            assert!(regular_file(&home, Path::new(refused)).is_err(), "{refused}");
        }
    }
}
