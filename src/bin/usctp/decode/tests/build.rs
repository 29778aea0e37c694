//! Packets, frames and capture files to decode.

use bytes::BytesMut;
use usctp_chunk::{CommonHeader, PacketBuilder, VerificationTag};

/// A packet with a DATA chunk that carries "hello, world".
pub(super) fn data_packet() -> Vec<u8> {
    let mut data = vec![0, 3, 0, 28];
    data.extend(77_u32.to_be_bytes());
    data.extend([0, 5, 0, 6, 0, 0, 0, 46]);
    data.extend(b"hello, world");
    packet(&data)
}

/// A packet with these bytes as chunks, and the right checksum.
pub(super) fn packet(chunks: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    let header = CommonHeader {
        source_port: 5000,
        destination_port: 5001,
        verification_tag: VerificationTag(0x0102_0304),
    };
    let builder = PacketBuilder::new(&mut out, header, 65_535);
    builder.finish();
    out.extend_from_slice(chunks);
    out[8..12].fill(0);
    let checksum = crc32c::crc32c(&out).to_le_bytes();
    out[8..12].copy_from_slice(&checksum);
    out.to_vec()
}

/// An IPv4 packet from 10.0.0.1 to 10.0.0.2; the fragment field as it stands in the header.
pub(super) fn ipv4(protocol: u8, options: &[u8], fragment: u16, payload: &[u8]) -> Vec<u8> {
    let header_len = 20 + options.len();
    let mut bytes = vec![0x40 | (header_len / 4) as u8, 0];
    bytes.extend(((header_len + payload.len()) as u16).to_be_bytes());
    bytes.extend([0, 1]);
    bytes.extend(fragment.to_be_bytes());
    bytes.extend([64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    bytes.extend(options);
    bytes.extend(payload);
    bytes
}

/// An IPv6 packet from fd00::1 to fd00::2; `payload` begins with the extension headers.
pub(super) fn ipv6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x60, 0, 0, 0];
    bytes.extend((payload.len() as u16).to_be_bytes());
    bytes.extend([next_header, 64]);
    for last in [1, 2] {
        bytes.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    bytes.extend(payload);
    bytes
}

pub(super) fn udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in [from, to, payload.len() as u16 + 8, 0] {
        bytes.extend(field.to_be_bytes());
    }
    bytes.extend(payload);
    bytes
}

/// A link-layer header in front of a packet.
pub(super) fn behind(header: &[u8], packet: &[u8]) -> Vec<u8> {
    [header, packet].concat()
}

pub(super) const MACS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

pub(super) fn ethernet(packet: &[u8]) -> Vec<u8> {
    behind(&[&MACS[..], &[0x08, 0x00]].concat(), packet)
}

/// A number in the byte order of a file.
pub(super) fn number(big_endian: bool, value: u32) -> [u8; 4] {
    if big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
}

/// A pcap file whose frames are 1.5 ms apart.
pub(super) fn pcap(
    link_type: u32,
    big_endian: bool,
    nanoseconds: bool,
    frames: &[Vec<u8>],
) -> Vec<u8> {
    let n = |value| number(big_endian, value);
    let mut file = n(if nanoseconds { 0xa1b2_3c4d } else { 0xa1b2_c3d4 }).to_vec();
    for field in [0x0004_0002, 0, 0, 65_535, link_type] {
        file.extend(n(field));
    }
    let unit = if nanoseconds { 1_000 } else { 1 };
    for (index, frame) in (0..).zip(frames) {
        for field in [7, index * 1_500 * unit, frame.len() as u32, frame.len() as u32] {
            file.extend(n(field));
        }
        file.extend(frame);
    }
    file
}

/// A pcapng block.
pub(super) fn block(big_endian: bool, kind: u32, body: &[u8]) -> Vec<u8> {
    let n = |value| number(big_endian, value);
    let padding = vec![0; body.len().next_multiple_of(4) - body.len()];
    let len = n((12 + body.len() + padding.len()) as u32);
    [&n(kind)[..], &len, body, &padding, &len].concat()
}

pub(super) fn section(big_endian: bool) -> Vec<u8> {
    let n = |value| number(big_endian, value);
    block(big_endian, 0x0a0d_0d0a, &[n(0x1a2b_3c4d), n(1), n(u32::MAX), n(u32::MAX)].concat())
}

pub(super) fn interface(big_endian: bool, link_type: u16, options: &[u8]) -> Vec<u8> {
    let link_type = if big_endian { link_type.to_be_bytes() } else { link_type.to_le_bytes() };
    let body = [&link_type[..], &[0, 0], &[0; 4], options].concat();
    block(big_endian, 1, &body)
}

pub(super) fn enhanced(big_endian: bool, interface: u32, stamp: u64, frame: &[u8]) -> Vec<u8> {
    let len = frame.len() as u32;
    let fields = [interface, (stamp >> 32) as u32, stamp as u32, len, len];
    let mut body = fields.map(|field| number(big_endian, field)).concat();
    body.extend(frame);
    block(big_endian, 6, &body)
}

/// PPP in HDLC-like framing; what the version of the IP header inside says.
pub(super) fn ppp(packet: &[u8]) -> Vec<u8> {
    let protocol = if packet[0] >> 4 == 4 { 0x21 } else { 0x57 };
    behind(&[0xff, 0x03, 0x00, protocol], packet)
}

/// A PPPoE session's packet, without an Ethernet header.
pub(super) fn pppoe(session: u16, packet: &[u8]) -> Vec<u8> {
    let payload = &ppp(packet)[2..];
    let mut bytes = vec![0x11, 0];
    bytes.extend(session.to_be_bytes());
    bytes.extend((payload.len() as u16).to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// GRE with so many optional fields of 4 bytes, which say 0, 1, 2.
pub(super) fn gre(flags: u16, protocol: u16, options: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = [flags.to_be_bytes(), protocol.to_be_bytes()].concat();
    (0..options).for_each(|option| bytes.extend(option.to_be_bytes()));
    bytes.extend(payload);
    bytes
}

/// A stack of labels; the last one says that it is.
pub(super) fn mpls(labels: &[u32], payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, label) in labels.iter().enumerate() {
        let bottom = if index + 1 == labels.len() { 0x100 } else { 0 };
        bytes.extend((label << 12 | bottom | 64).to_be_bytes());
    }
    bytes.extend(payload);
    bytes
}

/// VXLAN around an Ethernet frame.
pub(super) fn vxlan(network: u32, frame: &[u8]) -> Vec<u8> {
    behind(&[[8, 0, 0, 0], (network << 8).to_be_bytes()].concat(), frame)
}

/// GTP-U around a packet; `optional` is the sequence number, the N-PDU number, the type of the next header, and those headers.
pub(super) fn gtp_u(tunnel: u32, optional: &[u8], packet: &[u8]) -> Vec<u8> {
    let flags = match optional {
        [] => 0x30,
        [_, _, _, 0] => 0x32,
        _ => 0x34,
    };
    let mut bytes = vec![flags, 255];
    bytes.extend(((optional.len() + packet.len()) as u16).to_be_bytes());
    bytes.extend(tunnel.to_be_bytes());
    bytes.extend(optional);
    bytes.extend(packet);
    bytes
}

/// An ICMP message (protocol 1 or 58 with the right checksum for the former) that quotes so much of a packet.
pub(super) fn icmp(kind: u8, code: u8, rest: [u8; 4], quoted: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, code, 0, 0];
    bytes.extend(rest);
    bytes.extend(quoted);
    let words = bytes
        .chunks(2)
        .map(|two| u32::from(two[0]) << 8 | two.get(1).map_or(0, |low| u32::from(*low)));
    let sum: u32 = words.sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    bytes[2..4].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// A packet of IPv4 in fragments of so many bytes, which are a multiple of 8.
pub(super) fn fragments_v4(id: u16, protocol: u8, payload: &[u8], size: usize) -> Vec<Vec<u8>> {
    let last = payload.len().div_ceil(size) - 1;
    let fragments = payload.chunks(size).enumerate().map(|(index, bytes)| {
        let more = if index < last { 0x2000 } else { 0 };
        let mut fragment = ipv4(protocol, &[], (index * size / 8) as u16 | more, bytes);
        fragment[4..6].copy_from_slice(&id.to_be_bytes());
        fragment
    });
    fragments.collect()
}

/// A packet of IPv6 in fragments of so many bytes, which are a multiple of 8.
pub(super) fn fragments_v6(id: u32, protocol: u8, payload: &[u8], size: usize) -> Vec<Vec<u8>> {
    let last = payload.len().div_ceil(size) - 1;
    let fragments = payload.chunks(size).enumerate().map(|(index, bytes)| {
        let position = (index * size) as u16 | u16::from(index < last);
        let mut header = vec![protocol, 0];
        header.extend(position.to_be_bytes());
        header.extend(id.to_be_bytes());
        ipv6(44, &behind(&header, bytes))
    });
    fragments.collect()
}
