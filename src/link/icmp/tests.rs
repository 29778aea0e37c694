//! ICMP messages laid out as in RFC 792 and RFC 4443, whole, cut off and of other protocols.

use std::net::IpAddr;

use proptest::prelude::*;
use usctp_chunk::VerificationTag;

use super::*;

const SCTP_START: [u8; 20] =
    [0x0f, 0xa0, 0x13, 0x88, 0, 0, 0, 0, 9, 9, 9, 9, 1, 0, 0, 40, 0xca, 0xfe, 0xba, 0xbe];

fn ipv4(protocol: u8, source: [u8; 4], destination: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let total = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let mut packet = vec![0x45, 0, total[0], total[1], 0, 0, 0, 0, 64, protocol, 0, 0];
    packet.extend(source);
    packet.extend(destination);
    packet.extend(payload);
    packet
}

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let mut packet = vec![0x60, 0, 0, 0, len[0], len[1], next, 64];
    packet.extend([0x11; 16]);
    packet.extend([0x22; 16]);
    packet.extend(payload);
    packet
}

fn icmp(kind: u8, code: u8, word: [u8; 4], quoted: &[u8]) -> Vec<u8> {
    [&[kind, code, 0, 0][..], &word, quoted].concat()
}

fn icmp_v4(kind: u8, code: u8, word: [u8; 4], quoted: &[u8]) -> Vec<u8> {
    ipv4(1, [203, 0, 113, 1], [192, 0, 2, 1], &icmp(kind, code, word, quoted))
}

fn our_packet() -> Vec<u8> {
    ipv4(SCTP, [192, 0, 2, 1], [198, 51, 100, 7], &SCTP_START)
}

#[test]
fn the_quote_of_an_init_gives_addresses_ports_and_both_tags() {
    let notice = read_v4(&icmp_v4(3, 1, [0; 4], &our_packet())).unwrap();
    let expected = PathNotice {
        peer: IpAddr::from([198, 51, 100, 7]),
        zone: 0,
        local: Some(IpAddr::from([192, 0, 2, 1])),
        kind: NoticeKind::Unreachable,
        quote: Quote {
            source_port: 4000,
            destination_port: 5000,
            verification_tag: VerificationTag(0),
            initiate_tag: Some(VerificationTag(0xcafe_babe)),
        },
    };
    assert_eq!(notice, expected);
}

#[test]
fn eight_quoted_bytes_are_enough_and_seven_are_not() {
    let quoted = our_packet();
    let notice = read_v4(&icmp_v4(3, 2, [0; 4], &quoted[..28])).unwrap();
    assert_eq!(notice.kind, NoticeKind::ProtocolUnreachable);
    assert_eq!(notice.quote.initiate_tag, None);
    assert_eq!(read_v4(&icmp_v4(3, 2, [0; 4], &quoted[..27])), None);
}

#[test]
fn the_codes_of_icmp_mean_what_rfc_9260_makes_of_them() {
    let kind =
        |code| read_v4(&icmp_v4(3, code, [0, 0, 5, 0xdc], &our_packet())).map(|notice| notice.kind);
    for code in [0, 1, 5, 6, 7, 8, 9, 10, 11, 12, 13] {
        assert_eq!(kind(code), Some(NoticeKind::Unreachable), "{code}");
    }
    assert_eq!(kind(2), Some(NoticeKind::ProtocolUnreachable));
    assert_eq!(kind(3), Some(NoticeKind::PortUnreachable));
    assert_eq!(kind(4), Some(NoticeKind::PacketTooBig { mtu: 1_500 }));
    for code in [14, 15, 16, 255] {
        assert_eq!(kind(code), None, "{code}");
    }
    for other in [0, 4, 5, 8, 11, 12] {
        assert_eq!(read_v4(&icmp_v4(other, 1, [0; 4], &our_packet())), None, "type {other}");
    }
}

#[test]
fn the_codes_of_icmpv6_mean_what_rfc_9260_makes_of_them() {
    let quoted = ipv6(SCTP, &SCTP_START);
    let kind = |kind, code| {
        read_v6(&icmp(kind, code, 1_280_u32.to_be_bytes(), &quoted), 3).map(|notice| notice.kind)
    };
    for code in [0, 1, 2, 3, 5, 6] {
        assert_eq!(kind(1, code), Some(NoticeKind::Unreachable), "{code}");
    }
    assert_eq!(kind(1, 4), Some(NoticeKind::PortUnreachable));
    assert_eq!(kind(2, 0), Some(NoticeKind::PacketTooBig { mtu: 1_280 }));
    assert_eq!(kind(4, 1), Some(NoticeKind::ProtocolUnreachable));
    for (other, code) in [(1, 7), (3, 0), (4, 0), (4, 2), (128, 0), (135, 0)] {
        assert_eq!(kind(other, code), None, "{other} {code}");
    }
    let notice = read_v6(&icmp(1, 0, [0; 4], &quoted), 3).unwrap();
    assert_eq!((notice.peer, notice.local), ([0x22; 16].into(), Some([0x11; 16].into())));
}

#[test]
fn quotes_of_other_protocols_are_nobodys() {
    let udp = ipv4(17, [192, 0, 2, 1], [198, 51, 100, 7], &SCTP_START);
    assert_eq!(read_v4(&icmp_v4(3, 3, [0; 4], &udp)), None);
    assert_eq!(read_v6(&icmp(1, 4, [0; 4], &ipv6(17, &SCTP_START)), 3), None);
}

#[test]
fn extensions_behind_the_quote_are_not_looked_at() {
    // RFC 4884: the quote is padded to 128 octets, then the extension structure.
    let mut quoted = our_packet();
    quoted.resize(128, 0);
    quoted.extend([0x20, 0, 0, 0, 0, 8, 1, 1, 1, 2, 3, 4]);
    let plain = read_v4(&icmp_v4(3, 1, [0; 4], &our_packet()));
    assert!(plain.is_some());
    assert_eq!(read_v4(&icmp_v4(3, 1, [0, 32, 0, 0], &quoted)), plain);
}

#[test]
fn the_error_queue_speaks_only_of_what_the_network_said() {
    let error = QueuedError {
        len: 20,
        peer: Some(IpAddr::from([198, 51, 100, 7])),
        zone: 0,
        local: None,
        origin: libc::SO_EE_ORIGIN_ICMP,
        kind: 3,
        code: 3,
        info: 0,
    };
    let notice = read_queued(&error, &SCTP_START).unwrap();
    assert_eq!(notice.kind, NoticeKind::PortUnreachable);
    let local = QueuedError { origin: libc::SO_EE_ORIGIN_LOCAL, ..error };
    assert_eq!(read_queued(&local, &SCTP_START), None);
    assert_eq!(read_queued(&error, &SCTP_START[..7]), None);
}

proptest! {
    #[test]
    fn no_message_makes_the_readers_stumble(
        mut bytes in prop::collection::vec(any::<u8>(), 0..120),
        version in prop::sample::select(vec![0x40_u8, 0x60, 0x45, 0x4f]),
    ) {
        for at in [0, 8, 28] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = version;
            }
        }
        let _ = (read_v4(&bytes), read_v6(&bytes, 3));
    }

    #[test]
    fn a_good_message_cut_off_anywhere_is_read_safely(len in 0_usize..76) {
        let message = icmp_v4(3, 1, [0; 4], &our_packet());
        let cut = message.get(..len.min(message.len())).unwrap();
        // The outer header says more than is there: what is there counts.
        prop_assert_eq!(read_v4(cut).is_some(), cut.len() >= 20 + 8 + 20 + 8);
    }
}

#[test]
fn a_report_about_a_link_local_address_belongs_to_the_link_it_came_in_by() {
    let mut quoted = ipv6(SCTP, &SCTP_START);
    let far = read_v6(&icmp(1, 0, [0; 4], &quoted), 3).unwrap();
    assert_eq!(far.zone, 0);
    // Behind 24 bytes the quoted destination begins.
    quoted[24..32].copy_from_slice(&[0xfe, 0x80, 0, 0, 0, 0, 0, 0]);
    let near = read_v6(&icmp(1, 0, [0; 4], &quoted), 3).unwrap();
    assert_eq!(near.zone, 3);
}
