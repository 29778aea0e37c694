//! What is kept count of beside what is said: counters, statistics and buffers agree with what went over the wire.

use bytes::Bytes;
use usctp_assoc::sim::{Ladder, PEER_PORT, PORT, a, z};
use usctp_assoc::{
    AddressChange, AssociationState, Config, Counters, Event, Message, NoticeKind, PathSettings,
    Quote, Statistics,
};
use usctp_chunk::{
    Abort, Chunk, ChunkType, CommonHeader, PacketBuilder, UnknownChunk, VerificationTag,
};

use crate::rfc::{acks, alone, data, double, sack, send, single, single_with, wait};
use crate::world::{config, ms, secs};

const ZERO: VerificationTag = VerificationTag::ZERO;
const NEW_TAG: VerificationTag = VerificationTag(0x0ace_0ace);

fn counters(ladder: &Ladder) -> Counters {
    *ladder.network.endpoint(ladder.ours).counters()
}

fn statistics(ladder: &Ladder) -> Statistics {
    ladder.network.endpoint(ladder.ours).view(ladder.id()).unwrap().statistics()
}

/// A packet with ports of the test's choice.
fn packet(ports: (u16, u16), tag: VerificationTag, chunks: &[Chunk]) -> Bytes {
    let header =
        CommonHeader { source_port: ports.0, destination_port: ports.1, verification_tag: tag };
    let mut bytes = bytes::BytesMut::new();
    let mut builder = PacketBuilder::new(&mut bytes, header, 1_400);
    chunks.iter().for_each(|chunk| assert!(builder.push(chunk)));
    builder.finish();
    bytes.freeze()
}

fn cookie(bytes: &'static [u8]) -> Chunk {
    Chunk::CookieEcho(Bytes::from_static(bytes))
}

/// A chunk of a kind that has more to it.
fn stump(kind: ChunkType) -> Chunk {
    Chunk::Unknown(UnknownChunk { kind, flags: 0, value: Bytes::from_static(b"odd") })
}

#[test]
fn every_packet_is_counted_and_what_is_dropped_by_its_reason() {
    let name = "every_packet_is_counted_and_what_is_dropped_by_its_reason";
    let mut ladder = alone(name, Config::default());
    ladder.is_opened();
    let tag = ladder.our_tag;
    let ports = (PEER_PORT, PORT);
    let init = ladder.init(&[]);
    let reflected = Chunk::Abort(Abort { tag_reflected: true, causes: Default::default() });
    let mut wrong = packet(ports, tag, std::slice::from_ref(&Chunk::CookieAck)).to_vec();
    wrong[8] ^= 1;
    type Expected = fn(&mut Counters);
    let cases: [(&str, Bytes, Expected); 14] = [
        ("five bytes", Bytes::from_static(b"short"), |c| c.malformed = 1),
        ("a stump of INIT", packet(ports, ZERO, &[stump(ChunkType::INIT)]), |c| c.malformed = 1),
        ("no chunk", packet(ports, tag, &[]), |c| c.malformed = 1),
        ("a wrong checksum", wrong.into(), |c| c.bad_checksum = 1),
        ("port 0", packet((0, PORT), tag, &[Chunk::CookieAck]), |c| c.out_of_place = 1),
        ("INIT with a tag", packet(ports, tag, std::slice::from_ref(&init)), |c| {
            c.out_of_place = 1;
        }),
        ("INIT with more", packet(ports, ZERO, &[init.clone(), init.clone()]), |c| {
            c.out_of_place = 1;
        }),
        ("tag 0 without INIT", packet(ports, ZERO, &[Chunk::CookieAck]), |c| c.out_of_place = 1),
        ("a cookie of others", packet(ports, tag, &[cookie(b"no cookie of ours")]), |c| {
            c.bad_cookie = 1;
        }),
        ("the T bit with our tag", packet(ports, tag, &[reflected]), |c| c.bad_tag = 1),
        ("a wrong tag", packet(ports, VerificationTag(99), &[Chunk::CookieAck]), |c| c.bad_tag = 1),
        ("COOKIE ACK from a stranger", packet((9, PORT), tag, &[Chunk::CookieAck]), |c| {
            c.out_of_the_blue = 1;
        }),
        ("DATA from a stranger", packet((9, PORT), tag, &[data(1, 0, "BE", "x")]), |c| {
            (c.out_of_the_blue, c.packets_sent) = (1, 1);
        }),
        ("INIT of a stranger", packet((9, PORT), ZERO, &[init]), |c| {
            (c.inits_answered, c.packets_sent) = (1, 1);
        }),
    ];
    for (what, bytes, expected) in cases {
        let mut after = Counters::default();
        expected(&mut after);
        let before = counters(&ladder);
        ladder.says_bytes(z(1), a(1), bytes);
        let heard = ladder.hears_all().len() as u64;
        let now = counters(&ladder);
        assert_eq!(now.packets_received - before.packets_received, 1, "{what}");
        let rose = |of: fn(&Counters) -> u64| of(&now) - of(&before);
        let each: [fn(&Counters) -> u64; 9] = [
            |c| c.packets_sent,
            |c| c.malformed,
            |c| c.bad_checksum,
            |c| c.bad_tag,
            |c| c.bad_cookie,
            |c| c.out_of_the_blue,
            |c| c.out_of_place,
            |c| c.inits_answered,
            |c| c.accepted,
        ];
        assert_eq!(each.map(rose), each.map(|of| of(&after)), "{what}");
        assert_eq!(heard, after.packets_sent, "{what}");
    }
}

#[test]
fn cookies_that_open_nothing_are_counted_and_one_that_does_is_accepted() {
    let name = "cookies_that_open_nothing_are_counted_and_one_that_does_is_accepted";
    let mut ladder = alone(name, Config::default());
    ladder.network.listen(ladder.ours, true);
    ladder.says_with_tag(ZERO, z(1), &[ladder.init(&[])]);
    let echo = Chunk::CookieEcho(ladder.hears().cookie());
    let tag = ladder.our_tag;
    let counted = |ladder: &Ladder| {
        let counters = counters(ladder);
        (counters.bad_cookie, counters.accepted)
    };
    // RFC 9260, 5.1.5 (3): from another port, with another tag, and where nobody listens any more.
    ladder.says_bytes(z(1), a(1), packet((9, PORT), tag, std::slice::from_ref(&echo)));
    assert_eq!(counted(&ladder), (1, 0));
    ladder.says_with_tag(VerificationTag(7), z(1), std::slice::from_ref(&echo));
    assert_eq!(counted(&ladder), (2, 0));
    ladder.network.listen(ladder.ours, false);
    ladder.says(z(1), std::slice::from_ref(&echo));
    assert_eq!(counted(&ladder), (3, 0));
    assert!(ladder.hears_all().is_empty());
    ladder.network.listen(ladder.ours, true);
    ladder.says(z(1), std::slice::from_ref(&echo));
    assert_eq!(counted(&ladder), (3, 1));
    ladder.expects(z(1), &[ChunkType::COOKIE_ACK]);
    assert_eq!(counters(&ladder).packets_sent, 2);
}

#[test]
fn notices_that_quote_no_packet_of_ours_are_counted() {
    let mut ladder = single("notices_that_quote_no_packet_of_ours_are_counted");
    ladder.sends("quoted");
    let heard = ladder.hears();
    ladder.is_told(NoticeKind::Unreachable, &heard);
    assert_eq!(counters(&ladder).notices_not_believed, 0);
    let mut quote = Quote::parse(&heard.bytes).unwrap();
    quote.verification_tag = VerificationTag(99);
    ladder.is_told_with(NoticeKind::Unreachable, &heard, quote);
    assert_eq!(counters(&ladder).notices_not_believed, 1);
}

#[test]
fn the_statistics_of_an_association_are_those_of_what_was_said_and_heard() {
    let name = "the_statistics_of_an_association_are_those_of_what_was_said_and_heard";
    let mut ladder = alone(name, Config::default());
    ladder.network.receive_eagerly(ladder.ours, false);
    ladder.establishes(&[z(1)]);
    let (ours, id) = (ladder.ours, ladder.id());
    let mut expected = Statistics::default();
    (expected.packets_sent, expected.packets_received) = (2, 2);
    assert_eq!(statistics(&ladder), expected, "INIT and COOKIE ECHO, and what answered them");

    // Two messages go out, of which the second has two chunks; one of them is lost, and found missing by T3-rtx.
    send(&mut ladder, 1, 100);
    send(&mut ladder, 1, 2_000);
    assert_eq!(ladder.hears_all().len(), 3);
    expected.packets_sent += 3;
    (expected.messages_sent, expected.bytes_sent, expected.data_chunks_sent) = (2, 2_100, 3);
    expected.send_buffered = statistics(&ladder).send_buffered;
    assert!(expected.send_buffered > 2_100);
    assert_eq!(statistics(&ladder), expected);
    acks(&mut ladder, 2, &[]);
    expected.packets_received += 1;
    wait(&mut ladder, secs(1));
    assert_eq!(ladder.hears_all().len(), 1);
    expected.packets_sent += 1;
    (expected.t3_expiries, expected.data_chunks_retransmitted) = (1, 1);
    expected.data_chunks_sent += 1;
    acks(&mut ladder, 3, &[]);
    expected.packets_received += 1;
    expected.send_buffered = 0;
    assert_eq!(statistics(&ladder), expected);

    // Three messages come in, one of them twice, and a SACK goes back for each packet.
    for (tsn, ssn) in [(1000, 0), (1001, 1), (1001, 1), (1002, 2)] {
        ladder.says(z(1), &[data(tsn, ssn, "IBE", "12345")]);
        assert_eq!(ladder.hears_all().len(), 1);
    }
    expected.packets_received += 4;
    expected.packets_sent += 4;
    (expected.data_chunks_received, expected.duplicate_chunks, expected.sacks_sent) = (4, 1, 4);
    expected.receive_buffered = statistics(&ladder).receive_buffered;
    assert!(expected.receive_buffered > 3 * 5);
    assert_eq!(statistics(&ladder), expected);
    while ladder.network.receive(ours, id).is_some() {}
    (expected.messages_received, expected.bytes_received) = (3, 15);
    expected.receive_buffered = 0;
    assert_eq!(statistics(&ladder), expected);

    // A chunk that does not decode; a packet that the association does not believe is none that it received.
    ladder.says(z(1), &[stump(ChunkType::SACK)]);
    expected.packets_received += 1;
    expected.malformed_chunks = 1;
    ladder.says_with_tag(VerificationTag(99), z(1), &[Chunk::CookieAck]);
    assert_eq!(statistics(&ladder), expected);

    // The last words are a packet, too.
    ladder.network.with(ours, id, |association, now| association.abort(now, Bytes::new()));
    ladder.expects(z(1), &[ChunkType::ABORT]);
    expected.packets_sent += 1;
    assert_eq!(statistics(&ladder), expected);
    assert_eq!(counters(&ladder).packets_sent, expected.packets_sent);
}

#[test]
fn a_fast_retransmission_is_counted_for_the_association_and_for_its_path() {
    let name = "a_fast_retransmission_is_counted_for_the_association_and_for_its_path";
    let mut ladder = single(name);
    send(&mut ladder, 5, 800);
    ladder.hears_all();
    for last in 2..=4 {
        acks(&mut ladder, 0, &[(2, last)]);
    }
    assert_eq!(ladder.hears_all().len(), 1);
    let of_path = ladder.path(z(1)).counts;
    assert_eq!((of_path.fast_retransmits, of_path.retransmitted_chunks), (1, 1));
    assert_eq!(of_path.bytes_sent, 6 * 816);
    let statistics = statistics(&ladder);
    assert_eq!((statistics.fast_retransmits, statistics.data_chunks_retransmitted), (1, 1));
}

#[test]
fn a_restart_leaves_nothing_in_the_send_buffer_of_a_message_half_sent() {
    let name = "a_restart_leaves_nothing_in_the_send_buffer_of_a_message_half_sent";
    let mut ladder = single(name);
    let (ours, id) = (ladder.ours, ladder.id());
    let whole = usctp_assoc::Options::default().limits.send_buffer - 1_000;
    for _ in 0..3 {
        ladder.network.send(ours, id, Message::new(0, vec![0; whole])).unwrap();
        ladder.hears_all();
        restarts(&mut ladder, &[]);
        assert_eq!(statistics(&ladder).send_buffered, 0);
    }
}

/// Z begins anew, and lists these addresses.
fn restarts(ladder: &mut Ladder, addresses: &[std::net::IpAddr]) {
    let told = |ladder: &Ladder| ladder.events().iter().filter(|e| **e == Event::Restart).count();
    let before = told(ladder);
    ladder.peer_tag = VerificationTag(ladder.peer_tag.0 ^ NEW_TAG.0);
    ladder.says_with_tag(ZERO, z(1), &[ladder.init(addresses)]);
    let heard = ladder.hears_all();
    let cookie = heard.iter().find(|heard| kind(heard) == ChunkType::INIT_ACK).unwrap().cookie();
    ladder.says(z(1), &[Chunk::CookieEcho(cookie)]);
    assert_eq!(told(ladder), before + 1);
    ladder.hears_all();
}

fn kind(heard: &usctp_assoc::sim::Heard) -> ChunkType {
    heard.chunks[0].kind()
}

#[test]
fn a_restart_tells_of_no_return_of_a_path_that_had_not_failed() {
    let mut ladder = double("a_restart_tells_of_no_return_of_a_path_that_had_not_failed");
    let before = ladder.events().len();
    restarts(&mut ladder, &[z(1), z(2)]);
    let events = ladder.events();
    let active = |event: &&Event| {
        let Event::PeerAddressChange { change, .. } = event else { return false };
        matches!(change, AddressChange::Active(_))
    };
    assert_eq!(events[before..].iter().find(active), None);
}

#[test]
fn a_restart_forgets_the_failures_of_the_association() {
    let name = "a_restart_forgets_the_failures_of_the_association";
    let mut ladder = single_with(name, |options| {
        options.retransmission.association_max = 3;
        options.retransmission.path_max = 20;
        options.heartbeat.interval = None;
    });
    ladder.sends("lost");
    wait(&mut ladder, secs(4));
    assert_eq!(ladder.path(z(1)).errors, 2);
    ladder.hears_all();
    restarts(&mut ladder, &[z(1)]);
    ladder.sends("lost again");
    wait(&mut ladder, secs(8));
    // RFC 9260, 5.2.4 (A)
    assert_eq!(ladder.state(), AssociationState::Established);
    wait(&mut ladder, secs(8));
    assert_eq!(ladder.state(), AssociationState::Closed);
}

#[test]
fn messages_that_only_the_peer_lets_out_are_said_to_wait_for_it() {
    let name = "messages_that_only_the_peer_lets_out_are_said_to_wait_for_it";
    let waits = |ladder: &Ladder| {
        ladder.network.endpoint(ladder.ours).view(ladder.id()).unwrap().awaits_peer()
    };
    let mut ladder = single(name);
    assert!(!waits(&ladder));
    ladder.sends("on its way, and nothing is left");
    assert!(!waits(&ladder));
    ladder.says(z(1), &[sack(&ladder, 1, &[], 0)]);
    ladder.sends("the window is closed");
    assert!(waits(&ladder));
    acks(&mut ladder, 1, &[]);
    assert!(!waits(&ladder), "it left");
    // With Nagle's algorithm the next message may let it out as well.
    let mut ladder = alone(name, config(|options| options.nagle = true));
    ladder.establishes(&[z(1)]);
    ladder.sends("on its way");
    ladder.sends("waits for more");
    assert!(ladder.network.endpoint(ladder.ours).view(ladder.id()).unwrap().send_buffered() > 0);
    assert!(!waits(&ladder));
}

#[test]
fn settings_for_all_addresses_hold_for_those_that_the_init_ack_brings() {
    let name = "settings_for_all_addresses_hold_for_those_that_the_init_ack_brings";
    let mut ladder = Ladder::new(name);
    let (ours, id) = (ladder.ours, ladder.connectx(&[z(1)]));
    ladder.hears();
    let of = |ladder: &mut Ladder, peer| -> PathSettings {
        ladder.network.with(ours, id, |association, _| association.path_settings(peer).unwrap())
    };
    let mut settings = of(&mut ladder, z(1));
    settings.rto.max = secs(10);
    settings.max_retrans = 2;
    ladder
        .network
        .with(ours, id, |association, now| association.set_all_path_settings(now, settings))
        .unwrap();
    ladder.says(z(1), &[ladder.init_ack(&[z(1), z(2)])]);
    assert_eq!((of(&mut ladder, z(1)), of(&mut ladder, z(2))), (settings, settings));
}

#[test]
fn a_retransmission_timer_that_is_bounded_for_a_path_expires_by_its_bound() {
    let name = "a_retransmission_timer_that_is_bounded_for_a_path_expires_by_its_bound";
    let mut ladder = single(name);
    let (ours, id) = (ladder.ours, ladder.id());
    ladder.network.with(ours, id, |association, now| {
        let mut settings = association.path_settings(z(1)).unwrap();
        (settings.rto.initial, settings.rto.min, settings.rto.max) = (ms(100), ms(100), ms(300));
        association.set_all_path_settings(now, settings).unwrap();
    });
    ladder.sends("lost");
    let first = ladder.hears();
    let again = ladder.hears_within(secs(1));
    assert_eq!(again.at - first.at, ms(300), "not the second that it was");
}

#[test]
fn heartbeats_end_at_once_where_they_are_switched_off_and_begin_where_they_are_switched_on() {
    let name = "heartbeats_end_at_once_where_they_are_switched_off";
    let mut ladder = single(name);
    let switch = |ladder: &mut usctp_assoc::sim::Ladder, interval| {
        let (ours, id) = (ladder.ours, ladder.id());
        ladder.network.with(ours, id, |association, now| {
            let mut settings = association.path_settings(z(1)).unwrap();
            settings.heartbeat_interval = interval;
            association.set_path_settings(now, z(1), settings).unwrap();
        });
    };
    switch(&mut ladder, None);
    ladder.silence(secs(120));
    switch(&mut ladder, Some(secs(5)));
    ladder.expects_within(secs(7), z(1), &[ChunkType::HEARTBEAT]);
}

#[test]
fn a_link_that_takes_more_is_used_from_the_next_packet_on() {
    let name = "a_link_that_takes_more_is_used_from_the_next_packet_on";
    let config = config(|options| options.path_mtu = 1400);
    let mut ladder = Ladder::probing(name, config, &[a(1)], &[z(1)]);
    let (ours, id) = (ladder.ours, ladder.connectx(&[z(1)]));
    ladder.network.with(ours, id, |association, now| {
        association.learn_link_mtu(now, z(1), 1500);
        association.learn_link_mtu(now, z(2), 9000);
    });
    assert_eq!(ladder.path(z(1)).mtu, 1500);
    ladder.network.with(ours, id, |association, now| association.learn_link_mtu(now, z(1), 9000));
    // RFC 9260, 7.2.1: with the initial window of what the path starts with.
    assert_eq!((ladder.path(z(1)).mtu, ladder.path(z(1)).cwnd), (9000, 2 * 8968));
}
