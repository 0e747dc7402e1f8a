//! Those who ask slowly, in part, or again and again cost their own connection and nothing else. Over TCP, by a clock that
//! goes on when nothing else does.

use std::sync::Arc;
use std::time::Duration;

use opendmp_api::{Access, Service, http, serve_tcp};
use opendmp_engine::{Engine, Options};
use opendmp_ports::clock::ManualClock;
use opendmp_ports::content::MemoryContent;
use opendmp_ports::journal::{Lease, MemoryJournal};
use opendmp_ports::transport::InProcess;
use opendmp_processor::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::Instant;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

struct Server {
    address: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Server {
    async fn start() -> Self {
        let engine = Engine::new(
            Arc::new(MemoryJournal::default()),
            Arc::new(MemoryContent::default()),
            Arc::new(InProcess::default()),
            Arc::new(ManualClock::at(1_795_356_131_042)),
            Arc::new(Registry::default()),
            Options::default(),
            Lease::default(),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = http(Service::command(Arc::new(engine)), Arc::new(Access::new(TOKEN, address, "me")));
        let (stop, stopped) = oneshot::channel::<()>();
        let ended = tokio::spawn(serve_tcp(listener, routes, async {
            let _ = stopped.await;
        }));
        Self { address, stop, ended }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    fn head(&self, method: &str, path: &str, more: &str) -> String {
        format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {TOKEN}\r\n{more}\r\n", self.address)
    }

    async fn is_well(&self) {
        let mut asking = self.connect().await;
        asking.write_all(self.head("GET", "/api/v1/flows", "Connection: close\r\n").as_bytes()).await.unwrap();
        let told = all(&mut asking).await;
        assert!(told.starts_with("HTTP/1.1 200 OK"), "{told}");
    }
}

async fn all(stream: &mut TcpStream) -> String {
    let mut told = Vec::new();
    stream.read_to_end(&mut told).await.unwrap();
    String::from_utf8(told).unwrap()
}

#[tokio::test(start_paused = true)]
async fn who_never_ends_to_ask_is_let_go() {
    let server = Server::start().await;
    let mut slow = Vec::new();
    for begun in ["", "GET /api/v1/fl", "GET /api/v1/flows HTTP/1.1\r\nHost: x\r\nX-Long: "].iter().cycle().take(300) {
        let mut stream = server.connect().await;
        stream.write_all(begun.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    server.is_well().await;
    let begin = Instant::now();
    for stream in &mut slow {
        all(stream).await;
    }
    let took = begin.elapsed();
    assert!(took >= Duration::from_secs(20) && took < Duration::from_secs(40), "{took:?}");
    server.is_well().await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stops_coming_is_given_up() {
    let server = Server::start().await;
    let mut stream = server.connect().await;
    let more = "Content-Type: application/json\r\nContent-Length: 1000\r\n";
    stream.write_all(server.head("POST", "/api/v1/flows", more).as_bytes()).await.unwrap();
    let begin = Instant::now();
    // Slow is not stopped.
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(50)).await;
        stream.write_all(b"{").await.unwrap();
    }
    let mut told = vec![0; 64 << 10];
    let read = stream.read(&mut told).await.unwrap();
    let told = String::from_utf8_lossy(&told[..read]);
    assert!(told.starts_with("HTTP/1.1 400") && told.contains("application/problem+json"), "{told}");
    assert!(begin.elapsed() >= Duration::from_secs(300), "{:?}", begin.elapsed());
    server.is_well().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_no_request_is_refused() {
    let server = Server::start().await;
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1 << 20));
    let many = server.head("GET", "/api/v1/flows", &"x: y\r\n".repeat(1_000));
    for (sent, refused) in [
        ("\r\n\0\0\0 what\r\n\r\n", "400"),
        (&long, "431"),
        (&many, "431"),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 6\r\n\r\n", "400"),
    ] {
        let mut stream = server.connect().await;
        // It may be refused, and its connection closed, before all of it is sent.
        let _ = stream.write_all(sent.as_bytes()).await;
        let mut told = vec![0; 12];
        let _ = stream.read_exact(&mut told).await;
        assert_eq!(String::from_utf8_lossy(&told), format!("HTTP/1.1 {refused}"), "{:.40}", sent);
    }
    server.is_well().await;
}

#[tokio::test(start_paused = true)]
async fn requests_may_follow_each_other_without_waiting() {
    let server = Server::start().await;
    let mut stream = server.connect().await;
    let once = server.head("GET", "/api/v1/flows", "");
    let last = server.head("GET", "/api/v1/flows", "Connection: close\r\n");
    let sent = once.repeat(999) + &last;
    let (mut read, mut write) = stream.split();
    let mut told = Vec::new();
    let (wrote, answered) = tokio::join!(write.write_all(sent.as_bytes()), read.read_to_end(&mut told));
    wrote.and(answered.map(|_| ())).unwrap();
    assert_eq!(String::from_utf8(told).unwrap().matches("HTTP/1.1 200 OK").count(), 1_000);
    // A connection that is open and asks nothing does not keep the server from ending.
    let idle = server.connect().await;
    server.is_well().await;
    server.stop.send(()).unwrap();
    server.ended.await.unwrap().unwrap();
    drop(idle);
}
