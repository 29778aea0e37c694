//! VXLAN (RFC 7348): Ethernet over UDP.

use super::table::{ETHERNET, Next};
use super::walk::{End, Walk};

/// The bit that says that the network's number is there.
const HAS_NETWORK: u32 = 0x0800_0000;

/// RFC 7348, section 5.
pub(super) fn vxlan(walk: &mut Walk<'_>) -> Result<Next, End> {
    let flags = walk.u32()?;
    let network = walk.u32()? >> 8;
    if flags & HAS_NETWORK == 0 {
        return Err(End::Damaged);
    }
    walk.enter_tunnel("VXLAN", Some(network))?;
    Ok(ETHERNET)
}
