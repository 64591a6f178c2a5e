//! The parts that messages are made of, field by field in wire order.
//!
//! Ids (pane, tab, window) are counters of the server's life from 0, never used twice. Rows are *stable* row numbers:
//! they count from the start of the pane's history and stay with their text until a column change re-wraps it.

use super::Codec;
use super::wire::{DecodeError, Problem, Reader, Wire, Writer, record, words};
use std::collections::BTreeMap;

/// Pane trees are not deeper than this. A person's split windows reach perhaps eight.
const MAX_TREE_DEPTH: u32 = 64;

record! {
    /// The size of a terminal.
    #[derive(Copy, Eq, Default)]
    pub struct TerminalSize {
        pub rows: u64,
        pub cols: u64,
        pub pixel_width: u64,
        pub pixel_height: u64,
        pub dpi: u32,
    }
}

words! {
    /// What the program asked the cursor to look like.
    #[derive(Default)]
    pub enum CursorShape {
        #[default] Default, BlinkingBlock, SteadyBlock, BlinkingUnderline, SteadyUnderline, BlinkingBar, SteadyBar,
    }
}

words! {
    #[derive(Default)]
    pub enum CursorVisibility { Hidden, #[default] Visible }
}

record! {
    /// Where the cursor is.
    #[derive(Copy, Eq, Default)]
    pub struct CursorPosition {
        /// Column in cells from 0.
        pub x: u64,
        /// Stable row.
        pub y: i64,
        pub shape: CursorShape,
        pub visibility: CursorVisibility,
    }
}

record! {
    /// What a pane holds: rows `scrollback_top .. scrollback_top + scrollback_rows`, the last `viewport_rows` of them
    /// (from `physical_top` on) on the screen.
    #[derive(Copy, Eq, Default)]
    pub struct Dimensions {
        pub cols: u64,
        pub viewport_rows: u64,
        /// All rows that can be read, the viewport included.
        pub scrollback_rows: u64,
        pub physical_top: i64,
        pub scrollback_top: i64,
        pub dpi: u32,
        pub pixel_width: u64,
        pub pixel_height: u64,
        pub reverse_video: bool,
    }
}

words! { pub enum SplitDirection { Horizontal, Vertical } }

record! {
    #[derive(Copy, Eq)]
    pub struct SplitDirectionAndSize {
        pub direction: SplitDirection,
        pub first: TerminalSize,
        pub second: TerminalSize,
    }
}

/// How large the new half of a split becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SplitSize {
    Cells(u64),
    Percent(u8),
}

impl Wire for SplitSize {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.unsigned()? {
            0 => Ok(Self::Cells(reader.unsigned()?)),
            1 => Ok(Self::Percent(reader.byte()?)),
            other => Err(reader.error(Problem::UnknownVariant(other))),
        }
    }
    fn write(&self, writer: &mut Writer) {
        match *self {
            Self::Cells(cells) => {
                writer.unsigned(0);
                writer.unsigned(cells);
            }
            Self::Percent(percent) => {
                writer.unsigned(1);
                writer.bytes.push(percent);
            }
        }
    }
}

record! {
    #[derive(Copy, Eq)]
    pub struct SplitRequest {
        pub direction: SplitDirection,
        pub target_is_second: bool,
        pub top_level: bool,
        pub size: SplitSize,
    }
}

/// Where a new tab's program runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpawnDomain {
    Default,
    CurrentPane,
    Name(String),
    Id(u64),
}

impl Wire for SpawnDomain {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.unsigned()? {
            0 => Ok(Self::Default),
            1 => Ok(Self::CurrentPane),
            2 => String::read(reader).map(Self::Name),
            3 => reader.unsigned().map(Self::Id),
            other => Err(reader.error(Problem::UnknownVariant(other))),
        }
    }
    fn write(&self, writer: &mut Writer) {
        match self {
            Self::Default => writer.unsigned(0),
            Self::CurrentPane => writer.unsigned(1),
            Self::Name(name) => {
                writer.unsigned(2);
                writer.string(name);
            }
            Self::Id(id) => {
                writer.unsigned(3);
                writer.unsigned(*id);
            }
        }
    }
}

words! { pub enum PaneDirection { Up, Down, Left, Right, Next, Prev } }
words! { pub enum EraseMode { ScrollbackOnly, ScrollbackAndViewport } }
words! { pub enum ClipboardSelection { Clipboard, PrimarySelection } }
words! { pub enum MouseKind { Press, Release, Move } }

/// Who a connection says it is. The whole tuple is the server's key: two connections must differ in `id`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientId {
    pub hostname: String,
    pub username: String,
    pub pid: u32,
    /// When the client started, in Unix seconds.
    pub epoch: u64,
    pub id: u64,
    /// Codec 43 and later; dropped when written for 42.
    pub ssh_auth_sock: Option<String>,
}

impl Wire for ClientId {
    const MIN_SIZE: usize = 5;

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            hostname: reader.field("ClientId.hostname")?,
            username: reader.field("ClientId.username")?,
            pid: reader.field("ClientId.pid")?,
            epoch: reader.field("ClientId.epoch")?,
            id: reader.field("ClientId.id")?,
            ssh_auth_sock: match reader.codec {
                Codec::V42 => None,
                Codec::V43 | Codec::V44 => reader.field("ClientId.ssh_auth_sock")?,
            },
        })
    }
    fn write(&self, writer: &mut Writer) {
        self.hostname.write(writer);
        self.username.write(writer);
        self.pid.write(writer);
        self.epoch.write(writer);
        self.id.write(writer);
        if writer.codec != Codec::V42 {
            self.ssh_auth_sock.write(writer);
        }
    }
}

/// The introduction of a connection: its id, and whether it only forwards for another (codec 43 and later).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introduction {
    pub client_id: ClientId,
    pub is_proxy: bool,
}

impl Wire for Introduction {
    const MIN_SIZE: usize = 5;

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            client_id: reader.field("SetClientId.client_id")?,
            is_proxy: match reader.codec {
                Codec::V42 => false,
                Codec::V43 | Codec::V44 => reader.field("SetClientId.is_proxy")?,
            },
        })
    }
    fn write(&self, writer: &mut Writer) {
        self.client_id.write(writer);
        if writer.codec != Codec::V42 {
            self.is_proxy.write(writer);
        }
    }
}

record! {
    /// One identified connection, as the server lists it.
    #[derive(Eq)]
    pub struct ClientInfo {
        pub client_id: ClientId,
        /// Unix seconds.
        pub connected_at: i64,
        pub active_workspace: Option<String>,
        /// Unix seconds, whole ones.
        pub last_input: i64,
        pub focused_pane_id: Option<u64>,
    }
}

/// A string of the operating system: bytes. The Windows form is not read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct OsBytes(pub Vec<u8>);

impl<T: Into<Vec<u8>>> From<T> for OsBytes {
    fn from(bytes: T) -> Self {
        Self(bytes.into())
    }
}

impl Wire for OsBytes {
    const MIN_SIZE: usize = 2;

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.unsigned()? {
            0 => Vec::read(reader).map(Self),
            other => Err(reader.error(Problem::UnknownVariant(other))),
        }
    }
    fn write(&self, writer: &mut Writer) {
        writer.unsigned(0);
        self.0.write(writer);
    }
}

record! {
    /// One environment variable of a command. The map key is the name again.
    #[derive(Eq)]
    pub struct EnvEntry {
        pub is_from_base_env: bool,
        pub preferred_key: OsBytes,
        pub value: OsBytes,
    }
}

record! {
    /// A program to start. It gets exactly `envs` and a few variables of the server's own: no PATH, no HOME otherwise.
    #[derive(Eq)]
    pub struct CommandBuilder {
        pub args: Vec<OsBytes>,
        pub envs: BTreeMap<OsBytes, EnvEntry>,
        pub cwd: Option<OsBytes>,
        pub umask: Option<u32>,
        pub controlling_tty: bool,
    }
}

impl CommandBuilder {
    /// A command with this environment and nothing else.
    pub fn new(
        args: impl IntoIterator<Item = OsBytes>,
        env: impl IntoIterator<Item = (OsBytes, OsBytes)>,
        cwd: Option<OsBytes>,
    ) -> Self {
        let envs = env
            .into_iter()
            .map(|(name, value)| {
                (name.clone(), EnvEntry { is_from_base_env: false, preferred_key: name, value })
            })
            .collect();
        Self { args: args.into_iter().collect(), envs, cwd, umask: None, controlling_tty: true }
    }
}

/// What a progress bar (OSC 9;4) shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    None,
    Percentage(u8),
    Error(u8),
    Indeterminate,
}

impl Wire for Progress {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.unsigned()? {
            0 => Ok(Self::None),
            1 => reader.byte().map(Self::Percentage),
            2 => reader.byte().map(Self::Error),
            3 => Ok(Self::Indeterminate),
            other => Err(reader.error(Problem::UnknownVariant(other))),
        }
    }
    fn write(&self, writer: &mut Writer) {
        match *self {
            Self::None => writer.unsigned(0),
            Self::Percentage(percent) => writer.bytes.extend([1, percent]),
            Self::Error(percent) => writer.bytes.extend([2, percent]),
            Self::Indeterminate => writer.unsigned(3),
        }
    }
}

/// Something a program in a pane said beside its text. All of it is the program's word: any `printf` can say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alert {
    Bell,
    Toast {
        title: Option<String>,
        body: String,
        focus: bool,
    },
    CurrentWorkingDirectoryChanged,
    IconTitleChanged(Option<String>),
    WindowTitleChanged(String),
    TabTitleChanged(Option<String>),
    PaletteChanged,
    SetUserVar {
        name: String,
        /// Decoded from its base64.
        value: String,
    },
    OutputSinceFocusLost,
    /// Codec 44 and later.
    Progress(Progress),
}

impl Wire for Alert {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match reader.unsigned()? {
            0 => Self::Bell,
            1 => Self::Toast {
                title: reader.field("Toast.title")?,
                body: reader.field("Toast.body")?,
                focus: reader.field("Toast.focus")?,
            },
            2 => Self::CurrentWorkingDirectoryChanged,
            3 => Self::IconTitleChanged(reader.field("IconTitleChanged")?),
            4 => Self::WindowTitleChanged(reader.field("WindowTitleChanged")?),
            5 => Self::TabTitleChanged(reader.field("TabTitleChanged")?),
            6 => Self::PaletteChanged,
            7 => Self::SetUserVar {
                name: reader.field("SetUserVar.name")?,
                value: reader.field("SetUserVar.value")?,
            },
            8 => Self::OutputSinceFocusLost,
            9 => Self::Progress(reader.field("Progress")?),
            other => return Err(reader.error(Problem::UnknownVariant(other))),
        })
    }
    fn write(&self, writer: &mut Writer) {
        match self {
            Self::Bell => writer.unsigned(0),
            Self::Toast { title, body, focus } => {
                writer.unsigned(1);
                title.write(writer);
                body.write(writer);
                focus.write(writer);
            }
            Self::CurrentWorkingDirectoryChanged => writer.unsigned(2),
            Self::IconTitleChanged(title) => {
                writer.unsigned(3);
                title.write(writer);
            }
            Self::WindowTitleChanged(title) => {
                writer.unsigned(4);
                title.write(writer);
            }
            Self::TabTitleChanged(title) => {
                writer.unsigned(5);
                title.write(writer);
            }
            Self::PaletteChanged => writer.unsigned(6),
            Self::SetUserVar { name, value } => {
                writer.unsigned(7);
                name.write(writer);
                value.write(writer);
            }
            Self::OutputSinceFocusLost => writer.unsigned(8),
            Self::Progress(progress) => {
                writer.unsigned(9);
                progress.write(writer);
            }
        }
    }
}

/// What to search a scrollback for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    CaseSensitive(String),
    CaseInsensitive(String),
    Regex(String),
}

impl Wire for Pattern {
    const MIN_SIZE: usize = 2;

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.unsigned()? {
            0 => String::read(reader).map(Self::CaseSensitive),
            1 => String::read(reader).map(Self::CaseInsensitive),
            2 => String::read(reader).map(Self::Regex),
            other => Err(reader.error(Problem::UnknownVariant(other))),
        }
    }
    fn write(&self, writer: &mut Writer) {
        let (number, text) = match self {
            Self::CaseSensitive(text) => (0, text),
            Self::CaseInsensitive(text) => (1, text),
            Self::Regex(text) => (2, text),
        };
        writer.unsigned(number);
        writer.string(text);
    }
}

record! {
    /// One hit of a scrollback search; columns in cells, end exclusive.
    #[derive(Copy, Eq)]
    pub struct SearchResult {
        pub start_y: i64,
        pub start_x: u64,
        pub end_y: i64,
        pub end_x: u64,
        pub match_id: u64,
    }
}

/// A mouse button, wheels with their clicks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MouseButton {
    Left,
    Middle,
    Right,
    WheelUp(u64),
    WheelDown(u64),
    WheelLeft(u64),
    WheelRight(u64),
    None,
}

impl Wire for MouseButton {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.unsigned()? {
            0 => Ok(Self::Left),
            1 => Ok(Self::Middle),
            2 => Ok(Self::Right),
            3 => reader.unsigned().map(Self::WheelUp),
            4 => reader.unsigned().map(Self::WheelDown),
            5 => reader.unsigned().map(Self::WheelLeft),
            6 => reader.unsigned().map(Self::WheelRight),
            7 => Ok(Self::None),
            other => Err(reader.error(Problem::UnknownVariant(other))),
        }
    }
    fn write(&self, writer: &mut Writer) {
        let (number, clicks) = match *self {
            Self::Left => (0, None),
            Self::Middle => (1, None),
            Self::Right => (2, None),
            Self::WheelUp(clicks) => (3, Some(clicks)),
            Self::WheelDown(clicks) => (4, Some(clicks)),
            Self::WheelLeft(clicks) => (5, Some(clicks)),
            Self::WheelRight(clicks) => (6, Some(clicks)),
            Self::None => (7, None),
        };
        writer.unsigned(number);
        if let Some(clicks) = clicks {
            writer.unsigned(clicks);
        }
    }
}

record! {
    #[derive(Copy, Eq)]
    pub struct MouseEvent {
        pub kind: MouseKind,
        pub x: u64,
        pub y: i64,
        pub x_pixel_offset: i64,
        pub y_pixel_offset: i64,
        pub button: MouseButton,
        pub modifiers: u16,
    }
}

record! {
    /// One pane as the server lists it.
    #[derive(Eq)]
    pub struct PaneEntry {
        pub window_id: u64,
        pub tab_id: u64,
        pub pane_id: u64,
        pub title: String,
        pub size: TerminalSize,
        /// A URL, `file://HOST/PATH` as a rule.
        pub working_dir: Option<String>,
        /// The active one of its tab.
        pub is_active: bool,
        pub is_zoomed: bool,
        pub workspace: String,
        pub cursor: CursorPosition,
        pub physical_top: i64,
        /// Cells from the top of the tab.
        pub top_row: u64,
        /// Cells from the left of the tab.
        pub left_col: u64,
        pub tty_name: Option<String>,
    }
}

/// The panes of a tab, as it is split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PaneNode {
    Empty,
    Split { left: Box<Self>, right: Box<Self>, node: SplitDirectionAndSize },
    Leaf(Box<PaneEntry>),
}

impl PaneNode {
    /// Its panes from left to right and top to bottom.
    pub fn leaves(&self) -> Vec<&PaneEntry> {
        let mut found = Vec::new();
        let mut waiting = vec![self];
        while let Some(node) = waiting.pop() {
            match node {
                Self::Empty => {}
                Self::Leaf(entry) => found.push(&**entry),
                Self::Split { left, right, .. } => waiting.extend([&**right, &**left]),
            }
        }
        found
    }
}

impl Wire for PaneNode {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if reader.depth >= MAX_TREE_DEPTH {
            return Err(reader.error(Problem::TooDeep));
        }
        match reader.unsigned()? {
            0 => Ok(Self::Empty),
            1 => {
                reader.depth += 1;
                let node = Self::Split {
                    left: reader.field("Split.left")?,
                    right: reader.field("Split.right")?,
                    node: reader.field("Split.node")?,
                };
                reader.depth -= 1;
                Ok(node)
            }
            2 => Box::read(reader).map(Self::Leaf),
            other => Err(reader.error(Problem::UnknownVariant(other))),
        }
    }
    fn write(&self, writer: &mut Writer) {
        match self {
            Self::Empty => writer.unsigned(0),
            Self::Split { left, right, node } => {
                writer.unsigned(1);
                left.write(writer);
                right.write(writer);
                node.write(writer);
            }
            Self::Leaf(entry) => {
                writer.unsigned(2);
                entry.write(writer);
            }
        }
    }
}

/// The rest of a payload that nobody here looks into (image data).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opaque(pub Vec<u8>);

impl Wire for Opaque {
    const MIN_SIZE: usize = 0;

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let length = reader.rest().len();
        reader.take(length).map(|bytes| Self(bytes.to_vec()))
    }
    fn write(&self, writer: &mut Writer) {
        writer.bytes.extend_from_slice(&self.0);
    }
}
