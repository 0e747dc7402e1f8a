//! The folders of flows: whether a flow may use its own, and whether enabled flows get in each other's way. How that is
//! decided lives in [`opendmp_processor::conflicts`].

use std::path::Path;
use std::sync::Arc;

use opendmp_model::fault::{Fault, FaultKind};
use opendmp_ports::journal::{DEFAULT_SPACE, FlowState};
use opendmp_processor::{Conflict, conflicts, processor_places};

use crate::control::{Refusal, Saved};
use crate::loaded::run_blocking;
use crate::retry::port_fault;
use crate::{Engine, Loaded};

fn fault(conflict: Conflict, kind: FaultKind) -> Fault {
    Fault::new(kind, conflict.code, conflict.message).with_hint(conflict.hint)
}

impl Engine {
    /// Refuses a saved version whose folders, as they are now, may not be used, or are those of other enabled flows in
    /// a way that would lose files or never end.
    pub(crate) async fn may_be_enabled(&self, saved: &Saved, base: &str) -> Result<(), Refusal> {
        let mut flows: Vec<(Arc<Loaded>, String)> = vec![(self.load(saved.version).await?, base.to_owned())];
        for row in self.journal.flows(DEFAULT_SPACE).await? {
            if row.state == FlowState::Enabled
                && row.id != saved.flow
                // One that can't be loaded takes nothing in, and is reported where its sources are started.
                && let Ok(loaded) = self.load(row.version).await
            {
                flows.push((loaded, row.base));
            }
        }
        let (registry, policy) = (Arc::clone(&self.registry), self.options.policy.clone());
        let check = move || {
            let places = |(loaded, base): &(Arc<Loaded>, String)| {
                processor_places(&registry, &loaded.plan.slug, loaded.docs(), Path::new(base))
            };
            let all: Vec<_> = flows.iter().flat_map(places).collect();
            let slug = &flows[0].0.plan.slug;
            let own = all.iter().filter(|one| one.flow == *slug).flat_map(|one| &one.places);
            let refused = own.into_iter().find_map(|found| policy.refuses(&found.place));
            match refused {
                Some(refused) => Err(refused.fault(FaultKind::Rejected)),
                None => conflicts(slug, &all).into_iter().next().map_or(Ok(()), |c| Err(fault(c, FaultKind::Rejected))),
            }
        };
        Ok(run_blocking(check).await??)
    }

    /// Why a flow may not take anything in with its folders as they are now: its results would be taken in again. A link
    /// may have been set since it was enabled.
    ///
    /// # Errors
    /// A fault that says so.
    pub(crate) async fn may_take_in(&self, loaded: &Arc<Loaded>) -> Result<(), Fault> {
        let (registry, loaded) = (Arc::clone(&self.registry), Arc::clone(loaded));
        let check = move || {
            let base = Path::new(&loaded.flow.base);
            let all = processor_places(&registry, &loaded.plan.slug, loaded.docs(), base);
            conflicts(&loaded.plan.slug, &all)
        };
        let found = run_blocking(check).await.map_err(port_fault)?;
        found.into_iter().next().map_or(Ok(()), |conflict| Err(fault(conflict, FaultKind::Failed)))
    }
}
