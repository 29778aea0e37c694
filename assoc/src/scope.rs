//! How far an address reaches: it is of use only to hosts that are as near (RFC 4007; RFC 1918; RFC 4193).

use std::net::IpAddr;

/// The reach of an address, from the nearest to the farthest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// The host itself.
    Loopback,
    /// One link.
    Link,
    /// A site.
    Private,
    /// Everywhere.
    Global,
}

impl Scope {
    pub(crate) fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) if v4.is_loopback() => Self::Loopback,
            IpAddr::V4(v4) if v4.is_link_local() => Self::Link,
            IpAddr::V4(v4) => match v4.octets() {
                // RFC 1918; RFC 2544, section C.2.2; RFC 6598
                [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Self::Private,
                [198, 18..=19, ..] | [100, 64..=127, ..] => Self::Private,
                _ => Self::Global,
            },
            IpAddr::V6(v6) if v6.is_loopback() => Self::Loopback,
            IpAddr::V6(v6) if v6.is_unicast_link_local() => Self::Link,
            // RFC 4193, and what came before it (RFC 3879).
            IpAddr::V6(v6) if v6.is_unique_local() || v6.segments()[0] & 0xffc0 == 0xfec0 => {
                Self::Private
            }
            IpAddr::V6(_) => Self::Global,
        }
    }
}

/// Whether an address can be a host's own and reached without knowing an interface.
pub(crate) fn is_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_unspecified() && !v4.is_multicast() && !v4.is_broadcast(),
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_multicast() && !v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_special_range_has_its_reach() {
        let reach = |address: &str| Scope::of(address.parse().unwrap());
        let table = [
            (Scope::Loopback, ["127.0.0.1", "127.9.9.9", "::1"]),
            (Scope::Link, ["169.254.0.1", "fe80::1", "febf::1"]),
            (Scope::Private, ["10.1.2.3", "172.31.0.1", "192.168.0.1"]),
            (Scope::Private, ["198.19.0.1", "100.127.0.1", "fd00::1"]),
            (Scope::Private, ["198.18.0.1", "100.64.0.1", "fec0::1"]),
            (Scope::Global, ["172.32.0.1", "198.20.0.1", "2001:db8::1"]),
            (Scope::Global, ["100.128.0.1", "192.0.2.1", "2000::1"]),
        ];
        for (scope, addresses) in table {
            for address in addresses {
                assert_eq!(reach(address), scope, "{address}");
            }
        }
        assert!(Scope::Loopback < Scope::Link && Scope::Link < Scope::Private);
        assert!(Scope::Private < Scope::Global);
    }
}
