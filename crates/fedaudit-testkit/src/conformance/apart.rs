//! For benchmarks: a stand-in in a process of its own, and what reading it costs the reader.

use std::fs::read_to_string;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use axum::Router;
use fedaudit_core::{AuditSource, Context, Next, PageRequest, Result, Window};

use crate::{Authority, serve};

/// A stand-in that another process serves; it ends when this is dropped.
#[derive(Debug)]
pub struct Apart {
    process: Child,
    /// Its address.
    pub origin: String,
    /// Holds `ca.pem` and `secret`.
    pub folder: PathBuf,
    /// How many records it said that it has.
    pub records: usize,
}

impl Apart {
    /// Starts this program again with these arguments, which make it call [`serve_apart`].
    pub fn start(arguments: &[&str]) -> io::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(said) = process.stdout.take() {
            BufReader::new(said).read_line(&mut line)?;
        }
        let mut told = line.split_whitespace();
        let (Some(origin), Some(folder), Some(Ok(records))) = (told.next(), told.next(), told.next().map(str::parse))
        else {
            return Err(io::Error::other(format!("the stand-in said: {line}")));
        };
        Ok(Self { process, origin: origin.to_owned(), folder: folder.into(), records })
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// Serves a stand-in until the process that started this one has enough of it.
#[expect(clippy::print_stdout, reason = "this is how the other process learns the address")]
pub async fn serve_apart(router: Router, secret: &str, records: usize) -> io::Result<()> {
    let authority = Authority::new().map_err(io::Error::other)?;
    let server = serve(router, &authority).await.map_err(io::Error::other)?;
    let folder = std::env::temp_dir().join(format!("fedaudit-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("ca.pem"), authority.ca_pem())?;
    std::fs::write(folder.join("secret"), secret)?;
    println!("{} {} {records}", server.origin, folder.display());
    io::stdout().flush()?;
    tokio::task::spawn_blocking(|| io::stdin().read_to_end(&mut Vec::new())).await??;
    std::fs::remove_dir_all(&folder)
}

/// What reading a stream cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Rows.
    pub rows: usize,
    /// Seconds by the clock.
    pub seconds: f64,
    /// Seconds of the reading thread's processor time; by the clock where the system does not tell them.
    pub of_processor: f64,
    /// The most memory that this process ever had, in kB; 0 where the system does not tell it.
    pub memory: u64,
}

/// Reads a stream to its end, page by page, on this thread.
pub async fn cost(source: &dyn AuditSource, cx: &Context, stream: &str) -> Result<Cost> {
    let mut request = PageRequest::first(stream, Window::ALL);
    let (started, busy) = (Instant::now(), processor_seconds());
    let mut rows = 0;
    loop {
        let page = source.fetch(cx, &request).await?;
        rows += page.rows.num_rows();
        match page.next {
            Next::More(cursor) => request.cursor = Some(cursor),
            Next::End(_) => break,
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let of_processor = processor_seconds().zip(busy).map_or(seconds, |(now, then)| now - then);
    Ok(Cost { rows, seconds, of_processor, memory: most_memory().unwrap_or_default() })
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { rows, seconds, of_processor, memory } = self;
        let rate = |seconds| *rows as f64 / seconds;
        write!(
            f,
            "{rows} rows: {:>8.0} by the clock, {:>8.0} per second of processor time, {memory} kB of memory at most",
            rate(seconds),
            rate(of_processor)
        )
    }
}

fn most_memory() -> Option<u64> {
    let status = read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok())
}

fn processor_seconds() -> Option<f64> {
    let nanoseconds: f64 = read_to_string("/proc/thread-self/schedstat").ok()?.split(' ').next()?.parse().ok()?;
    (nanoseconds > 0.0).then_some(nanoseconds / 1e9)
}
