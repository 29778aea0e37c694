//! The border to the application: messages to send and messages received.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use usctp_chunk::{Data, DataFlags, Ppid, StreamId};

/// A message to send (RFC 9260, section 11.1.5; RFC 6458, `sctp_sndinfo`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
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
    /// What few messages ask for; the methods set it.
    pub options: Option<Box<SendOptions>>,
}

/// What few messages ask for (RFC 9260, section 11.1.5).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SendOptions {
    /// The application's own mark, which comes back if the message fails.
    pub context: u32,
    /// How long the message may wait for being sent: after that it fails, unless its first part has left.
    pub lifetime: Option<Duration>,
    /// The peer's address it is to be sent to in the place of the primary path, while that is active.
    pub destination: Option<IpAddr>,
    /// Whether it must not wait for more to fill a packet with, even if Nagle's algorithm is on.
    pub unbundled: bool,
    /// When the lifetime is over.
    pub(crate) expires: Option<Instant>,
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
            options: None,
        }
    }

    /// The same message with a payload protocol identifier.
    #[must_use]
    pub fn ppid(mut self, ppid: u32) -> Self {
        self.ppid = Ppid(ppid);
        self
    }

    /// The same message with a mark of the application's that comes back if it fails.
    #[must_use]
    pub fn context(self, context: u32) -> Self {
        self.with(|options| options.context = context)
    }

    /// The same message, that fails if its first part has not left within this time.
    #[must_use]
    pub fn lifetime(self, lifetime: Duration) -> Self {
        self.with(|options| options.lifetime = Some(lifetime))
    }

    /// The same message, to be sent to this address of the peer while that is active.
    #[must_use]
    pub fn destination(self, peer: IpAddr) -> Self {
        self.with(|options| options.destination = Some(peer))
    }

    /// The same message, that does not wait for others to be bundled with.
    #[must_use]
    pub fn unbundled(self) -> Self {
        self.with(|options| options.unbundled = true)
    }

    fn with(mut self, set: impl FnOnce(&mut SendOptions)) -> Self {
        set(self.options.get_or_insert_default());
        self
    }

    /// A message that one DATA chunk carried, with its mark.
    pub(crate) fn sent_as(data: Data, context: u32) -> Self {
        let Data { stream, ppid, payload, flags, .. } = data;
        let DataFlags { immediate, unordered, .. } = flags;
        let message = Self { stream, ppid, unordered, immediate, payload, options: None };
        if context == 0 { message } else { message.context(context) }
    }

    /// It begins to wait.
    pub(crate) fn taken(&mut self, now: Instant) {
        if let Some(options) = &mut self.options {
            options.expires = options.lifetime.and_then(|lifetime| now.checked_add(lifetime));
        }
    }

    pub(crate) fn mark(&self) -> u32 {
        self.options.as_ref().map_or(0, |options| options.context)
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
#[non_exhaustive]
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
