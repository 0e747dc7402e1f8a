//! The journal on SQLite keeps the contract: as it is, and closed and opened again between any two calls.

use std::sync::Arc;

use async_trait::async_trait;
use opendmp_journal::{Options, SqliteJournal};
use opendmp_ports::Journal;
use opendmp_ports::journal::conformance::{Bench, all};
use tempfile::TempDir;

struct OnDisk(TempDir);

#[async_trait]
impl Bench for OnDisk {
    async fn open(&self) -> Arc<dyn Journal> {
        Arc::new(SqliteJournal::open(self.0.path(), Options::default()).unwrap())
    }
}

#[tokio::test]
async fn sqlite_conforms() {
    all(|| OnDisk(tempfile::tempdir().unwrap()), false).await;
}

#[tokio::test]
async fn sqlite_conforms_when_opened_again_before_each_call() {
    all(|| OnDisk(tempfile::tempdir().unwrap()), true).await;
}
