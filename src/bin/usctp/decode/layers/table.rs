//! Which number leads to which layer. A further encapsulation is a file beside this one, with the function that takes its
//! header off, and a line here.

use std::fmt::{self, Display};

use super::walk::{End, Walk};
use super::{ethernet, gre, gtp, icmp, ip, mpls, ppp, udp, vxlan};

/// Takes a header off the front of what is left of a frame, and says what follows it.
type Layer = fn(&mut Walk<'_>) -> Result<Next, End>;

/// What follows, by the number that the header before it gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Next {
    /// `LINKTYPE_*` of <https://www.tcpdump.org/linktypes.html>.
    LinkType(u16),
    EtherType(u16),
    /// The service access point of IEEE 802.2.
    Llc(u8),
    PppProtocol(u16),
    /// Extension headers of IPv6, too.
    IpProtocol(u8),
    UdpPort(u16),
}

/// SCTP itself.
pub(super) const SCTP: Next = Next::IpProtocol(132);
/// A header of IP, of either version.
pub(super) const IP: Next = Next::EtherType(0x0800);
/// A whole Ethernet frame (RFC 1701 and others).
pub(super) const ETHERNET: Next = Next::EtherType(0x6558);
/// A PPP frame, as in GRE (RFC 2637).
pub(super) const PPP: Next = Next::EtherType(0x880b);

/// What is to be done about what follows.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rule {
    /// Its header is taken off.
    Open(Layer),
    /// It carries no SCTP.
    Nothing,
    /// It cannot be looked into.
    Unknown,
}

use Rule::{Nothing, Open, Unknown};

/// A number, what goes by it, and what is to be done about it.
type Line = (u16, &'static str, Rule);

const LINK_TYPES: &[Line] = &[
    (0, "BSD loopback", Open(ethernet::null)),
    (1, "Ethernet", Open(ethernet::ethernet)),
    (9, "PPP", Open(ppp::ppp)),
    (12, "raw IP", Open(ip::ip)),
    (14, "raw IP", Open(ip::ip)),
    (50, "PPP in HDLC-like framing", Open(ppp::hdlc)),
    (51, "PPPoE", Open(ppp::pppoe)),
    (101, "raw IP", Open(ip::ip)),
    (104, "Cisco HDLC", Open(ppp::hdlc)),
    (108, "OpenBSD loopback", Open(ethernet::null)),
    (113, "Linux cooked", Open(ethernet::sll)),
    (166, "PPP of pppd", Open(ppp::behind_direction)),
    (204, "PPP with direction", Open(ppp::behind_direction)),
    (228, "IPv4", Open(ip::ip)),
    (229, "IPv6", Open(ip::ip)),
    (248, "SCTP", Open(sctp_itself)),
    (276, "Linux cooked v2", Open(ethernet::sll2)),
];

const ETHER_TYPES: &[Line] = &[
    (0x0800, "IPv4", Open(ip::ip)),
    (0x0806, "ARP", Nothing),
    (0x6558, "Ethernet", Open(ethernet::ethernet)),
    (0x8035, "RARP", Nothing),
    (0x8100, "VLAN tag", Open(ethernet::vlan)),
    (0x86dd, "IPv6", Open(ip::ip)),
    (0x8809, "slow protocols", Nothing),
    (0x880b, "PPP", Open(ppp::ppp)),
    (0x8847, "MPLS", Open(mpls::mpls)),
    (0x8848, "MPLS", Open(mpls::mpls)),
    (0x8863, "PPPoE discovery", Nothing),
    (0x8864, "PPPoE", Open(ppp::pppoe)),
    (0x888e, "EAPOL", Nothing),
    (0x88a8, "VLAN tag", Open(ethernet::vlan)),
    (0x88cc, "LLDP", Nothing),
    (0x88e5, "MACsec", Unknown),
    (0x88f7, "PTP", Nothing),
    (0x9000, "loopback test", Nothing),
    (0x9100, "VLAN tag", Open(ethernet::vlan)),
    (0x9200, "VLAN tag", Open(ethernet::vlan)),
];

const LLC: &[Line] = &[
    (0x06, "IP", Open(ethernet::llc_ip)),
    (0x42, "spanning tree", Nothing),
    (0xaa, "SNAP", Open(ethernet::snap)),
    (0xfe, "OSI", Nothing),
];

const PPP_PROTOCOLS: &[Line] = &[
    (0x0021, "IPv4", Open(ip::ip)),
    (0x002d, "compressed TCP", Nothing),
    (0x002f, "TCP", Nothing),
    (0x0057, "IPv6", Open(ip::ip)),
    (0x00fd, "compressed", Unknown),
    (0x0281, "MPLS", Open(mpls::mpls)),
    (0x0283, "MPLS", Open(mpls::mpls)),
];

const IP_PROTOCOLS: &[Line] = &[
    (0, "hop-by-hop options", Open(ip::options)),
    (1, "ICMP", Open(icmp::icmp)),
    (2, "IGMP", Nothing),
    (4, "IPv4", Open(ip::ip)),
    (6, "TCP", Nothing),
    (17, "UDP", Open(udp::udp)),
    (33, "DCCP", Nothing),
    (41, "IPv6", Open(ip::ip)),
    (43, "routing header", Open(ip::options)),
    (44, "fragment header", Open(ip::fragment)),
    (46, "RSVP", Nothing),
    (47, "GRE", Open(gre::gre)),
    (50, "ESP", Unknown),
    (51, "authentication header", Open(ip::authentication)),
    (58, "ICMPv6", Open(icmp::icmpv6)),
    (59, "no next header", Nothing),
    (60, "destination options", Open(ip::options)),
    (88, "EIGRP", Nothing),
    (89, "OSPF", Nothing),
    (103, "PIM", Nothing),
    (108, "IPComp", Unknown),
    (112, "VRRP", Nothing),
    (115, "L2TP", Unknown),
    (132, "SCTP", Open(sctp)),
    (135, "mobility header", Open(ip::options)),
    (136, "UDP-Lite", Nothing),
    (137, "MPLS", Open(mpls::mpls)),
    (139, "HIP", Open(ip::options)),
    (140, "Shim6", Open(ip::options)),
];

const UDP_PORTS: &[Line] =
    &[(2152, "GTP-U", Open(gtp::gtp_u)), (4789, "VXLAN", Open(vxlan::vxlan))];

/// The end of the way.
fn sctp(_: &mut Walk<'_>) -> Result<Next, End> {
    Err(End::Sctp)
}

/// The same where the frame begins with it.
fn sctp_itself(_: &mut Walk<'_>) -> Result<Next, End> {
    Ok(SCTP)
}

impl Next {
    pub(super) fn rule(self) -> Rule {
        match (self, self.line()) {
            (_, Some((_, _, rule))) => *rule,
            // RFC 1661, section 2: the protocols that configure a link and what it carries.
            (Self::PppProtocol(0x8000..), None) => Nothing,
            (_, None) => Unknown,
        }
    }

    /// Whether there is a line for it.
    pub(super) fn is_known(self) -> bool {
        self.line().is_some()
    }

    fn line(self) -> Option<&'static Line> {
        let (table, number) = match self {
            Self::LinkType(number) => (LINK_TYPES, number),
            Self::EtherType(number) => (ETHER_TYPES, number),
            Self::Llc(number) => (LLC, number.into()),
            Self::PppProtocol(number) => (PPP_PROTOCOLS, number),
            Self::IpProtocol(number) => (IP_PROTOCOLS, number.into()),
            Self::UdpPort(number) => (UDP_PORTS, number),
        };
        table.iter().find(|line| line.0 == number)
    }
}

impl Display for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LinkType(number) => write!(f, "link type {number}")?,
            Self::EtherType(number) => write!(f, "EtherType 0x{number:04x}")?,
            Self::Llc(number) => write!(f, "LLC 0x{number:02x}")?,
            Self::PppProtocol(number) => write!(f, "PPP protocol 0x{number:04x}")?,
            Self::IpProtocol(number) => write!(f, "IP protocol {number}")?,
            Self::UdpPort(number) => write!(f, "UDP port {number}")?,
        }
        match self.line() {
            Some((_, name, _)) => write!(f, " ({name})"),
            None => Ok(()),
        }
    }
}
