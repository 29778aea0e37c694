//! Packets, chunks, parameters and error causes of SCTP: bytes to values and back.
//!
//! A received packet is walked lazily: [`Packet::parse`] reads the common header, [`Packet::chunks`] finds the
//! chunks, [`RawChunk::decode`] reads one, and lists inside of it ([`Parameters`], [`Causes`], [`GapBlocks`], …)
//! are walked when they are asked for. All of these are looked at where they are in the one received buffer: nothing is
//! copied and nothing allocated per chunk, and only what is kept shares the buffer. Packets to be sent are written by a [`PacketBuilder`].
//!
//! What is decoded: all of RFC 9260, 3758, 4820, 4895, 5061, 6525, 8260 and 9653. `decode(encode(x)) == x` for
//! all values, and `encode(decode(bytes)) == bytes` for well-formed bytes: reserved bits and padding are there and
//! zero, lengths are exact. Received bytes may be anything: every function here is total.

mod cause;
mod checksum;
mod chunk;
mod error;
mod field;
mod list;
mod number;
mod packet;
mod param;
mod reader;
mod table;
mod tlv;

pub use cause::{Cause, CauseCode, Causes, MissingParameters, RawCause};
pub use checksum::Checksum;
pub use chunk::{
    Abort, Asconf, AsconfAck, Auth, Chunk, ChunkType, Data, DataFlags, DataHead, Duplicates,
    ForwardTsn, GapBlock, GapBlocks, Heartbeat, IForwardTsn, Init, NextTsns, RawChunk,
    ReConfigResult, Sack, Sequence, Shutdown, ShutdownComplete, SkippedMessages, SkippedStreams,
    UnknownChunk, Unrecognized,
};
pub use error::DecodeError;
pub use list::{Entries, List};
pub use number::{Fsn, Mid, Ppid, Ssn, StreamId, Tsn, VerificationTag};
pub use packet::{Chunks, CommonHeader, Packet, PacketBuilder};
pub use param::{
    AddressTypes, HmacIdentifiers, Parameter, ParameterType, Parameters, RawParameter, StreamIds,
};
pub use table::{Raw, RawTlvs, TlvList, Tlvs};
