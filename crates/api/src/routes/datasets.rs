//! Collections and datasets: listed, found, explained, read.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use opendmp_engine::lineage::Graph;
use opendmp_model::name;
use opendmp_ports::journal::{DEFAULT_SPACE, RevisionRow};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Asked;
use super::answer::{Answer, Binary, Refused};
use super::extract::{Path, Query};
use super::serving::Served;
use crate::ask::{Found, Reference, WhichRevision};
use crate::problem::Problem;
use crate::rows::{Collection, Dataset, History, Page, Revisions};
use crate::search::{DatasetPage, Datasets, WhichBytes};
use crate::service::Service;

pub(crate) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new()
        .routes(routes!(collections))
        .routes(routes!(datasets))
        .routes(routes!(find_datasets))
        .routes(routes!(revisions))
        .routes(routes!(history))
        .routes(routes!(lineage))
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

/// What a revision was made of, and what else was made of the same source item
#[utoipa::path(
    get,
    path = "/api/v1/datasets/{id}/lineage",
    tag = "datasets",
    operation_id = "get_dataset_lineage",
    params(("id" = String, Path, description = "Its id, or an unambiguous beginning of it."), WhichRevision),
    responses((status = 200, description = "A graph, bounded.", body = Graph), Refused<404>, Refused<409>),
)]
async fn lineage(State(service): Asked, Path(id): Path<String>, Query(which): Query<WhichRevision>) -> Answer<Graph> {
    let row = service.revision(&id, which.revision).await?;
    Ok(Json(service.engine().graph(&row).await?))
}

/// The bytes of a revision
///
/// Whole, or a range of them. Text, images and PDF are shown in place; anything else, and anything with `download=1`, is
/// to be kept as a file.
#[utoipa::path(
    get,
    path = "/api/v1/datasets/{id}/content",
    tag = "datasets",
    operation_id = "get_dataset_content",
    params(("id" = String, Path, description = "Its id, or an unambiguous beginning of it."), WhichBytes),
    responses(
        (
            status = 200,
            description = "The bytes.",
            body = inline(Binary),
            content_type = "*/*",
            headers(("opendmp-hash" = String, description = "Their BLAKE3 hash, hexadecimal. `etag` is the same.")),
        ),
        (status = 206, description = "The range that was asked for.", body = inline(Binary), content_type = "*/*"),
        (status = 304, description = "They are those that the asker has."),
        Refused<404>,
        Refused<409>,
        Refused<410>,
        Refused<416>,
    ),
)]
async fn content(
    State(service): Asked,
    Path(id): Path<String>,
    Query(which): Query<WhichBytes>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let row = service.revision(&id, which.revision).await?;
    let download = which.download.is_some_and(|download| download != 0);
    serve(&service, &row, &headers, download).await
}

pub(super) async fn serve(
    service: &Service,
    row: &RevisionRow,
    headers: &HeaderMap,
    download: bool,
) -> Result<Response, Problem> {
    let (body, hash) = service.open(row).await?;
    tracing::debug!(name = %name::printable(&row.item.name), "content is sent");
    let (size, media_type) = (row.item.content.size, row.item.media_type.as_deref());
    Served { body, hash, size, name: &row.item.name, media_type }.answer(headers, download)
}
