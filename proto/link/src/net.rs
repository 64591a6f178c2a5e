//! Byte streams between hosts: TCP, or what a simulation puts in its place (see [`crate::world`]).

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::world;

/// A simulated stream.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {
    /// Our end of it, and the other.
    fn ends(&self) -> (SocketAddr, SocketAddr);
}

/// Where simulated streams come in.
pub trait Door: Send {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Box<dyn Wire>>>;

    fn address(&self) -> SocketAddr;
}

/// One connection.
pub enum Stream {
    Tcp(TcpStream),
    Simulated(Box<dyn Wire>),
}

/// Takes connections in.
pub enum Listener {
    Tcp(TcpListener),
    Simulated(Box<dyn Door>),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl Listener {
    /// Port 0 chooses one.
    ///
    /// # Errors
    /// When the port is taken or the address is none of ours.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        match world::current() {
            Some(world) => world.listen(address).map(Self::Simulated),
            None => TcpListener::bind(address).await.map(Self::Tcp),
        }
    }

    /// # Errors
    /// When the system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr(),
            Self::Simulated(door) => Ok(door.address()),
        }
    }

    /// The next connection. Safe to drop and call again.
    pub(crate) async fn accept(&mut self) -> io::Result<(Stream, SocketAddr)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Keystrokes and events are small and must not wait for company.
                drop(stream.set_nodelay(true));
                Ok((Stream::Tcp(stream), peer))
            }
            Self::Simulated(door) => {
                let wire = std::future::poll_fn(|cx| door.poll_accept(cx)).await?;
                let (_, peer) = wire.ends();
                Ok((Stream::Simulated(wire), peer))
            }
        }
    }
}

/// A socket of this host that a simulation stands in for: the stream, and the name of the server process behind it. `None`
/// where there is no simulation.
pub fn local(path: &Path) -> Option<io::Result<(Stream, String)>> {
    let found = world::current()?.local(path);
    Some(found.map(|(wire, process)| (Stream::Simulated(wire), process)))
}

impl Connected for Stream {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        match self {
            Self::Tcp(stream) => stream.connect_info(),
            Self::Simulated(wire) => {
                let (local, peer) = wire.ends();
                TcpConnectInfo { local_addr: Some(local), remote_addr: Some(peer) }
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Simulated(wire) => Pin::new(wire).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Simulated(wire) => Pin::new(wire).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Simulated(wire) => Pin::new(wire).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Simulated(wire) => Pin::new(wire).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Simulated(wire) => Pin::new(wire).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Simulated(wire) => wire.is_write_vectored(),
        }
    }
}
