//! PPP (RFC 1661) as a link, in HDLC-like framing (RFC 1662) and over Ethernet (RFC 2516); and HDLC as Cisco's routers have it.

use super::table::{Next, PPP};
use super::walk::{End, Walk};

/// A frame, with the address and control field or without (RFC 1661, section 6.6).
pub(super) fn ppp(walk: &mut Walk<'_>) -> Result<Next, End> {
    if walk.bytes.starts_with(&[0xff, 0x03]) {
        walk.take(2)?;
    }
    protocol(walk)
}

/// LINKTYPE_PPP_HDLC and LINKTYPE_C_HDLC, which the first byte tells apart.
pub(super) fn hdlc(walk: &mut Walk<'_>) -> Result<Next, End> {
    match walk.bytes.first() {
        // For one station, or for all.
        Some(0x0f | 0x8f) => {
            walk.take(2)?;
            Ok(Next::EtherType(walk.u16()?))
        }
        _ => ppp(walk),
    }
}

/// LINKTYPE_PPP_PPPD and LINKTYPE_PPP_WITH_DIR: whether it was sent or received, in the place of the address or before it.
pub(super) fn behind_direction(walk: &mut Walk<'_>) -> Result<Next, End> {
    if !walk.bytes.starts_with(&[0xff, 0x03]) {
        walk.take(1)?;
        if walk.bytes.starts_with(&[0x03]) {
            walk.take(1)?;
        }
    }
    ppp(walk)
}

/// RFC 2516, section 4.
pub(super) fn pppoe(walk: &mut Walk<'_>) -> Result<Next, End> {
    let version_and_type = walk.u8()?;
    let code = walk.u8()?;
    let session = walk.u16()?;
    let len = walk.u16()?;
    match (version_and_type, code) {
        (0x11, 0) => {}
        (0x11, _) => return Err(End::Nothing),
        _ => return Err(End::Unknown),
    }
    walk.cut(len.into());
    walk.enter_tunnel("PPPoE", Some(session.into()))?;
    Ok(PPP)
}

/// The number of a protocol: in one byte where the peers agreed on that, which its lowest bit tells (RFC 1661, section 6.5).
fn protocol(walk: &mut Walk<'_>) -> Result<Next, End> {
    let first = walk.u8()?;
    if first & 1 == 1 {
        return Ok(Next::PppProtocol(first.into()));
    }
    let second = walk.u8()?;
    Ok(Next::PppProtocol(u16::from_be_bytes([first, second])))
}
