//! Fuzz targets for what reads single values: times, addresses, account names. `docs/fuzzing.md` tells how they run.

use std::net::{IpAddr, SocketAddr};

use chrono::DateTime;
use fedaudit_fuzz::Depth;

use crate::address::{Address, Cidr};
use crate::principal::{BareNames, Principal, fold};
use crate::{AddressKind, Time};

/// A time is what a full parser of RFC 3339 takes it for, can be stored, and is read back as it is written.
#[test]
fn time() {
    fedaudit_fuzz::target!("time", |input| {
        let Ok(text) = std::str::from_utf8(input) else { return Depth::Refused };
        if let Ok(number) = text.parse() {
            assert!(Time::from_number(number).is_none_or(Time::is_storable));
            assert!(Time::from_millis(number).is_none_or(|time| time.micros() == number * 1000));
            assert!(Time::from_seconds(number).is_none_or(|time| time.seconds() == number));
        }
        let parsed = Time::parse(text);
        if let Some(parsed) = parsed {
            assert!(parsed.time.is_storable());
            let again = Time::parse(&parsed.time.to_string()).expect("what is written can be read");
            assert_eq!((again.time, again.assumed_zone), (parsed.time, false));
        }
        let theirs = DateTime::parse_from_rfc3339(text).ok();
        let leap = theirs.is_some_and(|time| time.timestamp_subsec_nanos() >= 1_000_000_000);
        if let Some(theirs) = theirs.filter(|_| !leap && text.is_ascii()) {
            let micros = theirs.timestamp_micros();
            let storable = Time::from_micros(micros).is_storable();
            assert_eq!(parsed.map(|parsed| parsed.time.micros()), storable.then_some(micros));
            assert!(parsed.is_none_or(|parsed| !parsed.assumed_zone));
        }
        Depth::reached(parsed.is_some())
    });
}

/// An address is the one that the standard library reads, in its one canonical form; nothing is both a name and an address.
#[test]
fn address() {
    fedaudit_fuzz::target!("address", |input| {
        let text = String::from_utf8_lossy(input);
        for address in [Address::parse(&text), Address::parse_with_port(&text)] {
            let ip: Option<IpAddr> = address.ip.as_deref().map(|ip| ip.parse().expect("an address"));
            assert_eq!(ip.map(|ip| ip.to_string()), address.ip);
            assert!(address.port.is_none_or(|port| u16::try_from(port).is_ok()));
            assert!(address.host.as_deref().is_none_or(|host| !host.is_empty() && host == host.to_lowercase()));
            let (has_ip, has_host) = match address.kind {
                AddressKind::Ip | AddressKind::Proxy | AddressKind::Loopback => (true, false),
                AddressKind::Host => (false, true),
                AddressKind::None | AddressKind::UnixSocket | AddressKind::Unparsed => (false, false),
            };
            assert_eq!((address.ip.is_some(), address.host.is_some()), (has_ip, has_host), "{address:?}");
            if let Some(ip) = &address.ip {
                assert_eq!(Address::parse(ip).ip.as_ref(), Some(ip));
                assert!(Cidr::parse(ip).is_some_and(|range| range.contains(ip.parse().expect("an address"))));
            }
        }
        let ours = Address::parse(&text);
        if let Ok(ip) = text.trim().parse::<IpAddr>() {
            assert_eq!(ours.ip, Some(ip.to_canonical().to_string()));
        }
        if let Some(socket) = text.trim().parse::<SocketAddr>().ok().filter(|_| !text.contains('%')) {
            assert_eq!(ours.ip, Some(socket.ip().to_canonical().to_string()));
            assert_eq!(ours.port, Some(socket.port().into()));
        }
        if let (Some(range), Some((ip, _))) = (Cidr::parse(&text), text.split_once('/')) {
            assert!(range.contains(ip.trim().parse().expect("its own address")));
        }
        Depth::reached(ours.ip.is_some() || ours.host.is_some())
    });
}

/// No part of an account is empty, folding a folded name changes nothing, and an account with a realm is the same account
/// when it is written as `realm\name`.
#[test]
fn principal() {
    fedaudit_fuzz::target!("principal", |input| {
        let text = String::from_utf8_lossy(input);
        for bare in [BareNames::Fold, BareNames::KeepCase] {
            let account = Principal::parse(&text, bare);
            for part in [&account.name, &account.domain, &account.uid].into_iter().flatten() {
                assert!(!part.is_empty(), "{account:?}");
            }
            let folds = bare == BareNames::Fold || account.domain.is_some();
            let name = account.name.as_deref().filter(|_| folds && !text.trim().starts_with('.'));
            for folded in [name, account.domain.as_deref()].into_iter().flatten() {
                assert_eq!(fold(folded), folded);
            }
            if let (Some(name), Some(domain)) = (&account.name, &account.domain)
                && !format!("{name}{domain}").contains(['@', '\\', '=', ',', '.'])
                && domain.trim_start() == domain
                && name.trim_end() == name
            {
                let written = format!("{domain}\\{name}");
                let again = Principal::parse(&written, bare);
                assert_eq!((&again.name, &again.domain), (&account.name, &account.domain));
            }
        }
        Depth::reached(Principal::parse(&text, BareNames::Fold).name.is_some())
    });
}
