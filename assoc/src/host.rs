//! The addresses of this host: what is sent to one of them never leaves it, whoever else has the same address.

use std::collections::HashSet;
use std::net::IpAddr;

use crate::wire::zone_of;

/// The addresses of this host, bound or not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct HostAddresses(HashSet<(IpAddr, u32)>);

impl HostAddresses {
    /// Of addresses, each with its zone: that counts for IPv6 link-local ones alone.
    pub(crate) fn new(addresses: impl IntoIterator<Item = (IpAddr, u32)>) -> Self {
        let addresses = addresses.into_iter().map(|(address, zone)| {
            let address = address.to_canonical();
            (address, zone_of(address, zone))
        });
        Self(addresses.collect())
    }

    /// Whether this host has the address. Loopback addresses every host has (RFC 1122, 3.2.1.3; RFC 4291, 2.5.3).
    pub(crate) fn has(&self, address: IpAddr, zone: u32) -> bool {
        address.is_loopback() || self.0.contains(&(address, zone_of(address, zone)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_its_addresses_those_of_loopback_and_a_link_local_one_on_its_link_alone() {
        let ip = |address: &str| -> IpAddr { address.parse().unwrap() };
        let host = HostAddresses::new([
            (ip("192.0.2.1"), 2),
            (ip("::ffff:192.0.2.2"), 2),
            (ip("2001:db8::1"), 2),
            (ip("fe80::1"), 2),
        ]);
        for (address, zone) in [("192.0.2.1", 0), ("192.0.2.2", 9), ("2001:db8::1", 0)] {
            assert!(host.has(ip(address), zone), "{address} in zone {zone}");
        }
        assert!(host.has(ip("127.0.0.9"), 0) && host.has(ip("::1"), 0));
        assert!(host.has(ip("fe80::1"), 2) && !host.has(ip("fe80::1"), 3));
        assert!(!host.has(ip("192.0.2.3"), 2) && !host.has(ip("2001:db8::2"), 2));
    }
}
