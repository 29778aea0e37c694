//! A packet as names and values, which both the JSON and the text form are written from.

mod causes;
mod chunks;
mod parameters;

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes};
use serde::{Serialize, Serializer, ser::SerializeMap};
use usctp_chunk::{Checksum, Packet};

use super::layers::{Carried, Extent, Way};

/// One SCTP packet of a capture.
#[derive(Debug, Serialize)]
pub(crate) struct Description {
    /// Which frame of the file, from 1.
    pub(crate) frame: u64,
    /// Milliseconds since the file's first frame, where the file has times.
    pub(crate) at_ms: Option<f64>,
    /// `None` where the capture begins behind the IP header.
    pub(crate) src: Option<IpAddr>,
    pub(crate) dst: Option<IpAddr>,
    #[serde(flatten)]
    pub(crate) way: Way,
    /// `None` where the common header is not in this frame.
    pub(crate) src_port: Option<u16>,
    pub(crate) dst_port: Option<u16>,
    pub(crate) vtag: Option<Value>,
    pub(crate) checksum: &'static str,
    pub(crate) chunks: Vec<Item>,
    /// The first thing that could not be decoded.
    pub(crate) error: Option<String>,
}

/// A chunk, parameter or error cause.
#[derive(Debug)]
pub(crate) struct Item {
    /// What the field that tells the type is called.
    pub(crate) kind: Kind,
    /// The number of the type; `None` where not even that could be read.
    pub(crate) code: Option<u16>,
    /// The RFC's name of the type, if it has one.
    pub(crate) name: Option<&'static str>,
    /// The flags of a chunk.
    pub(crate) flags: Option<u8>,
    /// The length field: header and value, without padding.
    pub(crate) length: usize,
    /// What the value says.
    pub(crate) fields: Fields,
    /// Why the value could not be decoded.
    pub(crate) error: Option<String>,
}

/// What an [`Item`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Chunk,
    Parameter,
    Cause,
}

/// The value of a field.
#[derive(Debug)]
pub(crate) enum Value {
    Number(u64),
    /// A verification tag, in hexadecimal.
    Tag(u32),
    Flag(bool),
    Address(IpAddr),
    Bytes(Bytes),
    List(Vec<Value>),
    Record(Fields),
    Items(Vec<Item>),
}

/// What something says, in the RFC's order and words.
type Fields = Vec<(&'static str, Value)>;

/// What a frame carries, described.
pub(crate) fn describe(at_ms: Option<f64>, carried: Carried) -> Description {
    let Carried { origin, addresses, way, extent, problem, payload } = carried;
    let mut description = Description {
        frame: origin.frame,
        at_ms,
        src: addresses.map(|addresses| addresses.0),
        dst: addresses.map(|addresses| addresses.1),
        way,
        src_port: None,
        dst_port: None,
        vtag: None,
        checksum: match extent {
            Extent::Truncated => "truncated",
            Extent::FirstFragment | Extent::LaterFragment => "fragment",
            Extent::Whole => "bad",
        },
        chunks: Vec::new(),
        error: None,
    };
    if extent != Extent::LaterFragment {
        match Packet::parse(&payload) {
            Ok(packet) => packet_into(&mut description, &packet, extent),
            Err(error) => {
                start_into(&mut description, &payload);
                // RFC 792 quotes 8 bytes and no more: that they are few is nobody's fault.
                let is_fault = description.way.icmp.is_none() || extent == Extent::Whole;
                description.error = is_fault.then(|| error.to_string());
            }
        }
    }
    if let Some(problem) = problem {
        description.error = Some(problem.to_owned());
    }
    description
}

/// What the beginning of a common header says.
fn start_into(description: &mut Description, mut payload: &[u8]) {
    description.src_port = payload.try_get_u16().ok();
    description.dst_port = payload.try_get_u16().ok();
    description.vtag = payload.try_get_u32().ok().map(Value::Tag);
}

fn packet_into(description: &mut Description, packet: &Packet, extent: Extent) {
    description.src_port = Some(packet.header.source_port);
    description.dst_port = Some(packet.header.destination_port);
    description.vtag = Some(Value::Tag(packet.header.verification_tag.0));
    if extent == Extent::Whole {
        description.checksum = match packet.checksum() {
            Checksum::Valid => "ok",
            Checksum::Zero => "zero",
            Checksum::Bad => "bad",
        };
    }
    let (chunks, error) = chunks::of_packet(packet, extent != Extent::Whole);
    description.error = error.or_else(|| chunks.iter().find_map(|chunk| chunk.error.clone()));
    description.chunks = chunks;
}

/// How deep causes, parameters and chunks quoted in each other are taken apart; deeper ones are shown as bytes.
const DEPTH_MAX: u8 = 4;

impl Item {
    /// An item whose fields are still to be told.
    fn new(kind: Kind, code: u16, name: Option<&'static str>, length: usize) -> Self {
        Self { kind, code: Some(code), name, flags: None, length, fields: Vec::new(), error: None }
    }

    /// The same item with what its value says, or why it says nothing.
    fn told<E: ToString>(mut self, fields: Result<Fields, E>) -> Self {
        match fields {
            Ok(fields) => self.fields = fields,
            Err(error) => self.error = Some(error.to_string()),
        }
        // What is wrong inside is wrong outside.
        if self.error.is_none() {
            self.error = self.fields.iter().find_map(|(_, value)| match value {
                Value::Items(items) => items.iter().find_map(|item| item.error.clone()),
                _ => None,
            });
        }
        self
    }

    /// The place in a list from which on it could not be walked.
    fn unreadable(kind: Kind, error: impl ToString) -> Self {
        Self { code: None, error: Some(error.to_string()), ..Self::new(kind, 0, None, 0) }
    }
}

impl Serialize for Item {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let code = if self.kind == Kind::Cause { "code" } else { "type" };
        map.serialize_entry(code, &self.code)?;
        map.serialize_entry("name", &self.name)?;
        if let Some(flags) = self.flags {
            map.serialize_entry("flags", &flags)?;
        }
        map.serialize_entry("length", &self.length)?;
        for (name, value) in &self.fields {
            map.serialize_entry(name, value)?;
        }
        if let Some(error) = &self.error {
            map.serialize_entry("error", error)?;
        }
        map.end()
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => serializer.serialize_u64(*number),
            Self::Tag(tag) => serializer.collect_str(&format_args!("0x{tag:08x}")),
            Self::Flag(flag) => serializer.serialize_bool(*flag),
            Self::Address(address) => serializer.collect_str(address),
            Self::Bytes(bytes) => serializer.serialize_str(&STANDARD.encode(bytes)),
            Self::List(values) => serializer.collect_seq(values),
            Self::Record(fields) => serializer.collect_map(fields.iter().map(|(k, v)| (k, v))),
            Self::Items(items) => serializer.collect_seq(items),
        }
    }
}

macro_rules! number_from {
    ($($number:ty),*) => {$(
        impl From<$number> for Value {
            fn from(number: $number) -> Self {
                Self::Number(number.into())
            }
        }
    )*};
}

number_from!(u8, u16, u32);

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Number(number as u64)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<IpAddr> for Value {
    fn from(address: IpAddr) -> Self {
        Self::Address(address)
    }
}

impl From<Bytes> for Value {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl<V: Into<Value>> FromIterator<V> for Value {
    fn from_iter<I: IntoIterator<Item = V>>(values: I) -> Self {
        Self::List(values.into_iter().map(Into::into).collect())
    }
}
