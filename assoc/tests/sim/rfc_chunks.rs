//! DATA, HEARTBEAT, ABORT and SHUTDOWN chunks as RFC 9260, section 3.3, wants them.

use bytes::{Buf, Bytes};
use usctp_assoc::sim::{Ladder, payload, z};
use usctp_assoc::{AssociationState, Message, SendError};
use usctp_chunk::{
    Chunk, ChunkType, Data, DataFlags, GapBlock, Ppid, Sack, Sequence, Ssn, StreamId, Tsn,
    UnknownChunk,
};

use crate::world::{config, ms, secs};

use AssociationState::{Established, ShutdownAckSent, ShutdownReceived};

fn unordered(tsn: u32, ssn: u16, ends: &str, payload: &'static [u8]) -> Chunk {
    Chunk::Data(Data {
        tsn: Tsn::new(tsn),
        stream: StreamId(0),
        sequence: Sequence::Ssn(Ssn::new(ssn)),
        ppid: Ppid(0),
        flags: DataFlags {
            immediate: false,
            unordered: true,
            beginning: ends.contains('B'),
            ending: ends.contains('E'),
        },
        payload: Bytes::from_static(payload),
    })
}

fn data_chunks(ladder: &mut Ladder) -> Vec<Data> {
    let chunks = ladder.hears_all().into_iter().flat_map(|heard| heard.chunks);
    chunks
        .filter_map(|chunk| match chunk {
            Chunk::Data(data) => Some(data),
            _ => None,
        })
        .collect()
}

#[test]
fn the_ssn_of_unordered_data_means_nothing() {
    let mut ladder = Ladder::in_state("the_ssn_of_unordered_data_means_nothing", Established);
    ladder.says(z(1), &[unordered(1000, 77, "BE", b"whole")]);
    ladder.says(z(1), &[unordered(1003, 9, "E", b"c"), unordered(1001, 5, "B", b"a")]);
    ladder.says(z(1), &[unordered(1002, 6, "", b"b")]);
    let (ours, id) = (ladder.ours, ladder.id());
    let received = ladder.network.application(ours, id).received();
    let received: Vec<_> = received.iter().map(|received| &received.payload[..]).collect();
    assert_eq!(received, [&b"whole"[..], b"abc"]);
}

#[test]
fn every_fragment_carries_what_its_message_has_and_the_next_tsn() {
    let name = "every_fragment_carries_what_its_message_has_and_the_next_tsn";
    let mut ladder = Ladder::in_state(name, Established);
    let (ours, id) = (ladder.ours, ladder.id());
    ladder.network.send(ours, id, Message::new(3, payload(1, 4_000)).ppid(46).unordered()).unwrap();
    ladder.network.send(ours, id, Message::new(5, payload(2, 4_000)).ppid(47)).unwrap();
    ladder.network.send(ours, id, Message::new(5, payload(3, 10)).ppid(48)).unwrap();
    let mut chunks = Vec::new();
    for _ in 0..10 {
        chunks.extend(data_chunks(&mut ladder));
        let count = u32::try_from(chunks.len()).unwrap();
        ladder.says(z(1), &[ladder.sack(count)]);
    }
    assert_eq!(chunks.len(), 7, "two messages of three fragments each, and a small one");
    for (number, data) in (0..).zip(&chunks) {
        assert_eq!(data.tsn, ladder.our_tsn.plus(number), "TSNs are strictly sequential");
        let (stream, ppid, is_unordered, ssn) = match number {
            0..3 => (3, 46, true, Ssn::new(0)),
            3..6 => (5, 47, false, Ssn::new(0)),
            _ => (5, 48, false, Ssn::new(1)),
        };
        assert_eq!((data.stream, data.ppid), (StreamId(stream), Ppid(ppid)));
        assert_eq!(data.flags.unordered, is_unordered);
        assert_eq!(data.sequence, Sequence::Ssn(ssn));
        let ends = (data.flags.beginning, data.flags.ending);
        assert_eq!(ends, (number % 3 == 0, number % 3 == 2 || number == 6), "{number}");
    }
}

#[test]
fn an_empty_message_is_refused() {
    let mut ladder = Ladder::in_state("an_empty_message_is_refused", Established);
    let (ours, id) = (ladder.ours, ladder.id());
    let refused = ladder.network.send(ours, id, Message::new(0, Bytes::new()));
    assert_eq!(refused, Err(SendError::Empty));
    ladder.silence(ms(100));
}

#[test]
fn a_shutdown_takes_nothing_back_that_a_gap_block_acknowledged() {
    let name = "a_shutdown_takes_nothing_back_that_a_gap_block_acknowledged";
    let mut ladder = Ladder::in_state(name, Established);
    for text in ["one", "two", "three"] {
        ladder.sends(text);
    }
    let first = ladder.our_tsn;
    ladder.hears_all();
    ladder.says(
        z(1),
        &[Chunk::Sack(Sack {
            cumulative_tsn: first.previous(),
            a_rwnd: 100_000,
            gaps: [GapBlock { start: 2, end: 3 }].into_iter().collect(),
            duplicates: std::iter::empty().collect(),
        })],
    );
    ladder.says(z(1), &[ladder.shutdown(0)]);
    let mut sent_again = Vec::new();
    for _ in 0..20 {
        ladder.network.run_for(ms(500));
        sent_again.extend(data_chunks(&mut ladder).into_iter().map(|data| data.tsn));
    }
    assert!(!sent_again.is_empty());
    assert!(sent_again.iter().all(|tsn| *tsn == first), "{sent_again:?}");
    // RFC 9260, 4: SHUTDOWN-RECEIVED is left once everything is acknowledged.
    assert_eq!(ladder.state(), ShutdownReceived);
    ladder.says(z(1), &[ladder.shutdown(3)]);
    assert_eq!(ladder.state(), ShutdownAckSent);
}

#[test]
fn a_send_buffer_that_could_outrun_the_tsns_is_refused() {
    // RFC 9260, 1.6: no TSN is sent that is 2^31 or more above the first of the window. A chunk holds a byte.
    for (bytes, fine) in [(1 << 30, true), ((1 << 30) + 1, false), (usize::MAX, false)] {
        let mut options = usctp_assoc::Options::default();
        options.limits.send_buffer = bytes;
        assert_eq!(usctp_assoc::Config::new(options).is_ok(), fine, "{bytes}");
    }
}

#[test]
fn nothing_can_be_sent_after_the_peers_shutdown() {
    for state in [ShutdownReceived, ShutdownAckSent] {
        let mut ladder = Ladder::in_state("nothing_can_be_sent_after_the_peers_shutdown", state);
        let (ours, id) = (ladder.ours, ladder.id());
        let refused = ladder.network.send(ours, id, Message::new(0, "too late"));
        assert_eq!(refused, Err(SendError::NotOpen { state }));
    }
}

#[test]
fn an_abort_with_a_broken_cause_is_discarded() {
    let name = "an_abort_with_a_broken_cause_is_discarded";
    // A length below that of a header, one beyond the chunk, and half of a header.
    let broken: [&'static [u8]; 3] = [&[0, 12, 0, 3], &[0, 12, 0, 9, 1, 2], &[0, 12]];
    for state in [AssociationState::CookieWait, AssociationState::CookieEchoed, Established] {
        for value in broken {
            let mut ladder = Ladder::in_state(name, state);
            let value = Bytes::from_static(value);
            let abort = UnknownChunk { kind: ChunkType::ABORT, flags: 0, value };
            ladder.says(z(1), &[Chunk::Unknown(abort)]);
            assert_eq!(ladder.state(), state, "RFC 9260, 3.3.7");
            assert!(ladder.hears_all().is_empty(), "silently");
        }
    }
}

#[test]
fn a_heartbeat_says_when_and_where_to_it_was_sent() {
    let mut ladder = Ladder::new("a_heartbeat_says_when_and_where_to_it_was_sent");
    ladder.establishes(&[z(1), z(2)]);
    let mut infos = Vec::new();
    while infos.len() < 4 {
        let heard = ladder.hears_within(secs(100));
        let Chunk::Heartbeat(heartbeat) = heard.only() else { panic!("{heard:?}") };
        let mut info = heartbeat.info.clone();
        let (nonce, path, micros) = (info.get_u64(), info.get_u32(), info.get_u64());
        assert_eq!(u128::from(micros), heard.at.as_micros());
        infos.push((heard.destination, path, nonce));
        ladder.says(heard.destination, &[Chunk::HeartbeatAck(heartbeat.clone())]);
    }
    for (one, other) in infos.iter().zip(&infos[1..]) {
        assert_eq!(one.0 == other.0, one.1 == other.1, "a number for each address");
        assert_ne!(one.2, other.2, "and a fresh nonce");
    }
    assert!(infos.iter().any(|info| info.0 == z(2)));
}

#[test]
fn the_receive_buffer_stays_as_large_as_it_was_promised() {
    let name = "the_receive_buffer_stays_as_large_as_it_was_promised";
    let config = config(|options| options.limits.receive_buffer = 16_384);
    let mut ladder = Ladder::with(name, config, &[usctp_assoc::sim::a(1)], &[z(1)]);
    ladder.establishes(&[z(1)]);
    let (ours, id) = (ladder.ours, ladder.id());
    ladder.network.receive_eagerly(ours, false);
    let mut taken = Vec::new();
    for _ in 0..5 {
        let mut accepted = 0;
        loop {
            let before = ladder.peer_tsn;
            let bytes: &'static [u8] = &[7; 1_000];
            let Chunk::Data(data) = ladder.data("") else { unreachable!() };
            let data = Data { payload: Bytes::from_static(bytes), ..data };
            ladder.says(z(1), &[Chunk::Data(data)]);
            ladder.hears_all();
            let view = ladder.network.endpoint(ours).view(id).unwrap();
            if view.statistics().dropped_chunks > u64::try_from(taken.len()).unwrap() {
                // Z will have to send this one again.
                ladder.peer_tsn = before;
                ladder.peer_ssn = ladder.peer_ssn.previous();
                break;
            }
            accepted += 1;
        }
        taken.push(accepted);
        while ladder.network.receive(ours, id).is_some() {}
        ladder.hears_all();
    }
    // INIT promises all of it, and what it costs to hold messages changes nothing of that.
    assert_eq!(taken[0], 16, "{taken:?}");
    assert!(taken.iter().all(|count| *count == taken[0]), "{taken:?}");
}
