//! What happens, as a stream.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Asked;
use super::answer::Refused;
use crate::events::Facts;
use crate::problem::Problem;
use crate::service::Service;

pub(crate) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new().routes(routes!(events))
}

/// What happens, as it happens
///
/// Server-sent events: `snapshot` with all flows, then `facts` with those that changed, a few times a second at most. The
/// data of each is as the schema says.
#[utoipa::path(
    get,
    path = "/api/v1/events",
    tag = "health",
    operation_id = "watch",
    params(("Last-Event-ID" = Option<String>, Header, description = "Goes on behind this event, where it is still kept.")),
    responses(
        (status = 200, description = "For as long as somebody watches.", body = Facts, content_type = "text/event-stream"),
        Refused<404>,
    ),
)]
async fn events(State(service): Asked, headers: HeaderMap) -> Result<Response, Problem> {
    match service.hub.get() {
        Some(hub) => Ok(Arc::clone(hub).watch(&headers, service.stop.subscribe()).await),
        None => Err(Problem::new(404, "no-server", "nothing happens by itself here: no server runs")),
    }
}
