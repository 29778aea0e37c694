//! INIT and COOKIE ECHO where an association exists: collisions, restarts, duplicates (RFC 9260, section 5.2).

use usctp_assoc::sim::{Heard, Ladder, a, z};
use usctp_assoc::{AssociationState, Event};
use usctp_chunk::{Abort, Cause, Chunk, ChunkType, ShutdownComplete, Tsn, VerificationTag};

use AssociationState::{
    CookieEchoed, CookieWait, Established, ShutdownAckSent, ShutdownPending, ShutdownReceived,
    ShutdownSent,
};

const NEW_TAG: VerificationTag = VerificationTag(0x0ace_0ace);

/// Z sends an INIT, as if it had begun anew.
fn begins_anew(ladder: &mut Ladder, addresses: &[std::net::IpAddr]) -> Vec<Heard> {
    ladder.peer_tag = NEW_TAG;
    ladder.says_with_tag(VerificationTag::ZERO, z(1), &[ladder.init(addresses)]);
    ladder.hears_all()
}

fn restarts(ladder: &Ladder) -> usize {
    ladder.events().iter().filter(|event| **event == Event::Restart).count()
}

#[test]
fn an_init_during_the_set_up_is_answered_with_the_tag_of_our_own_init() {
    let name = "an_init_during_the_set_up_is_answered_with_the_tag_of_our_own_init";
    for state in [CookieWait, CookieEchoed] {
        let mut ladder = Ladder::in_state(name, state);
        let (tag, tsn) = (ladder.our_tag, ladder.our_tsn);
        ladder.says_with_tag(VerificationTag::ZERO, z(1), &[ladder.init(&[])]);
        let heard = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
        // RFC 9260, 5.2.1.
        assert_eq!((heard.init().initiate_tag, heard.init().initial_tsn), (tag, tsn), "{state:?}");
        assert_eq!(ladder.state(), state);
        // Case B: the peer's cookie comes back, and the collision is over.
        ladder.says(z(1), &[Chunk::CookieEcho(heard.cookie())]);
        assert_eq!(ladder.hears().chunks[0], Chunk::CookieAck);
        assert_eq!(ladder.state(), Established);
        assert_eq!(ladder.network.endpoint(ladder.ours).associations().count(), 1);
    }
}

#[test]
fn a_restart_begins_anew_under_the_same_id() {
    let name = "a_restart_begins_anew_under_the_same_id";
    // What becomes of a close that A's application began is another matter.
    for state in [Established, ShutdownReceived] {
        let mut ladder = Ladder::in_state(name, state);
        let old_tag = ladder.our_tag;
        let heard = begins_anew(&mut ladder, &[]);
        assert_eq!(heard[0].header.verification_tag, NEW_TAG);
        assert_ne!(heard[0].init().initiate_tag, old_tag, "RFC 9260, 5.2.2");
        assert_eq!((ladder.state(), restarts(&ladder)), (state, 0), "not before the cookie");
        ladder.says(z(1), &[Chunk::CookieEcho(heard[0].cookie())]);
        assert_eq!(ladder.hears().chunks[0], Chunk::CookieAck, "{state:?}");
        assert_eq!((ladder.state(), restarts(&ladder)), (Established, 1));
        assert_eq!(ladder.network.endpoint(ladder.ours).associations().count(), 1);
        ladder.hears_all();
        ladder.peer_tsn = Tsn::new(1000);
        let message = ladder.data("hello again");
        ladder.says(z(1), &[message]);
        assert!(matches!(ladder.hears().chunks[0], Chunk::Sack(_)));
        ladder.sends("you too");
        let data = ladder.hears();
        assert_eq!(data.header.verification_tag, NEW_TAG);
        // The old tag is dead.
        ladder.says_with_tag(
            old_tag,
            z(1),
            &[Chunk::ShutdownComplete(ShutdownComplete { tag_reflected: false })],
        );
        assert_eq!(ladder.state(), Established);
    }
}

#[test]
fn a_restart_that_adds_addresses_is_refused_and_changes_nothing() {
    let name = "a_restart_that_adds_addresses_is_refused_and_changes_nothing";
    for state in [CookieEchoed, Established, ShutdownPending, ShutdownSent, ShutdownReceived] {
        let mut ladder = Ladder::in_state(name, state);
        let paths = ladder.paths();
        let heard = begins_anew(&mut ladder, &[z(1), z(9)]);
        let Chunk::Abort(abort) = heard[0].only() else { panic!("{state:?}: {heard:?}") };
        assert_eq!(heard[0].header.verification_tag, NEW_TAG);
        assert!(!abort.tag_reflected);
        let Some(Ok(Cause::RestartWithNewAddresses(added))) = abort.causes.iter().next() else {
            panic!("RFC 9260, 3.3.10.11: {:?}", abort.causes)
        };
        let added: Vec<_> = added.iter().filter_map(|parameter| parameter.ok()?.ip()).collect();
        assert_eq!(added, [z(9)]);
        assert_eq!((ladder.state(), ladder.paths()), (state, paths));
    }
}

#[test]
fn in_shutdown_ack_sent_an_init_brings_the_shutdown_ack_again() {
    let name = "in_shutdown_ack_sent_an_init_brings_the_shutdown_ack_again";
    let mut ladder = Ladder::in_state(name, ShutdownAckSent);
    let tag = ladder.peer_tag;
    let heard = begins_anew(&mut ladder, &[]);
    assert_eq!(*heard[0].only(), Chunk::ShutdownAck, "RFC 9260, 9.2");
    assert_eq!(heard[0].header.verification_tag, tag);
    assert_eq!(ladder.state(), ShutdownAckSent);
}

#[test]
fn a_cookie_from_before_the_association_opens_nothing_beside_it() {
    // Case C of RFC 9260, 5.2.4, and old cookies that fit no case.
    let name = "a_cookie_from_before_the_association_opens_nothing_beside_it";
    let mut ladder = Ladder::new(name);
    ladder.network.listen(ladder.ours, true);
    ladder.says_with_tag(VerificationTag::ZERO, z(1), &[ladder.init(&[])]);
    let early = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
    let early_tag = ladder.our_tag;
    ladder.is_opened();
    let (paths, events) = (ladder.paths(), ladder.events());
    ladder.says_with_tag(early_tag, z(1), &[Chunk::CookieEcho(early.cookie())]);
    assert!(ladder.hears_all().is_empty());
    assert_eq!((ladder.paths(), ladder.events(), ladder.state()), (paths, events, Established));
    assert_eq!(ladder.network.endpoint(ladder.ours).associations().count(), 1);
}

#[test]
fn a_late_packet_does_not_spoil_a_good_end_but_a_bad_end_is_told() {
    let name = "a_late_packet_does_not_spoil_a_good_end_but_a_bad_end_is_told";
    let mut ladder = Ladder::in_state(name, ShutdownSent);
    ladder.says(z(1), &[Chunk::ShutdownAck]);
    ladder.expects(z(1), &[ChunkType::SHUTDOWN_COMPLETE]);
    let overtaken = [ladder.shutdown(0), ladder.sack(0), crate::rfc::data(999, 0, "BE", "again")];
    for chunk in overtaken {
        ladder.says(z(1), &[chunk]);
        assert!(ladder.hears_all().is_empty(), "no ABORT that could overtake SHUTDOWN COMPLETE");
    }
    // RFC 9260, 8.4 (5): the SHUTDOWN COMPLETE was lost.
    ladder.says(z(1), &[Chunk::ShutdownAck]);
    ladder.expects(z(1), &[ChunkType::SHUTDOWN_COMPLETE]);
    // After an RTO nothing is on its way any more.
    crate::rfc::wait(&mut ladder, crate::world::secs(1));
    ladder.says(z(1), &[ladder.shutdown(0)]);
    ladder.expects(z(1), &[ChunkType::ABORT]);

    let mut ladder = Ladder::in_state(name, Established);
    ladder.network.with(ladder.ours, ladder.id(), |association, now| {
        association.abort(now, Default::default());
    });
    ladder.hears_all();
    let message = ladder.data("the ABORT was lost");
    // Neither what is new nor what was sent before the end goes without an answer.
    for late in [message, ladder.sack(0)] {
        ladder.says(z(1), &[late]);
        assert!(matches!(ladder.hears().only(), Chunk::Abort(_)));
    }

    // Whoever sends SHUTDOWN COMPLETE has forgotten the association, and sends nothing from before.
    let mut ladder = Ladder::in_state(name, ShutdownAckSent);
    ladder.says(z(1), &[Chunk::ShutdownComplete(Default::default())]);
    assert_eq!(ladder.events().last(), Some(&Event::ShutdownComplete));
    ladder.says(z(1), &[ladder.sack(0)]);
    assert!(matches!(ladder.hears().only(), Chunk::Abort(_)));
}

#[test]
fn an_abort_that_reflects_the_tag_ends_shutdown_ack_sent_well() {
    let name = "an_abort_that_reflects_the_tag_ends_shutdown_ack_sent_well";
    let mut ladder = Ladder::in_state(name, ShutdownAckSent);
    let abort = Abort { tag_reflected: true, causes: std::iter::empty::<Cause>().collect() };
    ladder.says_with_tag(ladder.peer_tag, z(1), &[Chunk::Abort(abort)]);
    assert_eq!(ladder.events().last(), Some(&Event::ShutdownComplete));
}

#[test]
fn a_second_cookie_ack_is_ignored() {
    for state in [Established, ShutdownPending, ShutdownSent, ShutdownReceived, ShutdownAckSent] {
        let mut ladder = Ladder::in_state("a_second_cookie_ack_is_ignored", state);
        let paths = ladder.paths();
        ladder.says(z(1), &[Chunk::CookieAck]);
        assert!(ladder.hears_all().is_empty());
        assert_eq!((ladder.state(), ladder.paths()), (state, paths));
    }
}

#[test]
fn an_init_to_another_port_or_from_a_stranger_is_no_collision() {
    let mut ladder =
        Ladder::in_state("an_init_to_another_port_or_from_a_stranger_is_no_collision", Established);
    ladder.network.listen(ladder.ours, true);
    ladder.towards = a(2);
    ladder.peer_tag = NEW_TAG;
    ladder.says_with_tag(VerificationTag::ZERO, z(4), &[ladder.init(&[])]);
    let heard = ladder.expects(z(4), &[ChunkType::INIT_ACK]);
    ladder.says(z(4), &[Chunk::CookieEcho(heard.cookie())]);
    assert_eq!(ladder.hears().chunks[0], Chunk::CookieAck);
    assert_eq!(ladder.network.endpoint(ladder.ours).associations().count(), 2);
    assert_eq!((ladder.state(), restarts(&ladder)), (Established, 0));
}
