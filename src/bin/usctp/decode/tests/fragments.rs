//! IP fragments: put together in any order, apart from others, within bounds, and never where they contradict each other.

use bytes::Bytes;
use serde_json::{Value as Json, json};

use super::super::layers::{Extent, Layers, Origin};
use super::build::{
    data_packet, ethernet, fragments_v4, fragments_v6, ipv4, ipv6, packet, pcap, udp, vxlan,
};
use super::{assert_is_data_packet, decode, lines, text_of_file};

/// A packet with `len` bytes of user data, of which no eight are as other eight.
fn long_packet(len: usize) -> Vec<u8> {
    let mut data = vec![0, 3];
    data.extend((16 + len as u16).to_be_bytes());
    data.extend([0, 0, 0, 77, 0, 5, 0, 6, 0, 0, 0, 46]);
    data.extend((0..len).map(|at| (at % 251) as u8));
    packet(&data)
}

/// Both versions' fragments of one packet.
fn both(payload: &[u8], size: usize) -> [Vec<Vec<u8>>; 2] {
    [fragments_v4(7, 132, payload, size), fragments_v6(7, 132, payload, size)]
}

fn decode_frames(frames: &[Vec<u8>]) -> Vec<Json> {
    decode(pcap(101, false, false, frames))
}

/// What is told of each packet: frame, checksum, error.
fn verdicts(found: &[Json]) -> Vec<(u64, &str, Option<&str>)> {
    let verdict = |packet: &'_ Json| packet["frame"].as_u64().unwrap();
    found
        .iter()
        .map(|packet| {
            (verdict(packet), packet["checksum"].as_str().unwrap(), packet["error"].as_str())
        })
        .collect()
}

#[test]
fn fragments_in_any_order_are_shown_as_one_packet_at_the_frame_that_completes_it() {
    for frames in both(&data_packet(), 16) {
        let [a, b, c] = &frames[..] else { panic!("three fragments") };
        for order in [[a, b, c], [a, c, b], [b, a, c], [b, c, a], [c, a, b], [c, b, a]] {
            let found = decode_frames(&order.map(Clone::clone));
            assert_eq!(found.len(), 1);
            assert_is_data_packet(&found[0]);
            assert_eq!(found[0]["frame"], 3);
            assert_eq!(found[0]["at_ms"], 3.0);
            assert_eq!(found[0]["fragments"], json!([1, 2, 3]));
        }
        let text = text_of_file(pcap(101, false, false, &frames));
        assert!(text.contains("  checksum ok  from 3 IP fragments\n"), "{text}");
    }
}

#[test]
fn a_fragment_that_comes_twice_contradicts_nothing() {
    for frames in both(&data_packet(), 16) {
        let [a, b, c] = &frames[..] else { panic!("three fragments") };
        let found = decode_frames(&[b, a, b, a, b, c].map(Clone::clone));
        assert_eq!(found.len(), 1);
        assert_is_data_packet(&found[0]);
        assert_eq!(found[0]["frame"], 6);
    }
}

#[test]
fn of_fragments_that_overlap_or_contradict_each_other_none_is_believed() {
    let whole = long_packet(64);
    let fragment = |version: usize, offset: usize, more: bool, bytes: &[u8]| -> Vec<u8> {
        if version == 4 {
            return ipv4(132, &[], (offset / 8) as u16 | if more { 0x2000 } else { 0 }, bytes);
        }
        let position = (offset as u16 | u16::from(more)).to_be_bytes();
        ipv6(44, &[&[132, 0, position[0], position[1], 0, 0, 0, 9], bytes].concat())
    };
    let end = whole.len();
    assert_eq!(end % 8, 4);
    for version in [4, 6] {
        let piece = |from: usize, to: usize| fragment(version, from, to < end, &whole[from..to]);
        let other = |from: usize, to: usize| fragment(version, from, true, &vec![0xee; to - from]);
        // Each time the last fragment but one is the contradiction; the last one would complete the packet without it.
        for (what, frames) in [
            ("into the one before", [piece(0, 32), other(24, 40), piece(32, end)]),
            ("into the one behind", [piece(32, end), other(24, 40), piece(0, 32)]),
            ("in the place of one", [piece(0, 32), other(0, 32), piece(32, end)]),
            ("within one", [piece(0, 32), other(8, 24), piece(32, end)]),
            ("around one", [piece(8, 32), other(0, 40), piece(32, end)]),
            ("behind the end", [piece(32, end), other(96, 104), piece(0, 32)]),
            ("a second end", [piece(32, end), fragment(version, 96, false, &[0; 8]), piece(0, 32)]),
            (
                "an end before what is there",
                [piece(32, 88), fragment(version, 24, false, &[0; 8]), piece(0, 24)],
            ),
            (
                "an end that is none",
                [piece(32, end), fragment(version, 32, true, &whole[32..88]), piece(0, 32)],
            ),
        ] {
            let found = decode_frames(&frames);
            let told = verdicts(&found);
            let expected = "its IP fragments overlap or contradict each other";
            let expected = [1, 2, 3].map(|frame| (frame, "fragment", Some(expected)));
            assert_eq!(told, expected, "IPv{version}: {what}");
        }
    }
}

#[test]
fn fragments_whose_packet_never_came_are_shown_one_by_one() {
    for frames in both(&data_packet(), 16) {
        let mut file = frames[..2].to_vec();
        file.push(ipv4(132, &[], 0, &data_packet()));
        let found = decode_frames(&file);
        assert_eq!(
            verdicts(&found),
            [(3, "ok", None), (1, "fragment", None), (2, "fragment", None)]
        );
        assert_eq!(found[1]["at_ms"], 0.0);
        assert_eq!(found[1]["src_port"], 5000);
        assert_eq!(found[2]["src_port"], Json::Null);
        assert!(found[1].get("fragments").is_none());
    }
}

/// What is found in frames at these times, in seconds.
fn found_at(frames: &[(i128, &Vec<u8>)]) -> Vec<(u64, Extent)> {
    let mut layers = Layers::new(&[]);
    let mut found = Vec::new();
    for (frame, (seconds, bytes)) in (1..).zip(frames) {
        let origin = Origin { frame, time: Some(seconds * 1_000_000_000) };
        found.extend(layers.frame(101, origin, Bytes::from((*bytes).clone())));
    }
    found.extend(layers.finish());
    let found = found.into_iter().map(|found| found.expect("a packet"));
    found.map(|carried| (carried.origin.frame, carried.extent)).collect()
}

#[test]
fn fragments_wait_for_the_others_for_a_minute() {
    use Extent::{FirstFragment, LaterFragment, Whole};
    for frames in both(&data_packet(), 24) {
        let [a, b] = &frames[..] else { panic!("two fragments") };
        assert_eq!(found_at(&[(0, a), (60, b)]), [(2, Whole)]);
        assert_eq!(found_at(&[(0, a), (61, b)]), [(1, FirstFragment), (2, LaterFragment)]);
        // The next packet with the same number is whole; a clock that goes back harms nothing.
        assert_eq!(found_at(&[(0, a), (61, a), (62, b)]), [(1, FirstFragment), (3, Whole)]);
        assert_eq!(found_at(&[(100, a), (0, b)]), [(2, Whole)]);
    }
}

#[test]
fn fragments_of_different_packets_are_kept_apart() {
    let (ours, other) = (data_packet(), long_packet(12));
    for (first, second) in [
        (fragments_v4(1, 132, &ours, 24), fragments_v4(2, 132, &other, 24)),
        (fragments_v6(1, 132, &ours, 24), fragments_v6(0x1_0001, 132, &other, 24)),
        (fragments_v4(1, 132, &ours, 24), fragments_v4(1, 17, &udp(9899, 1, &other), 32)),
        (fragments_v4(1, 132, &ours, 24), fragments_v6(1, 132, &other, 24)),
    ] {
        let frames = [&first[0], &second[0], &first[1], &second[1]].map(Clone::clone);
        let found = decode_frames(&frames);
        assert_eq!(verdicts(&found), [(3, "ok", None), (4, "ok", None)]);
        assert_is_data_packet(&found[0]);
    }
    // Two networks with the same addresses.
    let tunnel = |network, frame: &Vec<u8>| {
        ipv4(17, &[], 0, &udp(1, 4789, &vxlan(network, &ethernet(frame))))
    };
    let (first, second) = (fragments_v4(1, 132, &ours, 24), fragments_v4(1, 132, &other, 24));
    let frames =
        [tunnel(1, &first[0]), tunnel(2, &second[0]), tunnel(1, &first[1]), tunnel(2, &second[1])];
    let found = decode_frames(&frames);
    assert_eq!(verdicts(&found), [(3, "ok", None), (4, "ok", None)]);
    assert_is_data_packet(&found[0]);
}

#[test]
fn a_tunnel_whose_packets_are_fragments_is_looked_into_on_either_side() {
    let inner = fragments_v6(5, 132, &data_packet(), 24);
    let mut frames = Vec::new();
    for (id, frame) in (1..).zip(&inner) {
        let outer = udp(1, 4789, &vxlan(9, &ethernet(frame)));
        frames.extend(fragments_v4(id, 17, &outer, 64));
    }
    assert_eq!(frames.len(), 4);
    frames.swap(1, 2);
    let found = decode_frames(&frames);
    assert_eq!(found.len(), 1);
    assert_is_data_packet(&found[0]);
    assert_eq!(found[0]["frame"], 4);
    assert_eq!(found[0]["src"], "fd00::1");
    assert_eq!(found[0]["encapsulation"][1], json!({"name": "VXLAN", "id": 9}));
}

#[test]
fn udp_encapsulated_packets_are_put_together_too() {
    let found = decode_frames(&fragments_v6(1, 17, &udp(9899, 4000, &long_packet(2000)), 1200));
    assert_eq!(verdicts(&found), [(2, "ok", None)]);
    assert_eq!(found[0]["udp_dst_port"], 4000);
    assert_eq!(found[0]["chunks"][0]["user_data_length"], 2000);
}

#[test]
fn headers_inside_what_was_fragmented_are_walked_when_it_is_whole() {
    // Destination options are in the fragmented part; what follows, the first fragment says.
    let payload = [&[132, 0, 1, 4, 0, 0, 0, 0][..], &data_packet()].concat();
    let mut frames = fragments_v6(1, 60, &payload, 16);
    frames[1][40] = 6;
    frames[2][40] = 44;
    let found = decode_frames(&frames);
    assert_eq!(found.len(), 1);
    assert_is_data_packet(&found[0]);
}

#[test]
fn a_fragment_that_is_all_there_is_has_nothing_to_do_with_others_of_its_number() {
    // RFC 6946, section 4.
    let frames = fragments_v6(9, 132, &data_packet(), 24);
    let alone = fragments_v6(9, 132, &long_packet(4), 1200).remove(0);
    let found = decode_frames(&[frames[0].clone(), alone, frames[1].clone()]);
    assert_eq!(verdicts(&found), [(2, "ok", None), (3, "ok", None)]);
}

#[test]
fn fragments_of_impossible_lengths_and_places_are_refused() {
    let reason = Some("an IP fragment of a length or place that cannot be");
    for frame in [
        ipv4(132, &[], 0x2000, &data_packet()[..31]),
        ipv4(132, &[], 0x2000, &[]),
        ipv4(132, &[], 4, &[]),
        ipv4(132, &[], 8190, &[0; 16]),
        ipv6(44, &[132, 0, 0xff, 0xf8, 0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8]),
    ] {
        assert_eq!(verdicts(&decode_frames(&[frame])), [(1, "fragment", reason)]);
    }
    // The longest packet that there can be.
    let longest = fragments_v6(1, 132, &long_packet(65_504), 1400);
    assert_eq!(verdicts(&decode_frames(&longest)), [(longest.len() as u64, "ok", None)]);
}

#[test]
fn fragments_that_the_capture_cut_are_shown_at_once() {
    for frames in both(&data_packet(), 24) {
        let cut = frames[0][..frames[0].len() - 4].to_vec();
        let found = decode_frames(&[cut, frames[1].clone()]);
        assert_eq!(verdicts(&found), [(1, "fragment", None), (2, "fragment", None)]);
        assert_eq!(found[0]["src_port"], 5000);
    }
}

#[test]
fn a_flood_of_fragments_takes_a_bounded_amount_of_memory_and_all_are_shown() {
    let mut layers = Layers::new(&[]);
    let mut shown = 0;
    let mut most = 0;
    // First fragments without others: small ones, then long ones.
    for (frames, len) in [(20_000_u32, 16), (600, 60_000)] {
        let payload = long_packet(len);
        let len = payload.len() & !7;
        for id in 0..frames {
            let mut fragment = fragments_v6(id, 132, &payload[..len], len).remove(0);
            fragment[43] |= 1;
            let origin = Origin { frame: id.into(), time: None };
            shown += layers.frame(101, origin, fragment.into()).len() as u32;
            most = most.max(layers.held());
        }
    }
    assert!((8 << 20..=16 << 20).contains(&most), "{most} bytes were held at once");
    shown += layers.finish().len() as u32;
    assert_eq!(shown, 20_600);
    assert_eq!(layers.held(), 0, "all that was held is given back");
}

#[test]
fn fragments_of_something_else_are_named_if_something_could_be_in_it() {
    let udp = fragments_v4(1, 17, &udp(1, 2, &[0; 100]), 64);
    let tcp = fragments_v4(1, 6, &[0; 100], 64);
    let (packets, lines) = lines(pcap(101, false, false, &[udp[1].clone(), tcp[1].clone()]));
    assert_eq!(packets, 0);
    assert_eq!(
        lines[0],
        "not looked into: 1 frame with an IP fragment of IP protocol 17 (UDP) whose packet is not all there"
    );
    assert_eq!(lines[1], "no SCTP packet was found; other frames: 1 of IP protocol 6 (TCP)");
}
