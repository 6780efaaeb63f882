//! What travels: requests, and answers as the product writes them.

use fedaudit_core::{Context, Error, ErrorKind, PageRequest, Result, Secret};
use fedaudit_transport::{HttpClient, HttpRequest, HttpResponse, Origin, SecretRef, Spoken, error_for};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::config::Config;

#[derive(Debug)]
pub(crate) struct Api {
    http: HttpClient,
    token: SecretRef,
}

#[derive(Deserialize)]
pub(crate) struct Me {
    pub(crate) name: Option<String>,
    pub(crate) version: Option<String>,
}

/// Records are kept as they came, so that `raw` is what the product wrote.
#[derive(Deserialize)]
pub(crate) struct Listing<'a> {
    #[serde(borrow)]
    pub(crate) records: Vec<&'a RawValue>,
    /// The last record of this page, if there are more.
    pub(crate) next: Option<String>,
}

/// What an answer says.
pub(crate) fn read<'a, T: Deserialize<'a>>(answer: &'a HttpResponse) -> Result<T> {
    let wrong = |error| Error::new(ErrorKind::Malformed, format!("the answer is not as documented: {error}"));
    serde_json::from_slice(&answer.body).map_err(wrong)
}

impl Api {
    pub(crate) fn new(config: Config, spoken: &Spoken) -> Result<Self> {
        let origin = Origin::parse(&config.url)?;
        if !origin.is_tls() {
            return Err(Error::new(ErrorKind::Config, "the token does not travel over plain http"));
        }
        let http = HttpClient::through(origin, &config.tls, &config.proxy)?.remembering(spoken);
        Ok(Self { http, token: config.token })
    }

    pub(crate) fn origin(&self) -> &str {
        self.http.origin().as_str()
    }

    /// The first page of what is asked.
    pub(crate) fn first(request: &PageRequest) -> String {
        let mut path = format!("/api/v1/log?limit={}", request.page_size.unwrap_or(1000).max(1));
        for (name, bound) in [("from", request.window.from), ("to", request.window.to)] {
            path.extend(bound.map(|time| format!("&{name}={time}")));
        }
        path
    }

    /// Pace, retries, deadlines and TLS are the client's; what a status means is said here.
    pub(crate) async fn get(&self, cx: &Context, path: &str) -> Result<HttpResponse> {
        let bearer = Secret::new(format!("Bearer {}", self.token.resolve()?.reveal()));
        let response = self.http.send(cx, HttpRequest::get(path).secret_header("authorization", bearer)).await?;
        match response.status {
            200 => Ok(response),
            401 => Err(error_for(&response).hint("check the token")),
            403 => Err(error_for(&response).hint("the token's account needs the right to read the log")),
            _ => Err(error_for(&response)),
        }
    }
}
