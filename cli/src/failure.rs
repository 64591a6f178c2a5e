//! How a command ends: one closed set of exit codes, and what a person reads when it was not well.
//!
//! A failure says what went wrong and where, and if there is something to do next, what. The text is never empty, but
//! for a reader that went away (`wa logs … | head`): that is no failure and nothing is said.

use std::fmt;
use std::io;

use wa_proto::ErrorCode;
use wa_proto::wire::Invalid;

/// Exit codes. They are part of the interface: scripts and agents branch on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Done,
    Failed,
    Usage,
    NotFound,
    /// Policy or guard.
    Refused,
    /// Timed out, or the outcome is unknown.
    TimedOut,
    /// The controller, or the pane's node.
    Unreachable,
    /// Of several, some.
    Partly,
    Interrupted,
}

impl Exit {
    /// All, with the words that `wa help` prints.
    pub(crate) const ALL: &'static [(Exit, &'static str)] = &[
        (Self::Done, "done"),
        (Self::Failed, "failed"),
        (Self::Usage, "usage"),
        (Self::NotFound, "not found"),
        (Self::Refused, "refused (policy, guard)"),
        (Self::TimedOut, "timed out or outcome unknown"),
        (Self::Unreachable, "controller, or the pane's node, unreachable"),
        (Self::Partly, "partly done"),
        (Self::Interrupted, "interrupted"),
    ];

    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Refused => 4,
            Self::TimedOut => 5,
            Self::Unreachable => 6,
            Self::Partly => 7,
            Self::Interrupted => 130,
        }
    }
}

impl From<ErrorCode> for Exit {
    fn from(code: ErrorCode) -> Self {
        match code {
            ErrorCode::Usage => Self::Usage,
            ErrorCode::NotFound => Self::NotFound,
            ErrorCode::Refused => Self::Refused,
            ErrorCode::TimedOut => Self::TimedOut,
            ErrorCode::Unreachable => Self::Unreachable,
            ErrorCode::Busy | ErrorCode::Internal => Self::Failed,
        }
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
    /// What to do next.
    pub(crate) remedy: Option<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), remedy: None }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    #[must_use]
    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// The end of a command that was told to stop.
    pub(crate) fn interrupted() -> Self {
        Self::new(Exit::Interrupted, "interrupted")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Only for writes to our own standard output.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(Exit::Done, ""),
            _ => Self::failed(format!("cannot write the output: {error}")),
        }
    }
}

impl From<Invalid> for Failure {
    fn from(error: Invalid) -> Self {
        Self::failed(format!("the controller's answer cannot be read: {error}"))
            .remedy("compare `wa --version` with the version of the controller")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_agree_with_the_ones_of_the_wire() {
        for code in ErrorCode::ALL {
            assert_eq!(Exit::from(*code).code(), code.exit_code(), "{code}");
        }
        let codes: Vec<u8> = Exit::ALL.iter().map(|(exit, _)| exit.code()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 130]);
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let gone = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((gone.exit, gone.message.as_str()), (Exit::Done, ""));
        assert_eq!(Failure::from(io::Error::from(io::ErrorKind::StorageFull)).exit, Exit::Failed);
    }
}
