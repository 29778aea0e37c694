//! Floods of INITs, and peers that name the addresses of others: what they cost, and what is sent for them (RFC 5062).

use std::net::IpAddr;

use bytes::{Bytes, BytesMut};
use usctp_assoc::sim::{Ladder, PORT, a, a6, z, z6};
use usctp_assoc::{Counters, PathState};
use usctp_chunk::{
    Chunk, ChunkType, CommonHeader, PacketBuilder, Parameter, ParameterType, VerificationTag,
};

use crate::world::{config, ms, secs};

/// A packet from a port of the test's choice.
fn packet(source_port: u16, tag: VerificationTag, chunk: &Chunk) -> Bytes {
    let header = CommonHeader { source_port, destination_port: PORT, verification_tag: tag };
    let mut bytes = BytesMut::new();
    let mut builder = PacketBuilder::new(&mut bytes, header, 60_000);
    assert!(builder.push(chunk));
    builder.finish();
    bytes.freeze()
}

fn counters(ladder: &Ladder) -> Counters {
    *ladder.network.endpoint(ladder.ours).counters()
}

#[test]
fn inits_beyond_the_rate_are_dropped_and_counted_and_associations_go_on() {
    let name = "inits_beyond_the_rate_are_dropped_and_counted_and_associations_go_on";
    let config = config(|options| options.limits.inits_per_second = 100);
    let mut ladder = Ladder::with(name, config, &[a(1)], &[z(1), z(2)]);
    ladder.establishes(&[z(1)]);
    ladder.network.listen(ladder.ours, true);
    let flood = |ladder: &mut Ladder, ports: std::ops::Range<u16>| {
        for port in ports {
            let init = packet(port, VerificationTag::ZERO, &ladder.init(&[]));
            ladder.says_bytes(z(2), a(1), init);
        }
    };
    for turn in 0..10 {
        flood(&mut ladder, 2000 + 100 * turn..2100 + 100 * turn);
        let data = ladder.data("through it");
        ladder.says(z(1), &[data]);
    }
    let before = counters(&ladder);
    assert_eq!((before.inits_answered, before.inits_dropped), (100, 900));
    let (ours, id) = (ladder.ours, ladder.id());
    let statistics = ladder.network.endpoint(ours).view(id).unwrap().statistics();
    assert_eq!(statistics.messages_received, 10);
    ladder.network.run_for(ms(500));
    flood(&mut ladder, 3000..3100);
    let after = counters(&ladder);
    assert_eq!((after.inits_answered, after.inits_dropped), (150, 950));
}

#[test]
fn an_init_ack_for_a_stranger_is_at_most_three_times_as_large_as_the_init() {
    let name = "an_init_ack_for_a_stranger_is_at_most_three_times_as_large_as_the_init";
    let v4: (Vec<IpAddr>, IpAddr) = ((1..=60).map(a).collect(), z(1));
    let v6: (Vec<IpAddr>, IpAddr) = ((1..=60).map(a6).collect(), z6(1));
    let unknown = |count: usize| {
        let kind = ParameterType(0xc123);
        std::iter::repeat_n(Parameter::Unknown { kind, value: Bytes::new() }, count)
    };
    for (ours, source) in [v4, v6] {
        let ip = if source.is_ipv4() { 20 } else { 40 };
        let mut ladder =
            Ladder::with(name, config(|options| options.adaptation = Some(7)), &ours, &[source]);
        ladder.network.listen(ladder.ours, true);
        let theirs: Vec<IpAddr> = (2..=16).map(if ip == 20 { z } else { z6 }).collect();
        for (named, unknowns) in [(0, 0), (1, 0), (15, 0), (0, 1), (0, 30), (5, 300)] {
            let Chunk::Init(mut init) = ladder.init(&[]) else { panic!("it is an INIT") };
            let named = theirs.iter().take(named).copied().map(Parameter::from_ip);
            init.parameters = named.chain(unknown(unknowns)).collect();
            let init = packet(1, VerificationTag::ZERO, &Chunk::Init(init));
            let asked = ip + init.len();
            ladder.says_bytes(source, ours[0], init);
            let answer = ladder.expects(source, &[ChunkType::INIT_ACK]);
            let size = ip + answer.bytes.len();
            println!(
                "{asked} bytes are answered by {size}, with {} addresses",
                answer.addresses().len()
            );
            assert!(size <= 3 * asked, "{asked} {size}");
            // It is worth something all the same.
            let least = if ip == 20 { 2 } else { 1 };
            assert!(answer.addresses().len() >= least || unknowns > 1, "{asked} {size}");
            assert_eq!(answer.addresses()[..], ours[..answer.addresses().len()]);
        }
    }
}

#[test]
fn the_init_ack_for_a_stranger_lists_the_addresses_that_three_times_the_init_has_room_for() {
    let name =
        "the_init_ack_for_a_stranger_lists_the_addresses_that_three_times_the_init_has_room_for";
    let ours: Vec<IpAddr> = (1..=60).map(a).collect();
    // Whether it comes over UDP, and tells an adaptation; both make the cookie longer.
    for (udp, adaptation) in [(false, false), (true, false), (false, true), (true, true)] {
        let config = config(|options| options.udp_port = Some(9899));
        let mut ladder = Ladder::with(name, config, &ours, &[z(1)]);
        ladder.network.listen(ladder.ours, true);
        for unknowns in [0, 1, 2, 3] {
            for len in 0..24 {
                let Chunk::Init(mut init) = ladder.init(&[]) else { panic!("it is an INIT") };
                // Of these one is reported, padded, and the other only makes the INIT longer.
                let reported =
                    Parameter::Unknown { kind: ParameterType(0xc123), value: vec![0; 5].into() };
                let ignored = Parameter::Unknown {
                    kind: ParameterType(0x8123),
                    value: vec![0; 4 * len].into(),
                };
                let reported = std::iter::repeat_n(reported, unknowns);
                let adaptation = adaptation.then_some(Parameter::AdaptationLayer { indication: 7 });
                init.parameters = reported.chain([ignored]).chain(adaptation).collect();
                let init = Chunk::Init(init);
                let below = if udp { 28 } else { 20 };
                let asked =
                    below + ladder.packet(VerificationTag::ZERO, std::slice::from_ref(&init)).len();
                let port = udp.then_some(40_000);
                ladder.says_over_with_tag(VerificationTag::ZERO, z(1), port, &[init]);
                let answer = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
                assert_eq!(answer.udp_port, port);
                let size = below + answer.bytes.len();
                let case = format!("{asked} bytes are answered by {size}, udp {udp}, {unknowns}");
                assert!(size <= 3 * asked, "{case}");
                // Nothing shorter than one more address is left over.
                assert!(size + 8 > 3 * asked || answer.addresses().len() == 60, "{case}");
            }
        }
    }
}

#[test]
fn addresses_that_peers_only_name_are_few_and_probed_at_a_bounded_rate_by_all_together() {
    let name =
        "addresses_that_peers_only_name_are_few_and_probed_at_a_bounded_rate_by_all_together";
    const PEERS: u16 = 100;
    // Each would probe all of its addresses at once.
    let config = config(|options| options.heartbeat.max_burst = 64);
    let mut ladder = Ladder::with(name, config, &[a(1)], &[z(1)]);
    ladder.network.listen(ladder.ours, true);
    let victims: Vec<IpAddr> = (10..74).map(z).collect();
    for port in 2000..2000 + PEERS {
        let init = packet(port, VerificationTag::ZERO, &ladder.init(&victims));
        ladder.says_bytes(z(1), a(1), init);
        let init_ack = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
        let echo = Chunk::CookieEcho(init_ack.cookie());
        ladder.says_bytes(z(1), a(1), packet(port, init_ack.init().initiate_tag, &echo));
        ladder.hears_all();
    }
    let probes = |ladder: &Ladder| {
        let endpoint = ladder.network.endpoint(ladder.ours);
        let paths = endpoint.associations().flat_map(|id| endpoint.view(id).unwrap().paths());
        let foreign: Vec<_> = paths.filter(|path| path.peer != z(1)).collect();
        assert_eq!(foreign.len(), 16 * usize::from(PEERS), "16 of each peer are kept");
        assert!(foreign.iter().all(|path| path.state != PathState::Active));
        let unprobed = foreign.iter().filter(|path| path.counts.heartbeats_sent == 0).count();
        (foreign.iter().map(|path| path.counts.heartbeats_sent).sum::<u64>(), unprobed)
    };
    let mut last = 0;
    for second in 1..=20 {
        ladder.network.run_for(secs(1));
        let (sent, _) = probes(&ladder);
        assert!(sent - last <= if second == 1 { 1_000 } else { 510 }, "{second}: {}", sent - last);
        last = sent;
    }
    assert_eq!(probes(&ladder).1, 0, "each had its turn");
}
