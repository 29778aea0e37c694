//! Strategies that make every kind of value the crate can encode.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use usctp_chunk::*;

fn bytes(most: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..=most).prop_map(Bytes::from)
}

fn list<T: std::fmt::Debug, L: FromIterator<T> + std::fmt::Debug>(
    entry: impl Strategy<Value = T>,
) -> impl Strategy<Value = L> {
    vec(entry, 0..6).prop_map(|entries| entries.into_iter().collect())
}

fn tsn() -> impl Strategy<Value = Tsn> {
    any::<u32>().prop_map(Tsn::new)
}

fn stream() -> impl Strategy<Value = StreamId> {
    any::<u16>().prop_map(StreamId)
}

fn streams() -> impl Strategy<Value = StreamIds> {
    list(stream())
}

fn ip() -> impl Strategy<Value = IpAddr> {
    any::<IpAddr>()
}

/// A parameter whose value contains no list of parameters or causes.
fn flat_parameter() -> BoxedStrategy<Parameter> {
    let of_rfc_9260 = prop_oneof![
        bytes(20).prop_map(Parameter::HeartbeatInfo),
        any::<Ipv4Addr>().prop_map(Parameter::Ipv4Address),
        any::<Ipv6Addr>().prop_map(Parameter::Ipv6Address),
        bytes(90).prop_map(Parameter::StateCookie),
        bytes(20).prop_map(Parameter::UnrecognizedParameter),
        any::<u32>().prop_map(|increment_ms| Parameter::CookiePreservative { increment_ms }),
        bytes(20).prop_map(Parameter::HostName),
        list(any::<u16>()).prop_map(Parameter::SupportedAddressTypes),
        Just(Parameter::EcnCapable),
        unknown_parameter(),
    ];
    let of_init_extensions = prop_oneof![
        any::<u32>().prop_map(|method| Parameter::ZeroChecksumAcceptable { method }),
        bytes(32).prop_map(Parameter::Random),
        bytes(9).prop_map(Parameter::ChunkList),
        list(any::<u16>()).prop_map(Parameter::HmacAlgorithms),
        bytes(20).prop_map(Parameter::Padding),
        bytes(9).prop_map(Parameter::SupportedExtensions),
        Just(Parameter::ForwardTsnSupported),
        any::<u32>().prop_map(|indication| Parameter::AdaptationLayer { indication }),
    ];
    prop_oneof![of_rfc_9260, of_init_extensions, re_config_parameter(), asconf_parameter()].boxed()
}

fn unknown_parameter() -> impl Strategy<Value = Parameter> {
    (any::<u16>().prop_map(ParameterType), bytes(20))
        .prop_filter("known", |(kind, _)| kind.name().is_none())
        .prop_map(|(kind, value)| Parameter::Unknown { kind, value })
}

fn re_config_parameter() -> impl Strategy<Value = Parameter> {
    let next = (tsn(), tsn()).prop_map(|(sender, receiver)| NextTsns { sender, receiver });
    prop_oneof![
        (any::<u32>(), any::<u32>(), tsn(), streams()).prop_map(
            |(request, response, last_tsn, streams)| {
                Parameter::OutgoingSsnReset { request, response, last_tsn, streams }
            }
        ),
        (any::<u32>(), streams())
            .prop_map(|(request, streams)| Parameter::IncomingSsnReset { request, streams }),
        any::<u32>().prop_map(|request| Parameter::SsnTsnReset { request }),
        (any::<u32>(), any::<u32>().prop_map(ReConfigResult), proptest::option::of(next)).prop_map(
            |(response, result, next)| Parameter::ReConfigResponse { response, result, next }
        ),
        any::<(u32, u16)>()
            .prop_map(|(request, count)| Parameter::AddOutgoingStreams { request, count }),
        any::<(u32, u16)>()
            .prop_map(|(request, count)| Parameter::AddIncomingStreams { request, count }),
    ]
}

fn asconf_parameter() -> impl Strategy<Value = Parameter> {
    prop_oneof![
        (any::<u32>(), ip())
            .prop_map(|(correlation, address)| Parameter::AddIp { correlation, address }),
        (any::<u32>(), ip())
            .prop_map(|(correlation, address)| Parameter::DeleteIp { correlation, address }),
        (any::<u32>(), ip())
            .prop_map(|(correlation, address)| Parameter::SetPrimary { correlation, address }),
        any::<u32>().prop_map(|correlation| Parameter::SuccessIndication { correlation }),
    ]
}

/// Any parameter.
pub(crate) fn parameter() -> BoxedStrategy<Parameter> {
    let nested = (any::<u32>(), list(cause()))
        .prop_map(|(correlation, causes)| Parameter::ErrorCauseIndication { correlation, causes });
    prop_oneof![9 => flat_parameter(), 1 => nested].boxed()
}

/// Any list of parameters.
pub(crate) fn parameters() -> impl Strategy<Value = Parameters> {
    list(parameter())
}

/// Any error cause.
pub(crate) fn cause() -> BoxedStrategy<Cause> {
    let of_rfc_9260 = prop_oneof![
        stream().prop_map(|stream| Cause::InvalidStreamIdentifier { stream }),
        list(any::<u16>().prop_map(ParameterType)).prop_map(Cause::MissingMandatoryParameter),
        any::<u32>().prop_map(|staleness_us| Cause::StaleCookie { staleness_us }),
        Just(Cause::OutOfResource),
        bytes(20).prop_map(Cause::UnresolvableAddress),
        bytes(20).prop_map(Cause::UnrecognizedChunkType),
        Just(Cause::InvalidMandatoryParameter),
        bytes(20).prop_map(Cause::UnrecognizedParameters),
    ];
    let more_of_rfc_9260 = prop_oneof![
        tsn().prop_map(|tsn| Cause::NoUserData { tsn }),
        Just(Cause::CookieReceivedWhileShuttingDown),
        list(flat_parameter()).prop_map(Cause::RestartWithNewAddresses),
        bytes(20).prop_map(Cause::UserInitiatedAbort),
        bytes(20).prop_map(Cause::ProtocolViolation),
        (any::<u16>().prop_map(CauseCode), bytes(20))
            .prop_filter("known", |(kind, _)| kind.name().is_none())
            .prop_map(|(kind, value)| Cause::Unknown { kind, value }),
    ];
    let of_extensions = prop_oneof![
        bytes(20).prop_map(Cause::DeleteLastRemainingIp),
        bytes(20).prop_map(Cause::ResourceShortage),
        bytes(20).prop_map(Cause::DeleteSourceIp),
        Just(Cause::IllegalAsconfAck),
        bytes(20).prop_map(Cause::NoAuthorization),
        any::<u16>().prop_map(|hmac_id| Cause::UnsupportedHmacIdentifier { hmac_id }),
    ];
    prop_oneof![of_rfc_9260, more_of_rfc_9260, of_extensions].boxed()
}

fn causes() -> impl Strategy<Value = Causes> {
    list(cause())
}

/// DATA, and I-DATA whose first fragment alone has a PPID, all others alone a number.
fn data() -> impl Strategy<Value = Data> {
    let sequence = prop_oneof![
        any::<u16>().prop_map(|ssn| Sequence::Ssn(Ssn::new(ssn))),
        any::<(u32, u32)>().prop_map(|(mid, fsn)| Sequence::Interleaved {
            mid: Mid::new(mid),
            fsn: Fsn::new(fsn)
        }),
    ];
    let flags =
        any::<(bool, bool, bool, bool)>().prop_map(|(immediate, unordered, beginning, ending)| {
            DataFlags { immediate, unordered, beginning, ending }
        });
    (tsn(), stream(), sequence, any::<u32>().prop_map(Ppid), flags, bytes(50)).prop_map(
        |(tsn, stream, mut sequence, mut ppid, flags, payload)| {
            if let Sequence::Interleaved { fsn, .. } = &mut sequence {
                if flags.beginning { *fsn = Fsn::new(0) } else { ppid = Ppid(0) }
            }
            Data { tsn, stream, sequence, ppid, flags, payload }
        },
    )
}

fn init() -> impl Strategy<Value = Init> {
    (any::<(u32, u32, u16, u16)>(), tsn(), parameters()).prop_map(
        |((tag, a_rwnd, outbound_streams, inbound_streams), initial_tsn, parameters)| Init {
            initiate_tag: VerificationTag(tag),
            a_rwnd,
            outbound_streams,
            inbound_streams,
            initial_tsn,
            parameters,
        },
    )
}

fn sack() -> impl Strategy<Value = Sack> {
    let gap = any::<(u16, u16)>().prop_map(|(start, end)| GapBlock { start, end });
    (tsn(), any::<u32>(), list(gap), list(tsn())).prop_map(
        |(cumulative_tsn, a_rwnd, gaps, duplicates)| Sack {
            cumulative_tsn,
            a_rwnd,
            gaps,
            duplicates,
        },
    )
}

fn heartbeat() -> impl Strategy<Value = Heartbeat> {
    (bytes(50), parameters()).prop_map(|(info, others)| Heartbeat { info, others })
}

fn chunk_of_rfc_9260() -> impl Strategy<Value = Chunk> {
    prop_oneof![
        init().prop_map(Chunk::Init),
        init().prop_map(Chunk::InitAck),
        sack().prop_map(Chunk::Sack),
        heartbeat().prop_map(Chunk::Heartbeat),
        heartbeat().prop_map(Chunk::HeartbeatAck),
        (any::<bool>(), causes())
            .prop_map(|(tag_reflected, causes)| Chunk::Abort(Abort { tag_reflected, causes })),
        tsn().prop_map(|cumulative_tsn| Chunk::Shutdown(Shutdown { cumulative_tsn })),
        Just(Chunk::ShutdownAck),
        causes().prop_map(Chunk::Error),
        any::<bool>().prop_map(|tag_reflected| {
            Chunk::ShutdownComplete(ShutdownComplete { tag_reflected })
        }),
    ]
}

fn chunk_of_extensions() -> impl Strategy<Value = Chunk> {
    let skipped = list((stream(), any::<u16>().prop_map(Ssn::new)));
    let skipped_messages = list((stream(), any::<bool>(), any::<u32>().prop_map(Mid::new)));
    prop_oneof![
        (any::<u16>(), any::<u16>(), bytes(32))
            .prop_map(|(key_id, hmac_id, hmac)| { Chunk::Auth(Auth { key_id, hmac_id, hmac }) }),
        (any::<u32>(), ip(), parameters()).prop_map(|(serial, address, parameters)| {
            Chunk::Asconf(Asconf { serial, address, parameters })
        }),
        (any::<u32>(), parameters()).prop_map(|(serial, parameters)| {
            Chunk::AsconfAck(AsconfAck { serial, parameters })
        }),
        parameters().prop_map(Chunk::ReConfig),
        bytes(20).prop_map(Chunk::Pad),
        (tsn(), skipped).prop_map(|(new_cumulative_tsn, streams)| {
            Chunk::ForwardTsn(ForwardTsn { new_cumulative_tsn, streams })
        }),
        (tsn(), skipped_messages).prop_map(|(new_cumulative_tsn, streams)| {
            Chunk::IForwardTsn(IForwardTsn { new_cumulative_tsn, streams })
        }),
        (any::<u8>().prop_map(ChunkType), any::<u8>(), bytes(20))
            .prop_filter("known", |(kind, ..)| kind.name().is_none())
            .prop_map(|(kind, flags, value)| Chunk::Unknown(UnknownChunk { kind, flags, value })),
    ]
}

/// Any chunk.
pub(crate) fn chunk() -> BoxedStrategy<Chunk> {
    let others = prop_oneof![
        data().prop_map(Chunk::Data),
        bytes(90).prop_map(Chunk::CookieEcho),
        Just(Chunk::CookieAck),
        tsn().prop_map(Chunk::Ecne),
        tsn().prop_map(Chunk::Cwr),
    ];
    prop_oneof![1 => others, 2 => chunk_of_rfc_9260(), 2 => chunk_of_extensions()].boxed()
}

/// Any packet: its header and its chunks.
pub(crate) fn packet() -> impl Strategy<Value = (CommonHeader, Vec<Chunk>)> {
    let header = any::<(u16, u16, u32)>().prop_map(|(source_port, destination_port, tag)| {
        CommonHeader { source_port, destination_port, verification_tag: VerificationTag(tag) }
    });
    (header, vec(chunk(), 0..6))
}
