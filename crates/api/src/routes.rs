//! The service as HTTP, topic by topic; and its description, made from the same routes.
//!
//! What a topic's requests look like stands in its module, what all have in common in [`extract`] and [`answer`]. What
//! is around every request lives in [`crate::router()`].

pub(crate) mod answer;
mod archive;
mod datasets;
mod drafts;
mod events;
pub(crate) mod extract;
mod flows;
mod health;
mod items;
mod kinds;
mod letters;
mod past;
mod runs;
mod serving;
mod sign_in;
mod tryout;
mod upkeep;

use std::sync::{Arc, LazyLock};

use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;

use crate::events::FlowNumbers;
use crate::problem::Problem;
use crate::search::Order;
use crate::service::Service;

type Asked = axum::extract::State<Arc<Service>>;

/// All of them.
pub(crate) fn all() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::with_openapi(Description::openapi())
        .merge(health::routes())
        .merge(flows::routes())
        .merge(drafts::routes())
        .merge(kinds::routes())
        .merge(runs::routes())
        .merge(datasets::routes())
        .merge(archive::routes())
        .merge(items::routes())
        .merge(letters::routes())
        .merge(upkeep::routes())
        .merge(events::routes())
        .merge(tryout::routes())
        .merge(past::routes())
        .merge(sign_in::routes())
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "OpenDMP",
        description = "What the command line and the page ask, and what you can ask as well. Errors are problem \
                       documents (RFC 9457). Times are RFC 3339 in UTC, sizes bytes, hashes BLAKE3 in hexadecimal. \
                       Listings answer rows and, where there are more, the cursor to give as `after`. Long answers \
                       are lines of JSON, each sent when it happens; what they fail with is their last line.",
    ),
    tags(
        (name = "health", description = "How the server is."),
        (name = "flows", description = "What people draw or write: processors with their inputs."),
        (name = "drafts", description = "Flows that somebody works on."),
        (name = "kinds", description = "The types of processors, sources and destinations that there are."),
        (name = "runs", description = "Everything that comes of one trigger."),
        (name = "datasets", description = "Results, in their collections, with their revisions."),
        (name = "items", description = "What goes, and went, from one step to the next."),
        (name = "dead letters", description = "What could not be processed, and waits for a person."),
        (name = "try-outs", description = "A processor on a sample, with nothing left behind; and the samples."),
        (name = "access", description = "How browsers sign in."),
        (name = "upkeep", description = "Backups and garbage."),
    ),
    components(schemas(Problem, FlowNumbers, Order, opendmp_ports::journal::RunsMeant)),
    security(("bearer" = [])),
    modifiers(&Access),
)]
struct Description;

/// How one shows that one may ask, and how one is refused.
struct Access;

impl utoipa::Modify for Access {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
        let words = "What is in the file `access-token` of the data directory. Browsers have a cookie in its place, which \
                     a link as `opendmp token --link` makes it gives them; on the Unix socket nothing is needed.";
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer.description(Some(words)).build()));
        answer::describe_refusals(components);
    }
}

/// The description of the API (OpenAPI 3.1), as it is served and as it is kept in `crates/api/openapi.json`.
pub fn description() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let mut openapi = all().into_openapi();
        answer::add_common_refusals(&mut openapi);
        // It is made of strings, numbers, lists and maps, which all can be written.
        openapi.to_pretty_json().map(|json| json + "\n").unwrap_or_default()
    });
    &TEXT
}
