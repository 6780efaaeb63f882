//! What the records of all three logs have in common: the page view behind them, and what has no column.

use fedaudit_core::address::Address;
use fedaudit_core::principal::{BareNames, Principal};
use fedaudit_core::{AddressKind, EventRow};

use crate::normalize::{Frame, Identity};
use crate::wire::{Document, Event, Linked, text};

/// One record with everything around it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'r> {
    pub(crate) event: &'r Event<'r>,
    pub(crate) document: &'r Document<'r>,
    pub(crate) frame: Frame<'r>,
    pub(crate) code: &'r str,
    /// The root account that was read, where known.
    pub(crate) tenant: Option<&'r str>,
}

/// Where a finished row goes.
pub(crate) type Push<'p> = &'p mut dyn FnMut(&Identity<'_>, &EventRow<'_>);

/// Buffers used again for every record.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) unmapped: String,
    pub(crate) resources: String,
    pub(crate) flags: Vec<&'static str>,
}

/// Who acted, and from where.
#[derive(Debug)]
pub(crate) struct Actor<'r> {
    uid: Option<&'r str>,
    name: Option<&'r str>,
    principal: Principal<'r>,
    origin: Origin<'r>,
}

/// Where an action came from, as its page view tells.
#[derive(Debug, Default)]
struct Origin<'r> {
    address: Address,
    original: Option<&'r str>,
    user_agent: Option<&'r str>,
}

impl Actor<'_> {
    /// The row with what its columns tell of them.
    pub(crate) fn of<'s>(&'s self, row: &EventRow<'s>) -> EventRow<'s> {
        EventRow {
            user_name: bare(&self.principal),
            user_domain: self.principal.domain.as_deref(),
            user_uid: self.uid,
            user_original: self.name,
            user_type: self.principal.user_type,
            src_ip: self.origin.address.ip.as_deref(),
            src_port: self.origin.address.port,
            src_host: self.origin.address.host.as_deref(),
            src_kind: self.origin.address.kind,
            src_original: self.origin.original,
            user_agent: self.origin.user_agent,
            ..*row
        }
    }
}

impl<'r> Record<'r> {
    pub(crate) fn page_view(&self) -> Option<&'r Linked<'r>> {
        self.event.page_view().and_then(|id| self.document.page_views.get(id))
    }

    /// The user of this id, who logs in by this name, as the one who acted. What we did ourselves is marked.
    pub(crate) fn actor(
        &self,
        uid: Option<&'r str>,
        name: Option<&'r str>,
        flags: &mut Vec<&'static str>,
    ) -> Actor<'r> {
        if uid.is_some() && uid == self.frame.reader {
            flags.push("own_reader");
        }
        Actor { uid, name, principal: principal(name), origin: self.origin(flags) }
    }

    /// Client address and program.
    fn origin(&self, flags: &mut Vec<&'static str>) -> Origin<'r> {
        let Some(view) = self.page_view() else { return Origin::default() };
        let original = text(view.members.remote_ip.as_ref());
        let address = original.map(Address::parse).unwrap_or_default();
        if address.kind == AddressKind::Unparsed {
            flags.push("ip_unparsed");
        }
        if view.members.is_masquerade() {
            flags.push("masquerade");
        }
        Origin { address, original, user_agent: text(view.members.user_agent.as_ref()) }
    }

    /// The name that a side-loaded user logs in with.
    pub(crate) fn login_of(&self, user: Option<&str>) -> Option<&'r str> {
        user.and_then(|id| self.document.users.get(id)).and_then(|user| text(user.members.login_id.as_ref()))
    }
}

/// A login name in our form.
pub(crate) fn principal(name: Option<&str>) -> Principal<'_> {
    name.map(|name| Principal::parse(name, BareNames::Fold)).unwrap_or_default()
}

/// Its bare name. A login name made of digits (a student number) is a name here: ids have columns of their own.
pub(crate) fn bare<'p>(principal: &'p Principal<'_>) -> Option<&'p str> {
    principal.name.as_deref().or(principal.uid.as_deref())
}

/// A text, unless it is empty.
pub(crate) fn filled(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// Side-loaded objects under `linked`, as received; then the event's own members that have no column.
pub(crate) fn write_unmapped(out: &mut String, event: &Event<'_>, linked: &[(&str, Option<&Linked<'_>>)]) {
    out.clear();
    if linked.iter().any(|(_, object)| object.is_some()) {
        let mut objects = String::with_capacity(
            linked.iter().flat_map(|(_, object)| object).map(|object| object.raw.len() + 16).sum(),
        );
        for (key, object) in linked {
            if let Some(object) = object {
                write_member(&mut objects, key, object.raw);
            }
        }
        objects.push('}');
        write_member(out, "linked", &objects);
    }
    if let Some(links) = event.links.as_ref().filter(|links| !links.further.is_empty()) {
        let mut further = String::new();
        for (key, value) in &links.further {
            write_member(&mut further, key.text(), value.get());
        }
        further.push('}');
        write_member(out, "links", &further);
    }
    for (key, value) in &event.further {
        write_member(out, key.text(), value.get());
    }
    if !out.is_empty() {
        out.push('}');
    }
}

/// One more member of an object; the closing brace is the caller's.
fn write_member(out: &mut String, key: &str, value: &str) {
    out.push(if out.is_empty() { '{' } else { ',' });
    write_text(out, key);
    out.push(':');
    out.push_str(value);
}

fn write_text(out: &mut String, text: &str) {
    if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&serde_json::Value::from(text).to_string());
    }
}

/// The list of what a record refers to: kind, id, and name where one came along.
pub(crate) fn write_resources(out: &mut String, resources: &[(&str, Option<&str>, Option<&str>)]) {
    out.clear();
    for (kind, uid, name) in resources.iter().filter(|(_, uid, _)| uid.is_some()) {
        out.push_str(if out.is_empty() { "[{\"type\":\"" } else { ",{\"type\":\"" });
        out.push_str(kind);
        out.push('"');
        for (key, value) in [(",\"uid\":", uid), (",\"name\":", name)] {
            if let Some(value) = value {
                out.push_str(key);
                write_text(out, value);
            }
        }
        out.push('}');
    }
    if !out.is_empty() {
        out.push(']');
    }
}
