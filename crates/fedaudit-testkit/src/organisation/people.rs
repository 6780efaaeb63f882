//! Who works there: names, accounts, addresses and client programs. Addresses are from the ranges that are reserved for
//! documentation (RFC 5737 and RFC 3849), names from `example`.

use std::collections::HashSet;

use crate::random::Random;
use crate::truth::{Account, Person};

/// The organisation's realm.
pub const REALM: &str = "corp.example";
/// The built-in administrator of the virtualisation manager. In lower case, so that every name that this product holds is
/// a form of the bare name as the tables show it: whether the product compares account names by case is not known.
pub const ADMINISTRATOR: &str = "VSPHERE.LOCAL\\administrator";
/// Number of Canvas's root account.
pub const CANVAS_ROOT_ACCOUNT: i64 = 1;

pub(super) const NAS_HOST: &str = "nas-1.corp.example";

const GIVEN: [&str; 40] = [
    "Ana", "Ben", "Carla", "David", "Elif", "Femi", "Grace", "Hana", "Ivan", "Jonas", "Kaya", "Lena", "Marco", "Nadia",
    "Omar", "Petra", "Quinn", "Rosa", "Sami", "Tara", "Ugo", "Vera", "Wim", "Xenia", "Yuki", "Zoe", "Anton", "Bianca",
    "Chen", "Dina", "Erik", "Farah", "Goran", "Helga", "Ines", "Jorge", "Klara", "Liam", "Mina", "Noor",
];
const FAMILY: [&str; 24] = [
    "Abel",
    "Brandt",
    "Costa",
    "Dimitrov",
    "Eriksen",
    "Fischer",
    "Gomez",
    "Horvat",
    "Ito",
    "Jansen",
    "Keller",
    "Lopez",
    "Moreau",
    "Novak",
    "Okafor",
    "Papadakis",
    "Quist",
    "Rossi",
    "Schmid",
    "Tanaka",
    "Ueda",
    "Vogel",
    "Weber",
    "Yilmaz",
];
const AGENTS: [&str; 6] = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 15_5) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:139.0) Gecko/20100101 Firefox/139.0",
    "Mozilla/5.0 (iPad; CPU OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
    "Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Mobile Safari/537.36",
];
const STRANGERS: [&str; 4] = ["203.0.113.66", "203.0.113.201", "198.51.100.250", "2001:db8:bad::1"];

/// A machine that someone works at.
#[derive(Debug, Clone)]
pub(super) struct Client {
    /// Canonical text.
    pub(super) ip: String,
    pub(super) agent: &'static str,
    /// Host name.
    pub(super) host: String,
}

impl Client {
    /// `address:port`, IPv6 in brackets.
    pub(super) fn with_port(&self, port: i64) -> String {
        if self.ip.contains(':') { format!("[{}]:{port}", self.ip) } else { format!("{}:{port}", self.ip) }
    }
}

/// One person.
#[derive(Debug, Clone)]
pub(super) struct Staff {
    /// Position in the staff.
    pub(super) index: usize,
    /// Account name.
    pub(super) name: String,
    pub(super) given: &'static str,
    pub(super) family: &'static str,
    pub(super) admin: bool,
    /// Uses a second factor.
    pub(super) two_factor: bool,
    /// Two or three machines, the usual one first.
    pub(super) clients: Vec<Client>,
}

impl Staff {
    pub(super) fn display_name(&self) -> String {
        format!("{} {}", self.given, self.family)
    }

    /// Name of the Canvas login; some were typed with a capital letter when they were made.
    pub(super) fn canvas_login(&self) -> String {
        if self.index % 5 == 2 {
            let (first, rest) = self.name.split_at(1);
            format!("{}{rest}@{REALM}", first.to_ascii_uppercase())
        } else {
            format!("{}@{REALM}", self.name)
        }
    }

    /// As vCenter writes the account.
    pub(super) fn vsphere_name(&self) -> String {
        format!("CORP\\{}", self.name)
    }

    /// As the single sign-on of vCenter writes it.
    pub(super) fn upn(&self) -> String {
        format!("{}@CORP.EXAMPLE", self.name)
    }

    /// Number of the account on the storage appliance.
    pub(super) fn uid(&self) -> usize {
        3000 + self.index
    }

    /// A machine, mostly the usual one.
    pub(super) fn client(&self, random: &mut Random) -> &Client {
        &self.clients[random.skewed(self.clients.len())]
    }

    pub(super) fn person(&self) -> Person {
        let mut accounts = vec![
            Account { product: "truenas", name: self.name.clone() },
            Account { product: "sps", name: self.name.clone() },
            Account { product: "canvas", name: self.canvas_login() },
        ];
        if self.admin {
            accounts.push(Account { product: "vsphere", name: self.vsphere_name() });
        }
        Person {
            name: self.name.clone(),
            display_name: self.display_name(),
            email: format!("{}@{REALM}", self.name),
            admin: self.admin,
            accounts,
        }
    }
}

/// How many of the staff administer systems: the first ones, a quarter of all.
pub(super) fn admins(staff: usize) -> usize {
    staff.div_ceil(4).max(2)
}

/// Hires people with account names that no one else has.
pub(super) fn hire(random: &mut Random, count: usize) -> Vec<Staff> {
    let mut taken = HashSet::new();
    (0..count)
        .map(|index| {
            let given = GIVEN[index % GIVEN.len()];
            let family = random.pick(&FAMILY);
            let short = given.to_ascii_lowercase();
            let mut name = short.clone();
            if !taken.insert(name.clone()) {
                name = format!("{short}.{}", family.to_ascii_lowercase());
                if !taken.insert(name.clone()) {
                    name = format!("{short}.{}{index}", family.to_ascii_lowercase());
                    taken.insert(name.clone());
                }
            }
            Staff {
                index,
                given,
                family,
                admin: index < admins(count),
                two_factor: random.chance(0.3),
                clients: clients(random, index),
                name,
            }
        })
        .collect()
}

fn clients(random: &mut Random, index: usize) -> Vec<Client> {
    let office = if index % 3 == 1 {
        format!("2001:db8:10::{:x}", 0x100 + index)
    } else if index < 200 {
        format!("192.0.2.{}", 10 + index)
    } else {
        format!("2001:db8:11::{:x}", 0x100 + index)
    };
    let away = format!("198.51.100.{}", 1 + random.range(0, 240));
    let mut clients = vec![
        Client { ip: office, agent: random.pick(&AGENTS[..4]), host: format!("ws{:02}", 10 + index) },
        Client { ip: away, agent: random.pick(&AGENTS), host: format!("nb{:02}", 10 + index) },
    ];
    if index.is_multiple_of(2) {
        let mobile = format!("203.0.113.{}", 1 + random.range(0, 60));
        clients.push(Client { ip: mobile, agent: AGENTS[4 + index % 4 / 2], host: format!("mob{:02}", 10 + index) });
    }
    clients
}

/// An address that no one of the staff uses.
pub(super) fn stranger(random: &mut Random) -> &'static str {
    random.pick(&STRANGERS)
}

/// A name that strangers try.
pub(super) fn guess(random: &mut Random) -> &'static str {
    random.pick(&["admin", "root", "administrator", "test", "backup"])
}
