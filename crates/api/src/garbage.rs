//! Garbage, as its collection is asked for and told of.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opendmp_engine::retention::LetGoReport;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ask::{Event, Problem};
use crate::service::{Service, Teller};

/// A collection of garbage.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CollectRequest {
    /// Free nothing, only tell what would be freed.
    pub dry_run: bool,
}

/// A collection of garbage that came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Collected {
    /// Nothing was freed, only counted.
    pub dry_run: bool,
    /// It was stopped early: there is more.
    pub stopped: bool,
    /// Contents that were freed, or would be.
    pub contents: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that the disk got back.
    pub disk: u64,
    /// Contents that are needed and stay; those that are younger than the oldest work under way are not counted.
    pub kept: u64,
    /// What the flows' retention let go before, or would.
    #[serde(default)]
    pub retention: LetGoReport,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

impl Service {
    /// Lets go of what retention no longer keeps, and collects garbage.
    pub async fn collect_garbage(&self, request: CollectRequest, tell: &Teller) -> Result<(), Problem> {
        let (begun, stopped) = (std::time::Instant::now(), Arc::new(AtomicBool::new(false)));
        let work = async {
            let dry = request.dry_run;
            let retention = self.engine.apply_retention(dry, Duration::ZERO, &stopped).await?;
            Ok::<_, Problem>((retention, self.engine.collect_garbage(dry, Arc::clone(&stopped)).await?))
        };
        tokio::pin!(work);
        let mut stop = self.stop.subscribe();
        let stop = async move { stop.wait_for(|stop| *stop).await.is_ok() };
        let done = tokio::select! {
            done = &mut work => done,
            _ = stop => {
                stopped.store(true, Ordering::Release);
                work.await
            }
        };
        let (retention, freed) = done?;
        tell.send(Event::Collected(Collected {
            dry_run: request.dry_run,
            stopped: stopped.load(Ordering::Acquire),
            contents: freed.contents,
            bytes: freed.bytes,
            disk: freed.disk,
            kept: freed.kept,
            retention,
            took_ms: begun.elapsed().as_millis() as u64,
        }))
        .await;
        Ok(())
    }
}
