//! What requests carry, each with its refusals in words: a body, a query, places in the path, who asks.

use std::convert::Infallible;

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri, header};
use opendmp_model::ids::ContentHash;
use opendmp_model::name::printable;
use serde::de::DeserializeOwned;

use crate::ACTOR;
use crate::drafts::Seen;
use crate::problem::Problem;

/// The largest request with a body of JSON: a flow and the files it names.
pub(crate) const MOST_REQUEST: usize = 64 << 20;

/// A JSON body; what is wrong with it is a [`Problem`].
pub(crate) struct Ask<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Ask<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match Json::<T>::from_request(request, state).await {
            Ok(Json(value)) => Ok(Self(value)),
            Err(JsonRejection::BytesRejection(error)) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                let message = format!("the request is larger than {} MiB", MOST_REQUEST >> 20);
                Err(Problem::new(413, "too-large", message).with_hint("keep data out of the flow's folder of code"))
            }
            Err(error @ JsonRejection::MissingJsonContentType(_)) => {
                Err(Problem::new(415, "not-json", error.body_text()).with_hint("send `content-type: application/json`"))
            }
            Err(error) => Err(Problem::new(error.status().as_u16(), "bad-request", error.body_text())),
        }
    }
}

/// The longest query, and the longest values of it that many names are compared with: words, and a pattern. In bytes.
const MAX_QUERY: usize = 32 << 10;
const MAX_WORDS: usize = 500;
const MAX_NAME: usize = 4 << 10;

/// Refuses a query that would take long for its length alone.
fn bounded(uri: &Uri) -> Result<(), Problem> {
    let query = uri.query().unwrap_or_default();
    let too_long = |what: &str, limit: usize| {
        Problem::new(414, "too-long", format!("{what} is longer than {limit} bytes")).with_hint("ask for fewer words")
    };
    if query.len() > MAX_QUERY {
        return Err(too_long("the query", MAX_QUERY));
    }
    if query.len() <= MAX_WORDS {
        return Ok(());
    }
    let axum::extract::Query(pairs) = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|error: QueryRejection| Problem::new(400, "bad-request", error.body_text()))?;
    for (key, value) in pairs {
        let limit = match key.as_str() {
            "q" => MAX_WORDS,
            "name" => MAX_NAME,
            _ => continue,
        };
        if value.len() > limit {
            return Err(too_long(&format!("`{key}`"), limit));
        }
    }
    Ok(())
}

/// A query; what is wrong with it is a [`Problem`].
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        bounded(&parts.uri)?;
        let read = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        read.map(|axum::extract::Query(value)| Self(value))
            .map_err(|error: QueryRejection| Problem::new(400, "bad-request", error.body_text()))
    }
}

/// What stands in the path; what is wrong with it is a [`Problem`].
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        read.map(|axum::extract::Path(value)| Self(value))
            .map_err(|error: PathRejection| Problem::new(error.status().as_u16(), "bad-request", error.body_text()))
    }
}

/// What somebody says he has seen of what he changes, in `If-Match` or `If-None-Match` (RFC 9110, 13.1).
pub(crate) struct Precondition(pub(crate) Seen);

impl<S: Send + Sync> FromRequestParts<S> for Precondition {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let text = |name| parts.headers.get(name).map(|value| value.to_str().unwrap_or_default().trim());
        match (text(header::IF_MATCH), text(header::IF_NONE_MATCH)) {
            (Some(tag), None) => etag(tag).map(|hash| Self(Seen::Draft(hash))),
            (None, Some("*")) => Ok(Self(Seen::Nothing)),
            (None, None) => {
                Err(Problem::new(428, "no-precondition", "it is not said what was seen before this change")
                    .with_hint("send `If-Match` with the etag that was read, or `If-None-Match: *` for what is new"))
            }
            _ => Err(Problem::new(400, "bad-request", "the preconditions can't be understood")
                .with_hint("send `If-Match: \"ETAG\"`, or `If-None-Match: *`")),
        }
    }
}

/// The hash that an etag of ours is, in quotes or without.
pub(crate) fn etag(text: &str) -> Result<ContentHash, Problem> {
    let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    ContentHash::from_hex(bare)
        .ok_or_else(|| Problem::new(400, "bad-etag", format!("`{}` is no etag of this server", printable(text))))
}

/// Who asks, as he says. Only those who may read the data directory reach the socket.
pub(crate) struct Actor(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Actor {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let said = parts.headers.get(ACTOR).and_then(|value| value.to_str().ok());
        Ok(Self(said.filter(|name| !name.is_empty()).unwrap_or("someone").to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_have_a_bound() {
        let long = |key: &str, length: usize| format!("/datasets?flow=a&{key}={}", "a+".repeat(length / 2));
        for (uri, refused) in [
            (long("q", 400), false),
            (long("q", 600), true),
            (long("name", 600), false),
            (long("name", 5_000), true),
            (long("other", 5_000), false),
            (long("other", 40_000), true),
        ] {
            let result = bounded(&uri.parse().unwrap());
            assert_eq!(result.err().map(|problem| problem.status), refused.then_some(414), "{}", uri.len());
        }
    }
}
