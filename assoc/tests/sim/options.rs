//! What an application may choose: bundling, fragments, adaptation, and messages larger than the buffer.

use bytes::Bytes;
use usctp_assoc::sim::{Ladder, a, a6, z, z6};
use usctp_assoc::{Config, Event, Message, Options};
use usctp_chunk::{
    Chunk, ChunkType, Data, DataFlags, Parameter, Ppid, Sequence, Ssn, StreamId, UnknownChunk,
};

use crate::world::{config, secs};

fn established(name: &str, change: impl FnOnce(&mut Options)) -> Ladder {
    let mut ladder = Ladder::with(name, config(change), &[a(1)], &[z(1)]);
    ladder.establishes(&[z(1)]);
    ladder
}

fn payload_lens(ladder: &mut Ladder) -> Vec<Vec<usize>> {
    let of_packet = |chunks: &[Chunk]| {
        chunks
            .iter()
            .filter_map(|chunk| match chunk {
                Chunk::Data(data) => Some(data.payload.len()),
                _ => None,
            })
            .collect()
    };
    ladder.hears_all().iter().map(|heard| of_packet(&heard.chunks)).collect()
}

#[test]
fn without_nagle_each_message_leaves_at_once() {
    let mut ladder = established("without_nagle", |_| {});
    ladder.sends("one");
    ladder.sends("two");
    ladder.sends("three");
    assert_eq!(payload_lens(&mut ladder), [[3], [3], [5]]);
}

#[test]
fn with_nagle_small_messages_wait_for_the_acknowledgement_and_leave_in_one_packet() {
    let mut ladder = established("with_nagle", |options| options.nagle = true);
    ladder.sends("one");
    ladder.sends("two");
    ladder.sends("three");
    assert_eq!(payload_lens(&mut ladder), [[3]], "the first one finds nothing under way");
    ladder.says(z(1), &[ladder.sack(1)]);
    assert_eq!(payload_lens(&mut ladder), [vec![3, 5]]);
}

#[test]
fn with_nagle_a_close_lets_go_of_what_waits() {
    let mut ladder = established("with_nagle_close", |options| options.nagle = true);
    ladder.sends("one");
    ladder.sends("two");
    ladder.shuts_down();
    assert_eq!(payload_lens(&mut ladder), [[3], [3]]);
}

#[test]
fn no_chunk_is_empty_however_small_the_fragments_are() {
    let mut ladder = established("no_chunk_is_empty", |options| options.fragment_limit = Some(64));
    let (ours, id) = (ladder.ours, ladder.id());
    ladder.network.send(ours, id, Message::new(0, vec![7; 20_000])).unwrap();
    let lens: Vec<usize> = payload_lens(&mut ladder).into_iter().flatten().collect();
    assert!(lens.iter().all(|len| (8..=64).contains(len)), "{lens:?}");
}

#[test]
fn fragments_are_no_larger_than_the_application_wants() {
    let mut ladder = established("fragment_limit", |options| options.fragment_limit = Some(100));
    let (ours, id) = (ladder.ours, ladder.id());
    ladder.network.send(ours, id, Message::new(0, vec![7; 250])).unwrap();
    assert_eq!(payload_lens(&mut ladder), [[100, 100, 50]]);
}

#[test]
fn the_adaptation_layer_indication_goes_both_ways() {
    let indication = Parameter::AdaptationLayer { indication: 42 };
    // A opens: its INIT says 5, and the INIT ACK says 42.
    let adapting = config(|options| options.adaptation = Some(5));
    let mut ladder = Ladder::with("adaptation_active", adapting.clone(), &[a(1)], &[z(1)]);
    ladder.connectx(&[z(1)]);
    let init = ladder.expects(z(1), &[ChunkType::INIT]);
    let sent = Parameter::AdaptationLayer { indication: 5 };
    assert!(init.init().parameters.iter().any(|parameter| parameter == Ok(sent.clone())));
    let Chunk::InitAck(mut init_ack) = ladder.init_ack(&[]) else { panic!("it is an INIT ACK") };
    let parameters = init_ack.parameters.iter().map(Result::unwrap).chain([indication.clone()]);
    init_ack.parameters = parameters.collect();
    ladder.says(z(1), &[Chunk::InitAck(init_ack)]);
    ladder.expects(z(1), &[ChunkType::COOKIE_ECHO]);
    ladder.says(z(1), &[Chunk::CookieAck]);
    assert!(ladder.events().contains(&Event::AdaptationIndication(42)));

    // Z opens: its indication comes back to A in the cookie.
    let mut ladder = Ladder::with("adaptation_passive", adapting, &[a(1)], &[z(1)]);
    ladder.network.listen(ladder.ours, true);
    let Chunk::Init(mut init) = ladder.init(&[]) else { panic!("it is an INIT") };
    init.parameters = [indication].into_iter().collect();
    ladder.says_with_tag(Default::default(), z(1), &[Chunk::Init(init)]);
    let init_ack = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
    assert!(init_ack.init().parameters.iter().any(|parameter| parameter == Ok(sent.clone())));
    ladder.says(z(1), &[Chunk::CookieEcho(init_ack.cookie())]);
    assert!(ladder.events().contains(&Event::AdaptationIndication(42)));
}

#[test]
fn heartbeat_ack_brings_back_all_that_the_heartbeat_held() {
    // RFC 9260, 8.3: the Heartbeat Information, "together with any other received TLVs, copied unchanged".
    let mut ladder = established("heartbeat_tlvs", |_| {});
    let value = Bytes::from_static(&[0, 1, 0, 8, 1, 2, 3, 4, 0x80, 9, 0, 6, 5, 6, 0, 0]);
    let heartbeat = UnknownChunk { kind: ChunkType::HEARTBEAT, flags: 0, value: value.clone() };
    ladder.says(z(1), &[Chunk::Unknown(heartbeat)]);
    let heard = ladder.expects(z(1), &[ChunkType::HEARTBEAT_ACK]);
    // The common header and the chunk header stand before it.
    assert_eq!(heard.bytes.slice(16..), value);
}

#[test]
fn a_message_larger_than_the_receive_buffer_is_delivered_in_parts() {
    const BUFFER: usize = 8192;
    let mut ladder =
        established("partial_delivery", |options| options.limits.receive_buffer = BUFFER);
    let (ours, id) = (ladder.ours, ladder.id());
    ladder.network.receive_eagerly(ours, false);
    let (mut whole, mut sent) = (Vec::new(), 0_u8);
    let (mut parts, mut ended) = (0, false);
    while !ended {
        // Z sends on from what A's last SACK said, twenty fragments in all.
        let heard = ladder.network.endpoint(ours).view(id).unwrap().statistics();
        let accepted = heard.data_chunks_received - heard.dropped_chunks;
        sent = u8::try_from(accepted).unwrap();
        if sent < 20 {
            ladder.says(z(1), &[fragment(&ladder, sent)]);
        }
        ladder.hears_all();
        let after = ladder.network.endpoint(ours).view(id).unwrap().statistics();
        assert!(after.receive_buffered <= BUFFER + 1500, "{} bytes", after.receive_buffered);
        if after.dropped_chunks > heard.dropped_chunks || sent >= 20 {
            while let Some(part) = ladder.network.receive(ours, id) {
                whole.extend_from_slice(&part.payload);
                ended = !part.more;
                parts += 1;
            }
        }
    }
    assert_eq!(sent, 20);
    assert!(parts > 1, "it came in parts");
    let expected: Vec<u8> = (0..20).flat_map(|n| [n; 1000]).collect();
    assert_eq!(whole, expected);
}

/// The fragment number `n` of twenty of a message of Z's.
fn fragment(ladder: &Ladder, n: u8) -> Chunk {
    let flags = DataFlags { immediate: true, unordered: false, beginning: n == 0, ending: n == 19 };
    Chunk::Data(Data {
        tsn: ladder.peer_tsn.plus(n.into()),
        stream: StreamId(0),
        sequence: Sequence::Ssn(Ssn::new(0)),
        ppid: Ppid(0),
        flags,
        payload: Bytes::from(vec![n; 1000]),
    })
}

#[test]
fn when_the_association_ends_the_rest_of_a_partly_delivered_message_is_given_up_aloud() {
    let mut ladder = established("partial_abort", |options| options.limits.receive_buffer = 4096);
    ladder.network.receive_eagerly(ladder.ours, false);
    for n in 0..5 {
        ladder.says(z(1), &[fragment(&ladder, n)]);
    }
    let abort = usctp_chunk::Abort { tag_reflected: false, causes: Default::default() };
    ladder.says(z(1), &[Chunk::Abort(abort)]);
    assert!(ladder.events().contains(&Event::PartialDeliveryAborted(StreamId(0))));
}

#[test]
fn options_out_of_their_range_are_refused_with_their_name() {
    let refused = |change: fn(&mut Options)| {
        let mut options = Options::default();
        change(&mut options);
        Config::new(options).unwrap_err().to_string()
    };
    let text = refused(|options| options.path_mtu = 67);
    assert_eq!(text, "option path_mtu is 67: 68 to 65,535 bytes");
    for limit in [0, 1, 7, 63] {
        let options = Options::default().with(|options| options.fragment_limit = Some(limit));
        let text = Config::new(options).unwrap_err().to_string();
        assert_eq!(text, format!("option fragment_limit is {limit}: 64 to 65,535 bytes"));
    }
    assert!(
        refused(|o| o.sack.delay = std::time::Duration::from_millis(501)).contains("sack.delay")
    );
    assert!(refused(|options| options.udp_port = Some(0)).contains("udp_port"));
}

#[test]
fn the_advertised_window_is_one_that_small_messages_can_fill_without_being_dropped() {
    // The peer counts payload only; holding many small messages costs more than their payload.
    let mut ladder =
        established("small_messages", |options| options.limits.receive_buffer = 65_536);
    let (ours, id) = (ladder.ours, ladder.id());
    ladder.network.receive_eagerly(ours, false);
    let (mut window, mut in_flight) = (65_536, 0);
    for _ in 0..2000 {
        if in_flight + 50 > window {
            break;
        }
        let chunk = ladder.data("a message of exactly fifty bytes, one like another");
        ladder.says(z(1), &[chunk]);
        in_flight += 50;
        for heard in ladder.hears_all() {
            for chunk in heard.chunks {
                if let Chunk::Sack(sack) = chunk {
                    (window, in_flight) = (sack.a_rwnd, 0);
                }
            }
        }
    }
    let statistics = ladder.network.endpoint(ours).view(id).unwrap().statistics();
    assert_eq!(statistics.dropped_chunks, 0, "{statistics:?}");
    assert!(statistics.data_chunks_received > 500, "{statistics:?}");
}

#[test]
fn a_window_that_opens_during_the_close_is_told_to_the_peer() {
    // SHUTDOWN acknowledges DATA but carries no window: without a SACK the peer would send one probe in each RTO.
    let mut ladder = established("close_window", |options| options.limits.receive_buffer = 8192);
    let (ours, id) = (ladder.ours, ladder.id());
    ladder.network.receive_eagerly(ours, false);
    for n in 0..5 {
        let mut chunk = ladder.data("");
        if let Chunk::Data(data) = &mut chunk {
            data.payload = Bytes::from(vec![n; 1400]);
        }
        ladder.says(z(1), &[chunk]);
    }
    let last = ladder.hears_all().pop().unwrap();
    assert!(matches!(last.chunks.last(), Some(Chunk::Sack(sack)) if sack.a_rwnd < 1400));
    ladder.shuts_down();
    ladder.expects(z(1), &[ChunkType::SHUTDOWN]);
    while ladder.network.receive(ours, id).is_some() {}
    let heard = ladder.hears_all().pop().expect("the window is told");
    assert!(matches!(heard.only(), Chunk::Sack(sack) if sack.a_rwnd > 6000), "{heard:?}");
}

#[test]
fn a_host_with_more_addresses_than_a_packet_holds_lists_those_that_fit() {
    let many: Vec<_> = (1..=200).map(usctp_assoc::sim::a6).collect();
    let mut ladder = Ladder::with("many_addresses", Config::default(), &many, &[z6(1)]);
    ladder.connectx(&[z6(1)]);
    let init = ladder.expects(z6(1), &[ChunkType::INIT]);
    assert!(init.bytes.len() <= 1500 - 40);
    let listed = init.addresses();
    assert!(listed.len() > 60 && listed[..] == many[..listed.len()]);
    // And a peer that lists as many as it may is answered.
    let theirs: Vec<_> = (1..=64).map(z6).collect();
    let mut ladder = Ladder::with("many_peers", Config::default(), &many, &theirs);
    ladder.network.listen(ladder.ours, true);
    ladder.says_with_tag(Default::default(), z6(1), &[ladder.init(&theirs)]);
    let init_ack = ladder.expects(z6(1), &[ChunkType::INIT_ACK]);
    assert!(init_ack.bytes.len() <= 1500 - 40);
    ladder.says(z6(1), &[Chunk::CookieEcho(init_ack.cookie())]);
    ladder.id = ladder.network.newest(ladder.ours);
    assert!(ladder.paths().len() > 15, "{} addresses were kept", ladder.paths().len());
}

#[test]
fn shutdown_ack_goes_to_where_shutdown_came_from() {
    let mut ladder = Ladder::new("shutdown_ack_path");
    ladder.establishes(&[z(1), z(2)]);
    ladder.says(z(2), &[ladder.shutdown(0)]);
    ladder.expects(z(2), &[ChunkType::SHUTDOWN_ACK]);
}

#[test]
fn a_cookie_larger_than_the_path_mtu_is_echoed_in_a_packet_that_may_be_fragmented() {
    let mut ladder = Ladder::new("large_cookie");
    // Z's INIT ACK comes in fragments, which the network of these tests puts together itself.
    ladder.network.alter(z(1), a(1), |link| link.mtu = 65_535);
    ladder.connectx(&[z(1)]);
    ladder.expects(z(1), &[ChunkType::INIT]);
    let Chunk::InitAck(mut init_ack) = ladder.init_ack(&[]) else { panic!("it is an INIT ACK") };
    let cookie = Bytes::from(vec![7; 3000]);
    init_ack.parameters = [Parameter::StateCookie(cookie.clone())].into_iter().collect();
    ladder.says(z(1), &[Chunk::InitAck(init_ack)]);
    let echo = ladder.expects(z(1), &[ChunkType::COOKIE_ECHO]);
    assert_eq!(echo.only(), &Chunk::CookieEcho(cookie));
    ladder.says(z(1), &[Chunk::CookieAck]);
    assert_eq!(ladder.state(), usctp_assoc::AssociationState::Established);
}

#[test]
fn heartbeats_and_the_failure_threshold_can_be_chosen_for_a_path_alone() {
    use std::time::Duration;
    let mut ladder = Ladder::new("per_path_settings");
    ladder.establishes(&[z(1), z(2)]);
    let (ours, id) = (ladder.ours, ladder.id());
    ladder.network.with(ours, id, |association, now| {
        association.change_heartbeat(now, z(1), None).unwrap();
        association.change_heartbeat(now, z(2), Some(Duration::from_secs(5))).unwrap();
        association.set_failure_threshold(z(2), 0).unwrap();
        assert!(association.change_heartbeat(now, z(9), None).is_err());
        assert!(association.set_failure_threshold(z(9), 1).is_err());
    });
    // Beyond what a clock can count: never again, and no panic.
    ladder.network.with(ours, id, |association, now| {
        association.change_heartbeat(now, z(1), Some(Duration::MAX)).unwrap();
    });
    // HB.interval 5 s and an RTO of 1 s: within 6.5 s; path 1 is left in peace, and one loss ends path 2.
    let heartbeat = ladder.expects_within(Duration::from_secs(7), z(2), &[ChunkType::HEARTBEAT]);
    assert!(heartbeat.at > Duration::from_secs(5));
    ladder.network.run_for(Duration::from_millis(1100));
    assert_eq!(ladder.path(z(2)).state, usctp_assoc::PathState::Inactive);
    ladder.network.run_for(Duration::from_secs(300));
    assert!(ladder.hears_all().iter().all(|heard| heard.destination == z(2)));
}

#[test]
fn refusals_of_inits_are_limited_in_number_and_size() {
    let mut ladder = Ladder::with("refusals", Config::default(), &[a6(1)], &[z6(1), z6(2)]);
    ladder.establishes(&[z6(1)]);
    // A restart from an address that the association does not have (RFC 9260, 5.2.2), over and over.
    let init = ladder.init(&[z6(1)]);
    for _ in 0..3000 {
        ladder.says_with_tag(Default::default(), z6(2), std::slice::from_ref(&init));
    }
    let heard = ladder.hears_all();
    assert_eq!(heard.len(), 1000, "as many as a second allows");
    let asked = 12 + init.encoded_len();
    assert!(
        heard.iter().all(|heard| heard.bytes.len() <= asked),
        "none is larger than its question"
    );
    // A window that is too small (3.3.2), in another second.
    ladder.network.run_for(secs(1));
    let Chunk::Init(mut init) = init else { panic!("{init:?}") };
    init.a_rwnd = 1000;
    for _ in 0..3000 {
        ladder.says_with_tag(Default::default(), z6(2), &[Chunk::Init(init.clone())]);
    }
    let refusals = ladder.hears_all().into_iter().filter(|heard| heard.destination == z6(2));
    assert_eq!(refusals.count(), 1000);
}

#[test]
fn an_address_listed_twice_counts_once_and_the_caller_is_told_where() {
    let mut ladder = Ladder::new("listed_twice");
    let mapped = match z(1) {
        std::net::IpAddr::V4(v4) => v4.to_ipv6_mapped().into(),
        v6 @ std::net::IpAddr::V6(_) => v6,
    };
    ladder.connectx(&[z(1), z(2), mapped, z(2)]);
    let told: Vec<_> = ladder
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::ListedTwice { index, peer } => Some((index, peer)),
            _ => None,
        })
        .collect();
    assert_eq!(told, [(2, z(1)), (3, z(2))]);
    assert_eq!(ladder.paths().len(), 2);
}
