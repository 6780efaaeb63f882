//! Which event means which action. Only names listed here have an action; everything else is `other` and kept all the
//! same, so that a list of names for an action is complete and can be pushed to the server.

use std::collections::HashMap;
use std::sync::LazyLock;

use fedaudit_core::{Action, Outcome};

/// What one event name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meaning {
    pub(crate) action: Action,
    pub(crate) outcome: Outcome,
    pub(crate) reason: Option<&'static str>,
}

/// The meaning of an event class, or of the id inside an `EventEx` or `ExtendedEvent`.
pub(crate) fn meaning(code: &str) -> Meaning {
    BY_CODE.get(code).copied().unwrap_or(Meaning { action: Action::Other, outcome: Outcome::Unknown, reason: None })
}

/// Every name with this action; none for `other`, which has no end.
pub(crate) fn codes_of(action: Action) -> impl Iterator<Item = &'static str> {
    GROUPS.iter().filter(move |group| group.0 == action).flat_map(|group| group.3.iter().copied())
}

/// What an event says about events that are not there, if it does.
pub(crate) fn hole(code: &str) -> Option<&'static str> {
    Some(match code {
        "com.vmware.vc.EventBurstCompressedEvent" => {
            "the server compressed a burst of equal events: those after the first 30 were never stored (EventBurstCompressedEvent)"
        }
        "com.vmware.vc.EventBurstStartedEvent" | "com.vmware.vc.EventBurstEndedEvent" => {
            "the server compresses a burst of equal events: only the first 30 are stored (EventBurstStartedEvent, EventBurstEndedEvent)"
        }
        "com.vmware.vc.RestrictedAccess" => {
            "the server hides what some events were about, because the account may not see it (RestrictedAccess)"
        }
        _ => return None,
    })
}

static BY_CODE: LazyLock<HashMap<&'static str, Meaning>> = LazyLock::new(|| {
    GROUPS
        .iter()
        .flat_map(|&(action, outcome, reason, codes)| {
            codes.iter().map(move |code| (*code, Meaning { action, outcome, reason }))
        })
        .collect()
});

type Group = (Action, Outcome, Option<&'static str>, &'static [&'static str]);

use Outcome::{Failure, Success, Unknown};

#[rustfmt::skip]
static GROUPS: &[Group] = &[
    (Action::Login, Success, None, &[
        "UserLoginSessionEvent", "com.vmware.sso.LoginSuccess", "esx.audit.ssh.session.opened",
    ]),
    (Action::Login, Failure, Some("bad_credentials"), &[
        "BadUsernameSessionEvent", "com.vmware.sso.LoginFailure", "esx.audit.dcui.login.failed",
        "esx.audit.ssh.session.failed", "esx.audit.account.loginfailures",
    ]),
    (Action::Login, Failure, Some("no_permission"), &["NoAccessUserEvent"]),
    (Action::Login, Failure, Some("already_authenticated"), &["AlreadyAuthenticatedSessionEvent"]),
    (Action::Logout, Success, None, &[
        "UserLogoutSessionEvent", "com.vmware.sso.Logout", "esx.audit.ssh.session.closed",
    ]),
    (Action::SessionTerminate, Success, None, &["SessionTerminatedEvent"]),
    // Nothing else may have this action: it ends every session of the server.
    (Action::ServiceStart, Success, None, &["ServerStartedSessionEvent"]),
    (Action::AccountCreate, Success, None, &["AccountCreatedEvent"]),
    (Action::AccountUpdate, Success, None, &["AccountUpdatedEvent", "com.vmware.sso.PrincipalManagement"]),
    (Action::AccountDelete, Success, None, &["AccountRemovedEvent"]),
    (Action::AccountLock, Success, None, &["esx.audit.account.locked"]),
    (Action::AccountPasswordChange, Success, None, &["UserPasswordChanged", "esx.audit.dcui.passwd.changed"]),
    (Action::GroupAddUser, Success, None, &["UserAssignedToGroup"]),
    (Action::GroupRemoveUser, Success, None, &["UserUnassignedFromGroup"]),
    (Action::RoleCreate, Success, None, &["RoleAddedEvent"]),
    (Action::RoleUpdate, Success, None, &["RoleUpdatedEvent", "com.vmware.sso.RoleManagement"]),
    (Action::RoleDelete, Success, None, &["RoleRemovedEvent"]),
    (Action::PrivGrant, Success, None, &[
        "PermissionAddedEvent", "PermissionUpdatedEvent", "com.vmware.cis.CreatePermission",
        "com.vmware.cis.CreateGlobalPermission",
    ]),
    (Action::PrivRevoke, Success, None, &[
        "PermissionRemovedEvent", "com.vmware.cis.RemovePermission", "com.vmware.cis.RemoveGlobalPermission",
    ]),
    (Action::ConfigUpdate, Success, None, &[
        "GlobalMessageChangedEvent", "AlarmReconfiguredEvent", "ScheduledTaskReconfiguredEvent",
        "CustomFieldDefRenamedEvent", "CustomFieldValueChangedEvent", "LocalTSMEnabledEvent", "RemoteTSMEnabledEvent",
        "LockerReconfiguredEvent", "HostEnableAdminFailedEvent", "HostAdminEnableEvent", "HostAdminDisableEvent",
        "com.vmware.sso.PasswordPolicy", "com.vmware.sso.LockoutPolicy", "com.vmware.sso.IdentitySourceManagement",
        "com.vmware.sso.DomainManagement", "com.vmware.sso.ConfigurationManagement",
        "com.vmware.sso.CertificateManager", "com.vmware.sso.SystemManagement",
        "esx.audit.ssh.enabled", "esx.audit.ssh.disabled", "esx.audit.shell.enabled", "esx.audit.shell.disabled",
        "esx.audit.dcui.enabled", "esx.audit.dcui.disabled", "esx.audit.lockdownmode.enabled",
        "esx.audit.lockdownmode.disabled", "esx.audit.lockdownmode.exceptions.changed",
    ]),
    (Action::ConfigCreate, Success, None, &["AlarmCreatedEvent", "ScheduledTaskCreatedEvent", "CustomFieldDefAddedEvent"]),
    (Action::ConfigDelete, Success, None, &["AlarmRemovedEvent", "ScheduledTaskRemovedEvent", "CustomFieldDefRemovedEvent"]),
    // A task event is written when the task is queued: how it ended is not in it.
    (Action::ConfigCall, Unknown, None, &["TaskEvent", "ScheduledTaskStartedEvent"]),
    (Action::ConfigCall, Failure, Some("no_permission"), &["com.vmware.vc.authorization.NoPermission"]),
    (Action::FileDelete, Success, None, &["DatastoreFileDeletedEvent"]),
    (Action::ObjectCreate, Success, None, &[
        "VmCreatedEvent", "VmClonedEvent", "VmDeployedEvent", "VmRegisteredEvent", "VmDiscoveredEvent", "VmConnectedEvent",
        "HostAddedEvent", "ClusterCreatedEvent", "DatacenterCreatedEvent", "ResourcePoolCreatedEvent", "DvsCreatedEvent",
        "DVPortgroupCreatedEvent", "VMFSDatastoreCreatedEvent", "NASDatastoreCreatedEvent", "LocalDatastoreCreatedEvent",
    ]),
    (Action::ObjectCreate, Failure, None, &["VmCloneFailedEvent", "VmDeployFailedEvent", "HostAddFailedEvent"]),
    (Action::ObjectDelete, Success, None, &[
        "VmRemovedEvent", "HostRemovedEvent", "ClusterDestroyedEvent", "ResourcePoolDestroyedEvent", "DvsDestroyedEvent",
        "DVPortgroupDestroyedEvent", "DatastoreDestroyedEvent", "DatastoreRemovedOnHostEvent",
    ]),
    (Action::ObjectUpdate, Success, None, &[
        "VmPoweredOnEvent", "VmPoweredOffEvent", "VmSuspendedEvent", "VmResumingEvent", "VmResettingEvent",
        "VmGuestShutdownEvent", "VmGuestRebootEvent", "VmGuestStandbyEvent", "VmReconfiguredEvent", "VmRenamedEvent",
        "VmMigratedEvent", "VmRelocatedEvent", "VmResourcePoolMovedEvent", "VmResourceReallocatedEvent", "VmUpgradeCompleteEvent",
        "DrsVmMigratedEvent", "DrsVmPoweredOnEvent", "VmAcquiredTicketEvent", "VmAcquiredMksTicketEvent",
        "VmRemoteConsoleConnectedEvent", "VmRemoteConsoleDisconnectedEvent",
        "EnteredMaintenanceModeEvent", "ExitMaintenanceModeEvent", "HostConnectedEvent", "HostDisconnectedEvent",
        "ClusterReconfiguredEvent", "DatacenterRenamedEvent", "DatastoreRenamedEvent", "ResourcePoolReconfiguredEvent",
        "ResourcePoolMovedEvent", "DvsReconfiguredEvent", "DvsRenamedEvent", "DVPortgroupReconfiguredEvent",
        "DVPortgroupRenamedEvent", "DvsHostJoinedEvent", "DvsHostLeftEvent",
    ]),
    (Action::ObjectUpdate, Failure, None, &[
        "VmFailedToPowerOnEvent", "VmFailedToPowerOffEvent", "VmFailedToResetEvent", "VmFailedToSuspendEvent",
        "VmFailedMigrateEvent", "VmRelocateFailedEvent", "VmFailedToRebootGuestEvent", "VmFailedToShutdownGuestEvent",
        "VmFailedToStandbyGuestEvent",
    ]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_one_meaning() {
        assert_eq!(BY_CODE.len(), GROUPS.iter().map(|group| group.3.len()).sum::<usize>());
        assert_eq!(meaning("VmBeingHotMigratedEvent").action, Action::Other);
        assert_eq!(codes_of(Action::Other).count(), 0);
        assert_eq!(codes_of(Action::ServiceStart).collect::<Vec<_>>(), ["ServerStartedSessionEvent"]);
        assert_eq!(codes_of(Action::Login).count(), 10);
    }
}
