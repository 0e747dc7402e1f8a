//! Datasets to be kept as files: many in one archive, and one by a link of its own.

use std::sync::Arc;

use axum::Json;
use axum::body::Body as HttpBody;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{Answer, Binary, Refused};
use super::extract::{Ask, Path, Query};
use super::{Asked, datasets};
use crate::archive;
use crate::ask::WhichRevision;
use crate::links::Target;
use crate::problem::Problem;
use crate::rows::time;
use crate::service::Service;

pub(crate) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new().routes(routes!(send)).routes(routes!(link)).routes(routes!(follow))
}

/// Which datasets.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct Which {
    /// By id, up to 10,000; the newest revision of each.
    ids: Vec<String>,
}

/// The same from a form of a page, so that the browser itself keeps what comes: ids with commas between them.
#[derive(Deserialize)]
struct Form {
    ids: String,
}

/// Which datasets, as JSON or from a form.
struct Given(Which);

impl<S: Send + Sync> FromRequest<S> for Given {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let media = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if !media.is_some_and(|media| media.starts_with("application/x-www-form-urlencoded")) {
            return Ok(Self(Ask::from_request(request, state).await?.0));
        }
        let form = axum::Form::<Form>::from_request(request, state).await;
        let axum::Form(form) = form.map_err(|error| {
            Problem::new(error.status().as_u16(), "bad-request", error.body_text()).with_hint("send `ids=a,b,c`")
        })?;
        let ids = form.ids.split(',').map(str::trim).filter(|id| !id.is_empty());
        Ok(Self(Which { ids: ids.map(str::to_owned).collect() }))
    }
}

/// Many datasets as one zip archive
///
/// Also as a form (`application/x-www-form-urlencoded`) with `ids`, separated by commas. Names are made different from
/// each other, and such as can be unpacked anywhere. Where something fails on the way, the answer breaks off.
#[utoipa::path(
    post,
    path = "/api/v1/datasets/archive",
    tag = "datasets",
    operation_id = "archive_datasets",
    request_body(content = Which, example = json!({"ids": ["1204-7k2p"]})),
    responses(
        (status = 200, description = "The archive.", body = inline(Binary), content_type = "application/zip"),
        Refused<404>,
        Refused<409>,
        Refused<410>,
    ),
)]
async fn send(State(service): Asked, Given(which): Given) -> Result<Response, Problem> {
    if which.ids.is_empty() || which.ids.len() > archive::MOST {
        let message = format!("{} datasets can't be put into an archive", which.ids.len());
        return Err(Problem::new(422, "bad-request", message)
            .with_hint(format!("give the ids of one dataset or more, and of {} at most", archive::MOST)));
    }
    let mut rows = Vec::with_capacity(which.ids.len());
    // Before anything is sent it is seen whether all of them are there.
    for id in &which.ids {
        let row = service.dataset(id).await?;
        service.is_there(&row)?;
        rows.push(row);
    }
    let pieces = archive::send(Arc::clone(service.engine()), rows)?;
    let pieces = stream::unfold(pieces, |mut pieces| async move { Some((pieces.recv().await?, pieces)) });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/zip")),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"datasets.zip\"")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    Ok((headers, HttpBody::from_stream(pieces)).into_response())
}

/// A link to one answer.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Link {
    /// The path to follow, once.
    url: String,
    /// Until when it leads somewhere.
    expires: String,
}

/// A link to the bytes of a revision
///
/// It can be followed once, within ten minutes, by whoever has it: without a token or a cookie.
#[utoipa::path(
    post,
    path = "/api/v1/datasets/{id}/link",
    tag = "datasets",
    operation_id = "link_dataset",
    params(("id" = String, Path, description = "Its id, or an unambiguous beginning of it."), WhichRevision),
    responses((status = 200, description = "The link.", body = Link), Refused<404>, Refused<409>, Refused<410>),
)]
async fn link(State(service): Asked, Path(id): Path<String>, Query(which): Query<WhichRevision>) -> Answer<Link> {
    let row = service.revision(&id, which.revision).await?;
    service.is_there(&row)?;
    let target = Target { slot: row.slot, revision: row.revision };
    let (token, expires) = service.links.give(target, service.engine().clock.now());
    Ok(Json(Link { url: format!("/dl/{token}"), expires: time(expires) }))
}

/// Follows a link
///
/// Leads to the bytes of the revision that it was made for, once.
#[utoipa::path(
    get,
    path = "/dl/{token}",
    tag = "datasets",
    operation_id = "follow_link",
    security(()),
    params(("token" = String, Path, description = "What the link ends with.")),
    responses(
        (status = 200, description = "The bytes.", body = inline(Binary), content_type = "*/*"),
        Refused<404>,
        Refused<410>,
    ),
)]
async fn follow(State(service): Asked, Path(token): Path<String>, method: Method) -> Result<Response, Problem> {
    let nowhere = || {
        Problem::new(404, "link-ended", "this link leads nowhere any more")
            .with_hint("links can be followed once, within ten minutes: make another one")
    };
    let now = service.engine().clock.now();
    // Who only asks what would come has not followed it.
    let found = if method == Method::HEAD { service.links.see(&token, now) } else { service.links.take(&token, now) };
    let target = found.ok_or_else(nowhere)?;
    let rows = service.engine().journal.revisions(target.slot).await?;
    let row = rows.into_iter().find(|row| row.revision == target.revision).ok_or_else(nowhere)?;
    // Whole, and to be kept: a second request for a part of it would find the link ended.
    datasets::serve(&service, &row, &HeaderMap::new(), true).await
}
