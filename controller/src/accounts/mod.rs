//! The account pool: credentials at rest, which account a pane continues with, and one-time passwords.
//!
//! - [`vault`]: what is sealed before it reaches the database. [`keys`]: where its key comes from.
//! - [`choice`]: the pure choice of an account, explained. [`one_time`]: codes of RFC 6238.
//!
//! Accounts, pools, leases and windows themselves are in the store (`store/accounts.rs`, `store/leases.rs`).

pub mod choice;
pub mod keys;
pub mod one_time;
pub mod vault;

use std::fmt;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use wa_link::shutdown::Tasks;
use wa_proto::AccountAlias;
use zeroize::Zeroizing;

use crate::signin::Providers;
use crate::store::{Store, StoreError};
use vault::{Place, Vault, VaultError};

/// What signs an account in. Wiped from memory when dropped; its `Debug` says only what there is.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    pub username: Option<String>,
    pub password: Option<Zeroizing<String>>,
    /// RFC 6238, as `otpauth://` or base32; see [`one_time::one_time_code`].
    pub one_time_secret: Option<Zeroizing<String>>,
    pub api_key: Option<Zeroizing<String>>,
}

/// Names of the vault's fields, in the order in which they are told.
pub const FIELDS: [&str; 4] = ["username", "password", "one_time_secret", "api_key"];

impl Credentials {
    /// Name and value of each that there is.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let values = [
            self.username.as_deref(),
            self.password.as_ref().map(|text| text.as_str()),
            self.one_time_secret.as_ref().map(|text| text.as_str()),
            self.api_key.as_ref().map(|text| text.as_str()),
        ];
        FIELDS.into_iter().zip(values).filter_map(|(name, value)| Some((name, value?)))
    }

    fn set(&mut self, field: &str, value: Zeroizing<String>) {
        match field {
            "username" => self.username = Some(value.as_str().to_owned()),
            "password" => self.password = Some(value),
            "one_time_secret" => self.one_time_secret = Some(value),
            "api_key" => self.api_key = Some(value),
            // Of a newer program: nothing here asks for it.
            _ => {}
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.fields().map(|(name, _)| name)).finish()
    }
}

/// Why credentials are not given.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CredentialsError {
    #[error("there is no account {0}; `wa account list` has them")]
    Unknown(AccountAlias),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The place of an account's field in the vault.
pub(crate) fn with_place<T>(alias: &str, field: &str, work: impl FnOnce(Place<'_>) -> T) -> T {
    work(Place(&["account", alias, field]))
}

/// Opens the vault for those who sign in.
#[derive(Clone)]
pub struct Accounts {
    store: Arc<Store>,
    data_dir: PathBuf,
    /// Names that the sign-in data has.
    providers: Arc<[String]>,
}

impl Accounts {
    pub(crate) fn new(store: Arc<Store>, data_dir: PathBuf) -> Self {
        Self { store, data_dir, providers: Arc::default() }
    }

    /// The providers by which accounts may sign in.
    pub(crate) fn by(mut self, providers: &Providers) -> Self {
        self.providers = providers.names().map(str::to_owned).collect();
        self
    }

    pub(crate) fn providers(&self) -> &[String] {
        &self.providers
    }

    fn vault(&self) -> &Vault {
        self.store.vault()
    }

    /// Removes what is kept of the account beside the database: its browser profile.
    pub(crate) async fn forget(&self, alias: &AccountAlias, tasks: &Tasks) {
        let path = self.data_dir.join("accounts").join(alias.as_str());
        let of_task = path.clone();
        let removing = tasks.spawn_blocking("forget an account", move || std::fs::remove_dir_all(of_task));
        match removing.await {
            Ok(Err(error)) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(%error, path = %path.display(), "what is left of an account must be removed by hand");
            }
            Ok(_) | Err(_) => {}
        }
    }

    /// What the vault holds of this account.
    ///
    /// # Errors
    /// When there is no such account, or its entry does not open.
    pub async fn credentials(&self, alias: &AccountAlias) -> Result<Credentials, CredentialsError> {
        let sealed = self.store.sealed_credentials(alias.clone()).await?;
        let sealed = sealed.ok_or_else(|| CredentialsError::Unknown(alias.clone()))?;
        let mut credentials = Credentials::default();
        for (field, sealed) in sealed {
            let value = with_place(alias.as_str(), &field, |place| self.vault().open_text(place, &sealed))?;
            credentials.set(&field, value);
        }
        Ok(credentials)
    }
}
