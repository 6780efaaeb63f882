//! The way through a proxy: a tunnel for HTTPS and for WebSockets, its credentials, and nobody else's.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::routing::get;
use fedaudit_core::ErrorKind;
use fedaudit_testkit::{Authority, ServerHandle, serve};
use fedaudit_transport::{HttpClient, Origin, ProxyConfig, TlsConfig, WebSocket};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::server::{TOKEN, signed, soon};

const PASSWORD: &str = "not-a-secret-at-the-proxy";

/// A proxy that opens tunnels to whom it is told, and keeps the heads it was sent.
struct Proxy {
    address: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Answers CONNECT with this status, and opens the tunnel at 200.
    async fn start(status: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let seen = Arc::clone(&seen);
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(stream.read_u8().await.unwrap_or(b'\n'));
                        if head.len() > 4096 {
                            return;
                        }
                    }
                    let head = String::from_utf8_lossy(&head).into_owned();
                    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
                    seen.lock().unwrap().push(head);
                    let answer = format!("HTTP/1.1 {status} Y\r\ncontent-length: 0\r\n\r\n");
                    let answer = if status == 200 { "HTTP/1.1 200 Open\r\n\r\n".to_owned() } else { answer };
                    let _ = stream.write_all(answer.as_bytes()).await;
                    if status == 200 {
                        let mut far = TcpStream::connect(target).await.unwrap();
                        let _ = tokio::io::copy_bidirectional(&mut stream, &mut far).await;
                    }
                });
            }
        });
        Self { address, heads }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn echo(upgrade: WebSocketUpgrade) -> axum::response::Response {
    upgrade.on_upgrade(|mut socket| async move {
        while let Some(Ok(Message::Text(text))) = socket.recv().await {
            let _ = socket.send(Message::Text(text)).await;
        }
    })
}

struct Product {
    server: ServerHandle,
    folder: TempDir,
}

impl Product {
    async fn start() -> Self {
        let authority = Authority::new().unwrap();
        let router = Router::new().route("/log", get(async || "{}")).route("/api", get(echo));
        let server = serve(router, &authority).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), authority.ca_pem()).unwrap();
        std::fs::write(folder.path().join("password"), PASSWORD).unwrap();
        Self { server, folder }
    }

    fn origin(&self) -> Origin {
        Origin::parse(&self.server.origin).unwrap()
    }

    fn tls(&self) -> TlsConfig {
        TlsConfig::CaFile(self.folder.path().join("ca.pem"))
    }

    fn proxy(&self, proxy: &Proxy, more: &str) -> ProxyConfig {
        let more = more.replace("{password}", &self.folder.path().join("password").display().to_string());
        toml::from_str(&format!("url = \"{}\"\n{more}", proxy.address)).unwrap()
    }
}

#[tokio::test]
async fn requests_and_websockets_go_through_a_tunnel() {
    let (product, proxy) = (Product::start().await, Proxy::start(200).await);
    let config = product.proxy(&proxy, "username = \"ana\"\npassword = \"file:{password}\"");
    let client = HttpClient::through(product.origin(), &product.tls(), &config).unwrap();
    assert_eq!(client.send(&soon(), signed("/log")).await.unwrap().status, 200);
    let mut socket =
        WebSocket::connect_through(&soon(), &product.origin(), "/api", &product.tls(), &config).await.unwrap();
    socket.send(&soon(), "hello".to_owned()).await.unwrap();
    assert_eq!(socket.next(&soon()).await.unwrap(), "hello");
    let heads = proxy.heads();
    assert_eq!(heads.len(), 2, "{heads:?}");
    for head in heads {
        let target = product.server.address.to_string();
        assert!(head.starts_with(&format!("CONNECT {target} HTTP/1.1\r\n")), "{head}");
        // ana:not-a-secret-at-the-proxy
        assert!(head.to_lowercase().contains("proxy-authorization: basic "), "{head}");
        assert!(!head.contains(TOKEN), "the proxy was told the login of the product");
    }
}

#[tokio::test]
async fn a_proxy_gets_credentials_only_where_they_are_configured() {
    let (product, proxy) = (Product::start().await, Proxy::start(200).await);
    let config = product.proxy(&proxy, "");
    let client = HttpClient::through(product.origin(), &product.tls(), &config).unwrap();
    client.send(&soon(), signed("/log")).await.unwrap();
    WebSocket::connect_through(&soon(), &product.origin(), "/api", &product.tls(), &config).await.unwrap();
    for head in proxy.heads() {
        assert!(!head.to_lowercase().contains("authorization"), "{head}");
    }
    // This machine's own servers are never asked for through the environment's proxy.
    let direct = HttpClient::new(product.origin(), &product.tls()).unwrap();
    direct.send(&soon(), signed("/log")).await.unwrap();
    assert_eq!(proxy.heads().len(), 2);
}

#[tokio::test]
async fn a_proxy_that_opens_no_way_is_an_error_that_says_so() {
    let product = Product::start().await;
    for (status, kind) in [(407, ErrorKind::Config), (403, ErrorKind::Denied), (502, ErrorKind::Unavailable)] {
        let proxy = Proxy::start(status).await;
        let config = product.proxy(&proxy, "username = \"ana\"\npassword = \"file:{password}\"");
        let error = WebSocket::connect_through(&soon(), &product.origin(), "/api", &product.tls(), &config).await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(!format!("{error:?}").contains(PASSWORD) && error.to_string().contains("proxy"), "{error:?}");
        let client = HttpClient::through(product.origin(), &product.tls(), &config).unwrap();
        let error = client.send(&soon(), signed("/log").attempts(1)).await.unwrap_err();
        assert!(!format!("{error:?} {client:?}").contains(PASSWORD));
        assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Config | ErrorKind::Denied), "{error:?}");
        assert!(error.to_string().to_lowercase().contains("proxy") || error.to_string().contains("tunnel"), "{error}");
    }
}

#[tokio::test]
async fn a_tunnel_does_not_lower_trust() {
    let (product, proxy) = (Product::start().await, Proxy::start(200).await);
    let config = product.proxy(&proxy, "");
    let client = HttpClient::through(product.origin(), &TlsConfig::default(), &config).unwrap();
    assert_eq!(client.send(&soon(), signed("/log")).await.unwrap_err().kind(), ErrorKind::Config);
    let socket = WebSocket::connect_through(&soon(), &product.origin(), "/api", &TlsConfig::default(), &config).await;
    assert_eq!(socket.unwrap_err().kind(), ErrorKind::Config);
}
