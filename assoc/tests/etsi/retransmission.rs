//! RT 11: T3-rtx and the retransmission time-out (RFC 9260, 6.3, 7.2.3).

use std::time::Duration;

use usctp_assoc::AssociationState;
use usctp_assoc::Event;
use usctp_assoc::sim::z;
use usctp_chunk::ChunkType;

use crate::tester::{Tester, data, ms, secs};
use AssociationState::Established;

/// The user sends, and the tester acknowledges all of it after this long.
fn round_trip(t: &mut Tester, count: u32, time: Duration) {
    t.user_sends("there and back");
    t.expects(&[ChunkType::DATA]);
    t.iut.wait(time);
    t.says(&[t.sack(count)]);
    t.silence(Duration::ZERO);
}

#[test]
fn rt_11_1_data_without_acknowledgement_is_sent_again_when_t3_expires() {
    let mut t = Tester::in_state(Established);
    t.user_sends("lost");
    let first = t.expects(&[ChunkType::DATA]);
    let again = t.expects_within(secs(10), &[ChunkType::DATA]);
    assert_eq!(again.at - first.at, secs(1));
    assert_eq!(again.bytes, first.bytes, "the same TSN, stream and sequence number");
    t.says(&[t.sack(1)]);
    t.silence(secs(100));
}

#[test]
fn rt_11_2_the_time_out_doubles_with_each_expiry_up_to_rto_max() {
    let mut t = Tester::with(|options| options.rto.max = secs(6));
    t.iut_opens(&[z(1)]);
    t.user_sends("lost");
    let mut last = t.expects(&[ChunkType::DATA]).at;
    // RFC 9260, 6.3.3 (E2).
    for apart in [1, 2, 4, 6, 6] {
        let heard = t.expects_within(secs(60), &[ChunkType::DATA]);
        assert_eq!(heard.at - last, secs(apart));
        last = heard.at;
    }
}

#[test]
fn rt_11_3_the_time_out_follows_the_measured_round_trips() {
    let mut t = Tester::with(|options| options.rto.initial = secs(10));
    t.iut.associate(&[z(1)]);
    t.expects(&[ChunkType::INIT]);
    t.iut.wait(secs(2));
    t.says(&[t.init_ack()]);
    t.expects(&[ChunkType::COOKIE_ECHO]);
    // RFC 9260, 6.3.1 (C2): SRTT = R = 2 s, RTTVAR = R/2, RTO = SRTT + 4 * RTTVAR.
    assert_eq!((t.path(z(1)).srtt, t.path(z(1)).rto), (Some(secs(2)), secs(6)));
    t.iut.wait(secs(4));
    t.says(&[usctp_chunk::Chunk::CookieAck]);
    // (C3): RTTVAR = 3/4 * 1 s + 1/4 * |2 s - 4 s| = 1.25 s, SRTT = 7/8 * 2 s + 1/8 * 4 s = 2.25 s.
    assert_eq!((t.path(z(1)).srtt, t.path(z(1)).rto), (Some(ms(2_250)), ms(7_250)));
    round_trip(&mut t, 1, ms(2_250));
    // RTTVAR = 3/4 * 1.25 s.
    assert_eq!((t.path(z(1)).srtt, t.path(z(1)).rto), (Some(ms(2_250)), ms(6_000)));
}

#[test]
fn rt_11_4_the_time_out_is_never_below_rto_min() {
    let mut t = Tester::with(|options| options.rto.min = ms(700));
    t.iut_opens(&[z(1)]);
    for n in 1..=10 {
        round_trip(&mut t, n, ms(10));
    }
    assert_eq!(t.path(z(1)).rto, ms(700));
    t.user_sends("lost");
    let first = t.expects(&[ChunkType::DATA]);
    assert_eq!(t.expects_within(secs(10), &[ChunkType::DATA]).at - first.at, ms(700));
}

#[test]
fn rt_11_5_the_acknowledgement_of_a_retransmission_measures_nothing() {
    let mut t = Tester::in_state(Established);
    round_trip(&mut t, 1, ms(400));
    let srtt = t.path(z(1)).srtt;
    t.user_sends("lost once");
    t.expects(&[ChunkType::DATA]);
    t.expects_within(secs(10), &[ChunkType::DATA]);
    let backed_off = t.path(z(1)).rto;
    t.iut.wait(ms(30));
    t.says(&[t.sack(2)]);
    // RFC 9260, 6.3.1 (C5), Karn's rule; the backed-off value stays until something is measured.
    assert_eq!((t.path(z(1)).srtt, t.path(z(1)).rto), (srtt, backed_off));
    round_trip(&mut t, 3, ms(400));
    assert!(t.path(z(1)).rto < backed_off);
}

#[test]
fn rt_11_6_t3_starts_anew_when_the_earliest_chunk_is_acknowledged() {
    let mut t = Tester::in_state(Established);
    t.user_sends_bulk(3, 100);
    t.hears_all();
    t.iut.wait(ms(800));
    t.says(&[t.sack(1)]);
    let acknowledged = t.iut.elapsed();
    // RFC 9260, 6.3.2 (R3): the RTO was measured with it, and begins now.
    let rto = t.path(z(1)).rto;
    let heard = t.expects_within(secs(10), &[ChunkType::DATA, ChunkType::DATA]);
    assert_eq!(heard.at - acknowledged, rto);
}

#[test]
fn rt_11_7_t3_stops_when_everything_is_acknowledged() {
    let mut t = Tester::in_state(Established);
    t.user_sends_bulk(3, 100);
    t.hears_all();
    t.says(&[t.sack(3)]);
    assert!(t.iut.events().contains(&Event::SenderDry));
    t.silence(secs(100));
    assert_eq!((t.path(z(1)).errors, t.path(z(1)).counts.retransmitted_chunks), (0, 0));
}

#[test]
fn rt_11_8_t3_goes_on_when_a_later_chunk_is_sent_or_reported() {
    let mut t = Tester::in_state(Established);
    t.user_sends_bulk(1, 100);
    let first = t.expects(&[ChunkType::DATA]);
    t.iut.wait(ms(600));
    // RFC 9260, 6.3.2 (R1): it runs already.
    t.user_sends_bulk(1, 100);
    t.expects(&[ChunkType::DATA]);
    t.says(&[t.sack_with(0, &[(2, 2)])]);
    let heard = t.expects_within(secs(10), &[ChunkType::DATA]);
    assert_eq!(heard.at - first.at, secs(1));
}

#[test]
fn rt_11_9_when_t3_expires_the_earliest_chunks_that_fit_one_packet_are_sent_and_no_more() {
    let mut t = Tester::in_state(Established);
    t.user_sends_bulk(3, 1_400);
    assert_eq!(data(&t.hears_all()).len(), 3);
    t.iut.wait(ms(1_000));
    let heard = t.hears_all();
    // RFC 9260, 6.3.3 (E3) and 7.2.3: cwnd is one packet.
    assert_eq!(data(&heard).iter().map(|data| data.tsn).collect::<Vec<_>>(), [t.iut_tsn]);
    assert!(t.path(z(1)).cwnd <= 1_500);
    // The acknowledgement lets the rest go.
    t.says(&[t.sack(1)]);
    assert_eq!(data(&t.hears_all())[0].tsn, t.iut_tsn.plus(1));
}
