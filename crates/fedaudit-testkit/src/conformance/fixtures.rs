//! A product out of a file: recorded answers, and what is true of them. With these, a plugin that is only there as a built
//! library can be held against most of the suite, without its product and without code.
//!
//! An answer is found by method, path and the query parameters that its `request` names; windows, page sizes and filters are
//! not looked at. That is enough, because a source may always bring more than it was asked for.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use fedaudit_core::{Error, ErrorKind, Result, Time};
use http::{StatusCode, header};
use serde::Deserialize;

use super::{Condition, Fact, Product, Subject, Suite, Truth};

/// Name of the file in the folder of the fixtures.
const FILE: &str = "check.toml";

/// What a plugin brings for its check: `fixtures/check.toml` in the folder of its crate.
#[derive(Clone, Debug)]
pub struct Fixtures {
    folder: PathBuf,
    told: Told,
}

/// The file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    /// Settings of a source, with `{url}`, `{ca}`, `{secret}` and `{fixtures}`, this folder.
    settings: String,
    /// What the product accepts as a login.
    #[serde(default)]
    credential: String,
    /// Documents with samples of the configuration, relative to this folder.
    #[serde(default)]
    samples: Vec<PathBuf>,
    /// Cases that cannot run, and why.
    #[serde(default)]
    skip: toml::map::Map<String, toml::Value>,
    /// Streams that no product here tells anything of, and why.
    #[serde(default)]
    untold: toml::map::Map<String, toml::Value>,
    product: Vec<Recorded>,
}

/// A product in one condition.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recorded {
    condition: Condition,
    /// The time now, as the product sees it.
    now: Time,
    /// Lines that are added to the settings for it.
    #[serde(default)]
    settings: String,
    #[serde(default)]
    exchange: Vec<Exchange>,
    stream: Vec<Stream>,
}

/// One answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exchange {
    /// Method, path, and the query parameters that decide: `GET /api/log?page=2`.
    request: String,
    /// Value of the header that proves the login, with `{credential}`; whoever has another one gets 401.
    authorization: Option<String>,
    #[serde(default = "ok")]
    status: u16,
    #[serde(default = "json")]
    content_type: String,
    /// The answer's body.
    body: Option<String>,
    /// The file that holds it instead, relative to this folder.
    body_file: Option<PathBuf>,
}

fn ok() -> u16 {
    200
}

fn json() -> String {
    "application/json".to_owned()
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stream {
    name: String,
    /// Columns that identify a row.
    id: Vec<String>,
    #[serde(default)]
    rows: Vec<Row>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    /// Values of the identifying columns, joined with a slash.
    id: String,
    time: Time,
    /// The record as the product holds it, where it does not travel in an answer.
    raw: Option<String>,
}

impl Fixtures {
    /// Reads `check.toml` in this folder.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let read = || {
            let folder = folder.canonicalize().map_err(unreadable)?;
            let text = std::fs::read_to_string(folder.join(FILE)).map_err(unreadable)?;
            let mut told: Told = toml::from_str(&text).map_err(unreadable)?;
            for exchange in told.product.iter_mut().flat_map(|product| &mut product.exchange) {
                if let Some(file) = exchange.body_file.take() {
                    let body = std::fs::read_to_string(folder.join(&file)).map_err(unreadable);
                    exchange.body = Some(body.map_err(|error| error.at(file.display()))?);
                }
            }
            Ok(Self { folder, told })
        };
        read().map_err(|error: Error| error.at(path.display()))
    }

    /// The suite for a subject whose products these are.
    pub fn suite(&self, subject: Subject) -> Result<Suite> {
        let here = self.folder.display().to_string();
        let settings = self.told.settings.replace("{fixtures}", &here);
        let (told, folder) = (self.told.clone(), here.clone());
        let mut suite = Suite::new(subject, settings, move |condition| {
            let recorded = told.product.iter().find(|product| product.condition == condition);
            recorded.map(|recorded| recorded.product(&told.credential, &folder)).ok_or(match condition {
                Condition::Healthy => "the fixtures hold no product that is healthy",
                Condition::Empty => "needs a stand-in: the fixtures hold no product that is empty",
                Condition::Ties => "needs a stand-in: the fixtures hold no product with many records in one second",
                Condition::BadRecord => "needs a stand-in: the fixtures hold no product with a record that is broken",
                Condition::NoRight => "needs a stand-in: the fixtures hold no product that refuses",
            })
        });
        for sample in &self.told.samples {
            let text = std::fs::read_to_string(self.folder.join(sample)).map_err(unreadable);
            suite = suite.sample(text.map_err(|error| error.at(sample.display()))?);
        }
        let text = |value: &toml::Value| value.as_str().unwrap_or_default().to_owned();
        for (case, reason) in &self.told.skip {
            if !super::all_cases().iter().any(|known| known.id == case) {
                return Err(Error::new(ErrorKind::Config, format!("skip: there is no case {case}")).at(FILE));
            }
            suite = suite.skip(case, text(reason));
        }
        for (stream, reason) in &self.told.untold {
            suite = suite.untold(stream, text(reason));
        }
        Ok(suite)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "fits map_err")]
fn unreadable(error: impl ToString) -> Error {
    Error::new(ErrorKind::Config, error.to_string().trim_end())
}

impl Recorded {
    fn product(&self, credential: &str, folder: &str) -> Product {
        let fact = |row: &Row| Fact { raw: row.raw.clone(), ..Fact::new(&row.id, row.time) };
        let truth = |stream: &Stream| Truth {
            stream: stream.name.clone(),
            id: stream.id.clone(),
            facts: stream.rows.iter().map(fact).collect(),
        };
        let replies: Vec<Reply> = self.exchange.iter().map(|exchange| exchange.reply(credential)).collect();
        Product {
            router: (!replies.is_empty()).then(|| replay(replies)),
            credential: credential.to_owned(),
            settings: self.settings.replace("{fixtures}", folder),
            truths: self.stream.iter().map(truth).collect(),
            now: self.now,
            end_logins: None,
            held: None,
        }
    }
}

/// An answer and whom it is for.
struct Reply {
    method: String,
    path: String,
    query: Vec<(String, String)>,
    authorization: Option<String>,
    status: StatusCode,
    content_type: String,
    body: String,
}

impl Exchange {
    fn reply(&self, credential: &str) -> Reply {
        let (method, target) = self.request.split_once(' ').unwrap_or(("GET", &self.request));
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Reply {
            method: method.to_owned(),
            path: path.to_owned(),
            query: pairs(query),
            authorization: self.authorization.as_ref().map(|text| text.replace("{credential}", credential)),
            status: StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            content_type: self.content_type.clone(),
            body: self.body.clone().unwrap_or_default(),
        }
    }
}

fn pairs(query: &str) -> Vec<(String, String)> {
    url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

impl Reply {
    fn is_for(&self, request: &Request, asked: &[(String, String)]) -> bool {
        request.method().as_str() == self.method
            && request.uri().path() == self.path
            && self.query.iter().all(|wanted| asked.contains(wanted))
    }
}

fn replay(replies: Vec<Reply>) -> Router {
    let replies = Arc::new(replies);
    Router::new().fallback(move |request: Request| {
        let answer = answer(&replies, &request);
        async { answer }
    })
}

/// The answer that says most about the request.
fn answer(replies: &[Reply], request: &Request) -> Response {
    let asked = pairs(request.uri().query().unwrap_or_default());
    let fitting = replies.iter().filter(|reply| reply.is_for(request, &asked));
    let Some(reply) = fitting.max_by_key(|reply| reply.query.len()) else {
        return (StatusCode::NOT_FOUND, "the fixtures hold no such answer").into_response();
    };
    let proven = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if reply.authorization.is_some() && reply.authorization.as_deref() != proven {
        return (StatusCode::UNAUTHORIZED, "not logged in").into_response();
    }
    (reply.status, [(header::CONTENT_TYPE, reply.content_type.clone())], Body::from(reply.body.clone())).into_response()
}
