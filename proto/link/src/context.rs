//! Context files: where a controller is, and who we are to it.
//!
//! Constraints: the file holds a private key, so it is 0600 and replaced in one step; a file that others may read is
//! used all the same, with a warning, for refusing would leave the operator without the fleet. No error shows its key.
//!
//! Format, TOML: `schema` (`wa.context/1`), `name`, `controller` (URL), `role`, and as PEM texts `certificate`, `key`,
//! `ca`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tracing::warn;
use wa_proto::Host;

use crate::config::{self, ConfigError};
use crate::dial::{DialError, Target};
use crate::files::{self, FileError};
use crate::principal::Role;
use crate::tls::{self, Identity, TlsError};

/// The schema that is read and written.
pub const SCHEMA: &str = "wa.context/1";

/// Why a context file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("no context: {0}")]
    Unreadable(ConfigError),
    #[error("{}: schema {found:?} is not {SCHEMA}: it was written by another version of wa", path.display())]
    Schema { path: PathBuf, found: String },
    #[error("{}: {source}", path.display())]
    Controller { path: PathBuf, source: DialError },
    #[error("{}: {source}; take a fresh context from the controller's host", path.display())]
    Identity { path: PathBuf, source: TlsError },
    #[error("the context cannot be written down: {0}")]
    Encode(#[from] toml::ser::Error),
}

/// A context. `Debug` does not show the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The name in the certificate.
    pub name: Host,
    /// URL, `https://HOST:PORT`.
    pub controller: String,
    pub role: Role,
    pub identity: Identity,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    schema: String,
    name: Host,
    controller: String,
    role: Role,
    certificate: String,
    key: String,
    ca: String,
}

impl Context {
    /// Reads a context and checks that it can be used: schema, URL, certificate and key.
    ///
    /// # Errors
    /// See [`ContextError`].
    pub fn load(path: &Path) -> Result<Self, ContextError> {
        let file: File = config::load(path).map_err(ContextError::Unreadable)?;
        if file.schema != SCHEMA {
            let found = file.schema.chars().take(80).collect();
            return Err(ContextError::Schema { path: path.to_owned(), found });
        }
        if files::is_open_to_others(path)? {
            let advice = format!("chmod 600 {}", path.display());
            warn!(path = %path.display(), advice, "others can read this context, and the key in it");
        }
        Target::parse(&file.controller)
            .map_err(|source| ContextError::Controller { path: path.to_owned(), source })?;
        let identity = Identity { certificate_pem: file.certificate, key_pem: file.key, ca_pem: file.ca };
        tls::client_config(&identity)
            .map_err(|source| ContextError::Identity { path: path.to_owned(), source })?;
        Ok(Self { name: file.name, controller: file.controller, role: file.role, identity })
    }

    /// The text of the file, with the key.
    ///
    /// # Errors
    /// When it cannot be written down as TOML.
    pub fn to_toml(&self) -> Result<String, ContextError> {
        Ok(toml::to_string_pretty(&File {
            schema: SCHEMA.to_owned(),
            name: self.name.clone(),
            controller: self.controller.clone(),
            role: self.role,
            certificate: self.identity.certificate_pem.clone(),
            key: self.identity.key_pem.clone(),
            ca: self.identity.ca_pem.clone(),
        })?)
    }

    /// Writes it, 0600, in one step.
    ///
    /// # Errors
    /// When the file cannot be written; an older one then still stands.
    pub fn save(&self, path: &Path) -> Result<(), ContextError> {
        Ok(files::write_private(path, self.to_toml()?.as_bytes())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    fn context() -> Context {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap().pem();
        Context {
            name: Host::new("alice").unwrap(),
            controller: "https://wa.example:7443".to_owned(),
            role: Role::Operator,
            identity: Identity {
                certificate_pem: certificate.clone(),
                key_pem: key.serialize_pem(),
                ca_pem: certificate,
            },
        }
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("operator.context.toml");
        let context = context();
        context.save(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(Context::load(&path).unwrap(), context);
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

        /// Whatever became of the file on its disk.
        #[test]
        fn a_spoilt_context_is_read_or_refused_by_name(at in 0_usize..4000, bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40)) {
            let place = tempfile::tempdir().unwrap();
            let path = place.path().join("operator.context.toml");
            let mut text = context().to_toml().unwrap().into_bytes();
            let at = at % text.len();
            let end = (at + bytes.len()).min(text.len());
            text.splice(at..end, bytes);
            std::fs::write(&path, text).unwrap();
            if let Err(error) = Context::load(&path) {
                let told = crate::cause::chain(&error);
                proptest::prop_assert!(told.contains("operator.context.toml"), "{}", told);
                proptest::prop_assert!(!told.contains("PRIVATE KEY"), "{}", told);
            }
        }
    }

    #[test]
    fn a_broken_context_says_what_is_wrong_and_never_shows_the_key() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("c.toml");
        let good = context();
        good.save(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let secret = good.identity.key_pem.lines().nth(1).unwrap().to_owned();
        for (from, to, expected) in [
            ("wa.context/1", "wa.context/9", "another version of wa"),
            ("wa.example:7443", "wa.example:x", "https://HOST:PORT"),
            ("role = \"operator\"", "role = \"root\"", "role: "),
            ("PRIVATE KEY", "PUBLIC KEY", "the key is damaged"),
            ("key = ", "kee = ", "kee: unknown field"),
            ("key = ", "key = 1 # ", ":"),
        ] {
            std::fs::write(&path, text.replace(from, to)).unwrap();
            let error = Context::load(&path).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(expected), "{from}: {shown}");
            assert!(!shown.contains(&secret), "{from}: {shown}");
        }
        let missing = Context::load(&place.path().join("none")).unwrap_err().to_string();
        assert!(missing.contains("no context: cannot read"), "{missing}");
    }
}
