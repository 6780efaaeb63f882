//! Writes the product's data objects as XML and as VI JSON, straight into the answer.

use chrono::{DateTime, SecondsFormat, Utc};
use std::fmt::Write as _;

use crate::records::{VimValue, VsphereEvent, VsphereSession};

/// RFC 3339 in UTC with six digits, as vCenter writes it.
pub(super) fn time(micros: i64) -> String {
    DateTime::<Utc>::from_timestamp_micros(micros).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn escape_xml(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
}

/// Writes an element with text.
pub(super) fn xml_text(out: &mut String, name: &str, text: &str) {
    xml_open(out, name, "");
    escape_xml(out, text);
    xml_close(out, name);
}

fn xml_open(out: &mut String, name: &str, attributes: &str) {
    out.push('<');
    out.push_str(name);
    out.push_str(attributes);
    out.push('>');
}

fn xml_close(out: &mut String, name: &str) {
    out.push_str("</");
    out.push_str(name);
    out.push('>');
}

/// A JSON string.
pub(super) fn json_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

/// Types whose slots are declared with exactly this type, so that XML does not name it.
fn is_declared(type_name: &str) -> bool {
    type_name.ends_with("EventArgument")
        || [
            "KeyAnyValue",
            "ExtendedEventPair",
            "TaskInfo",
            "LocalizedMethodFault",
            "HostAccountSpec",
            "VirtualMachineConfigSpec",
        ]
        .contains(&type_name)
}

/// How XML names the type of an element: the customary prefix, or the odd one of one simulator.
pub(super) fn xsi(odd: bool, type_name: &str) -> String {
    let prefix = if odd { "_XMLSchema-instance" } else { "xsi" };
    format!("{} {prefix}:type=\"{type_name}\"", xsi_declaration(odd))
}

/// The odd prefix is declared where it is used.
fn xsi_declaration(odd: bool) -> String {
    if odd {
        " xmlns:_XMLSchema-instance=\"http://www.w3.org/2001/XMLSchema-instance\"".to_owned()
    } else {
        String::new()
    }
}

/// XML type, JSON type and text of a primitive.
fn primitive(value: &VimValue) -> Option<(&'static str, &'static str, String)> {
    Some(match value {
        VimValue::Text(text) => ("xsd:string", "string", text.clone()),
        VimValue::Int(number) if i32::try_from(*number).is_ok() => ("xsd:int", "int", number.to_string()),
        VimValue::Int(number) => ("xsd:long", "long", number.to_string()),
        VimValue::Bool(truth) => ("xsd:boolean", "boolean", truth.to_string()),
        VimValue::Time(micros) => ("xsd:dateTime", "dateTime", time(*micros)),
        _ => return None,
    })
}

/// Writes a member as XML.
pub(super) fn xml_value(out: &mut String, name: &str, value: &VimValue, odd: bool) {
    match value {
        VimValue::Text(text) => xml_text(out, name, text),
        VimValue::Int(number) => xml_text(out, name, itoa::Buffer::new().format(*number)),
        VimValue::Bool(truth) => xml_text(out, name, if *truth { "true" } else { "false" }),
        VimValue::Time(micros) => xml_text(out, name, &time(*micros)),
        VimValue::Object { type_name, members } => {
            let attributes = if is_declared(type_name) { String::new() } else { xsi(odd, type_name) };
            xml_open(out, name, &attributes);
            for (member, value) in members {
                xml_value(out, member, value, odd);
            }
            xml_close(out, name);
        }
        VimValue::Ref { kind, value } => {
            xml_open(out, name, &format!(" type=\"{kind}\""));
            escape_xml(out, value);
            xml_close(out, name);
        }
        VimValue::List(values) => values.iter().for_each(|value| xml_value(out, name, value, odd)),
        VimValue::Any(inner) => match (primitive(inner), &**inner) {
            (Some((xml_type, _, text)), _) => {
                xml_open(out, name, &xsi(odd, xml_type));
                escape_xml(out, &text);
                xml_close(out, name);
            }
            (None, VimValue::Ref { kind, value }) => {
                xml_open(out, name, &format!("{} type=\"{kind}\"", xsi(odd, "ManagedObjectReference")));
                escape_xml(out, value);
                xml_close(out, name);
            }
            (None, VimValue::Object { type_name, members }) => {
                xml_open(out, name, &xsi(odd, type_name));
                for (member, value) in members {
                    xml_value(out, member, value, odd);
                }
                xml_close(out, name);
            }
            (None, other) => xml_value(out, name, other, odd),
        },
    }
}

/// Writes a value as VI JSON; in disorder, types come last or, where they are fixed, not at all.
pub(super) fn json_value(out: &mut String, value: &VimValue, disorder: bool) {
    match value {
        VimValue::Text(text) => json_text(out, text),
        VimValue::Int(number) => out.push_str(itoa::Buffer::new().format(*number)),
        VimValue::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
        VimValue::Time(micros) => json_text(out, &time(*micros)),
        VimValue::Object { type_name, members } => {
            let named = !(disorder && is_declared(type_name));
            json_object(out, type_name, named, disorder, |members_out| {
                for (name, value) in members {
                    json_member(members_out, name, value, disorder);
                }
            });
        }
        VimValue::Ref { kind, value } => {
            let (kind, value) = (VimValue::Text((*kind).to_owned()), VimValue::Text(value.clone()));
            let order = if disorder { [("value", value), ("type", kind)] } else { [("type", kind), ("value", value)] };
            json_object(out, "ManagedObjectReference", !disorder, disorder, |members_out| {
                for (name, value) in &order {
                    json_member(members_out, name, value, disorder);
                }
            });
        }
        VimValue::List(values) => {
            out.push('[');
            for (at, value) in values.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                json_value(out, value, disorder);
            }
            out.push(']');
        }
        VimValue::Any(inner) => match primitive(inner) {
            Some((_, json_type, _)) => json_object(out, json_type, true, disorder, |members_out| {
                json_member(members_out, "_value", inner, disorder);
            }),
            // In a slot of type `any`, the type is always named.
            None => json_value(out, inner, false),
        },
    }
}

fn json_object(out: &mut String, type_name: &str, named: bool, last: bool, members: impl Fn(&mut String)) {
    out.push('{');
    if named && !last {
        json_member(out, "_typeName", &VimValue::Text(type_name.to_owned()), false);
    }
    members(out);
    if named && last {
        json_member(out, "_typeName", &VimValue::Text(type_name.to_owned()), false);
    }
    out.push('}');
}

fn json_member(out: &mut String, name: &str, value: &VimValue, disorder: bool) {
    if !out.ends_with('{') {
        out.push(',');
    }
    json_text(out, name);
    out.push(':');
    json_value(out, value, disorder);
}

/// One event as an XML element.
pub(super) fn xml_event(out: &mut String, element: &str, event: &VsphereEvent, odd: bool) {
    let named = xsi(odd, event.class);
    // Inside an array, the prefix was declared on the array.
    let named = if element == "returnval" { named } else { named.replace(&xsi_declaration(odd), "") };
    xml_open(out, element, &named);
    xml_text(out, "key", itoa::Buffer::new().format(event.key));
    xml_text(out, "chainId", itoa::Buffer::new().format(event.chain_id));
    xml_text(out, "createdTime", &time(event.created));
    xml_text(out, "userName", &event.user_name);
    for (name, value) in &event.members {
        xml_value(out, name, value, odd);
    }
    xml_close(out, element);
}

/// One event as a JSON object.
pub(super) fn json_event(out: &mut String, event: &VsphereEvent, disorder: bool) {
    json_object(out, event.class, true, disorder, |members_out| {
        json_member(members_out, "key", &VimValue::Int(event.key.into()), disorder);
        json_member(members_out, "chainId", &VimValue::Int(event.chain_id.into()), disorder);
        json_member(members_out, "createdTime", &VimValue::Time(event.created), disorder);
        json_member(members_out, "userName", &VimValue::Text(event.user_name.clone()), disorder);
        for (name, value) in &event.members {
            json_member(members_out, name, value, disorder);
        }
    });
}

/// A live session as a data object.
pub(super) fn session_object(session: &VsphereSession) -> VimValue {
    let text = |text: &str| VimValue::Text(text.to_owned());
    VimValue::Object {
        type_name: "UserSession",
        members: vec![
            ("key", text(&session.key)),
            ("userName", text(&session.user_name)),
            ("fullName", text(&session.full_name)),
            ("loginTime", VimValue::Time(session.login_time)),
            ("lastActiveTime", VimValue::Time(session.last_active_time)),
            ("locale", text(&session.locale)),
            ("messageLocale", text(&session.locale)),
            ("extensionSession", VimValue::Bool(session.extension_session)),
            ("ipAddress", text(&session.ip_address)),
            ("userAgent", text(&session.user_agent)),
            ("callCount", VimValue::Int(session.call_count)),
        ],
    }
}
