//! Where a store lives: a folder, or a place in an object store named by its URL.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use fedaudit_core::{Error, ErrorKind, Result};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreScheme};
use url::Url;

use crate::durable::Durable;
use crate::error::of_place;

/// Environment variables that a cloud's own tools read, too.
const CLOUD_VARIABLES: &[&str] = &["AWS_", "GOOGLE_", "AZURE_"];

/// Where a store lives.
#[derive(Clone, Debug)]
pub struct Place {
    url: Url,
    /// Everything at that host.
    whole: Arc<dyn ObjectStore>,
    prefix: Path,
    folder: Option<PathBuf>,
}

impl Place {
    /// A folder (`~` is the home folder), or a URL such as `s3://bucket/fedaudit`.
    pub fn parse(text: &str) -> Result<Self> {
        let url = match Url::parse(text) {
            // One letter before a colon is a drive.
            Ok(url) if url.scheme().len() > 1 => url,
            _ => return Self::folder(FilePath::new(&at_home(text)?)),
        };
        if url.scheme() == "file" {
            let path = url.to_file_path().map_err(|()| wrong(text, "names no folder of this machine"))?;
            return Self::folder(&path);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Error::new(ErrorKind::Config, "the URL of a store holds no credentials")
                .hint("they come from the environment, as for the cloud's own tools: AWS_ACCESS_KEY_ID, …"));
        }
        let (scheme, prefix) = ObjectStoreScheme::parse(&url).map_err(|error| wrong(text, &error.to_string()))?;
        if matches!(scheme, ObjectStoreScheme::Http | ObjectStoreScheme::Local) {
            return Err(wrong(text, "is neither a folder nor the URL of an object store"));
        }
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| CLOUD_VARIABLES.iter().any(|known| name.starts_with(known)))
            .map(|(name, value)| (name.to_ascii_lowercase(), value));
        let (whole, _) = object_store::parse_url_opts(&url, variables).map_err(|error| of_place(&error).at(text))?;
        Ok(Self { url: as_folder(url), whole: whole.into(), prefix, folder: None })
    }

    fn folder(path: &FilePath) -> Result<Self> {
        let path = std::path::absolute(path).map_err(|error| wrong(&path.display().to_string(), &error.to_string()))?;
        let url = Url::from_directory_path(&path)
            .map_err(|()| wrong(&path.display().to_string(), "cannot be written as a URL"))?;
        let prefix = Path::from_url_path(url.path()).map_err(|error| wrong(url.as_str(), &error.to_string()))?;
        Ok(Self { url, whole: Arc::new(Durable::new(path.clone())), prefix, folder: Some(path) })
    }

    /// A place that is gone with the process, for tests.
    pub fn in_memory() -> Self {
        Self::of(Arc::new(InMemory::new()))
    }

    /// A place in an object store that is at hand already: one that counts, or fails as it is told to.
    pub fn of(store: Arc<dyn ObjectStore>) -> Self {
        let url = Url::parse("memory:///").unwrap_or_else(|_| unreachable!("a constant"));
        Self { url, whole: store, prefix: Path::default(), folder: None }
    }

    /// The URL, ending in a slash.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The folder, where it is one.
    pub fn as_folder(&self) -> Option<&FilePath> {
        self.folder.as_deref()
    }

    /// The URL of something below.
    pub(crate) fn url_of(&self, name: &str) -> Result<Url> {
        self.url.join(&format!("{name}/")).map_err(|error| wrong(self.url.as_str(), &error.to_string()))
    }

    /// Everything at that host: what Delta addresses by whole paths.
    pub(crate) fn whole(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.whole)
    }

    /// What is below the place.
    pub(crate) fn store(&self) -> Arc<dyn ObjectStore> {
        if self.prefix.as_ref().is_empty() {
            return self.whole();
        }
        Arc::new(PrefixStore::new(self.whole(), self.prefix.clone()))
    }

    /// What is below a folder of the place.
    pub(crate) fn store_of(&self, name: &str) -> Arc<dyn ObjectStore> {
        Arc::new(PrefixStore::new(self.whole(), self.prefix.clone().join(name)))
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.folder {
            Some(folder) => write!(f, "{}", folder.display()),
            None => f.write_str(self.url.as_str()),
        }
    }
}

fn at_home(text: &str) -> Result<String> {
    let Some(rest) = text.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/')) else {
        return Ok(text.to_owned());
    };
    let home = std::env::var("HOME").map_err(|_| wrong(text, "needs HOME, which is not set"))?;
    Ok(home + rest)
}

fn as_folder(mut url: Url) -> Url {
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    url
}

fn wrong(text: &str, why: &str) -> Error {
    Error::new(ErrorKind::Config, format!("'{text}' {why}"))
        .at("store")
        .hint("name a folder, or an object store such as s3://bucket/fedaudit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_folders_or_urls() {
        let folder = Place::parse("some/where").unwrap();
        assert!(folder.as_folder().unwrap().ends_with("some/where"));
        assert!(folder.url_of("events").unwrap().as_str().ends_with("/some/where/events/"));
        assert_eq!(Place::parse("s3://bucket/deep/er").unwrap().url().as_str(), "s3://bucket/deep/er/");
        for wrong in ["https://nas.example/", "s3://key:secret@bucket/x", "ftp://x/y"] {
            let error = Place::parse(wrong).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
