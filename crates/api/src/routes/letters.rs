//! Dead letters: listed, found, sent in again, given up.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Asked;
use super::answer::{Answer, Binary, Refused};
use super::extract::{Actor, Ask, Path, Query};
use super::serving::{How, Served};
use crate::ask::{Discarded, Found, Letters, Listing, Reference, Retried};
use crate::problem::Problem;
use crate::rows::{DeadGroup, DeadLetter, Page};
use crate::service::Service;

pub(crate) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new()
        .routes(routes!(letters))
        .routes(routes!(groups))
        .routes(routes!(find_letters))
        .routes(routes!(letter))
        .routes(routes!(letter_content))
        .routes(routes!(retry))
        .routes(routes!(discard))
}

/// Dead letters, newest first
#[utoipa::path(
    get,
    path = "/api/v1/dead-letters",
    tag = "dead letters",
    operation_id = "list_dead_letters",
    params(Listing),
    responses((status = 200, description = "A part of them.", body = Page<DeadLetter>)),
)]
async fn letters(State(service): Asked, Query(listing): Query<Listing>) -> Answer<Page<DeadLetter>> {
    Ok(Json(Page::of(&service.engine().journal.dead_letters(listing.of_letters()?).await?)))
}

/// Open dead letters by what went wrong
///
/// One row for those whose errors differ only in what differs from item to item; the largest groups first. Meant by the
/// query are `flow`, `q`, `limit` and `after`.
#[utoipa::path(
    get,
    path = "/api/v1/dead-letters/groups",
    tag = "dead letters",
    operation_id = "list_dead_letter_groups",
    params(Listing),
    responses((status = 200, description = "A part of them.", body = Page<DeadGroup>)),
)]
async fn groups(State(service): Asked, Query(listing): Query<Listing>) -> Answer<Page<DeadGroup>> {
    Ok(Json(Page::of(&service.engine().journal.dead_groups(listing.of_letters()?).await?)))
}

/// A dead letter
#[utoipa::path(
    get,
    path = "/api/v1/dead-letters/{id}",
    tag = "dead letters",
    operation_id = "get_dead_letter",
    params(("id" = String, Path, description = "Its id, or an unambiguous beginning of it.")),
    responses((status = 200, description = "Open or ended.", body = DeadLetter), Refused<404>, Refused<409>),
)]
async fn letter(State(service): Asked, Path(id): Path<String>) -> Answer<DeadLetter> {
    Ok(Json(DeadLetter::from(&service.letter(&id).await?)))
}

/// The bytes that could not be processed
#[utoipa::path(
    get,
    path = "/api/v1/dead-letters/{id}/content",
    tag = "dead letters",
    operation_id = "get_dead_letter_content",
    params(("id" = String, Path, description = "Its id, or an unambiguous beginning of it."), How),
    responses(
        (status = 200, description = "All of them.", body = inline(Binary), content_type = "*/*"),
        (status = 206, description = "The range that was asked for.", body = inline(Binary), content_type = "*/*"),
        (status = 304, description = "They are those that the asker has."),
        Refused<404>,
        Refused<409>,
        Refused<416>,
    ),
)]
async fn letter_content(
    State(service): Asked,
    Path(id): Path<String>,
    Query(how): Query<How>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let item = service.letter(&id).await?.item;
    let body = service.engine().content.open(&item.content).await?;
    let (hash, size) = (item.content.hash, item.content.size);
    Served { body, hash, size, name: &item.name, media_type: item.media_type.as_deref() }
        .answer(&headers, how.is_download())
}

/// What a reference to a dead letter may mean
#[utoipa::path(
    get,
    path = "/api/v1/dead-letters/find",
    tag = "dead letters",
    operation_id = "find_dead_letters",
    params(Reference),
    responses((status = 200, description = "One row where it is clear.", body = Found<DeadLetter>)),
)]
async fn find_letters(State(service): Asked, Query(reference): Query<Reference>) -> Answer<Found<DeadLetter>> {
    let found = service.find_letters(&reference).await?;
    Ok(Json(Found { rows: found.rows.iter().map(DeadLetter::from).collect(), more: found.more }))
}

/// Sends dead letters in again
///
/// In a run for each flow, and for each 1,000 of them.
#[utoipa::path(
    post,
    path = "/api/v1/dead-letters/retry",
    tag = "dead letters",
    operation_id = "retry_dead_letters",
    request_body(content = Letters, example = json!({"ids": ["1204-7k2p"]})),
    responses((status = 200, description = "The runs.", body = Vec<Retried>), Refused<404>, Refused<409>),
)]
async fn retry(State(service): Asked, Actor(actor): Actor, Ask(letters): Ask<Letters>) -> Answer<Vec<Retried>> {
    Ok(Json(service.retry(letters, &actor).await?))
}

/// Gives dead letters up
#[utoipa::path(
    post,
    path = "/api/v1/dead-letters/discard",
    tag = "dead letters",
    operation_id = "discard_dead_letters",
    request_body(content = Letters, example = json!({"all": {"flow": "copy"}, "reason": "test data"})),
    responses((status = 200, description = "How many.", body = Discarded), Refused<404>, Refused<409>),
)]
async fn discard(State(service): Asked, Actor(actor): Actor, Ask(letters): Ask<Letters>) -> Answer<Discarded> {
    Ok(Json(Discarded { letters: service.discard(letters, &actor).await? }))
}
