//! What the kernel says of routes, addresses and interfaces when it is asked (rtnetlink(7)).

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::AsFd as _;

use nix::errno::Errno;

use super::netlink::{Message, Netlink, address, address_of, attribute, attributes, number};
use super::sys;

/// Where questions of routes, addresses and interfaces go: to the network namespace that it was opened in.
#[derive(Debug, Default)]
pub(crate) struct Routing {
    /// None where a sandbox forbids it.
    netlink: Option<Netlink>,
}

/// How packets go to a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    /// The address that they leave from unless another one is chosen.
    pub(crate) source: Option<IpAddr>,
    /// The destination is this host.
    pub(crate) is_local: bool,
    /// The greatest packet in bytes, if the route says it.
    mtu: Option<u32>,
    /// The number of the interface.
    interface: u32,
}

/// What the kernel says of an interface.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Interface {
    number: u32,
    is_up: bool,
    /// The name of its driver; empty for hardware.
    kind: String,
    /// The bridge, or the like, that it is a port of.
    master: Option<u32>,
    /// The greatest packet in bytes, of either family.
    mtu: Option<u32>,
    mtu_v6: Option<u32>,
}

impl Routing {
    /// For the network namespace of the calling thread.
    pub(crate) fn open() -> Self {
        let netlink = Netlink::open().inspect_err(|error| {
            tracing::warn!(%error, "the kernel cannot be asked of addresses, and of routes by detours only");
        });
        Self { netlink: netlink.ok() }
    }

    /// The route to a destination, whose zone counts if it is IPv6 link-local, from an address that the caller has, or from
    /// that which routing chooses. None if there is none.
    ///
    /// # Errors
    /// The kernel did not answer: there may be one.
    pub(crate) fn route(
        &self,
        destination: IpAddr,
        zone: u32,
        source: Option<IpAddr>,
    ) -> io::Result<Option<Route>> {
        let is_near = matches!(destination, IpAddr::V6(v6) if v6.is_unicast_link_local());
        if is_near && zone == 0 {
            return Ok(None);
        }
        let Some(netlink) = &self.netlink else { return by_connecting(destination, zone, source) };
        let question = route_question(destination, is_near.then_some(zone), source);
        match netlink.ask(libc::RTM_GETROUTE, &question, read_route) {
            Ok(Ok(route)) => Ok(Some(route)),
            // Not Linux itself, but something that stands in for it.
            Ok(Err(Errno::EOPNOTSUPP)) => by_connecting(destination, zone, source),
            Ok(Err(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The greatest packet in bytes that the kernel believes to pass on the way from `source`, or from where routing says, to
    /// a destination: the MTU of the local link, unless a router said less. None without a route.
    ///
    /// # Errors
    /// The kernel did not answer.
    pub(crate) fn mtu_towards(
        &self,
        destination: IpAddr,
        zone: u32,
        source: Option<IpAddr>,
    ) -> io::Result<Option<u32>> {
        let Some(route) = self.route(destination, zone, source)? else { return Ok(None) };
        let (None, Some(netlink)) = (route.mtu, &self.netlink) else { return Ok(route.mtu) };
        let question = interface_question(route.interface);
        let interface =
            netlink.ask(libc::RTM_GETLINK, &question, |answer| interface(answer.body))?;
        Ok(interface.ok().and_then(|found| match destination {
            IpAddr::V4(_) => found.mtu,
            IpAddr::V6(_) => found.mtu_v6.or(found.mtu),
        }))
    }

    /// All interfaces.
    ///
    /// # Errors
    /// The kernel did not answer.
    pub(crate) fn interfaces(&self) -> io::Result<Vec<Interface>> {
        let is_interface = |answer: &Message<'_>| answer.kind == libc::RTM_NEWLINK;
        self.netlink()?.list(libc::RTM_GETLINK, &interface_question(0), |answer| {
            Some(answer).filter(is_interface).and_then(|answer| interface(answer.body))
        })
    }

    /// The addresses of these interfaces as far as they are up, in the interfaces' order, with the interfaces' numbers.
    ///
    /// # Errors
    /// The kernel did not answer.
    pub(crate) fn addresses(&self, interfaces: &[Interface]) -> io::Result<Vec<(IpAddr, u32)>> {
        // An empty `struct ifaddrmsg`: those of all families.
        let mut all = self.netlink()?.list(libc::RTM_GETADDR, &[0; 8], |answer| {
            Some(answer)
                .filter(|answer| answer.kind == libc::RTM_NEWADDR)
                .and_then(|answer| address_of(answer.body))
        })?;
        let places: HashMap<u32, usize> = (interfaces.iter().enumerate())
            .filter(|(_, interface)| interface.is_up)
            .map(|(place, interface)| (interface.number, place))
            .collect();
        all.retain(|(_, number)| places.contains_key(number));
        all.sort_by_key(|(_, number)| places.get(number).copied());
        Ok(all)
    }

    fn netlink(&self) -> io::Result<&Netlink> {
        self.netlink.as_ref().ok_or_else(|| io::ErrorKind::Unsupported.into())
    }
}

/// A `struct rtmsg` that asks for one route, and its attributes.
fn route_question(destination: IpAddr, zone: Option<u32>, source: Option<IpAddr>) -> Vec<u8> {
    let bytes = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let (family, bits) =
        if destination.is_ipv4() { (libc::AF_INET, 32) } else { (libc::AF_INET6, 128) };
    let mut question = vec![0; 12];
    let source_bits = if source.is_some() { bits } else { 0 };
    for (octet, value) in
        question.iter_mut().zip([u8::try_from(family).unwrap_or_default(), bits, source_bits])
    {
        *octet = value;
    }
    question.extend(attribute(libc::RTA_DST, &bytes(destination)));
    if let Some(source) = source {
        question.extend(attribute(libc::RTA_SRC, &bytes(source)));
    }
    if let Some(zone) = zone {
        question.extend(attribute(libc::RTA_OIF, &zone.to_ne_bytes()));
    }
    question
}

fn read_route(answer: Message<'_>) -> Option<Route> {
    // struct rtmsg: the type of the route is its eighth octet.
    let (head, rest) = answer.body.split_first_chunk::<12>()?;
    let [.., kind, _, _, _, _] = *head;
    let is_local = kind == libc::RTN_LOCAL;
    let mut route = Route { source: None, is_local, mtu: None, interface: 0 };
    for (kind, value) in attributes(rest) {
        match kind {
            libc::RTA_PREFSRC => route.source = address(value),
            libc::RTA_OIF => route.interface = number(value)?,
            libc::RTA_METRICS => {
                let mtu = attributes(value).find(|(kind, _)| i32::from(*kind) == RTAX_MTU);
                route.mtu = mtu.and_then(|(_, value)| number(value)).filter(|mtu| *mtu != 0);
            }
            _ => {}
        }
    }
    Some(route)
}

/// In `RTA_METRICS` (linux/rtnetlink.h).
const RTAX_MTU: i32 = 2;
/// In `IFLA_AF_SPEC`, of IPv6 (linux/if_link.h), and the place of the MTU there (linux/ipv6.h).
const IFLA_INET6_CONF: u16 = 2;
const DEVCONF_MTU6: usize = 2;

/// A `struct ifinfomsg` that asks for one interface; 0 in a list stands for all.
fn interface_question(number: u32) -> Vec<u8> {
    [&[0; 4][..], &number.to_ne_bytes(), &[0; 8]].concat()
}

/// What is said of an interface.
fn interface(body: &[u8]) -> Option<Interface> {
    // struct ifinfomsg: family, type, number, flags, changes.
    let ([_, _, _, _, i0, i1, i2, i3, f0, f1, f2, f3, ..], rest) =
        body.split_first_chunk::<16>()?;
    let mut found = Interface {
        number: u32::from_ne_bytes([*i0, *i1, *i2, *i3]),
        is_up: i32::from_ne_bytes([*f0, *f1, *f2, *f3]) & libc::IFF_UP != 0,
        ..Interface::default()
    };
    for (kind, value) in attributes(rest) {
        match kind {
            libc::IFLA_MASTER => found.master = number(value),
            libc::IFLA_MTU => found.mtu = number(value),
            libc::IFLA_LINKINFO => {
                let kind = attributes(value).find(|(kind, _)| *kind == libc::IFLA_INFO_KIND);
                let name = kind.map(|(_, name)| name.strip_suffix(&[0]).unwrap_or(name));
                found.kind = String::from_utf8_lossy(name.unwrap_or_default()).into_owned();
            }
            libc::IFLA_AF_SPEC => found.mtu_v6 = mtu_v6(value),
            _ => {}
        }
    }
    Some(found)
}

fn mtu_v6(families: &[u8]) -> Option<u32> {
    let (_, v6) = attributes(families).find(|(kind, _)| i32::from(*kind) == libc::AF_INET6)?;
    let (_, settings) = attributes(v6).find(|(kind, _)| *kind == IFLA_INET6_CONF)?;
    settings.chunks_exact(4).nth(DEVCONF_MTU6).and_then(number)
}

/// The numbers of those interfaces that are bridges without a port that leads out of the host, or ends of tunnels.
pub(crate) fn inner_of(all: &[Interface]) -> HashSet<u32> {
    // Where containers and virtual machines are plugged in.
    let is_guest = |port: &Interface| matches!(port.kind.as_str(), "veth" | "tun");
    let leads_out =
        |bridge: u32| all.iter().any(|port| port.master == Some(bridge) && !is_guest(port));
    let is_inner = |interface: &&Interface| match interface.kind.as_str() {
        "bridge" => !leads_out(interface.number),
        "tun" | "wireguard" => true,
        _ => false,
    };
    all.iter().filter(is_inner).map(|interface| interface.number).collect()
}

/// Where netlink is forbidden: a UDP socket is "connected" to the destination, for which the kernel looks up the route and
/// sends nothing.
fn by_connecting(
    destination: IpAddr,
    zone: u32,
    source: Option<IpAddr>,
) -> io::Result<Option<Route>> {
    /// Any port but 0 serves; this is "discard".
    const PORT: u16 = 9;
    let any: IpAddr = match destination {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let connected = |from: IpAddr, to: IpAddr| {
        let socket = UdpSocket::bind(with_zone(from, 0, zone))?;
        socket.connect(with_zone(to, PORT, zone))?;
        Ok(socket)
    };
    let socket = match connected(source.unwrap_or(any), destination) {
        Ok(socket) => socket,
        Err(error) if is_want(&error) => return Err(error),
        Err(_) => return Ok(None),
    };
    let (level, name) = match destination {
        IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MTU),
        IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MTU),
    };
    let mtu = sys::option(socket.as_fd(), level, name)?;
    let source = socket.local_addr()?.ip();
    let is_local = connected(destination, destination).is_ok();
    Ok(Some(Route { source: Some(source), is_local, mtu: u32::try_from(mtu).ok(), interface: 0 }))
}

/// Whether the system had nothing to answer with.
fn is_want(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS | libc::EAGAIN)
    )
}

/// A socket address; the zone counts for link-local ones only.
fn with_zone(address: IpAddr, port: u16, zone: u32) -> SocketAddr {
    match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => SocketAddrV6::new(v6, port, 0, zone).into(),
        _ => SocketAddr::new(address, port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_of_guests_and_a_tunnel_are_inner_and_a_bridge_with_a_way_out_is_not() {
        let interface = |number, kind: &str, master| Interface {
            number,
            kind: kind.to_owned(),
            master,
            ..Interface::default()
        };
        let all = [
            interface(1, "", None),
            interface(2, "", Some(3)),
            interface(3, "bridge", None),
            interface(4, "bridge", None),
            interface(5, "veth", Some(4)),
            interface(6, "tun", Some(4)),
            interface(7, "bridge", None),
            interface(8, "tun", None),
            interface(9, "wireguard", None),
            interface(10, "veth", None),
            interface(11, "bond", Some(12)),
            interface(12, "bridge", None),
            interface(13, "veth", Some(3)),
        ];
        assert_eq!(inner_of(&all), HashSet::from([4, 6, 7, 8, 9]));
    }
}
