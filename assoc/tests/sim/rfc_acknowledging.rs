//! How A acknowledges DATA and tells of its window (RFC 9260, sections 6.2 and 6.7).

use bytes::Bytes;
use usctp_assoc::sim::{Ladder, payload, z};
use usctp_chunk::{Chunk, GapBlock, Tsn};

use crate::rfc::{data, double, hears_sack, received, sacks, single, single_with, wait};
use crate::world::{ms, secs};

/// Z sends messages of 1,000 bytes, and a last one that may be smaller, that nobody reads until the window that A tells of
/// is closed, of which it had `window` bytes at first. Returns the TSN behind the last one that was taken.
fn fill(ladder: &mut Ladder, first: u32, window: u32) -> u32 {
    let (mut tsn, mut window) = (first, window);
    while window > 0 {
        let len = window.min(1_000);
        let ssn = u16::try_from(tsn - 1000).unwrap();
        ladder.says(z(1), &[data(tsn, ssn, "BEI", payload(tsn.into(), len as usize))]);
        let sack = hears_sack(ladder);
        tsn += 1;
        let left = window - len;
        // RFC 1122, 4.2.2.16: what was told is not taken back; 4.2.3.3 and RFC 9260, 6.2: and not added to by little.
        assert!(sack.a_rwnd == left || sack.a_rwnd >= left + 1_400, "{} of {left}", sack.a_rwnd);
        window = sack.a_rwnd;
    }
    tsn
}

fn small(name: &str, receive_buffer: usize) -> Ladder {
    let mut ladder = single_with(name, |options| options.limits.receive_buffer = receive_buffer);
    let ours = ladder.ours;
    ladder.network.receive_eagerly(ours, false);
    ladder
}

fn reads(ladder: &mut Ladder) -> Option<Bytes> {
    let (ours, id) = (ladder.ours, ladder.id());
    ladder.network.receive(ours, id).map(|received| received.payload)
}

#[test]
fn a_closed_window_takes_nothing_new_and_says_so_at_once() {
    let mut ladder = small("a_closed_window_takes_nothing_new_and_says_so_at_once", 8_192);
    let next = fill(&mut ladder, 1000, 8_192);
    let ssn = u16::try_from(next - 1000).unwrap();
    for len in [10, 1_000] {
        // RFC 9260, 6.2: also what would fit into the rest that is too small to be told of.
        ladder.says(z(1), &[data(next, ssn, "BE", payload(1, len))]);
        let sack = hears_sack(&mut ladder);
        assert_eq!((sack.cumulative_tsn, sack.a_rwnd), (Tsn::new(next - 1), 0));
        ladder.says(z(1), &[data(next + 1, ssn + 1, "BE", payload(1, len))]);
        let sack = hears_sack(&mut ladder);
        assert_eq!((sack.cumulative_tsn, sack.gaps.len()), (Tsn::new(next - 1), 0));
    }
    while reads(&mut ladder).is_some() {}
    assert!(sacks(&ladder.hears_all()).last().unwrap().a_rwnd > 4_096, "the window opens");
    ladder.says(z(1), &[data(next, ssn, "BEI", "at last")]);
    assert_eq!(hears_sack(&mut ladder).cumulative_tsn, Tsn::new(next));
    assert_eq!(reads(&mut ladder).unwrap(), "at last");
}

#[test]
fn what_fills_a_gap_is_taken_though_the_window_is_closed_and_nothing_is_taken_back() {
    let name = "what_fills_a_gap_is_taken_though_the_window_is_closed_and_nothing_is_taken_back";
    let mut ladder = small(name, 8_192);
    let next = fill(&mut ladder, 1001, 8_192);
    ladder.says(z(1), &[data(1000, 0, "BE", payload(1, 1_000))]);
    assert_eq!(hears_sack(&mut ladder).cumulative_tsn, Tsn::new(next - 1));
    let mut count = 0;
    while reads(&mut ladder).is_some() {
        count += 1;
    }
    assert_eq!(count, next - 1000);
}

#[test]
fn one_packet_is_answered_by_one_sack() {
    let mut ladder = single("one_packet_is_answered_by_one_sack");
    let chunk = |tsn: u32| data(tsn, u16::try_from(tsn - 1000).unwrap(), "BE", "x");
    let chunks = [chunk(1000), chunk(1002), chunk(1002), chunk(1004), chunk(1000)];
    ladder.says(z(1), &chunks);
    wait(&mut ladder, secs(1));
    let sack = hears_sack(&mut ladder);
    assert_eq!((sack.cumulative_tsn.value(), sack.gaps.len()), (1000, 2));
    assert_eq!(sack.duplicates.iter().map(Tsn::value).collect::<Vec<_>>(), [1002, 1000]);
}

#[test]
fn a_reader_opens_the_window_by_quarters() {
    let mut ladder = small("a_reader_opens_the_window_by_quarters", 65_536);
    fill(&mut ladder, 1000, 65_536);
    let mut updates = Vec::new();
    let mut read = 0;
    while reads(&mut ladder).is_some() {
        read += 1;
        let heard = ladder.hears_all();
        updates.extend(sacks(&heard).iter().map(|sack| sack.a_rwnd));
    }
    assert!(read > 50, "{read}");
    // RFC 9260, 6.2: some updates, and no large number of them.
    assert!((2..=4).contains(&updates.len()), "{updates:?}");
    assert!(updates[0] >= 65_536 / 4 && updates.is_sorted(), "{updates:?}");
}

#[test]
fn as_many_gaps_as_fit_one_packet_are_reported_from_the_lowest() {
    let name = "as_many_gaps_as_fit_one_packet_are_reported_from_the_lowest";
    let mut ladder = single_with(name, |options| options.path_mtu = 512);
    for number in 0..200_u32 {
        ladder.hears_all();
        ladder.says(z(1), &[data(1001 + 2 * number, 0, "UBE", "x")]);
    }
    let heard = ladder.hears_all();
    let [sack] = &*sacks(&heard) else { panic!("one SACK was expected: {heard:?}") };
    // IPv4's header, the common header, and SACK's fixed part leave room for 116 gaps of 4 bytes.
    assert_eq!(heard[0].bytes.len(), 512 - 20);
    let expected: Vec<_> = (1..=116).map(|n| GapBlock { start: 2 * n, end: 2 * n }).collect();
    assert_eq!(sack.gaps.iter().collect::<Vec<_>>(), expected);
}

#[test]
fn the_window_counts_what_waits_for_its_other_fragments() {
    let mut ladder = single("the_window_counts_what_waits_for_its_other_fragments");
    // The window is told as payload of the chunks that came lately: they are all alike here.
    let says = |ladder: &mut Ladder, number: u32, ssn: u16, flags: &str| {
        ladder.says(z(1), &[data(1000 + number, ssn, flags, payload(1, 1_000))]);
        hears_sack(ladder).a_rwnd
    };
    for ssn in 0..80 {
        says(&mut ladder, ssn.into(), ssn, "BEI");
    }
    let one = says(&mut ladder, 80, 80, "BI");
    let two = says(&mut ladder, 81, 80, "I");
    let three = says(&mut ladder, 82, 80, "EI");
    assert!(two + 1_000 <= one && three + 900 <= two, "{one} {two} {three}");
    // The reader took the message.
    assert_eq!(says(&mut ladder, 83, 81, "BEI"), one);
}

#[test]
fn a_sack_goes_where_the_last_data_came_from() {
    let mut ladder = double("a_sack_goes_where_the_last_data_came_from");
    for (number, from) in [z(2), z(2), z(2), z(1), z(1), z(2)].into_iter().enumerate() {
        let number = u16::try_from(number).unwrap();
        ladder.says(from, &[data(1000 + u32::from(number), number, "BEI", "x")]);
        assert_eq!(ladder.hears().destination, from);
    }
}

#[test]
fn after_a_gap_every_packet_is_answered_at_once_until_it_is_filled() {
    let mut ladder = single("after_a_gap_every_packet_is_answered_at_once_until_it_is_filled");
    let chunk = |tsn: u32| data(tsn, u16::try_from(tsn - 1000).unwrap(), "BE", "x");
    for (tsn, cumulative) in [(1000, 1000), (1002, 1000), (1003, 1000), (1004, 1000), (1001, 1004)]
    {
        ladder.says(z(1), &[chunk(tsn)]);
        assert_eq!(hears_sack(&mut ladder).cumulative_tsn, Tsn::new(cumulative));
    }
    ladder.says(z(1), &[chunk(1005)]);
    assert!(ladder.hears_all().is_empty(), "all is well again");
    wait(&mut ladder, ms(200));
    assert_eq!(hears_sack(&mut ladder).cumulative_tsn, Tsn::new(1005));
}

#[test]
fn the_ssn_of_unordered_data_means_nothing() {
    let mut ladder = single("the_ssn_of_unordered_data_means_nothing");
    ladder.says(z(1), &[data(1000, 9, "UBE", "a"), data(1001, 9, "UBE", "b")]);
    ladder.says(z(1), &[data(1002, 3, "UB", "c"), data(1003, 700, "UE", "d")]);
    ladder.says(z(1), &[data(1004, 0, "BE", "ordered")]);
    assert_eq!(received(&mut ladder), ["a", "b", "cd", "ordered"]);
}

#[test]
fn ordered_messages_are_held_until_their_turn() {
    let mut ladder = single("ordered_messages_are_held_until_their_turn");
    ladder.says(z(1), &[data(1000, 1, "BE", "second"), data(1001, 2, "BE", "third")]);
    assert!(received(&mut ladder).is_empty());
    ladder.says(z(1), &[data(1002, 0, "BE", "first")]);
    assert_eq!(received(&mut ladder), ["first", "second", "third"]);
}

#[test]
fn a_chunk_too_far_ahead_to_be_reported_is_dropped_and_that_is_said_at_once() {
    let name = "a_chunk_too_far_ahead_to_be_reported_is_dropped_and_that_is_said_at_once";
    let mut ladder = single(name);
    let far: Chunk = data(1000 + 70_000, 1, "BE", "far");
    ladder.says(z(1), &[far]);
    let sack = hears_sack(&mut ladder);
    assert_eq!((sack.cumulative_tsn, sack.gaps.len()), (Tsn::new(999), 0));
}
