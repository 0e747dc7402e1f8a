//! Drafts: what people work on before it is enabled. A draft may hold a flow that is broken in any way; who writes one
//! says which one he has seen, so that two people never overwrite each other unawares.

use std::collections::BTreeMap;

use opendmp_model::document::tree::{self, Node};
use opendmp_model::document::{ByteSize, slug};
use opendmp_model::ids::ContentHash;
use opendmp_ports::journal::{self, DEFAULT_SPACE, DraftChange, DraftChanged, NewDraft};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ask::FileContent;
use crate::diff::Written;
use crate::problem::Problem;
use crate::rows::time;
use crate::service::Service;

/// The format drafts are stored in.
const FORMAT: u16 = 1;

/// How many drafts there may be, how large one may be as it is stored, and all together, in bytes.
const MAX_DRAFTS: usize = 1_000;
const MAX_DRAFT: u64 = 8 << 20;
const MAX_BYTES: u64 = 64 << 20;

/// How large the drafts are that were looked at, by slug, each as it was with that etag.
#[derive(Debug, Default)]
pub(crate) struct DraftSizes(BTreeMap<String, (ContentHash, u64)>);

/// A draft to be written.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DraftText {
    /// YAML or JSON, or what is to become that.
    pub text: String,
    /// The files it names, by path relative to it.
    #[serde(default)]
    pub files: BTreeMap<String, FileContent>,
    /// The folder its relative paths begin at, where it is not the server's to choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// Hash of the version it was begun from, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub based_on: Option<String>,
}

/// As it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    format: u16,
    draft: DraftText,
}

/// A draft, without what is in it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DraftRow {
    /// The slug that it was begun under.
    pub flow: String,
    /// The flow's name as written in it, or the slug.
    pub name: String,
    /// When it was last changed.
    pub changed: String,
    /// By whom.
    pub actor: String,
    /// What to give as `If-Match`, in quotes, to change it.
    pub etag: String,
    /// Hash of the version it was begun from, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub based_on: Option<String>,
}

impl From<&journal::DraftRow> for DraftRow {
    fn from(row: &journal::DraftRow) -> Self {
        Self {
            flow: row.slug.clone(),
            name: row.name.clone(),
            changed: time(row.changed),
            actor: row.actor.clone(),
            etag: row.etag.to_hex(),
            based_on: row.based_on.clone(),
        }
    }
}

/// A draft.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Draft {
    /// The slug that it was begun under.
    pub flow: String,
    /// The flow's name as written in it, or the slug.
    pub name: String,
    /// YAML or JSON, or what is to become that.
    pub text: String,
    /// The files it names, by path relative to it.
    pub files: BTreeMap<String, FileContent>,
    /// The folder its relative paths begin at, where it is not the server's to choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// Hash of the version it was begun from, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub based_on: Option<String>,
    /// When it was last changed.
    pub changed: String,
    /// By whom.
    pub actor: String,
    /// What to give as `If-Match`, in quotes, to change it.
    pub etag: String,
}

impl Draft {
    fn new(row: &journal::DraftRow, draft: DraftText) -> Self {
        let DraftRow { flow, name, changed, actor, etag, .. } = row.into();
        let DraftText { text, files, base, based_on } = draft;
        Self { flow, name, text, files, base, based_on, changed, actor, etag }
    }
}

/// What a person has seen of a draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// That there is none.
    Nothing,
    /// The one with this hash.
    Draft(ContentHash),
}

/// The name that a text gives its flow.
pub(crate) fn name_in(text: &str) -> Option<String> {
    let root = tree::parse(text).0?;
    root.get("name").and_then(Node::text).map(str::to_owned)
}

impl Service {
    /// All drafts, by slug.
    pub(crate) async fn drafts(&self) -> Result<Vec<DraftRow>, Problem> {
        Ok(self.engine.journal.drafts(DEFAULT_SPACE).await?.iter().map(DraftRow::from).collect())
    }

    /// A draft.
    pub(crate) async fn draft(&self, flow: &str) -> Result<Draft, Problem> {
        let found = self.engine.journal.draft(DEFAULT_SPACE, &slug(flow)).await?;
        let (row, body) = found.ok_or_else(|| no_draft(flow))?;
        Ok(Draft::new(&row, read(&body)?))
    }

    /// The text and the files of a draft.
    pub(crate) async fn draft_written(&self, flow: &str) -> Result<Written, Problem> {
        let draft = self.draft(flow).await?;
        let files = draft.files.into_iter().map(|(path, content)| (path, content.0)).collect();
        Ok(Written { text: draft.text, files })
    }

    /// Writes a draft; answers whether it is new.
    pub(crate) async fn write_draft(
        &self,
        flow: &str,
        draft: DraftText,
        seen: Seen,
        actor: &str,
    ) -> Result<(Draft, bool), Problem> {
        if flow.is_empty() || slug(flow) != flow {
            let message = format!("`{flow}` can't be the name of a draft");
            return Err(Problem::new(400, "bad-id", message)
                .with_hint("it has letters and digits in lower case, and `-` between them"));
        }
        let owned = flow.to_owned();
        let encode = move || {
            let name = name_in(&draft.text).filter(|name| !name.trim().is_empty()).unwrap_or(owned);
            let body = serde_json::to_vec(&Stored { format: FORMAT, draft: draft.clone() });
            body.map(|body| (draft, name, body))
        };
        let encoded = tokio::task::spawn_blocking(encode).await;
        let (draft, name, body) = encoded
            .map_err(|error| Problem::new(500, "draft", format!("the draft could not be read: {error}")))?
            .map_err(|error| Problem::new(500, "draft", format!("the draft can't be written: {error}")))?;
        // Held until it is written, so that two do not both take what room is left.
        let mut sizes = self.draft_sizes.lock().await;
        self.has_room(&mut sizes, flow, body.len() as u64).await?;
        let new = NewDraft { name, body: body.into(), based_on: draft.based_on.clone() };
        let row = self.change_draft(flow, seen, Some(new), actor).await?;
        drop(sizes);
        let row = row.ok_or_else(|| Problem::new(500, "draft", "the draft was not kept"))?;
        Ok((Draft::new(&row, draft), seen == Seen::Nothing))
    }

    /// Whether a draft of that size may be written. One that becomes smaller always may.
    async fn has_room(&self, sizes: &mut DraftSizes, flow: &str, size: u64) -> Result<(), Problem> {
        if size > MAX_DRAFT {
            let message = format!("this draft has {size} bytes; the limit is {}", ByteSize::bytes(MAX_DRAFT));
            return Err(Problem::new(413, "draft-too-large", message)
                .with_hint("leave large files out of it: a script can read them from a folder of its own"));
        }
        let rows = self.engine.journal.drafts(DEFAULT_SPACE).await?;
        sizes.0.retain(|slug, (etag, _)| rows.iter().any(|row| row.slug == *slug && row.etag == *etag));
        for row in rows.iter().filter(|row| !sizes.0.contains_key(&row.slug)).collect::<Vec<_>>() {
            if let Some((row, body)) = self.engine.journal.draft(DEFAULT_SPACE, &row.slug).await? {
                sizes.0.insert(row.slug.clone(), (row.etag, body.len() as u64));
            }
        }
        let before = sizes.0.get(flow).map(|(_, size)| *size);
        let others: u64 = sizes.0.values().map(|(_, size)| size).sum::<u64>() - before.unwrap_or(0);
        let full = |message: String| {
            Err(Problem::new(409, "drafts-full", message)
                .with_hint("enable or drop drafts that are not needed any more (`GET /api/v1/drafts` lists them)"))
        };
        match before {
            None if sizes.0.len() >= MAX_DRAFTS => {
                full(format!("there are {MAX_DRAFTS} drafts, as many as there may be"))
            }
            _ if others + size > MAX_BYTES && before.is_none_or(|before| size > before) => {
                full(format!("with it, all drafts together would exceed {}", ByteSize::bytes(MAX_BYTES)))
            }
            _ => Ok(()),
        }
    }

    /// Drops a draft.
    pub(crate) async fn drop_draft(&self, flow: &str, seen: ContentHash, actor: &str) -> Result<(), Problem> {
        self.change_draft(flow, Seen::Draft(seen), None, actor).await?;
        Ok(())
    }

    /// Drops the draft that became a version of a flow, if nobody changed it meanwhile: the one of that slug or, where
    /// the flow was renamed in it, the one that was begun under another.
    pub(crate) async fn drop_enabled_draft(&self, flow: &str, etag: ContentHash, actor: &str) -> Result<(), Problem> {
        let drafts = self.engine.journal.drafts(DEFAULT_SPACE).await?;
        let mut equal: Vec<_> = drafts.into_iter().filter(|draft| draft.etag == etag).collect();
        equal.sort_by_key(|draft| draft.slug != flow);
        match equal.into_iter().next() {
            Some(draft) => self.drop_draft(&draft.slug, etag, actor).await,
            None => Ok(()),
        }
    }

    async fn change_draft(
        &self,
        flow: &str,
        seen: Seen,
        new: Option<NewDraft>,
        actor: &str,
    ) -> Result<Option<journal::DraftRow>, Problem> {
        let change = DraftChange {
            space: DEFAULT_SPACE,
            slug: flow.to_owned(),
            seen: match seen {
                Seen::Nothing => None,
                Seen::Draft(hash) => Some(hash),
            },
            new,
            at: self.engine.clock.now(),
            actor: actor.to_owned(),
        };
        match self.engine.journal.change_draft(change).await? {
            DraftChanged::Done(row) => Ok(row),
            DraftChanged::Otherwise(Some(row)) => {
                let message = format!("the draft was changed by {} at {}", row.actor, time(row.changed));
                Err(Problem::new(412, "changed-meanwhile", message)
                    .with_hint(format!("read it again: its etag is \"{}\" now", row.etag.to_hex())))
            }
            DraftChanged::Otherwise(None) => {
                Err(Problem::new(412, "changed-meanwhile", format!("the draft `{flow}` was dropped meanwhile"))
                    .with_hint("write it anew with `If-None-Match: *`"))
            }
        }
    }
}

fn no_draft(flow: &str) -> Problem {
    Problem::new(404, "not-found", format!("there is no draft of `{flow}`"))
        .with_hint("`GET /api/v1/drafts` lists them")
}

fn read(body: &[u8]) -> Result<DraftText, Problem> {
    let newer = |format: u16| {
        Problem::new(409, "newer", format!("the draft is stored in format {format}; this program reads up to {FORMAT}"))
    };
    let damaged = |error| Problem::new(500, "draft", format!("the draft can't be read: {error}"));
    let stored: Stored = serde_json::from_slice(body).map_err(damaged)?;
    if stored.format > FORMAT { Err(newer(stored.format)) } else { Ok(stored.draft) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use opendmp_engine::{Engine, Options};
    use opendmp_ports::clock::SystemClock;
    use opendmp_ports::content::MemoryContent;
    use opendmp_ports::journal::{Lease, MemoryJournal};
    use opendmp_ports::transport::InProcess;
    use opendmp_processor::Registry;

    use super::*;

    fn service() -> Arc<Service> {
        let engine = Engine::new(
            Arc::new(MemoryJournal::default()),
            Arc::new(MemoryContent::default()),
            Arc::new(InProcess::default()),
            Arc::new(SystemClock),
            Arc::new(Registry::default()),
            Options::default(),
            Lease::default(),
        );
        Service::command(Arc::new(engine))
    }

    async fn write(service: &Service, flow: &str, bytes: usize, seen: Seen) -> Result<Seen, String> {
        let draft = DraftText { text: "x".repeat(bytes), ..DraftText::default() };
        let written = service.write_draft(flow, draft, seen, "ada").await.map_err(|problem| problem.code)?;
        Ok(Seen::Draft(ContentHash::from_hex(&written.0.etag).unwrap()))
    }

    #[tokio::test]
    async fn drafts_take_so_much_room_and_no_more() {
        let (service, large) = (service(), (MAX_DRAFT - 1_000) as usize);
        assert_eq!(write(&service, "huge", MAX_DRAFT as usize, Seen::Nothing).await, Err("draft-too-large".to_owned()));
        let mut last = Seen::Nothing;
        for n in 0..MAX_BYTES / MAX_DRAFT {
            last = write(&service, &format!("large-{n}"), large, Seen::Nothing).await.unwrap();
        }
        assert_eq!(write(&service, "one-more", large, Seen::Nothing).await, Err("drafts-full".to_owned()));
        // What is there may change, and become smaller, which makes room.
        let flow = format!("large-{}", MAX_BYTES / MAX_DRAFT - 1);
        let same = write(&service, &flow, large - 1, last).await.unwrap();
        write(&service, &flow, 10, same).await.unwrap();
        write(&service, "one-more", 10, Seen::Nothing).await.unwrap();
    }

    #[tokio::test]
    async fn there_are_so_many_drafts_and_no_more() {
        let service = service();
        let mut first = Seen::Nothing;
        for n in 0..MAX_DRAFTS {
            let seen = write(&service, &format!("draft-{n}"), 1, Seen::Nothing).await.unwrap();
            first = if n == 0 { seen } else { first };
        }
        assert_eq!(write(&service, "one-more", 1, Seen::Nothing).await, Err("drafts-full".to_owned()));
        write(&service, "draft-0", 2, first).await.unwrap();
        let row = service.drafts().await.unwrap().into_iter().find(|row| row.flow == "draft-1").unwrap();
        service.drop_draft("draft-1", ContentHash::from_hex(&row.etag).unwrap(), "ada").await.unwrap();
        write(&service, "one-more", 1, Seen::Nothing).await.unwrap();
    }
}
