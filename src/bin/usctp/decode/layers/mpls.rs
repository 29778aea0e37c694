//! MPLS (RFC 3032): a stack of labels, and IP or Ethernet under it.

use super::table::{ETHERNET, IP, Next};
use super::walk::{End, Walk};

/// The bit of the last label.
const BOTTOM: u32 = 0x100;

/// What is under the stack is known to the routers that gave the labels alone; its first bytes tell (RFC 4928, section 3).
pub(super) fn mpls(walk: &mut Walk<'_>) -> Result<Next, End> {
    let label = loop {
        let entry = walk.u32()?;
        if entry & BOTTOM != 0 {
            break entry >> 12;
        }
    };
    walk.enter_tunnel("MPLS", Some(label))?;
    match walk.bytes.first().ok_or(End::Damaged)? >> 4 {
        4 | 6 => Ok(IP),
        // An associated channel (RFC 4385, section 5): what routers tell each other.
        1 => Err(End::Nothing),
        // Ethernet (RFC 4448), with a control word or without: where a known type stands tells.
        0 if !is_ethernet_at(walk, 0) && is_ethernet_at(walk, 4) => {
            walk.take(4)?;
            Ok(ETHERNET)
        }
        _ if is_ethernet_at(walk, 0) => Ok(ETHERNET),
        _ => Err(End::Unknown),
    }
}

fn is_ethernet_at(walk: &Walk<'_>, offset: usize) -> bool {
    let number = walk.peek_u16(offset + 12);
    number.is_some_and(|number| Next::EtherType(number).is_known())
}
