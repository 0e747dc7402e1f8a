//! The routes as whole services: for those who may do everything, and over TCP.

use std::sync::Arc;

use axum::Extension;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, Method, Uri};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};

use crate::access::{self, Access, Via};
use crate::problem::Problem;
use crate::routes::extract::MOST_REQUEST;
use crate::service::Service;
use crate::{page, request, routes};

/// Everything, for those who may do everything: behind the Unix socket, and within the process.
pub fn router(service: Arc<Service>) -> axum::Router {
    let routes = all().fallback(nothing).layer(Extension(Via::Socket));
    routes.layer(from_fn_with_state(Arc::clone(&service), request::around)).with_state(service)
}

/// Everything and the web page, over TCP, for those who have the token.
pub fn http(service: Arc<Service>, access: Arc<Access>) -> axum::Router {
    let routes = all().fallback(page_or_nothing).with_state(Arc::clone(&service));
    let clock = Arc::clone(&service.engine().clock);
    access::guarded(routes, access, clock).layer(from_fn_with_state(service, request::around))
}

fn all() -> axum::Router<Arc<Service>> {
    axum::Router::from(routes::all())
        .method_not_allowed_fallback(not_like_this)
        .layer(DefaultBodyLimit::max(MOST_REQUEST))
}

async fn nothing() -> Problem {
    Problem::new(404, "no-route", "there is nothing here")
        .with_hint("the server and the command line may be of different versions; `opendmp --version` tells")
}

async fn not_like_this(method: Method) -> Problem {
    Problem::new(405, "no-method", format!("{method} can't be done here"))
        .with_hint("the header `allow` says what can; `GET /api/v1/openapi.json` describes it")
}

/// A file or the document of the web page; for all others the answer of [`nothing`].
async fn page_or_nothing(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    match page::answer(&method, uri.path(), &headers) {
        Some(page) => page,
        None => nothing().await.into_response(),
    }
}
