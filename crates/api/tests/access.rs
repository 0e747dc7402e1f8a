//! Who is let in over TCP, and who is not.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use opendmp_api::ask::{Problem, SignInLink};
use opendmp_api::{Access, Service, http, router};
use opendmp_engine::{Engine, Options};
use opendmp_ports::clock::ManualClock;
use opendmp_ports::content::MemoryContent;
use opendmp_ports::journal::{Lease, MemoryJournal};
use opendmp_ports::transport::InProcess;
use opendmp_processor::Registry;
use tower::ServiceExt;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const HERE: &str = "127.0.0.1:7117";

fn door() -> axum::Router {
    doors().0
}

/// TCP, the Unix socket, and the clock of both.
fn doors() -> (axum::Router, axum::Router, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(1_795_356_131_042));
    let engine = Engine::new(
        Arc::new(MemoryJournal::default()),
        Arc::new(MemoryContent::default()),
        Arc::new(InProcess::default()),
        Arc::clone(&clock) as _,
        Arc::new(Registry::default()),
        Options::default(),
        Lease::default(),
    );
    let access = Arc::new(Access::new(TOKEN, HERE.parse().unwrap(), "me"));
    let service = Service::command(Arc::new(engine)).with_access(Arc::clone(&access));
    (http(Arc::clone(&service), access), router(service), clock)
}

/// A link to sign in, from its path on.
async fn link(socket: &axum::Router) -> String {
    let response = ask(socket, "POST", "/api/v1/sign-in-link", &[]).await;
    assert_eq!(response.status(), StatusCode::OK);
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let link: SignInLink = serde_json::from_slice(&bytes).unwrap();
    let path = link.url.strip_prefix(&format!("http://{HERE}")).unwrap();
    assert!(path.starts_with("/?token=") && !path.contains(TOKEN) && link.expires.as_str() > "2026", "{link:?}");
    path.to_owned()
}

async fn ask(door: &axum::Router, method: &str, path: &str, headers: &[(&str, &str)]) -> Response<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    door.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

async fn code(response: Response<Body>) -> (u16, String) {
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let told: Problem = serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{error}: {bytes:?}"));
    assert!(told.request_id.is_some() && told.hint.is_some(), "{told:?}");
    (status, told.code)
}

fn bearer() -> String {
    format!("Bearer {TOKEN}")
}

#[tokio::test]
async fn a_one_time_link_signs_in_once_and_soon() {
    let (door, socket, clock) = doors();
    let path = link(&socket).await;
    let html = [("host", HERE), ("accept", "text/html")];
    // Programs that look at links before people open them, and answers to nobody who has it as a token.
    assert_ne!(ask(&door, "HEAD", &path, &html).await.status(), StatusCode::SEE_OTHER);
    let secret = path.split('=').nth(1).unwrap();
    let as_token = format!("Bearer {secret}");
    let refused = ask(&door, "GET", "/api/v1/flows", &[("host", HERE), ("authorization", &as_token)]).await;
    assert_eq!(code(refused).await, (401, "not-signed-in".to_owned()));
    // A page of another server can't use it up.
    let strange = ask(&door, "GET", &path, &[("host", "evil.example")]).await;
    assert_eq!(strange.status(), StatusCode::FORBIDDEN);

    let opened = ask(&door, "GET", &path, &html).await;
    assert_eq!((opened.status(), opened.headers()[header::LOCATION].to_str().unwrap()), (StatusCode::SEE_OTHER, "/"));
    let cookie = opened.headers()[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    assert!(!cookie.contains(secret));
    let inside = ask(&door, "GET", "/api/v1/flows", &[("host", HERE), ("cookie", &cookie)]).await;
    assert_eq!(inside.status(), StatusCode::OK);
    assert_eq!(ask(&door, "GET", &path, &html).await.status(), StatusCode::UNAUTHORIZED, "once");

    let late = link(&socket).await;
    clock.advance(10 * 60 * 1_000);
    assert_eq!(ask(&door, "GET", &late, &html).await.status(), StatusCode::UNAUTHORIZED, "soon");
    // Who has the token, or a page that runs with the cookie, can't make links that outlive it.
    let bearer = bearer();
    let asked = ask(&door, "POST", "/api/v1/sign-in-link", &[("host", HERE), ("authorization", &bearer)]).await;
    assert_eq!(code(asked).await, (403, "not-over-http".to_owned()));
}

#[tokio::test]
async fn a_link_becomes_a_cookie_that_lets_in() {
    let door = door();
    let response = ask(&door, "GET", &format!("/flows/x?tab=plan&token={TOKEN}"), &[("host", HERE)]).await;
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert_eq!(response.headers()[header::LOCATION], "/flows/x?tab=plan");
    let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax") && !cookie.contains(TOKEN), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    let response = ask(&door, "GET", "/api/v1/flows", &[("host", HERE), ("cookie", cookie)]).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    let wrong = ask(&door, "GET", "/?token=nonsense", &[("host", HERE)]).await;
    assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
    assert!(wrong.headers().get(header::SET_COOKIE).is_none());
    let elsewhere = ask(&door, "GET", &format!("//evil.example/?token={TOKEN}"), &[("host", HERE)]).await;
    assert_eq!(elsewhere.headers()[header::LOCATION], "/evil.example/", "it leads nowhere else");
}

#[tokio::test]
async fn browsers_without_a_token_are_told_where_it_is() {
    let response = ask(&door(), "GET", "/datasets", &[("host", HERE), ("accept", "text/html")]).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
    let text = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&text).into_owned();
    let nonce = policy.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap();
    assert!(text.contains("access-token") && text.contains(nonce) && policy.contains("default-src 'none'"), "{policy}");
}

#[tokio::test]
async fn other_hosts_and_origins_are_turned_away_even_with_the_token() {
    let (door, bearer) = (door(), bearer());
    let with = |extra: &'static [(&'static str, &'static str)]| {
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(extra);
        headers
    };
    for (headers, expected) in [
        (with(&[]), "wrong-host"),
        (with(&[("host", "evil.example")]), "wrong-host"),
        (with(&[("host", "evil.example:7117")]), "wrong-host"),
        (with(&[("host", "127.0.0.1:7118")]), "wrong-host"),
        (with(&[("host", HERE), ("host", HERE)]), "wrong-host"),
        (with(&[("host", HERE), ("origin", "http://evil.example")]), "wrong-origin"),
        (with(&[("host", HERE), ("origin", "http://127.0.0.1:8080")]), "wrong-origin"),
        (with(&[("host", HERE), ("origin", "http://localhost:7117")]), "wrong-origin"),
        (with(&[("host", HERE), ("origin", "https://127.0.0.1:7117")]), "wrong-origin"),
        (with(&[("host", HERE), ("origin", "null")]), "wrong-origin"),
        (with(&[("host", HERE), ("sec-fetch-site", "same-site")]), "wrong-origin"),
        (with(&[("host", HERE), ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")]), "wrong-origin"),
    ] {
        for (method, path) in [("GET", "/api/v1/flows"), ("POST", "/api/v1/runs"), ("GET", "/"), ("GET", "/healthz")] {
            let answer = code(ask(&door, method, path, &headers).await).await;
            assert_eq!(answer, (403, expected.to_owned()), "{method} {path} {headers:?}");
        }
    }
    for headers in [
        with(&[("host", HERE)]),
        with(&[("host", "localhost:7117"), ("origin", "http://localhost:7117"), ("sec-fetch-site", "same-origin")]),
        with(&[("host", "[::1]:7117")]),
    ] {
        assert_eq!(ask(&door, "GET", "/api/v1/flows", &headers).await.status(), StatusCode::OK, "{headers:?}");
    }
}

#[tokio::test]
async fn without_a_token_there_is_nothing_but_a_word() {
    let door = door();
    for (method, path) in [
        ("GET", "/api/v1/flows"),
        ("POST", "/api/v1/runs"),
        ("DELETE", "/api/v1/flows/x"),
        ("GET", "/metrics"),
        ("GET", "/none"),
    ] {
        let answer = code(ask(&door, method, path, &[("host", HERE)]).await).await;
        assert_eq!(answer, (401, "not-signed-in".to_owned()), "{method} {path}");
        let wrong = [("host", HERE), ("authorization", "Bearer nonsense")];
        assert_eq!(code(ask(&door, method, path, &wrong).await).await.0, 401);
    }
    let response = ask(&door, "GET", "/healthz", &[("host", HERE)]).await;
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(&bytes[..], br#"{"status":"ok"}"#);
}

/// Every path and method that the description names, but for those that are open to everyone.
fn routes() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json")).unwrap();
    let description: serde_json::Value = serde_json::from_str(&text).unwrap();
    let paths = description["paths"].as_object().unwrap().iter();
    let all = paths.flat_map(|(path, methods)| {
        let path = path.replace("{run}", "1").replace(['{', '}'], "");
        methods.as_object().unwrap().keys().map(move |method| (method.to_uppercase(), path.clone())).collect::<Vec<_>>()
    });
    let open = |path: &str| ["/healthz", "/readyz", "/livez"].contains(&path) || path.starts_with("/dl/");
    all.filter(|(_, path)| !open(path)).collect()
}

#[tokio::test]
async fn every_route_refuses_strangers() {
    let (door, bearer, routes) = (door(), bearer(), routes());
    assert!(routes.len() > 50, "{routes:?}");
    for (method, path) in &routes {
        for (headers, expected) in [
            (vec![("host", HERE)], (401, "not-signed-in")),
            (vec![("host", HERE), ("cookie", "opendmp_00000000=x")], (401, "not-signed-in")),
            (vec![("host", "evil.example:7117"), ("authorization", bearer.as_str())], (403, "wrong-host")),
            (
                vec![("host", HERE), ("authorization", bearer.as_str()), ("origin", "http://evil.example")],
                (403, "wrong-origin"),
            ),
        ] {
            let (status, told) = code(ask(&door, method, path, &headers).await).await;
            assert_eq!((status, told.as_str()), expected, "{method} {path} {headers:?}");
        }
    }
}
