//! What flows did lately, part by part of the time, for the small graphs of listings.

use std::collections::BTreeMap;

use opendmp_ports::journal::Filter;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::problem::Problem;
use crate::rows::time;
use crate::service::Service;

/// Parts of the time that is told of.
const PARTS: i64 = 24;

/// The longest time that is told of, in hours.
const MOST_HOURS: u32 = 31 * 24;

/// Runs that are read at once, and at most.
const PAGE: usize = 1_000;
const MOST_RUNS: usize = 50_000;

/// Of which time.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ActivityRequest {
    /// The last so many hours, up to 744; 24 where it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 744)]
    pub hours: Option<u32>,
}

/// What one flow did, part by part, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FlowActivity {
    /// Its slug.
    pub flow: String,
    /// Items that arrived in runs that began then.
    pub arrived: Vec<u64>,
    /// Items of theirs that became dead letters.
    pub failed: Vec<u64>,
}

/// What flows did lately.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Activity {
    /// When the first part begins.
    pub since: String,
    /// How long each part is, in milliseconds.
    pub part_ms: i64,
    /// Flows that had runs, by slug.
    pub rows: Vec<FlowActivity>,
    /// Whether older runs of that time were left out, so many there were.
    pub cut: bool,
}

impl Service {
    /// Counts what arrived and what failed by the times at which runs began, newest first.
    ///
    /// # Errors
    /// For a time that can't be told of, and where the journal can't be read.
    pub(crate) async fn activity(&self, asked: ActivityRequest) -> Result<Activity, Problem> {
        let hours = asked.hours.unwrap_or(24);
        if !(1..=MOST_HOURS).contains(&hours) {
            return Err(Problem::new(400, "bad-request", format!("`hours` can't be {hours}"))
                .with_hint(format!("give a number from 1 to {MOST_HOURS}")));
        }
        let part = i64::from(hours) * 3_600_000 / PARTS;
        // Parts end at round times, so that what was counted once does not move from one to the next.
        let since = (self.engine.clock.now() / part + 1) * part - PARTS * part;
        let mut rows: BTreeMap<String, FlowActivity> = BTreeMap::new();
        let (mut after, mut read) = (None, 0);
        let cut = loop {
            let page = self.engine.journal.runs(Filter { limit: PAGE, after, ..Filter::default() }).await?;
            for run in page.rows.iter().filter(|run| run.started >= since) {
                let row = rows.entry(run.flow.clone()).or_insert_with(|| FlowActivity {
                    flow: run.flow.clone(),
                    arrived: vec![0; PARTS as usize],
                    failed: vec![0; PARTS as usize],
                });
                let at = ((run.started - since) / part).clamp(0, PARTS - 1) as usize;
                row.arrived[at] += run.arrivals;
                row.failed[at] += run.dead;
            }
            read += page.rows.len();
            after = page.next;
            let is_past = page.rows.last().is_some_and(|run| run.started < since);
            if after.is_none() || is_past {
                break false;
            }
            if read >= MOST_RUNS {
                break true;
            }
        };
        Ok(Activity { since: time(since), part_ms: part, rows: rows.into_values().collect(), cut })
    }
}
