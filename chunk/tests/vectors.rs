//! Chunks, parameters and causes as the figures of the RFCs draw them, byte for byte.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use bytes::{Bytes, BytesMut};
use usctp_chunk::*;

/// The chunk of these bytes, which must also be what encoding gives.
#[track_caller]
fn chunk(bytes: &[u8]) -> Chunk {
    let chunk = decode(bytes).unwrap();
    let mut out = BytesMut::new();
    chunk.encode(&mut out);
    assert_eq!(out, bytes);
    assert_eq!(chunk.encoded_len(), bytes.len());
    chunk
}

/// What decoding the one chunk of these bytes gives.
fn decode(bytes: &[u8]) -> Result<Chunk, DecodeError> {
    let bytes = [&[0; 12], bytes].concat().into();
    let packet = Packet::parse(&bytes).unwrap();
    let mut chunks = packet.chunks();
    let chunk = chunks.next().unwrap()?;
    assert!(chunks.next().is_none());
    chunk.decode()
}

fn parameters(bytes: &'static [u8]) -> Vec<Result<Parameter, DecodeError>> {
    Parameters::from_bytes(Bytes::from_static(bytes)).iter().collect()
}

fn causes(bytes: &'static [u8]) -> Vec<Result<Cause, DecodeError>> {
    Causes::from_bytes(Bytes::from_static(bytes)).iter().collect()
}

/// The parameter of these bytes, which must also be what encoding gives.
#[track_caller]
fn parameter(bytes: &'static [u8]) -> Parameter {
    let parameter = parameters(bytes).remove(0).unwrap();
    assert_eq!(Parameters::from_iter([parameter.clone()]).as_bytes(), bytes);
    parameter
}

/// The cause of these bytes, which must also be what encoding gives.
#[track_caller]
fn cause(bytes: &'static [u8]) -> Cause {
    let cause = causes(bytes).remove(0).unwrap();
    assert_eq!(Causes::from_iter([cause.clone()]).as_bytes(), bytes);
    cause
}

#[test]
fn data() {
    let bytes = [0, 0x0b, 0, 19, 1, 2, 3, 4, 0, 5, 0, 6, 0, 0, 0, 46, b'a', b'b', b'c', 0];
    let Chunk::Data(data) = chunk(&bytes) else { panic!() };
    let flags = DataFlags { immediate: true, unordered: false, beginning: true, ending: true };
    assert_eq!(
        data,
        Data {
            tsn: Tsn::new(0x0102_0304),
            stream: StreamId(5),
            sequence: Sequence::Ssn(Ssn::new(6)),
            ppid: Ppid(46),
            flags,
            payload: Bytes::from_static(b"abc"),
        }
    );
    assert_eq!(data.header_len(), Data::HEADER);
    assert_eq!(Data::HEADER, 16);
}

#[test]
fn data_without_user_data_decodes_so_that_it_can_be_answered() {
    let Chunk::Data(data) = chunk(&[0, 3, 0, 16, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0]) else {
        panic!()
    };
    assert!(data.payload.is_empty());
    assert_eq!(decode(&[0, 3, 0, 12, 0, 0, 0, 9, 0, 0, 0, 0]), Err(DecodeError::LengthTooSmall));
}

#[test]
fn the_first_fragment_of_i_data_carries_the_ppid_and_the_others_their_number() {
    let first = [64, 6, 0, 21, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0, 0, 3, 0, 0, 0, 46, 7, 0, 0, 0];
    let Chunk::Data(data) = chunk(&first) else { panic!() };
    let (mid, fsn) = (Mid::new(3), Fsn::new(0));
    assert_eq!((data.sequence, data.ppid), (Sequence::Interleaved { mid, fsn }, Ppid(46)));
    assert!(data.flags.unordered && data.flags.beginning && !data.flags.ending);
    assert_eq!(data.header_len(), Data::INTERLEAVED_HEADER);

    let last = [64, 1, 0, 21, 0, 0, 0, 2, 0, 2, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1, 7, 0, 0, 0];
    let Chunk::Data(data) = chunk(&last) else { panic!() };
    let fsn = Fsn::new(1);
    assert_eq!((data.sequence, data.ppid), (Sequence::Interleaved { mid, fsn }, Ppid(0)));
}

#[test]
fn init_with_parameters() {
    let bytes = [
        1, 0, 0, 37, 0xde, 0xad, 0xbe, 0xef, 0, 1, 0, 0, 0, 10, 0, 20, 0, 0, 0,
        7, // fixed part
        0, 5, 0, 8, 192, 0, 2, 1, // IPv4 Address
        0x80, 8, 0, 9, 0x82, 0xc0, 0xc1, 0x80, 0x40, 0, 0, 0, // Supported Extensions, padded
    ];
    let Chunk::Init(init) = chunk(&bytes) else { panic!() };
    assert_eq!(init.initiate_tag, VerificationTag(0xdead_beef));
    assert_eq!((init.a_rwnd, init.outbound_streams, init.inbound_streams), (65_536, 10, 20));
    assert_eq!(init.initial_tsn, Tsn::new(7));
    let parameters: Vec<_> = init.parameters.iter().map(Result::unwrap).collect();
    assert_eq!(parameters[0].ip(), Some("192.0.2.1".parse().unwrap()));
    let extensions = Bytes::from_static(&[0x82, 0xc0, 0xc1, 0x80, 0x40]);
    assert_eq!(parameters[1..], [Parameter::SupportedExtensions(extensions)]);
}

#[test]
fn a_chunk_length_that_counts_the_padding_of_the_last_parameter_decodes_alike() {
    let mut bytes = vec![1, 0, 0, 26, 0, 0, 0, 1, 0, 0, 0, 9, 0, 1, 0, 1, 0, 0, 0, 7];
    bytes.extend([0x80, 3, 0, 6, 0x80, 0xc1, 0, 0]);
    let Chunk::Init(without) = chunk(&bytes) else { panic!() };
    bytes[3] = 28;
    let Chunk::Init(with) = chunk(&bytes) else { panic!() };
    assert!(without.parameters.iter().eq(with.parameters.iter()));
    assert_eq!(with.parameters.iter().count(), 1);
}

#[test]
fn init_ack_with_a_cookie() {
    let bytes =
        [2, 0, 0, 26, 0, 0, 0, 1, 0, 0, 0, 9, 0, 1, 0, 1, 0, 0, 0, 7, 0, 7, 0, 6, 1, 2, 0, 0];
    let Chunk::InitAck(init) = chunk(&bytes) else { panic!() };
    let cookie = init.parameters.iter().next().unwrap().unwrap();
    assert_eq!(cookie, Parameter::StateCookie(Bytes::from_static(&[1, 2])));
    assert_eq!(decode(&bytes[..20]).map(|chunk| chunk.kind()), Err(DecodeError::LengthTooLarge));
}

#[test]
fn sack() {
    let bytes = [
        3, 0, 0, 28, 0, 0, 1, 0, 0, 0, 0x20, 0, 0, 2, 0, 1, // counts 2 and 1
        0, 2, 0, 3, 0, 5, 0, 5, 0, 0, 0, 0xff,
    ];
    let Chunk::Sack(sack) = chunk(&bytes) else { panic!() };
    assert_eq!((sack.cumulative_tsn, sack.a_rwnd), (Tsn::new(256), 8192));
    let gaps = [GapBlock { start: 2, end: 3 }, GapBlock { start: 5, end: 5 }];
    assert!(sack.gaps.iter().eq(gaps));
    assert!(sack.duplicates.iter().eq([Tsn::new(255)]));
    assert_eq!((sack.gaps.len(), sack.duplicates.len()), (2, 1));
}

#[test]
fn a_sack_that_counts_more_than_it_holds_is_an_error() {
    for (gaps, duplicates) in [(1, 1), (2, 0), (0, 2), (255, 255)] {
        let bytes = [3, 0, 0, 20, 0, 0, 1, 0, 0, 0, 32, 0, 0, gaps, 0, duplicates, 0, 2, 0, 3];
        assert_eq!(decode(&bytes), Err(DecodeError::BadCount));
    }
}

#[test]
fn heartbeat_and_its_ack_hold_the_info_parameter() {
    let bytes = [4, 0, 0, 11, 0, 1, 0, 7, 1, 2, 3, 0];
    let info = Bytes::from_static(&[1, 2, 3]);
    assert_eq!(chunk(&bytes), Chunk::Heartbeat(Heartbeat::new(info.clone())));
    let bytes = [5, 0, 0, 11, 0, 1, 0, 7, 1, 2, 3, 0];
    assert_eq!(chunk(&bytes), Chunk::HeartbeatAck(Heartbeat::new(info)));
}

#[test]
fn a_heartbeat_must_begin_with_an_info_parameter_that_is_whole() {
    assert_eq!(decode(&[4, 0, 0, 4]), Err(DecodeError::LengthTooSmall));
    assert_eq!(decode(&[4, 0, 0, 6, 0, 1, 0, 0]), Err(DecodeError::Truncated));
    assert_eq!(decode(&[4, 0, 0, 8, 0, 1, 0, 9]), Err(DecodeError::LengthTooLarge));
    let other = DecodeError::UnexpectedParameter { found: 7 };
    assert_eq!(decode(&[4, 0, 0, 8, 0, 7, 0, 4]), Err(other));
}

#[test]
fn abort_and_shutdown_complete_say_whether_the_tag_is_reflected() {
    let Chunk::Abort(abort) = chunk(&[6, 1, 0, 8, 0, 12, 0, 4]) else { panic!() };
    assert!(abort.tag_reflected);
    assert!(abort.causes.iter().eq([Ok(Cause::UserInitiatedAbort(Bytes::new()))]));
    let Chunk::Abort(abort) = chunk(&[6, 0, 0, 4]) else { panic!() };
    assert_eq!(abort, Abort::default());
    let complete = ShutdownComplete { tag_reflected: true };
    assert_eq!(chunk(&[14, 1, 0, 4]), Chunk::ShutdownComplete(complete));
}

#[test]
fn the_small_chunks() {
    let cumulative_tsn = Tsn::new(5);
    assert_eq!(chunk(&[7, 0, 0, 8, 0, 0, 0, 5]), Chunk::Shutdown(Shutdown { cumulative_tsn }));
    assert_eq!(chunk(&[8, 0, 0, 4]), Chunk::ShutdownAck);
    assert_eq!(chunk(&[10, 0, 0, 5, 9, 0, 0, 0]), Chunk::CookieEcho(Bytes::from_static(&[9])));
    assert_eq!(chunk(&[11, 0, 0, 4]), Chunk::CookieAck);
    assert_eq!(chunk(&[12, 0, 0, 8, 0, 0, 0, 5]), Chunk::Ecne(cumulative_tsn));
    assert_eq!(chunk(&[13, 0, 0, 8, 0, 0, 0, 5]), Chunk::Cwr(cumulative_tsn));
    assert_eq!(chunk(&[132, 0, 0, 6, 0, 0, 0, 0]), Chunk::Pad(Bytes::from_static(&[0, 0])));
}

#[test]
fn a_chunk_shorter_than_its_fixed_part_is_an_error() {
    let fixed = [(0, 12), (1, 16), (2, 16), (3, 12), (7, 4), (12, 4), (13, 4), (15, 4)];
    let of_extensions = [(64, 16), (128, 4), (192, 4), (193, 4), (194, 4)];
    for (kind, fixed) in fixed.into_iter().chain(of_extensions) {
        for length in 0..fixed {
            let bytes = [vec![kind, 0, 0, 4 + length], vec![0; usize::from(length)]].concat();
            assert_eq!(decode(&bytes), Err(DecodeError::LengthTooSmall), "{kind} {length}");
        }
    }
}

#[test]
fn bytes_behind_a_fixed_format_are_ignored() {
    assert_eq!(decode(&[11, 0, 0, 8, 1, 2, 3, 4]), Ok(Chunk::CookieAck));
    let cumulative_tsn = Tsn::new(5);
    let shutdown = Chunk::Shutdown(Shutdown { cumulative_tsn });
    assert_eq!(decode(&[7, 0xff, 0, 9, 0, 0, 0, 5, 1]), Ok(shutdown));
    assert_eq!(parameters(&[0x80, 0, 0, 8, 1, 2, 3, 4]), [Ok(Parameter::EcnCapable)]);
}

#[test]
fn auth() {
    let expected = Auth { key_id: 1, hmac_id: 3, hmac: Bytes::from_static(&[7; 4]) };
    assert_eq!(chunk(&[15, 0, 0, 12, 0, 1, 0, 3, 7, 7, 7, 7]), Chunk::Auth(expected));
}

#[test]
fn asconf_with_a_request_as_rfc_5061_draws_it() {
    let bytes = [
        193, 0, 0, 32, 0, 0, 0, 1, 0, 5, 0, 8, 192, 0, 2, 9, // serial, address
        0xc0, 1, 0, 16, 1, 2, 0x34, 0x74, 0, 5, 0, 8, 192, 0, 2, 1, // Add IP Address
    ];
    let Chunk::Asconf(asconf) = chunk(&bytes) else { panic!() };
    assert_eq!((asconf.serial, asconf.address), (1, "192.0.2.9".parse().unwrap()));
    let address = "192.0.2.1".parse().unwrap();
    let request = Parameter::AddIp { correlation: 0x0102_3474, address };
    assert!(asconf.parameters.iter().eq([Ok(request)]));
}

#[test]
fn asconf_and_its_requests_must_hold_a_whole_ip_address() {
    assert_eq!(decode(&[193, 0, 0, 8, 0, 0, 0, 1]), Err(DecodeError::LengthTooSmall));
    // CVE-2026-53225: an IPv6 address of which the parameter holds only a part.
    let cut_ipv6 = [193, 0, 0, 16, 0, 0, 0, 1, 0, 6, 0, 8, 0x20, 1, 0xd, 0xb8];
    assert_eq!(decode(&cut_ipv6), Err(DecodeError::LengthTooSmall));
    let beyond = [193, 0, 0, 16, 0, 0, 0, 1, 0, 6, 0, 20, 0x20, 1, 0xd, 0xb8];
    assert_eq!(decode(&beyond), Err(DecodeError::LengthTooLarge));
    let host_name = [193, 0, 0, 16, 0, 0, 0, 1, 0, 11, 0, 8, b'a', b'b', b'c', 0];
    assert_eq!(decode(&host_name), Err(DecodeError::UnexpectedParameter { found: 11 }));
    let request = parameters(&[0xc0, 2, 0, 16, 0, 0, 0, 1, 0, 7, 0, 8, 192, 0, 2, 1]);
    assert_eq!(request, [Err(DecodeError::UnexpectedParameter { found: 7 })]);
}

#[test]
fn asconf_ack_with_the_error_that_rfc_5061_draws() {
    let bytes = [
        128, 0, 0, 36, 0, 0, 0, 1, // serial
        0xc0, 3, 0, 28, 1, 2, 0x34, 0x76, // Error Cause Indication
        0, 0xa0, 0, 20, 0xc0, 2, 0, 16, 1, 2, 0x34, 0x76, 0, 5, 0, 8, 192, 0, 2, 1,
    ];
    let Chunk::AsconfAck(ack) = chunk(&bytes) else { panic!() };
    let Some(Ok(Parameter::ErrorCauseIndication { causes, .. })) = ack.parameters.iter().next()
    else {
        panic!()
    };
    let request = Bytes::copy_from_slice(&bytes[20..]);
    assert!(causes.iter().eq([Ok(Cause::DeleteLastRemainingIp(request))]));
}

#[test]
fn re_config_requests_and_responses() {
    let bytes = [
        130, 0, 0, 34, 0, 13, 0, 18, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 4, 0, 0, // padded
        0, 14, 0, 10, 0, 0, 0, 5, 0, 6, 0, 0,
    ];
    let Chunk::ReConfig(requests) = chunk(&bytes) else { panic!() };
    let streams = [StreamId(4)].into_iter().collect();
    let outgoing =
        Parameter::OutgoingSsnReset { request: 1, response: 2, last_tsn: Tsn::new(3), streams };
    let streams = [StreamId(6)].into_iter().collect();
    let incoming = Parameter::IncomingSsnReset { request: 5, streams };
    assert!(requests.iter().eq([Ok(outgoing), Ok(incoming)]));

    let expected = Parameter::ReConfigResponse {
        response: 5,
        result: ReConfigResult::IN_PROGRESS,
        next: None,
    };
    assert_eq!(parameter(&[0, 16, 0, 12, 0, 0, 0, 5, 0, 0, 0, 6]), expected);
    let bytes = &[0, 16, 0, 20, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 9];
    let Parameter::ReConfigResponse { next, .. } = parameter(bytes) else { panic!() };
    assert_eq!(next, Some(NextTsns { sender: Tsn::new(8), receiver: Tsn::new(9) }));
    let half = parameters(&[0, 16, 0, 16, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, 8]);
    assert_eq!(half, [Err(DecodeError::LengthTooSmall)]);

    let expected = Parameter::AddOutgoingStreams { request: 5, count: 3 };
    assert_eq!(parameter(&[0, 17, 0, 12, 0, 0, 0, 5, 0, 3, 0, 0]), expected);
}

#[test]
fn forward_tsn_and_i_forward_tsn() {
    let Chunk::ForwardTsn(forward) = chunk(&[192, 0, 0, 12, 0, 0, 0, 9, 0, 1, 0, 2]) else {
        panic!()
    };
    assert_eq!(forward.new_cumulative_tsn, Tsn::new(9));
    assert!(forward.streams.iter().eq([(StreamId(1), Ssn::new(2))]));

    let bytes = [194, 0, 0, 24, 0, 0, 0, 9, 0, 1, 0, 1, 0, 0, 0, 2, 0, 3, 0, 0, 0, 0, 0, 4];
    let Chunk::IForwardTsn(forward) = chunk(&bytes) else { panic!() };
    let expected = [(StreamId(1), true, Mid::new(2)), (StreamId(3), false, Mid::new(4))];
    assert!(forward.streams.iter().eq(expected));
    // One that ends within an entry (usrsctp#547).
    assert_eq!(decode(&[194, 0, 0, 12, 0, 0, 0, 9, 0, 1, 0, 1]), Err(DecodeError::BadCount));
}

#[test]
fn what_is_not_known_is_kept_with_what_its_high_bits_ask_for() {
    let value = Bytes::from_static(&[1, 2, 3, 4, 5]);
    let expected = UnknownChunk { kind: ChunkType(0xfe), flags: 0x5a, value };
    assert_eq!(chunk(&[0xfe, 0x5a, 0, 9, 1, 2, 3, 4, 5, 0, 0, 0]), Chunk::Unknown(expected));
    for (bits, skip, report) in
        [(0, false, false), (1, false, true), (2, true, false), (3, true, true)]
    {
        let expected = Unrecognized { skip, report };
        assert_eq!(ChunkType((bits as u8) << 6 | 0x3e).unrecognized(), expected);
        assert_eq!(ParameterType(bits << 14 | 0x123).unrecognized(), expected);
    }

    let value = Bytes::from_static(&[7, 8]);
    let expected = Parameter::Unknown { kind: ParameterType(0xc123), value };
    assert_eq!(parameter(&[0xc1, 0x23, 0, 6, 7, 8]), expected);
    let value = Bytes::from_static(&[1]);
    assert_eq!(cause(&[0, 99, 0, 5, 1]), Cause::Unknown { kind: CauseCode(99), value });
}

#[test]
fn parameters_of_init() {
    let types = [5, 6].into_iter().collect();
    let expected = Parameter::SupportedAddressTypes(types);
    assert_eq!(parameter(&[0, 12, 0, 8, 0, 5, 0, 6]), expected);
    assert_eq!(parameters(&[0, 12, 0, 7, 0, 5, 0, 0]), [Err(DecodeError::BadCount)]);
    let expected = Parameter::CookiePreservative { increment_ms: 1000 };
    assert_eq!(parameter(&[0, 9, 0, 8, 0, 0, 3, 0xe8]), expected);
    let expected = Parameter::ZeroChecksumAcceptable { method: 1 };
    assert_eq!(parameter(&[0x80, 1, 0, 8, 0, 0, 0, 1]), expected);
    let expected = Parameter::HmacAlgorithms([3, 1].into_iter().collect());
    assert_eq!(parameter(&[0x80, 4, 0, 8, 0, 3, 0, 1]), expected);
    assert_eq!(parameter(&[0xc0, 0, 0, 4]), Parameter::ForwardTsnSupported);
    let ipv6 = &[0, 6, 0, 20, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    assert_eq!(parameter(ipv6), Parameter::from_ip("2001:db8::1".parse().unwrap()));
    assert_eq!(parameters(&[0, 5, 0, 7, 1, 2, 3, 0]), [Err(DecodeError::LengthTooSmall)]);
}

#[test]
fn a_parameter_whose_value_is_wrong_ends_decoding_but_not_the_walk() {
    let list = Parameters::from_bytes(Bytes::from_static(&[0, 5, 0, 4, 0xc0, 0, 0, 4]));
    assert!(list.iter().eq([Err(DecodeError::LengthTooSmall)]));
    let kinds: Vec<_> = list.raw_iter().map(|raw| raw.unwrap().kind).collect();
    assert_eq!(kinds, [ParameterType::IPV4_ADDRESS, ParameterType::FORWARD_TSN_SUPPORTED]);
}

#[test]
fn a_parameter_that_is_not_decoded_is_shown_with_and_without_its_header() {
    let list = Parameters::from_bytes(Bytes::from_static(&[0xc1, 0x23, 0, 6, 7, 8, 0xee, 0xee]));
    let raw = list.raw_iter().next().unwrap().unwrap();
    assert_eq!((raw.kind, raw.value()), (ParameterType(0xc123), &[7, 8][..]));
    assert_eq!(raw.bytes(), [0xc1, 0x23, 0, 6, 7, 8]);
    assert_eq!(raw.to_bytes(), raw.bytes());
    assert_eq!(raw.decode(), list.iter().next().unwrap());
}

#[test]
fn error_causes() {
    let expected = Cause::InvalidStreamIdentifier { stream: StreamId(7) };
    assert_eq!(cause(&[0, 1, 0, 8, 0, 7, 0, 0]), expected);
    let missing = [ParameterType::STATE_COOKIE].into_iter().collect();
    let expected = Cause::MissingMandatoryParameter(missing);
    assert_eq!(cause(&[0, 2, 0, 10, 0, 0, 0, 1, 0, 7]), expected);
    assert_eq!(cause(&[0, 3, 0, 8, 0, 0, 0, 99]), Cause::StaleCookie { staleness_us: 99 });
    assert_eq!(cause(&[0, 9, 0, 8, 0, 0, 0, 5]), Cause::NoUserData { tsn: Tsn::new(5) });
    let expected = Cause::UnsupportedHmacIdentifier { hmac_id: 2 };
    assert_eq!(cause(&[1, 5, 0, 6, 0, 2]), expected);
    let addresses = [Parameter::from_ip("192.0.2.1".parse().unwrap())].into_iter().collect();
    let expected = Cause::RestartWithNewAddresses(addresses);
    assert_eq!(cause(&[0, 11, 0, 12, 0, 5, 0, 8, 192, 0, 2, 1]), expected);
    assert_eq!(expected.code().name(), Some("Restart of an Association with New Addresses"));
}

#[test]
fn a_cause_that_counts_more_missing_parameters_than_it_holds_is_an_error() {
    let counts_most = causes(&[0, 2, 0, 10, 0xff, 0xff, 0xff, 0xff, 0, 7, 0, 0]);
    assert_eq!(counts_most, [Err(DecodeError::BadCount)]);
}

#[test]
fn nested_lists_are_printed_without_following_them() {
    // Each level is a cause in a parameter in a cause; as deep as 65,535 bytes allow.
    let mut bytes = Vec::new();
    for inside in (0..5460u16).rev().map(|levels| 12 * levels) {
        bytes.extend([0xc0, 3]);
        bytes.extend((inside + 12).to_be_bytes());
        bytes.extend([0, 0, 0, 0, 0, 11]);
        bytes.extend((inside + 4).to_be_bytes());
    }
    let list = Parameters::from_bytes(bytes.into());
    let nested = list.iter().next().unwrap().unwrap();
    assert!(matches!(nested, Parameter::ErrorCauseIndication { .. }));
    assert!(format!("{nested:?}").len() < 200);
}
