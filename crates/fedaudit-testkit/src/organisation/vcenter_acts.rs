//! What administrators do in the virtualisation manager: machines, rights, roles, accounts; and what it does by itself.

use super::vcenter::{Actor, Log, Members, text};
use super::{Act, Growth, Product};
use crate::random::Random;
use crate::records::VimValue;

const VCENTER: Product = Product::Vsphere;

pub(super) fn object(type_name: &'static str, members: Members) -> VimValue {
    VimValue::Object { type_name, members }
}

fn reference(kind: &'static str, value: impl Into<String>) -> VimValue {
    VimValue::Ref { kind, value: value.into() }
}

/// A machine, its host, cluster, datacenter and store, as the base members of an event.
struct Place {
    number: i64,
}

impl Place {
    fn any(random: &mut Random) -> Self {
        Self { number: random.range(1, 60) }
    }

    fn vm_name(&self) -> String {
        // Names are stored with %2f for a slash.
        if self.number == 7 { "app%2fweb-07".to_owned() } else { format!("vm-{:02}", self.number) }
    }

    fn host_number(&self) -> i64 {
        self.number % 4 + 1
    }

    fn vm(&self) -> VimValue {
        let value = format!("vm-{}", 1000 + self.number);
        object("VmEventArgument", vec![("name", text(self.vm_name())), ("vm", reference("VirtualMachine", value))])
    }

    fn host(&self) -> VimValue {
        let number = self.host_number();
        let host = reference("HostSystem", format!("host-{number}"));
        object("HostEventArgument", vec![("name", text(format!("esx{number}.corp.example"))), ("host", host)])
    }

    /// Members that come before the message.
    fn around(&self) -> Members {
        vec![
            (
                "datacenter",
                object(
                    "DatacenterEventArgument",
                    vec![("name", text("DC-North")), ("datacenter", reference("Datacenter", "datacenter-3"))],
                ),
            ),
            (
                "computeResource",
                object(
                    "ComputeResourceEventArgument",
                    vec![
                        ("name", text("Cluster-A")),
                        ("computeResource", reference("ClusterComputeResource", "domain-c8")),
                    ],
                ),
            ),
            ("host", self.host()),
        ]
    }

    fn around_vm(&self) -> Members {
        let mut members = self.around();
        members.push(("vm", self.vm()));
        if self.number % 2 == 0 {
            let store = vec![("name", text("san-1")), ("datastore", reference("Datastore", "datastore-11"))];
            members.push(("ds", object("DatastoreEventArgument", store)));
        }
        members
    }
}

/// Does one thing of many.
pub(super) fn act(growth: &mut Growth, random: &mut Random, log: &mut Log, actor: &Actor, at: i64) {
    match random.range(0, 20) {
        0..11 => machine(growth, random, log, actor, at),
        11..14 => permission(growth, random, log, actor, at),
        14 | 15 => role(growth, random, log, actor, at),
        16..19 => account(growth, random, log, actor, at),
        _ => message(growth, log, actor, at),
    }
}

/// A task on a machine, and the event that comes of it in the same chain. The task's own event is written when it is
/// queued, so how it ended is not in it.
fn machine(growth: &mut Growth, random: &mut Random, log: &mut Log, actor: &Actor, at: i64) {
    let place = Place::any(random);
    let (class, method, action, verb) = random.pick(&[
        ("VmPoweredOnEvent", "VirtualMachine.powerOn", "object.update", "powered on"),
        ("VmPoweredOffEvent", "VirtualMachine.powerOff", "object.update", "powered off"),
        ("VmReconfiguredEvent", "VirtualMachine.reconfigure", "object.update", "reconfigured"),
        ("VmReconfiguredEvent", "VirtualMachine.reconfigure", "object.update", "reconfigured"),
        ("VmCreatedEvent", "Folder.createVm", "object.create", "created"),
        ("VmRemovedEvent", "VirtualMachine.destroy", "object.delete", "removed"),
    ]);
    let number = random.range(10_000, 99_999);
    let info = object(
        "TaskInfo",
        vec![
            ("key", text(format!("task-{number}"))),
            ("task", reference("Task", format!("task-{number}"))),
            ("descriptionId", text(method)),
            ("entity", reference("VirtualMachine", format!("vm-{}", 1000 + place.number))),
            ("entityName", text(place.vm_name())),
            ("state", text("queued")),
            ("cancelled", VimValue::Bool(false)),
            ("cancelable", VimValue::Bool(false)),
            ("reason", object("TaskReasonUser", vec![("userName", text(actor.written.as_str()))])),
            ("queueTime", VimValue::Time(at)),
            ("eventChainId", VimValue::Int(number)),
        ],
    );
    let mut members = place.around_vm();
    members.push(("fullFormattedMessage", text(format!("Task: {method}"))));
    members.push(("info", info));
    let chain = log.add(at, "TaskEvent", &actor.written, members);
    growth.saw(VCENTER, at, Act::new("config.call", &actor.name).unknown());

    let at = (at + random.range(1, 40_000)).min(growth.calendar.to - 1);
    let mut members = place.around_vm();
    let message = format!("{} on esx{}.corp.example is {verb}", place.vm_name(), place.host_number());
    members.push(("fullFormattedMessage", text(message)));
    members.push(("template", VimValue::Bool(false)));
    if class == "VmReconfiguredEvent" {
        let spec = vec![("memoryMB", VimValue::Int(8192)), ("numCPUs", VimValue::Int(4))];
        members.push(("configSpec", object("VirtualMachineConfigSpec", spec)));
        let changes = vec![
            ("modified", text("config.hardware.memoryMB: 4096 -> 8192; ")),
            ("added", text("")),
            ("deleted", text("")),
        ];
        members.push(("configChanges", object("ChangesInfoEventArgument", changes)));
    }
    log.add_to(chain, at, class, &actor.written, members);
    growth.saw(VCENTER, at, Act::new(action, &actor.name));
}

fn role_argument(random: &mut Random) -> VimValue {
    let (id, name) =
        random.pick(&[(-1, "Admin"), (-2, "ReadOnly"), (1101, "VM Operators"), (1102, "Auditors & \"Co\"")]);
    object("RoleEventArgument", vec![("roleId", VimValue::Int(id)), ("name", text(name))])
}

fn permission(growth: &mut Growth, random: &mut Random, log: &mut Log, actor: &Actor, at: i64) {
    let principal = growth.anyone(random).vsphere_name();
    let place = Place::any(random);
    let entity = object(
        "ManagedEntityEventArgument",
        vec![
            ("name", text(place.vm_name())),
            ("entity", reference("VirtualMachine", format!("vm-{}", 1000 + place.number))),
        ],
    );
    let (class, action, verb) = random.pick(&[
        ("PermissionAddedEvent", "priv.grant", "added to"),
        ("PermissionAddedEvent", "priv.grant", "added to"),
        ("PermissionRemovedEvent", "priv.revoke", "removed from"),
    ]);
    let mut members = vec![
        ("fullFormattedMessage", text(format!("Permission for {principal} {verb} {}", place.vm_name()))),
        ("entity", entity),
        ("principal", text(principal)),
        ("group", VimValue::Bool(false)),
    ];
    if class == "PermissionAddedEvent" {
        members.push(("role", role_argument(random)));
        members.push(("propagate", VimValue::Bool(true)));
    }
    log.add(at, class, &actor.written, members);
    growth.saw(VCENTER, at, Act::new(action, &actor.name));
}

fn role(growth: &mut Growth, random: &mut Random, log: &mut Log, actor: &Actor, at: i64) {
    let privileges = |names: &[&str]| VimValue::List(names.iter().map(|name| text(*name)).collect());
    let (class, action) = random.pick(&[
        ("RoleAddedEvent", "role.create"),
        ("RoleUpdatedEvent", "role.update"),
        ("RoleRemovedEvent", "role.delete"),
    ]);
    let mut members =
        vec![("fullFormattedMessage", text(format!("{class} by {}", actor.written))), ("role", role_argument(random))];
    match class {
        "RoleAddedEvent" => members.push(("privilegeList", privileges(&["System.View", "System.Read"]))),
        "RoleUpdatedEvent" => {
            members.push((
                "privilegeList",
                privileges(&["System.View", "System.Read", "VirtualMachine.Interact.PowerOn"]),
            ));
            members.push(("prevRoleName", text("VM Operators")));
            members.push(("privilegesAdded", privileges(&["VirtualMachine.Interact.PowerOn"])));
        }
        _ => {}
    }
    log.add(at, class, &actor.written, members);
    growth.saw(VCENTER, at, Act::new(action, &actor.name));
}

/// Local accounts of a host. The product puts the new account's password into the event.
fn account(growth: &mut Growth, random: &mut Random, log: &mut Log, actor: &Actor, at: i64) {
    let place = Place::any(random);
    let name = format!("local{}", random.range(1, 30));
    let mut members = place.around();
    let (class, action) = random.pick(&[
        ("AccountCreatedEvent", "account.create"),
        ("AccountUpdatedEvent", "account.update"),
        ("AccountRemovedEvent", "account.delete"),
        ("UserAssignedToGroup", "group.add_user"),
        ("UserUnassignedFromGroup", "group.remove_user"),
        ("UserPasswordChanged", "account.password_change"),
    ]);
    members.push(("fullFormattedMessage", text(format!("{class}: {name}"))));
    match class {
        "AccountCreatedEvent" | "AccountUpdatedEvent" => {
            let spec = vec![
                ("id", text(name)),
                ("password", text(format!("hunter2-{}", random.range(100, 999)))),
                ("description", text("made for the \u{dc}bung <test>")),
            ];
            members.push(("spec", object("HostAccountSpec", spec)));
            members.push(("group", VimValue::Bool(false)));
        }
        "AccountRemovedEvent" => {
            members.push(("account", text(name)));
            members.push(("group", VimValue::Bool(false)));
        }
        "UserPasswordChanged" => members.push(("userLogin", text(name))),
        _ => {
            members.push(("userLogin", text(name)));
            members.push(("group", text("operators")));
        }
    }
    log.add(at, class, &actor.written, members);
    growth.saw(VCENTER, at, Act::new(action, &actor.name));
}

/// The message of the day is changed.
fn message(growth: &mut Growth, log: &mut Log, actor: &Actor, at: i64) {
    let members = vec![
        ("fullFormattedMessage", text("The message changed: from 'none' to 'Maintenance on Saturday'")),
        ("message", text("Maintenance on Saturday")),
        ("prevMessage", text("none")),
    ];
    log.add(at, "GlobalMessageChangedEvent", &actor.written, members);
    growth.saw(VCENTER, at, Act::new("config.update", &actor.name));
}

/// Something the product does by itself; no one's account stands in it.
pub(super) fn failover(growth: &mut Growth, random: &mut Random, log: &mut Log) {
    let at = growth.calendar.moment(random);
    let place = Place::any(random);
    if random.chance(0.5) {
        let mut members = place.around();
        let told = "Lost access to volume san-1; path restored";
        let arguments = ["volume", "latencyMs"].map(|key| {
            let value = if key == "volume" { text("san-1") } else { VimValue::Int(random.range(10, 900)) };
            object("KeyAnyValue", vec![("key", text(key)), ("value", VimValue::Any(Box::new(value)))])
        });
        members.extend([
            ("fullFormattedMessage", text(told)),
            ("eventTypeId", text("esx.problem.vmfs.heartbeat.recovered")),
            ("severity", text("info")),
            ("message", text(told)),
            ("arguments", VimValue::List(arguments.into())),
            ("objectId", text(format!("host-{}", place.host_number()))),
            ("objectType", text("HostSystem")),
        ]);
        log.add(at, "EventEx", "", members);
    } else {
        let told = "Host compliance check finished";
        let pair = object("ExtendedEventPair", vec![("key", text("result")), ("value", text("compliant"))]);
        log.add(
            at,
            "ExtendedEvent",
            "",
            vec![
                ("fullFormattedMessage", text(told)),
                ("message", text(told)),
                ("eventTypeId", text("com.vmware.vc.profile.ComplianceChecked")),
                ("managedObject", reference("HostSystem", format!("host-{}", place.host_number()))),
                ("data", VimValue::List(vec![pair])),
            ],
        );
    }
    growth.saw(VCENTER, at, Act { action: "other", ..Act::default() }.unknown());
}
