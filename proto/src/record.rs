//! Records: what a node saw, named by (node, spool id, lane, seq).

use crate::pane::words;
use crate::{AgentKind, Conversation, Event, Outcome, PaneRef, Timestamp};

words! {
    /// Two lanes: events overtake bulk.
    Lane, "lane" {
        Events = "events",
        Bulk = "bulk",
    }
}

words! {
    /// Why rows went by unread.
    GapCause, "gap cause" {
        /// They left the scrollback while nobody could read.
        Trimmed = "trimmed",
        /// They left it faster than they could be read.
        Flood = "flood",
        Resize = "resize",
        /// Last words: the server does not deliver what was printed just before the exit.
        Exit = "exit",
        MuxLost = "mux_lost",
        NodeDown = "node_down",
        SpoolFull = "spool_full",
        /// They waited for the controller for longer than the spool keeps them.
        TooOld = "too_old",
        /// A record of them was larger than any that the spool takes.
        TooLarge = "too_large",
        Damaged = "damaged",
        Restored = "restored",
        /// The node's configuration excluded the pane while they were printed.
        Excluded = "excluded",
        /// One that this version has no word for: a newer node told it.
        Unknown = "unknown",
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub lane: Lane,
    /// From 1, by lane.
    pub seq: u64,
    pub time: Timestamp,
    /// W3C traceparent, or empty.
    pub trace_parent: String,
    pub body: RecordBody,
}

#[derive(Debug, Clone, PartialEq)]
pub enum RecordBody {
    Lines(Lines),
    Gap(Gap),
    Event(Event),
    Outcome(Outcome),
    Hole(Hole),
    Repaint(Repaint),
    Conversation(Conversation),
}

/// Settled logical lines of one pane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lines {
    pub pane: PaneRef,
    pub layout: u64,
    pub agent: Option<AgentKind>,
    pub lines: Vec<Line>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Stable row where it begins; on the alternate screen a counter of its own.
    pub row: i64,
    /// Higher replaces lower, for the same (layout, row).
    pub rev: u32,
    pub text: String,
    /// Screen rows that it took; 0 with an empty text: the row was logged before and is now part of the line above.
    pub rows: u32,
    /// `None`: the record's time.
    pub time: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    pub pane: PaneRef,
    pub layout: u64,
    /// First row that went by unread.
    pub first_row: Option<i64>,
    /// `None` where the server keeps no count.
    pub rows: Option<u64>,
    pub cause: GapCause,
}

/// Seqs of a lane that the spool had to drop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hole {
    pub first_seq: u64,
    pub last_seq: u64,
    pub cause: GapCause,
    pub gaps: Vec<Gap>,
}

/// Lines that an agent printed again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaint {
    pub pane: PaneRef,
    pub layout: u64,
    pub first_row: i64,
    pub rows: u32,
}

impl RecordBody {
    /// Events and outcomes overtake; lines and what stands among them do not.
    pub fn lane(&self) -> Lane {
        match self {
            Self::Event(_) | Self::Outcome(_) => Lane::Events,
            Self::Lines(_) | Self::Gap(_) | Self::Hole(_) | Self::Repaint(_) | Self::Conversation(_) => {
                Lane::Bulk
            }
        }
    }

    pub fn pane(&self) -> Option<&PaneRef> {
        match self {
            Self::Lines(lines) => Some(&lines.pane),
            Self::Gap(gap) => Some(&gap.pane),
            Self::Event(event) => event.pane.as_ref(),
            Self::Outcome(outcome) => outcome.pane.as_ref(),
            Self::Repaint(repaint) => Some(&repaint.pane),
            Self::Conversation(conversation) => Some(&conversation.pane),
            Self::Hole(_) => None,
        }
    }
}
