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
    let is_ethernet = is_ethernet_at(walk, 0);
    match walk.bytes.first().ok_or(End::Damaged)? >> 4 {
        // The address of an Ethernet frame may begin like this, too; it hardly goes on like this.
        4 if !is_ethernet || has_len(walk, 2, 0) => Ok(IP),
        6 if !is_ethernet || has_len(walk, 4, 40) => Ok(IP),
        // Ethernet (RFC 4448), with a control word or without: where a known type stands tells.
        _ if is_ethernet => Ok(ETHERNET),
        0 if is_ethernet_at(walk, 4) => {
            walk.take(4)?;
            Ok(ETHERNET)
        }
        // An associated channel (RFC 4385, section 5): what routers tell each other.
        1 => Err(End::Nothing),
        _ => Err(End::Unknown),
    }
}

/// Whether the number at this place and what it leaves out are the length of the rest, give or take what the link puts behind it.
fn has_len(walk: &Walk<'_>, at: usize, left_out: usize) -> bool {
    let rest = walk.bytes.len();
    let told = walk.peek_u16(at).map(|len| usize::from(len) + left_out);
    told.is_some_and(|told| told <= rest && (rest <= PADDED || rest - told <= CHECK_SEQUENCE))
}

/// Ethernet pads what is shorter.
const PADDED: usize = 46;
/// The length of a frame check sequence, which some captures have.
const CHECK_SEQUENCE: usize = 4;

fn is_ethernet_at(walk: &Walk<'_>, offset: usize) -> bool {
    let number = walk.peek_u16(offset + 12);
    number.is_some_and(|number| Next::EtherType(number).is_known())
}
