//! Trying out: one processor of a flow that need not be saved, on one sample, with nothing left behind: no row in the
//! journal, no content in the store, no dataset, memo, export or release. A step's own calls to the world outside can't be
//! prevented.
//!
//! The processor is checked, opened and called as it is for real, but in worker processes of its own, so that live work
//! never meets code that was not saved. What came of it is kept as [uploads](crate::uploads), to be looked at and to be
//! the next processor's sample. Where the sample comes from stands in [`sample`], what is told of the results in
//! [`outputs`].

mod outputs;
mod sample;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use opendmp_model::diagnostic::Diagnostics;
use opendmp_model::document::{Checked, ProcessorDoc, check};
use opendmp_model::export::IfExists;
use opendmp_model::fault::{Fault, FaultKind, LogLine};
use opendmp_model::ids::ContentHash;
use opendmp_model::item::{Attributes, Item};
use opendmp_model::kinds::Role;
use opendmp_processor::{Aggregate, Body, Collect, Context, Input, Opened, Outcome as Said, Processor};

use crate::Engine;
use crate::control::{FlowText, Refusal};
use crate::execute::{ask, body};
use crate::loaded::run_blocking;
use outputs::Made;

pub use sample::Sample;

/// Try-outs at a time: each may hold a worker process and a sample.
pub(crate) const AT_ONCE: usize = 4;

/// How long a call may take where nobody says.
const USUAL: Duration = Duration::from_secs(30);

/// How long it may take at most.
const LONGEST: Duration = Duration::from_secs(600);

/// How long everything before the call may take: packages are downloaded, perhaps.
const PREPARING: Duration = Duration::from_secs(900);

/// How long a call may wait for a worker process, and for its script to be loaded, besides what it may take itself.
const STARTING: Duration = Duration::from_secs(75);

/// What took longer to prepare is told.
const TOLD: Duration = Duration::from_secs(1);

/// Lines of a log that are told at most, and their bytes.
const LOG_LINES: usize = 2_000;
const LOG_BYTES: usize = 256 << 10;

/// What is to be tried.
#[derive(Debug)]
pub struct TryRequest {
    /// The flow; only what concerns the processor has to be right.
    pub flow: FlowText,
    /// The processor, by its id.
    pub processor: String,
    /// On what.
    pub sample: Sample,
    /// A name in place of the sample's own.
    pub name: Option<String>,
    /// Attributes that are added to the sample's own, or take their place.
    pub attributes: Attributes,
    /// How long the call may take: [`USUAL`] for `None`; never longer than the processor's own `timeout`.
    pub timeout: Option<Duration>,
}

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryOutcome {
    /// It gave results.
    Emitted,
    /// It was dropped on purpose.
    Dropped,
    /// The step says that the item is at fault.
    Rejected,
    /// The step says that it is to be tried again.
    Retry,
    /// The step failed, or could not begin.
    Failed,
    /// An aggregate would hold it.
    Held,
    /// It would be put on a shelf.
    Collected,
}

/// What came of trying.
#[derive(Debug)]
pub struct Tried {
    /// In a word.
    pub outcome: TryOutcome,
    /// How long the call took.
    pub took: Duration,
    /// Remarks.
    pub notes: Vec<String>,
    /// What it logged, bounded.
    pub log: Vec<LogLine>,
    /// What went wrong.
    pub fault: Option<Fault>,
    /// When the step wants to be tried again.
    pub after: Option<Duration>,
    /// Results, bounded.
    pub outputs: Vec<TriedOutput>,
    /// Whether there are more of them.
    pub more: bool,
    /// What would be collected.
    pub collected: Option<TriedCollect>,
    /// What went in.
    pub input: TriedInput,
    /// What is wrong with the flow elsewhere, and warnings.
    pub diagnostics: Diagnostics,
}

/// What went in.
#[derive(Debug)]
pub struct TriedInput {
    /// The item; only its name, media type, attributes, hash and size mean something.
    pub item: Item,
    /// The upload that it is.
    pub upload: Option<String>,
    /// The beginning of it, where that is text.
    pub preview: Option<String>,
}

/// One result.
#[derive(Debug)]
pub struct TriedOutput {
    /// The port it leaves by; `None` is the default one.
    pub port: Option<Arc<str>>,
    /// Its name.
    pub name: Arc<str>,
    /// Its media type.
    pub media_type: Option<Arc<str>>,
    /// Its attributes.
    pub attributes: Attributes,
    /// Bytes.
    pub size: u64,
    /// Their hash.
    pub hash: ContentHash,
    /// Where they are kept.
    pub upload: String,
    /// The beginning of them, where that is text.
    pub preview: Option<String>,
}

/// What would be collected.
#[derive(Debug)]
pub struct TriedCollect {
    /// The shelf.
    pub collection: Arc<str>,
    /// The target of its export as people read it, and what happens where something foreign is there.
    pub target: Option<(String, IfExists)>,
}

/// Says that nobody waits any more, when it is dropped.
#[derive(Default)]
struct Leaving(Arc<AtomicBool>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn refused(code: &str, message: impl Into<String>) -> Fault {
    Fault::new(FaultKind::Rejected, code, message)
}

impl Engine {
    /// Tries a processor out on a sample. Dropping the future ends it, with what it started.
    ///
    /// # Errors
    /// All problems of the flow where the processor can't be read; a fault where the sample can't be had, or too much is
    /// tried at once. What the step itself comes to is no error.
    pub async fn try_out(self: &Arc<Self>, request: TryRequest) -> Result<Tried, Refusal> {
        let _one = self.tries.try_acquire().map_err(|_| {
            Fault::new(FaultKind::Unavailable, "too-many-tries", format!("{AT_ONCE} try-outs are under way already"))
                .with_hint("wait until one of them has ended")
        })?;
        self.uploads()?;
        let leaving = Leaving::default();
        let (text, files, registry) = (request.flow.text, request.flow.files, Arc::clone(&self.registry));
        let (checked, files) = run_blocking(move || (check(&text, &*registry, &files), files)).await?;
        let Some((doc, _, role)) = checked.processor(&request.processor) else {
            return Err(unreadable(checked, &request.processor));
        };
        if role == Role::Ingest {
            let message = format!("`{}` is an ingest: nothing goes into it", doc.id);
            let hint = "try the processors that read it; what would arrive is a sample for these";
            return Err(refused("not-a-step", message).with_hint(hint).into());
        }
        let given = self.sample(request.sample, request.name, request.attributes).await?;
        let asked = request.timeout.unwrap_or(USUAL).min(LONGEST);
        let timeout = doc.common.timeout.get().min(asked).max(Duration::from_millis(1));
        // No flow's own name: live work and what is tried never share a process. A flow without a good name shares with
        // nothing.
        let slug = checked.flow.as_ref().map(|flow| flow.slug.clone());
        // A flow that has no folder yet has nothing in it.
        let base = match (request.flow.base.is_empty(), self.options.policy.roots().first()) {
            (false, _) => PathBuf::from(request.flow.base),
            (true, Some(root)) => root.clone(),
            (true, None) => PathBuf::from("/"),
        };
        let mut context = Context {
            flow: format!("try/{}", slug.unwrap_or_else(|| format!("{:016x}", rand::random::<u64>()))),
            base,
            policy: self.options.policy.clone(),
            files,
            lock: None,
            timeout,
            concurrency: 1,
            locations: None,
        };
        let mut tried = Tried::of(given.told().await?);
        let began = Instant::now();
        let opened = match tokio::time::timeout(PREPARING, self.prepare(doc, &mut context)).await {
            Ok(opened) => opened,
            Err(_) => {
                let message = format!("it could not be made ready within {} s", PREPARING.as_secs());
                Err(Fault::new(FaultKind::TimedOut, "not-ready", message))
            }
        };
        if began.elapsed() > TOLD {
            let took = began.elapsed().as_secs_f32();
            tried.notes.push(format!("it took {took:.1} s to make it ready, which the time limit does not count"));
        }
        let called = Instant::now();
        match opened {
            Ok(Opened::Transform(processor)) => {
                let call = self.call(doc, &*processor, &given, &leaving, &mut tried);
                if tokio::time::timeout(timeout + STARTING, call).await.is_err() {
                    let message =
                        format!("no answer within {} s, waiting for a worker included", timeout.as_secs_f32());
                    tried.fails(Fault::new(FaultKind::TimedOut, "timed-out", message));
                }
            }
            Ok(Opened::Aggregate(aggregate)) => self.hold_one(&aggregate, given, &leaving, &mut tried).await?,
            Ok(Opened::Collect(collect)) => tried.collect(&collect, &given.item),
            Ok(Opened::Ingest(_)) => tried.fails(refused("not-a-step", format!("`{}` takes no items", doc.id))),
            Err(fault) => tried.fails(fault),
        }
        if tried.took.is_zero() {
            tried.took = called.elapsed();
        }
        tried.diagnostics = checked.diagnostics;
        Ok(tried)
    }

    /// Makes the environment, and opens the processor.
    async fn prepare(&self, doc: &ProcessorDoc, context: &mut Context) -> Result<Opened, Fault> {
        let kind = self.registry.processor_kind(&doc.kind)?;
        let id = doc.id.clone();
        let tell: opendmp_processor::Progress = Arc::new(move |line| tracing::info!(processor = id, "{line}"));
        context.lock = kind.lock(doc, &context.files, &tell).await?;
        kind.open(&self.registry, doc, context).await
    }

    async fn call(
        &self,
        doc: &ProcessorDoc,
        processor: &dyn Processor,
        given: &sample::Given,
        leaving: &Leaving,
        tried: &mut Tried,
    ) {
        let body = if processor.reads_content() { body(given.body.clone()) } else { Body::Unread };
        let mut done = match ask(processor, &doc.kind, vec![Input { item: given.item.clone(), body }]).await {
            Ok(done) => done,
            Err(fault) => return tried.fails(fault),
        };
        let Some(done) = done.pop() else { return };
        (tried.log, tried.took) = (short(done.log), done.took);
        tried.notes.extend(done.note);
        let made = match done.outcome {
            Said::Emit { children, .. } => self.results(given, children.into_iter().map(Ok), leaving).await,
            Said::Stream(children) => self.results(given, children, leaving).await,
            Said::Fault(fault) => Err(fault),
        };
        match made {
            Ok(made) => tried.gives(made),
            Err(fault) => tried.fails(fault),
        }
    }

    /// What a group of this item alone would become.
    async fn hold_one(
        &self,
        aggregate: &Aggregate,
        given: sample::Given,
        leaving: &Leaving,
        tried: &mut Tried,
    ) -> Result<(), Refusal> {
        let of = aggregate.group_by.as_deref().map(|key| match given.item.attributes.get(key) {
            Some(value) => format!(" of `{key}` = {value}"),
            None => format!(" of what has no `{key}`"),
        });
        tried.notes.push(format!(
            "it would be held in the group{} until {}; told is what a group of this item alone becomes",
            of.unwrap_or_default(),
            outputs::when(&aggregate.close)
        ));
        match self.joined(aggregate, given, leaving).await? {
            Ok(made) => {
                tried.gives(made);
                tried.outcome = TryOutcome::Held;
            }
            Err(fault) => tried.fails(fault),
        }
        Ok(())
    }
}

/// Why a processor can't be tried.
fn unreadable(checked: Checked, id: &str) -> Refusal {
    let known = checked.flow.iter().flat_map(|flow| &flow.processors).map(|doc| doc.id.as_str()).collect::<Vec<_>>();
    if checked.diagnostics.has_errors() {
        return Refusal::Flow(checked.diagnostics);
    }
    let fault = refused("not-found", format!("the flow has no processor `{}`", opendmp_model::name::printable(id)));
    fault.with_hint(format!("it has: {}", known.join(", "))).into()
}

impl Tried {
    fn of(input: TriedInput) -> Self {
        Self {
            outcome: TryOutcome::Dropped,
            took: Duration::ZERO,
            notes: Vec::new(),
            log: Vec::new(),
            fault: None,
            after: None,
            outputs: Vec::new(),
            more: false,
            collected: None,
            input,
            diagnostics: Diagnostics::new(),
        }
    }

    fn fails(&mut self, fault: Fault) {
        self.outcome = match fault.kind {
            FaultKind::Rejected => TryOutcome::Rejected,
            kind if kind.class().is_waited_out() => TryOutcome::Retry,
            _ => TryOutcome::Failed,
        };
        self.after = fault.retry_after();
        self.fault = Some(fault);
    }

    fn gives(&mut self, made: Made) {
        self.outcome = match made.outputs.is_empty() && !made.more {
            true => TryOutcome::Dropped,
            false => TryOutcome::Emitted,
        };
        (self.outputs, self.more) = (made.outputs, made.more);
        self.notes.extend(made.note);
    }

    fn collect(&mut self, collect: &Collect, item: &Item) {
        let target = match &collect.sink {
            Some(sink) => match sink.target(item) {
                Ok(target) => Some((sink.display(&target), sink.if_exists())),
                Err(fault) => return self.fails(fault),
            },
            None => None,
        };
        self.outcome = TryOutcome::Collected;
        self.collected = Some(TriedCollect { collection: Arc::clone(&collect.collection), target });
        self.notes.push("nothing was collected or exported".to_owned());
    }
}

/// A log that can be told: its first lines, and how many more there are.
fn short(mut log: Vec<LogLine>) -> Vec<LogLine> {
    let mut room = LOG_BYTES;
    let fits = |line: &&LogLine| {
        room = room.saturating_sub(line.text.len() + 1);
        room > 0
    };
    let kept = log.iter().take(LOG_LINES).take_while(fits).count();
    let more = log.len() - kept;
    log.truncate(kept);
    if more > 0 {
        log.push(LogLine { level: "warning".to_owned(), text: format!("{more} more lines are not shown") });
    }
    log
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: usize, length: usize) -> Vec<LogLine> {
        let line = LogLine { level: "stdout".to_owned(), text: "x".repeat(length) };
        vec![line; count]
    }

    #[test]
    fn logs_are_cut_by_lines_and_bytes() {
        assert_eq!(short(lines(LOG_LINES, 3)), lines(LOG_LINES, 3));
        let many = short(lines(LOG_LINES + 5, 3));
        assert_eq!((many.len(), many[LOG_LINES].text.as_str()), (LOG_LINES + 1, "5 more lines are not shown"));
        let long = short(lines(10, LOG_BYTES / 4));
        assert_eq!((long.len(), long[3].text.as_str()), (4, "7 more lines are not shown"));
    }
}
