//! XML's tokens, borrowed from the text. As little of XML as servers send in SOAP answers, and every departure from it an
//! error: elements, attributes, text, character data, comments. There are no documents with definitions of their own.

use memchr::memmem;
use memchr::{memchr, memchr3};

/// A piece of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token<'x> {
    /// `<name attributes>`, or `<name attributes/>`.
    Open(Tag<'x>),
    /// `</name>`
    Close(&'x str),
    /// What stands between tags, with its references.
    Text(&'x str),
    /// Text without references.
    Verbatim(&'x str),
}

/// The tag that opens an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag<'x> {
    pub(crate) name: &'x str,
    attributes: &'x str,
    /// There is nothing in it.
    pub(crate) empty: bool,
}

/// Reads a text token by token.
#[derive(Debug)]
pub(crate) struct Tokens<'x> {
    text: &'x str,
    at: usize,
}

impl<'x> Tokens<'x> {
    pub(crate) fn new(text: &'x str) -> Self {
        Self { text, at: 0 }
    }

    /// The next token; none at the end of the text.
    pub(crate) fn next(&mut self) -> Result<Option<Token<'x>>, String> {
        loop {
            let rest = &self.text[self.at..];
            let bytes = rest.as_bytes();
            match bytes.first() {
                None => return Ok(None),
                Some(b'<') => {}
                Some(_) => {
                    let end = memchr(b'<', bytes).unwrap_or(bytes.len());
                    self.at += end;
                    return Ok(Some(Token::Text(&rest[..end])));
                }
            }
            match bytes.get(1) {
                Some(b'/') => {
                    let end = memchr(b'>', bytes).ok_or_else(|| self.error("a tag without an end"))?;
                    self.at += end + 1;
                    return Ok(Some(Token::Close(rest[2..end].trim_end())));
                }
                Some(b'!') => {
                    if let Some(data) = rest.strip_prefix("<![CDATA[") {
                        let end = memmem::find(data.as_bytes(), b"]]>");
                        let end = end.ok_or_else(|| self.error("character data without an end"))?;
                        self.at += "<![CDATA[".len() + end + "]]>".len();
                        return Ok(Some(Token::Verbatim(&data[..end])));
                    }
                    self.skip(rest, "<!--", "-->")?;
                }
                Some(b'?') => self.skip(rest, "<?", "?>")?,
                _ => {
                    let tag = self.tag(rest)?;
                    return Ok(Some(Token::Open(tag)));
                }
            }
        }
    }

    fn skip(&mut self, rest: &str, open: &str, close: &str) -> Result<(), String> {
        let inside = rest.strip_prefix(open).ok_or_else(|| self.error("a declaration"))?;
        let end = memmem::find(inside.as_bytes(), close.as_bytes());
        self.at += open.len() + end.ok_or_else(|| self.error("a comment without an end"))? + close.len();
        Ok(())
    }

    /// The text of an element whose tag was just read, if there is nothing else in it, as in most elements.
    pub(crate) fn text_to_end_of(&mut self, tag: Tag<'x>) -> Option<&'x str> {
        let rest = &self.text[self.at..];
        let end = memchr(b'<', rest.as_bytes())?;
        rest[end..].strip_prefix("</")?.strip_prefix(tag.name)?.strip_prefix('>')?;
        self.at += end + tag.name.len() + "</>".len();
        Some(&rest[..end])
    }

    fn tag(&mut self, rest: &'x str) -> Result<Tag<'x>, String> {
        let bytes = rest.as_bytes();
        let mut end = 1 + bytes[1..].iter().position(|byte| !is_of_name(*byte)).unwrap_or(bytes.len() - 1);
        if end > 1 && bytes[end - 1] != b':' && bytes.get(end) == Some(&b'>') {
            self.at += end + 1;
            return Ok(Tag { name: &rest[1..end], attributes: "", empty: false });
        }
        loop {
            // An attribute's value may hold the character that ends a tag.
            end += memchr3(b'>', b'"', b'\'', &bytes[end..]).ok_or_else(|| self.error("a tag without an end"))?;
            let mark = bytes[end];
            if mark == b'>' {
                break;
            }
            end += 1;
            end += 1 + memchr(mark, &bytes[end..]).ok_or_else(|| self.error("an attribute without an end"))?;
        }
        let inside = &rest[1..end];
        let (inside, empty) = inside.strip_suffix('/').map_or((inside, false), |inside| (inside, true));
        let name_end = inside.bytes().position(|byte| byte.is_ascii_whitespace()).unwrap_or(inside.len());
        let (name, attributes) = inside.split_at(name_end);
        let ill_formed = name.is_empty()
            || name.ends_with(':')
            || name.bytes().any(|byte| matches!(byte, 0..=b' ' | b'<' | b'"' | b'\'' | b'=' | b'\\'));
        if ill_formed {
            return Err(self.error("a tag without a name"));
        }
        self.at += end + 1;
        Ok(Tag { name, attributes: attributes.trim(), empty })
    }

    fn error(&self, what: &str) -> String {
        format!("{what} at byte {}", self.at)
    }
}

/// The bytes of usual names; others are looked at twice.
fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b':')
}

impl<'x> Tag<'x> {
    /// The name without its prefix.
    pub(crate) fn local_name(&self) -> &'x str {
        self.name.bytes().position(|byte| byte == b':').map_or(self.name, |at| &self.name[at + 1..])
    }

    /// Whether it has any attribute.
    pub(crate) fn is_plain(&self) -> bool {
        self.attributes.is_empty()
    }

    /// Names and values of its attributes, values as written.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = Result<(&'x str, &'x str), String>> {
        let mut rest = self.attributes;
        std::iter::from_fn(move || {
            rest = rest.trim_start();
            if rest.is_empty() {
                return None;
            }
            let parsed = rest.split_once('=').and_then(|(name, value)| {
                let value = value.trim_start();
                let mark = value.chars().next().filter(|mark| matches!(mark, '"' | '\''))?;
                let (value, after) = value[1..].split_once(mark)?;
                Some((name.trim_end(), value, after))
            });
            let Some((name, value, after)) = parsed else {
                let wrong = std::mem::take(&mut rest);
                return Some(Err(format!("an attribute that is none: {}", wrong.chars().take(40).collect::<String>())));
            };
            rest = after;
            Some(Ok((name, value)))
        })
    }
}

/// The text behind the references of a text; an error for a name that XML does not know.
pub(crate) fn resolve(text: &str, out: &mut String) -> Result<(), String> {
    let mut rest = text;
    while let Some(at) = memchr(b'&', rest.as_bytes()) {
        let (before, reference) = rest.split_at(at);
        out.push_str(before);
        let end = memchr(b';', reference.as_bytes()).ok_or("a reference without an end")?;
        out.push(character(&reference[1..end])?);
        rest = &reference[end + 1..];
    }
    out.push_str(rest);
    Ok(())
}

fn character(reference: &str) -> Result<char, String> {
    Ok(match reference {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        other => {
            let unknown = || format!("unknown entity &{other};");
            let number = other.strip_prefix('#').ok_or_else(unknown)?;
            let code = match number.strip_prefix('x') {
                Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16),
                None => number.parse(),
            };
            // A reference to a character that XML forbids stands for it all the same.
            char::from_u32(code.map_err(|_| unknown())?)
                .filter(|c| *c >= ' ' || matches!(c, '\t' | '\n' | '\r'))
                .unwrap_or('\u{fffd}')
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use quick_xml::Reader;
    use quick_xml::events::Event;

    /// Everything in a text, one word for each token; an error as such.
    fn ours(text: &str) -> Result<Vec<String>, String> {
        let mut tokens = Tokens::new(text);
        let mut found = Vec::new();
        while let Some(token) = tokens.next()? {
            found.push(match token {
                Token::Open(tag) => {
                    let attributes: Result<Vec<_>, _> = tag
                        .attributes()
                        .map(|attribute| attribute.map(|(name, value)| format!(" {name}={value}")))
                        .collect();
                    format!("<{}{}{}", tag.name, attributes?.concat(), if tag.empty { "/" } else { "" })
                }
                Token::Close(name) => format!("/{name}"),
                Token::Text(raw) => {
                    let mut text = String::new();
                    resolve(raw, &mut text)?;
                    text
                }
                Token::Verbatim(data) => data.to_owned(),
            });
        }
        Ok(found)
    }

    /// The same of a full parser.
    fn theirs(text: &str) -> Vec<String> {
        let mut reader = Reader::from_str(text);
        reader.config_mut().check_end_names = false;
        reader.config_mut().allow_unmatched_ends = true;
        let mut found: Vec<String> = Vec::new();
        let mut open_text = false;
        let tag = |start: &quick_xml::events::BytesStart<'_>, empty| {
            let attributes: Vec<String> = start
                .attributes()
                .map(|attribute| attribute.map(|a| format!(" {}={}", a.key.0, a.value)).unwrap())
                .collect();
            format!("<{}{}{empty}", start.name().0, attributes.concat())
        };
        loop {
            let event = reader.read_event().unwrap();
            let more = match &event {
                Event::Text(part) => Some(part.to_string()),
                Event::GeneralRef(reference) => Some(match &**reference {
                    "amp" => "&".into(),
                    "lt" => "<".into(),
                    _ => reference.resolve_char_ref().unwrap().unwrap().to_string(),
                }),
                _ => None,
            };
            if let Some(more) = more {
                match found.last_mut().filter(|_| open_text) {
                    Some(text) => text.push_str(&more),
                    None => found.push(more),
                }
                open_text = true;
                continue;
            }
            open_text = false;
            match event {
                Event::Start(start) => found.push(tag(&start, "")),
                Event::Empty(start) => found.push(tag(&start, "/")),
                Event::End(end) => found.push(format!("/{}", end.name().0)),
                Event::CData(data) => found.push(data.to_string()),
                Event::Eof => return found,
                _ => {}
            }
        }
    }

    #[test]
    fn the_same_tokens_as_a_full_parser() {
        let pieces = [
            "<a>",
            "</a>",
            "<b x=\"1\"/>",
            "<c:d y='>' z = \"&lt;'\" >",
            "</c:d >",
            "text",
            " ",
            "&amp;",
            "&#65;",
            "&#x1F980;",
            "<![CDATA[<&]]>",
            "<!-- < -->",
            "<?p i?>",
            "ü\n",
            "<e />",
            "&lt;",
        ];
        // Every sequence of three, and long ones that wander through all of them.
        let (count, mut seen) = (pieces.len(), 0);
        for number in 0..count * count * count {
            let text = [number, number / count, number / count / count].map(|at| pieces[at % count]).concat();
            let separated: Vec<String> = ours(&text).unwrap().into_iter().filter(|token| !token.is_empty()).collect();
            assert_eq!(separated, theirs(&text), "{text}");
            seen += 1;
        }
        assert_eq!(seen, 4096);
    }

    #[test]
    fn what_is_no_xml() {
        for wrong in [
            "<a",
            "<a b=\"",
            "<a b=c>",
            "</a",
            "<>",
            "< a>",
            "<a:>",
            "<!-- ",
            "<![CDATA[ ",
            "<!DOCTYPE x>",
            "a&b;c",
            "a&b",
            "&#xZ;",
        ] {
            assert!(ours(wrong).is_err(), "{wrong}");
        }
        assert_eq!(ours("&#1;&#0;").unwrap(), ["\u{fffd}\u{fffd}"]);
    }
}
