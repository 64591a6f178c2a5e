//! Ways from nodes to the controller that can be made slow in one direction.
//!
//! Two uses. While nodes join, each comes from a loopback address of its own, as hosts do: the controller counts attempts to
//! join by address. And nodes that are to be slow read through it: what comes down is taken from the controller's socket
//! no faster than the pace, so that it backs up there, while what goes up goes on.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{self, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use wa_link::shutdown::Tasks;

/// How fast what the controller sends is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    Full,
    /// Every other connection 256 bytes twice a second, the rest nothing at all.
    Slow,
}

/// Bytes that wait in the kernel for a reader.
const RECEIVE_BUFFER: u32 = 4096;
const SIP: usize = 256;
const SIP_EVERY: Duration = Duration::from_millis(500);

/// Passes connections on until the shutdown of its tasks.
pub(super) struct Relay {
    pub(super) address: SocketAddr,
    pace: watch::Sender<Pace>,
}

impl Relay {
    /// `sources`: every connection comes from another address.
    pub(super) async fn start(to: SocketAddr, sources: bool, tasks: &Tasks) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let pace = watch::Sender::new(Pace::Full);
        let count = Arc::new(AtomicU32::new(0));
        let (of_relay, pairs) = (pace.clone(), tasks.clone());
        let ended = tasks.shutdown().triggered();
        tasks.spawn("relay", async move {
            tokio::pin!(ended);
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = &mut ended => return,
                };
                let Ok((node, _)) = accepted else { continue };
                let number = count.fetch_add(1, Ordering::Relaxed);
                let source = sources.then(|| loopback(0, number));
                let pace = of_relay.subscribe();
                pairs.spawn("relayed connection", async move {
                    // A connection that fails is dialled again by its node.
                    drop(pass(node, to, source, pace, number.is_multiple_of(2)).await);
                });
            }
        });
        Ok(Self { address, pace })
    }

    pub(super) fn set(&self, pace: Pace) {
        self.pace.send_replace(pace);
    }
}

/// Address number `at` of a thousand times sixty.
pub(super) fn loopback(net: u8, at: u32) -> Ipv4Addr {
    let [_, _, high, low] = at.to_be_bytes();
    Ipv4Addr::new(127, 1 + net, high, low)
}

async fn pass(
    node: TcpStream,
    to: SocketAddr,
    source: Option<Ipv4Addr>,
    pace: watch::Receiver<Pace>,
    sips: bool,
) -> io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    if let Some(source) = source {
        socket.bind(SocketAddr::from((source, 0)))?;
    }
    let mut controller = socket.connect(to).await?;
    node.set_nodelay(true)?;
    controller.set_nodelay(true)?;
    let mut node = node;
    let (mut from_node, to_node) = node.split();
    let (from_controller, mut to_controller) = controller.split();
    tokio::select! {
        up = io::copy(&mut from_node, &mut to_controller) => up.map(drop),
        down = sip(from_controller, to_node, pace, sips) => down,
    }
}

async fn sip(
    mut from: impl io::AsyncRead + Unpin,
    mut to: impl io::AsyncWrite + Unpin,
    mut pace: watch::Receiver<Pace>,
    sips: bool,
) -> io::Result<()> {
    let mut bytes = vec![0; 16 << 10];
    loop {
        let slow = *pace.borrow_and_update() == Pace::Slow;
        if slow && !sips {
            // An error: the relay is gone, and this connection with it.
            if pace.changed().await.is_err() {
                return Ok(());
            }
            continue;
        }
        let most = if slow { SIP } else { bytes.len() };
        let read = from.read(&mut bytes[..most]).await?;
        if read == 0 {
            return Ok(());
        }
        to.write_all(&bytes[..read]).await?;
        if slow {
            drop(tokio::time::timeout(SIP_EVERY, pace.changed()).await);
        }
    }
}
