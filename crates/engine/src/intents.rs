//! Intents: what a settlement decided to do outside, carried out from what was recorded. Each may be carried out more
//! than once; what that does is said by its sink's class.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use futures::stream::{FuturesUnordered, StreamExt};
use opendmp_model::export::IfExists;
use opendmp_model::fault::{Fault, FaultKind, Tries};
use opendmp_ports::Error;
use opendmp_ports::content::SMALL;
use opendmp_ports::journal::{Action, End, Finished, FlowId, Intent, RunId, VersionId};
use opendmp_ports::transport::Hint;
use opendmp_processor::{Export, ExportEnd, Opened};
use tracing::Instrument;

use crate::Engine;
use crate::execute::body;
use crate::failpoint::reach;
use crate::retry::{Cause, Next, Policy, next, port_fault, source_fault};
use crate::spans;

/// How many intents are carried out at once.
const AT_ONCE: usize = 64;

/// How many small exports are carried out together.
const EXPORTS: usize = 16;

impl Engine {
    /// Claims intents that are due, carries them out, and records how they ended. Answers how many there were.
    pub async fn intents_once(&self) -> Result<usize, Error> {
        let now = self.clock.now();
        let intents = self.patiently("journal", || self.journal.claim_intents(self.lease, now, AT_ONCE)).await?;
        let count = intents.len();
        self.carry_out(intents).await?;
        Ok(count)
    }

    /// Carries claimed intents out at once, and records how they ended.
    pub(crate) async fn carry_out(&self, intents: Vec<Intent>) -> Result<(), Error> {
        if intents.is_empty() {
            return Ok(());
        }
        reach("before-export");
        let runs: BTreeSet<RunId> = intents.iter().map(|intent| intent.run).collect();
        let flows: BTreeSet<FlowId> = intents.iter().map(|intent| intent.flow).collect();
        let mut done = Vec::with_capacity(intents.len());
        let mut running: FuturesUnordered<_> =
            together(intents).into_iter().map(|some| self.carry_out_together(some)).collect();
        while let Some(mut finished) = running.next().await {
            done.append(&mut finished);
        }
        reach("after-export");
        let work = self.patiently("journal", || self.journal.finish(done.clone())).await?;
        reach("after-finish");
        if work {
            flows.into_iter().for_each(|flow| self.transport.send(Hint::Tasks(flow)));
        }
        if done.iter().any(|finished| matches!(finished.end, End::Occupied)) {
            self.transport.send(Hint::Intents);
        }
        for run in runs {
            self.transport.send(Hint::Run(run));
        }
        Ok(())
    }

    /// Carries out one export, or releases of one ingest.
    async fn carry_out_together(&self, intents: Vec<Intent>) -> Vec<Finished> {
        let Some(first) = intents.first() else { return Vec::new() };
        let ends = async {
            match &first.action {
                Action::Release { .. } => self.release(&intents).await,
                Action::Export(_) => self.export_all(&intents).await,
            }
        };
        let ends = ends.instrument(spans::intent(first)).await;
        let concerns = self.concerns(first).await;
        intents.iter().zip(ends).map(|(intent, end)| self.ended(intent, end, &concerns)).collect()
    }

    /// What a health issue of an intent is about, as a person knows it. What waits at the step itself is another issue.
    async fn concerns(&self, intent: &Intent) -> String {
        match self.load(intent.version).await {
            Ok(loaded) => about(&loaded.plan.slug, intent),
            Err(_) => about(&intent.flow.to_string(), intent),
        }
    }

    fn ended(&self, intent: &Intent, end: End, concerns: &str) -> Finished {
        self.metrics.carried_out(intent, &end);
        if let End::Refused(fault) = &end {
            tracing::warn!(code = fault.code, "an export was refused; `opendmp dead-letters` tells");
        }
        match &end {
            End::Retry { fault, .. } => self.trouble(concerns, &fault.to_string(), fault.hint.as_deref()),
            _ => {
                self.clear_trouble(concerns);
                // Raised while the flow's name could not be read.
                self.clear_trouble(&about(&intent.flow.to_string(), intent));
            }
        }
        Finished { id: intent.id, lease: self.lease, attempt: intent.attempt, end, at: self.clock.now() }
    }

    /// Lets go what releases of one ingest name.
    async fn release(&self, intents: &[Intent]) -> Vec<End> {
        let Some(first) = intents.first() else { return Vec::new() };
        let source = async {
            // What is deleted or moved is known to a journal that will be there after a restart.
            self.journal.mark().await.map_err(port_fault)?;
            let loaded = self.load(first.version).await.map_err(port_fault)?;
            spans::of_flow(&loaded.plan.slug);
            let node = loaded.node(&first.processor).ok_or_else(gone)?;
            node.source(self).await
        };
        let source = match source.await {
            Ok(source) => source,
            Err(fault) => return intents.iter().map(|intent| self.failed_for_now(intent, fault.clone())).collect(),
        };
        let all: Vec<Bytes> = intents.iter().flat_map(named).cloned().collect();
        let mut ends = source.release_all(&all).await.into_iter();
        let end = |intent: &Intent| {
            // All of its own, also behind the first that went wrong: the rest are the next intent's.
            let own: Result<Vec<()>, _> =
                ends.by_ref().take(named(intent).len()).collect::<Vec<_>>().into_iter().collect();
            own.map_or_else(|error| self.failed_for_now(intent, source_fault(error)), |_| End::Done)
        };
        intents.iter().map(end).collect()
    }

    /// Carries out exports of one processor.
    async fn export_all(&self, intents: &[Intent]) -> Vec<End> {
        let Some(first) = intents.first() else { return Vec::new() };
        let all = |end: &dyn Fn(&Intent) -> End| intents.iter().map(end).collect();
        let loaded = match self.load(first.version).await {
            Ok(loaded) => loaded,
            Err(error) => {
                let fault = port_fault(error);
                return all(&|intent| self.failed_for_now(intent, fault.clone()));
            }
        };
        spans::of_flow(&loaded.plan.slug);
        let Some(node) = loaded.node(&first.processor) else { return all(&|_| End::Refused(gone())) };
        let policy = Policy::from(&node.planned.settings.on_error);
        let sink = match node.opened(self).await {
            Ok(Opened::Collect(collect)) => collect.sink.clone(),
            Ok(_) => None,
            Err(fault) => return all(&|intent| self.failed(intent, fault.clone(), &policy)),
        };
        let Some(sink) = sink else { return all(&|_| End::Refused(gone())) };
        let destination = sink.destination();
        let mut ends: Vec<Option<End>> = Vec::with_capacity(intents.len());
        let mut exports = Vec::with_capacity(intents.len());
        for intent in intents {
            match self.opened(intent, &destination).await {
                Ok(export) => {
                    exports.push(export);
                    ends.push(None);
                }
                Err(fault) => ends.push(Some(self.failed(intent, fault, &policy))),
            }
        }
        let mut carried = match exports.len() {
            0 => Vec::new(),
            _ => sink.export_all(exports).await,
        }
        .into_iter();
        let end = |(intent, end): (&Intent, Option<End>)| {
            end.unwrap_or_else(|| match carried.next() {
                Some(Ok(ExportEnd::Written)) => End::Done,
                Some(Ok(ExportEnd::Occupied)) => End::Occupied,
                Some(Err(fault)) => self.failed(intent, fault, &policy),
                None => {
                    let fault = Fault::new(FaultKind::Failed, "wrong-count", "an export was not answered");
                    self.failed(intent, fault, &policy)
                }
            })
        };
        intents.iter().zip(ends).map(end).collect()
    }

    /// An export with its content opened.
    async fn opened(&self, intent: &Intent, destination: &str) -> Result<Export, Fault> {
        let Action::Export(action) = &intent.action else { return Err(gone()) };
        if *destination != *action.export.destination {
            // The flow was moved since: what was decided names a place that this version does not open any more.
            let fault = Fault::new(
                FaultKind::ExportRefused,
                "destination-moved",
                format!("this version exports to {destination}, not to {}", action.export.destination),
            );
            return Err(fault.with_hint("retry the dead letter of the step before it, or reprocess"));
        }
        let stored = self.content.open(&action.item.content).await.map_err(port_fault)?;
        Ok(Export {
            target: action.export.target.clone(),
            ours: action.ours,
            overwrite: action.export.if_exists == IfExists::Overwrite,
            body: body(stored),
            hash: action.item.content.hash,
            size: action.item.content.size,
        })
    }

    /// What follows a failed export.
    fn failed(&self, intent: &Intent, fault: Fault, policy: &Policy) -> End {
        match next(Cause::from(&fault), intent.tries, policy, intent.id.0) {
            Next::Wait { wait, tries } => self.later(wait, tries, fault),
            Next::GiveUp => End::Refused(fault),
        }
    }

    /// What follows where giving up would lose something: a release, or an export of a version that can't be opened now.
    fn failed_for_now(&self, intent: &Intent, fault: Fault) -> End {
        match next(Cause::from(&fault), intent.tries, &Policy::RELEASE, intent.id.0) {
            Next::Wait { wait, tries } => self.later(wait, tries, fault),
            Next::GiveUp => self.later(Policy::RELEASE.max, intent.tries, fault),
        }
    }

    fn later(&self, wait: Duration, tries: Tries, fault: Fault) -> End {
        End::Retry { due: self.clock.now().saturating_add(wait.as_millis() as i64), tries, fault }
    }
}

fn about(flow: &str, intent: &Intent) -> String {
    match intent.action {
        Action::Export(_) => format!("flow {flow}, step {}: export", intent.processor),
        Action::Release { .. } => format!("flow {flow}, ingest {}: deleting or moving", intent.processor),
    }
}

/// What a release names.
fn named(intent: &Intent) -> &[Bytes] {
    match &intent.action {
        Action::Release { releases } => releases,
        Action::Export(_) => &[],
    }
}

/// Which intents are carried out together, of one ingest or collect each: releases, since a source lets many go for
/// little more than one; and small exports, some at a time, for the same reason. A large export goes by itself, so that
/// none waits for it.
pub(crate) fn together(intents: Vec<Intent>) -> Vec<Vec<Intent>> {
    type Of = (VersionId, Arc<str>);
    let mut releases: BTreeMap<Of, Vec<Intent>> = BTreeMap::new();
    let mut exports: BTreeMap<Of, Vec<Intent>> = BTreeMap::new();
    let mut out = Vec::with_capacity(intents.len());
    for intent in intents {
        let of = (intent.version, Arc::clone(&intent.processor));
        match &intent.action {
            Action::Release { .. } => releases.entry(of).or_default().push(intent),
            Action::Export(export) if export.item.content.size > SMALL => out.push(vec![intent]),
            Action::Export(_) => {
                let some = exports.entry(of).or_default();
                some.push(intent);
                if some.len() >= EXPORTS {
                    out.push(std::mem::take(some));
                }
            }
        }
    }
    out.extend(releases.into_values().chain(exports.into_values().filter(|some| !some.is_empty())));
    out
}

fn gone() -> Fault {
    Fault::new(FaultKind::ExportRefused, "no-processor", "this version of the flow has no such processor")
}

#[cfg(test)]
mod tests {
    use opendmp_ports::journal::{FlowId, IntentId};

    use super::*;

    fn release(id: u64, version: u32, processor: &str) -> Intent {
        Intent {
            id: IntentId(id),
            flow: FlowId(1),
            version: VersionId(version),
            run: RunId(id),
            processor: processor.into(),
            action: Action::Release { releases: vec![Bytes::from(id.to_string())] },
            attempt: 1,
            tries: Tries::default(),
            unknown: false,
        }
    }

    #[test]
    fn releases_of_one_ingest_are_carried_out_together() {
        let intents = vec![release(1, 1, "a"), release(2, 1, "b"), release(3, 1, "a"), release(4, 2, "a")];
        let ids: Vec<Vec<u64>> =
            together(intents).iter().map(|some| some.iter().map(|intent| intent.id.0).collect()).collect();
        assert_eq!(ids, [vec![1, 3], vec![2], vec![4]], "by version and processor, whatever the run");
    }
}
