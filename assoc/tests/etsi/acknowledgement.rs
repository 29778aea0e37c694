//! A 9: SACK, both ways (RFC 9260, 6.2, 6.2.1, 6.4, 6.7, 7.2.4).

use std::time::Duration;

use bytes::Bytes;
use usctp_assoc::sim::{Heard, z};
use usctp_assoc::{AssociationState, Event};
use usctp_chunk::{Chunk, ChunkType, Data, Tsn};

use crate::tester::{Tester, data, gaps, ms, sack, secs};
use AssociationState::{Closed, Established};

/// One DATA chunk was received and acknowledged: the first is answered at once.
fn established() -> Tester {
    let mut t = Tester::in_state(Established);
    t.says(&[t.data(0, "first")]);
    t.expects(&[ChunkType::SACK]);
    t
}

/// The DATA chunks that come within this time, by their numbers, from 0.
fn sent_within(t: &mut Tester, time: Duration) -> Vec<u32> {
    let heard: Vec<Heard> = t.hears_for(time);
    data(&heard).iter().map(|data| data.tsn.since(t.iut_tsn)).collect()
}

#[test]
fn a_9_1_a_single_packet_is_acknowledged_within_the_delay() {
    let mut t = established();
    let before = t.iut.elapsed();
    t.says(&[t.data(1, "single")]);
    let heard = t.expects_within(ms(500), &[ChunkType::SACK]);
    // RFC 9260, 6.2: SHOULD be 200 ms, MUST NOT be more than 500 ms.
    assert_eq!(heard.at - before, ms(200));
    assert_eq!(sack(&heard).cumulative_tsn, t.tsn.plus(1));
    t.silence(secs(10));
}

#[test]
fn a_9_2_every_second_packet_is_acknowledged_at_once() {
    let mut t = established();
    for n in [1, 3, 5, 7] {
        t.says(&[t.data(n, "one")]);
        t.silence(Duration::ZERO);
        t.says(&[t.data(n + 1, "two")]);
        assert_eq!(sack(&t.expects(&[ChunkType::SACK])).cumulative_tsn, t.tsn.plus(n + 1));
    }
}

#[test]
fn a_9_3_a_gap_is_reported_at_once_and_so_is_each_packet_while_it_lasts() {
    let mut t = established();
    t.says(&[t.data(2, "three")]);
    let heard = t.expects(&[ChunkType::SACK]);
    assert_eq!((sack(&heard).cumulative_tsn, gaps(sack(&heard))), (t.tsn, vec![(2, 2)]));
    t.says(&[t.data(3, "four")]);
    assert_eq!(gaps(sack(&t.expects(&[ChunkType::SACK]))), [(2, 3)]);
    // RFC 9260, 6.7.
    t.says(&[t.data(6, "seven")]);
    assert_eq!(gaps(sack(&t.expects(&[ChunkType::SACK]))), [(2, 3), (6, 6)]);
}

#[test]
fn a_9_4_a_gap_that_is_filled_is_acknowledged_cumulatively() {
    let mut t = established();
    t.says(&[t.data(2, "three")]);
    t.expects(&[ChunkType::SACK]);
    t.says(&[t.data(1, "two")]);
    let heard = t.expects_within(ms(200), &[ChunkType::SACK]);
    assert_eq!((sack(&heard).cumulative_tsn, gaps(sack(&heard))), (t.tsn.plus(2), vec![]));
    assert_eq!(t.received(), ["first", "two", "three"]);
}

#[test]
fn a_9_5_a_duplicate_is_reported_at_once_and_not_delivered_again() {
    let mut t = established();
    t.says(&[t.data(0, "first")]);
    let heard = t.expects(&[ChunkType::SACK]);
    assert_eq!(sack(&heard).duplicates.iter().collect::<Vec<_>>(), [t.tsn]);
    t.says(&[t.data(2, "three")]);
    t.expects(&[ChunkType::SACK]);
    t.says(&[t.data(2, "three"), t.data(0, "first")]);
    let heard = t.expects(&[ChunkType::SACK]);
    let reported = sack(&heard).duplicates.iter().collect::<Vec<Tsn>>();
    assert_eq!(reported, [t.tsn.plus(2), t.tsn]);
    t.says(&[t.data(1, "two")]);
    assert_eq!(sack(&t.expects_within(ms(200), &[ChunkType::SACK])).duplicates.len(), 0);
    assert_eq!(t.received(), ["first", "two", "three"]);
}

#[test]
fn a_9_6_a_sack_goes_to_where_the_data_came_from() {
    let mut t = Tester::new();
    t.iut_opens(&[z(1), z(2), z(3)]);
    for (n, from) in [(0, z(2)), (2, z(3)), (4, z(1))] {
        t.says_from(from, &[t.data(n, "one")]);
        t.says_from(from, &[t.data(n + 1, "two")]);
        let heard = t.hears_for(ms(200));
        assert!(!heard.is_empty());
        for heard in heard {
            sack(&heard);
            assert_eq!(heard.destination, from, "RFC 9260, 6.4");
        }
    }
}

#[test]
fn a_9_7_the_advertised_window_shrinks_with_what_the_user_leaves_and_opens_when_it_receives() {
    let mut t = Tester::with(|options| options.limits.receive_buffer = 65_536);
    t.iut.receive_eagerly(false);
    t.iut_opens(&[z(1)]);
    let mut windows = Vec::new();
    for n in 0..50 {
        let Chunk::Data(data) = t.data(n, "x") else { unreachable!() };
        let payload = Bytes::from(vec![b'x'; 1_000]);
        t.says(&[Chunk::Data(Data { payload, ..data })]);
        windows.extend(t.hears_for(ms(200)).iter().map(|heard| sack(heard).a_rwnd));
    }
    assert!(windows.is_sorted_by(|before, after| before > after), "{windows:?}");
    assert!(*windows.last().unwrap() <= 65_536 - 50_000);
    t.iut.receive_eagerly(true);
    t.says(&[t.data(50, "wakes the user")]);
    let opened = t.hears_for(ms(200)).last().map(|heard| sack(heard).a_rwnd);
    // RFC 9260, 6.2: the peer hears of it, with the acknowledgement or before.
    assert!(opened > windows.last().copied(), "{opened:?}");
}

#[test]
fn a_9_8_what_gap_blocks_report_is_not_sent_again_when_t3_expires() {
    let mut t = Tester::in_state(Established);
    t.user_sends_bulk(4, 200);
    assert_eq!(sent_within(&mut t, Duration::ZERO), [0, 1, 2, 3]);
    t.says(&[t.sack_with(0, &[(2, 2), (4, 4)])]);
    assert_eq!(sent_within(&mut t, secs(1)), [0, 2]);
    t.says(&[t.sack(4)]);
    assert!(t.iut.events().contains(&Event::SenderDry));
    t.silence(secs(100));
}

#[test]
fn a_9_9_the_third_report_that_a_chunk_is_missing_brings_it_again_before_t3_expires() {
    let mut t = Tester::in_state(Established);
    t.user_sends_bulk(4, 1_000);
    t.hears_all();
    for gap in [(2, 2), (2, 3)] {
        t.says(&[t.sack_with(0, &[gap])]);
        // RFC 2960 wants four reports; RFC 9260, 7.2.4, three.
        assert_eq!(sent_within(&mut t, Duration::ZERO), Vec::<u32>::new());
    }
    t.says(&[t.sack_with(0, &[(2, 4)])]);
    assert_eq!(sent_within(&mut t, Duration::ZERO), [0]);
    // Once only.
    t.says(&[t.sack_with(0, &[(2, 4)])]);
    t.says(&[t.sack_with(0, &[(2, 4)])]);
    t.says(&[t.sack_with(0, &[(2, 4)])]);
    t.silence(ms(500));
}

#[test]
fn a_9_10_a_chunk_that_the_peer_no_longer_reports_is_sent_again() {
    let mut t = Tester::in_state(Established);
    t.user_sends_bulk(3, 200);
    t.hears_all();
    t.says(&[t.sack_with(0, &[(2, 3)])]);
    // RFC 9260, 6.2.1 (D iii): the peer has reneged on what a gap block had reported.
    t.says(&[t.sack_with(1, &[])]);
    assert_eq!(sent_within(&mut t, secs(2)), [1, 2]);
}

#[test]
fn a_9_11_an_old_sack_is_discarded() {
    let mut t = Tester::in_state(Established);
    t.user_sends_bulk(3, 200);
    t.hears_all();
    t.says(&[t.sack(2)]);
    let paths = t.iut.paths();
    t.a_rwnd = 0;
    for count in [0, 1] {
        t.says(&[t.sack(count)]);
        t.says(&[t.sack_with(count, &[(2, 2)])]);
    }
    // RFC 9260, 6.2.1 (D i): its window does not count either.
    assert_eq!(t.iut.paths(), paths);
    t.user_sends("the window is still open");
    assert_eq!(sent_within(&mut t, Duration::ZERO), [3]);
}

#[test]
fn a_9_12_a_sack_of_what_was_never_sent_acknowledges_nothing() {
    let mut t = Tester::in_state(Established);
    t.user_sends("outstanding");
    t.hears_all();
    let before = t.path(z(1)).cwnd;
    t.says(&[t.sack(1_000)]);
    if t.iut.state() == Closed {
        let told = t.hears_all().iter().any(|heard| matches!(heard.only(), Chunk::Abort(_)));
        assert!(told, "RFC 9260, 6.2.1: a Protocol Violation may be answered");
    } else {
        assert_eq!(t.path(z(1)).cwnd, before);
        assert_eq!(sent_within(&mut t, secs(2)), [0]);
    }
}
