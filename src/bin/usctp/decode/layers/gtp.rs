//! GTP-U (3GPP TS 29.281): IP of mobile subscribers over UDP.

use super::table::{IP, Next};
use super::walk::{End, Walk};

/// What the upper four bits say of version 1 of GTP (and not of its sibling for charging).
const VERSION_1: u8 = 0x30;
/// The message that carries a packet; the others are about the tunnel.
const G_PDU: u8 = 255;
/// Any of: extension header, sequence number, N-PDU number.
const OPTIONAL: u8 = 0x07;
const EXTENSION: u8 = 0x04;

/// TS 29.281, section 5.1.
pub(super) fn gtp_u(walk: &mut Walk<'_>) -> Result<Next, End> {
    let flags = walk.u8()?;
    let message = walk.u8()?;
    let len = walk.u16()?;
    let tunnel = walk.u32()?;
    if flags & 0xf0 != VERSION_1 {
        return Err(End::Unknown);
    }
    if message != G_PDU {
        return Err(End::Nothing);
    }
    walk.cut(len.into());
    if flags & OPTIONAL != 0 {
        walk.take(3)?;
        let mut extension = walk.u8()?;
        while flags & EXTENSION != 0 && extension != 0 {
            // In units of 4 bytes: the length, what it says, and the type of the next.
            let len = usize::from(walk.u8()?) * 4;
            walk.take(len.checked_sub(2).ok_or(End::Damaged)?)?;
            extension = walk.u8()?;
        }
    }
    walk.enter_tunnel("GTP-U", Some(tunnel))?;
    match walk.bytes.first().ok_or(End::Damaged)? >> 4 {
        4 | 6 => Ok(IP),
        // A session of 5G may carry Ethernet or anything; nothing here says which.
        _ => Err(End::Unknown),
    }
}
