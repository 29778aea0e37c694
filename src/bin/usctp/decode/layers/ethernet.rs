//! Ethernet and what stands in its place: VLAN tags, LLC and SNAP, Linux cooked captures, BSD loopback.

use super::table::{IP, Next};
use super::walk::{End, Walk};

/// Two addresses of 6 bytes, then the type.
pub(super) fn ethernet(walk: &mut Walk<'_>) -> Result<Next, End> {
    walk.take(12)?;
    typed(walk)
}

/// The tags of IEEE 802.1Q, 802.1ad, and what came before.
pub(super) fn vlan(walk: &mut Walk<'_>) -> Result<Next, End> {
    walk.take(2)?;
    typed(walk)
}

/// LINKTYPE_LINUX_SLL.
pub(super) fn sll(walk: &mut Walk<'_>) -> Result<Next, End> {
    walk.take(14)?;
    typed(walk)
}

/// LINKTYPE_LINUX_SLL2.
pub(super) fn sll2(walk: &mut Walk<'_>) -> Result<Next, End> {
    let header = walk.take(20)?;
    let &[high, low] = header.first_chunk().ok_or(End::Damaged)?;
    behind_type(walk, u16::from_be_bytes([high, low]))
}

/// LINKTYPE_NULL, which is in the byte order of the capturing host, whichever that was; and LINKTYPE_LOOP.
pub(super) fn null(walk: &mut Walk<'_>) -> Result<Next, End> {
    let family = walk.u32()?;
    match family.min(family.swap_bytes()) {
        // AF_INET everywhere, AF_INET6 of Linux, NetBSD and OpenBSD, FreeBSD, macOS.
        2 | 10 | 24 | 28 | 30 => Ok(IP),
        _ => Err(End::Unknown),
    }
}

/// SNAP: LLC for unnumbered information, then the organisation that the type is of.
pub(super) fn snap(walk: &mut Walk<'_>) -> Result<Next, End> {
    match *walk.take(6)? {
        [0xaa, 0xaa, 0x03, 0, 0, 0] => typed(walk),
        _ => Err(End::Unknown),
    }
}

/// IP right behind LLC.
pub(super) fn llc_ip(walk: &mut Walk<'_>) -> Result<Next, End> {
    walk.take(3)?;
    Ok(IP)
}

fn typed(walk: &mut Walk<'_>) -> Result<Next, End> {
    let number = walk.u16()?;
    behind_type(walk, number)
}

fn behind_type(walk: &Walk<'_>, number: u16) -> Result<Next, End> {
    match number {
        // IEEE 802.3: a length in the place of the type, and LLC behind it.
        0..=1500 => Ok(Next::Llc(*walk.bytes.first().ok_or(End::Damaged)?)),
        _ => Ok(Next::EtherType(number)),
    }
}
