//! Source `generate`: items made from nothing but their numbers, to try flows and machines with.
//!
//! # What was made before
//!
//! A source keeps no record, so after a restart or a crash the ledger alone tells which items have arrived. Asking it
//! for each of ten million numbers would take long, and the numbers do not simply arrive in order: a claim may be
//! given back while later ones of the same look arrive, and a crash then leaves a hole.
//!
//! What keeps this cheap is one rule: *nothing is offered that lies [`WINDOW`] or more beyond the first number the
//! ledger does not know.* Call that number `a`. The rule holds at every offer, and `a` only ever grows, so at any time,
//! whatever was cut off in the middle, the ledger knows everything below `a`, possibly some of `a..a + WINDOW`, and
//! nothing beyond.
//!
//! So any halving of `0..count` that ends with a known number right below an unknown one, `b`, ends within
//! `a <= b <= a + WINDOW`: `b` is unknown, and `b - 1` known. Then all below `b - WINDOW` is known, and looking at each
//! number from there on finds `a` and every hole. That takes some 24 questions of one path each, once, and later a
//! few for each number whose arrival was not heard of. Nothing is remembered but how far all is known and how far was
//! offered, beyond which nothing is; it only saves questions.
//!
//! So a claim that nobody heard of again is simply offered again, and needs no `forget`. One that is offered while it is
//! still under way elsewhere has the same path and the same bytes, by which the journal knows it when both arrive.

use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use opendmp_model::diagnostic::codes;
use opendmp_model::document::ByteSize;
use opendmp_model::fault::Fault;
use opendmp_model::item::Attributes;
use opendmp_model::kinds::{Class, KindInfo, Problem, Role, schema_of};
use opendmp_processor::{
    Audit, AuditEntry, AuditState, Body, Claim, Claimed, Context, Ledger, Scan, Source, SourceError, SourceKind,
    config, saved_config,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::pace::{Pace, Rate};
use crate::blocks::{self, BLOCK, Stop};
use crate::scratch::Scratch;

mod pace;
#[cfg(test)]
mod tests;

/// The config of a source `generate`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How many items, at most ten million. Raised later, the further ones follow.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub count: u32,
    /// How large each item is, at most 64 GiB. By default they are empty.
    #[serde(default)]
    pub size: ByteSize,
    /// How many items come in a second, a minute or an hour at most: `1000/s`, `90/m`, `12/h`. They come in steps of a
    /// tenth of a second, and what could not be taken in time follows as soon as it can. By default they come as fast
    /// as they are taken.
    #[serde(default)]
    pub rate: Option<Rate>,
    /// What the names begin with: `item` gives `item-0000000.bin`, `item-0000001.bin`, ….
    #[serde(default = "default_name")]
    #[schemars(length(min = 1, max = 200))]
    pub name: String,
    /// Another seed gives other content.
    #[serde(default)]
    pub seed: u64,
}

fn default_name() -> String {
    "item".to_owned()
}

/// The largest size of an item.
const MOST_SIZE: ByteSize = ByteSize::mib(64 << 10);

/// The longest beginning of a name in bytes: the whole has to fit where file names do.
const MOST_NAME: usize = 200;

/// How far beyond the first unknown number items are offered; see above. A later version may raise it, but never lower
/// it: ledgers were written by this rule.
const WINDOW: u32 = 4_000;

/// Items up to this size are made in memory, in bytes.
const SMALL: u64 = 1 << 20;

/// How much is made in memory at one look, in bytes.
const MOST_MEMORY: u64 = 16 << 20;

/// In how many parts the items of a look are made.
const PARTS: usize = 4;

/// How many entries an audit gives.
const MOST_ENTRIES: usize = 1_000;

const DOCS: &str = "\
Makes items from their numbers, to try a flow, a step or a machine with. Each is made once, also when the server is \
stopped or killed meanwhile; with another `name`, `size` or `seed` all are made anew.

The content of an item is bytes that look random, so it can hardly be compressed. It depends on `seed` and the number \
alone. The attribute `number` counts from 0.
";

/// The source kind `generate`.
#[derive(Debug)]
pub struct Kind {
    scratch: Scratch,
}

impl Kind {
    /// Large items are made in files below `scratch`.
    pub fn new(scratch: impl Into<Scratch>) -> Self {
        Self { scratch: scratch.into() }
    }
}

impl SourceKind for Kind {
    fn info(&self) -> &KindInfo {
        static INFO: OnceLock<KindInfo> = OnceLock::new();
        INFO.get_or_init(|| KindInfo {
            name: "generate".to_owned(),
            class: Class::Source,
            role: Role::Ingest,
            summary: "Makes items from nothing, to try things with.".to_owned(),
            docs: DOCS.to_owned(),
            schema: schema_of::<Config>(),
            examples: vec![
                "type: generate\ncount: 200000\nsize: 1 KiB\nrate: 1000/s\n".to_owned(),
                "type: generate\ncount: 20\nsize: 2 GiB\nname: large\nseed: 7\n".to_owned(),
            ],
        })
    }

    fn prepare(&self, map: &Map<String, Value>) -> Vec<Problem> {
        let read: Config = match config(map) {
            Ok(read) => read,
            Err(problem) => return vec![problem],
        };
        let mut problems = Vec::new();
        if read.size > MOST_SIZE {
            let message = format!("an item of {} is too large", read.size);
            problems.push(
                Problem::new("/size", codes::INVALID_CONFIG, message).hint(format!("write at most `{MOST_SIZE}`")),
            );
        }
        if read.name.contains('/') || read.name.contains(char::is_control) {
            let message = "a name has no `/` and no control characters in it";
            problems.push(Problem::new("/name", codes::INVALID_CONFIG, message).hint("leave them out"));
        }
        if read.name.len() > MOST_NAME {
            let message = format!("the name is {} bytes long", read.name.len());
            problems.push(
                Problem::new("/name", codes::INVALID_CONFIG, message).hint(format!("write at most {MOST_NAME} bytes")),
            );
        }
        problems
    }

    fn open(&self, map: &Map<String, Value>, _context: &Context) -> Result<Arc<dyn Source>, Fault> {
        Ok(Arc::new(Generate::new(saved_config(map)?, self.scratch.clone())))
    }
}

/// An open source.
struct Generate {
    read: Config,
    /// Where items that are too large for memory are made.
    scratch: Scratch,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// All numbers below are known; `None` before the first look.
    all_known: Option<u32>,
    /// From here on the ledger knows nothing; as good as `all_known`.
    none_known: u32,
    /// `None` before the first look, and always without a rate.
    pace: Option<Pace>,
}

/// What the ledger does not know.
struct Unknown {
    /// The first such number and those that follow it, up to `end`.
    numbers: Vec<u32>,
    /// From here on it knows nothing.
    end: u32,
}

impl Generate {
    fn new(read: Config, scratch: Scratch) -> Self {
        Self { read, scratch, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn item_name(&self, number: u32) -> String {
        format!("{}-{number:07}.bin", self.read.name)
    }

    /// Those of some numbers that the ledger does not know, in order.
    async fn unknown_of(&self, ledger: &dyn Ledger, numbers: std::ops::Range<u32>) -> Result<Vec<u32>, SourceError> {
        let paths = numbers.clone().map(|number| self.item_name(number).into_bytes()).collect();
        let known = ledger.known(paths).await?;
        Ok(numbers.zip(known).filter(|(_, known)| known.is_none()).map(|(number, _)| number).collect())
    }

    /// A number below which all are known, and one from which on none is; see above.
    async fn locate(&self, ledger: &dyn Ledger) -> Result<(u32, u32), SourceError> {
        // What is below `low` ends with a known number, and `high` is unknown or the end.
        let (mut low, mut high) = (0, self.read.count);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.unknown_of(ledger, middle..middle + 1).await?.is_empty() {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok((low.saturating_sub(WINDOW), low.saturating_add(WINDOW)))
    }

    /// What may be offered now: nothing where all has arrived.
    async fn unknown(&self, ledger: &dyn Ledger) -> Result<Unknown, SourceError> {
        let told = {
            let state = self.state();
            state.all_known.map(|from| (from, state.none_known))
        };
        let (mut from, none_known) = match told {
            Some(told) => told,
            None => self.locate(ledger).await?,
        };
        loop {
            let end = self.read.count.min(from.saturating_add(WINDOW));
            // Only what was offered before can be known.
            let asked = from..end.min(none_known).max(from);
            let fresh = asked.end..end;
            let mut numbers = if asked.is_empty() { Vec::new() } else { self.unknown_of(ledger, asked).await? };
            numbers.extend(fresh);
            from = numbers.first().copied().unwrap_or(end);
            if from < end || end == self.read.count {
                let mut state = self.state();
                state.all_known = state.all_known.max(Some(from));
                state.none_known = state.none_known.max(none_known);
                return Ok(Unknown { numbers, end });
            }
        }
    }

    /// When a number may be offered, if not now: never before `now`, and at once without a rate.
    fn not_before(&self, first: u32, now: i64) -> impl Fn(u32) -> Option<i64> {
        let pace = self.read.rate.map(|rate| {
            let mut state = self.state();
            let pace = state.pace.take().map_or_else(|| Pace::begin(now, first), |pace| pace.at(now, first));
            state.pace = Some(pace);
            (rate, pace)
        });
        move |number| pace.map(|(rate, pace)| pace.due(rate, number)).filter(|due| *due > now)
    }

    /// How many items are made at one look at most.
    fn at_once(&self) -> usize {
        match self.read.size.get() {
            // A file each, as large as it may be: one is enough.
            size if size > SMALL => 1,
            size => usize::try_from(MOST_MEMORY / size.max(1)).unwrap_or(usize::MAX),
        }
    }

    /// Makes items.
    async fn make(&self, numbers: Vec<u32>) -> Result<Vec<Body>, SourceError> {
        let (size, seed, scratch) = (self.read.size.get(), self.read.seed, self.scratch.clone());
        if size == 0 {
            return Ok(numbers.iter().map(|_| Body::Bytes(Bytes::new())).collect());
        }
        let make = |numbers: Vec<u32>| {
            let scratch = scratch.clone();
            blocks::stoppable(move |stop: &Stop| -> Result<Vec<Body>, Fault> {
                let body = |number| match size {
                    ..=SMALL => Ok(Body::Bytes(in_memory(seed, number, size))),
                    _ => Ok(Body::File(Arc::new(in_file(seed, number, size, &scratch, stop)?))),
                };
                numbers.into_iter().map(body).collect()
            })
        };
        // Beside each other, where there are processors for it.
        let parts = numbers.chunks(numbers.len().div_ceil(PARTS).max(1)).map(|part| make(part.to_vec()));
        let mut bodies = Vec::with_capacity(numbers.len());
        for made in futures::future::join_all(parts).await {
            let made = made.map_err(|error| SourceError {
                code: "interrupted",
                message: format!("making items was interrupted: {error}"),
                hint: None,
            })?;
            let made =
                made.map_err(|fault| SourceError { code: "scratch", message: fault.message, hint: fault.hint })?;
            bodies.extend(made);
        }
        Ok(bodies)
    }

    fn claim_of(&self, number: u32, body: Body) -> Claim {
        let name = self.item_name(number);
        Claim {
            known: None,
            path: name.clone().into_bytes(),
            version: None,
            name,
            media_type: Some("application/octet-stream".to_owned()),
            attributes: Attributes::from_iter([("number".to_owned(), Value::from(number))]),
            body,
            release: None,
        }
    }
}

/// The content of an item: as many bytes of it as are read.
fn content(seed: u64, number: u32) -> blake3::OutputReader {
    let mut hasher = blake3::Hasher::new_derive_key("opendmp 2026 generate v1");
    hasher.update(&seed.to_le_bytes()).update(&number.to_le_bytes());
    hasher.finalize_xof()
}

fn in_memory(seed: u64, number: u32, size: u64) -> Bytes {
    // At most `SMALL`, which any address space holds.
    let mut bytes = vec![0; usize::try_from(size.min(SMALL)).unwrap_or(0)];
    content(seed, number).fill(&mut bytes);
    Bytes::from(bytes)
}

/// The content in a file without a name, which is gone with its last user.
fn in_file(seed: u64, number: u32, size: u64, scratch: &Scratch, stop: &Stop) -> Result<File, Fault> {
    let failed = |error: std::io::Error| blocks::unwritten(&error);
    scratch.grow(0, size)?;
    blocks::make_scratch(scratch).map_err(failed)?;
    let mut file = tempfile::tempfile_in(scratch).map_err(failed)?;
    let mut content = content(seed, number);
    let mut block = vec![0; BLOCK];
    let mut left = size;
    while left > 0 {
        stop.check()?;
        let count = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
        content.fill(&mut block[..count]);
        file.write_all(&block[..count]).map_err(failed)?;
        left -= count as u64;
    }
    Ok(file)
}

#[async_trait]
impl Source for Generate {
    /// What decides the items, without their number: more of the same are further ones.
    fn identity(&self) -> String {
        format!("generate:v1:{}:{}:{}", self.read.seed, self.read.size.get(), self.read.name)
    }

    async fn claim(&self, ledger: &dyn Ledger, now: i64, limit: usize) -> Result<Scan, SourceError> {
        let Unknown { numbers, end } = self.unknown(ledger).await?;
        let Some(first) = numbers.first() else { return Ok(Scan { complete: true, ..Scan::default() }) };
        let not_before = self.not_before(*first, now);
        let all = numbers.len();
        let due = numbers.iter().position(|number| not_before(*number).is_some()).unwrap_or(all);
        let count = due.min(limit).min(self.at_once());
        // The number that is to come next, unless these are the last.
        let next = numbers.get(count).copied().or((end < self.read.count).then_some(end));
        let taken = numbers[..count].to_vec();
        if let Some(last) = taken.last() {
            let mut state = self.state();
            state.none_known = state.none_known.max(last + 1);
        }
        let bodies = self.make(taken.clone()).await?;
        Ok(Scan {
            claims: taken.into_iter().zip(bodies).map(|(number, body)| self.claim_of(number, body)).collect(),
            complete: next.is_none(),
            again: next.and_then(not_before),
            ..Scan::default()
        })
    }

    fn arrived(&self, claim: &Claim) {
        let number = claim.attributes.get("number").and_then(Value::as_u64);
        let mut state = self.state();
        if let Some(known) = &mut state.all_known
            && number == Some(u64::from(*known))
        {
            *known += 1;
        }
    }

    /// A claim holds whatever happens: its bytes were made for it.
    async fn confirm(&self, _claim: &Claim) -> Result<Claimed, SourceError> {
        Ok(Claimed::Whole(None))
    }

    async fn release(&self, _release: &[u8]) -> Result<(), SourceError> {
        Ok(())
    }

    async fn audit(&self, ledger: &dyn Ledger, _releasing: &[Vec<u8>]) -> Result<Audit, SourceError> {
        let Unknown { numbers, end } = self.unknown(ledger).await?;
        let waiting = numbers.len() + (self.read.count - end) as usize;
        let entry = |number| AuditEntry { path: self.item_name(number), state: AuditState::Waiting, detail: None };
        let entries: Vec<AuditEntry> =
            numbers.into_iter().chain(end..self.read.count).take(MOST_ENTRIES).map(entry).collect();
        Ok(Audit { compared: u64::from(self.read.count), more: entries.len() < waiting, entries, ..Audit::default() })
    }
}
