//! An attempt, or an association, that A drops mid-way: in each state Z is told what it can be told, and nothing of
//! A's comes back to life.

use usctp_assoc::sim::{Ladder, z};
use usctp_assoc::{AssociationState, Event};
use usctp_chunk::{Chunk, ChunkType, VerificationTag};

use crate::world::{HOUR, secs};

/// As a handle does that is dropped.
fn drops(ladder: &mut Ladder) {
    let (ours, id) = (ladder.ours, ladder.id());
    ladder.network.with_endpoint(ours, |endpoint, now| endpoint.release(now, id));
    ladder.network.run_for(std::time::Duration::ZERO);
}

#[test]
fn dropping_it_in_any_state_sends_an_abort_where_a_tag_is_known_and_leaves_nothing_behind() {
    use AssociationState as S;
    let name =
        "dropping_it_in_any_state_sends_an_abort_where_a_tag_is_known_and_leaves_nothing_behind";
    let states = [
        S::CookieWait,
        S::CookieEchoed,
        S::Established,
        S::ShutdownPending,
        S::ShutdownSent,
        S::ShutdownReceived,
        S::ShutdownAckSent,
    ];
    for state in states {
        let mut ladder = Ladder::in_state(name, state);
        let tag = ladder.our_tag;
        drops(&mut ladder);
        let said = ladder.hears_all();
        if state == S::CookieWait {
            // RFC 9260, 8.5.1 (B): without the peer's tag there is no ABORT that it would believe.
            assert!(said.is_empty(), "{said:?}");
        } else {
            assert_eq!(said.len(), 1, "{state:?}");
            assert!(matches!(said[0].only(), Chunk::Abort(abort) if !abort.tag_reflected));
            assert_eq!(said[0].header.verification_tag, ladder.peer_tag, "{state:?}");
        }
        assert_eq!(ladder.network.endpoint(ladder.ours).associations().count(), 0, "{state:?}");
        let ours = ladder.ours;
        let deadline = ladder.network.with_endpoint(ours, |endpoint, _| endpoint.poll_timeout());
        assert_eq!(deadline, None, "{state:?}: no timer is left");
        // What is under way from Z finds nobody.
        let late = [ladder.init_ack(&[z(1)]), Chunk::CookieAck, ladder.sack(0)];
        for chunk in late {
            ladder.says_with_tag(tag, z(1), &[chunk]);
            for heard in ladder.hears_all() {
                assert!(matches!(heard.only(), Chunk::Abort(abort) if abort.tag_reflected));
            }
        }
        assert_eq!(ladder.network.endpoint(ladder.ours).associations().count(), 0, "{state:?}");
        // The address is free at once, under another tag.
        ladder.connectx(&[z(1)]);
        ladder.expects(z(1), &[ChunkType::INIT]);
        assert_ne!(ladder.our_tag, tag);
    }
}

#[test]
fn a_cookie_made_for_an_attempt_that_was_dropped_opens_nothing() {
    let name = "a_cookie_made_for_an_attempt_that_was_dropped_opens_nothing";
    let mut ladder = Ladder::new(name);
    ladder.network.listen(ladder.ours, true);
    ladder.connectx(&[z(1), z(2)]);
    ladder.expects(z(1), &[ChunkType::INIT]);
    // A collision: Z's cookie holds the tag of A's attempt.
    ladder.says_with_tag(VerificationTag::ZERO, z(1), &[ladder.init(&[z(1)])]);
    let answer = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
    drops(&mut ladder);
    ladder.says(z(1), &[Chunk::CookieEcho(answer.cookie())]);
    assert!(ladder.hears_all().iter().all(|heard| heard.chunks[0] != Chunk::CookieAck));
    assert_eq!(ladder.network.endpoint(ladder.ours).associations().count(), 0);
    assert!(!ladder.events().iter().any(|event| matches!(event, Event::CommUp { .. })));
}

#[test]
fn an_attempt_that_is_dropped_sends_no_further_inits() {
    let mut ladder = Ladder::new("an_attempt_that_is_dropped_sends_no_further_inits");
    ladder.connectx(&[z(1), z(2)]);
    ladder.expects(z(1), &[ChunkType::INIT]);
    ladder.expects_within(secs(1), z(2), &[ChunkType::INIT]);
    drops(&mut ladder);
    ladder.silence(HOUR);
}
