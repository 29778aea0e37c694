//! Cookies, timers and collisions of the set-up, rule by rule (RFC 9260, sections 4, 5.1.3 to 5.4).

use bytes::Bytes;
use usctp_assoc::sim::{Heard, Ladder, a, z};
use usctp_assoc::{AssociationState, ConnectOptions, Datagram, Ecn, Event};
use usctp_chunk::{Cause, Chunk, ChunkType, Heartbeat, Init, Parameter, VerificationTag};

use crate::world::{ms, secs};

use AssociationState::{
    Closed, CookieEchoed, CookieWait, Established, ShutdownAckSent, ShutdownPending,
    ShutdownReceived, ShutdownSent,
};

const ZERO: VerificationTag = VerificationTag::ZERO;
const NEW_TAG: VerificationTag = VerificationTag(0x0ace_0ace);

/// Where the tie-tags stand in a cookie: behind version, times, ports and tags.
const TIES: std::ops::Range<usize> = 44..52;

/// Z asks with a tag of its choice, and A answers.
fn asks(ladder: &mut Ladder, tag: VerificationTag) -> Heard {
    ladder.peer_tag = tag;
    ladder.says_with_tag(ZERO, z(1), &[ladder.init(&[])]);
    ladder.expects(z(1), &[ChunkType::INIT_ACK])
}

/// Z sends a cookie back under the tag that came with it.
fn echoes(ladder: &mut Ladder, init_ack: &Heard) {
    let tag = init_ack.init().initiate_tag;
    ladder.says_with_tag(tag, z(1), &[Chunk::CookieEcho(init_ack.cookie())]);
}

fn stale() -> Chunk {
    Chunk::Error(Ladder::causes(Cause::StaleCookie { staleness_us: 1_000 }))
}

#[test]
fn until_the_cookie_ack_comes_only_the_cookie_echo_is_sent() {
    let mut ladder = Ladder::new("until_the_cookie_ack_comes_only_the_cookie_echo_is_sent");
    ladder.connectx(&[z(1)]);
    ladder.sends("during COOKIE-WAIT");
    ladder.expects(z(1), &[ChunkType::INIT]);
    ladder.says(z(1), &[ladder.init_ack(&[z(1), z(2)])]);
    ladder.expects(z(1), &[ChunkType::COOKIE_ECHO, ChunkType::DATA]);
    ladder.sends("during COOKIE-ECHOED");
    ladder.silence(ms(900));
    ladder.says(z(1), &[Chunk::CookieAck]);
    assert_eq!(ladder.hears().chunks[0].kind(), ChunkType::DATA);
}

#[test]
fn an_init_in_cookie_wait_leaves_t1_running() {
    let mut ladder = Ladder::new("an_init_in_cookie_wait_leaves_t1_running");
    ladder.connectx(&[z(1)]);
    let init = ladder.expects(z(1), &[ChunkType::INIT]);
    ladder.network.run_for(ms(300));
    let tag = ladder.peer_tag;
    asks(&mut ladder, tag);
    assert_eq!(ladder.state(), CookieWait);
    let again = ladder.expects_within(secs(2), z(1), &[ChunkType::INIT]);
    assert_eq!((again.at - init.at, again.bytes), (secs(1), init.bytes));
}

#[test]
fn an_init_in_cookie_wait_is_answered_only_where_the_caller_pointed_to() {
    let name = "an_init_in_cookie_wait_is_answered_only_where_the_caller_pointed_to";
    let mut ladder = Ladder::in_state(name, CookieWait);
    // Two hosts that open at once and send from addresses that the other did not list would else never come together.
    for from in [z(3), z(1)] {
        ladder.says_with_tag(ZERO, from, &[ladder.init(&[z(3), z(1)])]);
        let init_ack = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
        assert_eq!(init_ack.source, a(1), "from {from}");
        assert!(ladder.hears_all().is_empty(), "z(3) was not listed by the caller");
    }
}

#[test]
fn who_opens_at_once_from_an_address_that_is_not_listed_comes_up_all_the_same() {
    let name = "who_opens_at_once_from_an_address_that_is_not_listed_comes_up_all_the_same";
    let mut ladder = Ladder::in_state(name, CookieWait);
    ladder.says_with_tag(ZERO, z(3), &[ladder.init(&[z(3), z(1)])]);
    let init_ack = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
    ladder.says(z(3), &[Chunk::CookieEcho(init_ack.cookie())]);
    assert_eq!(ladder.state(), Established);
    assert!(ladder.path(z(1)).primary, "the cookie has shown that it is the peer's");
}

#[test]
fn a_cookie_is_tied_to_the_association_that_exists_and_to_none_otherwise() {
    let name = "a_cookie_is_tied_to_the_association_that_exists_and_to_none_otherwise";
    for (state, tied) in [
        (Closed, false),
        (CookieWait, false),
        (CookieEchoed, true),
        (Established, true),
        (ShutdownSent, true),
        (ShutdownReceived, true),
    ] {
        let mut ladder = Ladder::in_state(name, state);
        ladder.network.listen(ladder.ours, true);
        let (ours, theirs) = (ladder.our_tag, ladder.peer_tag);
        let cookie = asks(&mut ladder, NEW_TAG).cookie();
        // Where there are none they are left out.
        let has_ties = cookie[1] & 8 != 0;
        let (local, peer) =
            if has_ties { cookie[TIES].split_at(4) } else { (&[0; 4][..], &[0; 4][..]) };
        assert_eq!((local != [0; 4], peer != [0; 4]), (tied, tied), "{state:?}");
        if tied && state != CookieEchoed {
            // Whoever reads the cookie learns no tag with which he could disturb the association.
            for tag in [ours, theirs] {
                let known = cookie.windows(4).any(|window| window == tag.0.to_be_bytes());
                assert!(!known, "{state:?}");
            }
        }
    }
}

#[test]
fn a_cookie_is_small() {
    let mut ladder = Ladder::new("a_cookie_is_small");
    ladder.network.listen(ladder.ours, true);
    let cookie = asks(&mut ladder, NEW_TAG).cookie();
    assert!(cookie.len() <= 128, "{} bytes", cookie.len());
}

#[test]
fn a_stale_cookie_does_not_restart_an_association() {
    let name = "a_stale_cookie_does_not_restart_an_association";
    let mut ladder = Ladder::in_state(name, Established);
    let init_ack = asks(&mut ladder, NEW_TAG);
    ladder.network.run_for(secs(61));
    ladder.hears_all();
    let events = ladder.events();
    echoes(&mut ladder, &init_ack);
    let heard = ladder.expects(z(1), &[ChunkType::ERROR]);
    assert_eq!(heard.header.verification_tag, NEW_TAG);
    assert_eq!((ladder.state(), ladder.events()), (Established, events));
}

#[test]
fn a_repeated_cookie_is_acknowledged_however_old_it_is() {
    let mut ladder = Ladder::new("a_repeated_cookie_is_acknowledged_however_old_it_is");
    ladder.network.listen(ladder.ours, true);
    let tag = ladder.peer_tag;
    let init_ack = asks(&mut ladder, tag);
    echoes(&mut ladder, &init_ack);
    ladder.expects(z(1), &[ChunkType::COOKIE_ACK]);
    ladder.network.run_for(secs(100));
    ladder.hears_all();
    echoes(&mut ladder, &init_ack);
    assert_eq!(ladder.hears().chunks[0], Chunk::CookieAck, "RFC 9260, 5.2.4, item 3");
}

#[test]
fn a_restart_resets_congestion_control() {
    let mut ladder =
        Ladder::in_state("a_restart_resets_congestion_control", AssociationState::Established);
    let (cwnd, ssthresh) = (ladder.path(z(1)).cwnd, ladder.path(z(1)).ssthresh);
    ladder.sends("lost");
    ladder.network.run_for(ms(1_500));
    assert!(ladder.path(z(1)).cwnd < cwnd, "T3-rtx expired");
    assert!(ladder.path(z(1)).ssthresh != ssthresh && ladder.path(z(1)).flight > 0);
    ladder.hears_all();
    let init_ack = asks(&mut ladder, NEW_TAG);
    echoes(&mut ladder, &init_ack);
    let path = ladder.path(z(1));
    assert_eq!((path.cwnd, path.ssthresh, path.flight), (cwnd, ssthresh, 0));
    assert_eq!(path.rto, secs(1));
}

#[test]
fn a_restart_is_answered_with_the_streams_that_the_association_has() {
    let mut ladder = Ladder::new("a_restart_is_answered_with_the_streams_that_the_association_has");
    let options = ConnectOptions::default().with(|options| options.outbound_streams = Some(4));
    ladder.connectx_with(&[z(1)], options);
    ladder.expects(z(1), &[ChunkType::INIT]);
    ladder.says(z(1), &[ladder.init_ack(&[])]);
    ladder.hears_all();
    ladder.says(z(1), &[Chunk::CookieAck]);
    let init_ack = asks(&mut ladder, NEW_TAG);
    assert_eq!(init_ack.init().outbound_streams, 4, "RFC 9260, 5.2.2");
}

#[test]
fn in_shutdown_ack_sent_a_restart_brings_shutdown_ack_and_the_reason() {
    let name = "in_shutdown_ack_sent_a_restart_brings_shutdown_ack_and_the_reason";
    let mut ladder = Ladder::in_state(name, Established);
    let (ours, theirs) = (ladder.our_tag, ladder.peer_tag);
    let init_ack = asks(&mut ladder, NEW_TAG);
    ladder.says_with_tag(ours, z(1), &[ladder.shutdown(0)]);
    let end = ladder.hears_all();
    assert_eq!(end.last().unwrap().chunks, [Chunk::ShutdownAck], "SHUTDOWN for an old TSN");
    let events = ladder.events();
    echoes(&mut ladder, &init_ack);
    let chunks: Vec<_> = ladder.hears_all().into_iter().flat_map(|heard| heard.chunks).collect();
    assert!(chunks.contains(&Chunk::ShutdownAck), "{chunks:?}");
    let causes = chunks.iter().find_map(|chunk| match chunk {
        Chunk::Error(causes) => causes.iter().next(),
        _ => None,
    });
    assert_eq!(causes, Some(Ok(Cause::CookieReceivedWhileShuttingDown)));
    assert_eq!((ladder.state(), ladder.events()), (ShutdownAckSent, events));
    assert_ne!(theirs, NEW_TAG);
}

#[test]
fn a_collision_takes_the_peers_tag_of_the_cookie_and_stops_t1() {
    let name = "a_collision_takes_the_peers_tag_of_the_cookie_and_stops_t1";
    for state in [CookieWait, CookieEchoed, Established] {
        let during = if state == Established { CookieEchoed } else { state };
        let mut ladder = Ladder::in_state(name, during);
        let init_ack = asks(&mut ladder, NEW_TAG);
        if state == Established {
            ladder.says(z(1), &[Chunk::CookieAck]);
        }
        assert_eq!(ladder.state(), state);
        echoes(&mut ladder, &init_ack);
        let heard = ladder.expects(z(1), &[ChunkType::COOKIE_ACK]);
        assert_eq!(heard.header.verification_tag, NEW_TAG, "{state:?}");
        assert_eq!(ladder.state(), Established);
        ladder.silence(secs(20));
        ladder.sends("with the new tag");
        assert_eq!(ladder.hears().header.verification_tag, NEW_TAG, "{state:?}");
    }
}

#[test]
fn a_cookie_with_both_tags_establishes_an_association_that_waits_for_cookie_ack() {
    // RFC 9260, 5.2.4 (D): the INITs crossed, and Z's COOKIE ECHO comes before its COOKIE ACK.
    let name = "a_cookie_with_both_tags_establishes_an_association_that_waits_for_cookie_ack";
    let mut ladder = Ladder::in_state(name, CookieWait);
    let tag = ladder.peer_tag;
    let init_ack = asks(&mut ladder, tag);
    ladder.says(z(1), &[ladder.init_ack(&[])]);
    ladder.expects(z(1), &[ChunkType::COOKIE_ECHO]);
    assert_eq!(ladder.state(), CookieEchoed);
    echoes(&mut ladder, &init_ack);
    ladder.expects(z(1), &[ChunkType::COOKIE_ACK]);
    assert_eq!(ladder.state(), Established);
    ladder.silence(secs(20));
}

#[test]
fn a_late_cookie_changes_neither_state_nor_timers() {
    // RFC 9260, 5.2.4 (C): A opens; the cookie of Z's earlier INIT arrives during the set-up.
    let mut ladder = Ladder::new("a_late_cookie_changes_neither_state_nor_timers");
    ladder.network.listen(ladder.ours, true);
    let tag = ladder.peer_tag;
    let early = asks(&mut ladder, tag);
    ladder.network.listen(ladder.ours, false);
    ladder.connectx(&[z(1)]);
    ladder.expects(z(1), &[ChunkType::INIT]);
    ladder.says(z(1), &[ladder.init_ack(&[])]);
    let echo = ladder.expects(z(1), &[ChunkType::COOKIE_ECHO]);
    ladder.network.run_for(ms(400));
    echoes(&mut ladder, &early);
    assert!(ladder.hears_all().is_empty());
    assert_eq!(ladder.state(), CookieEchoed);
    let again = ladder.expects_within(secs(3), z(1), &[ChunkType::COOKIE_ECHO]);
    assert_eq!(again.at - echo.at, secs(1), "T1-cookie ran on");
}

#[test]
fn a_stale_cookie_error_counts_only_where_a_cookie_is_out() {
    let name = "a_stale_cookie_error_counts_only_where_a_cookie_is_out";
    for state in
        [CookieWait, Established, ShutdownPending, ShutdownSent, ShutdownReceived, ShutdownAckSent]
    {
        let mut ladder = Ladder::in_state(name, state);
        let (paths, events) = (ladder.paths(), ladder.events());
        ladder.says(z(1), &[stale()]);
        assert!(ladder.hears_all().is_empty());
        assert_eq!((ladder.state(), ladder.paths(), ladder.events()), (state, paths, events));
    }
    let mut ladder = Ladder::in_state(name, CookieEchoed);
    ladder.says(z(1), &[stale()]);
    assert_eq!(ladder.state(), CookieWait);
}

#[test]
fn the_wish_for_a_longer_life_of_the_cookie_is_the_round_trip_and_a_second() {
    let name = "the_wish_for_a_longer_life_of_the_cookie_is_the_round_trip_and_a_second";
    let mut ladder = Ladder::in_state(name, CookieEchoed);
    ladder.network.run_for(ms(250));
    ladder.says(z(1), &[stale()]);
    let heard = ladder.expects(z(1), &[ChunkType::INIT]);
    let wish = |init: &Init| {
        init.parameters.iter().find_map(|parameter| match parameter {
            Ok(Parameter::CookiePreservative { increment_ms }) => Some(increment_ms),
            _ => None,
        })
    };
    assert_eq!(wish(heard.init()), Some(1_250), "RFC 9260, 5.2.6");
}

#[test]
fn a_cookie_ack_to_an_unconfirmed_address_rides_with_a_heartbeat() {
    let mut ladder = Ladder::new("a_cookie_ack_to_an_unconfirmed_address_rides_with_a_heartbeat");
    ladder.network.listen(ladder.ours, true);
    ladder.says_with_tag(ZERO, z(1), &[ladder.init(&[z(1), z(3)])]);
    let init_ack = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
    echoes(&mut ladder, &init_ack);
    ladder.hears_all();
    ladder.says(z(3), &[Chunk::CookieEcho(init_ack.cookie())]);
    let heard = ladder.expects(z(3), &[ChunkType::COOKIE_ACK, ChunkType::HEARTBEAT]);
    let Chunk::Heartbeat(heartbeat) = &heard.chunks[1] else { unreachable!() };
    assert!(heartbeat.info.len() >= 8, "a nonce of 64 bits");
}

#[test]
fn a_cookie_ack_stands_before_whatever_else_waits_to_be_sent() {
    let mut ladder = Ladder::new("a_cookie_ack_stands_before_whatever_else_waits_to_be_sent");
    ladder.network.listen(ladder.ours, true);
    let tag = ladder.peer_tag;
    let init_ack = asks(&mut ladder, tag);
    echoes(&mut ladder, &init_ack);
    ladder.hears_all();
    // Both packets are read before anything is sent.
    let heartbeat = Chunk::Heartbeat(Heartbeat::new(Bytes::from_static(&[7; 20])));
    let packets = [heartbeat, Chunk::CookieEcho(init_ack.cookie())]
        .map(|chunk| ladder.packet(ladder.our_tag, &[chunk]));
    let ours = ladder.ours;
    ladder.network.with_endpoint(ours, |endpoint, now| {
        for payload in packets {
            let ecn = Ecn::NotEct;
            let (source, destination) = (z(1), a(1));
            let datagram = Datagram { source, destination, udp_port: None, zone: 0, ecn, payload };
            endpoint.handle_datagram(now, datagram);
        }
    });
    ladder.expects(z(1), &[ChunkType::COOKIE_ACK, ChunkType::HEARTBEAT_ACK]);
}

#[test]
fn the_application_learns_of_a_restart_and_not_of_a_loss() {
    let name = "the_application_learns_of_a_restart_and_not_of_a_loss";
    let mut ladder = Ladder::in_state(name, Established);
    let init_ack = asks(&mut ladder, NEW_TAG);
    echoes(&mut ladder, &init_ack);
    let events = ladder.events();
    assert!(events.contains(&Event::Restart));
    assert!(!events.iter().any(|event| matches!(event, Event::CommLost(_))), "{events:?}");
}
