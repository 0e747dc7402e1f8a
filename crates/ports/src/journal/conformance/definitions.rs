//! Flows, versions, contexts, sources, leases.

use super::desk::{Desk, OK, context};
use crate::ErrorKind;
use crate::journal::draft::*;
use crate::journal::types::*;

pub(super) async fn versions_are_saved_once(d: Desk) {
    assert_eq!(d.save("penguins", "v1").await, (d.flow, d.version), "equal hash, same version");
    let (flow, second) = d.save("penguins", "v2").await;
    assert_eq!(flow, d.flow);
    assert_ne!(second, d.version);
    let (other, of_other) = d.save("otters", "v1").await;
    assert!(other != d.flow && of_other != d.version, "an equal hash of another flow is another version");
    let row = d.j().await.version(second).await.expect(OK);
    assert_eq!((row.id, row.flow, row.hash.as_str(), row.at, row.actor.as_str()), (second, d.flow, "v2", 5, "ada"));
    assert_eq!(&*row.body, b"body of v2");
    let flow = d.flow_row().await;
    assert_eq!((flow.version, flow.version_hash.as_str()), (d.version, "v1"), "saving does not change the flow");
    assert_eq!((flow.state, flow.slug.as_str(), flow.name.as_str()), (FlowState::Disabled, "penguins", "PENGUINS"));
    assert_eq!((flow.space, flow.base.as_str(), flow.changed), (DEFAULT_SPACE, "", 5));
}

pub(super) async fn flows_change(d: Desk) {
    let (_, second) = d.save("penguins", "v2").await;
    let (otters, foreign) = d.save("otters", "o1").await;
    let change = |version| FlowChange {
        flow: d.flow,
        state: FlowState::Enabled,
        version,
        base: Some("/data/größe".to_owned()),
        at: 9,
        actor: "ada".to_owned(),
    };
    let row = d.j().await.change_flow(change(Some(second))).await.expect(OK);
    assert_eq!((row.state, row.version, row.version_hash.as_str()), (FlowState::Enabled, second, "v2"));
    assert_eq!((row.base.as_str(), row.changed), ("/data/größe", 9));
    let row = d.change(d.flow, FlowState::Disabled).await.expect(OK);
    assert_eq!((row.state, row.version, row.base.as_str()), (FlowState::Disabled, second, "/data/größe"));
    let error = d.j().await.change_flow(change(Some(foreign))).await.expect_err("a version of another flow");
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert_eq!(d.flow_row().await.state, FlowState::Disabled, "a refused change changes nothing");
    let flows = d.j().await.flows(DEFAULT_SPACE).await.expect(OK);
    let slugs: Vec<(FlowId, &str)> = flows.iter().map(|flow| (flow.id, flow.slug.as_str())).collect();
    assert_eq!(slugs, [(otters, "otters"), (d.flow, "penguins")], "by slug");
}

pub(super) async fn flows_end(d: Desk) {
    let (idle, _) = d.save("otters", "o1").await;
    assert_eq!(d.change(idle, FlowState::Deleting).await.expect(OK).state, FlowState::Deleted, "nothing outstanding");
    let claimed = d.arrive("a.csv").await;
    let row = d.change(d.flow, FlowState::Deleting).await.expect(OK);
    assert_eq!((row.state, row.outstanding), (FlowState::Deleting, 1));
    assert_eq!(d.j().await.flows(DEFAULT_SPACE).await.expect(OK).len(), 1, "draining, it is still there");
    d.apply(d.dropped(&claimed)).await;
    let row = d.flow_row().await;
    assert_eq!((row.state, row.outstanding), (FlowState::Deleted, 0), "with the last settlement");
    assert!(d.j().await.flows(DEFAULT_SPACE).await.expect(OK).is_empty());
    assert_eq!(d.change(d.flow, FlowState::Deleting).await.expect(OK).state, FlowState::Deleted, "said again");
    let error = d.change(d.flow, FlowState::Enabled).await.expect_err("it is gone");
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert!(error.hint.is_some());
    let (again, _) = d.save("penguins", "v1").await;
    assert_ne!(again, d.flow, "saved again it is a new flow");
    assert_eq!(d.j().await.flows(DEFAULT_SPACE).await.expect(OK)[0].id, again);
}

pub(super) async fn contexts_and_sources_have_one_number(d: Desk) {
    let first = d.j().await.context(context("clean")).await.expect(OK);
    assert_eq!(first, d.context);
    let plain = opendmp_model::history::Context { environment: None, ..context("sort") };
    let second = d.j().await.context(plain.clone()).await.expect(OK);
    assert_ne!(first, second);
    let both = d.j().await.contexts(vec![second, first, second]).await.expect(OK);
    assert_eq!(both, [plain.clone(), context("clean"), plain]);
    let source = d.j().await.source(DEFAULT_SPACE, "file_drop:/in").await.expect(OK);
    assert_eq!(source, d.source);
    assert_ne!(d.j().await.source(DEFAULT_SPACE, "file_drop:/other").await.expect(OK), source);
}

pub(super) async fn leases_fence(d: Desk) {
    d.arrive("a.csv").await;
    d.collect("b.csv", "b", Some(super::desk::to("b.csv", Default::default()))).await;
    assert_eq!(d.intents(1).await.len(), 1);
    let beside = d.take_over(false).await;
    assert_eq!((beside.tasks, beside.intents), (0, 0));
    assert_ne!(beside.lease, d.lease);
    d.arrive("c.csv").await;
    let over = d.take_over(true).await;
    assert_eq!((over.tasks, over.intents), (2, 1), "what was claimed is lost");
    for lost in [d.lease, beside.lease] {
        let request = ClaimRequest { lease: lost, ..d.request(1) };
        let error = d.j().await.claim(request).await.expect_err("a lost lease claims nothing");
        assert_eq!(error.kind, ErrorKind::Conflict);
        let error = d.j().await.claim_intents(lost, 1_000, 1).await.expect_err("nor intents");
        assert_eq!(error.kind, ErrorKind::Conflict);
    }
    let again = d.take_over(true).await;
    assert_eq!((again.tasks, again.intents), (0, 0), "what is lost is lost once");
}

pub(super) async fn what_is_missing_is_said(d: Desk) {
    let missing = |error: crate::Error| {
        assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
        assert!(error.message.contains("there is no"), "{error}");
    };
    missing(d.j().await.flow(FlowId(99)).await.expect_err("a flow"));
    missing(d.j().await.version(VersionId(99)).await.expect_err("a version"));
    missing(d.j().await.contexts(vec![d.context, 99]).await.expect_err("a context"));
    missing(d.j().await.run(RunId(99)).await.expect_err("a run"));
    missing(d.j().await.close_run(RunId(99), 1).await.expect_err("a run"));
    missing(d.j().await.arrival(super::desk::arrival(99)).await.expect_err("an arrival"));
    missing(d.change(FlowId(99), FlowState::Enabled).await.expect_err("a flow"));
    let run = d.j().await.open_run(FlowId(99), d.version, RunMode::Live, "x", 1).await;
    missing(run.expect_err("a flow"));
    let run = d.j().await.open_run(d.flow, VersionId(99), RunMode::Live, "x", 1).await;
    missing(run.expect_err("a version"));
    let slot = opendmp_model::ids::SlotId::new(super::desk::arrival(99), "c", "f", "p", "n", 0);
    assert!(d.revisions(slot).await.is_empty());
    assert!(d.j().await.history(super::desk::arrival(99)).await.expect(OK).is_empty());
}

pub(super) async fn versions_are_listed(d: Desk) {
    d.save("otters", "o1").await;
    let (_, second) = d.save("penguins", "v2").await;
    let (_, third) = d.save("penguins", "v3").await;
    let all = d.j().await.versions(d.flow, None, 10).await.expect(OK);
    let told: Vec<_> = all.iter().map(|row| (row.id, row.hash.as_str(), row.at, row.actor.as_str())).collect();
    assert_eq!(told, [(third, "v3", 5, "ada"), (second, "v2", 5, "ada"), (d.version, "v1", 5, "ada")], "newest first");
    let part = d.j().await.versions(d.flow, Some(third), 1).await.expect(OK);
    assert_eq!(part, all[1..2], "a part of them");
    assert!(d.j().await.versions(FlowId(99), None, 10).await.expect(OK).is_empty());
}

fn draft(slug: &str, seen: Option<&DraftRow>, body: Option<&'static str>) -> DraftChange {
    let new = |body: &'static str| NewDraft {
        name: slug.to_uppercase(),
        body: bytes::Bytes::from(body),
        based_on: (body == "two").then(|| "v1".to_owned()),
    };
    let (slug, seen) = (slug.to_owned(), seen.map(|row| row.etag));
    DraftChange { space: DEFAULT_SPACE, slug, seen, new: body.map(new), at: 7, actor: "ada".to_owned() }
}

pub(super) async fn drafts_are_kept(d: Desk) {
    assert_eq!(d.j().await.draft(DEFAULT_SPACE, "seals").await.expect(OK), None);
    let made = d.j().await.change_draft(draft("seals", None, Some("one"))).await.expect(OK);
    let DraftChanged::Done(Some(row)) = made else { panic!("{made:?}") };
    assert_eq!((row.slug.as_str(), row.name.as_str(), row.changed, row.actor.as_str()), ("seals", "SEALS", 7, "ada"));
    assert_eq!((row.based_on.as_deref(), row.etag), (None, opendmp_model::ids::ContentHash::of(b"one")));
    d.j().await.change_draft(draft("otters", None, Some("two"))).await.expect(OK);
    let (kept, body) = d.j().await.draft(DEFAULT_SPACE, "otters").await.expect(OK).expect("it is there");
    assert_eq!((kept.based_on.as_deref(), &body[..]), (Some("v1"), &b"two"[..]));
    assert_eq!(d.j().await.drafts(DEFAULT_SPACE).await.expect(OK), [kept, row], "by slug");
    assert!(d.j().await.drafts(SpaceId(99)).await.expect(OK).is_empty());
    assert!(d.j().await.flows(DEFAULT_SPACE).await.expect(OK).iter().all(|flow| flow.slug == "penguins"), "no flow");
}

pub(super) async fn drafts_are_changed_by_those_who_saw_them(d: Desk) {
    let first = d.j().await.change_draft(draft("seals", None, Some("one"))).await.expect(OK);
    let DraftChanged::Done(Some(row)) = first.clone() else { panic!("{first:?}") };
    let again = d.j().await.change_draft(draft("seals", None, Some("one"))).await.expect(OK);
    assert_eq!(again, first, "said again");
    let other = d.j().await.change_draft(draft("seals", None, Some("two"))).await.expect(OK);
    assert_eq!(other, DraftChanged::Otherwise(Some(row.clone())), "it was to be new");
    let changed = d.j().await.change_draft(draft("seals", Some(&row), Some("two"))).await.expect(OK);
    let DraftChanged::Done(Some(second)) = changed else { panic!("{changed:?}") };
    assert_eq!(second.based_on.as_deref(), Some("v1"));
    let late = d.j().await.change_draft(draft("seals", Some(&row), Some("three"))).await.expect(OK);
    assert_eq!(late, DraftChanged::Otherwise(Some(second.clone())), "of what was seen before");
    let late = d.j().await.change_draft(draft("seals", Some(&row), None)).await.expect(OK);
    assert_eq!(late, DraftChanged::Otherwise(Some(second.clone())), "nor dropped");
    let (kept, body) = d.j().await.draft(DEFAULT_SPACE, "seals").await.expect(OK).expect("it is there");
    assert_eq!((&kept, &body[..]), (&second, &b"two"[..]));
    for said in ["first", "again"] {
        let gone = d.j().await.change_draft(draft("seals", Some(&second), None)).await.expect(OK);
        assert_eq!(gone, DraftChanged::Done(None), "{said}");
    }
    let gone = d.j().await.change_draft(draft("seals", Some(&second), Some("three"))).await.expect(OK);
    assert_eq!(gone, DraftChanged::Otherwise(None), "a dropped one does not come back");
    assert!(d.j().await.drafts(DEFAULT_SPACE).await.expect(OK).is_empty());
}
