//! What the command line calls a peer by: an address, or the name of a host that stands for all its addresses.

use std::fmt;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::str::FromStr;

use usctp::address;

use crate::exit::{Failure, Status};

/// One word of the list of a peer's addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Peer {
    /// An address, with the number of its zone if it is link-local (`fe80::1%eth0`; RFC 4007, section 11), else 0.
    Address(IpAddr, u32),
    /// A host name.
    Name(String),
}

/// The addresses to try: those listed, and in the place of a name all that the resolver gives, in its order.
///
/// Of a name's addresses, those are left out that this host has no way to: a name has what the peer has, and not what we have.
/// So are those that came before. Where `local` is not empty, the way is that from one of these addresses.
///
/// # Errors
/// A name that the resolver does not know.
pub(crate) fn resolve(
    peers: &[Peer],
    port: u16,
    local: &[IpAddr],
) -> Result<Vec<SocketAddr>, Failure> {
    let mut all = Vec::new();
    for peer in peers {
        match peer {
            Peer::Address(address, zone) => all.push(with_port(*address, *zone, port)),
            Peer::Name(name) => {
                let found = look_up(name, port)?;
                let reached = |peer: &&SocketAddr| has_way(peer.ip(), local);
                let usable: Vec<_> = found.iter().filter(reached).copied().collect();
                // Where there is no way to any, the attempt says so better than an empty list would.
                for peer in if usable.is_empty() { found } else { usable } {
                    if !all.contains(&peer) {
                        all.push(peer);
                    }
                }
            }
        }
    }
    Ok(all)
}

fn look_up(name: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
    let unknown = |reason: &dyn fmt::Display| {
        Failure::new(
            Status::Usage,
            format_args!("there is no address of the host {name}: {reason}"),
        )
    };
    let found: Vec<_> = (name, port).to_socket_addrs().map_err(|error| unknown(&error))?.collect();
    if found.is_empty() { Err(unknown(&"it has none")) } else { Ok(found) }
}

fn has_way(peer: IpAddr, local: &[IpAddr]) -> bool {
    match local {
        [] => address::source_for(peer, &[]).is_some(),
        local => local.iter().any(|local| local.is_ipv4() == peer.is_ipv4()),
    }
}

fn with_port(address: IpAddr, zone: u32, port: u16) -> SocketAddr {
    match address {
        IpAddr::V4(address) => (address, port).into(),
        IpAddr::V6(address) => SocketAddrV6::new(address, port, 0, zone).into(),
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address, 0) => address.fmt(f),
            Self::Address(address, zone) => write!(f, "{address}%{zone}"),
            Self::Name(name) => name.fmt(f),
        }
    }
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, zone) = match text.split_once('%') {
            Some((address, zone)) => (address, interface_index(zone)?),
            None => (text, 0),
        };
        match address.parse() {
            Ok(IpAddr::V4(_)) if zone != 0 => Err("an IPv4 address has no zone".to_owned()),
            Ok(address) => Ok(Self::Address(address, zone)),
            Err(_) if is_host_name(text) => Ok(Self::Name(text.to_owned())),
            Err(_) => {
                Err("an IPv4 or IPv6 address without port or brackets, or the name of a host, \
                           is needed"
                    .to_owned())
            }
        }
    }
}

/// Whether this may be the name of a host (RFC 1123, section 2.1). What ends in a number was meant for an address.
fn is_host_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(fits) && !label.starts_with('-')
    };
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    name.len() <= 253
        && name.split('.').all(is_label)
        && !name.rsplit('.').next().is_none_or(is_number)
}

/// The index of an interface given by its name or by the index itself.
fn interface_index(zone: &str) -> Result<u32, String> {
    if let Ok(index) = zone.parse() {
        return Ok(index);
    }
    // Not by /sys, which shows the interfaces of whoever mounted it.
    nix::net::if_::if_nametoindex(zone).map_err(|_| format!("there is no interface {zone}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_local_addresses_keep_their_zone() {
        let peer = "fe80::1%3".parse::<Peer>().unwrap();
        assert_eq!(resolve(&[peer], 9, &[]).unwrap(), ["[fe80::1%3]:9".parse().unwrap()]);
        for wrong in ["fe80::1%", "fe80::1%no such", "fe80::1%../lo", "10.0.0.1%2", "[::1]", "a:1"]
        {
            assert!(wrong.parse::<Peer>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_ends_in_a_number_is_an_address_or_wrong_and_never_a_name() {
        for name in
            ["localhost", "mme-1.epc.example.org", "a.", "3com.example", "_s1ap._sctp.example"]
        {
            assert_eq!(name.parse(), Ok(Peer::Name(name.to_owned())));
        }
        let long = "a".repeat(64);
        for wrong in
            ["10.0.0.256", "10.1", "7", "", ".", "a..b", "-a", "host:7", "host name", &long]
        {
            assert!(wrong.parse::<Peer>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_name_stands_for_its_addresses_each_of_them_once() {
        let listed = ["127.0.0.1", "localhost"].map(|text| text.parse().unwrap());
        let local = [IpAddr::from([127, 0, 0, 1])];
        assert_eq!(resolve(&listed, 9, &local).unwrap(), ["127.0.0.1:9".parse().unwrap()]);
    }
}
