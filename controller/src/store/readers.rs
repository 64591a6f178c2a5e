//! Reading beside the writer: a few connections, each used by one blocking task at a time.
//!
//! A reader sees the last commit before it began. Who asks while all are busy waits in line; nobody holds a connection
//! while waiting for the network.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::{StoreError, connection};

/// Reads at a time.
const READERS: usize = 6;
/// Of these, reads that may take long: they leave room for what people wait for.
const LONG: usize = 3;

pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    slots: Arc<Semaphore>,
    long: Semaphore,
}

impl Readers {
    pub(super) fn new(path: &Path) -> Arc<Self> {
        let slots = Arc::new(Semaphore::new(READERS));
        Arc::new(Self { path: path.to_owned(), idle: Mutex::default(), slots, long: Semaphore::new(LONG) })
    }

    /// As [`Self::read`], for what may look at the whole log.
    pub(super) async fn read_long<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let _turn = self.long.acquire().await.map_err(|_| StoreError::Closed)?;
        self.read(work).await
    }

    /// Runs `work` on a connection, on a thread that may block.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let readers = Arc::clone(self);
        let reading = wa_link::worker::blocking(move || {
            let conn = readers.take()?;
            let result = work(&conn);
            readers.give_back(conn);
            drop(slot);
            result
        });
        reading.await.unwrap_or(Err(StoreError::Closed))
    }

    fn take(&self) -> Result<Connection, StoreError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle {
            Some(conn) => Ok(conn),
            None => {
                let conn = connection::open(&self.path)?;
                conn.pragma_update(None, "query_only", true)?;
                Ok(conn)
            }
        }
    }

    fn give_back(&self, conn: Connection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
    }
}
