//! Addresses learned from the peer are confirmed by a nonce, and carry nothing before (RFC 9260, section 5.4).

use std::net::IpAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use usctp_assoc::sim::{Heard, Ladder, LinkSettings, a, payload, seed, z};
use usctp_assoc::{
    ActiveReason, AddressChange, AssociationState, Datagram, Event, Message, PathState, PmtudMode,
};
use usctp_chunk::{Abort, Chunk, ChunkType, Heartbeat, UnknownChunk, VerificationTag};

use crate::world::{World, config, ms, ports, secs};

fn info(heard: &Heard) -> Option<Bytes> {
    heard.chunks.iter().find_map(|chunk| match chunk {
        Chunk::Heartbeat(heartbeat) => Some(heartbeat.info.clone()),
        _ => None,
    })
}

fn answer(info: Bytes) -> Chunk {
    Chunk::HeartbeatAck(Heartbeat::new(info))
}

/// A is established with z(1), which it listed, and has learned z(3) and z(4).
fn learned(name: &str) -> Ladder {
    let mut ladder = Ladder::new(name);
    ladder.connectx(&[z(1)]);
    ladder.expects(z(1), &[ChunkType::INIT]);
    ladder.says(z(1), &[ladder.init_ack(&[z(1), z(3), z(4)])]);
    ladder.expects(z(1), &[ChunkType::COOKIE_ECHO]);
    ladder.says(z(1), &[Chunk::CookieAck]);
    ladder
}

/// The HEARTBEAT that A sends to an address; Z answers none of the others.
fn heartbeat(ladder: &mut Ladder, at: IpAddr) -> Bytes {
    let end = ladder.network.elapsed() + secs(20);
    while ladder.network.elapsed() < end {
        let heard = ladder.hears_within(secs(20));
        if let (true, Some(info)) = (heard.destination == at, info(&heard)) {
            return info;
        }
    }
    panic!("{at} gets no HEARTBEAT");
}

#[test]
fn a_learned_address_is_probed_and_its_answer_confirms_it() {
    let mut ladder = learned("a_learned_address_is_probed_and_its_answer_confirms_it");
    assert_eq!(ladder.path(z(3)).state, PathState::Unconfirmed);
    let nonce = heartbeat(&mut ladder, z(3));
    assert!(nonce.len() >= 8, "a 64-bit nonce");
    ladder.says(z(3), &[answer(nonce)]);
    assert_eq!(ladder.path(z(3)).state, PathState::Active);
    assert_eq!(ladder.path(z(4)).state, PathState::Unconfirmed);
    let event = Event::PeerAddressChange {
        peer: z(3),
        change: AddressChange::Active(ActiveReason::Confirmed),
    };
    assert!(ladder.events().contains(&event));
}

#[test]
fn heartbeats_that_cross_are_answered_and_ask_nothing_new() {
    let mut ladder = learned("heartbeats_that_cross_are_answered_and_ask_nothing_new");
    let nonce = heartbeat(&mut ladder, z(3));
    ladder.says(z(3), &[Chunk::Heartbeat(Heartbeat::new(Bytes::from_static(b"Z's own nonce")))]);
    let answers = ladder.hears_all();
    let kinds = answers.iter().flat_map(|heard| heard.chunks.iter().map(Chunk::kind));
    assert_eq!(kinds.collect::<Vec<_>>(), [ChunkType::HEARTBEAT_ACK]);
    ladder.says(z(3), &[answer(nonce)]);
    assert_eq!(ladder.path(z(3)).state, PathState::Active);
}

#[test]
fn a_pair_of_idle_hosts_falls_silent_although_each_has_addresses_that_are_not_confirmed() {
    let name =
        "a_pair_of_idle_hosts_falls_silent_although_each_has_addresses_that_are_not_confirmed";
    for latency in [0, 1, 40] {
        // The set-up is faster than the other links, so that HEARTBEATs to addresses that it told both sides of cross there.
        let link = LinkSettings::with_latency(ms(latency));
        let config = config(|options| options.pmtud.mode = PmtudMode::Off);
        let mut world = World::new(name, seed(latency), 3, &config, &link);
        world.network.alter_both(a(1), z(1), |link| link.latency = ms(latency / 4));
        let peers = ports(&world.theirs[..1]);
        world.network.connectx(world.a, &peers, Default::default()).unwrap();
        world.network.run_for(secs(60));
        let before = world.network.trace().0;
        world.network.run_for(secs(600));
        // RFC 9260, 8.3: HB.interval is 30 s, and half an RTO of a second is the least that comes to it.
        let heartbeats = 2 * 3 * (600_000 / 30_500 + 1);
        let sent = world.network.trace().0 - before;
        assert!(sent <= 2 * heartbeats, "{sent} packets in ten minutes");
    }
}

#[test]
fn no_more_than_hb_max_burst_addresses_are_probed_at_once() {
    let mut ladder = learned("no_more_than_hb_max_burst_addresses_are_probed_at_once");
    let at_once = ladder.hears_all().iter().filter(|heard| info(heard).is_some()).count();
    assert!(at_once <= 1, "HB.Max.Burst is 1, not {at_once}");
    heartbeat(&mut ladder, z(3));
    heartbeat(&mut ladder, z(4));
}

#[test]
fn a_wrong_nonce_confirms_nothing() {
    let mut ladder = learned("a_wrong_nonce_confirms_nothing");
    let nonce = heartbeat(&mut ladder, z(3));
    for byte in 0..nonce.len() {
        let mut wrong = BytesMut::from(&*nonce);
        wrong[byte] ^= 1;
        ladder.says(z(3), &[answer(wrong.freeze())]);
        assert_eq!(ladder.path(z(3)).state, PathState::Unconfirmed, "byte {byte}");
    }
    for wrong in [&b""[..], b"x", &nonce[1..], &nonce[..nonce.len() - 1], &[0; 200]] {
        ladder.says(z(3), &[answer(Bytes::copy_from_slice(wrong))]);
        assert_eq!(ladder.path(z(3)).state, PathState::Unconfirmed);
    }
    assert_eq!(ladder.state(), AssociationState::Established);
}

#[test]
fn a_nonce_from_the_wrong_address_does_not_confirm_that_address() {
    let mut ladder = learned("a_nonce_from_the_wrong_address_does_not_confirm_that_address");
    let nonce = heartbeat(&mut ladder, z(3));
    ladder.says(z(4), &[answer(nonce)]);
    assert_eq!(ladder.path(z(4)).state, PathState::Unconfirmed);
}

#[test]
fn an_answer_before_the_set_up_is_over_or_to_no_question_is_ignored() {
    let name = "an_answer_before_the_set_up_is_over_or_to_no_question_is_ignored";
    for state in [AssociationState::CookieEchoed, AssociationState::Established] {
        let mut ladder = Ladder::in_state(name, state);
        let before = ladder.paths();
        ladder.says(z(1), &[answer(Bytes::from_static(&[7; 40]))]);
        assert_eq!((ladder.state(), ladder.paths()), (state, before));
    }
}

#[test]
fn a_replayed_answer_does_not_revive_a_dead_path() {
    let name = "a_replayed_answer_does_not_revive_a_dead_path";
    let config = config(|options| options.heartbeat.interval = Some(ms(500)));
    let mut ladder = Ladder::with(name, config, &[a(1)], &[z(1), z(3)]);
    ladder.connectx(&[z(1)]);
    ladder.expects(z(1), &[ChunkType::INIT]);
    ladder.says(z(1), &[ladder.init_ack(&[z(1), z(3)])]);
    ladder.expects(z(1), &[ChunkType::COOKIE_ECHO]);
    ladder.says(z(1), &[Chunk::CookieAck]);
    let old = heartbeat(&mut ladder, z(3));
    ladder.says(z(3), &[answer(old.clone())]);
    assert_eq!(ladder.path(z(3)).state, PathState::Active);
    // z(1) answers everything from now on, z(3) nothing.
    while ladder.path(z(3)).state != PathState::Inactive {
        let heard = ladder.hears_within(secs(120));
        if let (true, Some(info)) = (heard.destination == z(1), info(&heard)) {
            ladder.says(z(1), &[answer(info)]);
        }
    }
    assert_eq!(ladder.path(z(3)).state, PathState::Inactive);
    let errors = ladder.path(z(3)).errors;
    ladder.says(z(3), &[answer(old)]);
    assert_eq!((ladder.path(z(3)).state, ladder.path(z(3)).errors), (PathState::Inactive, errors));
}

#[test]
fn every_heartbeat_carries_a_fresh_nonce() {
    let mut ladder = learned("every_heartbeat_carries_a_fresh_nonce");
    let first = heartbeat(&mut ladder, z(3));
    let second = heartbeat(&mut ladder, z(3));
    assert_ne!(first[..8], second[..8], "not only the time that follows it differs");
}

#[test]
fn an_unconfirmed_address_never_gets_data_even_when_all_others_are_silent() {
    let name = "an_unconfirmed_address_never_gets_data_even_when_all_others_are_silent";
    let mut ladder = learned(name);
    let (ours, id) = (ladder.ours, ladder.id());
    ladder.network.offer(ours, id, (0..20).map(|number| Message::new(0, payload(number, 3_000))));
    ladder.network.run_for(crate::world::HOUR);
    let heard = ladder.hears_all();
    let data =
        heard.iter().filter(|heard| heard.chunks.iter().any(|c| matches!(c, Chunk::Data(_))));
    assert!(data.clone().count() > 3);
    assert!(data.clone().all(|heard| heard.destination == z(1)));
    let probes = heard.iter().filter(|heard| heard.destination == z(3));
    assert!(probes.clone().count() > 1);
    for probe in probes {
        assert!(probe.chunks.iter().all(|chunk| matches!(chunk, Chunk::Heartbeat(_))), "{probe:?}");
    }
    assert_eq!(ladder.state(), AssociationState::Closed, "Association.Max.Retrans is over");
}

#[test]
fn answers_to_an_unconfirmed_address_go_to_a_confirmed_one() {
    let mut ladder = learned("answers_to_an_unconfirmed_address_go_to_a_confirmed_one");
    ladder.hears_all();
    let message = ladder.data("from an address that nobody verified");
    let what = UnknownChunk { kind: ChunkType(0x7f), flags: 0, value: Bytes::from_static(b"?") };
    ladder.says(z(4), &[message, Chunk::Unknown(what)]);
    let heard = ladder.hears_all();
    let has =
        |kind| heard.iter().any(|heard| heard.chunks.iter().any(|chunk| chunk.kind() == kind));
    assert!(has(ChunkType::SACK) && has(ChunkType::ERROR), "{heard:?}");
    assert!(heard.iter().all(|heard| heard.destination == z(1)));
}

#[test]
fn unanswered_probes_of_an_unconfirmed_address_do_not_end_the_association() {
    // RFC 9260, 5.4: the path's error counter counts them, the association's does not.
    let name = "unanswered_probes_of_an_unconfirmed_address_do_not_end_the_association";
    let mut ladder = learned(name);
    let end = ladder.network.elapsed() + secs(3_000);
    while ladder.network.elapsed() < end {
        let heard = ladder.hears_within(secs(3_000));
        if let (true, Some(info)) = (heard.destination == z(1), info(&heard)) {
            ladder.says(z(1), &[answer(info)]);
        }
    }
    assert_eq!(ladder.state(), AssociationState::Established);
}

#[test]
fn the_side_that_was_opened_confirms_only_where_its_init_ack_went() {
    let name = "the_side_that_was_opened_confirms_only_where_its_init_ack_went";
    let mut ladder = Ladder::new(name);
    ladder.network.listen(ladder.ours, true);
    let zero = usctp_chunk::VerificationTag::ZERO;
    ladder.says_with_tag(zero, z(2), &[ladder.init(&[z(1), z(2), z(3)])]);
    let init_ack = ladder.expects(z(2), &[ChunkType::INIT_ACK]);
    ladder.says(z(2), &[Chunk::CookieEcho(init_ack.cookie())]);
    assert_eq!(ladder.hears().chunks[0], Chunk::CookieAck);
    ladder.id = ladder.network.newest(ladder.ours);
    let confirmed: Vec<_> = ladder
        .paths()
        .into_iter()
        .filter(|path| path.state == PathState::Active)
        .map(|path| path.peer)
        .collect();
    assert_eq!(confirmed, [z(2)]);
    assert_eq!(ladder.paths().len(), 3);
}

#[test]
fn an_abort_with_our_tag_ends_the_association_from_an_address_that_is_not_confirmed_too() {
    let name = "an_abort_with_our_tag_ends_the_association_from_an_address_that_is_not_confirmed";
    let mut ladder = learned(name);
    let abort = Abort { tag_reflected: false, causes: Default::default() };
    ladder.says(z(3), &[Chunk::Abort(abort)]);
    // Only one that reflects the peer's tag may be a third host's.
    assert_eq!(ladder.state(), AssociationState::Closed);
}

#[test]
fn an_address_of_the_init_ack_is_the_peers_for_the_next_packet_though_nothing_left_between() {
    let name = "an_address_of_the_init_ack_is_the_peers_for_the_next_packet";
    let mut ladder = Ladder::new(name);
    ladder.connectx(&[z(1)]);
    ladder.expects(z(1), &[ChunkType::INIT]);
    let abort = Chunk::Abort(Abort { tag_reflected: false, causes: Default::default() });
    let packets = [(z(1), ladder.init_ack(&[z(1), z(3)])), (z(3), abort)].map(|(source, chunk)| {
        let payload = ladder.packet(ladder.our_tag, &[chunk]);
        let (destination, ecn) = (a(1), usctp_assoc::Ecn::NotEct);
        Datagram { source, destination, udp_port: None, zone: 0, ecn, payload }
    });
    ladder.network.with_endpoint(ladder.ours, |endpoint, now| {
        packets.into_iter().for_each(|packet| endpoint.handle_datagram(now, packet));
    });
    assert_eq!(ladder.state(), AssociationState::Closed);
}

#[test]
fn the_cookie_ack_asks_an_address_that_is_not_confirmed_though_a_close_called_off_all_heartbeats() {
    let name = "the_cookie_ack_asks_an_address_that_is_not_confirmed_though_a_close_called_it_off";
    let mut ladder = Ladder::new(name);
    ladder.network.listen(ladder.ours, true);
    ladder.says_with_tag(VerificationTag::ZERO, z(1), &[ladder.init(&[z(1), z(2)])]);
    let cookie = Chunk::CookieEcho(ladder.expects(z(1), &[ChunkType::INIT_ACK]).cookie());
    ladder.says(z(1), std::slice::from_ref(&cookie));
    ladder.hears_all();
    // COOKIE ACK was lost, and the cookie comes again, from an address that has not answered yet.
    let payload = ladder.packet(ladder.our_tag, &[cookie]);
    let (source, destination, ecn) = (z(2), a(1), usctp_assoc::Ecn::NotEct);
    let datagram = Datagram { source, destination, udp_port: None, zone: 0, ecn, payload };
    ladder.network.with_endpoint(ladder.ours, |endpoint, now| {
        endpoint.handle_datagram(now, datagram);
        let id = endpoint.associations().max().unwrap();
        endpoint.association(id).unwrap().shutdown(now);
    });
    // RFC 9260, 5.4: nothing goes there without a nonce until one came back.
    let heard = ladder.hears_all();
    let there = heard.iter().filter(|heard| heard.destination == z(2));
    let kinds: Vec<_> = there.map(|heard| usctp_assoc::sim::kinds(&heard.chunks)).collect();
    assert_eq!(kinds, [[ChunkType::COOKIE_ACK, ChunkType::HEARTBEAT]]);
}

#[test]
fn an_idle_confirmed_path_is_probed_every_rto_and_interval() {
    let mut ladder = Ladder::new("an_idle_confirmed_path_is_probed_every_rto_and_interval");
    ladder.establishes(&[z(1)]);
    let mut last = ladder.network.elapsed();
    let mut gaps = Vec::new();
    for _ in 0..5 {
        let heard = ladder.hears_within(secs(60));
        ladder.says(z(1), &[answer(info(&heard).expect("a HEARTBEAT"))]);
        // RFC 9260, 8.3: HB.interval + RTO, give or take half an RTO, which is 1 s.
        let gap = heard.at - last;
        assert!((ms(30_500)..=ms(31_500)).contains(&gap), "{gap:?}");
        gaps.push(gap);
        last = heard.at;
    }
    gaps.dedup();
    assert!(gaps.len() > 3, "they are jittered: {gaps:?}");
    assert_eq!(ladder.path(z(1)).errors, 0);
    assert_eq!(ladder.path(z(1)).srtt, Some(Duration::ZERO));
}
