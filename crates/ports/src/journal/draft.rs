//! Drafts: what people work on before it is saved as a version. Anything may be in one; nothing runs from it.

use bytes::Bytes;
use opendmp_model::ids::ContentHash;
use serde::{Deserialize, Serialize};

use super::types::SpaceId;

/// A draft, without what is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DraftRow {
    /// What it was begun under: the slug of its flow, or one of its own.
    pub slug: String,
    /// A name for people.
    pub name: String,
    /// Hash of what is in it: who changes it says which one he has seen.
    pub etag: ContentHash,
    /// Hash of the version it was begun from, hexadecimal.
    pub based_on: Option<String>,
    /// When it was last changed.
    pub changed: i64,
    /// By whom.
    pub actor: String,
}

/// What a draft is to be.
#[derive(Clone, Debug)]
pub struct NewDraft {
    /// A name for people.
    pub name: String,
    /// What is in it, as its owner encodes it.
    pub body: Bytes,
    /// Hash of the version it was begun from, hexadecimal.
    pub based_on: Option<String>,
}

/// A change of a draft by someone who says what he has seen of it.
#[derive(Clone, Debug)]
pub struct DraftChange {
    /// The space.
    pub space: SpaceId,
    /// Which draft.
    pub slug: String,
    /// What he has seen; `None`: that there is none.
    pub seen: Option<ContentHash>,
    /// What it is to be; `None`: gone.
    pub new: Option<NewDraft>,
    /// Now.
    pub at: i64,
    /// Who does it.
    pub actor: String,
}

impl DraftChange {
    /// The draft as it is to be, with what is in it; `None` where it goes.
    pub fn row(self) -> Option<(DraftRow, Bytes)> {
        let NewDraft { name, body, based_on } = self.new?;
        let etag = ContentHash::of(&body);
        Some((DraftRow { slug: self.slug, name, etag, based_on, changed: self.at, actor: self.actor }, body))
    }
}

/// What came of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DraftChanged {
    /// It is as it was to be.
    Done(Option<DraftRow>),
    /// It is not what he has seen, and stays as it is here.
    Otherwise(Option<DraftRow>),
}
