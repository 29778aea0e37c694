//! What holds for any bytes that are taken for a packet, or for a list of parameters or error causes.

use bytes::{Bytes, BytesMut};
use usctp_chunk::{
    Abort, Asconf, AsconfAck, Cause, Causes, Chunk, ChunkType, Init, Packet, PacketBuilder,
    Parameter, Parameters, RawChunk,
};

/// How deep lists within lists are opened: deeper than any peer has reason to go.
const DEPTH: u8 = 3;

/// Bytes in the header of a chunk, parameter or error cause.
const HEADER: usize = 4;

/// Takes bytes for a packet: decodes and looks at everything, and encodes it again.
///
/// # Panics
/// If the codec breaks one of its promises.
pub fn packet(bytes: &[u8]) {
    let received = Bytes::copy_from_slice(bytes);
    let Ok(packet) = Packet::parse(&received) else {
        assert!(bytes.len() < 12);
        return;
    };
    let _ = packet.checksum();
    assert!(packet.chunks().count() <= bytes.len().div_ceil(HEADER));
    let mut understood = Vec::new();
    for raw in packet.chunks().flatten() {
        if let Ok(chunk) = raw.decode() {
            look_at(&chunk);
            encodes_to_what_it_was(&chunk, &raw);
            understood.push(chunk);
        }
    }
    let mut out = BytesMut::new();
    let mut builder = PacketBuilder::new(&mut out, packet.header, usize::MAX);
    let fit = understood.iter().take_while(|chunk| builder.push(chunk)).count();
    assert_eq!(builder.finish(), out.len());
    // What was ignored is left out, so it only ever gets shorter, the last padding apart.
    assert!(fit == understood.len() || bytes.len() > 65_532);
    let again = out.freeze();
    let again = Packet::parse(&again).expect("a packet that was built has a header");
    assert_eq!(again.header, packet.header);
    let again = again.chunks().map(|raw| raw.and_then(|raw| raw.decode()));
    assert!(again.eq(understood.into_iter().take(fit).map(Ok)));
}

/// Takes bytes for a list of parameters, and for a list of error causes.
///
/// # Panics
/// If the codec breaks one of its promises.
pub fn parameters(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    look_at_parameters(&Parameters::from_bytes(bytes.clone()), DEPTH);
    look_at_causes(&Causes::from_bytes(bytes), DEPTH);
}

fn look_at(chunk: &Chunk) {
    let _ = format!("{chunk:?}");
    match chunk {
        Chunk::Init(Init { parameters, .. })
        | Chunk::InitAck(Init { parameters, .. })
        | Chunk::Asconf(Asconf { parameters, .. })
        | Chunk::AsconfAck(AsconfAck { parameters, .. })
        | Chunk::ReConfig(parameters) => look_at_parameters(parameters, DEPTH),
        Chunk::Abort(Abort { causes, .. }) | Chunk::Error(causes) => look_at_causes(causes, DEPTH),
        Chunk::Sack(sack) => {
            assert_eq!(sack.gaps.iter().count(), sack.gaps.len());
            assert_eq!(sack.duplicates.iter().count(), sack.duplicates.len());
        }
        Chunk::ForwardTsn(forward) => {
            assert_eq!(forward.streams.iter().count(), forward.streams.len());
        }
        Chunk::IForwardTsn(forward) => {
            assert_eq!(forward.streams.iter().count(), forward.streams.len());
        }
        _ => {}
    }
}

/// Reserved bits, and what stands behind a fixed format, may get lost; nothing else.
fn encodes_to_what_it_was(chunk: &Chunk, raw: &RawChunk<'_>) {
    let mut out = BytesMut::new();
    chunk.encode(&mut out);
    assert_eq!(out.len(), chunk.encoded_len());
    assert_eq!(chunk.kind(), raw.kind);
    let again = [&[0; 12], &out[..]].concat().into();
    let again = the_one_chunk(&again);
    assert_eq!(again.flags & !raw.flags, 0);
    assert_eq!(again.decode().as_ref(), Ok(chunk));
    // An address within may be longer than it says, and I-DATA has reserved bytes before the last field.
    if !matches!(raw.kind, ChunkType::ASCONF | ChunkType::I_DATA) {
        assert!(with_zero_padding(chunk, raw).starts_with(again.value()));
    }
    if again.value() == raw.value() && again.flags == raw.flags {
        assert_eq!(again.bytes(), raw.bytes());
    }
}

/// The value of a chunk, where what pads a Heartbeat Info before other parameters is zero: decoding forgets it.
fn with_zero_padding(chunk: &Chunk, raw: &RawChunk<'_>) -> Vec<u8> {
    let mut value = raw.value().to_vec();
    if let Chunk::Heartbeat(heartbeat) | Chunk::HeartbeatAck(heartbeat) = chunk {
        let end = HEADER + heartbeat.info.len();
        value.iter_mut().take(end.next_multiple_of(4)).skip(end).for_each(|byte| *byte = 0);
    }
    value
}

/// The chunk that a packet is, with padding that must be zero.
fn the_one_chunk(packet: &Bytes) -> RawChunk<'_> {
    let mut chunks = Packet::parse(packet).expect("a header is there").chunks();
    let bytes = packet.slice(12..);
    let chunk = chunks.next().expect("one chunk").expect("one chunk that is whole");
    assert!(chunks.next().is_none());
    assert!(bytes.iter().skip(chunk.bytes().len()).all(|padding| *padding == 0));
    assert!(bytes.len() < chunk.bytes().len() + 4);
    chunk
}

fn look_at_parameters(parameters: &Parameters, depth: u8) {
    let _ = format!("{parameters:?}");
    assert!(parameters.raw_iter().count() <= parameters.as_bytes().len().div_ceil(HEADER));
    assert!(parameters.iter().count() <= parameters.raw_iter().count());
    for raw in parameters.raw_iter().flatten() {
        let Ok(parameter) = raw.decode() else { continue };
        assert_eq!(parameter.kind(), raw.kind);
        let again = Parameters::from_iter([parameter.clone()]);
        assert!(again.iter().eq([Ok(parameter.clone())]));
        let skips = matches!(
            parameter,
            Parameter::AddIp { .. }
                | Parameter::DeleteIp { .. }
                | Parameter::SetPrimary { .. }
                | Parameter::AddOutgoingStreams { .. }
                | Parameter::AddIncomingStreams { .. }
        );
        let value = again.as_bytes().slice(HEADER..);
        assert!(skips || raw.value().starts_with(&value));
        assert!(raw.bytes().len() >= again.as_bytes().len());
        if let (Parameter::ErrorCauseIndication { causes, .. }, 1..) = (&parameter, depth) {
            look_at_causes(causes, depth - 1);
        }
    }
}

fn look_at_causes(causes: &Causes, depth: u8) {
    let _ = format!("{causes:?}");
    assert!(causes.raw_iter().count() <= causes.as_bytes().len().div_ceil(HEADER));
    assert!(causes.iter().count() <= causes.raw_iter().count());
    for raw in causes.raw_iter().flatten() {
        let Ok(cause) = raw.decode() else { continue };
        assert_eq!(cause.code(), raw.kind);
        let again = Causes::from_iter([cause.clone()]);
        assert!(again.iter().eq([Ok(cause.clone())]));
        let skips = matches!(cause, Cause::InvalidStreamIdentifier { .. });
        let value = again.as_bytes().slice(HEADER..);
        assert!(skips || raw.value().starts_with(&value));
        assert!(raw.bytes().len() >= again.as_bytes().len());
        if let (Cause::RestartWithNewAddresses(addresses), 1..) = (&cause, depth) {
            look_at_parameters(addresses, depth - 1);
        }
    }
}
