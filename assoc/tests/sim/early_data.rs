//! DATA in the packet of the COOKIE ECHO: what goes with it, and what becomes of it (RFC 9260, sections 5.1 C, 5.2.4 and 5.2.6).

use usctp_assoc::sim::{Heard, Ladder, a, payload, z};
use usctp_assoc::{AssociationState, Event, Message};
use usctp_chunk::{Chunk, ChunkType, VerificationTag};

use crate::rfc::{chunks, hears_numbers};
use crate::world::{config, ms, secs};

/// A has messages to send and hears the INIT ACK, which lists two addresses; its next packet is what comes back.
fn echoes(name: &str, messages: &[Message]) -> (Ladder, Heard) {
    echoes_from(Ladder::new(name), messages)
}

fn echoes_from(mut ladder: Ladder, messages: &[Message]) -> (Ladder, Heard) {
    ladder.connectx(&[z(1), z(2)]);
    let (ours, id) = (ladder.ours, ladder.id());
    ladder.network.offer(ours, id, messages.iter().cloned());
    ladder.expects(z(1), &[ChunkType::INIT]);
    ladder.says(z(1), &[ladder.init_ack(&[z(1), z(2)])]);
    let heard = ladder.hears();
    (ladder, heard)
}

fn whole(count: usize, len: usize) -> Vec<Message> {
    (0..count).map(|_| Message::new(3, payload(7, len))).collect()
}

#[test]
fn as_many_whole_messages_go_with_the_cookie_as_its_packet_holds() {
    let name = "as_many_whole_messages_go_with_the_cookie_as_its_packet_holds";
    let (mut ladder, heard) = echoes(name, &whole(20, 300));
    assert_eq!(heard.chunks[0].kind(), ChunkType::COOKIE_ECHO);
    let count = heard.chunks.len() - 1;
    assert!(count >= 3, "{heard:?}");
    assert!(
        (1500 - 20 - 316..=1500 - 20).contains(&heard.bytes.len()),
        "filled, and not beyond the MTU"
    );
    ladder.silence(ms(900));
    ladder.says(z(1), &[Chunk::CookieAck, ladder.sack(u32::try_from(count).unwrap())]);
    let more: usize = ladder.hears_all().iter().map(|heard| heard.chunks.len()).sum();
    assert!(more > count, "the rest follows");
}

#[test]
fn a_message_that_has_to_be_cut_waits_for_the_cookie_ack() {
    let name = "a_message_that_has_to_be_cut_waits_for_the_cookie_ack";
    let config = config(|options| options.fragment_limit = Some(200));
    let ladder = Ladder::with(name, config, &[a(1)], &[z(1), z(2)]);
    let messages = [Message::new(0, payload(1, 20)), Message::new(0, payload(2, 500))];
    let (mut ladder, heard) = echoes_from(ladder, &messages);
    // A part of it would fit, and could not be taken back if the cookie proves to be stale.
    assert_eq!(chunks(&[heard]).iter().map(|data| data.payload.len()).collect::<Vec<_>>(), [20]);
    ladder.says(z(1), &[Chunk::CookieAck]);
    let rest = chunks(&ladder.hears_all());
    assert_eq!(rest.iter().map(|data| data.payload.len()).collect::<Vec<_>>(), [200, 200, 100]);
}

#[test]
fn what_was_lost_with_the_cookie_follows_the_next_one_to_the_next_address() {
    let name = "what_was_lost_with_the_cookie_follows_the_next_one_to_the_next_address";
    let (mut ladder, first) = echoes(name, &whole(2, 100));
    // Alone, as a path might take no more.
    let second = ladder.expects_within(secs(2), z(2), &[ChunkType::COOKIE_ECHO]);
    assert_eq!(second.chunks[0], first.chunks[0]);
    assert_eq!(second.at - first.at, secs(1), "T1-cookie, and not T3-rtx");
    assert_eq!((ladder.path(z(1)).flight, ladder.path(z(2)).flight), (0, 0));
    ladder.says(z(2), &[Chunk::CookieAck]);
    assert_eq!(chunks(&ladder.hears_all()).len(), 2);
    assert_eq!((ladder.path(z(1)).flight, ladder.path(z(2)).flight), (0, 232));
    ladder.says(z(2), &[ladder.sack(2)]);
    assert_eq!(ladder.state(), AssociationState::Established);
    assert!(ladder.events().contains(&Event::SenderDry));
    ladder.silence(secs(3));
}

#[test]
fn a_peer_that_drops_what_came_with_the_cookie_gets_it_again_after_t3() {
    let name = "a_peer_that_drops_what_came_with_the_cookie_gets_it_again_after_t3";
    let (mut ladder, _) = echoes(name, &whole(1, 100));
    ladder.network.run_for(ms(100));
    ladder.says(z(1), &[Chunk::CookieAck]);
    assert!(chunks(&ladder.hears_all()).is_empty());
    ladder.network.run_for(ms(1_500));
    assert_eq!(hears_numbers(&mut ladder), [1]);
}

#[test]
fn messages_that_went_to_a_peer_that_began_anew_meanwhile_are_given_back() {
    let name = "messages_that_went_to_a_peer_that_began_anew_meanwhile_are_given_back";
    let (mut ladder, _) = echoes(name, &whole(2, 100));
    ladder.sends("later");
    // The peer has a new tag: it opens the association itself, and its cookie meets COOKIE-ECHOED (5.2.4, B).
    ladder.peer_tag = VerificationTag(0x0bad_cafe);
    ladder.says_with_tag(VerificationTag::ZERO, z(1), &[ladder.init(&[z(1), z(2)])]);
    let answer = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
    ladder.says(z(1), &[Chunk::CookieEcho(answer.cookie())]);
    let given =
        ladder.events().into_iter().filter(|event| matches!(event, Event::SendFailed { .. }));
    assert_eq!(given.count(), 2, "they may have arrived, so they are not sent a second time");
    assert_eq!(ladder.state(), AssociationState::Established);
    assert_eq!(ladder.paths().iter().map(|path| path.flight).sum::<usize>(), 16 + 8);
    assert_eq!(hears_numbers(&mut ladder), [1], "what had not left leaves now, as the first");
}
