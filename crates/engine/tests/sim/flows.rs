//! The flows of a simulation, and who reads whom in them.

use std::collections::BTreeMap;

use opendmp_model::document::{FlowSource, Version, check};
use opendmp_model::kinds::Role;
use opendmp_model::plan::compile_checked;
use opendmp_ports::Journal;
use opendmp_ports::journal::{DEFAULT_SPACE, FlowChange, FlowId, FlowState, NewVersion, VersionId};
use opendmp_processor::Registry;

/// Which flows a simulation runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// A copying ingest, one step, one shelf with a sink.
    Straight,
    /// A claiming ingest, a fan-out with two readers that meet again, a port with a shelf of its own.
    Fan,
    /// Two ingests into a slow step with checkpoints, a route, two ways to the shelf that overwrites.
    Slow,
    /// Deterministic throughout: equal input, equal results.
    Pure,
    /// Children are streamed, written down, and joined again.
    Many,
    /// Nothing fails but what is poisonous.
    Poison,
}

impl Flow {
    fn text(self) -> String {
        let errors = "on_error: { retries: 2, backoff: 20ms, max_backoff: 100ms }";
        match self {
            Flow::Straight => format!(
                "name: Straight
processors:
  - {{ id: inbox, type: ingest, source: {{ type: place, place: keep }} }}
  - {{ id: shout, type: step, inputs: [inbox], trouble: 120, batch: 3, {errors} }}
  - {{ id: shelf, type: shelf, inputs: [shout], collection: Straight, destination: {{ type: targets, place: a }}, {errors} }}
"
            ),
            Flow::Fan => format!(
                "name: Fan
processors:
  - {{ id: drop, type: ingest, source: {{ type: place, place: drop, release: true }} }}
  - {{ id: split, type: step, inputs: [drop], fan: 4, outputs: [bad], trouble: 60, {errors} }}
  - {{ id: left, type: step, inputs: [split], trouble: 60, batch: 4, {errors} }}
  - {{ id: right, type: step, inputs: [split], trouble: 60, slow: 900, {errors} }}
  - {{ id: mix, type: step, inputs: [left, right], fan: 2, trouble: 60, concurrency: 2, {errors} }}
  - {{ id: shelf, type: shelf, inputs: [mix], collection: Fan, destination: {{ type: targets, place: a }} }}
  - {{ id: rest, type: shelf, inputs: [split.bad], collection: Rest }}
"
            ),
            Flow::Slow => format!(
                "name: Slow
processors:
  - {{ id: inbox, type: ingest, source: {{ type: place, place: keep }} }}
  - {{ id: drop, type: ingest, source: {{ type: place, place: drop2, release: true }} }}
  - {{ id: grind, type: step, inputs: [inbox, drop], slow: 700, checkpoint: true, trouble: 80, batch: 2, {errors} }}
  - {{ id: way, type: step, inputs: [grind], route: true, outputs: [x, y], {errors} }}
  - {{ id: xs, type: step, inputs: [way.x], trouble: 80, {errors} }}
  - {{ id: ys, type: step, inputs: [way.y], trouble: 80, {errors} }}
  - {{ id: shelf, type: shelf, inputs: [xs, ys, way], collection: Slow, destination: {{ type: targets, place: b, if_exists: fail }} }}
"
            ),
            Flow::Pure => format!(
                "name: Pure
processors:
  - {{ id: inbox, type: ingest, source: {{ type: place, place: pure }} }}
  - {{ id: clean, type: step, inputs: [inbox], pure: true, memo: always, trouble: 150, {errors} }}
  - {{ id: cut, type: step, inputs: [clean], pure: true, memo: always, fan: 2, {errors} }}
  - {{ id: shelf, type: shelf, inputs: [clean], collection: Pure, destination: {{ type: targets, place: c }} }}
  - {{ id: keep, type: shelf, inputs: [cut], collection: Cut, destination: {{ type: targets, place: c, if_exists: keep }} }}
"
            ),
            Flow::Many => format!(
                "name: Many
processors:
  - {{ id: inbox, type: ingest, source: {{ type: place, place: keep }} }}
  - {{ id: split, type: step, inputs: [inbox], fan: 9, stream: true, outputs: [bad], trouble: 60, {errors} }}
  - {{ id: work, type: step, inputs: [split], trouble: 60, batch: 3, slow: 40, {errors} }}
  - {{ id: pack, type: batch, inputs: [work], count: 4, quiet: 150, trouble: 20 }}
  - {{ id: again, type: step, inputs: [pack], fan: 6, stream: true, trouble: 60, {errors} }}
  - {{ id: whole, type: batch, inputs: [again, split.bad], end_of_run: true, trouble: 20 }}
  - {{ id: shelf, type: shelf, inputs: [pack], collection: Many, destination: {{ type: targets, place: a }} }}
  - {{ id: end, type: shelf, inputs: [whole], collection: Whole, destination: {{ type: targets, place: c }} }}
"
            ),
            Flow::Poison => format!(
                "name: Poison
processors:
  - {{ id: drop, type: ingest, source: {{ type: place, place: drop, release: true }} }}
  - {{ id: way, type: step, inputs: [drop], route: true, {errors} }}
  - {{ id: one, type: step, inputs: [way], batch: 4, {errors} }}
  - {{ id: two, type: step, inputs: [one], batch: 4, {errors} }}
  - {{ id: shelf, type: shelf, inputs: [two], collection: Poison, destination: {{ type: targets, place: a }} }}
"
            ),
        }
    }

    /// The places its ingests read.
    pub fn places(self) -> &'static [&'static str] {
        match self {
            Flow::Straight | Flow::Many => &["keep"],
            Flow::Fan | Flow::Poison => &["drop"],
            Flow::Slow => &["keep", "drop2"],
            Flow::Pure => &["pure"],
        }
    }
}

/// Who reads whom.
#[derive(Clone, Debug, Default)]
pub struct Plans {
    /// By version hash, processor and port: the processors that read it.
    pub readers: BTreeMap<(String, String, String), Vec<String>>,
    /// By version: its ingests.
    pub ingests: Vec<(VersionId, String)>,
    /// By slug: the flow with its present version.
    pub flows: BTreeMap<String, (FlowId, VersionId)>,
}

/// Saves and enables the flows.
pub async fn save(journal: &dyn Journal, registry: &Registry, flows: &[Flow]) -> Plans {
    let mut plans = Plans::default();
    for flow in flows {
        let files = BTreeMap::new();
        let text = flow.text();
        let checked = check(&text, registry, &files);
        assert!(checked.flow.is_some(), "{:?}: {}", flow, checked.diagnostics);
        let version = Version::new(FlowSource { text, ..FlowSource::default() }).unwrap();
        let (plan, _) = compile_checked(&checked, &version).unwrap();
        let hash = version.hash.to_hex();
        for processor in &plan.processors {
            for (port, readers) in &processor.readers {
                let readers = readers.iter().map(|reader| plan.processors[reader.processor].id.clone()).collect();
                plans.readers.insert((hash.clone(), processor.id.clone(), port.clone()), readers);
            }
        }
        let new = NewVersion {
            space: DEFAULT_SPACE,
            slug: version.slug.clone(),
            name: version.name.clone(),
            hash,
            body: serde_json::to_vec(&version).unwrap().into(),
            at: 0,
            actor: "test".to_owned(),
        };
        let (id, saved) = journal.save_version(new).await.unwrap();
        let change = FlowChange {
            flow: id,
            state: FlowState::Enabled,
            version: Some(saved),
            base: Some("/".to_owned()),
            at: 0,
            actor: "test".to_owned(),
        };
        journal.change_flow(change).await.unwrap();
        let ingests = plan.processors.iter().filter(|processor| processor.role == Role::Ingest);
        plans.ingests.extend(ingests.map(|processor| (saved, processor.id.clone())));
        plans.flows.insert(version.slug, (id, saved));
    }
    plans
}
