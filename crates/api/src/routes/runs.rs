//! Runs: begun, followed, stopped, listed.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use axum::{Extension, Json};
use opendmp_ports::journal::RunId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Asked;
use super::answer::{Answer, Refused, lines};
use super::extract::{Actor, Ask, Path, Query};
use crate::access::Via;
use crate::activity::{Activity, ActivityRequest};
use crate::ask::{Event, Follow, ReprocessStopped, RunRequest, Runs};
use crate::rows::{Page, Run};
use crate::service::Service;

pub(crate) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new()
        .routes(routes!(runs, run))
        .routes(routes!(one_run))
        .routes(routes!(follow))
        .routes(routes!(stop))
        .routes(routes!(activity))
}

/// Runs, newest first
#[utoipa::path(
    get,
    path = "/api/v1/runs",
    tag = "runs",
    operation_id = "list_runs",
    params(Runs),
    responses((status = 200, description = "A part of them.", body = Page<Run>)),
)]
async fn runs(State(service): Asked, Query(which): Query<Runs>) -> Answer<Page<Run>> {
    Ok(Json(Page::of(&service.engine().journal.runs(which.filter()?).await?)))
}

/// What flows did lately
///
/// In 24 parts of the last hours: how many items arrived in runs that began in each, and how many of them failed.
#[utoipa::path(
    get,
    path = "/api/v1/activity",
    tag = "runs",
    operation_id = "activity",
    params(ActivityRequest),
    responses((status = 200, description = "By flow, of those that had runs.", body = Activity)),
)]
async fn activity(State(service): Asked, Query(asked): Query<ActivityRequest>) -> Answer<Activity> {
    Ok(Json(service.activity(asked).await?))
}

/// Begins a run and follows it
///
/// One run of what the flow's sources hold, or of the given files in their place. It is followed to its end, or the end
/// of the time given.
#[utoipa::path(
    post,
    path = "/api/v1/runs",
    tag = "runs",
    operation_id = "begin_run",
    request_body(content = RunRequest, example = json!({
        "flow": {
            "text": "name: Copy\nprocessors:\n  - {id: inbox, type: ingest, source: {type: file_drop, path: ./in}}\n  \
                     - {id: shelf, type: collect, inputs: [inbox], collection: Copies}\n",
            "files": {},
            "base": "/srv/flows/copy",
        },
        "given": [{"processor": "inbox", "path": "/srv/samples/a.txt"}],
        "trigger": "by hand",
        "timeout_ms": 60_000,
    })),
    responses((
        status = 200,
        description = "Lines: `preparing`, `started`, `progress`, `problem`, `trouble`, `fed`, then `ended` or \
                       `failed`.",
        body = Event,
        content_type = "application/x-ndjson",
    )),
)]
async fn run(
    State(service): Asked,
    Extension(via): Extension<Via>,
    Actor(actor): Actor,
    Ask(request): Ask<RunRequest>,
) -> Response {
    lines(service.spawn(move |service, tell| async move { service.run(request, via, &actor, &tell).await }))
}

/// One run
#[utoipa::path(
    get,
    path = "/api/v1/runs/{run}",
    tag = "runs",
    operation_id = "get_run",
    params(("run" = u64, Path, description = "Its number.")),
    responses((status = 200, description = "With numbers by processor.", body = Run), Refused<404>),
)]
async fn one_run(State(service): Asked, Path(run): Path<u64>) -> Answer<Run> {
    Ok(Json(Run::from(&service.engine().journal.run(RunId(run)).await?)))
}

/// Follows a run
#[utoipa::path(
    post,
    path = "/api/v1/runs/{run}/follow",
    tag = "runs",
    operation_id = "follow_run",
    params(("run" = u64, Path, description = "Its number."), Follow),
    responses((
        status = 200,
        description = "Lines: `progress`, `trouble`, then `ended` or `failed`.",
        body = Event,
        content_type = "application/x-ndjson",
    )),
)]
async fn follow(State(service): Asked, Path(run): Path<u64>, Query(follow): Query<Follow>) -> Response {
    lines(service.spawn(move |service, tell| async move { service.follow(RunId(run), follow, &tell).await }))
}

/// Has a reprocess send nothing more in
#[utoipa::path(
    post,
    path = "/api/v1/runs/{run}/stop",
    tag = "runs",
    operation_id = "stop_run",
    params(("run" = u64, Path, description = "The run of the reprocess.")),
    responses(
        (status = 200, description = "The run, which ends when what was sent in is done.", body = ReprocessStopped),
        Refused<404>,
        Refused<409>,
    ),
)]
async fn stop(State(service): Asked, Path(run): Path<u64>, Actor(actor): Actor) -> Answer<ReprocessStopped> {
    let engine = service.engine();
    let (reprocess, stopped) = engine.stop_reprocess(RunId(run), &actor).await?;
    let run = Run::from(&engine.journal.run(RunId(run)).await?);
    Ok(Json(ReprocessStopped { run, stopped, taken: reprocess.taken }))
}
