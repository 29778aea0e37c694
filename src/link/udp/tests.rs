//! Which packets go into one segmented message, and how a coalesced one is taken apart.

use std::net::IpAddr;

use usctp_assoc::AddressSet;

use super::*;

fn transmit(destination: &str, len: usize) -> Transmit {
    Transmit {
        source: None,
        destination: destination.parse().unwrap(),
        udp_port: Some(9899),
        zone: 0,
        sources: AddressSet::default(),
        ecn: Ecn::NotEct,
        fragmentable: false,
        len,
    }
}

/// The runs, as numbers of packets, that IPv4 packets of a batch go out in.
fn runs(transmits: &[Transmit], segments: usize) -> Vec<(usize, Option<u16>)> {
    let bytes = vec![0; transmits.iter().map(|transmit| transmit.len).sum()];
    let mut batch = Batch::new(&bytes, transmits);
    let mut runs = Vec::new();
    while let Some((message, packets)) = next_run(batch, true, segments) {
        let len: usize = batch.iter().take(packets).map(|(transmit, _)| transmit.len).sum();
        assert_eq!(message.packet.len(), len);
        runs.push((packets, message.segment));
        batch.advance(packets);
    }
    runs
}

#[test]
fn a_run_ends_with_a_shorter_packet_and_before_a_longer_one() {
    let batch = [1_452, 1_452, 700, 40, 40, 1_452].map(|len| transmit("192.0.2.1", len));
    assert_eq!(runs(&batch, 64), [(3, Some(1_452)), (2, Some(40)), (1, None)]);
}

#[test]
fn a_run_stays_below_the_greatest_packet_and_the_greatest_number() {
    let batch = vec![transmit("192.0.2.1", 1_452); 100];
    // 45 * 1,452 = 65,340 bytes.
    assert_eq!(runs(&batch, 64), [(45, Some(1_452)), (45, Some(1_452)), (10, Some(1_452))]);
    let batch = vec![transmit("192.0.2.1", 40); 100];
    assert_eq!(runs(&batch, 64), [(64, Some(40)), (36, Some(40))]);
    assert_eq!(runs(&batch[..2], 1), [(1, None), (1, None)], "no segmentation");
}

#[test]
fn a_run_goes_one_way() {
    let first = transmit("192.0.2.1", 100);
    for other in [
        transmit("192.0.2.2", 100),
        Transmit { udp_port: Some(9900), ..first },
        Transmit { source: Some(IpAddr::from([192, 0, 2, 9])), ..first },
        Transmit { ecn: Ecn::Ect0, ..first },
    ] {
        assert_eq!(runs(&[first, other], 64), [(1, None), (1, None)]);
    }
}

#[test]
fn packets_of_the_other_family_or_without_udp_end_the_messages() {
    let first = transmit("192.0.2.1", 100);
    assert_eq!(runs(&[first, transmit("2001:db8::1", 100)], 64), [(1, None)]);
    assert_eq!(runs(&[first, Transmit { udp_port: None, ..first }], 64), [(1, None)]);
}

#[test]
fn a_coalesced_message_is_split_by_its_stride() {
    let mut meta = RecvMeta::default();
    meta.addr = SocketAddr::from(([192, 0, 2, 1], 1234));
    meta.dst_ip = Some(IpAddr::from([192, 0, 2, 2]));
    meta.ecn = Some(EcnCodepoint::Ce);
    for (len, stride, expected) in [
        (250, 100, vec![100, 100, 50]),
        (200, 100, vec![100, 100]),
        (30, 30, vec![30]),
        (0, 0, vec![]),
        (3, 0, vec![1, 1, 1]),
    ] {
        meta.stride = stride;
        let mut datagrams = Vec::new();
        split(Bytes::from(vec![0; len]), &meta, &Counters::default(), &mut datagrams);
        let lens: Vec<usize> = datagrams.iter().map(|datagram| datagram.payload.len()).collect();
        assert_eq!(lens, expected);
        for datagram in datagrams {
            assert_eq!((datagram.udp_port, datagram.ecn), (Some(1234), Ecn::Ce));
        }
    }
    meta.dst_ip = Some(IpAddr::from([224, 0, 0, 1]));
    let (counters, mut datagrams) = (Counters::default(), Vec::new());
    split(Bytes::from_static(&[0; 20]), &meta, &counters, &mut datagrams);
    assert_eq!((datagrams.len(), counters.malformed.value()), (0, 1));
}
