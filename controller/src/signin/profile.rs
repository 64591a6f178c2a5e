//! The browser of one account: its programs, its directory, its settings.
//!
//! `DIR/accounts/ALIAS/browser` is chromium's profile: cookies of the account's sessions, as good as its password to
//! whoever can read them, hence 0700 and beside nothing else. One login at a time uses it, by the lock in `browser.lock`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use fantoccini::wd::Capabilities;
use serde_json::json;
use wa_link::files::{self, LockFile};
use wa_proto::AccountAlias;

use super::chamber::{Kept, WAY_PORT};
use super::{BrowserConfig, SignInError};

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
    pub(super) fn open(config: &BrowserConfig, alias: &AccountAlias) -> Result<Self, SignInError> {
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
        files::create_private_dir(&browser)?;
        let lock = LockFile::acquire(&account.join("browser.lock"))?;
        for name in LEFTOVERS {
            // Mostly it is not there.
            std::fs::remove_file(browser.join(name)).ok();
        }
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
