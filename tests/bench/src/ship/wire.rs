//! A way from node to controller on which bytes are counted.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Passes connections on to another address; lasts as long as the program.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) address: SocketAddr,
    up: Arc<AtomicU64>,
}

impl Wire {
    pub(super) fn start(to: String) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let (address, up) = (listener.local_addr()?, Arc::new(AtomicU64::new(0)));
        let counter = Arc::clone(&up);
        thread::Builder::new().name("wire".into()).spawn(move || {
            for node in listener.incoming().flatten() {
                // A connection that fails is dialled again by the node.
                drop(pass(node, &to, &counter));
            }
        })?;
        Ok(Self { address, up })
    }

    /// Bytes from the node so far, TLS and all.
    pub(super) fn up(&self) -> u64 {
        self.up.load(Ordering::Relaxed)
    }
}

fn pass(node: TcpStream, to: &str, up: &Arc<AtomicU64>) -> io::Result<()> {
    let controller = TcpStream::connect(to)?;
    node.set_nodelay(true)?;
    controller.set_nodelay(true)?;
    let (from, into, up) = (node.try_clone()?, controller.try_clone()?, Arc::clone(up));
    thread::Builder::new().name("wire up".into()).spawn(move || copy(from, into, &up))?;
    thread::Builder::new()
        .name("wire down".into())
        .spawn(move || copy(controller, node, &AtomicU64::new(0)))?;
    Ok(())
}

fn copy(mut from: TcpStream, mut to: TcpStream, count: &AtomicU64) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        count.fetch_add(read as u64, Ordering::Relaxed);
        if to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    // The other half may be gone already.
    to.shutdown(Shutdown::Write).ok();
}
