//! From a record in VI JSON form to a row of `events` or `sessions`. Pure: no I/O, and the clock comes in as a value.

use std::borrow::Cow;

use crate::catalogue::meaning;
use crate::record::Members;
use crate::redact::{redact, secrets_of, without_passwords};
use crate::transcode::quote;
use fedaudit_core::address::Address;
use fedaudit_core::principal::{BareNames, Principal};
use fedaudit_core::{
    Action, AddressKind, Confidence, EventBuilder, EventRow, Outcome, Rejected, SessionBuilder, SessionRow,
    SessionState, Time, TimeQuality, UserType,
};

/// What all rows of one login have in common.
#[derive(Debug)]
pub(crate) struct Normalizer<'n> {
    /// Our own session, so that the reader can be told from those it reads about.
    pub(crate) own_session: &'n str,
    /// Our own account.
    pub(crate) own_user: &'n str,
    /// Version the server reports.
    pub(crate) product_version: Option<&'n str>,
    /// When the page was fetched.
    pub(crate) now: Time,
}

/// What places an event in the order of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Position {
    pub(crate) created: Time,
    pub(crate) key: i64,
}

/// Where an event stands; the reason if it is no event.
pub(crate) fn position(members: &Members<'_>) -> Result<Position, String> {
    let key = members.int("key").ok_or("member key is missing or no number")?;
    let created = members.text("createdTime").ok_or("member createdTime is missing")?;
    let created = Time::parse(&created).ok_or_else(|| format!("createdTime '{created}' is no time"))?;
    Ok(Position { created: created.time, key })
}

/// Members that have columns, or that only say what the columns say.
fn has_column(member: &str) -> bool {
    matches!(
        member,
        "_typeName"
            | "key"
            | "chainId"
            | "createdTime"
            | "userName"
            | "datacenter"
            | "computeResource"
            | "host"
            | "vm"
            | "ds"
            | "net"
            | "dvs"
            | "fullFormattedMessage"
            | "ipAddress"
            | "userAgent"
            | "sessionId"
            | "eventTypeId"
            | "terminatedUsername"
    )
}

/// The same of a live session.
const SESSION_MAPPED: &[&str] =
    &["_typeName", "key", "userName", "loginTime", "lastActiveTime", "ipAddress", "userAgent", "callCount"];

/// Entity arguments, the most telling first: member, member of the reference in it, our word.
const ENTITIES: &[(&str, &str, &str)] = &[
    ("vm", "vm", "vm"),
    ("host", "host", "host"),
    ("ds", "datastore", "datastore"),
    ("net", "network", "network"),
    ("dvs", "dvs", "dvs"),
    ("computeResource", "computeResource", "cluster"),
    ("datacenter", "datacenter", "datacenter"),
];

struct Entity<'a> {
    kind: Option<Cow<'a, str>>,
    name: Option<Cow<'a, str>>,
    id: Option<Cow<'a, str>>,
}

impl<'a> Entity<'a> {
    fn of(argument: &Members<'a>, reference: &str) -> Self {
        let reference = argument.object(reference);
        let part = |name| reference.as_ref().and_then(|reference| reference.text(name));
        Self { kind: part("type"), name: argument.text("name"), id: part("value") }
    }
}

/// Our word for a managed object type.
fn target_word(kind: &str) -> &str {
    match kind {
        "VirtualMachine" => "vm",
        "HostSystem" => "host",
        "Datastore" => "datastore",
        "Network" | "DistributedVirtualPortgroup" | "OpaqueNetwork" => "network",
        "DistributedVirtualSwitch" | "VmwareDistributedVirtualSwitch" => "dvs",
        "ComputeResource" | "ClusterComputeResource" => "cluster",
        "Datacenter" => "datacenter",
        "Folder" => "folder",
        "ResourcePool" => "resource_pool",
        other => other,
    }
}

impl Normalizer<'_> {
    /// Appends an event.
    pub(crate) fn event(
        &self,
        raw: &str,
        members: &Members<'_>,
        at: Position,
        rows: &mut EventBuilder,
    ) -> Result<(), Rejected> {
        let class = members
            .text("_typeName")
            .ok_or_else(|| Rejected { raw: without_passwords(raw), reason: "member _typeName is missing".into() })?;
        let code = members.text("eventTypeId").unwrap_or_else(|| class.clone());
        let meaning = meaning(&code);
        let mut flags: Vec<&str> = Vec::new();

        let created = members.text("createdTime").unwrap_or_default();
        let parsed = Time::parse(&created);
        if parsed.is_some_and(|parsed| parsed.leap_second) {
            flags.push("leap_second");
        }
        if at.created.micros() - self.now.micros() > 86_400_000_000 {
            flags.push("future_time");
        }
        let quality = if parsed.is_some_and(|parsed| parsed.assumed_zone) {
            TimeQuality::AssumedZone
        } else {
            TimeQuality::Exact
        };

        let info = members.object("info");
        let user_original = members.text("userName").or_else(|| info.as_ref()?.object("reason")?.text("userName"));
        let user = user_original
            .as_deref()
            .map_or_else(Principal::default, |name| Principal::parse(name, BareNames::KeepCase));
        let src_original = members.text("ipAddress");
        let src = src_original.as_deref().map_or_else(Address::default, Address::parse);
        if src.kind == AddressKind::Unparsed {
            flags.push("ip_unparsed");
        }
        let session_id = members.text("sessionId");
        let user_agent = members.text("userAgent");
        if self.is_own(session_id.as_deref(), user_original.as_deref(), user_agent.as_deref()) {
            flags.push("own_reader");
        }

        let entities: Vec<(&str, Entity<'_>)> = ENTITIES
            .iter()
            .filter_map(|&(member, reference, word)| Some((word, Entity::of(&members.object(member)?, reference))))
            .collect();
        let resources = resources(&entities);
        let host = entities.iter().find(|(word, _)| *word == "host").and_then(|(_, host)| host.name.clone());
        let target = target(members, info.as_ref(), entities);
        let is_access = matches!(meaning.action, Action::Login | Action::Logout | Action::SessionTerminate);

        let secrets = secrets_of(raw, members);
        let redacted = (!secrets.is_empty()).then(|| redact(raw, &secrets));
        if redacted.is_some() {
            flags.push("redacted");
        }
        let raw = redacted.as_deref().unwrap_or(raw);
        let unmapped = if redacted.is_some() {
            Members::parse(raw).map(|members| unmapped(&members))
        } else {
            Ok(unmapped(members))
        };
        let unmapped = unmapped.unwrap_or_default();

        let chain = members.int("chainId").map(|chain| chain.to_string());
        let key = at.key.to_string();
        let created_key = at.created.micros().to_string();
        let start_key =
            members.text("loginTime").and_then(|text| Time::parse(&text)).map(|start| start.time.micros().to_string());
        let by_start = [user_original.as_deref(), src_original.as_deref(), start_key.as_deref().or(Some(&created_key))];
        let by_id = [session_id.as_deref()];
        // The single sign-on service and ESXi's own logins know nothing of vCenter's sessions.
        let session: &[Option<&str>] = match (&session_id, class.as_ref()) {
            (Some(_), _) => &by_id,
            (None, "UserLoginSessionEvent" | "UserLogoutSessionEvent") => &by_start,
            _ => &[],
        };

        let host_name = host.filter(|_| is_access).map(|name| name.to_lowercase());
        let operation = info.as_ref().and_then(|info| info.text("descriptionId"));
        let message = members.text("fullFormattedMessage").or_else(|| members.text("message"));
        let failure = failure_text(members);
        let row = EventRow {
            time: at.created,
            time_original: Some(&created),
            time_quality: quality,
            event_code: &code,
            action: meaning.action,
            outcome: meaning.outcome,
            outcome_reason: failure.as_deref().or(meaning.reason),
            severity_id: severity(members.text("severity").as_deref()),
            message: message.as_deref(),
            user_name: user.name.as_deref(),
            user_domain: user.domain.as_deref(),
            user_uid: user.uid.as_deref(),
            user_original: user_original.as_deref(),
            user_type: user_type(user_original.as_deref(), user.user_type),
            target_user: target.user.as_deref(),
            src_ip: src.ip.as_deref(),
            src_port: src.port,
            src_host: src.host.as_deref(),
            src_kind: src.kind,
            src_original: src_original.as_deref(),
            user_agent: user_agent.as_deref(),
            dst_host: host_name.as_deref(),
            service: Some("vCenter"),
            is_remote: (is_access && !matches!(src.kind, AddressKind::Loopback | AddressKind::UnixSocket))
                .then_some(true),
            operation: operation.as_deref(),
            target_type: target.kind.as_deref(),
            target_name: target.name.as_deref(),
            target_uid: target.id.as_deref(),
            resources: resources.as_deref(),
            session_id: session_id.as_deref(),
            correlation_id: chain.as_deref(),
            sequence: Some(at.key),
            record_id: Some(&key),
            product_version: self.product_version,
            quality_flags: &flags,
            unmapped: (!unmapped.is_empty()).then_some(&unmapped),
            raw,
            ..EventRow::new()
        };
        rows.push(&[Some(&created_key), Some(&key), Some(&class)], session, &row);
        Ok(())
    }

    /// Appends a live session.
    pub(crate) fn session(&self, raw: &str, seen_at: Time, rows: &mut SessionBuilder) -> Result<(), Rejected> {
        let reject = |reason: String| Rejected { raw: raw.to_owned(), reason };
        let members = Members::parse(raw).map_err(reject)?;
        let key = members.text("key").ok_or_else(|| reject("member key is missing".into()))?;
        let user_original = members.text("userName");
        let user = user_original
            .as_deref()
            .map_or_else(Principal::default, |name| Principal::parse(name, BareNames::KeepCase));
        let client_original = members.text("ipAddress");
        let client = client_original.as_deref().map_or_else(Address::default, Address::parse);
        let user_agent = members.text("userAgent");
        let extension = members.get("extensionSession").is_some_and(|value| value == "true");
        let mut flags = Vec::new();
        if client.kind == AddressKind::Unparsed {
            flags.push("ip_unparsed");
        }
        if self.is_own(Some(&key), user_original.as_deref(), user_agent.as_deref()) {
            flags.push("own_reader");
        }
        let time = |name| members.text(name).and_then(|text| Time::parse(&text)).map(|parsed| parsed.time);
        let start_original = members.text("loginTime");
        let unmapped = object_of(&members, |name| !SESSION_MAPPED.contains(&name));
        let row = SessionRow {
            session_id: Some(&key),
            user_name: user.name.as_deref(),
            user_domain: user.domain.as_deref(),
            user_uid: user.uid.as_deref(),
            user_original: user_original.as_deref(),
            user_type: if extension { UserType::Service } else { user_type(user_original.as_deref(), user.user_type) },
            start_time: time("loginTime"),
            start_time_original: start_original.as_deref(),
            last_seen_at: Some(seen_at),
            last_activity_at: time("lastActiveTime"),
            is_active: Some(true),
            state: SessionState::Active,
            outcome: Outcome::Success,
            is_remote: (!matches!(client.kind, AddressKind::Loopback | AddressKind::UnixSocket)).then_some(true),
            client_ip: client.ip.as_deref(),
            client_port: client.port,
            client_host: client.host.as_deref(),
            client_kind: client.kind,
            client_original: client_original.as_deref(),
            user_agent: user_agent.as_deref(),
            call_count: members.int("callCount"),
            derived: false,
            confidence: Confidence::High,
            record_id: Some(&key),
            product_version: self.product_version,
            quality_flags: &flags,
            unmapped: (!unmapped.is_empty()).then_some(&unmapped),
            raw,
            ..SessionRow::new()
        };
        rows.push(&[Some(&key)], &row);
        Ok(())
    }

    /// Ours is the session we hold, and any other that this program opened with this account.
    fn is_own(&self, session: Option<&str>, user: Option<&str>, agent: Option<&str>) -> bool {
        let same_session = session.is_some_and(|session| !session.is_empty() && session == self.own_session);
        same_session || (agent.is_some_and(|agent| agent.starts_with("fedaudit/")) && user == Some(self.own_user))
    }
}

/// What an event was done to.
#[derive(Default)]
struct Target<'a> {
    kind: Option<Cow<'a, str>>,
    name: Option<Cow<'a, str>>,
    id: Option<Cow<'a, str>>,
    user: Option<Cow<'a, str>>,
}

fn target<'a>(
    members: &Members<'a>,
    info: Option<&Members<'a>>,
    entities: Vec<(&'static str, Entity<'a>)>,
) -> Target<'a> {
    let user = ["terminatedUsername", "principal", "userLogin", "account"].iter().find_map(|name| members.text(name));
    let user = user.or_else(|| members.object("spec")?.text("id"));
    let role = members.object("role");
    if let Some((word, entity)) = entities.into_iter().next() {
        return Target { kind: Some(word.into()), name: entity.name, id: entity.id, user };
    }
    if let Some(argument) = members.object("entity") {
        let Entity { kind, name, id } = Entity::of(&argument, "entity");
        return Target { kind: kind.map(|kind| target_word(&kind).to_owned().into()), name, id, user };
    }
    if let Some(role) = role {
        let id = role.int("roleId").map(|id| id.to_string().into());
        return Target { kind: Some("role".into()), name: role.text("name"), id, user };
    }
    if let Some(kind) = members.text("objectType") {
        let kind = target_word(&kind).to_owned().into();
        return Target { kind: Some(kind), name: members.text("objectName"), id: members.text("objectId"), user };
    }
    if let Some(object) = members.object("managedObject") {
        let kind = object.text("type").map(|kind| target_word(&kind).to_owned().into());
        return Target { kind, name: None, id: object.text("value"), user };
    }
    if let Some(info) = info {
        let kind = info
            .object("entity")
            .and_then(|entity| entity.text("type"))
            .map(|kind| target_word(&kind).to_owned().into());
        let id = info.object("entity").and_then(|entity| entity.text("value"));
        return Target { kind, name: info.text("entityName"), id, user };
    }
    let name = user.clone();
    Target { kind: user.is_some().then(|| "account".into()), name, id: None, user }
}

fn resources(entities: &[(&str, Entity<'_>)]) -> Option<String> {
    if entities.is_empty() {
        return None;
    }
    let mut json = String::from("[");
    for (at, (_, entity)) in entities.iter().enumerate() {
        json.push_str(if at == 0 { "{\"type\":" } else { ",{\"type\":" });
        for (value, next) in [(&entity.kind, ",\"name\":"), (&entity.name, ",\"uid\":"), (&entity.id, "}")] {
            match value {
                Some(value) => quote(&mut json, value),
                None => json.push_str("null"),
            }
            json.push_str(next);
        }
    }
    json.push(']');
    Some(json)
}

/// The server's own words on why something failed.
fn failure_text<'a>(members: &Members<'a>) -> Option<Cow<'a, str>> {
    let fault = members.object("reason").or_else(|| members.object("fault"))?;
    fault.text("localizedMessage")
}

/// Only `EventEx` states a severity, in vCenter's words.
fn severity(word: Option<&str>) -> i32 {
    match word {
        Some("warning") => 3,
        Some("error") => 4,
        _ => 1,
    }
}

fn user_type(original: Option<&str>, by_form: UserType) -> UserType {
    let Some(original) = original else { return UserType::System };
    let bare = original.rsplit('\\').next().unwrap_or(original);
    let bare = bare.split('@').next().unwrap_or(bare).to_ascii_lowercase();
    let service = [
        "machine-",
        "vsphere-webclient-",
        "vpxd-",
        "vpxd",
        "vpxuser",
        "vsphere-ui-",
        "com.vmware.",
        "ssl thumbprint",
        "shared secret",
    ];
    if service.iter().any(|prefix| bare.starts_with(prefix)) {
        UserType::Service
    } else if bare == "dcui" {
        UserType::System
    } else {
        by_form
    }
}

/// Every member without a column, as one object; empty if there is none.
fn unmapped(members: &Members<'_>) -> String {
    object_of(members, |name| !has_column(name))
}

fn object_of(members: &Members<'_>, wanted: impl Fn(&str) -> bool) -> String {
    let mut json = String::new();
    for (name, value) in members.iter().filter(|(name, _)| wanted(name)) {
        json.push(if json.is_empty() { '{' } else { ',' });
        quote(&mut json, name);
        json.push(':');
        json.push_str(value);
    }
    if !json.is_empty() {
        json.push('}');
    }
    json
}

#[cfg(test)]
mod tests;
