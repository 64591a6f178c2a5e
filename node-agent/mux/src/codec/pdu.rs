//! The messages, both directions, by number.
//!
//! Requests carry a serial from 1 up and get one answer with the same serial: the listed response or `ErrorResponse`.
//! Pushes carry serial 0. The numbers are those of codec 42 to 44; the shapes that differ between them
//! (`SetClientId`, `ClientId`) are told apart by the [`Codec`] that both ends use.

use std::collections::BTreeMap;
use std::ops::Range;

use super::Codec;
use super::keys::Key;
use super::lines::Row;
use super::palette::Palette;
use super::types::*;
use super::wire::{DecodeError, Problem, Reader, Wire, Writer, record};

record! {
    /// What changed in a pane since this connection was last told.
    ///
    /// Changed rows inside the viewport come in `rows`, those above it only as ranges in `dirty`. The cursor's row is
    /// always in `rows`, often a second time at the end: the last one counts. Rows may be listed that did not change.
    #[derive(Eq)]
    pub struct RenderChanges {
        pub pane_id: u64,
        pub mouse_grabbed: bool,
        pub cursor: CursorPosition,
        pub dims: Dimensions,
        /// Stable rows, end exclusive.
        pub dirty: Vec<Range<i64>>,
        pub title: String,
        /// A URL, `file://HOST/PATH` as a rule.
        pub working_dir: Option<String>,
        pub rows: Vec<Row>,
        /// Set in the push that a key press of this connection forced.
        pub input_serial: Option<u64>,
        pub seqno: u64,
    }
}

macro_rules! pdus {
    ($($ident:literal => $(#[$doc:meta])* $name:ident $({ $($field:ident : $ty:ty),* $(,)? })?),* $(,)?) => {
        /// One message.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Pdu {
            $($(#[$doc])* $name $({ $($field: $ty),* })?),*
        }

        impl Pdu {
            /// Its number on the wire.
            pub fn ident(&self) -> u64 {
                match self { $(Self::$name { .. } => $ident),* }
            }

            /// Its name, for logs.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$name { .. } => stringify!($name)),* }
            }

            /// Reads a payload whole: one byte left over is an error. An ident that is not known is
            /// [`Problem::UnknownIdent`].
            pub fn decode(ident: u64, payload: &[u8], codec: Codec) -> Result<Self, DecodeError> {
                let mut reader = Reader::new(payload, codec);
                match ident {
                    $($ident => {
                        let pdu = Self::$name {
                            $($($field: reader.field(concat!(stringify!($name), ".", stringify!($field)))?),*)?
                        };
                        reader.finish(stringify!($name))?;
                        Ok(pdu)
                    })*
                    other => {
                        Err(DecodeError { what: "message", offset: 0, problem: Problem::UnknownIdent(other) })
                    }
                }
            }

            /// Its number and payload.
            pub fn encode(&self, codec: Codec) -> (u64, Vec<u8>) {
                let mut writer = Writer::new(codec);
                match self {
                    $(Self::$name { $($($field),*)? } => { $($($field.write(&mut writer);)*)? })*
                }
                (self.ident(), writer.bytes)
            }
        }
    };
}

pdus! {
    0 => ErrorResponse { reason: String },
    1 => Ping,
    2 => Pong,
    3 => ListPanes,
    4 => ListPanesResponse {
        tabs: Vec<PaneNode>,
        tab_titles: Vec<String>,
        window_titles: BTreeMap<u64, String>,
    },
    8 => SpawnResponse { tab_id: u64, pane_id: u64, window_id: u64, size: TerminalSize },
    9 =>
        /// Raw bytes to the program. Blocks the server's main thread when the program does not read: the client has
        /// no call for it.
        WriteToPane { pane_id: u64, data: Vec<u8> },
    10 => UnitResponse,
    11 =>
        /// `input_serial`: Unix milliseconds.
        SendKeyDown { pane_id: u64, event: Key, input_serial: u64 },
    12 => SendMouseEvent { pane_id: u64, event: MouseEvent },
    13 => SendPaste { pane_id: u64, data: String },
    14 => Resize { tab_id: u64, pane_id: u64, size: TerminalSize },
    20 => SetClipboard { pane_id: u64, clipboard: Option<String>, selection: ClipboardSelection },
    22 =>
        /// An inverted range kills real servers.
        GetLines { pane_id: u64, lines: Vec<Range<i64>> },
    23 => GetLinesResponse { pane_id: u64, rows: Vec<Row> },
    24 => GetPaneRenderChanges { pane_id: u64 },
    25 => GetPaneRenderChangesResponse { changes: Box<RenderChanges> },
    26 => GetCodecVersion,
    27 => GetCodecVersionResponse {
        codec_version: u64,
        version: String,
        executable_path: String,
        config_file_path: Option<String>,
    },
    28 => GetTlsCreds,
    29 => GetTlsCredsResponse { ca_cert_pem: String, client_cert_pem: String },
    30 => LivenessResponse { pane_id: u64, is_alive: bool },
    31 => SearchScrollbackRequest { pane_id: u64, pattern: Pattern, range: Range<i64>, limit: Option<u32> },
    32 => SearchScrollbackResponse { results: Vec<SearchResult> },
    33 => SetPaneZoomed { tab_id: u64, pane_id: u64, zoomed: bool },
    34 => SplitPane {
        pane_id: u64,
        split: SplitRequest,
        command: Option<CommandBuilder>,
        command_dir: Option<String>,
        domain: SpawnDomain,
        move_pane_id: Option<u64>,
    },
    35 => KillPane { pane_id: u64 },
    36 =>
        /// Without `window_id` a new window of `size` in `workspace`. Without `command` the server's default program.
        SpawnV2 {
            domain: SpawnDomain,
            window_id: Option<u64>,
            command: Option<CommandBuilder>,
            command_dir: Option<String>,
            size: TerminalSize,
            workspace: String,
        },
    37 => PaneRemoved { pane_id: u64 },
    38 => SetPalette { pane_id: u64, palette: Palette },
    39 => NotifyAlert { pane_id: u64, alert: Alert },
    40 => SetClientId { introduction: Introduction },
    41 => GetClientList,
    42 => GetClientListResponse { clients: Vec<ClientInfo> },
    43 => SetWindowWorkspace { window_id: u64, workspace: String },
    44 => WindowWorkspaceChanged { window_id: u64, workspace: String },
    45 => SetFocusedPane { pane_id: u64 },
    46 => GetImageCell { pane_id: u64, line: i64, cell: u64, data_hash: [u8; 32] },
    47 => GetImageCellResponse { pane_id: u64, data: Opaque },
    48 => MovePaneToNewTab { pane_id: u64, window_id: Option<u64>, workspace: Option<String> },
    49 => MovePaneToNewTabResponse { tab_id: u64, window_id: u64 },
    50 => ActivatePaneDirection { pane_id: u64, direction: PaneDirection },
    51 => GetPaneRenderableDimensions { pane_id: u64 },
    52 => GetPaneRenderableDimensionsResponse { pane_id: u64, cursor: CursorPosition, dims: Dimensions },
    53 => PaneFocused { pane_id: u64 },
    54 => TabResized { tab_id: u64 },
    55 => TabAddedToWindow { tab_id: u64, window_id: u64 },
    56 => TabTitleChanged { tab_id: u64, title: String },
    57 => WindowTitleChanged { window_id: u64, title: String },
    58 => RenameWorkspace { old: String, new: String },
    59 => EraseScrollbackRequest { pane_id: u64, mode: EraseMode },
    60 => GetPaneDirection { pane_id: u64, direction: PaneDirection },
    61 => GetPaneDirectionResponse { pane_id: Option<u64> },
    62 => AdjustPaneSize { pane_id: u64, direction: PaneDirection, amount: u64 },
}
