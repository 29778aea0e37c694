//! How associations end when something is left over: messages too old to be sent, messages cut in half, gaps, silent peers.

use bytes::Bytes;
use usctp_assoc::sim::{Ladder, payload, z};
use usctp_assoc::{Association, AssociationState, Event, Message};
use usctp_chunk::{Chunk, ChunkType};

use crate::rfc::{acks, hears_numbers, sack, single, single_with, wait};
use crate::world::{HOUR, ms};

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
