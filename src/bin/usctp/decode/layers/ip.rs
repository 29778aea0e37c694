//! IPv4 (RFC 791), IPv6 and its extension headers (RFC 8200), also in each other (RFC 2003, RFC 2473, RFC 4213).

use std::net::{Ipv4Addr, Ipv6Addr};

use bytes::Buf;

use super::fragments::{Fragment, Key};
use super::table::Next;
use super::walk::{End, Walk};

/// A header of either version; the first bits tell which.
pub(super) fn ip(walk: &mut Walk<'_>) -> Result<Next, End> {
    match walk.bytes.first().ok_or(End::Damaged)? >> 4 {
        4 => ipv4(walk),
        6 => ipv6(walk),
        _ => Err(End::Damaged),
    }
}

/// RFC 791, section 3.1.
fn ipv4(walk: &mut Walk<'_>) -> Result<Next, End> {
    let header_len = usize::from(walk.bytes.first().ok_or(End::Damaged)? & 0x0f) * 4;
    let mut header = walk.take(header_len)?;
    if header_len < 20 {
        return Err(End::Damaged);
    }
    header.advance(2);
    let total = usize::from(header.try_get_u16()?);
    let id = header.try_get_u16()?;
    let position = header.try_get_u16()?;
    header.advance(1);
    let protocol = header.try_get_u8()?;
    header.advance(2);
    let source = Ipv4Addr::from(header.try_get_u32()?);
    let destination = Ipv4Addr::from(header.try_get_u32()?);
    match total {
        // Captured before the interface split a large segment and filled in the lengths.
        0 => {}
        _ => walk.cut(total.checked_sub(header_len).ok_or(End::Damaged)?),
    }
    walk.enter_ip("IPv4", source, destination)?;
    let fragment = Fragment {
        origin: walk.origin(),
        protocol,
        offset: usize::from(position & 0x1fff) * 8,
        more: position & 0x2000 != 0,
        bytes: walk.bytes.clone(),
    };
    if fragment.is_whole() {
        return Ok(Next::IpProtocol(protocol));
    }
    let key = Key { path: walk.path.clone(), protocol: Some(protocol), id: id.into() };
    walk.fragment(key, fragment).map(Next::IpProtocol)
}

/// RFC 8200, section 3.
fn ipv6(walk: &mut Walk<'_>) -> Result<Next, End> {
    let mut header = walk.take(40)?;
    header.advance(4);
    let len = usize::from(header.try_get_u16()?);
    let protocol = header.try_get_u8()?;
    header.advance(1);
    let source = Ipv6Addr::from(header.try_get_u128()?);
    let destination = Ipv6Addr::from(header.try_get_u128()?);
    match len {
        // A jumbogram (RFC 2675), or captured before the interface filled in the length.
        0 => {}
        _ => walk.cut(len),
    }
    walk.enter_ip("IPv6", source, destination)?;
    Ok(Next::IpProtocol(protocol))
}

/// Extension headers whose length is in units of 8 bytes, the first not counted.
pub(super) fn options(walk: &mut Walk<'_>) -> Result<Next, End> {
    extension(walk, 8)
}

/// In units of 4 bytes, the first two not counted (RFC 4302, section 2.2).
pub(super) fn authentication(walk: &mut Walk<'_>) -> Result<Next, End> {
    extension(walk, 4)
}

fn extension(walk: &mut Walk<'_>, unit: usize) -> Result<Next, End> {
    let protocol = walk.u8()?;
    let len = usize::from(walk.u8()?);
    walk.take(len * unit + 6)?;
    Ok(Next::IpProtocol(protocol))
}

/// RFC 8200, section 4.5.
pub(super) fn fragment(walk: &mut Walk<'_>) -> Result<Next, End> {
    let protocol = walk.u8()?;
    walk.take(1)?;
    let position = walk.u16()?;
    let id = walk.u32()?;
    let fragment = Fragment {
        origin: walk.origin(),
        protocol,
        offset: usize::from(position & 0xfff8),
        more: position & 1 != 0,
        bytes: walk.bytes.clone(),
    };
    // RFC 6946: offset 0 and no more to come is a whole packet, whatever else came with its number.
    if fragment.is_whole() {
        return Ok(Next::IpProtocol(protocol));
    }
    // Later fragments may say otherwise about what follows; the first one's word counts.
    let key = Key { path: walk.path.clone(), protocol: None, id };
    walk.fragment(key, fragment).map(Next::IpProtocol)
}
