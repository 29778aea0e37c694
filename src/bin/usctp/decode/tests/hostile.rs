//! Bytes that mean harm: any stack of headers, damaged anywhere, and any fragments.

use std::io::Cursor;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::super::layers::{Carried, Extent, Layers, Origin};
use super::build::{
    MACS, behind, data_packet, ethernet, fragments_v4, fragments_v6, gre, gtp_u, icmp, ipv4, ipv6,
    mpls, pcap, ppp, pppoe, udp, vxlan,
};
use super::{Decoder, assert_is_data_packet, decode, lines, survive};

/// Something that an IP packet can be put into, and be an IP packet again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrap {
    V4,
    V6,
    Gre,
    GreEthernet,
    GreV6,
    Mpls,
    Vxlan,
    GtpU,
    Pptp,
    PppoeInVxlan,
}

const WRAPS: [Wrap; 10] = [
    Wrap::V4,
    Wrap::V6,
    Wrap::Gre,
    Wrap::GreEthernet,
    Wrap::GreV6,
    Wrap::Mpls,
    Wrap::Vxlan,
    Wrap::GtpU,
    Wrap::Pptp,
    Wrap::PppoeInVxlan,
];

impl Wrap {
    fn around(self, packet: &[u8]) -> Vec<u8> {
        let is_v4 = packet[0] >> 4 == 4;
        let ether_type = if is_v4 { 0x0800 } else { 0x86dd };
        let ethernet = behind(&[&MACS[..], &u16::to_be_bytes(ether_type)].concat(), packet);
        match self {
            Self::V4 => ipv4(if is_v4 { 4 } else { 41 }, &[], 0, packet),
            Self::V6 => ipv6(if is_v4 { 4 } else { 41 }, packet),
            Self::Gre => ipv4(47, &[], 0, &gre(0x3000, ether_type, 2, packet)),
            Self::GreEthernet => ipv4(47, &[], 0, &gre(0, 0x6558, 0, &ethernet)),
            Self::GreV6 => ipv6(47, &gre(0x8000, ether_type, 1, packet)),
            Self::Mpls => ipv4(137, &[], 0, &mpls(&[16, 17], packet)),
            Self::Vxlan => ipv4(17, &[], 0, &udp(1, 4789, &vxlan(5, &ethernet))),
            Self::GtpU => ipv6(17, &udp(2152, 2152, &gtp_u(5, &[0, 1, 0, 0], packet))),
            Self::Pptp => {
                let inside = ppp(packet);
                let mut header = vec![0x30, 0x01, 0x88, 0x0b];
                header.extend((inside.len() as u16).to_be_bytes());
                header.extend([0, 9, 0, 0, 0, 1]);
                ipv4(47, &[], 0, &behind(&header, &inside))
            }
            Self::PppoeInVxlan => {
                let frame = behind(&[&MACS[..], &[0x88, 0x64]].concat(), &pppoe(3, packet));
                ipv4(17, &[], 0, &udp(1, 4789, &vxlan(5, &frame)))
            }
        }
    }

    /// How many tunnels it is.
    fn depth(self) -> usize {
        if self == Self::PppoeInVxlan { 2 } else { 1 }
    }
}

/// A raw IP packet with the known SCTP packet in this stack.
fn wrapped(wraps: &[Wrap], over_udp: bool) -> Vec<u8> {
    let udp_packet = udp(9899, 9899, &data_packet());
    let innermost =
        if over_udp { ipv6(17, &udp_packet) } else { ipv4(132, &[], 0, &data_packet()) };
    wraps.iter().fold(innermost, |packet, wrap| wrap.around(&packet))
}

/// A capture with all that is looked into, for damage to be done to.
pub(super) fn everything() -> Vec<Vec<u8>> {
    let mut frames: Vec<_> = WRAPS.iter().map(|wrap| wrapped(&[*wrap], false)).collect();
    frames.extend(WRAPS.windows(3).map(|wraps| wrapped(wraps, true)));
    frames.extend(fragments_v4(1, 132, &data_packet(), 16));
    frames.extend(fragments_v6(1, 132, &data_packet(), 16));
    frames.extend(fragments_v4(2, 17, &udp(1, 4789, &vxlan(1, &ethernet(&frames[0]))), 40));
    frames.push(ipv4(1, &[], 0, &icmp(3, 4, [0, 0, 5, 0], &frames[0])));
    frames.push(ipv6(58, &icmp(2, 0, [0, 0, 5, 0], &frames[1])));
    frames
}

proptest! {
    #[test]
    fn a_packet_is_found_in_any_stack_of_up_to_eight_tunnels(
        wraps in vec(select(&WRAPS[..]), 0..10),
        over_udp: bool,
    ) {
        let found = decode(pcap(101, false, false, &[wrapped(&wraps, over_udp)]));
        let depth: usize = wraps.iter().map(|wrap| wrap.depth()).sum();
        prop_assert_eq!(found.len(), usize::from(depth <= 8), "{} tunnels", depth);
        found.iter().for_each(assert_is_data_packet);
    }

    #[test]
    fn no_damage_to_any_header_makes_the_decoder_panic(
        damage in vec((any::<Index>(), any::<Index>(), any::<u8>()), 1..40),
        cuts in vec((any::<Index>(), any::<Index>()), 0..4),
        link_type in select(&[0_u32, 1, 9, 50, 51, 101, 104, 108, 113, 166, 204, 248, 276][..]),
    ) {
        let mut frames = everything();
        for (frame, at, byte) in damage {
            let frame = frame.get_mut(&mut frames);
            // Headers are where it hurts.
            let at = at.index(frame.len().min(120));
            frame[at] = byte;
        }
        for (frame, len) in cuts {
            let frame = frame.get_mut(&mut frames);
            let len = len.index(frame.len());
            frame.truncate(len.max(1));
        }
        survive(pcap(101, false, false, &frames));
        survive(pcap(link_type, false, false, &frames));
    }

    #[test]
    fn no_frame_of_any_bytes_makes_the_decoder_panic(
        frames in vec(vec(any::<u8>(), 0..120), 1..6),
        link_type in 0_u32..300,
    ) {
        survive(pcap(link_type, false, false, &frames));
    }

    #[test]
    fn a_packet_in_any_fragments_in_any_order_is_the_packet(
        cuts in vec(1_usize..125, 1..12),
        order in Just(Vec::from_iter(0_usize..13)).prop_shuffle(),
        twice in vec(any::<Index>(), 0..4),
        v6: bool,
    ) {
        let whole = pattern();
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut * 8).collect();
        ends.push(whole.len());
        ends.sort_unstable();
        ends.dedup();
        let mut start = 0;
        let mut pieces = Vec::new();
        for end in ends {
            pieces.push((start, end));
            start = end;
        }
        let mut sent: Vec<_> = order.iter().filter_map(|at| pieces.get(*at)).collect();
        // Of the last one, which completes the packet, no duplicate comes.
        for index in twice {
            sent.insert(0, sent[index.index(sent.len() - 1)]);
        }
        let mut layers = Layers::new(&[]);
        let mut found = Vec::new();
        for (from, to) in sent {
            let frame = piece(v6, *from, *to < whole.len(), &whole[*from..*to]);
            found.extend(layers.frame(101, ORIGIN, frame.into()));
        }
        prop_assert_eq!(layers.held(), 0);
        let found: Vec<Carried> = found.into_iter().flatten().collect();
        prop_assert_eq!(found.len(), 1);
        prop_assert_eq!(&found[0].payload, &whole);
    }

    #[test]
    fn whatever_fragments_come_a_packet_is_made_of_none_that_disagree(
        sent in vec((0_usize..8, 1_usize..5, any::<bool>(), 0_u8..3), 1..24),
        v6: bool,
    ) {
        let mut layers = Layers::new(&[]);
        let mut shown = 0;
        for (offset, len, more, filling) in &sent {
            let frame = piece(v6, offset * 8, *more, &vec![*filling; len * 8]);
            for carried in layers.frame(101, ORIGIN, frame.into()).into_iter().flatten() {
                // A packet of one fragment is whole; so is one whose fragments touch and agree on its end.
                if carried.extent == Extent::Whole && !carried.way.fragments.is_empty() {
                    shown += carried.way.fragments.len();
                    assert_tiled(&carried.payload, &sent);
                } else {
                    shown += 1;
                }
            }
        }
        shown += layers.finish().len();
        prop_assert_eq!(layers.held(), 0);
        prop_assert!(shown <= sent.len());
    }
}

const ORIGIN: Origin = Origin { frame: 1, time: None };

/// A thousand bytes, which no fragment of any other place begins like.
fn pattern() -> Bytes {
    (0..1000_u16).flat_map(u16::to_be_bytes).take(1000).collect()
}

fn piece(v6: bool, offset: usize, more: bool, bytes: &[u8]) -> Vec<u8> {
    if !v6 {
        return ipv4(132, &[], (offset / 8) as u16 | if more { 0x2000 } else { 0 }, bytes);
    }
    let [high, low] = (offset as u16 | u16::from(more)).to_be_bytes();
    ipv6(44, &behind(&[132, 0, high, low, 0, 0, 0, 9], bytes))
}

/// Each run of bytes of a packet must be one of the fragments that were sent for that place, to the end.
fn assert_tiled(payload: &[u8], sent: &[(usize, usize, bool, u8)]) {
    let mut reachable = vec![false; payload.len() / 8 + 1];
    reachable[0] = true;
    for unit in 0..payload.len() / 8 {
        for (offset, len, more, filling) in sent {
            let end = offset + len;
            if *offset == unit
                && reachable[unit]
                && payload
                    .get(offset * 8..end * 8)
                    .is_some_and(|run| run.iter().all(|byte| byte == filling))
                && *more == (end * 8 < payload.len())
            {
                reachable[end] = true;
            }
        }
    }
    assert!(reachable[payload.len() / 8], "{payload:02x?} is made of no fragments that were sent");
}

#[test]
fn the_capture_that_damage_is_done_to_is_decoded_whole() {
    let mut packets = 0;
    let mut decoder = Decoder::new(&[9899]);
    let file = pcap(101, false, false, &everything());
    let read = decoder.each_packet(Cursor::new(file), |packet| {
        packets += 1;
        assert!(packet.error.is_none(), "{packet:?}");
        Ok(())
    });
    read.unwrap();
    assert_eq!(decoder.tally.lines(), Vec::<String>::new());
    assert_eq!(packets, WRAPS.len() + WRAPS.len() - 2 + 3 + 2);
}

#[test]
fn headers_without_end_end_where_the_frame_does() {
    let many = |header: &[u8]| header.repeat(100_000);
    let on_ethernet = |ether_type: [u8; 2], rest: Vec<u8>| {
        let frame = behind(&[&MACS[..], &ether_type].concat(), &rest);
        lines(pcap(1, false, false, &[frame]))
    };
    let (_, tags) = on_ethernet([0x81, 0], many(&[0, 1, 0x81, 0]));
    assert!(tags[0].contains("a damaged or cut header of EtherType 0x8100"), "{tags:?}");
    let (_, labels) = on_ethernet([0x88, 0x47], many(&[0, 1, 0, 64]));
    assert!(labels[0].contains("a damaged or cut header of EtherType 0x8847"), "{labels:?}");
    let mut options = ipv6(60, &[]);
    options[4..6].fill(0);
    options.extend(many(&[60, 0, 1, 4, 0, 0, 0, 0]));
    let (_, options) = on_ethernet([0x86, 0xdd], options);
    assert!(options[0].contains("a damaged or cut header of IP protocol 60"), "{options:?}");
}
