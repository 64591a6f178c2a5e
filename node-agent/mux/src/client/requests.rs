//! The calls, one by one.
//!
//! There is no call that writes raw bytes to a pane: that request blocks the server's main thread while the program
//! does not read, for every pane and everybody. Text goes by paste, keys by key press; both are queued by the server.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::ranges;
use super::{Client, RequestError};
use crate::codec::{
    ClientInfo, CommandBuilder, CursorPosition, Dimensions, Key, OsBytes, PaneEntry, Pdu, Row, SpawnDomain,
    TerminalSize,
};

/// The workspace that panes are spawned in.
pub const WORKSPACE: &str = "wa";

/// A pane with what its tab and window are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaneInfo {
    pub entry: PaneEntry,
    /// Empty when nobody named the tab.
    pub tab_title: String,
    pub window_title: String,
}

/// What a pane holds, and its cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaneDimensions {
    pub cursor: CursorPosition,
    pub dims: Dimensions,
}

/// Where a spawned program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpawnedPane {
    pub pane_id: u64,
    pub tab_id: u64,
    pub window_id: u64,
    pub size: TerminalSize,
}

/// A program to spawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spawn {
    /// Program and arguments; empty: the server's default program, in the server's own environment.
    pub command: Vec<OsBytes>,
    /// The whole environment of the program: the server adds a few variables of its own, no PATH and no HOME.
    pub env: Vec<(OsBytes, OsBytes)>,
    /// Where it starts; `None`: the server's choice.
    pub cwd: Option<String>,
    /// Of the new window.
    pub cols: u64,
    pub rows: u64,
}

/// A size in cells, with the cell size that servers without a screen assume.
pub fn size_in_cells(cols: u64, rows: u64) -> TerminalSize {
    TerminalSize {
        rows,
        cols,
        pixel_width: cols.saturating_mul(8),
        pixel_height: rows.saturating_mul(16),
        dpi: 0,
    }
}

impl Client {
    /// A round trip that asks for nothing.
    pub async fn ping(&self) -> Result<(), RequestError> {
        match self.request(Pdu::Ping).await? {
            Pdu::Pong => Ok(()),
            other => unexpected("Ping", &other),
        }
    }

    /// Every pane of the server, tab by tab.
    pub async fn list_panes(&self) -> Result<Vec<PaneInfo>, RequestError> {
        match self.request(Pdu::ListPanes).await? {
            Pdu::ListPanesResponse { tabs, tab_titles, window_titles } => Ok(tabs
                .iter()
                .enumerate()
                .flat_map(|(at, tab)| tab.leaves().into_iter().map(move |entry| (at, entry)))
                .map(|(at, entry)| PaneInfo {
                    tab_title: tab_titles.get(at).cloned().unwrap_or_default(),
                    window_title: window_titles.get(&entry.window_id).cloned().unwrap_or_default(),
                    entry: entry.clone(),
                })
                .collect()),
            other => unexpected("ListPanes", &other),
        }
    }

    /// The identified connections, this one included. A person's window is one of them: `focused_pane_id` is where it
    /// types, `last_input` when.
    pub async fn client_list(&self) -> Result<Vec<ClientInfo>, RequestError> {
        match self.request(Pdu::GetClientList).await? {
            Pdu::GetClientListResponse { clients } => Ok(clients),
            other => unexpected("GetClientList", &other),
        }
    }

    /// The cheapest look at a pane.
    pub async fn dimensions(&self, pane_id: u64) -> Result<PaneDimensions, RequestError> {
        match self.request(Pdu::GetPaneRenderableDimensions { pane_id }).await? {
            Pdu::GetPaneRenderableDimensionsResponse { pane_id: of, cursor, dims } if of == pane_id => {
                Ok(PaneDimensions { cursor, dims })
            }
            other => unexpected("GetPaneRenderableDimensions", &other),
        }
    }

    /// Asks for the changes of a pane, and whether it lives. They come as an event, before the
    /// [`crate::MuxEvent::Barrier`] of this call; no changes when there is nothing new for this connection.
    pub async fn render_changes(&self, pane_id: u64) -> Result<bool, RequestError> {
        match self.request(Pdu::GetPaneRenderChanges { pane_id }).await? {
            Pdu::LivenessResponse { is_alive, .. } => Ok(is_alive),
            other => unexpected("GetPaneRenderChanges", &other),
        }
    }

    /// The rows of these ranges that the pane still holds, in order, each once. A row that is missing scrolled away.
    ///
    /// An empty or inverted range is an error, and nothing is sent.
    pub async fn get_lines(&self, pane_id: u64, wanted: &[Range<i64>]) -> Result<Vec<Row>, RequestError> {
        if let Some(bad) = ranges::first_invalid(wanted) {
            return Err(RequestError::InvalidRange(bad.clone()));
        }
        let mut rows = BTreeMap::new();
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let mut left = ranges::clamp(wanted, &self.dimensions(pane_id).await?.dims);
        loop {
            let lines = ranges::next_request(&mut left);
            if lines.is_empty() {
                return Ok(rows.into_values().collect());
            }
            match self.request(Pdu::GetLines { pane_id, lines: lines.clone() }).await? {
                Pdu::GetLinesResponse { pane_id: of, rows: answer } if of == pane_id => {
                    ranges::keep_asked(&mut rows, &lines, answer);
                }
                other => return unexpected("GetLines", &other),
            }
        }
    }

    /// Pastes text: bracketed when the program asked for that, else with line ends as Enter.
    pub async fn send_paste(&self, pane_id: u64, text: &str) -> Result<(), RequestError> {
        self.unit(Pdu::SendPaste { pane_id, data: text.to_owned() }).await
    }

    /// Presses a key, encoded by the keyboard mode of the pane. Returns the serial that the push which this forces
    /// carries as `input_serial`.
    pub async fn send_key(&self, pane_id: u64, key: Key) -> Result<u64, RequestError> {
        let now: Duration = self.shared.epoch + self.shared.connected.elapsed();
        let input_serial = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        self.unit(Pdu::SendKeyDown { pane_id, event: key, input_serial }).await?;
        Ok(input_serial)
    }

    /// Starts a program in a new window of workspace [`WORKSPACE`].
    pub async fn spawn(&self, spawn: Spawn) -> Result<SpawnedPane, RequestError> {
        let Spawn { command, env, cwd, cols, rows } = spawn;
        let command = (!command.is_empty()).then(|| CommandBuilder::new(command, env, None));
        let request = Pdu::SpawnV2 {
            domain: SpawnDomain::Default,
            window_id: None,
            command,
            command_dir: cwd,
            size: size_in_cells(cols, rows),
            workspace: WORKSPACE.to_owned(),
        };
        match self.request(request).await? {
            Pdu::SpawnResponse { tab_id, pane_id, window_id, size } => {
                Ok(SpawnedPane { pane_id, tab_id, window_id, size })
            }
            other => unexpected("SpawnV2", &other),
        }
    }

    /// Kills the program and removes the pane.
    pub async fn kill_pane(&self, pane_id: u64) -> Result<(), RequestError> {
        self.unit(Pdu::KillPane { pane_id }).await
    }

    /// Resizes a pane; a change of columns re-wraps its rows.
    pub async fn resize(&self, tab_id: u64, pane_id: u64, size: TerminalSize) -> Result<(), RequestError> {
        self.unit(Pdu::Resize { tab_id, pane_id, size }).await
    }
}

fn unexpected<T>(request: &'static str, answer: &Pdu) -> Result<T, RequestError> {
    Err(RequestError::Unexpected { request, answer: answer.name() })
}
