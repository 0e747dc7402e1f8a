//! The typed client: one for all ways of asking.

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, Response, Uri, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use opendmp_model::name::printable;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tower::ServiceExt;

use crate::ask::{
    BackupRequest, DeleteRequest, Deleted, Discarded, Event, Follow, Found, Letters, Listing, Problem, Reference,
    ReprocessForeseen, ReprocessRequest, ReprocessStopped, Retried, RunRequest, Runs, SignInLink, Status, Upload,
    WhichRevision,
};
use crate::garbage::CollectRequest;
use crate::rows::{
    AuditRow, Collection, Dataset, DeadGroup, DeadLetter, Flow, History, ItemInfo, Page, Revisions, Run,
};
use crate::search::{DatasetPage, Datasets};
use crate::{ACTOR, FROM, HASH};

/// The largest answer that is not streamed.
const MOST_ANSWER: usize = 256 << 20;

/// The longest line of a streamed answer.
const MOST_LINE: usize = 16 << 20;

/// How long a server may take to take a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks a service.
#[derive(Clone, Debug)]
pub struct Client {
    to: To,
    actor: String,
}

#[derive(Clone, Debug)]
enum To {
    Socket(PathBuf),
    Here(Router),
    Http(Address),
}

/// A server that is reached over TCP.
#[derive(Clone, Debug)]
struct Address {
    /// Host and port as they are written.
    shown: String,
    host: String,
    port: u16,
    /// `Bearer` with the token; marked so that it is printed nowhere.
    bearer: HeaderValue,
}

impl Address {
    fn new(url: &str, token: &str) -> Result<Self, Problem> {
        let bad = |why: &str| {
            Problem::new(400, "bad-server", format!("`{}` is no address of a server: {why}", printable(url)))
                .with_hint("write it as http://127.0.0.1:7117")
        };
        let uri: Uri = url.parse().map_err(|_| bad("it can't be read"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err(bad("this program does not speak TLS").with_hint(
                    "`ssh -L 7117:127.0.0.1:7117 HOST` brings the server here, encrypted: then ask http://127.0.0.1:7117",
                ));
            }
            _ => return Err(bad("it does not begin with http://")),
        }
        let authority = uri.authority().ok_or_else(|| bad("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("a name or a password has no place in it"));
        }
        if uri.path() != "/" || uri.query().is_some() {
            return Err(bad("there is something behind the host"));
        }
        let host = authority.host();
        let port = match authority.as_str()[host.len()..].strip_prefix(':') {
            Some(digits) => digits.parse().map_err(|_| bad("that is no port"))?,
            None => 80,
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let mut bearer = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| Problem::new(400, "bad-token", "the access token has characters that none has"))?;
        bearer.set_sensitive(true);
        Ok(Self { shown: authority.to_string(), host: host.to_owned(), port, bearer })
    }

    async fn connect(&self) -> Result<TcpStream, Problem> {
        let failed = |why: &dyn std::fmt::Display| {
            Problem::new(503, "no-server", format!("the server at {} can't be reached: {why}", self.shown))
                .with_hint("`opendmp serve` says where it listens")
        };
        let connected = tokio::time::timeout(PATIENCE, TcpStream::connect((self.host.as_str(), self.port))).await;
        let stream = connected.map_err(|_| failed(&"it does not answer"))?.map_err(|error| failed(&error))?;
        // Requests are small, and nothing follows that they could wait for.
        stream.set_nodelay(true).map_err(|error| failed(&error))?;
        Ok(stream)
    }
}

impl Client {
    /// Asks the server behind a Unix socket.
    pub fn socket(path: &Path, actor: &str) -> Self {
        Self { to: To::Socket(path.to_owned()), actor: actor.to_owned() }
    }

    /// Asks the server at `url`, as `http://127.0.0.1:7117`, with its access token.
    ///
    /// # Errors
    /// Where the address or the token can't be one.
    pub fn http(url: &str, token: &str, actor: &str) -> Result<Self, Problem> {
        Ok(Self { to: To::Http(Address::new(url, token)?), actor: actor.to_owned() })
    }

    /// Asks routes within this process.
    pub fn here(router: Router, actor: &str) -> Self {
        Self { to: To::Here(router), actor: actor.to_owned() }
    }

    /// Whether a server answers, which goes on when the asker leaves.
    pub fn is_server(&self) -> bool {
        !matches!(self.to, To::Here(_))
    }

    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, Problem> {
        match &self.to {
            To::Here(router) => match router.clone().oneshot(request).await {
                Ok(response) => Ok(response),
                Err(never) => match never {},
            },
            To::Socket(path) => {
                let stream = UnixStream::connect(path).await.map_err(|error| {
                    Problem::new(
                        503,
                        "no-server",
                        format!("the server at {} can't be reached: {error}", path.display()),
                    )
                })?;
                exchange(stream, request).await
            }
            To::Http(address) => exchange(address.connect().await?, request).await,
        }
    }

    async fn ask(&self, method: Method, path: &str, body: Body) -> Result<Response<Body>, Problem> {
        let mut request = Request::builder().method(method).uri(path);
        request = match &self.to {
            To::Http(address) => {
                request.header(header::HOST, &address.shown).header(header::AUTHORIZATION, &address.bearer)
            }
            // There is no host; the protocol wants one named.
            To::Socket(_) | To::Here(_) => request.header(header::HOST, "opendmp"),
        };
        let request = request
            .header(header::CONTENT_TYPE, "application/json")
            .header(ACTOR, visible(&self.actor))
            .body(body)
            .map_err(|error| Problem::new(400, "bad-request", format!("`{path}` can't be asked: {error}")))?;
        let response = self.send(request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let bytes = whole(response.into_body()).await?;
        Err(serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Problem::new(status, "http", format!("the server answered {status} to {path}"))))
    }

    async fn json<T: DeserializeOwned>(&self, method: Method, path: &str, body: Body) -> Result<T, Problem> {
        let bytes = whole(self.ask(method, path, body).await?.into_body()).await?;
        serde_json::from_slice(&bytes).map_err(|error| not_understood(&error))
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Problem> {
        self.json(Method::GET, path, Body::empty()).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Problem> {
        self.json(Method::POST, path, json(body)?).await
    }

    async fn events(&self, path: &str, body: Body) -> Result<Events, Problem> {
        let body = self.ask(Method::POST, path, body).await?.into_body();
        Ok(Events { body, buffer: BytesMut::new() })
    }

    /// How the service is.
    pub async fn status(&self) -> Result<Status, Problem> {
        self.get("/api/v1/status").await
    }

    /// A link that signs a browser in once.
    pub async fn sign_in_link(&self) -> Result<SignInLink, Problem> {
        self.json(Method::POST, "/api/v1/sign-in-link", Body::empty()).await
    }

    /// All flows.
    pub async fn flows(&self) -> Result<Page<Flow>, Problem> {
        self.get("/api/v1/flows").await
    }

    /// Saves and enables a flow.
    pub async fn enable(&self, upload: &Upload) -> Result<Events, Problem> {
        self.events("/api/v1/flows", json(upload)?).await
    }

    /// Stops looking at a flow's sources.
    pub async fn disable(&self, flow: &str) -> Result<Flow, Problem> {
        self.post(&format!("/api/v1/flows/{}/disable", escaped(flow)), &()).await
    }

    /// Deletes a flow.
    pub async fn delete(&self, flow: &str, request: DeleteRequest) -> Result<Deleted, Problem> {
        let path = format!("/api/v1/flows/{}{}", escaped(flow), query(&request)?);
        self.json(Method::DELETE, &path, Body::empty()).await
    }

    /// Compares a flow's sources with the ledger.
    pub async fn audit(&self, flow: &str) -> Result<Vec<AuditRow>, Problem> {
        self.get(&format!("/api/v1/flows/{}/audit", escaped(flow))).await
    }

    /// Sends what arrived before through a flow's present version, and follows that.
    pub async fn reprocess(&self, flow: &str, request: &ReprocessRequest) -> Result<Events, Problem> {
        self.events(&format!("/api/v1/flows/{}/reprocess", escaped(flow)), json(request)?).await
    }

    /// What that would do.
    pub async fn foresee(&self, flow: &str, request: &ReprocessRequest) -> Result<ReprocessForeseen, Problem> {
        self.post(&format!("/api/v1/flows/{}/reprocess/plan", escaped(flow)), request).await
    }

    /// Has a reprocess send nothing more in.
    pub async fn stop(&self, run: u64) -> Result<ReprocessStopped, Problem> {
        self.post(&format!("/api/v1/runs/{run}/stop"), &()).await
    }

    /// Begins a run and follows it.
    pub async fn run(&self, request: &RunRequest) -> Result<Events, Problem> {
        self.events("/api/v1/runs", json(request)?).await
    }

    /// Follows a run.
    pub async fn follow(&self, run: u64, follow: Follow) -> Result<Events, Problem> {
        self.events(&format!("/api/v1/runs/{run}/follow{}", query(&follow)?), Body::empty()).await
    }

    /// Runs, newest first.
    pub async fn runs(&self, listing: &Runs) -> Result<Page<Run>, Problem> {
        self.get(&format!("/api/v1/runs{}", query(listing)?)).await
    }

    /// One run.
    pub async fn one_run(&self, run: u64) -> Result<Run, Problem> {
        self.get(&format!("/api/v1/runs/{run}")).await
    }

    /// Collections.
    pub async fn collections(&self) -> Result<Page<Collection>, Problem> {
        self.get("/api/v1/collections").await
    }

    /// Datasets, in the order that is asked for.
    pub async fn datasets(&self, asked: &Datasets) -> Result<DatasetPage, Problem> {
        self.get(&format!("/api/v1/datasets{}", query(asked)?)).await
    }

    /// What a reference to a dataset may mean.
    pub async fn find_datasets(&self, reference: &Reference) -> Result<Found<Dataset>, Problem> {
        self.get(&format!("/api/v1/datasets/find{}", query(reference)?)).await
    }

    /// All revisions of a dataset.
    pub async fn revisions(&self, id: &str) -> Result<Revisions, Problem> {
        self.get(&format!("/api/v1/datasets/{}", escaped(id))).await
    }

    /// How a revision came to be.
    pub async fn history(&self, id: &str, which: WhichRevision) -> Result<History, Problem> {
        self.get(&format!("/api/v1/datasets/{}/history{}", escaped(id), query(&which)?)).await
    }

    /// The bytes of a revision.
    pub async fn content(&self, id: &str, which: WhichRevision) -> Result<Content, Problem> {
        self.bytes(&format!("/api/v1/datasets/{}/content{}", escaped(id), query(&which)?)).await
    }

    /// What is known of an item.
    pub async fn item(&self, id: &str) -> Result<ItemInfo, Problem> {
        self.get(&format!("/api/v1/items/{}", escaped(id))).await
    }

    /// The bytes of an item.
    pub async fn item_content(&self, id: &str) -> Result<Content, Problem> {
        self.bytes(&format!("/api/v1/items/{}/content", escaped(id))).await
    }

    async fn bytes(&self, path: &str) -> Result<Content, Problem> {
        let response = self.ask(Method::GET, path, Body::empty()).await?;
        let text = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let size = text(header::CONTENT_LENGTH.as_str()).and_then(|text| text.parse().ok());
        let (hash, from) = (text(HASH), text(FROM));
        match (size, hash) {
            (Some(size), Some(hash)) => Ok(Content { size, hash, from, body: response.into_body() }),
            _ => Err(Problem::new(502, "bad-answer", "the server sent content without its size and hash")),
        }
    }

    /// Dead letters, newest first.
    pub async fn letters(&self, listing: &Listing) -> Result<Page<DeadLetter>, Problem> {
        self.get(&format!("/api/v1/dead-letters{}", query(listing)?)).await
    }

    /// What a reference to a dead letter may mean.
    pub async fn find_letters(&self, reference: &Reference) -> Result<Found<DeadLetter>, Problem> {
        self.get(&format!("/api/v1/dead-letters/find{}", query(reference)?)).await
    }

    /// Open dead letters by what went wrong, the largest groups first.
    pub async fn letter_groups(&self, listing: &Listing) -> Result<Page<DeadGroup>, Problem> {
        self.get(&format!("/api/v1/dead-letters/groups{}", query(listing)?)).await
    }

    /// Sends dead letters in again; where no server runs, [`Client::follow`] each run then.
    pub async fn retry(&self, letters: &Letters) -> Result<Vec<Retried>, Problem> {
        self.post("/api/v1/dead-letters/retry", letters).await
    }

    /// Backs everything up; a server goes on with it when the asker leaves.
    pub async fn back_up(&self, request: &BackupRequest) -> Result<Events, Problem> {
        self.events("/api/v1/backups", json(request)?).await
    }

    /// Collects garbage; a server goes on with it when the asker leaves.
    pub async fn collect_garbage(&self, request: CollectRequest) -> Result<Events, Problem> {
        self.events("/api/v1/garbage/collect", json(&request)?).await
    }

    /// Gives dead letters up.
    pub async fn discard(&self, letters: &Letters) -> Result<Discarded, Problem> {
        self.post("/api/v1/dead-letters/discard", letters).await
    }
}

/// Sends one request over a connection of its own.
async fn exchange<S>(stream: S, request: Request<Body>) -> Result<Response<Body>, Problem>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let lost =
        |error: hyper::Error| Problem::new(503, "connection-lost", format!("the server does not answer: {error}"));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
    tokio::spawn(async move {
        // Its end shows in the answer.
        let _ = connection.await;
    });
    Ok(sender.send_request(request).await.map_err(lost)?.map(Body::new))
}

/// The events of a long answer, as they happen.
#[derive(Debug)]
pub struct Events {
    body: Body,
    buffer: BytesMut,
}

impl Events {
    /// The next one; `None` at the end.
    ///
    /// # Errors
    /// What the service refused, or that the connection was lost.
    pub async fn next(&mut self) -> Result<Option<Event>, Problem> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                return match serde_json::from_slice(&line).map_err(|error| not_understood(&error))? {
                    Event::Failed(problem) => Err(problem),
                    event => Ok(Some(event)),
                };
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                    if self.buffer.len() > MOST_LINE {
                        return Err(Problem::new(502, "bad-answer", "the server sent a line that is far too long"));
                    }
                }
                Some(Err(error)) => return Err(cut(&error)),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(Problem::new(503, "connection-lost", "the server stopped in the middle of a line")),
            }
        }
    }
}

/// The bytes of a revision or an item, as they come.
#[derive(Debug)]
pub struct Content {
    /// Their number.
    pub size: u64,
    /// Their BLAKE3 hash, hexadecimal.
    pub hash: String,
    /// Of an item: where they came from, `stored`, `recent` or `computed`.
    pub from: Option<String>,
    body: Body,
}

impl Content {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// That the connection was lost, or the content could not be read on.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(error)) => return Err(cut(&error)),
                None => return Ok(None),
            }
        }
    }
}

fn cut(error: &axum::Error) -> Problem {
    Problem::new(503, "connection-lost", format!("the answer broke off: {error}"))
        .with_hint("what was begun goes on if the server does; `opendmp runs list` tells")
}

fn not_understood(error: &serde_json::Error) -> Problem {
    Problem::new(502, "bad-answer", format!("the server's answer is not understood: {error}"))
        .with_hint("the server and the command line may be of different versions; `opendmp --version` tells")
}

async fn whole(body: Body) -> Result<Bytes, Problem> {
    let limited = http_body_util::Limited::new(body, MOST_ANSWER);
    let collected = limited.collect().await;
    collected
        .map(http_body_util::Collected::to_bytes)
        .map_err(|error| Problem::new(503, "connection-lost", format!("the answer broke off: {error}")))
}

fn json(value: &impl Serialize) -> Result<Body, Problem> {
    let bytes = serde_json::to_vec(value);
    bytes
        .map(Body::from)
        .map_err(|error| Problem::new(400, "bad-request", format!("the request can't be written: {error}")))
}

/// `?key=value&…` of a flat struct, empty for none.
fn query(value: &impl Serialize) -> Result<String, Problem> {
    let value = serde_json::to_value(value);
    let value =
        value.map_err(|error| Problem::new(400, "bad-request", format!("the request can't be written: {error}")))?;
    let pairs = value.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()).map(|(key, value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!("{key}={}", escaped(&text))
    });
    let pairs: Vec<String> = pairs.collect();
    Ok(if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) })
}

/// Text as it may stand in a path or query (RFC 3986): all but the unreserved as `%XX`.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// What a header may hold.
fn visible(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_hosts_alone() {
        for (url, host, port) in [
            ("http://127.0.0.1:7117", "127.0.0.1", 7117),
            ("http://localhost:80/", "localhost", 80),
            ("http://[::1]:9", "::1", 9),
            ("http://data.example", "data.example", 80),
        ] {
            let address = Address::new(url, "secret").unwrap();
            assert_eq!((address.host.as_str(), address.port), (host, port));
            assert!(!format!("{address:?}").contains("secret"), "{address:?}");
        }
        for bad in ["", "127.0.0.1:7117", "ftp://x", "http://a:b@c", "http://x/y", "http://x?token=1", "http://x:99999"]
        {
            assert_eq!(Address::new(bad, "secret").unwrap_err().code, "bad-server", "{bad}");
        }
        let tls = Address::new("https://x", "secret").unwrap_err();
        assert!(tls.message.contains("TLS") && tls.hint.unwrap().contains("ssh"), "{}", tls.message);
        assert_eq!(Address::new("http://x", "two\nlines").unwrap_err().code, "bad-token");
    }

    #[test]
    fn queries_are_escaped() {
        let listing = Listing { name: Some("größe & *.csv".to_owned()), limit: 5, ..Listing::default() };
        assert_eq!(query(&listing).unwrap(), "?name=gr%C3%B6%C3%9Fe%20%26%20%2A.csv&limit=5");
        assert_eq!(query(&Listing::default()).unwrap(), "");
        assert_eq!(escaped("a/b"), "a%2Fb");
    }
}
