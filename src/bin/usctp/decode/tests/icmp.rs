//! ICMP errors: what they say, who says it, and as much of the packet as they quote.

use serde_json::{Value as Json, json};

use super::build::{data_packet, icmp, ipv4, ipv6, packet, pcap, udp};
use super::{assert_is_data_packet, decode, decode_ip, lines, text_of_file};

/// An error from 10.0.0.1 (or fd00::1) about a packet that went the other way.
fn error_v4(kind: u8, code: u8, rest: [u8; 4], quoted: &[u8]) -> Vec<u8> {
    ipv4(1, &[], 0, &icmp(kind, code, rest, quoted))
}

fn error_v6(kind: u8, code: u8, rest: [u8; 4], quoted: &[u8]) -> Vec<u8> {
    ipv6(58, &icmp(kind, code, rest, quoted))
}

/// The packet as it was sent: the addresses of `ipv4` and `ipv6` the other way round.
fn sent_v4(payload: &[u8]) -> Vec<u8> {
    let mut bytes = ipv4(132, &[], 0, payload);
    bytes[15] = 2;
    bytes[19] = 1;
    bytes
}

fn sent_v6(payload: &[u8]) -> Vec<u8> {
    let mut bytes = ipv6(132, payload);
    bytes[23] = 2;
    bytes[39] = 1;
    bytes
}

#[test]
fn an_error_is_shown_with_the_packet_that_it_quotes() {
    let found = decode_ip(error_v4(3, 2, [0; 4], &sent_v4(&data_packet())));
    assert_is_data_packet(&found);
    assert_eq!((&found["src"], &found["dst"]), (&json!("10.0.0.2"), &json!("10.0.0.1")));
    let expected = json!({
        "protocol": "ICMP", "src": "10.0.0.1", "dst": "10.0.0.2",
        "type": 3, "code": 2, "name": "protocol unreachable",
    });
    assert_eq!(found["icmp"], expected);
    assert!(found.get("encapsulation").is_none());
    let found = decode_ip(error_v6(4, 1, [0; 4], &sent_v6(&data_packet())));
    assert_is_data_packet(&found);
    let expected = json!({
        "protocol": "ICMPv6", "src": "fd00::1", "dst": "fd00::2",
        "type": 4, "code": 1, "name": "unrecognized next header type",
    });
    assert_eq!(found["icmp"], expected);
    assert_eq!(found["src"], "fd00::2");
}

#[test]
fn every_kind_of_error_is_shown_and_what_is_no_error_is_not() {
    let (v4, v6) = (sent_v4(&data_packet()), sent_v6(&data_packet()));
    for kind in 0..=255 {
        let is_error = matches!(kind, 3 | 4 | 5 | 11 | 12);
        let found = decode(pcap(101, false, false, &[error_v4(kind, 0, [0; 4], &v4)]));
        assert_eq!(found.len(), usize::from(is_error), "ICMP type {kind}");
        let is_error = matches!(kind, 1..=4);
        let found = decode(pcap(101, false, false, &[error_v6(kind, 0, [0; 4], &v6)]));
        assert_eq!(found.len(), usize::from(is_error), "ICMPv6 type {kind}");
    }
    let unnamed = text_of_file(pcap(101, false, false, &[error_v4(3, 99, [0; 4], &v4)]));
    assert!(unnamed.contains("quoted by ICMP 10.0.0.1 > 10.0.0.2: type 3, code 99\n"), "{unnamed}");
}

#[test]
fn the_mtu_of_the_next_link_is_told() {
    let quoted = sent_v4(&data_packet());
    let file = error_v4(3, 4, [0, 0, 0x05, 0x78], &quoted);
    assert_eq!(decode_ip(file.clone())["icmp"]["mtu"], 1400);
    let text = text_of_file(pcap(101, false, false, &[file]));
    let expected = "        quoted by ICMP 10.0.0.1 > 10.0.0.2: fragmentation needed, MTU 1400\n";
    assert!(text.contains(expected), "{text}");
    // Routers from before RFC 1191 do not know it; other errors have something else there.
    for (code, rest) in [(4, [0; 4]), (1, [0, 0, 0x05, 0x78])] {
        assert!(decode_ip(error_v4(3, code, rest, &quoted))["icmp"].get("mtu").is_none());
    }
    let found = decode_ip(error_v6(2, 0, [0, 1, 0, 0], &sent_v6(&data_packet())));
    assert_eq!(found["icmp"]["mtu"], 65_536);
}

#[test]
fn of_a_short_quotation_ports_and_tags_are_shown() {
    // What RFC 792 asks for: the IP header and 8 bytes.
    let found = decode_ip(error_v4(3, 1, [0; 4], &sent_v4(&data_packet())[..28]));
    assert_eq!(found["src_port"], 5000);
    assert_eq!(found["dst_port"], 5001);
    assert_eq!(found["vtag"], "0x01020304");
    assert_eq!(found["checksum"], "truncated");
    assert_eq!(found["error"], Json::Null);
    // RFC 9260, section 10, ICMP6: an INIT is recognized by its initiate tag.
    let init = packet(&[1, 0, 0, 20, 0xca, 0xfe, 0, 1, 0, 1, 0, 0, 0, 10, 0, 10, 0, 0, 0, 9]);
    let found = decode_ip(error_v4(3, 1, [0; 4], &sent_v4(&init)[..40]));
    assert_eq!(found["chunks"][0]["name"], "INIT");
    assert_eq!(found["chunks"][0]["initiate_tag"], "0xcafe0001");
    assert_eq!(found["error"], Json::Null);
    for len in 0..sent_v6(&init).len() {
        let frame = error_v6(1, 4, [0; 4], &sent_v6(&init)[..len]);
        let found = decode(pcap(101, false, false, &[frame]));
        assert_eq!(found.len(), usize::from(len >= 40), "{len} bytes");
        let fits = |needed: usize| len >= 40 + needed;
        for packet in &found {
            assert_eq!(packet["error"], Json::Null, "{len} bytes");
            assert_eq!(packet["src_port"].is_number(), fits(2), "{len} bytes");
            assert_eq!(packet["vtag"].is_string(), fits(8), "{len} bytes");
            assert_eq!(packet["chunks"][0]["initiate_tag"].is_string(), fits(20), "{len} bytes");
        }
    }
}

#[test]
fn extensions_behind_a_quotation_are_no_part_of_it() {
    // RFC 4884: 128 bytes of the packet, of which 44 were all there was, then a structure of labels.
    let mut longer = vec![0, 3, 0, 116];
    longer.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    longer.extend([7; 100]);
    let mut quoted = sent_v4(&packet(&longer));
    let len = quoted.len();
    assert!(len > 128);
    quoted.truncate(128);
    quoted.extend([0x20, 0, 0, 0, 0, 8, 1, 1, 0, 1, 1, 1]);
    let found = decode_ip(error_v4(11, 0, [0, 32, 0, 0], &quoted));
    assert_eq!(found["icmp"]["name"], "time to live exceeded");
    assert_eq!(found["checksum"], "truncated");
    assert_eq!(found["chunks"][0]["captured_length"], 128 - 20 - 12);
    let mut quoted = sent_v6(&packet(&longer));
    quoted.truncate(128);
    quoted.extend([0x20, 0, 0, 0, 0, 8, 1, 1, 0, 1, 1, 1]);
    let found = decode_ip(error_v6(3, 0, [16, 0, 0, 0], &quoted));
    assert_eq!(found["chunks"][0]["captured_length"], 128 - 40 - 12);
    // A short packet is quoted with zeros behind it.
    let mut quoted = sent_v4(&data_packet());
    quoted.resize(128, 0);
    assert_is_data_packet(&decode_ip(error_v4(11, 0, [0, 32, 0, 0], &quoted)));
    // Nor does it matter that the capture cut what comes behind it.
    let mut cut = error_v4(11, 0, [0, 32, 0, 0], &quoted);
    cut.truncate(20 + 8 + 100);
    assert_is_data_packet(&decode_ip(cut));
}

#[test]
fn a_quoted_tunnel_is_looked_into_and_so_is_udp() {
    let inner = ipv6(132, &data_packet());
    let found = decode_ip(error_v4(3, 1, [0; 4], &ipv4(41, &[], 0, &inner)));
    assert_is_data_packet(&found);
    assert_eq!(found["icmp"]["src"], "10.0.0.1");
    assert_eq!(found["src"], "fd00::1");
    assert_eq!(found["encapsulation"][0]["name"], "IPv4");
    let found =
        decode_ip(error_v4(3, 3, [0; 4], &ipv4(17, &[], 0, &udp(9899, 9900, &data_packet()))));
    assert_is_data_packet(&found);
    assert_eq!(found["udp_dst_port"], 9900);
}

#[test]
fn a_quoted_fragment_is_not_put_together_with_those_that_were_sent() {
    let whole = data_packet();
    let first = ipv4(132, &[], 0x2000, &whole[..24]);
    let last = ipv4(132, &[], 3, &whole[24..]);
    let file = pcap(101, false, false, &[error_v4(3, 4, [0, 0, 2, 64], &first), last]);
    let found = decode(file);
    assert_eq!(found.len(), 2);
    assert_eq!(found[0]["frame"], 1);
    assert_eq!(found[0]["checksum"], "fragment");
    assert_eq!(found[0]["vtag"], "0x01020304");
    assert_eq!(found[1]["frame"], 2);
    assert_eq!(found[1]["checksum"], "fragment");
}

#[test]
fn an_error_about_something_else_is_counted_as_that() {
    let tcp = ipv4(6, &[], 0, &[0; 20]);
    let about_an_error = error_v4(3, 1, [0; 4], &error_v4(3, 1, [0; 4], &tcp));
    let file = pcap(101, false, false, &[error_v4(3, 1, [0; 4], &tcp), about_an_error]);
    let (packets, lines) = lines(file);
    assert_eq!(packets, 0);
    let expected = "no SCTP packet was found; other frames: 1 of IP protocol 1 (ICMP), 1 of IP protocol 6 (TCP)";
    assert_eq!(lines, [expected]);
}
