//! Processor `decompress`: takes what is in a gzip or zstd archive out of it. The other way round is `compress`.
//!
//! Formats are told by the first bytes. What can't be read whole is the item's fault, and nothing of it goes on.

mod formats;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use opendmp_model::diagnostic::codes;
use opendmp_model::document::{ByteSize, ProcessorDoc};
use opendmp_model::fault::Fault;
use opendmp_model::item::Attributes;
use opendmp_model::kinds::{Class, Determinism, Facts, Files, KindInfo, Problem, Role, schema_of};
use opendmp_model::name;
use opendmp_processor::{
    Context, Done, Emission, Input, Opened, Processor, ProcessorKind, Registry, config, saved_config,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::blocks::{Blocks, Spill, in_time, one_by_one};
use crate::compress::BATCH;
use crate::scratch::Scratch;

/// The config of a `decompress`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The format items must have: `gzip`, `zstd`, or either with `auto`. It is told by the first bytes, whatever the
    /// name says.
    #[serde(default)]
    pub format: Format,
    /// The most an item may hold. A small archive can hold more than any disk; one that holds more than this is refused.
    #[serde(default = "default_max_size")]
    pub max_size: ByteSize,
}

/// A format of archives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Whichever it is.
    #[default]
    Auto,
    /// RFC 1952; `.gz`.
    Gzip,
    /// RFC 8878; `.zst`.
    Zstd,
}

fn default_max_size() -> ByteSize {
    ByteSize::mib(64 << 10)
}

/// What names of archives end with, and what is put in its place.
const SUFFIXES: [(&str, &str); 4] = [(".gz", ""), (".zst", ""), (".tgz", ".tar"), (".tzst", ".tar")];

const DOCS: &str = "\
Takes what was compressed out of each item. The ending `.gz` or `.zst` goes from its name, `.tgz` becomes `.tar`, and \
the media type is that of the new name, else `application/octet-stream`.

Archives that were joined (`cat a.gz b.gz`) are read to the end, as one, and zeros that fill up a gzip \
archive are left out. An item that is not an archive, ends too early, \
is damaged, has other bytes behind its end, or holds more than `max_size` becomes a dead letter: nothing of it goes on.
";

/// The processor kind `decompress`.
#[derive(Debug)]
pub struct Kind {
    scratch: Scratch,
}

impl Kind {
    /// Large results wait in files below `scratch`.
    pub fn new(scratch: impl Into<Scratch>) -> Self {
        Self { scratch: scratch.into() }
    }
}

#[async_trait]
impl ProcessorKind for Kind {
    fn info(&self) -> &KindInfo {
        static INFO: OnceLock<KindInfo> = OnceLock::new();
        INFO.get_or_init(|| KindInfo {
            name: "decompress".to_owned(),
            class: Class::Processor,
            role: Role::Transform,
            summary: "Takes items out of gzip and zstd.".to_owned(),
            docs: DOCS.to_owned(),
            schema: schema_of::<Config>(),
            examples: vec![
                "id: unpack\ntype: decompress\ninputs: [inbox]\n".to_owned(),
                "id: unpack\ntype: decompress\ninputs: [inbox]\nformat: gzip\nmax_size: 2 GiB\n".to_owned(),
            ],
        })
    }

    fn prepare(&self, _: &Registry, doc: &ProcessorDoc, _files: &dyn Files) -> Result<Facts, Vec<Problem>> {
        let read: Config = config(&doc.config).map_err(|problem| vec![problem])?;
        if read.max_size.get() == 0 {
            let message = "with a `max_size` of nothing every item is refused";
            return Err(vec![
                Problem::new("/max_size", codes::INVALID_CONFIG, message).hint("write `64 GiB`, for example"),
            ]);
        }
        Ok(Facts { determinism: Determinism::ByConstruction, ..Facts::default() })
    }

    async fn open(&self, _: &Registry, doc: &ProcessorDoc, context: &Context) -> Result<Opened, Fault> {
        let read: Config = saved_config(&doc.config)?;
        let (scratch, timeout) = (self.scratch.clone(), context.timeout);
        Ok(Opened::Transform(Arc::new(Decompress { read, scratch, timeout })))
    }
}

/// An open decompress.
struct Decompress {
    read: Config,
    scratch: Scratch,
    timeout: Duration,
}

#[async_trait]
impl Processor for Decompress {
    fn batch(&self) -> usize {
        BATCH
    }

    async fn process(&self, inputs: Vec<Input>) -> Result<Vec<Done>, Fault> {
        Ok(one_by_one(inputs, |input| self.one(input)).await)
    }
}

impl Decompress {
    async fn one(&self, input: Input) -> Result<Emission, Fault> {
        let (scratch, body, read) = (self.scratch.clone(), input.body, self.read.clone());
        let content = in_time(self.timeout, move |stop| {
            let mut spill = Spill::new(scratch, read.max_size, stop);
            formats::unpack(read.format, &mut Blocks::new(body, stop), &mut spill)?;
            spill.finish()
        });
        let content = content.await?;
        let renamed = without_suffix(&input.item.name);
        let guessed = mime_guess::from_ext(name::extension(renamed.as_deref().unwrap_or(&input.item.name)));
        let media_type = guessed.first_raw().unwrap_or("application/octet-stream").to_owned();
        Ok(Emission { port: None, name: renamed, media_type: Some(media_type), attributes: Attributes::new(), content })
    }
}

/// The name of what is in an archive of that name; `None` where it does not look like that of an archive, or nothing
/// that could be a name would be left.
fn without_suffix(name: &str) -> Option<String> {
    SUFFIXES.iter().find_map(|(suffix, instead)| {
        let (stem, end) = name.split_at_checked(name.len().checked_sub(suffix.len())?)?;
        let fits = end.eq_ignore_ascii_case(suffix) && !matches!(stem, "" | "." | "..");
        fits.then(|| format!("{stem}{instead}"))
    })
}
