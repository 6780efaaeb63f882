//! A call as it came, from either front, in one flat form; and what is answered.

use quick_xml::Reader;
use quick_xml::events::Event;
use serde_json::Value;

use super::property::Property;
use super::state::Shown;
use crate::records::VimValue;

/// A method call.
#[derive(Debug, Default)]
pub(super) struct Call {
    pub(super) method: String,
    pub(super) object: String,
    /// Leaves by path, as `filter/time/beginTime`; an array repeats its path.
    arguments: Vec<(String, String)>,
}

impl Call {
    /// A call without arguments.
    pub(super) fn plain(object: String, method: &str) -> Self {
        Self { method: method.to_owned(), object, arguments: Vec::new() }
    }

    /// Reads a SOAP envelope.
    pub(super) fn from_soap(body: &str) -> Option<Self> {
        let mut reader = Reader::from_str(body);
        let mut call = Self::default();
        let mut path: Vec<String> = Vec::new();
        let mut text = String::new();
        loop {
            match reader.read_event().ok()? {
                Event::Start(start) => {
                    path.push(start.local_name().into_inner().to_owned());
                    text.clear();
                    if path.len() == 3 {
                        call.method.clone_from(path.last()?);
                    }
                }
                Event::Text(part) => text.push_str(&part.xml10_content()),
                Event::GeneralRef(part) => text.push(match &*part {
                    "amp" => '&',
                    "lt" => '<',
                    "gt" => '>',
                    "quot" => '"',
                    "apos" => '\'',
                    _ => part.resolve_char_ref().ok()??,
                }),
                Event::End(_) => {
                    match path.get(3..)? {
                        [this] if this == "_this" => call.object = std::mem::take(&mut text),
                        leaf if !leaf.is_empty() && !text.trim().is_empty() => {
                            call.arguments.push((leaf.join("/"), std::mem::take(&mut text)));
                        }
                        _ => {}
                    }
                    text.clear();
                    path.pop();
                    if path.len() <= 2 {
                        break;
                    }
                }
                Event::Eof => break,
                _ => {}
            }
        }
        (!call.method.is_empty()).then_some(call)
    }

    /// Reads a VI JSON request.
    pub(super) fn from_json(object: String, method: String, body: &[u8]) -> Option<Self> {
        let mut call = Self { method, object, arguments: Vec::new() };
        if !body.is_empty() {
            let value: Value = serde_json::from_slice(body).ok()?;
            call.flatten("", &value);
        }
        Some(call)
    }

    fn flatten(&mut self, path: &str, value: &Value) {
        match value {
            Value::Object(members) => {
                for (name, value) in members.iter().filter(|(name, _)| *name != "_typeName") {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
                    self.flatten(&path, value);
                }
            }
            Value::Array(values) => values.iter().for_each(|value| self.flatten(path, value)),
            Value::Null => {}
            Value::String(text) => self.arguments.push((path.to_owned(), text.clone())),
            other => self.arguments.push((path.to_owned(), other.to_string())),
        }
    }

    /// The first argument at this path.
    pub(super) fn argument(&self, path: &str) -> Option<&str> {
        self.arguments.iter().find(|(at, _)| at == path).map(|(_, text)| text.as_str())
    }

    /// All arguments at this path.
    pub(super) fn arguments(&self, path: &str) -> Vec<String> {
        self.arguments.iter().filter(|(at, _)| at == path).map(|(_, text)| text.clone()).collect()
    }

    /// Whether an argument begins with this path.
    pub(super) fn has(&self, prefix: &str) -> bool {
        self.arguments.iter().any(|(at, _)| at.starts_with(prefix))
    }

    /// For the log, without the password.
    pub(super) fn described(&self) -> String {
        let arguments: serde_json::Map<String, Value> = self
            .arguments
            .iter()
            .filter(|(path, _)| path != "password")
            .map(|(path, _)| (path.clone(), Value::from(self.arguments(path))))
            .collect();
        format!("{} {}", self.method, Value::from(arguments))
    }
}

/// An answer.
pub(super) enum Reply<'w> {
    /// Nothing.
    Void,
    /// One value; XML names the type of the element only for an option.
    Value(VimValue),
    /// Several values.
    Values(Vec<VimValue>),
    /// Events, straight from the log.
    Events(Vec<Shown<'w>>),
    /// A login: the session and what proves it.
    LoggedIn { session: VimValue, token: String },
    /// A property of an object, or the fault that stands in its place.
    Property { kind: &'static str, object: String, name: &'static str, value: Result<Property<'w>, Fault> },
}

/// A refusal.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub(super) class: &'static str,
    pub(super) text: &'static str,
    pub(super) members: Vec<(&'static str, String)>,
}

impl Fault {
    pub(super) fn new(class: &'static str, text: &'static str) -> Self {
        Self { class, text, members: Vec::new() }
    }

    pub(super) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.members.push((name, value.to_owned()));
        self
    }
}
