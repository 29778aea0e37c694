//! ICMP (RFC 792) and ICMPv6 (RFC 4443): errors, which quote the packet that they are about.

use super::table::{IP, Next};
use super::walk::{End, Walk};
use super::{Extent, Icmp};

/// The four bytes between the checksum and the quotation.
type Rest = [u8; 4];

pub(super) fn icmp(walk: &mut Walk<'_>) -> Result<Next, End> {
    let (kind, code, rest) = header(walk)?;
    if !matches!(kind, 3 | 4 | 5 | 11 | 12) {
        return Err(End::Nothing);
    }
    let [_, words, high, low] = rest;
    let mtu = match (kind, code) {
        // RFC 1191, section 4; 0 is of routers from before it.
        (3, 4) => Some(u16::from_be_bytes([high, low]).into()).filter(|mtu| *mtu > 0),
        _ => None,
    };
    // A redirect has an address in the place of the length.
    let len = if kind == 5 { 0 } else { usize::from(words) * 4 };
    quoted(walk, "ICMP", len, (kind, code, name(kind, code)), mtu)
}

pub(super) fn icmpv6(walk: &mut Walk<'_>) -> Result<Next, End> {
    let (kind, code, rest) = header(walk)?;
    let mtu = (kind == 2).then_some(u32::from_be_bytes(rest));
    let len = match kind {
        1 | 3 => usize::from(rest[0]) * 8,
        2 | 4 => 0,
        _ => return Err(End::Nothing),
    };
    quoted(walk, "ICMPv6", len, (kind, code, name_v6(kind, code)), mtu)
}

fn header(walk: &mut Walk<'_>) -> Result<(u8, u8, Rest), End> {
    // Errors are not about errors.
    if walk.icmp.is_some() {
        return Err(End::Nothing);
    }
    let kind = walk.u8()?;
    let code = walk.u8()?;
    walk.take(2)?;
    Ok((kind, code, walk.u32()?.to_be_bytes()))
}

/// Goes into the quotation, which ends after `len` bytes where extensions follow it (RFC 4884, section 3).
fn quoted(
    walk: &mut Walk<'_>,
    protocol: &'static str,
    len: usize,
    (kind, code, name): (u8, u8, Option<&'static str>),
    mtu: Option<u32>,
) -> Result<Next, End> {
    if len > 0 {
        walk.bytes.truncate(len);
    }
    let ip = walk.path.pop();
    let (src, dst) = ip.map_or((None, None), |hop| (hop.src, hop.dst));
    walk.icmp = Some(Icmp { protocol, src, dst, kind, code, name, mtu });
    // How much of the packet is quoted, its own header tells.
    walk.extent = Extent::Whole;
    Ok(IP)
}

/// The names of RFC 792, RFC 1122, section 3.2.2.1, and RFC 1812, section 5.2.7.1.
fn name(kind: u8, code: u8) -> Option<&'static str> {
    Some(match (kind, code) {
        (3, 0) => "network unreachable",
        (3, 1) => "host unreachable",
        (3, 2) => "protocol unreachable",
        (3, 3) => "port unreachable",
        (3, 4) => "fragmentation needed",
        (3, 5) => "source route failed",
        (3, 6) => "destination network unknown",
        (3, 7) => "destination host unknown",
        (3, 8) => "source host isolated",
        (3, 9) => "network administratively prohibited",
        (3, 10) => "host administratively prohibited",
        (3, 11) => "network unreachable for type of service",
        (3, 12) => "host unreachable for type of service",
        (3, 13) => "communication administratively prohibited",
        (3, 14) => "host precedence violation",
        (3, 15) => "precedence cutoff in effect",
        (4, 0) => "source quench",
        (5, 0..=3) => "redirect",
        (11, 0) => "time to live exceeded",
        (11, 1) => "fragment reassembly time exceeded",
        (12, _) => "parameter problem",
        _ => return None,
    })
}

/// The names of RFC 4443, section 3.
fn name_v6(kind: u8, code: u8) -> Option<&'static str> {
    Some(match (kind, code) {
        (1, 0) => "no route to destination",
        (1, 1) => "communication administratively prohibited",
        (1, 2) => "beyond scope of source address",
        (1, 3) => "address unreachable",
        (1, 4) => "port unreachable",
        (1, 5) => "source address failed policy",
        (1, 6) => "reject route to destination",
        (2, _) => "packet too big",
        (3, 0) => "hop limit exceeded",
        (3, 1) => "fragment reassembly time exceeded",
        (4, 0) => "erroneous header field",
        (4, 1) => "unrecognized next header type",
        (4, 2) => "unrecognized option",
        (4, _) => "parameter problem",
        _ => return None,
    })
}
