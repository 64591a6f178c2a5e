//! Taking connections in: TCP and TLS, until they are fit for gRPC.
//!
//! Constraints: one slow or hostile client must not hold up another, so handshakes run side by side, each for at most
//! [`HANDSHAKE_LIMIT`], at most [`HANDSHAKES`] at once; beyond that new clients wait in the kernel's queue. A failed
//! handshake concerns nobody but its client: it is counted, logged at debug and told to who wants to know. Running out of file descriptors is
//! survived by waiting a little.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::{CertificateError, ServerConfig};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::Server;
use tracing::{debug, warn};

use crate::dial::KEEPALIVE;
use crate::net::{Listener, Stream};
use crate::shutdown::Tasks;

/// A handshake that takes longer is given up.
pub const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// Handshakes under way at the same time.
pub const HANDSHAKES: usize = 1024;
/// Finished connections that wait for the server to take them.
const READY: usize = 64;

/// Connections since the start.
#[derive(Debug, Default)]
pub struct Counters {
    accepted: AtomicU64,
    failed: AtomicU64,
}

impl Counters {
    /// Handshakes that went well.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Handshakes that failed or took too long.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

/// A handshake that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedHandshake {
    pub peer: SocketAddr,
    /// The client showed a certificate that does not hold here: another CA's, one that has run out, no good signature.
    pub certificate: bool,
    /// In words.
    pub reason: String,
}

impl FailedHandshake {
    fn new(peer: SocketAddr, error: &io::Error) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let Some(rustls::Error::InvalidCertificate(problem)) = tls else {
            return Self { peer, certificate: false, reason: error.to_string() };
        };
        let reason = match problem {
            CertificateError::UnknownIssuer => "its certificate is of another CA".to_owned(),
            // Another CA with the name of ours, or somebody without the key.
            CertificateError::BadSignature => "its certificate is of another CA, or not its own".to_owned(),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate does not hold yet".to_owned()
            }
            other => format!("its certificate is not accepted: {other}"),
        };
        Self { peer, certificate: true, reason }
    }
}

type OnFailed = dyn Fn(&FailedHandshake) + Send + Sync;

/// Connections that are ready for gRPC; ends at shutdown. For `Router::serve_with_incoming`; inside, a request's
/// `peer_certs()` gives the client's certificates.
#[derive(Debug)]
pub struct Incoming {
    ready: mpsc::Receiver<TlsStream<Stream>>,
    counters: Arc<Counters>,
}

impl Incoming {
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }
}

impl futures_util::Stream for Incoming {
    type Item = io::Result<TlsStream<Stream>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.ready.poll_recv(cx).map(|stream| stream.map(Ok))
    }
}

/// A gRPC server that asks as often as [`crate::dial`] whether the other side is still there. Add services, then
/// `serve_with_incoming_shutdown(incoming, shutdown.triggered())`.
pub fn server() -> Server {
    Server::builder().http2_keepalive_interval(Some(KEEPALIVE)).http2_keepalive_timeout(Some(KEEPALIVE))
}

/// Takes connections from `listener` until the shutdown of `tasks`.
pub fn incoming(listener: impl Into<Listener>, config: Arc<ServerConfig>, tasks: &Tasks) -> Incoming {
    incoming_watched(listener, config, tasks, |_| {})
}

/// As [`incoming`]; `on_failed` is told of each handshake that failed, and must not block.
pub fn incoming_watched(
    listener: impl Into<Listener>,
    config: Arc<ServerConfig>,
    tasks: &Tasks,
    on_failed: impl Fn(&FailedHandshake) + Send + Sync + 'static,
) -> Incoming {
    let listener = listener.into();
    let (sender, ready) = mpsc::channel(READY);
    let counters = Arc::new(Counters::default());
    let shutdown = tasks.shutdown().clone();
    let door = Door {
        acceptor: TlsAcceptor::from(config),
        sender,
        counters: Arc::clone(&counters),
        on_failed: Arc::new(on_failed),
    };
    tasks.spawn("accept", async move {
        tokio::select! {
            biased;
            () = shutdown.triggered() => {}
            () = door.keep(listener) => {}
        }
    });
    Incoming { ready, counters }
}

#[derive(Clone)]
struct Door {
    acceptor: TlsAcceptor,
    sender: mpsc::Sender<TlsStream<Stream>>,
    counters: Arc<Counters>,
    on_failed: Arc<OnFailed>,
}

impl Door {
    async fn keep(self, mut listener: Listener) {
        let mut handshakes = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                Some(done) = handshakes.join_next() => {
                    if let Err(error) = done {
                        warn!(%error, "a handshake ended badly");
                    }
                }
                accepted = listener.accept(), if handshakes.len() < HANDSHAKES => match accepted {
                    Ok((stream, peer)) => {
                        let door = self.clone();
                        handshakes.spawn(async move { door.greet(stream, peer).await });
                    }
                    Err(error) if is_of_one_client(&error) => debug!(%error, "a client went away"),
                    Err(error) => {
                        warn!(%error, "cannot accept connections for the moment");
                        sleep(Duration::from_millis(200)).await;
                    }
                },
                () = self.sender.closed() => return,
            }
        }
    }

    async fn greet(&self, stream: Stream, peer: SocketAddr) {
        let failed = match timeout(HANDSHAKE_LIMIT, self.acceptor.accept(stream)).await {
            Ok(Ok(stream)) => {
                self.counters.accepted.fetch_add(1, Ordering::Relaxed);
                // An error only says that the server has stopped taking connections.
                drop(self.sender.send(stream).await);
                return;
            }
            Ok(Err(error)) => FailedHandshake::new(peer, &error),
            Err(_) => FailedHandshake { peer, certificate: false, reason: "it took too long".to_owned() },
        };
        self.counters.failed.fetch_add(1, Ordering::Relaxed);
        debug!(%peer, problem = failed.reason, "TLS handshake failed");
        (self.on_failed)(&failed);
    }
}

fn is_of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}
