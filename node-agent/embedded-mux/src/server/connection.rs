//! One connection: frames in, answers and pushes out.
//!
//! Every connection is told everything of every pane, from its first moment. What it was told last
//! is remembered per pane, so a push holds what changed since, however much happened in between;
//! the first one of a pane holds all its rows. A push is made when its turn in the [`Outlet`]
//! comes, from what the pane shows then.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use wa_mux::codec::{ClientId, DecodeError, FrameReader, FrameWriter, Palette, Pdu, Problem};
use wa_screen::terminal::Told;

use super::outlet::{Item, Outlet};
use super::{Shared, lock};

/// Requests larger than this are not read. In bytes.
const REQUEST_LIMIT: usize = 16 << 20;
/// Written frames are gathered up to this many bytes.
const GATHER: usize = 64 << 10;

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
    told: HashMap<u64, Told>,
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
            told: HashMap::new(),
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
            self.told.remove(&id);
            return;
        };
        let facts = pane.process.facts(|| pane.foreground());
        let changes = pane.terminal.lock().changes(id, facts, self.told.get(&id), input_serial);
        let Some((told, changes)) = changes else {
            return;
        };
        let first = self.told.insert(id, told).is_none();
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
