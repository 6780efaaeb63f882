//! A server that answers with prepared bytes over TLS, and keeps what it was sent.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fedaudit_core::{Clock, Context, Meter, Secret, Time};
use fedaudit_testkit::Authority;
use fedaudit_transport::{HttpClient, HttpRequest, Origin, TlsConfig};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// Shown in no error, sent nowhere else.
pub(crate) const TOKEN: &str = "not-a-secret-token";

/// What the server does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Does {
    /// Sends these bytes and keeps the connection.
    Answers(Vec<u8>),
    /// Sends these bytes and closes the connection.
    Closes(Vec<u8>),
    /// Sends a byte of this body every so often.
    Trickles(usize, Duration),
    /// Says nothing.
    Waits,
}

impl Does {
    /// A whole answer with these header lines.
    pub(crate) fn status(status: u16, headers: &str, body: &[u8]) -> Self {
        Self::Answers(answer(status, headers, body))
    }

    pub(crate) fn ok() -> Self {
        Self::status(200, "content-type: application/json\r\n", b"{\"fine\":true}")
    }
}

pub(crate) fn answer(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) head: String,
    pub(crate) at: Instant,
    pub(crate) peer: SocketAddr,
}

/// A running server: the n-th request is met with the n-th thing to do, the last of which lasts.
pub(crate) struct Server {
    pub(crate) origin: String,
    pub(crate) folder: TempDir,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) async fn start(script: Vec<Does>) -> Self {
        Self::start_as(&Authority::new().unwrap(), &["127.0.0.1"], script).await
    }

    /// With a certificate of this authority for these names.
    pub(crate) async fn start_as(authority: &Authority, names: &[&str], script: Vec<Does>) -> Self {
        let config = authority.server_config(names).unwrap();
        let server = Self::listen(Some(TlsAcceptor::from(config)), script).await;
        std::fs::write(server.folder.path().join("ca.pem"), authority.ca_pem()).unwrap();
        server
    }

    pub(crate) async fn plain(script: Vec<Does>) -> Self {
        Self::listen(None, script).await
    }

    async fn listen(tls: Option<TlsAcceptor>, script: Vec<Does>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let scheme = if tls.is_some() { "https" } else { "http" };
        let (seen, script) = (Arc::clone(&asked), Arc::new(script));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, peer)) = listener.accept().await {
                let (tls, seen, script) = (tls.clone(), Arc::clone(&seen), Arc::clone(&script));
                connections.spawn(async move {
                    match tls {
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, peer, &seen, &script).await;
                            }
                        }
                        None => serve(stream, peer, &seen, &script).await,
                    }
                });
            }
        });
        let folder = tempfile::tempdir().unwrap();
        Self { origin: format!("{scheme}://{address}"), folder, asked, task }
    }

    /// What it was sent.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn trusting(&self) -> TlsConfig {
        TlsConfig::CaFile(self.folder.path().join("ca.pem"))
    }

    /// A client that trusts it.
    pub(crate) fn client(&self) -> HttpClient {
        HttpClient::new(Origin::parse(&self.origin).unwrap(), &self.trusting()).unwrap()
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: SocketAddr,
    seen: &Mutex<Vec<Asked>>,
    script: &[Does],
) {
    while let Some(head) = read_head(&mut stream).await {
        let number = {
            let mut seen = seen.lock().unwrap();
            seen.push(Asked { head, at: Instant::now(), peer });
            seen.len()
        };
        let sent = match &script[number.min(script.len()) - 1] {
            Does::Answers(bytes) => stream.write_all(bytes).await,
            Does::Closes(bytes) => {
                let _ = stream.write_all(bytes).await;
                let _ = stream.shutdown().await;
                return;
            }
            Does::Trickles(length, pause) => {
                let _ =
                    stream.write_all(format!("HTTP/1.1 200 X\r\ncontent-length: {length}\r\n\r\n").as_bytes()).await;
                for _ in 0..*length {
                    tokio::time::sleep(*pause).await;
                    if stream.write_all(b"x").await.is_err() || stream.flush().await.is_err() {
                        return;
                    }
                }
                Ok(())
            }
            Does::Waits => {
                tokio::time::sleep(Duration::from_mins(1)).await;
                return;
            }
        };
        if sent.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

/// The head of a request, its body read and dropped.
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(bytes).ok()?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).and_then(|text| text.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    Some(head + &String::from_utf8_lossy(&body))
}

struct Wall;

impl Clock for Wall {
    fn now(&self) -> Time {
        Time::from_micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64)
    }
}

/// A context with so long to live.
pub(crate) fn within(limit: Duration) -> Context {
    Context {
        source: "subject".into(),
        source_key: "subject".into(),
        clock: Arc::new(Wall),
        deadline: Some(Wall.now().plus(limit)),
        meter: Arc::new(Meter::default()),
    }
}

pub(crate) fn soon() -> Context {
    within(Duration::from_mins(1))
}

/// A question with the login in it.
pub(crate) fn signed(path: &str) -> HttpRequest {
    HttpRequest::get(path).secret_header("authorization", Secret::new(TOKEN))
}
