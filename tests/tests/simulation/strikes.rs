//! What happens in the middle of a send, and how its keys found the pane.

use std::time::Duration;

use wa_proto::ActionId;

use super::program::{Dialog, Entered, Piece};

/// What somebody or something does in the middle of a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Strike {
    /// A person types a letter …
    Letter,
    /// … presses Enter, …
    PersonEnter,
    /// … or comes to the pane with a client of their own.
    Focus,
    Dialog,
    /// The agent ends, and a shell stands there …
    Leave,
    /// … or another process of it.
    Replace,
    Close,
    /// The server is another process, and its pane numbers start again.
    Restart,
    Resize,
    /// Enters get lost.
    Deaf,
    /// Answers take seconds.
    Late,
    /// kill -9 of the node, from one instruction to the next.
    Kill,
    // What follows is done by the engine.
    KillHead,
    Cut,
    Pause,
    /// The action is delivered to the node again.
    Again,
}

/// The moment of a send that a strike follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Asked,
    Pasted,
    /// The node has looked again after the paste.
    Looked,
    Entered,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trap {
    pub(crate) phase: Phase,
    pub(crate) after: Duration,
    pub(crate) strike: Strike,
}

/// How a key of the node found the pane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    Right,
    /// Not as meant, and the node could not have seen it.
    LastTrip,
    Wrong,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Key {
    Paste,
    Enter(Entered),
    /// Not the node's.
    PersonEnter(Vec<Piece>),
}

/// One thing that came to a pane.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) at: Duration,
    pub(crate) generation: String,
    pub(crate) pane: u64,
    pub(crate) pid: u32,
    /// What was pasted, or was pasted last before the key.
    pub(crate) text: String,
    pub(crate) key: Key,
    pub(crate) fit: Fit,
    /// A person was known to be there.
    pub(crate) over_person: bool,
    pub(crate) action: Option<ActionId>,
}

/// One key of an action that pastes nothing.
#[derive(Debug, Clone)]
pub(crate) struct Pressed {
    pub(crate) at: Duration,
    pub(crate) generation: String,
    pub(crate) pane: u64,
    pub(crate) pid: u32,
    pub(crate) action: Option<ActionId>,
    /// What Enter did; without: an arrow key.
    pub(crate) enter: Option<Entered>,
    /// The dialog that stood there when it came, …
    pub(crate) found: Option<Dialog>,
    /// … or whatever did, and the node could not have seen it.
    pub(crate) last_trip: bool,
    /// A person was known to be there.
    pub(crate) over_person: bool,
}
