//! A bad network between two programs: a TCP proxy on the loopback that delays, stalls, cuts and half-closes.
//!
//! One thread for each direction of each connection; what the weather is decides what becomes of every piece of up to 4
//! KiB. It drops no single bytes: TCP would not, either.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What the network does just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    Fair,
    /// Every piece waits so long.
    Slow(Duration),
    /// Nothing gets through, and nobody is told.
    Stalled,
    /// Connections are taken and cut at once.
    Refusing,
}

#[derive(Debug)]
struct State {
    weather: Weather,
    live: Vec<TcpStream>,
    dialled: Vec<Instant>,
}

/// Listens until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    over: Arc<AtomicBool>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// In front of a port of the loopback.
    ///
    /// # Errors
    /// When there is no port to listen on.
    pub fn start(target: u16) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let state = State { weather: Weather::Fair, live: Vec::new(), dialled: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let over = Arc::new(AtomicBool::new(false));
        let (shared, ended) = (Arc::clone(&state), Arc::clone(&over));
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                accept(&shared, near, target);
            }
        });
        Ok(Self { address, state, over })
    }

    /// For a node to dial.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    pub fn set(&self, weather: Weather) {
        lock(&self.state).weather = weather;
    }

    /// Cuts every connection, at whatever byte it is.
    pub fn cut(&self) {
        for stream in lock(&self.state).live.drain(..) {
            // One that is gone already needs no cut.
            stream.shutdown(Shutdown::Both).ok();
        }
    }

    /// Ends every connection in one direction only.
    pub fn half_close(&self) {
        for stream in &lock(&self.state).live {
            // As above.
            stream.shutdown(Shutdown::Write).ok();
        }
    }

    /// When connections were made, the oldest first.
    pub fn dialled(&self) -> Vec<Instant> {
        lock(&self.state).dialled.clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.cut();
        // Wakes the one who listens; it then sees that it is over.
        drop(TcpStream::connect(self.address));
    }
}

fn accept(state: &Arc<Mutex<State>>, near: TcpStream, target: u16) {
    let refusing = {
        let mut state = lock(state);
        state.dialled.push(Instant::now());
        state.weather == Weather::Refusing
    };
    let far = if refusing { None } else { TcpStream::connect(("127.0.0.1", target)).ok() };
    let Some(far) = far else { return };
    let ways = [
        near.try_clone().and_then(|near| Ok((near, far.try_clone()?))),
        far.try_clone().and_then(|far| Ok((far, near.try_clone()?))),
    ];
    lock(state).live.extend([near, far]);
    for (from, to) in ways.into_iter().flatten() {
        let state = Arc::clone(state);
        std::thread::spawn(move || carry(&state, from, to));
    }
}

fn carry(state: &Mutex<State>, mut from: TcpStream, mut to: TcpStream) {
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut piece) {
        loop {
            let weather = lock(state).weather;
            match weather {
                Weather::Stalled => sleep(Duration::from_millis(10)),
                Weather::Slow(wait) => break sleep(wait),
                Weather::Fair | Weather::Refusing => break,
            }
        }
        if to.write_all(&piece[..count]).is_err() {
            break;
        }
    }
    // Whoever is still there hears that it is over.
    to.shutdown(Shutdown::Write).ok();
}
