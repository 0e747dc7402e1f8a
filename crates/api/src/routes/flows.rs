//! Flows: listed, looked at, checked, compared, enabled, disabled, deleted, audited, sent through again.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Asked;
use super::answer::{Answer, Refused, lines, tagged};
use super::extract::{Actor, Ask, Path, Query, etag};
use crate::access::Via;
use crate::ask::{DeleteRequest, Deleted, EnableRequest, Event, ReprocessForeseen, ReprocessRequest, Upload};
use crate::diff::Diff;
use crate::flows::{
    DiffRequest, FlowDetail, FlowListing, FlowVersion, FlowVersionDetail, ToValidate, Validated, VersionListing,
};
use crate::problem::Problem;
use crate::rows::{AuditRow, Flow, Page};
use crate::service::Service;

pub(crate) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new()
        .routes(routes!(flows, enable))
        .routes(routes!(flow, delete))
        .routes(routes!(versions))
        .routes(routes!(version))
        .routes(routes!(diff))
        .routes(routes!(validate))
        .routes(routes!(enable_again))
        .routes(routes!(disable))
        .routes(routes!(audit))
        .routes(routes!(reprocess))
        .routes(routes!(foresee))
}

/// Flows
#[utoipa::path(
    get,
    path = "/api/v1/flows",
    tag = "flows",
    operation_id = "list_flows",
    params(FlowListing),
    responses((status = 200, description = "All that are asked for.", body = Page<Flow>)),
)]
async fn flows(State(service): Asked, Query(listing): Query<FlowListing>) -> Answer<Page<Flow>> {
    Ok(Json(Page { rows: service.list_flows(&listing).await?, next: None }))
}

/// Saves and enables a flow
///
/// Its environments are prepared first, which may take long; it goes on when the asker leaves. A flow that is enabled
/// already gets a new version.
#[utoipa::path(
    post,
    path = "/api/v1/flows",
    tag = "flows",
    operation_id = "enable_flow",
    params(EnableRequest),
    request_body(content = Upload, example = json!({
        "text": "name: Copy\nprocessors:\n  - {id: inbox, type: ingest, source: {type: file_drop, path: ./in}}\n  \
                 - {id: shelf, type: collect, inputs: [inbox], collection: Copies}\n",
        "files": {},
    })),
    responses((
        status = 200,
        description = "Lines: `preparing`, then `enabled` or `failed`.",
        body = Event,
        content_type = "application/x-ndjson",
    )),
)]
async fn enable(
    State(service): Asked,
    Extension(via): Extension<Via>,
    Actor(actor): Actor,
    Query(request): Query<EnableRequest>,
    Ask(upload): Ask<Upload>,
) -> Result<Response, Problem> {
    let draft = request.draft.as_deref().map(etag).transpose()?;
    let work =
        move |service: Arc<Service>, tell| async move { service.enable(upload, draft, via, &actor, &tell).await };
    Ok(lines(service.spawn(work)))
}

/// A flow with its present version
#[utoipa::path(
    get,
    path = "/api/v1/flows/{flow}",
    tag = "flows",
    operation_id = "get_flow",
    params(("flow" = String, Path, description = "Its slug or name.")),
    responses(
        (
            status = 200,
            description = "Its text as it was written, and its plan.",
            body = FlowDetail,
            headers(("etag" = String, description = "The hash of the version, in quotes.")),
        ),
        Refused<404>,
    ),
)]
async fn flow(State(service): Asked, Path(flow): Path<String>) -> Result<Response, Problem> {
    let detail = service.flow_detail(&flow).await?;
    Ok((tagged(&detail.flow.version), Json(detail)).into_response())
}

/// Versions of a flow, newest first
#[utoipa::path(
    get,
    path = "/api/v1/flows/{flow}/versions",
    tag = "flows",
    operation_id = "list_flow_versions",
    params(("flow" = String, Path, description = "Its slug or name."), VersionListing),
    responses((status = 200, description = "A part of them.", body = Page<FlowVersion>), Refused<404>),
)]
async fn versions(
    State(service): Asked,
    Path(flow): Path<String>,
    Query(listing): Query<VersionListing>,
) -> Answer<Page<FlowVersion>> {
    Ok(Json(service.flow_versions(&flow, &listing).await?))
}

/// One version of a flow
#[utoipa::path(
    get,
    path = "/api/v1/flows/{flow}/versions/{version}",
    tag = "flows",
    operation_id = "get_flow_version",
    params(
        ("flow" = String, Path, description = "Its slug or name."),
        ("version" = String, Path, description = "Its hash, or `present`."),
    ),
    responses((status = 200, description = "As it was written.", body = FlowVersionDetail), Refused<404>),
)]
async fn version(State(service): Asked, Path((flow, hash)): Path<(String, String)>) -> Answer<FlowVersionDetail> {
    Ok(Json(service.flow_version(&flow, &hash).await?))
}

/// What differs between two versions of a flow, or its draft
#[utoipa::path(
    get,
    path = "/api/v1/flows/{flow}/diff",
    tag = "flows",
    operation_id = "diff_flow",
    params(("flow" = String, Path, description = "Its slug or name."), DiffRequest),
    responses((status = 200, description = "Processor by processor.", body = Diff), Refused<404>),
)]
async fn diff(State(service): Asked, Path(flow): Path<String>, Query(request): Query<DiffRequest>) -> Answer<Diff> {
    Ok(Json(service.diff(&flow, &request).await?))
}

/// Checks a flow, and plans it
///
/// Offline: without its folders and services. Nothing is kept.
#[utoipa::path(
    post,
    path = "/api/v1/validate",
    tag = "flows",
    operation_id = "validate_flow",
    request_body(content = ToValidate, example = json!({"text": "name: Copy\nprocessors: []\n", "files": {}})),
    responses((status = 200, description = "Also where much is wrong with it.", body = Validated)),
)]
async fn validate(State(service): Asked, Ask(flow): Ask<ToValidate>) -> Answer<Validated> {
    Ok(Json(service.validate(flow).await?))
}

/// Enables a flow with the version it has
#[utoipa::path(
    post,
    path = "/api/v1/flows/{flow}/enable",
    tag = "flows",
    operation_id = "enable_flow_again",
    params(("flow" = String, Path, description = "Its slug or name.")),
    responses((
        status = 200,
        description = "Lines: `enabled` or `failed`.",
        body = Event,
        content_type = "application/x-ndjson",
    )),
)]
async fn enable_again(State(service): Asked, Path(flow): Path<String>, Actor(actor): Actor) -> Response {
    lines(service.spawn(|service, tell| async move { service.enable_again(&flow, &actor, &tell).await }))
}

/// Stops looking at a flow's sources
///
/// What is under way is finished.
#[utoipa::path(
    post,
    path = "/api/v1/flows/{flow}/disable",
    tag = "flows",
    operation_id = "disable_flow",
    params(("flow" = String, Path, description = "Its slug or name.")),
    responses((status = 200, description = "The flow, disabled.", body = Flow), Refused<404>, Refused<409>),
)]
async fn disable(State(service): Asked, Path(flow): Path<String>, Actor(actor): Actor) -> Answer<Flow> {
    Ok(Json(Flow::from(&service.engine().disable(&flow, &actor).await?)))
}

/// Deletes a flow
///
/// Its datasets and their history stay.
#[utoipa::path(
    delete,
    path = "/api/v1/flows/{flow}",
    tag = "flows",
    operation_id = "delete_flow",
    params(("flow" = String, Path, description = "Its slug or name."), DeleteRequest),
    responses(
        (status = 200, description = "The flow, perhaps still draining.", body = Deleted),
        Refused<404>,
        Refused<409>,
    ),
)]
async fn delete(
    State(service): Asked,
    Path(flow): Path<String>,
    Actor(actor): Actor,
    Query(request): Query<DeleteRequest>,
) -> Answer<Deleted> {
    let (row, buried) = service.engine().delete(&flow, request.work, &actor).await?;
    Ok(Json(Deleted { flow: Flow::from(&row), buried }))
}

/// Compares a flow's sources with the ledger
#[utoipa::path(
    get,
    path = "/api/v1/flows/{flow}/audit",
    tag = "flows",
    operation_id = "audit_flow",
    params(("flow" = String, Path, description = "Its slug or name.")),
    responses(
        (status = 200, description = "One row for each ingest.", body = Vec<AuditRow>),
        Refused<404>,
        Refused<409>,
    ),
)]
async fn audit(State(service): Asked, Path(flow): Path<String>) -> Answer<Vec<AuditRow>> {
    let flow = service.engine().find_flow(&flow).await?;
    let audits = service.engine().audit(&flow).await?.into_iter().map(|(ingest, audit)| AuditRow {
        ingest,
        compared: audit.compared,
        entries: audit.entries,
        more: audit.more,
        not_taken: audit.not_taken,
    });
    Ok(Json(audits.collect()))
}

/// Sends what arrived before through a flow's present version
///
/// In a run that is followed to its end, or the end of the time given; it goes on when the asker leaves.
#[utoipa::path(
    post,
    path = "/api/v1/flows/{flow}/reprocess",
    tag = "flows",
    operation_id = "reprocess_flow",
    params(("flow" = String, Path, description = "Its slug or name.")),
    request_body(content = ReprocessRequest, example = json!({"collection": "Copies"})),
    responses((
        status = 200,
        description = "Lines: `started`, `progress`, `trouble`, then `ended` or `failed`.",
        body = Event,
        content_type = "application/x-ndjson",
    )),
)]
async fn reprocess(
    State(service): Asked,
    Path(flow): Path<String>,
    Actor(actor): Actor,
    Ask(request): Ask<ReprocessRequest>,
) -> Response {
    lines(service.spawn(|service, tell| async move { service.reprocess(&flow, request, &actor, &tell).await }))
}

/// What a reprocess would do
#[utoipa::path(
    post,
    path = "/api/v1/flows/{flow}/reprocess/plan",
    tag = "flows",
    operation_id = "plan_reprocess",
    params(("flow" = String, Path, description = "Its slug or name.")),
    request_body(content = ReprocessRequest, example = json!({"since": 1_795_356_131_042_i64})),
    responses((status = 200, description = "Step by step.", body = ReprocessForeseen), Refused<404>, Refused<409>),
)]
async fn foresee(
    State(service): Asked,
    Path(flow): Path<String>,
    Ask(request): Ask<ReprocessRequest>,
) -> Answer<ReprocessForeseen> {
    Ok(Json(service.foresee(&flow, &request).await?))
}
