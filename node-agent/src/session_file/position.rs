//! Where the reading of a session file stands, to go on there after a restart: small, and opaque to everyone else.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use wa_match::session::Counted;
use wa_proto::{AgentKind, Timestamp, TokenUsage};

/// Longer ones are not ours.
const MAX_POSITION: usize = 16 << 10;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Position {
    pub(super) agent: AgentKind,
    pub(super) session_id: String,
    /// Below the agent's home.
    pub(super) path: PathBuf,
    pub(super) device: u64,
    pub(super) inode: u64,
    /// Bytes of the file that were read, or passed over.
    pub(super) offset: u64,
    /// Where the first reading began.
    pub(super) start: u64,
    /// A checksum of the bytes right before `offset`; of a file that is one object, of the messages told.
    pub(super) before: u32,
    pub(super) sums: Sums,
    /// Whose session it was, and when that was known.
    pub(super) pid: u32,
    pub(super) at: Timestamp,
}

/// What was counted over all that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sums {
    next_index: u64,
    /// Input, cached input, output, context, window.
    usage: [u64; 5],
    compactions: u32,
}

impl From<Counted> for Sums {
    fn from(counted: Counted) -> Self {
        let TokenUsage { input, cached_input, output, context, context_window } = counted.usage;
        Self {
            next_index: counted.next_index,
            usage: [input, cached_input, output, context, context_window],
            compactions: counted.compactions,
        }
    }
}

impl From<Sums> for Counted {
    fn from(sums: Sums) -> Self {
        let [input, cached_input, output, context, context_window] = sums.usage;
        let usage = TokenUsage { input, cached_input, output, context, context_window };
        Self { next_index: sums.next_index, usage, compactions: sums.compactions }
    }
}

impl Position {
    /// Never fails for what is held here; an empty one would mean: from the beginning.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// `None`: none was given, or it is not one of ours.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() || bytes.len() > MAX_POSITION {
            return None;
        }
        serde_json::from_slice(bytes).ok()
    }
}
