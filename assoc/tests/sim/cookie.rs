//! The state cookie: nothing is kept for an INIT, and no cookie but a fresh one of ours opens anything.

use std::net::IpAddr;

use bytes::{Bytes, BytesMut};
use usctp_assoc::sim::{Heard, Ladder, PEER_PORT, PORT, a, z};
use usctp_assoc::{AssociationState, Event};
use usctp_chunk::{
    Abort, Cause, Causes, Chunk, ChunkType, CommonHeader, PacketBuilder, Parameter, VerificationTag,
};

use crate::world::{config, secs};

fn asked(name: &str) -> (Ladder, Heard) {
    let mut ladder = Ladder::new(name);
    ladder.network.listen(ladder.ours, true);
    ladder.says_with_tag(VerificationTag::ZERO, z(1), &[ladder.init(&[z(1), z(2)])]);
    let init_ack = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
    (ladder, init_ack)
}

fn associations(ladder: &Ladder) -> usize {
    ladder.network.endpoint(ladder.ours).associations().count()
}

/// A packet with ports of the test's choice.
fn packet(source_port: u16, destination_port: u16, tag: VerificationTag, chunk: &Chunk) -> Bytes {
    let header = CommonHeader { source_port, destination_port, verification_tag: tag };
    let mut bytes = BytesMut::new();
    let mut builder = PacketBuilder::new(&mut bytes, header, 60_000);
    assert!(builder.push(chunk));
    builder.finish();
    bytes.freeze()
}

#[test]
fn ten_thousand_inits_leave_nothing_behind() {
    let name = "ten_thousand_inits_leave_nothing_behind";
    let mut ladder = Ladder::new(name);
    ladder.network.listen(ladder.ours, true);
    let mut answers = 0;
    for number in 0..10_000_u16 {
        let init = ladder.init(&[z(1), z(2), z(3)]);
        let bytes = packet(1024 + number, PORT, VerificationTag::ZERO, &init);
        ladder.says_bytes(z(1 + u8::try_from(number % 4).unwrap()), a(1), bytes);
        answers += ladder.hears_all().len();
    }
    assert_eq!(answers, 10_000, "each one was answered");
    assert_eq!(associations(&ladder), 0);
    let ours = ladder.ours;
    let deadline = ladder.network.with_endpoint(ours, |endpoint, _| endpoint.poll_timeout());
    assert_eq!(deadline, None, "no timer runs for any of them");
    assert!(ladder.events().is_empty());
}

#[test]
fn the_cookie_opens_the_association_once() {
    let (mut ladder, init_ack) = asked("the_cookie_opens_the_association_once");
    assert_eq!(associations(&ladder), 0);
    let echo = Chunk::CookieEcho(init_ack.cookie());
    ladder.says(z(1), std::slice::from_ref(&echo));
    assert_eq!(ladder.hears().chunks[0], Chunk::CookieAck);
    ladder.hears_all();
    ladder.id = ladder.network.newest(ladder.ours);
    let before = ladder.events();
    // RFC 9260, 5.2.4 D: the COOKIE ACK was lost.
    ladder.says(z(1), &[echo]);
    assert_eq!(ladder.hears().chunks[0], Chunk::CookieAck);
    assert_eq!((associations(&ladder), ladder.state()), (1, AssociationState::Established));
    assert_eq!(ladder.events(), before, "the application hears nothing of it");
}

#[test]
fn a_cookie_with_any_byte_altered_is_dropped_silently() {
    let (mut ladder, init_ack) = asked("a_cookie_with_any_byte_altered_is_dropped_silently");
    let cookie = init_ack.cookie();
    for byte in 0..cookie.len() {
        for bit in [0x01, 0x80] {
            let mut altered = BytesMut::from(&*cookie);
            altered[byte] ^= bit;
            ladder.says(z(1), &[Chunk::CookieEcho(altered.freeze())]);
            assert_eq!(associations(&ladder), 0, "byte {byte}");
        }
    }
    for len in 0..cookie.len() {
        ladder.says(z(1), &[Chunk::CookieEcho(cookie.slice(..len))]);
    }
    let longer: Bytes = [&cookie[..], &[0; 4]].concat().into();
    ladder.says(z(1), &[Chunk::CookieEcho(longer)]);
    assert_eq!(associations(&ladder), 0);
    assert!(ladder.hears_all().is_empty(), "RFC 9260, 5.1.5 (2)");
    // The true one still works.
    ladder.says(z(1), &[Chunk::CookieEcho(cookie)]);
    assert_eq!(associations(&ladder), 1);
}

#[test]
fn a_forged_cookie_is_dropped_silently() {
    let (mut ladder, _) = asked("a_forged_cookie_is_dropped_silently");
    for len in [0, 1, 31, 32, 33, 64, 100, 200, 1_000, 30_000] {
        ladder.says(z(1), &[Chunk::CookieEcho(vec![0x5a; len].into())]);
    }
    assert_eq!(associations(&ladder), 0);
    assert!(ladder.hears_all().is_empty());
}

#[test]
fn a_cookie_of_another_endpoint_is_dropped_silently() {
    let name = "a_cookie_of_another_endpoint_is_dropped_silently";
    let (_, theirs) = asked(name);
    let mut ladder = Ladder::with(name, config(|_| {}), &[a(2), a(1)], &[z(1)]);
    // Another endpoint draws other keys: the seeds of hosts differ within a network.
    let other = ladder.network.add_endpoint("B", &[a(9)], PORT, config(|_| {}));
    ladder.network.link(a(9), z(1), &usctp_assoc::sim::LinkSettings::default());
    ladder.network.listen(other, true);
    let echo = Chunk::CookieEcho(theirs.cookie());
    let tag = theirs.init().initiate_tag;
    ladder.says_bytes(z(1), a(9), packet(PEER_PORT, PORT, tag, &echo));
    assert_eq!(ladder.network.endpoint(other).associations().count(), 0);
    assert!(ladder.hears_all().is_empty());
}

#[test]
fn a_cookie_counts_only_with_the_ports_and_the_tag_it_was_made_for() {
    let name = "a_cookie_counts_only_with_the_ports_and_the_tag_it_was_made_for";
    let (mut ladder, init_ack) = asked(name);
    let echo = Chunk::CookieEcho(init_ack.cookie());
    let wrong_tag = VerificationTag(ladder.our_tag.0 ^ 4);
    ladder.says_bytes(z(1), a(1), packet(PEER_PORT, PORT, wrong_tag, &echo));
    ladder.says_bytes(z(1), a(1), packet(PEER_PORT + 1, PORT, ladder.our_tag, &echo));
    assert_eq!(associations(&ladder), 0, "RFC 9260, 5.1.5 (3)");
    assert!(ladder.hears_all().is_empty());
}

#[test]
fn an_expired_cookie_is_stale_and_says_by_how_much() {
    let (mut ladder, init_ack) = asked("an_expired_cookie_is_stale_and_says_by_how_much");
    ladder.network.run_for(secs(60));
    let (mut late, late_ack) = asked("an_expired_cookie_is_stale_and_says_by_how_much");
    ladder.says(z(1), &[Chunk::CookieEcho(init_ack.cookie())]);
    assert_eq!(associations(&ladder), 1, "Valid.Cookie.Life is 60 s");
    late.network.run_for(secs(63));
    late.says(z(1), &[Chunk::CookieEcho(late_ack.cookie())]);
    assert_eq!(associations(&late), 0);
    let heard = late.expects(z(1), &[ChunkType::ERROR]);
    assert_eq!(heard.header.verification_tag, late.peer_tag, "RFC 9260, 5.1.5 (4)");
    let Chunk::Error(causes) = heard.only() else { unreachable!() };
    let staleness = causes.iter().find_map(|cause| match cause {
        Ok(Cause::StaleCookie { staleness_us }) => Some(staleness_us),
        _ => None,
    });
    assert_eq!(staleness, Some(3_000_000));
}

#[test]
fn a_cookie_survives_one_change_of_keys_and_not_two() {
    let name = "a_cookie_survives_one_change_of_keys_and_not_two";
    let config = config(|options| options.cookie.key_lifetime = secs(60));
    for (age, answer) in
        [(50, Some(ChunkType::COOKIE_ACK)), (80, Some(ChunkType::ERROR)), (100, None)]
    {
        let mut ladder = Ladder::with(name, config.clone(), &[a(1)], &[z(1)]);
        ladder.network.listen(ladder.ours, true);
        // The key is 30 s old when it signs; it signs no more after 60 s, and counts no more after 120 s.
        ladder.network.run_for(secs(30));
        ladder.says_with_tag(VerificationTag::ZERO, z(1), &[ladder.init(&[])]);
        let init_ack = ladder.hears();
        for _ in 0..age {
            ladder.network.run_for(secs(1));
            let other = packet(9, PORT, VerificationTag::ZERO, &ladder.init(&[]));
            ladder.says_bytes(z(1), a(1), other);
        }
        ladder.hears_all();
        let tag = init_ack.init().initiate_tag;
        ladder.says_with_tag(tag, z(1), &[Chunk::CookieEcho(init_ack.cookie())]);
        let answers = ladder.hears_all();
        let answered = answers.first().map(|heard| heard.chunks[0].kind());
        assert_eq!(answered, answer, "after {age} s");
    }
}

#[test]
fn a_cookie_replayed_after_the_close_opens_nothing() {
    let name = "a_cookie_replayed_after_the_close_opens_nothing";
    for release in [false, true] {
        let (mut ladder, init_ack) = asked(name);
        let echo = Chunk::CookieEcho(init_ack.cookie());
        ladder.says(z(1), std::slice::from_ref(&echo));
        let id = ladder.network.newest(ladder.ours).unwrap();
        ladder.id = Some(id);
        let causes: Causes = std::iter::empty::<Cause>().collect();
        ladder.says(z(1), &[Chunk::Abort(Abort { tag_reflected: false, causes })]);
        assert_eq!(ladder.state(), AssociationState::Closed);
        if release {
            ladder.network.with_endpoint(ladder.ours, |endpoint, now| endpoint.release(now, id));
        }
        ladder.hears_all();
        let ups = |ladder: &Ladder| {
            ladder.events().iter().filter(|event| matches!(event, Event::CommUp { .. })).count()
        };
        assert_eq!(ups(&ladder), 1);
        ladder.says(z(1), &[echo]);
        assert_eq!(ups(&ladder), 1, "the tags were used (released: {release})");
        assert!(ladder.hears_all().iter().all(|heard| heard.chunks[0] != Chunk::CookieAck));
    }
}

#[test]
fn a_cookie_is_not_longer_for_a_long_list_than_a_packet_is() {
    let name = "a_cookie_is_not_longer_for_a_long_list_than_a_packet_is";
    let mut ladder = Ladder::new(name);
    ladder.network.listen(ladder.ours, true);
    let many: Vec<_> = (0..=250).map(|host| IpAddr::from([192, 0, 2, host])).collect();
    ladder.says_with_tag(VerificationTag::ZERO, z(1), &[ladder.init(&many)]);
    for heard in ladder.hears_all() {
        assert!(heard.bytes.len() + 20 <= 1500);
    }
    assert_eq!(associations(&ladder), 0);
}

#[test]
fn the_cookie_carries_no_secret_of_the_process() {
    // Threat 19: two endpoints with the same seed and calls give the same bytes, so no address in memory leaks.
    let name = "the_cookie_carries_no_secret_of_the_process";
    let (_one, first) = asked(name);
    let (_two, second) = asked(name);
    assert_eq!(first.bytes, second.bytes);
}

#[test]
fn a_cookie_echo_may_bring_data_along() {
    let (mut ladder, init_ack) = asked("a_cookie_echo_may_bring_data_along");
    let message = ladder.data("first");
    ladder.says(z(1), &[Chunk::CookieEcho(init_ack.cookie()), message]);
    let heard = ladder.hears();
    // RFC 9260, 5.1.5 (7): acknowledged at once, behind the COOKIE ACK.
    let kinds = usctp_assoc::sim::kinds(&heard.chunks);
    assert_eq!(kinds[..2], [ChunkType::COOKIE_ACK, ChunkType::SACK], "{kinds:?}");
    let id = ladder.network.newest(ladder.ours).unwrap();
    let received = ladder.network.application(ladder.ours, id).received();
    assert_eq!(received.len(), 1);
    assert_eq!(&received[0].payload[..], b"first");
}

#[test]
fn an_abort_beside_the_cookie_ends_what_the_cookie_opens() {
    let (mut ladder, init_ack) = asked("an_abort_beside_the_cookie_ends_what_the_cookie_opens");
    let abort = Abort { tag_reflected: false, causes: Default::default() };
    ladder.says(z(1), &[Chunk::CookieEcho(init_ack.cookie()), Chunk::Abort(abort)]);
    let counters = *ladder.network.endpoint(ladder.ours).counters();
    assert_eq!((counters.bad_tag, counters.accepted), (0, 1));
    assert!(ladder.hears_all().iter().all(|heard| !matches!(heard.only(), Chunk::Abort(_))));
}

#[test]
fn data_behind_a_stale_cookie_leaves_nothing_behind() {
    let (mut ladder, init_ack) = asked("data_behind_a_stale_cookie_leaves_nothing_behind");
    ladder.network.run_for(secs(100));
    let message = ladder.data("too late");
    ladder.says(z(1), &[Chunk::CookieEcho(init_ack.cookie()), message]);
    ladder.expects(z(1), &[ChunkType::ERROR]);
    assert_eq!((associations(&ladder), ladder.events().len()), (0, 0));
}

#[test]
fn a_cookie_beside_an_abort_that_nobody_believes_opens_nothing() {
    // RFC 9260, 8.5.1 (B): the packet is discarded, and not only the ABORT.
    let (mut ladder, init_ack) =
        asked("a_cookie_beside_an_abort_that_nobody_believes_opens_nothing");
    let echo = Chunk::CookieEcho(init_ack.cookie());
    let abort = Abort { tag_reflected: true, causes: Causes::default() };
    ladder.says(z(1), &[echo.clone(), Chunk::Abort(abort)]);
    assert!(ladder.hears_all().is_empty());
    assert_eq!((associations(&ladder), ladder.events().len()), (0, 0));
    // Nor is an association that exists touched by it.
    ladder.says(z(1), std::slice::from_ref(&echo));
    ladder.hears_all();
    let events = ladder.events();
    let abort = Abort { tag_reflected: true, causes: Causes::default() };
    ladder.says(z(1), &[echo, Chunk::Abort(abort)]);
    assert!(ladder.hears_all().is_empty());
    assert_eq!(ladder.events(), events);
}

#[test]
fn the_cookie_of_before_a_restart_opens_nothing_for_as_long_as_it_may_live() {
    let name = "the_cookie_of_before_a_restart_opens_nothing_for_as_long_as_it_may_live";
    let config = config(|options| options.heartbeat.interval = None);
    let lifetime = config.cookie.lifetime;
    let mut ladder = Ladder::with(name, config, &[a(1)], &[z(1)]);
    ladder.network.listen(ladder.ours, true);
    // RFC 9260, 5.2.6 (3): Z asks for a longer life, and gets twice as long a one at the most.
    let Chunk::Init(mut init) = ladder.init(&[]) else { unreachable!() };
    let increment_ms = u32::try_from(lifetime.as_millis() * 3).unwrap();
    init.parameters = [Parameter::CookiePreservative { increment_ms }].into_iter().collect();
    ladder.says_with_tag(VerificationTag::ZERO, z(1), &[Chunk::Init(init)]);
    let old = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
    let tag = old.init().initiate_tag;
    ladder.network.run_for(lifetime / 10);
    ladder.says(z(1), &[Chunk::CookieEcho(old.cookie())]);
    ladder.expects(z(1), &[ChunkType::COOKIE_ACK]);
    ladder.id = ladder.network.newest(ladder.ours);
    ladder.peer_tag = VerificationTag(0x0ace_0ace);
    ladder.says_with_tag(VerificationTag::ZERO, z(1), &[ladder.init(&[])]);
    let new = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
    ladder.says(z(1), &[Chunk::CookieEcho(new.cookie())]);
    ladder.expects(z(1), &[ChunkType::COOKIE_ACK]);
    let abort = Chunk::Abort(Abort { tag_reflected: false, causes: Causes::default() });
    ladder.says(z(1), &[abort]);
    assert_eq!(ladder.state(), AssociationState::Closed);
    ladder.hears_all();
    let before = associations(&ladder);
    for _ in 0..3 {
        ladder.network.run_for(lifetime / 2);
        ladder.says_with_tag(tag, z(1), &[Chunk::CookieEcho(old.cookie())]);
        assert_eq!(associations(&ladder), before, "after {:?}", ladder.network.elapsed());
        assert!(ladder.hears_all().iter().all(|heard| heard.chunks[0] != Chunk::CookieAck));
    }
}
