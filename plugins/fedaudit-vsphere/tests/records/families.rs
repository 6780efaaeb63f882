//! One event of each kind that means something, with what its row has to say. A column that is not named is not judged.

use fedaudit_testkit::records::{VimValue, VsphereEvent};

use crate::support::{event, text};

type Members = Vec<(&'static str, VimValue)>;
type Expected = Vec<(&'static str, Option<&'static str>)>;

pub(super) fn object(type_name: &'static str, members: Members) -> VimValue {
    VimValue::Object { type_name, members }
}

fn reference(kind: &'static str, value: &str) -> VimValue {
    VimValue::Ref { kind, value: value.into() }
}

fn any(value: VimValue) -> VimValue {
    VimValue::Any(Box::new(value))
}

fn arguments(pairs: Members) -> VimValue {
    let pair = |(key, value)| object("KeyAnyValue", vec![("key", text(key)), ("value", any(value))]);
    VimValue::List(pairs.into_iter().map(pair).collect())
}

fn role(id: i64, name: &str) -> VimValue {
    object("RoleEventArgument", vec![("roleId", VimValue::Int(id)), ("name", text(name))])
}

fn host() -> VimValue {
    let host = reference("HostSystem", "host-9");
    object("HostEventArgument", vec![("name", text("ESX9.corp.example")), ("host", host)])
}

fn privileges(names: &[&str]) -> VimValue {
    VimValue::List(names.iter().map(|name| text(name)).collect())
}

fn meaning(code: &'static str, action: &'static str, outcome: &'static str) -> Expected {
    vec![("event_code", Some(code)), ("action", Some(action)), ("outcome", Some(outcome)), ("user_name", Some("ana"))]
}

/// Events that have no member of their own worth a look: class, id inside it, action, outcome.
const PLAIN: &[(&str, &str, &str, &str)] = &[
    ("BadUsernameSessionEvent", "", "auth.login", "failure"),
    ("NoAccessUserEvent", "", "auth.login", "failure"),
    ("AlreadyAuthenticatedSessionEvent", "", "auth.login", "failure"),
    ("ServerStartedSessionEvent", "", "service.start", "success"),
    ("GlobalMessageChangedEvent", "", "config.update", "success"),
    ("UserPasswordChanged", "", "account.password_change", "success"),
    ("LocalTSMEnabledEvent", "", "config.update", "success"),
    ("RemoteTSMEnabledEvent", "", "config.update", "success"),
    ("LockerReconfiguredEvent", "", "config.update", "success"),
    ("LockerMisconfiguredEvent", "", "other", "unknown"),
    ("AdminPasswordNotChangedEvent", "", "other", "unknown"),
    ("VmPoweredOnEvent", "", "object.update", "success"),
    ("VmCreatedEvent", "", "object.create", "success"),
    ("VmRemovedEvent", "", "object.delete", "success"),
    ("VmFailedToPowerOnEvent", "", "object.update", "failure"),
    ("EventOfTheDayAfterTomorrow", "", "other", "unknown"),
    ("EventEx", "com.vmware.sso.LoginSuccess", "auth.login", "success"),
    ("EventEx", "com.vmware.sso.LoginFailure", "auth.login", "failure"),
    ("EventEx", "com.vmware.sso.Logout", "auth.logout", "success"),
    ("EventEx", "com.vmware.sso.PrincipalManagement", "account.update", "success"),
    ("EventEx", "com.vmware.sso.RoleManagement", "role.update", "success"),
    ("EventEx", "com.vmware.sso.PasswordPolicy", "config.update", "success"),
    ("EventEx", "com.vmware.sso.LockoutPolicy", "config.update", "success"),
    ("EventEx", "com.vmware.sso.IdentitySourceManagement", "config.update", "success"),
    ("EventEx", "com.vmware.sso.DomainManagement", "config.update", "success"),
    ("EventEx", "com.vmware.sso.ConfigurationManagement", "config.update", "success"),
    ("EventEx", "com.vmware.sso.CertificateManager", "config.update", "success"),
    ("EventEx", "com.vmware.sso.SystemManagement", "config.update", "success"),
    ("EventEx", "com.vmware.cis.CreatePermission", "priv.grant", "success"),
    ("EventEx", "com.vmware.cis.RemovePermission", "priv.revoke", "success"),
    ("EventEx", "com.vmware.cis.RemoveGlobalPermission", "priv.revoke", "success"),
    ("ExtendedEvent", "com.vmware.cis.CreateGlobalPermission", "priv.grant", "success"),
    ("EventEx", "com.vmware.vc.authorization.NoPermission", "config.call", "failure"),
    ("EventEx", "esx.audit.ssh.session.opened", "auth.login", "success"),
    ("EventEx", "esx.audit.ssh.session.closed", "auth.logout", "success"),
    ("EventEx", "esx.audit.ssh.session.failed", "auth.login", "failure"),
    ("EventEx", "esx.audit.account.locked", "account.lock", "success"),
    ("EventEx", "esx.audit.account.loginfailures", "auth.login", "failure"),
    ("EventEx", "esx.audit.dcui.login.failed", "auth.login", "failure"),
    ("EventEx", "esx.audit.dcui.passwd.changed", "account.password_change", "success"),
    ("ExtendedEvent", "esx.audit.ssh.enabled", "config.update", "success"),
    ("ExtendedEvent", "esx.audit.ssh.disabled", "config.update", "success"),
    ("ExtendedEvent", "esx.audit.shell.enabled", "config.update", "success"),
    ("ExtendedEvent", "esx.audit.shell.disabled", "config.update", "success"),
    ("ExtendedEvent", "esx.audit.dcui.enabled", "config.update", "success"),
    ("ExtendedEvent", "esx.audit.dcui.disabled", "config.update", "success"),
    ("ExtendedEvent", "esx.audit.lockdownmode.enabled", "config.update", "success"),
    ("ExtendedEvent", "esx.audit.lockdownmode.disabled", "config.update", "success"),
    ("ExtendedEvent", "esx.audit.lockdownmode.exceptions.changed", "config.update", "success"),
    ("ExtendedEvent", "com.example.partner.Something", "other", "unknown"),
    // A class that derives from the extensible one.
    ("HealthStatusChangedEventOfAPartner", "com.example.partner.Health", "other", "unknown"),
];

/// Every case: the event, and what is expected of some of its columns.
pub(super) fn cases() -> Vec<(VsphereEvent, Expected)> {
    let mut cases: Vec<(&'static str, Members, Expected)> = Vec::new();
    for &(class, id, action, outcome) in PLAIN {
        let members = if id.is_empty() { Vec::new() } else { vec![("eventTypeId", text(id)), ("message", text(id))] };
        cases.push((class, members, meaning(if id.is_empty() { class } else { id }, action, outcome)));
    }
    let mut case = |class, members: Members, expected: Expected| cases.push((class, members, expected));
    case(
        "UserLoginSessionEvent",
        vec![
            ("host", host()),
            ("fullFormattedMessage", text("User EXAMPLE\\bob@198.51.100.9 logged in")),
            ("ipAddress", text("fe80::1%eth0")),
            ("userAgent", text("web/1")),
            ("locale", text("en")),
            ("sessionId", text("52a")),
        ],
        vec![
            ("action", Some("auth.login")),
            // What the text says of users and addresses is no fact.
            ("user_name", Some("ana")),
            ("src_ip", Some("fe80::1")),
            ("dst_host", Some("esx9.corp.example")),
            ("session_id", Some("52a")),
            ("unmapped", Some("{\"locale\":\"en\"}")),
        ],
    );
    case(
        "SessionTerminatedEvent",
        vec![("sessionId", text("52a")), ("terminatedUsername", text("CORP\\ben"))],
        vec![
            ("action", Some("session.terminate")),
            ("user_name", Some("ana")),
            ("target_user", Some("CORP\\ben")),
            ("session_id", Some("52a")),
        ],
    );
    let entity = || {
        let folder = reference("Folder", "group-d1");
        object("ManagedEntityEventArgument", vec![("name", text("Datacenters")), ("entity", folder)])
    };
    for (class, action, more) in [
        ("PermissionAddedEvent", "priv.grant", vec![("role", role(-1, "Admin")), ("propagate", VimValue::Bool(true))]),
        (
            "PermissionUpdatedEvent",
            "priv.grant",
            vec![
                ("role", role(-1, "Admin")),
                ("propagate", VimValue::Bool(true)),
                ("prevRole", role(-2, "ReadOnly")),
                ("prevPropagate", VimValue::Bool(false)),
            ],
        ),
        ("PermissionRemovedEvent", "priv.revoke", vec![]),
    ] {
        let mut members =
            vec![("entity", entity()), ("principal", text("CORP\\ben")), ("group", VimValue::Bool(false))];
        members.extend(more);
        let mut expected = meaning(class, action, "success");
        expected.extend([
            ("target_user", Some("CORP\\ben")),
            ("target_type", Some("folder")),
            ("target_name", Some("Datacenters")),
            ("target_uid", Some("group-d1")),
        ]);
        case(class, members, expected);
    }
    for (class, action, more) in [
        ("RoleAddedEvent", "role.create", vec![("privilegeList", privileges(&["System.View"]))]),
        (
            "RoleUpdatedEvent",
            "role.update",
            vec![
                ("privilegeList", privileges(&["System.View", "System.Read"])),
                ("prevRoleName", text("Old")),
                ("privilegesAdded", privileges(&["System.Read"])),
            ],
        ),
        ("RoleRemovedEvent", "role.delete", vec![]),
    ] {
        let mut members = vec![("role", role(1101, "Auditors"))];
        members.extend(more);
        let mut expected = meaning(class, action, "success");
        expected.extend([
            ("target_type", Some("role")),
            ("target_name", Some("Auditors")),
            ("target_uid", Some("1101")),
        ]);
        case(class, members, expected);
    }
    let spec = |id| object("HostAccountSpec", vec![("id", text(id)), ("password", text("not-a-secret"))]);
    for (class, action, more) in [
        ("AccountCreatedEvent", "account.create", vec![("spec", spec("local1")), ("group", VimValue::Bool(false))]),
        ("AccountUpdatedEvent", "account.update", vec![("spec", spec("local1")), ("group", VimValue::Bool(false))]),
        ("AccountRemovedEvent", "account.delete", vec![("account", text("local1")), ("group", VimValue::Bool(false))]),
        ("UserAssignedToGroup", "group.add_user", vec![("userLogin", text("local1")), ("group", text("ops"))]),
        ("UserUnassignedFromGroup", "group.remove_user", vec![("userLogin", text("local1")), ("group", text("ops"))]),
        ("UserPasswordChanged", "account.password_change", vec![("userLogin", text("local1"))]),
    ] {
        let mut members = vec![("host", host())];
        members.extend(more);
        let mut expected = meaning(class, action, "success");
        expected.extend([("target_user", Some("local1")), ("target_name", Some("ESX9.corp.example"))]);
        case(class, members, expected);
    }
    let info = object(
        "TaskInfo",
        vec![
            ("key", text("task-1")),
            ("task", reference("Task", "task-1")),
            ("descriptionId", text("VirtualMachine.powerOn")),
            ("entity", reference("VirtualMachine", "vm-7")),
            ("entityName", text("app%2fweb")),
            ("state", text("queued")),
            ("cancelled", VimValue::Bool(false)),
            ("cancelable", VimValue::Bool(true)),
            ("reason", object("TaskReasonUser", vec![("userName", text("VSPHERE.LOCAL\\Operator"))])),
            ("queueTime", VimValue::Time(1_770_113_730_250_001)),
            ("eventChainId", VimValue::Int(7)),
        ],
    );
    let mut expected = meaning("TaskEvent", "config.call", "unknown");
    expected.extend([
        ("operation", Some("VirtualMachine.powerOn")),
        ("target_type", Some("vm")),
        ("target_name", Some("app%2fweb")),
        ("target_uid", Some("vm-7")),
    ]);
    case("TaskEvent", vec![("info", info.clone())], expected);
    case(
        "EventEx",
        vec![
            (
                "fullFormattedMessage",
                text("Failed login dora@corp.example from 192.0.2.7 at 02/03/2026 10:15:30 GMT in SSO"),
            ),
            ("eventTypeId", text("com.vmware.sso.LoginFailure")),
            ("severity", text("warning")),
            ("message", text("")),
            (
                "arguments",
                arguments(vec![
                    ("whoever", text("dora@corp.example")),
                    ("attempt", VimValue::Int(3)),
                    ("locked", VimValue::Bool(false)),
                    ("since", VimValue::Time(1_770_113_730_250_001)),
                    ("on", reference("HostSystem", "host-9")),
                    ("how", object("LocalizableMessage", vec![("key", text("k"))])),
                ]),
            ),
            ("objectId", text("host-9")),
            ("objectType", text("HostSystem")),
            ("objectName", text("esx9")),
        ],
        vec![
            ("severity_id", Some("3")),
            ("src_ip", None),
            ("outcome", Some("failure")),
            ("target_type", Some("host")),
            ("target_uid", Some("host-9")),
            (
                "unmapped",
                Some(
                    r#"{"severity":"warning","message":"","arguments":[{"_typeName":"KeyAnyValue","key":"whoever","value":{"_typeName":"string","_value":"dora@corp.example"}},{"_typeName":"KeyAnyValue","key":"attempt","value":{"_typeName":"int","_value":3}},{"_typeName":"KeyAnyValue","key":"locked","value":{"_typeName":"boolean","_value":false}},{"_typeName":"KeyAnyValue","key":"since","value":{"_typeName":"dateTime","_value":"2026-02-03T10:15:30.250001Z"}},{"_typeName":"KeyAnyValue","key":"on","value":{"_typeName":"ManagedObjectReference","type":"HostSystem","value":"host-9"}},{"_typeName":"KeyAnyValue","key":"how","value":{"_typeName":"LocalizableMessage","key":"k"}}],"objectId":"host-9","objectType":"HostSystem","objectName":"esx9"}"#,
                ),
            ),
        ],
    );
    case(
        "ExtendedEvent",
        vec![
            ("message", text("told")),
            ("eventTypeId", text("com.example.partner.Data")),
            ("managedObject", reference("HostSystem", "host-9")),
            ("data", VimValue::List(vec![object("ExtendedEventPair", vec![("key", text("a")), ("value", text("b"))])])),
        ],
        vec![("severity_id", Some("1")), ("message", Some("told")), ("target_uid", Some("host-9"))],
    );
    let mut cases: Vec<_> = cases
        .into_iter()
        .zip(0..)
        .map(|((class, members, expected), at)| (event(class, at, i64::from(at), members), expected))
        .collect();

    // The system as actor: nobody's name stands in the event, or only inside the task.
    let at = cases.len() as i32;
    let mut started = event("ServerStartedSessionEvent", at, i64::from(at), Vec::new());
    started.user_name = String::new();
    cases.push((started, vec![("user_name", None), ("user_original", None), ("user_type", Some("system"))]));
    let mut task = event("TaskEvent", at + 1, i64::from(at) + 1, vec![("info", info)]);
    task.user_name = String::new();
    cases.push((
        task,
        vec![
            ("user_name", Some("operator")),
            ("user_domain", Some("vsphere.local")),
            ("user_original", Some("VSPHERE.LOCAL\\Operator")),
        ],
    ));
    cases
}
