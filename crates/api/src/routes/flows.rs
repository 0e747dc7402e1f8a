//! Flows: listed, enabled, disabled, deleted, compared with their sources, sent through again.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use opendmp_ports::journal::{DEFAULT_SPACE, FlowState};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Asked;
use super::answer::{Answer, Refused, lines};
use super::extract::{Actor, Ask, Path, Query};
use crate::ask::{DeleteRequest, Deleted, Event, ReprocessForeseen, ReprocessRequest, Upload};
use crate::rows::{AuditRow, Flow, Page};
use crate::service::Service;

pub(crate) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new()
        .routes(routes!(flows, enable))
        .routes(routes!(delete))
        .routes(routes!(disable))
        .routes(routes!(audit))
        .routes(routes!(reprocess))
        .routes(routes!(foresee))
}

/// All flows
#[utoipa::path(
    get,
    path = "/api/v1/flows",
    tag = "flows",
    operation_id = "list_flows",
    responses((status = 200, description = "In the order of their names.", body = Page<Flow>)),
)]
async fn flows(State(service): Asked) -> Answer<Page<Flow>> {
    let rows = service.engine().journal.flows(DEFAULT_SPACE).await?;
    let rows = rows.iter().filter(|row| row.state != FlowState::Deleted);
    Ok(Json(Page { rows: rows.map(Flow::from).collect(), next: None }))
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
    request_body(content = Upload, example = json!({
        "text": "name: Copy\nprocessors:\n  - {id: inbox, type: ingest, source: {type: file_drop, path: ./in}}\n  \
                 - {id: shelf, type: collect, inputs: [inbox], collection: Copies}\n",
        "files": {},
        "base": "/srv/flows/copy",
    })),
    responses((
        status = 200,
        description = "Lines: `preparing`, then `enabled` or `failed`.",
        body = Event,
        content_type = "application/x-ndjson",
    )),
)]
async fn enable(State(service): Asked, Actor(actor): Actor, Ask(upload): Ask<Upload>) -> Response {
    lines(service.spawn(|service, tell| async move { service.enable(upload.into(), &actor, &tell).await }))
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
