//! The compound documents of the audit API, all three generations of them, borrowed from the answer's text.
//!
//! `A` (2013): flat events, side-loaded `pseudonyms`, `users` and `accounts` beside them. `B` (since): members under
//! `links`, side-loaded objects under `linked`. `B'` is `B` with integers for event ids and nothing side-loaded.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use fedaudit_core::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// An id or a text. Canvas sends ids as numbers up to 2^63, or as strings when asked to; here both are their text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scalar<'a>(Cow<'a, str>);

impl Scalar<'_> {
    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&'a RawValue>::deserialize(deserializer)?.get();
        match raw.as_bytes().first() {
            Some(b'"') if !raw.contains('\\') => Ok(Self(Cow::Borrowed(&raw[1..raw.len() - 1]))),
            Some(b'"') => {
                serde_json::from_str(raw).map(|text| Self(Cow::Owned(text))).map_err(serde::de::Error::custom)
            }
            Some(b'0'..=b'9' | b'-') => Ok(Self(Cow::Borrowed(raw))),
            _ => Err(serde::de::Error::custom("expected a text or a number")),
        }
    }
}

/// The name of a member.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }
            fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// The text of a member that is there and not empty.
pub(crate) fn text<'t>(scalar: Option<&'t Scalar<'_>>) -> Option<&'t str> {
    scalar.map(Scalar::text).filter(|text| !text.is_empty())
}

/// Declares an object whose members are scalars, keeps every further member as it stands.
macro_rules! object {
    ($(#[$meta:meta])* $name:ident { $($field:ident: $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Default)]
        #[allow(clippy::struct_field_names, reason = "the names are Canvas's")]
        pub(crate) struct $name<'a> {
            $(pub(crate) $field: Option<$type>,)*
            /// Members of no known name, in order.
            pub(crate) further: Vec<(Scalar<'a>, &'a RawValue)>,
        }

        impl<'de: 'a, 'a> Deserialize<'de> for $name<'a> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Members<'a>(std::marker::PhantomData<&'a ()>);
                impl<'de: 'a, 'a> Visitor<'de> for Members<'a> {
                    type Value = $name<'a>;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("an object")
                    }
                    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<$name<'a>, M::Error> {
                        let mut object = $name::default();
                        while let Some(Name(name)) = map.next_key::<Name<'a>>()? {
                            match name.as_ref() {
                                // Nobody can say which of two is meant, and one of them would be lost.
                                $(stringify!($field) if object.$field.is_some() => {
                                    return Err(serde::de::Error::duplicate_field(stringify!($field)));
                                })*
                                $(stringify!($field) => object.$field = map.next_value()?,)*
                                _ => object.further.push((Scalar(name), map.next_value()?)),
                            }
                        }
                        Ok(object)
                    }
                }
                deserializer.deserialize_map(Members(std::marker::PhantomData))
            }
        }
    };
}

object! {
    /// One audit event, flat or with links.
    Event {
        id: Scalar<'a>,
        created_at: Scalar<'a>,
        event_type: Scalar<'a>,
        pseudonym_id: Scalar<'a>,
        account_id: Scalar<'a>,
        user_id: Scalar<'a>,
        links: Links<'a>,
    }
}

object! {
    /// What an event of the newer forms refers to, in any of the logs. The names with `_id` were documented in 2013 and
    /// never seen.
    Links {
        login: Scalar<'a>,
        login_id: Scalar<'a>,
        account: Scalar<'a>,
        account_id: Scalar<'a>,
        user: Scalar<'a>,
        user_id: Scalar<'a>,
        page_view: Scalar<'a>,
        course: Scalar<'a>,
        assignment: Scalar<'a>,
        student: Scalar<'a>,
        grader: Scalar<'a>,
    }
}

impl Event<'_> {
    pub(crate) fn login(&self) -> Option<&str> {
        self.linked(|links| links.login.as_ref().or(links.login_id.as_ref()), self.pseudonym_id.as_ref())
    }

    pub(crate) fn account(&self) -> Option<&str> {
        self.linked(|links| links.account.as_ref().or(links.account_id.as_ref()), self.account_id.as_ref())
    }

    pub(crate) fn user(&self) -> Option<&str> {
        self.linked(|links| links.user.as_ref().or(links.user_id.as_ref()), self.user_id.as_ref())
    }

    pub(crate) fn page_view(&self) -> Option<&str> {
        self.linked(|links| links.page_view.as_ref(), None)
    }

    pub(crate) fn course(&self) -> Option<&str> {
        self.linked(|links| links.course.as_ref(), None)
    }

    pub(crate) fn assignment(&self) -> Option<&str> {
        self.linked(|links| links.assignment.as_ref(), None)
    }

    pub(crate) fn student(&self) -> Option<&str> {
        self.linked(|links| links.student.as_ref(), None)
    }

    pub(crate) fn grader(&self) -> Option<&str> {
        self.linked(|links| links.grader.as_ref(), None)
    }

    fn linked<'s, 'a>(
        &'s self,
        link: impl Fn(&'s Links<'s>) -> Option<&'s Scalar<'s>>,
        flat: Option<&'s Scalar<'a>>,
    ) -> Option<&'s str> {
        self.links.as_ref().and_then(link).or(flat).map(Scalar::text).filter(|text| !text.is_empty())
    }
}

/// A side-loaded object: its text, and the members that fill columns or stand in for missing ones.
#[derive(Debug)]
pub(crate) struct Linked<'a> {
    pub(crate) raw: &'a str,
    pub(crate) members: LinkedMembers<'a>,
}

/// Members of side-loaded objects of every collection.
#[derive(Debug, Deserialize)]
pub(crate) struct LinkedMembers<'a> {
    #[serde(borrow)]
    id: Option<Scalar<'a>>,
    #[serde(borrow)]
    pub(crate) name: Option<Scalar<'a>>,
    /// Of a user.
    #[serde(borrow)]
    pub(crate) login_id: Option<Scalar<'a>>,
    /// Of a login.
    #[serde(borrow)]
    pub(crate) unique_id: Option<Scalar<'a>>,
    #[serde(borrow)]
    pub(crate) user_id: Option<Scalar<'a>>,
    #[serde(borrow)]
    pub(crate) account_id: Option<Scalar<'a>>,
    #[serde(borrow)]
    pub(crate) remote_ip: Option<Scalar<'a>>,
    #[serde(borrow)]
    pub(crate) user_agent: Option<Scalar<'a>>,
    #[serde(borrow)]
    links: Option<PageViewLinks<'a>>,
}

#[derive(Debug, Deserialize)]
struct PageViewLinks<'a> {
    #[serde(borrow)]
    real_user: Option<Scalar<'a>>,
}

impl LinkedMembers<'_> {
    /// Somebody else acted in the user's name.
    pub(crate) fn is_masquerade(&self) -> bool {
        self.links.as_ref().is_some_and(|links| links.real_user.is_some())
    }
}

/// Side-loaded objects of one collection by id. Whatever cannot be read is left out: they never drive rows.
pub(crate) type Collection<'a> = HashMap<String, Linked<'a>>;

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Document<'a> {
    pub(crate) events: Vec<&'a RawValue>,
    pub(crate) logins: Collection<'a>,
    pub(crate) users: Collection<'a>,
    pub(crate) accounts: Collection<'a>,
    pub(crate) page_views: Collection<'a>,
    pub(crate) courses: Collection<'a>,
    pub(crate) assignments: Collection<'a>,
}

object! {
    /// The outermost object; side-loaded collections of form `A` are among its further members.
    Envelope {
        events: Vec<&'a RawValue>,
        meta: Meta<'a>,
        linked: Side<'a>,
    }
}

object! {
    /// The side-loaded collections of form `B`, by name.
    Side {}
}

#[derive(Debug, Deserialize)]
pub(crate) struct Meta<'a> {
    #[serde(borrow, rename = "primaryCollection")]
    primary_collection: Option<Scalar<'a>>,
}

impl<'a> Document<'a> {
    /// Reads an answer. Events stay undecoded, so that one of them cannot spoil the page.
    pub(crate) fn parse(text: &'a str) -> Result<Self> {
        // A guard against script inclusion that only browsers ask for; a proxy may have.
        let text = text.strip_prefix("while(1);").unwrap_or(text);
        let malformed = |error: &dyn fmt::Display| {
            Error::new(ErrorKind::Malformed, format!("the audit document cannot be read: {error}"))
                .hint("an answer cut off on its way? otherwise this Canvas release speaks a form that is not known yet")
        };
        let envelope: Envelope<'a> = serde_json::from_str(text).map_err(|error| malformed(&error))?;
        let primary = envelope.meta.as_ref().and_then(|meta| meta.primary_collection.as_ref());
        let events = match primary.map(Scalar::text) {
            Some(name) if envelope.further.iter().filter(|(key, _)| key.text() == name).count() > 1 => {
                return Err(malformed(&format_args!("it has two lists '{name}'")));
            }
            Some(name) if name != "events" => match member(&envelope.further, name) {
                Some(raw) => Some(serde_json::from_str(raw.get()).map_err(|error| malformed(&error))?),
                None => envelope.events,
            },
            _ => envelope.events,
        };
        let events = events.ok_or_else(|| malformed(&"it has no list of events"))?;
        let linked = envelope.linked.unwrap_or_default().further;
        let side = |form_b: &str, form_a: &str| {
            collection(member(&linked, form_b).or_else(|| member(&envelope.further, form_a)))
        };
        Ok(Self {
            events,
            logins: side("logins", "pseudonyms"),
            users: side("users", "users"),
            accounts: side("accounts", "accounts"),
            page_views: side("page_views", "page_views"),
            courses: side("courses", "courses"),
            assignments: side("assignments", "assignments"),
        })
    }
}

fn member<'a>(members: &[(Scalar<'a>, &'a RawValue)], name: &str) -> Option<&'a RawValue> {
    members.iter().find(|(key, _)| key.text() == name).map(|(_, raw)| *raw)
}

fn collection(list: Option<&RawValue>) -> Collection<'_> {
    let Some(objects) = list.and_then(|list| serde_json::from_str::<Vec<&RawValue>>(list.get()).ok()) else {
        return Collection::new();
    };
    objects
        .into_iter()
        .filter_map(|object| {
            let members: LinkedMembers<'_> = serde_json::from_str(object.get()).ok()?;
            let id = members.id.as_ref()?.text().to_owned();
            Some((id, Linked { raw: object.get(), members }))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_keep_all_their_digits() {
        let event: Event<'_> =
            serde_json::from_str(r#"{"id": 9223372036854775807, "links": {"user": "10000000000123"}}"#).unwrap();
        assert_eq!(event.id.as_ref().map(Scalar::text), Some("9223372036854775807"));
        assert_eq!(event.user(), Some("10000000000123"));
        assert_eq!(event.login(), None);
    }

    #[test]
    fn links_win_over_flat_members() {
        let event: Event<'_> = serde_json::from_str(
            r#"{"user_id": 1, "pseudonym_id": 2, "links": {"user": 3, "login": null, "login_id": 4}, "x\u0041": [1]}"#,
        )
        .unwrap();
        assert_eq!((event.user(), event.login()), (Some("3"), Some("4")));
        assert_eq!(event.further[0].0.text(), "xA");
        assert_eq!(event.further[0].1.get(), "[1]");
    }

    #[test]
    fn the_primary_collection_may_have_another_name() {
        let document = Document::parse(r#"while(1);{"meta":{"primaryCollection":"rows"},"rows":[{},{}]}"#).unwrap();
        assert_eq!(document.events.len(), 2);
        for twice in
            [r#"{"events":[{}],"events":[]}"#, r#"{"meta":{"primaryCollection":"rows"},"rows":[{}],"rows":[]}"#]
        {
            assert!(Document::parse(twice).is_err());
        }
        assert!(Document::parse("{}").is_err());
        assert!(Document::parse("[]").is_err());
        assert!(Document::parse(r#"{"events": [{}"#).is_err());
    }

    #[test]
    fn side_loaded_objects_never_spoil_a_page() {
        let document = Document::parse(
            r#"{"events":[],"linked":{"logins":[{"id":1,"unique_id":"ana"},{"id":[]},7,{}],"users":{},"accounts":null}}"#,
        )
        .unwrap();
        assert_eq!(document.logins.len(), 1);
        assert!(document.users.is_empty() && document.accounts.is_empty());
    }
}
