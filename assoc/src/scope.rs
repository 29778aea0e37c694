//! How far an address reaches: it is of use only to hosts that are as near (RFC 4007).

use std::net::{IpAddr, Ipv4Addr};

/// The reach of a unicast address, from the nearest to the farthest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Within the host (RFC 1122, section 3.2.1.3; RFC 4291, section 2.5.3).
    Loopback,
    /// On one link (RFC 3927; RFC 4291, section 2.5.6).
    LinkLocal,
    /// Within a site or the network of a carrier: not globally reachable (RFC 1918; RFC 6598; RFC 4193), or for
    /// benchmarks between two ports of a tester (RFC 2544; RFC 6890, section 2.2.2).
    Private,
    /// Everywhere. So is `fec0::/10`: what were site-local addresses must be treated as global ones (RFC 3879, section 4;
    /// RFC 4291, section 2.5.7).
    Global,
}

impl Scope {
    /// The scope of a unicast address; an IPv4 address that is mapped into IPv6 has its own.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::of_v4(v4),
            IpAddr::V6(v6) if v6.is_loopback() => Self::Loopback,
            IpAddr::V6(v6) if v6.is_unicast_link_local() => Self::LinkLocal,
            IpAddr::V6(v6) if v6.is_unique_local() => Self::Private,
            IpAddr::V6(_) => Self::Global,
        }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        match address.octets() {
            [127, ..] => Self::Loopback,
            [169, 254, ..] => Self::LinkLocal,
            [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Self::Private,
            [100, 64..=127, ..] | [198, 18..=19, ..] => Self::Private,
            _ => Self::Global,
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
    fn every_special_range_has_its_reach_at_both_ends_and_not_beyond() {
        let reach = |address: &str| Scope::of(address.parse().unwrap());
        let table: [(Scope, &[&str]); 4] = [
            (Scope::Loopback, &["127.0.0.0", "127.255.255.255", "::1", "::ffff:127.0.0.1"]),
            (Scope::LinkLocal, &["169.254.0.0", "169.254.255.255", "fe80::1", "febf::1"]),
            (
                Scope::Private,
                &[
                    "10.0.0.0",
                    "10.255.255.255",
                    "172.16.0.0",
                    "172.31.255.255",
                    "192.168.0.0",
                    "192.168.255.255",
                    "100.64.0.0",
                    "100.127.255.255",
                    "198.18.0.0",
                    "198.19.255.255",
                    "fc00::",
                    "fdff::1",
                    "::ffff:10.0.0.1",
                ],
            ),
            (
                Scope::Global,
                &[
                    "9.255.255.255",
                    "11.0.0.0",
                    "100.63.255.255",
                    "100.128.0.0",
                    "126.255.255.255",
                    "128.0.0.0",
                    "169.253.255.255",
                    "169.255.0.0",
                    "172.15.255.255",
                    "172.32.0.0",
                    "192.167.255.255",
                    "192.169.0.0",
                    "198.17.255.255",
                    "198.20.0.0",
                    "192.0.2.1",
                    "::2",
                    "fbff::1",
                    "fe00::1",
                    "fec0::1",
                    "2001:db8::1",
                    "::ffff:192.0.2.1",
                ],
            ),
        ];
        for (scope, addresses) in table {
            for address in addresses {
                assert_eq!(reach(address), scope, "{address}");
            }
        }
        assert!(Scope::Loopback < Scope::LinkLocal && Scope::LinkLocal < Scope::Private);
        assert!(Scope::Private < Scope::Global);
    }
}
