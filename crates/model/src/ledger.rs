//! What a source ledger knows of source items.

use serde::{Deserialize, Serialize};

use crate::ids::{Arrival, ContentHash};

/// What tells one version of a file from another. Times in nanoseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStat {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// Last change of the content.
    pub mtime: i64,
    /// Last change of the inode.
    pub ctime: i64,
    /// Whether it was read so soon after its last change that a further one may not show in its times: then its
    /// content decides whether it is still the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recent: bool,
}

impl FileStat {
    /// The same, as one whose times tell of every change.
    pub fn settled(self) -> Self {
        Self { recent: false, ..self }
    }
}

/// What the ledger knows of one (source, path).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its first arrival.
    pub origin: Arrival,
    /// Its latest arrival.
    pub latest: Arrival,
    /// The file as it was at the latest arrival.
    pub stat: FileStat,
    /// The content of the latest arrival.
    pub hash: ContentHash,
}
