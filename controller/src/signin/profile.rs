//! The browser of one account: its programs, its directory, its settings.
//!
//! `DIR/accounts/ALIAS/browser` is chromium's profile: cookies of the account's sessions, as good as its password to
//! whoever can read them, hence 0700 and beside nothing else. One login at a time uses it, by the lock in `browser.lock`.
//! It serves one user name, whose digest is in `browser.user`: in a profile that the provider knows, whoever used it before
//! would be signed in without a question, and the code be confirmed for the wrong one. Another user name, or an alias that
//! was given away, begins with an empty profile.
//!
//! Chromium writes down which pages are open and what stands in their fields, the code and the one-time password among that,
//! so as to open them again: those files go when the login ends, and where a kill kept it from that, when the next begins.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use fantoccini::wd::Capabilities;
use ring::digest::{SHA256, digest};
use serde_json::json;
use wa_link::files::{self, LockFile};
use wa_proto::AccountAlias;

use super::chamber::{Kept, WAY_PORT};
use super::{BrowserConfig, SignInError};
use crate::identity::ca::hex;

/// What a server wants of a browser: no window, no first questions, nothing that talks to others by itself, nothing kept
/// that was typed. The driver speaks by a pipe, so that the browser has no port of its own.
const FLAGS: &[&str] = &[
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-domain-reliability",
    "--disable-client-side-phishing-detection",
    "--disable-crash-reporter",
    "--disable-breakpad",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--metrics-recording-only",
    "--mute-audio",
    "--password-store=basic",
    "--lang=en-US",
    "--window-size=1280,1000",
    // A page that was left must not come back while something is typed (see `walk`).
    "--disable-features=BackForwardCache,MediaRouter,OptimizationHints,Translate,AutofillServerCommunication",
];

/// Left by a browser that was killed. They name a process that another may have the number of by now.
const LEFTOVERS: [&str; 3] = ["SingletonLock", "SingletonSocket", "SingletonCookie"];

/// Of pages that were open.
const OF_PAGES: [&str; 2] = ["Default/Sessions", "Default/Session Storage"];

/// Bytes of what says whose a profile is.
const MOST_OWNER: u64 = 1024;

/// The profile of one account, locked.
pub(super) struct Profile {
    chromium: PathBuf,
    pub(super) chromedriver: PathBuf,
    /// `DIR/accounts/ALIAS`.
    pub(super) account: PathBuf,
    browser: PathBuf,
    _lock: LockFile,
}

impl Profile {
    /// Finds the programs, makes and locks the profile. Blocks.
    pub(super) fn open(
        config: &BrowserConfig,
        alias: &AccountAlias,
        username: Option<&str>,
    ) -> Result<Self, SignInError> {
        let program = |given: &Option<PathBuf>, name: &'static str| {
            let found = match given {
                Some(path) => Some(path.clone()).filter(|path| is_program(path)),
                None => on_path(name),
            };
            found.ok_or(SignInError::BrowserMissing { what: name })
        };
        let chromium = program(&config.chromium, "chromium")?;
        let chromedriver = program(&config.chromedriver, "chromedriver")?;
        let account = config.data_dir.join("accounts").join(alias.as_str());
        let browser = account.join("browser");
        files::create_private_dir(&account)?;
        let lock = LockFile::acquire(&account.join("browser.lock"))?;
        empty_for_another(&account, &browser, username.unwrap_or_default())?;
        files::create_private_dir(&browser)?;
        for name in LEFTOVERS {
            // Mostly it is not there.
            std::fs::remove_file(browser.join(name)).ok();
        }
        forget_pages(&browser);
        Ok(Self { chromium, chromedriver, account, browser, _lock: lock })
    }

    /// What the driver is told about the browser.
    pub(super) fn capabilities(&self, kept: Kept) -> Capabilities {
        let mut args: Vec<String> = FLAGS.iter().map(|flag| (*flag).to_owned()).collect();
        args.push(format!("--user-data-dir={}", self.browser.display()));
        if kept == Kept::Apart {
            args.push(format!("--proxy-server=socks5://127.0.0.1:{WAY_PORT}"));
            // The loopback of the chamber has nothing that a page should get to either.
            args.push("--proxy-bypass-list=<-loopback>".to_owned());
        }
        if rustix::process::geteuid().is_root() {
            // Chromium refuses to run as root with its sandbox. As any other user it has it.
            tracing::warn!(
                "the browser runs without its sandbox, for the controller runs as root: run it as another user"
            );
            args.push("--no-sandbox".to_owned());
        }
        let options = json!({
            "binary": self.chromium,
            "args": args,
            "prefs": {
                "credentials_enable_service": false,
                "profile.password_manager_enabled": false,
                "autofill.profile_enabled": false,
                "intl.accept_languages": "en-US,en",
            },
        });
        let mut capabilities = Capabilities::new();
        capabilities.insert("browserName".to_owned(), json!("chrome"));
        // Waiting is ours: a page that never finishes loading must not hold a word with the browser.
        capabilities.insert("pageLoadStrategy".to_owned(), json!("none"));
        capabilities.insert("unhandledPromptBehavior".to_owned(), json!("dismiss"));
        capabilities.insert("goog:chromeOptions".to_owned(), options);
        capabilities
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        forget_pages(&self.browser);
    }
}

fn forget_pages(browser: &Path) {
    for name in OF_PAGES {
        let place = browser.join(name);
        if let Err(error) = std::fs::remove_dir_all(&place)
            && error.kind() != ErrorKind::NotFound
        {
            let place = place.display();
            tracing::warn!(%place, %error, "what a browser noted of its pages is still there: remove it");
        }
    }
}

/// Removes a profile that was not this user's, and writes down whose it is from now on: in this order, so that one whose
/// removal was cut off is still not this user's.
fn empty_for_another(account: &Path, browser: &Path, username: &str) -> Result<(), SignInError> {
    let owner = account.join("browser.user");
    let digest = hex(digest(&SHA256, username.as_bytes()).as_ref());
    if files::read_text(&owner, MOST_OWNER).is_ok_and(|of| of == digest) {
        return Ok(());
    }
    match std::fs::remove_dir_all(browser) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            let what = format!("its profile {} is another user's and stays: {error}", browser.display());
            Err(SignInError::BrowserFailed { what })
        }
        Ok(()) | Err(_) => Ok(files::write_private(&owner, digest.as_bytes())?),
    }
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|path| is_program(path))
}
