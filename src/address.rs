//! The addresses of this host: which there are, how far they reach, which of them routing would send from.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

use pnet::datalink;
pub use usctp_assoc::Scope;

use crate::link::interfaces;

/// What a wildcard binding takes besides the ordinary addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wildcard {
    /// Loopback addresses too; without it only where the host has no others.
    pub loopback: bool,
    /// Link-local addresses too.
    pub link_local: bool,
}

/// An address of an interface that is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HostAddress {
    /// The address.
    pub(crate) address: IpAddr,
    /// The interface's number.
    pub(crate) interface: u32,
    /// Whether the interface leads to nobody but guests of this host, or into a tunnel, and routing does not leave by it:
    /// peers have no use for such an address, and often have the same one.
    pub(crate) is_inner: bool,
}

/// The addresses of the interfaces that are up, in the interfaces' order.
pub fn addresses() -> Vec<IpAddr> {
    on_interfaces().map(|(address, _)| address).collect()
}

/// The same with their interfaces.
pub(crate) fn host_addresses() -> Vec<HostAddress> {
    let all: Vec<(IpAddr, u32)> = on_interfaces().collect();
    let mut inner = interfaces::inner();
    if !inner.is_empty() {
        let ways_out = SOMEWHERE.into_iter().filter_map(|far| source_for(far, &[]));
        for source in ways_out {
            inner.retain(|inner| !all.contains(&(source, *inner)));
        }
    }
    let described = |(address, interface)| {
        let is_inner = inner.contains(&interface);
        HostAddress { address, interface, is_inner }
    };
    all.into_iter().map(described).collect()
}

fn on_interfaces() -> impl Iterator<Item = (IpAddr, u32)> {
    let up = datalink::interfaces().into_iter().filter(datalink::NetworkInterface::is_up);
    let addresses = up.flat_map(|up| up.ips.into_iter().map(move |ip| (ip.ip(), up.index)));
    addresses.filter(|(address, _)| is_usable(address))
}

/// Nobody's addresses (RFC 5737, RFC 3849): the way to them is the default route.
const SOMEWHERE: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
];

/// The addresses that a wildcard binding stands for and that INIT and INIT ACK then list (RFC 9260,
/// section 5.1.2 (C)).
pub fn wildcard(choice: Wildcard) -> Vec<IpAddr> {
    choose(addresses(), choice)
}

/// What an endpoint that is bound to all addresses has of those that there are: as a wildcard binding, and IPv6 link-local
/// ones for peers on the same link, who need not be told of them.
pub(crate) fn bound_to_all(host: &[HostAddress]) -> Vec<IpAddr> {
    let addresses: Vec<IpAddr> = host.iter().map(|own| own.address).collect();
    let mut bound = choose(addresses.clone(), Wildcard::default());
    let near = addresses.iter().filter(|address| address.is_ipv6());
    bound.extend(near.filter(|address| Scope::of(**address) == Scope::LinkLocal));
    bound
}

/// Those of the addresses that an endpoint which is bound to all has, but tells only to peers that they lead to.
pub(crate) fn inner_of(host: &[HostAddress]) -> Vec<IpAddr> {
    host.iter().filter(|own| own.is_inner).map(|own| own.address).collect()
}

/// Whether the address is one of this host: an interface has it, or the kernel lets a socket bind
/// to it (as to all of 127.0.0.0/8, and to what a local route covers).
pub fn is_local(address: IpAddr) -> bool {
    is_usable(&address)
        && (UdpSocket::bind(SocketAddr::new(address, 0)).is_ok() || addresses().contains(&address))
}

/// The address that packets to `destination` are to leave from: what routing would choose if it is
/// among `allowed`, otherwise the first of `allowed` that reaches the destination. An empty
/// `allowed` stands for every address. `None` if none reaches it. No packet is sent.
///
/// It costs some system calls: keep the answer for a while.
pub fn source_for(destination: IpAddr, allowed: &[IpAddr]) -> Option<IpAddr> {
    source_in_zone(destination, 0, allowed)
}

/// The same, for a destination that may be link-local: its zone is the interface's number.
pub(crate) fn source_in_zone(destination: IpAddr, zone: u32, allowed: &[IpAddr]) -> Option<IpAddr> {
    let chosen = route(destination, zone, None).ok().and_then(|socket| source_of(&socket));
    if let Some(chosen) = chosen
        && (allowed.is_empty() || allowed.contains(&chosen))
    {
        return Some(chosen);
    }
    let family = allowed.iter().filter(|address| address.is_ipv4() == destination.is_ipv4());
    let reaching = |address: &&IpAddr| {
        route(destination, zone, Some(**address)).is_ok() && spans(**address, destination)
    };
    family.copied().find(|address| reaching(&address))
}

/// A UDP socket "connected" to the destination: the kernel has looked up the route, and sent
/// nothing.
pub(crate) fn route(
    destination: IpAddr,
    zone: u32,
    source: Option<IpAddr>,
) -> io::Result<UdpSocket> {
    /// Any port but 0 serves; this is "discard".
    const PORT: u16 = 9;
    let any: IpAddr = match destination {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(with_zone(source.unwrap_or(any), 0, zone))?;
    socket.connect(with_zone(destination, PORT, zone))?;
    Ok(socket)
}

/// A socket address; the zone counts for link-local ones only.
fn with_zone(address: IpAddr, port: u16, zone: u32) -> SocketAddr {
    match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => SocketAddrV6::new(v6, port, 0, zone).into(),
        _ => SocketAddr::new(address, port),
    }
}

fn source_of(socket: &UdpSocket) -> Option<IpAddr> {
    socket.local_addr().ok().map(|address| address.ip())
}

/// Loopback speaks to the host itself alone: an answer to its address cannot come from elsewhere.
fn spans(source: IpAddr, destination: IpAddr) -> bool {
    Scope::of(source) != Scope::Loopback || is_local(destination)
}

fn is_usable(address: &IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast()
}

fn choose(addresses: Vec<IpAddr>, choice: Wildcard) -> Vec<IpAddr> {
    let wanted = |address: &IpAddr| match Scope::of(*address) {
        Scope::Loopback => choice.loopback,
        Scope::LinkLocal => choice.link_local,
        Scope::Private | Scope::Global => true,
    };
    let chosen: Vec<IpAddr> = addresses.iter().copied().filter(wanted).collect();
    if !chosen.is_empty() {
        return chosen;
    }
    // Nothing but loopback: better to reach oneself than nobody.
    let loopback = |address: &IpAddr| Scope::of(*address) == Scope::Loopback;
    addresses.into_iter().filter(loopback).collect()
}
