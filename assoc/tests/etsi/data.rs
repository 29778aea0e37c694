//! D 8: DATA: numbers, fragments, order, windows (RFC 9260, 3.3.1, 6.1, 6.5, 6.6, 6.9, 7.2).

use bytes::Bytes;
use usctp_assoc::sim::{payload, z};
use usctp_assoc::{AssociationState, Event, Message};
use usctp_chunk::{Chunk, ChunkType, Data, Ppid, Sequence, StreamId, Tsn};

use crate::tester::{Tester, data, ms, sack, secs};
use AssociationState::Established;

fn established() -> Tester {
    Tester::in_state(Established)
}

fn ssn(data: &Data) -> u16 {
    match data.sequence {
        Sequence::Ssn(ssn) => ssn.value(),
        Sequence::Interleaved { .. } => panic!("I-DATA was not agreed on"),
    }
}

#[test]
fn d_8_1_a_message_that_fits_is_one_data_chunk_with_both_marks() {
    let mut t = established();
    let message = Message::new(3, "hello").ppid(0x0102_0304);
    t.iut.send(message).unwrap();
    let heard = t.expects(&[ChunkType::DATA]);
    let heard = [heard];
    let data = data(&heard)[0];
    assert!(data.flags.beginning && data.flags.ending && !data.flags.unordered);
    assert_eq!((data.tsn, data.stream, ssn(data)), (t.iut_tsn, StreamId(3), 0));
    assert_eq!((data.ppid, &data.payload[..]), (Ppid(0x0102_0304), &b"hello"[..]));
}

#[test]
fn d_8_2_tsns_count_chunks_and_stream_sequence_numbers_count_messages_of_a_stream() {
    let mut t = established();
    let mut found = Vec::new();
    for stream in [0, 1, 0, 0, 1, 2] {
        t.iut.send(Message::new(stream, "message")).unwrap();
        let heard = t.hears_all();
        let data = data(&heard)[0];
        found.push((data.tsn.since(t.iut_tsn), data.stream.0, ssn(data)));
        t.says(&[t.sack(u32::try_from(found.len()).unwrap())]);
    }
    assert_eq!(found, [(0, 0, 0), (1, 1, 0), (2, 0, 1), (3, 0, 2), (4, 1, 1), (5, 2, 0)]);
}

#[test]
fn d_8_3_a_message_larger_than_the_path_mtu_is_sent_in_fragments() {
    let mut t = established();
    let message = payload(7, 4_000);
    t.iut.send(Message::new(5, message.clone())).unwrap();
    let heard = t.hears_all();
    let fragments = data(&heard);
    assert!(fragments.len() >= 3, "{}", fragments.len());
    let last = fragments.len() - 1;
    for (at, data) in fragments.iter().enumerate() {
        assert_eq!(data.tsn, t.iut_tsn.plus(u32::try_from(at).unwrap()), "consecutive");
        assert_eq!((data.flags.beginning, data.flags.ending), (at == 0, at == last));
        assert_eq!((data.stream, ssn(data)), (StreamId(5), 0), "RFC 9260, 6.9");
    }
    let whole: Vec<u8> = fragments.iter().flat_map(|data| data.payload.to_vec()).collect();
    assert_eq!(whole, message);
}

#[test]
fn d_8_4_fragments_in_any_order_become_one_message() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [2, 0, 1]] {
        let mut t = established();
        let fragments = [("B", "be"), ("", "gin"), ("E", "ning")];
        for (number, at) in order.into_iter().enumerate() {
            assert_eq!(t.received().len(), 0, "not before the last one, {number}");
            let (flags, text) = fragments[at];
            t.says(&[t.fragment(u32::try_from(at).unwrap(), 0, 0, flags, text)]);
        }
        assert_eq!(t.received(), ["beginning"]);
    }
}

#[test]
fn d_8_5_messages_of_a_stream_are_delivered_in_the_order_of_their_sequence_numbers() {
    let mut t = established();
    t.says(&[t.fragment(2, 0, 2, "BE", "three")]);
    t.says(&[t.fragment(1, 0, 1, "BE", "two")]);
    assert_eq!(t.received(), Vec::<String>::new());
    t.says(&[t.fragment(0, 0, 0, "BE", "one")]);
    assert_eq!(t.received(), ["one", "two", "three"]);
}

#[test]
fn d_8_6_a_gap_in_one_stream_does_not_hold_up_another() {
    let mut t = established();
    t.says(&[t.fragment(1, 0, 1, "BE", "waits")]);
    t.says(&[t.fragment(2, 1, 0, "BE", "does not")]);
    assert_eq!(t.received(), ["does not"]);
    t.says(&[t.fragment(0, 0, 0, "BE", "first")]);
    assert_eq!(t.received(), ["does not", "first", "waits"]);
}

#[test]
fn d_8_7_unordered_messages_are_delivered_at_once_whatever_their_sequence_number() {
    let mut t = established();
    t.says(&[t.fragment(3, 0, 77, "UBE", "at once")]);
    assert_eq!(t.received(), ["at once"]);
    // In fragments, too.
    t.says(&[t.fragment(2, 0, 0, "UE", "ments")]);
    t.says(&[t.fragment(1, 0, 0, "UB", "frag")]);
    assert_eq!(t.received(), ["at once", "fragments"]);
    // The ordered ones of the stream are counted without them.
    t.says(&[t.fragment(0, 0, 0, "BE", "ordered")]);
    assert_eq!(t.received(), ["at once", "fragments", "ordered"]);
}

#[test]
fn d_8_8_the_users_unordered_messages_carry_the_u_bit_and_use_no_sequence_number() {
    let mut t = established();
    t.iut.send(Message::new(0, "free").unordered()).unwrap();
    t.iut.send(Message::new(0, "ordered")).unwrap();
    let heard = t.hears_all();
    let sent = data(&heard);
    assert!(sent[0].flags.unordered && !sent[1].flags.unordered);
    assert_eq!(ssn(sent[1]), 0, "RFC 9260, 6.6");
}

#[test]
fn d_8_9_stream_sequence_numbers_wrap_around() {
    let mut t = established();
    let count = 65_600;
    for first in (0..count).step_by(50) {
        let chunk = |n: u32| t.fragment(n, 0, (n & 0xffff) as u16, "BE", "x");
        let chunks: Vec<_> = (first..first + 50).map(chunk).collect();
        t.says(&chunks);
        t.hears_for(ms(1));
    }
    assert_eq!(t.received().len(), 65_600);
    t.is(Established);
}

#[test]
fn d_8_10_tsns_wrap_around() {
    let mut t = Tester::new();
    t.tsn = Tsn::new(u32::MAX - 1);
    t.iut_opens(&[z(1)]);
    t.says(&[t.data(0, "last but one")]);
    t.says(&[t.data(3, "second behind 0")]);
    t.says(&[t.data(1, "last")]);
    t.says(&[t.data(2, "0")]);
    let heard = t.hears_for(ms(200));
    assert_eq!(sack(heard.last().unwrap()).cumulative_tsn, Tsn::new(1));
    assert_eq!(t.received(), ["last but one", "last", "0", "second behind 0"]);
}

#[test]
fn d_8_11_a_closed_window_lets_only_one_chunk_through_as_a_probe() {
    let mut t = established();
    t.user_sends("taken");
    t.hears_all();
    t.a_rwnd = 0;
    t.says(&[t.sack(1)]);
    t.user_sends("probe");
    t.user_sends("waits");
    let heard = t.hears_for(secs(20));
    let sent: Vec<_> = data(&heard).iter().map(|data| data.tsn).collect();
    // RFC 9260, 6.1 (A).
    assert!(sent.len() > 1 && sent.iter().all(|tsn| *tsn == t.iut_tsn.plus(1)), "{sent:?}");
    t.a_rwnd = 10_000;
    t.says(&[t.sack(2)]);
    assert_eq!(data(&t.hears_all())[0].tsn, t.iut_tsn.plus(2));
}

#[test]
fn d_8_12_no_more_is_outstanding_than_the_window_of_the_peer_takes() {
    let mut t = Tester::new();
    t.a_rwnd = 2_500;
    t.iut_opens(&[z(1)]);
    t.user_sends_bulk(10, 1_000);
    let mut acknowledged = 0;
    while acknowledged < 10 {
        let heard = t.hears_all();
        let sent = data(&heard).len();
        assert!((1..=2).contains(&sent), "{sent} chunks of 1,000 bytes into 2,500");
        acknowledged += u32::try_from(sent).unwrap();
        t.says(&[t.sack(acknowledged)]);
    }
    assert!(t.iut.events().contains(&Event::SenderDry));
}

#[test]
fn d_8_13_the_first_burst_is_the_initial_window_and_acknowledgements_widen_it() {
    let mut t = established();
    t.user_sends_bulk(60, 1_400);
    let first = data(&t.hears_all()).len();
    // RFC 9260, 7.2.1: min(4 * PMDCS, max(2 * PMDCS, 4404)) bytes, where RFC 2960 has two packets. What is
    // sent last may go over by less than a packet.
    let initial = t.path(z(1)).cwnd;
    assert!(first * 1_400 < initial + 1_500 && (2..=4).contains(&first), "{first}, {initial}");
    t.says(&[t.sack(u32::try_from(first).unwrap())]);
    let second = data(&t.hears_all()).len();
    let grown = t.path(z(1)).cwnd;
    assert!(grown > initial && grown <= initial + 1_500, "slow start: by one packet at most");
    assert!(second >= first && second * 1_400 < grown + 1_500);
}

#[test]
fn d_8_14_every_length_of_user_data_survives_its_padding() {
    let mut t = established();
    let texts = ["a", "ab", "abc", "abcd", "abcde"];
    for (n, text) in (0..).zip(texts) {
        t.says(&[t.data(n, text)]);
    }
    assert_eq!(t.received(), texts);
    t.hears_for(ms(200));
    for (n, text) in (1..).zip(texts) {
        t.user_sends(text);
        let heard = t.expects(&[ChunkType::DATA]);
        let (length, padded) = (16 + text.len(), (16 + text.len()).next_multiple_of(4));
        assert_eq!(heard.bytes.len(), 12 + padded);
        assert_eq!(heard.bytes[14..16], u16::try_from(length).unwrap().to_be_bytes());
        assert!(heard.bytes[12 + length..].iter().all(|byte| *byte == 0), "RFC 9260, 3.2");
        t.says(&[t.sack(n)]);
    }
}

#[test]
fn d_8_15_data_beyond_the_iuts_own_window_is_not_acknowledged() {
    let mut t = Tester::with(|options| options.limits.receive_buffer = 8_192);
    t.iut.receive_eagerly(false);
    t.iut_opens(&[z(1)]);
    let payload = Bytes::from(vec![b'x'; 1_000]);
    let mut last = t.tsn.previous();
    for n in 0..30 {
        let Chunk::Data(data) = t.data(n, "x") else { unreachable!() };
        t.says(&[Chunk::Data(Data { payload: payload.clone(), ..data })]);
        for heard in t.hears_for(ms(200)) {
            last = sack(&heard).cumulative_tsn;
        }
    }
    let taken = last.since(t.tsn.previous());
    assert!((4..=9).contains(&taken), "{taken} chunks of 1,000 bytes into 8,192");
    t.is(Established);
    // It is taken when it comes again, once the user has received what is there.
    t.iut.receive_eagerly(true);
    t.says(&[t.data(taken, "again")]);
    t.hears_for(ms(200));
    t.says(&[t.data(taken + 1, "and more")]);
    assert_eq!(t.received().last().map(String::as_str), Some("and more"));
}

#[test]
fn d_8_16_the_payload_protocol_identifier_is_passed_to_the_user_as_it_is() {
    let mut t = established();
    let Chunk::Data(data) = t.data(0, "tagged") else { unreachable!() };
    t.says(&[Chunk::Data(Data { ppid: Ppid(0xfedc_ba98), ..data })]);
    assert_eq!(t.iut.received()[0].ppid, Ppid(0xfedc_ba98));
}
