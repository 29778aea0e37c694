//! The inputs that fuzzing starts from, made by the project's own encoder; `seeds/` holds them as files.

use std::net::IpAddr;

use bytes::{Bytes, BytesMut};
use usctp_chunk::{
    Abort, Asconf, AsconfAck, Auth, Cause, Chunk, ChunkType, CommonHeader, Data, DataFlags,
    ForwardTsn, Fsn, GapBlock, Heartbeat, IForwardTsn, Init, Mid, NextTsns, PacketBuilder,
    Parameter, ParameterType, Parameters, Ppid, ReConfigResult, Sack, Sequence, Shutdown,
    ShutdownComplete, Ssn, StreamId, Tsn, UnknownChunk, VerificationTag,
};

/// A seed: the name of its target, its own name, its bytes.
pub type Seed = (&'static str, &'static str, Bytes);

/// All seeds.
pub fn all() -> Vec<Seed> {
    let packets = packets().map(|(name, chunks)| ("packet", name, packet(&chunks)));
    let parameters = lists().map(|(name, bytes)| ("parameters", name, bytes));
    let scripts = scripts().map(|(name, bytes)| ("cookie", name, Bytes::from_static(bytes)));
    packets.into_iter().chain(parameters).chain(scripts).collect()
}

/// Scripts for the cookie target: how, a time of two bytes, and what is done to the true cookie.
fn scripts() -> [(&'static str, &'static [u8]); 7] {
    [
        ("true", &[0x00, 0, 0, 0]),
        ("true_twice_with_data", &[0xc0, 1, 0, 0, 0xc0, 1, 0, 0]),
        ("stale", &[0x80, 0xe8, 3, 0]),
        // Tags, TSNs, streams, window, route and the list of addresses, one after the other.
        ("altered", &[0xc0, 0, 0, 4, 18, 0xff, 26, 0xff, 38, 0xff, 42, 0x0a, 0x80, 0, 0, 1, 62, 6]),
        ("cut", &[0x01, 0, 0, 60, 0x01, 0, 0, 0]),
        ("lengthened", &[0x02, 0, 0, 1, 2, 3, 4]),
        ("made_up", &[0x03, 0, 0, 8, 1, 0, 0, 0, 0, 0, 0, 0]),
    ]
}

fn packet(chunks: &[Chunk]) -> Bytes {
    let header = CommonHeader {
        source_port: 5000,
        destination_port: 5001,
        verification_tag: VerificationTag(0x0102_0304),
    };
    let mut out = BytesMut::new();
    let mut builder = PacketBuilder::new(&mut out, header, 1400);
    for chunk in chunks {
        assert!(builder.push(chunk), "a seed is a packet of a common size");
    }
    builder.finish();
    out.freeze()
}

/// Packets that together hold every type of chunk.
fn packets() -> [(&'static str, Vec<Chunk>); 10] {
    let tsn = Tsn::new(0xffff_fffe);
    let heartbeat = || Heartbeat::new(Bytes::from_static(b"nonce of 64 bits"));
    let unknown = UnknownChunk { kind: ChunkType(0xfe), flags: 1, value: bytes(5) };
    [
        ("init", vec![Chunk::Init(init(init_parameters()))]),
        ("init_ack", vec![Chunk::InitAck(init(init_ack_parameters()))]),
        ("cookie_echo_data", vec![Chunk::CookieEcho(bytes(40)), data(ssn(1)), data(ssn(2))]),
        ("cookie_ack_sack", vec![Chunk::CookieAck, Chunk::Sack(sack()), data(ssn(3))]),
        ("interleaved", vec![data(interleaved(0)), data(interleaved(1)), i_forward_tsn()]),
        ("forward_tsn", vec![forward_tsn(), Chunk::Ecne(tsn), Chunk::Cwr(tsn)]),
        (
            "heartbeats",
            vec![
                Chunk::Heartbeat(heartbeat()),
                Chunk::HeartbeatAck(heartbeat()),
                Chunk::Pad(bytes(9)),
            ],
        ),
        ("errors", vec![Chunk::Error(causes()), Chunk::Abort(abort()), Chunk::Unknown(unknown)]),
        ("reconfiguration", vec![auth(), asconf(), asconf_ack(), re_config()]),
        (
            "shutdown",
            vec![
                Chunk::Shutdown(Shutdown { cumulative_tsn: tsn }),
                Chunk::ShutdownAck,
                Chunk::ShutdownComplete(ShutdownComplete { tag_reflected: true }),
            ],
        ),
    ]
}

/// Lists that together hold every type of parameter and error cause.
fn lists() -> [(&'static str, Bytes); 5] {
    [
        ("init", init_parameters().as_bytes().clone()),
        ("init_ack", init_ack_parameters().as_bytes().clone()),
        ("asconf", asconf_parameters().as_bytes().clone()),
        ("re_config", re_config_parameters().as_bytes().clone()),
        ("causes", causes().as_bytes().clone()),
    ]
}

fn bytes(length: u8) -> Bytes {
    (0..length).collect()
}

fn ipv4() -> IpAddr {
    IpAddr::from([192, 0, 2, 1])
}

fn ipv6() -> IpAddr {
    IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1])
}

fn init(parameters: Parameters) -> Init {
    Init {
        initiate_tag: VerificationTag(0x0506_0708),
        a_rwnd: 131_072,
        outbound_streams: 10,
        inbound_streams: 2048,
        initial_tsn: Tsn::new(1),
        parameters,
    }
}

fn init_parameters() -> Parameters {
    [
        Parameter::from_ip(ipv4()),
        Parameter::from_ip(ipv6()),
        Parameter::CookiePreservative { increment_ms: 1000 },
        Parameter::HostName(Bytes::from_static(b"host.example\0")),
        Parameter::SupportedAddressTypes([5, 6].into_iter().collect()),
        Parameter::EcnCapable,
        Parameter::ZeroChecksumAcceptable { method: 1 },
        Parameter::Random(bytes(32)),
        Parameter::ChunkList(Bytes::from_static(&[0xc1, 0x80])),
        Parameter::HmacAlgorithms([3, 1].into_iter().collect()),
        Parameter::Padding(bytes(3)),
        Parameter::SupportedExtensions(Bytes::from_static(&[0xc0, 0xc1, 0x80, 0x82, 0x0f])),
        Parameter::ForwardTsnSupported,
        Parameter::AdaptationLayer { indication: 7 },
    ]
    .into_iter()
    .collect()
}

fn init_ack_parameters() -> Parameters {
    let unrecognized = Bytes::from_static(&[0xff, 0xfe, 0, 5, 1]);
    [
        Parameter::from_ip(ipv6()),
        Parameter::StateCookie(bytes(60)),
        Parameter::UnrecognizedParameter(unrecognized),
        Parameter::HeartbeatInfo(bytes(3)),
    ]
    .into_iter()
    .collect()
}

fn asconf_parameters() -> Parameters {
    [
        Parameter::AddIp { correlation: 1, address: ipv4() },
        Parameter::DeleteIp { correlation: 2, address: ipv6() },
        Parameter::SetPrimary { correlation: 3, address: ipv4() },
        Parameter::SuccessIndication { correlation: 4 },
        Parameter::ErrorCauseIndication { correlation: 5, causes: causes() },
    ]
    .into_iter()
    .collect()
}

fn re_config_parameters() -> Parameters {
    let streams = || [StreamId(1), StreamId(2), StreamId(3)].into_iter().collect();
    let next = Some(NextTsns { sender: Tsn::new(8), receiver: Tsn::new(9) });
    let response = |result, next| Parameter::ReConfigResponse { response: 1, result, next };
    [
        Parameter::OutgoingSsnReset {
            request: 1,
            response: 2,
            last_tsn: Tsn::new(3),
            streams: streams(),
        },
        Parameter::IncomingSsnReset { request: 4, streams: streams() },
        Parameter::SsnTsnReset { request: 5 },
        response(ReConfigResult::DENIED, None),
        response(ReConfigResult::PERFORMED, next),
        Parameter::AddOutgoingStreams { request: 6, count: 7 },
        Parameter::AddIncomingStreams { request: 8, count: 9 },
    ]
    .into_iter()
    .collect()
}

fn causes() -> usctp_chunk::Causes {
    let missing = [ParameterType::STATE_COOKIE, ParameterType::RANDOM, ParameterType::CHUNK_LIST];
    let addresses = [Parameter::from_ip(ipv4()), Parameter::from_ip(ipv6())];
    [
        Cause::InvalidStreamIdentifier { stream: StreamId(9) },
        Cause::MissingMandatoryParameter(missing.into_iter().collect()),
        Cause::StaleCookie { staleness_us: 5 },
        Cause::OutOfResource,
        Cause::UnresolvableAddress(bytes(8)),
        Cause::UnrecognizedChunkType(bytes(9)),
        Cause::InvalidMandatoryParameter,
        Cause::UnrecognizedParameters(bytes(10)),
        Cause::NoUserData { tsn: Tsn::new(1) },
        Cause::CookieReceivedWhileShuttingDown,
        Cause::RestartWithNewAddresses(addresses.into_iter().collect()),
        Cause::UserInitiatedAbort(Bytes::from_static(b"bye")),
        Cause::ProtocolViolation(Bytes::new()),
        Cause::DeleteLastRemainingIp(bytes(16)),
        Cause::ResourceShortage(bytes(16)),
        Cause::DeleteSourceIp(bytes(16)),
        Cause::IllegalAsconfAck,
        Cause::NoAuthorization(bytes(16)),
        Cause::UnsupportedHmacIdentifier { hmac_id: 2 },
    ]
    .into_iter()
    .collect()
}

fn abort() -> Abort {
    Abort { tag_reflected: true, causes: [Cause::OutOfResource].into_iter().collect() }
}

fn ssn(number: u16) -> Sequence {
    Sequence::Ssn(Ssn::new(number))
}

fn interleaved(fragment: u32) -> Sequence {
    Sequence::Interleaved { mid: Mid::new(1), fsn: Fsn::new(fragment) }
}

/// A fragment; the first of its message if it has no number.
fn data(sequence: Sequence) -> Chunk {
    let beginning = matches!(sequence, Sequence::Ssn(_)) || sequence == interleaved(0);
    Chunk::Data(Data {
        tsn: Tsn::new(0x7fff_ffff),
        stream: StreamId(1),
        sequence,
        ppid: Ppid(if beginning { 46 } else { 0 }),
        flags: DataFlags { beginning, ending: true, ..DataFlags::default() },
        payload: bytes(7),
    })
}

fn sack() -> Sack {
    let gaps = [GapBlock { start: 2, end: 3 }, GapBlock { start: 5, end: 9 }];
    Sack {
        cumulative_tsn: Tsn::new(1),
        a_rwnd: 100_000,
        gaps: gaps.into_iter().collect(),
        duplicates: [Tsn::new(1)].into_iter().collect(),
    }
}

fn forward_tsn() -> Chunk {
    let streams = [(StreamId(1), Ssn::new(2)), (StreamId(3), Ssn::new(4))];
    let streams = streams.into_iter().collect();
    Chunk::ForwardTsn(ForwardTsn { new_cumulative_tsn: Tsn::new(9), streams })
}

fn i_forward_tsn() -> Chunk {
    let streams = [(StreamId(1), false, Mid::new(2)), (StreamId(3), true, Mid::new(4))];
    let streams = streams.into_iter().collect();
    Chunk::IForwardTsn(IForwardTsn { new_cumulative_tsn: Tsn::new(9), streams })
}

fn auth() -> Chunk {
    Chunk::Auth(Auth { key_id: 1, hmac_id: 3, hmac: bytes(32) })
}

fn asconf() -> Chunk {
    Chunk::Asconf(Asconf { serial: 1, address: ipv6(), parameters: asconf_parameters() })
}

fn asconf_ack() -> Chunk {
    Chunk::AsconfAck(AsconfAck { serial: 1, parameters: asconf_parameters() })
}

fn re_config() -> Chunk {
    Chunk::ReConfig(re_config_parameters())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use usctp_chunk::{CauseCode, Causes, Packet};

    use super::*;

    #[test]
    fn the_files_are_what_the_encoder_makes() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
        for (target, name, bytes) in all() {
            let file = folder.join(target).join(name);
            let committed = std::fs::read(&file).unwrap_or_default();
            assert_eq!(committed, bytes, "{}; see examples/write_seeds.rs", file.display());
        }
    }

    #[test]
    fn seeds_survive_what_the_targets_do() {
        for (_, _, bytes) in all() {
            crate::codec::packet(&bytes);
            crate::codec::parameters(&bytes);
        }
    }

    #[test]
    fn seeds_hold_every_chunk_parameter_and_cause() {
        let chunks: BTreeSet<u8> = all()
            .into_iter()
            .filter(|(target, ..)| *target == "packet")
            .flat_map(|(_, _, bytes)| {
                let packet = Packet::parse(&bytes).unwrap();
                packet.chunks().map(|raw| raw.unwrap().kind.0).collect::<Vec<_>>()
            })
            .collect();
        assert!((0..=u8::MAX).all(|n| ChunkType(n).name().is_none() || chunks.contains(&n)));
        let lists = [init_parameters(), init_ack_parameters(), asconf_parameters()];
        let parameters: BTreeSet<u16> = lists
            .iter()
            .chain([&re_config_parameters()])
            .flat_map(|list| list.raw_iter())
            .map(|raw| raw.unwrap().kind.0)
            .collect();
        let known = |n: &u16| ParameterType(*n).name().is_some();
        assert!((0..=u16::MAX).filter(known).all(|n| parameters.contains(&n)));
        let causes: BTreeSet<u16> =
            Causes::raw_iter(&causes()).map(|raw| raw.unwrap().kind.0).collect();
        let known = |n: &u16| CauseCode(*n).name().is_some();
        assert!((0..=u16::MAX).filter(known).all(|n| causes.contains(&n)));
    }
}
