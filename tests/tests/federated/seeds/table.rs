//! `tests/seeds.toml`: where each name of the documents ends up, with the value that proves it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value as Json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tables {
    seed: Vec<Seed>,
}

/// One document.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Seed {
    /// File name in the documents' folder.
    pub(super) file: String,
    /// Texts that look like a name and are none.
    #[serde(default)]
    pub(super) boilerplate: Vec<String>,
    /// Every name.
    pub(super) entries: Vec<Entry>,
}

/// One name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// As the document has it; a field inside others with its path.
    pub(super) name: String,
    /// As it stands in the record, where that differs.
    pub(super) field: Option<String>,
    /// The document's sentence, where it gives sentences and no names.
    pub(super) describes: Option<String>,
    /// Holds other names; without a destination of its own unless it says one.
    #[serde(default)]
    pub(super) container: bool,
    /// Value in the record that is read.
    pub(super) sent: Option<Json>,
    /// Values put in place of the record's, by path, for what the record cannot hold beside the rest.
    #[serde(default)]
    pub(super) set: BTreeMap<String, Json>,
    /// The product cannot leave it out.
    #[serde(default)]
    pub(super) fixed: bool,
    /// Columns, with what stands there.
    #[serde(default)]
    pub(super) found: Found,
    /// A parameter: what a request holds when it is sent.
    pub(super) request: Option<String>,
    /// A parameter that is never sent: why.
    pub(super) never: Option<String>,
    /// What no request may hold then.
    pub(super) absent: Option<String>,
    /// Part of an answer that is not kept: why.
    pub(super) unread: Option<String>,
    /// Part of an answer that decides something: what.
    pub(super) used: Option<String>,
}

/// `["table.column", …]` where the value stands as sent, or `{ "table.column" = "value", … }`. A path into a JSON column
/// may follow: `sessions.unmapped.analytics.tags`.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Found {
    AsSent(Vec<String>),
    As(BTreeMap<String, String>),
}

impl Default for Found {
    fn default() -> Self {
        Self::AsSent(Vec::new())
    }
}

impl Found {
    pub(super) fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Columns and the text expected there; none for the text of what was sent.
    pub(super) fn iter(&self) -> Box<dyn Iterator<Item = (&str, Option<&str>)> + '_> {
        match self {
            Self::AsSent(columns) => Box::new(columns.iter().map(|column| (column.as_str(), None))),
            Self::As(columns) => Box::new(columns.iter().map(|(column, text)| (column.as_str(), Some(text.as_str())))),
        }
    }
}

impl Seed {
    /// A record that holds every field at once.
    pub(super) fn record(&self) -> Map<String, Json> {
        let mut record = Map::new();
        for entry in &self.entries {
            if let Some(value) = &entry.sent {
                put(&mut record, entry.field.as_deref().unwrap_or(&entry.name), value.clone());
            }
        }
        record
    }
}

/// All tables, in the documents' order.
pub(super) fn all() -> Vec<Seed> {
    toml::from_str::<Tables>(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/seeds.toml"))).unwrap().seed
}

/// The table of the document whose file name begins so.
pub(super) fn seed(number: &str) -> Seed {
    all().into_iter().find(|seed| seed.file.starts_with(number)).unwrap()
}

/// Puts a value at a path, making the objects on the way.
pub(super) fn put(record: &mut Map<String, Json>, path: &str, value: Json) {
    match path.split_once('.') {
        None => {
            record.insert(path.to_owned(), value);
        }
        Some((first, rest)) => {
            let inner = record.entry(first).or_insert_with(|| Json::Object(Map::new()));
            put(inner.as_object_mut().unwrap(), rest, value);
        }
    }
}

/// Takes the value at a path away.
pub(super) fn take(record: &mut Map<String, Json>, path: &str) -> Option<Json> {
    match path.split_once('.') {
        None => record.remove(path),
        Some((first, rest)) => take(record.get_mut(first)?.as_object_mut()?, rest),
    }
}

/// A value as a cell shows it: texts bare, everything else as JSON.
pub(super) fn text(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
