//! Reading and replacing a user's file.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use wa_proto::Timestamp;

use super::backup_name;

/// Bytes of a configuration file that are read.
const LIMIT: u64 = 4 << 20;
/// Backups of one second.
const MOST: usize = 100;

/// The text of a file; `None` when there is none.
pub(super) fn read(path: &Path) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        // A link that leads nowhere is no missing file.
        Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_symlink() => return Ok(None),
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut bytes = Vec::new();
    file.take(LIMIT + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > LIMIT {
        return Err(io::Error::other(format!("it is larger than {LIMIT} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid].iter().filter(|byte| **byte == b'\n').count() + 1;
        io::Error::other(format!("line {line}: not UTF-8"))
    })?;
    Ok(Some(text))
}

/// Replaces a file, or makes it (0600, its directory 0700). Returns the backup of what it held; a link stays a link.
///
/// # Errors
/// When the file has changed since `old` was read, or cannot be written; then it still holds what it held.
pub(crate) fn write(
    path: &Path,
    old: Option<&str>,
    new: &str,
    now: Timestamp,
) -> io::Result<Option<PathBuf>> {
    if read(path)?.as_deref() != old {
        return Err(io::Error::other("it was changed meanwhile; nothing was written: try again"));
    }
    if old.is_none() {
        let directory = path.parent().unwrap_or(Path::new("."));
        wa_link::files::create_private_dir(directory).map_err(io::Error::other)?;
        replace(path, new, None)?;
        return Ok(None);
    }
    let target = std::fs::canonicalize(path)?;
    let meta = std::fs::metadata(&target)?;
    let backup = back_up(path, old.unwrap_or_default(), &meta, now)?;
    replace(&target, new, Some(&meta))?;
    Ok(Some(backup))
}

fn create(path: &Path, text: &str, like: Option<&std::fs::Metadata>) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    if let Some(like) = like {
        let is = file.metadata()?;
        if (is.uid(), is.gid()) != (like.uid(), like.gid()) {
            fchown(&file, Some(like.uid()), Some(like.gid()))?;
        }
        file.set_permissions(std::fs::Permissions::from_mode(like.mode() & 0o7777))?;
    }
    file.sync_all()
}

fn back_up(path: &Path, text: &str, like: &std::fs::Metadata, now: Timestamp) -> io::Result<PathBuf> {
    let stamp = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    for count in 0..MOST {
        let backup = backup_name(path, &stamp, count);
        match create(&backup, text, Some(like)) {
            Ok(()) => return Ok(backup),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                std::fs::remove_file(&backup).ok();
                return Err(error);
            }
        }
    }
    Err(io::Error::other("there are too many backups of this second: try again"))
}

fn replace(path: &Path, text: &str, like: Option<&std::fs::Metadata>) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{:016x}.tmp", fastrand::u64(..)));
    let temporary = directory.join(name);
    let placed = create(&temporary, text, like).and_then(|()| std::fs::rename(&temporary, path));
    if placed.is_err() {
        std::fs::remove_file(&temporary).ok();
    }
    placed?;
    File::open(directory)?.sync_all()
}
