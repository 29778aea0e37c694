//! A packet as text: one line for the packet, indented lines for its chunks, parameters and causes.

use std::fmt::{self, Display};
use std::io::{self, Write};
use std::net::IpAddr;

use super::describe::{Description, Item, Kind, Value};
use super::layers::{Hop, Icmp};
use crate::output::Styles;

/// Writes one packet.
pub(crate) fn write(out: &mut impl Write, packet: &Description, styles: &Styles) -> io::Result<()> {
    let Styles { strong, faint, bad, .. } = styles;
    write!(out, "{faint}{:>5}{faint:#}", packet.frame)?;
    if let Some(at_ms) = packet.at_ms {
        write!(out, " {faint}{:>11.6}{faint:#}", at_ms / 1e3)?;
    }
    let source = Host(packet.src, packet.src_port);
    let destination = Host(packet.dst, packet.dst_port);
    write!(out, "  {strong}{source} > {destination}{strong:#}")?;
    if let (Some(from), Some(to)) = (packet.way.udp_src_port, packet.way.udp_dst_port) {
        write!(out, "  udp {from} > {to}")?;
    }
    for hop in &packet.way.encapsulation {
        write!(out, "  in {}", Tunnel(hop))?;
    }
    if let Some(Value::Tag(tag)) = packet.vtag {
        write!(out, "  vtag 0x{tag:08x}")?;
    }
    let style = match packet.checksum {
        "ok" => styles.good,
        "bad" => styles.bad,
        _ => styles.faint,
    };
    write!(out, "  {style}checksum {}{style:#}", packet.checksum)?;
    if !packet.way.fragments.is_empty() {
        write!(out, "  {faint}from {} IP fragments{faint:#}", packet.way.fragments.len())?;
    }
    writeln!(out)?;
    if let Some(icmp) = &packet.way.icmp {
        writeln!(out, "{:width$}{bad}{}{bad:#}", "", Quoted(icmp), width = INDENT * 2)?;
    }
    for chunk in &packet.chunks {
        write_item(out, chunk, INDENT * 2, styles)?;
    }
    // What is wrong in a chunk stands at the chunk.
    match &packet.error {
        Some(error) if packet.chunks.iter().all(|chunk| chunk.error.is_none()) => {
            writeln!(out, "{:width$}{bad}{error}{bad:#}", "", width = INDENT * 2)
        }
        _ => Ok(()),
    }
}

const INDENT: usize = 4;

/// An address with a port, as far as both are known.
struct Host(Option<IpAddr>, Option<u16>);

impl Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self(None, None) => f.write_str("?"),
            Self(None, Some(port)) => write!(f, "port {port}"),
            Self(Some(address), None) => address.fmt(f),
            Self(Some(IpAddr::V4(address)), Some(port)) => write!(f, "{address}:{port}"),
            Self(Some(IpAddr::V6(address)), Some(port)) => write!(f, "[{address}]:{port}"),
        }
    }
}

/// A tunnel, with the addresses of its ends or what it is told from others by.
struct Tunnel<'a>(&'a Hop);

impl Display for Tunnel<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Hop { name, src, dst, id } = self.0;
        f.write_str(name)?;
        if let (Some(src), Some(dst)) = (src, dst) {
            write!(f, " {src} > {dst}")?;
        }
        match id {
            Some(id) => write!(f, " {id}"),
            None => Ok(()),
        }
    }
}

/// The message that a packet is quoted by.
struct Quoted<'a>(&'a Icmp);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Icmp { protocol, src, dst, kind, code, name, mtu } = self.0;
        write!(f, "quoted by {protocol}")?;
        if let (Some(src), Some(dst)) = (src, dst) {
            write!(f, " {src} > {dst}")?;
        }
        match name {
            Some(name) => write!(f, ": {name}")?,
            None => write!(f, ": type {kind}, code {code}")?,
        }
        match mtu {
            Some(mtu) => write!(f, ", MTU {mtu}"),
            None => Ok(()),
        }
    }
}

fn write_item(out: &mut impl Write, item: &Item, indent: usize, styles: &Styles) -> io::Result<()> {
    let Styles { strong, bad, .. } = styles;
    write!(out, "{:indent$}", "")?;
    let strong = if item.kind == Kind::Chunk { *strong } else { Default::default() };
    write!(out, "{strong}{}{strong:#}", Name(item))?;
    let mut separator = "  ";
    for text in fields(item) {
        write!(out, "{separator}{text}")?;
        separator = ", ";
    }
    let inside = item.fields.iter().filter_map(|(_, value)| match value {
        Value::Items(items) => Some(items),
        _ => None,
    });
    let inside: Vec<&Item> = inside.flatten().collect();
    if let Some(error) = &item.error
        && inside.iter().all(|item| item.error.is_none())
    {
        write!(out, "  {bad}{error}{bad:#}")?;
    }
    writeln!(out)?;
    inside.into_iter().try_for_each(|item| write_item(out, item, indent + INDENT, styles))
}

/// What the RFC calls an item, or its number where the RFCs know no name.
struct Name<'a>(&'a Item);

impl Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.name, self.0.kind, self.0.code) {
            (Some(name), ..) => f.write_str(name),
            (None, Kind::Chunk, Some(code)) => write!(f, "chunk of type {code}"),
            (None, Kind::Parameter, Some(code)) => write!(f, "parameter of type 0x{code:04x}"),
            (None, Kind::Cause, Some(code)) => write!(f, "error cause {code}"),
            (None, Kind::Chunk, None) => f.write_str("chunk"),
            (None, Kind::Parameter, None) => f.write_str("parameter"),
            (None, Kind::Cause, None) => f.write_str("error cause"),
        }
    }
}

/// The fields of an item as they stand on its line; the bits of DATA as the letters that the RFC gives them.
fn fields(item: &Item) -> Vec<String> {
    let mut bits = String::new();
    let mut texts = Vec::new();
    for (name, value) in &item.fields {
        match (*name, value) {
            ("immediate", Value::Flag(true)) => bits.push('I'),
            ("unordered", Value::Flag(true)) => bits.push('U'),
            ("beginning", Value::Flag(true)) => bits.push('B'),
            ("ending", Value::Flag(true)) => bits.push('E'),
            // The bytes say how many they are.
            ("user_data_length", _) => {
                if !bits.is_empty() {
                    texts.push(std::mem::take(&mut bits));
                }
            }
            (name, value) => texts.extend(field(name, value)),
        }
    }
    texts
}

/// A field with its name; `None` where the line reads better without it.
fn field(name: &str, value: &Value) -> Option<String> {
    let name = match name {
        "a_rwnd" => name.to_owned(),
        "stream_identifier" => "stream".to_owned(),
        "stream_sequence_number" => "ssn".to_owned(),
        "payload_protocol_identifier" => "ppid".to_owned(),
        "message_identifier" => "mid".to_owned(),
        "fragment_sequence_number" => "fsn".to_owned(),
        name => name.replace('_', " "),
    };
    match value {
        Value::Flag(true) => Some(name),
        Value::Flag(false) | Value::Items(_) => None,
        Value::List(values) if values.is_empty() => None,
        // The name of the parameter says it.
        Value::Address(address) => Some(address.to_string()),
        value => Some(format!("{name} {}", Plain(value))),
    }
}

/// A value on one line.
struct Plain<'a>(&'a Value);

impl Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Number(number) => number.fmt(f),
            Value::Tag(tag) => write!(f, "0x{tag:08x}"),
            Value::Flag(flag) => flag.fmt(f),
            Value::Address(address) => address.fmt(f),
            Value::Bytes(bytes) => write_bytes(f, bytes),
            Value::List(values) => {
                f.write_str("[")?;
                for (index, value) in values.iter().enumerate() {
                    let separator = if index == 0 { "" } else { ", " };
                    write!(f, "{separator}{}", Plain(value))?;
                }
                f.write_str("]")
            }
            Value::Record(fields) => match fields.as_slice() {
                [("start", start), ("end", end)] => write!(f, "{}-{}", Plain(start), Plain(end)),
                fields => {
                    let fields = fields.iter().filter_map(|(name, value)| field(name, value));
                    f.write_str(&fields.collect::<Vec<_>>().join(" "))
                }
            },
            Value::Items(items) => items.len().fmt(f),
        }
    }
}

/// How many bytes of a value a line shows.
const SHOWN: usize = 32;

/// Text in quotes where the bytes are text, and hexadecimal digits where not; never a byte that a terminal obeys.
fn write_bytes(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    let shown = bytes.get(..SHOWN).unwrap_or(bytes);
    let mut rest = "";
    if shown.len() < bytes.len() {
        write!(f, "{} bytes ", bytes.len())?;
        rest = "…";
    }
    let is_text = |byte: &u8| matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t');
    if shown.is_empty() {
        f.write_str("\"\"")
    } else if shown.iter().all(is_text) {
        write!(f, "\"{}\"{rest}", shown.escape_ascii())
    } else {
        shown.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(rest)
    }
}
