//! SMB: logins, share connections and file operations.

use std::borrow::Cow;

use fedaudit_core::Action;
use serde::Deserialize;

use crate::action::of_disposition;
use crate::normalize::{Draft, Session, data, lower, resources, text, upper};
use crate::paths::Key;
use crate::record::Record;
use crate::wire::{Loose, Scalar, instant_in};

#[derive(Default, Deserialize)]
#[serde(default)]
struct ServiceData<'a> {
    #[serde(borrow)]
    service: Scalar<'a>,
    #[serde(borrow)]
    session_id: Scalar<'a>,
    #[serde(borrow)]
    tcon_id: Scalar<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Outcome<'a> {
    #[serde(borrow)]
    value_parsed: Scalar<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Login<'a> {
    #[serde(borrow)]
    client_account: Scalar<'a>,
    #[serde(borrow)]
    client_domain: Scalar<'a>,
    #[serde(borrow)]
    became_account: Scalar<'a>,
    #[serde(borrow)]
    became_sid: Scalar<'a>,
    #[serde(borrow)]
    remote_address: Scalar<'a>,
    #[serde(borrow)]
    local_address: Scalar<'a>,
    #[serde(borrow)]
    workstation: Scalar<'a>,
    #[serde(borrow)]
    password_type: Scalar<'a>,
    #[serde(borrow)]
    service_description: Scalar<'a>,
    #[serde(borrow)]
    result: Loose<Outcome<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Connection<'a> {
    #[serde(borrow)]
    host: Scalar<'a>,
    #[serde(borrow)]
    unix_token: Loose<UnixToken<'a>>,
    #[serde(borrow)]
    result: Loose<Outcome<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct UnixToken<'a> {
    #[serde(borrow)]
    uid: Scalar<'a>,
}

/// What the file events have in common; each has some of it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct FileData<'a> {
    #[serde(borrow)]
    parameters: Loose<Parameters<'a>>,
    #[serde(borrow)]
    file_type: Scalar<'a>,
    #[serde(borrow)]
    file: Loose<File<'a>>,
    #[serde(borrow)]
    src_file: Loose<File<'a>>,
    #[serde(borrow)]
    dst_file: Loose<File<'a>>,
    #[serde(borrow)]
    result: Loose<Outcome<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Parameters<'a> {
    #[serde(borrow)]
    create_disposition: Scalar<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct File<'a> {
    #[serde(borrow)]
    path: Scalar<'a>,
    #[serde(borrow)]
    name: Scalar<'a>,
    #[serde(borrow)]
    handle: Loose<Handle<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Handle<'a> {
    #[serde(borrow)]
    value: Scalar<'a>,
}

/// Fills the draft of one record.
pub(crate) fn map<'a>(record: &Record<'a>, draft: &mut Draft<'a>) {
    let service: ServiceData<'a> = data(record.service_data, draft);
    draft.protocol = Some("SMB".into());
    draft.session_id = text(service.session_id);
    if draft.session_id.is_some() {
        draft.session = Session::Smb;
    }
    match record.event.as_str() {
        "AUTHENTICATION" => login(record, draft),
        "CONNECT" => connection(Action::ShareConnect, service.service, record, draft),
        "DISCONNECT" => connection(Action::ShareDisconnect, service.service, record, draft),
        event => file(event, service.tcon_id, record, draft),
    }
}

/// What a `CREATE` opened, when, and under which name.
pub(crate) fn opened(record: &Record<'_>) -> Option<(Key, i64, Box<str>)> {
    let service: ServiceData<'_> = serde_json::from_str(record.service_data?).ok()?;
    let data: FileData<'_> = serde_json::from_str(record.event_data?).ok()?;
    let file = data.file.0?;
    let handle = file.handle.0?.value.some()?;
    let path = file.path.some().or_else(|| file.name.some())?;
    let at = record.timestamp.and_then(instant_in)?.time?.seconds();
    Some((key(service.session_id.as_str(), service.tcon_id.as_str(), &handle), at, path.into()))
}

/// What tells one open handle from another.
pub(crate) fn key(session: &str, tree: &str, handle: &str) -> Key {
    format!("{session} {tree} {handle}").into()
}

fn login<'a>(record: &Record<'a>, draft: &mut Draft<'a>) {
    draft.action = Action::Login;
    let login: Login<'a> = data(record.event_data, draft);
    let account = match (text(login.client_domain), text(login.client_account)) {
        (Some(domain), Some(account)) => Some(Cow::Owned(format!("{domain}\\{account}"))),
        (None, account) => account,
        (Some(_), None) => None,
    };
    draft.user_unless_named(account);
    draft.target_user = text(login.became_account);
    draft.user_uid = text(login.became_sid);
    if let Some(address) = text(login.remote_address) {
        draft.source = Some(address);
    }
    draft.server = text(login.local_address);
    draft.source_host = text(login.workstation);
    draft.auth_method = text(login.password_type).map(lower);
    draft.protocol = text(login.service_description).map(upper).or(draft.protocol.take());
    draft.outcome_code = login.result.0.and_then(|result| text(result.value_parsed));
}

fn connection<'a>(action: Action, share: Scalar<'a>, record: &Record<'a>, draft: &mut Draft<'a>) {
    draft.action = action;
    let connection: Connection<'a> = data(record.event_data, draft);
    draft.target_type = Some("share".into());
    draft.target_name = text(share);
    // Samba gives the address again where the client has no name.
    draft.source_host = text(connection.host).filter(|host| fedaudit_core::address::parse_ip(host).is_none());
    draft.user_uid = connection.unix_token.0.and_then(|token| text(token.uid)).map(|uid| format!("uid:{uid}").into());
    draft.outcome_code = connection.result.0.and_then(|result| text(result.value_parsed));
}

fn file<'a>(event: &str, tree: Scalar<'a>, record: &Record<'a>, draft: &mut Draft<'a>) {
    let file: FileData<'a> = data(record.event_data, draft);
    draft.action = match event {
        "CREATE" => of_disposition(file.parameters.0.as_ref().map_or("", |asked| asked.create_disposition.as_str())),
        "CLOSE" => Action::FileClose,
        "READ" | "OFFLOAD_READ" => Action::FileRead,
        "WRITE" | "OFFLOAD_WRITE" => Action::FileWrite,
        "RENAME" => Action::FileRename,
        "UNLINK" => Action::FileDelete,
        "SET_ATTR" => Action::FileSetAttr,
        "SET_ACL" => Action::FileSetAcl,
        "SET_QUOTA" => Action::ConfigUpdate,
        _ => Action::Other,
    };
    draft.target_type = Some(match text(file.file_type) {
        Some(kind) if &*kind == "REGULAR" => "file".into(),
        Some(kind) => lower(kind),
        None if event == "SET_QUOTA" => "quota".into(),
        None => "file".into(),
    });
    if let (Some(from), Some(to)) = (&file.src_file.0, &file.dst_file.0) {
        draft.resources = Some(resources("file", &[from.path.as_str(), to.path.as_str()]));
    }
    if let Some(file) = file.src_file.0.or(file.file.0) {
        draft.target_name = text(file.path).or_else(|| text(file.name));
        draft.target_uid = file.handle.0.and_then(|handle| text(handle.value));
        draft.tree = Some(tree);
    }
    draft.outcome_code = file.result.0.and_then(|result| text(result.value_parsed));
}
