//! BDC 7: bundling of DATA with control chunks (RFC 9260, 6.10).

use std::time::Duration;

use bytes::Bytes;
use usctp_assoc::sim::z;
use usctp_assoc::{AssociationState, Event};
use usctp_chunk::{Chunk, ChunkType, Heartbeat};

use crate::tester::{Tester, abort, data, ms, sack};
use AssociationState::{Closed, Established, ShutdownAckSent};

#[test]
fn bdc_7_1_a_sack_that_waits_leaves_with_the_users_data_and_before_it() {
    let mut t = Tester::in_state(Established);
    t.says(&[t.data(0, "answered at once")]);
    t.expects(&[ChunkType::SACK]);
    t.says(&[t.data(1, "answered later")]);
    t.silence(ms(100));
    t.user_sends("this takes the SACK along");
    let heard = t.expects(&[ChunkType::SACK, ChunkType::DATA]);
    assert_eq!(sack(&heard).cumulative_tsn, t.tsn.plus(1));
    t.silence(ms(500));
}

#[test]
fn bdc_7_2_messages_that_wait_leave_in_one_packet_in_the_order_of_their_tsns() {
    let mut t = Tester::new();
    t.iut.associate(&[z(1)]);
    t.expects(&[ChunkType::INIT]);
    for text in ["one", "two", "three"] {
        t.user_sends(text);
    }
    t.says(&[t.init_ack()]);
    let heard =
        t.expects(&[ChunkType::COOKIE_ECHO, ChunkType::DATA, ChunkType::DATA, ChunkType::DATA]);
    let sent: Vec<_> = data(std::slice::from_ref(&heard)).iter().map(|data| data.tsn).collect();
    assert_eq!(sent, [t.iut_tsn, t.iut_tsn.plus(1), t.iut_tsn.plus(2)]);
}

#[test]
fn bdc_7_3_no_packet_is_larger_than_the_path_mtu() {
    let mut t = Tester::with(|options| options.path_mtu = 900);
    t.iut.associate(&[z(1)]);
    t.expects(&[ChunkType::INIT]);
    for bytes in [1, 3, 400, 453, 454, 848, 852, 853, 3_000, 10_000] {
        t.user_sends_bulk(3, bytes);
    }
    t.says(&[t.init_ack()]);
    t.says(&[Chunk::CookieAck]);
    let (mut count, mut largest) = (0, 0);
    loop {
        let heard = t.hears_all();
        count += data(&heard).len();
        largest = heard.iter().map(|heard| heard.bytes.len()).max().unwrap_or(0).max(largest);
        if t.iut.events().contains(&Event::SenderDry) {
            break;
        }
        t.says(&[t.sack(u32::try_from(count).unwrap())]);
    }
    // The IPv4 header is not in these bytes.
    assert!((860..=880).contains(&largest), "{largest}");
}

#[test]
fn bdc_7_4_control_chunks_bundled_before_data_are_acted_on_and_so_is_the_data() {
    let mut t = Tester::in_state(Established);
    t.user_sends("acknowledged by the bundle");
    t.expects(&[ChunkType::DATA]);
    let heartbeat = Heartbeat::new(Bytes::from_static(b"and answered"));
    t.says(&[t.sack(1), Chunk::Heartbeat(heartbeat.clone()), t.data(0, "one"), t.data(1, "two")]);
    let heard = t.hears_for(ms(200));
    let chunks: Vec<_> = heard.iter().flat_map(|heard| heard.chunks.clone()).collect();
    assert!(chunks.contains(&Chunk::HeartbeatAck(heartbeat)));
    let acknowledged = chunks
        .iter()
        .any(|chunk| matches!(chunk, Chunk::Sack(sack) if sack.cumulative_tsn == t.tsn.plus(1)));
    assert!(acknowledged, "{chunks:?}");
    assert_eq!(t.received(), ["one", "two"]);
    assert!(t.iut.events().contains(&Event::SenderDry));
}

#[test]
fn bdc_7_5_a_sack_bundled_with_shutdown_lets_the_shutdown_be_answered_at_once() {
    let mut t = Tester::in_state(Established);
    t.user_sends("acknowledged by the bundle");
    t.expects(&[ChunkType::DATA]);
    t.says(&[t.sack(1), t.shutdown(1)]);
    t.expects(&[ChunkType::SHUTDOWN_ACK]);
    t.is(ShutdownAckSent);
}

#[test]
fn bdc_7_6_data_bundled_behind_an_abort_is_not_delivered() {
    let mut t = Tester::in_state(Established);
    t.says(&[abort(None), t.data(0, "never")]);
    t.is(Closed);
    t.silence(ms(500));
    assert_eq!(t.received(), Vec::<String>::new());
}

#[test]
fn bdc_7_7_init_init_ack_and_shutdown_complete_stand_alone_even_when_data_waits() {
    let mut t = Tester::new();
    t.iut.associate(&[z(1)]);
    t.user_sends("waits");
    t.expects(&[ChunkType::INIT]);
    // The retransmission, and the answer to a collision.
    t.expects_within(Duration::from_secs(1), &[ChunkType::INIT]);
    t.says_with_tag(crate::tester::NONE, &[t.init()]);
    t.expects(&[ChunkType::INIT_ACK]);
    t.says(&[t.init_ack()]);
    t.hears_all();
    t.says(&[Chunk::CookieAck]);
    t.hears_all();
    t.says(&[t.sack(1)]);
    // The tester's last DATA and its SHUTDOWN ACK come together.
    t.iut.shutdown();
    t.expects(&[ChunkType::SHUTDOWN]);
    t.says(&[t.data(0, "last"), Chunk::ShutdownAck]);
    assert_eq!(t.hears_all().last().unwrap().only().kind(), ChunkType::SHUTDOWN_COMPLETE);
    t.is(Closed);
    assert_eq!(t.received(), ["last"]);
}
