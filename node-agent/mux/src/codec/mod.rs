//! The wire of the WezTerm multiplexer: bytes to messages and back, for both ends.
//!
//! [`FrameReader`] cuts a stream into frames, [`Pdu`] is what stands in one, [`Row`] is a line of a pane. Nothing here
//! does I/O. Everything read is untrusted: damage is an error that says what and where, never a panic, and memory stays
//! within a small multiple of the frame limit.
//!
//! A server uses the same parts: [`Pdu::decode`] for requests, [`Pdu::encode`] and [`FrameWriter`] for answers and
//! pushes, [`Row::from_cells`] for lines.

mod frame;
mod keys;
mod lines;
mod palette;
mod pdu;
mod types;
mod wire;

pub use frame::{Frame, FrameError, FrameReader, FrameWriter, MAX_FRAME, put_frame};
pub use keys::{Key, KeyCode, Modifiers};
pub use lines::{Cell, Color, Row, Run, Style, Zone, cell_width};
pub use palette::{Palette, Rgba};
pub use pdu::{Pdu, RenderChanges};
pub use types::{
    Alert, ClientId, ClientInfo, ClipboardSelection, CommandBuilder, CursorPosition, CursorShape,
    CursorVisibility, Dimensions, EnvEntry, EraseMode, Introduction, MouseButton, MouseEvent, MouseKind,
    Opaque, OsBytes, PaneDirection, PaneEntry, PaneNode, Pattern, Progress, SearchResult, SpawnDomain,
    SplitDirection, SplitDirectionAndSize, SplitRequest, SplitSize, TerminalSize,
};
pub use wire::{DecodeError, Problem};

/// A version of the wire that is spoken natively. 42 is every stable release since July 2023, 43 and 44 are nightlies
/// from May 2024 and February 2025.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Codec {
    V42,
    V43,
    V44,
}

impl Codec {
    /// `None`: not spoken here.
    pub fn from_number(number: u64) -> Option<Self> {
        match number {
            42 => Some(Self::V42),
            43 => Some(Self::V43),
            44 => Some(Self::V44),
            _ => None,
        }
    }

    pub fn number(self) -> u64 {
        match self {
            Self::V42 => 42,
            Self::V43 => 43,
            Self::V44 => 44,
        }
    }
}
