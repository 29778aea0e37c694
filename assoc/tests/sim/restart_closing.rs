//! A peer that restarts while this side closes (RFC 9260, sections 5.2.4 and 9.2), and INITs that come then.

use std::time::Duration;

use usctp_assoc::sim::{Heard, Ladder, z};
use usctp_assoc::{AssociationState, Event};
use usctp_chunk::{Chunk, ChunkType, ShutdownComplete, Tsn, VerificationTag};

use crate::world::{config, ms, secs};
use AssociationState::{
    Closed, Established, ShutdownAckSent, ShutdownPending, ShutdownReceived, ShutdownSent,
};

/// Z restarts; what A says then, from its COOKIE ACK on.
fn restarts(ladder: &mut Ladder) -> Vec<Heard> {
    ladder.peer_tag = VerificationTag(0x0ace_0ace);
    ladder.says_with_tag(VerificationTag::ZERO, z(1), &[ladder.init(&[])]);
    let init_ack = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
    ladder.says(z(1), &[Chunk::CookieEcho(init_ack.cookie())]);
    ladder.peer_tsn = Tsn::new(1000);
    ladder.peer_ssn = Default::default();
    ladder.hears_all()
}

fn is_shutdown(chunk: &Chunk) -> bool {
    matches!(chunk, Chunk::Shutdown(_))
}

#[test]
fn a_close_goes_on_when_the_peer_restarts() {
    for state in [ShutdownPending, ShutdownSent, ShutdownReceived] {
        let mut ladder = Ladder::in_state("a_close_goes_on_when_the_peer_restarts", state);
        if state == ShutdownReceived {
            // Both want to close.
            ladder.shuts_down();
        }
        let heard = restarts(&mut ladder);
        // As Linux has it: a peer that is to go again hears so at once.
        assert_eq!(heard[0].chunks[0], Chunk::CookieAck, "{state:?}");
        assert!(is_shutdown(&heard[0].chunks[1]), "{state:?}: {heard:?}");
        assert_eq!(ladder.state(), ShutdownSent);
        assert!(ladder.events().contains(&Event::Restart));
        ladder.says(z(1), &[Chunk::ShutdownAck]);
        ladder.expects(z(1), &[ChunkType::SHUTDOWN_COMPLETE]);
        assert_eq!(ladder.events().last(), Some(&Event::ShutdownComplete));
    }
}

#[test]
fn a_peer_that_restarts_after_its_shutdown_undoes_it() {
    let name = "a_peer_that_restarts_after_its_shutdown_undoes_it";
    let mut ladder = Ladder::in_state(name, ShutdownReceived);
    restarts(&mut ladder);
    assert_eq!(ladder.state(), Established, "nobody here wants to close");
    ladder.sends("it may be sent to again");
    ladder.expects(z(1), &[ChunkType::DATA]);
}

#[test]
fn the_bound_on_a_close_of_the_old_peer_does_not_end_what_the_new_one_began() {
    let name = "the_bound_on_a_close_of_the_old_peer_does_not_end_what_the_new_one_began";
    let mut ladder =
        crate::rfc::single_with(name, |options| options.shutdown_guard = Some(secs(5)));
    ladder.sends("outstanding");
    ladder.says(z(1), &[ladder.shutdown(0)]);
    assert_eq!(ladder.state(), ShutdownReceived);
    ladder.hears_all();
    restarts(&mut ladder);
    ladder.network.run_for(secs(10));
    assert_eq!(ladder.state(), Established);
}

#[test]
fn restarts_do_not_keep_a_close_from_being_given_up() {
    // RFC 9260, 9.2: T5-shutdown-guard bounds the close, and a restart is no new one.
    let name = "restarts_do_not_keep_a_close_from_being_given_up";
    let guarded = config(|options| options.shutdown_guard = Some(secs(60)));
    let mut ladder = Ladder::with(name, guarded, &[usctp_assoc::sim::a(1)], &[z(1)]);
    ladder.establishes(&[z(1)]);
    ladder.shuts_down();
    for number in 0..20 {
        ladder.network.run_for(secs(4));
        ladder.hears_all();
        if ladder.state() == Closed {
            break;
        }
        ladder.peer_tag = VerificationTag(100 + number);
        ladder.says_with_tag(VerificationTag::ZERO, z(1), &[ladder.init(&[])]);
        let init_ack = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
        ladder.says(z(1), &[Chunk::CookieEcho(init_ack.cookie())]);
    }
    assert_eq!((ladder.state(), ladder.network.elapsed() <= secs(61)), (Closed, true));
}

#[test]
fn inits_without_end_do_not_keep_shutdown_ack_sent_alive() {
    // RFC 9260, 9.2: each brings the SHUTDOWN ACK again; T2-shutdown goes on counting all the same.
    for apart in [ms(100), ms(500), ms(1_700)] {
        let name = "inits_without_end_do_not_keep_shutdown_ack_sent_alive";
        let mut ladder = Ladder::in_state(name, ShutdownAckSent);
        ladder.peer_tag = VerificationTag(0x0ace_0ace);
        let mut answers = 0;
        while ladder.state() != Closed && ladder.network.elapsed() < Duration::from_secs(1_000) {
            ladder.network.run_for(apart);
            ladder.hears_all();
            ladder.says_with_tag(VerificationTag::ZERO, z(1), &[ladder.init(&[])]);
            answers += ladder.hears_all().len();
        }
        assert_eq!(ladder.state(), Closed, "{apart:?}");
        assert!(answers > 100, "{answers}");
    }
}

#[test]
fn the_cookie_of_before_a_restart_opens_nothing_once_the_association_has_ended() {
    let name = "the_cookie_of_before_a_restart_opens_nothing_once_the_association_has_ended";
    let mut ladder = Ladder::new(name);
    ladder.network.listen(ladder.ours, true);
    let mut cookies = Vec::new();
    for number in 1..=3 {
        ladder.peer_tag = VerificationTag(number);
        ladder.says_with_tag(VerificationTag::ZERO, z(1), &[ladder.init(&[])]);
        let init_ack = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
        ladder.says(z(1), &[Chunk::CookieEcho(init_ack.cookie())]);
        ladder.hears_all();
        cookies.push((ladder.our_tag, init_ack.cookie()));
    }
    ladder.id = ladder.network.newest(ladder.ours);
    ladder.says(z(1), &[ladder.shutdown(0)]);
    ladder.expects(z(1), &[ChunkType::SHUTDOWN_ACK]);
    let complete = ShutdownComplete { tag_reflected: false };
    ladder.says(z(1), &[Chunk::ShutdownComplete(complete)]);
    assert_eq!(ladder.state(), Closed);
    for (tag, cookie) in cookies {
        ladder.says_with_tag(tag, z(1), &[Chunk::CookieEcho(cookie)]);
        assert!(ladder.hears_all().is_empty());
        assert_eq!(ladder.network.endpoint(ladder.ours).associations().count(), 1);
    }
}
