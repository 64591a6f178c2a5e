//! One connection: frames in, answers and pushes out.
//!
//! Every connection is told everything of every pane, from its first moment. What it was told last
//! is remembered per pane, so a push holds what changed since, however much happened in between;
//! the first one of a pane holds all its rows. A push is made when its turn in the [`Outlet`]
//! comes, from what the pane shows then.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use wa_mux::codec::{
    ClientId, CursorPosition, CursorShape, CursorVisibility, DecodeError, FrameReader, FrameWriter, Palette,
    Pdu, Problem, RenderChanges,
};

use super::outlet::{Item, Outlet};
use super::pane::Pane;
use super::{Shared, lock};
use crate::terminal::{Cursor, Dimensions, Terminal};

/// Requests larger than this are not read. In bytes.
const REQUEST_LIMIT: usize = 16 << 20;
/// Written frames are gathered up to this many bytes.
const GATHER: usize = 64 << 10;

/// What a connection was last told about a pane.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    seqno: u64,
    cursor: Cursor,
    dims: Dimensions,
    mouse_grabbed: bool,
    title: String,
    working_dir: Option<String>,
}

/// Why a request ends the connection, not only in an error.
pub(super) enum Refusal {
    /// Told to the client; the connection goes on.
    Error(String),
    /// The connection is dropped.
    Drop(String),
}

impl<T: std::fmt::Display> From<T> for Refusal {
    fn from(error: T) -> Self {
        Self::Error(format!("Error: {error}"))
    }
}

/// The thread that works for one client.
pub(super) struct Connection {
    pub(super) shared: Arc<Shared>,
    pub(super) outlet: Arc<Outlet>,
    /// Who it said it is.
    pub(super) client: Option<ClientId>,
    seen: HashMap<u64, Seen>,
    stream: UnixStream,
    frames: FrameWriter,
    out: Vec<u8>,
}

/// Cuts frames until the other end closes or breaks the rules.
pub(super) fn read_frames(mut stream: UnixStream, outlet: &Outlet) {
    let mut reader = FrameReader::with_limit(REQUEST_LIMIT);
    let mut buffer = vec![0; 16 << 10];
    'reading: loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => reader.extend(&buffer[..n]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        }
        loop {
            match reader.next_frame() {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    if !outlet.request(frame.serial, frame.ident, frame.payload.to_vec()) {
                        break 'reading;
                    }
                }
                Err(error) => {
                    let (number, offset) = reader.position();
                    tracing::warn!(number, offset, %error, "a client sent something else than frames");
                    break 'reading;
                }
            }
        }
    }
    outlet.close();
}

impl Connection {
    pub(super) fn new(shared: Arc<Shared>, outlet: Arc<Outlet>, stream: UnixStream) -> std::io::Result<Self> {
        Ok(Self {
            shared,
            outlet,
            client: None,
            seen: HashMap::new(),
            stream,
            frames: FrameWriter::new()?,
            out: Vec::new(),
        })
    }

    /// Works until the connection closes.
    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        while let Some(item) = self.next() {
            let freezes = shared.options.freeze_on_unread_input;
            let _turn = freezes.then(|| lock(&shared.turn));
            match item {
                Item::Request { serial, ident, payload } => {
                    if !self.request(serial, ident, &payload) {
                        break;
                    }
                }
                Item::Push(pane) => self.push(pane, None),
                Item::Frame { serial, pdu } => self.put(serial, &pdu),
            }
        }
        self.outlet.close();
        self.shared.disconnected(&self.outlet, self.client.as_ref());
    }

    /// The next thing to do. Before it waits, it writes what was gathered.
    fn next(&mut self) -> Option<Item> {
        let at_once = (self.out.len() < GATHER).then(|| self.outlet.next(false)).flatten();
        if at_once.is_some() {
            return at_once;
        }
        if !self.out.is_empty() {
            let written = self.stream.write_all(&self.out);
            self.out.clear();
            self.out.shrink_to(GATHER);
            if written.is_err() {
                return None;
            }
        }
        self.outlet.next(true)
    }

    fn put(&mut self, serial: u64, pdu: &Pdu) {
        let (ident, payload) = pdu.encode(self.shared.options.codec);
        self.frames.put(&mut self.out, serial, ident, &payload);
    }

    /// Does what a request asks. False: the connection must end.
    fn request(&mut self, serial: u64, ident: u64, payload: &[u8]) -> bool {
        let outcome = match Pdu::decode(ident, payload, self.shared.options.codec) {
            Ok(pdu) => self.serve(pdu),
            Err(DecodeError { problem: Problem::UnknownIdent(ident), .. }) => {
                Err(Refusal::Error(format!("Error: invalid PDU Invalid {{ ident: {ident} }}")))
            }
            Err(error) => Err(Refusal::Drop(error.to_string())),
        };
        let reply = match outcome {
            Ok(pdu) => pdu,
            Err(Refusal::Error(reason)) => Pdu::ErrorResponse { reason },
            Err(Refusal::Drop(reason)) => {
                tracing::warn!(serial, ident, %reason, "a request that ends the connection");
                return false;
            }
        };
        // Behind what the request itself caused to be sent.
        self.outlet.frame(serial, Arc::new(reply));
        !self.outlet.is_closed()
    }

    /// Sends what changed in a pane since this connection was last told, if anything did.
    /// With an input serial something is sent in any case.
    pub(super) fn push(&mut self, id: u64, input_serial: Option<u64>) {
        let Some(pane) = self.shared.pane(id) else {
            self.seen.remove(&id);
            return;
        };
        let facts = pane.process.facts(|| pane.foreground());
        let before = self.seen.get(&id);
        let (seen, changes) = changes(&pane, facts, before, input_serial);
        let Some(changes) = changes else {
            return;
        };
        let first = self.seen.insert(id, seen).is_none();
        let changes = Box::new(changes);
        self.put(0, &Pdu::GetPaneRenderChangesResponse { changes });
        if first {
            let palette = Pdu::SetPalette { pane_id: id, palette: Palette::default() };
            self.put(0, &palette);
            if self.shared.is_codec_42() {
                self.put(0, &palette);
            }
        }
    }
}

fn changes(
    pane: &Pane,
    facts: super::process::Facts,
    before: Option<&Seen>,
    input_serial: Option<u64>,
) -> (Seen, Option<RenderChanges>) {
    let mut terminal = lock(&pane.terminal);
    let seen = Seen {
        seqno: terminal.seqno(),
        cursor: terminal.cursor(),
        dims: terminal.dimensions(),
        mouse_grabbed: terminal.mouse_grabbed(),
        title: terminal.title().map_or(facts.name, str::to_owned),
        working_dir: terminal.working_dir().map(str::to_owned).or(facts.working_dir),
    };
    let changed = terminal.changed_since(before.map_or(0, |b| b.seqno));
    let same = before.is_some_and(|b| changed.is_empty() && Seen { seqno: b.seqno, ..seen.clone() } == *b);
    if same && input_serial.is_none() {
        return (seen, None);
    }
    let (dirty, rows) = changed_rows(&mut terminal, &changed);
    let changes = RenderChanges {
        pane_id: pane.id,
        mouse_grabbed: seen.mouse_grabbed,
        cursor: cursor(&seen.cursor),
        dims: dimensions(&seen.dims),
        dirty,
        title: seen.title.clone(),
        working_dir: seen.working_dir.clone(),
        rows,
        input_serial,
        seqno: seen.seqno,
    };
    (seen, Some(changes))
}

/// Ranges above the viewport; rows inside it, and the cursor's row behind them once more.
fn changed_rows(
    terminal: &mut Terminal,
    changed: &[Range<i64>],
) -> (Vec<Range<i64>>, Vec<wa_mux::codec::Row>) {
    let top = terminal.dimensions().physical_top;
    let dirty = changed
        .iter()
        .map(|range| range.start..range.end.min(top))
        .filter(|range| range.start < range.end)
        .collect();
    let cursor = terminal.cursor().y;
    let rows = changed
        .iter()
        .map(|range| range.start.max(top)..range.end)
        .chain(std::iter::once(cursor..cursor + 1))
        .flat_map(|range| terminal.rows(range))
        .map(|row| row.to_wire())
        .collect();
    (dirty, rows)
}

pub(super) fn cursor(cursor: &Cursor) -> CursorPosition {
    let shape = match cursor.style {
        vt100::CursorStyle::Default => CursorShape::Default,
        vt100::CursorStyle::BlinkBlock => CursorShape::BlinkingBlock,
        vt100::CursorStyle::SteadyBlock => CursorShape::SteadyBlock,
        vt100::CursorStyle::BlinkUnderline => CursorShape::BlinkingUnderline,
        vt100::CursorStyle::SteadyUnderline => CursorShape::SteadyUnderline,
        vt100::CursorStyle::BlinkVerticalBar => CursorShape::BlinkingBar,
        vt100::CursorStyle::SteadyVerticalBar => CursorShape::SteadyBar,
    };
    CursorPosition {
        x: cursor.x.into(),
        y: cursor.y,
        shape,
        visibility: if cursor.visible { CursorVisibility::Visible } else { CursorVisibility::Hidden },
    }
}

pub(super) fn dimensions(dims: &Dimensions) -> wa_mux::codec::Dimensions {
    let pixels = super::pane::wire_size(crate::terminal::Size { cols: dims.cols, rows: dims.viewport_rows });
    wa_mux::codec::Dimensions {
        cols: dims.cols.into(),
        viewport_rows: dims.viewport_rows.into(),
        scrollback_rows: dims.scrollback_rows as u64,
        physical_top: dims.physical_top,
        scrollback_top: dims.scrollback_top,
        dpi: 0,
        pixel_width: pixels.pixel_width,
        pixel_height: pixels.pixel_height,
        reverse_video: false,
    }
}
