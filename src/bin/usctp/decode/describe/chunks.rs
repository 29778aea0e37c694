//! What each chunk says.

use bytes::{Bytes, BytesMut};
use usctp_chunk::{
    Abort, Asconf, AsconfAck, Auth, Chunk, ChunkType, Data, DecodeError, ForwardTsn, IForwardTsn,
    Init, Packet, RawChunk, Sack, Sequence, Tsn,
};

use super::causes::causes;
use super::parameters::parameters;
use super::{Fields, Item, Kind, Value};

/// The chunks of a packet, and what is wrong with their lengths.
///
/// The last chunk is shown as far as it goes; if the packet is not whole (`cut`), that is nothing wrong.
pub(super) fn of_packet(packet: &Packet, cut: bool) -> (Vec<Item>, Option<String>) {
    let mut items = Vec::new();
    let mut read = COMMON_HEADER;
    for raw in packet.chunks() {
        match raw {
            Ok(raw) => {
                read += raw.bytes().len().next_multiple_of(4);
                items.push(chunk_item(&raw, 0));
            }
            Err(error) => {
                let rest = packet.bytes().slice(read.min(packet.bytes().len())..);
                let error = (!cut).then(|| error.to_string());
                items.extend(cut_chunk(&rest, error.clone()));
                return (items, error);
            }
        }
    }
    (items, None)
}

/// RFC 9260, section 3.1.
const COMMON_HEADER: usize = 12;
/// RFC 9260, section 3.2.
const CHUNK_HEADER: usize = 4;

/// A chunk with all it says.
pub(super) fn chunk_item(raw: &RawChunk<'_>, depth: u8) -> Item {
    let mut item = Item::new(
        Kind::Chunk,
        raw.kind.0.into(),
        raw.kind.name(),
        raw.value().len() + CHUNK_HEADER,
    );
    item.flags = Some(raw.flags);
    item.told(raw.decode().map(|chunk| fields(chunk, depth)))
}

/// A chunk of which only the beginning is here: its header, of DATA all but the end of the user data, and of INIT the tag, by
/// which an ICMP message that quotes it is known to be true (RFC 9260, section 10, ICMP6).
fn cut_chunk(rest: &Bytes, error: Option<String>) -> Option<Item> {
    let &[kind, flags, high, low] = rest.first_chunk::<CHUNK_HEADER>()?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let kind = ChunkType(kind);
    let mut item = Item::new(Kind::Chunk, kind.0.into(), kind.name(), length);
    item.flags = Some(flags);
    // The payload of DATA is the only value that its beginning alone makes sense of.
    if matches!(kind, ChunkType::DATA | ChunkType::I_DATA)
        && let Ok(chunk) = shortened(rest)
    {
        item.fields = fields(chunk, 0);
    }
    if matches!(kind, ChunkType::INIT | ChunkType::INIT_ACK)
        && let Some(&[_, _, _, _, tag @ ..]) = rest.first_chunk::<8>()
    {
        item.fields.push(("initiate_tag", Value::Tag(u32::from_be_bytes(tag))));
    }
    item.fields.push(("captured_length", rest.len().into()));
    item.error = error;
    Some(item)
}

/// Decodes what is left of a chunk as if it had been that short.
fn shortened(rest: &Bytes) -> Result<Chunk, DecodeError> {
    let mut bytes = BytesMut::from(&rest[..]);
    let length = u16::try_from(rest.len()).unwrap_or(u16::MAX).to_be_bytes();
    if let Some(field) = bytes.get_mut(2..4) {
        field.copy_from_slice(&length);
    }
    first_chunk(&Packet::parse(&as_packet(&bytes))?)?.decode()
}

/// The bytes of a packet of these chunks.
pub(super) fn as_packet(chunks: &[u8]) -> Bytes {
    let mut packet = BytesMut::zeroed(COMMON_HEADER);
    packet.extend_from_slice(chunks);
    packet.freeze()
}

/// The first chunk of a packet.
pub(super) fn first_chunk<'a>(packet: &Packet<'a>) -> Result<RawChunk<'a>, DecodeError> {
    packet.chunks().next().unwrap_or(Err(DecodeError::Truncated))
}

fn fields(chunk: Chunk, depth: u8) -> Fields {
    match chunk {
        Chunk::Data(data) => data_fields(data),
        Chunk::Init(init) | Chunk::InitAck(init) => init_fields(init, depth),
        Chunk::Sack(sack) => sack_fields(&sack),
        Chunk::Heartbeat(heartbeat) | Chunk::HeartbeatAck(heartbeat) => {
            vec![("heartbeat_information", heartbeat.info.into())]
        }
        Chunk::Abort(Abort { tag_reflected, causes: list }) => {
            vec![("tag_reflected", tag_reflected.into()), ("error_causes", causes(&list, depth))]
        }
        Chunk::Shutdown(shutdown) => {
            vec![("cumulative_tsn_ack", shutdown.cumulative_tsn.value().into())]
        }
        Chunk::Error(list) => vec![("error_causes", causes(&list, depth))],
        Chunk::CookieEcho(cookie) => vec![("cookie", cookie.into())],
        Chunk::Ecne(lowest) | Chunk::Cwr(lowest) => vec![("lowest_tsn", lowest.value().into())],
        Chunk::ShutdownComplete(complete) => {
            vec![("tag_reflected", complete.tag_reflected.into())]
        }
        Chunk::ShutdownAck | Chunk::CookieAck => Vec::new(),
        Chunk::Auth(auth) => auth_fields(auth),
        Chunk::Asconf(asconf) => asconf_fields(&asconf, depth),
        Chunk::AsconfAck(AsconfAck { serial, parameters: list }) => {
            vec![("serial_number", serial.into()), ("parameters", parameters(&list, depth))]
        }
        Chunk::ReConfig(list) => vec![("parameters", parameters(&list, depth))],
        Chunk::Pad(padding) => vec![("padding_length", padding.len().into())],
        Chunk::ForwardTsn(forward) => forward_tsn_fields(&forward),
        Chunk::IForwardTsn(forward) => i_forward_tsn_fields(&forward),
        Chunk::Unknown(unknown) => vec![("value", unknown.value.into())],
    }
}

fn data_fields(data: Data) -> Fields {
    let mut fields =
        vec![("tsn", data.tsn.value().into()), ("stream_identifier", data.stream.0.into())];
    match data.sequence {
        Sequence::Ssn(ssn) => fields.push(("stream_sequence_number", ssn.value().into())),
        Sequence::Interleaved { mid, fsn } => {
            fields.push(("message_identifier", mid.value().into()));
            // RFC 8260, 2.1: one field, which says the one or the other.
            if !data.flags.beginning {
                fields.push(("fragment_sequence_number", fsn.value().into()));
            }
        }
    }
    if matches!(data.sequence, Sequence::Ssn(_)) || data.flags.beginning {
        fields.push(("payload_protocol_identifier", data.ppid.0.into()));
    }
    fields.extend([
        ("immediate", data.flags.immediate.into()),
        ("unordered", data.flags.unordered.into()),
        ("beginning", data.flags.beginning.into()),
        ("ending", data.flags.ending.into()),
        ("user_data_length", data.payload.len().into()),
        ("user_data", data.payload.into()),
    ]);
    fields
}

fn init_fields(init: Init, depth: u8) -> Fields {
    vec![
        ("initiate_tag", Value::Tag(init.initiate_tag.0)),
        ("a_rwnd", init.a_rwnd.into()),
        ("outbound_streams", init.outbound_streams.into()),
        ("inbound_streams", init.inbound_streams.into()),
        ("initial_tsn", init.initial_tsn.value().into()),
        ("parameters", parameters(&init.parameters, depth)),
    ]
}

fn sack_fields(sack: &Sack) -> Fields {
    let gaps = sack
        .gaps
        .iter()
        .map(|gap| Value::Record(vec![("start", gap.start.into()), ("end", gap.end.into())]));
    vec![
        ("cumulative_tsn_ack", sack.cumulative_tsn.value().into()),
        ("a_rwnd", sack.a_rwnd.into()),
        ("gap_ack_blocks", Value::List(gaps.collect())),
        ("duplicate_tsns", sack.duplicates.iter().map(Tsn::value).collect()),
    ]
}

fn auth_fields(auth: Auth) -> Fields {
    vec![
        ("shared_key_identifier", auth.key_id.into()),
        ("hmac_identifier", auth.hmac_id.into()),
        ("hmac", auth.hmac.into()),
    ]
}

fn asconf_fields(asconf: &Asconf, depth: u8) -> Fields {
    vec![
        ("serial_number", asconf.serial.into()),
        ("address", asconf.address.into()),
        ("parameters", parameters(&asconf.parameters, depth)),
    ]
}

fn forward_tsn_fields(forward: &ForwardTsn) -> Fields {
    let streams = forward.streams.iter().map(|(stream, ssn)| {
        Value::Record(vec![
            ("stream_identifier", stream.0.into()),
            ("stream_sequence_number", ssn.value().into()),
        ])
    });
    vec![
        ("new_cumulative_tsn", forward.new_cumulative_tsn.value().into()),
        ("streams", Value::List(streams.collect())),
    ]
}

fn i_forward_tsn_fields(forward: &IForwardTsn) -> Fields {
    let streams = forward.streams.iter().map(|(stream, unordered, mid)| {
        Value::Record(vec![
            ("stream_identifier", stream.0.into()),
            ("unordered", unordered.into()),
            ("message_identifier", mid.value().into()),
        ])
    });
    vec![
        ("new_cumulative_tsn", forward.new_cumulative_tsn.value().into()),
        ("streams", Value::List(streams.collect())),
    ]
}
