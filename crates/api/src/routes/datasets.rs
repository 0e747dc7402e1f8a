//! Collections and datasets: listed, found, explained, read.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use opendmp_model::name;
use opendmp_ports::journal::DEFAULT_SPACE;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Asked;
use super::answer::{Answer, Binary, Refused, stream_of};
use super::extract::{Path, Query};
use crate::HASH;
use crate::ask::{Found, Reference, WhichRevision};
use crate::problem::Problem;
use crate::rows::{Collection, Dataset, History, Page, Revisions};
use crate::search::{DatasetPage, Datasets};
use crate::service::Service;

pub(crate) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new()
        .routes(routes!(collections))
        .routes(routes!(datasets))
        .routes(routes!(find_datasets))
        .routes(routes!(revisions))
        .routes(routes!(history))
        .routes(routes!(content))
}

/// All collections
#[utoipa::path(
    get,
    path = "/api/v1/collections",
    tag = "datasets",
    operation_id = "list_collections",
    responses((status = 200, description = "In the order of their names.", body = Page<Collection>)),
)]
async fn collections(State(service): Asked) -> Answer<Page<Collection>> {
    let rows = service.engine().journal.collections(DEFAULT_SPACE).await?;
    Ok(Json(Page { rows: rows.iter().map(Collection::from).collect(), next: None }))
}

/// Datasets, each by its newest revision
///
/// Found by words in their names and by what they are, in an order of their own; without any of that in the order of
/// their origin. What is searched is usually some milliseconds behind what was committed; what rows say is not.
#[utoipa::path(
    get,
    path = "/api/v1/datasets",
    tag = "datasets",
    operation_id = "list_datasets",
    params(Datasets),
    responses((status = 200, description = "A part of them.", body = DatasetPage)),
)]
async fn datasets(State(service): Asked, Query(asked): Query<Datasets>) -> Answer<DatasetPage> {
    let page = match asked.search()? {
        Some(search) => DatasetPage::found(&service.search(search).await?, service.engine().clock.now()),
        None => DatasetPage::listed(&service.engine().journal.datasets(asked.into()).await?),
    };
    Ok(Json(page))
}

/// What a reference to a dataset may mean
///
/// The beginning of its id, its name, or the file that it was written to.
#[utoipa::path(
    get,
    path = "/api/v1/datasets/find",
    tag = "datasets",
    operation_id = "find_datasets",
    params(Reference),
    responses((status = 200, description = "One row where it is clear.", body = Found<Dataset>)),
)]
async fn find_datasets(State(service): Asked, Query(reference): Query<Reference>) -> Answer<Found<Dataset>> {
    let found = service.find_datasets(&reference).await?;
    Ok(Json(Found { rows: found.rows.iter().map(Dataset::from).collect(), more: found.more }))
}

/// A dataset with its revisions
#[utoipa::path(
    get,
    path = "/api/v1/datasets/{id}",
    tag = "datasets",
    operation_id = "get_dataset",
    params(("id" = String, Path, description = "Its id, or an unambiguous beginning of it.")),
    responses((status = 200, description = "Oldest first.", body = Revisions), Refused<404>, Refused<409>),
)]
async fn revisions(State(service): Asked, Path(id): Path<String>) -> Answer<Revisions> {
    let newest = service.dataset(&id).await?;
    let rows = service.engine().journal.revisions(newest.slot).await?;
    Ok(Json(Revisions { revisions: rows.iter().map(Dataset::from).collect() }))
}

/// How a revision came to be
#[utoipa::path(
    get,
    path = "/api/v1/datasets/{id}/history",
    tag = "datasets",
    operation_id = "get_dataset_history",
    params(("id" = String, Path, description = "Its id, or an unambiguous beginning of it."), WhichRevision),
    responses(
        (status = 200, description = "From its source to its collect.", body = History),
        Refused<404>,
        Refused<409>,
    ),
)]
async fn history(State(service): Asked, Path(id): Path<String>, Query(which): Query<WhichRevision>) -> Answer<History> {
    let row = service.revision(&id, which.revision).await?;
    let (row, way) = service.engine().explain(row.slot, Some(row.revision)).await?;
    Ok(Json(History::new(&row, way)))
}

/// The bytes of a revision
#[utoipa::path(
    get,
    path = "/api/v1/datasets/{id}/content",
    tag = "datasets",
    operation_id = "get_dataset_content",
    params(("id" = String, Path, description = "Its id, or an unambiguous beginning of it."), WhichRevision),
    responses(
        (
            status = 200,
            description = "The bytes.",
            body = inline(Binary),
            content_type = "application/octet-stream",
            headers(("opendmp-hash" = String, description = "Their BLAKE3 hash, hexadecimal.")),
        ),
        Refused<404>,
        Refused<409>,
        Refused<410>,
    ),
)]
async fn content(
    State(service): Asked,
    Path(id): Path<String>,
    Query(which): Query<WhichRevision>,
) -> Result<Response, Problem> {
    let row = service.revision(&id, which.revision).await?;
    let (body, hash) = service.open(&row).await?;
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(row.item.content.size));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    if let Ok(hash) = HeaderValue::from_str(&hash.to_hex()) {
        headers.insert(HASH, hash);
    }
    tracing::debug!(name = %name::printable(&row.item.name), "content is sent");
    Ok((headers, stream_of(body)).into_response())
}
