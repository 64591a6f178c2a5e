//! Files that are read: bounded, whatever they hold.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;

use crate::failure::{Exit, Failure};

/// Opens a file, or standard input for `-`.
pub(super) fn open(name: &str) -> Result<Box<dyn BufRead>, Failure> {
    if name == "-" {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let failure = |error: io::Error| unreadable(name, &error);
    let file = File::open(name).map_err(failure)?;
    if file.metadata().map_err(failure)?.is_dir() {
        return Err(
            Failure::usage(format!("{name} is a directory")).remedy(format!("name its files: {name}/*"))
        );
    }
    Ok(Box::new(BufReader::new(file)))
}

fn unreadable(name: &str, error: &io::Error) -> Failure {
    let exit = if error.kind() == io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Failed };
    Failure::new(exit, format!("cannot read {name}: {error}"))
}

/// The whole of it, if it is no larger than `most` bytes.
pub(super) fn bytes(name: &str, most: u64) -> Result<Vec<u8>, Failure> {
    let bytes = first_bytes(name, most + 1)?;
    if bytes.len() as u64 > most {
        return Err(Failure::failed(format!("{name} is larger than {} MiB", most >> 20)));
    }
    Ok(bytes)
}

/// Its first bytes, at most so many.
pub(super) fn first_bytes(name: &str, most: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = open(name)?.take(most).read_to_end(&mut bytes);
    read.map_err(|error| unreadable(name, &error))?;
    Ok(bytes)
}

/// A small file of text.
pub(in crate::command) fn text(path: &Path, most: u64) -> Result<String, Failure> {
    let name = path.display().to_string();
    String::from_utf8(bytes(&name, most)?).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::usage(format!("{name} is no text: byte {} is not UTF-8", at + 1))
    })
}
