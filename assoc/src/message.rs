//! The border to the application: messages to send and messages received.

use bytes::Bytes;
use usctp_chunk::{Ppid, StreamId};

/// A message to send (RFC 9260, section 11.1.5; RFC 6458, `sctp_sndinfo`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The stream, from 0 up to the number of outbound streams agreed on, exclusive.
    pub stream: StreamId,
    /// The payload protocol identifier, passed to the peer as it is.
    pub ppid: Ppid,
    /// Whether the message may overtake others of its stream.
    pub unordered: bool,
    /// Whether the peer is asked to acknowledge at once (the I bit, RFC 9260, section 3.3.1).
    pub immediate: bool,
    /// The bytes; at least one.
    pub payload: Bytes,
}

impl Message {
    /// An ordered message for a stream, with payload protocol identifier 0.
    pub fn new(stream: u16, payload: impl Into<Bytes>) -> Self {
        Self {
            stream: StreamId(stream),
            ppid: Ppid(0),
            unordered: false,
            immediate: false,
            payload: payload.into(),
        }
    }

    /// The same message with a payload protocol identifier.
    #[must_use]
    pub fn ppid(mut self, ppid: u32) -> Self {
        self.ppid = Ppid(ppid);
        self
    }

    /// The same message, free to overtake others of its stream.
    #[must_use]
    pub fn unordered(mut self) -> Self {
        self.unordered = true;
        self
    }
}

/// A message received, or a part of one that is too large to be held whole (RFC 6458, `sctp_rcvinfo`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The stream it came on.
    pub stream: StreamId,
    /// The payload protocol identifier the peer gave.
    pub ppid: Ppid,
    /// Whether the peer sent it unordered.
    pub unordered: bool,
    /// Whether more of the same message follows on this stream: it is delivered in parts because the
    /// receive buffer cannot hold it (RFC 9260, section 6.9). No other message of the stream comes between.
    pub more: bool,
    /// The bytes.
    pub payload: Bytes,
}
