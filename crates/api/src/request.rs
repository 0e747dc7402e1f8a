//! Around every request: its id, its span, its place in the metrics.
//!
//! The id is the one that the asker gave in `x-request-id`, if it can be one, else a new one. It is in the answer's
//! header, in what is refused, and in the log lines of all that is done for the request, also after the asker has left.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::{FutureExt, Stream, StreamExt, stream};
use tracing::Instrument;

use crate::problem::Problem;
use crate::service::Service;

/// The header with the id.
pub(crate) const ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that is taken over.
const LONGEST: usize = 128;

/// How long a body may pause between two pieces.
const PAUSE: Duration = Duration::from_secs(60);

tokio::task_local! {
    /// The request under way.
    static PRESENT: Arc<str>;
}

/// The id of the request that is being answered.
pub(crate) fn present() -> Option<Arc<str>> {
    PRESENT.try_with(Arc::clone).ok()
}

/// Does something as part of a request, if there is one.
pub(crate) async fn within<F: Future>(request: Option<Arc<str>>, work: F) -> F::Output {
    match request {
        Some(request) => PRESENT.scope(request, work).await,
        None => work.await,
    }
}

/// The layer around all routes.
pub(crate) async fn around(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let id = request.headers().get(&ID).and_then(sane).unwrap_or_else(new);
    let method = word(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    // What matches no route is not named: those who ask could make names without end.
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    let span = tracing::error_span!("request", request = &*id, method, route);
    // A request that panics is answered, as any other that fails: only its connection knows of it otherwise.
    let request =
        if request.body().is_end_stream() { request } else { request.map(|body| Body::from_stream(unpaused(body))) };
    let answer = async { AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(|_| panicked()) };
    let mut response = within(Some(Arc::clone(&id)), answer).instrument(span.clone()).await;
    let (status, took) = (response.status().as_u16(), begun.elapsed());
    span.in_scope(|| tracing::debug!(status, took_ms = took.as_millis() as u64, "answered"));
    service.engine().metrics.answered(method, route, status, took);
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(ID, id);
    }
    response
}

/// A body of which something comes again and again, or which breaks off: who begins one and goes away would else keep
/// what was begun for it.
fn unpaused(body: Body) -> impl Stream<Item = Result<Bytes, axum::Error>> {
    stream::unfold(Some(body.into_data_stream()), |pieces| async {
        let mut pieces = pieces?;
        match tokio::time::timeout(PAUSE, pieces.next()).await {
            Ok(piece) => piece.map(|piece| (piece, Some(pieces))),
            Err(_) => {
                let error = axum::Error::new(format!("nothing more came for {} s", PAUSE.as_secs()));
                Some((Err(error), None))
            }
        }
    })
}

/// What went wrong is in the log, by the hook of panics, and is nothing for the asker.
fn panicked() -> Response {
    tracing::error!("a request panicked");
    Problem::new(500, "panic", "something is broken in the server")
        .with_hint("its log tells more under `request_id`")
        .into_response()
}

/// The asker's id, where it is short and of characters that do no harm in a log or a header.
fn sane(id: &HeaderValue) -> Option<Arc<str>> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(&byte);
    let id = id.to_str().ok()?;
    ((1..=LONGEST).contains(&id.len()) && id.bytes().all(good)).then(|| id.into())
}

fn new() -> Arc<str> {
    format!("{:016x}", rand::random::<u64>()).into()
}

/// A method as metrics name it: anyone can make up others.
fn word(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "OTHER",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_answered() {
        let engine = opendmp_engine::Engine::new(
            Arc::new(opendmp_ports::journal::MemoryJournal::default()),
            Arc::new(opendmp_ports::content::MemoryContent::default()),
            Arc::new(opendmp_ports::transport::InProcess::default()),
            Arc::new(opendmp_ports::clock::ManualClock::at(0)),
            Arc::new(opendmp_processor::Registry::default()),
            opendmp_engine::Options::default(),
            opendmp_ports::journal::Lease::default(),
        );
        let broken = async || -> Response { panic!("on purpose") };
        let layer = axum::middleware::from_fn_with_state(Service::command(Arc::new(engine)), around);
        let routes = axum::Router::new().route("/", axum::routing::get(broken)).layer(layer);
        let request = Request::get("/").header(&ID, "mine").body(Body::empty()).unwrap();
        let response = tower::ServiceExt::oneshot(routes, request).await.unwrap();
        assert_eq!(response.status().as_u16(), 500);
        let bytes = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
        let told: Problem = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((told.code.as_str(), told.request_id.as_deref()), ("panic", Some("mine")));
    }

    #[test]
    fn only_sane_ids_are_taken_over() {
        for good in ["a", "01HQ-x_y.z", "4bf92f3577b34da6a3ce929d0e0e4736", "Root=1-67891233-abc:7/8+9"] {
            assert_eq!(sane(&HeaderValue::from_str(good).unwrap()).as_deref(), Some(good));
        }
        let long = "x".repeat(LONGEST + 1);
        for bad in ["", "a b", "a\tb", "<script>", "\"", "a;b", "a\\n", long.as_str()] {
            assert_eq!(sane(&HeaderValue::from_str(bad).unwrap()), None, "{bad:?}");
        }
        assert_eq!(sane(&HeaderValue::from_bytes(b"caf\xe9").unwrap()), None);
        assert_ne!(new(), new());
        assert!(sane(&HeaderValue::from_str(&new()).unwrap()).is_some());
    }
}
