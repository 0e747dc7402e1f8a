//! The service as it is asked: refusals in words, both ways of asking, health, bounds. Over ports in memory; what flows
//! do is tested with the real ones elsewhere.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use bytes::Bytes;
use http_body_util::BodyExt;
use opendmp_api::ask::{BackupRequest, Event, Letters, Listing, Mode, Problem, Reference, Upload, WhichRevision};
use opendmp_api::backup::{BackedUp, Backups, Damaged};
use opendmp_api::{Client, SOCKET, Service, router, serve_unix};
use opendmp_engine::{Engine, Options};
use opendmp_ports::clock::ManualClock;
use opendmp_ports::content::MemoryContent;
use opendmp_ports::journal::{Lease, MemoryJournal};
use opendmp_ports::transport::InProcess;
use opendmp_processor::Registry;
use tower::ServiceExt;

fn service() -> Arc<Service> {
    let engine = Engine::new(
        Arc::new(MemoryJournal::default()),
        Arc::new(MemoryContent::default()),
        Arc::new(InProcess::default()),
        Arc::new(ManualClock::at(1_795_356_131_042)),
        Arc::new(Registry::default()),
        Options::default(),
        Lease::default(),
    );
    Service::command(Arc::new(engine))
}

async fn ask(router: axum::Router, request: Request<Body>) -> (StatusCode, Bytes) {
    let response = router.oneshot(request).await.unwrap();
    (response.status(), response.into_body().collect().await.unwrap().to_bytes())
}

async fn problem(method: &str, path: &str, body: impl Into<Body>) -> Problem {
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    let response = router(service()).oneshot(request.body(body.into()).unwrap()).await.unwrap();
    let status = response.status();
    assert_eq!(response.headers()["content-type"], "application/problem+json", "{method} {path}");
    assert_eq!(response.headers().contains_key("allow"), status == StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let problem: Problem = serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{path}: {error}: {bytes:?}"));
    assert_eq!(problem.status, status.as_u16());
    problem
}

#[tokio::test]
async fn refusals_are_told_in_json() {
    for (method, path, body, status, code) in [
        ("GET", "/api/v1/nothing", "", 404, "no-route"),
        ("GET", "/api/v1/runs?limit=many", "", 400, "bad-request"),
        ("GET", "/api/v1/runs?unknown=1", "", 400, "bad-request"),
        ("GET", "/api/v1/runs?after=nonsense", "", 400, "journal-runs"),
        ("GET", "/api/v1/runs/99", "", 404, "not-found"),
        ("GET", "/api/v1/runs/last", "", 400, "bad-request"),
        ("GET", "/api/v1/datasets/%FF", "", 400, "bad-request"),
        ("PUT", "/api/v1/runs", "", 405, "no-method"),
        ("POST", "/api/v1/runs", "{", 400, "bad-request"),
        ("POST", "/api/v1/runs", "{}", 422, "bad-request"),
        ("POST", "/api/v1/backups", "{}", 422, "bad-request"),
        ("GET", "/api/v1/datasets/nonsense", "", 400, "bad-id"),
        ("GET", "/api/v1/datasets/1-abcd", "", 404, "not-found"),
        ("GET", "/api/v1/datasets/1-abcd/content", "", 404, "not-found"),
        ("GET", "/api/v1/flows/none/audit", "", 404, "not-found"),
        ("POST", "/api/v1/flows/none/disable", "null", 404, "not-found"),
        ("DELETE", "/api/v1/flows/none?work=burn", "", 400, "bad-request"),
        ("GET", "/api/v1/dead-letters/find?name=x", "", 400, "bad-id"),
        ("POST", "/api/v1/dead-letters/retry", r#"{"ids":["1-abcd"]}"#, 404, "not-found"),
        ("POST", "/api/v1/dead-letters/retry", r#"{"all":{"flow":"none"}}"#, 404, "not-found"),
        ("POST", "/api/v1/dead-letters/discard", r#"{"ids":["1-abcd"]}"#, 404, "not-found"),
    ] {
        let told = problem(method, path, body).await;
        assert_eq!((told.status, told.code.as_str()), (status, code), "{method} {path}: {}", told.message);
        assert!(!told.message.is_empty() && !told.message.ends_with('.'), "{}", told.message);
    }
}

#[tokio::test]
async fn a_body_says_what_it_is() {
    let request = Request::post("/api/v1/dead-letters/retry").header("content-type", "text/plain").body("{}".into());
    let (status, bytes) = ask(router(service()), request.unwrap()).await;
    let told: Problem = serde_json::from_slice(&bytes).unwrap();
    assert_eq!((status.as_u16(), told.code.as_str(), told.title.as_str()), (415, "not-json", "Unsupported Media Type"));
}

#[tokio::test]
async fn requests_are_bounded() {
    let huge = Bytes::from(vec![b' '; (64 << 20) + 1]);
    let told = problem("POST", "/api/v1/flows", huge).await;
    assert_eq!((told.status, told.code.as_str()), (413, "too-large"));
}

#[tokio::test]
async fn health_says_what_is_wrong_with_everything_or_with_one_flow() {
    let service = service();
    let look = async |service: &Arc<Service>| {
        let request = Request::get("/healthz").body(Body::empty()).unwrap();
        let (status, bytes) = ask(router(Arc::clone(service)), request).await;
        let told: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        (status.as_u16(), told["status"].as_str().unwrap().to_owned(), told["troubles"].clone())
    };
    assert_eq!(look(&service).await, (200, "ok".to_owned(), serde_json::json!([])));
    service.engine().trouble("ingest inbox", "there is no such folder", None);
    let (status, said, troubles) = look(&service).await;
    assert_eq!((status, said.as_str(), &troubles[0]["message"]), (200, "degraded", &"there is no such folder".into()));
    service.engine().trouble("journal", "no space left", Some("make room"));
    let (status, said, troubles) = look(&service).await;
    assert_eq!((status, said.as_str(), &troubles[1]["hint"]), (503, "troubled", &"make room".into()));
    service.engine().clear_trouble("journal");
    assert_eq!(look(&service).await.0, 503, "not before that has held for a while");
    service.engine().clock.sleep(Duration::from_secs(5)).await;
    assert_eq!(look(&service).await.0, 200);
}

#[tokio::test]
async fn both_ways_of_asking_answer_alike() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(SOCKET);
    let routes = router(service());
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(serve_unix(listener, routes.clone(), async {
        let _ = stopped.await;
    }));
    let clients = [Client::here(routes, "me"), Client::socket(&path, "me")];
    assert_eq!(clients.each_ref().map(Client::is_server), [false, true]);
    for client in clients {
        assert_eq!(client.status().await.unwrap().mode, Mode::Command);
        assert!(client.flows().await.unwrap().rows.is_empty());
        let listing = Listing { name: Some("ä & b*".to_owned()), ..Listing::default() };
        assert!(client.datasets(&listing.clone().into()).await.unwrap().rows.is_empty());
        assert!(
            client
                .find_datasets(&Reference { name: "x".to_owned(), ..Reference::default() })
                .await
                .unwrap()
                .rows
                .is_empty()
        );
        assert_eq!(client.history("1-a", WhichRevision::default()).await.unwrap_err().code, "not-found");
        assert_eq!(client.content("1-a", WhichRevision { revision: Some(3) }).await.unwrap_err().status, 404);
        let nothing = Letters { all: Some(Listing::default()), reason: "why".to_owned(), ..Letters::default() };
        assert!(client.retry(&nothing).await.unwrap().is_empty());
        assert_eq!(client.discard(&nothing).await.unwrap().letters, 0);
        // What a long answer fails with comes at its end.
        let upload = Upload { text: "name: x\nprocesors: []\n".to_owned(), base: "/".to_owned(), ..Upload::default() };
        let failed = client.enable(&upload).await.unwrap().next().await.unwrap_err();
        assert_eq!((failed.status, failed.code.as_str()), (422, "bad-flow"));
        assert!(failed.diagnostics.unwrap().iter().any(|problem| problem.code == "unknown-key"));
    }
    stop.send(()).unwrap();
    server.await.unwrap().unwrap();
    let gone = Client::socket(&path, "me").flows().await.unwrap_err();
    assert_eq!(gone.code, "no-server");
}

/// A backup that has no end of its own.
struct Endless;

impl Backups for Endless {
    fn back_up(
        &self,
        to: &std::path::Path,
        at: i64,
        tell: &dyn Fn(Event),
        stopped: &dyn Fn() -> bool,
    ) -> Result<BackedUp, Problem> {
        assert_eq!((to, at), (std::path::Path::new("/b"), 1_795_356_131_042));
        tell(Event::Damaged(Damaged { what: "pack".to_owned(), why: "torn".to_owned() }));
        while !stopped() {
            std::thread::yield_now();
        }
        Err(Problem::new(503, "stopped", "the backup was stopped"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_followed_and_ends_with_the_service() {
    let request = BackupRequest { to: "/b".to_owned() };
    let client = Client::here(router(service()), "me");
    let none = client.back_up(&request).await.unwrap().next().await.unwrap_err();
    assert_eq!((none.status, none.code.as_str()), (501, "no-backups"));

    let service = service().with_backups(Arc::new(Endless));
    let mut events = Client::here(router(Arc::clone(&service)), "me").back_up(&request).await.unwrap();
    let first = events.next().await.unwrap();
    assert!(matches!(&first, Some(Event::Damaged(damaged)) if damaged.why == "torn"), "{first:?}");
    service.stop(Duration::from_secs(30)).await;
    assert_eq!(events.next().await.unwrap_err().code, "stopped");
}

/// Asks with a request id; the one that comes back, and the body.
async fn identified(routes: axum::Router, path: &str, id: Option<&str>) -> (String, Bytes) {
    let mut request = Request::get(path);
    if let Some(id) = id {
        request = request.header("x-request-id", id);
    }
    let response = routes.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    (id, response.into_body().collect().await.unwrap().to_bytes())
}

#[tokio::test]
async fn every_answer_bears_the_id_of_its_request() {
    let routes = || router(service());
    assert_eq!(identified(routes(), "/api/v1/flows", Some("mine-1")).await.0, "mine-1");
    let (made, _) = identified(routes(), "/api/v1/flows", None).await;
    assert_eq!(made.len(), 16);
    let (other, _) = identified(routes(), "/api/v1/flows", Some("two words")).await;
    assert!(other.len() == 16 && other != made, "what can't be an id is not taken over: {other}");
    assert_eq!(identified(router(service()), "/healthz", Some("mine-2")).await.0, "mine-2");
    for path in ["/api/v1/runs/99", "/nothing"] {
        let (id, body) = identified(routes(), path, Some("mine-3")).await;
        let told: Problem = serde_json::from_slice(&body).unwrap();
        assert_eq!((id.as_str(), told.request_id.as_deref()), ("mine-3", Some("mine-3")), "{path}");
    }
    // A refusal at the end of a long answer bears it, too.
    let request = Request::post("/api/v1/flows").header("x-request-id", "mine-4");
    let request = request.header("content-type", "application/json").body(r#"{"text":"x","base":"/"}"#.into()).unwrap();
    let (_, lines) = ask(routes(), request).await;
    let told: Event = serde_json::from_slice(lines.trim_ascii()).unwrap();
    assert!(matches!(&told, Event::Failed(problem) if problem.request_id.as_deref() == Some("mine-4")), "{told:?}");
}

#[tokio::test]
async fn metrics_are_told_with_requests_by_route() {
    let service = service();
    for path in ["/api/v1/runs/1", "/api/v1/runs/2", "/api/v1/flows", "/made-up/1", "/made-up/2"] {
        ask(router(Arc::clone(&service)), Request::get(path).body(Body::empty()).unwrap()).await;
    }
    service.engine().trouble("journal", "no space left", None);
    let request = Request::get("/metrics").body(Body::empty()).unwrap();
    let response = router(Arc::clone(&service)).oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let text = String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
    for line in [
        r#"opendmp_requests_total{method="GET",route="/api/v1/runs/{run}",status="404"} 2"#,
        r#"opendmp_requests_total{method="GET",route="/api/v1/flows",status="200"} 1"#,
        r#"opendmp_requests_total{method="GET",route="none",status="404"} 2"#,
        "opendmp_healthy 0",
        "opendmp_troubles 1",
    ] {
        assert!(text.lines().any(|told| told == line), "{line} in\n{text}");
    }
    assert!(!text.contains("made-up"), "what is asked for makes no names");
}
