//! Encapsulations: each leads to the packet, as many of them as are followed, and tells which it was.

use serde_json::{Value as Json, json};

use super::build::{
    MACS, behind, data_packet, ethernet, gre, gtp_u, ipv4, ipv6, mpls, pcap, ppp, pppoe, udp, vxlan,
};
use super::{assert_is_data_packet, decode, decode_ip, lines, text_of_file};

/// An Ethernet frame of this type.
fn typed(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    behind(&[&MACS[..], &ether_type.to_be_bytes()].concat(), payload)
}

fn inner_v4() -> Vec<u8> {
    ipv4(132, &[], 0, &data_packet())
}

fn inner_v6() -> Vec<u8> {
    ipv6(132, &data_packet())
}

/// Decodes the only frame of a file, which holds the known packet, and says which tunnels it was in.
fn tunnels(link_type: u32, frame: Vec<u8>) -> Json {
    let found = decode(pcap(link_type, false, false, std::slice::from_ref(&frame)));
    assert_eq!(found.len(), 1, "link type {link_type}, {frame:02x?}");
    assert_is_data_packet(&found[0]);
    found[0]["encapsulation"].clone()
}

#[test]
fn a_capture_of_sctp_without_ip_has_packets_without_addresses() {
    let file = pcap(248, true, false, &[data_packet()]);
    let found = decode(file.clone());
    assert_is_data_packet(&found[0]);
    assert_eq!(found[0]["src"], Json::Null);
    assert_eq!(found[0]["dst"], Json::Null);
    assert!(text_of_file(file).contains("  port 5000 > port 5001  "));
}

#[test]
fn ppp_is_looked_into_with_all_its_framings() {
    let v4 = inner_v4();
    for (link_type, frame) in [
        (9, ppp(&v4)),
        (9, ppp(&v4)[2..].to_vec()),
        (9, behind(&[0xff, 0x03, 0x21], &v4)),
        (9, behind(&[0x21], &v4)),
        (9, behind(&[0x00, 0x57], &inner_v6())),
        (50, ppp(&v4)),
        (50, behind(&[0x0f, 0x00, 0x08, 0x00], &v4)),
        (104, behind(&[0x8f, 0x00, 0x86, 0xdd], &inner_v6())),
        (166, behind(&[0x00, 0x03, 0x00, 0x21], &v4)),
        (166, behind(&[0xff, 0x03, 0x00, 0x21], &v4)),
        (204, behind(&[0x01], &ppp(&v4))),
        (204, behind(&[0x00, 0x00, 0x21], &v4)),
    ] {
        assert_eq!(tunnels(link_type, frame), Json::Null);
    }
}

#[test]
fn pppoe_is_looked_into_and_its_padding_is_no_part_of_the_packet() {
    let mut frame = typed(0x8864, &pppoe(77, &inner_v4()));
    frame.extend([0; 14]);
    assert_eq!(tunnels(1, frame), json!([{"name": "PPPoE", "id": 77}]));
    // Where the header of IP has no length, that of PPPoE counts.
    let mut without_length = inner_v4();
    without_length[2..4].fill(0);
    let mut frame = typed(0x8864, &pppoe(77, &without_length));
    frame.extend([0; 14]);
    assert_eq!(tunnels(1, frame), json!([{"name": "PPPoE", "id": 77}]));
    assert_eq!(tunnels(51, pppoe(77, &inner_v6())), json!([{"name": "PPPoE", "id": 77}]));
}

#[test]
fn gre_is_looked_into_with_all_its_options() {
    let gre_hop = |id: Option<u32>| match id {
        Some(id) => json!({"name": "GRE", "id": id}),
        None => json!({"name": "GRE"}),
    };
    let outer = json!({"name": "IPv4", "src": "10.0.0.1", "dst": "10.0.0.2"});
    for (flags, options, key) in [
        (0x0000_u16, 0, None),
        (0x8000, 1, None),
        (0x2000, 1, Some(0)),
        (0x1000, 1, None),
        (0xb000, 3, Some(1)),
    ] {
        // Each option is a number: 0, 1, 2.
        for (protocol, inside) in
            [(0x0800_u16, inner_v4()), (0x86dd, inner_v6()), (0x6558, ethernet(&inner_v4()))]
        {
            let frame = ipv4(47, &[], 0, &gre(flags, protocol, options, &inside));
            assert_eq!(tunnels(101, frame), json!([outer, gre_hop(key)]), "{flags:04x}");
        }
    }
    // Version 1, which is PPTP: length and call, then sequence number, then what is acknowledged.
    let inside = ppp(&inner_v4());
    let mut enhanced = vec![0x30, 0x81, 0x88, 0x0b];
    enhanced.extend((inside.len() as u16).to_be_bytes());
    enhanced.extend([0, 9, 0, 0, 0, 1, 0, 0, 0, 2]);
    enhanced.extend(inside);
    assert_eq!(tunnels(101, ipv4(47, &[], 0, &enhanced)), json!([outer, gre_hop(Some(9))]));
}

#[test]
fn ip_in_ip_is_looked_into_in_all_four_combinations() {
    let v4 = json!([{"name": "IPv4", "src": "10.0.0.1", "dst": "10.0.0.2"}]);
    let v6 = json!([{"name": "IPv6", "src": "fd00::1", "dst": "fd00::2"}]);
    assert_eq!(tunnels(101, ipv4(4, &[], 0, &inner_v4())), v4);
    assert_eq!(tunnels(101, ipv4(41, &[], 0, &inner_v6())), v4);
    assert_eq!(tunnels(101, ipv6(4, &inner_v4())), v6);
    assert_eq!(tunnels(101, ipv6(41, &inner_v6())), v6);
    let found = decode_ip(ipv6(4, &inner_v4()));
    assert_eq!(found["src"], "10.0.0.1", "the addresses are those around the packet");
    let text = text_of_file(pcap(101, true, false, &[ipv6(4, &inner_v4())]));
    assert!(text.contains("10.0.0.1:5000 > 10.0.0.2:5001  in IPv6 fd00::1 > fd00::2  "), "{text}");
}

#[test]
fn mpls_is_looked_into_whatever_is_under_its_labels() {
    let label = |id: u32| json!([{"name": "MPLS", "id": id}]);
    assert_eq!(tunnels(1, typed(0x8847, &mpls(&[16], &inner_v4()))), label(16));
    assert_eq!(tunnels(1, typed(0x8848, &mpls(&[16, 17, 0xf_ffff], &inner_v6()))), label(0xf_ffff));
    // Ethernet: with a control word, without, and to an address that looks like a control word.
    let frame = ethernet(&inner_v4());
    assert_eq!(tunnels(1, typed(0x8847, &mpls(&[18], &behind(&[0; 4], &frame)))), label(18));
    assert_eq!(tunnels(1, typed(0x8847, &mpls(&[18], &frame))), label(18));
    for first in [0x00, 0x10, 0x44, 0x60] {
        let mut frame = frame.clone();
        frame[0] = first;
        assert_eq!(tunnels(1, typed(0x8847, &mpls(&[18], &frame))), label(18), "{first:02x}");
    }
    // IP from 8.0.0.0/16: there is a known type where Ethernet would have it.
    let mut misleading = inner_v4();
    misleading[12..14].copy_from_slice(&[8, 0]);
    assert_eq!(tunnels(1, typed(0x8847, &mpls(&[18], &misleading))), label(18));
    let found = ipv4(137, &[], 0, &mpls(&[19], &frame));
    assert_eq!(tunnels(101, found)[1], label(19)[0]);
    assert_eq!(tunnels(9, behind(&[0xff, 3, 0x02, 0x81], &mpls(&[20], &inner_v4()))), label(20));
}

#[test]
fn vxlan_and_gtp_u_are_looked_into() {
    let outer = json!({"name": "IPv4", "src": "10.0.0.1", "dst": "10.0.0.2"});
    let over_udp = |port, payload: &[u8]| ipv4(17, &[], 0, &udp(50_000, port, payload));
    let network = json!({"name": "VXLAN", "id": 0x12_3456});
    let frame = over_udp(4789, &vxlan(0x12_3456, &ethernet(&inner_v4())));
    assert_eq!(tunnels(101, frame), json!([outer, network]));
    let tunnel = json!({"name": "GTP-U", "id": 0x8000_0001_u32});
    for optional in [
        &[][..],
        &[0, 1, 0, 0],
        &[0, 0, 0, 0x85, 1, 0, 9, 0],
        &[0, 0, 0, 0xc0, 1, 9, 9, 0x85, 2, 9, 9, 9, 9, 9, 9, 0],
    ] {
        let frame = over_udp(2152, &gtp_u(0x8000_0001, optional, &inner_v6()));
        assert_eq!(tunnels(101, frame), json!([outer, tunnel]), "{optional:?}");
    }
    // SCTP over UDP within: the ports are those right around the packet.
    let inside = ipv4(17, &[], 0, &udp(9899, 40_000, &data_packet()));
    let found = decode_ip(over_udp(4789, &vxlan(1, &ethernet(&inside))));
    assert_is_data_packet(&found);
    assert_eq!((&found["udp_src_port"], &found["udp_dst_port"]), (&json!(9899), &json!(40_000)));
    let found = decode_ip(over_udp(2152, &gtp_u(1, &[], &inner_v4())));
    assert!(
        found.get("udp_src_port").is_none(),
        "the ports of a tunnel are not those of the packet"
    );
}

#[test]
fn eight_tunnels_in_each_other_are_followed_and_the_ninth_is_counted() {
    let in_ip = |frame: &[u8]| ipv4(4, &[], 0, frame);
    let in_gre = |frame: &[u8]| ipv4(47, &[], 0, &gre(0, 0x0800, 0, frame));
    for is_gre in [false, true] {
        let wrap = |frame: &[u8]| if is_gre { in_gre(frame) } else { in_ip(frame) };
        let mut frame = inner_v4();
        for _ in 0..8 {
            frame = wrap(&frame);
        }
        let encapsulation = tunnels(101, frame.clone());
        assert!(encapsulation.as_array().unwrap().len() >= 8);
        let (packets, lines) = lines(pcap(101, false, false, &[wrap(&frame)]));
        assert_eq!(packets, 0);
        assert!(lines[0].contains("1 frame with more tunnels in each other"), "{lines:?}");
    }
}
