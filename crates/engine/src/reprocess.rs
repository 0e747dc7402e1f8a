//! Reprocess: what arrived before goes through the present version of its flow once more, in a pass and a run of its
//! own. It is sent in part by part, as a source would be looked at, and goes on after a crash where it stood; what it
//! would do can be told beforehand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use opendmp_model::fault::{Fault, FaultKind};
use opendmp_model::history::Context;
use opendmp_model::ids::{Arrival, Pass};
use opendmp_model::item::Item;
use opendmp_model::kinds::Role;
use opendmp_ports::journal::{
    Feed, FlowRow, FlowState, Historic, NewReprocess, Reader, Reprocess, ReprocessState, RunId, Selection, decide,
};
use opendmp_ports::transport::{Hint, StepCounts};
use opendmp_ports::{Error, ErrorKind};
use opendmp_processor::{Opened, Processor};
use serde::{Deserialize, Serialize};

use crate::control::Refusal;
use crate::execute::memo::{MemoScope, is_there, recalled};
use crate::failpoint::reach;
use crate::{Engine, Loaded, Node};

/// Arrivals that are sent in at once.
const PAGE: usize = 500;

/// What a reprocess would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ReprocessPlan {
    /// Arrivals that would be sent in.
    pub arrivals: u64,
    /// Arrivals that can't be: their bytes or the record of them are no longer kept, or their ingest is not in this
    /// version.
    pub gone: u64,
    /// The steps behind the ingests, in the order of work.
    pub steps: Vec<PlannedStep>,
}

/// What one step would do in a reprocess.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PlannedStep {
    /// The processor.
    pub processor: String,
    /// Its kind.
    pub kind: String,
    /// Items that it would work on.
    pub runs: u64,
    /// Items whose result is remembered.
    pub remembered: u64,
    /// Whether that is certain. It is not behind a step that is done again, whose results are not known: there each
    /// is counted as one, and perhaps they are equal to what is remembered.
    pub exact: bool,
    /// It comes behind an aggregate, of which it is not known what it will make.
    pub open: bool,
}

/// Content is not there, or is about to go.
fn is_lost(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::NotFound | ErrorKind::Damaged | ErrorKind::Conflict)
}

fn refused(code: &str, message: impl Into<String>) -> Fault {
    Fault::new(FaultKind::Rejected, code, message)
}

fn present(flow: &FlowRow) -> Result<(), Fault> {
    match flow.state {
        FlowState::Enabled | FlowState::Disabled => Ok(()),
        FlowState::Deleting | FlowState::Deleted => {
            Err(refused("flow-deleted", format!("the flow `{}` is deleted", flow.slug))
                .with_hint("enable it again first"))
        }
    }
}

impl Engine {
    /// Begins to reprocess: a run of the flow's present version. [`Engine::reprocess_once`] sends the arrivals in.
    ///
    /// # Errors
    /// Where the flow is being deleted.
    pub async fn begin_reprocess(
        &self,
        flow: &FlowRow,
        selection: Selection,
        trigger: &str,
        actor: &str,
    ) -> Result<(Reprocess, Arc<Loaded>), Refusal> {
        present(flow)?;
        let loaded = self.load(flow.version).await?;
        let context = Context {
            flow: loaded.plan.slug.clone(),
            version: loaded.plan.version.to_hex(),
            processor: "reprocess".to_owned(),
            kind: "person".to_owned(),
            config: String::new(),
            environment: None,
            worker: self.options.worker.clone(),
            opendmp: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let new = NewReprocess {
            flow: flow.id,
            version: flow.version,
            selection,
            trigger: trigger.to_owned(),
            context: self.journal.context(context).await?,
            actor: actor.to_owned(),
            at: self.clock.now(),
        };
        let begun = self.journal.begin_reprocess(new).await?;
        self.transport.send(Hint::Reprocess(begun.run));
        Ok((begun, loaded))
    }

    /// Sends nothing more in; what was sent in is finished. Answers how far it came, and whether that stopped it.
    ///
    /// # Errors
    /// Where the run is no reprocess.
    pub async fn stop_reprocess(&self, run: RunId, actor: &str) -> Result<(Reprocess, bool), Refusal> {
        let stopped = self.journal.stop_reprocess(run, actor, self.clock.now()).await?;
        self.transport.send(Hint::Run(run));
        Ok((self.journal.reprocess(run).await?, stopped))
    }

    /// Sends the next part of a reprocess in. Answers whether more follows.
    ///
    /// # Errors
    /// Where a port fails; the part is sent in the next time.
    pub async fn reprocess_once(&self, reprocess: &Reprocess) -> Result<bool, Error> {
        let run = reprocess.run;
        let flow = self.journal.flow(reprocess.flow).await?;
        if reprocess.state != ReprocessState::Feeding {
            return Ok(false);
        }
        if present(&flow).is_err() {
            self.journal.stop_reprocess(run, "engine", self.clock.now()).await?;
            return Ok(false);
        }
        let loaded = self.load(reprocess.version).await?;
        let Reprocess { cursor, upto, pass, .. } = *reprocess;
        let page = self.journal.historic(reprocess.flow, reprocess.selection.clone(), cursor, upto, PAGE).await?;
        let (sent, gone) = self.send_again(&loaded, page.arrivals, pass).await?;
        let at = self.clock.now();
        let (mut tasks, mut history) = (Vec::new(), Vec::new());
        let mut counts: BTreeMap<Arc<str>, StepCounts> = BTreeMap::new();
        let taken = sent.values().map(Vec::len).sum::<usize>() as u64;
        for (index, items) in sent {
            let node = &loaded.nodes[index];
            let count = items.len() as u64;
            let one = StepCounts { done: count, emitted: count, ..StepCounts::default() };
            counts.insert(Arc::clone(&node.id), one);
            for (reader, _) in node.readers_of(None) {
                tasks.extend(decide::tasks_for(
                    reader,
                    items.iter().map(|item| decide::deliver(item, reader)).collect(),
                ));
            }
            history.extend(decide::sent_again(reprocess.context, at, items));
        }
        let feed =
            Feed { lease: self.lease, run, after: cursor, next: page.next, tasks, taken, gone, history, counts, at };
        reach("before-feed");
        let more = feed.next.is_some();
        self.journal.feed(feed).await?;
        reach("after-feed");
        self.transport.send(Hint::Tasks(reprocess.flow));
        self.transport.send(Hint::Run(run));
        Ok(more)
    }

    /// Arrivals as items of another pass, by the index of their ingest; and how many can't be.
    async fn send_again(
        &self,
        loaded: &Loaded,
        arrivals: Vec<Historic>,
        pass: Pass,
    ) -> Result<(BTreeMap<usize, Vec<Item>>, u64), Error> {
        let (mut out, mut gone) = (BTreeMap::<usize, Vec<Item>>::new(), 0);
        for historic in arrivals {
            let ingest = historic.recorded.as_ref().and_then(|recorded| loaded.node(&recorded.processor));
            let ingest = ingest.filter(|node| node.planned.role == Role::Ingest);
            let item = historic.item(pass);
            if historic.row.gone.is_some() {
                gone += 1;
                continue;
            }
            let there = async || {
                self.content.open(&historic.row.content).await?;
                self.content.vouch(&[historic.row.content]).await
            };
            let kept = match self.patiently("content", &there).await {
                Ok(()) => true,
                Err(error) if is_lost(&error) => false,
                Err(error) => return Err(error),
            };
            match (ingest, item) {
                (Some(node), Some(item)) if kept => out.entry(node.index).or_default().push(item),
                _ => gone += 1,
            }
        }
        Ok((out, gone))
    }

    /// Says what a reprocess would do, without doing anything.
    ///
    /// # Errors
    /// Where the flow is being deleted, or a step of it can't be opened.
    pub async fn plan_reprocess(&self, flow: &FlowRow, selection: &Selection) -> Result<ReprocessPlan, Refusal> {
        present(flow)?;
        let loaded = self.load(flow.version).await?;
        let mut plan = ReprocessPlan::default();
        let mut steps: Vec<PlannedStep> = loaded.nodes.iter().map(step_of).collect();
        let (mut after, upto) = (Arrival(0), Arrival(i64::MAX as u64));
        loop {
            let page = self.journal.historic(flow.id, selection.clone(), after, upto, PAGE).await?;
            // As if it were the next pass; nothing is made of it.
            let (sent, gone) = self.send_again(&loaded, page.arrivals, Pass(u32::MAX)).await?;
            plan.gone += gone;
            for (index, items) in sent {
                plan.arrivals += items.len() as u64;
                self.foresee(&loaded, &loaded.nodes[index], items, &mut steps).await?;
            }
            match page.next {
                Some(next) => after = next,
                None => break,
            }
        }
        let order = loaded.plan.order.iter().filter(|at| loaded.nodes[**at].planned.role != Role::Ingest);
        plan.steps = order.map(|at| steps[*at].clone()).collect();
        Ok(plan)
    }

    /// Takes items in thought through the steps behind their ingest.
    async fn foresee(
        &self,
        loaded: &Loaded,
        ingest: &Node,
        items: Vec<Item>,
        steps: &mut [PlannedStep],
    ) -> Result<(), Refusal> {
        let mut waiting: BTreeMap<(usize, usize), Foreseen> = BTreeMap::new();
        let deliver = |waiting: &mut BTreeMap<(usize, usize), Foreseen>, readers: &[(Reader, usize)], item: &Item| {
            for (reader, index) in readers {
                let at = (loaded.nodes[*index].planned.rank, *index);
                waiting.entry(at).or_default().items.push(decide::deliver(item, reader));
            }
        };
        for item in &items {
            deliver(&mut waiting, ingest.readers_of(None), item);
        }
        while let Some(((_, index), foreseen)) = waiting.pop_first() {
            let node = &loaded.nodes[index];
            let step = &mut steps[index];
            let unknown = foreseen.unknown;
            step.runs += unknown;
            step.exact &= unknown == 0;
            let behind: BTreeSet<usize> = node.readers.values().flatten().map(|(_, index)| *index).collect();
            let mut anew = unknown;
            match node.opened(self).await? {
                Opened::Transform(processor) => {
                    let (known, missed) = self.remembered(node, &**processor, foreseen.items).await?;
                    step.remembered += known.len() as u64;
                    step.runs += missed;
                    anew += missed;
                    for (parent, memo) in known {
                        for (ordinal, child) in memo.children.iter().enumerate() {
                            let ordinal = ordinal as u32;
                            // Told apart or not: only where it goes, and what its key is, count here.
                            let item = recalled(node, &parent, ordinal, memo.many, child, ordinal);
                            deliver(&mut waiting, node.readers_of(child.0.as_deref()), &item);
                        }
                    }
                }
                Opened::Aggregate(_) => {
                    step.runs += foreseen.items.len() as u64;
                    behind_aggregate(loaded, &behind, steps);
                    continue;
                }
                Opened::Collect(_) | Opened::Ingest(_) => step.runs += foreseen.items.len() as u64,
            }
            if anew > 0 {
                for index in behind {
                    let at = (loaded.nodes[index].planned.rank, index);
                    waiting.entry(at).or_default().unknown += anew;
                }
            }
        }
        Ok(())
    }

    /// What of these items a step remembers, and how many it does not.
    async fn remembered(
        &self,
        node: &Node,
        processor: &dyn Processor,
        items: Vec<Item>,
    ) -> Result<(Vec<(Item, opendmp_ports::journal::Memo)>, u64), Error> {
        if node.planned.settings.memo == opendmp_model::document::Memo::Never {
            return Ok((Vec::new(), items.len() as u64));
        }
        let scope = MemoScope::of(node, processor);
        let keys = items.iter().map(|item| (item.id.arrival, scope.key(item))).collect();
        let found = self.journal.memos(keys).await?;
        let (mut known, mut missed) = (Vec::new(), 0);
        for (item, memo) in items.into_iter().zip(found) {
            match memo {
                Some(memo) if is_there(self, &memo, item.content.hash).await? => known.push((item, memo)),
                _ => missed += 1,
            }
        }
        Ok((known, missed))
    }
}

/// What comes to a step in thought.
#[derive(Default)]
struct Foreseen {
    items: Vec<Item>,
    /// Items of which only that they may come is known.
    unknown: u64,
}

fn step_of(node: &Node) -> PlannedStep {
    PlannedStep {
        processor: node.id.to_string(),
        kind: node.planned.kind.clone(),
        exact: true,
        ..PlannedStep::default()
    }
}

/// Everything behind an aggregate is open.
fn behind_aggregate(loaded: &Loaded, behind: &BTreeSet<usize>, steps: &mut [PlannedStep]) {
    let mut left: Vec<usize> = behind.iter().copied().collect();
    while let Some(index) = left.pop() {
        if !std::mem::replace(&mut steps[index].open, true) {
            steps[index].exact = false;
            left.extend(loaded.nodes[index].readers.values().flatten().map(|(_, index)| *index));
        }
    }
}
