//! What VI JSON knows of a member's type and XML does not say: numbers, truths, arrays, and the type of a nested object.
//! The lists cover every event class of the vSphere 8.0.3 schema except device and switch configuration.

/// How the text of an XML leaf is written in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaf {
    Text,
    Int,
    Bool,
}

/// The kind of a leaf, by the type of the object it stands in and its name.
pub(crate) fn leaf(parent: &str, member: &str, event: bool) -> Leaf {
    match member {
        // Every other object with a `key` has text there.
        "key" if event => Leaf::Int,
        "group" if parent.starts_with("Permission") || parent.starts_with("Account") => Leaf::Bool,
        "available" | "callCount" | "capacity" | "chainId" | "connectionCookie" | "count" | "end" | "eventChainId"
        | "fieldKey" | "limit" | "maxPorts" | "memoryMB" | "mtu" | "newCapacity" | "newNodeWwns" | "newPortWwns"
        | "nodeWwns" | "numCPUs" | "numCoresPerSocket" | "numPorts" | "numStandalonePorts" | "oldCapacity"
        | "oldNodeWwns" | "oldPortWwns" | "portWwns" | "progress" | "reservation" | "roleId" | "start" | "timeout"
        | "unlicensed" | "wwn" => Leaf::Int,
        "cancelable" | "cancelled" | "edition" | "extensionSession" | "inherited" | "isGranted" | "linkUp"
        | "prevPropagate" | "propagate" | "shellAccess" | "succeeded" | "template" | "trunkingMode" => Leaf::Bool,
        _ => Leaf::Text,
    }
}

/// Whether a member is an array even when it has one element.
pub(crate) fn is_array(parent: &str, member: &str) -> bool {
    match member {
        "data" => parent == "ExtendedEvent",
        "portKey" => parent.starts_with("DvsPort"),
        "hostOutOfSync" => parent == "OutOfSyncDvsHost",
        "arg" | "argument" | "arguments" | "configParamters" | "conflictedHosts" | "conflictedVms" | "dependentKey"
        | "faultMessage" | "locked" | "messageInfo" | "missingPrivileges" | "missingSet" | "newNodeWwns"
        | "newPortWwns" | "nodeWwns" | "objects" | "oldNodeWwns" | "oldPortWwns" | "permissions" | "portWwns"
        | "privAvailability" | "privilegeIds" | "privilegeList" | "privilegesAdded" | "privilegesRemoved"
        | "progressDetails" | "propSet" | "scope" | "vlanIds" => true,
        _ => false,
    }
}

/// The declared type of a member that holds an object; it is the real one unless `xsi:type` says otherwise.
pub(crate) fn object_type(member: &str) -> Option<&'static str> {
    Some(match member {
        "alarm" => "AlarmEventArgument",
        "arg" | "arguments" | "progressDetails" => "KeyAnyValue",
        "computeResource" => "ComputeResourceEventArgument",
        "configSpec" => "VirtualMachineConfigSpec",
        "configChanges" => "ChangesInfoEventArgument",
        "data" => "ExtendedEventPair",
        "datacenter" | "destDatacenter" | "sourceDatacenter" => "DatacenterEventArgument",
        "datastore" | "ds" | "newDatastore" | "oldDatastore" | "sourceDatastore" => "DatastoreEventArgument",
        "destFolder" => "FolderEventArgument",
        "destHost" | "dstHost" | "failedHost" | "host" | "hostBackInSync" | "hostJoined" | "hostLeft"
        | "hostMember" | "isolatedHost" | "outOfSyncHost" | "sourceHost" | "conflictedHosts" => "HostEventArgument",
        "destinationDvs" | "dvs" | "sourceDvs" => "DvsEventArgument",
        "dstPool" | "newParent" | "oldParent" | "resourcePool" => "ResourcePoolEventArgument",
        "entity" | "source" => "ManagedEntityEventArgument",
        "error" | "fault" | "faultCause" => "LocalizedMethodFault",
        "faultMessage" => "LocalizableMessage",
        "info" => "TaskInfo",
        "net" => "NetworkEventArgument",
        "permissions" => "Permission",
        "prevRole" | "role" => "RoleEventArgument",
        "profile" => "ProfileEventArgument",
        "scheduledTask" => "ScheduledTaskEventArgument",
        "spec" => "HostAccountSpec",
        "conflictedVm" | "conflictedVms" | "sourceVm" | "srcTemplate" | "vm" => "VmEventArgument",
        _ => return None,
    })
}

/// The VI JSON name of an XML Schema type, for values whose declared type is `any`.
pub(crate) fn primitive(xsi_type: &str) -> Option<(&'static str, Leaf)> {
    Some(match xsi_type {
        "string" | "anyURI" => ("string", Leaf::Text),
        "boolean" => ("boolean", Leaf::Bool),
        "byte" => ("byte", Leaf::Int),
        "short" => ("short", Leaf::Int),
        "int" => ("int", Leaf::Int),
        "long" => ("long", Leaf::Int),
        "float" => ("float", Leaf::Int),
        "double" => ("double", Leaf::Int),
        "dateTime" => ("dateTime", Leaf::Text),
        "base64Binary" => ("binary", Leaf::Text),
        _ => return None,
    })
}
