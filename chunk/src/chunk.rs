//! Chunks: the one table of their types, and what to do about those that are not in it.

use bytes::{BufMut, Bytes, BytesMut};

use crate::cause::Causes;
use crate::error::DecodeError;
use crate::field::Field;
use crate::number::Tsn;
use crate::param::Parameters;
use crate::reader::Reader;
use crate::tlv::{self, Tlv};

mod abort;
mod asconf;
mod auth;
mod data;
mod forward_tsn;
mod heartbeat;
mod init;
mod reconfig;
mod sack;
mod shutdown;

pub use abort::Abort;
pub use asconf::{Asconf, AsconfAck};
pub use auth::Auth;
pub use data::{Data, DataFlags, DataHead, Sequence};
pub use forward_tsn::{ForwardTsn, IForwardTsn, SkippedMessages, SkippedStreams};
pub use heartbeat::Heartbeat;
pub use init::Init;
pub use reconfig::{NextTsns, ReConfigResult};
pub use sack::{Duplicates, GapBlock, GapBlocks, Sack};
pub use shutdown::{Shutdown, ShutdownComplete};

/// The T bit of ABORT and SHUTDOWN COMPLETE (RFC 9260, sections 3.3.7 and 3.3.13).
const TAG_REFLECTED: u8 = 1;

/// The type of a chunk (RFC 9260, section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkType(pub u8);

macro_rules! chunk_types {
    ($($constant:ident = $number:literal, $name:literal, $section:literal;)*) => {
        impl ChunkType {
            $(
                #[doc = concat!($name, " (", $section, ").")]
                pub const $constant: Self = Self($number);
            )*

            /// The name that the RFCs give to this type; `None` if none defines it.
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$constant => Some($name),)*
                    _ => None,
                }
            }
        }

        /// The name and the number: `HEARTBEAT (4)`, or `unknown (77)`.
        impl std::fmt::Display for ChunkType {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{} ({})", self.name().unwrap_or("unknown"), self.0)
            }
        }
    };
}

chunk_types! {
    DATA = 0, "DATA", "RFC 9260, section 3.3.1";
    INIT = 1, "INIT", "RFC 9260, section 3.3.2";
    INIT_ACK = 2, "INIT ACK", "RFC 9260, section 3.3.3";
    SACK = 3, "SACK", "RFC 9260, section 3.3.4";
    HEARTBEAT = 4, "HEARTBEAT", "RFC 9260, section 3.3.5";
    HEARTBEAT_ACK = 5, "HEARTBEAT ACK", "RFC 9260, section 3.3.6";
    ABORT = 6, "ABORT", "RFC 9260, section 3.3.7";
    SHUTDOWN = 7, "SHUTDOWN", "RFC 9260, section 3.3.8";
    SHUTDOWN_ACK = 8, "SHUTDOWN ACK", "RFC 9260, section 3.3.9";
    ERROR = 9, "ERROR", "RFC 9260, section 3.3.10";
    COOKIE_ECHO = 10, "COOKIE ECHO", "RFC 9260, section 3.3.11";
    COOKIE_ACK = 11, "COOKIE ACK", "RFC 9260, section 3.3.12";
    ECNE = 12, "ECNE", "reserved by RFC 9260, section 3.2";
    CWR = 13, "CWR", "reserved by RFC 9260, section 3.2";
    SHUTDOWN_COMPLETE = 14, "SHUTDOWN COMPLETE", "RFC 9260, section 3.3.13";
    AUTH = 15, "AUTH", "RFC 4895, section 4.1";
    I_DATA = 64, "I-DATA", "RFC 8260, section 2.1";
    ASCONF_ACK = 128, "ASCONF-ACK", "RFC 5061, section 4.1.2";
    RE_CONFIG = 130, "RE-CONFIG", "RFC 6525, section 3.1";
    PAD = 132, "PAD", "RFC 4820, section 3";
    FORWARD_TSN = 192, "FORWARD TSN", "RFC 3758, section 3.2";
    ASCONF = 193, "ASCONF", "RFC 5061, section 4.1.1";
    I_FORWARD_TSN = 194, "I-FORWARD-TSN", "RFC 8260, section 2.3.1";
}

impl ChunkType {
    /// What is to be done about a chunk of this type by one who does not recognize it (RFC 9260, section 3.2).
    pub const fn unrecognized(self) -> Unrecognized {
        Unrecognized::from_high_bits(self.0 >> 6)
    }
}

/// What the two highest bits of a chunk or parameter type ask of one who does not recognize the type
/// (RFC 9260, sections 3.2 and 3.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unrecognized {
    /// Go on with what follows; else process nothing that follows.
    pub skip: bool,
    /// Report it to the sender.
    pub report: bool,
}

impl Unrecognized {
    pub(crate) const fn from_high_bits(bits: u8) -> Self {
        Self { skip: bits & 0b10 != 0, report: bits & 0b01 != 0 }
    }
}

/// A chunk that was found in a packet, but not decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawChunk<'a> {
    /// What it claims to be.
    pub kind: ChunkType,
    /// Its flags.
    pub flags: u8,
    whole: Reader<'a>,
}

impl<'a> From<Tlv<'a>> for RawChunk<'a> {
    #[inline]
    fn from(tlv: Tlv<'a>) -> Self {
        let [kind, flags] = tlv.head;
        Self { kind: ChunkType(kind), flags, whole: tlv.whole }
    }
}

impl<'a> RawChunk<'a> {
    /// What follows its header.
    pub fn value(&self) -> &'a [u8] {
        tlv::value_of(self.whole).as_slice()
    }

    /// All of it without padding.
    pub fn bytes(&self) -> &'a [u8] {
        self.whole.as_slice()
    }

    /// All of it without padding, to be kept: the packet's buffer is shared.
    pub fn to_bytes(&self) -> Bytes {
        self.whole.to_bytes()
    }

    /// Decodes the value. Lists within are not walked yet.
    ///
    /// # Errors
    /// A [`DecodeError`] if the value does not have the format of its type. A type that is not known has none.
    #[inline]
    pub fn decode(&self) -> Result<Chunk, DecodeError> {
        let tag_reflected = self.flags & TAG_REFLECTED != 0;
        let from = &mut tlv::value_of(self.whole);
        Ok(match self.kind {
            ChunkType::DATA => Chunk::Data(Data::read(self.flags, from)?),
            ChunkType::INIT => Chunk::Init(Field::read(from)?),
            ChunkType::INIT_ACK => Chunk::InitAck(Field::read(from)?),
            ChunkType::SACK => Chunk::Sack(Field::read(from)?),
            ChunkType::HEARTBEAT => Chunk::Heartbeat(Field::read(from)?),
            ChunkType::HEARTBEAT_ACK => Chunk::HeartbeatAck(Field::read(from)?),
            ChunkType::ABORT => Chunk::Abort(Abort { tag_reflected, causes: Field::read(from)? }),
            ChunkType::SHUTDOWN => Chunk::Shutdown(Field::read(from)?),
            ChunkType::SHUTDOWN_ACK => Chunk::ShutdownAck,
            ChunkType::ERROR => Chunk::Error(Field::read(from)?),
            ChunkType::COOKIE_ECHO => Chunk::CookieEcho(Field::read(from)?),
            ChunkType::COOKIE_ACK => Chunk::CookieAck,
            ChunkType::ECNE => Chunk::Ecne(Field::read(from)?),
            ChunkType::CWR => Chunk::Cwr(Field::read(from)?),
            ChunkType::SHUTDOWN_COMPLETE => {
                Chunk::ShutdownComplete(ShutdownComplete { tag_reflected })
            }
            ChunkType::AUTH => Chunk::Auth(Field::read(from)?),
            ChunkType::I_DATA => Chunk::Data(Data::read_interleaved(self.flags, from)?),
            ChunkType::ASCONF_ACK => Chunk::AsconfAck(Field::read(from)?),
            ChunkType::RE_CONFIG => Chunk::ReConfig(Field::read(from)?),
            ChunkType::PAD => Chunk::Pad(Field::read(from)?),
            ChunkType::FORWARD_TSN => Chunk::ForwardTsn(Field::read(from)?),
            ChunkType::ASCONF => Chunk::Asconf(Field::read(from)?),
            ChunkType::I_FORWARD_TSN => Chunk::IForwardTsn(Field::read(from)?),
            kind => {
                Chunk::Unknown(UnknownChunk { kind, flags: self.flags, value: from.take_rest() })
            }
        })
    }
}

/// A chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chunk {
    /// DATA or I-DATA; [`Data::sequence`] says which.
    Data(Data),
    /// INIT.
    Init(Init),
    /// INIT ACK.
    InitAck(Init),
    /// SACK.
    Sack(Sack),
    /// HEARTBEAT.
    Heartbeat(Heartbeat),
    /// HEARTBEAT ACK.
    HeartbeatAck(Heartbeat),
    /// ABORT.
    Abort(Abort),
    /// SHUTDOWN.
    Shutdown(Shutdown),
    /// SHUTDOWN ACK.
    ShutdownAck,
    /// ERROR.
    Error(Causes),
    /// COOKIE ECHO with the cookie.
    CookieEcho(Bytes),
    /// COOKIE ACK.
    CookieAck,
    /// ECNE with the lowest TSN of the packet that was marked.
    Ecne(Tsn),
    /// CWR with the TSN of the ECNE that it answers.
    Cwr(Tsn),
    /// SHUTDOWN COMPLETE.
    ShutdownComplete(ShutdownComplete),
    /// AUTH.
    Auth(Auth),
    /// ASCONF.
    Asconf(Asconf),
    /// ASCONF-ACK.
    AsconfAck(AsconfAck),
    /// RE-CONFIG: one or two requests or responses.
    ReConfig(Parameters),
    /// PAD with bytes without a meaning.
    Pad(Bytes),
    /// FORWARD TSN.
    ForwardTsn(ForwardTsn),
    /// I-FORWARD-TSN.
    IForwardTsn(IForwardTsn),
    /// A chunk that no RFC known here defines.
    Unknown(UnknownChunk),
}

/// A chunk that no RFC known here defines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownChunk {
    /// Its type: none of the constants of [`ChunkType`].
    pub kind: ChunkType,
    /// Its flags.
    pub flags: u8,
    /// What follows its header.
    pub value: Bytes,
}

impl Chunk {
    /// Its type.
    pub fn kind(&self) -> ChunkType {
        self.parts().0
    }

    /// How many bytes [`encode`](Self::encode) appends: a multiple of 4.
    pub fn encoded_len(&self) -> usize {
        tlv::padded(tlv::length_with(self.parts().2.encoded_len()))
    }

    /// Appends the chunk with its padding. A value longer than 65,531 bytes is cut: no packet has room for it.
    pub fn encode(&self, out: &mut BytesMut) {
        let (kind, flags, value) = self.parts();
        write(out, kind, flags, value);
    }

    /// Type, flags and value.
    fn parts(&self) -> (ChunkType, u8, &dyn Value) {
        let flag = |tag_reflected: bool| if tag_reflected { TAG_REFLECTED } else { 0 };
        match self {
            Self::Data(data) => (data.kind(), data.flags.bits(), data),
            Self::Init(init) => (ChunkType::INIT, 0, init),
            Self::InitAck(init) => (ChunkType::INIT_ACK, 0, init),
            Self::Sack(sack) => (ChunkType::SACK, 0, sack),
            Self::Heartbeat(heartbeat) => (ChunkType::HEARTBEAT, 0, heartbeat),
            Self::HeartbeatAck(heartbeat) => (ChunkType::HEARTBEAT_ACK, 0, heartbeat),
            Self::Abort(abort) => (ChunkType::ABORT, flag(abort.tag_reflected), &abort.causes),
            Self::Shutdown(shutdown) => (ChunkType::SHUTDOWN, 0, shutdown),
            Self::ShutdownAck => (ChunkType::SHUTDOWN_ACK, 0, &()),
            Self::Error(causes) => (ChunkType::ERROR, 0, causes),
            Self::CookieEcho(cookie) => (ChunkType::COOKIE_ECHO, 0, cookie),
            Self::CookieAck => (ChunkType::COOKIE_ACK, 0, &()),
            Self::Ecne(tsn) => (ChunkType::ECNE, 0, tsn),
            Self::Cwr(tsn) => (ChunkType::CWR, 0, tsn),
            Self::ShutdownComplete(complete) => {
                (ChunkType::SHUTDOWN_COMPLETE, flag(complete.tag_reflected), &())
            }
            Self::Auth(auth) => (ChunkType::AUTH, 0, auth),
            Self::Asconf(asconf) => (ChunkType::ASCONF, 0, asconf),
            Self::AsconfAck(ack) => (ChunkType::ASCONF_ACK, 0, ack),
            Self::ReConfig(parameters) => (ChunkType::RE_CONFIG, 0, parameters),
            Self::Pad(padding) => (ChunkType::PAD, 0, padding),
            Self::ForwardTsn(forward) => (ChunkType::FORWARD_TSN, 0, forward),
            Self::IForwardTsn(forward) => (ChunkType::I_FORWARD_TSN, 0, forward),
            Self::Unknown(unknown) => (unknown.kind, unknown.flags, &unknown.value),
        }
    }
}

/// The value of a chunk that is to be written.
trait Value {
    fn encoded_len(&self) -> usize;
    fn write(&self, out: &mut BytesMut);
}

impl<T: Field> Value for T {
    fn encoded_len(&self) -> usize {
        Field::encoded_len(self)
    }

    fn write(&self, out: &mut BytesMut) {
        Field::write(self, out);
    }
}

/// Appends a chunk with its padding.
fn write<V: Value + ?Sized>(out: &mut BytesMut, kind: ChunkType, flags: u8, value: &V) {
    let start = out.len();
    let length = tlv::length_with(value.encoded_len());
    out.reserve(tlv::padded(length));
    out.put_slice(&tlv::header([kind.0, flags], length));
    value.write(out);
    out.truncate(start + length);
    tlv::pad(out, start);
}
