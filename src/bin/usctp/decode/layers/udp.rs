//! UDP: SCTP right behind it (RFC 6951), or a tunnel.

use super::Extent;
use super::table::{Next, Rule, SCTP};
use super::walk::{End, Walk};

pub(super) fn udp(walk: &mut Walk<'_>) -> Result<Next, End> {
    let from = walk.u16()?;
    let to = walk.u16()?;
    let len = usize::from(walk.u16()?);
    walk.take(2)?;
    match len {
        // The length of an offloaded segment that is longer than the field can say.
        0 => {}
        _ => walk.cut(len.checked_sub(8).ok_or(End::Damaged)?),
    }
    if [to, from].iter().any(|port| walk.asked_ports.contains(port)) {
        walk.udp_ports = Some((from, to));
        return Ok(SCTP);
    }
    for port in [to, from].map(Next::UdpPort) {
        if matches!(port.rule(), Rule::Open(_)) {
            return Ok(port);
        }
    }
    if is_sctp(walk) {
        return Err(End::OtherUdpPorts(from.min(to), from.max(to)));
    }
    Err(End::Nothing)
}

/// Whether it is SCTP without doubt: the chance that CRC32c agrees with anything else is one in four thousand million.
fn is_sctp(walk: &Walk<'_>) -> bool {
    walk.extent == Extent::Whole
        && walk.bytes.len() >= 16
        && usctp_chunk::Packet::parse(&walk.bytes)
            .is_ok_and(|packet| packet.checksum() == usctp_chunk::Checksum::Valid)
}
