//! Trying out, and the files that are handed in for it.

use std::sync::Arc;

use axum::Json;
use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use futures::StreamExt;
use opendmp_model::fault::Fault;
use opendmp_ports::content::Body;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Asked;
use super::answer::{Answer, Binary, Refused};
use super::extract::{Ask, Path, Query};
use super::serving::{How, Served};
use crate::problem::Problem;
use crate::service::Service;
use crate::tryout::{Tried, TryRequest, UploadRequest, Uploaded};

pub(crate) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new()
        .routes(routes!(upload))
        .routes(routes!(one_upload, remove))
        .routes(routes!(upload_content))
        .routes(routes!(try_out))
}

/// A fault of the request itself.
pub(super) fn refused(fault: Fault) -> Problem {
    let status = match fault.code.as_str() {
        "bad-name" | "bad-media-type" | "bad-attributes" | "bad-sample" | "no-match" => Some(400),
        "too-large" => Some(413),
        "no-uploads" => Some(501),
        _ => None,
    };
    let problem = Problem::from(fault);
    match status {
        Some(status) => Problem { hint: problem.hint, ..Problem::new(status, problem.code, problem.message) },
        None => problem,
    }
}

/// A body that ended before its end.
pub(super) fn broken_off(error: &axum::Error) -> Problem {
    Problem::new(400, "broken-off", format!("the body did not come in whole: {error}")).with_hint("send it again")
}

/// Hands a file in
///
/// As a sample for try-outs, or to take the place of what failed. It is kept for a day, and has at most 1 GiB; where all
/// of them have more than 4 GiB, the oldest go. The body is the file.
#[utoipa::path(
    post,
    path = "/api/v1/uploads",
    tag = "try-outs",
    operation_id = "upload",
    params(UploadRequest),
    request_body(content = inline(Binary), content_type = "application/octet-stream"),
    responses((status = 201, description = "It is kept.", body = Uploaded), Refused<501>),
)]
async fn upload(
    State(service): Asked,
    Query(request): Query<UploadRequest>,
    body: HttpBody,
) -> Result<(StatusCode, Json<Uploaded>), Problem> {
    let uploads = service.engine().uploads().map_err(refused)?;
    let mut coming = uploads.begin(&request.name, request.media_type.as_deref()).await.map_err(refused)?;
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        coming.write(&piece.map_err(|error| broken_off(&error))?).await.map_err(refused)?;
    }
    let kept = coming.end().await.map_err(refused)?;
    Ok((StatusCode::CREATED, Json(kept.into())))
}

/// What is known of an upload
#[utoipa::path(
    get,
    path = "/api/v1/uploads/{id}",
    tag = "try-outs",
    operation_id = "get_upload",
    params(("id" = String, Path, description = "Its id.")),
    responses((status = 200, description = "Its name, size and hash.", body = Uploaded), Refused<404>, Refused<501>),
)]
async fn one_upload(State(service): Asked, Path(id): Path<String>) -> Answer<Uploaded> {
    Ok(Json(service.engine().uploads().and_then(|uploads| uploads.get(&id)).map_err(refused)?.into()))
}

/// The bytes of an upload
///
/// A part of them, where a range is asked for.
#[utoipa::path(
    get,
    path = "/api/v1/uploads/{id}/content",
    tag = "try-outs",
    operation_id = "get_upload_content",
    params(("id" = String, Path, description = "Its id."), How),
    responses(
        (
            status = 200,
            description = "The bytes.",
            body = inline(Binary),
            content_type = "application/octet-stream",
            headers(
                ("opendmp-hash" = String, description = "Their BLAKE3 hash, hexadecimal."),
                ("etag" = String, description = "The same, as `If-None-Match` and `If-Range` take it."),
            ),
        ),
        (status = 206, description = "The range of them that was asked for."),
        (status = 304, description = "They are what the asker has."),
        Refused<404>,
        Refused<416>,
        Refused<501>,
    ),
)]
async fn upload_content(
    State(service): Asked,
    Path(id): Path<String>,
    Query(how): Query<How>,
    asked: HeaderMap,
) -> Result<Response, Problem> {
    let uploads = service.engine().uploads().map_err(refused)?;
    let (kept, file) = uploads.open_one(&id).await.map_err(refused)?;
    let (body, media_type) = (Body::File(file), kept.media_type.as_deref());
    Served { body, hash: kept.hash, size: kept.size, name: &kept.name, media_type }.answer(&asked, how.is_download())
}

/// Removes an upload
#[utoipa::path(
    delete,
    path = "/api/v1/uploads/{id}",
    tag = "try-outs",
    operation_id = "remove_upload",
    params(("id" = String, Path, description = "Its id.")),
    responses((status = 204, description = "It is gone."), Refused<404>, Refused<501>),
)]
async fn remove(State(service): Asked, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    service.engine().uploads().map_err(refused)?.remove(&id).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Tries a processor out on a sample
///
/// The flow need not be saved, and only what concerns the processor has to be right. The processor is called as it is
/// for real, in a process of its own; nothing is recorded, collected, remembered or exported. What a script itself does
/// in the world outside can't be prevented. Who leaves before the answer ends it.
#[utoipa::path(
    post,
    path = "/api/v1/try",
    tag = "try-outs",
    operation_id = "try_out",
    request_body(content = TryRequest, example = json!({
        "text": "name: Shout\nprocessors:\n- id: shout\n  type: script\n  inputs: [inbox]\n  code: |\n    \
                 def process(data: bytes) -> bytes:\n        return data.upper()\n",
        "processor": "shout",
        "sample": {"text": "hello", "name": "a.txt"},
    })),
    responses(
        (status = 200, description = "What came of it, also where the step failed.", body = Tried),
        Refused<404>,
        Refused<409>,
        Refused<410>,
        Refused<501>,
    ),
)]
async fn try_out(State(service): Asked, Ask(request): Ask<TryRequest>) -> Answer<Tried> {
    let request = service.try_request(request).await?;
    // Not beside the request: when the asker leaves, so does what was begun for him.
    let tried = service.engine().try_out(request).await.map_err(|refusal| match refusal {
        opendmp_engine::control::Refusal::Fault(fault) => refused(fault),
        refusal => refusal.into(),
    })?;
    Ok(Json(tried.into()))
}
