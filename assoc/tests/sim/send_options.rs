//! What a message may ask for: a lifetime, a destination, not to wait, and a mark that comes back (RFC 9260, section 11.1.5).

use usctp_assoc::sim::{Ladder, a, payload, z};
use usctp_assoc::{AssociationState, Event, Message};
use usctp_chunk::ChunkType;

use crate::rfc::{acks, chunks, hears_numbers};
use crate::world::{config, ms, secs};

fn takes(ladder: &mut Ladder, message: Message) {
    let (ours, id) = (ladder.ours, ladder.id());
    ladder.network.send(ours, id, message).unwrap();
}

fn failed(ladder: &Ladder) -> Vec<(u32, bool)> {
    let events = ladder.events().into_iter().filter_map(|event| match event {
        Event::SendFailed { message, sent } => {
            Some((message.options.map_or(0, |options| options.context), sent))
        }
        _ => None,
    });
    events.collect()
}

#[test]
fn a_message_whose_lifetime_is_over_before_it_could_be_sent_fails_and_is_not_sent() {
    let name = "a_message_whose_lifetime_is_over_before_it_could_be_sent_fails_and_is_not_sent";
    let mut ladder = Ladder::in_state(name, AssociationState::Established);
    // As much as the first window holds, then one that is stale when there is room again, and one that is not.
    takes(&mut ladder, Message::new(0, payload(1, 20_000)));
    takes(&mut ladder, Message::new(0, "stale").lifetime(ms(100)).context(7));
    takes(&mut ladder, Message::new(0, "fresh").lifetime(secs(100)).context(8));
    ladder.network.run_for(ms(200));
    let mut seen = hears_numbers(&mut ladder).len();
    for _ in 0..20 {
        acks(&mut ladder, u32::try_from(seen).unwrap(), &[]);
        let heard = chunks(&ladder.hears_all());
        assert!(heard.iter().all(|data| data.payload != "stale"));
        seen += heard.len();
    }
    assert_eq!(failed(&ladder), [(7, false)]);
    assert!(ladder.events().contains(&Event::SenderDry), "all else was sent");
}

#[test]
fn a_message_of_which_a_part_has_left_is_sent_whole_whatever_its_lifetime() {
    let name = "a_message_of_which_a_part_has_left_is_sent_whole_whatever_its_lifetime";
    let mut ladder = Ladder::in_state(name, AssociationState::Established);
    takes(&mut ladder, Message::new(0, payload(1, 20_000)).lifetime(ms(100)));
    ladder.network.run_for(ms(200));
    let mut seen = hears_numbers(&mut ladder).len();
    for _ in 0..20 {
        acks(&mut ladder, u32::try_from(seen).unwrap(), &[]);
        seen += chunks(&ladder.hears_all()).len();
    }
    assert!(failed(&ladder).is_empty());
    assert!(ladder.events().contains(&Event::SenderDry));
}

#[test]
fn a_message_goes_to_the_address_it_is_for_and_the_others_to_the_primary() {
    let name = "a_message_goes_to_the_address_it_is_for_and_the_others_to_the_primary";
    let mut ladder = Ladder::new(name);
    ladder.establishes(&[z(1), z(2)]);
    takes(&mut ladder, Message::new(0, "first"));
    ladder.expects(z(1), &[ChunkType::DATA]);
    takes(&mut ladder, Message::new(0, "elsewhere").destination(z(2)));
    ladder.expects(z(2), &[ChunkType::DATA]);
    takes(&mut ladder, Message::new(0, "back"));
    ladder.expects(z(1), &[ChunkType::DATA]);
    // An address that the peer does not have is no destination.
    takes(&mut ladder, Message::new(0, "nowhere").destination(a(9)));
    ladder.expects(z(1), &[ChunkType::DATA]);
    assert_eq!((ladder.path(z(1)).flight, ladder.path(z(2)).flight), (68, 28));
}

#[test]
fn messages_for_different_addresses_share_no_packet() {
    let name = "messages_for_different_addresses_share_no_packet";
    let mut ladder = Ladder::new(name);
    ladder.establishes(&[z(1), z(2)]);
    let (ours, id) = (ladder.ours, ladder.id());
    let messages = [z(1), z(2), z(2), z(1)].map(|peer| Message::new(0, "x").destination(peer));
    ladder.network.offer(ours, id, messages);
    let heard = ladder.hears_all();
    let went: Vec<_> = heard.iter().map(|heard| (heard.destination, heard.chunks.len())).collect();
    assert_eq!(went, [(z(1), 1), (z(2), 2), (z(1), 1)]);
}

#[test]
fn every_path_on_which_the_peer_takes_back_what_it_reported_gets_its_timer() {
    let name = "every_path_on_which_the_peer_takes_back_what_it_reported_gets_its_timer";
    let mut ladder = Ladder::new(name);
    ladder.establishes(&[z(1), z(2), z(3)]);
    for peer in [z(1), z(2), z(3)] {
        takes(&mut ladder, Message::new(0, "x").unordered().destination(peer));
    }
    assert_eq!(hears_numbers(&mut ladder), [1, 2, 3]);
    acks(&mut ladder, 0, &[(2, 3)]);
    assert_eq!((ladder.path(z(2)).flight, ladder.path(z(3)).flight), (0, 0));
    // RFC 9260, 6.3.2 (R4)
    acks(&mut ladder, 0, &[]);
    let flights = [z(1), z(2), z(3)].map(|peer| ladder.path(peer).flight);
    assert_eq!(flights, [20, 20, 20]);
    ladder.network.run_for(ms(1_100));
    let mut again = hears_numbers(&mut ladder);
    again.sort_unstable();
    assert_eq!(again, [1, 2, 3]);
}

#[test]
fn a_message_for_an_address_that_fails_goes_where_data_goes() {
    let name = "a_message_for_an_address_that_fails_goes_where_data_goes";
    let mut ladder = Ladder::new(name);
    ladder.establishes(&[z(1), z(2)]);
    takes(&mut ladder, Message::new(0, "lost there").destination(z(2)));
    ladder.expects(z(2), &[ChunkType::DATA]);
    ladder.network.run_for(ms(1_100));
    ladder.hears_all();
    takes(&mut ladder, Message::new(0, "not again").destination(z(2)));
    let heard = ladder.hears();
    assert_eq!(heard.destination, z(1));
}

#[test]
fn with_nagle_a_message_that_must_not_wait_does_not() {
    let name = "with_nagle_a_message_that_must_not_wait_does_not";
    let config = config(|options| options.nagle = true);
    let mut ladder = Ladder::with(name, config, &[a(1)], &[z(1)]);
    ladder.establishes(&[z(1)]);
    takes(&mut ladder, Message::new(0, "in flight"));
    ladder.expects(z(1), &[ChunkType::DATA]);
    takes(&mut ladder, Message::new(0, "waits"));
    assert!(ladder.hears_all().is_empty());
    acks(&mut ladder, 1, &[]);
    ladder.expects(z(1), &[ChunkType::DATA]);
    takes(&mut ladder, Message::new(0, "at once").unbundled());
    ladder.expects(z(1), &[ChunkType::DATA]);
}

#[test]
fn the_mark_of_a_message_comes_back_whether_it_was_sent_or_not() {
    let name = "the_mark_of_a_message_comes_back_whether_it_was_sent_or_not";
    let mut ladder = Ladder::in_state(name, AssociationState::Established);
    takes(&mut ladder, Message::new(0, "on its way").context(1));
    takes(&mut ladder, Message::new(0, payload(1, 20_000)).context(2));
    takes(&mut ladder, Message::new(0, "still here").context(3));
    let (ours, id) = (ladder.ours, ladder.id());
    ladder.network.with(ours, id, |association, now| association.abort(now, Default::default()));
    // Of the second one a part was sent.
    assert_eq!(failed(&ladder), [(1, true), (2, true), (3, false)]);
}
