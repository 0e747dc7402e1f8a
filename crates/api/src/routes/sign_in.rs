//! Links by which a browser signs in once.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Asked;
use super::answer::{Answer, Refused};
use crate::access::Via;
use crate::ask::SignInLink;
use crate::problem::Problem;
use crate::rows::time;
use crate::service::Service;

pub(crate) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new().routes(routes!(link))
}

/// A link that signs a browser in
///
/// It can be opened once, within ten minutes. Only those who reach the server by its Unix socket can have one made: a link
/// outlives the page or the program that asked for it.
#[utoipa::path(
    post,
    path = "/api/v1/sign-in-link",
    tag = "access",
    operation_id = "sign_in_link",
    responses((status = 200, description = "The link.", body = SignInLink), Refused<403>, Refused<409>),
)]
async fn link(State(service): Asked, Extension(via): Extension<Via>) -> Answer<SignInLink> {
    if via != Via::Socket {
        return Err(Problem::new(403, "not-over-http", "links to sign in are made on the machine of the server")
            .with_hint("there, `opendmp token --link` prints one"));
    }
    let access = service.access.get().ok_or_else(|| {
        Problem::new(409, "no-server", "no server runs that a link could open")
            .with_hint("start it with `opendmp serve`")
    })?;
    let (url, expires) = access.one_time_link(service.engine().clock.now());
    Ok(Json(SignInLink { url, expires: time(expires) }))
}
