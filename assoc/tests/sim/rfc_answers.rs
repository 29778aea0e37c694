//! What A must not answer, or not with more than one packet, and when it must end (RFC 9260, sections 8.5.1, 9.1 and 12.4).

use bytes::Bytes;
use usctp_assoc::sim::{Ladder, payload, z};
use usctp_assoc::{AssociationState, Event, LostReason, Message, Options, SendError};
use usctp_chunk::{Abort, CauseCode, Chunk, ChunkType, Heartbeat, Init};

use crate::rfc::{acks, alone, data, hears_numbers, send, single, single_with};
use crate::world::{config, secs};

fn abort(tag_reflected: bool) -> Chunk {
    Chunk::Abort(Abort { tag_reflected, causes: Default::default() })
}

fn heartbeat(len: usize) -> Chunk {
    Chunk::Heartbeat(Heartbeat::new(payload(5, len)))
}

#[test]
fn a_packet_with_an_abort_is_not_answered_whatever_else_it_holds() {
    let name = "a_packet_with_an_abort_is_not_answered_whatever_else_it_holds";
    // Each of these is answered when it stands alone.
    for before in [data(1000, 0, "BE", ""), heartbeat(20), data(1000, 0, "BEI", "x")] {
        let mut ladder = single(name);
        ladder.says(z(1), &[before, abort(false)]);
        assert_eq!(ladder.state(), AssociationState::Closed);
        ladder.silence(secs(100));
    }
    let mut ladder = Ladder::in_state(name, AssociationState::CookieEchoed);
    ladder.says(z(1), &[Chunk::ShutdownAck, abort(false)]);
    assert!(ladder.hears_all().is_empty());
}

#[test]
fn an_abort_behind_other_chunks_needs_the_right_tag_and_bit_too() {
    let mut ladder = single("an_abort_behind_other_chunks_needs_the_right_tag_and_bit_too");
    ladder.says(z(1), &[data(1000, 0, "BEI", "x"), abort(true)]);
    // RFC 9260, 8.5.1 (B): the packet is discarded silently.
    assert!(ladder.hears_all().is_empty());
    assert_eq!(ladder.state(), AssociationState::Established);
    ladder.says(z(1), &[data(1000, 0, "BEI", "x"), abort(false)]);
    assert_eq!(ladder.state(), AssociationState::Closed);
}

#[test]
fn one_packet_is_answered_by_one_packet_of_control_chunks() {
    let name = "one_packet_is_answered_by_one_packet_of_control_chunks";
    let mut ladder = single_with(name, |options| options.path_mtu = 512);
    // Z's MTU is larger: all the answers together exceed a packet of A's.
    let many: Vec<_> = (0..6).map(|_| heartbeat(200)).collect();
    ladder.says(z(1), &many);
    let heard = ladder.hears_all();
    assert_eq!(heard.len(), 1, "RFC 9260, 12.4");
    assert_eq!(heard[0].chunks.len(), 2);
    let mut ladder = Ladder::in_state(name, AssociationState::CookieEchoed);
    ladder.says(z(1), &[heartbeat(20), Chunk::ShutdownAck]);
    assert_eq!(ladder.hears_all().len(), 1);
    // The next packet is answered like the first.
    ladder.says(z(1), &[heartbeat(1_400)]);
    ladder.expects(z(1), &[ChunkType::HEARTBEAT_ACK]);
}

#[test]
fn a_sack_of_what_was_never_sent_ends_the_association() {
    for (count, gaps) in [(3, &[][..]), (0, &[(2, 3)]), (1, &[(1, 1), (2, 60_000)])] {
        let mut ladder = single("a_sack_of_what_was_never_sent_ends_the_association");
        send(&mut ladder, 2, 1_000);
        assert_eq!(hears_numbers(&mut ladder), [1, 2]);
        acks(&mut ladder, count, gaps);
        let lost = Event::CommLost(LostReason::PeerViolation(CauseCode::PROTOCOL_VIOLATION));
        assert_eq!(ladder.events().last(), Some(&lost), "{count} {gaps:?}");
        ladder.expects(z(1), &[ChunkType::ABORT]);
    }
}

#[test]
fn messages_go_only_to_streams_that_were_agreed_on() {
    let name = "messages_go_only_to_streams_that_were_agreed_on";
    let mut ladder = alone(name, config(|_| {}));
    let (ours, id) = (ladder.ours, ladder.connectx(&[z(1)]));
    ladder.hears();
    ladder.network.send(ours, id, Message::new(5, "for stream 5")).unwrap();
    let Chunk::InitAck(init) = ladder.init_ack(&[]) else { unreachable!() };
    ladder.says(z(1), &[Chunk::InitAck(Init { inbound_streams: 2, ..init })]);
    ladder.hears();
    ladder.says(z(1), &[Chunk::CookieAck]);
    // RFC 9260, 6.5: every DATA chunk MUST carry a valid stream identifier.
    assert!(ladder.hears_all().is_empty());
    assert!(
        ladder
            .events()
            .contains(&Event::SendFailed { message: Message::new(5, "for stream 5"), sent: false })
    );
    let view = ladder.network.endpoint(ours).view(id).unwrap();
    assert_eq!(view.send_buffered(), 0, "it takes no room of the send buffer any more");
    let refused = ladder.network.send(ours, id, Message::new(2, "x")).unwrap_err();
    assert_eq!(refused, SendError::NoSuchStream { stream: 2, streams: 2 });
    ladder.network.send(ours, id, Message::new(1, "x")).unwrap();
    ladder.expects(z(1), &[ChunkType::DATA]);
}

#[test]
fn a_message_without_bytes_is_refused() {
    let mut ladder = single("a_message_without_bytes_is_refused");
    let (ours, id) = (ladder.ours, ladder.id());
    let refused = ladder.network.send(ours, id, Message::new(0, Bytes::new())).unwrap_err();
    assert_eq!(refused, SendError::Empty);
    ladder.silence(secs(1));
}

#[test]
fn the_defaults_are_those_of_section_16() {
    let options = Options::default();
    let rto = (options.rto.initial, options.rto.min, options.rto.max);
    assert_eq!(rto, (secs(1), secs(1), secs(60)));
    let retransmission = options.retransmission;
    assert_eq!((retransmission.association_max, retransmission.path_max), (10, 5));
    assert_eq!((retransmission.init_max, options.max_burst), (8, 4));
    assert_eq!(options.cookie.lifetime, secs(60));
    assert_eq!((options.heartbeat.interval, options.heartbeat.max_burst), (Some(secs(30)), 1));
    assert_eq!((options.sack.delay.as_millis(), options.sack.frequency), (200, 2));
    assert_eq!(config(|_| {}).shutdown_guard(), secs(5 * 60));
}

#[test]
fn a_sack_delay_beyond_500_ms_is_refused() {
    let delay = |ms| {
        let mut options = Options::default();
        options.sack.delay = std::time::Duration::from_millis(ms);
        usctp_assoc::Config::new(options)
    };
    assert!(delay(500).is_ok());
    assert!(delay(501).is_err());
}
