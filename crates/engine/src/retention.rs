//! Retention: lets go of what flows say they no longer keep, part by part. What goes is decided by
//! [`opendmp_ports::journal::retain`]; here stands which flows say what.
//!
//! Only the present version of a flow counts, whether it is enabled or not. What of it can't be read keeps everything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opendmp_model::document::{DatasetRetention, FlowRetention, HumanDuration};
use opendmp_model::kinds::Role;
use opendmp_model::plan::RunPlan;
use opendmp_ports::journal::{DEFAULT_SPACE, FlowId, FlowRow, FlowState, LetGo, LetGoPart, LetGone, RevisionRule};
use opendmp_ports::{Error, ErrorKind};
use serde::{Deserialize, Serialize};

use crate::Engine;

/// Rows that are looked at in one part.
const PART: usize = 5_000;

/// What was let go, or would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LetGoReport {
    /// Arrivals whose content went.
    pub sources: u64,
    /// Its bytes.
    pub source_bytes: u64,
    /// Revisions of datasets whose content went.
    pub revisions: u64,
    /// Its bytes.
    pub revision_bytes: u64,
    /// Records of history.
    pub records: u64,
    /// Their bytes.
    pub record_bytes: u64,
}

impl LetGoReport {
    /// Whether nothing went.
    pub fn is_empty(&self) -> bool {
        self.sources + self.revisions + self.records == 0
    }

    fn add(&mut self, what: &LetGo, gone: &LetGone) {
        let (count, bytes) = match what {
            LetGo::Sources(_) => (&mut self.sources, &mut self.source_bytes),
            LetGo::Revisions { .. } => (&mut self.revisions, &mut self.revision_bytes),
            LetGo::History(_) => (&mut self.records, &mut self.record_bytes),
        };
        *count += gone.count;
        *bytes += gone.bytes;
    }
}

/// What a flow says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Said {
    flow: FlowRetention,
    /// By collect: its collection, and what it says.
    collects: Vec<(String, String, DatasetRetention)>,
}

fn said(plan: &RunPlan) -> Result<Said, serde_json::Error> {
    let mut out = Said { flow: plan.retention.unwrap_or_default(), collects: Vec::new() };
    for processor in plan.processors.iter().filter(|processor| processor.role == Role::Collect) {
        let Some(retention) = processor.config.get("retention").filter(|value| !value.is_null()) else { continue };
        let collection = processor.config.get("collection").and_then(|value| value.as_str()).unwrap_or_default();
        let retention: DatasetRetention = serde_json::from_value(retention.clone())?;
        out.collects.push((processor.id.clone(), collection.to_owned(), retention));
    }
    Ok(out)
}

/// What is to be let go now, in this order: history last, because it tells whether sources are done with.
fn what(all: &[(FlowRow, Said)], now: i64) -> Vec<LetGo> {
    let before = |age: HumanDuration| now.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
    let mut out = Vec::new();
    let (mut sources, mut history) = (BTreeMap::<FlowId, i64>::new(), BTreeMap::<FlowId, i64>::new());
    for (flow, said) in all {
        for (processor, collection, retention) in &said.collects {
            let rule = RevisionRule { newest: retention.revisions, since: retention.age.map(before) };
            if rule != RevisionRule::default() {
                out.push(LetGo::Revisions {
                    space: flow.space,
                    collection: collection.clone(),
                    flow: flow.slug.clone(),
                    processor: processor.clone(),
                    rule,
                });
            }
        }
        // The check of the document refuses it; if it is there all the same, nothing is lost.
        if said.flow.is_upside_down() {
            continue;
        }
        sources.extend(said.flow.sources.map(|age| (flow.id, before(age))));
        history.extend(said.flow.history.map(|age| (flow.id, before(age))));
    }
    out.extend((!sources.is_empty()).then_some(LetGo::Sources(sources)));
    out.extend((!history.is_empty()).then_some(LetGo::History(history)));
    out
}

impl Engine {
    /// Lets go of what is no longer kept; with `dry` it is only told how much that is. Between two parts it waits for
    /// `pause`. `stopped` is asked whether to end early: what went by then, went, and the rest goes the next time.
    ///
    /// # Errors
    /// Those of the journal.
    pub async fn apply_retention(
        &self,
        dry: bool,
        pause: Duration,
        stopped: &AtomicBool,
    ) -> Result<LetGoReport, Error> {
        let mut report = LetGoReport::default();
        let all = self.retentions().await?;
        for what in what(&all, self.clock.now()) {
            let mut after = None;
            loop {
                if stopped.load(Ordering::Acquire) {
                    return Ok(report);
                }
                let part = LetGoPart { what: what.clone(), after, limit: PART, dry, at: self.clock.now() };
                let gone = self.journal.let_go(part).await?;
                report.add(&what, &gone);
                after = gone.next;
                if after.is_none() {
                    break;
                }
                if !pause.is_zero() {
                    self.clock.sleep(pause).await;
                }
            }
        }
        if !dry && !report.is_empty() {
            self.metrics.let_go(&report);
            tracing::info!(
                sources = report.sources,
                revisions = report.revisions,
                records = report.records,
                bytes = report.source_bytes + report.revision_bytes,
                "retention let go"
            );
        }
        Ok(report)
    }

    /// Flows that say something of retention, with what they say.
    async fn retentions(&self) -> Result<Vec<(FlowRow, Said)>, Error> {
        let mut out = Vec::new();
        for flow in self.journal.flows(DEFAULT_SPACE).await? {
            if !matches!(flow.state, FlowState::Enabled | FlowState::Disabled) {
                continue;
            }
            // Most say nothing, and need not be opened to know that.
            let saved = self.journal.version(flow.version).await?;
            if !saved.body.windows(RETENTION.len()).any(|part| part == RETENTION) {
                continue;
            }
            let plan = async {
                let loaded = self.load(flow.version).await?;
                let damaged = |error: serde_json::Error| {
                    Error::new(ErrorKind::Damaged, "retention", format!("flow {}: {error}", flow.slug))
                };
                said(&loaded.plan).map_err(damaged)
            };
            match plan.await {
                Ok(said) => out.push((flow, said)),
                Err(error) => {
                    tracing::warn!(flow = flow.slug, %error, "what it says of retention can't be read: all is kept");
                }
            }
        }
        Ok(out)
    }

    /// The same by itself, beside other work.
    pub(crate) async fn keep_retention(&self, stopped: &Arc<AtomicBool>) {
        if let Err(error) = self.apply_retention(false, PAUSE, stopped).await {
            tracing::warn!(%error, hint = error.hint, "retention could not be applied");
        }
    }
}

/// The key that a version has in it which says something.
const RETENTION: &[u8] = b"retention";

/// How long others have the journal for themselves between two parts.
const PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;

    fn row(id: u32) -> FlowRow {
        let text = String::new;
        FlowRow {
            id: FlowId(id),
            space: DEFAULT_SPACE,
            slug: format!("flow-{id}"),
            name: text(),
            state: FlowState::Enabled,
            version: Default::default(),
            version_hash: text(),
            base: text(),
            outstanding: 0,
            held: 0,
            dead_letters: 0,
            unfinished_since: None,
            last_run: None,
            changed: 0,
        }
    }

    fn days(days: u64) -> Option<HumanDuration> {
        Some(HumanDuration::from_secs(days * 86_400))
    }

    #[test]
    fn what_is_said_becomes_times() {
        let shelf = |retention| ("shelf".to_owned(), "Shelf".to_owned(), retention);
        let one = Said {
            flow: FlowRetention { sources: days(30), history: days(365) },
            collects: vec![shelf(DatasetRetention { revisions: Some(10), age: days(90) })],
        };
        let silent = Said { collects: vec![shelf(DatasetRetention::default())], ..Said::default() };
        let upside_down = Said { flow: FlowRetention { sources: days(30), history: days(3) }, ..Said::default() };
        let history = Said { flow: FlowRetention { sources: None, history: days(1) }, ..Said::default() };
        let all = [(row(1), one), (row(2), silent), (row(3), upside_down), (row(4), history)];
        let now = 1_000 * DAY;
        let rule = RevisionRule { newest: Some(10), since: Some(now - 90 * DAY) };
        let revisions = LetGo::Revisions {
            space: DEFAULT_SPACE,
            collection: "Shelf".to_owned(),
            flow: "flow-1".to_owned(),
            processor: "shelf".to_owned(),
            rule,
        };
        let sources = LetGo::Sources(BTreeMap::from([(FlowId(1), now - 30 * DAY)]));
        let history = LetGo::History(BTreeMap::from([(FlowId(1), now - 365 * DAY), (FlowId(4), now - DAY)]));
        assert_eq!(what(&all, now), [revisions, sources, history]);
        assert!(what(&[], now).is_empty());
    }
}
