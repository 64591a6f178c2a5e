//! A connection to a mux server.
//!
//! Constraints: exactly one connection per server, for its whole life (each one costs the server work for every change
//! of every pane); nothing is ever sent that is known to hurt a server (inverted ranges, blocking writes to a pane);
//! a server that does not answer counts as frozen and is not asked again and again; everything read is untrusted.
//!
//! Operation: two tasks, one that reads and one that writes, live as long as the last [`Client`] handle. Requests get
//! serials from 1 up and are matched to their answers by serial; serial 0 is a push and becomes a [`MuxEvent`]. At most
//! [`ConnectOptions::max_pending`] requests wait at a time; more callers wait for a place, under the same timeout.

mod error;
mod generation;
mod link;
mod ranges;
mod reader;
mod requests;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

pub use error::{ConnectError, RequestError};
pub use requests::{PaneDimensions, PaneInfo, Spawn, SpawnedPane, WORKSPACE, size_in_cells};

use crate::codec::{ClientId, Codec, FrameReader, Introduction, Pdu, put_frame};
use crate::event::{CloseReason, MuxEvent};
use link::Link;
use reader::{Reader, take_message};

/// Frames between the hello and its answer. Only a server under a flood sends any.
const EARLY_FRAMES: usize = 4096;
const GREETING_SERIAL: u64 = 1;
/// Requests on their way to the writer.
const WRITE_QUEUE: usize = 64;

/// How to connect, and as whom.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// Shown by `wezterm cli list-clients`.
    pub hostname: String,
    /// Shown by `wezterm cli list-clients`.
    pub username: String,
    /// The present time since the Unix epoch: part of the connection's identity and the base of key press times.
    pub now: Duration,
    /// For the connection and the greeting together.
    pub connect_timeout: Duration,
    /// For every request; afterwards the server counts as frozen.
    pub request_timeout: Duration,
    /// Events that wait for the consumer; when there are more, the reader stops reading.
    pub event_capacity: usize,
    /// Requests that wait for their answers at a time.
    pub max_pending: usize,
}

impl ConnectOptions {
    /// The usual limits: 10 s for the greeting and for requests, 1024 events, 64 requests.
    pub fn new(hostname: impl Into<String>, username: impl Into<String>, now: Duration) -> Self {
        Self {
            hostname: hostname.into(),
            username: username.into(),
            now,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(10),
            event_capacity: 1024,
            max_pending: 64,
        }
    }
}

/// Which server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerInfo {
    pub codec: Codec,
    /// As it names itself, for example `20240203-110809-5046fc22`.
    pub version: String,
    pub executable_path: String,
    /// By the kernel's word; `None` where that cannot be asked.
    pub pid: Option<u32>,
    /// One server process: `BOOT8-PID-START`. Pane ids mean something only within it. Where the process cannot be
    /// identified it is `unknown-...` and differs for every connection.
    pub generation: String,
}

/// A server at the other end of a stream, for [`Client::over`].
#[derive(Debug, Clone)]
pub struct Server<'a> {
    /// How errors name it.
    pub path: &'a Path,
    pub pid: Option<u32>,
    /// As [`ServerInfo::generation`].
    pub generation: String,
}

/// A handle on a connection; clones share it. The connection ends when the last one is dropped.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    link: Arc<Link>,
    writer: mpsc::Sender<Vec<u8>>,
    slots: Semaphore,
    info: ServerInfo,
    client_id: ClientId,
    request_timeout: Duration,
    /// Since the epoch, when `connected` was taken.
    epoch: Duration,
    connected: Instant,
    /// Reader and writer: they end with this set.
    _tasks: JoinSet<()>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("info", &self.shared.info).finish_non_exhaustive()
    }
}

impl Client {
    /// Connects, asks the version and introduces itself. Events begin with whatever the server says first.
    ///
    /// The receiver must be drained; a consumer that does not keeps the connection, and with it its own view, standing
    /// still. It may wait for requests of its own in between.
    pub async fn connect(
        path: &Path,
        options: ConnectOptions,
    ) -> Result<(Self, mpsc::Receiver<MuxEvent>), ConnectError> {
        let waited = options.connect_timeout;
        match timeout(waited, Self::dial(path, options)).await {
            Ok(result) => result,
            Err(_) => Err(ConnectError::Timeout { path: path.to_owned(), waited }),
        }
    }

    /// As [`Self::connect`], over a stream that is open already to a server that is known.
    pub async fn over<S>(
        stream: S,
        server: Server<'_>,
        options: ConnectOptions,
    ) -> Result<(Self, mpsc::Receiver<MuxEvent>), ConnectError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (waited, path) = (options.connect_timeout, server.path.to_owned());
        let greeting = Self::greet(tokio::io::split(stream), server, next_connection(), options);
        timeout(waited, greeting).await.unwrap_or(Err(ConnectError::Timeout { path, waited }))
    }

    async fn dial(
        path: &Path,
        options: ConnectOptions,
    ) -> Result<(Self, mpsc::Receiver<MuxEvent>), ConnectError> {
        let io_error = |source| ConnectError::Io { path: path.to_owned(), source };
        let stream = UnixStream::connect(path).await.map_err(io_error)?;
        let connection = next_connection();
        let (pid, generation) = generation::of_peer(&stream, connection).await;
        Self::greet(stream.into_split(), Server { path, pid, generation }, connection, options).await
    }

    async fn greet<R, W>(
        (mut read, mut write): (R, W),
        Server { path, pid, generation }: Server<'_>,
        connection: u64,
        options: ConnectOptions,
    ) -> Result<(Self, mpsc::Receiver<MuxEvent>), ConnectError>
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let greeting = ask_version((&mut read, &mut write), path, (pid, &generation)).await?;
        let info = ServerInfo {
            codec: greeting.codec,
            version: greeting.version,
            executable_path: greeting.executable_path,
            pid,
            generation,
        };
        let client_id = ClientId {
            hostname: options.hostname.clone(),
            username: options.username.clone(),
            pid: std::process::id(),
            epoch: options.now.as_secs(),
            id: connection,
            ssh_auth_sock: None,
        };
        let reading = (greeting.frames, greeting.early, greeting.link);
        let (client, events) = Self::start((read, write), reading, info, client_id, &options);
        client
            .introduce()
            .await
            .map_err(|source| ConnectError::Greeting { path: path.to_owned(), source })?;
        Ok((client, events))
    }

    fn start<R, W>(
        (read_half, write_half): (R, W),
        (frames, early, link): (FrameReader, VecDeque<MuxEvent>, Link),
        info: ServerInfo,
        client_id: ClientId,
        options: &ConnectOptions,
    ) -> (Self, mpsc::Receiver<MuxEvent>)
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let link = Arc::new(link);
        let (events, receiver) = mpsc::channel(options.event_capacity.max(1));
        let (writer, requests) = mpsc::channel(WRITE_QUEUE);
        let reader = Reader {
            stream: read_half,
            frames,
            codec: info.codec,
            link: Arc::clone(&link),
            events,
            ahead: early,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(reader.run());
        tasks.spawn(write_requests(write_half, requests, Arc::clone(&link)));
        let shared = Shared {
            link,
            writer,
            slots: Semaphore::new(options.max_pending.max(1)),
            info,
            client_id,
            request_timeout: options.request_timeout,
            epoch: options.now,
            connected: Instant::now(),
            _tasks: tasks,
        };
        (Self { shared: Arc::new(shared) }, receiver)
    }

    async fn introduce(&self) -> Result<(), RequestError> {
        let client_id = self.shared.client_id.clone();
        self.unit(Pdu::SetClientId { introduction: Introduction { client_id, is_proxy: false } }).await
    }

    /// The server at the other end.
    pub fn info(&self) -> &ServerInfo {
        &self.shared.info
    }

    /// Who this connection is in [`Self::client_list`].
    pub fn client_id(&self) -> &ClientId {
        &self.shared.client_id
    }

    /// Why the connection ended, when it has.
    pub fn closed(&self) -> Option<CloseReason> {
        self.shared.link.closed()
    }

    /// Pushes of kinds that are not known here, skipped so far.
    pub fn unknown_pushes(&self) -> u64 {
        self.shared.link.unknown_pushes()
    }

    /// Sends a request and waits for its answer. An `ErrorResponse` is an error.
    async fn request(&self, pdu: Pdu) -> Result<Pdu, RequestError> {
        let request = pdu.name();
        let waited = self.shared.request_timeout;
        match timeout(waited, self.exchange(pdu)).await {
            Ok(Ok(Pdu::ErrorResponse { reason })) => Err(RequestError::Refused { request, reason }),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(reason)) => Err(reason.into()),
            Err(_) => Err(RequestError::Frozen { request, waited }),
        }
    }

    async fn exchange(&self, pdu: Pdu) -> Result<Pdu, CloseReason> {
        let ended = || self.closed().unwrap_or(CloseReason::ServerClosed);
        let _slot = self.shared.slots.acquire().await.map_err(|_| ended())?;
        let mut waiting = self.shared.link.add()?;
        let (ident, payload) = pdu.encode(self.shared.info.codec);
        let mut frame = Vec::with_capacity(payload.len() + 30);
        put_frame(&mut frame, waiting.serial, ident, &payload);
        self.shared.writer.send(frame).await.map_err(|_| ended())?;
        (&mut waiting.answer).await.map_err(|_| ended())
    }

    /// A request whose answer says nothing but that it was taken.
    async fn unit(&self, pdu: Pdu) -> Result<(), RequestError> {
        let request = pdu.name();
        match self.request(pdu).await? {
            Pdu::UnitResponse => Ok(()),
            other => Err(RequestError::Unexpected { request, answer: other.name() }),
        }
    }
}

/// Distinguishes the connections of this process: two with the same identity would be one to the server.
fn next_connection() -> u64 {
    static CONNECTIONS: AtomicU64 = AtomicU64::new(0);
    CONNECTIONS.fetch_add(1, Ordering::Relaxed) + 1
}

struct Greeting {
    codec: Codec,
    version: String,
    executable_path: String,
    frames: FrameReader,
    early: VecDeque<MuxEvent>,
    link: Link,
}

/// Asks the version, the one request whose shape does not depend on it.
async fn ask_version(
    (read, write): (&mut (impl AsyncRead + Unpin), &mut (impl AsyncWrite + Unpin)),
    path: &Path,
    peer: (Option<u32>, &str),
) -> Result<Greeting, ConnectError> {
    let io_error = |source| ConnectError::Io { path: path.to_owned(), source };
    let malformed = |damage| ConnectError::Malformed { path: path.to_owned(), damage };
    let mut hello = Vec::new();
    put_frame(&mut hello, GREETING_SERIAL, Pdu::GetCodecVersion.ident(), &[]);
    write.write_all(&hello).await.map_err(io_error)?;
    let mut frames = FrameReader::default();
    let mut early = Vec::new();
    let mut chunk = vec![0; 8 << 10];
    loop {
        while let Some(frame) = frames.next_frame().map_err(|error| malformed(error.into()))? {
            if frame.serial == GREETING_SERIAL {
                let answer = Pdu::decode(frame.ident, frame.payload, Codec::V44);
                let answer = answer.map_err(|error| malformed(error.into()))?;
                return conclude(answer, early, frames, path, peer);
            }
            if early.len() >= EARLY_FRAMES {
                return Err(ConnectError::Flooded { path: path.to_owned() });
            }
            early.push((frame.ident, frame.payload.to_vec()));
        }
        let length = read.read(&mut chunk).await.map_err(io_error)?;
        if length == 0 {
            return Err(ConnectError::Closed { path: path.to_owned() });
        }
        frames.extend(&chunk[..length]);
    }
}

/// Judges the answer to the greeting, and only then looks into what was pushed before it.
fn conclude(
    answer: Pdu,
    early: Vec<(u64, Vec<u8>)>,
    frames: FrameReader,
    path: &Path,
    (pid, generation): (Option<u32>, &str),
) -> Result<Greeting, ConnectError> {
    let request = "GetCodecVersion";
    let greeting_error = |source| ConnectError::Greeting { path: path.to_owned(), source };
    let (number, version, executable_path) = match answer {
        Pdu::GetCodecVersionResponse { codec_version, version, executable_path, .. } => {
            (codec_version, version, executable_path)
        }
        Pdu::ErrorResponse { reason } => {
            return Err(greeting_error(RequestError::Refused { request, reason }));
        }
        other => {
            return Err(greeting_error(RequestError::Unexpected { request, answer: other.name() }));
        }
    };
    let Some(codec) = Codec::from_number(number) else {
        let (path, generation) = (path.to_owned(), generation.to_owned());
        return Err(ConnectError::UnsupportedCodec { path, codec: number, version, pid, generation });
    };
    let link = Link::after(GREETING_SERIAL);
    let mut events = VecDeque::new();
    for (ident, payload) in early {
        take_message(0, ident, &payload, codec, &link, &mut events)
            .map_err(|damage| ConnectError::Malformed { path: path.to_owned(), damage })?;
    }
    Ok(Greeting { codec, version, executable_path, frames, early: events, link })
}

async fn write_requests(
    mut stream: impl AsyncWrite + Unpin,
    mut requests: mpsc::Receiver<Vec<u8>>,
    link: Arc<Link>,
) {
    let write = async {
        while let Some(frame) = requests.recv().await {
            if let Err(error) = stream.write_all(&frame).await {
                link.close(CloseReason::Io(error.to_string()));
                return;
            }
        }
    };
    tokio::select! {
        biased;
        () = write => {}
        () = link.ended.notified() => {}
    }
}
