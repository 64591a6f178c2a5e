//! Signing in to a provider in a real browser: the code that a login printed in a pane is confirmed on the provider's page,
//! with the credentials of the account.
//!
//! Constraints: a credential goes only into a page of an origin that the sign-in data lists, the code only into the page of
//! the entry itself, and both only after the browser, not the page, has said what page it is. What a page shows is not
//! believed beyond that. Everything is bounded: each step, each word with the browser, the whole login. However a login
//! ends, its browser is gone afterwards, and with it the port by which a browser is driven.
//!
//! Operation: the page opens from the entry of the data, never from what the screen said, which must merely agree. One
//! chromedriver lives for one login in a chamber (see [`chamber`]) that keeps it from the other users of the machine. The
//! profile of each account is a directory of its own, for one user name and one login at a time, so that the provider knows
//! the browser again and asks for less. A login that fails leaves a picture of the page, blanked first (see `picture`). Pages are driven in the open: a browser
//! that is driven says so to the page, and a provider that then wants to see a person gets one.

pub mod chamber;
mod error;
mod page;
mod picture;
mod profile;
mod provider;
#[cfg(test)]
mod tests;
mod walk;

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};
use wa_link::clock;
use wa_link::shutdown::Tasks;
use wa_proto::{AccountAlias, Timestamp};
use zeroize::Zeroizing;

use crate::accounts::Credentials;
use chamber::Chamber;
use page::Page;
use profile::Profile;
use walk::Walk;

pub use error::SignInError;
pub use provider::{InvalidProvider, Provider, Providers};

/// What a picture of a failure may take.
const PICTURE: Duration = Duration::from_secs(5);
/// Where a login is before its first step.
const STARTING: &str = "start of the browser";

/// Where things are for [`Browser`].
#[derive(Debug, Clone)]
pub struct BrowserConfig {
    /// The controller's data directory; profiles lie in `accounts/ALIAS/browser` below it.
    pub data_dir: PathBuf,
    /// Logins end with their shutdown.
    pub tasks: Tasks,
    /// The browser; `None`: `chromium` on PATH.
    pub chromium: Option<PathBuf>,
    /// Its driver; `None`: `chromedriver` on PATH.
    pub chromedriver: Option<PathBuf>,
    /// A program that begins with [`chamber::called`]; `None`: this one.
    pub helper: Option<PathBuf>,
}

impl BrowserConfig {
    /// Browser and driver from PATH.
    pub fn new(data_dir: impl Into<PathBuf>, tasks: Tasks) -> Self {
        Self { data_dir: data_dir.into(), tasks, chromium: None, chromedriver: None, helper: None }
    }
}

/// One login.
pub struct DeviceLogin<'a> {
    pub alias: AccountAlias,
    pub provider: Provider,
    /// The address that the login printed on the screen. It must be the provider's entry.
    pub printed_url: &'a str,
    /// The code that the login printed.
    pub code: Zeroizing<String>,
    pub credentials: Credentials,
    /// When the login is given up. Clearing up takes up to fifteen seconds more.
    pub deadline: Timestamp,
}

/// Signs in, each time in a browser of its own.
#[derive(Debug, Clone)]
pub struct Browser {
    config: BrowserConfig,
}

impl Browser {
    pub fn new(config: BrowserConfig) -> Self {
        Self { config }
    }

    /// Confirms the code on the provider's page. May be dropped at any time: the browser is killed then.
    ///
    /// # Errors
    /// See [`SignInError`]; each says what a person does next.
    pub async fn device_login(&self, login: DeviceLogin<'_>) -> Result<(), SignInError> {
        if !login.provider.is_entry(login.printed_url) {
            return Err(SignInError::PrintedUrl { provider: login.provider.name().to_owned() });
        }
        let left = login.deadline.duration_since(clock::now());
        let end = clock::monotonic() + Duration::try_from(left).unwrap_or_default();
        let shutdown = self.config.tasks.shutdown().clone();
        tokio::select! {
            biased;
            () = shutdown.triggered() => Err(SignInError::Cancelled),
            outcome = self.sign_in(&login, end) => outcome,
        }
    }

    async fn sign_in(&self, login: &DeviceLogin<'_>, end: Instant) -> Result<(), SignInError> {
        let (config, alias) = (self.config.clone(), login.alias.clone());
        let username = login.credentials.username.clone();
        let open = move || Profile::open(&config, &alias, username.as_deref());
        let opening = self.config.tasks.spawn_blocking("open a browser profile", open);
        // Held until the browser has ended.
        let profile = opening.await.map_err(|_| SignInError::Cancelled)??;
        let late = |_| SignInError::TooSlow { step: STARTING.to_owned() };
        let entering = Chamber::enter(&self.config, &profile.chromedriver);
        let chamber = timeout_at(end, Box::pin(entering)).await.map_err(late)??;
        let outcome = tokio::select! {
            outcome = self.drive(login, &profile, &chamber, end) => outcome,
            () = chamber.serve_way(&login.provider) => {
                Err(SignInError::BrowserFailed { what: "its way out was closed".to_owned() })
            }
        };
        chamber.leave().await;
        outcome
    }

    async fn drive(
        &self,
        login: &DeviceLogin<'_>,
        profile: &Profile,
        chamber: &Chamber,
        end: Instant,
    ) -> Result<(), SignInError> {
        let opening = timeout_at(end, Page::open(chamber.driver(), profile.capabilities(chamber.kept())));
        let opened = opening.await.map_err(|_| SignInError::TooSlow { step: STARTING.to_owned() })?;
        let page = opened.map_err(|what| SignInError::BrowserFailed { what })?;
        let mut walk = Walk::new(&page, &login.provider, &login.credentials, &login.code);
        let walked = timeout_at(end, walk.run()).await;
        let outcome = walked.unwrap_or_else(|_| Err(SignInError::TooSlow { step: walk.step().to_owned() }));
        if let Err(error) = &outcome {
            let secrets = [Some(login.code.as_str()), login.credentials.username.as_deref()];
            let secrets: Vec<&str> = secrets.into_iter().flatten().collect();
            let taken = timeout(PICTURE, picture::take(&page, &login.provider, &secrets)).await;
            self.keep(login, profile, error, taken.ok().flatten()).await;
        }
        page.close().await;
        outcome
    }

    /// Keeps the picture of a failure, if there is one, and says where.
    async fn keep(
        &self,
        login: &DeviceLogin<'_>,
        profile: &Profile,
        error: &SignInError,
        taken: Option<Vec<u8>>,
    ) {
        let (alias, code) = (login.alias.as_str(), error.code());
        let Some(picture) = taken else {
            tracing::warn!(alias, code, "a login in the browser failed; there is no picture of it");
            return;
        };
        let (account, now) = (profile.account.clone(), clock::now());
        let keeping = move || picture::keep(&account, &picture, code, now);
        match self.config.tasks.spawn_blocking("keep a picture", keeping).await {
            Ok(Ok(path)) => {
                tracing::warn!(alias, code, picture = %path.display(), "a login in the browser failed");
            }
            Ok(Err(error)) => {
                tracing::warn!(alias, code, %error, "a picture of a failed login cannot be kept")
            }
            // The program is ending.
            Err(_) => {}
        }
    }
}
