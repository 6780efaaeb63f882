//! A JSON document taken apart in one pass without building a tree, forgiving about leaves of an unexpected type: the
//! appliance's bodies differ by version and nothing but the key is guaranteed.
//!
//! The text has been read by a JSON parser before, as part of the answer it came in; finding its members again only has to
//! find where they begin and end.

use std::borrow::Cow;
use std::cell::Cell;

use memchr::{memchr, memchr2};

/// Objects inside objects deeper than this stay whole.
const DEEPEST: usize = 6;

/// The members of a document and of the objects inside it, each before those inside it.
#[derive(Debug, Default)]
pub(crate) struct Tape<'a> {
    members: Vec<Member<'a>>,
}

#[derive(Debug)]
struct Member<'a> {
    name: Cow<'a, str>,
    /// As received.
    value: &'a str,
    /// Members up to the next one of the same object, this one included.
    span: usize,
    taken: Cell<bool>,
}

/// Members of an object in the order received. What is taken out has found its column; the rest is `unmapped`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Object<'t, 'a> {
    members: &'t [Member<'a>],
    wrong_types: usize,
}

impl<'a> Tape<'a> {
    /// Reads an object that is valid JSON in place of what was read before; the error says what else it is.
    pub(crate) fn read(&mut self, text: &'a str) -> Result<(), &'static str> {
        self.members.clear();
        let mut reader = Reader { text, at: 0, members: &mut self.members };
        reader.space();
        reader.object(0).ok_or("no JSON object")
    }

    /// Reads an object that is valid JSON.
    pub(crate) fn parse(text: &'a str) -> Result<Self, &'static str> {
        let mut tape = Self::default();
        tape.read(text)?;
        Ok(tape)
    }

    /// Reads an object that nobody has looked at yet.
    pub(crate) fn check(text: &'a str) -> Result<Self, String> {
        serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(|error| error.to_string())?;
        Self::parse(text).map_err(str::to_owned)
    }

    /// The outermost object.
    pub(crate) fn root(&self) -> Object<'_, 'a> {
        Object { members: &self.members, wrong_types: 0 }
    }
}

/// Finds the members of valid JSON. Every byte of every answer comes by here: strings, most of them, are jumped over.
struct Reader<'m, 'a> {
    text: &'a str,
    at: usize,
    members: &'m mut Vec<Member<'a>>,
}

impl<'a> Reader<'_, 'a> {
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while self.byte().is_some_and(|byte| byte <= b' ') {
            self.at += 1;
        }
    }

    fn object(&mut self, depth: usize) -> Option<()> {
        self.eat(b'{')?;
        self.space();
        while self.byte()? != b'}' {
            let name = self.name()?;
            self.space();
            self.eat(b':')?;
            self.space();
            let place = self.members.len();
            self.members.push(Member { name, value: "", span: 1, taken: Cell::new(false) });
            let value = self.value(depth + 1)?;
            let span = self.members.len() - place;
            let member = &mut self.members[place];
            (member.value, member.span) = (value, span);
            self.space();
            if self.byte()? == b',' {
                self.at += 1;
                self.space();
            }
        }
        self.at += 1;
        Some(())
    }

    fn eat(&mut self, byte: u8) -> Option<()> {
        (self.byte()? == byte).then(|| self.at += 1)
    }

    fn name(&mut self) -> Option<Cow<'a, str>> {
        let begin = self.at;
        self.eat(b'"')?;
        let is_escaped = self.string()?;
        if is_escaped {
            return text_of(self.text.get(begin..self.at)?);
        }
        self.text.get(begin + 1..self.at - 1).map(Cow::Borrowed)
    }

    /// One value, as it is written; the members of an object inside are found on the way.
    fn value(&mut self, depth: usize) -> Option<&'a str> {
        let begin = self.at;
        match self.byte()? {
            b'"' => {
                self.at += 1;
                self.string()?;
            }
            b'{' if depth < DEEPEST => self.object(depth)?,
            b'{' | b'[' => self.nest()?,
            _ => {
                let rest = self.text.as_bytes().get(begin..)?;
                let is_over = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b'\0'..=b' ');
                self.at += rest.iter().position(is_over).unwrap_or(rest.len());
            }
        }
        self.text.get(begin..self.at)
    }

    /// The rest of a string, its closing quote included. True if anything in it is escaped.
    fn string(&mut self) -> Option<bool> {
        let mut is_escaped = false;
        loop {
            let rest = self.text.as_bytes().get(self.at..)?;
            let found = memchr2(b'"', b'\\', rest)?;
            self.at += found + 1;
            if rest[found] == b'"' {
                return Some(is_escaped);
            }
            is_escaped = true;
            self.at += 1;
        }
    }

    /// A list, or an object that stays whole.
    fn nest(&mut self) -> Option<()> {
        let mut depth = 0;
        loop {
            let byte = self.byte()?;
            self.at += 1;
            match byte {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Some(());
            }
        }
    }
}

impl<'t, 'a> Object<'t, 'a> {
    /// Members that are still there.
    fn left(&self) -> impl Iterator<Item = &'t Member<'a>> + use<'t, 'a> {
        self.all().map(|(_, member)| member).filter(|member| !member.taken.get())
    }

    fn all(&self) -> impl Iterator<Item = (usize, &'t Member<'a>)> + use<'t, 'a> {
        let members = self.members;
        let mut at = 0;
        std::iter::from_fn(move || {
            let member = members.get(at)?;
            let place = at;
            at += member.span;
            Some((place, member))
        })
    }

    fn find(&self, name: &str) -> Option<(usize, &'t Member<'a>)> {
        self.all().find(|(_, member)| member.name == name && !member.taken.get())
    }

    /// Takes a member out. `null` counts as missing.
    pub(crate) fn take(&mut self, name: &str) -> Option<&'a str> {
        let (_, member) = self.find(name)?;
        member.taken.set(true);
        (member.value != "null").then_some(member.value)
    }

    /// Looks at a member that stays.
    pub(crate) fn peek(&self, name: &str) -> Option<&'a str> {
        self.find(name).map(|(_, member)| member.value).filter(|value| *value != "null")
    }

    /// Takes a member that `read` understands; any other stays, and is counted.
    fn take_as<T>(&mut self, name: &str, read: impl FnOnce(&'a str) -> Option<T>) -> Option<T> {
        let (_, member) = self.find(name).filter(|(_, member)| member.value != "null")?;
        let found = read(member.value);
        if found.is_some() {
            member.taken.set(true);
        } else {
            self.wrong_types += 1;
        }
        found
    }

    /// A text, or a number as it was written. Empty is unknown.
    pub(crate) fn text(&mut self, name: &str) -> Option<Cow<'a, str>> {
        self.take_as(name, text_of).filter(|text| !text.trim().is_empty())
    }

    /// A whole number, also where it was written as text.
    pub(crate) fn int(&mut self, name: &str) -> Option<i64> {
        self.take_as(name, |value| bare(value).parse().ok())
    }

    /// A port; anything outside its range is none.
    pub(crate) fn port(&mut self, name: &str) -> Option<i32> {
        self.take_as(name, |value| bare(value).parse::<u16>().ok()).map(i32::from)
    }

    /// Truth, also where it was written as text.
    pub(crate) fn boolean(&mut self, name: &str) -> Option<bool> {
        self.take_as(name, |value| match bare(value) {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        })
    }

    /// An object, taken apart in its turn. A missing one is empty.
    pub(crate) fn object(&mut self, name: &str) -> Self {
        let Some((place, member)) = self.find(name).filter(|(_, member)| member.value != "null") else {
            return Self::default();
        };
        let inside = self.inside(place, member);
        match &inside {
            Some(_) => member.taken.set(true),
            None => self.wrong_types += 1,
        }
        inside.unwrap_or_default()
    }

    /// An object that stays where it is; what is taken out of it is not missed there.
    pub(crate) fn peek_object(&self, name: &str) -> Self {
        self.find(name).and_then(|(place, member)| self.inside(place, member)).unwrap_or_default()
    }

    fn inside(&self, place: usize, member: &Member<'a>) -> Option<Self> {
        let members = &self.members[place + 1..place + member.span];
        let whole = !members.is_empty() || member.value.trim_matches(['{', '}']).trim().is_empty();
        (member.value.starts_with('{') && whole).then_some(Self { members, wrong_types: 0 })
    }

    /// Leaves that had an unexpected type and were left where they are.
    pub(crate) fn wrong_types(&self) -> usize {
        self.wrong_types
    }

    /// Whether there are no members left.
    pub(crate) fn is_empty(&self) -> bool {
        self.left().next().is_none()
    }
}

/// The text of a string or the literal of a number.
pub(crate) fn text_of(value: &str) -> Option<Cow<'_, str>> {
    match value.as_bytes().first()? {
        b'"' => {
            let inner = value.get(1..value.len().checked_sub(1)?)?;
            if memchr(b'\\', inner.as_bytes()).is_some() {
                serde_json::from_str(value).ok().map(Cow::Owned)
            } else {
                Some(Cow::Borrowed(inner))
            }
        }
        b'-' | b'0'..=b'9' => Some(Cow::Borrowed(value)),
        _ => None,
    }
}

/// What is written inside the quotes, if there are any.
fn bare(value: &str) -> &str {
    value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value)
}

/// The first text of a list, or the text itself where the version sends no list.
pub(crate) fn first_text(value: &str) -> Option<Cow<'_, str>> {
    if value.starts_with('[') {
        return texts(value)?.into_iter().next();
    }
    text_of(value)
}

/// The texts of a list; whatever else is in it is left out.
pub(crate) fn texts(value: &str) -> Option<Vec<Cow<'_, str>>> {
    let items: Vec<&serde_json::value::RawValue> = serde_json::from_str(value).ok()?;
    Some(items.into_iter().filter_map(|item| text_of(item.get())).collect())
}

/// Writes the members that found no column, values as received.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    text: String,
}

impl Rest {
    /// Room for so many bytes, so that most need no more.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { text: String::with_capacity(bytes) }
    }

    /// Adds a value under a name.
    pub(crate) fn member(&mut self, name: &'static str, value: &str) {
        self.open();
        push_name(&mut self.text, name);
        self.text.push_str(value);
    }

    /// Adds what is left of an object, in an object of that name.
    pub(crate) fn object(&mut self, name: &'static str, object: &Object<'_, '_>) {
        if object.left().all(|member| member.value == "null") {
            return;
        }
        self.open();
        push_name(&mut self.text, name);
        let begin = self.text.len();
        self.members(object, begin);
        self.text.push('}');
    }

    /// Adds every member that is left of an object.
    pub(crate) fn all(&mut self, object: &Object<'_, '_>) {
        self.members(object, 0);
    }

    /// Writes members; the object that they belong to begins at `begin` of the text.
    fn members(&mut self, object: &Object<'_, '_>, begin: usize) {
        for member in object.left().filter(|member| member.value != "null") {
            self.text.push(if self.text.len() == begin { '{' } else { ',' });
            match &member.name {
                // It stood between quotes as it is.
                Cow::Borrowed(name) => push_name(&mut self.text, name),
                Cow::Owned(name) => {
                    self.text.push_str(&serde_json::Value::from(name.as_str()).to_string());
                    self.text.push(':');
                }
            }
            self.text.push_str(member.value);
        }
    }

    fn open(&mut self) {
        self.text.push(if self.text.is_empty() { '{' } else { ',' });
    }

    /// The object, if there is anything in it.
    pub(crate) fn finish(mut self) -> Option<String> {
        if self.text.is_empty() {
            return None;
        }
        self.text.push('}');
        Some(self.text)
    }
}

fn push_name(text: &mut String, name: &str) {
    text.push('"');
    text.push_str(name);
    text.push_str("\":");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_of_any_type() {
        let tape = Tape::check(
            r#"{"a":"x\ny","b":12,"c":"34","d":null,"e":{"f":true},"g":[1],"h":"true","i":70000,"j":{"k":{}}}"#,
        )
        .unwrap();
        let mut object = tape.root();
        assert_eq!(object.text("a").as_deref(), Some("x\ny"));
        assert_eq!(object.text("b").as_deref(), Some("12"));
        assert_eq!(object.int("c"), Some(34));
        assert_eq!(object.text("d"), None);
        assert_eq!(object.object("e").boolean("f"), Some(true));
        assert_eq!(object.text("g"), None);
        assert_eq!(object.boolean("h"), Some(true));
        assert_eq!(object.port("i"), None);
        assert_eq!(object.wrong_types(), 2);
        let mut rest = Rest::default();
        rest.all(&object);
        rest.object("more", &object.object("j"));
        rest.object("none", &Object::default());
        assert_eq!(rest.finish().as_deref(), Some(r#"{"g":[1],"i":70000,"j":{"k":{}},"more":{"k":{}}}"#));
        assert!(!object.is_empty());
    }

    #[test]
    fn members_are_found_as_a_parser_finds_them() {
        let deep = format!("{{\"v\":{}{}}}", "{\"a\":[{\"b\":".repeat(30), "1".to_owned() + &"}]}".repeat(30));
        for text in [
            "{}",
            " { } ",
            r#"{"a":{}, "b" : [ ] ,"c":[{"d":"}]\""},{}],"e":"\\"}"#,
            "{\"\\u0061\\\"\":-1.5e3,\n\"ü\":\"\\ud83d\\ude00\", \"t\":true\t}",
            &deep,
        ] {
            let tape = Tape::check(text).unwrap();
            let mut rest = Rest::default();
            rest.all(&tape.root());
            let again = rest.finish().unwrap_or_else(|| "{}".to_owned());
            let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
            assert_eq!(read(&again), read(text), "{text}");
        }
        for text in ["", "[]", "7", "{", "{\"a\"", "{\"a\":", "{\"a\":\"", "{\"a\":\"\\", "{\"a\":[", "null"] {
            assert!(Tape::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_lies_too_deep_stays_whole() {
        let text = format!("{}1{}", "{\"a\":".repeat(12), "}".repeat(12));
        let tape = Tape::check(&text).unwrap();
        let mut object = tape.root();
        for _ in 1..DEEPEST {
            object = object.object("a");
        }
        assert!(object.object("a").is_empty() && object.wrong_types() == 1);
        assert!(object.peek("a").is_some_and(|value| value.starts_with("{\"a\":")));
    }

    #[test]
    fn lists_and_texts() {
        for (json, expected) in
            [(r#""a""#, Some("a")), (r#"["a","b"]"#, Some("a")), ("[]", None), ("[null,\"b\"]", Some("b"))]
        {
            assert_eq!(first_text(json).as_deref(), expected, "{json}");
        }
    }
}
