//! What a server tells unasked.

use crate::codec::{Alert, DecodeError, FrameError, Pdu, RenderChanges};

/// One push, or the end. The server tells every connection about every pane, from the first moment on.
#[derive(Debug, Clone, PartialEq)]
pub enum MuxEvent {
    /// A pane changed. A pane id never seen before means a new pane (splits are not announced otherwise).
    Changes(Box<RenderChanges>),
    /// The answer to [`crate::Client::render_changes`], at its place in the order: the changes that it asked for came
    /// before it.
    Barrier {
        pane_id: u64,
        alive: bool,
    },
    Alert {
        pane_id: u64,
        alert: Alert,
    },
    PaneRemoved(u64),
    PaneFocused(u64),
    /// The panes of this tab may have other sizes now; their changes follow.
    TabResized(u64),
    TabAdded {
        tab_id: u64,
        window_id: u64,
    },
    TabTitle {
        tab_id: u64,
        title: String,
    },
    WindowTitle {
        window_id: u64,
        title: String,
    },
    WindowWorkspace {
        window_id: u64,
        workspace: String,
    },
    WorkspaceRenamed {
        old: String,
        new: String,
    },
    /// The connection is gone. Always the last event.
    Closed {
        reason: CloseReason,
    },
}

impl MuxEvent {
    /// The event of a pushed message; `None` for what nobody here needs (palettes, clipboards).
    pub(crate) fn from_push(pdu: Pdu) -> Option<Self> {
        Some(match pdu {
            Pdu::GetPaneRenderChangesResponse { changes } => Self::Changes(changes),
            Pdu::NotifyAlert { pane_id, alert } => Self::Alert { pane_id, alert },
            Pdu::PaneRemoved { pane_id } => Self::PaneRemoved(pane_id),
            Pdu::PaneFocused { pane_id } => Self::PaneFocused(pane_id),
            Pdu::TabResized { tab_id } => Self::TabResized(tab_id),
            Pdu::TabAddedToWindow { tab_id, window_id } => Self::TabAdded { tab_id, window_id },
            Pdu::TabTitleChanged { tab_id, title } => Self::TabTitle { tab_id, title },
            Pdu::WindowTitleChanged { window_id, title } => Self::WindowTitle { window_id, title },
            Pdu::WindowWorkspaceChanged { window_id, workspace } => {
                Self::WindowWorkspace { window_id, workspace }
            }
            Pdu::RenameWorkspace { old, new } => Self::WorkspaceRenamed { old, new },
            _ => return None,
        })
    }
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    #[error("the mux server closed the connection")]
    ServerClosed,
    #[error("the connection to the mux server broke: {0}")]
    Io(String),
    /// The server sent something that cannot be read. Dialling again may help; when it keeps happening, it will not.
    #[error("frame {frame} at byte {offset} of the stream is malformed: {damage}")]
    Malformed {
        /// Counted from 0 on this connection.
        frame: u64,
        /// Where the frame begins in the stream.
        offset: u64,
        damage: Damage,
    },
}

/// What was wrong with a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Payload(#[from] DecodeError),
}
