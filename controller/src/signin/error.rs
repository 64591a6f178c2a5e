//! How a login in the browser can fail, as a closed list: each says what a person does next and holds no secret.

use wa_link::files::FileError;

/// Why a device login did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    #[error(
        "the address that the login printed is not the entry of {provider}: nothing was opened; look at the pane, \
         and run the login again only if the program in it is the one you started"
    )]
    PrintedUrl { provider: String },
    #[error(
        "the account has no {what} in the vault: add it (`wa account update`), or confirm the code yourself in a browser"
    )]
    NoCredential { what: &'static str },
    #[error(
        "{provider} refused user name or password: correct them in the vault (`wa account update`) before the next \
         try, or the account may be locked"
    )]
    WrongPassword { provider: String },
    #[error(
        "{provider} asks for a second factor that the vault does not have: store the secret of the one-time password, \
         or confirm the code yourself in a browser"
    )]
    SecondFactorNeeded { provider: String },
    #[error(
        "{provider} refused the one-time password: compare this machine's clock, then the secret in the vault"
    )]
    SecondFactorRefused { provider: String },
    #[error("the code of the login had expired: run the login again for a new one")]
    CodeExpired,
    #[error("{provider} refused the code of the login: run the login again for a new one")]
    CodeRefused { provider: String },
    #[error(
        "{provider} wants to see a person (a verification or a locked account): confirm the code yourself in a browser"
    )]
    PersonWanted { provider: String },
    #[error(
        "the page did not show what step {step:?} of the sign-in data of {provider} expects: confirm the code yourself \
         in a browser, and correct the data if the page has changed"
    )]
    PageChanged { provider: String, step: String },
    #[error(
        "the page was too slow (step {step:?}): look at this machine's network; confirm the code yourself in a browser \
         if it is still valid"
    )]
    TooSlow { step: String },
    #[error(
        "the login led to {origin}, which the sign-in data of {provider} does not list: nothing was typed there; if the \
         provider has moved, add the origin to the data"
    )]
    ForeignPage { provider: String, origin: String },
    #[error("{what} is missing: install it (Debian: `apt-get install chromium chromium-driver`)")]
    BrowserMissing { what: &'static str },
    #[error(
        "{who}, and this machine does not allow a network namespace that would keep the browser's control port from \
         them: allow unprivileged user namespaces, or confirm the code yourself in a browser"
    )]
    OtherUsers { who: String },
    #[error("another login of this account is using its browser profile: wait until it has ended")]
    Busy,
    #[error("the browser failed: {what}; confirm the code yourself in a browser")]
    BrowserFailed { what: String },
    #[error("the controller is shutting down; run the login again afterwards")]
    Cancelled,
    #[error(transparent)]
    File(FileError),
}

impl SignInError {
    /// One word of a closed list, for the audit.
    pub fn code(&self) -> &'static str {
        match self {
            Self::PrintedUrl { .. } => "printed_url",
            Self::NoCredential { .. } => "no_credential",
            Self::WrongPassword { .. } => "wrong_password",
            Self::SecondFactorNeeded { .. } => "second_factor_needed",
            Self::SecondFactorRefused { .. } => "second_factor_refused",
            Self::CodeExpired => "code_expired",
            Self::CodeRefused { .. } => "code_refused",
            Self::PersonWanted { .. } => "person_wanted",
            Self::PageChanged { .. } => "page_changed",
            Self::TooSlow { .. } => "too_slow",
            Self::ForeignPage { .. } => "foreign_page",
            Self::BrowserMissing { .. } => "browser_missing",
            Self::OtherUsers { .. } => "other_users",
            Self::Busy => "busy",
            Self::BrowserFailed { .. } => "browser_failed",
            Self::Cancelled => "cancelled",
            Self::File(_) => "file",
        }
    }
}

impl From<FileError> for SignInError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Locked { .. } | FileError::LockedByUnknown { .. } => Self::Busy,
            other => Self::File(other),
        }
    }
}
