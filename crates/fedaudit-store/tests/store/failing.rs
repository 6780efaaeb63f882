//! A place that fails at a write of a given number, each time in another manner.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// What becomes of the write, and of those after it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Manner {
    /// There is no room left, from this one on.
    Full,
    /// This one alone fails.
    Once,
    /// This one is carried out, but its writer hears that it failed.
    Unheard,
}

pub(crate) const MANNERS: [Manner; 3] = [Manner::Full, Manner::Once, Manner::Unheard];

/// The place.
#[derive(Debug)]
pub(crate) struct Failing {
    inner: InMemory,
    manner: Manner,
    at: AtomicUsize,
    writes: AtomicUsize,
    written: Mutex<Vec<String>>,
    /// The next write below this folder fails.
    below: Mutex<Option<&'static str>>,
}

impl Failing {
    pub(crate) fn new(manner: Manner, at: usize) -> Arc<Self> {
        let (writes, written, below) = (AtomicUsize::new(0), Mutex::default(), Mutex::default());
        Arc::new(Self { inner: InMemory::new(), manner, at: AtomicUsize::new(at), writes, written, below })
    }

    /// Somebody made room.
    pub(crate) fn mend(&self) {
        self.at.store(usize::MAX, SeqCst);
    }

    /// Whether it came to the write that fails.
    pub(crate) fn has_failed(&self) -> bool {
        self.writes.load(SeqCst) >= self.at.load(SeqCst)
    }

    /// The next write below a folder fails.
    pub(crate) fn fail_below(&self, folder: &'static str) {
        *self.below.lock().unwrap() = Some(folder);
    }

    /// How often something below was written.
    pub(crate) fn writes_below(&self, folder: &str) -> usize {
        self.written.lock().unwrap().iter().filter(|path| path.starts_with(folder)).count()
    }
}

fn full() -> Error {
    Error::Generic { store: "test", source: io::Error::from(io::ErrorKind::StorageFull).into() }
}

impl fmt::Display for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failing")
    }
}

#[async_trait]
impl ObjectStore for Failing {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.written.lock().unwrap().push(location.to_string());
        if self.below.lock().unwrap().take_if(|folder| location.as_ref().starts_with(*folder)).is_some() {
            return Err(full());
        }
        let (number, at) = (self.writes.fetch_add(1, SeqCst) + 1, self.at.load(SeqCst));
        match self.manner {
            Manner::Full if number >= at => Err(full()),
            Manner::Once if number == at => Err(full()),
            Manner::Unheard if number == at => {
                self.inner.put_opts(location, payload, options).await?;
                Err(full())
            }
            _ => self.inner.put_opts(location, payload, options).await,
        }
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
