//! Who may ask over HTTP: whoever has the access token, from this machine's own pages.
//!
//! An API that runs people's code is never open, not even on loopback: every program and every web page that a browser
//! shows can send requests there. So there is a random token, kept in the data directory. It comes in a link, as
//! Jupyter's does, and becomes a cookie that scripts can't read; programs send it as a bearer token. `Host` must name
//! this server, or else a page whose own name was made to point here (DNS rebinding) could read what it answers;
//! `Origin` and `Sec-Fetch-Site` must be this server's own, since pages of other ports of the same host send the cookie,
//! too. The Unix socket needs none of this: only those who may read the data directory reach it.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use opendmp_ports::Clock;

use crate::ask::Problem;
use crate::links::Links;
use crate::{ACTOR, page};

/// The query parameter with the token.
const TOKEN: &str = "token";

/// What everyone may ask: whether it is alive, and nothing of what it does.
pub(crate) const OPEN: [&str; 3] = ["/livez", "/readyz", "/healthz"];

/// One-time links carry their own right to one answer.
pub(crate) const LINKS: &str = "/dl/";

/// By which way a request came, in its extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// The Unix socket, or within the process: someone who may do all that the owner of the data directory may.
    Socket,
    /// HTTP over TCP: someone with the token, who may not name places of the machine beyond the data roots.
    Http,
    /// HTTP over TCP without a token: one of the few paths that are open to everyone.
    Anyone,
}

/// What a request over TCP is measured by.
#[derive(Debug)]
pub struct Access {
    token: String,
    /// Compared in place of the token: hashes are compared in constant time.
    hash: blake3::Hash,
    /// What the cookie holds: it can't be turned back into the token.
    session: String,
    /// Cookies are shared by all ports of a host: the name tells servers apart.
    cookie: String,
    address: SocketAddr,
    /// Whether it was asked to answer other machines: then `Host` may be any address, but no name.
    network: bool,
    owner: String,
    /// Links that sign in once, for those who shall not have the token or have no terminal that shows it.
    once: Links<()>,
}

impl Access {
    /// Access with a token to what listens on an address; `owner` is who a request without a name is of.
    pub fn new(token: &str, address: SocketAddr, owner: &str) -> Self {
        let session = blake3::derive_key("opendmp 2026 session cookie v1", token.as_bytes());
        let session = blake3::Hash::from_bytes(session).to_hex().to_string();
        let cookie = format!("opendmp_{}", &blake3::hash(session.as_bytes()).to_hex()[..8]);
        Self {
            token: token.to_owned(),
            hash: blake3::hash(token.as_bytes()),
            session,
            cookie,
            address,
            network: !address.ip().is_loopback(),
            owner: owner.to_owned(),
            once: Links::default(),
        }
    }

    /// The link that signs a browser in, whenever it is opened.
    pub fn link(&self) -> String {
        self.link_with(&self.token)
    }

    /// A link that signs a browser in once, and until when, milliseconds since 1970.
    pub(crate) fn one_time_link(&self, now: i64) -> (String, i64) {
        let (secret, expires) = self.once.give((), now);
        (self.link_with(&secret), expires)
    }

    fn link_with(&self, secret: &str) -> String {
        let host = if self.address.ip().is_unspecified() {
            format!("127.0.0.1:{}", self.address.port())
        } else {
            self.address.to_string()
        };
        format!("http://{host}/?{TOKEN}={secret}")
    }

    fn is_token(&self, given: &str) -> bool {
        blake3::hash(given.as_bytes()) == self.hash
    }

    fn is_session(&self, given: &str) -> bool {
        blake3::hash(given.as_bytes()) == blake3::hash(self.session.as_bytes())
    }

    /// Whether a `Host` or the host of an `Origin` is this server.
    fn is_here(&self, host: &str) -> bool {
        let port = self.address.port();
        let (name, given) = match host.rsplit_once(':') {
            Some((name, digits)) if digits.bytes().all(|byte| byte.is_ascii_digit()) => (name, digits.parse().ok()),
            _ => (host, Some(80)),
        };
        if given != Some(port) {
            return false;
        }
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        match bare.parse::<std::net::IpAddr>() {
            Ok(ip) => ip.is_loopback() || self.network,
            // The one name that every resolver keeps on this machine (RFC 6761).
            Err(_) => bare.eq_ignore_ascii_case("localhost"),
        }
    }

    /// Whether a request has the token, in a cookie or a header.
    fn has_token(&self, headers: &HeaderMap) -> bool {
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        if let Some(token) = bearer {
            return self.is_token(token);
        }
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.any(|(name, value)| name == self.cookie && self.is_session(value))
    }

    /// Whether a request is for this server and not set off by another one's page: in words why not.
    fn is_proper(&self, request: &Request) -> Result<(), Problem> {
        let headers = request.headers();
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = match (hosts.next(), hosts.next()) {
            (Some(host), None) => host.to_str().ok(),
            _ => None,
        };
        let named = request.uri().authority().map(axum::http::uri::Authority::as_str);
        if !host.is_some_and(|host| self.is_here(host)) || named.is_some_and(|named| !self.is_here(named)) {
            return Err(Problem::new(403, "wrong-host", "the request is for another server than this one")
                .with_hint(format!("ask http://{}, or http://localhost:{}", self.address, self.address.port())));
        }
        let strange = || {
            Problem::new(403, "wrong-origin", "the request comes from a page of another server")
                .with_hint("open OpenDMP's own page; programs send no Origin")
        };
        for origin in headers.get_all(header::ORIGIN) {
            let host = origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://"));
            // Its own page, by the same name, so that pages of this machine's other names are strangers, too.
            if host.is_none_or(|origin| !self.is_here(origin) || Some(origin) != hosts_name(headers)) {
                return Err(strange());
            }
        }
        let site = headers.get(SITE).map(HeaderValue::as_bytes);
        let goes_there = headers.get(MODE).is_some_and(|mode| mode == "navigate") && request.method() == Method::GET;
        match site {
            None | Some(b"same-origin" | b"none") => Ok(()),
            Some(_) if goes_there => Ok(()),
            Some(_) => Err(strange()),
        }
    }
}

const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

fn hosts_name(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::HOST).and_then(|host| host.to_str().ok())
}

/// Routes for those who have the token alone. The clock says which links that sign in once are still good.
pub(crate) fn guarded(routes: Router, access: Arc<Access>, clock: Arc<dyn Clock>) -> Router {
    routes.layer(from_fn_with_state((access, clock), guard))
}

async fn guard(
    State((access, clock)): State<(Arc<Access>, Arc<dyn Clock>)>,
    mut request: Request,
    next: Next,
) -> Response {
    if let Err(problem) = access.is_proper(&request) {
        return closed(problem.into_response());
    }
    let path = request.uri().path();
    let page = page::is_wanted(request.method(), path, request.headers());
    if let Some(token) =
        token_of(request.uri()).filter(|_| request.method() == Method::GET && !path.starts_with("/api/"))
    {
        // A link that was used is opened again from the history, by a browser that is signed in by now.
        let known = access.is_token(&token)
            || access.once.take(&token, clock.now()).is_some()
            || access.has_token(request.headers());
        return closed(if known { sign_in(&access, request.uri()) } else { page::sign_in(true) });
    }
    let open = OPEN.contains(&path) || path.starts_with(LINKS);
    let via = match (access.has_token(request.headers()), open) {
        (true, _) => Via::Http,
        (false, true) => Via::Anyone,
        (false, false) if page => return closed(page::sign_in(false)),
        (false, false) => return closed(not_signed_in().into_response()),
    };
    if !request.headers().contains_key(ACTOR)
        && let Ok(owner) = HeaderValue::from_str(&access.owner)
    {
        request.headers_mut().insert(ACTOR, owner);
    }
    request.extensions_mut().insert(via);
    closed(next.run(request).await)
}

fn not_signed_in() -> Problem {
    Problem::new(401, "not-signed-in", "this needs the access token of the server")
        .with_hint("open the link that `opendmp token --link` makes; programs send `Authorization: Bearer` with what is in the file `access-token` of the data directory")
}

/// What every answer says to browsers, unless it said something stricter or its own.
fn closed(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Forms of the page itself have no `Origin` under stricter ones.
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'; sandbox"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if response.status() == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// The token in a query.
fn token_of(uri: &Uri) -> Option<String> {
    let query = uri.query()?;
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(name, _)| *name == TOKEN).map(|(_, value)| value.to_owned()).next()
}

/// Gives the cookie, and goes on to the same place without the token, so that it stays in no address bar.
fn sign_in(access: &Access, uri: &Uri) -> Response {
    let rest: Vec<&str> = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty() && pair.split('=').next() != Some(TOKEN))
        .collect();
    // A path with two slashes in front would be another server's.
    let path = format!("/{}", uri.path().trim_start_matches('/'));
    let to = if rest.is_empty() { path } else { format!("{path}?{}", rest.join("&")) };
    let year = 365 * 24 * 3600;
    let cookie = format!("{}={}; Path=/; Max-Age={year}; HttpOnly; SameSite=Lax", access.cookie, access.session);
    let mut response = StatusCode::SEE_OTHER.into_response();
    for (name, value) in [(header::SET_COOKIE, cookie), (header::LOCATION, to)] {
        match HeaderValue::from_str(&value) {
            Ok(value) => response.headers_mut().insert(name, value),
            Err(_) => return Problem::new(400, "bad-request", "the address can't be gone on to").into_response(),
        };
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(address: &str) -> Access {
        Access::new("secret", address.parse().unwrap(), "me")
    }

    #[test]
    fn only_names_of_this_machine_are_here() {
        let here = access("127.0.0.1:7117");
        for good in ["127.0.0.1:7117", "localhost:7117", "LOCALHOST:7117", "[::1]:7117", "127.9.9.9:7117"] {
            assert!(here.is_here(good), "{good}");
        }
        for bad in [
            "localhost",
            "localhost:80",
            "evil.example:7117",
            "127.0.0.1.evil.example:7117",
            "192.0.2.1:7117",
            "",
            "localhost:7117.evil",
            "localhost.evil:7117",
            "user@localhost:7117",
            "0:7117",
            "localhost:07117x",
        ] {
            assert!(!here.is_here(bad), "{bad}");
        }
        assert!(access("127.0.0.1:80").is_here("localhost"));
        let network = access("0.0.0.0:7117");
        assert!(network.is_here("192.0.2.1:7117") && !network.is_here("evil.example:7117"));
    }

    #[test]
    fn the_link_leads_here() {
        assert_eq!(access("127.0.0.1:7").link(), "http://127.0.0.1:7/?token=secret");
        assert_eq!(access("[::1]:7").link(), "http://[::1]:7/?token=secret");
        assert_eq!(access("0.0.0.0:7").link(), "http://127.0.0.1:7/?token=secret");
        let (link, ends) = access("127.0.0.1:7").one_time_link(1_000);
        assert!(link.starts_with("http://127.0.0.1:7/?token=") && !link.contains("secret") && ends > 1_000, "{link}");
    }

    #[test]
    fn a_cookie_or_a_bearer_token_lets_in() {
        let here = access("127.0.0.1:7117");
        let with = |name: HeaderName, value: String| {
            here.has_token(&HeaderMap::from_iter([(name, HeaderValue::from_str(&value).unwrap())]))
        };
        assert!(with(header::AUTHORIZATION, "Bearer secret".to_owned()));
        assert!(with(header::AUTHORIZATION, "bearer secret".to_owned()));
        assert!(with(header::COOKIE, format!("a=b; {}={}; c", here.cookie, here.session)));
        for bad in ["Bearer", "Bearer other", "Basic secret", "secret", "Bearer secret2"] {
            assert!(!with(header::AUTHORIZATION, bad.to_owned()), "{bad}");
        }
        for bad in ["secret".to_owned(), here.session.clone()] {
            assert!(!with(header::COOKIE, format!("other={bad}; {}=x", here.cookie)));
        }
        assert!(!with(header::COOKIE, format!("{}=secret", here.cookie)), "the token itself is no session");
        assert!(!here.has_token(&HeaderMap::new()));
    }
}
