//! The kinds that there are, as forms, help and completion need them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use opendmp_model::kinds::{Class, KindInfo, Kinds, Role};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Asked;
use super::answer::{Answer, Refused};
use super::extract::Path;
use crate::problem::Problem;
use crate::rows::Page;
use crate::service::Service;

pub(crate) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new().routes(routes!(kinds)).routes(routes!(kind))
}

/// A kind.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Kind {
    /// As written under `type`.
    name: String,
    /// What it is a kind of.
    class: Class,
    /// Where it may stand; of no meaning for sources and destinations.
    role: Role,
    /// One line.
    summary: String,
    /// Markdown.
    docs: String,
    /// JSON Schema (2020-12) of its own keys: without those that every processor has, without `type`. Where the config of
    /// a source or a destination stands, `x-opendmp-class` says of which class.
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    schema: serde_json::Value,
    /// YAML: each an entry of `processors`, or the value of `source` or `destination`.
    examples: Vec<String>,
}

impl From<&KindInfo> for Kind {
    fn from(info: &KindInfo) -> Self {
        Self {
            name: info.name.clone(),
            class: info.class,
            role: info.role,
            summary: info.summary.clone(),
            docs: info.docs.clone(),
            schema: info.schema.clone(),
            examples: info.examples.clone(),
        }
    }
}

/// All kinds
#[utoipa::path(
    get,
    path = "/api/v1/kinds",
    tag = "kinds",
    operation_id = "list_kinds",
    responses((status = 200, description = "In the order in which they are to be shown.", body = Page<Kind>)),
)]
async fn kinds(State(service): Asked) -> Answer<Page<Kind>> {
    let rows = service.engine().registry.list().into_iter().map(Kind::from).collect();
    Ok(Json(Page { rows, next: None }))
}

/// One kind
#[utoipa::path(
    get,
    path = "/api/v1/kinds/{class}/{name}",
    tag = "kinds",
    operation_id = "get_kind",
    params(
        ("class" = inline(Class), Path, description = "What it is a kind of."),
        ("name" = String, Path, description = "As written under `type`."),
    ),
    responses((status = 200, description = "With its schema.", body = Kind), Refused<404>),
)]
async fn kind(State(service): Asked, Path((class, name)): Path<(Class, String)>) -> Answer<Kind> {
    let registry = &service.engine().registry;
    let found = registry.get(class, &name).map(Kind::from);
    let known = || {
        let of_class = registry.list().into_iter().filter(|info| info.class == class);
        of_class.map(|info| info.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    found.map(Json).ok_or_else(|| {
        Problem::new(404, "not-found", format!("there is no {class} `{name}`"))
            .with_hint(format!("there are: {}", known()))
    })
}
