//! Dead letters: listed, found, sent in again, given up.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Asked;
use super::answer::{Answer, Refused};
use super::extract::{Actor, Ask, Query};
use crate::ask::{Discarded, Found, Letters, Listing, Reference, Retried};
use crate::rows::{DeadLetter, Page};
use crate::service::Service;

pub(crate) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new()
        .routes(routes!(letters))
        .routes(routes!(find_letters))
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
    Ok(Json(Page::of(&service.engine().journal.dead_letters(listing.into()).await?)))
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
