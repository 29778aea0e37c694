//! What standard error says at the end of a file: never nothing where nothing was found.

use super::build::{MACS, behind, data_packet, ipv4, ipv6, pcap, udp};
use super::lines;

fn typed(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    behind(&[&MACS[..], &ether_type.to_be_bytes()].concat(), payload)
}

#[test]
fn a_file_that_was_understood_has_nothing_said_about_it() {
    let tcp = ipv4(6, &[], 0, &[0; 20]);
    let file = pcap(101, false, false, &[ipv4(132, &[], 0, &data_packet()), tcp]);
    assert_eq!(lines(file), (1, Vec::new()));
}

#[test]
fn what_cannot_be_looked_into_is_counted_by_its_kind() {
    let esp = typed(0x86dd, &ipv6(50, &[0; 40]));
    let cut = typed(0x0800, &ipv4(17, &[], 0, &[0; 4]));
    let frames = [
        typed(0x0800, &ipv4(132, &[], 0, &data_packet())),
        esp.clone(),
        esp,
        typed(0x88e5, &[0; 40]),
        typed(0x1234, &[0; 40]),
        typed(60, &[0xe0; 60]),
        typed(0x0800, &[0x55; 20]),
        cut,
        typed(0x0806, &[0; 28]),
        vec![1, 2, 3],
    ];
    let (packets, lines) = lines(pcap(1, false, false, &frames));
    assert_eq!(packets, 1);
    let expected = [
        "1 frame of EtherType 0x1234",
        "1 frame of EtherType 0x88e5 (MACsec)",
        "1 frame of LLC 0xe0",
        "2 frames of IP protocol 50 (ESP)",
        "1 frame with a damaged or cut header of link type 1 (Ethernet)",
        "1 frame with a damaged or cut header of EtherType 0x0800 (IPv4)",
        "1 frame with a damaged or cut header of IP protocol 17 (UDP)",
    ];
    assert_eq!(lines, expected.map(|line| format!("not looked into: {line}")));
}

#[test]
fn what_configures_a_ppp_link_is_nothing_to_look_into() {
    let frames = [vec![0xff, 0x03, 0xc0, 0x21, 1, 1, 0, 4], vec![0xff, 0x03, 0x00, 0xfd, 1, 2, 3]];
    let expected = [
        "not looked into: 1 frame of PPP protocol 0x00fd (compressed)",
        "no SCTP packet was found; other frames: 1 of PPP protocol 0xc021",
    ];
    assert_eq!(lines(pcap(9, false, false, &frames)), (0, expected.map(String::from).into()));
}

#[test]
fn a_link_type_that_is_not_known_is_named() {
    let (packets, lines) = lines(pcap(147, false, false, &[vec![0; 60], vec![0; 60]]));
    assert_eq!(packets, 0);
    assert_eq!(lines, ["not looked into: 2 frames of link type 147", "no SCTP packet was found"]);
}

#[test]
fn a_file_without_sctp_says_so_and_what_there_is_instead() {
    let frames = [typed(0x0806, &[0; 28]), typed(0x0800, &ipv4(17, &[], 0, &udp(53, 54, b"name")))];
    let (packets, told) = lines(pcap(1, false, false, &frames));
    assert_eq!(packets, 0);
    let expected = "no SCTP packet was found; other frames: 1 of EtherType 0x0806 (ARP), \
                    1 of IP protocol 17 (UDP); behind which UDP ports SCTP is, --udp-port says";
    assert_eq!(told, [expected]);
    assert_eq!(lines(pcap(1, false, false, &[])).1, ["no SCTP packet was found"]);
}

#[test]
fn sctp_behind_udp_ports_that_nobody_asked_for_is_pointed_out() {
    let frames = [
        ipv4(17, &[], 0, &udp(6000, 5000, &data_packet())),
        ipv4(17, &[], 0, &udp(5000, 6000, &data_packet())),
        ipv4(17, &[], 0, &udp(5000, 6000, &data_packet()[..39])),
        ipv4(132, &[], 0, &data_packet()),
    ];
    let (packets, lines) = lines(pcap(101, false, false, &frames));
    assert_eq!(packets, 1);
    let expected =
        "not looked into: 2 frames with SCTP behind the UDP ports 5000 and 6000 (see --udp-port)";
    assert_eq!(lines, [expected]);
}

#[test]
fn kinds_without_end_are_counted_together_at_the_end() {
    let frames: Vec<_> = (0..5_000_u16).map(|kind| typed(0xa000 + kind, &[0; 40])).collect();
    let (_, lines) = lines(pcap(1, false, false, &frames));
    assert_eq!(lines.len(), 32 + 2);
    assert_eq!(lines[32], "not looked into: 4968 frames of other kinds");
}
