//! Serves a stand-in's router on a loopback port over real TLS, HTTP/1.1 with upgrades, until the handle is dropped.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tower::Service;

use crate::faults::{Admission, Broken, Front};
use crate::tls::Authority;

/// A running server; dropping it stops the server and cuts its HTTP connections. A connection that was upgraded to a
/// WebSocket belongs to its handler and ends with it.
#[derive(Debug)]
pub struct ServerHandle {
    /// `https://127.0.0.1:PORT`
    pub origin: String,
    /// The address it listens on.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves `router` on a free loopback port with a certificate of `authority` for `localhost` and `127.0.0.1`.
pub async fn serve(router: Router, authority: &Authority) -> io::Result<ServerHandle> {
    serve_behind(None, router, authority).await
}

/// The same behind something that makes requests fail.
pub(crate) async fn serve_behind(
    front: Option<Arc<Front>>,
    router: Router,
    authority: &Authority,
) -> io::Result<ServerHandle> {
    let acceptor = TlsAcceptor::from(authority.server_config(&["localhost", "127.0.0.1"])?);
    let (listener, address) = listen().await?;
    let task = tokio::spawn(accept(listener, router, Some(acceptor), front));
    Ok(ServerHandle { origin: format!("https://{address}"), address, task })
}

/// The same without TLS, for the tests that must see a client refuse it.
pub async fn serve_plain(router: Router) -> io::Result<ServerHandle> {
    let (listener, address) = listen().await?;
    let task = tokio::spawn(accept(listener, router, None, None));
    Ok(ServerHandle { origin: format!("http://{address}"), address, task })
}

async fn listen() -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// One task for each connection. They live in a set that this task owns, so that aborting it ends them too.
async fn accept(listener: TcpListener, router: Router, acceptor: Option<TlsAcceptor>, front: Option<Arc<Front>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let (router, acceptor) = (router.clone(), acceptor.clone());
                    match front.clone() {
                        None => connections.spawn(connection(stream, peer, router, acceptor, None)),
                        Some(front) => connections.spawn(faulty(front, stream, peer, router, acceptor)),
                    };
                }
                // Out of file descriptors, say: the next client may have more luck.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

/// Serves one connection; its errors are the client's to notice. Handlers may ask for `ConnectInfo<SocketAddr>`.
async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    acceptor: Option<TlsAcceptor>,
    front: Option<Arc<Front>>,
) {
    // Small answers must not wait for the client's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (mut router, front) = (router.clone(), front.clone());
        async move {
            if let Some(front) = front {
                return front.answer(router, peer, request).await;
            }
            request.extensions_mut().insert(ConnectInfo(peer));
            router.call(request).await.map_err(Broken::from)
        }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.keep_alive(true);
    match acceptor {
        Some(acceptor) => {
            if let Ok(stream) = acceptor.accept(stream).await {
                let _ = http.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
            }
        }
        None => {
            let _ = http.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
        }
    }
}

/// A connection that may be refused, and ends when the front says so.
async fn faulty(
    front: Arc<Front>,
    mut stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    acceptor: Option<TlsAcceptor>,
) {
    match front.admit() {
        Admission::Served => {
            tokio::select! {
                () = front.cut() => {}
                () = connection(stream, peer, router, acceptor, Some(Arc::clone(&front))) => {}
            }
        }
        Admission::Refused => drop(stream.set_zero_linger()),
        Admission::NoHandshake => {
            // The client's first flight is read, so that it is the handshake that fails.
            let _ = stream.read(&mut [0; 64]).await;
            let _ = stream.set_zero_linger();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::routing::get;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName};
    use rustls::{ClientConfig, RootCertStore};
    use tokio::io::AsyncWriteExt;
    use tokio_rustls::TlsConnector;

    use super::*;

    /// What a client that trusts `trusted` reads from `/`.
    async fn ask(server: &ServerHandle, trusted: &Authority) -> io::Result<String> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(trusted.ca_pem().as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(server.address).await?;
        let name = ServerName::from(server.address.ip());
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn a_client_that_trusts_the_authority_is_served_until_the_handle_is_dropped() {
        let authority = Authority::new().unwrap();
        let router = Router::new().route(
            "/",
            get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { format!("{} is here", peer.ip()) }),
        );
        let server = serve(router, &authority).await.unwrap();
        assert!(ask(&server, &authority).await.unwrap().ends_with("127.0.0.1 is here"));
        assert!(ask(&server, &Authority::new().unwrap()).await.is_err());

        let address = server.address;
        drop(server);
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(TcpStream::connect(address).await.is_err());
    }
}
