//! FORWARD TSN (RFC 3758, section 3.2) and I-FORWARD-TSN (RFC 8260, section 2.3.1).

use bytes::BytesMut;

use crate::field::{Fixed, fields};
use crate::list::List;
use crate::number::{Mid, Ssn, StreamId, Tsn};

/// Streams with the last SSN that is skipped.
pub type SkippedStreams = List<(StreamId, Ssn)>;

/// Streams, whether the message is unordered, and the last MID that is skipped.
pub type SkippedMessages = List<(StreamId, bool, Mid)>;

/// The sender gives up on the messages up to here; their order is by SSN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardTsn {
    /// All TSNs up to this one count as received.
    pub new_cumulative_tsn: Tsn,
    /// The ordered messages that are skipped.
    pub streams: SkippedStreams,
}

fields!(ForwardTsn { new_cumulative_tsn, streams });

/// The sender gives up on the messages up to here; their order is by MID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IForwardTsn {
    /// All TSNs up to this one count as received.
    pub new_cumulative_tsn: Tsn,
    /// The messages that are skipped.
    pub streams: SkippedMessages,
}

fields!(IForwardTsn { new_cumulative_tsn, streams });

impl Fixed for (StreamId, Ssn) {
    const SIZE: usize = StreamId::SIZE + Ssn::SIZE;

    fn get(from: &mut &[u8]) -> Option<Self> {
        Some((StreamId::get(from)?, Ssn::get(from)?))
    }

    fn put(self, out: &mut BytesMut) {
        self.0.put(out);
        self.1.put(out);
    }
}

impl Fixed for (StreamId, bool, Mid) {
    const SIZE: usize = StreamId::SIZE + u16::SIZE + Mid::SIZE;

    fn get(from: &mut &[u8]) -> Option<Self> {
        let stream = StreamId::get(from)?;
        // The U bit is the lowest of 16; the others are reserved.
        let unordered = u16::get(from)? & 1 != 0;
        Some((stream, unordered, Mid::get(from)?))
    }

    fn put(self, out: &mut BytesMut) {
        self.0.put(out);
        u16::from(self.1).put(out);
        self.2.put(out);
    }
}
