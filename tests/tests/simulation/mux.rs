//! A multiplexer on a node's host: the wire to the node's real observer and actor.
//!
//! Answers and pushes come after a delay that the seed draws, so that a crash can fall between any two steps of an action.
//! It survives the node, and dies when the host loses its power: then another generation begins, with empty screens and the
//! same pane numbers. What its panes do stands in `panes.rs`.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};
use wa_link::net::Wire;
use wa_match::ProcessInfo;
use wa_mux::codec::{Codec, FrameReader, Pdu};
use wa_node::journal::Journal;
use wa_node::process::{ProcessTable, Snapshot};
use wa_proto::{ActionId, PaneRef};

use super::host::Machine;
use super::panes::{Delivered, Message, Panes};
use super::program::Kind;
use super::strikes::{Got, Pressed, Strike, Trap};

struct Shared {
    panes: Mutex<Panes>,
    pipes: Mutex<Vec<Weak<Mutex<Pipe>>>>,
    machine: OnceLock<Weak<Machine>>,
    /// Of the node that runs.
    journal: Mutex<Option<Journal>>,
}

/// Clones are the same multiplexer.
#[derive(Clone)]
pub(crate) struct Mux(Arc<Shared>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Mux {
    pub(crate) fn new(rng: fastrand::Rng) -> Self {
        let panes = Mutex::new(Panes::new(rng));
        Self(Arc::new(Shared {
            panes,
            pipes: Mutex::default(),
            machine: OnceLock::new(),
            journal: Mutex::default(),
        }))
    }

    /// It runs on this host.
    pub(crate) fn runs_on(&self, machine: Weak<Machine>) {
        drop(self.0.machine.set(machine));
    }

    /// Whose keys come from now on.
    pub(crate) fn is_used_by(&self, journal: Journal) {
        *lock(&self.0.journal) = Some(journal);
    }

    /// The node's action that is under way on the pane: there is one at a time.
    fn acting(&self, pane_id: u64) -> Option<ActionId> {
        let journal = lock(&self.0.journal).clone()?;
        let generation = self.generation();
        let here = |pane: &PaneRef| pane.pane_id == pane_id && pane.generation.as_str() == generation;
        let mut open = journal.open_actions().into_iter();
        open.rfind(|action| journal.begun(*action).is_some_and(|(pane, _)| here(&pane)))
    }

    fn machine(&self) -> Option<Arc<Machine>> {
        self.0.machine.get().and_then(Weak::upgrade)
    }

    fn now(&self) -> Duration {
        self.machine().map_or(Duration::ZERO, |machine| machine.since_start())
    }

    pub(crate) fn generation(&self) -> String {
        lock(&self.0.panes).generation()
    }

    /// The host lost its power.
    pub(crate) fn restart(&self) {
        lock(&self.0.panes).restart();
        self.advance();
    }

    pub(crate) fn presses(&self, key: char) -> Vec<Duration> {
        lock(&self.0.panes).presses(key)
    }

    pub(crate) fn pick(&self, n: usize) -> Option<(u64, Kind, u32)> {
        lock(&self.0.panes).pick(n)
    }

    /// Whether there is such a pane.
    pub(crate) fn has(&self, pane: u64) -> bool {
        lock(&self.0.panes).has(pane)
    }

    pub(crate) fn arm(&self, pane: u64, trap: Trap) {
        lock(&self.0.panes).arm(pane, trap);
    }

    /// A dialog opens in the n-th pane with a program, and is closed after some milliseconds.
    pub(crate) fn ask(&self, n: usize, stands: Range<u64>) {
        let mut panes = lock(&self.0.panes);
        if let Some((id, ..)) = panes.pick(n) {
            panes.ask(id, stands);
        }
    }

    pub(crate) fn pressed(&self) -> Vec<Pressed> {
        lock(&self.0.panes).pressed.clone()
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        lock(&self.0.panes).got.clone()
    }

    pub(crate) fn take_orders(&self) -> Vec<Strike> {
        std::mem::take(&mut lock(&self.0.panes).orders)
    }

    /// Does what is due by now, and sends what there is to push.
    pub(crate) fn advance(&self) {
        let now = self.now();
        let mut panes = lock(&self.0.panes);
        panes.ahead_s = self.machine().map_or(0, |machine| machine.ahead_s());
        panes.advance(now);
        if std::mem::take(&mut panes.kill)
            && let Some(machine) = self.machine()
        {
            machine.kill();
        }
        let (pushes, hung_up) = (std::mem::take(&mut panes.pushes), std::mem::take(&mut panes.hung_up));
        if pushes.is_empty() && !hung_up {
            return;
        }
        let mut pipes = lock(&self.0.pipes);
        pipes.retain(|pipe| pipe.strong_count() > 0);
        for pipe in pipes.iter().filter_map(Weak::upgrade) {
            let mut pipe = lock(&pipe);
            pipe.over |= hung_up;
            for Message { bytes, shows, clients } in &pushes {
                let message = Message { bytes: bytes.clone(), shows: *shows, clients: *clients };
                pipe.put(&mut panes, now, message);
            }
            pipe.wake();
        }
    }

    /// A connection of the node. `dead`: whether its process is.
    pub(crate) fn connect(&self, dead: impl Fn() -> bool + Send + Sync + 'static) -> Box<dyn Wire> {
        let pipe = Arc::new(Mutex::new(Pipe::default()));
        lock(&self.0.pipes).push(Arc::downgrade(&pipe));
        Box::new(Connection {
            mux: self.clone(),
            dead: Box::new(dead),
            frames: FrameReader::default(),
            pipe,
            sleep: None,
        })
    }
}

/// The process table of the host: what runs in the panes.
pub(crate) struct Processes(pub(crate) Mux);

impl ProcessTable for Processes {
    fn look(&self, ttys: &[String]) -> Snapshot {
        self.0.advance();
        let panes = lock(&self.0.0.panes);
        let groups = ttys.iter().filter_map(|tty| Some((tty.clone(), panes.group(tty)?)));
        Snapshot { groups: groups.collect() }
    }

    fn still(&self, tty: &str, group: &[ProcessInfo]) -> bool {
        self.0.advance();
        lock(&self.0.0.panes).group(tty).is_some_and(|now| now == group)
    }
}

/// What is on its way to the node.
#[derive(Default)]
struct Pipe {
    /// In order, each with its time.
    coming: VecDeque<(Duration, Message)>,
    last: Duration,
    known: Delivered,
    /// The server has gone.
    over: bool,
    reader: Option<Waker>,
}

impl Pipe {
    fn put(&mut self, panes: &mut Panes, now: Duration, message: Message) {
        let slow = if panes.rng.u8(..8) == 0 { 400 } else { 15 };
        let at = now + Duration::from_millis(panes.rng.u64(0..slow));
        self.last = at.max(self.last).max(panes.late_until.min(now + Duration::from_secs(9)));
        self.coming.push_back((self.last, message));
    }

    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn read(&mut self, now: Duration, buf: &mut ReadBuf<'_>) {
        let Some((_, message)) = self.coming.front_mut() else { return };
        let count = message.bytes.len().min(buf.remaining());
        buf.put_slice(&message.bytes[..count]);
        message.bytes.drain(..count);
        if message.bytes.is_empty() {
            self.known.panes.extend(message.shows);
            message.clients.into_iter().for_each(|as_of| self.known.clients(now, as_of));
            self.coming.pop_front();
        }
    }
}

struct Connection {
    mux: Mux,
    dead: Box<dyn Fn() -> bool + Send + Sync>,
    frames: FrameReader,
    pipe: Arc<Mutex<Pipe>>,
    sleep: Option<Pin<Box<Sleep>>>,
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
        loop {
            this.mux.advance();
            if (this.dead)() {
                return Poll::Pending;
            }
            let now = this.mux.now();
            let mut pipe = lock(&this.pipe);
            if pipe.over {
                return Poll::Ready(Ok(()));
            }
            let next = pipe.coming.front().map(|(at, _)| *at);
            if next.is_some_and(|at| at <= now) {
                pipe.read(now, buf);
                return Poll::Ready(Ok(()));
            }
            pipe.reader = Some(cx.waker().clone());
            drop(pipe);
            let due = lock(&this.mux.0.panes).next_due();
            let Some(at) = [next, due].into_iter().flatten().min() else { return Poll::Pending };
            let sleep = this.sleep.insert(Box::pin(sleep_until(Instant::now() + at.saturating_sub(now))));
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let this = self.get_mut();
        this.mux.advance();
        if (this.dead)() {
            // It was dead before it did this.
            return Poll::Ready(Ok(bytes.len()));
        }
        let now = this.mux.now();
        if lock(&this.pipe).over {
            return Poll::Ready(Err(std::io::ErrorKind::BrokenPipe.into()));
        }
        this.frames.extend(bytes);
        while let Some(frame) = this.frames.next_frame().unwrap() {
            let request = Pdu::decode(frame.ident, frame.payload, Codec::V44).unwrap();
            let acting = match &request {
                Pdu::SendPaste { pane_id, .. } | Pdu::SendKeyDown { pane_id, .. } => {
                    this.mux.acting(*pane_id)
                }
                _ => None,
            };
            let mut panes = lock(&this.mux.0.panes);
            panes.acting = acting;
            let mut pipe = lock(&this.pipe);
            let answer = panes.answer(&pipe.known, frame.serial, request);
            pipe.put(&mut panes, now, answer);
            pipe.wake();
        }
        // What the requests have set off by now.
        this.mux.advance();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
