//! How associations end when something is left over: messages too old to be sent, messages cut in half, gaps, silent peers.

use bytes::Bytes;
use usctp_assoc::sim::{Heard, Ladder, payload, z};
use usctp_assoc::{Association, AssociationState, Event, LostReason, Message};
use usctp_chunk::{Cause, CauseCode, Chunk, ChunkType};

use crate::rfc::{
    acks, data, double_with, hears_numbers, received, sack, single, single_with, wait,
};
use crate::world::{HOUR, ms, secs};

const SHUTDOWN: [ChunkType; 1] = [ChunkType::SHUTDOWN];

fn send(ladder: &mut Ladder, message: Message) {
    let (ours, id) = (ladder.ours, ladder.id());
    ladder.network.send(ours, id, message).unwrap();
}

fn abort(ladder: &mut Ladder) {
    let (ours, id) = (ladder.ours, ladder.id());
    ladder.network.with(ours, id, |association: &mut Association, now| {
        association.abort(now, Bytes::new());
    });
}

/// The messages given back, with whether any of each had been sent.
fn given_back(ladder: &Ladder) -> Vec<(Message, bool)> {
    let events = ladder.events().into_iter();
    let failed = events.filter_map(|event| match event {
        Event::SendFailed { message, sent } => Some((message, sent)),
        _ => None,
    });
    failed.collect()
}

/// The window is closed, and a message that will be too old to be sent waits for it.
fn with_a_message_that_grows_old(name: &str) -> Ladder {
    let mut ladder = single_with(name, |options| options.heartbeat.interval = None);
    ladder.sends("first");
    ladder.hears();
    let closed = sack(&ladder, 1, &[], 0);
    ladder.says(z(1), &[closed]);
    ladder.sends("probe");
    wait(&mut ladder, ms(1_500));
    assert_eq!(hears_numbers(&mut ladder), [2], "the probe of the window");
    send(&mut ladder, Message::new(0, "old").lifetime(ms(10)));
    ladder
}

#[test]
fn a_close_goes_on_when_the_last_message_was_too_old_to_be_sent() {
    let name = "a_close_goes_on_when_the_last_message_was_too_old_to_be_sent";
    let mut ladder = with_a_message_that_grows_old(name);
    ladder.shuts_down();
    wait(&mut ladder, ms(20));
    let closed = sack(&ladder, 2, &[], 0);
    ladder.says(z(1), &[closed]);
    ladder.expects(z(1), &SHUTDOWN);
    assert_eq!(ladder.state(), AssociationState::ShutdownSent);
}

#[test]
fn the_peers_close_goes_on_when_the_last_message_was_too_old_to_be_sent() {
    let name = "the_peers_close_goes_on_when_the_last_message_was_too_old_to_be_sent";
    let mut ladder = with_a_message_that_grows_old(name);
    let (one, two) = (ladder.shutdown(1), ladder.shutdown(2));
    ladder.says(z(1), &[one]);
    wait(&mut ladder, ms(20));
    ladder.says(z(1), &[two]);
    ladder.expects(z(1), &[ChunkType::SHUTDOWN_ACK]);
    assert_eq!(ladder.state(), AssociationState::ShutdownAckSent);
}

#[test]
fn a_message_too_old_to_be_sent_leaves_the_sender_dry() {
    let mut ladder =
        with_a_message_that_grows_old("a_message_too_old_to_be_sent_leaves_the_sender_dry");
    let dry = |ladder: &Ladder| ladder.events().iter().filter(|e| **e == Event::SenderDry).count();
    let before = dry(&ladder);
    wait(&mut ladder, ms(20));
    acks(&mut ladder, 2, &[]);
    let events = ladder.events();
    let failed = events.iter().position(|event| matches!(event, Event::SendFailed { .. }));
    let last = events.iter().rposition(|event| *event == Event::SenderDry);
    assert_eq!(dry(&ladder), before + 1);
    assert!(failed < last, "nothing is left only when the old message is given back: {events:?}");
}

/// A message of three fragments, then one that fits a chunk.
fn sends_a_large_message(ladder: &mut Ladder) -> [Message; 2] {
    let large = Message::new(3, payload(1, 4_000)).ppid(46).context(7);
    let small = Message::new(4, "small").context(8);
    send(ladder, large.clone());
    send(ladder, small.clone());
    [large, small]
}

#[test]
fn a_message_is_given_back_whole_whichever_of_its_fragments_were_acknowledged() {
    let name = "a_message_is_given_back_whole_whichever_of_its_fragments_were_acknowledged";
    for acked in 0..=4_u32 {
        let mut ladder = single(name);
        let [large, small] = sends_a_large_message(&mut ladder);
        let mut heard = 0;
        // With nothing acknowledged, cwnd holds the rest back.
        for count in 0..=acked {
            if count > 0 {
                acks(&mut ladder, count, &[]);
            }
            heard += hears_numbers(&mut ladder).len();
        }
        abort(&mut ladder);
        let left: Vec<_> = match acked {
            0 => vec![(large, true), (small, heard > 3)],
            1 | 2 => vec![(large, true), (small, true)],
            3 => vec![(small, true)],
            _ => Vec::new(),
        };
        assert_eq!(given_back(&ladder), left, "{acked} of four chunks were acknowledged");
    }
}

#[test]
fn a_message_whose_rest_waits_for_the_window_is_given_back_once_and_whole() {
    let name = "a_message_whose_rest_waits_for_the_window_is_given_back_once_and_whole";
    let mut ladder = single(name);
    let large = Message::new(0, payload(1, 20_000)).context(7);
    send(&mut ladder, large.clone());
    let sent = u32::try_from(hears_numbers(&mut ladder).len()).unwrap();
    assert!(sent < 10, "most of it waits: {sent}");
    // All that was sent is acknowledged, and the window is closed.
    let closed = sack(&ladder, sent, &[], 0);
    ladder.says(z(1), &[closed]);
    let aborted = usctp_chunk::Abort { tag_reflected: false, causes: std::iter::empty().collect() };
    ladder.says(z(1), &[Chunk::Abort(aborted)]);
    assert_eq!(given_back(&ladder), [(large, true)]);
}

#[test]
fn a_time_out_in_the_middle_of_a_message_gives_it_back() {
    let mut ladder = single("a_time_out_in_the_middle_of_a_message_gives_it_back");
    let [large, small] = sends_a_large_message(&mut ladder);
    hears_numbers(&mut ladder);
    // The first fragment came, and the third.
    acks(&mut ladder, 1, &[(2, 2)]);
    wait(&mut ladder, HOUR);
    assert_eq!(ladder.state(), AssociationState::Closed);
    let marks: Vec<_> = given_back(&ladder);
    assert_eq!(marks, [(large, true), (small, true)]);
}

#[test]
fn what_was_acknowledged_whole_is_kept_for_no_longer() {
    let mut ladder = single("what_was_acknowledged_whole_is_kept_for_no_longer");
    let mut acked = 0;
    for round in 0..20 {
        send(&mut ladder, Message::new(0, payload(round, 3_000)));
        loop {
            let heard = u32::try_from(hears_numbers(&mut ladder).len()).unwrap();
            if heard == 0 {
                break;
            }
            acked += heard;
            acks(&mut ladder, acked, &[]);
        }
    }
    send(&mut ladder, Message::new(0, payload(99, 3_000)));
    abort(&mut ladder);
    assert_eq!(given_back(&ladder), [(Message::new(0, payload(99, 3_000)), true)]);
}

/// The ABORT that Z hears last, and where; nothing follows it.
fn last_abort(ladder: &mut Ladder) -> Heard {
    wait(ladder, HOUR);
    let last = ladder.hears_all().pop().expect("Z heard something");
    let Chunk::Abort(abort) = last.only() else { panic!("{last:?}") };
    assert!(!abort.tag_reflected);
    assert_eq!(last.header.verification_tag, ladder.peer_tag);
    assert_eq!(ladder.state(), AssociationState::Closed);
    last
}

fn lost(ladder: &Ladder) -> Option<LostReason> {
    ladder.events().into_iter().find_map(|event| match event {
        Event::CommLost(reason) => Some(reason),
        _ => None,
    })
}

#[test]
fn a_peer_that_is_given_up_is_told() {
    use AssociationState::{
        Established, ShutdownAckSent, ShutdownPending, ShutdownReceived, ShutdownSent,
    };
    // DATA, SHUTDOWN, SHUTDOWN ACK: whatever was repeated in vain.
    let states = [Established, ShutdownPending, ShutdownSent, ShutdownReceived, ShutdownAckSent];
    for state in states {
        let mut ladder = Ladder::in_state("a_peer_that_is_given_up_is_told", state);
        if state == Established {
            ladder.sends("never acknowledged");
        }
        last_abort(&mut ladder);
        assert!(lost(&ladder).is_some(), "{state:?}");
    }
}

#[test]
fn a_peer_whose_heartbeats_are_not_answered_is_told() {
    let name = "a_peer_whose_heartbeats_are_not_answered_is_told";
    let mut ladder = single_with(name, |options| options.retransmission.association_max = 3);
    last_abort(&mut ladder);
    assert_eq!(lost(&ladder), Some(LostReason::TooManyRetransmissions));
}

#[test]
fn the_last_word_goes_where_it_has_the_best_chance() {
    let name = "the_last_word_goes_where_it_has_the_best_chance";
    let mut ladder = double_with(name, |options| {
        options.retransmission.association_max = 8;
        options.retransmission.path_max = 2;
    });
    ladder.sends("never acknowledged");
    // The second address answers HEARTBEATs all the time, and yet acknowledges nothing.
    let mut last = None;
    while ladder.state() != AssociationState::Closed {
        wait(&mut ladder, ms(100));
        for heard in ladder.hears_all() {
            let beats: Vec<_> = (heard.chunks.iter())
                .filter_map(|chunk| match chunk {
                    Chunk::Heartbeat(beat) if heard.destination == z(2) => Some(beat.clone()),
                    _ => None,
                })
                .map(Chunk::HeartbeatAck)
                .collect();
            if !beats.is_empty() && ladder.network.elapsed() < secs(3) {
                ladder.says(z(2), &beats);
            }
            last = Some(heard);
        }
    }
    let last = last.unwrap();
    assert!(matches!(last.only(), Chunk::Abort(_)), "{last:?}");
    let errors = |peer| ladder.path(peer).errors;
    assert!(errors(last.destination) <= errors(z(1)).min(errors(z(2))), "{:?}", ladder.paths());
}

#[test]
fn a_close_that_leaves_a_gap_is_not_graceful() {
    let name = "a_close_that_leaves_a_gap_is_not_graceful";
    for state in [AssociationState::Established, AssociationState::ShutdownSent] {
        for kind in [ChunkType::SHUTDOWN, ChunkType::SHUTDOWN_ACK] {
            if state == AssociationState::Established && kind == ChunkType::SHUTDOWN_ACK {
                continue;
            }
            let mut ladder = Ladder::in_state(name, state);
            ladder.says(z(1), &[data(1000, 0, "BE", "one"), data(1002, 2, "BE", "three")]);
            ladder.hears_all();
            let close =
                if kind == ChunkType::SHUTDOWN { ladder.shutdown(0) } else { Chunk::ShutdownAck };
            ladder.says(z(1), &[close]);
            let heard = ladder.expects(z(1), &[ChunkType::ABORT]);
            assert_eq!(heard.header.verification_tag, ladder.peer_tag);
            let Chunk::Abort(abort) = heard.only() else { unreachable!() };
            let Some(Ok(Cause::ProtocolViolation(why))) = abort.causes.iter().next() else {
                panic!("{abort:?}")
            };
            assert!(String::from_utf8_lossy(&why).contains("TSN 1001"), "{why:?}");
            let reason = LostReason::PeerViolation(CauseCode::PROTOCOL_VIOLATION);
            assert_eq!(lost(&ladder), Some(reason), "{kind:?} in {state:?}");
            assert_eq!(received(&mut ladder), ["one"]);
        }
    }
}

#[test]
fn a_close_in_the_middle_of_a_message_is_not_graceful() {
    let name = "a_close_in_the_middle_of_a_message_is_not_graceful";
    // The end of one is missing; one of the stream before it is; and all is there.
    for (flags, ssn, graceful) in [("B", 0, false), ("BE", 1, false), ("BE", 0, true)] {
        let mut ladder = single(name);
        ladder.says(z(1), &[data(1000, ssn, flags, "half")]);
        ladder.hears_all();
        let close = ladder.shutdown(0);
        ladder.says(z(1), &[close]);
        let expected = if graceful { ChunkType::SHUTDOWN_ACK } else { ChunkType::ABORT };
        ladder.expects(z(1), &[expected]);
    }
}

#[test]
fn a_close_is_bounded_however_long_the_peer_takes_no_message() {
    let name = "a_close_is_bounded_however_long_the_peer_takes_no_message";
    for theirs in [false, true] {
        let mut ladder = single_with(name, |options| options.shutdown_guard = Some(secs(20)));
        ladder.sends("first");
        ladder.sends("second");
        ladder.hears_all();
        let closed = sack(&ladder, 1, &[], 0);
        let close = if theirs { ladder.shutdown(1) } else { closed.clone() };
        if !theirs {
            ladder.shuts_down();
        }
        let begun = ladder.network.elapsed();
        ladder.says(z(1), &[close]);
        // It lives, and its window is closed.
        let mut heard = Vec::new();
        while ladder.state() != AssociationState::Closed {
            assert!(ladder.network.elapsed() - begun <= secs(21), "the close goes on for ever");
            wait(&mut ladder, ms(500));
            heard.extend(ladder.hears_all());
            if ladder.state() != AssociationState::Closed {
                ladder.says(z(1), std::slice::from_ref(&closed));
            }
        }
        let last = heard.last().unwrap();
        assert!(matches!(last.only(), Chunk::Abort(_)), "{last:?}");
        assert_eq!(last.at - begun, secs(20));
        assert_eq!(lost(&ladder), Some(LostReason::ShutdownTimeout));
        assert_eq!(given_back(&ladder), [(Message::new(0, "second"), true)]);
    }
}

#[test]
fn a_close_while_the_cookie_is_out_gives_the_attempt_up_and_tells_the_peer() {
    let name = "a_close_while_the_cookie_is_out_gives_the_attempt_up_and_tells_the_peer";
    let mut ladder = Ladder::in_state(name, AssociationState::CookieEchoed);
    ladder.hears_all();
    ladder.shuts_down();
    assert_eq!(ladder.state(), AssociationState::Closed);
    assert!(matches!(ladder.hears().only(), Chunk::Abort(_)));
}
