//! Chunks and parameters that are unknown, or belong to an extension that was not agreed on, and chunks in bad company.

use bytes::Bytes;
use usctp_assoc::sim::{Ladder, z};
use usctp_assoc::{AssociationState, LostReason};
use usctp_chunk::{
    Cause, Chunk, ChunkType, Data, DataFlags, Fsn, Init, Mid, Parameter, ParameterType, Ppid,
    Sequence, ShutdownComplete, StreamId, Tsn, UnknownChunk, VerificationTag,
};

use crate::rfc::{data, received, single};

use AssociationState::{Closed, CookieEchoed, CookieWait, Established, ShutdownAckSent};

const COMPLETE: Chunk = Chunk::ShutdownComplete(ShutdownComplete { tag_reflected: false });

fn chunk(kind: ChunkType, value: &'static [u8]) -> Chunk {
    Chunk::Unknown(UnknownChunk { kind, flags: 0, value: Bytes::from_static(value) })
}

fn parameter(kind: ParameterType, value: &'static [u8]) -> Parameter {
    Parameter::Unknown { kind, value: Bytes::from_static(value) }
}

/// The causes of the ERRORs and ABORTs that Z hears now.
fn causes(ladder: &mut Ladder) -> Vec<Cause> {
    let chunks = ladder.hears_all().into_iter().flat_map(|heard| heard.chunks);
    let causes = chunks.filter_map(|chunk| match chunk {
        Chunk::Error(causes) => Some(causes),
        Chunk::Abort(abort) => Some(abort.causes),
        _ => None,
    });
    causes.flat_map(|causes| causes.iter().map(Result::unwrap).collect::<Vec<_>>()).collect()
}

/// An INIT or INIT ACK with more parameters behind its own.
fn with_parameters(chunk: Chunk, more: &[Parameter]) -> Chunk {
    let add = |init: Init| {
        let own: Vec<_> = init.parameters.iter().map(Result::unwrap).collect();
        Init { parameters: own.into_iter().chain(more.iter().cloned()).collect(), ..init }
    };
    match chunk {
        Chunk::Init(init) => Chunk::Init(add(init)),
        Chunk::InitAck(init) => Chunk::InitAck(add(init)),
        chunk => panic!("{chunk:?} is neither"),
    }
}

#[test]
fn chunks_of_extensions_that_were_not_agreed_on_are_treated_by_their_high_bits_whatever_is_in_them()
{
    let name = "chunks_of_extensions_that_were_not_agreed_on_are_treated_by_their_high_bits";
    // RFC 9260, 3.2. ECNE and CWR are reserved by it, and passed over.
    let types = [
        (ChunkType::ECNE, true, false),
        (ChunkType::CWR, true, false),
        (ChunkType::AUTH, false, false),
        (ChunkType::I_DATA, false, true),
        (ChunkType::ASCONF_ACK, true, false),
        (ChunkType::RE_CONFIG, true, false),
        (ChunkType::PAD, true, false),
        (ChunkType::FORWARD_TSN, true, true),
        (ChunkType::ASCONF, true, true),
        (ChunkType::I_FORWARD_TSN, true, true),
    ];
    for (kind, goes_on, reported) in types {
        // What is malformed as the one or the other is as good as the rest.
        for value in [
            &b""[..],
            b"1",
            b"12345",
            b"a long one, the length of which fits nothing in particular.",
        ] {
            let mut ladder = single(name);
            let behind = ladder.data("behind");
            ladder.says(z(1), &[chunk(kind, value), behind]);
            let expected: &[&str] = if goes_on { &["behind"] } else { &[] };
            assert_eq!(received(&mut ladder), expected, "{kind:?} with {value:?}");
            let causes = causes(&mut ladder);
            let told = causes.iter().any(
                |cause| matches!(cause, Cause::UnrecognizedChunkType(chunk) if chunk[0] == kind.0),
            );
            assert_eq!((told, causes.len()), (reported, usize::from(reported)), "{kind:?}");
            assert_eq!(ladder.state(), Established);
        }
    }
}

#[test]
fn i_data_that_was_not_agreed_on_is_reported_and_not_delivered() {
    let mut ladder = single("i_data_that_was_not_agreed_on_is_reported_and_not_delivered");
    let flags = DataFlags { immediate: false, unordered: false, beginning: true, ending: true };
    let interleaved = Chunk::Data(Data {
        tsn: Tsn::new(1000),
        stream: StreamId(0),
        sequence: Sequence::Interleaved { mid: Mid::new(0), fsn: Fsn::new(0) },
        ppid: Ppid(0),
        flags,
        payload: Bytes::from_static(b"not agreed on"),
    });
    ladder.says(z(1), &[interleaved]);
    assert!(matches!(causes(&mut ladder)[..], [Cause::UnrecognizedChunkType(_)]));
    assert_eq!(received(&mut ladder), Vec::<Bytes>::new());
    assert_eq!(ladder.state(), Established);
    // Its TSN is free for whoever speaks DATA.
    ladder.says(z(1), &[data(1000, 0, "BE", "agreed on")]);
    assert_eq!(received(&mut ladder), ["agreed on"]);
}

#[test]
fn an_unrecognized_chunk_is_returned_as_it_stood_in_the_packet_with_its_padding() {
    let name = "an_unrecognized_chunk_is_returned_as_it_stood_in_the_packet_with_its_padding";
    for len in 0..8 {
        let mut ladder = single(name);
        let value: &'static [u8] = &b"what is"[..len.min(7)];
        ladder.says(z(1), &[chunk(ChunkType(0xff), value)]);
        let [Cause::UnrecognizedChunkType(returned)] = &causes(&mut ladder)[..] else {
            panic!("a report is due")
        };
        let length = 4 + value.len();
        assert_eq!(returned[..4], [0xff, 0, 0, u8::try_from(length).unwrap()]);
        assert_eq!(&returned[4..length], value);
        // RFC 9260, 3.3.10.6 and 3.2; 16 where the chunk's length is 13.
        assert_eq!(returned.len(), length.next_multiple_of(4));
        assert!(returned[length..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn unrecognized_parameters_are_returned_without_the_padding_of_the_last_one() {
    let name = "unrecognized_parameters_are_returned_without_the_padding_of_the_last_one";
    let odd = || parameter(ParameterType(0xffff), b"nine bytes");
    for (count, length) in [(1, 14), (2, 16 + 14), (3, 32 + 14)] {
        let mut ladder = Ladder::in_state(name, CookieWait);
        let odd: Vec<_> = std::iter::repeat_with(odd).take(count).collect();
        ladder.says(z(1), &[with_parameters(ladder.init_ack(&[]), &odd)]);
        let [Cause::UnrecognizedParameters(list)] = &causes(&mut ladder)[..] else {
            panic!("one report is due")
        };
        // RFC 9260, 3.3.10.8 and 3.2.
        assert_eq!(list.len(), length, "{count} parameters");
        assert_eq!(list[..4], [0xff, 0xff, 0, 14]);
        assert!(list.ends_with(b"nine bytes"));
    }
}

#[test]
fn parameters_of_extensions_that_are_not_offered_are_treated_by_their_high_bits_whatever_is_in_them()
 {
    let name = "parameters_of_extensions_that_are_not_offered_are_treated_by_their_high_bits";
    let host_name = b"\0\0\0\x01\0\x0b\0\x0ez.example\0";
    let odd = [
        parameter(ParameterType::SET_PRIMARY_ADDRESS, host_name),
        parameter(ParameterType::ADD_IP_ADDRESS, b"1"),
        parameter(ParameterType::REQUESTED_HMAC_ALGORITHM, b"odd"),
        parameter(ParameterType::ZERO_CHECKSUM_ACCEPTABLE, b""),
        parameter(ParameterType::FORWARD_TSN_SUPPORTED, b"which has no value"),
    ];
    for odd in &odd {
        let mut ladder = Ladder::new(name);
        ladder.network.listen(ladder.ours, true);
        let behind = [odd.clone(), Parameter::from_ip(z(2))];
        let init = with_parameters(ladder.init(&[]), &behind);
        ladder.says_with_tag(VerificationTag::ZERO, z(1), &[init]);
        let heard = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
        let reports = heard
            .init()
            .parameters
            .iter()
            .filter(|parameter| matches!(parameter, Ok(Parameter::UnrecognizedParameter(_))));
        let Parameter::Unknown { kind, .. } = odd else { unreachable!() };
        assert_eq!(reports.count(), usize::from(kind.unrecognized().report), "{odd:?}");
        ladder.says(z(1), &[Chunk::CookieEcho(heard.cookie())]);
        ladder.id = ladder.network.newest(ladder.ours);
        assert!(ladder.paths().iter().any(|path| path.peer == z(2)), "what stands behind {odd:?}");

        let mut ladder = Ladder::in_state(name, CookieWait);
        ladder.says(z(1), &[with_parameters(ladder.init_ack(&[]), &behind)]);
        assert_eq!(ladder.state(), CookieEchoed, "{odd:?}");
        assert_eq!(causes(&mut ladder).len(), usize::from(kind.unrecognized().report));
        assert!(ladder.paths().iter().any(|path| path.peer == z(2)), "what stands behind {odd:?}");
    }
}

#[test]
fn an_init_ack_with_tag_0_is_answered_with_the_cause() {
    let mut ladder =
        Ladder::in_state("an_init_ack_with_tag_0_is_answered_with_the_cause", CookieWait);
    let Chunk::InitAck(init) = ladder.init_ack(&[]) else { unreachable!() };
    ladder.says(z(1), &[Chunk::InitAck(Init { initiate_tag: VerificationTag::ZERO, ..init })]);
    let heard = ladder.expects(z(1), &[ChunkType::ABORT]);
    assert_eq!(heard.header.verification_tag, ladder.our_tag, "RFC 9260, 3.3.3: reflected");
    let Chunk::Abort(abort) = heard.only() else { unreachable!() };
    assert!(abort.tag_reflected);
    let causes: Vec<_> = abort.causes.iter().map(Result::unwrap).collect();
    assert_eq!(causes, [Cause::InvalidMandatoryParameter]);
    assert!(matches!(
        ladder.network.events(ladder.ours).last().map(|logged| &logged.event),
        Some(usctp_assoc::Event::CommLost(LostReason::Refused { .. }))
    ));
    assert_eq!(ladder.state(), Closed);
}

#[test]
fn an_init_ack_in_company_is_discarded_and_all_that_comes_with_it() {
    let name = "an_init_ack_in_company_is_discarded_and_all_that_comes_with_it";
    for first in [true, false] {
        for company in [data(1000, 0, "BE", "no"), Chunk::CookieAck, chunk(ChunkType(0xbf), b"")] {
            let mut ladder = Ladder::in_state(name, CookieWait);
            let mut chunks = vec![ladder.init_ack(&[]), company];
            if !first {
                chunks.reverse();
            }
            ladder.says(z(1), &chunks);
            assert_eq!((ladder.state(), ladder.hears_all().len()), (CookieWait, 0), "{chunks:?}");
        }
    }
    // Also where an INIT ACK is nothing but late.
    let mut ladder = single(name);
    let chunks = [ladder.data("no"), ladder.init_ack(&[])];
    ladder.says(z(1), &chunks);
    assert_eq!(received(&mut ladder), Vec::<Bytes>::new(), "RFC 9260, 6.10");
}

#[test]
fn a_shutdown_complete_in_company_is_discarded_and_all_that_comes_with_it() {
    let name = "a_shutdown_complete_in_company_is_discarded_and_all_that_comes_with_it";
    for first in [true, false] {
        for company in [data(1000, 0, "BE", "no"), Chunk::ShutdownAck, Chunk::CookieAck] {
            let mut ladder = Ladder::in_state(name, ShutdownAckSent);
            let mut chunks = vec![COMPLETE, company];
            if !first {
                chunks.reverse();
            }
            ladder.says(z(1), &chunks);
            let heard = ladder.hears_all().len();
            assert_eq!((ladder.state(), heard), (ShutdownAckSent, 0), "{chunks:?}");
            ladder.says(z(1), &[COMPLETE]);
            assert_eq!(ladder.state(), Closed);
        }
    }
}

#[test]
fn a_cookie_in_bad_company_opens_nothing() {
    let mut ladder = Ladder::new("a_cookie_in_bad_company_opens_nothing");
    ladder.network.listen(ladder.ours, true);
    ladder.says_with_tag(VerificationTag::ZERO, z(1), &[ladder.init(&[])]);
    let cookie = ladder.expects(z(1), &[ChunkType::INIT_ACK]).cookie();
    for company in [ladder.init_ack(&[]), COMPLETE] {
        ladder.says(z(1), &[Chunk::CookieEcho(cookie.clone()), company]);
        assert_eq!(ladder.network.newest(ladder.ours), None);
        assert!(ladder.hears_all().is_empty());
    }
    ladder.says(z(1), &[Chunk::CookieEcho(cookie)]);
    assert!(ladder.network.newest(ladder.ours).is_some());
}
