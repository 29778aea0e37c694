//! Addresses and control messages in the kernel's own layout, written for sending and read after receiving.
//!
//! C libraries give lengths and flags different integer types, all of which hold what stands here: casts to `_`.

use std::mem::{self, MaybeUninit};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libc::{c_int, c_void};
use usctp_assoc::Ecn;

use super::{Outgoing, tos_of};

/// Room for the control messages of one packet in bytes; more than any set of options we turn on
/// needs.
pub(super) const CONTROL: usize = 128;

/// The control messages' buffer; `cmsghdr` wants the alignment of `usize`.
#[repr(C, align(8))]
pub(super) struct Control([u8; CONTROL]);

/// A socket address of either family.
#[repr(C)]
pub(super) union Name {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

/// What the kernel says of a packet beside its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PacketInfo {
    /// Where it was sent to.
    pub(super) destination: IpAddr,
    /// The interface it came in by.
    pub(super) interface: u32,
    /// It was sent to this host alone.
    pub(super) unicast: bool,
}

/// Writes the address to send to; returns pointer and length as a message header takes them.
pub(super) fn write_name(
    name: &mut MaybeUninit<Name>,
    packet: &Outgoing,
) -> (*mut c_void, libc::socklen_t) {
    let port = packet.port;
    let len = match packet.destination {
        IpAddr::V4(address) => {
            name.write(Name {
                v4: libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: port.to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.octets()) },
                    sin_zero: [0; 8],
                },
            });
            mem::size_of::<libc::sockaddr_in>()
        }
        IpAddr::V6(address) => {
            name.write(Name {
                v6: libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: port.to_be(),
                    sin6_flowinfo: 0,
                    sin6_addr: libc::in6_addr { s6_addr: address.octets() },
                    sin6_scope_id: packet.zone,
                },
            });
            mem::size_of::<libc::sockaddr_in6>()
        }
    };
    (name.as_mut_ptr().cast::<c_void>(), len as libc::socklen_t)
}

/// Reads the address that the kernel wrote to the header's name, whose room is a [`Name`], and the zone of a link-local one.
pub(super) fn read_name(header: &libc::msghdr) -> Option<(IpAddr, u32)> {
    let len = header.msg_namelen as usize;
    if header.msg_name.is_null() || len < mem::size_of::<libc::sa_family_t>() {
        return None;
    }
    // SAFETY: the name is a `Name`, which is aligned for either structure, and the kernel has
    // written `len` bytes of it; the family leads both structures, and the structure read is no
    // longer than `len`.
    unsafe {
        let family = c_int::from(header.msg_name.cast::<libc::sa_family_t>().read());
        if family == libc::AF_INET && len >= mem::size_of::<libc::sockaddr_in>() {
            let name = header.msg_name.cast::<libc::sockaddr_in>().read();
            let address = Ipv4Addr::from(name.sin_addr.s_addr.to_ne_bytes());
            Some((IpAddr::V4(address), 0))
        } else if family == libc::AF_INET6 && len >= mem::size_of::<libc::sockaddr_in6>() {
            let name = header.msg_name.cast::<libc::sockaddr_in6>().read();
            let address = Ipv6Addr::from(name.sin6_addr.s6_addr);
            Some((IpAddr::V6(address), name.sin6_scope_id))
        } else {
            None
        }
    }
}

/// Reads a packet-information message.
pub(super) fn read_packet_info(level: c_int, kind: c_int, data: &[u8]) -> Option<PacketInfo> {
    match (level, kind) {
        (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
            // struct in_pktinfo: interface index, the local address of the packet, the header's
            // destination.
            let [i0, i1, i2, i3, l0, l1, l2, l3, d0, d1, d2, d3] = *data.first_chunk::<12>()?;
            let address = Ipv4Addr::new(d0, d1, d2, d3);
            Some(PacketInfo {
                destination: IpAddr::V4(address),
                interface: u32::from_ne_bytes([i0, i1, i2, i3]),
                // The two differ exactly for broadcast and multicast (ip(7), IP_PKTINFO).
                unicast: address == Ipv4Addr::new(l0, l1, l2, l3),
            })
        }
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
            // struct in6_pktinfo: the header's destination, interface index.
            let (address, interface) = data.split_first_chunk::<16>()?;
            let address = Ipv6Addr::from(*address);
            Some(PacketInfo {
                destination: IpAddr::V6(address),
                interface: u32::from_ne_bytes(*interface.first_chunk()?),
                unicast: !address.is_multicast(),
            })
        }
        _ => None,
    }
}

/// Appends the control messages that choose the source address, the ECN field and the segmentation.
pub(super) fn write_control(
    header: &mut libc::msghdr,
    control: &mut MaybeUninit<Control>,
    packet: &Outgoing,
) {
    let v4 = packet.destination.is_ipv4();
    let mut len = 0;
    match packet.source {
        Some(IpAddr::V4(source)) => {
            let [s0, s1, s2, s3] = source.octets();
            let info = [0, 0, 0, 0, s0, s1, s2, s3, 0, 0, 0, 0];
            len += append_control(control, len, libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
        }
        Some(IpAddr::V6(source)) => {
            let mut info = [0; 20];
            let (address, zone) = info.split_at_mut(16);
            address.copy_from_slice(&source.octets());
            zone.copy_from_slice(&packet.zone.to_ne_bytes());
            len += append_control(control, len, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
        }
        None => {}
    }
    if packet.ecn != Ecn::NotEct {
        let tos = c_int::from(tos_of(packet.ecn)).to_ne_bytes();
        let (level, kind) = if v4 {
            (libc::IPPROTO_IP, libc::IP_TOS)
        } else {
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS)
        };
        len += append_control(control, len, level, kind, &tos);
    }
    if let Some(segment) = packet.segment {
        let segment = segment.to_ne_bytes();
        len += append_control(control, len, libc::SOL_UDP, libc::UDP_SEGMENT, &segment);
    }
    if len > 0 {
        header.msg_control = control.as_mut_ptr().cast::<c_void>();
        header.msg_controllen = len as _;
    }
}

/// Writes one control message at `offset` and returns the room it takes; none if it does not fit.
fn append_control(
    control: &mut MaybeUninit<Control>,
    offset: usize,
    level: c_int,
    kind: c_int,
    data: &[u8],
) -> usize {
    let data_len = data.len() as libc::c_uint;
    // SAFETY: these two compute sizes from a number and touch no memory.
    let (space, len) = unsafe { (libc::CMSG_SPACE(data_len), libc::CMSG_LEN(data_len)) };
    let space = space as usize;
    if offset + space > CONTROL {
        debug_assert!(false, "the control buffer holds every message we send");
        return 0;
    }
    // SAFETY: `offset + space` lies within the buffer; `offset` is a sum of CMSG_SPACE values, so
    // the header is aligned in the 8-aligned buffer; CMSG_DATA of it has room for `data` because
    // `space` includes it. Padding up to `space` is zeroed first, so that no uninitialised byte
    // reaches the kernel.
    unsafe {
        let at = control.as_mut_ptr().cast::<u8>().add(offset);
        std::ptr::write_bytes(at, 0, space);
        let message = at.cast::<libc::cmsghdr>();
        (*message).cmsg_level = level;
        (*message).cmsg_type = kind;
        (*message).cmsg_len = len as _;
        std::ptr::copy_nonoverlapping(data.as_ptr(), libc::CMSG_DATA(message), data.len());
    }
    space
}

/// Calls `each` with level, type and data of every control message the kernel delivered.
pub(super) fn each_control(header: &libc::msghdr, mut each: impl FnMut(c_int, c_int, &[u8])) {
    // SAFETY: the kernel wrote `msg_controllen` bytes of well-formed control messages into the
    // header's own buffer; CMSG_FIRSTHDR and CMSG_NXTHDR stay within them, and the data of a
    // message is as long as its length without the header says (CMSG_LEN(0) is the header's aligned
    // size).
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while let Some(found) = message.as_ref() {
            let whole: usize = found.cmsg_len as _;
            let len = whole.saturating_sub(libc::CMSG_LEN(0) as usize);
            let data = std::slice::from_raw_parts(libc::CMSG_DATA(message), len);
            each(found.cmsg_level, found.cmsg_type, data);
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
}
