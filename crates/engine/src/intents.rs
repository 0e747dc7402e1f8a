//! Intents: what a settlement decided to do outside, carried out from what was recorded. Each may be carried out more
//! than once; what that does is said by its sink's class.

use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use opendmp_model::document::OnError;
use opendmp_model::export::IfExists;
use opendmp_model::fault::{Fault, FaultKind};
use opendmp_ports::Error;
use opendmp_ports::journal::{Action, End, ExportAction, Finished, Intent};
use opendmp_ports::transport::Hint;
use opendmp_processor::{Export, ExportEnd, Opened};
use tracing::Instrument;

use crate::Engine;
use crate::decide::backoff;
use crate::execute::body;
use crate::failpoint::reach;
use crate::ingest::{port_fault, source_fault};
use crate::spans;

/// How many intents are carried out at once.
const AT_ONCE: usize = 64;

impl Engine {
    /// Claims intents that are due, carries them out, and records how they ended. Answers how many there were.
    pub async fn intents_once(&self) -> Result<usize, Error> {
        let now = self.clock.now();
        let intents = self.patiently("journal", || self.journal.claim_intents(self.lease, now, AT_ONCE)).await?;
        let count = intents.len();
        if count == 0 {
            return Ok(0);
        }
        let runs: std::collections::BTreeSet<_> = intents.iter().map(|intent| intent.run).collect();
        let carry_out = |intent| self.carry_out(intent).instrument(spans::intent(intent));
        let mut running: FuturesUnordered<_> = intents.iter().map(carry_out).collect();
        let mut done = Vec::with_capacity(count);
        while let Some(finished) = running.next().await {
            done.push(finished);
        }
        self.patiently("journal", || self.journal.finish(done.clone())).await?;
        for run in runs {
            self.transport.send(Hint::Run(run));
        }
        Ok(count)
    }

    /// Carries one claimed intent out and records how it ended.
    pub(crate) async fn carry_out_and_finish(&self, intent: Intent) -> Result<(), Error> {
        reach("before-export");
        let finished = self.carry_out(&intent).instrument(spans::intent(&intent)).await;
        reach("after-export");
        self.patiently("journal", || self.journal.finish(vec![finished.clone()])).await?;
        reach("after-finish");
        if matches!(finished.end, End::Occupied) {
            self.transport.send(Hint::Intents);
        }
        self.transport.send(Hint::Run(intent.run));
        Ok(())
    }

    async fn carry_out(&self, intent: &Intent) -> Finished {
        let end = match &intent.action {
            Action::Release { releases } => self.release(intent, releases).await,
            Action::Export(export) => self.export(intent, export).await,
        };
        self.metrics.carried_out(intent, &end);
        if let End::Refused(fault) = &end {
            tracing::warn!(code = fault.code, "an export was refused; `opendmp dead-letters` tells");
        }
        let about = format!("{} of flow {}", intent.processor, intent.flow);
        match &end {
            End::Retry { fault, .. } => self.trouble(&about, &fault.to_string(), fault.hint.as_deref()),
            _ => self.clear_trouble(&about),
        }
        Finished { id: intent.id, lease: self.lease, attempt: intent.attempt, end, at: self.clock.now() }
    }

    async fn release(&self, intent: &Intent, releases: &[bytes::Bytes]) -> End {
        let source = async {
            let loaded = self.load(intent.version).await.map_err(port_fault)?;
            spans::of_flow(&loaded.plan.slug);
            let node = loaded.node(&intent.processor).ok_or_else(gone)?;
            node.source(self).await
        };
        let source = match source.await {
            Ok(source) => source,
            Err(fault) => return self.again(intent, fault, &OnError::default()),
        };
        let ends = source.release_all(releases).await;
        match ends.into_iter().find_map(Result::err) {
            Some(error) => self.again(intent, source_fault(error), &OnError::default()),
            None => End::Done,
        }
    }

    async fn export(&self, intent: &Intent, action: &ExportAction) -> End {
        let loaded = match self.load(intent.version).await {
            Ok(loaded) => loaded,
            Err(error) => return self.again(intent, port_fault(error), &OnError::default()),
        };
        spans::of_flow(&loaded.plan.slug);
        let Some(node) = loaded.node(&intent.processor) else { return End::Refused(gone()) };
        let on_error = node.planned.settings.on_error;
        let sink = match node.opened(self).await {
            Ok(Opened::Collect(collect)) => collect.sink.clone(),
            Ok(_) => None,
            Err(fault) => return self.refuse(intent, fault, &on_error),
        };
        let Some(sink) = sink else { return End::Refused(gone()) };
        if *sink.destination() != *action.export.destination {
            // The flow was moved since: what was decided names a place that this version does not open any more.
            let fault = Fault::new(
                FaultKind::ExportRefused,
                "destination-moved",
                format!("this version exports to {}, not to {}", sink.destination(), action.export.destination),
            );
            return End::Refused(fault.with_hint("retry the dead letter of the step before it, or reprocess"));
        }
        let opened = match self.content.open(&action.item.content).await {
            Ok(stored) => stored,
            Err(error) => return self.refuse(intent, port_fault(error), &on_error),
        };
        let export = Export {
            target: action.export.target.clone(),
            ours: action.ours,
            overwrite: action.export.if_exists == IfExists::Overwrite,
            body: body(opened),
            hash: action.item.content.hash,
            size: action.item.content.size,
        };
        let call = sink.export(export);
        match call.await {
            Ok(ExportEnd::Written) => End::Done,
            Ok(ExportEnd::Occupied) => End::Occupied,
            Err(fault) => self.refuse(intent, fault, &on_error),
        }
    }

    /// A failed export: tried again while the world may mend it or retries are left, refused otherwise.
    fn refuse(&self, intent: &Intent, fault: Fault, on_error: &OnError) -> End {
        let spent = intent.attempt > u32::from(on_error.retries);
        match fault.kind {
            FaultKind::Unavailable => self.again(intent, fault, on_error),
            FaultKind::ExportRefused | FaultKind::Rejected => End::Refused(fault),
            _ if spent => End::Refused(fault),
            _ => self.again(intent, fault, on_error),
        }
    }

    fn again(&self, intent: &Intent, fault: Fault, on_error: &OnError) -> End {
        let wait = backoff(on_error, intent.attempt.saturating_sub(1)).max(Duration::from_millis(100));
        End::Retry { due: self.clock.now().saturating_add(wait.as_millis() as i64), fault }
    }
}

fn gone() -> Fault {
    Fault::new(FaultKind::ExportRefused, "no-processor", "this version of the flow has no such processor")
}
