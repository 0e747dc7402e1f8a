//! Reprocesses, and what is remembered, in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use opendmp_model::ids::{Arrival, ContentHash, ItemId, Pass, PathHash};
use opendmp_model::manifest::Child;

use super::state::{Origin, State, next};
use crate::Result;
use crate::journal::again::*;
use crate::journal::decide;
use crate::journal::types::*;

/// What the ledger keeps of an arrival besides its row.
#[derive(Clone, Debug)]
pub(super) struct Beside {
    pub source: SourceId,
    pub flow: FlowId,
    pub origin: Arrival,
    /// The ledger counts it; a trial's it does not.
    pub live: bool,
    pub media_type: Option<Arc<str>>,
    /// The record by which it came in.
    pub seq: Seq,
}

/// A remembered result.
#[derive(Clone, Debug)]
pub(super) struct StoredMemo {
    pub arrival: Arrival,
    key: MemoKey,
    run: RunId,
    at: i64,
    many: bool,
    pub children: Vec<Child>,
    /// Bytes of all that was ever remembered up to here.
    upto: u64,
}

impl State {
    pub(super) fn begin_reprocess(&mut self, new: NewReprocess) -> Result<Reprocess> {
        let run = self.new_run((new.flow, new.version), RunMode::Live, &new.trigger, true, new.at)?;
        self.last.pass += 1;
        let NewReprocess { flow, version, selection, context, actor, .. } = new;
        let reprocess = Reprocess {
            run,
            flow,
            version,
            pass: Pass(self.last.pass),
            selection,
            cursor: Arrival(0),
            upto: Arrival(self.last.arrival),
            taken: 0,
            gone: 0,
            state: ReprocessState::Feeding,
            context,
            actor,
        };
        self.next_seq();
        self.reprocesses.insert(run, reprocess.clone());
        Ok(reprocess)
    }

    pub(super) fn historic(
        &self,
        flow: FlowId,
        selection: &Selection,
        after: Arrival,
        upto: Arrival,
        limit: usize,
    ) -> Result<HistoricPage> {
        let row = self.flows.get(&flow).ok_or_else(|| decide::missing("journal historic", format!("flow {flow}")))?;
        // A flow that was deleted and saved again under its name goes on with what arrived before.
        let same = |other: &FlowId| self.flows.get(other).is_some_and(|other| other.slug == row.slug);
        let of_flow = |arrival: &Arrival| self.beside.get(arrival).is_some_and(|one| one.live && same(&one.flow));
        let newest = |arrival: Arrival| {
            let (one, row) = (&self.beside[&arrival], &self.arrivals[&arrival]);
            let path = |other: &&Arrival| {
                let beside = &self.beside[other];
                beside.live && beside.source == one.source && self.arrivals[other].path == row.path
            };
            self.beside.range(..=upto).map(|(arrival, _)| arrival).filter(path).max().copied() == Some(arrival)
        };
        let since = |arrival: &Arrival| selection.since.is_none_or(|since| self.arrivals[arrival].at >= since);
        let mut meant: Vec<Arrival> = Vec::new();
        if selection.is_by_origin() {
            let mut origins: BTreeSet<Arrival> = selection.origins.iter().copied().collect();
            if let Some(collection) = &selection.collection {
                let slots = self.revisions.values().filter_map(|slot| slot.values().next());
                let of = slots.filter(|one| one.row.collection == *collection && one.row.flow == row.slug);
                let found: BTreeSet<Arrival> = of.map(|one| one.row.slot.origin).collect();
                origins = if origins.is_empty() { found } else { &origins & &found };
            }
            let mut behind: Vec<Arrival> = origins.into_iter().filter(|origin| *origin > after).collect();
            let next = behind.get(limit).and(limit.checked_sub(1)).map(|last| behind[last]);
            behind.truncate(limit);
            for origin in behind {
                let here = self.beside.iter().filter(|(_, one)| one.origin == origin).map(|(arrival, _)| *arrival);
                let found: Vec<Arrival> = here.filter(|one| of_flow(one) && *one <= upto && newest(*one)).collect();
                meant.extend(found.into_iter().filter(since));
            }
            let arrivals = meant.into_iter().map(|arrival| self.historic_one(arrival)).collect::<Result<_>>()?;
            return Ok(HistoricPage { arrivals, next });
        }
        let behind = self.arrivals.keys().filter(|arrival| **arrival > after && **arrival <= upto);
        meant.extend(behind.copied().filter(|one| of_flow(one) && newest(*one) && since(one)));
        let more = meant.len() > limit;
        meant.truncate(limit);
        let next = meant.last().filter(|_| more).copied();
        let arrivals = meant.into_iter().map(|arrival| self.historic_one(arrival)).collect::<Result<_>>()?;
        Ok(HistoricPage { arrivals, next })
    }

    fn historic_one(&self, arrival: Arrival) -> Result<Historic> {
        let beside = &self.beside[&arrival];
        let found =
            self.history.iter().find_map(|(row, _)| recorded(&row.steps, |one| one == arrival).remove(&arrival));
        let recorded = match found {
            None => None,
            Some((context, entry)) => {
                let context = self.contexts.get((context as usize).wrapping_sub(1));
                let processor = context.map(|context| context.processor.as_str().into());
                processor.map(|processor| Recorded::of(&entry, processor)).transpose().map_err(|error| {
                    crate::Error::new(crate::ErrorKind::Damaged, "journal historic", error.to_string())
                })?
            }
        };
        let (origin, media_type) = (beside.origin, beside.media_type.clone());
        let row =
            self.arrival_row(arrival).ok_or_else(|| decide::missing("journal historic", format!("{arrival:?}")))?;
        Ok(Historic { row, origin, media_type, recorded })
    }

    pub(super) fn feed(&mut self, feed: Feed) -> Result<bool> {
        if !self.live(feed.lease) {
            return Err(decide::taken_over("journal feed"));
        }
        let found = self.reprocesses.get(&feed.run).ok_or_else(|| decide::no_reprocess(feed.run))?;
        if found.state != ReprocessState::Feeding || found.cursor != feed.after {
            return Ok(false);
        }
        let items = feed.tasks.iter().flat_map(|task| &task.items);
        let gone = |arrival: Arrival| self.arrivals.get(&arrival).is_some_and(|row| row.gone.is_some());
        if items.into_iter().any(|item| gone(item.id.arrival)) {
            return Ok(false);
        }
        let origin = Origin { flow: found.flow, version: found.version, run: feed.run };
        self.all_new(feed.tasks.iter())?;
        let mut made: BTreeMap<ItemId, Seq> = BTreeMap::new();
        let actor = found.actor.clone();
        for steps in feed.history {
            let seq = self.next_seq();
            made.extend(decide::children(&steps).map(|child| (child, seq)));
            self.recorded.insert(seq, feed.run);
            self.record(seq, feed.at, &actor, vec![steps], decide::Made::Unknown);
        }
        let mut work = 0;
        for task in feed.tasks {
            let seq = task.items.first().and_then(|first| made.get(&first.id)).copied();
            work += self.enqueue(vec![task], origin, seq) as i64;
        }
        let Some(found) = self.reprocesses.get_mut(&feed.run) else { return Ok(false) };
        found.taken += feed.taken;
        found.gone += feed.gone;
        found.cursor = feed.next.unwrap_or(found.upto);
        if feed.next.is_none() {
            found.state = ReprocessState::Fed;
        }
        if let Some(run) = self.runs.get_mut(&feed.run) {
            run.open = feed.next.is_some();
            run.row.arrivals += feed.taken;
            for (processor, counts) in &feed.counts {
                run.row.processors.entry(processor.to_string()).or_default().add(counts);
            }
        }
        self.outstanding(feed.run, work, feed.at);
        Ok(true)
    }

    pub(super) fn stop_reprocess(&mut self, run: RunId, at: i64) -> Result<bool> {
        let found = self.reprocesses.get_mut(&run).ok_or_else(|| decide::no_reprocess(run))?;
        if found.state != ReprocessState::Feeding {
            return Ok(false);
        }
        found.state = ReprocessState::Stopped;
        self.next_seq();
        if let Some(run) = self.runs.get_mut(&run) {
            run.open = false;
        }
        self.outstanding(run, 0, at);
        Ok(true)
    }

    pub(super) fn repeats(&self, flow: FlowId, group: PathHash, items: &[ItemId]) -> Vec<Option<ContentHash>> {
        let Some(group) = self.groups.get(&(flow, group)) else { return vec![None; items.len()] };
        let here = || group.rows.values().map(|row| &row.items).chain(&group.joined).flatten();
        let of = |id: &ItemId| {
            let same = here().filter(|item| decide::is_repeat(*id, item.id));
            same.max_by_key(|item| item.id.pass).map(|item| item.content.hash)
        };
        items.iter().map(of).collect()
    }

    pub(super) fn remember(&mut self, memo: NewMemo, run: RunId, at: i64) {
        let NewMemo { arrival, key, many, children } = memo;
        if let Some(old) = self.memo_keys.remove(&(arrival, key)) {
            self.memos.remove(&old);
        }
        let before = self.memos.last_key_value().map_or(0, |(_, memo)| memo.upto);
        let upto = before + encode_memo(many, &children).len() as u64;
        let id = next(&mut self.last.memo);
        self.memo_keys.insert((arrival, key), id);
        self.memos.insert(id, StoredMemo { arrival, key, run, at, many, children, upto });
    }

    pub(super) fn memos(&self, keys: &[(Arrival, MemoKey)]) -> Vec<Option<Memo>> {
        let find = |key| self.memos.get(self.memo_keys.get(key)?);
        let told = |memo: &StoredMemo| Memo { run: memo.run, many: memo.many, children: memo.children.clone() };
        keys.iter().map(|key| find(key).map(told)).collect()
    }

    pub(super) fn forget_memos(&mut self, limit: MemoLimit, most: usize) -> u64 {
        let last = self.memos.last_key_value().map_or(0, |(_, memo)| memo.upto);
        let mut count = 0;
        while count < most as u64 {
            let Some(first) = self.memos.first_entry() else { break };
            let memo = first.get();
            if memo.at >= limit.before && last - memo.upto < limit.bytes {
                break;
            }
            let memo = first.remove();
            self.memo_keys.remove(&(memo.arrival, memo.key));
            count += 1;
        }
        count
    }
}
