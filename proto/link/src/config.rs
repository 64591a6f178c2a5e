//! Configuration files: TOML into a type, with errors that say where the mistake is.
//!
//! A type that is loaded here carries `#[serde(deny_unknown_fields)]` on every struct, so that a key that nobody reads
//! is an error and not a surprise. Errors quote no line of the file, for some files hold secrets; at most the one value of
//! a wrong type.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::files::{self, FileError};

/// No configuration of ours is larger.
const LIMIT: u64 = 4 * 1024 * 1024;

/// Why a configuration file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{}{}: {message}; correct the TOML there", path.display(), at(*line))]
    Syntax { path: PathBuf, line: Option<usize>, message: String },
    #[error("{}{}: {key}: {message}; correct or remove this key", path.display(), at(*line))]
    Key {
        path: PathBuf,
        line: Option<usize>,
        /// Dotted path of the key, for example `mux.socket`.
        key: String,
        message: String,
    },
}

fn at(line: Option<usize>) -> String {
    line.map(|line| format!(":{line}")).unwrap_or_default()
}

/// Reads a TOML file.
///
/// # Errors
/// See [`ConfigError`]; each names the file, and the key and line where they are known.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    parse(&files::read_text(path, LIMIT)?, path)
}

/// Reads TOML from memory; `path` is only for the errors.
///
/// # Errors
/// As [`load`].
pub fn parse<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T, ConfigError> {
    let line_of = |error: &toml::de::Error| {
        let before = text.as_bytes().get(..error.span()?.start)?;
        Some(before.iter().filter(|byte| **byte == b'\n').count() + 1)
    };
    let document = toml::Deserializer::parse(text).map_err(|error| ConfigError::Syntax {
        path: path.to_owned(),
        line: line_of(&error),
        message: error.message().to_owned(),
    })?;
    serde_path_to_error::deserialize(document).map_err(|error| {
        let key = error.path().to_string();
        let line = line_of(error.inner());
        let message = error.inner().message().to_owned();
        ConfigError::Key { path: path.to_owned(), line, key, message }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        name: String,
        #[serde(default)]
        mux: Vec<Inner>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        port: u16,
    }

    fn error(text: &str) -> String {
        parse::<Outer>(text, Path::new("/etc/wa/node.toml")).unwrap_err().to_string()
    }

    #[test]
    fn a_good_file_reads() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("c.toml");
        std::fs::write(&path, "name = 'a'\n[[mux]]\nport = 1\n").unwrap();
        let outer: Outer = load(&path).unwrap();
        assert_eq!(outer, Outer { name: "a".into(), mux: vec![Inner { port: 1 }] });
    }

    #[test]
    fn errors_name_file_line_and_key() {
        let unknown = error("name = 'a'\n\n[[mux]]\nport = 1\n[[mux]]\nprot = 2\n");
        assert!(unknown.starts_with("/etc/wa/node.toml:6: mux[1].prot: unknown field `prot`"), "{unknown}");
        let wrong = error("name = 'a'\n[[mux]]\nport = 70000\n");
        assert!(wrong.starts_with("/etc/wa/node.toml:3: mux[0].port: "), "{wrong}");
        let missing = error("[[mux]]\nport = 1\n");
        assert!(missing.contains("missing field `name`"), "{missing}");
        let syntax = error("name = 'a'\nmux = [\nport");
        assert!(syntax.starts_with("/etc/wa/node.toml:"), "{syntax}");
        let twice = error("name = 'a'\nname = 'b'\n");
        assert!(twice.starts_with("/etc/wa/node.toml:2"), "{twice}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = load::<Outer>(Path::new("/nowhere/wa.toml")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/wa.toml"), "{error}");
    }

    #[test]
    fn errors_do_not_quote_the_line() {
        let text = error("name = 'a'\nsecret = 'hunter2'\n");
        assert!(text.contains("secret") && !text.contains("hunter2"), "{text}");
    }
}
