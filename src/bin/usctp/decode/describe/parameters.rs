//! What each parameter says.

use bytes::Bytes;
use usctp_chunk::{Parameter, Parameters, RawParameter};

use super::causes::causes;
use super::{DEPTH_MAX, Fields, Item, Kind, Value};

/// A list of parameters, as far as it can be walked.
pub(super) fn parameters(list: &Parameters, depth: u8) -> Value {
    Value::Items(items(list, depth))
}

/// Whole parameters quoted in something else; as bytes if they are none, which is no fault of the one who quotes.
pub(super) fn quoted(bytes: Bytes, depth: u8) -> Fields {
    if depth < DEPTH_MAX
        && let items = items(&Parameters::from_bytes(bytes.clone()), depth + 1)
        && items.iter().all(|item| item.error.is_none())
    {
        return vec![("parameters", Value::Items(items))];
    }
    vec![("value", bytes.into())]
}

fn items(list: &Parameters, depth: u8) -> Vec<Item> {
    let items = list.raw_iter().map(|raw| match raw {
        Ok(raw) => parameter_item(&raw, depth),
        Err(error) => Item::unreadable(Kind::Parameter, error),
    });
    items.collect()
}

fn parameter_item(raw: &RawParameter<'_>, depth: u8) -> Item {
    let item = Item::new(Kind::Parameter, raw.kind.0, raw.kind.name(), raw.bytes().len());
    item.told(raw.decode().map(|parameter| fields(parameter, depth)))
}

fn fields(parameter: Parameter, depth: u8) -> Fields {
    match parameter {
        Parameter::Ipv4Address(address) => vec![("address", Value::Address(address.into()))],
        Parameter::Ipv6Address(address) => vec![("address", Value::Address(address.into()))],
        Parameter::HeartbeatInfo(info) => vec![("heartbeat_information", info.into())],
        Parameter::StateCookie(cookie) => vec![("cookie", cookie.into())],
        Parameter::UnrecognizedParameter(bytes) => quoted(bytes, depth),
        Parameter::CookiePreservative { increment_ms } => {
            vec![("life_span_increment_ms", increment_ms.into())]
        }
        Parameter::HostName(name) => vec![("host_name", name.into())],
        Parameter::SupportedAddressTypes(types) => {
            vec![("address_types", types.iter().collect())]
        }
        Parameter::ZeroChecksumAcceptable { method } => {
            vec![("error_detection_method_identifier", method.into())]
        }
        Parameter::Random(random) => vec![("random_number", random.into())],
        Parameter::ChunkList(types) | Parameter::SupportedExtensions(types) => {
            vec![("chunk_types", types.iter().copied().collect())]
        }
        Parameter::HmacAlgorithms(identifiers) => {
            vec![("hmac_identifiers", identifiers.iter().collect())]
        }
        Parameter::Padding(padding) => vec![("padding_length", padding.len().into())],
        Parameter::AdaptationLayer { indication } => {
            vec![("adaptation_code_point", indication.into())]
        }
        Parameter::EcnCapable | Parameter::ForwardTsnSupported => Vec::new(),
        Parameter::Unknown { value, .. } => vec![("value", value.into())],
        parameter => request_fields(parameter, depth),
    }
}

/// The parameters of ASCONF and RE-CONFIG (RFC 5061, section 4.2; RFC 6525, section 4).
fn request_fields(parameter: Parameter, depth: u8) -> Fields {
    match parameter {
        Parameter::AddIp { correlation, address }
        | Parameter::DeleteIp { correlation, address }
        | Parameter::SetPrimary { correlation, address } => {
            vec![("correlation_id", correlation.into()), ("address", address.into())]
        }
        Parameter::ErrorCauseIndication { correlation, causes: list } => {
            vec![("correlation_id", correlation.into()), ("error_causes", causes(&list, depth))]
        }
        Parameter::SuccessIndication { correlation } => {
            vec![("correlation_id", correlation.into())]
        }
        Parameter::OutgoingSsnReset { request, response, last_tsn, streams } => vec![
            ("request_sequence_number", request.into()),
            ("response_sequence_number", response.into()),
            ("senders_last_assigned_tsn", last_tsn.value().into()),
            ("streams", streams.iter().map(|stream| stream.0).collect()),
        ],
        Parameter::IncomingSsnReset { request, streams } => vec![
            ("request_sequence_number", request.into()),
            ("streams", streams.iter().map(|stream| stream.0).collect()),
        ],
        Parameter::SsnTsnReset { request } => vec![("request_sequence_number", request.into())],
        Parameter::ReConfigResponse { response, result, next } => {
            let mut fields =
                vec![("response_sequence_number", response.into()), ("result", result.0.into())];
            if let Some(next) = next {
                fields.push(("senders_next_tsn", next.sender.value().into()));
                fields.push(("receivers_next_tsn", next.receiver.value().into()));
            }
            fields
        }
        Parameter::AddOutgoingStreams { request, count }
        | Parameter::AddIncomingStreams { request, count } => {
            vec![("request_sequence_number", request.into()), ("new_streams", count.into())]
        }
        // The other parameters are in `fields`.
        _ => Vec::new(),
    }
}
