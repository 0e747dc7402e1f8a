//! What answers look like: JSON, lines of JSON where it takes long, content as a stream of bytes, refusals; and how the
//! description tells of refusals.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;

use axum::Json;
use axum::body::Body as HttpBody;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use opendmp_ports::content::Body;
use tokio::sync::mpsc;
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::openapi::{Components, Content, OpenApi, Ref, RefOr, ResponseBuilder};

use crate::access::OPEN;
use crate::ask::Event;
use crate::problem::{MEDIA_TYPE, Problem};

/// Bytes of content read and sent at a time.
const PIECE: usize = 256 << 10;

/// An answer in JSON.
pub(crate) type Answer<T> = Result<Json<T>, Problem>;

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let problem = self.of_present_request();
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        ([(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE))], (status, Json(problem))).into_response()
    }
}

/// Content, in the description: any bytes.
pub(crate) struct Binary;

impl utoipa::PartialSchema for Binary {
    fn schema() -> RefOr<Schema> {
        let format = SchemaFormat::KnownFormat(KnownFormat::Binary);
        ObjectBuilder::new().schema_type(Type::String).format(Some(format)).into()
    }
}

impl utoipa::ToSchema for Binary {}

/// The header with the etag of an answer.
pub(crate) fn tagged(etag: &str) -> HeaderMap {
    let quoted = HeaderValue::from_str(&format!("\"{etag}\"")).ok();
    quoted.map(|etag| (header::ETAG, etag)).into_iter().collect()
}

/// Events as lines of JSON, each sent when it happens.
pub(crate) fn lines(events: mpsc::Receiver<Event>) -> Response {
    let lines = stream::unfold(events, |mut events| async move {
        let event = events.recv().await?;
        let line = serde_json::to_vec(&event).map(|mut line| {
            line.push(b'\n');
            Bytes::from(line)
        });
        Some((line, events))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], HttpBody::from_stream(lines)).into_response()
}

/// Content as a stream: what is in a file is read piece by piece, as fast as it is taken.
pub(crate) fn stream_of(body: Body) -> HttpBody {
    stream_part(body, 0, u64::MAX)
}

/// A part of content as a stream: so many bytes from one on, as far as there are.
pub(crate) fn stream_part(body: Body, from: u64, length: u64) -> HttpBody {
    let end = from.saturating_add(length);
    let file = match body {
        Body::Bytes(bytes) => {
            let [from, end] = [from, end].map(|at| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len()));
            return HttpBody::from(bytes.slice(from..end));
        }
        Body::File(file) => file,
    };
    let pieces = stream::try_unfold((file, from), move |(file, at)| async move {
        let most = usize::try_from(end - at).unwrap_or(usize::MAX).min(PIECE);
        if most == 0 {
            return Ok(None);
        }
        let read = move || {
            // By position: others may have the same open file.
            let mut piece = vec![0; most];
            let length = file.read_at(&mut piece, at)?;
            piece.truncate(length);
            Ok::<_, std::io::Error>((piece, file))
        };
        let (piece, file) = tokio::task::spawn_blocking(read).await.map_err(std::io::Error::other)??;
        let next = at + piece.len() as u64;
        Ok::<_, std::io::Error>((!piece.is_empty()).then(|| (Bytes::from(piece), (file, next))))
    });
    HttpBody::from_stream(pieces)
}

/// The statuses of refusals, and what each means, whatever is asked.
const REFUSALS: [(u16, &str); 15] = [
    (400, "What was asked can't be: a bad id, cursor, query or body."),
    (401, "Not signed in: the server's token is missing or wrong. Not on the Unix socket."),
    (403, "Refused to those who ask like this."),
    (404, "There is no such thing."),
    (409, "It can't be, as things stand."),
    (410, "It was there, and is gone."),
    (412, "It was changed meanwhile."),
    (413, "The request is too large."),
    (415, "The body is of another media type than it must be."),
    (416, "There is no such part of it."),
    (422, "It can be read, but not done: something is missing or wrong in it."),
    (428, "A precondition is missing."),
    (500, "Something is broken; the server's log tells more under `request_id`."),
    (501, "This server can't do that."),
    (503, "Not now: something that it needs is away or full. Ask again later."),
];

/// An operation's refusal with one status, for `responses(…)`. Those that any request may be refused with need not be
/// written: [`add_common_refusals`] adds them.
pub(crate) struct Refused<const STATUS: u16>;

impl<const STATUS: u16> utoipa::IntoResponses for Refused<STATUS> {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        [refusal(STATUS)].into()
    }
}

fn refusal(status: u16) -> (String, RefOr<utoipa::openapi::Response>) {
    (status.to_string(), RefOr::Ref(Ref::from_response_name(format!("Refused{status}"))))
}

/// Describes each refusal once.
pub(crate) fn describe_refusals(components: &mut Components) {
    for (status, words) in REFUSALS {
        let content = Content::new(Some(Ref::from_schema_name("Problem")));
        let response = ResponseBuilder::new().description(words).content(MEDIA_TYPE, content).build();
        components.responses.insert(format!("Refused{status}"), response.into());
    }
}

/// Adds to every operation what any request may be refused with.
pub(crate) fn add_common_refusals(openapi: &mut OpenApi) {
    for (path, item) in &mut openapi.paths.paths {
        // Anyone may ask how the server is.
        if OPEN.contains(&path.as_str()) {
            continue;
        }
        let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            // What says for itself who may ask needs no token.
            let open = operation.security.is_some();
            for status in common(operation).iter().filter(|status| !(open && **status == 401)) {
                let (status, response) = refusal(*status);
                operation.responses.responses.entry(status).or_insert(response);
            }
        }
    }
}

fn common(operation: &Operation) -> &'static [u16] {
    match (&operation.request_body, &operation.parameters) {
        (Some(_), _) => &[400, 401, 403, 413, 415, 422, 500, 503],
        (None, Some(parameters)) if !parameters.is_empty() => &[400, 401, 403, 500, 503],
        _ => &[401, 403, 500, 503],
    }
}
