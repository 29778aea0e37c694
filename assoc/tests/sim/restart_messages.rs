//! What becomes of messages when the peer restarts: each is delivered once, or given back before the Restart (RFC 9260, 11.2.2).

use bytes::Bytes;
use usctp_assoc::sim::{Ladder, payload, z};
use usctp_assoc::{Event, Message};
use usctp_chunk::{Chunk, ChunkType, VerificationTag};

use crate::rfc::{acks, chunks, hears_numbers, single};

/// Z restarts, and hears what A has to say to it.
fn restarts(ladder: &mut Ladder) -> Vec<usctp_chunk::Data> {
    ladder.peer_tag = VerificationTag(0x0ace_0ace);
    ladder.says_with_tag(VerificationTag::ZERO, z(1), &[ladder.init(&[])]);
    let init_ack = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
    ladder.says(z(1), &[Chunk::CookieEcho(init_ack.cookie())]);
    chunks(&ladder.hears_all())
}

/// The payloads given back before the Restart, and whether any of each had been sent.
fn given_back(ladder: &Ladder) -> Vec<(Bytes, bool)> {
    let events = ladder.events();
    let restart = events.iter().position(|event| *event == Event::Restart).unwrap();
    let failed = |event: &Event| match event {
        Event::SendFailed { message, sent } => Some((message.payload.clone(), *sent)),
        _ => None,
    };
    assert!(events[restart..].iter().all(|event| failed(event).is_none()));
    events[..restart].iter().filter_map(failed).collect()
}

#[test]
fn a_message_half_sent_is_given_back_whole_and_those_behind_it_go_to_the_new_peer() {
    for acknowledged in 0..=2 {
        let name = "a_message_half_sent_is_given_back_whole_and_those_behind_it_go_to_the_new_peer";
        let mut ladder = single(name);
        let (ours, id) = (ladder.ours, ladder.id());
        let large = payload(0, 100_000);
        ladder.network.send(ours, id, Message::new(0, large.clone())).unwrap();
        ladder.sends("whole");
        assert!(hears_numbers(&mut ladder).len() > 2, "as much as the window lets out");
        if acknowledged > 0 {
            acks(&mut ladder, acknowledged, &[]);
            ladder.hears_all();
        }
        let heard = restarts(&mut ladder);
        assert!(given_back(&ladder) == [(large, true)], "{acknowledged} acknowledged");
        assert_eq!(heard.len(), 1);
        assert_eq!(heard[0].payload, "whole");
        assert_eq!(heard[0].tsn, ladder.our_tsn);
        assert_eq!(heard[0].sequence, usctp_chunk::Sequence::Ssn(Default::default()));
    }
}

#[test]
fn a_message_whose_last_fragment_alone_is_outstanding_is_given_back_whole() {
    let name = "a_message_whose_last_fragment_alone_is_outstanding_is_given_back_whole";
    let mut ladder = single(name);
    let (ours, id) = (ladder.ours, ladder.id());
    let message = payload(0, 4_000);
    ladder.network.send(ours, id, Message::new(0, message.clone())).unwrap();
    assert_eq!(hears_numbers(&mut ladder), [1, 2, 3]);
    acks(&mut ladder, 2, &[]);
    assert!(restarts(&mut ladder).is_empty());
    assert!(given_back(&ladder) == [(message, true)]);
}
