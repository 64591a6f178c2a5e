//! The network between the hosts: streams that are in order and whole while they last, as TCP gives them.
//!
//! A link can be narrow: then what is sent waits for what was sent before.
//!
//! What a host sends arrives after a delay that the seed draws, and never before the next step of the engine. On a way
//! that is cut nothing arrives, in that direction; when it is mended, what was sent meanwhile comes with some more delay,
//! as after a retransmission. A process that is killed leaves a host that resets its connections; a host without power
//! says nothing until it is back, and then resets them.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use wa_link::net::{Door, Wire};

use super::host::Machine;
use super::trace::Trace;

/// Bytes on the way and not read, in one direction; beyond, the writer waits.
const WINDOW: usize = 256 << 10;
/// The first writes of a connection count for nothing on a narrow link: signatures are a byte longer or shorter each time.
const GREETING: u32 = 4;
/// How long a host without power is tried for.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy)]
enum Sent {
    End,
    Reset,
}

#[derive(Debug)]
enum What {
    Bytes(Vec<u8>),
    Sign(Sent),
}

#[derive(Debug)]
struct Flight {
    at: Duration,
    what: What,
}

/// One side of a connection: what is on the way to it, and what has arrived.
struct End {
    host: String,
    /// A process holds it.
    held: bool,
    coming: VecDeque<Flight>,
    arrived: VecDeque<u8>,
    /// Nothing more will come.
    over: Option<Sent>,
    unread: usize,
    /// How often something was written to it.
    writes: u32,
    reader: Option<Waker>,
    /// Of the other side, which waits for room.
    writer: Option<Waker>,
}

struct Conn {
    ends: [End; 2],
}

struct Knock {
    from: String,
    to: String,
    port: u16,
    at: Duration,
    /// What the one who knocked will hear, then.
    answer: Option<io::Result<Plug>>,
    reply: oneshot::Sender<io::Result<Plug>>,
}

struct Listening {
    incarnation: u64,
    queue: VecDeque<Plug>,
    waker: Option<Waker>,
}

struct Place {
    powered: bool,
    incarnation: u64,
    address: SocketAddr,
    listening: BTreeMap<u16, Listening>,
    machine: Arc<Machine>,
}

struct Inner {
    now: Duration,
    rng: fastrand::Rng,
    delay: (u64, u64),
    places: BTreeMap<String, Place>,
    conns: BTreeMap<u64, Conn>,
    knocks: Vec<Knock>,
    next: u64,
    /// Ways on which nothing arrives.
    cut: Vec<(String, String)>,
    /// Nothing that this host says arrives anywhere.
    silent: Option<String>,
    /// Of hosts whose link carries no more than so many bytes a second: until when it is busy.
    links: BTreeMap<String, (u64, Duration)>,
    trace: Trace,
}

/// Clones are the same network.
#[derive(Clone)]
pub(crate) struct Network(Arc<Mutex<Inner>>);

impl Network {
    pub(crate) fn new(rng: fastrand::Rng, trace: Trace) -> Self {
        let inner = Inner {
            now: Duration::ZERO,
            rng,
            delay: (1, 30),
            places: BTreeMap::new(),
            conns: BTreeMap::new(),
            knocks: Vec::new(),
            next: 1,
            cut: Vec::new(),
            silent: None,
            links: BTreeMap::new(),
            trace,
        };
        Self(Arc::new(Mutex::new(inner)))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn join(&self, name: &str, machine: &Arc<Machine>) {
        let mut inner = self.lock();
        let last = u8::try_from(inner.places.len() + 1).unwrap();
        let address = SocketAddr::from(([10, 0, 0, last], 0));
        let machine = Arc::clone(machine);
        let place = Place { powered: true, incarnation: 0, address, listening: BTreeMap::new(), machine };
        inner.places.insert(name.to_owned(), place);
    }

    // ---- faults

    /// From now on nothing that `from` sends arrives at `to`.
    pub(crate) fn cut(&self, from: &str, to: &str) {
        self.lock().cut.push((from.to_owned(), to.to_owned()));
    }

    /// Nothing that the host says arrives, until it crashes.
    pub(crate) fn silence(&self, host: &str) {
        self.lock().silent = Some(host.to_owned());
    }

    /// All ways to and from a host are open again.
    pub(crate) fn mend(&self, host: &str) {
        let mut inner = self.lock();
        inner.cut.retain(|(from, to)| from != host && to != host);
        // What was sent again and again arrives with one of the next attempts.
        let later = inner.now + Duration::from_millis(inner.rng.u64(0..1500));
        for conn in inner.conns.values_mut() {
            if conn.ends.iter().any(|end| end.host == host) {
                for flight in conn.ends.iter_mut().flat_map(|end| end.coming.iter_mut()) {
                    flight.at = flight.at.max(later);
                }
            }
        }
    }

    /// How long everything is on its way from now on, in milliseconds.
    pub(crate) fn delay(&self, least: u64, most: u64) {
        self.lock().delay = (least, most);
    }

    /// From now on a host's link carries no more than so many bytes a second.
    pub(crate) fn narrow(&self, host: &str, bytes_per_s: u64) {
        self.lock().links.insert(host.to_owned(), (bytes_per_s, Duration::ZERO));
    }

    /// The process of a host is gone; without power nobody says so.
    pub(crate) fn crashed(&self, host: &str, powered: bool) {
        let mut inner = self.lock();
        let at = inner.arrival();
        let unheard = inner.silent.take_if(|silent| silent == host).is_some();
        let mut doors = BTreeMap::new();
        if let Some(place) = inner.places.get_mut(host) {
            place.incarnation += 1;
            place.powered = powered;
            doors = std::mem::take(&mut place.listening);
        }
        for conn in inner.conns.values_mut() {
            for side in 0..2 {
                if unheard && conn.ends[side].host == host {
                    conn.ends[1 - side].coming.clear();
                }
                if conn.ends[side].host == host && std::mem::take(&mut conn.ends[side].held) && powered {
                    conn.ends[1 - side].coming.push_back(Flight { at, what: What::Sign(Sent::Reset) });
                }
            }
        }
        let knocks = std::mem::take(&mut inner.knocks);
        let (gone, stay): (Vec<_>, Vec<_>) = knocks.into_iter().partition(|knock| knock.from == host);
        inner.knocks = stay;
        drop(inner);
        // Plugs in there let go of their ends, which needs the lock.
        drop((gone, doors));
    }

    pub(crate) fn powered(&self, host: &str) {
        if let Some(place) = self.lock().places.get_mut(host) {
            place.powered = true;
        }
    }

    // ---- time

    /// Brings what has arrived by `now`.
    pub(crate) fn deliver(&self, now: Duration) {
        let mut inner = self.lock();
        inner.now = now;
        let mut wake = Vec::new();
        inner.deliver_flights(&mut wake);
        let done = inner.deliver_knocks(self, &mut wake);
        drop(inner);
        for (knock, answer) in done {
            // The one who knocked may have gone.
            drop(knock.send(answer));
        }
        for waker in wake {
            waker.wake();
        }
    }

    /// Whether anything is on its way.
    pub(crate) fn is_busy(&self) -> bool {
        let inner = self.lock();
        !inner.knocks.is_empty()
            || inner.conns.values().flat_map(|conn| &conn.ends).any(|end| !end.coming.is_empty())
    }

    // ---- for hosts

    pub(crate) fn listen(&self, host: &str, address: SocketAddr) -> io::Result<Box<dyn Door>> {
        let mut inner = self.lock();
        let Some(place) = inner.places.get_mut(host) else { return Err(io::ErrorKind::NotFound.into()) };
        let (incarnation, port) = (place.incarnation, address.port());
        if place.listening.contains_key(&port) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        place.listening.insert(port, Listening { incarnation, queue: VecDeque::new(), waker: None });
        let address = SocketAddr::new(place.address.ip(), port);
        Ok(Box::new(Gate { network: self.clone(), host: host.to_owned(), address, incarnation }))
    }

    pub(crate) async fn connect(self, from: String, to: String, port: u16) -> io::Result<Box<dyn Wire>> {
        let (reply, answer) = oneshot::channel();
        {
            let mut inner = self.lock();
            let at = inner.arrival_from(&from);
            inner.knocks.push(Knock { from, to, port, at, answer: None, reply });
        }
        let plug = answer.await.map_err(|_| io::Error::from(io::ErrorKind::ConnectionAborted))??;
        Ok(Box::new(plug))
    }
}

impl Inner {
    fn arrival(&mut self) -> Duration {
        let (least, most) = self.delay;
        self.now + Duration::from_millis(self.rng.u64(least..=most))
    }

    /// For what a host sends at this moment of its own.
    fn arrival_from(&mut self, host: &str) -> Duration {
        let now = self.places.get(host).map_or(self.now, |place| place.machine.since_start());
        let (least, most) = self.delay;
        now.max(self.now) + Duration::from_millis(self.rng.u64(least..=most))
    }

    /// How long it takes until a host's link has carried this, after what is before it.
    fn carries(&mut self, host: &str, bytes: usize) -> Duration {
        let now = self.places.get(host).map_or(self.now, |place| place.machine.since_start()).max(self.now);
        let Some((rate, busy)) = self.links.get_mut(host) else { return Duration::ZERO };
        *busy = (*busy).max(now) + Duration::from_micros(bytes as u64 * 1_000_000 / *rate);
        *busy - now
    }

    fn is_open(&self, from: &str, to: &str) -> bool {
        self.silent.as_deref() != Some(from) && !self.cut.iter().any(|(a, b)| a == from && b == to)
    }

    fn is_powered(&self, host: &str) -> bool {
        self.places.get(host).is_some_and(|place| place.powered)
    }

    fn deliver_flights(&mut self, wake: &mut Vec<Waker>) {
        let ids: Vec<u64> = self.conns.keys().copied().collect();
        for id in ids {
            for side in 0..2 {
                self.deliver_to(id, side, wake);
            }
            let over = self
                .conns
                .get(&id)
                .is_some_and(|conn| conn.ends.iter().all(|end| !end.held && end.coming.is_empty()));
            if over {
                self.conns.remove(&id);
            }
        }
    }

    fn deliver_to(&mut self, id: u64, side: usize, wake: &mut Vec<Waker>) {
        let Some(conn) = self.conns.get(&id) else { return };
        let (to, from) = (conn.ends[side].host.clone(), conn.ends[1 - side].host.clone());
        if !self.is_open(&from, &to) || !self.is_powered(&to) {
            return;
        }
        let (now, reply_at) = (self.now, self.arrival());
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let mut refused = false;
        let end = &mut conn.ends[side];
        while end.coming.front().is_some_and(|flight| flight.at <= now) {
            let Some(flight) = end.coming.pop_front() else { break };
            if !end.held {
                refused |= matches!(flight.what, What::Bytes(_));
                continue;
            }
            match flight.what {
                What::Bytes(bytes) => end.arrived.extend(bytes),
                What::Sign(sign) => end.over = Some(sign),
            }
            wake.extend(end.reader.take());
            if matches!(end.over, Some(Sent::Reset)) {
                wake.extend(conn.ends[1 - side].writer.take());
                return;
            }
        }
        if refused {
            let flight = Flight { at: reply_at, what: What::Sign(Sent::Reset) };
            conn.ends[1 - side].coming.push_back(flight);
        }
    }

    fn deliver_knocks(
        &mut self,
        network: &Network,
        wake: &mut Vec<Waker>,
    ) -> Vec<(oneshot::Sender<io::Result<Plug>>, io::Result<Plug>)> {
        let mut done = Vec::new();
        for mut knock in std::mem::take(&mut self.knocks) {
            let way = self.is_open(&knock.from, &knock.to) && self.is_open(&knock.to, &knock.from);
            if knock.answer.is_none() && knock.reply.is_closed() {
                continue;
            }
            if knock.at > self.now {
                self.knocks.push(knock);
            } else if !way || !self.is_powered(&knock.to) {
                knock.at = self.now + AGAIN;
                self.knocks.push(knock);
            } else if let Some(answer) = knock.answer.take() {
                done.push((knock.reply, answer));
            } else {
                knock.answer = Some(self.admit(network, &knock, wake));
                knock.at = self.arrival();
                self.knocks.push(knock);
            }
        }
        done
    }

    fn admit(&mut self, network: &Network, knock: &Knock, wake: &mut Vec<Waker>) -> io::Result<Plug> {
        let id = self.next;
        let port = 40_000 + u16::try_from(id % 20_000).unwrap_or(0);
        let from = self.places.get(&knock.from).ok_or(io::ErrorKind::HostUnreachable)?;
        let (theirs, from_incarnation) = (SocketAddr::new(from.address.ip(), port), from.incarnation);
        let to = self.places.get_mut(&knock.to).ok_or(io::ErrorKind::HostUnreachable)?;
        let listening = to.listening.get_mut(&knock.port).ok_or(io::ErrorKind::ConnectionRefused)?;
        let ours = SocketAddr::new(to.address.ip(), knock.port);
        let plug = |side, incarnation, near, far, host: &str| Plug {
            network: network.clone(),
            host: host.to_owned(),
            id,
            side,
            incarnation,
            ends: (near, far),
            ended: false,
        };
        listening.queue.push_back(plug(1, listening.incarnation, ours, theirs, &knock.to));
        wake.extend(listening.waker.take());
        let end = |host: &str| End {
            host: host.to_owned(),
            held: true,
            coming: VecDeque::new(),
            arrived: VecDeque::new(),
            over: None,
            unread: 0,
            writes: 0,
            reader: None,
            writer: None,
        };
        self.next += 1;
        self.conns.insert(id, Conn { ends: [end(&knock.from), end(&knock.to)] });
        self.trace.note(self.now, &knock.from, format_args!("connection {id} to {}", knock.to));
        Ok(plug(0, from_incarnation, theirs, ours, &knock.from))
    }
}

/// A port of a host.
struct Gate {
    network: Network,
    host: String,
    address: SocketAddr,
    incarnation: u64,
}

impl Door for Gate {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Box<dyn Wire>>> {
        let mut inner = self.network.lock();
        let place = inner.places.get_mut(&self.host);
        let listening = place.and_then(|place| place.listening.get_mut(&self.address.port()));
        let Some(listening) = listening.filter(|listening| listening.incarnation == self.incarnation) else {
            return Poll::Pending;
        };
        match listening.queue.pop_front() {
            Some(plug) => Poll::Ready(Ok(Box::new(plug))),
            None => {
                listening.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let mut inner = self.network.lock();
        let Some(place) = inner.places.get_mut(&self.host) else { return };
        let ours = place.incarnation == self.incarnation;
        let left = if ours { place.listening.remove(&self.address.port()) } else { None };
        drop(inner);
        // Plugs that nobody took let go of their ends, which needs the lock.
        drop(left);
    }
}

/// A process's hold on one end of a connection.
struct Plug {
    network: Network,
    host: String,
    id: u64,
    side: usize,
    incarnation: u64,
    /// Near and far.
    ends: (SocketAddr, SocketAddr),
    ended: bool,
}

impl Plug {
    /// Whether its process still runs.
    fn lives(&self, inner: &Inner) -> bool {
        inner
            .places
            .get(&self.host)
            .is_some_and(|place| place.incarnation == self.incarnation && !place.machine.is_dead())
    }

    fn end_it(&mut self, inner: &mut Inner) {
        if std::mem::replace(&mut self.ended, true) || !self.lives(inner) {
            return;
        }
        let at = inner.arrival_from(&self.host);
        if let Some(conn) = inner.conns.get_mut(&self.id) {
            conn.ends[1 - self.side].send(at, What::Sign(Sent::End));
        }
    }
}

impl End {
    fn send(&mut self, at: Duration, what: What) {
        let last = self.coming.back().map_or(Duration::ZERO, |flight| flight.at);
        self.coming.push_back(Flight { at: at.max(last), what });
    }
}

impl Wire for Plug {
    fn ends(&self) -> (SocketAddr, SocketAddr) {
        self.ends
    }
}

impl AsyncRead for Plug {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.network.lock();
        let Some(conn) = inner.conns.get_mut(&self.id) else { return Poll::Pending };
        let end = &mut conn.ends[self.side];
        if matches!(end.over, Some(Sent::Reset)) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let count = end.arrived.len().min(buf.remaining());
        if count == 0 {
            if end.over.is_some() {
                return Poll::Ready(Ok(()));
            }
            end.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        for byte in end.arrived.drain(..count) {
            buf.put_slice(&[byte]);
        }
        end.unread -= count;
        if let Some(writer) = end.writer.take() {
            writer.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Plug {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut inner = self.network.lock();
        if !self.lives(&inner) {
            // It was dead before it did this.
            return Poll::Ready(Ok(bytes.len()));
        }
        let at = inner.arrival_from(&self.host);
        let Some(conn) = inner.conns.get_mut(&self.id) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        if matches!(conn.ends[self.side].over, Some(Sent::Reset)) || self.ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let end = &mut conn.ends[1 - self.side];
        let room = WINDOW.saturating_sub(end.unread);
        if room == 0 {
            end.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let bytes = &bytes[..bytes.len().min(room)];
        end.unread += bytes.len();
        end.writes += 1;
        let counts = if end.writes > GREETING { bytes.len() } else { 0 };
        let at = at + inner.carries(&self.host, counts);
        if let Some(conn) = inner.conns.get_mut(&self.id) {
            conn.ends[1 - self.side].send(at, What::Bytes(bytes.to_vec()));
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let network = this.network.clone();
        this.end_it(&mut network.lock());
        Poll::Ready(Ok(()))
    }
}

impl Drop for Plug {
    fn drop(&mut self) {
        let network = self.network.clone();
        let mut inner = network.lock();
        self.end_it(&mut inner);
        let ours = inner.places.get(&self.host).is_some_and(|place| place.incarnation == self.incarnation);
        if let Some(conn) = inner.conns.get_mut(&self.id).filter(|_| ours) {
            conn.ends[self.side].held = false;
        }
    }
}
