//! How A sends DATA: states, windows, bursts, and T3-rtx (RFC 9260, sections 6, 6.1 and 6.2.1).

use usctp_assoc::sim::{Ladder, a, a6, kinds, payload, z, z6};
use usctp_assoc::{Association, AssociationState, Config, Event, Message};
use usctp_chunk::{Chunk, ChunkType, Init, Tsn};

use crate::rfc::{
    FULL, acks, alone, chunks, data, double, grow, hears_numbers, numbers, received, sack, send,
    single, single_with, wait,
};
use crate::world::{config, ms, secs};

#[test]
fn messages_wait_until_the_set_up_is_over_or_go_with_the_cookie() {
    for state in [AssociationState::CookieWait, AssociationState::CookieEchoed] {
        let name = "messages_wait_until_the_set_up_is_over_or_go_with_the_cookie";
        let mut ladder = Ladder::in_state(name, state);
        ladder.sends("early");
        wait(&mut ladder, secs(5));
        let heard = ladder.hears_all();
        let alone = heard.iter().filter(|heard| {
            let kinds = kinds(&heard.chunks);
            kinds.contains(&ChunkType::DATA) && kinds[0] != ChunkType::COOKIE_ECHO
        });
        assert_eq!(alone.count(), 0, "{state:?}: {heard:?}");
        if state == AssociationState::CookieEchoed {
            // The cookie goes again after 1 s and after 3 s, alone: a path might take no more.
            assert!(chunks(&heard).is_empty());
            ladder.says(z(1), &[Chunk::CookieAck]);
            assert_eq!(hears_numbers(&mut ladder), [1]);
            ladder.network.run_for(secs(5));
            assert_eq!(hears_numbers(&mut ladder)[0], 1, "T3-rtx watches over it from now on");
        }
    }
}

#[test]
fn sacks_count_in_established_shutdown_pending_and_shutdown_received_only() {
    use AssociationState::{
        CookieEchoed, Established, ShutdownAckSent, ShutdownPending, ShutdownReceived, ShutdownSent,
    };
    let name = "sacks_count_in_established_shutdown_pending_and_shutdown_received_only";
    let after = |state, count| {
        let mut ladder = Ladder::in_state(name, state);
        if state == Established {
            ladder.sends("outstanding");
            ladder.hears();
        }
        acks(&mut ladder, count, &[]);
        (ladder.state(), ladder.events().contains(&Event::SenderDry))
    };
    assert_eq!(after(Established, 1), (Established, true));
    assert_eq!(after(ShutdownPending, 1), (ShutdownSent, true));
    assert_eq!(after(ShutdownReceived, 1), (ShutdownAckSent, true));
    for state in [CookieEchoed, ShutdownSent, ShutdownAckSent] {
        // In a state where SACKs count, this one would end the association.
        assert_eq!(after(state, 1), (state, false));
    }
}

#[test]
fn data_is_discarded_while_the_cookie_is_under_way() {
    let name = "data_is_discarded_while_the_cookie_is_under_way";
    let mut ladder = Ladder::in_state(name, AssociationState::CookieEchoed);
    ladder.says(z(1), &[data(1000, 0, "BE", "too early")]);
    assert!(received(&mut ladder).is_empty());
    ladder.says(z(1), &[Chunk::CookieAck]);
    ladder.says(z(1), &[data(1000, 0, "BE", "now")]);
    assert_eq!(received(&mut ladder), ["now"]);
}

#[test]
fn a_large_message_is_cut_into_chunks_that_fit_every_path() {
    let name = "a_large_message_is_cut_into_chunks_that_fit_every_path";
    let config = Config::default();
    let mut ladder = Ladder::with(name, config, &[a(1), a6(1)], &[z(1), z6(1)]);
    ladder.establishes(&[z(1), z6(1)]);
    let (ours, id) = (ladder.ours, ladder.id());
    let message = Message::new(3, payload(7, 5_000)).unordered();
    ladder.network.send(ours, id, message.clone()).unwrap();
    let heard = ladder.hears_all();
    assert!(heard.iter().all(|heard| heard.destination == z(1) && heard.bytes.len() <= 1480));
    let chunks = chunks(&heard);
    // RFC 9260, 6.9: AMDCS is that of IPv6, 1500 - 40 - 12, of which DATA's header takes 16.
    let lens: Vec<_> = chunks.iter().map(|data| data.payload.len()).collect();
    assert_eq!(lens, [1432, 1432, 1432, 704]);
    assert_eq!(numbers(&ladder, &heard), [1, 2, 3, 4]);
    assert!(chunks.iter().all(|data| data.sequence == chunks[0].sequence && data.flags.unordered));
    let bits: Vec<_> =
        chunks.iter().map(|data| (data.flags.beginning, data.flags.ending)).collect();
    assert_eq!(bits, [(true, false), (false, false), (false, false), (false, true)]);
    let whole: Vec<u8> = chunks.iter().flat_map(|data| data.payload.to_vec()).collect();
    assert_eq!(whole, message.payload);
}

#[test]
fn an_acknowledgement_rides_before_data_and_leaves_it_room() {
    let mut ladder = single("an_acknowledgement_rides_before_data_and_leaves_it_room");
    ladder.says(z(1), &[data(1000, 0, "BE", "1")]);
    ladder.expects(z(1), &[ChunkType::SACK]);
    // The next one is acknowledged late, unless DATA goes the same way.
    ladder.says(z(1), &[data(1001, 1, "BE", "2")]);
    assert!(ladder.hears_all().is_empty());
    ladder.sends("ride");
    ladder.expects(z(1), &[ChunkType::SACK, ChunkType::DATA]);
    acks(&mut ladder, 1, &[]);
    // DATA that fills a packet is not shortened, and no packet exceeds the MTU.
    ladder.says(z(1), &[data(1002, 2, "BE", "3")]);
    send(&mut ladder, 1, FULL);
    wait(&mut ladder, ms(200));
    let heard = ladder.hears_all();
    assert!(heard.iter().all(|heard| heard.bytes.len() <= 1480), "{heard:?}");
    assert_eq!(chunks(&heard)[0].payload.len(), FULL);
    // Nor does what is sent again beside an acknowledgement that waits.
    wait(&mut ladder, ms(700));
    ladder.says(z(1), &[data(1003, 3, "BE", "4")]);
    assert!(ladder.hears_all().is_empty());
    wait(&mut ladder, ms(150));
    let heard = ladder.hears_all();
    assert!(heard.iter().all(|heard| heard.bytes.len() <= 1480), "{heard:?}");
    assert_eq!(heard.iter().map(|heard| heard.chunks.len()).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(chunks(&heard)[0].payload.len(), FULL);
}

#[test]
fn bundled_chunks_are_acted_on_in_their_order() {
    let name = "bundled_chunks_are_acted_on_in_their_order";
    let mut ladder = single(name);
    let shutdown = ladder.shutdown(0);
    let before = [data(1000, 0, "BE", "1"), data(1001, 1, "BE", "2")];
    let behind = data(1002, 2, "BE", "3");
    // SHUTDOWN ends the receiving of DATA.
    ladder.says(z(1), &[&before[..], &[shutdown, behind]].concat());
    assert_eq!(received(&mut ladder), ["1", "2"]);
    assert_eq!(ladder.state(), AssociationState::ShutdownAckSent);
}

#[test]
fn a_window_too_small_for_the_next_chunk_is_probed_with_it_ever_more_rarely() {
    let name = "a_window_too_small_for_the_next_chunk_is_probed_with_it_ever_more_rarely";
    let mut ladder = single_with(name, |options| options.heartbeat.interval = None);
    send(&mut ladder, 1, 100);
    ladder.hears();
    let closed = sack(&ladder, 1, &[], 500);
    ladder.says(z(1), std::slice::from_ref(&closed));
    send(&mut ladder, 1, 1_000);
    let mut before = ladder.network.elapsed();
    // RFC 9260, 6.1 (A): after one RTO, then exponentially.
    for interval in [1, 2, 4, 8, 16] {
        let probe = ladder.hears_within(secs(70));
        assert_eq!(probe.at - before, secs(interval));
        // It is not cut to fit the window: that would be silly.
        assert_eq!(chunks(std::slice::from_ref(&probe))[0].payload.len(), 1_000);
        before = probe.at;
        ladder.says(z(1), std::slice::from_ref(&closed));
        assert!(ladder.hears_all().is_empty());
    }
    assert_eq!(ladder.path(z(1)).errors, 0);
}

#[test]
fn a_closed_window_is_not_probed_while_anything_is_outstanding() {
    let mut ladder = single("a_closed_window_is_not_probed_while_anything_is_outstanding");
    send(&mut ladder, 1, 10);
    ladder.hears();
    ladder.says(z(1), &[sack(&ladder, 1, &[], 2_000)]);
    let start = ladder.network.elapsed();
    // The third one finds the window closed.
    send(&mut ladder, 3, 1_000);
    assert_eq!(hears_numbers(&mut ladder), [2, 3]);
    wait(&mut ladder, ms(600));
    ladder.says(z(1), &[sack(&ladder, 2, &[], 0)]);
    // An RTO later there is no probe; T3-rtx, restarted by that SACK, sends 3 again, and nothing else.
    let heard = ladder.hears_within(secs(2));
    assert_eq!((heard.at - start, numbers(&ladder, &[heard])), (ms(1_600), vec![3]));
    assert!(ladder.hears_all().is_empty());
}

#[test]
fn the_window_is_what_the_peer_said_less_what_is_outstanding() {
    let name = "the_window_is_what_the_peer_said_less_what_is_outstanding";
    let mut ladder = alone(name, Config::default());
    ladder.connectx(&[z(1)]);
    ladder.hears();
    let Chunk::InitAck(init) = ladder.init_ack(&[]) else { unreachable!() };
    ladder.says(z(1), &[Chunk::InitAck(Init { a_rwnd: 2_500, ..init })]);
    ladder.hears();
    ladder.says(z(1), &[Chunk::CookieAck]);
    send(&mut ladder, 4, 1_000);
    // RFC 9260, 6.2.1 (A, B): 2,500 bytes are enough for two.
    assert_eq!(hears_numbers(&mut ladder), [1, 2]);
    // (D ii): 1,000 bytes of window less one chunk that is still outstanding.
    ladder.says(z(1), &[sack(&ladder, 1, &[], 1_000)]);
    assert!(hears_numbers(&mut ladder).is_empty());
    ladder.says(z(1), &[sack(&ladder, 1, &[], 2_000)]);
    assert_eq!(hears_numbers(&mut ladder), [3]);
    // What a Gap Ack Block covers is no longer outstanding.
    ladder.says(z(1), &[sack(&ladder, 1, &[(2, 2)], 2_000)]);
    assert_eq!(hears_numbers(&mut ladder), [4]);
}

#[test]
fn what_timed_out_is_given_back_to_the_window() {
    let mut ladder = double("what_timed_out_is_given_back_to_the_window");
    send(&mut ladder, 1, 10);
    ladder.hears();
    ladder.says(z(1), &[sack(&ladder, 1, &[], 3_000)]);
    send(&mut ladder, 2, 1_400);
    assert_eq!(hears_numbers(&mut ladder), [2, 3]);
    wait(&mut ladder, secs(1));
    assert_eq!(hears_numbers(&mut ladder), [2, 3]);
    // RFC 9260, 6.2.1 (C): 200 of the 3,000 bytes are left, as before T3-rtx expired.
    send(&mut ladder, 1, 150);
    assert_eq!(hears_numbers(&mut ladder), [4]);
}

#[test]
fn what_a_shutdown_acknowledges_is_given_back_to_the_window() {
    let mut ladder = single("what_a_shutdown_acknowledges_is_given_back_to_the_window");
    let begun = ladder.network.elapsed();
    // Z's window is 100,000 bytes; it closes, and acknowledges by SHUTDOWN alone (RFC 9260, 9.2).
    send(&mut ladder, 300, 1_000);
    let mut acked = 0;
    while acked < 300 {
        let heard = hears_numbers(&mut ladder);
        acked = heard.last().copied().unwrap_or_else(|| panic!("A stops after {acked} chunks"));
        wait(&mut ladder, ms(10));
        ladder.says(z(1), &[ladder.shutdown(acked)]);
    }
    assert!(ladder.network.elapsed() - begun < secs(3));
}

#[test]
fn what_became_too_long_for_its_path_is_given_back_to_the_window() {
    let name = "what_became_too_long_for_its_path_is_given_back_to_the_window";
    let mut ladder = single(name);
    let base = grow(&mut ladder, 10 * FULL, FULL);
    ladder.says(z(1), &[sack(&ladder, base, &[], 5_000)]);
    send(&mut ladder, 3, FULL);
    assert_eq!(hears_numbers(&mut ladder), [base + 1, base + 2, base + 3]);
    let (ours, id) = (ladder.ours, ladder.id());
    let smaller =
        |association: &mut Association, now| association.set_path_mtu(now, z(1), Some(1_000));
    ladder.network.with(ours, id, smaller).unwrap();
    assert_eq!(hears_numbers(&mut ladder), [base + 1, base + 2, base + 3], "in pieces");
    // 644 of the 5,000 bytes are left, as before.
    send(&mut ladder, 1, 600);
    wait(&mut ladder, ms(100));
    assert_eq!(hears_numbers(&mut ladder), [base + 4]);
}

#[test]
fn a_small_chunk_takes_256_bytes_of_the_peers_window() {
    // Ten of them, and the payload of one more.
    for (window, count) in [(2_570, 11), (2_569, 10)] {
        let mut ladder = single("a_small_chunk_takes_256_bytes_of_the_peers_window");
        send(&mut ladder, 1, 10);
        ladder.hears();
        ladder.says(z(1), &[sack(&ladder, 1, &[], window)]);
        send(&mut ladder, 30, 10);
        assert_eq!(hears_numbers(&mut ladder).len(), count, "{window}");
    }
    let mut ladder = single("a_small_chunk_takes_256_bytes_of_the_peers_window");
    send(&mut ladder, 1, 10);
    ladder.hears();
    ladder.says(z(1), &[sack(&ladder, 1, &[], 2_600)]);
    send(&mut ladder, 30, 10);
    // Linux would have room for 2 * 2,600 bytes, of which each of these takes some 242.
    assert_eq!(hears_numbers(&mut ladder).len(), 11);
    wait(&mut ladder, ms(100));
    ladder.says(z(1), &[sack(&ladder, 12, &[], 100_000)]);
    assert_eq!(hears_numbers(&mut ladder).len(), 19);
}

#[test]
fn cwnd_is_exceeded_by_a_part_of_one_packet_at_most() {
    let mut ladder = single("cwnd_is_exceeded_by_a_part_of_one_packet_at_most");
    assert_eq!(ladder.path(z(1)).cwnd, 4404);
    send(&mut ladder, 20, 1_000);
    // RFC 9260, 6.1 (B): four chunks of 1,016 bytes leave 340; the fifth may use them.
    assert_eq!(hears_numbers(&mut ladder), [1, 2, 3, 4, 5]);
    assert_eq!(ladder.path(z(1)).flight, 5 * 1_016);
    wait(&mut ladder, ms(900));
    assert!(hears_numbers(&mut ladder).is_empty(), "the window is full");
    acks(&mut ladder, 1, &[]);
    // Slow start adds one chunk: 4,064 bytes of 5,420.
    assert_eq!(hears_numbers(&mut ladder), [6, 7]);
}

#[test]
fn what_is_marked_for_retransmission_goes_before_new_messages() {
    let mut ladder = single("what_is_marked_for_retransmission_goes_before_new_messages");
    send(&mut ladder, 20, 1_000);
    assert_eq!(hears_numbers(&mut ladder), [1, 2, 3, 4, 5]);
    wait(&mut ladder, secs(1));
    let mut order = hears_numbers(&mut ladder);
    while order.len() < 8 {
        acks(&mut ladder, *order.last().unwrap(), &[]);
        order.extend(hears_numbers(&mut ladder));
    }
    assert_eq!(order[..8], [1, 2, 3, 4, 5, 6, 7, 8]);
}

/// A's window of some 20 packets is all in use: the number of the last chunk before these, and how many these are.
fn in_use(ladder: &mut Ladder) -> (u32, u32) {
    let acked = grow(ladder, 20_000, FULL);
    send(ladder, 100, FULL);
    wait(ladder, ms(100));
    let out = hears_numbers(ladder).len() as u32;
    assert!(out > 12, "{out}");
    (acked, out)
}

#[test]
fn no_more_than_max_burst_packets_leave_at_once() {
    let mut ladder = single("no_more_than_max_burst_packets_leave_at_once");
    let (acked, out) = in_use(&mut ladder);
    let before = ladder.path(z(1)).cwnd;
    let last = acked + out;
    let shut = sack(&ladder, last - 2, &[], 0);
    ladder.says(z(1), &[shut]);
    assert!(ladder.hears_all().is_empty(), "the peer's window is shut");
    acks(&mut ladder, last, &[]);
    // RFC 9260, 6.1 (D): Max.Burst is 4, however much cwnd and window allow.
    let heard = ladder.hears_all();
    assert_eq!(heard.len(), 4);
    assert!(ladder.path(z(1)).cwnd >= before, "cwnd is not changed by that");
}

#[test]
fn no_more_than_max_burst_packets_leave_at_once_however_the_application_sends() {
    let name = "no_more_than_max_burst_packets_leave_at_once_however_the_application_sends";
    for messages_at_once in [1, 5, 50] {
        let mut ladder = single_with(name, |options| options.heartbeat.interval = None);
        grow(&mut ladder, 60 * crate::rfc::PMDCS, FULL);
        let cwnd = ladder.path(z(1)).cwnd;
        for _ in 0..50 / messages_at_once {
            send(&mut ladder, messages_at_once, FULL);
        }
        assert_eq!(ladder.hears_all().len(), 4, "{messages_at_once}");
        assert_eq!(ladder.path(z(1)).cwnd, cwnd, "it is not changed by that");
        // The others need no acknowledgement: they follow at the speed of the window, and only that is full.
        wait(&mut ladder, ms(100));
        assert_eq!(ladder.hears_all().len(), 46, "{messages_at_once}");
    }
}

#[test]
fn small_messages_of_the_application_leave_at_once_though_they_are_more_than_max_burst() {
    let name =
        "small_messages_of_the_application_leave_at_once_though_they_are_more_than_max_burst";
    let mut ladder = single(name);
    grow(&mut ladder, 20_000, FULL);
    for _ in 0..30 {
        ladder.sends("a request");
    }
    // RFC 9260, 6.1 (D), as a limit of Max.Burst * PMDCS bytes.
    assert_eq!(ladder.hears_all().len(), 30);
}

#[test]
fn a_sack_that_comes_for_many_packets_lets_as_many_follow_and_no_more_than_max_burst_beside() {
    let name =
        "a_sack_that_comes_for_many_packets_lets_as_many_follow_and_no_more_than_max_burst_beside";
    let mut ladder = single(name);
    let (acked, out) = in_use(&mut ladder);
    // Half of them arrived: flight and cwnd leave room for as many, and some more.
    acks(&mut ladder, acked + out / 2, &[]);
    let heard = ladder.hears_all().len() as u32;
    assert!((out / 2..=out / 2 + 4).contains(&heard), "{heard} for {out} / 2");
}

#[test]
fn t3_is_restarted_by_the_earliest_chunk_only() {
    let mut ladder = single("t3_is_restarted_by_the_earliest_chunk_only");
    let start = ladder.network.elapsed();
    let since = |ladder: &Ladder| ladder.network.elapsed() - start;
    send(&mut ladder, 8, 500);
    assert_eq!(hears_numbers(&mut ladder), [1, 2, 3, 4, 5, 6, 7, 8]);
    wait(&mut ladder, ms(200));
    for last in 2..=4 {
        acks(&mut ladder, 0, &[(2, last)]);
    }
    assert_eq!(hears_numbers(&mut ladder), [1]);
    wait(&mut ladder, ms(200));
    send(&mut ladder, 2, 500);
    assert_eq!(hears_numbers(&mut ladder), [9, 10]);
    for last in 6..=8 {
        acks(&mut ladder, 0, &[(2, 4), (6, last)]);
    }
    assert_eq!(hears_numbers(&mut ladder), [5]);
    // RFC 9260, 6.1: the retransmission of 1 at 200 ms restarted T3-rtx; neither did new chunks, nor that of 5.
    assert_eq!(since(&ladder), ms(400));
    ladder.hears_within(secs(5));
    assert_eq!(since(&ladder), ms(1_200));
}

#[test]
fn new_chunks_do_not_restart_t3() {
    let mut ladder = single("new_chunks_do_not_restart_t3");
    let start = ladder.network.elapsed();
    ladder.sends("first");
    ladder.hears();
    wait(&mut ladder, ms(600));
    ladder.sends("second");
    ladder.hears();
    let again = ladder.hears_within(secs(5));
    assert_eq!((again.at - start, numbers(&ladder, &[again])), (secs(1), vec![1, 2]));
}

#[test]
fn no_more_chunks_are_outstanding_than_half_the_stream_sequence_numbers() {
    let name = "no_more_chunks_are_outstanding_than_half_the_stream_sequence_numbers";
    let mut ladder = single_with(name, |options| options.limits.send_buffer = 1 << 25);
    send(&mut ladder, 70_000, 1);
    let mut highest = 0;
    // The first chunk never arrives; all others do.
    while let Some(last) = hears_numbers(&mut ladder).into_iter().max() {
        highest = last.max(highest);
        acks(&mut ladder, 0, &[(2, u16::try_from(highest).unwrap())]);
    }
    // RFC 9260, 6.1: no more ordered messages than SSNs, nor more TSNs than 2^31; and half of the SSNs is what
    // the receiver can tell from old ones.
    assert_eq!(highest, 32_767);
    acks(&mut ladder, 32_767, &[]);
    assert!(hears_numbers(&mut ladder).contains(&32_768));
}

#[test]
fn stream_sequence_numbers_count_ordered_messages_and_wrap_around() {
    let name = "stream_sequence_numbers_count_ordered_messages_and_wrap_around";
    let mut ladder = alone(name, config(|options| options.limits.send_buffer = 1 << 25));
    ladder.establishes(&[z(1)]);
    let (ours, id) = (ladder.ours, ladder.id());
    let messages = (0..65_600).flat_map(|_| {
        [Message::new(5, "o"), Message::new(5, "u").unordered(), Message::new(6, "other")]
    });
    ladder.network.offer(ours, id, messages);
    let (mut expected, mut acked) = (0_u16, 0);
    loop {
        let heard = ladder.hears_all();
        let chunks = chunks(&heard);
        if chunks.is_empty() {
            break;
        }
        for data in chunks {
            acked += 1;
            let usctp_chunk::Sequence::Ssn(ssn) = data.sequence else { panic!("no I-DATA") };
            if data.stream.0 == 5 && !data.flags.unordered {
                // RFC 9260, 6.5: 0 comes after 65,535.
                assert_eq!(ssn.value(), expected);
                expected = expected.wrapping_add(1);
            }
        }
        acks(&mut ladder, acked, &[]);
    }
    assert_eq!((acked, expected), (3 * 65_600, 64));
}

#[test]
fn every_packet_has_the_tag_of_the_peer() {
    let mut ladder = Ladder::new("every_packet_has_the_tag_of_the_peer");
    ladder.connectx(&[z(1)]);
    assert!(ladder.hears().header.verification_tag.is_zero(), "RFC 9260, 8.5.1 (A)");
    ladder.says(z(1), &[ladder.init_ack(&[])]);
    let mut heard = ladder.hears_all();
    assert_eq!(kinds(&heard[0].chunks), [ChunkType::COOKIE_ECHO]);
    ladder.says(z(1), &[Chunk::CookieAck]);
    ladder.sends("data");
    ladder.says(z(1), &[data(1000, 0, "BE", "data"), Chunk::Heartbeat(heartbeat())]);
    acks(&mut ladder, 1, &[]);
    ladder.shuts_down();
    heard.extend(ladder.hears_all());
    ladder.says(z(1), &[Chunk::ShutdownAck]);
    heard.extend(ladder.hears_all());
    let last = heard.last().unwrap();
    // 8.5.1 (C): there is a TCB, so the tag is not reflected.
    let complete = usctp_chunk::ShutdownComplete { tag_reflected: false };
    assert_eq!(last.chunks, [Chunk::ShutdownComplete(complete)]);
    assert!(heard.iter().all(|heard| heard.header.verification_tag == ladder.peer_tag));
    assert!(heard.len() >= 5, "{heard:?}");
}

fn heartbeat() -> usctp_chunk::Heartbeat {
    usctp_chunk::Heartbeat::new(bytes::Bytes::from_static(b"any"))
}

#[test]
fn tsns_are_given_in_sequence_from_the_initial_one() {
    let mut ladder = single("tsns_are_given_in_sequence_from_the_initial_one");
    send(&mut ladder, 3, 500);
    let heard = ladder.hears_all();
    let tsns: Vec<Tsn> = chunks(&heard).iter().map(|data| data.tsn).collect();
    let first = ladder.our_tsn;
    assert_eq!(tsns, [first, first.plus(1), first.plus(2)]);
}
