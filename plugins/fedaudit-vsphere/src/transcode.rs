//! From SOAP's XML to VI JSON, so that both transports give the same records: one pass, no tree.
//!
//! A record keeps every element, in order. Numbers and truths become JSON's, repeated elements and known arrays become
//! arrays, a reference becomes `{_typeName, type, value}`, and a value in an `any` slot is boxed with its type.

use memchr::memchr;
use memchr::memmem::Finder;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use crate::schema::{Leaf, is_array, leaf, object_type, primitive};

/// Objects inside objects; real records have less than ten.
const MAX_DEPTH: usize = 48;
const XSI: &str = "http://www.w3.org/2001/XMLSchema-instance";

/// What the outermost element is declared as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Declared {
    /// An event, whose `key` is a number.
    Event,
    /// Anything else.
    Other,
}

/// The complete elements of that name, found as text: an ill-formed one cannot hide those behind it.
///
/// A `<` cannot stand for itself in XML text, so that an end tag found this way is an end tag.
pub(crate) fn elements<'x>(document: &'x str, name: &str) -> Elements<'x> {
    let open = Finder::new(&format!("<{name}")).into_owned();
    Elements { rest: document, open, close: Finder::new(&format!("</{name}>")).into_owned() }
}

/// See [`elements`].
pub(crate) struct Elements<'x> {
    rest: &'x str,
    open: Finder<'static>,
    close: Finder<'static>,
}

impl<'x> Iterator for Elements<'x> {
    type Item = &'x str;

    fn next(&mut self) -> Option<&'x str> {
        loop {
            let element = &self.rest[self.open.find(self.rest.as_bytes())?..];
            let name_end = self.open.needle().len();
            let tag_end = memchr(b'>', element.as_bytes())?;
            if !matches!(element.as_bytes()[name_end], b'>' | b'/' | b' ' | b'\t' | b'\r' | b'\n') {
                self.rest = &element[name_end..];
                continue;
            }
            let length = if element[..tag_end].ends_with('/') {
                tag_end + 1
            } else {
                // Without an end tag the rest is one broken element.
                let close = self.close.find(element.as_bytes());
                close.map_or(element.len(), |end| end + self.close.needle().len())
            };
            let (found, rest) = element.split_at(length);
            self.rest = rest;
            return Some(found);
        }
    }
}

/// The text of a document with what its grammar forbids replaced, which products send in names all the same.
pub(crate) fn readable(body: Vec<u8>) -> String {
    let text = String::from_utf8(body).unwrap_or_else(|bad| String::from_utf8_lossy(bad.as_bytes()).into_owned());
    let illegal = |byte: u8| byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r');
    // Looked for in blocks, so that the usual document costs next to nothing.
    if text.as_bytes().chunks(64).any(|block| block.iter().fold(false, |found, byte| found | illegal(*byte))) {
        return text.replace(|c: char| c.is_ascii() && illegal(c as u8), "\u{fffd}");
    }
    text
}

/// One element as VI JSON text.
pub(crate) fn to_json(element: &str, declared: Declared) -> Result<String, String> {
    let mut writer =
        Writer { reader: Reader::from_str(element), out: String::with_capacity(element.len()), xsi: Vec::new() };
    loop {
        match writer.next()? {
            Event::Start(start) => {
                let place = Place { parent: "", member: "", event: declared == Declared::Event, depth: 0 };
                writer.value(&start, false, &place)?;
                return Ok(writer.out);
            }
            Event::Empty(start) => {
                let place = Place { parent: "", member: "", event: false, depth: 0 };
                writer.value(&start, true, &place)?;
                return Ok(writer.out);
            }
            Event::Eof => return Err("there is no element".into()),
            _ => {}
        }
    }
}

struct Place<'p> {
    parent: &'p str,
    member: &'p str,
    event: bool,
    depth: usize,
}

struct Writer<'x> {
    reader: Reader<&'x [u8]>,
    out: String,
    /// Prefixes bound to the schema-instance namespace anywhere in the record, besides the customary one: simulators
    /// declare odd ones on each element.
    xsi: Vec<String>,
}

/// What the attributes of an element say.
#[derive(Default)]
struct Types {
    /// `xsi:type` without its prefix.
    xsi: Option<String>,
    /// The plain `type` of a reference.
    reference: Option<String>,
    nil: bool,
}

impl<'x> Writer<'x> {
    fn next(&mut self) -> Result<Event<'x>, String> {
        self.reader.read_event().map_err(|error| format!("{error} at byte {}", self.reader.error_position()))
    }

    fn types(&mut self, start: &BytesStart<'_>) -> Result<Types, String> {
        let mut types = Types::default();
        if start.attributes_raw().trim().is_empty() {
            return Ok(types);
        }
        for attribute in start.attributes().with_checks(false) {
            let attribute = attribute.map_err(|error| error.to_string())?;
            if let Some(prefix) = attribute.key.0.strip_prefix("xmlns:")
                && attribute.value == XSI
                && !self.is_xsi(prefix)
            {
                self.xsi.push(prefix.to_owned());
            }
        }
        for attribute in start.attributes().with_checks(false) {
            let attribute = attribute.map_err(|error| error.to_string())?;
            let value = || attribute.value.rsplit(':').next().unwrap_or_default().to_owned();
            match attribute.key.0.split_once(':') {
                None if attribute.key.0 == "type" => types.reference = Some(attribute.value.clone().into_owned()),
                Some((prefix, "type")) if self.is_xsi(prefix) => types.xsi = Some(value()),
                Some((prefix, "nil")) if self.is_xsi(prefix) => types.nil = matches!(&*attribute.value, "true" | "1"),
                _ => {}
            }
        }
        Ok(types)
    }

    fn is_xsi(&self, prefix: &str) -> bool {
        prefix == "xsi" || self.xsi.iter().any(|known| known == prefix)
    }

    /// Writes the value of an element whose start was just read.
    fn value(&mut self, start: &BytesStart<'_>, empty: bool, place: &Place<'_>) -> Result<(), String> {
        if place.depth > MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} elements inside each other"));
        }
        let types = self.types(start)?;
        let mut text = String::new();
        if !empty {
            loop {
                match self.next()? {
                    Event::Start(child) => return self.object(start, &types, place, &child, false),
                    Event::Empty(child) => return self.object(start, &types, place, &child, true),
                    Event::Text(part) => text.push_str(&part.xml10_content()),
                    Event::CData(part) => text.push_str(&part.xml10_content()),
                    Event::GeneralRef(part) => push_reference(&part, &mut text)?,
                    Event::End(_) => break,
                    Event::Eof => return Err("the record ends in the middle".into()),
                    _ => {}
                }
            }
        }
        self.leaf(&types, &text, place);
        Ok(())
    }

    fn leaf(&mut self, types: &Types, text: &str, place: &Place<'_>) {
        if types.nil {
            self.out.push_str("null");
            return;
        }
        if let Some(kind) = &types.reference {
            self.out.push_str("{\"_typeName\":\"ManagedObjectReference\",\"type\":");
            quote(&mut self.out, kind);
            self.out.push_str(",\"value\":");
            quote(&mut self.out, text);
            self.out.push('}');
            return;
        }
        if let Some(xsi) = &types.xsi {
            let known = primitive(xsi);
            self.out.push_str("{\"_typeName\":");
            quote(&mut self.out, known.map_or(xsi, |(name, _)| name));
            // An object without members, an empty array, or a boxed value.
            if xsi.starts_with("ArrayOf") {
                self.out.push_str(",\"_value\":[]");
            } else if known.is_some() || !text.trim().is_empty() {
                self.out.push_str(",\"_value\":");
                self.scalar(known.map_or(Leaf::Text, |(_, leaf)| leaf), text);
            }
            self.out.push('}');
            return;
        }
        if place.depth == 0 && text.is_empty() {
            self.out.push_str("{}");
            return;
        }
        self.scalar(leaf(place.parent, place.member, place.event && place.depth == 1), text);
    }

    /// A number or truth that is none stays text: the row decides what it is worth.
    fn scalar(&mut self, kind: Leaf, text: &str) {
        let trimmed = text.trim();
        match (kind, trimmed) {
            (Leaf::Int, _) if is_json_number(trimmed) => self.out.push_str(trimmed),
            (Leaf::Bool, "true" | "1") => self.out.push_str("true"),
            (Leaf::Bool, "false" | "0") => self.out.push_str("false"),
            _ => quote(&mut self.out, text),
        }
    }

    fn object(
        &mut self,
        start: &BytesStart<'_>,
        types: &Types,
        place: &Place<'_>,
        first: &BytesStart<'_>,
        first_empty: bool,
    ) -> Result<(), String> {
        let type_name = types.xsi.as_deref().or_else(|| {
            // Elements of an array in an `any` slot are named after their type.
            if place.parent.starts_with("ArrayOf") { None } else { object_type(place.member) }
        });
        let own_name;
        let type_name = match type_name {
            None if place.parent.starts_with("ArrayOf") => {
                own_name = start.local_name().into_inner().to_owned();
                Some(own_name.as_str())
            }
            other => other,
        };
        self.out.push('{');
        if let Some(name) = type_name {
            self.out.push_str("\"_typeName\":");
            quote(&mut self.out, name);
        }
        let parent = type_name.unwrap_or_default();
        let boxed_array = parent.starts_with("ArrayOf");
        let mut previous = String::new();
        let mut value_at = 0;
        let mut open_array = false;
        let mut next = Some((first.to_owned(), first_empty));
        loop {
            if let Some((child, empty)) = next.take() {
                let name = if boxed_array { "_value" } else { child.local_name().into_inner() };
                if name == previous {
                    if !open_array {
                        self.out.insert(value_at, '[');
                        open_array = true;
                    }
                    self.out.push(',');
                } else {
                    if open_array {
                        self.out.push(']');
                    }
                    if !self.out.ends_with('{') {
                        self.out.push(',');
                    }
                    quote(&mut self.out, name);
                    self.out.push(':');
                    value_at = self.out.len();
                    open_array = boxed_array || is_array(parent, name);
                    if open_array {
                        self.out.push('[');
                    }
                    name.clone_into(&mut previous);
                }
                let inner = Place { parent, member: name, event: place.event, depth: place.depth + 1 };
                self.value(&child, empty, &inner)?;
            }
            match self.next()? {
                Event::Start(child) => next = Some((child, false)),
                Event::Empty(child) => next = Some((child, true)),
                Event::End(_) => break,
                Event::Eof => return Err("the record ends in the middle".into()),
                _ => {}
            }
        }
        if open_array {
            self.out.push(']');
        }
        self.out.push('}');
        Ok(())
    }
}

fn push_reference(reference: &quick_xml::events::BytesRef<'_>, text: &mut String) -> Result<(), String> {
    text.push(match &**reference {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        number if number.starts_with('#') => reference
            .resolve_char_ref()
            .ok()
            .flatten()
            .filter(|c| *c >= ' ' || matches!(c, '\t' | '\n' | '\r'))
            .unwrap_or('\u{fffd}'),
        other => return Err(format!("unknown entity &{other};")),
    });
    Ok(())
}

/// JSON's grammar is narrower than XML Schema's: no `+`, no leading zero, no `INF`.
fn is_json_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let leading_zero = digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.");
    digits.starts_with(|c: char| c.is_ascii_digit())
        && !leading_zero
        && serde_json::from_str::<serde_json::Number>(text).is_ok()
}

/// Writes a JSON string.
pub(crate) fn quote(out: &mut String, text: &str) {
    out.push('"');
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..0x20 => "\\ufffd",
            _ => continue,
        };
        out.push_str(&text[plain..at]);
        out.push_str(escape);
        plain = at + 1;
    }
    out.push_str(&text[plain..]);
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(xml: &str) -> String {
        to_json(xml, Declared::Event).unwrap()
    }

    #[test]
    fn a_record_in_its_json_form() {
        let xml = r#"<returnval xsi:type="VmPoweredOnEvent"><key>-7</key><chainId>7</chainId><createdTime>2026-01-01T00:00:00Z</createdTime>
            <userName>CORP\ana</userName><vm><name>a &amp; b&#x41;</name><vm type="VirtualMachine">vm-1</vm></vm><template>0</template></returnval>"#;
        assert_eq!(
            event(xml),
            r#"{"_typeName":"VmPoweredOnEvent","key":-7,"chainId":7,"createdTime":"2026-01-01T00:00:00Z","userName":"CORP\\ana","vm":{"_typeName":"VmEventArgument","name":"a & bA","vm":{"_typeName":"ManagedObjectReference","type":"VirtualMachine","value":"vm-1"}},"template":false}"#
        );
    }

    #[test]
    fn boxes_and_arrays() {
        let xml = r#"<returnval xsi:type="EventEx"><key>1</key><eventTypeId>x</eventTypeId>
            <arguments><key>n</key><value xsi:type="xsd:int">5</value></arguments>
            <arguments><key>t</key><value xsi:type="xsd:string"></value></arguments>
            <arguments><key>r</key><value xsi:type="ManagedObjectReference" type="Folder">group-d1</value></arguments></returnval>"#;
        assert_eq!(
            event(xml),
            r#"{"_typeName":"EventEx","key":1,"eventTypeId":"x","arguments":[{"_typeName":"KeyAnyValue","key":"n","value":{"_typeName":"int","_value":5}},{"_typeName":"KeyAnyValue","key":"t","value":{"_typeName":"string","_value":""}},{"_typeName":"KeyAnyValue","key":"r","value":{"_typeName":"ManagedObjectReference","type":"Folder","value":"group-d1"}}]}"#
        );
        // One element of a known array, and a repeated one that nobody knows.
        assert_eq!(
            event(
                r#"<r xsi:type="ExtendedEvent"><data><key>k</key><value>v</value></data><odd>1</odd><odd>2</odd><a>3</a></r>"#
            ),
            r#"{"_typeName":"ExtendedEvent","data":[{"_typeName":"ExtendedEventPair","key":"k","value":"v"}],"odd":["1","2"],"a":"3"}"#
        );
        assert_eq!(
            to_json(r#"<val xsi:type="ArrayOfUserSession"><UserSession><key>k</key><callCount>3</callCount></UserSession></val>"#, Declared::Other).unwrap(),
            r#"{"_typeName":"ArrayOfUserSession","_value":[{"_typeName":"UserSession","key":"k","callCount":3}]}"#
        );
    }

    #[test]
    fn the_prefix_of_the_type_is_free() {
        let xml = r#"<returnval xmlns:_XMLSchema-instance="http://www.w3.org/2001/XMLSchema-instance" _XMLSchema-instance:type="UserLoginSessionEvent"><key>1</key></returnval>"#;
        assert_eq!(event(xml), r#"{"_typeName":"UserLoginSessionEvent","key":1}"#);
    }

    #[test]
    fn a_broken_record_does_not_hide_the_next() {
        let document = "<a><returnval xsi:type=\"X\"><key>1</bad></returnval><returnvals/><returnval xsi:type=\"X\"/><returnval xsi:type=\"X\"><key>2</key></returnval></a>";
        let found: Vec<&str> = elements(document, "returnval").collect();
        assert_eq!(found.len(), 3);
        assert!(to_json(found[0], Declared::Event).is_err());
        assert_eq!(event(found[1]), r#"{"_typeName":"X"}"#);
        assert_eq!(event(found[2]), r#"{"_typeName":"X","key":2}"#);
        let deep = "<a>".repeat(60) + &"</a>".repeat(60);
        assert!(to_json(&deep, Declared::Other).is_err());
        assert_eq!(readable(b"a\x01b\xffc".to_vec()), "a\u{fffd}b\u{fffd}c");
    }
}
