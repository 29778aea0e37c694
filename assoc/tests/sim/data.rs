//! DATA and SACK between A and a peer played by hand (RFC 9260, section 6), hostile ones included.

use bytes::Bytes;
use usctp_assoc::sim::{Heard, Ladder, a, kinds, payload, z};
use usctp_assoc::{AssociationState, Event, LostReason, Message, PathState};
use usctp_chunk::{
    Cause, CauseCode, Chunk, ChunkType, Data, DataFlags, ForwardTsn, GapBlock, Ppid, Sack,
    Sequence, Ssn, StreamId, Tsn,
};

use crate::world::{config, ms, secs};

fn established(name: &str) -> Ladder {
    let mut ladder = Ladder::new(name);
    ladder.establishes(&[z(1), z(2)]);
    ladder
}

/// The same without RFC 7829: its HEARTBEATs to a path that fails would come in between.
fn established_without_potential_failure(name: &str) -> Ladder {
    let config = config(|options| options.failover.potentially_failed_max = None);
    let mut ladder = Ladder::with(name, config, &[a(1), a(2)], &[z(1), z(2)]);
    ladder.establishes(&[z(1), z(2)]);
    ladder
}

/// DATA of Z's with everything chosen.
fn data(tsn: u32, stream: u16, ssn: u16, flags: &str, payload: &'static [u8]) -> Chunk {
    let has = |flag| flags.contains(flag);
    Chunk::Data(Data {
        tsn: Tsn::new(tsn),
        stream: StreamId(stream),
        sequence: Sequence::Ssn(Ssn::new(ssn)),
        ppid: Ppid(0),
        flags: DataFlags {
            immediate: has('I'),
            unordered: has('U'),
            beginning: has('B'),
            ending: has('E'),
        },
        payload: Bytes::from_static(payload),
    })
}

fn sack(heard: &Heard) -> &Sack {
    let sack = heard.chunks.iter().find_map(|chunk| match chunk {
        Chunk::Sack(sack) => Some(sack),
        _ => None,
    });
    sack.unwrap_or_else(|| panic!("no SACK in {:?}", kinds(&heard.chunks)))
}

fn tsns(heard: &[Heard]) -> Vec<u32> {
    let chunks = heard.iter().flat_map(|heard| &heard.chunks);
    let tsns = chunks.filter_map(|chunk| match chunk {
        Chunk::Data(data) => Some(data.tsn.value()),
        _ => None,
    });
    tsns.collect()
}

fn crafted(cumulative: Tsn, gaps: &[(u16, u16)], duplicates: &[u32]) -> Chunk {
    Chunk::Sack(Sack {
        cumulative_tsn: cumulative,
        a_rwnd: 100_000,
        gaps: gaps.iter().map(|&(start, end)| GapBlock { start, end }).collect(),
        duplicates: duplicates.iter().map(|tsn| Tsn::new(*tsn)).collect(),
    })
}

fn received(ladder: &mut Ladder) -> Vec<Vec<u8>> {
    let (ours, id) = (ladder.ours, ladder.id());
    let application = ladder.network.application(ours, id);
    application.received().iter().map(|received| received.payload.to_vec()).collect()
}

#[test]
fn the_first_data_is_acknowledged_at_once_and_then_every_second_packet() {
    let mut ladder =
        established("the_first_data_is_acknowledged_at_once_and_then_every_second_packet");
    ladder.says(z(1), &[data(1000, 0, 0, "BE", b"1")]);
    assert_eq!(sack(&ladder.hears()).cumulative_tsn, Tsn::new(1000));
    ladder.says(z(1), &[data(1001, 0, 1, "BE", b"2")]);
    assert!(ladder.hears_all().is_empty());
    ladder.says(z(1), &[data(1002, 0, 2, "BE", b"3")]);
    assert_eq!(sack(&ladder.hears()).cumulative_tsn, Tsn::new(1002));
    // RFC 9260, 6.2: a packet on its own waits for SACK.Delay, 200 ms.
    ladder.says(z(1), &[data(1003, 0, 3, "BE", b"4")]);
    let before = ladder.network.elapsed();
    let heard = ladder.hears_within(secs(1));
    assert_eq!((heard.at - before, sack(&heard).cumulative_tsn), (ms(200), Tsn::new(1003)));
    // RFC 7053: with the I bit it does not.
    ladder.says(z(1), &[data(1004, 0, 4, "BEI", b"5")]);
    assert_eq!(sack(&ladder.hears()).cumulative_tsn, Tsn::new(1004));
}

#[test]
fn a_gap_and_a_duplicate_are_reported_at_once() {
    let mut ladder = established("a_gap_and_a_duplicate_are_reported_at_once");
    ladder.says(z(1), &[data(1000, 0, 0, "BE", b"1")]);
    ladder.hears();
    ladder.says(z(1), &[data(1002, 0, 2, "BE", b"3")]);
    let heard = ladder.hears();
    let gaps: Vec<_> = sack(&heard).gaps.iter().map(|gap| (gap.start, gap.end)).collect();
    assert_eq!((sack(&heard).cumulative_tsn.value(), gaps), (1000, vec![(2, 2)]));
    ladder.says(z(1), &[data(1002, 0, 2, "BE", b"3")]);
    let heard = ladder.hears();
    assert_eq!(sack(&heard).duplicates.iter().map(Tsn::value).collect::<Vec<_>>(), [1002]);
    ladder.says(z(1), &[data(1001, 0, 1, "BE", b"2")]);
    let heard = ladder.hears_within(ms(200));
    assert_eq!((sack(&heard).cumulative_tsn.value(), sack(&heard).gaps.len()), (1002, 0));
    assert!(sack(&heard).duplicates.is_empty(), "reported once");
    assert_eq!(received(&mut ladder), [b"1", b"2", b"3"]);
}

#[test]
fn fragments_are_put_together_and_unordered_messages_do_not_wait() {
    let mut ladder = established("fragments_are_put_together_and_unordered_messages_do_not_wait");
    ladder.says(z(1), &[data(1003, 0, 0, "UBE", b"free")]);
    assert_eq!(received(&mut ladder), [b"free"]);
    ladder.says(z(1), &[data(1002, 0, 0, "E", b"c")]);
    ladder.says(z(1), &[data(1000, 0, 0, "B", b"a")]);
    ladder.says(z(1), &[data(1001, 0, 0, "", b"b")]);
    assert_eq!(received(&mut ladder), [&b"free"[..], b"abc"]);
}

#[test]
fn data_for_a_stream_that_does_not_exist_is_acknowledged_and_reported() {
    let mut ladder =
        established("data_for_a_stream_that_does_not_exist_is_acknowledged_and_reported");
    let streams = ladder.network.endpoint(ladder.ours).view(ladder.id()).unwrap().inbound_streams();
    ladder.says(z(1), &[data(1000, streams, 0, "BE", b"where")]);
    let heard: Vec<_> = ladder.hears_all().into_iter().flat_map(|heard| heard.chunks).collect();
    // RFC 9260, 6.5.
    assert!(heard.iter().any(|chunk| matches!(chunk, Chunk::Sack(_))), "{heard:?}");
    let cause = heard.iter().find_map(|chunk| match chunk {
        Chunk::Error(causes) => causes.iter().next(),
        _ => None,
    });
    let stream = StreamId(streams);
    assert_eq!(cause, Some(Ok(Cause::InvalidStreamIdentifier { stream })));
    assert!(received(&mut ladder).is_empty());
}

#[test]
fn data_without_user_data_ends_the_association() {
    let mut ladder = established("data_without_user_data_ends_the_association");
    ladder.says(z(1), &[data(1000, 0, 0, "BE", b"")]);
    let heard = ladder.hears();
    let Chunk::Abort(abort) = heard.only() else { panic!("{heard:?}") };
    // RFC 9260, 6.2.
    let tsn = Tsn::new(1000);
    assert_eq!(abort.causes.iter().next(), Some(Ok(Cause::NoUserData { tsn })));
    let lost = Event::CommLost(LostReason::PeerViolation(CauseCode::NO_USER_DATA));
    assert_eq!(ladder.events().last(), Some(&lost));
}

#[test]
fn a_lost_message_is_sent_again_by_the_other_path_and_backs_off() {
    let name = "a_lost_message_is_sent_again_by_the_other_path_and_backs_off";
    let mut ladder = established_without_potential_failure(name);
    ladder.sends("lost");
    let start = ladder.network.elapsed();
    ladder.expects(z(1), &[ChunkType::DATA]);
    let again = ladder.expects_within(secs(2), z(2), &[ChunkType::DATA]);
    assert_eq!(
        again.at - start,
        secs(1),
        "RTO.Initial, no RTT was measured or it was below RTO.Min"
    );
    assert_eq!(tsns(&[again]), [ladder.our_tsn.value()]);
    assert_eq!(ladder.path(z(1)).rto, secs(2), "RFC 9260, 6.3.3 (E2)");
    ladder.says(z(2), &[ladder.sack(1)]);
    assert_eq!(ladder.events().last(), Some(&Event::SenderDry));
    assert_eq!(
        ladder.path(z(1)).errors,
        1,
        "the answer to the second path says nothing of the first"
    );
}

#[test]
fn three_reports_of_a_gap_bring_a_fast_retransmission() {
    let mut ladder = established("three_reports_of_a_gap_bring_a_fast_retransmission");
    let (ours, id) = (ladder.ours, ladder.id());
    ladder.network.offer(ours, id, (0..4).map(|number| Message::new(0, payload(number, 1_000))));
    let first = ladder.our_tsn;
    ladder.hears_all();
    for last in 2..=3 {
        ladder.says(z(1), &[crafted(first.previous(), &[(2, last)], &[])]);
        assert!(!tsns(&ladder.hears_all()).contains(&first.value()));
    }
    ladder.says(z(1), &[crafted(first.previous(), &[(2, 4)], &[])]);
    assert!(tsns(&ladder.hears_all()).contains(&first.value()), "RFC 9260, 7.2.4");
    // RFC 9260, 7.2.3: half of cwnd, but no less than four of the greatest chunks.
    assert_eq!((ladder.path(z(1)).ssthresh, ladder.path(z(1)).cwnd), (4 * 1468, 4 * 1468));
    ladder.says(z(1), &[ladder.sack(4)]);
    assert_eq!(ladder.events().last(), Some(&Event::SenderDry));
}

#[test]
fn a_closed_window_is_probed_with_one_chunk_and_answered_probes_are_no_errors() {
    let name = "a_closed_window_is_probed_with_one_chunk_and_answered_probes_are_no_errors";
    // No answer to a HEARTBEAT is to clear what the probes count.
    let config = config(|options| options.heartbeat.interval = None);
    let mut ladder = Ladder::with(name, config, &[a(1), a(2)], &[z(1), z(2)]);
    ladder.establishes(&[z(1), z(2)]);
    let closed = |ladder: &Ladder, count: u32| {
        let Chunk::Sack(sack) = ladder.sack(count) else { unreachable!() };
        Chunk::Sack(Sack { a_rwnd: 0, ..sack })
    };
    ladder.sends("taken");
    ladder.hears();
    ladder.says(z(1), &[closed(&ladder, 1)]);
    ladder.sends("probe");
    ladder.sends("waits");
    let mut probes = 0;
    let end = ladder.network.elapsed() + secs(1_000);
    while ladder.network.elapsed() < end {
        let Some(at) = ladder.network.next_at() else { panic!("no timer") };
        ladder.network.run_for(at - ladder.network.now());
        for heard in ladder.hears_all() {
            let tsns = tsns(std::slice::from_ref(&heard));
            assert!(tsns.is_empty() || tsns == [ladder.our_tsn.value() + 1], "one chunk only");
            probes += tsns.len();
            let answers: Vec<_> = (heard.chunks.iter())
                .filter_map(|chunk| match chunk {
                    Chunk::Heartbeat(heartbeat) => Some(Chunk::HeartbeatAck(heartbeat.clone())),
                    Chunk::Data(_) => Some(closed(&ladder, 1)),
                    _ => None,
                })
                .collect();
            ladder.says(heard.destination, &answers);
        }
    }
    // RFC 9260, 6.1 A.
    assert_eq!(ladder.state(), AssociationState::Established);
    assert!(probes > 10, "{probes} probes");
    ladder.says(z(1), &[ladder.sack(2)]);
    assert_eq!(tsns(&ladder.hears_all()), [ladder.our_tsn.value() + 2]);
}

#[test]
fn acknowledgements_of_what_was_never_sent_gain_nothing() {
    let name = "acknowledgements_of_what_was_never_sent_gain_nothing";
    let ahead = |tsn: Tsn| crafted(tsn.plus(1_000), &[], &[]);
    let wrapped = |tsn: Tsn| crafted(tsn.plus(0x8000_0000), &[], &[]);
    let gaps =
        |tsn: Tsn| crafted(tsn.previous(), &[(2, 65_535), (3, 3), (9, 3), (0, 0)], &[1, 2, 3]);
    let overlapping = |tsn: Tsn| crafted(tsn.previous(), &[(5, 900), (4, 800), (5, 5)], &[]);
    let crafts: [&dyn Fn(Tsn) -> Chunk; 4] = [&ahead, &wrapped, &gaps, &overlapping];
    for craft in crafts {
        let mut ladder = established(name);
        ladder.sends("one");
        ladder.hears();
        let (cwnd, flight) = (ladder.path(z(1)).cwnd, ladder.path(z(1)).flight);
        for _ in 0..50 {
            ladder.says(z(1), &[craft(ladder.our_tsn)]);
            if ladder.state() == AssociationState::Closed {
                // Ending it is right, too, if the peer is told why.
                let told =
                    ladder.hears_all().iter().any(|heard| matches!(heard.only(), Chunk::Abort(_)));
                assert!(told);
                break;
            }
            assert!(ladder.path(z(1)).cwnd <= cwnd, "cwnd grew to {}", ladder.path(z(1)).cwnd);
            assert_eq!(ladder.path(z(1)).flight, flight);
        }
    }
}

#[test]
fn an_old_or_repeated_sack_changes_nothing() {
    let mut ladder = established("an_old_or_repeated_sack_changes_nothing");
    ladder.sends("one");
    ladder.sends("two");
    ladder.hears_all();
    ladder.says(z(1), &[ladder.sack(2)]);
    let before = ladder.paths();
    let events = ladder.events();
    for count in [2, 1, 0] {
        ladder.says(z(1), &[ladder.sack(count)]);
    }
    assert_eq!((ladder.paths(), ladder.events()), (before, events));
}

#[test]
fn tsns_far_ahead_and_lone_fragments_cannot_fill_the_memory() {
    let name = "tsns_far_ahead_and_lone_fragments_cannot_fill_the_memory";
    let config = config(|options| options.limits.receive_buffer = 16_384);
    let mut ladder = Ladder::with(name, config, &[a(1)], &[z(1)]);
    ladder.establishes(&[z(1)]);
    // The invariant on memory is checked after each of these.
    for number in 0..20_000_u32 {
        let tsn = 1001 + number.wrapping_mul(2);
        ladder.says(z(1), &[data(tsn, 0, 0, "B", b"x")]);
        ladder.hears_all();
    }
    for number in 0..1_000_u32 {
        let tsn = 1000_u32.wrapping_add(number.wrapping_mul(0x0100_0001));
        ladder.says(z(1), &[data(tsn, 0, 0, "BE", &[0; 1_000])]);
        ladder.hears_all();
    }
    let view = ladder.network.endpoint(ladder.ours).view(ladder.id()).unwrap();
    assert!(view.statistics().receive_buffered <= 2 * 16_384 + 1500);
}

#[test]
fn fragments_that_cannot_belong_together_harm_nobody_else() {
    let name = "fragments_that_cannot_belong_together_harm_nobody_else";
    let odd: [&[Chunk]; 4] = [
        &[data(1000, 0, 0, "B", b"a"), data(1001, 0, 0, "B", b"a")],
        &[data(1000, 0, 0, "B", b"a"), data(1001, 1, 0, "E", b"a")],
        &[data(1000, 0, 0, "", b"a"), data(1001, 0, 0, "BE", b"a")],
        &[data(1000, 0, 0, "B", b"a"), data(1001, 0, 7, "E", b"a")],
    ];
    for chunks in odd {
        let mut ladder = established(name);
        ladder.says(z(1), chunks);
        ladder.says(z(1), &[data(1002, 3, 0, "BE", b"innocent")]);
        // The association may be ended with a cause, or the message arrives.
        match ladder.state() {
            AssociationState::Closed => {
                let heard = ladder.hears_all();
                assert!(heard.iter().any(|heard| matches!(heard.chunks[0], Chunk::Abort(_))));
            }
            _ => assert!(received(&mut ladder).contains(&b"innocent".to_vec())),
        }
    }
}

#[test]
fn forward_tsn_without_agreement_is_reported_and_skips_nothing() {
    let mut ladder = established("forward_tsn_without_agreement_is_reported_and_skips_nothing");
    let streams = std::iter::empty().collect();
    let forward = ForwardTsn { new_cumulative_tsn: Tsn::new(60_000), streams };
    ladder.says(z(1), &[Chunk::ForwardTsn(forward)]);
    let heard = ladder.hears_all();
    let reported = heard.iter().flat_map(|heard| &heard.chunks).any(|chunk| match chunk {
        Chunk::Error(causes) => {
            matches!(causes.iter().next(), Some(Ok(Cause::UnrecognizedChunkType(_))))
        }
        _ => false,
    });
    assert!(reported, "RFC 3758, 3.2: its type has the two high bits set");
    ladder.says(z(1), &[data(1000, 0, 0, "BE", b"first")]);
    assert_eq!(received(&mut ladder), [b"first"]);
}

#[test]
fn data_in_the_wrong_state_is_not_delivered() {
    // RFC 9260, 6: DATA counts in ESTABLISHED, SHUTDOWN-PENDING and SHUTDOWN-SENT.
    use AssociationState::{
        CookieWait, Established, ShutdownAckSent, ShutdownPending, ShutdownReceived, ShutdownSent,
    };
    let name = "data_in_the_wrong_state_is_not_delivered";
    for (state, counts) in [
        (CookieWait, false),
        (Established, true),
        (ShutdownPending, true),
        (ShutdownSent, true),
        (ShutdownReceived, false),
        (ShutdownAckSent, false),
    ] {
        let mut ladder = Ladder::in_state(name, state);
        ladder.says(z(1), &[data(1000, 0, 0, "BE", b"now?")]);
        assert_eq!(received(&mut ladder).len(), usize::from(counts), "{state:?}");
        let heard: Vec<_> = ladder.hears_all().into_iter().flat_map(|heard| heard.chunks).collect();
        if state == ShutdownSent {
            // 9.2: each packet with DATA is answered with a SHUTDOWN at once.
            assert!(heard.iter().any(|chunk| matches!(chunk, Chunk::Shutdown(_))), "{heard:?}");
        }
    }
}

#[test]
fn a_peer_that_falls_silent_is_given_up_after_association_max_retrans() {
    let name = "a_peer_that_falls_silent_is_given_up_after_association_max_retrans";
    let mut ladder = established(name);
    ladder.sends("into the void");
    ladder.network.run_for(crate::world::HOUR);
    let lost: Vec<_> = (ladder.network.events(ladder.ours).iter())
        .filter(|logged| matches!(logged.event, Event::CommLost(_)))
        .map(|logged| logged.event.clone())
        .collect();
    assert_eq!(lost, [Event::CommLost(LostReason::TooManyRetransmissions)]);
    let failed = Event::SendFailed { message: Message::new(0, "into the void"), sent: true };
    assert!(ladder.events().contains(&failed));
}

#[test]
fn a_path_that_fails_six_times_is_inactive_and_traffic_moves() {
    let name = "a_path_that_fails_six_times_is_inactive_and_traffic_moves";
    let mut ladder = established_without_potential_failure(name);
    let deadline = ladder.network.elapsed() + secs(1_000);
    while ladder.path(z(1)).state == PathState::Active {
        assert!(ladder.network.elapsed() < deadline, "z(1) is still active");
        let count = ladder.events().iter().filter(|event| **event == Event::SenderDry).count();
        ladder.sends("again");
        // z(1) is dead; z(2) answers.
        loop {
            let heard = ladder.hears_within(secs(70));
            if heard.destination != z(2) {
                continue;
            }
            let sent = u32::try_from(count).unwrap() + 1;
            let answers: Vec<_> = (heard.chunks.iter())
                .filter_map(|chunk| match chunk {
                    Chunk::Heartbeat(heartbeat) => Some(Chunk::HeartbeatAck(heartbeat.clone())),
                    Chunk::Data(_) => Some(ladder.sack(sent)),
                    _ => None,
                })
                .collect();
            ladder.says(z(2), &answers);
            if !tsns(&[heard]).is_empty() {
                break;
            }
        }
    }
    assert_eq!(ladder.path(z(1)).errors, 6, "Path.Max.Retrans is 5");
    ladder.hears_all();
    ladder.sends("moved");
    ladder.expects(z(2), &[ChunkType::DATA]);
}
