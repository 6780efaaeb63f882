//! Client addresses: what products write into address fields, and what it really is. No DNS look-ups.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::AddressKind;

/// A parsed address field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// Canonical IP text: dotted decimal, or RFC 5952.
    pub ip: Option<String>,
    /// Port.
    pub port: Option<i32>,
    /// Host name, lower case.
    pub host: Option<String>,
    /// What the field really held.
    pub kind: AddressKind,
}

impl Address {
    /// Reads a field.
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        // Most of them, and read without leading zeros: the text is canonical as it stands.
        if let Ok(ip) = text.parse::<Ipv4Addr>() {
            let kind = if ip.is_loopback() { AddressKind::Loopback } else { AddressKind::Ip };
            return Self { ip: Some(text.to_owned()), kind, ..Self::default() };
        }
        if text.is_empty()
            || text == "-"
            || ["unknown", "n/a", "none"].iter().any(|none| text.eq_ignore_ascii_case(none))
        {
            return Self::default();
        }
        if text.starts_with("UNIX socket") || text.starts_with("pid:") {
            return Self { kind: AddressKind::UnixSocket, ..Self::default() };
        }
        if let Some((first, _)) = text.split_once(',') {
            let first = Self::parse(first);
            let kind = if first.ip.is_some() { AddressKind::Proxy } else { AddressKind::Unparsed };
            return Self { kind, host: None, ..first };
        }
        // Samba prefixes the family and always appends a port: ipv6:2001:db8::1:445
        if let Some(rest) = text.strip_prefix("ipv4:").or_else(|| text.strip_prefix("ipv6:")) {
            return rest.rsplit_once(':').map_or_else(Self::unparsed, |(ip, port)| Self::with_port(ip, port));
        }
        if let Some(rest) = text.strip_prefix('[') {
            return match rest.split_once(']') {
                Some((ip, "")) => parse_ip(ip).map_or_else(Self::unparsed, |ip| Self::of(ip, None)),
                Some((ip, port)) => Self::with_port(ip, port.strip_prefix(':').unwrap_or("")),
                None => Self::unparsed(),
            };
        }
        if let Some(ip) = parse_ip(text) {
            return Self::of(ip, None);
        }
        match text.bytes().filter(|byte| *byte == b':').count() {
            0 => Self::of_host(text),
            1 => {
                let (host, port) = text.split_once(':').unwrap_or((text, ""));
                Self::with_port(host, port)
            }
            _ => Self::unparsed(),
        }
    }

    /// Reads `address:port` where the address may be IPv6 without brackets, as TrueNAS 25.04 writes it: the last colon
    /// always separates the port.
    pub fn parse_with_port(text: &str) -> Self {
        match text.rsplit_once(':') {
            Some((ip, port)) if !text.starts_with('[') && port.parse::<u16>().is_ok() && parse_ip(ip).is_some() => {
                Self::with_port(ip, port)
            }
            _ => Self::parse(text),
        }
    }

    fn of(ip: IpAddr, port: Option<u16>) -> Self {
        let kind = if ip.is_loopback() { AddressKind::Loopback } else { AddressKind::Ip };
        Self { ip: Some(ip.to_string()), port: port.map(i32::from), host: None, kind }
    }

    fn with_port(ip: &str, port: &str) -> Self {
        let Ok(port) = port.parse() else { return Self::unparsed() };
        match parse_ip(ip) {
            Some(ip) => Self::of(ip, Some(port)),
            None => Self { port: Some(i32::from(port)), ..Self::of_host(ip) },
        }
    }

    fn of_host(text: &str) -> Self {
        // Legacy number forms of IPv4 (010.0.0.1, 0x7f.1, 2130706433) are neither addresses nor names.
        let numeric = |label: &str| {
            let is_hexadecimal = label.get(..2).is_some_and(|head| head.eq_ignore_ascii_case("0x"));
            !label.is_empty() && (is_hexadecimal || label.bytes().all(|b| b.is_ascii_digit()))
        };
        let named = text.bytes().any(|byte| byte.is_ascii_alphanumeric())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
            && !text.split('.').all(numeric);
        if named {
            Self { host: Some(text.to_ascii_lowercase()), kind: AddressKind::Host, ..Self::default() }
        } else {
            Self::unparsed()
        }
    }

    fn unparsed() -> Self {
        Self { kind: AddressKind::Unparsed, ..Self::default() }
    }
}

/// An IP address in a canonical or a long form, with an optional zone, IPv4 mapped into IPv6 taken out again.
pub fn parse_ip(text: &str) -> Option<IpAddr> {
    let bare = text.split_once('%').map_or(text, |(ip, _zone)| ip);
    match bare.parse().ok()? {
        IpAddr::V4(_) if bare.len() < text.len() => None,
        ip => Some(ip.to_canonical()),
    }
}

/// A range of addresses, for `ip_in(src_ip, '10.0.0.0/8')`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    base: u128,
    mask: u128,
    v4: bool,
}

impl Cidr {
    /// Reads `address/length`, or a single address.
    pub fn parse(text: &str) -> Option<Self> {
        let (ip, length) = match text.split_once('/') {
            Some((ip, length)) => (ip.trim().parse().ok()?, Some(length.trim().parse::<u32>().ok()?)),
            None => (text.trim().parse().ok()?, None),
        };
        let (bits, v4, width) = match ip {
            IpAddr::V4(ip) => (u128::from(u32::from(ip)), true, 32),
            IpAddr::V6(ip) => (u128::from(ip), false, 128),
        };
        let length = length.unwrap_or(width);
        if length > width {
            return None;
        }
        let mask = if length == 0 { 0 } else { (u128::MAX << (width - length)) & (u128::MAX >> (128 - width)) };
        Some(Self { base: bits & mask, mask, v4 })
    }

    /// Whether the address lies in the range.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let (bits, v4) = match ip {
            IpAddr::V4(ip) => (u128::from(u32::from(ip)), true),
            IpAddr::V6(ip) => (u128::from(ip), false),
        };
        v4 == self.v4 && bits & self.mask == self.base
    }
}

/// Sixteen bytes in address order, IPv4 mapped into IPv6: text order is not address order.
pub fn ip_key(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => Ipv4Addr::to_ipv6_mapped(&ip).octets(),
        IpAddr::V6(ip) => Ipv6Addr::octets(&ip),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn forms_of_the_products() {
        use AddressKind as K;
        for (input, ip, port, host, kind) in [
            ("192.0.2.10", "192.0.2.10", None, "", K::Ip),
            ("192.0.2.10:59125", "192.0.2.10", Some(59125), "", K::Ip),
            ("[2001:DB8::1]:443", "2001:db8::1", Some(443), "", K::Ip),
            ("2001:db8:0:0:0:0:0:1", "2001:db8::1", None, "", K::Ip),
            ("::ffff:192.0.2.10", "192.0.2.10", None, "", K::Ip),
            ("::ffff:c000:20a", "192.0.2.10", None, "", K::Ip),
            ("fe80::1%eth0", "fe80::1", None, "", K::Ip),
            ("::ffff:192.0.2.10%eth0", "192.0.2.10", None, "", K::Ip),
            ("ipv4:192.0.2.10:48394", "192.0.2.10", Some(48394), "", K::Ip),
            ("ipv6:2001:db8::1:445", "2001:db8::1", Some(445), "", K::Ip),
            ("127.0.0.1", "127.0.0.1", None, "", K::Loopback),
            ("::1", "::1", None, "", K::Loopback),
            ("UNIX socket (pid=42 uid=0 gid=0)", "", None, "", K::UnixSocket),
            ("pid:42", "", None, "", K::UnixSocket),
            ("WS10", "", None, "ws10", K::Host),
            ("ws10.example", "", None, "ws10.example", K::Host),
            ("192.0.2.10, 198.51.100.1", "192.0.2.10", None, "", K::Proxy),
            ("010.0.0.1", "", None, "", K::Unparsed),
            ("0x7f.1", "", None, "", K::Unparsed),
            ("2130706433", "", None, "", K::Unparsed),
            ("192.0.2", "", None, "", K::Unparsed),
            ("", "", None, "", K::None),
            ("-", "", None, "", K::None),
            ("N/A", "", None, "", K::None),
            ("host:port", "", None, "", K::Unparsed),
            (":443", "", Some(443), "", K::Unparsed),
            ("..", "", None, "", K::Unparsed),
        ] {
            let parsed = Address::parse(input);
            assert_eq!(parsed.ip.as_deref().unwrap_or(""), ip, "{input}");
            assert_eq!(parsed.port, port, "{input}");
            assert_eq!(parsed.host.as_deref().unwrap_or(""), host, "{input}");
            assert_eq!(parsed.kind, kind, "{input}");
        }
        assert_eq!(Address::parse_with_port("2001:db8::7:51234").port, Some(51234));
    }

    #[test]
    fn ranges() {
        let inside = |range: &str, ip: &str| Cidr::parse(range).unwrap().contains(ip.parse().unwrap());
        assert!(inside("10.0.0.0/8", "10.255.0.1"));
        assert!(!inside("10.0.0.0/8", "11.0.0.1"));
        assert!(inside("0.0.0.0/0", "203.0.113.9"));
        assert!(inside("2001:db8::/32", "2001:db8:1::1"));
        assert!(!inside("::/0", "10.0.0.1"));
        assert!(inside("192.0.2.7", "192.0.2.7"));
        assert_eq!(Cidr::parse("10.0.0.0/33"), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = (Address::parse(&text), Address::parse_with_port(&text), Cidr::parse(&text));
        }
    }
}
