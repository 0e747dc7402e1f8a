//! A few connections for reading, beside the writer: each call sees everything that was answered before it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use opendmp_ports::{Error, ErrorKind};
use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::database;
use super::fail::Result;
use super::presence::Presence;

#[derive(Debug)]
pub(crate) struct Readers {
    path: PathBuf,
    presence: Arc<Presence>,
    idle: Mutex<Vec<Connection>>,
    /// Taken for as long as a connection is used, also where nobody waits for the answer any more.
    pub(crate) permits: Arc<Semaphore>,
}

impl Readers {
    pub(crate) fn new(path: PathBuf, most: usize, presence: Arc<Presence>) -> Self {
        Self { path, presence, idle: Mutex::default(), permits: Arc::new(Semaphore::new(most.max(1))) }
    }

    /// Runs `work` on a connection, on this thread. The caller holds a permit.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let conn = match idle {
            Some(conn) => conn,
            None => {
                // Another file by now would be read beside the one that is written.
                self.presence.check("journal read")?;
                database::open_reader(&self.path)?
            }
        };
        let out = work(&conn);
        // One that failed may be in any state; the next call opens another.
        if out.is_ok() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
        }
        out
    }

    /// Closes the connections.
    pub(crate) fn close(&self) {
        self.permits.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// The error of a call to a journal that is closed.
pub(crate) fn closed(operation: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, operation, "the journal is closed")
}
