//! SCTP over UDP (RFC 6951): where packets go when the peer's UDP port changes, and what ICMP says about one.

use bytes::Bytes;
use usctp_assoc::sim::{Ladder, a, z};
use usctp_assoc::{
    AssociationState, ConnectOptions, Event, LostReason, NoticeKind, OnRefused, PathState,
};
use usctp_chunk::{Abort, Chunk, ChunkType, Heartbeat, ShutdownComplete, VerificationTag};

use crate::rfc::{PMDCS, double_with, hears_numbers, send, single_with};
use crate::world::{config, secs};

const PORT: Option<u16> = Some(9899);
const OTHER: Option<u16> = Some(40_000);

/// A in ESTABLISHED with two addresses of Z's over UDP.
fn over_udp(name: &str) -> Ladder {
    let mut ladder = double_with(name, |options| options.udp_port = PORT);
    for number in [1, 2] {
        ladder.says_over(z(number), PORT, &[heartbeat()]);
        assert_eq!(ladder.hears().udp_port, PORT);
    }
    ladder
}

fn heartbeat() -> Chunk {
    Chunk::Heartbeat(Heartbeat::new(Bytes::from_static(b"is this the way?")))
}

/// The UDP ports that A has for Z's addresses.
fn ports(ladder: &Ladder) -> Vec<Option<u16>> {
    ladder.paths().iter().map(|path| path.udp_port).collect()
}

#[test]
fn an_address_is_reached_at_the_udp_port_that_its_last_packet_came_from() {
    let mut ladder =
        over_udp("an_address_is_reached_at_the_udp_port_that_its_last_packet_came_from");
    // RFC 6951, 5.4: a translator gives Z's first address another port.
    ladder.says_over(z(1), OTHER, &[heartbeat()]);
    assert_eq!(ladder.expects(z(1), &[ChunkType::HEARTBEAT_ACK]).udp_port, OTHER);
    assert_eq!(ports(&ladder), [OTHER, PORT], "5.1: each address has its own");
    ladder.sends("there");
    assert_eq!(ladder.expects(z(1), &[ChunkType::DATA]).udp_port, OTHER);
}

#[test]
fn an_init_that_crosses_ours_is_answered_where_ours_went_whatever_port_it_came_from() {
    let name = "an_init_that_crosses_ours_is_answered_where_ours_went_whatever_port_it_came_from";
    let mut ladder =
        Ladder::with(name, config(|options| options.udp_port = PORT), &[a(1)], &[z(1), z(9)]);
    ladder.connectx(&[z(1)]);
    assert_eq!(ladder.expects(z(1), &[ChunkType::INIT]).udp_port, PORT);
    // RFC 9260, 5.2.1: not at an address that the application has not listed.
    let init = ladder.init(&[z(1), z(9)]);
    ladder.says_over_with_tag(VerificationTag::ZERO, z(9), OTHER, &[init]);
    assert_eq!(ladder.expects(z(1), &[ChunkType::INIT_ACK]).udp_port, PORT);
}

#[test]
fn an_init_ack_from_an_address_that_was_not_asked_says_its_udp_port_too() {
    let name = "an_init_ack_from_an_address_that_was_not_asked_says_its_udp_port_too";
    let mut ladder =
        Ladder::with(name, config(|options| options.udp_port = PORT), &[a(1)], &[z(1), z(9)]);
    ladder.connectx(&[z(1)]);
    ladder.expects(z(1), &[ChunkType::INIT]);
    let init_ack = ladder.init_ack(&[z(1), z(9)]);
    ladder.says_over(z(9), OTHER, &[init_ack]);
    assert_eq!(ladder.path(z(9)).udp_port, OTHER);
}

#[test]
fn a_packet_without_udp_ends_the_encapsulation_for_its_address_and_one_with_udp_begins_it() {
    let name = "a_packet_without_udp_ends_the_encapsulation";
    let mut ladder = single_with(name, |options| options.udp_port = PORT);
    ladder.says_over(z(1), None, &[heartbeat()]);
    assert_eq!(ladder.hears().udp_port, None);
    send(&mut ladder, 1, PMDCS);
    let plain = ladder.hears().bytes.len();
    ladder.says_over(z(1), PORT, &[ladder.sack(2), heartbeat()]);
    ladder.hears_all();
    send(&mut ladder, 1, PMDCS);
    // RFC 6951, 5.6: a UDP header takes its 8 bytes of the path's MTU.
    let encapsulated = ladder.hears();
    assert_eq!((encapsulated.udp_port, plain - encapsulated.bytes.len()), (PORT, 8));
}

#[test]
fn what_was_sent_without_udp_and_does_not_fit_beside_it_is_sent_again() {
    let name = "what_was_sent_without_udp_and_does_not_fit_beside_it_is_sent_again";
    let mut ladder = single_with(name, |options| options.heartbeat.interval = None);
    send(&mut ladder, 1, crate::rfc::FULL);
    assert_eq!(hears_numbers(&mut ladder), [1]);
    ladder.says_over(z(1), PORT, &[heartbeat()]);
    let heard = ladder.hears_all();
    assert!(heard.iter().all(|heard| heard.udp_port == PORT));
    assert_eq!(crate::rfc::numbers(&ladder, &heard), [1], "cut by IP (RFC 9260, 6.9)");
    assert_eq!(ladder.path(z(1)).flight, PMDCS, "it is outstanding once");
}

#[test]
fn only_who_knows_the_tag_of_this_side_moves_the_udp_port() {
    let name = "only_who_knows_the_tag_of_this_side_moves_the_udp_port";
    let mut ladder = over_udp(name);
    let (ours, theirs) = (ladder.our_tag, ladder.peer_tag);
    let init = ladder.init(&[z(1), z(2)]);
    let abort = Abort { tag_reflected: true, causes: Default::default() };
    let complete = ShutdownComplete { tag_reflected: true };
    let forged = [
        (VerificationTag(ours.0 ^ 1), heartbeat()),
        (VerificationTag::ZERO, init),
        (ours, Chunk::CookieEcho(Bytes::from_static(b"no cookie of ours"))),
        (ours, Chunk::Abort(abort)),
        // The peer's tag goes with every packet of ours, whoever hears it.
        (theirs, Chunk::ShutdownComplete(complete)),
        (theirs, heartbeat()),
    ];
    for (tag, chunk) in forged {
        ladder.says_over_with_tag(tag, z(1), OTHER, std::slice::from_ref(&chunk));
        ladder.hears_all();
        assert_eq!(ports(&ladder), [PORT, PORT], "{chunk:?}");
        assert_eq!(ladder.state(), AssociationState::Established);
    }
}

#[test]
fn an_init_ack_from_another_udp_port_is_answered_there() {
    let name = "an_init_ack_from_another_udp_port_is_answered_there";
    let mut ladder =
        Ladder::with(name, config(|options| options.udp_port = PORT), &[a(1)], &[z(1)]);
    for by_tag in [false, true] {
        let options =
            ConnectOptions::default().with(|options| options.accept_init_ack_by_tag = by_tag);
        ladder.connectx_with(&[z(1)], options);
        assert_eq!(ladder.expects(z(1), &[ChunkType::INIT]).udp_port, PORT);
        ladder.says_over(z(1), OTHER, &[ladder.init_ack(&[])]);
        assert_eq!(ladder.expects(z(1), &[ChunkType::COOKIE_ECHO]).udp_port, OTHER);
        let (ours, id) = (ladder.ours, ladder.id());
        ladder.network.with(ours, id, |association, now| association.abort(now, Bytes::new()));
        ladder.hears_all();
    }
}

#[test]
fn a_cookie_that_comes_back_from_another_udp_port_is_acknowledged_there() {
    let name = "a_cookie_that_comes_back_from_another_udp_port_is_acknowledged_there";
    let mut ladder = Ladder::new(name);
    ladder.network.listen(ladder.ours, true);
    ladder.says_over_with_tag(VerificationTag::ZERO, z(1), PORT, &[ladder.init(&[])]);
    let init_ack = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
    assert_eq!(init_ack.udp_port, PORT);
    for port in [OTHER, PORT] {
        // The second one repeats it (RFC 9260, 5.2.4, D).
        ladder.says_over(z(1), port, &[Chunk::CookieEcho(init_ack.cookie())]);
        let heard = ladder.hears();
        assert_eq!((&heard.chunks[0], heard.udp_port), (&Chunk::CookieAck, port));
        ladder.hears_all();
    }
}

#[test]
fn over_udp_port_unreachable_counts_as_protocol_unreachable() {
    // RFC 6951, 5.5, and RFC 9260, section 10, ICMP8: an attempt is over at once, and not after 243 s.
    let name = "over_udp_port_unreachable_counts_as_protocol_unreachable";
    for on_refused in [OnRefused::Fail, OnRefused::TryNext] {
        let udp = config(|options| options.udp_port = PORT);
        let mut ladder = Ladder::with(name, udp, &[a(1)], &[z(1), z(2)]);
        let options = ConnectOptions::default().with(|options| options.on_refused = on_refused);
        ladder.connectx_with(&[z(1), z(2)], options);
        let init = ladder.expects(z(1), &[ChunkType::INIT]);
        ladder.is_told(NoticeKind::PortUnreachable, &init);
        let lost = |peer| Event::CommLost(LostReason::Refused { peer, cause: None, no_sctp: true });
        if on_refused == OnRefused::Fail {
            assert_eq!(ladder.events().last(), Some(&lost(z(1))));
            continue;
        }
        let init = ladder.expects(z(2), &[ChunkType::INIT]);
        ladder.is_told(NoticeKind::PortUnreachable, &init);
        assert_eq!(ladder.events().last(), Some(&lost(z(2))));
    }
}

#[test]
fn over_udp_port_unreachable_does_not_end_an_association() {
    // Nor does protocol unreachable: a peer that comes back with its port goes on.
    let mut ladder = over_udp("over_udp_port_unreachable_does_not_end_an_association");
    ladder.sends("to a port of nobody, for a moment");
    let data = ladder.expects(z(1), &[ChunkType::DATA]);
    ladder.is_told(NoticeKind::PortUnreachable, &data);
    ladder.network.run_for(secs(1));
    assert_eq!(ladder.state(), AssociationState::Established);
    assert_eq!(ladder.path(z(2)).state, PathState::Active);
}
