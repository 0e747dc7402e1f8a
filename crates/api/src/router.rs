//! The service as HTTP: paths, bodies in JSON, long answers as lines of JSON, content as a stream of bytes.

use std::convert::Infallible;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json};
use bytes::Bytes;
use futures::stream;
use opendmp_engine::items::BytesFrom;
use opendmp_engine::metrics::CONTENT_TYPE;
use opendmp_model::ids::IdPrefix;
use opendmp_model::name;
use opendmp_ports::content::Body;
use opendmp_ports::journal::{DEFAULT_SPACE, FlowState, RunId};
use tokio::sync::mpsc;

use crate::access::{self, Access, Via};
use crate::ask::{
    BackupRequest, DeleteRequest, Deleted, Discarded, Event, Follow, Found, Letters, Listing, Problem, Reference,
    ReprocessForeseen, ReprocessRequest, ReprocessStopped, Retried, RunRequest, Status, Upload, WhichRevision,
};
use crate::garbage::CollectRequest;
use crate::rows::{AuditRow, Collection, Dataset, DeadLetter, Flow, History, ItemInfo, Page, Revisions, Run};
use crate::service::Service;
use crate::{ACTOR, FROM, HASH, page, request};

/// The largest request: a flow and the files it names.
const MOST_REQUEST: usize = 64 << 20;

/// Bytes of content read and sent at a time.
const PIECE: usize = 256 << 10;

type Asked = State<Arc<Service>>;
type Answer<T> = Result<Json<T>, Problem>;

/// Everything, for those who may do everything: behind the Unix socket, and within the process.
pub fn router(service: Arc<Service>) -> axum::Router {
    let routes = routes().fallback(nothing).layer(Extension(Via::Socket));
    routes.layer(from_fn_with_state(Arc::clone(&service), request::around)).with_state(service)
}

/// Everything and the web page, over TCP, for those who have the token.
pub fn http(service: Arc<Service>, access: Arc<Access>) -> axum::Router {
    let routes = routes().fallback(page_or_nothing).with_state(Arc::clone(&service));
    access::guarded(routes, access).layer(from_fn_with_state(service, request::around))
}

fn routes() -> axum::Router<Arc<Service>> {
    axum::Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(healthz))
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .route("/api/v1/status", get(status))
        .route("/api/v1/flows", get(flows).post(enable))
        .route("/api/v1/flows/{flow}", axum::routing::delete(delete))
        .route("/api/v1/flows/{flow}/disable", post(disable))
        .route("/api/v1/flows/{flow}/audit", get(audit))
        .route("/api/v1/flows/{flow}/reprocess", post(reprocess))
        .route("/api/v1/flows/{flow}/reprocess/plan", post(foresee))
        .route("/api/v1/runs", get(runs).post(run))
        .route("/api/v1/runs/{run}", get(one_run))
        .route("/api/v1/runs/{run}/follow", post(follow))
        .route("/api/v1/runs/{run}/stop", post(stop))
        .route("/api/v1/collections", get(collections))
        .route("/api/v1/datasets", get(datasets))
        .route("/api/v1/datasets/find", get(find_datasets))
        .route("/api/v1/datasets/{id}", get(revisions))
        .route("/api/v1/datasets/{id}/history", get(history))
        .route("/api/v1/datasets/{id}/content", get(content))
        .route("/api/v1/items/{id}", get(item))
        .route("/api/v1/items/{id}/content", get(item_content))
        .route("/api/v1/dead-letters", get(letters))
        .route("/api/v1/dead-letters/find", get(find_letters))
        .route("/api/v1/dead-letters/retry", post(retry))
        .route("/api/v1/dead-letters/discard", post(discard))
        .route("/api/v1/events", get(events))
        .route("/api/v1/backups", post(back_up))
        .route("/api/v1/garbage/collect", post(collect_garbage))
        .layer(DefaultBodyLimit::max(MOST_REQUEST))
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let problem = self.of_present_request();
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(problem)).into_response()
    }
}

/// A JSON body; what is wrong with it is a [`Problem`].
struct Ask<T>(T);

impl<T: serde::de::DeserializeOwned, S: Send + Sync> FromRequest<S> for Ask<T> {
    type Rejection = Problem;

    async fn from_request(request: axum::extract::Request, state: &S) -> Result<Self, Problem> {
        match Json::<T>::from_request(request, state).await {
            Ok(Json(value)) => Ok(Self(value)),
            Err(JsonRejection::BytesRejection(error)) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                let message = format!("the request is larger than {} MiB", MOST_REQUEST >> 20);
                Err(Problem::new(413, "too-large", message).with_hint("keep data out of the flow's folder of code"))
            }
            Err(error) => Err(Problem::new(error.status().as_u16(), "bad-request", error.body_text())),
        }
    }
}

/// A query; what is wrong with it is a [`Problem`].
struct Query<T>(T);

impl<T: serde::de::DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, state: &S) -> Result<Self, Problem> {
        let read = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        read.map(|axum::extract::Query(value)| Self(value))
            .map_err(|error: QueryRejection| Problem::new(400, "bad-request", error.body_text()))
    }
}

/// Who asks, as he says. Only those who may read the data directory reach the socket.
struct Actor(String);

impl<S: Send + Sync> FromRequestParts<S> for Actor {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, _: &S) -> Result<Self, Infallible> {
        let said = parts.headers.get(ACTOR).and_then(|value| value.to_str().ok());
        Ok(Self(said.filter(|name| !name.is_empty()).unwrap_or("someone").to_owned()))
    }
}

async fn nothing() -> Problem {
    Problem::new(404, "no-route", "there is nothing here")
        .with_hint("the server and the command line may be of different versions; `opendmp --version` tells")
}

/// A file or the document of the web page; for all others the answer of [`nothing`].
async fn page_or_nothing(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    match page::answer(&method, uri.path(), &headers) {
        Some(page) => page,
        None => nothing().await.into_response(),
    }
}

/// How it is; to those without a token, in one word.
async fn healthz(State(service): Asked, Extension(via): Extension<Via>) -> Response {
    let (code, status) = service.status().await;
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    match via {
        Via::Anyone => (code, Json(serde_json::json!({ "status": status.status }))).into_response(),
        Via::Socket | Via::Http => (code, Json(status)).into_response(),
    }
}

/// What happens, for as long as somebody watches.
async fn events(State(service): Asked, headers: HeaderMap) -> Response {
    match service.hub.get() {
        Some(hub) => Arc::clone(hub).watch(&headers, service.stop.subscribe()).await,
        None => Problem::new(404, "no-server", "nothing happens by itself here: no server runs").into_response(),
    }
}

/// Whether the process answers at all.
async fn livez() -> Json<serde_json::Value> {
    Json(serde_json::json!({ "status": "ok" }))
}

/// What is counted, for Prometheus.
async fn metrics(State(service): Asked) -> Response {
    let healthy = service.status().await.0 == 200;
    let text = service.engine().metrics_text(healthy).await;
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response()
}

async fn status(State(service): Asked) -> Json<Status> {
    Json(service.status().await.1)
}

async fn flows(State(service): Asked) -> Answer<Page<Flow>> {
    let rows = service.engine().journal.flows(DEFAULT_SPACE).await?;
    let rows = rows.iter().filter(|row| row.state != FlowState::Deleted);
    Ok(Json(Page { rows: rows.map(Flow::from).collect(), next: None }))
}

async fn enable(State(service): Asked, Actor(actor): Actor, Ask(upload): Ask<Upload>) -> Response {
    lines(service.spawn(|service, tell| async move { service.enable(upload.into(), &actor, &tell).await }))
}

async fn disable(State(service): Asked, Path(flow): Path<String>, Actor(actor): Actor) -> Answer<Flow> {
    Ok(Json(Flow::from(&service.engine().disable(&flow, &actor).await?)))
}

async fn delete(
    State(service): Asked,
    Path(flow): Path<String>,
    Actor(actor): Actor,
    Query(request): Query<DeleteRequest>,
) -> Answer<Deleted> {
    let (row, buried) = service.engine().delete(&flow, request.work, &actor).await?;
    Ok(Json(Deleted { flow: Flow::from(&row), buried }))
}

async fn audit(State(service): Asked, Path(flow): Path<String>) -> Answer<Vec<AuditRow>> {
    let flow = service.engine().find_flow(&flow).await?;
    let audits = service.engine().audit(&flow).await?.into_iter().map(|(ingest, audit)| AuditRow {
        ingest,
        compared: audit.compared,
        entries: audit.entries,
        more: audit.more,
    });
    Ok(Json(audits.collect()))
}

async fn run(State(service): Asked, Actor(actor): Actor, Ask(request): Ask<RunRequest>) -> Response {
    lines(service.spawn(|service, tell| async move { service.run(request, &actor, &tell).await }))
}

async fn follow(State(service): Asked, Path(run): Path<u64>, Query(follow): Query<Follow>) -> Response {
    lines(service.spawn(move |service, tell| async move { service.follow(RunId(run), follow, &tell).await }))
}

async fn reprocess(
    State(service): Asked,
    Path(flow): Path<String>,
    Actor(actor): Actor,
    Ask(request): Ask<ReprocessRequest>,
) -> Response {
    lines(service.spawn(|service, tell| async move { service.reprocess(&flow, request, &actor, &tell).await }))
}

async fn foresee(
    State(service): Asked,
    Path(flow): Path<String>,
    Ask(request): Ask<ReprocessRequest>,
) -> Answer<ReprocessForeseen> {
    Ok(Json(service.foresee(&flow, &request).await?))
}

async fn stop(State(service): Asked, Path(run): Path<u64>, Actor(actor): Actor) -> Answer<ReprocessStopped> {
    let engine = service.engine();
    let (reprocess, stopped) = engine.stop_reprocess(RunId(run), &actor).await?;
    let run = Run::from(&engine.journal.run(RunId(run)).await?);
    Ok(Json(ReprocessStopped { run, stopped, taken: reprocess.taken }))
}

async fn runs(State(service): Asked, Query(listing): Query<Listing>) -> Answer<Page<Run>> {
    Ok(Json(Page::of(&service.engine().journal.runs(listing.into()).await?)))
}

async fn one_run(State(service): Asked, Path(run): Path<u64>) -> Answer<Run> {
    Ok(Json(Run::from(&service.engine().journal.run(RunId(run)).await?)))
}

async fn collections(State(service): Asked) -> Answer<Page<Collection>> {
    let rows = service.engine().journal.collections(DEFAULT_SPACE).await?;
    Ok(Json(Page { rows: rows.iter().map(Collection::from).collect(), next: None }))
}

async fn datasets(State(service): Asked, Query(listing): Query<Listing>) -> Answer<Page<Dataset>> {
    Ok(Json(Page::of(&service.engine().journal.datasets(listing.into()).await?)))
}

async fn find_datasets(State(service): Asked, Query(reference): Query<Reference>) -> Answer<Found<Dataset>> {
    let found = service.find_datasets(&reference).await?;
    Ok(Json(Found { rows: found.rows.iter().map(Dataset::from).collect(), more: found.more }))
}

async fn revisions(State(service): Asked, Path(id): Path<String>) -> Answer<Revisions> {
    let newest = service.dataset(&id).await?;
    let rows = service.engine().journal.revisions(newest.slot).await?;
    Ok(Json(Revisions { revisions: rows.iter().map(Dataset::from).collect() }))
}

async fn history(State(service): Asked, Path(id): Path<String>, Query(which): Query<WhichRevision>) -> Answer<History> {
    let row = service.revision(&id, which.revision).await?;
    let (row, way) = service.engine().explain(row.slot, Some(row.revision)).await?;
    Ok(Json(History::new(&row, way)))
}

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

async fn item(State(service): Asked, Path(id): Path<String>) -> Answer<ItemInfo> {
    Ok(Json(service.engine().item(&item_id(&id)?).await?.into()))
}

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

async fn letters(State(service): Asked, Query(listing): Query<Listing>) -> Answer<Page<DeadLetter>> {
    Ok(Json(Page::of(&service.engine().journal.dead_letters(listing.into()).await?)))
}

async fn find_letters(State(service): Asked, Query(reference): Query<Reference>) -> Answer<Found<DeadLetter>> {
    let found = service.find_letters(&reference).await?;
    Ok(Json(Found { rows: found.rows.iter().map(DeadLetter::from).collect(), more: found.more }))
}

async fn retry(State(service): Asked, Actor(actor): Actor, Ask(letters): Ask<Letters>) -> Answer<Vec<Retried>> {
    Ok(Json(service.retry(letters, &actor).await?))
}

async fn discard(State(service): Asked, Actor(actor): Actor, Ask(letters): Ask<Letters>) -> Answer<Discarded> {
    Ok(Json(Discarded { letters: service.discard(letters, &actor).await? }))
}

async fn back_up(State(service): Asked, Ask(request): Ask<BackupRequest>) -> Response {
    lines(service.spawn(move |service, tell| async move { service.back_up(request.path(), &tell).await }))
}

async fn collect_garbage(State(service): Asked, Ask(request): Ask<CollectRequest>) -> Response {
    lines(service.spawn(move |service, tell| async move { service.collect_garbage(request, &tell).await }))
}

/// Events as lines of JSON, each sent when it happens.
fn lines(events: mpsc::Receiver<Event>) -> Response {
    let lines = stream::unfold(events, |mut events| async move {
        let event = events.recv().await?;
        let line = serde_json::to_vec(&event).map(|mut line| {
            line.push(b'\n');
            Bytes::from(line)
        });
        Some((line, events))
    });
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson")];
    (headers, axum::body::Body::from_stream(lines)).into_response()
}

/// Content as a stream: what is in a file is read piece by piece, as fast as it is taken.
fn stream_of(body: Body) -> axum::body::Body {
    let file = match body {
        Body::Bytes(bytes) => return axum::body::Body::from(bytes),
        Body::File(file) => file,
    };
    let pieces = stream::try_unfold((file, 0u64), |(file, at)| async move {
        let read = move || {
            // By position: others may have the same open file.
            let mut piece = vec![0; PIECE];
            let length = file.read_at(&mut piece, at)?;
            piece.truncate(length);
            Ok::<_, std::io::Error>((piece, file))
        };
        let (piece, file) = tokio::task::spawn_blocking(read).await.map_err(std::io::Error::other)??;
        let next = at + piece.len() as u64;
        Ok::<_, std::io::Error>((!piece.is_empty()).then(|| (Bytes::from(piece), (file, next))))
    });
    axum::body::Body::from_stream(pieces)
}
