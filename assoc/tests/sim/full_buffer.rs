//! A receive buffer that is full: what becomes of what fills a gap, and what a side that closes says of its window.

use usctp_assoc::sim::{Ladder, z};
use usctp_chunk::{ChunkType, Sack, Tsn};

use crate::rfc::{data, received, sacks, single_with};

/// Bytes of the receive buffer, and of each message.
const LIMIT: usize = 8_192;
const LEN: usize = 1_000;

/// In ESTABLISHED with an application that does not read.
fn unread(name: &str) -> Ladder {
    let mut ladder = single_with(name, |options| options.limits.receive_buffer = LIMIT);
    ladder.network.receive_eagerly(ladder.ours, false);
    ladder
}

/// Z sends a message whether there is room or not; the last SACK that follows.
fn sends(ladder: &mut Ladder, number: u16) -> Option<Sack> {
    ladder.says(z(1), &[data(1_000 + u32::from(number), number, "BE", vec![7; LEN])]);
    sacks(&ladder.hears_all()).pop()
}

#[test]
fn what_fills_a_gap_gets_the_room_of_what_lies_behind_it() {
    let mut ladder = unread("what_fills_a_gap_gets_the_room_of_what_lies_behind_it");
    sends(&mut ladder, 40);
    let refused = (0..40).find_map(|number| {
        let sack = sends(&mut ladder, number).filter(|sack| {
            // Every chunk that fills the gap is answered at once (RFC 9260, 6.7).
            sack.cumulative_tsn.is_before(Tsn::new(1_000 + u32::from(number)))
        })?;
        Some((number, sack))
    });
    let (number, sack) = refused.expect("the buffer is full at last");
    assert!(usize::from(number) * LEN >= LIMIT, "what was promised was taken");
    // RFC 9260, 6.2: refused beside something behind it, it would seem to be lost, and the peer would give up.
    assert_eq!((sack.gaps.iter().count(), sack.a_rwnd), (0, 0));
    ladder.network.receive_eagerly(ladder.ours, true);
    ladder.hears_all();
    (number..=40).for_each(|number| _ = sends(&mut ladder, number));
    assert_eq!(received(&mut ladder).len(), 41);
}

#[test]
fn a_side_that_closes_says_that_its_window_is_closed() {
    let mut ladder = unread("a_side_that_closes_says_that_its_window_is_closed");
    ladder.network.close_when_sent(ladder.ours, ladder.id());
    ladder.expects(z(1), &[ChunkType::SHUTDOWN]);
    // RFC 9260, 9.2: SHUTDOWN alone acknowledges what comes in sequence, and says nothing of the window.
    let told = (0..20).find_map(|number| sends(&mut ladder, number));
    let told = told.expect("what is refused is answered by a SACK as well");
    assert!((told.a_rwnd as usize) < LEN, "{told:?}");
}
