//! What each error cause says.

use bytes::Bytes;
use usctp_chunk::{Cause, Causes, Packet, RawCause};

use super::chunks::{as_packet, chunk_item, first_chunk};
use super::parameters::quoted;
use super::{DEPTH_MAX, Fields, Item, Kind, Value};

/// A list of error causes, as far as it can be walked.
pub(super) fn causes(list: &Causes, depth: u8) -> Value {
    let items = list.raw_iter().map(|raw| match raw {
        Ok(raw) => cause_item(&raw, depth),
        Err(error) => Item::unreadable(Kind::Cause, error),
    });
    Value::Items(items.collect())
}

fn cause_item(raw: &RawCause<'_>, depth: u8) -> Item {
    let item = Item::new(Kind::Cause, raw.kind.0, raw.kind.name(), raw.bytes().len());
    item.told(raw.decode().map(|cause| fields(cause, depth)))
}

fn fields(cause: Cause, depth: u8) -> Fields {
    match cause {
        Cause::InvalidStreamIdentifier { stream } => vec![("stream_identifier", stream.0.into())],
        Cause::MissingMandatoryParameter(types) => {
            vec![("missing_parameter_types", types.iter().map(|kind| kind.0).collect())]
        }
        Cause::StaleCookie { staleness_us } => {
            vec![("measure_of_staleness_us", staleness_us.into())]
        }
        Cause::UnresolvableAddress(bytes) | Cause::UnrecognizedParameters(bytes) => {
            quoted(bytes, depth)
        }
        Cause::RestartWithNewAddresses(list) => quoted(list.as_bytes().clone(), depth),
        Cause::UnrecognizedChunkType(bytes) => quoted_chunk(bytes, depth),
        Cause::NoUserData { tsn } => vec![("tsn", tsn.value().into())],
        Cause::UserInitiatedAbort(reason) => vec![("upper_layer_abort_reason", reason.into())],
        Cause::ProtocolViolation(information) => {
            vec![("additional_information", information.into())]
        }
        Cause::DeleteLastRemainingIp(bytes)
        | Cause::ResourceShortage(bytes)
        | Cause::DeleteSourceIp(bytes)
        | Cause::NoAuthorization(bytes) => quoted(bytes, depth),
        Cause::UnsupportedHmacIdentifier { hmac_id } => vec![("hmac_identifier", hmac_id.into())],
        Cause::OutOfResource
        | Cause::InvalidMandatoryParameter
        | Cause::CookieReceivedWhileShuttingDown
        | Cause::IllegalAsconfAck => Vec::new(),
        Cause::Unknown { value, .. } => vec![("value", value.into())],
    }
}

/// A whole chunk quoted in a cause; as bytes if it is none, be it that it was cut to fit.
fn quoted_chunk(bytes: Bytes, depth: u8) -> Fields {
    if depth < DEPTH_MAX
        && let packet = as_packet(&bytes)
        && let Ok(packet) = Packet::parse(&packet)
        && let Ok(raw) = first_chunk(&packet)
        && let chunk = chunk_item(&raw, depth + 1)
        && chunk.error.is_none()
    {
        return vec![("chunks", Value::Items(vec![chunk]))];
    }
    vec![("value", bytes.into())]
}
