//! A rotation of the vault's key that nobody waits for any more, and another one behind it.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Barrier, Mutex, mpsc};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Notify;
use wa_link::net::{Door, Wire};
use wa_link::worker;
use wa_link::world::{self, Change, World};

use super::accounts_tests::{add, alias, reopen, row};
use super::tests::{open, time};
use super::*;
use crate::accounts::Accounts;

/// A disk on which the first rename to the key's name takes until it is released.
struct Slow {
    begun: Notify,
    released: Mutex<Option<mpsc::Receiver<()>>>,
}

impl World for Slow {
    fn now(&self) -> Timestamp {
        time(0)
    }

    fn connect(&self, _: &str, _: u16) -> BoxFuture<'static, io::Result<Box<dyn Wire>>> {
        unreachable!("a rotation dials nobody")
    }

    fn listen(&self, _: SocketAddr) -> io::Result<Box<dyn Door>> {
        unreachable!("a rotation listens nowhere")
    }

    fn local(&self, _: &Path) -> io::Result<(Box<dyn Wire>, String)> {
        unreachable!("a rotation dials nobody")
    }

    fn change(&self, change: Change<'_>) -> io::Result<()> {
        if let Change::Rename { to, .. } = change
            && to.ends_with("vault.key")
            && let Some(released) = self.released.lock().unwrap().take()
        {
            self.begun.notify_one();
            released.recv_timeout(Duration::from_secs(20)).unwrap();
        }
        Ok(())
    }
}

/// Of two rotations the later one's key must have the name, also when the caller of the first hung up in its middle.
#[test]
fn a_rotation_that_was_left_alone_holds_up_the_next_one() {
    let place = tempfile::tempdir().unwrap();
    let (release, released) = mpsc::channel();
    let slow = Arc::new(Slow { begun: Notify::new(), released: Mutex::new(Some(released)) });
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().max_blocking_threads(2).build().unwrap();
    runtime.block_on(async {
        let both = Arc::new(Barrier::new(2));
        let inside = [(); 2].map(|()| {
            let (slow, both) = (Arc::clone(&slow), Arc::clone(&both));
            worker::blocking(move || {
                // Of this thread for as long as it lives.
                std::mem::forget(world::enter(slow));
                both.wait();
            })
        });
        for entered in inside {
            entered.await.unwrap();
        }
        let store = open(place.path());
        add(&store, row("a")).await;
        {
            let mut first = pin!(store.rotate_vault("operator:o".into()));
            tokio::select! {
                rotated = &mut first => panic!("the disk was not slow: {rotated:?}"),
                () = slow.begun.notified() => {}
            }
        }
        let mut second = pin!(store.rotate_vault("operator:o".into()));
        // That nothing happens can only be waited for.
        let early = tokio::time::timeout(Duration::from_millis(300), &mut second).await;
        assert!(early.is_err(), "the first key has yet to get its name: {early:?}");
        release.send(()).unwrap();
        second.await.unwrap();
    });
    drop(runtime);
    let accounts = Accounts::new(Arc::new(reopen(place.path()).unwrap()), place.path().to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(accounts.credentials(&alias("a"))).unwrap();
}
