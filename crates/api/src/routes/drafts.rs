//! Drafts: listed, read, written, dropped.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Asked;
use super::answer::{Answer, Refused, tagged};
use super::extract::{Actor, Ask, Path, Precondition};
use crate::drafts::{Draft, DraftRow, DraftText, Seen};
use crate::problem::Problem;
use crate::rows::Page;
use crate::service::Service;

pub(crate) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new().routes(routes!(drafts)).routes(routes!(draft, write, drop_draft))
}

/// All drafts
#[utoipa::path(
    get,
    path = "/api/v1/drafts",
    tag = "drafts",
    operation_id = "list_drafts",
    responses((status = 200, description = "By slug.", body = Page<DraftRow>)),
)]
async fn drafts(State(service): Asked) -> Answer<Page<DraftRow>> {
    Ok(Json(Page { rows: service.drafts().await?, next: None }))
}

/// A draft
#[utoipa::path(
    get,
    path = "/api/v1/drafts/{flow}",
    tag = "drafts",
    operation_id = "get_draft",
    params(("flow" = String, Path, description = "The slug that it was begun under.")),
    responses(
        (
            status = 200,
            description = "As it was written last.",
            body = Draft,
            headers(("etag" = String, description = "What to give as `If-Match` to change it.")),
        ),
        Refused<404>,
    ),
)]
async fn draft(State(service): Asked, Path(flow): Path<String>) -> Result<Response, Problem> {
    let draft = service.draft(&flow).await?;
    Ok((tagged(&draft.etag), Json(draft)).into_response())
}

/// Writes a draft
///
/// It may hold a flow that is broken. A new name in its text does not rename it. One of the two headers must be there.
/// There are 1,000 drafts at most, each of 8 MiB at most and all together of 64 MiB, with the files that they name.
#[utoipa::path(
    put,
    path = "/api/v1/drafts/{flow}",
    tag = "drafts",
    operation_id = "write_draft",
    params(
        ("flow" = String, Path, description = "The slug that it is begun under: that of the flow where there is one."),
        ("If-Match" = Option<String>, Header, description = "The etag of the draft as it was read."),
        ("If-None-Match" = Option<String>, Header, description = "`*` where there must be none yet."),
    ),
    request_body(content = DraftText, example = json!({"text": "name: Copy\\nprocessors:\\n", "files": {}})),
    responses(
        (
            status = 200,
            description = "It was changed.",
            body = Draft,
            headers(("etag" = String, description = "What to give as `If-Match` to change it again.")),
        ),
        (
            status = 201,
            description = "It was begun.",
            body = Draft,
            headers(("etag" = String, description = "What to give as `If-Match` to change it.")),
        ),
        Refused<409>,
        Refused<412>,
        Refused<428>,
    ),
)]
async fn write(
    State(service): Asked,
    Path(flow): Path<String>,
    Actor(actor): Actor,
    Precondition(seen): Precondition,
    Ask(draft): Ask<DraftText>,
) -> Result<Response, Problem> {
    let (draft, new) = service.write_draft(&flow, draft, seen, &actor).await?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, tagged(&draft.etag), Json(draft)).into_response())
}

/// Drops a draft
#[utoipa::path(
    delete,
    path = "/api/v1/drafts/{flow}",
    tag = "drafts",
    operation_id = "drop_draft",
    params(
        ("flow" = String, Path, description = "The slug that it was begun under."),
        ("If-Match" = Option<String>, Header, description = "The etag of the draft as it was read: must be there."),
    ),
    responses((status = 204, description = "It is gone."), Refused<412>, Refused<428>),
)]
async fn drop_draft(
    State(service): Asked,
    Path(flow): Path<String>,
    Actor(actor): Actor,
    Precondition(seen): Precondition,
) -> Result<StatusCode, Problem> {
    let Seen::Draft(seen) = seen else {
        return Err(Problem::new(400, "bad-request", "what is not there can't be dropped")
            .with_hint("send `If-Match` with the etag that was read"));
    };
    service.drop_draft(&flow, seen, &actor).await?;
    Ok(StatusCode::NO_CONTENT)
}
