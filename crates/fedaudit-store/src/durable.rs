//! A folder as object store in which what was put is on the disk when `put` returns, also after a loss of power. Without
//! this a table could name files whose bytes never reached the disk.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path as FilePath, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

/// The file system below a folder. Files are written aside, flushed, and then given their name.
#[derive(Debug)]
pub(crate) struct Durable {
    inner: LocalFileSystem,
    root: PathBuf,
    /// Folders that are known to be on the disk.
    folders: Arc<Mutex<HashSet<PathBuf>>>,
    written: AtomicU64,
}

impl Durable {
    /// Everything below a folder, which need not exist yet.
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { inner: LocalFileSystem::new(), root, folders: Arc::default(), written: AtomicU64::new(0) }
    }

    fn write(&self, location: &Path, only_new: bool) -> Result<Write> {
        let target = self.inner.path_to_filesystem(location)?;
        // Names with '#' and digits behind it are left out of every list.
        let number = u64::from(std::process::id()) << 32 | self.written.fetch_add(1, Relaxed);
        let mut aside = target.clone().into_os_string();
        aside.push(format!("#{number}"));
        let (root, folders) = (self.root.clone(), Arc::clone(&self.folders));
        Ok(Write { target, aside: aside.into(), root, folders, only_new })
    }
}

impl fmt::Display for Durable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.root.display())
    }
}

/// Writes a file of which nobody sees a part.
#[derive(Debug)]
struct Write {
    target: PathBuf,
    aside: PathBuf,
    root: PathBuf,
    folders: Arc<Mutex<HashSet<PathBuf>>>,
    only_new: bool,
}

impl Write {
    async fn finish(self, location: &Path, payload: PutPayload) -> Result<PutResult> {
        let written = tokio::task::spawn_blocking(move || self.run(&payload)).await?;
        written.map_err(|error| failed(location, error))?;
        Ok(PutResult { e_tag: None, version: None })
    }

    fn run(&self, payload: &PutPayload) -> io::Result<()> {
        let folder = self.target.parent().unwrap_or(&self.root);
        self.make_folders(folder)?;
        let written = self.write_aside(payload).and_then(|()| {
            if self.only_new {
                // A link never replaces a file: of two writers exactly one succeeds.
                fs::hard_link(&self.aside, &self.target)
            } else {
                fs::rename(&self.aside, &self.target)
            }
        });
        if self.only_new || written.is_err() {
            // What is left of a writer that was killed here is cleared away by the next one.
            let _ = fs::remove_file(&self.aside);
        }
        written?;
        flush_folder(folder)
    }

    fn write_aside(&self, payload: &PutPayload) -> io::Result<()> {
        let mut file = File::create_new(&self.aside)?;
        for bytes in payload {
            file.write_all(bytes)?;
        }
        file.sync_all()
    }

    /// A file is only as durable as the folders above it.
    fn make_folders(&self, folder: &FilePath) -> io::Result<()> {
        if self.folders.lock().unwrap_or_else(PoisonError::into_inner).contains(folder) {
            return Ok(());
        }
        fs::create_dir_all(folder)?;
        for above in folder.ancestors().take_while(|above| above.starts_with(&self.root)) {
            flush_folder(above)?;
        }
        if let Some(above) = self.root.parent() {
            flush_folder(above)?;
        }
        self.folders.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.to_owned());
        Ok(())
    }
}

/// A large file that comes in parts: the list of a table's files, once it is long.
#[derive(Debug)]
struct Parts {
    location: Path,
    write: Option<Write>,
    payload: Vec<bytes::Bytes>,
}

#[async_trait]
impl MultipartUpload for Parts {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.payload.extend(data);
        Box::pin(std::future::ready(Ok(())))
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let Some(write) = self.write.take() else {
            return Err(Error::Generic { store: "folder", source: "completed twice".into() });
        };
        write.finish(&self.location, self.payload.drain(..).collect()).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.write = None;
        self.payload.clear();
        Ok(())
    }
}

fn flush_folder(folder: &FilePath) -> io::Result<()> {
    match File::open(folder) {
        Ok(folder) => folder.sync_all(),
        // A folder above the store that may be passed but not read was there before us.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(error),
    }
}

/// Deletes what a killed writer had written aside. Only for whoever holds the lock: nobody else is writing.
pub(crate) fn clear_aside(folder: &FilePath) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let digits = name.to_str().and_then(|name| name.rsplit_once('#')).map(|(_, digits)| digits);
        if entry.file_type()?.is_dir() {
            clear_aside(&entry.path())?;
        } else if digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn failed(path: &Path, error: io::Error) -> Error {
    let path = path.to_string();
    match error.kind() {
        io::ErrorKind::AlreadyExists => Error::AlreadyExists { path, source: error.into() },
        io::ErrorKind::NotFound => Error::NotFound { path, source: error.into() },
        io::ErrorKind::PermissionDenied => Error::PermissionDenied { path, source: error.into() },
        _ => Error::Generic { store: "folder", source: error.into() },
    }
}

#[async_trait]
impl ObjectStore for Durable {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let only_new = match options.mode {
            PutMode::Overwrite => false,
            PutMode::Create => true,
            PutMode::Update(_) => {
                return Err(Error::NotImplemented {
                    operation: "conditional update".to_owned(),
                    implementer: self.to_string(),
                });
            }
        };
        self.write(location, only_new)?.finish(location, payload).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let write = self.write(location, false)?;
        Ok(Box::new(Parts { location: location.clone(), write: Some(write), payload: Vec::new() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[std::ops::Range<u64>]) -> Result<Vec<bytes::Bytes>> {
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

    async fn copy_opts(&self, _from: &Path, _to: &Path, _options: CopyOptions) -> Result<()> {
        Err(Error::NotImplemented { operation: "copy".to_owned(), implementer: self.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt as _;

    use super::*;

    #[tokio::test]
    async fn of_two_writers_of_one_name_one_succeeds() {
        let folder = tempfile::tempdir().unwrap();
        let store = Durable::new(folder.path().join("store"));
        let name = Path::from_absolute_path(folder.path().join("store")).unwrap().join("a").join("b");
        let create = || PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let (one, two) =
            tokio::join!(store.put_opts(&name, "one".into(), create()), store.put_opts(&name, "two".into(), create()));
        assert!(one.is_ok() != two.is_ok());
        assert!(matches!(one.and(two), Err(Error::AlreadyExists { .. })));
        store.put(&name, "three".into()).await.unwrap();
        assert_eq!(store.get(&name).await.unwrap().bytes().await.unwrap(), "three");
        assert_eq!(fs::read_dir(folder.path().join("store/a")).unwrap().count(), 1, "nothing is left aside");
    }
}
