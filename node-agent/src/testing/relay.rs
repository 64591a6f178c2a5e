//! A mux server whose answers come late: a relay before the real one.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use wa_mux::codec::{Codec, FrameReader, Pdu};

/// What is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Late {
    /// Everything from now on, each chunk by so much.
    All(Duration),
    /// What the server says in this time after a key that it gets.
    AfterKeys(Duration),
}

pub(crate) struct Relay {
    state: Arc<State>,
    _serving: JoinSet<()>,
}

#[derive(Default)]
struct State {
    late: Mutex<Option<Late>>,
    until: Mutex<Option<Instant>>,
    keys: Mutex<usize>,
}

impl Relay {
    /// Listens at `path` for the server that listens at `server`.
    pub(crate) fn start(path: &Path, server: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let (state, server) = (Arc::new(State::default()), server.to_owned());
        let mut serving = JoinSet::new();
        let shared = Arc::clone(&state);
        serving.spawn(async move {
            let mut pumps = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (asks, answers) = client.into_split();
                let (says, hears) = UnixStream::connect(&server).await.unwrap().into_split();
                pumps.spawn(requests(asks, hears, Arc::clone(&shared)));
                pumps.spawn(replies(says, answers, Arc::clone(&shared)));
            }
        });
        Self { state, _serving: serving }
    }

    pub(crate) fn set(&self, late: Late) {
        *self.state.late.lock().unwrap() = Some(late);
    }

    /// How many keys have gone to the server.
    pub(crate) fn keys(&self) -> usize {
        *self.state.keys.lock().unwrap()
    }
}

async fn requests(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: Arc<State>) {
    let (mut frames, mut chunk) = (FrameReader::default(), vec![0; 4096]);
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        frames.extend(&chunk[..length]);
        while let Some(frame) = frames.next_frame().unwrap() {
            if matches!(Pdu::decode(frame.ident, frame.payload, Codec::V44), Ok(Pdu::SendKeyDown { .. })) {
                *state.keys.lock().unwrap() += 1;
                if let Some(Late::AfterKeys(long)) = *state.late.lock().unwrap() {
                    *state.until.lock().unwrap() = Some(Instant::now() + long);
                }
            }
        }
        if to.write_all(&chunk[..length]).await.is_err() {
            return;
        }
    }
}

async fn replies(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: Arc<State>) {
    let mut chunk = vec![0; 4096];
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        let until = match *state.late.lock().unwrap() {
            Some(Late::All(long)) => Some(Instant::now() + long),
            _ => *state.until.lock().unwrap(),
        };
        if let Some(until) = until {
            sleep_until(until).await;
        }
        if to.write_all(&chunk[..length]).await.is_err() {
            return;
        }
    }
}
