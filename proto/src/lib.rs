//! The words of `wa`.
//!
//! Everything that more than one program speaks of has its type here: ids, panes and their states, screen frames,
//! lines and gaps, events, actions and outcomes. These are domain types: no serialisation format leaks into them. The gRPC
//! messages generated from `wa/v1/*.proto` live in [`wire`] (feature `wire`), together with the conversions that stand
//! at the door: `TryFrom` inwards, with an error that names the field, and `From` outwards.

pub mod action;
pub mod error;
pub mod event;
pub mod ids;
pub mod pane;
pub mod policy;
pub mod record;
pub mod screen;
pub mod selector;
pub mod session;
#[cfg(feature = "wire")]
pub mod wire;

pub use action::{Action, Key, Outcome, OutcomeKind, Verb};
pub use error::ErrorCode;
pub use event::{Event, EventKind, Witness};
pub use ids::{
    AccountAlias, ActionId, EventId, Generation, Host, MuxName, PaneAddress, PaneRef, RunId, SpoolId,
};
pub use jiff::Timestamp;
pub use pane::{AgentKind, Pane, PaneState, StateDetail};
pub use record::{Gap, GapCause, Hole, Lane, Line, Lines, Record, RecordBody, Repaint};
pub use screen::{Color, Cursor, Frame, FrameRow, Style, StyleRun};
pub use session::{AgentSession, Conversation, Message, RateLimitWindow, Role, TokenUsage};
