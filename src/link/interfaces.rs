//! Which interfaces lead to nobody but guests and to tunnels, as the kernel describes them (rtnetlink(7)).

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    socket,
};

use super::watch::{attributes, messages};

/// What the kernel says of an interface.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Interface {
    /// The name of its driver; empty for hardware.
    kind: String,
    /// The bridge, or the like, that it is a port of.
    master: Option<u32>,
}

/// The numbers of the interfaces, in the network namespace of the calling thread, that are bridges without a port that leads
/// out of the host, or ends of tunnels. None if the kernel does not say.
pub(crate) fn inner() -> HashSet<u32> {
    let described = describe().inspect_err(|error| {
        tracing::debug!(%error, "the kinds of interfaces are not known");
    });
    described.map(|all| inner_of(&all)).unwrap_or_default()
}

fn inner_of(all: &HashMap<u32, Interface>) -> HashSet<u32> {
    // Where containers and virtual machines are plugged in.
    let is_guest = |port: &Interface| matches!(port.kind.as_str(), "veth" | "tun");
    let leads_out =
        |bridge: &u32| all.values().any(|port| port.master == Some(*bridge) && !is_guest(port));
    let is_inner = |(number, interface): &(&u32, &Interface)| match interface.kind.as_str() {
        "bridge" => !leads_out(number),
        "tun" | "wireguard" => true,
        _ => false,
    };
    all.iter().filter(is_inner).map(|(number, _)| *number).collect()
}

/// All interfaces by their numbers.
fn describe() -> io::Result<HashMap<u32, Interface>> {
    let netlink = (AddressFamily::Netlink, SockType::Raw, SockProtocol::NetlinkRoute);
    let socket = socket(netlink.0, netlink.1, SockFlag::SOCK_CLOEXEC, netlink.2)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    // The header (length, type, flags, number, port), then an empty `struct ifinfomsg`.
    let flags = u16::try_from(libc::NLM_F_REQUEST | libc::NLM_F_DUMP).unwrap_or_default();
    let header = [
        &REQUEST.to_ne_bytes()[..],
        &libc::RTM_GETLINK.to_ne_bytes(),
        &flags.to_ne_bytes(),
        &[0; 8 + 16],
    ];
    send(socket.as_raw_fd(), &header.concat(), MsgFlags::empty())?;
    let mut all = HashMap::new();
    let mut answer = vec![0; ANSWER];
    loop {
        let len = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        for (kind, body) in messages(answer.get(..len).unwrap_or_default()) {
            match i32::from(kind) {
                libc::NLMSG_DONE => return Ok(all),
                libc::NLMSG_ERROR => return Err(io::Error::other("the request is refused")),
                _ if kind == libc::RTM_NEWLINK => all.extend(interface(body)),
                _ => {}
            }
        }
    }
}

/// The number of an interface, and what is said of it.
fn interface(body: &[u8]) -> Option<(u32, Interface)> {
    let ([_, _, _, _, i0, i1, i2, i3, ..], rest) = body.split_first_chunk::<16>()?;
    let mut found = Interface::default();
    for (kind, value) in attributes(rest) {
        match kind {
            libc::IFLA_MASTER => {
                found.master = value.try_into().ok().map(u32::from_ne_bytes);
            }
            libc::IFLA_LINKINFO => {
                let kind = attributes(value).find(|(kind, _)| *kind == libc::IFLA_INFO_KIND);
                let name = kind.map(|(_, name)| name.strip_suffix(&[0]).unwrap_or(name));
                found.kind = String::from_utf8_lossy(name.unwrap_or_default()).into_owned();
            }
            _ => {}
        }
    }
    Some((u32::from_ne_bytes([*i0, *i1, *i2, *i3]), found))
}

/// The bytes of a request: a header, and `struct ifinfomsg`.
const REQUEST: u32 = 16 + 16;
/// What the kernel puts into one answer at most (netlink(7)), in bytes.
const ANSWER: usize = 32 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_of_guests_and_a_tunnel_are_inner_and_a_bridge_with_a_way_out_is_not() {
        let interface =
            |number, kind: &str, master| (number, Interface { kind: kind.to_owned(), master });
        let all = HashMap::from([
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
        ]);
        assert_eq!(inner_of(&all), HashSet::from([4, 6, 7, 8, 9]));
    }
}
