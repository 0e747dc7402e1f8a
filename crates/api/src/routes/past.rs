//! What happened, and what is handed to flows by hand: steps of a run, samples of the past, files for a source, edited
//! dead letters.

use std::sync::Arc;

use axum::Json;
use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::http::StatusCode;
use futures::StreamExt;
use opendmp_engine::past::Side;
use opendmp_ports::journal::RunId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Asked;
use super::answer::{Answer, Binary, Refused};
use super::extract::{Actor, Ask, Path, Query};
use super::tryout::{broken_off, refused};
use crate::ask::Retried;
use crate::past::{DropRequest, Dropped, EditRequest, PastItem, PastRequest, RunStep, StepsRequest};
use crate::problem::Problem;
use crate::rows::Page;
use crate::service::Service;

/// Rows of an answer where nobody says, and at most: each may have to be looked up.
const ROWS: usize = 100;
const MOST_ROWS: usize = 500;
const MOST_SAMPLES: usize = 100;

pub(crate) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new()
        .routes(routes!(steps))
        .routes(routes!(recent))
        .routes(routes!(drop_file))
        .routes(routes!(retry_edited))
}

fn limit(asked: Option<usize>, most: usize) -> usize {
    asked.filter(|asked| *asked > 0).unwrap_or(ROWS).min(most)
}

/// The steps of a run
///
/// One row for each item in each step, in the order in which they were committed. A page may have fewer rows than asked
/// for, even none, although more follow: `next` tells.
#[utoipa::path(
    get,
    path = "/api/v1/runs/{run}/items",
    tag = "runs",
    operation_id = "list_run_items",
    params(("run" = u64, Path, description = "Its number."), StepsRequest),
    responses((status = 200, description = "Steps.", body = Page<RunStep>), Refused<404>),
)]
async fn steps(
    State(service): Asked,
    Path(run): Path<u64>,
    Query(request): Query<StepsRequest>,
) -> Answer<Page<RunStep>> {
    let limit = limit(request.limit, MOST_ROWS);
    let page = service.engine().steps_of_run(RunId(run), request.after.as_deref(), limit).await?;
    Ok(Json(Page { rows: page.steps.into_iter().map(Into::into).collect(), next: page.next }))
}

/// What went into a processor lately
///
/// Samples to try it on, newest first. Of a processor that is new, what came out of the one that it reads is asked for
/// with `side=out`.
#[utoipa::path(
    get,
    path = "/api/v1/flows/{flow}/recent",
    tag = "flows",
    operation_id = "list_recent_items",
    params(("flow" = String, Path, description = "Its slug or name."), PastRequest),
    responses((status = 200, description = "Items, with what is known of them.", body = Page<PastItem>), Refused<404>),
)]
async fn recent(
    State(service): Asked,
    Path(flow): Path<String>,
    Query(request): Query<PastRequest>,
) -> Answer<Page<PastItem>> {
    let engine = service.engine();
    let flow = engine.find_flow(&flow).await?;
    let side = if request.side == Some(crate::past::Side::Out) { Side::Out } else { Side::In };
    let limit = limit(request.limit, MOST_SAMPLES);
    let rows = engine.past_items(&flow, request.processor.as_deref(), side, limit).await?;
    Ok(Json(Page { rows: rows.into_iter().map(Into::into).collect(), next: None }))
}

/// Puts a file into the folder of a source
///
/// Of a `file_drop`: the file is written under a hidden name, synced and renamed, so that it is there whole or not at
/// all, and is then taken as any other. The body is the file.
#[utoipa::path(
    post,
    path = "/api/v1/flows/{flow}/sources/{processor}/files",
    tag = "flows",
    operation_id = "drop_file",
    params(
        ("flow" = String, Path, description = "Its slug or name."),
        ("processor" = String, Path, description = "The ingest, by id."),
        DropRequest,
    ),
    request_body(content = inline(Binary), content_type = "application/octet-stream"),
    responses((status = 201, description = "It is there.", body = Dropped), Refused<404>, Refused<409>),
)]
async fn drop_file(
    State(service): Asked,
    Path((flow, processor)): Path<(String, String)>,
    Query(request): Query<DropRequest>,
    body: HttpBody,
) -> Result<(StatusCode, Json<Dropped>), Problem> {
    let mut dropping = service.engine().drop_into(&flow, &processor, &request.name, request.replace).await?;
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        if !dropping.write(piece.map_err(|error| broken_off(&error))?).await {
            break;
        }
    }
    dropping.end().await.map_err(refused)?;
    Ok((StatusCode::CREATED, Json(Dropped { name: request.name })))
}

/// Retries a dead letter, edited where that is asked for
///
/// Through its flow's present version. With an upload the item goes on with these bytes in place of its own; its history
/// says who did that and when, and what the bytes were before and after.
#[utoipa::path(
    post,
    path = "/api/v1/dead-letters/{id}/retry",
    tag = "dead letters",
    operation_id = "retry_dead_letter",
    params(("id" = String, Path, description = "Its id, or an unambiguous beginning of it.")),
    request_body(content = EditRequest, example = json!({"upload": "0123456789abcdef0123456789abcdef"})),
    responses((status = 200, description = "The run that it goes on in.", body = Retried), Refused<404>, Refused<409>),
)]
async fn retry_edited(
    State(service): Asked,
    Path(id): Path<String>,
    Actor(actor): Actor,
    Ask(request): Ask<EditRequest>,
) -> Answer<Retried> {
    let letter = service.open_letter(&id).await?;
    let engine = service.engine();
    let (run, letters) = match &request.upload {
        Some(upload) => engine.retry_edited(&letter, upload, request.note, &actor).await?,
        None => engine.retry(std::slice::from_ref(&letter), &actor).await?,
    };
    Ok(Json(Retried { run: run.0, flow: letter.flow, letters }))
}
