//! The session list: filters, order, projection, the two ways of paging, and the snapshots that one of them needs.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::body::{push_body, push_text};
use super::data::{Data, Document};
use super::details::encoded;
use super::lucene::Query;
use super::shape::Shape;
use super::{Answer, Options};

const LARGEST_PAGE: usize = 500;
const BASIC_HITS: usize = 10_000;
const SNAPSHOT_LIFE: i64 = 5 * 60 * 1_000_000;
/// Filtered lists are kept so that each page does not search everything again.
const KEPT_VIEWS: usize = 16;

/// Decoded parameters of a request, in the order sent.
#[derive(Debug)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    pub(super) fn parse(query: &str) -> Self {
        Self(url::form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The same request with other parameters for paging, as a link without a host.
    fn link(&self, changes: &[(&str, &str)]) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in &self.0 {
            if !changes.iter().any(|(changed, _)| changed == name) {
                query.append_pair(name, value);
            }
        }
        for (name, value) in changes {
            query.append_pair(name, value);
        }
        format!("/api/audit/sessions?{}", query.finish())
    }
}

/// Snapshots by reader, and lists found so far.
#[derive(Debug, Default)]
pub(super) struct Views {
    snapshots: HashMap<String, Snapshot>,
    /// By query, with the edition of the data they were made from; a snapshot's are named by its id.
    found: HashMap<String, (u64, Arc<Vec<u32>>)>,
    opened: u64,
    searches: u64,
}

#[derive(Debug)]
struct Snapshot {
    id: String,
    expires: i64,
    documents: Arc<Vec<u32>>,
}

impl Views {
    /// Answers `…/_snapshot`: one for each reader (account, address, agent), which it gets again while it lives.
    pub(super) fn open(&mut self, reader: &str, data: &Data, options: &Options, now: i64) -> Answer {
        if !options.has_snapshots() {
            return Answer::error(404, "ObjectNotFound", "The requested object was not found");
        }
        self.snapshots.retain(|_, snapshot| snapshot.expires > now);
        if !self.snapshots.contains_key(reader) {
            if self.snapshots.len() >= options.snapshot_quota {
                return Answer::error(429, "TooManySnapshots", "The number of search snapshots has reached its limit");
            }
            self.opened += 1;
            let id = format!("c25hcHNob3Q+{:08x}=", self.opened.wrapping_mul(0x9e37_79b9));
            self.snapshots.insert(reader.to_owned(), Snapshot { id, expires: 0, documents: Arc::new(data.live()) });
        }
        let Some(snapshot) = self.snapshots.get_mut(reader) else { return Answer::error(500, "Internal", "snapshot") };
        snapshot.expires = now + SNAPSHOT_LIFE;
        Answer::json(format!(
            "{{\"body\":{{\"snapshot\":\"{}\"}},\"key\":\"_snapshot\",\"meta\":{{\"href\":\"/api/audit/sessions/_snapshot\",\"parent\":\"/api/audit/sessions\"}}}}",
            snapshot.id
        ))
    }

    /// Ends every snapshot.
    pub(super) fn expire(&mut self) {
        self.snapshots.clear();
    }

    /// The documents that a request finds, in its order, and whether they come from a snapshot.
    fn find(
        &mut self,
        params: &Params,
        reader: &str,
        data: &Data,
        options: &Options,
        now: i64,
    ) -> Result<Arc<Vec<u32>>, Answer> {
        let bad = |message: &str| Answer::error(400, "InvalidQuery", message);
        let base = match params.get("snapshot") {
            None => None,
            Some(id) => {
                match self.snapshots.get_mut(reader).filter(|snapshot| snapshot.id == id && snapshot.expires > now) {
                    Some(snapshot) => {
                        snapshot.expires = now + SNAPSHOT_LIFE;
                        Some(Arc::clone(&snapshot.documents))
                    }
                    None => {
                        return Err(Answer::error(404, "ObjectNotFound", "The snapshot does not exist or has expired"));
                    }
                }
            }
        };
        let part = |name: &str| params.get(name).unwrap_or_default();
        let name = format!("{}\n{}\n{}\n{}\n{}", part("snapshot"), part("sort"), part("start"), part("end"), part("q"));
        if let Some((edition, found)) = self.found.get(&name)
            && (base.is_some() || (*edition == data.edition && !options.restless_ties))
        {
            return Ok(Arc::clone(found));
        }
        let instant = |name: &str| match params.get(name) {
            None => Ok(None),
            Some(text) => read_instant(text, options.zone_minutes)
                .map(Some)
                .ok_or_else(|| bad(&format!("invalid date in parameter {name}"))),
        };
        let (start, end) = (instant("start")?, instant("end")?);
        let query = match params.get("q").filter(|q| !q.is_empty()) {
            Some(_) if options.refuse_queries => return Err(bad("cannot parse query")),
            Some(q) => Some(Query::parse(q).map_err(|error| bad(&error))?),
            None => None,
        };
        let matches = |document: Document<'_>| {
            let began = document.start();
            let ended = match document {
                Document::Session(session) => session.end,
                Document::Item { .. } => Some(began),
            };
            let inside = if options.overlap_dates {
                // The web interface's reading: whatever was running in between.
                start.is_none_or(|start| ended.is_none_or(|ended| ended > start)) && end.is_none_or(|end| began < end)
            } else {
                start.is_none_or(|start| began > start) && end.is_none_or(|end| ended.is_some_and(|ended| ended < end))
            };
            inside && query.as_ref().is_none_or(|query| query.matches(document))
        };
        let all = base.clone().unwrap_or_else(|| Arc::new(data.live()));
        let mut found: Vec<u32> = all.iter().copied().filter(|number| matches(data.get(*number))).collect();
        match params.get("sort") {
            _ if options.ignore_sort => found.reverse(),
            // Documents of one instant have no order among themselves; it differs from one request to the next.
            Some("start_time") if options.restless_ties && base.is_none() => {
                self.searches += 1;
                shuffle_ties(&mut found, data, self.searches);
            }
            Some("start_time") => {}
            None | Some("-start_time") => found.reverse(),
            Some(other) => return Err(bad(&format!("cannot sort by {other}"))),
        }
        let found = Arc::new(found);
        if self.found.len() >= KEPT_VIEWS {
            self.found.clear();
        }
        self.found.insert(name, (data.edition, Arc::clone(&found)));
        Ok(found)
    }

    /// Answers `…/_count`: no envelope, and no limit.
    pub(super) fn count(&mut self, params: &Params, reader: &str, data: &Data, options: &Options, now: i64) -> Answer {
        match self.find(params, reader, data, options, now) {
            Ok(found) => Answer::json(format!("{{\"count\": {}}}", found.len())),
            Err(answer) => answer,
        }
    }

    /// Finds what a page shows; it is written without holding on to the views.
    pub(super) fn page(
        &mut self,
        params: &Params,
        reader: &str,
        data: &Data,
        options: &Options,
        now: i64,
    ) -> Result<Found, Answer> {
        let number = |name: &str| params.get(name).and_then(|text| text.parse::<usize>().ok());
        let limit = number("limit").unwrap_or(LARGEST_PAGE).clamp(1, LARGEST_PAGE);
        let documents = self.find(params, reader, data, options, now)?;
        let snapshot = params.get("snapshot").is_some();
        let offset = if snapshot {
            number("search_after").unwrap_or(0)
        } else {
            // Beyond the hits that can be walked the parameter is ignored, without a word.
            number("offset").filter(|offset| *offset <= BASIC_HITS).unwrap_or(0)
        };
        Ok(Found { documents, offset, limit, snapshot })
    }
}

/// Turns every other group of documents that began at one instant around.
fn shuffle_ties(found: &mut [u32], data: &Data, search: u64) {
    if search.is_multiple_of(2) {
        found.chunk_by_mut(|a, b| data.get(*a).start() == data.get(*b).start()).for_each(<[u32]>::reverse);
    }
}

/// What a page shows.
#[derive(Debug)]
pub(super) struct Found {
    documents: Arc<Vec<u32>>,
    offset: usize,
    limit: usize,
    snapshot: bool,
}

impl Found {
    /// The page as JSON text, and how many sessions are on it.
    pub(super) fn write(&self, params: &Params, data: &Data, options: &Options, remaining: u64) -> Answer {
        let hits = self.documents.len();
        let reach = if self.snapshot { hits } else { hits.min(BASIC_HITS) };
        let first = self.offset.min(reach);
        let last = (first + self.limit).min(reach);
        let numbers = &self.documents[first..last];
        let fields: Vec<&str> = params
            .get("fields")
            .unwrap_or_default()
            .split(',')
            .map(str::trim)
            .filter(|field| !field.is_empty())
            .collect();
        let shape = Shape::of(options);
        let mut out = Vec::with_capacity(numbers.len() * 2600 + 1024);
        out.extend_from_slice(b"{\"items\":[");
        for (at, number) in numbers.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            push_item(&mut out, data.get(*number), &fields, shape, options.indexing);
        }
        out.extend_from_slice(b"],\"meta\":");
        self.push_meta(&mut out, params, &fields, hits, last - first, remaining);
        out.push(b'}');
        Answer { records: (last - first) as u64, ..Answer::bytes(out) }
    }

    fn push_meta(
        &self,
        out: &mut Vec<u8>,
        params: &Params,
        fields: &[&str],
        hits: usize,
        shown: usize,
        remaining: u64,
    ) {
        let mut meta = String::from("{\"fields\":[");
        for (at, field) in fields.iter().enumerate() {
            let _ = write!(meta, "{}{}", if at > 0 { "," } else { "" }, quote(field));
        }
        let _ = write!(meta, "],\"href\":\"/api/audit/sessions\",\"limit\":{},", self.limit);
        let limit = self.limit.to_string();
        if self.snapshot {
            let next = (shown == self.limit)
                .then(|| params.link(&[("limit", &limit), ("search_after", &(self.offset + shown).to_string())]));
            let _ = write!(
                meta,
                "\"first\":null,\"last\":null,\"previous\":null,\"next\":{},\"search_after\":null,",
                next.map_or("null".to_owned(), |next| quote(&next))
            );
        } else {
            let reach = hits.min(BASIC_HITS);
            let at = |offset: usize| quote(&params.link(&[("limit", &limit), ("offset", &offset.to_string())]));
            let next = if self.offset + shown < reach { at(self.offset + shown) } else { "null".to_owned() };
            let previous = if self.offset > 0 { at(self.offset.saturating_sub(self.limit)) } else { "null".to_owned() };
            let last = at(reach.saturating_sub(1) / self.limit * self.limit);
            let _ = write!(
                meta,
                "\"first\":{},\"last\":{last},\"previous\":{previous},\"next\":{next},\"match_count\":{reach},\"offset\":{},",
                at(0),
                self.offset
            );
        }
        let _ = write!(meta, "\"parent\":\"/api/audit\",\"remaining_seconds\":{remaining}}}");
        out.extend_from_slice(meta.as_bytes());
    }
}

/// One session by its key.
pub(super) fn single(data: &Data, key: &str, options: &Options, remaining: u64) -> Answer {
    let Some(number) = data.find(key) else {
        return Answer::error(404, "ObjectNotFound", "The requested object was not found");
    };
    let mut out = b"{\"body\":".to_vec();
    match data.get(number) {
        Document::Session(session) => {
            push_body(&mut out, session, None, Shape::of(options), options.indexing);
        }
        Document::Item { text, .. } => return Answer::json(text.to_owned()),
    }
    out.extend_from_slice(b",\"key\":");
    push_text(&mut out, key);
    out.extend_from_slice(b",\"meta\":{\"href\":");
    push_text(&mut out, &format!("/api/audit/sessions/{}", encoded(key)));
    out.extend_from_slice(
        format!(",\"parent\":\"/api/audit/sessions\",\"remaining_seconds\":{remaining}}}}}").as_bytes(),
    );
    Answer::bytes(out)
}

/// Without a wish for fields an item has no body at all.
fn push_item(out: &mut Vec<u8>, document: Document<'_>, fields: &[&str], shape: Shape, indexed: bool) {
    match document {
        Document::Item { text, .. } => out.extend_from_slice(text.as_bytes()),
        Document::Session(session) => {
            out.push(b'{');
            if !fields.is_empty() {
                out.extend_from_slice(b"\"body\":");
                push_body(out, session, (!fields.contains(&"*")).then_some(fields), shape, indexed);
                out.push(b',');
            }
            out.extend_from_slice(b"\"key\":");
            push_text(out, &session.key);
            out.extend_from_slice(b",\"meta\":{\"href\":\"/api/audit/sessions/");
            out.extend_from_slice(encoded(&session.key).as_bytes());
            out.extend_from_slice(b"\"}}");
        }
    }
}

pub(super) fn quote(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    push_text(&mut out, text);
    String::from_utf8_lossy(&out).into_owned()
}

/// A date with an offset; without one it is meant in the appliance's zone.
fn read_instant(text: &str, zone: i32) -> Option<i64> {
    if let Ok(time) = chrono::DateTime::parse_from_rfc3339(text) {
        return Some(time.timestamp_micros());
    }
    let naive = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"]
        .into_iter()
        .find_map(|form| chrono::NaiveDateTime::parse_from_str(text, form).ok())
        .or_else(|| chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0))?;
    Some(naive.and_utc().timestamp_micros() - i64::from(zone) * 60_000_000)
}
