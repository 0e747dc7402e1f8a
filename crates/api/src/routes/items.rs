//! Items between the steps.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use opendmp_engine::items::BytesFrom;
use opendmp_model::ids::IdPrefix;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Asked;
use super::answer::{Answer, Binary, Refused, stream_of};
use super::extract::Path;
use crate::problem::Problem;
use crate::rows::ItemInfo;
use crate::service::Service;
use crate::{FROM, HASH};

pub(crate) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new().routes(routes!(item)).routes(routes!(item_content))
}

/// What is known of an item
#[utoipa::path(
    get,
    path = "/api/v1/items/{id}",
    tag = "items",
    operation_id = "get_item",
    params(("id" = String, Path, description = "Its id, or an unambiguous beginning of it.")),
    responses(
        (status = 200, description = "What made it, and what took it.", body = ItemInfo),
        Refused<404>,
        Refused<409>,
    ),
)]
async fn item(State(service): Asked, Path(id): Path<String>) -> Answer<ItemInfo> {
    Ok(Json(service.engine().item(&item_id(&id)?).await?.into()))
}

/// The bytes of an item
///
/// What is stored nowhere is computed again, from the nearest item whose bytes are there.
#[utoipa::path(
    get,
    path = "/api/v1/items/{id}/content",
    tag = "items",
    operation_id = "get_item_content",
    params(("id" = String, Path, description = "Its id, or an unambiguous beginning of it.")),
    responses(
        (
            status = 200,
            description = "The bytes.",
            body = inline(Binary),
            content_type = "application/octet-stream",
            headers(
                ("opendmp-hash" = String, description = "Their BLAKE3 hash, hexadecimal."),
                ("opendmp-from" = BytesFrom, description = "Where they came from."),
            ),
        ),
        Refused<404>,
        Refused<409>,
    ),
)]
async fn item_content(State(service): Asked, Path(id): Path<String>) -> Result<Response, Problem> {
    let prefix = item_id(&id)?;
    // Beside the request, so that what is begun is not broken off in the middle of a step when the asker leaves.
    let engine = Arc::clone(service.engine());
    let made = tokio::spawn(async move { engine.item_content(&prefix).await }).await;
    let found = made.map_err(|_| Problem::new(500, "broken-off", "the bytes could not be made: it broke off"))??;
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(found.size));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    let from = match found.from {
        BytesFrom::Stored => "stored",
        BytesFrom::Recent => "recent",
        BytesFrom::Computed => "computed",
    };
    headers.insert(FROM, HeaderValue::from_static(from));
    if let Ok(hash) = HeaderValue::from_str(&found.hash.to_hex()) {
        headers.insert(HASH, hash);
    }
    // What is opened stays readable, also when its name is collected as garbage meanwhile.
    Ok((headers, stream_of(found.body)).into_response())
}

fn item_id(text: &str) -> Result<IdPrefix, Problem> {
    text.parse().map_err(|error| Problem::new(400, "bad-id", format!("`{text}`: {error}")))
}
