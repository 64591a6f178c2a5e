//! What can go wrong with a connection and with a request.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use crate::event::{CloseReason, Damage};

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("cannot connect to the mux server at {}: {source}; is wezterm-mux-server running?", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "the mux server at {} did not answer within {} s; it may be frozen: look whether `wezterm cli list` answers",
        path.display(),
        waited.as_secs()
    )]
    Timeout { path: PathBuf, waited: Duration },
    #[error("the server at {} does not speak the mux protocol: {damage}", path.display())]
    Malformed { path: PathBuf, damage: Damage },
    #[error("the mux server at {} closed the connection during the greeting", path.display())]
    Closed { path: PathBuf },
    #[error("the mux server at {} pushed without end before it answered the greeting", path.display())]
    Flooded { path: PathBuf },
    #[error("the mux server at {} ({version}) speaks codec {codec}; native are 42, 43 and 44", path.display())]
    UnsupportedCodec {
        path: PathBuf,
        codec: u64,
        version: String,
        /// As in [`super::ServerInfo::pid`].
        pid: Option<u32>,
        /// As in [`super::ServerInfo::generation`].
        generation: String,
    },
    #[error("the mux server at {} refused the greeting: {source}", path.display())]
    Greeting { path: PathBuf, source: RequestError },
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The server said no, in its own words.
    #[error("the mux server refused {request}: {reason}")]
    Refused { request: &'static str, reason: String },
    /// No answer in time. Servers answer within milliseconds, so this one is taken to be frozen; what was asked may
    /// still happen later.
    #[error("the mux server did not answer {request} within {} s: it counts as frozen", waited.as_secs())]
    Frozen { request: &'static str, waited: Duration },
    #[error(transparent)]
    Closed(#[from] CloseReason),
    /// Empty or inverted; nothing was sent.
    #[error("rows {}..{} are not a range", .0.start, .0.end)]
    InvalidRange(Range<i64>),
    #[error("the mux server answered {request} with {answer}")]
    Unexpected { request: &'static str, answer: &'static str },
}

impl RequestError {
    /// The server does not know the pane (any more).
    pub fn is_no_such_pane(&self) -> bool {
        matches!(self, Self::Refused { reason, .. } if reason.contains("no such pane"))
    }
}
