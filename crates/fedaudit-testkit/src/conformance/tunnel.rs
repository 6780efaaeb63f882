//! A proxy that opens tunnels, and keeps what it was told.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Longest head that is read.
const HEAD_LIMIT: usize = 16 << 10;

/// A running proxy; dropping it cuts its tunnels.
pub(crate) struct Tunnels {
    pub(crate) url: String,
    heads: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Tunnels {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Tunnels {
    pub(crate) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        let task = tokio::spawn(async move {
            let mut tunnels = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                tunnels.spawn(tunnel(stream, Arc::clone(&seen)));
            }
        });
        Ok(Self { url, heads, task })
    }

    /// What it was told.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Reads one head, and connects whom it names. Whatever fails is the client's to notice.
async fn tunnel(mut near: TcpStream, heads: Arc<Mutex<Vec<String>>>) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_LIMIT {
        head.push(near.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).map(str::to_owned);
    heads.lock().unwrap_or_else(PoisonError::into_inner).push(head);
    let Some(target) = target else {
        return near.write_all(b"HTTP/1.1 405 No\r\ncontent-length: 0\r\n\r\n").await;
    };
    let mut far = TcpStream::connect(target).await?;
    near.write_all(b"HTTP/1.1 200 Open\r\n\r\n").await?;
    copy_bidirectional(&mut near, &mut far).await.map(|_| ())
}
