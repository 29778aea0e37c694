//! Packets that belong to no association (RFC 9260, section 8.4), and packets with a wrong tag (8.5).

use std::time::Duration;

use bytes::Bytes;
use usctp_assoc::AssociationState::{self, *};
use usctp_assoc::sim::{Ladder, a, z};
use usctp_chunk::{
    Abort, Asconf, AsconfAck, Auth, Cause, Chunk, ChunkType, Data, DataFlags, ForwardTsn,
    Heartbeat, IForwardTsn, Mid, Parameter, Ppid, Sack, Sequence, Shutdown, ShutdownComplete, Ssn,
    StreamId, Tsn, UnknownChunk, VerificationTag,
};

const STATES: [AssociationState; 8] = [
    Closed,
    CookieWait,
    CookieEchoed,
    Established,
    ShutdownPending,
    ShutdownSent,
    ShutdownReceived,
    ShutdownAckSent,
];

const WRONG: VerificationTag = VerificationTag(0x0102_0304);

fn data(sequence: Sequence) -> Chunk {
    let flags = DataFlags { immediate: true, unordered: false, beginning: true, ending: true };
    let payload = Bytes::from_static(b"blind");
    let (tsn, stream, ppid) = (Tsn::new(1000), StreamId(0), Ppid(0));
    Chunk::Data(Data { tsn, stream, sequence, ppid, flags, payload })
}

fn unknown(kind: u8) -> Chunk {
    let value = Bytes::from_static(b"what?");
    Chunk::Unknown(UnknownChunk { kind: ChunkType(kind), flags: 0, value })
}

/// One chunk of every type that an RFC defines, and one of each class of unknown ones.
fn every_chunk(ladder: &Ladder) -> Vec<Chunk> {
    let info = Bytes::from_static(&[1; 20]);
    let tsn = Tsn::new(1000);
    let causes = || Ladder::causes(Cause::ProtocolViolation(Bytes::new()));
    let parameters = || std::iter::empty::<Parameter>().collect();
    let mut chunks = vec![
        data(Sequence::Ssn(Ssn::new(0))),
        ladder.init(&[]),
        ladder.init_ack(&[]),
        Chunk::Sack(Sack {
            cumulative_tsn: tsn,
            a_rwnd: 1,
            gaps: std::iter::empty().collect(),
            duplicates: std::iter::empty().collect(),
        }),
        Chunk::Heartbeat(Heartbeat::new(info.clone())),
        Chunk::HeartbeatAck(Heartbeat::new(info.clone())),
        Chunk::Shutdown(Shutdown { cumulative_tsn: tsn }),
        Chunk::ShutdownAck,
        Chunk::Error(causes()),
        Chunk::Error(Ladder::causes(Cause::StaleCookie { staleness_us: 5 })),
        Chunk::CookieEcho(info.clone()),
        Chunk::CookieAck,
        Chunk::Ecne(tsn),
        Chunk::Cwr(tsn),
        Chunk::Auth(Auth { key_id: 0, hmac_id: 3, hmac: info.clone() }),
        data(Sequence::Interleaved { mid: Mid::new(0), fsn: usctp_chunk::Fsn::new(0) }),
        Chunk::Asconf(Asconf { serial: 1, address: z(1), parameters: parameters() }),
        Chunk::AsconfAck(AsconfAck { serial: 1, parameters: parameters() }),
        Chunk::ReConfig(parameters()),
        Chunk::Pad(info),
        Chunk::ForwardTsn(ForwardTsn {
            new_cumulative_tsn: tsn,
            streams: std::iter::empty().collect(),
        }),
        Chunk::IForwardTsn(IForwardTsn {
            new_cumulative_tsn: tsn,
            streams: std::iter::empty().collect(),
        }),
    ];
    for tag_reflected in [false, true] {
        chunks.push(Chunk::Abort(Abort { tag_reflected, causes: causes() }));
        chunks.push(Chunk::ShutdownComplete(ShutdownComplete { tag_reflected }));
    }
    chunks.extend([0x3f, 0x7f, 0xbf, 0xff].map(unknown));
    chunks
}

/// What RFC 9260, 8.4, answers to a packet that holds only this chunk and belongs to no association.
fn reply(chunk: &Chunk) -> Option<Chunk> {
    let stale = |causes: &usctp_chunk::Causes| {
        causes.iter().any(|cause| matches!(cause, Ok(Cause::StaleCookie { .. })))
    };
    match chunk {
        // (2), (6), (7); and (4): a cookie that is none of ours is silently discarded (5.1.5).
        Chunk::Abort(_) | Chunk::ShutdownComplete(_) | Chunk::CookieAck | Chunk::CookieEcho(_) => {
            None
        }
        Chunk::Error(causes) if stale(causes) => None,
        // (5)
        Chunk::ShutdownAck => {
            Some(Chunk::ShutdownComplete(ShutdownComplete { tag_reflected: true }))
        }
        // (8)
        _ => Some(Chunk::Abort(Abort {
            tag_reflected: true,
            causes: std::iter::empty::<Cause>().collect(),
        })),
    }
}

/// Everything that a packet could change.
fn snapshot(ladder: &mut Ladder) -> String {
    let state = ladder.state();
    let paths = ladder.id.map(|_| ladder.paths());
    let events = ladder.events();
    let count = ladder.network.endpoint(ladder.ours).associations().count();
    let deadline = ladder.network.next_at();
    format!("{state:?} {paths:?} {events:?} {count} {deadline:?}")
}

/// What A answers, without the causes, which may say more.
fn answers(ladder: &mut Ladder) -> Vec<(VerificationTag, Chunk)> {
    let heard = ladder.hears_all().into_iter().map(|heard| {
        let chunk = match heard.only() {
            Chunk::Abort(Abort { tag_reflected, .. }) => Chunk::Abort(Abort {
                tag_reflected: *tag_reflected,
                causes: std::iter::empty::<Cause>().collect(),
            }),
            chunk => chunk.clone(),
        };
        (heard.header.verification_tag, chunk)
    });
    heard.collect()
}

#[test]
fn every_chunk_out_of_the_blue_gets_the_answer_of_rfc_9260_8_4() {
    let name = "every_chunk_out_of_the_blue_gets_the_answer_of_rfc_9260_8_4";
    let all = every_chunk(&Ladder::new(name));
    for chunk in all {
        let mut ladder = Ladder::new(name);
        ladder.network.listen(ladder.ours, true);
        let before = snapshot(&mut ladder);
        ladder.says_with_tag(WRONG, z(1), std::slice::from_ref(&chunk));
        let answered = answers(&mut ladder);
        match &chunk {
            // An INIT whose tag is not 0 is answered by (8) or not at all.
            Chunk::Init(_) => {
                assert!(answered.is_empty() || answered == [(WRONG, reply(&chunk).unwrap())]);
            }
            _ => {
                let expected: Vec<_> =
                    reply(&chunk).into_iter().map(|reply| (WRONG, reply)).collect();
                assert_eq!(answered, expected, "to {chunk:?}");
            }
        }
        assert_eq!(snapshot(&mut ladder), before, "{chunk:?}");
    }
}

#[test]
fn a_packet_with_a_random_tag_changes_nothing_in_any_state() {
    let name = "a_packet_with_a_random_tag_changes_nothing_in_any_state";
    let all = every_chunk(&Ladder::new(name));
    for state in STATES {
        for chunk in &all {
            let mut ladder = Ladder::in_state(name, state);
            let before = snapshot(&mut ladder);
            ladder.says_with_tag(WRONG, z(1), std::slice::from_ref(chunk));
            let answered = answers(&mut ladder);
            let early = matches!(state, CookieWait | CookieEchoed);
            let expected: Vec<_> = match (state, chunk) {
                (Closed, Chunk::Init(_)) => answered.clone(),
                (Closed, _) => reply(chunk).into_iter().map(|reply| (WRONG, reply)).collect(),
                // 8.5.1 E: as out of the blue.
                (_, Chunk::ShutdownAck) if early => vec![(WRONG, reply(chunk).unwrap())],
                // 8.5: silently.
                _ => vec![],
            };
            assert_eq!(answered, expected, "to {chunk:?} in {state:?}");
            assert_eq!(snapshot(&mut ladder), before, "{chunk:?} in {state:?}");
        }
    }
}

#[test]
fn a_packet_with_tag_0_that_is_not_one_init_changes_nothing_in_any_state() {
    // RFC 9260, 8.5.1 A.
    let name = "a_packet_with_tag_0_that_is_not_one_init_changes_nothing_in_any_state";
    let all = every_chunk(&Ladder::new(name));
    for state in &STATES[1..] {
        for chunk in all.iter().filter(|chunk| !matches!(chunk, Chunk::Init(_))) {
            let mut ladder = Ladder::in_state(name, *state);
            let before = snapshot(&mut ladder);
            ladder.says_with_tag(VerificationTag::ZERO, z(1), std::slice::from_ref(chunk));
            let early = matches!(state, CookieWait | CookieEchoed);
            let answered = answers(&mut ladder);
            if !(early && *chunk == Chunk::ShutdownAck) {
                assert_eq!(answered, [], "to {chunk:?} in {state:?}");
            }
            assert_eq!(snapshot(&mut ladder), before, "{chunk:?} in {state:?}");
        }
    }
}

#[test]
fn an_init_in_bad_company_is_not_answered() {
    let name = "an_init_in_bad_company_is_not_answered";
    for state in STATES {
        for init_first in [true, false] {
            let mut ladder = Ladder::in_state(name, state);
            ladder.network.listen(ladder.ours, true);
            let mut chunks = vec![ladder.init(&[]), Chunk::CookieAck];
            if !init_first {
                chunks.reverse();
            }
            let before = snapshot(&mut ladder);
            ladder.says_with_tag(VerificationTag::ZERO, z(1), &chunks);
            assert_eq!(answers(&mut ladder), [], "in {state:?}");
            assert_eq!(snapshot(&mut ladder), before);
        }
    }
}

#[test]
fn an_abort_anywhere_in_a_packet_out_of_the_blue_silences_the_answer() {
    let mut ladder =
        Ladder::new("an_abort_anywhere_in_a_packet_out_of_the_blue_silences_the_answer");
    let abort =
        Chunk::Abort(Abort { tag_reflected: false, causes: Ladder::causes(Cause::OutOfResource) });
    ladder.says_with_tag(WRONG, z(1), &[Chunk::ShutdownAck, abort.clone()]);
    ladder.says_with_tag(WRONG, z(1), &[data(Sequence::Ssn(Ssn::new(0))), abort]);
    assert_eq!(answers(&mut ladder), []);
}

#[test]
fn packets_to_or_from_addresses_that_are_not_unicast_are_not_answered() {
    let name = "packets_to_or_from_addresses_that_are_not_unicast_are_not_answered";
    let mut ladder = Ladder::new(name);
    ladder.network.listen(ladder.ours, true);
    let odd = ["224.0.0.5", "255.255.255.255", "0.0.0.0"];
    for odd in odd.map(|odd| odd.parse().unwrap()) {
        for chunk in [Chunk::ShutdownAck, data(Sequence::Ssn(Ssn::new(0))), ladder.init(&[])] {
            let tag = if let Chunk::Init(_) = chunk { VerificationTag::ZERO } else { WRONG };
            let payload = ladder.packet(tag, &[chunk]);
            for (source, destination) in [(odd, a(1)), (z(1), odd)] {
                let datagram = usctp_assoc::Datagram {
                    source,
                    destination,
                    udp_port: None,
                    zone: 0,
                    ecn: usctp_assoc::Ecn::NotEct,
                    payload: payload.clone(),
                };
                let ours = ladder.ours;
                ladder
                    .network
                    .with_endpoint(ours, |endpoint, now| endpoint.handle_datagram(now, datagram));
            }
        }
    }
    assert_eq!(ladder.network.trace().0, 0, "RFC 9260, 8.4 (1)");
}

#[test]
fn a_packet_with_a_bad_checksum_is_dropped() {
    let name = "a_packet_with_a_bad_checksum_is_dropped";
    for state in STATES {
        let mut ladder = Ladder::in_state(name, state);
        let before = snapshot(&mut ladder);
        let abort = Chunk::Abort(Abort {
            tag_reflected: false,
            causes: Ladder::causes(Cause::OutOfResource),
        });
        let mut bytes = bytes::BytesMut::from(&*ladder.packet(ladder.our_tag, &[abort]));
        bytes[9] ^= 0x10;
        ladder.says_bytes(z(1), a(1), bytes.freeze());
        assert_eq!((answers(&mut ladder), snapshot(&mut ladder)), (vec![], before));
    }
}

#[test]
fn truncated_and_garbled_packets_change_nothing() {
    let name = "truncated_and_garbled_packets_change_nothing";
    let mut ladder = Ladder::in_state(name, Established);
    let before = snapshot(&mut ladder);
    let whole = ladder.packet(ladder.our_tag, &[Chunk::CookieAck]);
    for len in 0..whole.len() {
        ladder.says_bytes(z(1), a(1), whole.slice(..len));
    }
    ladder.says_bytes(z(1), a(1), Bytes::new());
    assert_eq!((answers(&mut ladder), snapshot(&mut ladder)), (vec![], before));
}

#[test]
fn an_answer_is_never_larger_than_the_question() {
    let name = "an_answer_is_never_larger_than_the_question";
    for chunk in every_chunk(&Ladder::new(name)) {
        let mut ladder = Ladder::new(name);
        let question = ladder.packet(WRONG, std::slice::from_ref(&chunk));
        ladder.says_bytes(z(1), a(1), question.clone());
        for heard in ladder.hears_all() {
            assert!(
                heard.bytes.len() <= question.len(),
                "{} > {}",
                heard.bytes.len(),
                question.len()
            );
        }
    }
}

#[test]
fn a_shutdown_ack_reaches_only_who_waits_for_it() {
    let name = "a_shutdown_ack_reaches_only_who_waits_for_it";
    for state in [ShutdownSent, ShutdownAckSent] {
        let mut ladder = Ladder::in_state(name, state);
        ladder.says(z(1), &[Chunk::ShutdownAck]);
        let heard = ladder.expects(z(1), &[ChunkType::SHUTDOWN_COMPLETE]);
        // 8.5.1 C: with a TCB, its own tag and no T bit.
        assert_eq!(heard.header.verification_tag, ladder.peer_tag);
        assert_eq!(
            *heard.only(),
            Chunk::ShutdownComplete(ShutdownComplete { tag_reflected: false })
        );
        assert_eq!(ladder.state(), Closed);
    }
    for state in [CookieWait, CookieEchoed] {
        let mut ladder = Ladder::in_state(name, state);
        ladder.says(z(1), &[Chunk::ShutdownAck]);
        let heard = ladder.expects(z(1), &[ChunkType::SHUTDOWN_COMPLETE]);
        assert_eq!(
            *heard.only(),
            Chunk::ShutdownComplete(ShutdownComplete { tag_reflected: true })
        );
        assert_eq!(heard.header.verification_tag, ladder.our_tag);
        assert_eq!(ladder.state(), state);
    }
}

#[test]
fn a_shutdown_complete_counts_only_after_shutdown_ack() {
    let name = "a_shutdown_complete_counts_only_after_shutdown_ack";
    for state in &STATES[1..] {
        for (reflected, tag) in [(false, true), (true, false), (false, false), (true, true)] {
            let mut ladder = Ladder::in_state(name, *state);
            let tag = if tag { ladder.our_tag } else { ladder.peer_tag };
            let right = tag == if reflected { ladder.peer_tag } else { ladder.our_tag };
            let complete = Chunk::ShutdownComplete(ShutdownComplete { tag_reflected: reflected });
            ladder.says_with_tag(tag, z(1), &[complete]);
            let ends = right && *state == ShutdownAckSent;
            assert_eq!(ladder.state(), if ends { Closed } else { *state }, "{reflected} {tag}");
            assert_eq!(answers(&mut ladder), []);
        }
    }
}

#[test]
fn an_abort_with_the_right_tag_ends_every_state_without_an_answer() {
    let name = "an_abort_with_the_right_tag_ends_every_state_without_an_answer";
    for state in &STATES[1..] {
        let mut ladder = Ladder::in_state(name, *state);
        let causes = Ladder::causes(Cause::OutOfResource);
        ladder.says(z(1), &[Chunk::Abort(Abort { tag_reflected: false, causes })]);
        assert_eq!(ladder.state(), Closed, "{state:?}");
        ladder.silence(Duration::from_secs(600));
    }
}

#[test]
fn a_shutdown_before_the_set_up_is_over_is_discarded() {
    for state in [CookieWait, CookieEchoed] {
        let mut ladder =
            Ladder::in_state("a_shutdown_before_the_set_up_is_over_is_discarded", state);
        ladder.says(z(1), &[ladder.shutdown(0)]);
        assert_eq!((ladder.state(), answers(&mut ladder)), (state, vec![]));
    }
}

#[test]
fn an_unknown_chunk_is_skipped_or_ends_the_packet_and_is_reported_as_its_high_bits_say() {
    let name =
        "an_unknown_chunk_is_skipped_or_ends_the_packet_and_is_reported_as_its_high_bits_say";
    for (kind, goes_on, reports) in
        [(0x3f, false, false), (0x7f, false, true), (0xbf, true, false), (0xff, true, true)]
    {
        let mut ladder = Ladder::in_state(name, Established);
        let message = ladder.data("behind");
        ladder.says(z(1), &[unknown(kind), message]);
        let heard: Vec<_> = ladder.hears_all().into_iter().flat_map(|heard| heard.chunks).collect();
        let has = |kind| heard.iter().any(|chunk| chunk.kind() == kind);
        assert_eq!(has(ChunkType::SACK), goes_on, "{kind:#x}: the DATA behind");
        assert_eq!(has(ChunkType::ERROR), reports, "{kind:#x}: the report");
        let causes = heard.iter().find_map(|chunk| match chunk {
            Chunk::Error(causes) => causes.iter().next(),
            _ => None,
        });
        if let Some(cause) = causes {
            assert!(matches!(cause, Ok(Cause::UnrecognizedChunkType(chunk)) if chunk[0] == kind));
        }
    }
}

#[test]
fn after_a_graceful_close_a_packet_is_out_of_the_blue_whichever_side_had_the_last_word() {
    let name =
        "after_a_graceful_close_a_packet_is_out_of_the_blue_whichever_side_had_the_last_word";
    let complete = Chunk::ShutdownComplete(ShutdownComplete { tag_reflected: false });
    for (state, last) in [(ShutdownSent, Chunk::ShutdownAck), (ShutdownAckSent, complete)] {
        let closed = || {
            let mut ladder = Ladder::in_state(name, state);
            ladder.says(z(1), std::slice::from_ref(&last));
            assert_eq!(ladder.state(), Closed);
            ladder.hears_all();
            ladder
        };
        let aborted = |mut ladder: Ladder, chunk: &Chunk| {
            ladder.says(z(1), std::slice::from_ref(chunk));
            let heard = ladder.expects(z(1), &[ChunkType::ABORT]);
            assert_eq!(heard.header.verification_tag, ladder.our_tag);
            let Chunk::Abort(abort) = heard.only() else { unreachable!() };
            assert!(abort.tag_reflected, "RFC 9260, 8.4 (8)");
        };
        let heartbeat = Chunk::Heartbeat(Heartbeat::new(Bytes::from_static(b"anybody there?")));
        aborted(closed(), &heartbeat);
        // TSN 1000 was not sent before the close.
        aborted(closed(), &data(Sequence::Ssn(Ssn::new(0))));
        for chunk in every_chunk(&closed()) {
            let mut ladder = closed();
            ladder.network.run_for(Duration::from_secs(2));
            match reply(&chunk) {
                Some(Chunk::Abort(_)) if !matches!(chunk, Chunk::Init(_)) => {
                    aborted(ladder, &chunk);
                }
                _ => {}
            }
        }
    }
}

#[test]
fn after_a_graceful_close_its_cookie_opens_nothing() {
    let mut ladder = Ladder::new("after_a_graceful_close_its_cookie_opens_nothing");
    ladder.network.listen(ladder.ours, true);
    ladder.says_with_tag(VerificationTag::ZERO, z(1), &[ladder.init(&[])]);
    let cookie = ladder.expects(z(1), &[ChunkType::INIT_ACK]).cookie();
    let echo = [Chunk::CookieEcho(cookie)];
    ladder.says(z(1), &echo);
    ladder.id = ladder.network.newest(ladder.ours);
    ladder.hears_all();
    ladder.shuts_down();
    ladder.hears_all();
    ladder.says(z(1), &[Chunk::ShutdownAck]);
    ladder.hears_all();
    assert_eq!(ladder.state(), Closed);
    for _ in 0..59 {
        ladder.says(z(1), &echo);
        ladder.silence(Duration::from_secs(1));
        assert_eq!(ladder.state(), Closed);
    }
}
