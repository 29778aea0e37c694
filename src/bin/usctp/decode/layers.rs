//! Finds the SCTP packet in a frame: link layer, IPv4 or IPv6, perhaps UDP (RFC 6951).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::{Buf, Bytes};

/// What stands between the frame and the SCTP packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Carried {
    /// The source of the IP header.
    pub(crate) source: IpAddr,
    /// The destination of the IP header.
    pub(crate) destination: IpAddr,
    /// The UDP ports around an encapsulated packet, source first.
    pub(crate) udp_ports: Option<(u16, u16)>,
    /// How much of the packet is here.
    pub(crate) extent: Extent,
    /// The packet from its common header on, as far as it is here.
    pub(crate) payload: Bytes,
}

/// How much of an SCTP packet a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All of it.
    Whole,
    /// Less: the capture kept only the first bytes of each frame.
    Truncated,
    /// The first IP fragment of it.
    FirstFragment,
    /// An IP fragment from its middle or end, without the common header.
    LaterFragment,
}

/// `LINKTYPE_*` of <https://www.tcpdump.org/linktypes.html>.
const NULL: u16 = 0;
const ETHERNET: u16 = 1;
const RAW_BSD: u16 = 12;
const RAW_OPENBSD: u16 = 14;
const RAW: u16 = 101;
const LOOP: u16 = 108;
const LINUX_SLL: u16 = 113;
const IPV4: u16 = 228;
const IPV6: u16 = 229;
const LINUX_SLL2: u16 = 276;

/// Whether frames of this link type are looked into.
pub(crate) fn is_supported(link_type: u16) -> bool {
    matches!(
        link_type,
        NULL | ETHERNET | RAW_BSD | RAW_OPENBSD | RAW | LOOP | LINUX_SLL | IPV4 | IPV6 | LINUX_SLL2
    )
}

/// The SCTP packet of a frame, if it carries one; UDP is looked into where either port is one of `udp_ports`.
pub(crate) fn sctp(link_type: u16, mut frame: Bytes, udp_ports: &[u16]) -> Option<Carried> {
    let ip = match link_type {
        ETHERNET => {
            skip(&mut frame, 12)?;
            let protocol = frame.try_get_u16().ok()?;
            behind_ethertype(protocol, frame)?
        }
        LINUX_SLL => {
            skip(&mut frame, 14)?;
            let protocol = frame.try_get_u16().ok()?;
            behind_ethertype(protocol, frame)?
        }
        LINUX_SLL2 => {
            let protocol = frame.try_get_u16().ok()?;
            skip(&mut frame, 18)?;
            behind_ethertype(protocol, frame)?
        }
        NULL | LOOP => {
            let family = frame.try_get_u32().ok()?;
            // NULL is in the byte order of the capturing host, whichever that was.
            is_internet(family).then_some(frame)?
        }
        RAW_BSD | RAW_OPENBSD | RAW | IPV4 | IPV6 => frame,
        _ => return None,
    };
    let datagram = match ip.first()? >> 4 {
        4 => ipv4(ip)?,
        6 => ipv6(ip)?,
        _ => return None,
    };
    datagram.sctp(udp_ports)
}

/// AF_INET everywhere, AF_INET6 of Linux, NetBSD and OpenBSD, FreeBSD, macOS.
fn is_internet(family: u32) -> bool {
    matches!(family.min(family.swap_bytes()), 2 | 10 | 24 | 28 | 30)
}

/// Takes off VLAN tags (IEEE 802.1Q, 802.1ad, and what came before) and LLC/SNAP.
fn behind_ethertype(mut protocol: u16, mut rest: Bytes) -> Option<Bytes> {
    loop {
        match protocol {
            0x0800 | 0x86dd => return Some(rest),
            0x8100 | 0x88a8 | 0x9100 | 0x9200 => skip(&mut rest, 2)?,
            // IEEE 802.3: a length in the place of the type; the type follows if LLC says SNAP.
            0..=1500 if rest.starts_with(&[0xaa, 0xaa, 0x03, 0, 0, 0]) => skip(&mut rest, 6)?,
            _ => return None,
        }
        protocol = rest.try_get_u16().ok()?;
    }
}

/// What an IP header says about what follows it.
struct Datagram {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    extent: Extent,
    payload: Bytes,
}

const PROTOCOL_UDP: u8 = 17;
const PROTOCOL_SCTP: u8 = 132;

impl Datagram {
    fn sctp(self, udp_ports: &[u16]) -> Option<Carried> {
        let Self { source, destination, protocol, mut extent, mut payload } = self;
        let mut ports = None;
        match protocol {
            PROTOCOL_SCTP => {}
            PROTOCOL_UDP if extent != Extent::LaterFragment => {
                let from = payload.try_get_u16().ok()?;
                let to = payload.try_get_u16().ok()?;
                if !udp_ports.contains(&from) && !udp_ports.contains(&to) {
                    return None;
                }
                let len = usize::from(payload.try_get_u16().ok()?);
                skip(&mut payload, 2)?;
                // 0 is the length of an offloaded segment that is longer than the field can say.
                match len {
                    0 => {}
                    _ => cut(&mut payload, len.checked_sub(8)?, &mut extent),
                }
                ports = Some((from, to));
            }
            _ => return None,
        }
        Some(Carried { source, destination, udp_ports: ports, extent, payload })
    }
}

/// RFC 791, section 3.1.
fn ipv4(mut bytes: Bytes) -> Option<Datagram> {
    let header_len = usize::from(bytes.first()? & 0x0f) * 4;
    let mut header = take(&mut bytes, header_len)?;
    if header_len < 20 {
        return None;
    }
    skip(&mut header, 2)?;
    let total = usize::from(header.try_get_u16().ok()?);
    skip(&mut header, 2)?;
    let fragment = header.try_get_u16().ok()?;
    skip(&mut header, 1)?;
    let protocol = header.try_get_u8().ok()?;
    skip(&mut header, 2)?;
    let source = Ipv4Addr::from(header.try_get_u32().ok()?);
    let destination = Ipv4Addr::from(header.try_get_u32().ok()?);
    let mut extent = fragment_extent(fragment & 0x1fff, fragment & 0x2000 != 0);
    match total {
        // Captured before the interface split a large segment and filled in the lengths.
        0 => {}
        _ => cut(&mut bytes, total.checked_sub(header_len)?, &mut extent),
    }
    let (source, destination) = (source.into(), destination.into());
    Some(Datagram { source, destination, protocol, extent, payload: bytes })
}

/// RFC 8200, sections 3 and 4.
fn ipv6(mut bytes: Bytes) -> Option<Datagram> {
    let mut header = take(&mut bytes, 40)?;
    skip(&mut header, 4)?;
    let len = usize::from(header.try_get_u16().ok()?);
    let mut protocol = header.try_get_u8().ok()?;
    skip(&mut header, 1)?;
    let source = Ipv6Addr::from(header.try_get_u128().ok()?);
    let destination = Ipv6Addr::from(header.try_get_u128().ok()?);
    let mut extent = Extent::Whole;
    match len {
        // A jumbogram (RFC 2675), or captured before the interface filled in the length.
        0 => {}
        _ => cut(&mut bytes, len, &mut extent),
    }
    while let Some(kind) = extension(protocol) {
        // Behind the first fragment's extension headers there is payload, not a further header.
        if extent == Extent::LaterFragment {
            return None;
        }
        protocol = bytes.try_get_u8().ok()?;
        let len = usize::from(bytes.try_get_u8().ok()?);
        match kind {
            Extension::Options => skip(&mut bytes, len * 8 + 6)?,
            Extension::Authentication => skip(&mut bytes, len * 4 + 6)?,
            Extension::Fragment => {
                let fragment = bytes.try_get_u16().ok()?;
                skip(&mut bytes, 4)?;
                let truncated = extent;
                extent = fragment_extent(fragment >> 3, fragment & 1 != 0);
                // RFC 6946: offset 0 and no more to come is a whole packet.
                if extent == Extent::Whole {
                    extent = truncated;
                }
            }
        }
    }
    let (source, destination) = (source.into(), destination.into());
    Some(Datagram { source, destination, protocol, extent, payload: bytes })
}

/// How the length of an IPv6 extension header is written.
enum Extension {
    /// In units of 8 bytes, the first not counted.
    Options,
    /// In units of 4 bytes, the first two not counted (RFC 4302, section 2.2).
    Authentication,
    /// Always 8 bytes.
    Fragment,
}

fn extension(protocol: u8) -> Option<Extension> {
    match protocol {
        // Hop-by-hop, routing, destination options, mobility, HIP, Shim6.
        0 | 43 | 60 | 135 | 139 | 140 => Some(Extension::Options),
        51 => Some(Extension::Authentication),
        44 => Some(Extension::Fragment),
        _ => None,
    }
}

fn fragment_extent(offset: u16, more: bool) -> Extent {
    match (offset, more) {
        (0, false) => Extent::Whole,
        (0, true) => Extent::FirstFragment,
        _ => Extent::LaterFragment,
    }
}

/// Drops what follows `len` bytes (padding of the link layer), or notes that some of them are missing.
fn cut(bytes: &mut Bytes, len: usize, extent: &mut Extent) {
    if bytes.len() < len && *extent == Extent::Whole {
        *extent = Extent::Truncated;
    }
    bytes.truncate(len);
}

fn take(bytes: &mut Bytes, len: usize) -> Option<Bytes> {
    (len <= bytes.len()).then(|| bytes.split_to(len))
}

fn skip(bytes: &mut Bytes, len: usize) -> Option<()> {
    take(bytes, len).map(drop)
}
