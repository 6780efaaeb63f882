//! From SOAP's XML to VI JSON, so that both transports give the same records: one pass, no tree.
//!
//! A record keeps every element, in order. Numbers and truths become JSON's, repeated elements and known arrays become
//! arrays, a reference becomes `{_typeName, type, value}`, and a value in an `any` slot is boxed with its type.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memmem::{self, Finder};
use memchr::{memchr, memchr2};

use crate::schema::{Leaf, is_array, leaf, object_type, primitive};
use crate::xml::{Tag, Token, Tokens, resolve};

/// Objects inside objects; real records have less than ten.
const MAX_DEPTH: usize = 48;
const XSI: &[u8] = b"http://www.w3.org/2001/XMLSchema-instance";

/// What the outermost element is declared as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Declared {
    /// An event, whose `key` is a number.
    Event,
    /// Anything else.
    Other,
}

/// A member of a record, or of an object in it, noted when its text was written. Those inside it follow it.
#[derive(Clone, Debug)]
pub(crate) struct Note<'x> {
    pub(crate) name: &'x str,
    /// Where in the text its value is.
    pub(crate) value: Range<usize>,
    /// How many of the notes behind it are of members inside it.
    pub(crate) inside: usize,
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

/// Prefixes bound to the schema-instance namespace anywhere in a document, besides the customary one: simulators declare odd
/// ones, on the element itself or around it.
pub(crate) fn xsi_prefixes(document: &str) -> Vec<&str> {
    let mut found: Vec<&str> = Vec::new();
    for at in memmem::find_iter(document.as_bytes(), XSI) {
        let before = document[..at].trim_end_matches(['"', '\'', '=', ' ']);
        let prefix = before.rsplit_once("xmlns:").map_or("", |(_, prefix)| prefix);
        if !prefix.is_empty() && prefix != "xsi" && !prefix.contains(['<', '>', ' ']) && !found.contains(&prefix) {
            found.push(prefix);
        }
    }
    found
}

/// One element as VI JSON text.
pub(crate) fn to_json(element: &str, declared: Declared) -> Result<String, String> {
    let mut json = String::with_capacity(element.len());
    write_json(element, declared, &xsi_prefixes(element), &mut json, &mut Vec::new()).map(|()| json)
}

/// Writes one element as VI JSON text, and notes where in the text its members are. `prefixes` name types besides `xsi`.
pub(crate) fn write_json<'x>(
    element: &'x str,
    declared: Declared,
    prefixes: &[&str],
    out: &mut String,
    notes: &mut Vec<Note<'x>>,
) -> Result<(), String> {
    let mut writer = Writer { tokens: Tokens::new(element), out, notes, prefixes };
    loop {
        match writer.tokens.next()? {
            Some(Token::Open(tag)) => {
                let event = declared == Declared::Event && !tag.empty;
                return writer.value(tag, &Place { parent: "", member: "", event, depth: 0 });
            }
            Some(_) => {}
            None => return Err("there is no element".into()),
        }
    }
}

struct Place<'x> {
    parent: &'x str,
    member: &'x str,
    event: bool,
    depth: usize,
}

struct Writer<'x, 'o> {
    tokens: Tokens<'x>,
    out: &'o mut String,
    /// Members of the objects that stand in no array.
    notes: &'o mut Vec<Note<'x>>,
    prefixes: &'o [&'o str],
}

/// What the attributes of an element say.
#[derive(Default)]
struct Types<'x> {
    /// `xsi:type` without its prefix.
    xsi: Option<&'x str>,
    /// The plain `type` of a reference.
    reference: Option<&'x str>,
    nil: bool,
}

impl<'x> Writer<'x, '_> {
    fn next(&mut self) -> Result<Token<'x>, String> {
        self.tokens.next()?.ok_or_else(|| "the record ends in the middle".into())
    }

    fn types(&self, tag: Tag<'x>) -> Result<Types<'x>, String> {
        let mut types = Types::default();
        if tag.is_plain() {
            return Ok(types);
        }
        let is_xsi = |prefix| prefix == "xsi" || self.prefixes.contains(&prefix);
        for attribute in tag.attributes() {
            let (name, value) = attribute?;
            match name.split_once(':') {
                None if name == "type" => types.reference = Some(value),
                Some((prefix, "type")) if is_xsi(prefix) => types.xsi = value.rsplit(':').next(),
                Some((prefix, "nil")) if is_xsi(prefix) => types.nil = matches!(value, "true" | "1"),
                _ => {}
            }
        }
        Ok(types)
    }

    /// Writes the value of an element whose tag was just read.
    fn value(&mut self, tag: Tag<'x>, place: &Place<'x>) -> Result<(), String> {
        if place.depth > MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} elements inside each other"));
        }
        let types = self.types(tag)?;
        // Text comes in one piece, unless there is character data or a comment in it.
        let (mut only, mut pieces) = ("", String::new());
        if tag.empty {
        } else if let Some(text) = self.tokens.text_to_end_of(tag) {
            only = text;
        } else {
            loop {
                match self.next()? {
                    Token::Open(child) => return self.object(tag, &types, place, child),
                    Token::Close(name) => {
                        closes(tag, name)?;
                        break;
                    }
                    Token::Text(part) if only.is_empty() && pieces.is_empty() => only = part,
                    Token::Text(part) => {
                        pieces.push_str(&plain(std::mem::take(&mut only))?);
                        pieces.push_str(&plain(part)?);
                    }
                    Token::Verbatim(part) => {
                        pieces.push_str(&plain(std::mem::take(&mut only))?);
                        pieces.push_str(part);
                    }
                }
            }
        }
        let text = if pieces.is_empty() { plain(only)? } else { pieces.into() };
        self.leaf(&types, &text, place);
        Ok(())
    }

    fn leaf(&mut self, types: &Types<'x>, text: &str, place: &Place<'x>) {
        if types.nil {
            self.out.push_str("null");
            return;
        }
        if let Some(kind) = types.reference {
            self.text_member('{', "_typeName", "ManagedObjectReference");
            self.text_member(',', "type", kind);
            self.text_member(',', "value", text);
            self.out.push('}');
            return;
        }
        if let Some(xsi) = types.xsi {
            let known = primitive(xsi);
            self.out.push_str("{\"_typeName\":");
            quote(self.out, known.map_or(xsi, |(name, _)| name));
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
        if kind == Leaf::Text {
            return quote(self.out, text);
        }
        let trimmed = text.trim();
        match (kind, trimmed) {
            (Leaf::Int, _) if is_json_number(trimmed) => self.out.push_str(trimmed),
            (Leaf::Bool, "true" | "1") => self.out.push_str("true"),
            (Leaf::Bool, "false" | "0") => self.out.push_str("false"),
            _ => quote(self.out, text),
        }
    }

    fn object(&mut self, tag: Tag<'x>, types: &Types<'x>, place: &Place<'x>, first: Tag<'x>) -> Result<(), String> {
        let in_array = place.parent.starts_with("ArrayOf");
        let type_name = match types.xsi {
            Some(named) => Some(named),
            // Elements of an array in an `any` slot are named after their type, as is a base event.
            None if in_array || (place.event && place.depth == 0 && tag.name == "Event") => Some(tag.local_name()),
            None => object_type(place.member),
        };
        let mut mark = '{';
        if let Some(name) = type_name {
            self.text_member(mark, "_typeName", name);
            mark = ',';
        }
        let parent = type_name.unwrap_or_default();
        let boxed_array = parent.starts_with("ArrayOf");
        let mut open: Option<Open<'x>> = None;
        let mut next = Some(first);
        loop {
            if let Some(child) = next.take() {
                let name = if boxed_array { "_value" } else { child.local_name() };
                match &mut open {
                    Some(open) if open.name == name => {
                        if !open.array {
                            self.out.insert(self.notes[open.note].value.start, '[');
                            open.array = true;
                        }
                        self.out.push(',');
                    }
                    _ => {
                        self.end(open.take());
                        open = Some(self.begin(mark, name, boxed_array || is_array(parent, name)));
                        mark = ',';
                    }
                }
                self.value(child, &Place { parent, member: name, event: place.event, depth: place.depth + 1 })?;
            }
            match self.next()? {
                Token::Open(child) => next = Some(child),
                Token::Close(name) => {
                    closes(tag, name)?;
                    break;
                }
                Token::Text(_) | Token::Verbatim(_) => {}
            }
        }
        self.end(open);
        self.out.push('}');
        Ok(())
    }

    fn text_member(&mut self, mark: char, name: &'static str, text: &str) {
        let open = self.begin(mark, name, false);
        quote(self.out, text);
        self.end(Some(open));
    }

    fn begin(&mut self, mark: char, name: &'x str, array: bool) -> Open<'x> {
        self.out.push(mark);
        // A name has nothing that would have to be escaped.
        self.out.extend(["\"", name, "\":"]);
        let (note, start) = (self.notes.len(), self.out.len());
        self.notes.push(Note { name, value: start..start, inside: 0 });
        if array {
            self.out.push('[');
        }
        Open { name, note, array }
    }

    fn end(&mut self, member: Option<Open<'x>>) {
        let Some(Open { note, array, .. }) = member else { return };
        if array {
            self.out.push(']');
            // What is noted of its elements is not of one object, and was moved by the bracket.
            self.notes.truncate(note + 1);
        }
        self.notes[note].value.end = self.out.len();
        self.notes[note].inside = self.notes.len() - note - 1;
    }
}

/// A member whose value is being written.
#[derive(Clone, Copy)]
struct Open<'x> {
    name: &'x str,
    /// Which note is its own.
    note: usize,
    array: bool,
}

fn closes(tag: Tag<'_>, name: &str) -> Result<(), String> {
    if tag.name == name { Ok(()) } else { Err(format!("<{}> is closed by </{name}>", tag.name)) }
}

/// Text as it is meant: line ends as XML wants them, and no references.
fn plain(raw: &str) -> Result<Cow<'_, str>, String> {
    if memchr2(b'&', b'\r', raw.as_bytes()).is_none() {
        return Ok(raw.into());
    }
    let mut text = String::with_capacity(raw.len());
    resolve(&raw.replace("\r\n", "\n").replace('\r', "\n"), &mut text)?;
    Ok(text.into())
}

/// JSON's grammar is narrower than XML Schema's: no `+`, no leading zero, no `INF`.
fn is_json_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.") {
        return false;
    }
    let only_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    only_digits
        || (digits.starts_with(|c: char| c.is_ascii_digit())
            && serde_json::from_str::<serde_json::Number>(text).is_ok())
}

/// Writes a JSON string.
pub(crate) fn quote(out: &mut String, text: &str) {
    out.push('"');
    // Without an early end the loop is one of whole registers, and most texts need no escape.
    let special = |byte: u8| u8::from(byte < b' ') | u8::from(byte == b'"') | u8::from(byte == b'\\');
    if text.bytes().fold(0, |found, byte| found | special(byte)) == 0 {
        out.push_str(text);
    } else {
        escape(out, text);
    }
    out.push('"');
}

fn escape(out: &mut String, text: &str) {
    let mut written = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..b' ' => "\\ufffd",
            _ => continue,
        };
        out.push_str(&text[written..at]);
        out.push_str(escape);
        written = at + 1;
    }
    out.push_str(&text[written..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Members;

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
    fn a_prefix_declared_around_the_record() {
        let document = r#"<val xmlns:_XMLSchema-instance="http://www.w3.org/2001/XMLSchema-instance" xmlns:xsd='x' ><Event _XMLSchema-instance:type="UserLoginSessionEvent"><key>1</key></Event><Event><key>2</key></Event></val>"#;
        let prefixes = xsi_prefixes(document);
        assert_eq!(prefixes, ["_XMLSchema-instance"]);
        let json = elements(document, "Event").map(|xml| {
            let mut json = String::new();
            write_json(xml, Declared::Event, &prefixes, &mut json, &mut Vec::new()).unwrap();
            json
        });
        let json: Vec<String> = json.collect();
        assert_eq!(json, [r#"{"_typeName":"UserLoginSessionEvent","key":1}"#, r#"{"_typeName":"Event","key":2}"#]);
    }

    #[test]
    fn members_are_found_without_a_second_look() {
        let xml = r#"<r xsi:type="RoleAddedEvent"><key>1</key><vm><name>a</name><vm type="VirtualMachine">vm-1</vm></vm><role><roleId>5</roleId><name>&quot;</name></role>
            <privilegeList>a</privilegeList><privilegeList>b</privilegeList><odd>1</odd><odd>2</odd><pair><k>1</k></pair><pair><k>2</k></pair>
            <box xsi:type="xsd:int">5</box><spec><id>x</id><deep><deeper><id>y</id><list><k>1</k></list><list><k>2</k></list><z>3</z></deeper></deep></spec><last/></r>"#;
        let (mut json, mut notes) = (String::from("before"), Vec::new());
        write_json(xml, Declared::Event, &[], &mut json, &mut notes).unwrap();
        let parsed = Members::parse(&json["before".len()..]).unwrap();
        let noted = Members::Noted { text: &json, notes: &notes };
        assert_eq!(compare(&noted, &parsed), 28);
    }

    /// Compares what is noted with what is parsed, and counts it.
    fn compare(noted: &Members<'_>, parsed: &Members<'_>) -> usize {
        assert_eq!(noted.iter().collect::<Vec<_>>(), parsed.iter().collect::<Vec<_>>());
        let inside = parsed.iter().map(|(name, value)| {
            assert_eq!(noted.get(name), Some(value));
            match (noted.object(name), parsed.object(name)) {
                (Some(noted), Some(parsed)) => compare(&noted, &parsed),
                (noted, parsed) => usize::from(noted.is_some() != parsed.is_some()) * 1000,
            }
        });
        parsed.iter().count() + inside.sum::<usize>()
    }

    #[test]
    fn pieces_of_text_are_one_text() {
        assert_eq!(
            event("<r xsi:type=\"X\"><a>1<![CDATA[<&]]>2<!-- no -->&amp;\r\n&#13;</a></r>"),
            r#"{"_typeName":"X","a":"1<&2&\n\r"}"#
        );
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

    /// Whatever a product or a wire does to a record, the answer is a text that is JSON, or a reason.
    #[test]
    fn damage_is_a_reason_and_nothing_worse() {
        let record = r#"<e:returnval xmlns:x="http://www.w3.org/2001/XMLSchema-instance" x:type="AccountCreatedEvent"><key>-7</key>
            <userName>CORP\ü&amp;&#x41;</userName><spec><id>a</id><password>p</password></spec><n a='>'/><![CDATA[<]]><!-- --></e:returnval>"#;
        let pieces = [
            "<",
            ">",
            "/",
            "\"",
            "'",
            "&",
            ";",
            "<!--",
            "-->",
            "<![CDATA[",
            "]]>",
            "\\",
            "\u{0}",
            "é",
            "password",
            "=",
            ":",
            "x:type",
        ];
        let (mut read, mut refused) = (0, 0);
        let boundaries: Vec<usize> = record.char_indices().map(|(at, _)| at).collect();
        for (number, &at) in boundaries.iter().enumerate() {
            for (other, piece) in pieces.iter().enumerate() {
                let end = boundaries[(number + other * 7).min(boundaries.len() - 1)].max(at);
                // Cut out, put in, cut off.
                for damaged in [
                    format!("{}{}", &record[..at], &record[end..]),
                    format!("{}{piece}{}", &record[..at], &record[at..]),
                    record[..at].to_owned(),
                ] {
                    let document = readable(damaged.into_bytes());
                    for element in elements(&document, "e:returnval") {
                        match to_json(element, Declared::Event) {
                            Ok(json) => {
                                read += 1;
                                serde_json::from_str::<serde_json::Value>(&json)
                                    .unwrap_or_else(|error| panic!("{error}: {json}"));
                            }
                            Err(_) => refused += 1,
                        }
                        assert!(crate::redact::without_passwords(element).len() <= element.len() + 40);
                    }
                }
            }
        }
        assert!(read > 1000 && refused > 1000, "{read} {refused}");
    }
}
