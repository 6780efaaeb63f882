//! The part of the query language that clients use: `field:value`, quotes, wildcards, escapes, `AND`, `OR`, `NOT` and
//! parentheses. Fields are exact and distinguish case.

use std::borrow::Cow;

use super::data::Document;
use crate::records::SpsSession;

/// A parsed query.
#[derive(Debug)]
pub(super) enum Query {
    All(Vec<Query>),
    Any(Vec<Query>),
    Not(Box<Query>),
    Term(&'static str, Vec<Piece>),
}

/// A piece of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    Char(char),
    One,
    Any,
}

/// Searchable fields that the documents of the stand-in can fill.
const FIELDS: [&str; 37] = [
    "active",
    "hidden",
    "phantom",
    "origin",
    "protocol",
    "verdict",
    "node_id",
    "revision",
    "client.ip",
    "client.name",
    "client.port",
    "server.ip",
    "server.name",
    "server.port",
    "user.id",
    "user.name",
    "user.name_domain",
    "user.gateway_username",
    "user.gateway_username_domain",
    "user.server_username",
    "recording.connection_policy",
    "recording.connection_policy_id",
    "recording.channel_policy",
    "recording.auth_method",
    "recording.verdict",
    "recording.session_id",
    "recording.has_accepted_channel",
    "recording.content_reference_id",
    "recording.target.ip",
    "recording.target.name",
    "recording.target.port",
    "recording.server_local.ip",
    "recording.server_local.port",
    "analytics.score.aggregated",
    "recording.archived",
    "recording.index_status",
    "user.server_username_domain",
];

impl Query {
    /// Reads a query; the error is the message that the product's 400 carries.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser { rest: text };
        let query = parser.any()?;
        parser.space();
        if parser.rest.is_empty() { Ok(query) } else { Err(format!("unexpected '{}'", parser.rest)) }
    }

    pub(super) fn matches(&self, document: Document<'_>) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.matches(document)),
            Self::Any(parts) => parts.iter().any(|part| part.matches(document)),
            Self::Not(part) => !part.matches(document),
            Self::Term(field, pattern) => match document {
                Document::Session(session) => {
                    value(session, field).is_some_and(|value| fits(pattern, &value.chars().collect::<Vec<_>>()))
                }
                Document::Item { .. } => false,
            },
        }
    }
}

struct Parser<'q> {
    rest: &'q str,
}

impl Parser<'_> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn word(&mut self, word: &str) -> bool {
        self.space();
        match self.rest.strip_prefix(word) {
            Some(rest) if rest.starts_with([' ', '(']) => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn eat(&mut self, mark: char) -> bool {
        self.space();
        match self.rest.strip_prefix(mark) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn at_end(&mut self) -> bool {
        self.space();
        self.rest.is_empty() || self.rest.starts_with(')')
    }

    /// Terms without an operator between them are alternatives.
    fn any(&mut self) -> Result<Query, String> {
        let mut parts = vec![self.all()?];
        loop {
            let or = self.word("OR");
            if !or && self.at_end() {
                break;
            }
            parts.push(self.all()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Query::Any(parts) })
    }

    fn all(&mut self) -> Result<Query, String> {
        let mut parts = vec![self.one()?];
        while self.word("AND") {
            parts.push(self.one()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Query::All(parts) })
    }

    fn one(&mut self) -> Result<Query, String> {
        if self.word("NOT") {
            return Ok(Query::Not(Box::new(self.one()?)));
        }
        if self.eat('(') {
            let query = self.any()?;
            return if self.eat(')') { Ok(query) } else { Err("missing )".to_owned()) };
        }
        self.space();
        let end = self.rest.find([':', ' ', '(', ')', '"']).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        let Some(rest) = rest.strip_prefix(':') else { return Err(format!("expected a field at '{}'", self.rest)) };
        let field = FIELDS.iter().find(|field| **field == name).ok_or_else(|| format!("unknown field '{name}'"))?;
        self.rest = rest;
        if self.eat('(') {
            let mut values = Vec::new();
            while !self.at_end() {
                self.word("OR");
                values.push(Query::Term(field, self.pattern()?));
            }
            return if self.eat(')') && !values.is_empty() {
                Ok(Query::Any(values))
            } else {
                Err("missing )".to_owned())
            };
        }
        Ok(Query::Term(field, self.pattern()?))
    }

    /// A quoted text, or a bare word with wildcards.
    fn pattern(&mut self) -> Result<Vec<Piece>, String> {
        self.space();
        let quoted = self.rest.starts_with('"');
        let mut chars = self.rest.char_indices().skip(usize::from(quoted));
        let mut pieces = Vec::new();
        let mut end = self.rest.len();
        let mut closed = !quoted;
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => pieces.push(Piece::Char(chars.next().ok_or("a lone backslash at the end")?.1)),
                '"' if quoted => {
                    (end, closed) = (at + 1, true);
                    break;
                }
                ' ' | ')' if !quoted => {
                    end = at;
                    break;
                }
                '*' if !quoted => pieces.push(Piece::Any),
                '?' if !quoted => pieces.push(Piece::One),
                '(' | '[' | ']' | '{' | '}' | '"' | ':' | '/' | '^' | '~' | '!' if !quoted => {
                    return Err(format!("'{c}' has to be escaped"));
                }
                c => pieces.push(Piece::Char(c)),
            }
        }
        self.rest = &self.rest[end..];
        if !closed || pieces.is_empty() {
            return Err("missing value".to_owned());
        }
        Ok(pieces)
    }
}

fn fits(pattern: &[Piece], text: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((Piece::Any, rest)) => (0..=text.len()).any(|skipped| fits(rest, &text[skipped..])),
        Some((piece, rest)) => text
            .split_first()
            .is_some_and(|(c, text)| (*piece == Piece::One || *piece == Piece::Char(*c)) && fits(rest, text)),
    }
}

fn value<'s>(session: &'s SpsSession, field: &str) -> Option<Cow<'s, str>> {
    let number = |number: i64| Some(Cow::Owned(number.to_string()));
    let truth = |truth: bool| Some(Cow::Borrowed(if truth { "true" } else { "false" }));
    match field {
        "active" => truth(session.active),
        "hidden" => truth(session.hidden),
        "phantom" => truth(session.phantom),
        "origin" => Some(session.origin.into()),
        "protocol" => Some(session.protocol.into()),
        "verdict" => Some(session.verdict.into()),
        "node_id" => Some(session.node_id.as_str().into()),
        "revision" => number(session.revision),
        "client.ip" => Some(session.client_ip.as_str().into()),
        "client.name" => Some(session.client_name.as_str().into()),
        "client.port" => number(session.client_port.into()),
        "server.ip" => session.server_ip.as_deref().map(Cow::Borrowed),
        "server.name" => session.server_ip.as_ref().map(|_| session.server_name.as_str().into()),
        "server.port" => session.server_ip.as_ref().and_then(|_| number(session.server_port.into())),
        "user.id" => Some(session.user_id.as_str().into()),
        "user.name" => Some(session.user_name.as_str().into()),
        "user.gateway_username" => session.gateway_username.as_deref().map(Cow::Borrowed),
        "user.server_username" => Some(session.server_username.as_str().into()),
        "recording.connection_policy" => Some(session.connection_policy.into()),
        "recording.connection_policy_id" => Some(session.connection_policy_id.as_str().into()),
        "recording.channel_policy" => Some(session.channel_policy.into()),
        "recording.auth_method" => Some(session.auth_method.into()),
        "recording.verdict" => Some(session.recording_verdict.into()),
        "recording.session_id" => Some(session.sid.as_str().into()),
        "recording.has_accepted_channel" => truth(session.has_accepted_channel),
        "recording.content_reference_id" => number(session.content_reference_id),
        "recording.target.ip" | "recording.target.name" => Some(session.target_ip.as_str().into()),
        "recording.target.port" => number(session.target_port.into()),
        "recording.server_local.ip" => Some(session.server_local_ip.as_str().into()),
        "recording.server_local.port" => number(session.server_local_port.into()),
        "analytics.score.aggregated" => session.risk.and_then(|risk| number(risk.into())),
        "recording.archived" => truth(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syntax() {
        for good in [
            "protocol:SSH AND user.name:jdoe",
            "client.name: 192.0.2.7 AND user.name:*",
            r#"origin:("RECORDING" OR "LOG")"#,
            r#"(user.name:"a\"b" OR user.name:*\\*) AND NOT active:true"#,
            "active:true protocol:RDP",
        ] {
            assert!(Query::parse(good).is_ok(), "{good}: {:?}", Query::parse(good));
        }
        for bad in ["", "jdoe", "nothing:x", r#"user.name:"x"#, "(active:true", "user.name:a:b", "active:true)"] {
            assert!(Query::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn wildcards() {
        let Query::Term(_, pattern) = Query::parse(r"user.name:*\\?na*").unwrap() else { panic!("no term") };
        let fit = |text: &str| fits(&pattern, &text.chars().collect::<Vec<_>>());
        assert!(fit(r"CORP\ana"));
        assert!(fit(r"\Ana.x"));
        assert!(!fit("ana"));
    }
}
