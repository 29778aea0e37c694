//! ABORT, SHUTDOWN and what follows, timer by timer (RFC 9260, section 9).

use bytes::Bytes;
use usctp_assoc::sim::{Heard, Ladder, z};
use usctp_assoc::{Association, AssociationState, Event, LostReason, Message, SendError};
use usctp_chunk::{Cause, Chunk, ChunkType, Heartbeat, Shutdown, Tsn};

use crate::rfc::{acks, data, sacks, send, single, single_with, wait};
use crate::world::{HOUR, ms, secs};

const SHUTDOWN: [ChunkType; 1] = [ChunkType::SHUTDOWN];
const SHUTDOWN_ACK: [ChunkType; 1] = [ChunkType::SHUTDOWN_ACK];

fn cumulative(heard: &Heard) -> Option<Tsn> {
    heard.chunks.iter().find_map(|chunk| match chunk {
        Chunk::Shutdown(Shutdown { cumulative_tsn }) => Some(*cumulative_tsn),
        _ => None,
    })
}

fn patient(name: &str) -> Ladder {
    single_with(name, |options| options.shutdown_guard = Some(HOUR))
}

fn abort(ladder: &mut Ladder, reason: &'static [u8]) {
    let (ours, id) = (ladder.ours, ladder.id());
    let reason = Bytes::from_static(reason);
    ladder.network.with(ours, id, |association: &mut Association, now| {
        association.abort(now, reason);
    });
}

/// What is sent again when nobody answers: each second, then ever more rarely, and at last not at all.
fn is_repeated(ladder: &mut Ladder, kinds: &[ChunkType]) {
    let mut before = ladder.network.elapsed();
    for interval in [1, 2, 4, 8, 16, 32, 60, 60, 60, 60] {
        let heard = ladder.expects_within(secs(100), z(1), kinds);
        assert_eq!(heard.at - before, secs(interval));
        before = heard.at;
    }
    // Association.Max.Retrans is 10. The peer is told that it is given up.
    let last = ladder.expects_within(secs(100), z(1), &[ChunkType::ABORT]);
    assert_eq!(last.at - before, secs(60));
    ladder.silence(HOUR);
    assert_eq!(ladder.state(), AssociationState::Closed);
    let lost = Event::CommLost(LostReason::TooManyRetransmissions);
    assert_eq!(ladder.events().last(), Some(&lost));
}

#[test]
fn data_that_comes_while_a_side_closes_is_answered_by_shutdown_where_it_came_from() {
    let name = "data_that_comes_while_a_side_closes_is_answered_by_shutdown_where_it_came_from";
    let mut ladder = crate::rfc::double(name);
    ladder.shuts_down();
    ladder.expects(z(1), &[ChunkType::SHUTDOWN]);
    // RFC 9260, 6.4 and 9.2
    ladder.says(z(2), &[crate::rfc::data(1_000, 0, "BE", "on its way")]);
    let heard = ladder.hears_all();
    let shutdown = |heard: &&usctp_assoc::sim::Heard| {
        heard.chunks.iter().any(|chunk| matches!(chunk, Chunk::Shutdown(_)))
    };
    let to: Vec<_> = heard.iter().filter(shutdown).map(|heard| heard.destination).collect();
    assert_eq!(to, [z(2)], "{heard:?}");
}

#[test]
fn an_abort_is_sent_alone_with_the_tag_of_the_peer_and_the_reason() {
    let mut ladder = single("an_abort_is_sent_alone_with_the_tag_of_the_peer_and_the_reason");
    ladder.sends("outstanding");
    ladder.hears_all();
    abort(&mut ladder, b"enough");
    let heard = ladder.hears();
    assert_eq!(heard.header.verification_tag, ladder.peer_tag);
    let Chunk::Abort(abort) = heard.only() else { panic!("{heard:?}") };
    let reason = Cause::UserInitiatedAbort(Bytes::from_static(b"enough"));
    assert_eq!((abort.tag_reflected, abort.causes.iter().next()), (false, Some(Ok(reason))));
    ladder.silence(HOUR);
}

#[test]
fn shutdown_waits_for_what_is_outstanding_and_says_what_came() {
    let mut ladder = single("shutdown_waits_for_what_is_outstanding_and_says_what_came");
    ladder.says(z(1), &[data(1000, 0, "BEI", "x"), data(1001, 1, "BE", "y")]);
    ladder.sends("outstanding");
    ladder.hears_all();
    ladder.shuts_down();
    assert_eq!(ladder.state(), AssociationState::ShutdownPending);
    // What is lost is sent again.
    ladder.expects_within(secs(1), z(1), &[ChunkType::DATA]);
    acks(&mut ladder, 1, &[]);
    let heard = ladder.expects(z(1), &SHUTDOWN);
    assert_eq!(cumulative(&heard), Some(Tsn::new(1001)));
    assert_eq!(ladder.state(), AssociationState::ShutdownSent);
}

#[test]
fn shutdown_is_repeated_by_the_rules_of_the_rto_and_given_up() {
    let mut ladder = patient("shutdown_is_repeated_by_the_rules_of_the_rto_and_given_up");
    ladder.shuts_down();
    ladder.expects(z(1), &SHUTDOWN);
    is_repeated(&mut ladder, &SHUTDOWN);
}

#[test]
fn shutdown_ack_is_repeated_by_the_rules_of_the_rto_and_given_up() {
    let mut ladder = patient("shutdown_ack_is_repeated_by_the_rules_of_the_rto_and_given_up");
    let shutdown = ladder.shutdown(0);
    ladder.says(z(1), &[shutdown]);
    ladder.expects(z(1), &SHUTDOWN_ACK);
    is_repeated(&mut ladder, &SHUTDOWN_ACK);
}

#[test]
fn a_repeated_shutdown_says_what_came_since() {
    let mut ladder = patient("a_repeated_shutdown_says_what_came_since");
    ladder.shuts_down();
    assert_eq!(cumulative(&ladder.hears()), Some(Tsn::new(999)));
    wait(&mut ladder, ms(700));
    // RFC 9260, 9.2: answered at once, and T2-shutdown begins anew.
    ladder.says(z(1), &[data(1000, 0, "BE", "late")]);
    let heard = ladder.expects(z(1), &SHUTDOWN);
    assert_eq!(cumulative(&heard), Some(Tsn::new(1000)));
    let again = ladder.expects_within(secs(5), z(1), &SHUTDOWN);
    assert_eq!((again.at - heard.at, cumulative(&again)), (secs(1), Some(Tsn::new(1000))));
}

#[test]
fn gaps_and_duplicates_bring_a_sack_beside_the_shutdown() {
    let mut ladder = patient("gaps_and_duplicates_bring_a_sack_beside_the_shutdown");
    ladder.shuts_down();
    ladder.hears();
    for (tsn, cumulative_tsn, gaps, duplicates) in
        [(1001, 999, 1, 0), (1001, 999, 1, 1), (1000, 1001, 0, 0), (1000, 1001, 0, 1)]
    {
        let ssn = u16::try_from(tsn - 1000).unwrap();
        ladder.says(z(1), &[data(tsn, ssn, "BE", "late")]);
        let heard = ladder.hears_all();
        assert_eq!(heard.iter().find_map(cumulative), Some(Tsn::new(cumulative_tsn)));
        let sacks = sacks(&heard);
        match (gaps, duplicates) {
            (0, 0) => assert!(sacks.is_empty(), "SHUTDOWN says it all"),
            _ => {
                assert_eq!((sacks[0].gaps.len(), sacks[0].duplicates.len()), (gaps, duplicates));
            }
        }
    }
}

#[test]
fn any_packet_of_the_peer_gives_it_time_to_go_on() {
    let mut ladder = patient("any_packet_of_the_peer_gives_it_time_to_go_on");
    ladder.shuts_down();
    for round in 0..5 {
        // Eight SHUTDOWNs are not answered; eleven in a row would be the end.
        for _ in 0..8 {
            ladder.hears_within(secs(100));
        }
        let packet = match round % 2 {
            0 => data(1000 + round / 2, round as u16 / 2, "BE", "still at it"),
            _ => Chunk::Heartbeat(Heartbeat::new(Bytes::from_static(b"which path works?"))),
        };
        ladder.says(z(1), &[packet]);
        ladder.hears_all();
    }
    assert_eq!(ladder.state(), AssociationState::ShutdownSent);
}

#[test]
fn heartbeats_of_the_peer_do_not_put_off_the_next_shutdown() {
    let mut ladder = patient("heartbeats_of_the_peer_do_not_put_off_the_next_shutdown");
    ladder.shuts_down();
    let mut sent = vec![ladder.expects(z(1), &SHUTDOWN).at];
    // Nothing of A's arrives: Z knows of no close, and asks whether A lives.
    while sent.len() <= 10 {
        wait(&mut ladder, ms(700));
        let heartbeat = Chunk::Heartbeat(Heartbeat::new(Bytes::from_static(b"alive?")));
        ladder.says(z(1), &[heartbeat]);
        let heard = ladder.hears_all();
        sent.extend(heard.iter().filter(|heard| cumulative(heard).is_some()).map(|heard| heard.at));
        assert!(ladder.network.elapsed() < HOUR / 2, "{sent:?}");
    }
    let intervals: Vec<_> = sent.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(intervals, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60].map(secs));
}

#[test]
fn the_guard_bounds_the_close_to_five_times_rto_max_and_ends_it_with_an_abort() {
    let name = "the_guard_bounds_the_close_to_five_times_rto_max_and_ends_it_with_an_abort";
    let mut ladder = single(name);
    ladder.shuts_down();
    let start = ladder.hears().at;
    let last = loop {
        let heard = ladder.hears_within(secs(100));
        if !matches!(heard.only(), Chunk::Shutdown(_)) {
            break heard;
        }
    };
    let Chunk::Abort(abort) = last.only() else { panic!("{last:?}") };
    assert_eq!((last.at - start, abort.tag_reflected), (secs(300), false));
    assert_eq!(last.header.verification_tag, ladder.peer_tag);
    let lost = Event::CommLost(LostReason::ShutdownTimeout);
    assert_eq!(ladder.events().last(), Some(&lost));
}

#[test]
fn shutdown_received_delivers_the_rest_ignores_the_user_and_answers_the_peer() {
    let name = "shutdown_received_delivers_the_rest_ignores_the_user_and_answers_the_peer";
    let mut ladder = single(name);
    ladder.sends("one");
    ladder.hears();
    ladder.sends("two");
    ladder.hears();
    let shutdown = |count| ladder.shutdown(count);
    let (first, second, third) = (shutdown(0), shutdown(1), shutdown(2));
    ladder.says(z(1), &[first]);
    assert_eq!(ladder.state(), AssociationState::ShutdownReceived);
    // RFC 9260, 9.2: the user's shutdown is ignored, what is lost is sent again.
    ladder.shuts_down();
    assert_eq!(ladder.state(), AssociationState::ShutdownReceived);
    ladder.expects_within(secs(1), z(1), &[ChunkType::DATA, ChunkType::DATA]);
    ladder.says(z(1), &[second]);
    assert_eq!(ladder.state(), AssociationState::ShutdownReceived);
    ladder.says(z(1), std::slice::from_ref(&third));
    assert_eq!(ladder.state(), AssociationState::ShutdownAckSent);
    ladder.expects(z(1), &SHUTDOWN_ACK);
    ladder.says(z(1), &[third]);
    ladder.expects(z(1), &SHUTDOWN_ACK);
}

#[test]
fn no_message_is_taken_in_any_state_of_the_close() {
    use AssociationState::{ShutdownAckSent, ShutdownPending, ShutdownReceived, ShutdownSent};
    for state in [ShutdownPending, ShutdownSent, ShutdownReceived, ShutdownAckSent] {
        let mut ladder = Ladder::in_state("no_message_is_taken_in_any_state_of_the_close", state);
        let (ours, id) = (ladder.ours, ladder.id());
        let refused = ladder.network.send(ours, id, Message::new(0, "too late")).unwrap_err();
        assert_eq!(refused, SendError::NotOpen { state });
    }
}

#[test]
fn a_shutdown_ack_ends_the_close_on_either_side_of_it() {
    use AssociationState::{Closed, ShutdownAckSent, ShutdownSent};
    for state in [ShutdownSent, ShutdownAckSent] {
        let name = "a_shutdown_ack_ends_the_close_on_either_side_of_it";
        let mut ladder = Ladder::in_state(name, state);
        ladder.says(z(1), &[Chunk::ShutdownAck]);
        let heard = ladder.expects(z(1), &[ChunkType::SHUTDOWN_COMPLETE]);
        assert_eq!(heard.header.verification_tag, ladder.peer_tag);
        assert_eq!(ladder.state(), Closed);
        assert_eq!(ladder.events().last(), Some(&Event::ShutdownComplete));
        // T2-shutdown is stopped.
        ladder.silence(HOUR);
    }
}

#[test]
fn two_shutdowns_that_cross_are_both_answered_at_once() {
    let name = "two_shutdowns_that_cross_are_both_answered_at_once";
    let mut ladder = Ladder::in_state(name, AssociationState::ShutdownSent);
    wait(&mut ladder, ms(700));
    let shutdown = ladder.shutdown(0);
    ladder.says(z(1), &[shutdown]);
    let heard = ladder.expects(z(1), &SHUTDOWN_ACK);
    assert_eq!(ladder.state(), AssociationState::ShutdownAckSent);
    let again = ladder.expects_within(secs(5), z(1), &SHUTDOWN_ACK);
    assert_eq!(again.at - heard.at, secs(1), "T2-shutdown began anew");
}

#[test]
fn a_shutdown_complete_ends_shutdown_ack_sent_for_good() {
    let name = "a_shutdown_complete_ends_shutdown_ack_sent_for_good";
    let mut ladder = Ladder::in_state(name, AssociationState::ShutdownAckSent);
    let complete = usctp_chunk::ShutdownComplete { tag_reflected: false };
    ladder.says(z(1), &[Chunk::ShutdownComplete(complete)]);
    assert_eq!(ladder.state(), AssociationState::Closed);
    assert_eq!(ladder.events().last(), Some(&Event::ShutdownComplete));
    ladder.silence(HOUR);
}

#[test]
fn a_shutdown_that_acknowledges_shows_that_the_path_works_and_that_nothing_is_left_to_send() {
    let name =
        "a_shutdown_that_acknowledges_shows_that_the_path_works_and_that_nothing_is_left_to_send";
    let mut ladder = single_with(name, |options| options.heartbeat.interval = None);
    send(&mut ladder, 1, 100);
    wait(&mut ladder, secs(2));
    ladder.hears_all();
    assert_eq!(ladder.path(z(1)).errors, 1, "T3-rtx expired");
    send(&mut ladder, 1, 100);
    ladder.says(z(1), &[ladder.shutdown(1)]);
    assert_eq!(ladder.path(z(1)).errors, 0, "RFC 9260, 8.2");
    assert!(!ladder.events().contains(&Event::SenderDry));
    ladder.says(z(1), &[ladder.shutdown(2)]);
    assert!(ladder.events().contains(&Event::SenderDry));
}
