//! What witnesses other than the screen say that happened.
//!
//! An agent's session file and its hooks tell of the same things that a screen shows, a little earlier or later.

use std::collections::BTreeMap;

use jiff::Timestamp;
use wa_proto::{EventKind, Witness};

/// One thing that a session file or a hook says has happened, just now: what a file held before it was first read is
/// history and no testimony.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Testimony {
    pub kind: EventKind,
    /// [`Witness::SessionFile`] or [`Witness::Hook`].
    pub witness: Witness,
    /// The witness's own name of it (the id of a boundary record, of a turn): the same again is the same thing. Empty
    /// where it gives none.
    pub key: String,
    /// The same names as the fields of rules: `percent_left`, `window`, `reset_at`, `session_id`, `trigger`, …
    pub fields: BTreeMap<String, String>,
    /// One line in words, not redacted.
    pub line: String,
    pub at: Timestamp,
}
