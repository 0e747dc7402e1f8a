//! What keeps a server well: backups, and the collection of garbage.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Asked;
use super::answer::lines;
use super::extract::Ask;
use crate::access::Via;
use crate::ask::{BackupRequest, Event};
use crate::garbage::CollectRequest;
use crate::service::Service;

pub(crate) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new().routes(routes!(back_up)).routes(routes!(collect_garbage))
}

/// Backs everything up
///
/// Into a folder of the server; what an earlier backup there has is not copied again.
#[utoipa::path(
    post,
    path = "/api/v1/backups",
    tag = "upkeep",
    request_body(content = BackupRequest, example = json!({"to": "/backups/opendmp"})),
    responses((
        status = 200,
        description = "Lines: `copying`, `damaged`, then `backed_up` or `failed`.",
        body = Event,
        content_type = "application/x-ndjson",
    )),
)]
async fn back_up(State(service): Asked, Extension(via): Extension<Via>, Ask(request): Ask<BackupRequest>) -> Response {
    lines(service.spawn(move |service, tell| async move {
        service.may_name(&request.path(), via).await?;
        service.back_up(request.path(), &tell).await
    }))
}

/// Collects garbage
///
/// What retention no longer keeps is let go first.
#[utoipa::path(
    post,
    path = "/api/v1/garbage/collect",
    tag = "upkeep",
    request_body(content = CollectRequest, example = json!({"dry_run": true})),
    responses((
        status = 200,
        description = "Lines: `collected` or `failed`.",
        body = Event,
        content_type = "application/x-ndjson",
    )),
)]
async fn collect_garbage(State(service): Asked, Ask(request): Ask<CollectRequest>) -> Response {
    lines(service.spawn(move |service, tell| async move { service.collect_garbage(request, &tell).await }))
}
