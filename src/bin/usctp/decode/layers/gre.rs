//! GRE (RFC 2784, RFC 2890), and its version 1, which carries PPP (RFC 2637).

use super::table::{Next, PPP};
use super::walk::{End, Walk};

const CHECKSUM: u16 = 0x8000;
const ROUTING: u16 = 0x4000;
const KEY: u16 = 0x2000;
const SEQUENCE: u16 = 0x1000;
const ACKNOWLEDGMENT: u16 = 0x0080;
const VERSION: u16 = 0x0007;

pub(super) fn gre(walk: &mut Walk<'_>) -> Result<Next, End> {
    let flags = walk.u16()?;
    let protocol = walk.u16()?;
    match flags & VERSION {
        0 if flags & ROUTING == 0 => version_0(walk, flags, protocol),
        1 => version_1(walk, flags),
        // RFC 1701's source routes are not walked; nobody has sent any for decades.
        _ => Err(End::Unknown),
    }
}

fn version_0(walk: &mut Walk<'_>, flags: u16, protocol: u16) -> Result<Next, End> {
    if flags & CHECKSUM != 0 {
        walk.take(4)?;
    }
    let key = if flags & KEY != 0 { Some(walk.u32()?) } else { None };
    if flags & SEQUENCE != 0 {
        walk.take(4)?;
    }
    // A keepalive of Cisco's routers.
    if protocol == 0 {
        return Err(End::Nothing);
    }
    walk.enter_tunnel("GRE", key)?;
    Ok(Next::EtherType(protocol))
}

/// RFC 2637, section 4.1.
fn version_1(walk: &mut Walk<'_>, flags: u16) -> Result<Next, End> {
    let len = walk.u16()?;
    let call = walk.u16()?;
    if flags & SEQUENCE == 0 {
        // An acknowledgment alone.
        return Err(End::Nothing);
    }
    walk.take(4)?;
    if flags & ACKNOWLEDGMENT != 0 {
        walk.take(4)?;
    }
    walk.cut(len.into());
    walk.enter_tunnel("GRE", Some(call.into()))?;
    Ok(PPP)
}
