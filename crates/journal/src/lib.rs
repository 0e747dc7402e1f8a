//! Journals on databases: catalog and queue of record in one transaction. What a journal means stands in
//! [`opendmp_ports::Journal`], and is checked by its conformance suite; what every journal decides in the same way
//! in [`opendmp_ports::journal::decide`].
//!
//! Here live [`SqliteJournal`], one directory and one process, and the lock that makes a data directory one server's;
//! [`backup`] takes snapshots of a journal that is in use, and reads them.

pub mod lock;
mod sqlite;

pub use sqlite::{Commit, Options, SqliteJournal, backup};
