//! Writes what a simulated network carried as a pcap file that wireshark and tshark read.

use std::io::{self, Write};
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;

/// Times in nanoseconds, in this machine's byte order.
const MAGIC: u32 = 0xa1b2_3c4d;
/// Packets begin with their IP header.
const LINKTYPE_RAW: u32 = 101;
const SCTP: u8 = 132;
const UDP: u8 = 17;
/// The time-to-live of a packet that arrived, and of one that the network lost.
const ARRIVED: u8 = 64;
const LOST: u8 = 1;

/// One packet as its sender sent it.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) at: Duration,
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) udp_port: Option<u16>,
    pub(super) lost: bool,
    pub(super) payload: Bytes,
}

/// Writes all records; a packet that the network lost carries a time-to-live of 1.
pub(super) fn write(records: &[Record], out: &mut impl Write) -> io::Result<()> {
    out.write_all(&MAGIC.to_ne_bytes())?;
    out.write_all(&2u16.to_ne_bytes())?;
    out.write_all(&4u16.to_ne_bytes())?;
    out.write_all(&[0; 8])?;
    out.write_all(&65_535u32.to_ne_bytes())?;
    out.write_all(&LINKTYPE_RAW.to_ne_bytes())?;
    let mut packet = Vec::new();
    for record in records {
        packet.clear();
        ip_packet(record, &mut packet);
        let len = u32::try_from(packet.len()).unwrap_or(u32::MAX).to_ne_bytes();
        out.write_all(&u32::try_from(record.at.as_secs()).unwrap_or(u32::MAX).to_ne_bytes())?;
        out.write_all(&record.at.subsec_nanos().to_ne_bytes())?;
        out.write_all(&len)?;
        out.write_all(&len)?;
        out.write_all(&packet)?;
    }
    Ok(())
}

fn ip_packet(record: &Record, out: &mut Vec<u8>) {
    let udp = record.udp_port.map(|port| (port, record.payload.len() + 8));
    let (protocol, len) = match udp {
        Some((_, len)) => (UDP, len),
        None => (SCTP, record.payload.len()),
    };
    let ttl = if record.lost { LOST } else { ARRIVED };
    match (record.source, record.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let start = out.len();
            out.extend_from_slice(&[0x45, 0]);
            out.extend_from_slice(&u16_of(len + 20));
            out.extend_from_slice(&[0, 0, 0x40, 0, ttl, protocol, 0, 0]);
            out.extend_from_slice(&source.octets());
            out.extend_from_slice(&destination.octets());
            let sum = internet_checksum(out.get(start..).unwrap_or_default());
            if let Some(field) = out.get_mut(start + 10..start + 12) {
                field.copy_from_slice(&sum.to_be_bytes());
            }
        }
        (source, destination) => {
            out.extend_from_slice(&[0x60, 0, 0, 0]);
            out.extend_from_slice(&u16_of(len));
            out.extend_from_slice(&[protocol, ttl]);
            out.extend_from_slice(&octets(source));
            out.extend_from_slice(&octets(destination));
        }
    }
    if let Some((port, len)) = udp {
        out.extend_from_slice(&port.to_be_bytes());
        out.extend_from_slice(&port.to_be_bytes());
        out.extend_from_slice(&u16_of(len));
        out.extend_from_slice(&[0, 0]);
    }
    out.extend_from_slice(&record.payload);
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

fn u16_of(len: usize) -> [u8; 2] {
    u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes()
}

/// RFC 1071.
fn internet_checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        let high = pair.first().copied().unwrap_or(0);
        let low = pair.get(1).copied().unwrap_or(0);
        sum += u32::from(u16::from_be_bytes([high, low]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(source: &str, destination: &str, udp_port: Option<u16>) -> Record {
        Record {
            at: Duration::from_millis(1_500),
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            udp_port,
            lost: false,
            payload: Bytes::from_static(&[0xab; 12]),
        }
    }

    fn written(record: Record) -> Vec<u8> {
        let mut out = Vec::new();
        write(&[record], &mut out).unwrap();
        out
    }

    #[test]
    fn an_ipv4_packet_has_a_header_whose_checksum_holds() {
        let file = written(record("10.0.1.1", "10.0.1.2", None));
        assert_eq!(file.len(), 24 + 16 + 20 + 12);
        assert_eq!(&file[20..24], 101u32.to_ne_bytes());
        assert_eq!(&file[28..32], 500_000_000u32.to_ne_bytes());
        let header = &file[40..60];
        assert_eq!(internet_checksum(header), 0, "the sum over a whole header is 0");
        assert_eq!((header[0], header[3], header[9]), (0x45, 32, SCTP));
    }

    #[test]
    fn an_ipv6_packet_may_carry_udp() {
        let file = written(record("fd00::1", "fd00::2", Some(9899)));
        assert_eq!(file.len(), 24 + 16 + 40 + 8 + 12);
        assert_eq!((file[40], file[45], file[46]), (0x60, 20, UDP));
    }
}
