//! What a hostile or unlucky peer can do to an association, found by reviewing it and by running it against a kernel.

use bytes::Bytes;
use usctp_assoc::sim::{Heard, Ladder, a, z};
use usctp_assoc::{AssociationState, Event, Message, PathState, SendError};
use usctp_chunk::{
    Chunk, ChunkType, Data, DataFlags, Ppid, Sack, Sequence, Ssn, StreamId, Tsn, VerificationTag,
};

use crate::world::{config, ms, secs};

fn answer_heartbeats(ladder: &mut Ladder, heard: &Heard) {
    let answers: Vec<_> = (heard.chunks.iter())
        .filter_map(|chunk| match chunk {
            Chunk::Heartbeat(heartbeat) => Some(Chunk::HeartbeatAck(heartbeat.clone())),
            _ => None,
        })
        .collect();
    if !answers.is_empty() {
        ladder.says(heard.destination, &answers);
    }
}

fn has_data(heard: &Heard) -> bool {
    heard.chunks.iter().any(|chunk| matches!(chunk, Chunk::Data(_)))
}

#[test]
fn what_is_lost_on_the_only_path_that_works_is_not_sent_to_one_that_is_down() {
    let name = "what_is_lost_on_the_only_path_that_works_is_not_sent_to_one_that_is_down";
    let mut ladder = Ladder::new(name);
    ladder.establishes(&[z(1), z(2)]);
    while ladder.path(z(2)).state != PathState::Inactive {
        let heard = ladder.hears_within(secs(120));
        if heard.destination == z(1) {
            answer_heartbeats(&mut ladder, &heard);
        }
    }
    ladder.hears_all();
    ladder.sends("lost once");
    ladder.expects(z(1), &[ChunkType::DATA]);
    // RFC 9260, 6.4 and 6.4.1: to an active address if there is one; this one failed but once.
    let again = loop {
        let heard = ladder.hears_within(secs(5));
        if has_data(&heard) {
            break heard;
        }
        if heard.destination == z(1) {
            answer_heartbeats(&mut ladder, &heard);
        }
    };
    assert_eq!(again.destination, z(1), "z(2) is inactive");
}

/// A fragment of Z's on stream 0, one byte long.
fn fragment(tsn: u32, flags: DataFlags) -> Chunk {
    Chunk::Data(Data {
        tsn: Tsn::new(tsn),
        stream: StreamId(0),
        sequence: Sequence::Ssn(Ssn::new(0)),
        ppid: Ppid(0),
        flags,
        payload: Bytes::from_static(b"x"),
    })
}

#[test]
fn stream_sequence_numbers_never_run_half_their_space_ahead_of_what_is_acknowledged() {
    let name = "stream_sequence_numbers_never_run_half_their_space_ahead_of_what_is_acknowledged";
    let config = config(|options| options.limits.send_buffer = 8 << 20);
    let mut ladder = Ladder::with(name, config, &[a(1)], &[z(1)]);
    ladder.establishes(&[z(1)]);
    let (ours, id) = (ladder.ours, ladder.id());
    let count = |heard: &[Heard]| heard.iter().filter(|heard| has_data(heard)).count();
    let sack = |ladder: &Ladder, sent: usize| {
        Chunk::Sack(Sack {
            cumulative_tsn: ladder.our_tsn.previous().plus(u32::try_from(sent).unwrap()),
            a_rwnd: 10_000_000,
            gaps: std::iter::empty().collect(),
            duplicates: std::iter::empty().collect(),
        })
    };
    // Packets of one chunk are acknowledged until cwnd holds more one-byte chunks than the numbers allow.
    let mut acknowledged = 0;
    while ladder.path(z(1)).cwnd < 800_000 {
        while ladder.network.send(ours, id, Message::new(0, vec![0; 1400])).is_ok() {}
        ladder.network.run_for(ms(1));
        for _ in 0..count(&ladder.hears_all()) {
            acknowledged += 1;
            ladder.says(z(1), &[sack(&ladder, acknowledged)]);
        }
    }
    // What is left of those is acknowledged too.
    while ladder.path(z(1)).flight > 0 {
        acknowledged += count(&ladder.hears_all());
        ladder.says(z(1), &[sack(&ladder, acknowledged)]);
        ladder.network.run_for(ms(1));
    }
    let mut outstanding = 0;
    while ladder.network.send(ours, id, Message::new(0, "x")).is_ok() {
        let heard = ladder.hears_all();
        let chunks = heard.iter().flat_map(|heard| &heard.chunks);
        outstanding += chunks.filter(|chunk| chunk.kind() == ChunkType::DATA).count();
        ladder.network.run_for(std::time::Duration::from_nanos(100));
    }
    // RFC 9260, 6.5: the numbers have 16 bits, compared as 1.6 says.
    assert!((30_000..1 << 15).contains(&outstanding), "{outstanding}");
}

#[test]
fn shutdown_is_answered_where_it_came_from() {
    let mut ladder = Ladder::new("shutdown_is_answered_where_it_came_from");
    ladder.establishes(&[z(1), z(2)]);
    ladder.says(z(2), &[ladder.shutdown(0)]);
    ladder.expects(z(2), &[ChunkType::SHUTDOWN_ACK]);
}

#[test]
fn a_sender_that_waits_for_room_is_told_of_it_when_the_peer_restarts() {
    let name = "a_sender_that_waits_for_room_is_told_of_it_when_the_peer_restarts";
    let config = config(|options| options.limits.send_buffer = 4096);
    let mut ladder = Ladder::with(name, config, &[a(1), a(2)], &[z(1)]);
    ladder.is_opened();
    let (ours, id) = (ladder.ours, ladder.id());
    ladder.network.send(ours, id, Message::new(0, vec![1; 3000])).unwrap();
    let refused = ladder.network.send(ours, id, Message::new(0, vec![2; 3000]));
    assert_eq!(refused, Err(SendError::WouldBlock));
    ladder.hears_all();
    // Z begins anew.
    ladder.peer_tag = VerificationTag(77);
    let init = ladder.init(&[]);
    ladder.says_with_tag(VerificationTag::ZERO, z(1), &[init]);
    let init_ack = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
    ladder.says(z(1), &[Chunk::CookieEcho(init_ack.cookie())]);
    let events = ladder.events();
    assert!(events.contains(&Event::Restart), "{events:?}");
    assert!(events.contains(&Event::Writable), "nothing is outstanding: {events:?}");
}

#[test]
fn a_deadline_beyond_what_the_clock_can_count_is_none() {
    let mut ladder = Ladder::new("a_deadline_beyond_what_the_clock_can_count_is_none");
    let deadline = Some(std::time::Duration::MAX);
    let options =
        usctp_assoc::ConnectOptions::default().with(|options| options.deadline = deadline);
    ladder.connectx_with(&[z(1)], options);
    ladder.expects(z(1), &[ChunkType::INIT]);
    ladder.network.run_for(ms(1));
    assert_eq!(ladder.state(), AssociationState::CookieWait);
}

#[test]
fn a_message_pins_no_packet_much_larger_than_itself() {
    let name = "a_message_pins_no_packet_much_larger_than_itself";
    let mut ladder = Ladder::new(name);
    ladder.establishes(&[z(1)]);
    let whole = DataFlags { immediate: false, unordered: false, beginning: true, ending: true };
    let padding = Chunk::Pad(Bytes::from(vec![0; 1000]));
    let packet = ladder.packet(ladder.our_tag, &[fragment(1000, whole), padding]);
    ladder.says_bytes(z(1), a(1), packet.clone());
    let (ours, id) = (ladder.ours, ladder.id());
    let payload = ladder.network.application(ours, id).received()[0].payload.clone();
    assert_eq!(payload, "x");
    let within = packet.as_ptr_range().contains(&payload.as_ptr());
    assert!(!within, "a byte that the application keeps holds a kilobyte of memory");
}
