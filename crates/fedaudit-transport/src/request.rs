//! One request, as a plugin builds it.

use bytes::Bytes;
use fedaudit_core::{Error, ErrorKind, Result, Secret};
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method};

use crate::Origin;
use crate::retry::ATTEMPTS;

/// A request, built by the plugin.
pub struct HttpRequest {
    pub(crate) method: Method,
    pub(crate) path_and_query: String,
    headers: Vec<(&'static str, Result<HeaderValue>)>,
    pub(crate) secrets: Vec<Secret>,
    pub(crate) body: Option<Bytes>,
    pub(crate) idempotent: bool,
    pub(crate) attempts: usize,
}

impl HttpRequest {
    /// GET of an absolute path with its query.
    pub fn get(path_and_query: impl Into<String>) -> Self {
        Self::new(Method::GET, path_and_query.into(), true)
    }

    /// DELETE of an absolute path.
    pub fn delete(path_and_query: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path_and_query.into(), true)
    }

    /// POST of a body. Sent again after 429 alone, unless said to be [`idempotent`](Self::idempotent).
    pub fn post(path_and_query: impl Into<String>, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut request = Self::new(Method::POST, path_and_query.into(), false);
        request.body = Some(body.into());
        request.header("content-type", content_type)
    }

    fn new(method: Method, path_and_query: String, idempotent: bool) -> Self {
        Self {
            method,
            path_and_query,
            headers: Vec::new(),
            secrets: Vec::new(),
            body: None,
            idempotent,
            attempts: ATTEMPTS,
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, header_value(name, &value.into())));
        self
    }

    /// Adds a header that is never shown.
    #[must_use]
    pub fn secret_header(mut self, name: &'static str, secret: Secret) -> Self {
        let value = header_value(name, secret.reveal()).map(|mut value| {
            value.set_sensitive(true);
            value
        });
        self.headers.push((name, value));
        self.hiding(secret)
    }

    /// Names a secret that is sent in the body: should the answer to it be no data, what it repeats of the secret is cut out.
    /// Headers that are never shown need not be named.
    #[must_use]
    pub fn hiding(mut self, secret: Secret) -> Self {
        self.secrets.push(secret);
        self
    }

    /// Whether sending it twice does no harm.
    #[must_use]
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        self.idempotent = idempotent;
        self
    }

    /// How often it is sent at most.
    #[must_use]
    pub fn attempts(mut self, attempts: usize) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// Its headers; an error for a value that HTTP forbids.
    pub(crate) fn header_map(&self) -> Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.append(HeaderName::from_static(name), value.clone()?);
        }
        Ok(headers)
    }

    /// What to call it in errors and logs: without the query, which may name people.
    pub(crate) fn place(&self, origin: &Origin) -> String {
        let path = self.path_and_query.split('?').next().unwrap_or_default();
        format!("{} {origin}{path}", self.method)
    }
}

fn header_value(name: &str, value: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(value).map_err(|_| {
        Error::new(ErrorKind::Config, format!("the value for header {name} has characters that HTTP forbids"))
    })
}
