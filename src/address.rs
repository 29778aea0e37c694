//! The addresses of this host: which there are, how far they reach, which of them routing would send from.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use usctp_assoc::Scope;

use crate::link::routing::{self, Interface, Routing};

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

/// The addresses of the interfaces that are up, in the interfaces' order; none if the system does not say.
pub fn addresses() -> Vec<IpAddr> {
    let routing = Routing::open();
    let found = routing.interfaces().and_then(|interfaces| usable(&routing, &interfaces));
    found.unwrap_or_default().into_iter().map(|(address, _)| address).collect()
}

/// The same with their interfaces.
///
/// # Errors
/// The kernel did not answer.
pub(crate) fn host_addresses(routing: &Routing) -> io::Result<Vec<HostAddress>> {
    let interfaces = routing.interfaces()?;
    let all = usable(routing, &interfaces)?;
    let mut inner = routing::inner_of(&interfaces);
    if !inner.is_empty() {
        for far in SOMEWHERE {
            let way_out = source_in_zone(routing, far, 0, &[])?;
            inner.retain(|inner| way_out.is_none_or(|source| !all.contains(&(source, *inner))));
        }
    }
    let described = |(address, interface)| {
        let is_inner = inner.contains(&interface);
        HostAddress { address, interface, is_inner }
    };
    Ok(all.into_iter().map(described).collect())
}

fn usable(routing: &Routing, interfaces: &[Interface]) -> io::Result<Vec<(IpAddr, u32)>> {
    let mut all = routing.addresses(interfaces)?;
    all.retain(|(address, _)| is_usable(address));
    Ok(all)
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

/// Whether the address is one of this host: an interface has it, or the kernel takes what is sent to it as its own (as all
/// of 127.0.0.0/8, and what a local route covers).
pub fn is_local(address: IpAddr) -> bool {
    is_local_by(&Routing::open(), address).unwrap_or(false)
}

/// The same, as `routing` says.
///
/// # Errors
/// The kernel did not answer.
pub(crate) fn is_local_by(routing: &Routing, address: IpAddr) -> io::Result<bool> {
    if !is_usable(&address) {
        return Ok(false);
    }
    if routing.route(address, 0, None)?.is_some_and(|route| route.is_local) {
        return Ok(true);
    }
    // A link-local one has no route without its zone.
    let all = routing.interfaces().and_then(|interfaces| routing.addresses(&interfaces));
    match all {
        Ok(all) => Ok(all.iter().any(|(own, _)| *own == address)),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(false),
        Err(error) => Err(error),
    }
}

/// The address that packets to `destination` are to leave from: what routing would choose if it is
/// among `allowed`, otherwise the first of `allowed` that reaches the destination. An empty
/// `allowed` stands for every address. `None` if none reaches it. No packet is sent.
///
/// It costs some system calls: keep the answer for a while.
pub fn source_for(destination: IpAddr, allowed: &[IpAddr]) -> Option<IpAddr> {
    source_in_zone(&Routing::open(), destination, 0, allowed).ok().flatten()
}

/// The same, for a destination that may be link-local: its zone is the interface's number.
///
/// # Errors
/// The kernel did not answer: there may be one.
pub(crate) fn source_in_zone(
    routing: &Routing,
    destination: IpAddr,
    zone: u32,
    allowed: &[IpAddr],
) -> io::Result<Option<IpAddr>> {
    let chosen = routing.route(destination, zone, None)?.and_then(|route| route.source);
    if chosen.is_some_and(|chosen| allowed.is_empty() || allowed.contains(&chosen)) {
        return Ok(chosen);
    }
    for address in allowed.iter().filter(|address| address.is_ipv4() == destination.is_ipv4()) {
        if reaches(routing, *address, destination, zone)? {
            return Ok(Some(*address));
        }
    }
    Ok(None)
}

/// Whether packets from an address have a way to a destination.
fn reaches(routing: &Routing, source: IpAddr, destination: IpAddr, zone: u32) -> io::Result<bool> {
    if routing.route(destination, zone, Some(source))?.is_none() {
        return Ok(false);
    }
    // Of IPv6, a route is told from any address.
    if source.is_ipv6() && !is_local_by(routing, source)? {
        return Ok(false);
    }
    // Loopback speaks to the host itself alone: an answer to its address cannot come from elsewhere.
    Ok(Scope::of(source) != Scope::Loopback || is_local_by(routing, destination)?)
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
