//! How the server is, what it counts, and what can be asked of it.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use opendmp_engine::metrics::CONTENT_TYPE;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Asked;
use super::answer::{Answer, Refused};
use crate::access::Via;
use crate::ask::Status;
use crate::rows::{Page, Setting};
use crate::service::Service;

pub(crate) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new()
        .routes(routes!(livez))
        .routes(routes!(readyz))
        .routes(routes!(healthz))
        .routes(routes!(metrics))
        .routes(routes!(status))
        .routes(routes!(settings))
        .routes(routes!(describe))
}

/// How it is, in one word.
#[derive(Serialize, ToSchema)]
struct Word {
    /// `ok`, `degraded` (a flow has a trouble), `troubled` (nothing goes on).
    status: String,
}

/// Whether all is well
///
/// For anyone who can reach the server, in one word; for those who have the token all that `/api/v1/status` tells. A flow
/// that has a trouble is told, and does not make the server unhealthy.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "health",
    operation_id = "health",
    responses(
        (status = 200, description = "It works, perhaps with troubles of single flows.", body = Word),
        (status = 503, description = "Nothing goes on: `troubles` says why.", body = Word),
        Refused<403>,
    ),
    security(()),
)]
async fn healthz(State(service): Asked, Extension(via): Extension<Via>) -> Response {
    let (code, status) = service.status().await;
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    match via {
        Via::Anyone => (code, Json(Word { status: status.status })).into_response(),
        Via::Socket | Via::Http => (code, Json(status)).into_response(),
    }
}

/// Whether it can be given work: the same as `/healthz`
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "health",
    operation_id = "ready",
    responses(
        (status = 200, description = "It works.", body = Word),
        (status = 503, description = "Nothing goes on.", body = Word),
        Refused<403>,
    ),
    security(()),
)]
async fn readyz(service: Asked, via: Extension<Via>) -> Response {
    healthz(service, via).await
}

/// Whether the process answers at all
#[utoipa::path(
    get,
    path = "/livez",
    tag = "health",
    operation_id = "alive",
    responses((status = 200, description = "It does.", body = Word), Refused<403>),
    security(()),
)]
async fn livez() -> Json<Word> {
    Json(Word { status: "ok".to_owned() })
}

/// What is counted, for Prometheus
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "health",
    responses((
        status = 200,
        description = "Counters, gauges and histograms.",
        body = String,
        content_type = "application/openmetrics-text",
    )),
)]
async fn metrics(State(service): Asked) -> Response {
    let healthy = service.status().await.0 == 200;
    let text = service.engine().metrics_text(healthy).await;
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response()
}

/// How the server is
///
/// The same as `/healthz`, always answered with 200.
#[utoipa::path(
    get,
    path = "/api/v1/status",
    tag = "health",
    responses((status = 200, description = "What it does and what keeps it from going on.", body = Status)),
)]
async fn status(State(service): Asked) -> Json<Status> {
    Json(service.status().await.1)
}

/// What the server was started with
///
/// Settings are given to `opendmp serve` when it starts, on its command line or in its environment.
#[utoipa::path(
    get,
    path = "/api/v1/settings",
    tag = "health",
    operation_id = "list_settings",
    responses((
        status = 200,
        description = "All settings, also those that nobody set.",
        body = Page<Setting>,
        example = json!({"rows": [{
            "name": "grace",
            "value": "10s",
            "from": "default",
            "about": "How long what is in work may go on after a signal, as 30s or 5m",
        }], "next": null}),
    )),
)]
async fn settings(State(service): Asked) -> Answer<Page<Setting>> {
    Ok(Json(Page { rows: service.settings.get().cloned().unwrap_or_default(), next: None }))
}

/// This description
#[utoipa::path(
    get,
    path = "/api/v1/openapi.json",
    tag = "health",
    responses((status = 200, description = "OpenAPI 3.1.", body = serde_json::Value)),
)]
async fn describe() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], super::description()).into_response()
}
