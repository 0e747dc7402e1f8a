//! One item: what is known of it, and its bytes. What is stored nowhere any more is looked for among what is recent, and
//! else made again: from the nearest ancestor whose bytes are there, by the very versions that the history names, each
//! result held against its hash. That is done as in a trial: no dataset, no export, no release, nothing remembered and
//! nothing recorded. A step's own calls to the world outside can't be prevented.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use opendmp_model::history::{Child, Context, Result as Outcome};
use opendmp_model::ids::{ContentHash, IdPrefix, ItemId};
use opendmp_model::item::{Attributes, ContentRef, Item, Place};
use opendmp_model::kinds::DEFAULT_PORT;
use opendmp_model::name;
use opendmp_ports::content::{Body as Stored, Hold};
use opendmp_ports::journal::{ArrivalRow, DEFAULT_SPACE, HistoryRow};
use opendmp_ports::{Error, ErrorKind};
use opendmp_processor::{Body, Emission, Input, NewContent, Opened, Outcome as Said};
use serde::{Deserialize, Serialize};

use crate::execute::body;
use crate::explain::{Found, entries, no_step};
use crate::loaded::run_blocking;
use crate::{Engine, Loaded, Node};

/// Steps that are told of behind an item at most.
const MOST_READ: usize = 1_000;

/// What is looked up of items whose ids begin as was asked, in entries and children.
const MOST_TRACES: usize = 4_000;

/// Candidates that are told where the beginning of an id is not clear.
const CANDIDATES: usize = 10;

/// Where bytes came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum BytesFrom {
    /// They are stored.
    Stored,
    /// They are among what steps were given and gave lately.
    Recent,
    /// They were computed again, and are the same as then.
    Computed,
}

/// One step that made or took an item.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ItemStep {
    /// The processor; `retry` and `reprocess` for a person's.
    pub processor: String,
    /// Its kind.
    pub kind: String,
    /// Hash of the flow version, hexadecimal.
    pub version: String,
    /// When it began, milliseconds since 1970.
    pub started: i64,
    /// What came of it.
    pub result: Outcome,
    /// Id of the item that went in.
    pub input: String,
    /// Ids of the items that came out.
    pub children: Vec<String>,
    /// A remark.
    pub note: Option<String>,
}

/// What is known of an item.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ItemFacts {
    /// Its id.
    pub id: String,
    /// The flow.
    pub flow: String,
    /// Its name.
    pub name: String,
    /// Hash of its bytes.
    pub hash: ContentHash,
    /// Their number.
    pub size: u64,
    /// Its attributes.
    pub attributes: Attributes,
    /// The output that it left by, where it is not the default one.
    pub port: Option<String>,
    /// Number of the arrival it came of, or the first of several.
    pub arrival: u64,
    /// Kind and place of its source.
    pub source: String,
    /// The path in it, as an item name is written.
    pub path: String,
    /// What made it.
    pub made: ItemStep,
    /// What took it, in order, bounded.
    pub read: Vec<ItemStep>,
    /// Where its bytes are at hand; `None`: they would have to be computed again.
    pub at_hand: Option<BytesFrom>,
}

/// The bytes of an item.
#[derive(Debug)]
pub struct ItemContent {
    /// The bytes.
    pub body: Stored,
    /// Their hash.
    pub hash: ContentHash,
    /// Their number.
    pub size: u64,
    /// Where they came from.
    pub from: BytesFrom,
    /// Keeps what was made again for this until it was read.
    pub hold: Option<Hold>,
}

/// What the history has of one item.
struct Past {
    id: ItemId,
    arrival: ArrivalRow,
    /// What made it, back to its arrival.
    way: Vec<HistoryRow>,
    /// What was looked up by its id: who took it, too.
    traces: Vec<HistoryRow>,
    contexts: BTreeMap<u32, Context>,
}

/// An item on the way to another, as the history has it.
struct Link<'a> {
    id: ItemId,
    /// What made it.
    found: Found<'a>,
    child: &'a Child,
    name: String,
    attributes: Attributes,
    hash: ContentHash,
    size: u64,
}

fn gone(message: String) -> Error {
    Error::new(ErrorKind::NotFound, "items content", message)
}

impl Engine {
    /// What is known of an item, by the beginning of its id.
    ///
    /// # Errors
    /// `NotFound`, and `Invalid` where the beginning is of several.
    pub async fn item(&self, prefix: &IdPrefix) -> Result<ItemFacts, Error> {
        let past = self.past(prefix).await?;
        let (id, arrival) = (past.id, &past.arrival);
        let way = past.way()?;
        let link = way.last().ok_or_else(|| past.missing())?;
        let at_hand = self.at_hand(arrival, link.hash, link.size).await?.map(|(_, from)| from);
        let took = |found: &Found<'_>| found.entry.input == id && found.entry.result != Outcome::Arrived;
        let read = entries(&past.traces).filter(took).take(MOST_READ);
        Ok(ItemFacts {
            id: id.to_string(),
            flow: arrival.flow.clone(),
            name: link.name.clone(),
            hash: link.hash,
            size: link.size,
            attributes: link.attributes.clone(),
            port: link.child.port.as_deref().map(str::to_owned),
            arrival: arrival.arrival.0,
            source: arrival.source.clone(),
            path: name::from_bytes(&arrival.path),
            made: past.step(&link.found)?,
            read: read.map(|found| past.step(&found)).collect::<Result<_, _>>()?,
            at_hand,
        })
    }

    /// The bytes of an item, by the beginning of its id.
    ///
    /// # Errors
    /// `NotFound` where they are not there and can't be made again, with the reason; those of the ports.
    pub async fn item_content(&self, prefix: &IdPrefix) -> Result<ItemContent, Error> {
        let past = self.past(prefix).await?;
        self.bytes_at(&past, &past.way()?).await
    }

    /// An item with its bytes, as a step would be given it, as far as the history tells: it does not tell a media type
    /// that a step gave.
    ///
    /// # Errors
    /// As [`Engine::item_content`].
    pub(crate) async fn whole_item(&self, prefix: &IdPrefix) -> Result<(Item, ItemContent), Error> {
        let past = self.past(prefix).await?;
        let way = past.way()?;
        let last = way.last().ok_or_else(|| past.missing())?;
        let content = self.bytes_at(&past, &way).await?;
        let item = Item {
            id: last.id,
            name: last.name.as_str().into(),
            content: ContentRef { hash: last.hash, size: last.size, place: Place::Empty },
            media_type: past.arrival.media_type.clone(),
            attributes: last.attributes.clone().into(),
            origin: past.arrival.origin,
            label: 0,
            index: 0,
            arrived: past.arrival.at,
        };
        Ok((item, content))
    }

    /// The name of an item, its size and its media type, as [`Engine::whole_item`] knows it.
    pub(crate) async fn described(&self, id: ItemId) -> Result<(String, u64, Option<Arc<str>>), Error> {
        let past = self.past(&IdPrefix::from(id)).await?;
        let way = past.way()?;
        let last = way.last().ok_or_else(|| past.missing())?;
        Ok((last.name.clone(), last.size, past.arrival.media_type.clone()))
    }

    /// The bytes of the last item of a way.
    async fn bytes_at(&self, past: &Past, way: &[Link<'_>]) -> Result<ItemContent, Error> {
        let (id, arrival) = (past.id, &past.arrival);
        let last = way.last().ok_or_else(|| past.missing())?;
        let (hash, size) = (last.hash, last.size);
        if let Some((body, from)) = self.at_hand(arrival, hash, size).await? {
            return Ok(ItemContent { body, hash, size, from, hold: None });
        }
        // From the nearest one; if that fails, perhaps because not all is known of it (its media type is not), from the
        // first, of which all is.
        let hold = self.content.hold();
        let mut failed = None;
        for at in (0..way.len() - 1).rev() {
            if failed.is_some() && at > 0 {
                continue;
            }
            let Some((body, _)) = self.at_hand(arrival, way[at].hash, way[at].size).await? else { continue };
            match self.compute(past, &way[at..], body).await {
                Ok(body) => return Ok(ItemContent { body, hash, size, from: BytesFrom::Computed, hold: Some(hold) }),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(|| {
            let went = match arrival.gone {
                Some(_) => "the flow's retention let the source go",
                None => "its source is not stored any more",
            };
            gone(format!("the bytes of {id} are nowhere any more, and nothing to compute them from: {went}"))
                .with_hint("`retention: { sources: … }` of the flow says for how long sources are kept")
        }))
    }

    /// What the history has of the item whose id begins so.
    async fn past(&self, prefix: &IdPrefix) -> Result<Past, Error> {
        let arrival = self.journal.arrival(prefix.arrival).await?;
        let traces = self.journal.traces(prefix.clone(), MOST_TRACES).await?;
        let id = find(prefix, &traces)?;
        let makes = |found: &Found<'_>| found.entry.children.iter().any(|child| child.id == id);
        let made = entries(&traces).find(makes).map(|found| found.row.seq);
        let way = match made {
            Some(seq) => self.journal.lineage(seq, id).await?,
            None => Vec::new(),
        };
        let mut contexts = self.contexts_of(&way).await?;
        contexts.append(&mut self.contexts_of(&traces).await?);
        Ok(Past { id, arrival, way, traces, contexts })
    }

    /// Bytes that are stored, or recent.
    async fn at_hand(
        &self,
        arrival: &ArrivalRow,
        hash: ContentHash,
        size: u64,
    ) -> Result<Option<(Stored, BytesFrom)>, Error> {
        if size == 0 {
            return Ok(Some((Stored::Bytes(Default::default()), BytesFrom::Stored)));
        }
        for content in self.journal.content_of(arrival.arrival, hash).await? {
            match self.content.open(&content).await {
                Ok(body) => return Ok(Some((body, BytesFrom::Stored))),
                Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Damaged) => {}
                Err(error) => return Err(error),
            }
        }
        let Some(recent) = self.recent.clone() else { return Ok(None) };
        let found = run_blocking(move || recent.find(hash)).await?;
        Ok(found.map(|bytes| (Stored::Bytes(bytes), BytesFrom::Recent)))
    }

    /// Makes the bytes of the last of these again, from those of the first.
    async fn compute(&self, past: &Past, way: &[Link<'_>], body: Stored) -> Result<Stored, Error> {
        let arrival = &past.arrival;
        let Some((first, rest)) = way.split_first() else { return Ok(body) };
        let content = ContentRef { hash: first.hash, size: first.size, place: Place::Empty };
        let mut item = Item {
            id: first.id,
            name: first.name.as_str().into(),
            content,
            media_type: arrival.media_type.clone(),
            attributes: first.attributes.clone().into(),
            origin: arrival.origin,
            label: 0,
            index: 0,
            arrived: arrival.at,
        };
        let mut body = body;
        for link in rest {
            match link.found.entry.result {
                Outcome::Reentered if link.hash == item.content.hash => item.id = link.id,
                Outcome::Reentered => {
                    return Err(gone(format!("{} was edited by a person, and is not computed again", link.id))
                        .with_hint("what a person made of an item is kept for as long as its source"));
                }
                Outcome::Joined => {
                    let error = gone(format!("{} was made by an aggregate, and is not computed again", link.id))
                        .with_hint(
                            "the items that it was made of can be: `opendmp items show` tells the first of them",
                        );
                    return Err(error);
                }
                _ => {
                    let context = past.context(&link.found)?;
                    (item, body) = self.compute_one(context, item, body, link).await?;
                }
            }
        }
        Ok(body)
    }

    /// Does one step again, for one of its children.
    async fn compute_one(
        &self,
        context: &Context,
        item: Item,
        stored: Stored,
        link: &Link<'_>,
    ) -> Result<(Item, Stored), Error> {
        let step = &context.processor;
        let loaded = self.version_of(context).await?;
        let node = loaded.node(step).ok_or_else(|| gone(format!("this version has no `{step}`")))?;
        let cant = |why: String| gone(format!("`{step}` can't do {} again: {why}", item.id));
        let opened = node.opened(self).await.map_err(|fault| cant(fault.to_string()))?;
        let Opened::Transform(processor) = opened else {
            return Err(cant("it is no step that makes items of items".to_owned()));
        };
        let reads = processor.reads_content();
        let input = Input { item: item.clone(), body: if reads { body(stored.clone()) } else { Body::Unread } };
        let mut done = {
            let _permit = node.permits.acquire().await.ok();
            processor.process(vec![input]).await.map_err(|fault| cant(fault.to_string()))?
        };
        let outcome = done.pop().ok_or_else(|| cant("it gave no answer".to_owned()))?.outcome;
        let found = match outcome {
            Said::Emit { many, children } => pick(&item, node, link.id, children.into_iter()).map(|one| (many, one)),
            Said::Stream(mut children) => {
                let (parent, id) = (item.id, node.id.clone());
                let wanted = link.id;
                let search = move || {
                    for (ordinal, emission) in (0u32..).zip(&mut children) {
                        let emission = emission?;
                        if child_id(parent, &id, &emission, ordinal) == wanted {
                            return Ok(Some((ordinal, emission)));
                        }
                    }
                    Ok::<_, opendmp_model::fault::Fault>(None)
                };
                run_blocking(search).await?.map_err(|fault| cant(fault.to_string()))?.map(|one| (true, one))
            }
            Said::Fault(fault) => return Err(cant(fault.to_string())),
        };
        let changed = processor.environment() != context.environment;
        let Some((many, (ordinal, emission))) = found else {
            let what = "does not give that result any more";
            return Err(differs(step, what, changed));
        };
        let mut child = Item { id: link.id, name: link.name.as_str().into(), ..item.clone() };
        child.media_type = emission.media_type.map(Into::into).or(child.media_type);
        child.attributes = link.attributes.clone().into();
        if many {
            child.index = ordinal;
        }
        child.content = ContentRef { hash: link.hash, size: link.size, place: Place::Empty };
        let (hash, made) = self.bytes_of(emission.content, &item, stored).await?;
        if hash != link.hash {
            let what = format!("answers differently each time: {} then, {} now", link.hash.short(12), hash.short(12));
            return Err(differs(step, &what, changed));
        }
        Ok((child, made))
    }

    /// The bytes of a child, with their hash. What is too much for memory goes through the store, where nobody names it.
    async fn bytes_of(&self, new: NewContent, parent: &Item, own: Stored) -> Result<(ContentHash, Stored), Error> {
        Ok(match new {
            NewContent::Same => (parent.content.hash, own),
            NewContent::Bytes(bytes) => (ContentHash::of(&bytes), Stored::Bytes(bytes)),
            NewContent::Stream(stream) => {
                let failed = |error| Error::io("items content", "a result that was computed", &error);
                let reader = run_blocking(move || stream.open()).await?.map_err(failed)?;
                let content = self.content.put_reader(reader).await?;
                (content.hash, self.content.open(&content).await?)
            }
        })
    }

    /// The very version that a step was done by, opened.
    async fn version_of(&self, context: &Context) -> Result<Arc<Loaded>, Error> {
        let found = self.journal.find_version(DEFAULT_SPACE, &context.flow, &context.version).await?;
        let short = context.version.get(..6).unwrap_or(&context.version);
        let version =
            found.ok_or_else(|| gone(format!("version {short} of {} is not there any more", context.flow)))?;
        self.load(version).await
    }
}

fn differs(step: &str, what: &str, changed: bool) -> Error {
    let hint = match changed {
        true => "it runs in another environment than then; `opendmp datasets history --long` tells which",
        false => "a step whose results depend on the time, on chance or on the world can't be computed again",
    };
    gone(format!("`{step}` {what}")).with_hint(hint)
}

fn child_id(parent: ItemId, node: &str, emission: &Emission, ordinal: u32) -> ItemId {
    parent.child(node, emission.port.as_deref().unwrap_or(DEFAULT_PORT), ordinal)
}

/// The child of that id among these.
fn pick(
    parent: &Item,
    node: &Node,
    wanted: ItemId,
    children: impl Iterator<Item = Emission>,
) -> Option<(u32, Emission)> {
    let mut numbered = (0u32..).zip(children);
    numbered.find(|(ordinal, emission)| child_id(parent.id, &node.id, emission, *ordinal) == wanted)
}

/// The item of that id, or of the beginning of it.
fn find(prefix: &IdPrefix, traces: &[HistoryRow]) -> Result<ItemId, Error> {
    let meant = |id: &ItemId| id.arrival == prefix.arrival && prefix.matches(id.path);
    let named = |found: Found<'_>| {
        let children: Vec<ItemId> = found.entry.children.iter().map(|child| child.id).collect();
        std::iter::once(found.entry.input).chain(children)
    };
    let all: BTreeSet<ItemId> = entries(traces).flat_map(named).filter(meant).collect();
    let mut found: Vec<ItemId> = match prefix.pass {
        Some(pass) => all.into_iter().filter(|id| id.pass == pass).collect(),
        // As it is shown, an id without a pass is of the first one.
        None if all.iter().any(|id| id.pass.0 == 0) => all.into_iter().filter(|id| id.pass.0 == 0).collect(),
        None => all.into_iter().collect(),
    };
    match (found.pop(), found.is_empty()) {
        (Some(id), true) => Ok(id),
        (Some(last), false) => {
            let some = found.iter().chain([&last]).take(CANDIDATES).map(ToString::to_string).collect::<Vec<_>>();
            let message = "this is the beginning of several items' ids";
            Err(Error::new(ErrorKind::Invalid, "items", message).with_hint(format!("write one: {}", some.join(", "))))
        }
        (None, _) => Err(Error::new(ErrorKind::NotFound, "items", "there is no such item in the history")
            .with_hint("`opendmp datasets history --long` tells the ids of items")),
    }
}

impl Past {
    fn missing(&self) -> Error {
        no_step(self.id, self.arrival.forgot.is_some())
    }

    fn context(&self, found: &Found<'_>) -> Result<&Context, Error> {
        let missing = || Error::new(ErrorKind::Damaged, "items", format!("context {} is missing", found.context));
        self.contexts.get(&found.context).ok_or_else(missing)
    }

    fn step(&self, found: &Found<'_>) -> Result<ItemStep, Error> {
        let context = self.context(found)?;
        Ok(ItemStep {
            processor: context.processor.clone(),
            kind: context.kind.clone(),
            version: context.version.clone(),
            started: if found.started > 0 { found.started } else { found.row.at },
            result: found.entry.result,
            input: found.entry.input.to_string(),
            children: found.entry.children.iter().take(MOST_READ).map(|child| child.id.to_string()).collect(),
            note: found.entry.note.as_deref().map(str::to_owned),
        })
    }

    /// The way to the item from its arrival, both included.
    fn way(&self) -> Result<Vec<Link<'_>>, Error> {
        let mut made: BTreeMap<ItemId, Found<'_>> = BTreeMap::new();
        for found in entries(&self.way) {
            for child in &found.entry.children {
                made.entry(child.id).or_insert(found);
            }
        }
        let arrival = &self.arrival;
        let mut back = Vec::new();
        let mut at = self.id;
        loop {
            let found = *made.get(&at).ok_or_else(|| self.missing())?;
            let child = found.entry.children.iter().find(|child| child.id == at);
            back.push((at, found, child.ok_or_else(|| self.missing())?));
            if found.entry.result == Outcome::Arrived || found.entry.input == at {
                break;
            }
            at = found.entry.input;
        }
        let mut way: Vec<Link<'_>> = Vec::with_capacity(back.len());
        for (id, found, child) in back.into_iter().rev() {
            let parent = way.last();
            let name = match &child.name {
                Some(name) => name.to_string(),
                None => parent.map(|link| link.name.clone()).unwrap_or_default(),
            };
            let mut attributes = parent.map(|link| link.attributes.clone()).unwrap_or_default();
            if let Some(text) = child.attributes.as_deref() {
                let damaged = |_| Error::new(ErrorKind::Damaged, "items", "attributes are no JSON object");
                attributes.extend(serde_json::from_str::<Attributes>(text).map_err(damaged)?);
            }
            let before = parent.map_or((arrival.content.hash, arrival.content.size), |link| (link.hash, link.size));
            let (hash, size) = child.content.unwrap_or(before);
            way.push(Link { id, found, child, name, attributes, hash, size });
        }
        Ok(way)
    }
}
