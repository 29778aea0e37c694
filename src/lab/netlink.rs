//! The few rtnetlink requests that a host needs (rtnetlink(7)), made and acknowledged one at a time.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Mutex;

use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto,
    socket,
};

use super::host::Route;
use super::prefix::Prefix;

/// A hardware address.
pub(super) type Mac = [u8; 6];

/// One end of a veth pair to be made.
#[derive(Debug, Clone)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) index: u32,
    pub(super) mac: Mac,
    pub(super) mtu: u32,
}

/// A socket that configures the network namespace it was opened in, from whatever thread.
#[derive(Debug)]
pub(super) struct Netlink {
    /// One request at a time: the next answer belongs to it.
    socket: Mutex<OwnedFd>,
}

impl Netlink {
    /// Opens a socket for the network namespace of the calling thread.
    pub(super) fn open() -> io::Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Self { socket: Mutex::new(socket) })
    }

    /// Makes a veth pair: `near` here, `far` in the network namespace behind the descriptor.
    pub(super) fn add_veth(
        &self,
        near: &Interface,
        far: &Interface,
        far_namespace: &impl AsRawFd,
    ) -> io::Result<()> {
        const VETH_INFO_PEER: u16 = 1;
        let namespace = far_namespace.as_raw_fd();
        let mut peer = link_header(far.index, 0, 0);
        peer.extend(interface(far).put(libc::IFLA_NET_NS_FD, &namespace.to_ne_bytes()).0);
        let data = Attributes::default().put(VETH_INFO_PEER, &peer);
        let info = Attributes::default()
            .put(libc::IFLA_INFO_KIND, b"veth\0")
            .put(libc::IFLA_INFO_DATA, &data.0);
        let attributes = interface(near).put(libc::IFLA_LINKINFO, &info.0);
        self.request(libc::RTM_NEWLINK, CREATE, &link_header(near.index, 0, 0), &attributes)
    }

    /// Sets an interface up or down.
    pub(super) fn set_up(&self, index: u32, up: bool) -> io::Result<()> {
        const UP: u32 = libc::IFF_UP as u32;
        let header = link_header(index, if up { UP } else { 0 }, UP);
        self.request(libc::RTM_NEWLINK, 0, &header, &Attributes::default())
    }

    /// Keeps the kernel from making a link-local address of its own, which it would ask the link about for up to two
    /// seconds; until then it asks for no neighbour.
    pub(super) fn make_no_link_local(&self, index: u32) -> io::Result<()> {
        const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
        const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
        let mode = Attributes::default().put(IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE]);
        let ipv6 = Attributes::default().put(libc::AF_INET6 as u16, &mode.0);
        let attributes = Attributes::default().put(libc::IFLA_AF_SPEC, &ipv6.0);
        self.request(libc::RTM_NEWLINK, 0, &link_header(index, 0, 0), &attributes)
    }

    /// Whether an interface is up, has a carrier, and sends what it is given.
    pub(super) fn is_running(&self, index: u32) -> io::Result<bool> {
        let header = link_header(index, 0, 0);
        let answer = self.exchange(libc::RTM_GETLINK, 0, &header, &Attributes::default())?;
        if kind(&answer) != Some(libc::RTM_NEWLINK) {
            acknowledged(&answer)?;
            return Err(io::Error::other("the kernel gave no answer to RTM_GETLINK"));
        }
        // The flags stand in the third word of `struct ifinfomsg`.
        let flags = word(&answer, HEADER + 8).map_or(0, u32::from_ne_bytes);
        // The kernel notices a carrier first and attaches the queue after it; until then the queue is the one that drops
        // everything, named in attribute IFLA_QDISC.
        let drops = answer.windows(5).any(|name| name == b"noop\0");
        Ok(flags & libc::IFF_RUNNING as u32 != 0 && !drops)
    }

    /// Sets the greatest IP packet of an interface, in bytes.
    pub(super) fn set_mtu(&self, index: u32, mtu: u32) -> io::Result<()> {
        let attributes = Attributes::default().put(libc::IFLA_MTU, &mtu.to_ne_bytes());
        self.request(libc::RTM_NEWLINK, 0, &link_header(index, 0, 0), &attributes)
    }

    /// Gives an interface an address, usable at once (no duplicate address detection).
    pub(super) fn add_address(&self, index: u32, prefix: Prefix) -> io::Result<()> {
        let flags = if prefix.address.is_ipv6() { libc::IFA_F_NODAD as u8 } else { 0 };
        let (header, attributes) = address(index, prefix, flags);
        self.request(libc::RTM_NEWADDR, REPLACE, &header, &attributes)
    }

    /// Takes an address from an interface.
    pub(super) fn delete_address(&self, index: u32, prefix: Prefix) -> io::Result<()> {
        let (header, attributes) = address(index, prefix, 0);
        self.request(libc::RTM_DELADDR, 0, &header, &attributes)
    }

    /// Adds a route to a network.
    pub(super) fn add_route(&self, to: Prefix, route: Route) -> io::Result<()> {
        let (header, attributes) = route_to(to, route);
        self.request(libc::RTM_NEWROUTE, CREATE, &header, &attributes)
    }

    /// Removes a route to a network.
    pub(super) fn delete_route(&self, to: Prefix, route: Route) -> io::Result<()> {
        let (header, attributes) = route_to(to, route);
        self.request(libc::RTM_DELROUTE, 0, &header, &attributes)
    }

    /// Fixes the hardware address of a neighbour; nothing heard from the network changes it.
    pub(super) fn fix_neighbour(&self, index: u32, neighbour: IpAddr, mac: Mac) -> io::Result<()> {
        self.add_neighbour(index, neighbour, mac, libc::NUD_PERMANENT)
    }

    /// Tells the hardware address of a neighbour, which is used at once and asked for again in time.
    pub(super) fn suggest_neighbour(
        &self,
        index: u32,
        neighbour: IpAddr,
        mac: Mac,
    ) -> io::Result<()> {
        self.add_neighbour(index, neighbour, mac, libc::NUD_STALE)
    }

    fn add_neighbour(&self, index: u32, neighbour: IpAddr, mac: Mac, state: u16) -> io::Result<()> {
        // `struct ndmsg`
        let mut header = vec![family(neighbour), 0, 0, 0];
        header.extend(index.to_ne_bytes());
        header.extend(state.to_ne_bytes());
        header.extend([0, 0]);
        let attributes = Attributes::default()
            .put(libc::NDA_DST, &Prefix::host(neighbour).octets())
            .put(libc::NDA_LLADDR, &mac);
        self.request(libc::RTM_NEWNEIGH, REPLACE, &header, &attributes)
    }

    /// Sends one request and waits for its acknowledgement.
    fn request(
        &self,
        kind: u16,
        flags: u16,
        header: &[u8],
        attributes: &Attributes,
    ) -> io::Result<()> {
        let flags = flags | libc::NLM_F_ACK as u16;
        acknowledged(&self.exchange(kind, flags, header, attributes)?)
    }

    /// Sends one message and gives the one that answers it.
    fn exchange(
        &self,
        kind: u16,
        flags: u16,
        header: &[u8],
        attributes: &Attributes,
    ) -> io::Result<Vec<u8>> {
        let flags = flags | libc::NLM_F_REQUEST as u16;
        let body = padded(header.to_vec());
        let length = HEADER + body.len() + attributes.0.len();
        let mut message = u32::try_from(length).map_err(io::Error::other)?.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend([0; 8]);
        message.extend(body);
        message.extend(&attributes.0);
        let socket = self.socket.lock().map_err(|_| io::Error::other("a request panicked"))?;
        sendto(socket.as_raw_fd(), &message, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        let mut answer = vec![0; 8192];
        let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        answer.truncate(length);
        Ok(answer)
    }
}

/// The length of `struct nlmsghdr`.
const HEADER: usize = 16;

const CREATE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
const REPLACE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_REPLACE) as u16;

/// Attributes as they stand in a message, each padded to four bytes.
#[derive(Debug, Default)]
struct Attributes(Vec<u8>);

impl Attributes {
    fn put(mut self, kind: u16, value: &[u8]) -> Self {
        // All values are made here and are short.
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0 = padded(self.0);
        self
    }
}

fn interface(interface: &Interface) -> Attributes {
    let name = [interface.name.as_bytes(), b"\0"].concat();
    Attributes::default()
        .put(libc::IFLA_IFNAME, &name)
        .put(libc::IFLA_MTU, &interface.mtu.to_ne_bytes())
        .put(libc::IFLA_ADDRESS, &interface.mac)
}

/// `struct ifinfomsg`.
fn link_header(index: u32, flags: u32, change: u32) -> Vec<u8> {
    let mut header = vec![libc::AF_UNSPEC as u8, 0, 0, 0];
    header.extend(index.to_ne_bytes());
    header.extend(flags.to_ne_bytes());
    header.extend(change.to_ne_bytes());
    header
}

/// `struct ifaddrmsg` and its attributes.
fn address(index: u32, prefix: Prefix, flags: u8) -> (Vec<u8>, Attributes) {
    const RT_SCOPE_UNIVERSE: u8 = 0;
    let address = prefix.octets();
    let mut header = vec![family(prefix.address), prefix.length, flags, RT_SCOPE_UNIVERSE];
    header.extend(index.to_ne_bytes());
    let attributes =
        Attributes::default().put(libc::IFA_LOCAL, &address).put(libc::IFA_ADDRESS, &address);
    (header, attributes)
}

/// `struct rtmsg` and its attributes.
fn route_to(to: Prefix, route: Route) -> (Vec<u8>, Attributes) {
    let kind = match route {
        Route::Via(_) => libc::RTN_UNICAST,
        Route::Unreachable => libc::RTN_UNREACHABLE,
        Route::Blackhole => libc::RTN_BLACKHOLE,
    };
    let (table, protocol) = (libc::RT_TABLE_MAIN, libc::RTPROT_STATIC);
    let scope = libc::RT_SCOPE_UNIVERSE;
    let mut header = vec![family(to.address), to.length, 0, 0, table, protocol, scope, kind];
    header.extend(0_u32.to_ne_bytes());
    let mut attributes = Attributes::default().put(libc::RTA_DST, &to.octets());
    if let Route::Via(gateway) = route {
        attributes = attributes.put(libc::RTA_GATEWAY, &Prefix::host(gateway).octets());
    }
    (header, attributes)
}

fn family(address: IpAddr) -> u8 {
    (if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }) as u8
}

fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Reads `struct nlmsgerr`: 0 acknowledges, a negative number is an errno.
fn acknowledged(answer: &[u8]) -> io::Result<()> {
    let number = word(answer, HEADER).map(i32::from_ne_bytes);
    match number.filter(|_| kind(answer) == Some(libc::NLMSG_ERROR as u16)) {
        Some(0) => Ok(()),
        Some(errno) => Err(io::Error::from_raw_os_error(errno.saturating_neg())),
        None => Err(io::Error::other("the kernel's answer is none")),
    }
}

fn kind(message: &[u8]) -> Option<u16> {
    let [low, high, ..] = word(message, 4)?;
    Some(u16::from_ne_bytes([low, high]))
}

fn word(message: &[u8], offset: usize) -> Option<[u8; 4]> {
    message.get(offset..)?.first_chunk().copied()
}
