//! A multiplexer on a node's host, with one pane that counts the keys it gets.
//!
//! It speaks the real wire to the node's real observer and actor; answers come after a delay that the seed draws, so that
//! a crash can fall between any two steps of an action. It survives the node, and dies when the host loses its power:
//! then another generation begins, with an empty screen.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};
use wa_link::net::Wire;
use wa_mux::codec::{
    Codec, CursorPosition, Dimensions, FrameReader, KeyCode, PaneEntry, PaneNode, Pdu, RenderChanges, Row,
    TerminalSize, put_frame,
};

const COLS: u64 = 40;
const ROWS: u64 = 6;
pub(crate) const PANE: u64 = 7;

struct Inner {
    rng: fastrand::Rng,
    generation: u32,
    lines: Vec<String>,
    seqno: u64,
    /// How often each key arrived, over all generations.
    pressed: BTreeMap<char, u32>,
}

/// Clones are the same multiplexer.
#[derive(Clone)]
pub(crate) struct Mux(Arc<Mutex<Inner>>);

impl Mux {
    pub(crate) fn new(rng: fastrand::Rng) -> Self {
        let lines = vec!["$ ".to_owned()];
        let inner = Inner { rng, generation: 1, lines, seqno: 1, pressed: BTreeMap::new() };
        Self(Arc::new(Mutex::new(inner)))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn generation(&self) -> String {
        format!("simulated-{}", self.lock().generation)
    }

    /// The host lost its power.
    pub(crate) fn restart(&self) {
        let mut inner = self.lock();
        inner.generation += 1;
        inner.lines = vec!["$ ".to_owned()];
        inner.seqno += 1;
    }

    pub(crate) fn pressed(&self) -> BTreeMap<char, u32> {
        self.lock().pressed.clone()
    }

    /// A connection of the node. `dead`: whether its process is.
    pub(crate) fn connect(&self, dead: impl Fn() -> bool + Send + Sync + 'static) -> Box<dyn Wire> {
        Box::new(Connection {
            mux: self.clone(),
            dead: Box::new(dead),
            frames: FrameReader::default(),
            answers: VecDeque::new(),
            last: None,
            sleep: None,
            reader: None,
        })
    }
}

impl Inner {
    fn answer(&mut self, serial: u64, request: Pdu) -> Vec<u8> {
        let mut out = Vec::new();
        let mut put = |serial: u64, pdu: &Pdu| {
            let (ident, payload) = pdu.encode(Codec::V44);
            put_frame(&mut out, serial, ident, &payload);
        };
        match request {
            Pdu::GetCodecVersion => put(
                serial,
                &Pdu::GetCodecVersionResponse {
                    codec_version: 44,
                    version: "20990101-000000-simulated".into(),
                    executable_path: "/usr/bin/wezterm-mux-server".into(),
                    config_file_path: None,
                },
            ),
            Pdu::ListPanes => put(serial, &list()),
            Pdu::GetPaneRenderChanges { pane_id } => {
                put(0, &Pdu::GetPaneRenderChangesResponse { changes: Box::new(self.changes()) });
                put(serial, &Pdu::LivenessResponse { pane_id, is_alive: true });
            }
            Pdu::GetPaneRenderableDimensions { pane_id } => {
                let RenderChanges { cursor, dims, .. } = self.changes();
                put(serial, &Pdu::GetPaneRenderableDimensionsResponse { pane_id, cursor, dims });
            }
            Pdu::GetLines { pane_id, lines } => {
                let wanted = |row: &Row| lines.iter().any(|range| range.contains(&row.index));
                let rows = self.rows().into_iter().filter(wanted).collect();
                put(serial, &Pdu::GetLinesResponse { pane_id, rows });
            }
            Pdu::GetClientList => put(serial, &Pdu::GetClientListResponse { clients: Vec::new() }),
            Pdu::SendKeyDown { event, .. } => {
                if let KeyCode::Char(key) = event.code {
                    *self.pressed.entry(key).or_default() += 1;
                    self.lines.push(format!("$ key {}", u32::from(key)));
                    self.seqno += 1;
                }
                put(serial, &Pdu::UnitResponse);
                put(0, &Pdu::GetPaneRenderChangesResponse { changes: Box::new(self.changes()) });
            }
            _ => put(serial, &Pdu::UnitResponse),
        }
        out
    }

    fn height(&self) -> u64 {
        (self.lines.len() as u64).max(ROWS)
    }

    fn rows(&self) -> Vec<Row> {
        let blank = std::iter::repeat(String::new());
        let height = usize::try_from(self.height()).unwrap();
        let lines = self.lines.iter().cloned().chain(blank).take(height);
        lines.zip(0..).map(|(line, index)| Row::plain(index, &line)).collect()
    }

    fn changes(&self) -> RenderChanges {
        let top = self.height() - ROWS;
        let last = self.lines.last().map_or(0, |line| line.len() as u64);
        let y = i64::try_from(self.lines.len()).unwrap() - 1;
        RenderChanges {
            pane_id: PANE,
            mouse_grabbed: false,
            cursor: CursorPosition { x: last, y, ..CursorPosition::default() },
            dims: Dimensions {
                cols: COLS,
                viewport_rows: ROWS,
                scrollback_rows: self.height(),
                physical_top: top.cast_signed(),
                scrollback_top: 0,
                ..Dimensions::default()
            },
            dirty: std::iter::once(top.cast_signed()..self.height().cast_signed()).collect(),
            title: "simulated".into(),
            working_dir: None,
            rows: self.rows().split_off(usize::try_from(top).unwrap()),
            input_serial: None,
            seqno: self.seqno,
        }
    }
}

fn list() -> Pdu {
    let entry = PaneEntry {
        window_id: 0,
        tab_id: 0,
        pane_id: PANE,
        title: "simulated".into(),
        size: TerminalSize { rows: ROWS, cols: COLS, ..TerminalSize::default() },
        working_dir: None,
        is_active: true,
        is_zoomed: false,
        workspace: "default".into(),
        cursor: CursorPosition::default(),
        physical_top: 0,
        top_row: 0,
        left_col: 0,
        tty_name: None,
    };
    Pdu::ListPanesResponse {
        tabs: vec![PaneNode::Leaf(Box::new(entry))],
        tab_titles: vec![String::new()],
        window_titles: [(0, String::new())].into(),
    }
}

struct Connection {
    mux: Mux,
    dead: Box<dyn Fn() -> bool + Send + Sync>,
    frames: FrameReader,
    /// In order, each with its time.
    answers: VecDeque<(Instant, Vec<u8>)>,
    last: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
    reader: Option<Waker>,
}

impl Wire for Connection {
    fn ends(&self) -> (SocketAddr, SocketAddr) {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        (nowhere, nowhere)
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        let Some((at, _)) = this.answers.front() else {
            this.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        if *at > Instant::now() {
            let sleep = this.sleep.insert(Box::pin(sleep_until(*at)));
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        this.sleep = None;
        if let Some((_, bytes)) = this.answers.front_mut() {
            let count = bytes.len().min(buf.remaining());
            buf.put_slice(&bytes[..count]);
            bytes.drain(..count);
            if bytes.is_empty() {
                this.answers.pop_front();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let this = self.get_mut();
        if (this.dead)() {
            // It was dead before it did this.
            return Poll::Ready(Ok(bytes.len()));
        }
        this.frames.extend(bytes);
        let mut mux = this.mux.lock();
        while let Some(frame) = this.frames.next_frame().unwrap() {
            let request = Pdu::decode(frame.ident, frame.payload, Codec::V44).unwrap();
            let slow = if mux.rng.u8(..8) == 0 { 400 } else { 15 };
            let at = Instant::now() + Duration::from_millis(mux.rng.u64(0..slow));
            let at = this.last.map_or(at, |last| last.max(at));
            this.last = Some(at);
            let answer = mux.answer(frame.serial, request);
            this.answers.push_back((at, answer));
            if let Some(reader) = this.reader.take() {
                reader.wake();
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
